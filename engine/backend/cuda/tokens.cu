/* tokens.cu -- random masking; encoder and decoder inputs: class token, mask token, positions, unshuffling; and the
 * gradients of these.
 *
 * Rows are copied by a warp each, 16 bytes a lane where the width allows. Sums over the batch: every thread adds few
 * rows, a block adds its threads' sums in a fixed order, a second kernel the blocks'. */
#include "engine/backend/cuda/column_sum.cuh"

enum { RANK_THREADS = 256, ROW_WARPS = 8, SUM_WARPS = 8, PLACE_THREADS = 128 };

/* ---- masking ---- */

/* A key that ascends as the noise does. -0 equals 0, and every NaN comes after every number, as in the CPU kernel. */
static __device__ __forceinline__ unsigned masking_key(float noise)
{
    const unsigned bits = __float_as_uint(noise + 0.0f);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u)
        return 0xFFFFFFFFu;
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

/* A patch's place in the stable order is the number of patches that come before it: smaller keys, and equal ones of a
 * smaller index. A thread counts for one patch, over tiles of keys in shared memory; `chunks` blocks an image. */
static __global__ void random_masking_kernel(int32_t *ids_shuffle, int32_t *ids_restore, float *mask,
                                             const float *noise, int64_t patches, int64_t chunks, int64_t keep)
{
    __shared__ __align__(16) unsigned tile[RANK_THREADS];
    const int64_t first = (int64_t)blockIdx.x / chunks * patches;
    const int64_t i = (int64_t)blockIdx.x % chunks * RANK_THREADS + threadIdx.x;
    const unsigned key = i < patches ? masking_key(noise[first + i]) : 0u;
    int64_t rank = 0;
    for (int64_t from = 0; from < patches; from += RANK_THREADS) {
        const int64_t left = patches - from;
        __syncthreads();
        tile[threadIdx.x] = (int64_t)threadIdx.x < left ? masking_key(noise[first + from + threadIdx.x]) : 0u;
        __syncthreads();
        const int n = left < RANK_THREADS ? (int)left : (int)RANK_THREADS;
        const int before = i >= from + n ? n : i <= from ? 0 : (int)(i - from); /* of these, an equal key counts */
        int count = 0;
        for (int j = 0; j < n; j++)
            count += tile[j] < key || (tile[j] == key && j < before);
        rank += count;
    }
    if (i < patches) {
        ids_shuffle[first + rank] = (int32_t)i;
        ids_restore[first + i] = (int32_t)rank;
        mask[first + i] = rank < keep ? 0.0f : 1.0f;
    }
}

extern "C" vmae_status cuda_random_masking(vmae_backend *be, int32_t *ids_shuffle, int32_t *ids_restore, float *mask,
                                           const float *noise, int64_t batch, int64_t patches, int64_t keep)
{
    const int64_t chunks = (patches + RANK_THREADS - 1) / RANK_THREADS;
    if (batch * chunks == 0)
        return VMAE_OK;
    LAUNCH(random_masking_kernel, cuda_blocks(batch * chunks, 1), RANK_THREADS, 0, cuda_stream(be), ids_shuffle,
           ids_restore, mask, noise, patches, chunks, keep);
    return CUDA_LAUNCHED("random_masking_kernel");
}

/* ---- rows: a warp each ---- */

static __device__ __forceinline__ int64_t warp_row(void)
{
    return (int64_t)blockIdx.x * ROW_WARPS + threadIdx.y;
}

/* y = a + b over d values by a warp; a of type A, b floats. W: values a lane takes at once; it divides d. */
template <int W, class T, class A>
static __device__ __forceinline__ void add_row(T *y, const A *a, const float *b, int64_t d)
{
#pragma unroll 4
    for (int64_t i = (int64_t)threadIdx.x * W; i < d; i += 32 * W) {
        float left[W], right[W];
        load_n<W>(left, a + i);
        load_n<W>(right, b + i);
#pragma unroll
        for (int k = 0; k < W; k++)
            left[k] += right[k];
        store_n<W>(y + i, left);
    }
}

template <int W, class T> static __device__ __forceinline__ void copy_row(T *y, const T *x, int64_t d)
{
#pragma unroll 4
    for (int64_t i = (int64_t)threadIdx.x * W; i < d; i += 32 * W) {
        if constexpr (W == vector<T>::width)
            *reinterpret_cast<uint4 *>(y + i) = *reinterpret_cast<const uint4 *>(x + i);
        else
            y[i] = x[i];
    }
}

template <int W, class T>
static __global__ void embed_tokens_kernel(T *y, const T *x, const float *cls, const float *pos, const int32_t *ids,
                                           int64_t stride, int64_t rows, int64_t keep, int64_t d)
{
    const int64_t row = warp_row();
    if (row >= rows)
        return;
    const int64_t b = row / (1 + keep), j = row % (1 + keep) - 1;
    if (j < 0)
        add_row<W>(y + row * d, cls, pos, d);
    else
        add_row<W>(y + row * d, x + (b * keep + j) * d, pos + (1 + (ids ? ids[b * stride + j] : j)) * d, d);
}

template <int W, class T>
static __global__ void unshuffle_tokens_kernel(T *y, const T *x, const float *mask_token, const float *pos,
                                               const int32_t *ids_restore, int64_t rows, int64_t keep, int64_t patches,
                                               int64_t d)
{
    const int64_t row = warp_row();
    if (row >= rows)
        return;
    const int64_t b = row / (1 + patches), l = row % (1 + patches);
    const int64_t from = l == 0 ? 0 : 1 + ids_restore[b * patches + l - 1]; /* token of x, or > keep: removed */
    if (from <= keep)
        add_row<W>(y + row * d, x + (b * (1 + keep) + from) * d, pos + l * d, d);
    else
        add_row<W>(y + row * d, mask_token, pos + l * d, d);
}

/* dx = dy without its class tokens. */
template <int W, class T>
static __global__ void drop_class_kernel(T *dx, const T *dy, int64_t rows, int64_t keep, int64_t d)
{
    const int64_t row = warp_row();
    if (row < rows)
        copy_row<W>(dx + row * d, dy + (row + row / keep + 1) * d, d);
}

/* dx = the rows of dy that unshuffle_tokens_kernel made of x. */
template <int W, class T>
static __global__ void reshuffle_kernel(T *dx, const T *dy, const int32_t *ids_shuffle, int64_t rows, int64_t keep,
                                        int64_t patches, int64_t d)
{
    const int64_t row = warp_row();
    if (row >= rows)
        return;
    const int64_t b = row / (1 + keep), j = row % (1 + keep);
    const int64_t from = j == 0 ? 0 : 1 + ids_shuffle[b * patches + j - 1];
    copy_row<W>(dx + row * d, dy + (b * (1 + patches) + from) * d, d);
}

/* Launches KERNEL<W, T> with a warp a row: 16 bytes a lane if they divide the width, else one value. */
#define LAUNCH_ROWS(kernel, T, rows, d, ...)                                                                           \
    do {                                                                                                               \
        const dim3 block(32, ROW_WARPS), grid((unsigned)cuda_blocks(rows, ROW_WARPS));                                 \
        if ((d) % vector<T>::width == 0)                                                                               \
            LAUNCH((kernel<vector<T>::width, T>), grid, block, 0, cuda_stream(be), __VA_ARGS__);                       \
        else                                                                                                           \
            LAUNCH((kernel<1, T>), grid, block, 0, cuda_stream(be), __VA_ARGS__);                                      \
    } while (0)

extern "C" vmae_status cuda_embed_tokens(vmae_backend *be, void *y, const void *x, const float *cls, const float *pos,
                                         const int32_t *ids, int64_t stride, vmae_type type, int64_t batch,
                                         int64_t keep, int64_t d)
{
    const int64_t rows = batch * (1 + keep);
    WITH_TYPE(type, T,
              LAUNCH_ROWS(embed_tokens_kernel, T, rows, d, (T *)y, (const T *)x, cls, pos, ids, stride, rows, keep, d));
    return CUDA_LAUNCHED("embed_tokens_kernel");
}

extern "C" vmae_status cuda_unshuffle_tokens(vmae_backend *be, void *y, const void *x, const float *mask_token,
                                             const float *pos, const int32_t *ids_restore, vmae_type type,
                                             int64_t batch, int64_t keep, int64_t patches, int64_t d)
{
    const int64_t rows = batch * (1 + patches);
    WITH_TYPE(type, T,
              LAUNCH_ROWS(unshuffle_tokens_kernel, T, rows, d, (T *)y, (const T *)x, mask_token, pos, ids_restore, rows,
                          keep, patches, d));
    return CUDA_LAUNCHED("unshuffle_tokens_kernel");
}

/* ---- sums over the batch ---- */

static __device__ __forceinline__ void give(float *to, int64_t at, float value, bool accumulate)
{
    if (to)
        to[at] = accumulate ? to[at] + value : value;
}

/* The sum over threadIdx.y (SUM_WARPS) of each lane's value, for the lanes of the first warp. All threads call it. */
static __device__ __forceinline__ float sum_warps(float value, float (*shared)[32])
{
    shared[threadIdx.y][threadIdx.x] = value;
    __syncthreads();
    float total = 0.0f;
    if (threadIdx.y == 0)
        for (int w = 0; w < SUM_WARPS; w++)
            total += shared[w][threadIdx.x];
    return total;
}

/* dcls and row 0 of dpos: 32 columns of the class tokens' gradients a block, a warp every SUM_WARPS-th image. */
template <class T>
static __global__ void class_grad_kernel(float *dcls, float *dpos, const T *dy, int64_t batch, int64_t stride,
                                         int64_t d, bool accumulate)
{
    __shared__ float shared[SUM_WARPS][32];
    const int64_t column = (int64_t)blockIdx.x * 32 + threadIdx.x;
    float sum = 0.0f;
    if (column < d) {
#pragma unroll 4
        for (int64_t b = threadIdx.y; b < batch; b += SUM_WARPS)
            sum += to_float(dy[b * stride + column]);
    }
    const float total = sum_warps(sum, shared);
    if (threadIdx.y == 0 && column < d) {
        give(dcls, column, total, accumulate);
        give(dpos, column, total, accumulate);
    }
}

/* dpos of patch l = blockIdx.x: the sum of the gradients of the tokens that stand there, W columns a thread. The block
 * first finds them (or none) in PLACE_THREADS images at a time, then adds them in order. */
template <int W, class T>
static __global__ void position_grad_kernel(float *dpos, const T *dy, const int32_t *ids, int64_t stride, int64_t batch,
                                            int64_t keep, int64_t d, bool accumulate)
{
    __shared__ int place[PLACE_THREADS];
    const int l = (int)blockIdx.x;
    const int64_t column = ((int64_t)blockIdx.y * PLACE_THREADS + threadIdx.x) * W;
    float total[W] = {};
    for (int64_t from = 0; from < batch; from += PLACE_THREADS) {
        const int64_t mine = from + threadIdx.x;
        int found = -1;
        if (mine < batch && !ids)
            found = l < keep ? l : -1;
        else if (mine < batch)
            for (int j = 0; j < keep; j++)
                found = ids[mine * stride + j] == l ? j : found;
        __syncthreads();
        place[threadIdx.x] = found;
        __syncthreads();
        const int n = batch - from < PLACE_THREADS ? (int)(batch - from) : (int)PLACE_THREADS;
        float sum[W] = {};
        for (int b = 0; column < d && b < n; b++) {
            if (place[b] < 0)
                continue;
            float x[W];
            load_n<W>(x, dy + ((from + b) * (1 + keep) + 1 + place[b]) * d + column);
#pragma unroll
            for (int k = 0; k < W; k++)
                sum[k] += x[k];
        }
#pragma unroll
        for (int k = 0; k < W; k++)
            total[k] += sum[k];
    }
    if (column < d) {
#pragma unroll
        for (int k = 0; k < W; k++)
            give(dpos, (1 + (int64_t)l) * d + column + k, total[k], accumulate);
    }
}

template <int W, class T>
static void launch_position_grad(vmae_backend *be, float *dpos, const T *dy, const int32_t *ids, int64_t stride,
                                 int64_t batch, int64_t keep, int64_t patches, int64_t d, bool accumulate)
{
    const dim3 grid((unsigned)patches, (unsigned)((d + PLACE_THREADS * W - 1) / (PLACE_THREADS * W)));
    LAUNCH((position_grad_kernel<W, T>), grid, PLACE_THREADS, 0, cuda_stream(be), dpos, dy, ids, stride, batch, keep, d,
           accumulate);
}

template <class T>
static vmae_status embed_tokens_grad(vmae_backend *be, T *dx, float *dcls, float *dpos, const T *dy, const int32_t *ids,
                                     int64_t stride, int64_t batch, int64_t keep, int64_t patches, int64_t d,
                                     bool accumulate)
{
    const int64_t rows = batch * keep;
    if (rows > 0) {
        LAUNCH_ROWS(drop_class_kernel, T, rows, d, dx, dy, rows, keep, d);
        VMAE_TRY(CUDA_LAUNCHED("drop_class_kernel"));
    }
    if (dcls || dpos) {
        LAUNCH((class_grad_kernel<T>), cuda_blocks(d, 32), dim3(32, SUM_WARPS), 0, cuda_stream(be), dcls, dpos, dy,
               batch, (1 + keep) * d, d, accumulate);
        VMAE_TRY(CUDA_LAUNCHED("class_grad_kernel"));
    }
    if (!dpos || patches == 0)
        return VMAE_OK;
    if (d % vector<T>::width == 0)
        launch_position_grad<vector<T>::width>(be, dpos, dy, ids, stride, batch, keep, patches, d, accumulate);
    else
        launch_position_grad<1>(be, dpos, dy, ids, stride, batch, keep, patches, d, accumulate);
    return CUDA_LAUNCHED("position_grad_kernel");
}

extern "C" vmae_status cuda_embed_tokens_grad(vmae_backend *be, void *dx, float *dcls, float *dpos, const void *dy,
                                              const int32_t *ids, int64_t stride, vmae_type type, int64_t batch,
                                              int64_t keep, int64_t patches, int64_t d, bool accumulate)
{
    WITH_TYPE(type, T,
              return embed_tokens_grad(be, (T *)dx, dcls, dpos, (const T *)dy, ids, stride, batch, keep, patches, d,
                                       accumulate));
}

/* Part blockIdx.x of the batch: scratch[part] = the sum of the gradients of its mask tokens, W columns a lane. They are
 * the patches from ids_shuffle[keep] on; a warp takes every SUM_WARPS-th. */
template <int W, class T>
static __global__ void mask_token_grad_kernel(float *scratch, const T *dy, const int32_t *ids_shuffle, int64_t batch,
                                              int64_t keep, int64_t patches, int64_t d)
{
    __shared__ float shared[W][SUM_WARPS][32];
    const int64_t column = ((int64_t)blockIdx.y * 32 + threadIdx.x) * W;
    const int64_t first = part_row(batch, blockIdx.x, gridDim.x), last = part_row(batch, blockIdx.x + 1, gridDim.x);
    float sum[W] = {};
    for (int64_t b = first; column < d && b < last; b++) {
        const T *from = dy + (b * (1 + patches) + 1) * d + column;
#pragma unroll 4
        for (int64_t j = keep + threadIdx.y; j < patches; j += SUM_WARPS) {
            float x[W];
            load_n<W>(x, from + ids_shuffle[b * patches + j] * d);
#pragma unroll
            for (int k = 0; k < W; k++)
                sum[k] += x[k];
        }
    }
#pragma unroll
    for (int k = 0; k < W; k++)
        sum[k] = sum_warps(sum[k], shared[k]);
    if (threadIdx.y == 0 && column < d)
        store_n<W, WHOLE>(scratch + blockIdx.x * d + column, sum);
}

template <int W, class T>
static void launch_mask_token_grad(vmae_backend *be, float *scratch, const T *dy, const int32_t *ids_shuffle,
                                   int64_t batch, int64_t keep, int64_t patches, int64_t d)
{
    const dim3 grid((unsigned)be->sum_blocks, (unsigned)((d + 32 * W - 1) / (32 * W)));
    LAUNCH((mask_token_grad_kernel<W, T>), grid, dim3(32, SUM_WARPS), 0, cuda_stream(be), scratch, dy, ids_shuffle,
           batch, keep, patches, d);
}

template <class T>
static vmae_status unshuffle_tokens_grad(vmae_backend *be, T *dx, float *dmask_token, float *scratch, const T *dy,
                                         const int32_t *ids_shuffle, int64_t batch, int64_t keep, int64_t patches,
                                         int64_t d, bool accumulate)
{
    const int64_t rows = batch * (1 + keep);
    LAUNCH_ROWS(reshuffle_kernel, T, rows, d, dx, dy, ids_shuffle, rows, keep, patches, d);
    VMAE_TRY(CUDA_LAUNCHED("reshuffle_kernel"));
    if (!dmask_token)
        return VMAE_OK;
    if (d % vector<T>::width == 0)
        launch_mask_token_grad<vector<T>::width>(be, scratch, dy, ids_shuffle, batch, keep, patches, d);
    else
        launch_mask_token_grad<1>(be, scratch, dy, ids_shuffle, batch, keep, patches, d);
    VMAE_TRY(CUDA_LAUNCHED("mask_token_grad_kernel"));
    return cuda_sum_parts(be, dmask_token, NULL, scratch, be->sum_blocks, d, d, accumulate);
}

extern "C" vmae_status cuda_unshuffle_tokens_grad(vmae_backend *be, void *dx, float *dmask_token, float *scratch,
                                                  const void *dy, const int32_t *ids_restore,
                                                  const int32_t *ids_shuffle, vmae_type type, int64_t batch,
                                                  int64_t keep, int64_t patches, int64_t d, bool accumulate)
{
    (void)ids_restore; /* says the same */
    WITH_TYPE(type, T,
              return unshuffle_tokens_grad(be, (T *)dx, dmask_token, scratch, (const T *)dy, ids_shuffle, batch, keep,
                                           patches, d, accumulate));
}
