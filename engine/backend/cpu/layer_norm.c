/* layer_norm.c -- LayerNorm over the last dimension and its gradient. A row is walked in chunks of ROW_CHUNK; one that
 * fits a chunk is widened once and stays in the first-level cache for all passes. */
#include "engine/backend/cpu/rows.h"

static float norm_sum(const float *x, int64_t n)
{
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++)
        sum += x[i];
    return sum;
}

/* sums[0] += sum (x - mean), which is what rounding took off the mean; sums[1] += sum (x - mean)^2. */
static void norm_deviations(float sums[2], const float *x, float mean, int64_t n)
{
    float plain = 0.0f, squares = 0.0f;
#pragma omp simd reduction(+ : plain, squares)
    for (int64_t i = 0; i < n; i++) {
        const float deviation = x[i] - mean;
        plain += deviation;
        squares += deviation * deviation;
    }
    sums[0] += plain;
    sums[1] += squares;
}

static void norm_row(void *y, vmae_type y_type, float *mean, float *rstd, const void *x, vmae_type x_type,
                     const float *weight, const float *bias, int64_t row, int64_t d, float eps)
{
    float xs[ROW_CHUNK] ALIGNED, ys[ROW_CHUNK] ALIGNED;
    const float *in = NULL;
    const bool whole = d <= ROW_CHUNK;
    float sum = 0.0f, deviations[2] = { 0.0f, 0.0f };
    for (int64_t from = 0; from < d; from += ROW_CHUNK) {
        const int64_t n = min_i64(ROW_CHUNK, d - from);
        in = row_load(xs, x, x_type, row * d + from, n);
        sum += norm_sum(in, n);
    }
    const float first = sum / (float)d;
    for (int64_t from = 0; from < d; from += ROW_CHUNK) {
        const int64_t n = min_i64(ROW_CHUNK, d - from);
        in = whole ? in : row_load(xs, x, x_type, row * d + from, n);
        norm_deviations(deviations, in, first, n);
    }
    const float left = deviations[0] / (float)d, m = first + left;
    const float variance = deviations[1] / (float)d - left * left;
    const float r = 1.0f / sqrtf((variance < 0.0f ? 0.0f : variance) + eps);
    for (int64_t from = 0; from < d; from += ROW_CHUNK) {
        const int64_t n = min_i64(ROW_CHUNK, d - from);
        in = whole ? in : row_load(xs, x, x_type, row * d + from, n);
        float *out = row_target(ys, y, y_type, row * d + from);
        const float *w = weight + from, *b = bias + from;
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            out[i] = (in[i] - m) * r * w[i] + b[i];
        row_store(y, y_type, row * d + from, out, n);
    }
    mean[row] = m;
    rstd[row] = r;
}

CPU_KERNEL vmae_status cpu_layer_norm(vmae_backend *be, void *y, vmae_type y_type, float *mean, float *rstd,
                                      const void *x, vmae_type x_type, const float *weight, const float *bias,
                                      int64_t rows, int64_t d, float eps)
{
#pragma omp parallel for schedule(static) num_threads(be->threads) if (rows * d >= PARALLEL_MIN)
    for (int64_t row = 0; row < rows; row++)
        norm_row(y, y_type, mean, rstd, x, x_type, weight, bias, row, d, eps);
    return VMAE_OK;
}

/* sums[0] += sum dy w, sums[1] += sum dy w x^, and the row's share of dweight and dbias unless they are NULL. */
static void norm_grad_sums(float sums[2], float *dweight, float *dbias, const float *dy, const float *x,
                           const float *weight, float mean, float rstd, int64_t n)
{
    float plain = 0.0f, along = 0.0f;
    if (dweight) {
#pragma omp simd reduction(+ : plain, along)
        for (int64_t i = 0; i < n; i++) {
            const float normal = (x[i] - mean) * rstd, scaled = dy[i] * weight[i];
            plain += scaled;
            along += scaled * normal;
            dweight[i] += dy[i] * normal;
            dbias[i] += dy[i];
        }
    } else {
#pragma omp simd reduction(+ : plain, along)
        for (int64_t i = 0; i < n; i++) {
            const float scaled = dy[i] * weight[i];
            plain += scaled;
            along += scaled * ((x[i] - mean) * rstd);
        }
    }
    sums[0] += plain;
    sums[1] += along;
}

/* Where a part of the rows leaves its column sums; NULL: nobody wants them. */
typedef struct norm_sums {
    float *dweight, *dbias, *dsum;
} norm_sums;

/* dx = rstd (dy w - mean(dy w) - x^ mean(dy w x^)) (+ add). */
static void norm_grad_row(void *dx, vmae_bf16 *copy, const norm_sums *to, const void *dy, vmae_type y_type,
                          const void *x, vmae_type x_type, float mean, float rstd, const float *weight, const void *add,
                          int64_t offset, int64_t d)
{
    float dys[ROW_CHUNK] ALIGNED, xs[ROW_CHUNK] ALIGNED, adds[ROW_CHUNK] ALIGNED;
    const float *gradient = NULL, *in = NULL;
    float sums[2] = { 0.0f, 0.0f };
    for (int64_t from = 0; from < d; from += ROW_CHUNK) {
        const int64_t n = min_i64(ROW_CHUNK, d - from);
        gradient = row_load(dys, dy, y_type, offset + from, n);
        in = row_load(xs, x, x_type, offset + from, n);
        norm_grad_sums(sums, to->dweight ? to->dweight + from : NULL, to->dbias ? to->dbias + from : NULL, gradient, in,
                       weight + from, mean, rstd, n);
    }
    const float plain = sums[0] / (float)d, along = sums[1] / (float)d * rstd;
    for (int64_t from = 0; from < d; from += ROW_CHUNK) {
        const int64_t n = min_i64(ROW_CHUNK, d - from);
        if (d > ROW_CHUNK) {
            gradient = row_load(dys, dy, y_type, offset + from, n);
            in = row_load(xs, x, x_type, offset + from, n);
        }
        const float *w = weight + from, *around = add ? row_load(adds, add, x_type, offset + from, n) : NULL;
        float *out = row_target(adds, dx, x_type, offset + from);
        if (around) {
#pragma omp simd
            for (int64_t i = 0; i < n; i++)
                out[i] = around[i] + rstd * (gradient[i] * w[i] - plain - (in[i] - mean) * along);
        } else {
#pragma omp simd
            for (int64_t i = 0; i < n; i++)
                out[i] = rstd * (gradient[i] * w[i] - plain - (in[i] - mean) * along);
        }
        if (to->dsum) {
            float *sum = to->dsum + from;
#pragma omp simd
            for (int64_t i = 0; i < n; i++)
                sum[i] += out[i];
        }
        if (copy)
            narrow(copy + offset + from, out, n);
        row_store(dx, x_type, offset + from, out, n);
    }
}

CPU_KERNEL vmae_status cpu_layer_norm_grad(vmae_backend *be, void *dx, vmae_bf16 *copy, float *dweight, float *dbias,
                                           float *dsum, float *scratch, const void *dy, vmae_type y_type, const void *x,
                                           vmae_type x_type, const float *mean, const float *rstd, const float *weight,
                                           const void *add, int64_t rows, int64_t d, bool accumulate)
{
    const bool sums = dweight || dbias;
    const int64_t stride = 3 * d;
#pragma omp parallel for schedule(static) num_threads(be->threads) if (rows * d >= PARALLEL_MIN)
    for (int64_t part = 0; part < SUM_BLOCKS; part++) {
        float *own = scratch + part * stride;
        const norm_sums to = { sums ? own : NULL, sums ? own + d : NULL, dsum ? own + 2 * d : NULL };
        if (sums || dsum)
            memset(own, 0, (size_t)stride * sizeof(float));
        for (int64_t row = sum_block(rows, part); row < sum_block(rows, part + 1); row++)
            norm_grad_row(dx, copy, &to, dy, y_type, x, x_type, mean[row], rstd[row], weight, add, row * d, d);
    }
    if (dweight)
        sum_parts(dweight, scratch, stride, d, accumulate);
    if (dbias)
        sum_parts(dbias, scratch + d, stride, d, accumulate);
    if (dsum)
        sum_parts(dsum, scratch + 2 * d, stride, d, accumulate);
    return VMAE_OK;
}
