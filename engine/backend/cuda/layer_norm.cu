/* layer_norm.cu -- LayerNorm over the last dimension and its gradient.
 *
 * A warp keeps a row in registers: each value is read once, N columns an access, and the passes over it cost no memory.
 * That serves every d of a model. Other d (no multiple of N, or longer than the registers hold) take a block a row,
 * which reads it again for each pass, from the first-level cache. */
#include "engine/backend/cuda/column_sum.cuh"

enum {
    NORM_WARPS = 4, /* rows of a block, forward */
    LONG_THREADS = 256,
    LONGEST = 1280, /* columns in registers: ViT-H's width. The gradient holds four arrays of them */
};

/* Columns of an access: 16 bytes of the wider type. */
template <class X, class Y> struct columns {
    static constexpr int N = sizeof(X) + sizeof(Y) == 4 ? 8 : 4;
};

/* Chunk i of a lane: N columns from this one on. The warp's accesses are neighbours. */
template <int N> static __device__ __forceinline__ int chunk_column(int i)
{
    return (i * 32 + (int)(threadIdx.x % 32)) * N;
}

template <int N, int CHUNKS, class T>
static __device__ __forceinline__ void load_row(float (&to)[CHUNKS][N], const T *row, int d)
{
#pragma unroll
    for (int i = 0; i < CHUNKS; i++)
        if (chunk_column<N>(i) < d)
            load_n<N>(to[i], row + chunk_column<N>(i));
}

/* ---- forward ---- */

/* From the sums of x - first and (x - first)^2, where `first` is the rounded mean: the mean without that rounding, and
 * rstd. A NaN stays. */
static __device__ __forceinline__ void finish_statistics(float *mean, float *rstd, float first, float plain,
                                                         float squares, float d, float eps)
{
    const float left = plain / d, variance = squares / d - left * left;
    *mean = first + left;
    *rstd = 1.0f / sqrtf((variance < 0.0f ? 0.0f : variance) + eps);
}

/* A warp a row. */
template <class X, class Y, int N, int CHUNKS>
__global__ void __launch_bounds__(NORM_WARPS * 32, 6)
    layer_norm_kernel(Y *__restrict__ y, float *__restrict__ mean, float *__restrict__ rstd, const X *__restrict__ x,
                      const float *__restrict__ weight, const float *__restrict__ bias, int64_t rows, int d, float eps)
{
    const int64_t row = (int64_t)blockIdx.x * NORM_WARPS + threadIdx.x / 32;
    if (row >= rows)
        return; /* whole warps leave */
    float value[CHUNKS][N], sum = 0.0f, plain = 0.0f, squares = 0.0f, m, r;
    load_row<N, CHUNKS>(value, x + row * d, d);
#pragma unroll
    for (int i = 0; i < CHUNKS; i++)
#pragma unroll
        for (int j = 0; j < N; j++)
            sum += chunk_column<N>(i) < d ? value[i][j] : 0.0f;
    const float first = warp_sum(sum) / (float)d;
#pragma unroll
    for (int i = 0; i < CHUNKS; i++)
#pragma unroll
        for (int j = 0; j < N; j++) {
            const float deviation = chunk_column<N>(i) < d ? value[i][j] - first : 0.0f;
            plain += deviation;
            squares += deviation * deviation;
        }
    finish_statistics(&m, &r, first, warp_sum(plain), warp_sum(squares), (float)d, eps);
#pragma unroll
    for (int i = 0; i < CHUNKS; i++) {
        const int column = chunk_column<N>(i);
        if (column < d) {
            float w[N], b[N];
            load_n<N>(w, weight + column);
            load_n<N>(b, bias + column);
#pragma unroll
            for (int j = 0; j < N; j++)
                w[j] = (value[i][j] - m) * r * w[j] + b[j];
            store_n<N>(y + row * d + column, w);
        }
    }
    if (threadIdx.x % 32 == 0)
        mean[row] = m, rstd[row] = r;
}

/* A block a row, of any length. */
template <class X, class Y>
__global__ void __launch_bounds__(LONG_THREADS)
    layer_norm_long_kernel(Y *__restrict__ y, float *__restrict__ mean, float *__restrict__ rstd,
                           const X *__restrict__ x, const float *__restrict__ weight, const float *__restrict__ bias,
                           int64_t d, float eps)
{
    __shared__ float shared[LONG_THREADS / 32];
    const X *in = x + blockIdx.x * d;
    float sum = 0.0f, plain = 0.0f, squares = 0.0f, m, r;
    for (int64_t i = threadIdx.x; i < d; i += LONG_THREADS)
        sum += to_float(in[i]);
    const float first = block_sum<LONG_THREADS>(sum, shared) / (float)d;
    for (int64_t i = threadIdx.x; i < d; i += LONG_THREADS) {
        const float deviation = to_float(in[i]) - first;
        plain += deviation;
        squares += deviation * deviation;
    }
    plain = block_sum<LONG_THREADS>(plain, shared);
    squares = block_sum<LONG_THREADS>(squares, shared);
    finish_statistics(&m, &r, first, plain, squares, (float)d, eps);
    for (int64_t i = threadIdx.x; i < d; i += LONG_THREADS)
        y[blockIdx.x * d + i] = from_float<Y>((to_float(in[i]) - m) * r * weight[i] + bias[i]);
    if (threadIdx.x == 0)
        mean[blockIdx.x] = m, rstd[blockIdx.x] = r;
}

/* ---- gradient: dx = rstd (dy w - mean(dy w) - x^ mean(dy w x^)) (+ add), x^ = (x - mean) rstd ---- */

/* part[c] = the sum over the block's warps of their values for column c. All threads of the block call it; `shared`
 * [WARPS][d] is free again behind it. */
template <int WARPS, int N, int CHUNKS>
static __device__ __forceinline__ void add_warps(float *part, float *shared, const float (&value)[CHUNKS][N], int d)
{
#pragma unroll
    for (int i = 0; i < CHUNKS; i++)
        if (chunk_column<N>(i) < d)
            store_n<N>(shared + (int)(threadIdx.x / 32) * d + chunk_column<N>(i), value[i]);
    __syncthreads();
    for (int c = (int)threadIdx.x; c < d; c += WARPS * 32) {
        float total = shared[c];
#pragma unroll
        for (int i = 1; i < WARPS; i++)
            total += shared[i * d + c];
        part[c] = total;
    }
    __syncthreads();
}

/* A block a part of the rows, a warp a row. dx may be add: a lane reads there what it then writes. copy: dx in bf16, or
 * NULL. parts [gridDim.x, 3, d] or NULL: the parts of dweight, dbias and (SUMS) dsum, kept in registers over the rows.
 * Multiply-adds are explicit, so that SUMS changes no bit of the rest. */
template <class X, class Y, int WARPS, int N, int CHUNKS, bool SUMS>
__global__ void __launch_bounds__(WARPS * 32)
    layer_norm_grad_kernel(X *dx, bf16 *__restrict__ copy, float *parts, const Y *__restrict__ dy,
                           const X *__restrict__ x, const float *__restrict__ mean, const float *__restrict__ rstd,
                           const float *__restrict__ weight, const X *add, int64_t rows, int d)
{
    const int64_t end = part_row(rows, blockIdx.x + 1, gridDim.x);
    float dweight[CHUNKS][N] = {}, dbias[CHUNKS][N] = {}, dsum[SUMS ? CHUNKS : 1][N] = {};
    for (int64_t row = part_row(rows, blockIdx.x, gridDim.x) + threadIdx.x / 32; row < end; row += WARPS) {
        float gradient[CHUNKS][N], normal[CHUNKS][N], plain = 0.0f, along = 0.0f;
        load_row<N, CHUNKS>(gradient, dy + row * d, d);
        load_row<N, CHUNKS>(normal, x + row * d, d);
        const float m = mean[row], r = rstd[row];
#pragma unroll
        for (int i = 0; i < CHUNKS; i++) {
            if (chunk_column<N>(i) < d) {
                float w[N];
                load_n<N>(w, weight + chunk_column<N>(i));
#pragma unroll
                for (int j = 0; j < N; j++) {
                    normal[i][j] = (normal[i][j] - m) * r;
                    dweight[i][j] = fmaf(gradient[i][j], normal[i][j], dweight[i][j]);
                    dbias[i][j] += gradient[i][j];
                    plain = fmaf(gradient[i][j], w[j], plain);
                    gradient[i][j] *= w[j];
                    along = fmaf(gradient[i][j], normal[i][j], along);
                }
            }
        }
        plain = warp_sum(plain) / (float)d;
        along = warp_sum(along) / (float)d;
#pragma unroll
        for (int i = 0; i < CHUNKS; i++) {
            const int64_t at = row * d + chunk_column<N>(i);
            if (chunk_column<N>(i) < d) {
                float out[N] = {};
                if (add)
                    load_n<N>(out, add + at);
#pragma unroll
                for (int j = 0; j < N; j++)
                    out[j] = fmaf(r, fmaf(-normal[i][j], along, gradient[i][j] - plain), out[j]);
                if constexpr (SUMS) {
#pragma unroll
                    for (int j = 0; j < N; j++)
                        dsum[i][j] += out[j];
                }
                store_n<N>(dx + at, out);
                if (copy)
                    store_n<N>(copy + at, out);
            }
        }
    }
    if (!parts)
        return; /* the whole grid */
    DYNAMIC_SHARED(float, shared);
    float *part = parts + 3 * (int64_t)blockIdx.x * d;
    add_warps<WARPS, N, CHUNKS>(part, shared, dweight, d);
    add_warps<WARPS, N, CHUNKS>(part + d, shared, dbias, d);
    if constexpr (SUMS)
        add_warps<WARPS, N, CHUNKS>(part + 2 * (int64_t)d, shared, dsum, d);
}

/* A block a part of the rows, one row after the other, of any length; a thread adds up its columns in `parts`. */
template <class X, class Y>
__global__ void __launch_bounds__(LONG_THREADS)
    layer_norm_grad_long_kernel(X *dx, bf16 *__restrict__ copy, float *parts, const Y *__restrict__ dy,
                                const X *__restrict__ x, const float *__restrict__ mean, const float *__restrict__ rstd,
                                const float *__restrict__ weight, const X *add, int64_t rows, int64_t d)
{
    __shared__ float shared[LONG_THREADS / 32];
    const int64_t begin = part_row(rows, blockIdx.x, gridDim.x), end = part_row(rows, blockIdx.x + 1, gridDim.x);
    float *dweight = parts ? parts + 3 * (int64_t)blockIdx.x * d : NULL, *dbias = parts ? dweight + d : NULL,
          *dsum = parts ? dbias + d : NULL;
    for (int64_t i = threadIdx.x; parts && i < d; i += LONG_THREADS)
        dweight[i] = dbias[i] = dsum[i] = 0.0f;
    for (int64_t row = begin; row < end; row++) {
        const float m = mean[row], r = rstd[row];
        float plain = 0.0f, along = 0.0f;
        for (int64_t i = threadIdx.x; i < d; i += LONG_THREADS) {
            const float gradient = to_float(dy[row * d + i]), normal = (to_float(x[row * d + i]) - m) * r;
            if (parts) {
                dweight[i] += gradient * normal;
                dbias[i] += gradient;
            }
            plain += gradient * weight[i];
            along += gradient * weight[i] * normal;
        }
        plain = block_sum<LONG_THREADS>(plain, shared) / (float)d;
        along = block_sum<LONG_THREADS>(along, shared) / (float)d;
        for (int64_t i = threadIdx.x; i < d; i += LONG_THREADS) {
            const float gradient = to_float(dy[row * d + i]) * weight[i], normal = (to_float(x[row * d + i]) - m) * r;
            const float around = add ? to_float(add[row * d + i]) : 0.0f;
            const float out = around + r * (gradient - plain - normal * along);
            dx[row * d + i] = from_float<X>(out);
            if (copy)
                copy[row * d + i] = from_float<bf16>(out);
            if (parts)
                dsum[i] += out;
        }
    }
}

/* ---- launches ---- */

typedef struct norm_call {
    void *out;
    float *mean, *rstd; /* read by the gradient */
    const void *dy, *x, *add;
    const float *weight, *bias;
    float *parts;
    int64_t rows, d;
    int part_count;
    float eps;
    bf16 *copy;
} norm_call;

template <class X, class Y, int VALUES> static void launch_norm(vmae_backend *be, const norm_call *c)
{
    constexpr int N = columns<X, Y>::N;
    LAUNCH((layer_norm_kernel<X, Y, N, VALUES / N>), cuda_blocks(c->rows, NORM_WARPS), NORM_WARPS * 32, 0,
           cuda_stream(be), (Y *)c->out, c->mean, c->rstd, (const X *)c->x, c->weight, c->bias, c->rows, (int)c->d,
           c->eps);
}

template <class X, class Y, int VALUES, bool SUMS> static void launch_norm_grad(vmae_backend *be, const norm_call *c)
{
    constexpr int N = columns<X, Y>::N;
    /* An SM's registers hold two blocks. SUMS has no say: dweight has the same bits with and without it. */
    constexpr int WARPS = VALUES <= 16 ? 8 : 4;
    const size_t shared = c->parts ? WARPS * (size_t)c->d * sizeof(float) : 0;
    LAUNCH((layer_norm_grad_kernel<X, Y, WARPS, N, VALUES / N, SUMS>), c->part_count, WARPS * 32, shared,
           cuda_stream(be), (X *)c->out, c->copy, c->parts, (const Y *)c->dy, (const X *)c->x, c->mean, c->rstd,
           c->weight, (const X *)c->add, c->rows, (int)c->d);
}

/* VALUES of a row in a lane: the fewest that hold it. */
template <class X, class Y> static vmae_status norm_rows(vmae_backend *be, const norm_call *c)
{
    if (c->rows <= 0)
        return VMAE_OK;
    if (c->d > LONGEST || c->d % columns<X, Y>::N != 0)
        LAUNCH((layer_norm_long_kernel<X, Y>), cuda_blocks(c->rows, 1), LONG_THREADS, 0, cuda_stream(be), (Y *)c->out,
               c->mean, c->rstd, (const X *)c->x, c->weight, c->bias, c->d, c->eps);
    else if (c->d <= 512)
        launch_norm<X, Y, 16>(be, c);
    else if (c->d <= 768)
        launch_norm<X, Y, 24>(be, c);
    else if (c->d <= 1024)
        launch_norm<X, Y, 32>(be, c);
    else
        launch_norm<X, Y, 40>(be, c);
    return CUDA_LAUNCHED("layer_norm_kernel");
}

template <class X, class Y, bool SUMS> static vmae_status norm_grad_rows(vmae_backend *be, const norm_call *c)
{
    if (c->d > LONGEST || c->d % columns<X, Y>::N != 0)
        LAUNCH((layer_norm_grad_long_kernel<X, Y>), c->part_count, LONG_THREADS, 0, cuda_stream(be), (X *)c->out,
               c->copy, c->parts, (const Y *)c->dy, (const X *)c->x, c->mean, c->rstd, c->weight, (const X *)c->add,
               c->rows, c->d);
    else if (c->d <= 512)
        launch_norm_grad<X, Y, 16, SUMS>(be, c);
    else if (c->d <= 768)
        launch_norm_grad<X, Y, 24, SUMS>(be, c);
    else if (c->d <= 1024)
        launch_norm_grad<X, Y, 32, SUMS>(be, c);
    else
        launch_norm_grad<X, Y, 40, SUMS>(be, c);
    return CUDA_LAUNCHED("layer_norm_grad_kernel");
}

vmae_status cuda_layer_norm(vmae_backend *be, void *y, vmae_type y_type, float *mean, float *rstd, const void *x,
                            vmae_type x_type, const float *weight, const float *bias, int64_t rows, int64_t d,
                            float eps)
{
    const norm_call call = { y, mean, rstd, NULL, x, NULL, weight, bias, NULL, rows, d, 0, eps, NULL };
    WITH_TYPE(x_type, X, WITH_TYPE(y_type, Y, return norm_rows<X, Y>(be, &call)));
}

vmae_status cuda_layer_norm_grad(vmae_backend *be, void *dx, vmae_bf16 *copy, float *dweight, float *dbias, float *dsum,
                                 float *scratch, const void *dy, vmae_type y_type, const void *x, vmae_type x_type,
                                 const float *mean, const float *rstd, const float *weight, const void *add,
                                 int64_t rows, int64_t d, bool accumulate)
{
    const int parts = cuda_parts(be, rows);
    norm_call call = {};
    call.out = dx, call.copy = (bf16 *)copy, call.mean = (float *)mean, call.rstd = (float *)rstd;
    call.dy = dy, call.x = x, call.add = add, call.weight = weight;
    call.rows = rows, call.d = d, call.part_count = parts;
    call.parts = dweight || dbias || dsum ? scratch : NULL;
    WITH_TYPE(
        x_type, X,
        WITH_TYPE(y_type, Y,
                  VMAE_TRY((dsum ? norm_grad_rows<X, Y, true>(be, &call) : norm_grad_rows<X, Y, false>(be, &call)))));
    if (dweight || dbias)
        VMAE_TRY(cuda_sum_parts(be, dweight, dbias, scratch, parts, 3 * d, d, accumulate));
    return dsum ? cuda_sum_parts(be, dsum, NULL, scratch + 2 * d, parts, 3 * d, d, accumulate) : VMAE_OK;
}
