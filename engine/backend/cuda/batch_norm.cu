/* batch_norm.cu -- BatchNorm1d with separate statistics for runs of rows (views), and its gradient.
 *
 * A block takes a tile of columns over all rows, one group after the other, so no sum leaves it: BN_LANES x N
 * neighbouring columns, BN_ROWS rows at a time. What its threads read of a group of up to BN_ROWS x HELD rows stays in
 * registers for the later passes; rows of larger groups are read again (HELD 0). */
#include "engine/backend/cuda/column_sum.cuh"

enum {
    BN_LANES = 8,
    BN_ROWS = 64,
    BN_HELD = 8,
    BN_GRAD_HELD = 4,
    BN_THREADS = BN_LANES * BN_ROWS,
    BN_WARPS = BN_THREADS / 32
};

/* ---- what a thread does with its columns ---- */

template <int N> static __device__ __forceinline__ int64_t bn_column()
{
    return ((int64_t)blockIdx.x * BN_LANES + threadIdx.x % BN_LANES) * N;
}

/* f(i, at) for each of this thread's rows of a group: slot i of what the thread holds (always 0 unless HELD), and the
 * elements from the group's start to its columns' row. `inside`: the thread has columns. */
template <int HELD, class F> static __device__ __forceinline__ void bn_rows(bool inside, int64_t rows, int64_t d, F f)
{
    const int64_t first = threadIdx.x / BN_LANES;
    if constexpr (HELD > 0) {
#pragma unroll
        for (int i = 0; i < HELD; i++)
            if (inside && first + i * BN_ROWS < rows)
                f(i, (first + i * BN_ROWS) * d);
    } else {
        for (int64_t row = first; inside && row < rows; row += BN_ROWS)
            f(0, row * d);
    }
}

/* Every thread gets the sums of its columns over the block's row lanes. All threads call it; it ends with a barrier
 * behind which `shared` is free again. */
template <int N> static __device__ __forceinline__ void bn_total(float (&sum)[N], float (*shared)[BN_LANES * N])
{
    const int lane = (int)(threadIdx.x % 32), column = lane % BN_LANES * N;
#pragma unroll
    for (int j = 0; j < N; j++) {
        sum[j] += __shfl_xor_sync(0xFFFFFFFFu, sum[j], 8);
        sum[j] += __shfl_xor_sync(0xFFFFFFFFu, sum[j], 16);
        if (lane < BN_LANES)
            shared[threadIdx.x / 32][column + j] = sum[j];
    }
    __syncthreads();
#pragma unroll
    for (int j = 0; j < N; j++) {
        sum[j] = shared[0][column + j];
#pragma unroll
        for (int i = 1; i < BN_WARPS; i++)
            sum[j] += shared[i][column + j];
    }
    __syncthreads();
}

static __device__ __forceinline__ float bn_relu(float x, bool relu)
{
    return relu && x < 0.0f ? 0.0f : x; /* NaN stays */
}

/* y = (x - mean) scale + shift of one row. */
template <int N, class T>
static __device__ __forceinline__ void bn_apply(T *y, const float (&x)[N], const float (&mean)[N],
                                                const float (&scale)[N], const float (&shift)[N], bool relu)
{
    float out[N];
#pragma unroll
    for (int j = 0; j < N; j++)
        out[j] = bn_relu((x[j] - mean[j]) * scale[j] + shift[j], relu);
    store_n<N, WHOLE>(y, out);
}

/* ---- training ---- */

typedef struct bn_statistics {
    float *mean, *rstd; /* [groups, d] */
    float *running_mean, *running_var;
    float eps, momentum;
} bn_statistics;

/* rstd of a group, and the running values brought forward, which one row lane does. A group of one row has no unbiased
 * variance; its biased one, 0, is used. */
template <int N>
static __device__ __forceinline__ void bn_finish(float (&rstd)[N], const float (&mean)[N], const float (&variance)[N],
                                                 const bn_statistics &s, int64_t group, int64_t rows, int64_t d)
{
    const float unbiased = rows > 1 ? (float)rows / (float)(rows - 1) : 1.0f;
    const int64_t column = bn_column<N>();
#pragma unroll
    for (int j = 0; j < N; j++) {
        rstd[j] = 1.0f / sqrtf(variance[j] + s.eps);
        if (threadIdx.x < BN_LANES && column < d) {
            const int64_t c = column + j;
            s.mean[group * d + c] = mean[j];
            s.rstd[group * d + c] = rstd[j];
            s.running_mean[c] += s.momentum * (mean[j] - s.running_mean[c]);
            s.running_var[c] += s.momentum * (variance[j] * unbiased - s.running_var[c]);
        }
    }
}

/* rows: of a group. N divides d. */
template <class T, int N, int HELD>
__global__ void __launch_bounds__(BN_THREADS)
    batch_norm_kernel(T *__restrict__ y, bn_statistics s, const T *__restrict__ x, const float *__restrict__ weight,
                      const float *__restrict__ bias, int64_t rows, int64_t d, int64_t groups, bool relu)
{
    __shared__ float shared[BN_WARPS][BN_LANES * N];
    const int64_t column = bn_column<N>();
    const bool inside = column < d;
    for (int64_t group = 0; group < groups; group++) {
        const T *in = x + group * rows * d + column;
        T *out = y + group * rows * d + column;
        float held[HELD ? HELD : 1][N], mean[N] = {}, variance[N] = {}, scale[N], shift[N];
        bn_rows<HELD>(inside, rows, d, [&](int i, int64_t at) {
            load_n<N>(held[i], in + at);
            for (int j = 0; j < N; j++)
                mean[j] += held[i][j];
        });
        bn_total<N>(mean, shared);
        for (int j = 0; j < N; j++)
            mean[j] /= (float)rows;
        bn_rows<HELD>(inside, rows, d, [&](int i, int64_t at) {
            if (!HELD)
                load_n<N>(held[i], in + at);
            for (int j = 0; j < N; j++)
                variance[j] += (held[i][j] - mean[j]) * (held[i][j] - mean[j]);
        });
        bn_total<N>(variance, shared);
        for (int j = 0; j < N; j++)
            variance[j] /= (float)rows;
        bn_finish<N>(scale, mean, variance, s, group, rows, d);
        for (int j = 0; j < N; j++) {
            scale[j] *= weight && inside ? weight[column + j] : 1.0f;
            shift[j] = bias && inside ? bias[column + j] : 0.0f;
        }
        bn_rows<HELD>(inside, rows, d, [&](int i, int64_t at) {
            if (!HELD)
                load_n<N>(held[i], in + at);
            bn_apply<N>(out + at, held[i], mean, scale, shift, relu);
        });
    }
}

/* With the running statistics: blocks as in column_sum.cuh. */
template <class T, int N>
__global__ void __launch_bounds__(COLUMN_LANES *ROW_LANES)
    batch_norm_infer_kernel(T *__restrict__ y, const float *__restrict__ running_mean,
                            const float *__restrict__ running_var, const T *__restrict__ x,
                            const float *__restrict__ weight, const float *__restrict__ bias, int64_t rows, int64_t d,
                            float eps, bool relu)
{
    const int64_t column = tile_column<N>(), end = part_row(rows, blockIdx.y + 1, gridDim.y);
    if (column >= d)
        return;
    float mean[N], scale[N], shift[N];
#pragma unroll
    for (int j = 0; j < N; j++) {
        const float r = 1.0f / sqrtf(running_var[column + j] + eps);
        mean[j] = running_mean[column + j];
        scale[j] = weight ? r * weight[column + j] : r;
        shift[j] = bias ? bias[column + j] : 0.0f;
    }
    for (int64_t row = part_row(rows, blockIdx.y, gridDim.y) + threadIdx.y; row < end; row += ROW_LANES) {
        float value[N];
        load_n<N>(value, x + row * d + column);
        bn_apply<N>(y + row * d + column, value, mean, scale, shift, relu);
    }
}

/* ---- gradient ---- */

/* What a call writes besides dx: [d] each, or NULL. */
typedef struct bn_gradients {
    float *dweight, *dbias, *dsum;
    bool accumulate;
} bn_gradients;

static __device__ __forceinline__ void bn_write(float *to, float value, bool accumulate)
{
    if (to)
        *to = accumulate ? *to + value : value;
}

/* dx = w rstd (dy - mean(dy) - x^ mean(dy x^)), the means over the group's rows. mean[] is rounded; the sum of x - mean
 * says by how much, and everything is corrected for it. Then the column sums of dx before rounding are zero, each
 * group's by itself: sum dy - rows mean(dy) - (sum (x - true mean)) .. = 0. So dsum is this zero, and not what rounding
 * would make of it in f32 (Adam would turn that into steps of full size); a sum that is not finite makes it NaN. */
template <class T, int N, int HELD>
__global__ void __launch_bounds__(BN_THREADS)
    batch_norm_grad_kernel(T *__restrict__ dx, bn_gradients gradients, const T *__restrict__ dy,
                           const T *__restrict__ x, const T *__restrict__ y, const float *__restrict__ mean,
                           const float *__restrict__ rstd, const float *__restrict__ weight, int64_t rows, int64_t d,
                           int64_t groups)
{
    __shared__ float shared[BN_WARPS][BN_LANES * N];
    const int64_t column = bn_column<N>();
    const bool inside = column < d;
    float dweight[N] = {}, dbias[N] = {}, dsum[N] = {};
    for (int64_t group = 0; group < groups; group++) {
        const int64_t start = group * rows * d + column, slot = group * d + column;
        float gradient[HELD ? HELD : 1][N], deviation[HELD ? HELD : 1][N];
        float m[N], r[N], plain[N] = {}, along[N] = {}, off[N] = {};
        for (int j = 0; j < N; j++) {
            m[j] = inside ? mean[slot + j] : 0.0f;
            r[j] = inside ? rstd[slot + j] : 0.0f;
        }
        const auto load = [&](int i, int64_t at) {
            load_n<N>(gradient[i], dy + start + at);
            load_n<N>(deviation[i], x + start + at);
            if (y) {
                float value[N];
                load_n<N>(value, y + start + at);
                for (int j = 0; j < N; j++)
                    gradient[i][j] = value[j] > 0.0f ? gradient[i][j] : 0.0f;
            }
            for (int j = 0; j < N; j++)
                deviation[i][j] -= m[j];
        };
        bn_rows<HELD>(inside, rows, d, [&](int i, int64_t at) {
            load(i, at);
            for (int j = 0; j < N; j++) {
                plain[j] += gradient[i][j];
                along[j] += gradient[i][j] * deviation[i][j];
                off[j] += deviation[i][j];
            }
        });
        bn_total<N>(plain, shared);
        bn_total<N>(along, shared);
        bn_total<N>(off, shared);
        float scale[N], slope[N], lift[N];
        for (int j = 0; j < N; j++) {
            off[j] /= (float)rows; /* true mean - mean[] */
            along[j] = (along[j] - off[j] * plain[j]) * r[j];
            dweight[j] += along[j];
            dbias[j] += plain[j];
            scale[j] = r[j] * (weight && inside ? weight[column + j] : 1.0f);
            slope[j] = along[j] / (float)rows * r[j];
            lift[j] = plain[j] / (float)rows;
            dsum[j] += scale[j] * (plain[j] - plain[j] + (along[j] - along[j]));
        }
        if (!dx)
            continue; /* the whole grid */
        bn_rows<HELD>(inside, rows, d, [&](int i, int64_t at) {
            if (!HELD)
                load(i, at);
            for (int j = 0; j < N; j++)
                gradient[i][j] = scale[j] * (gradient[i][j] - lift[j] - (deviation[i][j] - off[j]) * slope[j]);
            store_n<N, WHOLE>(dx + start + at, gradient[i]);
        });
    }
    if (threadIdx.x < BN_LANES && inside) {
        for (int j = 0; j < N; j++) {
            const int64_t c = column + j;
            bn_write(gradients.dweight ? gradients.dweight + c : NULL, dweight[j], gradients.accumulate);
            bn_write(gradients.dbias ? gradients.dbias + c : NULL, dbias[j], gradients.accumulate);
            bn_write(gradients.dsum ? gradients.dsum + c : NULL, dsum[j], gradients.accumulate);
        }
    }
}

/* ---- launches ---- */

/* BN_WITH(held, type, rows, d, T, N, HELD, statement): the statement with the type, columns of an access (4 or 1: a
 * row of a tile is 128 or 64 bytes then, and there are tiles enough) and `held`, or 0 where a group's rows are more. */
#define BN_WITH(held, type, rows, d, T, N, HELD, ...)                                                                  \
    do {                                                                                                               \
        if ((d) % 4 != 0)                                                                                              \
            WITH_TYPE(type, T, constexpr int N = 1; constexpr int HELD = 0; __VA_ARGS__);                              \
        else if ((rows) > BN_ROWS * (held))                                                                            \
            WITH_TYPE(type, T, constexpr int N = 4; constexpr int HELD = 0; __VA_ARGS__);                              \
        else                                                                                                           \
            WITH_TYPE(type, T, constexpr int N = 4; constexpr int HELD = held; __VA_ARGS__);                           \
    } while (0)

vmae_status cuda_batch_norm(vmae_backend *be, void *y, float *mean, float *rstd, float *running_mean,
                            float *running_var, const void *x, const float *weight, const float *bias, vmae_type type,
                            int64_t rows, int64_t d, int64_t groups, float eps, float momentum, bool relu)
{
    const bn_statistics statistics = { mean, rstd, running_mean, running_var, eps, momentum };
    const int64_t each = rows / groups;
    BN_WITH(BN_HELD, type, each, d, T, N, HELD,
            LAUNCH((batch_norm_kernel<T, N, HELD>), cuda_blocks(d, BN_LANES * N), BN_THREADS, 0, cuda_stream(be),
                   (T *)y, statistics, (const T *)x, weight, bias, each, d, groups, relu));
    return CUDA_LAUNCHED("batch_norm_kernel");
}

vmae_status cuda_batch_norm_infer(vmae_backend *be, void *y, const float *running_mean, const float *running_var,
                                  const void *x, const float *weight, const float *bias, vmae_type type, int64_t rows,
                                  int64_t d, float eps, bool relu)
{
    const int parts = cuda_parts(be, rows);
    const dim3 block(COLUMN_LANES, ROW_LANES);
    WITH_TYPE(type, T,
              if (d % 4 == 0)
                  LAUNCH((batch_norm_infer_kernel<T, 4>), column_grid(d, 4, parts), block, 0, cuda_stream(be), (T *)y,
                         running_mean, running_var, (const T *)x, weight, bias, rows, d, eps, relu);
              else LAUNCH((batch_norm_infer_kernel<T, 1>), column_grid(d, 1, parts), block, 0, cuda_stream(be), (T *)y,
                          running_mean, running_var, (const T *)x, weight, bias, rows, d, eps, relu));
    return CUDA_LAUNCHED("batch_norm_infer_kernel");
}

vmae_status cuda_batch_norm_grad(vmae_backend *be, void *dx, float *dweight, float *dbias, float *dsum, const void *dy,
                                 const void *x, const void *y, const float *mean, const float *rstd,
                                 const float *weight, vmae_type type, int64_t rows, int64_t d, int64_t groups,
                                 bool relu, bool accumulate)
{
    const bn_gradients gradients = { dweight, dbias, dsum, accumulate };
    const int64_t each = rows / groups;
    BN_WITH(BN_GRAD_HELD, type, each, d, T, N, HELD,
            LAUNCH((batch_norm_grad_kernel<T, N, HELD>), cuda_blocks(d, BN_LANES * N), BN_THREADS, 0, cuda_stream(be),
                   (T *)dx, gradients, (const T *)dy, (const T *)x, relu ? (const T *)y : (const T *)NULL, mean, rstd,
                   weight, each, d, groups));
    return CUDA_LAUNCHED("batch_norm_grad_kernel");
}
