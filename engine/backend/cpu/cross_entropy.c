/* cross_entropy.c -- mean cross-entropy of logits with smoothed labels or soft targets t:
 *
 *   prob = softmax(logits), row[r] = -sum_c t[r,c] log prob[r,c], loss = mean_r row[r]
 *   dlogits = dloss / rows (prob sum_c t - t) */
#include "engine/backend/cpu/fast_math.h"
#include "engine/backend/cpu/rows.h"

static vmae_status cross_entropy_check(const int32_t *labels, int64_t rows, int64_t classes)
{
    for (int64_t r = 0; r < rows; r++)
        if (labels[r] < 0 || labels[r] >= classes)
            return vmae_fail(
                VMAE_EDATA,
                "cross_entropy: the label of sample %lld is %d, but there are %lld classes (0 to %lld); check the "
                "dataset's labels and the number of classes",
                (long long)r, (int)labels[r], (long long)classes, (long long)classes - 1);
    return VMAE_OK;
}

/* prob = softmax(x); returns log sum exp x. */
static float cross_entropy_softmax(float *prob, const float *x, int64_t classes)
{
    float top = x[0], sum = 0.0f;
#pragma omp simd reduction(max : top)
    for (int64_t c = 0; c < classes; c++)
        top = x[c] > top ? x[c] : top;
#pragma omp simd reduction(+ : sum)
    for (int64_t c = 0; c < classes; c++) {
        prob[c] = fast_exp(x[c] - top);
        sum += prob[c];
    }
    const float scale = 1.0f / sum;
#pragma omp simd
    for (int64_t c = 0; c < classes; c++)
        prob[c] *= scale;
    return top + logf(sum);
}

/* sum_c t[c] (lse - x[c]) */
static float cross_entropy_soft(const float *x, const float *t, float lse, int64_t classes)
{
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t c = 0; c < classes; c++)
        sum += t[c] * (lse - x[c]);
    return sum;
}

/* sum_c (lse - x[c]) / classes */
static float cross_entropy_uniform(const float *x, float lse, int64_t classes)
{
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t c = 0; c < classes; c++)
        sum += lse - x[c];
    return sum / (float)classes;
}

CPU_KERNEL vmae_status cpu_cross_entropy(vmae_backend *be, float *loss, float *prob, float *row, const float *logits,
                                         const int32_t *labels, const float *targets, int64_t rows, int64_t classes,
                                         float smoothing)
{
    if (!targets)
        VMAE_TRY(cross_entropy_check(labels, rows, classes));
#pragma omp parallel for schedule(static) num_threads(be->threads) if (rows * classes >= PARALLEL_MIN / 4)
    for (int64_t r = 0; r < rows; r++) {
        const float *x = logits + r * classes;
        const float lse = cross_entropy_softmax(prob + r * classes, x, classes);
        if (targets)
            row[r] = cross_entropy_soft(x, targets + r * classes, lse, classes);
        else if (smoothing == 0.0f)
            row[r] = lse - x[labels[r]];
        else
            row[r] = (1.0f - smoothing) * (lse - x[labels[r]]) + smoothing * cross_entropy_uniform(x, lse, classes);
    }
    double total = 0.0; /* serial: the same bits for any number of threads */
    for (int64_t r = 0; r < rows; r++)
        total += row[r];
    *loss = (float)(total / (double)rows);
    return VMAE_OK;
}

CPU_KERNEL vmae_status cpu_cross_entropy_grad(vmae_backend *be, float *dlogits, const float *dloss, const float *prob,
                                              const int32_t *labels, const float *targets, int64_t rows,
                                              int64_t classes, float smoothing)
{
    if (!targets)
        VMAE_TRY(cross_entropy_check(labels, rows, classes));
    const float scale = *dloss / (float)rows, off = smoothing / (float)classes;
#pragma omp parallel for schedule(static) num_threads(be->threads) if (rows * classes >= PARALLEL_MIN)
    for (int64_t r = 0; r < rows; r++) {
        const float *p = prob + r * classes;
        float *out = dlogits + r * classes;
        if (targets) {
            const float *t = targets + r * classes;
            float weight = 0.0f; /* 1, up to rounding, for a distribution; but the formula holds for any targets */
#pragma omp simd reduction(+ : weight)
            for (int64_t c = 0; c < classes; c++)
                weight += t[c];
#pragma omp simd
            for (int64_t c = 0; c < classes; c++)
                out[c] = scale * (weight * p[c] - t[c]);
        } else {
#pragma omp simd
            for (int64_t c = 0; c < classes; c++)
                out[c] = scale * (p[c] - off);
            out[labels[r]] -= scale * (1.0f - smoothing);
        }
    }
    return VMAE_OK;
}
