/* info_nce.c -- the contrastive loss over all pairs of rows, in tiles: no rows x rows matrix ever exists.
 *
 *   s_ik = z_i.z_k / temperature                      positives of i: k != i, k = i mod period
 *   lse_all_i = log sum_{k != i} exp s_ik             lse_positive_i = the same over its positives
 *   loss = mean_i (lse_all_i - lse_positive_i)
 *   dz_i = dloss / (rows temperature) sum_k w_ik z_k, because s is symmetric, with
 *   w_ik = exp(s_ik - lse_all_i) + exp(s_ik - lse_all_k) - [k positive of i] (exp(s_ik - lse_positive_i) + exp(s_ik -
 * lse_positive_k))
 *
 * A thread takes a block of rows i and walks over tiles of rows k. Every row goes through the same instructions in the
 * same order whatever block it is in, so blocks may follow the number of threads without changing a bit. */
#include "engine/backend/cpu/fast_math.h"
#include "engine/backend/cpu/rows.h"

#if defined(__AVX512F__)
#define NCE_VECTOR_BYTES 64
#elif defined(__AVX__)
#define NCE_VECTOR_BYTES 32
#else
#define NCE_VECTOR_BYTES 16
#endif
typedef float nce_vector __attribute__((vector_size(NCE_VECTOR_BYTES), aligned(4), may_alias));

enum {
    NCE_LANES = NCE_VECTOR_BYTES / 4,
    NCE_WIDE = 2 * NCE_LANES, /* a register tile: NCE_HIGH rows of two vectors */
    NCE_HIGH = 6,
    NCE_BLOCK = 32 * NCE_HIGH, /* most rows i of a block */
    NCE_TILE = 64,             /* rows k of a tile */
    NCE_DEPTH = 128,           /* columns of z that are packed at a time */
};

typedef struct nce_buffers {
    float s[NCE_BLOCK * NCE_TILE] ALIGNED;      /* similarities, then weights, of a block and a tile */
    float packed[NCE_DEPTH * NCE_TILE] ALIGNED; /* the tile's rows, transposed */
} nce_buffers;

/* c[m, NCE_WIDE] (+)= a[m, k] b[k, NCE_WIDE], m <= NCE_HIGH: missing rows repeat the last one and are not stored. */
static void nce_product(float *c, int64_t ldc, int64_t m, const float *a, int64_t lda, const float *b, int64_t ldb,
                        int64_t k, bool accumulate)
{
    const float *row[NCE_HIGH];
    nce_vector sum[NCE_HIGH][2] = { { { 0.0f } } };
    for (int64_t i = 0; i < NCE_HIGH; i++)
        row[i] = a + min_i64(i, m - 1) * lda;
    for (int64_t j = 0; j < k; j++) {
        const nce_vector left = *(const nce_vector *)(b + j * ldb),
                         right = *(const nce_vector *)(b + j * ldb + NCE_LANES);
#pragma GCC unroll 6
        for (int64_t i = 0; i < NCE_HIGH; i++) {
            sum[i][0] += row[i][j] * left;
            sum[i][1] += row[i][j] * right;
        }
    }
#pragma GCC unroll 6
    for (int64_t i = 0; i < NCE_HIGH; i++) {
        if (i >= m)
            break;
        nce_vector *left = (nce_vector *)(c + i * ldc), *right = (nce_vector *)(c + i * ldc + NCE_LANES);
        if (accumulate) {
            sum[i][0] += *left;
            sum[i][1] += *right;
        }
        *left = sum[i][0];
        *right = sum[i][1];
    }
}

/* buffers->s[i, k] = z[i0 + i].z[k0 + k] for i < ni, k < NCE_TILE; 0 from k = nk on. */
static void nce_similarities(nce_buffers *buffers, const float *z, int64_t d, int64_t i0, int64_t ni, int64_t k0,
                             int64_t nk)
{
    float *packed = buffers->packed;
    for (int64_t from = 0; from < d; from += NCE_DEPTH) {
        const int64_t depth = min_i64(NCE_DEPTH, d - from);
        for (int64_t j = 0; j < depth; j++) {
            const float *column = z + k0 * d + from + j;
            for (int64_t k = 0; k < NCE_TILE; k++)
                packed[j * NCE_TILE + k] = k < nk ? column[k * d] : 0.0f;
        }
        for (int64_t k = 0; k < NCE_TILE; k += NCE_WIDE)
            for (int64_t i = 0; i < ni; i += NCE_HIGH)
                nce_product(buffers->s + i * NCE_TILE + k, NCE_TILE, min_i64(NCE_HIGH, ni - i), z + (i0 + i) * d + from,
                            d, packed + k, NCE_TILE, depth, from > 0);
    }
}

/* The first k >= k0 with k = i mod period. */
static inline int64_t nce_first_positive(int64_t i, int64_t k0, int64_t period)
{
    const int64_t phase = (i - k0) % period;
    return k0 + (phase < 0 ? phase + period : phase);
}

/* A running log-sum-exp: log of the sum is top + log(sum). */
typedef struct nce_lse {
    float top, sum;
} nce_lse;

static inline void nce_lse_add(nce_lse *lse, float s)
{
    const float top = s > lse->top ? s : lse->top;
    lse->sum = lse->sum * fast_exp(lse->top - top) + fast_exp(s - top);
    lse->top = top;
}

/* Takes the similarities of row i with tile [k0, k0 + nk) into both sums. */
static void nce_row(nce_lse *all, nce_lse *positive, float *s, int64_t i, int64_t k0, int64_t nk, int64_t period,
                    float scale)
{
#pragma omp simd
    for (int64_t k = 0; k < NCE_TILE; k++)
        s[k] *= scale;
    for (int64_t k = nce_first_positive(i, k0, period); k < k0 + nk; k += period)
        if (k != i)
            nce_lse_add(positive, s[k - k0]);
    for (int64_t k = nk; k < NCE_TILE; k++)
        s[k] = -INFINITY;
    if (i >= k0 && i < k0 + nk)
        s[i - k0] = -INFINITY;

    float top = all->top, sum = 0.0f;
#pragma omp simd reduction(max : top)
    for (int64_t k = 0; k < NCE_TILE; k++)
        top = s[k] > top ? s[k] : top;
#pragma omp simd reduction(+ : sum)
    for (int64_t k = 0; k < NCE_TILE; k++) /* what is left out counts e^-87 beside 1 */
        sum += fast_exp(s[k] - top);
    all->sum = all->sum * fast_exp(all->top - top) + sum;
    all->top = top;
}

static int64_t nce_block_rows(int64_t rows, int threads)
{
    const int64_t share = (rows + threads - 1) / threads, whole = (share + NCE_HIGH - 1) / NCE_HIGH * NCE_HIGH;
    return min_i64(NCE_BLOCK, whole);
}

static vmae_status nce_check(int64_t rows, int64_t period, float temperature)
{
    if (rows < 2 || period < 1 || rows % period != 0 || rows / period < 2)
        return vmae_fail(
            VMAE_EUSER,
            "info_nce: %lld rows with period %lld leave rows without a positive; the batch needs two views of "
            "every sample",
            (long long)rows, (long long)period);
    if (!(temperature > 0.0f))
        return vmae_fail(VMAE_EUSER, "info_nce: temperature is %g; it must be above 0", (double)temperature);
    return VMAE_OK;
}

CPU_KERNEL vmae_status cpu_info_nce(vmae_backend *be, float *loss, float *lse_all, float *lse_positive, const float *z,
                                    int64_t rows, int64_t d, int64_t period, float temperature)
{
    VMAE_TRY(nce_check(rows, period, temperature));
    const int64_t block = nce_block_rows(rows, be->threads), blocks = (rows + block - 1) / block;
    const float scale = 1.0f / temperature;
#pragma omp parallel for schedule(static) num_threads(be->threads) if (rows * rows * d >= 32 * PARALLEL_MIN)
    for (int64_t part = 0; part < blocks; part++) {
        nce_buffers buffers;
        nce_lse all[NCE_BLOCK], positive[NCE_BLOCK];
        const int64_t i0 = part * block, ni = min_i64(block, rows - i0);
        for (int64_t i = 0; i < ni; i++)
            all[i] = positive[i] = (nce_lse){ -INFINITY, 0.0f };
        for (int64_t k0 = 0; k0 < rows; k0 += NCE_TILE) {
            const int64_t nk = min_i64(NCE_TILE, rows - k0);
            nce_similarities(&buffers, z, d, i0, ni, k0, nk);
            for (int64_t i = 0; i < ni; i++)
                nce_row(&all[i], &positive[i], buffers.s + i * NCE_TILE, i0 + i, k0, nk, period, scale);
        }
        for (int64_t i = 0; i < ni; i++) {
            lse_all[i0 + i] = all[i].top + logf(all[i].sum);
            lse_positive[i0 + i] = positive[i].top + logf(positive[i].sum);
        }
    }
    double total = 0.0; /* serial: the same bits for any number of threads */
    for (int64_t i = 0; i < rows; i++)
        total += (double)lse_all[i] - (double)lse_positive[i];
    *loss = (float)(total / (double)rows);
    return VMAE_OK;
}

/* s = w of row i and tile [k0, k0 + nk), times factor. */
static void nce_weights(float *s, const float *lse_all, const float *lse_positive, int64_t i, int64_t k0, int64_t nk,
                        int64_t period, float scale, float factor)
{
    float w[NCE_TILE];
#pragma omp simd
    for (int64_t k = 0; k < nk; k++) {
        s[k] *= scale;
        w[k] = fast_exp(s[k] - lse_all[i]) + fast_exp(s[k] - lse_all[k0 + k]);
    }
    for (int64_t k = nce_first_positive(i, k0, period); k < k0 + nk; k += period)
        w[k - k0] -= fast_exp(s[k - k0] - lse_positive[i]) + fast_exp(s[k - k0] - lse_positive[k]);
    if (i >= k0 && i < k0 + nk)
        w[i - k0] = 0.0f;
#pragma omp simd
    for (int64_t k = 0; k < nk; k++)
        s[k] = w[k] * factor;
}

/* dz[i0 + i] (+)= sum_k s[i, k] z[k0 + k] */
static void nce_gather(float *dz, nce_buffers *buffers, const float *z, int64_t d, int64_t i0, int64_t ni, int64_t k0,
                       int64_t nk)
{
    const int64_t whole = d / NCE_WIDE * NCE_WIDE, rest = d - whole;
    for (int64_t column = 0; column < whole; column += NCE_WIDE)
        for (int64_t i = 0; i < ni; i += NCE_HIGH)
            nce_product(dz + (i0 + i) * d + column, d, min_i64(NCE_HIGH, ni - i), buffers->s + i * NCE_TILE, NCE_TILE,
                        z + k0 * d + column, d, nk, k0 > 0);
    if (rest == 0)
        return;
    for (int64_t k = 0; k < nk; k++) /* the last columns, padded to a register tile */
        for (int64_t j = 0; j < NCE_WIDE; j++)
            buffers->packed[k * NCE_WIDE + j] = j < rest ? z[(k0 + k) * d + whole + j] : 0.0f;
    for (int64_t i = 0; i < ni; i += NCE_HIGH) {
        const int64_t m = min_i64(NCE_HIGH, ni - i);
        float tile[NCE_HIGH * NCE_WIDE];
        nce_product(tile, NCE_WIDE, m, buffers->s + i * NCE_TILE, NCE_TILE, buffers->packed, NCE_WIDE, nk, false);
        for (int64_t row = 0; row < m; row++)
            for (int64_t j = 0; j < rest; j++) {
                float *to = &dz[(i0 + i + row) * d + whole + j];
                *to = k0 > 0 ? *to + tile[row * NCE_WIDE + j] : tile[row * NCE_WIDE + j];
            }
    }
}

CPU_KERNEL vmae_status cpu_info_nce_grad(vmae_backend *be, float *dz, const float *dloss, const float *z,
                                         const float *lse_all, const float *lse_positive, int64_t rows, int64_t d,
                                         int64_t period, float temperature)
{
    VMAE_TRY(nce_check(rows, period, temperature));
    const int64_t block = nce_block_rows(rows, be->threads), blocks = (rows + block - 1) / block;
    const float scale = 1.0f / temperature, factor = *dloss / ((float)rows * temperature);
#pragma omp parallel for schedule(static) num_threads(be->threads) if (rows * rows * d >= 32 * PARALLEL_MIN)
    for (int64_t part = 0; part < blocks; part++) {
        nce_buffers buffers;
        const int64_t i0 = part * block, ni = min_i64(block, rows - i0);
        for (int64_t k0 = 0; k0 < rows; k0 += NCE_TILE) {
            const int64_t nk = min_i64(NCE_TILE, rows - k0);
            nce_similarities(&buffers, z, d, i0, ni, k0, nk);
            for (int64_t i = 0; i < ni; i++)
                nce_weights(buffers.s + i * NCE_TILE, lse_all, lse_positive, i0 + i, k0, nk, period, scale, factor);
            nce_gather(dz, &buffers, z, d, i0, ni, k0, nk);
        }
    }
    return VMAE_OK;
}
