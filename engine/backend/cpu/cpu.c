/* cpu.c -- the CPU backend: picks the kernels that the processor runs, and hands out memory. */
#include "engine/backend/cpu/cpu.h"
#include "engine/backend/backend.h"
#include "engine/backend/cpu/matmul.h"
#include "engine/backend/cpu/tables.h"
#include "engine/core/mem.h"

#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { ALIGN = 64, HUGE_PAGE = 2 << 20 };

const vmae_kernels *const *vmae_cpu_tables(int *count)
{
    static const vmae_kernels *tables[3];
    int n = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        tables[n++] = &vmae_cpu_kernels_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        tables[n++] = &vmae_cpu_kernels_avx2;
    tables[n++] = &vmae_cpu_kernels_sse2;
#else
    tables[n++] = &vmae_cpu_kernels_generic;
#endif
    *count = n;
    return tables;
}

/* Cores that this process may be scheduled on; the kernel refuses a set smaller than its own. */
static int allowed_cores(void)
{
    for (int cores = 1024; cores <= 1 << 20; cores *= 2) {
        cpu_set_t *set = CPU_ALLOC((size_t)cores);
        const size_t bytes = CPU_ALLOC_SIZE((size_t)cores);
        if (!set)
            break;
        const bool known = sched_getaffinity(0, bytes, set) == 0;
        const int count = known ? CPU_COUNT_S(bytes, set) : 0;
        CPU_FREE(set);
        if (known)
            return count > 0 ? count : 1;
    }
    return 1;
}

/* What a container may use ("docker --cpus=2"), rounded up: threads beyond it only wait for each other. INT_MAX where
 * nothing is set. */
static int quota_cores(void)
{
    long long quota = 0, period = 0;
    FILE *limit = fopen("/sys/fs/cgroup/cpu.max", "r");
    const bool set = limit && fscanf(limit, "%lld %lld", &quota, &period) == 2 && quota > 0 && period > 0;
    if (limit)
        fclose(limit);
    const long long cores = set ? (quota + period - 1) / period : INT_MAX;
    return cores < INT_MAX ? (int)cores : INT_MAX;
}

static int usable_cores(void)
{
    const int allowed = allowed_cores(), quota = quota_cores();
    return allowed < quota ? allowed : quota;
}

/* "Intel(R) Xeon(R) Processor", from /proc/cpuinfo. */
static void model_name(char *name, size_t size)
{
    char line[256];
    snprintf(name, size, "unknown CPU");
    FILE *info = fopen("/proc/cpuinfo", "r");
    if (!info)
        return;
    while (fgets(line, sizeof line, info)) {
        const char *colon = strncmp(line, "model name", 10) == 0 ? strchr(line, ':') : NULL;
        if (!colon)
            continue;
        snprintf(name, size, "%.*s", (int)strcspn(colon + 1 + (colon[1] == ' '), "\n"), colon + 1 + (colon[1] == ' '));
        break;
    }
    fclose(info);
}

static bool multiplies_bf16(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx512bf16"); /* every processor with AMX has it too */
#else
    return false;
#endif
}

/* ---- memory: plain host memory; "queued" work is done on return ---- */

/* Large blocks lie on huge pages where the system gives them on request: a step of a small model walks its whole arena
 * (measured in turns: nano in f32 4 % faster, the rest the same). */
static vmae_status cpu_allocate(vmae_backend *be, void **block, size_t bytes)
{
    (void)be;
    const size_t align = bytes >= 2 * HUGE_PAGE ? HUGE_PAGE : ALIGN;
    if (bytes > SIZE_MAX - align)
        return vmae_fail(VMAE_ENOMEM, "out of memory: could not get %zu bytes", bytes);
    const size_t rounded = bytes ? (bytes + align - 1) / align * align : align;
    void *got = aligned_alloc(align, rounded);
    if (!got)
        return vmae_fail(VMAE_ENOMEM, "out of memory: could not get %zu bytes", bytes);
    if (align == HUGE_PAGE)
        (void)madvise(got, rounded, MADV_HUGEPAGE); /* a wish */
    *block = memset(got, 0, rounded);
    return VMAE_OK;
}

static void cpu_release(vmae_backend *be, void *block)
{
    (void)be;
    free(block);
}

static vmae_status cpu_copy(vmae_backend *be, void *to, const void *from, size_t bytes)
{
    (void)be;
    memcpy(to, from, bytes);
    return VMAE_OK;
}

static vmae_status cpu_synchronize(vmae_backend *be)
{
    (void)be;
    return VMAE_OK;
}

static vmae_status matmul_new(vmae_backend *be, vmae_matmul **matmul, const vmae_matmul_shape *shape)
{
    return cpu_matmul_new(be->self, matmul, shape);
}

static vmae_status matmul_run(vmae_backend *be, const vmae_matmul *matmul, void *c, const void *a, const void *b,
                              const float *bias, const void *residual, void *workspace)
{
    return cpu_matmul_run(be->self, matmul, c, a, b, bias, residual, workspace);
}

/* oneDNN chooses when a product first runs, and tells only its own log. */
static const char *cpu_algorithms(vmae_backend *be)
{
    (void)be;
    return "";
}

static void cpu_close(vmae_backend *be)
{
    cpu_products_close(be->self);
    free(be);
}

vmae_status vmae_cpu_open(vmae_backend **be, int threads)
{
    vmae_backend *made = vmae_calloc(1, sizeof *made);
    if (!made)
        return VMAE_ENOMEM;
    int tables;
    char model[96];
    made->name = "cpu";
    made->kernels = vmae_cpu_tables(&tables)[0];
    made->threads = threads > 0 ? threads : usable_cores();
    made->sum_blocks = SUM_BLOCKS;
    made->precision = multiplies_bf16() ? VMAE_BF16 : VMAE_F32;
    model_name(model, sizeof model);
    snprintf(made->description, sizeof made->description, "%s, %d threads, %s kernels, %s", model, made->threads,
             made->kernels->isa, cpu_matmul_library());
    made->allocate = cpu_allocate;
    made->release = cpu_release;
    made->upload = made->download = cpu_copy;
    made->synchronize = cpu_synchronize;
    made->matmul_new = matmul_new;
    made->matmul_workspace = cpu_matmul_workspace;
    made->matmul = matmul_run;
    made->algorithms = cpu_algorithms;
    made->close = cpu_close;
    cpu_products *products;
    const vmae_status status = cpu_products_open(&products, made->threads);
    if (status != VMAE_OK) {
        free(made);
        return status;
    }
    made->self = products;
    *be = made;
    return VMAE_OK;
}
