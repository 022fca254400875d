/* info_nce.cu -- the contrastive loss over all pairs of rows, in tiles: no rows x rows matrix ever exists.
 *
 *   s_ik = z_i.z_k / temperature                      positives of i: k != i, k = i mod period
 *   lse_all_i = log sum_{k != i} exp s_ik             lse_positive_i = the same over its positives
 *   loss = mean_i (lse_all_i - lse_positive_i)
 *   dz_i = dloss / (rows temperature) sum_k w_ik z_k, because s is symmetric, with
 *   w_ik = exp(s_ik - lse_all_i) + exp(s_ik - lse_all_k)
 *          - [k positive of i] (exp(s_ik - lse_positive_i) + exp(s_ik - lse_positive_k))
 *
 * A block takes ROWS rows i and walks over tiles of COLS rows k; both lie in shared memory, DEPTH columns of z at a
 * time. A thread holds the products of 4 rows i with WIDTH rows k in registers. Two shapes: few rows i a block where
 * rows are few, so that a usual batch (512 rows) still fills 128 multiprocessors; more where there is enough to do, as
 * a block reads all of z. Which one follows from the number of rows alone: the same bits on every GPU. */
#include "engine/backend/cuda/device.cuh"

enum {
    THREADS = 256,
    HIGH = 4, /* rows i of a thread */
    DEPTH = 32,
    STRIDE = DEPTH + 4, /* of a row in shared memory: 8 threads that read 16 bytes of 8 rows meet no bank twice */
    MANY_ROWS = 2048
};

template <int ROWS_, int COLS_> struct nce_shape {
    static constexpr int ROWS = ROWS_, COLS = COLS_;
    static constexpr int WIDTH = ROWS * COLS / THREADS / HIGH;                        /* rows k of a thread */
    static constexpr int ACROSS = COLS / WIDTH;                                       /* threads side by side */
    static constexpr int WARP_HIGH = ROWS > HIGH ? 2 : 1, WARP_WIDE = 32 / WARP_HIGH; /* threads of a warp */
    static constexpr int SLICES = THREADS / (ROWS * (DEPTH / 4)); /* into which the gradient's sum over a tile is cut */
    static constexpr int TILES = (ROWS + COLS) * STRIDE;          /* floats of shared memory */
    static_assert(ACROSS * (ROWS / HIGH) == THREADS && SLICES >= 1 && COLS % (4 * SLICES) == 0, "a shape that fits");
    static_assert(ROWS * ACROSS * 4 <= TILES, "the partial sums take the place of the tiles");
};
typedef nce_shape<4, 256> few_rows;
typedef nce_shape<32, 128> many_rows;

typedef struct nce_input {
    const float *z;
    int rows, d, period;
    float scale; /* 1 / temperature */
} nce_input;

/* Where a thread's products lie in a tile: rows i HIGH * high + 0..HIGH-1, rows k wide + ACROSS * 0..WIDTH-1. */
template <class S> static __device__ __forceinline__ void nce_place(int *high, int *wide)
{
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps_across = S::ACROSS / S::WARP_WIDE;
    *high = warp / warps_across * S::WARP_HIGH + lane / S::WARP_WIDE;
    *wide = warp % warps_across * S::WARP_WIDE + lane % S::WARP_WIDE;
}

/* tile[r] = z[from + r, depth..depth + DEPTH), r < COUNT; zeros outside z. */
template <int COUNT>
static __device__ __forceinline__ void nce_load(float *tile, const nce_input &in, int from, int depth)
{
#pragma unroll 4
    for (int at = threadIdx.x; at < COUNT * (DEPTH / 4); at += THREADS) {
        const int r = at / (DEPTH / 4), column = depth + at % (DEPTH / 4) * 4;
        float x[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
        if (from + r < in.rows) {
            const float *row = in.z + (int64_t)(from + r) * in.d;
            if (in.d % 4 != 0) {
#pragma unroll
                for (int e = 0; e < 4; e++)
                    x[e] = column + e < in.d ? row[column + e] : 0.0f;
            } else if (column < in.d) {
                load_vector(x, row + column);
            }
        }
        store_vector(tile + r * STRIDE + at % (DEPTH / 4) * 4, x);
    }
}

/* s = z_i.z_k of the thread's rows i of the block at i0 and rows k of the tile at k0. Begins and ends such that the
 * caller needs a barrier before it writes to the tiles, and none before this call. */
template <class S>
static __device__ __forceinline__ void nce_products(float (&s)[HIGH][S::WIDTH], float *tiles, const nce_input &in,
                                                    int i0, int k0)
{
    float *left = tiles, *right = tiles + S::ROWS * STRIDE;
    int high, wide;
    nce_place<S>(&high, &wide);
#pragma unroll
    for (int r = 0; r < HIGH; r++)
#pragma unroll
        for (int c = 0; c < S::WIDTH; c++)
            s[r][c] = 0.0f;
    for (int depth = 0; depth < in.d; depth += DEPTH) {
        __syncthreads();
        nce_load<S::ROWS>(left, in, i0, depth);
        nce_load<S::COLS>(right, in, k0, depth);
        __syncthreads();
        const int columns = in.d - depth < DEPTH ? in.d - depth : DEPTH;
#pragma unroll 2
        for (int j = 0; j < columns; j += 4) {
            float a[HIGH][4], b[S::WIDTH][4];
#pragma unroll
            for (int r = 0; r < HIGH; r++)
                load_vector(a[r], left + (high * HIGH + r) * STRIDE + j);
#pragma unroll
            for (int c = 0; c < S::WIDTH; c++)
                load_vector(b[c], right + (wide + S::ACROSS * c) * STRIDE + j);
#pragma unroll
            for (int e = 0; e < 4; e++)
#pragma unroll
                for (int r = 0; r < HIGH; r++)
#pragma unroll
                    for (int c = 0; c < S::WIDTH; c++)
                        s[r][c] += a[r][e] * b[c][e];
        }
    }
}

static __device__ __forceinline__ log_sum nce_merge(log_sum a, log_sum b)
{
    const float top = fmaxf(a.top, b.top); /* equal: not even where both are empty is anything subtracted */
    const float from_a = a.top == top ? 1.0f : expf(a.top - top), from_b = b.top == top ? 1.0f : expf(b.top - top);
    return log_sum{ top, a.sum * from_a + b.sum * from_b };
}

static __device__ __forceinline__ log_sum nce_warp_merge(log_sum x)
{
#pragma unroll
    for (int i = 16; i > 0; i /= 2)
        x = nce_merge(x, log_sum{ __shfl_xor_sync(0xFFFFFFFFu, x.top, i), __shfl_xor_sync(0xFFFFFFFFu, x.sum, i) });
    return x;
}

/* Takes a tile's products into the sums of the thread's rows. */
template <class S>
static __device__ __forceinline__ void nce_take(log_sum (&all)[HIGH], log_sum (&positive)[HIGH],
                                                const float (&s)[HIGH][S::WIDTH], const int (&phase)[HIGH],
                                                const nce_input &in, int i, int k0)
{
#pragma unroll
    for (int c = 0; c < S::WIDTH; c++) {
        const int k = k0 + S::ACROSS * c;
        if (k >= in.rows)
            continue;
        const int k_phase = (int)((unsigned)k % (unsigned)in.period);
#pragma unroll
        for (int r = 0; r < HIGH; r++) {
            if (k == i + r)
                continue;
            log_sum_add(&all[r], s[r][c] * in.scale);
            if (k_phase == phase[r])
                log_sum_add(&positive[r], s[r][c] * in.scale);
        }
    }
}

template <class S>
static __global__ void __launch_bounds__(THREADS, 2)
    info_nce_kernel(float *lse_all, float *lse_positive, const nce_input in)
{
    __shared__ __align__(16) float tiles[S::TILES];
    int high, wide, phase[HIGH];
    log_sum all[HIGH], positive[HIGH];
    nce_place<S>(&high, &wide);
    const int i0 = (int)blockIdx.x * S::ROWS, i = i0 + high * HIGH;
#pragma unroll
    for (int r = 0; r < HIGH; r++) {
        all[r] = positive[r] = log_sum{ -INFINITY, 0.0f };
        phase[r] = (int)((unsigned)(i + r) % (unsigned)in.period);
    }
    for (int k0 = 0; k0 < in.rows; k0 += S::COLS) {
        float s[HIGH][S::WIDTH];
        nce_products<S>(s, tiles, in, i0, k0);
        nce_take<S>(all, positive, s, phase, in, i, k0 + wide);
    }

    /* The threads that share a row put their sums side by side; a warp adds those of a row. */
    __syncthreads();
#pragma unroll
    for (int r = 0; r < HIGH; r++) {
        const float both[4] = { all[r].top, all[r].sum, positive[r].top, positive[r].sum };
        store_vector(tiles + 4 * ((high * HIGH + r) * S::ACROSS + wide), both);
    }
    __syncthreads();
    for (int row = (int)threadIdx.x / 32; row < S::ROWS && i0 + row < in.rows; row += THREADS / 32) {
        log_sum a = { -INFINITY, 0.0f }, p = { -INFINITY, 0.0f };
        for (int at = (int)threadIdx.x % 32; at < S::ACROSS; at += 32) {
            float both[4];
            load_vector(both, tiles + 4 * (row * S::ACROSS + at));
            a = nce_merge(a, log_sum{ both[0], both[1] });
            p = nce_merge(p, log_sum{ both[2], both[3] });
        }
        a = nce_warp_merge(a);
        p = nce_warp_merge(p);
        if (threadIdx.x % 32 == 0) {
            lse_all[i0 + row] = a.top + logf(a.sum);
            lse_positive[i0 + row] = p.top + logf(p.sum);
        }
    }
}

/* loss = mean (lse_all - lse_positive); one block. */
static __global__ void __launch_bounds__(THREADS)
    info_nce_loss_kernel(float *loss, const float *lse_all, const float *lse_positive, int rows)
{
    __shared__ float shared[THREADS / 32];
    float sum = 0.0f;
    for (int i = (int)threadIdx.x; i < rows; i += THREADS)
        sum += lse_all[i] - lse_positive[i];
    sum = block_sum<THREADS>(sum, shared);
    if (threadIdx.x == 0)
        *loss = sum / (float)rows;
}

/* ---- gradient ---- */

/* weights[i, k] = w_ik * factor of a tile; 0 on the diagonal and outside. */
template <class S>
static __device__ __forceinline__ void nce_weights(float *weights, const float (&s)[HIGH][S::WIDTH],
                                                   const float *lse_all, const float *lse_positive, const nce_input &in,
                                                   int i0, int k0, float factor)
{
    int high, wide;
    nce_place<S>(&high, &wide);
#pragma unroll
    for (int c = 0; c < S::WIDTH; c++) {
        const int k = k0 + wide + S::ACROSS * c;
        const bool inside = k < in.rows;
        const float all_k = inside ? lse_all[k] : 0.0f, positive_k = inside ? lse_positive[k] : 0.0f;
        const int k_phase = (int)((unsigned)k % (unsigned)in.period);
#pragma unroll
        for (int r = 0; r < HIGH; r++) {
            const int row = high * HIGH + r, i = i0 + row;
            float w = 0.0f;
            if (inside && i < in.rows && i != k) {
                const float x = s[r][c] * in.scale;
                w = expf(x - lse_all[i]) + expf(x - all_k);
                if ((int)((unsigned)i % (unsigned)in.period) == k_phase)
                    w -= expf(x - lse_positive[i]) + expf(x - positive_k);
            }
            weights[row * (S::COLS + 4) + wide + S::ACROSS * c] = w * factor;
        }
    }
}

/* dz[i, column..column + N) (+)= x */
template <int N>
static __device__ __forceinline__ void nce_store(float *dz, const nce_input &in, int i, int column, const float (&x)[N],
                                                 bool add)
{
    if (i >= in.rows)
        return;
    float *to = dz + (int64_t)i * in.d + column;
    if (N == 4 && in.d % 4 == 0) {
        if (column >= in.d)
            return;
        float y[N] = {};
        if (add)
            load_n(y, to);
#pragma unroll
        for (int e = 0; e < N; e++)
            y[e] += x[e];
        store_n(to, y);
        return;
    }
#pragma unroll
    for (int e = 0; e < N; e++)
        if (column + e < in.d)
            to[e] = add ? to[e] + x[e] : x[e];
}

/* dz[i, depth..depth + DEPTH) (+)= sum over the tile's k of weights[i, k] z[k]; z's columns lie in `right`. A thread
 * makes 4 columns of a row, of a slice of the tile where there are more threads than that. */
template <class S>
static __device__ __forceinline__ void nce_gather(float *dz, const float *weights, const float *right, float *slices,
                                                  const nce_input &in, int i0, int depth, bool add)
{
    constexpr int quads = DEPTH / 4, share = S::COLS / S::SLICES;
    const int quad = threadIdx.x % quads, row = threadIdx.x / quads % S::ROWS, slice = threadIdx.x / (quads * S::ROWS);
    float sum[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
#pragma unroll 4
    for (int k = slice * share; k < (slice + 1) * share; k += 4) {
        float w[4];
        load_vector(w, weights + row * (S::COLS + 4) + k);
#pragma unroll
        for (int e = 0; e < 4; e++) {
            float x[4];
            load_vector(x, right + (k + e) * STRIDE + 4 * quad);
#pragma unroll
            for (int j = 0; j < 4; j++)
                sum[j] += w[e] * x[j];
        }
    }
    if constexpr (S::SLICES == 1) {
        nce_store(dz, in, i0 + row, depth + 4 * quad, sum, add);
    } else {
        store_vector(slices + slice * S::ROWS * DEPTH + row * DEPTH + 4 * quad, sum);
        __syncthreads();
        if ((int)threadIdx.x < S::ROWS * DEPTH) {
            float total[1] = { 0.0f };
#pragma unroll
            for (int part = 0; part < S::SLICES; part++)
                total[0] += slices[part * S::ROWS * DEPTH + (int)threadIdx.x];
            nce_store(dz, in, i0 + (int)threadIdx.x / DEPTH, depth + (int)threadIdx.x % DEPTH, total, add);
        }
    }
}

/* A block makes its rows of dz whole, so nobody else adds to them. */
template <class S>
static __global__ void __launch_bounds__(THREADS, 2)
    info_nce_grad_kernel(float *dz, const float *dloss, const float *lse_all, const float *lse_positive,
                         const nce_input in)
{
    __shared__ __align__(16) float tiles[S::TILES];
    __shared__ __align__(16) float weights[S::ROWS * (S::COLS + 4)];
    __shared__ __align__(16) float slices[S::SLICES == 1 ? 4 : S::SLICES * S::ROWS * DEPTH];
    const int i0 = (int)blockIdx.x * S::ROWS;
    const float factor = *dloss * in.scale / (float)in.rows;
    float *right = tiles + S::ROWS * STRIDE;
    for (int k0 = 0; k0 < in.rows; k0 += S::COLS) {
        float s[HIGH][S::WIDTH];
        nce_products<S>(s, tiles, in, i0, k0);
        nce_weights<S>(weights, s, lse_all, lse_positive, in, i0, k0, factor);
        for (int depth = 0; depth < in.d; depth += DEPTH) {
            __syncthreads();
            nce_load<S::COLS>(right, in, k0, depth);
            __syncthreads();
            nce_gather<S>(dz, weights, right, slices, in, i0, depth, k0 > 0);
        }
    }
}

/* ---- launchers ---- */

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

vmae_status cuda_info_nce(vmae_backend *be, float *loss, float *lse_all, float *lse_positive, const float *z,
                          int64_t rows, int64_t d, int64_t period, float temperature)
{
    VMAE_TRY(nce_check(rows, period, temperature));
    const nce_input in = { z, (int)rows, (int)d, (int)period, 1.0f / temperature };
    if (rows >= MANY_ROWS)
        LAUNCH(info_nce_kernel<many_rows>, cuda_blocks(rows, many_rows::ROWS), THREADS, 0, cuda_stream(be), lse_all,
               lse_positive, in);
    else
        LAUNCH(info_nce_kernel<few_rows>, cuda_blocks(rows, few_rows::ROWS), THREADS, 0, cuda_stream(be), lse_all,
               lse_positive, in);
    VMAE_TRY(CUDA_LAUNCHED("info_nce_kernel"));
    LAUNCH(info_nce_loss_kernel, 1, THREADS, 0, cuda_stream(be), loss, lse_all, lse_positive, (int)rows);
    return CUDA_LAUNCHED("info_nce_loss_kernel");
}

vmae_status cuda_info_nce_grad(vmae_backend *be, float *dz, const float *dloss, const float *z, const float *lse_all,
                               const float *lse_positive, int64_t rows, int64_t d, int64_t period, float temperature)
{
    VMAE_TRY(nce_check(rows, period, temperature));
    const nce_input in = { z, (int)rows, (int)d, (int)period, 1.0f / temperature };
    if (rows >= MANY_ROWS)
        LAUNCH(info_nce_grad_kernel<many_rows>, cuda_blocks(rows, many_rows::ROWS), THREADS, 0, cuda_stream(be), dz,
               dloss, lse_all, lse_positive, in);
    else
        LAUNCH(info_nce_grad_kernel<few_rows>, cuda_blocks(rows, few_rows::ROWS), THREADS, 0, cuda_stream(be), dz,
               dloss, lse_all, lse_positive, in);
    return CUDA_LAUNCHED("info_nce_grad_kernel");
}
