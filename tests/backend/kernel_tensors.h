/* kernel_tensors.h -- what the tests of CPU kernels share: tensors of either type, every instruction set, thread
 * counts, derivatives.
 *
 * A kernel's result is compared with a plain double-precision reference of the same (rounded) inputs; its gradient with
 * central differences of that reference. Memory ends with the last element, so a sanitizer sees every step beyond. */
#ifndef VMAE_TESTS_BACKEND_KERNEL_TENSORS_H
#define VMAE_TESTS_BACKEND_KERNEL_TENSORS_H

#include "engine/backend/cpu/cpu.h"
#include "engine/backend/cpu/tables.h"
#include "engine/core/rng.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct tensor {
    void *data;
    vmae_type type;
    int64_t n;
} tensor;

/* Everything allocated since the last release_all(). */
static void *kernel_blocks[128];
static int kernel_block_count;

static inline void *block_new(size_t bytes)
{
    void *block = NULL;
    if (kernel_block_count == (int)(sizeof kernel_blocks / sizeof *kernel_blocks) ||
        posix_memalign(&block, 64, bytes ? bytes : 1) != 0)
        abort();
    kernel_blocks[kernel_block_count++] = block;
    return block;
}

static inline void release_all(void)
{
    while (kernel_block_count > 0)
        free(kernel_blocks[--kernel_block_count]);
}

static inline double value_at(tensor t, int64_t i)
{
    return t.type == VMAE_BF16 ? (double)bf16_to_float(((const vmae_bf16 *)t.data)[i])
                               : (double)((const float *)t.data)[i];
}

static inline void set_at(tensor t, int64_t i, double value)
{
    if (t.type == VMAE_BF16)
        ((vmae_bf16 *)t.data)[i] = bf16_from_float((float)value);
    else
        ((float *)t.data)[i] = (float)value;
}

/* Filled with a pattern that is no plausible result. */
static inline tensor tensor_new(vmae_type type, int64_t n)
{
    const tensor t = { block_new((size_t)n * vmae_type_size(type)), type, n };
    memset(t.data, 0x7B, (size_t)n * vmae_type_size(type));
    return t;
}

static inline tensor tensor_random(vmae_type type, int64_t n, double low, double high, uint64_t seed)
{
    const tensor t = tensor_new(type, n);
    vmae_rng rng = vmae_rng_at(seed, VMAE_RNG_TEST, 0, (uint64_t)n);
    for (int64_t i = 0; i < n; i++)
        set_at(t, i, low + (high - low) * (double)vmae_rng_uniform(&rng));
    return t;
}

static inline tensor tensor_copy(tensor from)
{
    const tensor t = tensor_new(from.type, from.n);
    memcpy(t.data, from.data, (size_t)from.n * vmae_type_size(from.type));
    return t;
}

static inline double *doubles(tensor t)
{
    double *values = block_new((size_t)t.n * sizeof(double));
    for (int64_t i = 0; i < t.n; i++)
        values[i] = value_at(t, i);
    return values;
}

static inline double *doubles_new(int64_t n)
{
    double *values = block_new((size_t)n * sizeof(double));
    memset(values, 0, (size_t)n * sizeof(double));
    return values;
}

static inline float *floats(tensor t)
{
    return t.data;
}

static inline bool same_bits(tensor a, tensor b)
{
    return a.n == b.n && a.type == b.type && memcmp(a.data, b.data, (size_t)a.n * vmae_type_size(a.type)) == 0;
}

/* bf16 keeps 8 bits: rounding is off by at most 2^-8 of the value; a little more where f32 rounding tips it over. */
static inline double rounding_of(vmae_type type, double value)
{
    return type == VMAE_BF16 ? fabs(value) * 0x1.02p-8 + 1e-38 : 0.0;
}

static inline const char *type_name(vmae_type type)
{
    return type == VMAE_BF16 ? "bf16" : "f32";
}

static inline double largest(const double *values, int64_t n)
{
    double most = 0.0;
    for (int64_t i = 0; i < n; i++)
        most = fmax(most, fabs(values[i]));
    return most;
}

/* |t - expected| <= tolerance (+ the rounding of its type), value by value. */
static inline bool tensor_near(tensor t, const double *expected, double tolerance, const char *what, const char *isa)
{
    for (int64_t i = 0; i < t.n; i++) {
        const double limit = tolerance + rounding_of(t.type, expected[i]);
        if (!(fabs(value_at(t, i) - expected[i]) <= limit))
            return vmae_check(false, __FILE__, __LINE__, "%s (%s, %s, n %lld): [%lld] is %.9g, expected %.9g +- %.2g",
                              what, isa, type_name(t.type), (long long)t.n, (long long)i, value_at(t, i), expected[i],
                              limit);
    }
    return true;
}

/* Derivatives of loss(context) with respect to x[0..n), which the loss reads through its context, against `grad`: all
 * of them, or about `probes` spread over the tensor. tolerance is relative to the largest derivative seen, but at least
 * to `least`. */
typedef double loss_function(const void *context);
static inline bool gradient_near(loss_function *loss, const void *context, double *x, tensor grad, int64_t probes,
                                 double tolerance, double least, const char *what, const char *isa)
{
    const double h = 1e-6;
    int64_t step = grad.n > probes ? grad.n / probes : 1, count = 0;
    step += step > 1 && step % 2 == 0; /* odd: not the same place in every row */
    double *expected = block_new((size_t)(grad.n / step + 1) * sizeof(double)), most = least;
    for (int64_t i = 0; i < grad.n; i += step) {
        const double kept = x[i];
        x[i] = kept + h;
        const double above = loss(context);
        x[i] = kept - h;
        const double below = loss(context);
        x[i] = kept;
        expected[count] = (above - below) / (2.0 * h);
        most = fmax(most, fabs(expected[count++]));
    }
    for (int64_t i = 0, at = 0; i < grad.n; i += step, at++) {
        const double limit = tolerance * most + rounding_of(grad.type, expected[at]);
        if (!(fabs(value_at(grad, i) - expected[at]) <= limit))
            return vmae_check(
                false, __FILE__, __LINE__, "%s (%s, %s, n %lld): [%lld] is %.9g, differences give %.9g +- %.2g", what,
                isa, type_name(grad.type), (long long)grad.n, (long long)i, value_at(grad, i), expected[at], limit);
    }
    return true;
}

/* Runs a check on every instruction set of this processor with both types, and releases what it allocated. */
typedef void kernel_check(const vmae_kernels *k, vmae_type type);
static inline void for_each_kernel(kernel_check *check)
{
    int count = 0;
    const vmae_kernels *const *tables = vmae_cpu_tables(&count);
    CHECK(count > 0);
    for (int i = 0; i < count; i++) {
        for (vmae_type type = VMAE_F32; type <= VMAE_BF16; type++) {
            check(tables[i], type);
            release_all();
        }
    }
}

static inline vmae_backend with_threads(int threads)
{
    return (vmae_backend){ .name = "cpu", .threads = threads };
}

#endif
