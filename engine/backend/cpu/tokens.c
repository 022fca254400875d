/* tokens.c -- encoder and decoder inputs: class token, mask token, positions, unshuffling; and the gradients of these.
 *
 * Sums over the batch are cut by columns, or in the SUM_BLOCKS parts, never by threads: the same bits for any
 * number of them. */
#include "engine/backend/cpu/rows.h"

enum { TOKEN_COLUMNS = 64 }; /* columns that one thread sums over all rows: whole cache lines of either type */

/* y[at ...] = a + b over d values; a and b are rows of floats. */
static inline void tokens_add(void *y, vmae_type type, int64_t at, const float *a, const float *b, int64_t d)
{
    float ys[ROW_CHUNK];
    for (int64_t from = 0; from < d; from += ROW_CHUNK) {
        const int64_t n = min_i64(ROW_CHUNK, d - from);
        float *out = row_target(ys, y, type, at + from);
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            out[i] = a[from + i] + b[from + i];
        row_store(y, type, at + from, out, n);
    }
}

/* y[to ...] = x[from ...] + pos over d values, x and y of the same type. */
static inline void tokens_place(void *y, int64_t to, const void *x, int64_t from, const float *pos, vmae_type type,
                                int64_t d)
{
    float xs[ROW_CHUNK];
    for (int64_t i = 0; i < d; i += ROW_CHUNK) {
        const int64_t n = min_i64(ROW_CHUNK, d - i);
        tokens_add(y, type, to + i, row_load(xs, x, type, from + i, n), pos + i, n);
    }
}

/* sum[i] += x[at + i] for n <= ROW_CHUNK values. */
static inline void tokens_sum(float *sum, const void *x, vmae_type type, int64_t at, int64_t n)
{
    float xs[ROW_CHUNK];
    const float *row = row_load(xs, x, type, at, n);
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        sum[i] += row[i];
}

static inline void tokens_copy(void *y, int64_t to, const void *x, int64_t from, vmae_type type, int64_t n)
{
    const size_t size = vmae_type_size(type);
    memcpy((char *)y + (size_t)to * size, (const char *)x + (size_t)from * size, (size_t)n * size);
}

CPU_KERNEL vmae_status cpu_embed_tokens(vmae_backend *be, void *y, const void *x, const float *cls, const float *pos,
                                        const int32_t *ids, int64_t stride, vmae_type type, int64_t batch, int64_t keep,
                                        int64_t d)
{
    const int64_t tokens = 1 + keep;
#pragma omp parallel for schedule(static) num_threads(be->threads) if (batch * tokens * d >= PARALLEL_MIN)
    for (int64_t row = 0; row < batch * tokens; row++) {
        const int64_t b = row / tokens, j = row % tokens - 1;
        if (j < 0)
            tokens_add(y, type, row * d, cls, pos, d);
        else
            tokens_place(y, row * d, x, (b * keep + j) * d, pos + (1 + (ids ? ids[b * stride + j] : j)) * d, type, d);
    }
    return VMAE_OK;
}

/* dcls and row 0 of dpos for columns [from, from + n): the class tokens' gradients, in the SUM_BLOCKS parts of the
 * batch. */
static void embed_class_grad(float *dcls, float *dpos, const void *dy, vmae_type type, int64_t batch, int64_t tokens,
                             int64_t d, int64_t from, int64_t n, bool accumulate)
{
    float total[TOKEN_COLUMNS] = { 0 };
    for (int64_t part = 0; part < SUM_BLOCKS; part++) {
        float sum[TOKEN_COLUMNS] = { 0 };
        for (int64_t b = sum_block(batch, part); b < sum_block(batch, part + 1); b++)
            tokens_sum(sum, dy, type, b * tokens * d + from, n);
        for (int64_t i = 0; i < n; i++)
            total[i] += sum[i];
    }
    for (int64_t i = 0; i < n; i++) {
        if (dcls)
            dcls[from + i] = accumulate ? dcls[from + i] + total[i] : total[i];
        if (dpos)
            dpos[from + i] = accumulate ? dpos[from + i] + total[i] : total[i];
    }
}

CPU_KERNEL vmae_status cpu_embed_tokens_grad(vmae_backend *be, void *dx, float *dcls, float *dpos, const void *dy,
                                             const int32_t *ids, int64_t stride, vmae_type type, int64_t batch,
                                             int64_t keep, int64_t patches, int64_t d, bool accumulate)
{
    const int64_t tokens = 1 + keep;
    const bool fork = batch * tokens * d >= PARALLEL_MIN;
#pragma omp parallel for schedule(static) num_threads(be->threads) if (fork)
    for (int64_t b = 0; b < batch; b++)
        tokens_copy(dx, b * keep * d, dy, (b * tokens + 1) * d, type, keep * d);

#pragma omp parallel for schedule(static) num_threads(be->threads) if (fork && (dpos || batch * d >= PARALLEL_MIN))
    for (int64_t from = 0; from < d; from += TOKEN_COLUMNS) {
        const int64_t n = min_i64(TOKEN_COLUMNS, d - from);
        if (dcls || dpos)
            embed_class_grad(dcls, dpos, dy, type, batch, tokens, d, from, n, accumulate);
        if (!dpos)
            continue;
        if (!accumulate)
            for (int64_t l = 1; l <= patches; l++)
                memset(dpos + l * d + from, 0, (size_t)n * sizeof *dpos);
        for (int64_t b = 0; b < batch; b++)
            for (int64_t j = 0; j < keep; j++)
                tokens_sum(dpos + (1 + (ids ? ids[b * stride + j] : j)) * d + from, dy, type,
                           (b * tokens + 1 + j) * d + from, n);
    }
    return VMAE_OK;
}

CPU_KERNEL vmae_status cpu_unshuffle_tokens(vmae_backend *be, void *y, const void *x, const float *mask_token,
                                            const float *pos, const int32_t *ids_restore, vmae_type type, int64_t batch,
                                            int64_t keep, int64_t patches, int64_t d)
{
    const int64_t tokens = 1 + patches;
#pragma omp parallel for schedule(static) num_threads(be->threads) if (batch * tokens * d >= PARALLEL_MIN)
    for (int64_t row = 0; row < batch * tokens; row++) {
        const int64_t b = row / tokens, l = row % tokens;
        const int64_t from = l == 0 ? 0 : 1 + ids_restore[b * patches + l - 1]; /* token of x, or > keep: removed */
        if (from <= keep)
            tokens_place(y, row * d, x, (b * (1 + keep) + from) * d, pos + l * d, type, d);
        else
            tokens_add(y, type, row * d, mask_token, pos + l * d, d);
    }
    return VMAE_OK;
}

CPU_KERNEL vmae_status cpu_unshuffle_tokens_grad(vmae_backend *be, void *dx, float *dmask_token, float *scratch,
                                                 const void *dy, const int32_t *ids_restore, const int32_t *ids_shuffle,
                                                 vmae_type type, int64_t batch, int64_t keep, int64_t patches,
                                                 int64_t d, bool accumulate)
{
    const bool fork = batch * (1 + patches) * d >= PARALLEL_MIN;
#pragma omp parallel for schedule(static) num_threads(be->threads) if (fork)
    for (int64_t row = 0; row < batch * (1 + keep); row++) {
        const int64_t b = row / (1 + keep), j = row % (1 + keep);
        const int64_t from = j == 0 ? 0 : 1 + ids_shuffle[b * patches + j - 1];
        tokens_copy(dx, row * d, dy, (b * (1 + patches) + from) * d, type, d);
    }
    if (!dmask_token)
        return VMAE_OK;
#pragma omp parallel for schedule(static) num_threads(be->threads) if (fork)
    for (int64_t part = 0; part < SUM_BLOCKS; part++) {
        float *sum = scratch + part * d;
        memset(sum, 0, (size_t)d * sizeof *sum);
        for (int64_t b = sum_block(batch, part); b < sum_block(batch, part + 1); b++)
            for (int64_t l = 0; l < patches; l++) {
                if (ids_restore[b * patches + l] < keep)
                    continue;
                for (int64_t i = 0; i < d; i += ROW_CHUNK)
                    tokens_sum(sum + i, dy, type, (b * (1 + patches) + 1 + l) * d + i, min_i64(ROW_CHUNK, d - i));
            }
    }
    sum_parts(dmask_token, scratch, d, d, accumulate);
    return VMAE_OK;
}
