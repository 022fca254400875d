/* l2_normalize.c -- y = x / max(|x|, 1e-12) by rows; norm keeps |x| itself. Sums in double: the square of no float
 * overflows or vanishes. */
#include "engine/backend/cpu/rows.h"

#define L2_NORMALIZE_EPS 1e-12

CPU_KERNEL vmae_status cpu_l2_normalize(vmae_backend *be, float *y, float *norm, const float *x, int64_t rows,
                                        int64_t d)
{
#pragma omp parallel for schedule(static) num_threads(be->threads) if (rows * d >= PARALLEL_MIN)
    for (int64_t r = 0; r < rows; r++) {
        const float *in = x + r * d;
        float *out = y + r * d;
        double sum = 0.0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < d; i++)
            sum += (double)in[i] * (double)in[i];
        const double length = sqrt(sum),
                     divisor = length < L2_NORMALIZE_EPS ? L2_NORMALIZE_EPS : length; /* NaN stays */
        norm[r] = (float)length;
#pragma omp simd
        for (int64_t i = 0; i < d; i++)
            out[i] = (float)((double)in[i] / divisor);
    }
    return VMAE_OK;
}

/* dx = (dy - y (y.dy)) / |x|; where |x| was below the limit, y = x / limit and dx = dy / limit. */
CPU_KERNEL vmae_status cpu_l2_normalize_grad(vmae_backend *be, float *dx, const float *dy, const float *y,
                                             const float *norm, int64_t rows, int64_t d)
{
#pragma omp parallel for schedule(static) num_threads(be->threads) if (rows * d >= PARALLEL_MIN)
    for (int64_t r = 0; r < rows; r++) {
        const float *in = dy + r * d, *unit = y + r * d;
        float *out = dx + r * d;
        const bool clamped = norm[r] < (float)L2_NORMALIZE_EPS;
        double dot = 0.0;
#pragma omp simd reduction(+ : dot)
        for (int64_t i = 0; i < d; i++)
            dot += (double)in[i] * (double)unit[i];
        if (clamped)
            dot = 0.0;
        const double scale = 1.0 / (clamped ? L2_NORMALIZE_EPS : (double)norm[r]);
#pragma omp simd
        for (int64_t i = 0; i < d; i++)
            out[i] = (float)(((double)in[i] - (double)unit[i] * dot) * scale);
    }
    return VMAE_OK;
}
