/* rows.h -- a row of activations as floats, whatever its type, and the scratch memory of a call. Private to
 * backend/cpu.
 *
 * The pattern of every kernel: cut a row in chunks of at most ROW_CHUNK, and per chunk
 *
 *     float xs[ROW_CHUNK], ys[ROW_CHUNK];
 *     const float *in = row_load(xs, x, type, offset, n);   // f32: x itself; bf16: widened into xs
 *     float *out = row_target(ys, y, type, offset);         // f32: y itself; bf16: ys
 *     for (i < n) out[i] = f(in[i]);
 *     row_store(y, type, offset, out, n);                   // f32: nothing; bf16: narrowed from out
 *
 * so f32 pays for no copy and both types run the same loop. In place works where f is elementwise. */
#ifndef VMAE_BACKEND_CPU_ROWS_H
#define VMAE_BACKEND_CPU_ROWS_H

#include "engine/backend/cpu/cpu.h"

#include <omp.h>
#include <pthread.h>
#include <stdlib.h>

enum {
    ROW_CHUNK = 1024, /* floats of a buffer on the stack: a few of them stay in the first-level cache */
    PARALLEL_MIN =
        16384, /* fewer elements than this are done before other threads have woken up: if (n >= PARALLEL_MIN) */
};

#define ALIGNED __attribute__((aligned(64)))

static inline int64_t min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline const void *row_at(const void *x, vmae_type type, int64_t offset)
{
    return (const char *)x + (size_t)offset * vmae_type_size(type);
}

static inline void widen(float *restrict to, const vmae_bf16 *restrict from, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        to[i] = bf16_to_float(from[i]);
}

static inline void narrow(vmae_bf16 *restrict to, const float *restrict from, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        to[i] = bf16_from_float(from[i]);
}

/* The n values of x from element `offset` on as floats: in `buffer` (n <= ROW_CHUNK) or in x itself. */
static inline const float *row_load(float *buffer, const void *x, vmae_type type, int64_t offset, int64_t n)
{
    if (type != VMAE_BF16)
        return (const float *)x + offset;
    widen(buffer, (const vmae_bf16 *)x + offset, n);
    return buffer;
}

/* Where to compute the values of y from element `offset` on, before row_store(). */
static inline float *row_target(float *buffer, void *y, vmae_type type, int64_t offset)
{
    return type == VMAE_BF16 ? buffer : (float *)y + offset;
}

/* y[offset ...] = from; nothing to do if `from` is that place already. */
static inline void row_store(void *y, vmae_type type, int64_t offset, const float *from, int64_t n)
{
    if (type == VMAE_BF16)
        narrow((vmae_bf16 *)y + offset, from, n);
    else if ((float *)y + offset != from)
        memcpy((float *)y + offset, from, (size_t)n * sizeof(float));
}

/* sum[d] (+)= the SUM_BLOCKS parts of scratch [SUM_BLOCKS, stride], in order. */
static inline void sum_parts(float *sum, const float *scratch, int64_t stride, int64_t d, bool accumulate)
{
    for (int64_t from = 0; from < d; from += 256) {
        const int64_t n = min_i64(256, d - from);
        float total[256] ALIGNED = { 0 };
        for (int64_t part = 0; part < SUM_BLOCKS; part++) {
            const float *row = scratch + part * stride + from;
#pragma omp simd
            for (int64_t i = 0; i < n; i++)
                total[i] += row[i];
        }
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            sum[from + i] = accumulate ? sum[from + i] + total[i] : total[i];
    }
}

/* ---- scratch: a block per calling thread that only grows, so that a training step allocates nothing after the first
 * ---- */

static pthread_key_t scratch_key;
static pthread_once_t scratch_once = PTHREAD_ONCE_INIT;

static void scratch_create(void)
{
    if (pthread_key_create(&scratch_key, free) != 0)
        abort(); /* fewer than PTHREAD_KEYS_MAX keys exist in a sane process */
}

/* `bytes` of 64-byte aligned, uninitialised memory, valid until this thread's next call; NULL with a sentence for
 * vmae_error(). Called outside a parallel region; threads cut it up by omp_get_thread_num(). Never released by the
 * caller. */
static inline void *cpu_scratch(size_t bytes)
{
    pthread_once(&scratch_once, scratch_create);
    size_t *block = pthread_getspecific(scratch_key); /* its size, in the first of its 64-byte lines */
    if (!block || *block < bytes) {
        free(block);
        pthread_setspecific(scratch_key, NULL);
        const size_t size = (bytes + 63) / 64 * 64;
        block = size < bytes || size > SIZE_MAX - 64 ? NULL : aligned_alloc(64, size + 64);
        if (!block || pthread_setspecific(scratch_key, block) != 0) {
            free(block);
            (void)vmae_fail(VMAE_ENOMEM,
                            "no memory for %zu bytes of kernel scratch; use a smaller batch or fewer threads", bytes);
            return NULL;
        }
        *block = size;
    }
    return (char *)block + 64;
}

#endif
