/* batch_norm.c -- BatchNorm1d with separate statistics for runs of rows (views), and its gradient.
 *
 * A thread takes a strip of columns over all rows: a group's strip stays in the second-level cache between passes, and
 * no sum crosses threads. Inside a strip, sums over a group's rows go in SUM_BLOCKS parts. */
#include "engine/backend/cpu/rows.h"

enum { STRIP = 256 }; /* at most: 1 KiB of a row of floats, so that the prefetcher follows */

typedef struct strip {
    int64_t first, count; /* columns */
    int64_t row, rows;    /* the group's rows */
    int64_t d;
    vmae_type type;
} strip;

/* Columns of a strip. No bit of the result depends on it: a column is summed alone. */
static inline int64_t strip_width(int64_t d, int threads)
{
    const int64_t share = ((d + threads - 1) / threads + 15) / 16 * 16;
    return min_i64(share, STRIP);
}

static inline int64_t strip_offset(const strip *s, int64_t row)
{
    return (s->row + row) * s->d + s->first;
}

/* total[c] = sum of x over the strip's rows; with `mean`: of (x - mean)^2. */
static void strip_sum(float *total, const strip *s, const void *x, const float *mean)
{
    float xs[STRIP] ALIGNED;
    memset(total, 0, STRIP * sizeof(float));
    for (int64_t part = 0; part < SUM_BLOCKS; part++) {
        float sum[STRIP] ALIGNED = { 0 };
        for (int64_t row = sum_block(s->rows, part); row < sum_block(s->rows, part + 1); row++) {
            const float *in = row_load(xs, x, s->type, strip_offset(s, row), s->count);
            if (mean) {
#pragma omp simd
                for (int64_t c = 0; c < s->count; c++)
                    sum[c] += (in[c] - mean[c]) * (in[c] - mean[c]);
            } else {
#pragma omp simd
                for (int64_t c = 0; c < s->count; c++)
                    sum[c] += in[c];
            }
        }
        for (int64_t c = 0; c < STRIP; c++)
            total[c] += sum[c];
    }
}

/* y = x scale + shift, then ReLU (which keeps NaN). */
static void strip_apply(void *y, const strip *s, const void *x, const float *mean, const float *scale,
                        const float *shift, bool relu)
{
    for (int64_t row = 0; row < s->rows; row++) {
        float xs[STRIP] ALIGNED;
        const int64_t offset = strip_offset(s, row);
        const float *in = row_load(xs, x, s->type, offset, s->count);
        float *out = row_target(xs, y, s->type, offset);
        if (relu) {
#pragma omp simd
            for (int64_t c = 0; c < s->count; c++) {
                const float value = (in[c] - mean[c]) * scale[c] + shift[c];
                out[c] = value < 0.0f ? 0.0f : value;
            }
        } else {
#pragma omp simd
            for (int64_t c = 0; c < s->count; c++)
                out[c] = (in[c] - mean[c]) * scale[c] + shift[c];
        }
        row_store(y, s->type, offset, out, s->count);
    }
}

/* Statistics of one group's strip: mean, rstd, and the running values brought forward. A group of one row has no
 * unbiased variance; its biased one, 0, is used. */
static void strip_statistics(const strip *s, float *mean, float *rstd, float *running_mean, float *running_var,
                             const void *x, float eps, float momentum)
{
    float sum[STRIP] ALIGNED;
    const float rows = (float)s->rows, unbiased = s->rows > 1 ? rows / (rows - 1.0f) : 1.0f;
    strip_sum(sum, s, x, NULL);
    for (int64_t c = 0; c < s->count; c++)
        mean[c] = sum[c] / rows;
    strip_sum(sum, s, x, mean);
    for (int64_t c = 0; c < s->count; c++) {
        const float variance = sum[c] / rows;
        rstd[c] = 1.0f / sqrtf(variance + eps);
        running_mean[c] += momentum * (mean[c] - running_mean[c]);
        running_var[c] += momentum * (variance * unbiased - running_var[c]);
    }
}

CPU_KERNEL vmae_status cpu_batch_norm(vmae_backend *be, void *y, float *mean, float *rstd, float *running_mean,
                                      float *running_var, const void *x, const float *weight, const float *bias,
                                      vmae_type type, int64_t rows, int64_t d, int64_t groups, float eps,
                                      float momentum, bool relu)
{
    const int64_t each = rows / groups, width = strip_width(d, be->threads);
#pragma omp parallel for schedule(static) num_threads(be->threads) if (rows * d >= PARALLEL_MIN)
    for (int64_t first = 0; first < d; first += width) {
        for (int64_t group = 0; group < groups; group++) {
            const strip s = { first, min_i64(width, d - first), group * each, each, d, type };
            float *m = mean + group * d + first, *r = rstd + group * d + first;
            float scale[STRIP] ALIGNED, shift[STRIP] ALIGNED;
            strip_statistics(&s, m, r, running_mean + first, running_var + first, x, eps, momentum);
            for (int64_t c = 0; c < s.count; c++) {
                scale[c] = weight ? r[c] * weight[first + c] : r[c];
                shift[c] = bias ? bias[first + c] : 0.0f;
            }
            strip_apply(y, &s, x, m, scale, shift, relu);
        }
    }
    return VMAE_OK;
}

CPU_KERNEL vmae_status cpu_batch_norm_infer(vmae_backend *be, void *y, const float *running_mean,
                                            const float *running_var, const void *x, const float *weight,
                                            const float *bias, vmae_type type, int64_t rows, int64_t d, float eps,
                                            bool relu)
{
    const int64_t width = strip_width(d, be->threads);
#pragma omp parallel for schedule(static) num_threads(be->threads) if (rows * d >= PARALLEL_MIN)
    for (int64_t first = 0; first < d; first += width) {
        const strip s = { first, min_i64(width, d - first), 0, rows, d, type };
        float scale[STRIP] ALIGNED, shift[STRIP] ALIGNED;
        for (int64_t c = 0; c < s.count; c++) {
            const float r = 1.0f / sqrtf(running_var[first + c] + eps);
            scale[c] = weight ? r * weight[first + c] : r;
            shift[c] = bias ? bias[first + c] : 0.0f;
        }
        strip_apply(y, &s, x, running_mean + first, scale, shift, relu);
    }
    return VMAE_OK;
}

/* dy where it passed the ReLU: y NULL: everywhere. The result is dy itself or in `buffer`. */
static const float *strip_passed(float *buffer, const strip *s, const void *dy, const void *y, int64_t offset)
{
    float ys[STRIP] ALIGNED;
    const float *in = row_load(buffer, dy, s->type, offset, s->count);
    if (!y)
        return in;
    const float *value = row_load(ys, y, s->type, offset, s->count);
#pragma omp simd
    for (int64_t c = 0; c < s->count; c++)
        buffer[c] = value[c] > 0.0f ? in[c] : 0.0f;
    return buffer;
}

/* Over the rows of one group's strip: plain = sum dy, along = sum dy x^, mean = the mean of x. In double, as
 * strip_grad(): the gradient of a bias in front of a BatchNorm, the sum of dx over few rows, is zero in exact
 * arithmetic, and Adam would turn its rounding into steps. */
typedef struct strip_sums {
    double plain[STRIP], along[STRIP], mean[STRIP];
} strip_sums;

static void strip_grad_sums(strip_sums *sums, const strip *s, const void *dy, const void *x, const void *y,
                            const float *mean, const float *rstd)
{
    float dys[STRIP] ALIGNED, xs[STRIP] ALIGNED;
    memset(sums, 0, sizeof *sums);
    for (int64_t row = 0; row < s->rows; row++) {
        const int64_t offset = strip_offset(s, row);
        const float *gradient = strip_passed(dys, s, dy, y, offset), *in = row_load(xs, x, s->type, offset, s->count);
#pragma omp simd
        for (int64_t c = 0; c < s->count; c++) {
            const double deviation = (double)in[c] - (double)mean[c];
            sums->plain[c] += (double)gradient[c];
            sums->along[c] += (double)gradient[c] * deviation;
            sums->mean[c] += deviation;
        }
    }
    for (int64_t c = 0; c < s->count; c++) { /* from the rounded mean to the true one */
        const double off = sums->mean[c] / (double)s->rows;
        sums->along[c] = (sums->along[c] - off * sums->plain[c]) * (double)rstd[c];
        sums->mean[c] = (double)mean[c] + off;
    }
}

/* dx = w rstd (dy - mean(dy) - x^ mean(dy x^)), the means over the group's rows; sum[c] += its column sums before they
 * are rounded. */
static void strip_grad(void *dx, double *sum, const strip *s, const strip_sums *sums, const void *dy, const void *x,
                       const void *y, const float *rstd, const float *weight)
{
    float dys[STRIP] ALIGNED, xs[STRIP] ALIGNED;
    double scale[STRIP] ALIGNED, offsets[STRIP] ALIGNED, slope[STRIP] ALIGNED;
    for (int64_t c = 0; c < s->count; c++) {
        scale[c] = (double)rstd[c] * (weight ? (double)weight[c] : 1.0);
        offsets[c] = sums->plain[c] / (double)s->rows;
        slope[c] = sums->along[c] / (double)s->rows * (double)rstd[c];
    }
    for (int64_t row = 0; row < s->rows; row++) {
        const int64_t offset = strip_offset(s, row);
        const float *gradient = strip_passed(dys, s, dy, y, offset), *in = row_load(xs, x, s->type, offset, s->count);
        float *out = row_target(dys, dx, s->type, offset);
#pragma omp simd
        for (int64_t c = 0; c < s->count; c++) {
            const double value =
                scale[c] * ((double)gradient[c] - offsets[c] - ((double)in[c] - sums->mean[c]) * slope[c]);
            sum[c] += value;
            out[c] = (float)value;
        }
        row_store(dx, s->type, offset, out, s->count);
    }
}

CPU_KERNEL vmae_status cpu_batch_norm_grad(vmae_backend *be, void *dx, float *dweight, float *dbias, float *dsum,
                                           const void *dy, const void *x, const void *y, const float *mean,
                                           const float *rstd, const float *weight, vmae_type type, int64_t rows,
                                           int64_t d, int64_t groups, bool relu, bool accumulate)
{
    const int64_t each = rows / groups, width = strip_width(d, be->threads);
#pragma omp parallel for schedule(static) num_threads(be->threads) if (rows * d >= PARALLEL_MIN)
    for (int64_t first = 0; first < d; first += width) {
        const int64_t count = min_i64(width, d - first);
        double plain_sum[STRIP] ALIGNED = { 0 }, along_sum[STRIP] ALIGNED = { 0 }, sum[STRIP] ALIGNED = { 0 };
        for (int64_t group = 0; group < groups; group++) {
            const strip s = { first, count, group * each, each, d, type };
            const float *m = mean + group * d + first, *r = rstd + group * d + first;
            strip_sums sums;
            strip_grad_sums(&sums, &s, dy, x, relu ? y : NULL, m, r);
            for (int64_t c = 0; c < count; c++) {
                plain_sum[c] += sums.plain[c];
                along_sum[c] += sums.along[c];
            }
            if (dx)
                strip_grad(dx, sum, &s, &sums, dy, x, relu ? y : NULL, r, weight ? weight + first : NULL);
        }
        for (int64_t c = 0; c < count && dsum; c++)
            dsum[first + c] = (float)sum[c] + (accumulate ? dsum[first + c] : 0.0f);
        for (int64_t c = 0; c < count && dweight; c++)
            dweight[first + c] = (float)along_sum[c] + (accumulate ? dweight[first + c] : 0.0f);
        for (int64_t c = 0; c < count && dbias; c++)
            dbias[first + c] = (float)plain_sum[c] + (accumulate ? dbias[first + c] : 0.0f);
    }
    return VMAE_OK;
}
