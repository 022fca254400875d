/* masked_mse.c -- row[r] = mask[r] mean_i (pred[r,i] - target[r,i])^2; loss = sum row / sum mask. */
#include "engine/backend/cpu/rows.h"

/* The number of removed patches (masks may be fractions), or 0 if there are none, or no number. */
static double masked_mse_removed(const float *mask, int64_t rows)
{
    double removed = 0.0;
    for (int64_t r = 0; r < rows; r++)
        removed += mask[r];
    return removed > 0.0 ? removed : 0.0;
}

static vmae_status masked_mse_refuse(void)
{
    return vmae_fail(VMAE_EDATA,
                     "masked_mse: the mask removes no patch, so there is nothing to reconstruct; raise mask_ratio");
}

static float masked_mse_distance(const void *pred, vmae_type type, int64_t at, const float *target, int64_t p)
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

CPU_KERNEL vmae_status cpu_masked_mse(vmae_backend *be, float *loss, float *row, const void *pred, const float *target,
                                      const float *mask, vmae_type type, int64_t batch, int64_t skip, int64_t patches,
                                      int64_t p)
{
    const int64_t rows = batch * patches;
    const double removed = masked_mse_removed(mask, rows);
    if (removed == 0.0)
        return masked_mse_refuse();
#pragma omp parallel for schedule(static) num_threads(be->threads) if (rows * p >= PARALLEL_MIN)
    for (int64_t r = 0; r < rows; r++) {
        const int64_t at = (r / patches * (skip + patches) + skip + r % patches) * p;
        row[r] = mask[r] == 0.0f ? 0.0f : mask[r] * masked_mse_distance(pred, type, at, target + r * p, p) / (float)p;
    }
    double total = 0.0; /* serial: the same bits for any number of threads */
    for (int64_t r = 0; r < rows; r++)
        total += row[r];
    *loss = (float)(total / removed);
    return VMAE_OK;
}

CPU_KERNEL vmae_status cpu_masked_mse_grad(vmae_backend *be, void *dpred, const float *dloss, const void *pred,
                                           const float *target, const float *mask, vmae_type type, int64_t batch,
                                           int64_t skip, int64_t patches, int64_t p)
{
    const double removed = masked_mse_removed(mask, batch * patches);
    if (removed == 0.0)
        return masked_mse_refuse();
    const float scale = (float)(2.0 * *dloss / (removed * (double)p));
    const int64_t tokens = skip + patches;
#pragma omp parallel for schedule(static) num_threads(be->threads) if (batch * tokens * p >= PARALLEL_MIN)
    for (int64_t token = 0; token < batch * tokens; token++) {
        const int64_t l = token % tokens - skip, r = token / tokens * patches + l;
        const float weight = l < 0 ? 0.0f : mask[r] * scale;
        if (weight == 0.0f) {
            memset((char *)dpred + (size_t)(token * p) * vmae_type_size(type), 0, (size_t)p * vmae_type_size(type));
            continue;
        }
        float xs[ROW_CHUNK], ys[ROW_CHUNK];
        for (int64_t from = 0; from < p; from += ROW_CHUNK) {
            const int64_t n = min_i64(ROW_CHUNK, p - from), at = token * p + from;
            const float *x = row_load(xs, pred, type, at, n), *t = target + r * p + from;
            float *out = row_target(ys, dpred, type, at);
#pragma omp simd
            for (int64_t i = 0; i < n; i++)
                out[i] = weight * (x[i] - t[i]);
            row_store(dpred, type, at, out, n);
        }
    }
    return VMAE_OK;
}
