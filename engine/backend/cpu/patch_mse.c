/* patch_mse.c -- the reconstruction loss: row[r] = mask[r] mean_i (pred[r,i] - target[r,i])^2; loss = sum row / sum
 * mask. A target is a patch of an image, cut out and normalised where it is needed and kept nowhere.
 *
 * What makes a target is not inlined: its values are rounded before they are used, so loss and gradient are those of a
 * target that was stored. */
#include "engine/backend/cpu/rows.h"

#define PATCH_STEP static __attribute__((noinline))

/* The number of removed patches (masks may be fractions), or 0 if there are none, or no number. */
static double patch_mse_removed(const float *mask, int64_t rows)
{
    double removed = 0.0;
    for (int64_t r = 0; r < rows; r++)
        removed += mask[r];
    return removed > 0.0 ? removed : 0.0;
}

static vmae_status patch_mse_refuse(void)
{
    return vmae_fail(VMAE_EDATA,
                     "patch_mse: the mask removes no patch, so there is nothing to reconstruct; raise mask_ratio");
}

typedef struct patch_shape {
    int64_t channels, side, p, patches, values;
} patch_shape;

static patch_shape patch_shape_of(int64_t channels, int64_t side, int64_t p)
{
    return (patch_shape){ channels, side, p, (side / p) * (side / p), channels * p * p };
}

/* t = the pixels of patch r, channel fastest. */
PATCH_STEP void patch_cut(float *restrict t, const float *images, const patch_shape *s, int64_t r)
{
    const int64_t grid = s->side / s->p, b = r / s->patches, l = r % s->patches, plane = s->side * s->side;
    const float *corner = images + b * s->channels * plane + l / grid * s->p * s->side + l % grid * s->p;
    for (int64_t i = 0; i < s->p; i++)
        for (int64_t c = 0; c < s->channels; c++) {
            const float *from = corner + c * plane + i * s->side;
            for (int64_t j = 0; j < s->p; j++)
                t[(i * s->p + j) * s->channels + c] = from[j];
        }
}

/* stats = mean and 1/sqrt(var + 1e-6) of n values, the variance unbiased. */
PATCH_STEP void patch_measure(float *stats, const float *t, int64_t n)
{
    float sum = 0.0f, squares = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++)
        sum += t[i];
    const float mean = sum / (float)n;
#pragma omp simd reduction(+ : squares)
    for (int64_t i = 0; i < n; i++)
        squares += (t[i] - mean) * (t[i] - mean);
    stats[0] = mean;
    stats[1] = 1.0f / sqrtf(squares / (float)(n - 1) + 1e-6f);
}

PATCH_STEP void patch_scale(float *t, const float *stats, int64_t n)
{
    const float mean = stats[0], scale = stats[1];
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        t[i] = (t[i] - mean) * scale;
}

/* A target for every thread, a cache line apart. */
static int64_t patch_pitch(const patch_shape *s)
{
    return (s->values + 15) / 16 * 16;
}

static float *patch_targets(const vmae_backend *be, const patch_shape *s)
{
    return cpu_scratch((size_t)be->threads * (size_t)patch_pitch(s) * sizeof(float));
}

static float patch_distance(const void *pred, vmae_type type, int64_t at, const float *target, int64_t p)
{
    float xs[ROW_CHUNK], total = 0.0f;
    for (int64_t from = 0; from < p; from += ROW_CHUNK) {
        const int64_t n = min_i64(ROW_CHUNK, p - from);
        const float *x = row_load(xs, pred, type, at + from, n), *t = target + from;
        float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < n; i++)
            sum += (x[i] - t[i]) * (x[i] - t[i]);
        total += sum;
    }
    return total;
}

CPU_KERNEL vmae_status cpu_patch_mse(vmae_backend *be, float *loss, float *stats, float *scratch, const void *pred,
                                     const float *images, const float *mask, vmae_type type, int64_t batch,
                                     int64_t skip, int64_t channels, int64_t side, int64_t p, bool normalise)
{
    const patch_shape s = patch_shape_of(channels, side, p);
    const int64_t rows = batch * s.patches;
    if (normalise && s.values < 2)
        return vmae_fail(VMAE_EUSER,
                         "patch_mse: a patch of one value has no variance; use larger patches or raw pixels");
    const double removed = patch_mse_removed(mask, rows);
    if (removed == 0.0)
        return patch_mse_refuse();
    float *targets = patch_targets(be, &s), *row = scratch;
    if (!targets)
        return VMAE_ENOMEM;
#pragma omp parallel for schedule(static) num_threads(be->threads) if (rows * s.values >= PARALLEL_MIN)
    for (int64_t r = 0; r < rows; r++) {
        float *t = targets + omp_get_thread_num() * patch_pitch(&s), *own = stats + 2 * r;
        row[r] = own[0] = own[1] = 0.0f;
        if (mask[r] == 0.0f)
            continue;
        patch_cut(t, images, &s, r);
        own[1] = 1.0f;
        if (normalise) {
            patch_measure(own, t, s.values);
            patch_scale(t, own, s.values);
        }
        const int64_t at = (r / s.patches * (skip + s.patches) + skip + r % s.patches) * s.values;
        row[r] = mask[r] * patch_distance(pred, type, at, t, s.values) / (float)s.values;
    }
    double total = 0.0; /* serial: the same bits for any number of threads */
    for (int64_t r = 0; r < rows; r++)
        total += row[r];
    stats[2 * rows] = (float)removed;
    *loss = (float)(total / removed);
    return VMAE_OK;
}

CPU_KERNEL vmae_status cpu_patch_mse_grad(vmae_backend *be, void *dpred, const float *dloss, const void *pred,
                                          const float *images, const float *mask, const float *stats, vmae_type type,
                                          int64_t batch, int64_t skip, int64_t channels, int64_t side, int64_t p)
{
    const patch_shape s = patch_shape_of(channels, side, p);
    const double removed = patch_mse_removed(mask, batch * s.patches);
    if (removed == 0.0)
        return patch_mse_refuse();
    float *targets = patch_targets(be, &s);
    if (!targets)
        return VMAE_ENOMEM;
    const float scale = (float)(2.0 * *dloss / (removed * (double)s.values));
    const int64_t tokens = skip + s.patches;
#pragma omp parallel for schedule(static) num_threads(be->threads) if (batch * tokens * s.values >= PARALLEL_MIN)
    for (int64_t token = 0; token < batch * tokens; token++) {
        const int64_t l = token % tokens - skip, r = token / tokens * s.patches + l;
        const float weight = l < 0 ? 0.0f : mask[r] * scale;
        const size_t size = vmae_type_size(type);
        if (weight == 0.0f) {
            memset((char *)dpred + (size_t)(token * s.values) * size, 0, (size_t)s.values * size);
            continue;
        }
        float xs[ROW_CHUNK], ys[ROW_CHUNK], *target = targets + omp_get_thread_num() * patch_pitch(&s);
        patch_cut(target, images, &s, r);
        patch_scale(target, stats + 2 * r, s.values);
        for (int64_t from = 0; from < s.values; from += ROW_CHUNK) {
            const int64_t n = min_i64(ROW_CHUNK, s.values - from), at = token * s.values + from;
            const float *x = row_load(xs, pred, type, at, n), *t = target + from;
            float *out = row_target(ys, dpred, type, at);
#pragma omp simd
            for (int64_t i = 0; i < n; i++)
                out[i] = weight * (x[i] - t[i]);
            row_store(dpred, type, at, out, n);
        }
    }
    return VMAE_OK;
}
