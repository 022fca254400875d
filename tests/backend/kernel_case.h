/* kernel_case.h -- calls kernels as the backend does, for every instruction set that this processor runs and for 1, 2
 * and 3 threads, and checks that the number of threads changes no bit. For test programs: include it once in each. */
#ifndef VMAE_TESTS_KERNEL_CASE_H
#define VMAE_TESTS_KERNEL_CASE_H

#include "engine/backend/cpu/cpu.h"
#include "engine/backend/cpu/tables.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/core/rng.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- memory of a test body: each block with its own bounds, so that a sanitizer sees every step outside ---- */

static void *grabbed[4096];
static size_t grabbed_count;

static __attribute__((noinline)) void *grab(size_t bytes)
{
    void *block = NULL;
    if (grabbed_count == sizeof grabbed / sizeof *grabbed || posix_memalign(&block, 64, bytes ? bytes : 1) != 0) {
        fprintf(stderr, "test: no memory\n");
        exit(1);
    }
    memset(block, 0x7F, bytes); /* floats of 3e38: whoever reads what nobody wrote is seen */
    return grabbed[grabbed_count++] = block;
}

static inline void release_all(void)
{
    while (grabbed_count)
        free(grabbed[--grabbed_count]);
}

static inline float *grab_floats(int64_t n)
{
    return grab((size_t)n * sizeof(float));
}

static inline int32_t *grab_ints(int64_t n)
{
    return grab((size_t)n * sizeof(int32_t));
}

static inline double *grab_doubles(int64_t n)
{
    return grab((size_t)n * sizeof(double));
}

/* Normal numbers, a function of the seed. */
static inline float *random_floats(int64_t n, uint64_t seed)
{
    float *x = grab_floats(n);
    vmae_rng rng = vmae_rng_at(seed, VMAE_RNG_TEST, 0, 0);
    for (int64_t i = 0; i < n; i++)
        x[i] = vmae_rng_normal(&rng);
    return x;
}

/* ---- activations of either type ---- */

/* A copy of x as activations; x itself is rounded to what they hold. */
static inline void *as_type(float *x, int64_t n, vmae_type type)
{
    void *y = grab((size_t)n * vmae_type_size(type));
    for (int64_t i = 0; i < n; i++) {
        if (type == VMAE_BF16) {
            ((vmae_bf16 *)y)[i] = bf16_from_float(x[i]);
            x[i] = bf16_to_float(((vmae_bf16 *)y)[i]);
        } else {
            ((float *)y)[i] = x[i];
        }
    }
    return y;
}

static inline void *grab_type(int64_t n, vmae_type type)
{
    return grab((size_t)n * vmae_type_size(type));
}

static inline float *as_floats(const void *y, int64_t n, vmae_type type)
{
    float *x = grab_floats(n);
    for (int64_t i = 0; i < n; i++)
        x[i] = type == VMAE_BF16 ? bf16_to_float(((const vmae_bf16 *)y)[i]) : ((const float *)y)[i];
    return x;
}

/* ---- comparisons ---- */

/* |got - expected| <= limit * (the largest expected magnitude), and for bf16 half a unit in the last place of the value
 * besides. */
static inline void check_near(const char *file, int line, const char *what, const float *got, const double *expected,
                              int64_t n, double limit, vmae_type type)
{
    double top = 0.0, worst = 0.0;
    int64_t at = 0;
    for (int64_t i = 0; i < n; i++)
        top = fmax(top, fabs(expected[i]));
    for (int64_t i = 0; i < n; i++) {
        const double rounding = type == VMAE_BF16 ? fabs(expected[i]) / 256.0 : 0.0;
        const double excess = fabs((double)got[i] - expected[i]) - rounding;
        if (!(excess <= worst)) {
            worst = isnan(excess) ? (double)INFINITY : excess;
            at = i;
        }
    }
    vmae_check(worst <= limit * top + 1e-30, file, line,
               "%s[%lld] is %.9g, expected %.9g; off by %.3g of the largest %.3g, limit %.3g", what, (long long)at,
               (double)got[at], expected[at], worst / (top > 0.0 ? top : 1.0), top, limit);
}
#define CHECK_ARRAY(got, expected, n, limit, type) check_near(__FILE__, __LINE__, #got, got, expected, n, limit, type)

static inline double *as_doubles(const float *x, int64_t n)
{
    double *y = grab_doubles(n);
    for (int64_t i = 0; i < n; i++)
        y[i] = (double)x[i];
    return y;
}

/* ---- backends ---- */

static uint64_t seen_bits;

/* Adds results to what must not depend on the number of threads. */
static inline void seen(const void *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        seen_bits = (seen_bits ^ ((const unsigned char *)bytes)[i]) * 0x100000001B3u;
}

static inline void on_every_backend(void (*body)(vmae_backend *be))
{
    int count;
    const vmae_kernels *const *tables = vmae_cpu_tables(&count);
    for (int table = 0; table < count; table++) {
        uint64_t alone = 0;
        for (int threads = 1; threads <= 3; threads++) {
            vmae_backend be = { .name = "cpu", .precision = VMAE_F32, .threads = threads, .kernels = tables[table] };
            seen_bits = 0xCBF29CE484222325u;
            body(&be);
            release_all();
            if (threads == 1)
                alone = seen_bits;
            vmae_check(seen_bits == alone, __FILE__, __LINE__, "%s: %d threads give other bits than one",
                       tables[table]->isa, threads);
        }
    }
}

/* The best instruction set, two threads: for what is not about arithmetic. */
static inline vmae_backend one_backend(void)
{
    int count;
    return (vmae_backend){ .name = "cpu", .precision = VMAE_F32, .threads = 2, .kernels = vmae_cpu_tables(&count)[0] };
}

/* ---- golden vectors ---- */

/* The file of a case, or NULL (then the test is skipped). Free it. */
static inline vmae_checkpoint *golden_open(const char *name)
{
    const char *folder = vmae_test_shared("golden");
    char path[1024];
    vmae_checkpoint *file = NULL;
    if (!folder)
        return NULL;
    snprintf(path, sizeof path, "%s/%s.safetensors", folder, name);
    CHECK_OK(vmae_checkpoint_open(&file, path));
    return file;
}

/* A copy of an F32 tensor; its shape goes to dim if that is not NULL. Exits if it is absent: the set is damaged. */
static inline float *golden_floats(const vmae_checkpoint *file, const char *name, int64_t *count, int64_t *dim)
{
    const vmae_entry *entry = vmae_checkpoint_find(file, name);
    if (!entry || entry->dtype != VMAE_ST_F32) {
        fprintf(stderr, "golden set: there is no F32 tensor %s\n", name);
        exit(1);
    }
    for (int i = 0; dim && i < entry->rank; i++)
        dim[i] = entry->dim[i];
    if (count)
        *count = (int64_t)entry->count;
    return memcpy(grab(entry->bytes), entry->data, entry->bytes);
}

static inline double golden_number(const vmae_checkpoint *file, const char *key)
{
    const char *text = vmae_checkpoint_metadata(file, key);
    if (!text) {
        fprintf(stderr, "golden set: there is no setting %s\n", key);
        exit(1);
    }
    return strcmp(text, "true") == 0 ? 1.0 : strcmp(text, "false") == 0 ? 0.0 : strtod(text, NULL);
}

#endif
