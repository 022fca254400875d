/* gelu.c -- the exact GELU (with erf, not tanh) and its gradient. */
#include "engine/backend/cpu/fast_math.h"
#include "engine/backend/cpu/rows.h"

static inline void gelu_row(float *y, const float *x, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float density;
        y[i] = x[i] * normal_cdf(x[i], &density);
    }
}

/* d/dx of x P(x) is P(x) + x p(x). dx may be dy. */
static inline void gelu_grad_row(float *dx, const float *dy, const float *x, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float density;
        const float cdf = normal_cdf(x[i], &density);
        dx[i] = dy[i] * (cdf + x[i] * density);
    }
}

CPU_KERNEL vmae_status cpu_gelu(vmae_backend *be, void *y, const void *x, vmae_type type, int64_t n)
{
#pragma omp parallel for schedule(static) num_threads(be->threads) if (n >= PARALLEL_MIN)
    for (int64_t from = 0; from < n; from += ROW_CHUNK) {
        float xs[ROW_CHUNK] ALIGNED, ys[ROW_CHUNK] ALIGNED;
        const int64_t count = min_i64(ROW_CHUNK, n - from);
        float *out = row_target(ys, y, type, from);
        gelu_row(out, row_load(xs, x, type, from, count), count);
        row_store(y, type, from, out, count);
    }
    return VMAE_OK;
}

/* dx of `count` values from element `offset` on; if sums is not NULL, dx is added to it. */
static inline void gelu_grad_chunk(void *dx, float *sums, const void *dy, const void *x, vmae_type type, int64_t offset,
                                   int64_t count)
{
    float xs[ROW_CHUNK] ALIGNED, dys[ROW_CHUNK] ALIGNED;
    float *out = row_target(dys, dx, type, offset);
    gelu_grad_row(out, row_load(dys, dy, type, offset, count), row_load(xs, x, type, offset, count), count);
    if (sums) {
#pragma omp simd
        for (int64_t i = 0; i < count; i++)
            sums[i] += out[i];
    }
    row_store(dx, type, offset, out, count);
}

CPU_KERNEL vmae_status cpu_gelu_grad(vmae_backend *be, void *dx, float *dbias, float *scratch, const void *dy,
                                     const void *x, vmae_type type, int64_t rows, int64_t d, bool accumulate)
{
    const int64_t n = rows * d;
    if (!dbias) {
#pragma omp parallel for schedule(static) num_threads(be->threads) if (n >= PARALLEL_MIN)
        for (int64_t from = 0; from < n; from += ROW_CHUNK)
            gelu_grad_chunk(dx, NULL, dy, x, type, from, min_i64(ROW_CHUNK, n - from));
        return VMAE_OK;
    }
#pragma omp parallel for schedule(static) num_threads(be->threads) if (n >= PARALLEL_MIN)
    for (int64_t part = 0; part < SUM_BLOCKS; part++) {
        float *sums = scratch + part * d;
        memset(sums, 0, (size_t)d * sizeof(float));
        for (int64_t row = sum_block(rows, part); row < sum_block(rows, part + 1); row++)
            for (int64_t from = 0; from < d; from += ROW_CHUNK)
                gelu_grad_chunk(dx, sums + from, dy, x, type, row * d + from, min_i64(ROW_CHUNK, d - from));
    }
    sum_parts(dbias, scratch, d, d, accumulate);
    return VMAE_OK;
}
