/* elementwise.c -- sums, scales, casts: what is done value by value, and the sum over rows. */
#include "engine/backend/cpu/rows.h"

/* A NaN stays one: a diverged run must be seen, not cut off. */
CPU_KERNEL vmae_status cpu_relu(vmae_backend *be, void *y, const void *x, vmae_type type, int64_t n)
{
#pragma omp parallel for schedule(static) num_threads(be->threads) if (n >= PARALLEL_MIN)
    for (int64_t from = 0; from < n; from += ROW_CHUNK) {
        float buffer[ROW_CHUNK] ALIGNED;
        const int64_t count = min_i64(ROW_CHUNK, n - from);
        const float *in = row_load(buffer, x, type, from, count);
        float *out = row_target(buffer, y, type, from);
#pragma omp simd
        for (int64_t i = 0; i < count; i++)
            out[i] = in[i] < 0.0f ? 0.0f : in[i];
        row_store(y, type, from, out, count);
    }
    return VMAE_OK;
}

CPU_KERNEL vmae_status cpu_relu_grad(vmae_backend *be, void *dx, const void *dy, const void *y, vmae_type type,
                                     int64_t n)
{
#pragma omp parallel for schedule(static) num_threads(be->threads) if (n >= PARALLEL_MIN)
    for (int64_t from = 0; from < n; from += ROW_CHUNK) {
        float dys[ROW_CHUNK] ALIGNED, ys[ROW_CHUNK] ALIGNED;
        const int64_t count = min_i64(ROW_CHUNK, n - from);
        const float *in = row_load(dys, dy, type, from, count), *value = row_load(ys, y, type, from, count);
        float *out = row_target(dys, dx, type, from);
#pragma omp simd
        for (int64_t i = 0; i < count; i++)
            out[i] = value[i] > 0.0f ? in[i] : 0.0f;
        row_store(dx, type, from, out, count);
    }
    return VMAE_OK;
}

CPU_KERNEL vmae_status cpu_add(vmae_backend *be, void *y, const void *a, const void *b, vmae_type type, int64_t n)
{
#pragma omp parallel for schedule(static) num_threads(be->threads) if (n >= PARALLEL_MIN)
    for (int64_t from = 0; from < n; from += ROW_CHUNK) {
        float as[ROW_CHUNK] ALIGNED, bs[ROW_CHUNK] ALIGNED;
        const int64_t count = min_i64(ROW_CHUNK, n - from);
        const float *left = row_load(as, a, type, from, count), *right = row_load(bs, b, type, from, count);
        float *out = row_target(as, y, type, from);
#pragma omp simd
        for (int64_t i = 0; i < count; i++)
            out[i] = left[i] + right[i];
        row_store(y, type, from, out, count);
    }
    return VMAE_OK;
}

CPU_KERNEL vmae_status cpu_add_scaled(vmae_backend *be, void *y, const void *a, const void *b, const float *scale,
                                      vmae_type type, int64_t groups, int64_t n)
{
    const int64_t chunks = (n + ROW_CHUNK - 1) / ROW_CHUNK; /* of a group */
#pragma omp parallel for schedule(static) num_threads(be->threads) if (groups * n >= PARALLEL_MIN)
    for (int64_t chunk = 0; chunk < groups * chunks; chunk++) {
        float as[ROW_CHUNK] ALIGNED, bs[ROW_CHUNK] ALIGNED;
        const int64_t group = chunk / chunks, within = chunk % chunks * ROW_CHUNK, from = group * n + within;
        const int64_t count = min_i64(ROW_CHUNK, n - within);
        const float factor = scale[group];
        const float *right = row_load(bs, b, type, from, count);
        float *out = row_target(bs, y, type, from);
        if (a) {
            const float *left = row_load(as, a, type, from, count);
#pragma omp simd
            for (int64_t i = 0; i < count; i++)
                out[i] = left[i] + factor * right[i];
        } else {
#pragma omp simd
            for (int64_t i = 0; i < count; i++)
                out[i] = factor * right[i];
        }
        row_store(y, type, from, out, count);
    }
    return VMAE_OK;
}

CPU_KERNEL vmae_status cpu_cast(vmae_backend *be, void *y, vmae_type to, const void *x, vmae_type from, int64_t n)
{
#pragma omp parallel for schedule(static) num_threads(be->threads) if (n >= PARALLEL_MIN)
    for (int64_t at = 0; at < n; at += ROW_CHUNK) {
        const int64_t count = min_i64(ROW_CHUNK, n - at);
        if (to == from)
            memcpy((char *)y + (size_t)at * vmae_type_size(to), row_at(x, from, at),
                   (size_t)count * vmae_type_size(to));
        else if (to == VMAE_BF16)
            narrow((vmae_bf16 *)y + at, (const float *)x + at, count);
        else
            widen((float *)y + at, (const vmae_bf16 *)x + at, count);
    }
    return VMAE_OK;
}

CPU_KERNEL vmae_status cpu_fill(vmae_backend *be, float *y, float value, int64_t n)
{
#pragma omp parallel for simd schedule(static) num_threads(be->threads) if (parallel : n >= PARALLEL_MIN)
    for (int64_t i = 0; i < n; i++)
        y[i] = value;
    return VMAE_OK;
}

CPU_KERNEL vmae_status cpu_column_sum(vmae_backend *be, float *sum, float *scratch, const void *x, vmae_type type,
                                      int64_t rows, int64_t d, bool accumulate)
{
#pragma omp parallel for schedule(static) num_threads(be->threads) if (rows * d >= PARALLEL_MIN)
    for (int64_t part = 0; part < SUM_BLOCKS; part++) {
        memset(scratch + part * d, 0, (size_t)d * sizeof(float));
        for (int64_t row = sum_block(rows, part); row < sum_block(rows, part + 1); row++) {
            for (int64_t from = 0; from < d; from += ROW_CHUNK) {
                float xs[ROW_CHUNK] ALIGNED;
                const int64_t count = min_i64(ROW_CHUNK, d - from);
                const float *in = row_load(xs, x, type, row * d + from, count);
                float *total = scratch + part * d + from;
#pragma omp simd
                for (int64_t i = 0; i < count; i++)
                    total[i] += in[i];
            }
        }
    }
    sum_parts(sum, scratch, d, d, accumulate);
    return VMAE_OK;
}

CPU_KERNEL vmae_status cpu_weighted_sum(vmae_backend *be, float *y, const float *a, const float *wa, const float *b,
                                        const float *wb)
{
    (void)be;
    *y = a[0] * wa[0] + (b ? b[0] * wb[0] : 0.0f);
    return VMAE_OK;
}
