/* l2_normalize.cu -- y = x / max(|x|, 1e-12) by rows; norm keeps |x| itself. A warp a row; it reads the row again for
 * each pass, from the first-level cache. */
#include "engine/backend/cuda/device.cuh"

#define L2_NORMALIZE_EPS 1e-12f

enum { L2_WARPS = 4 };

/* The power of two that brings `most` to [1, 2), as far as floats go: the square of no float of the row overflows, nor
 * do all vanish. Exact, so that scaling rounds nothing. NaN and infinity pass through. */
static __device__ __forceinline__ float unit_scale(float most)
{
    const int exponent = (int)(__float_as_uint(most) >> 23 & 0xFFu); /* 0: zero and denormals */
    const int inverse = 254 - exponent;
    return __uint_as_float((unsigned)(inverse < 1 ? 1 : inverse > 253 ? 253 : inverse) << 23);
}

/* N divides d. */
template <int N>
__global__ void __launch_bounds__(L2_WARPS * 32)
    l2_normalize_kernel(float *__restrict__ y, float *__restrict__ norm, const float *__restrict__ x, int64_t rows,
                        int64_t d)
{
    const int64_t row = (int64_t)blockIdx.x * L2_WARPS + threadIdx.x / 32, first = threadIdx.x % 32 * N;
    if (row >= rows)
        return; /* whole warps leave */
    const float *in = x + row * d;
    float most = 0.0f, sum = 0.0f, value[N];
    for (int64_t i = first; i < d; i += 32 * N) {
        load_n<N>(value, in + i);
#pragma unroll
        for (int j = 0; j < N; j++)
            most = fmaxf(most, fabsf(value[j]));
    }
    const float scale = unit_scale(warp_max(most));
    for (int64_t i = first; i < d; i += 32 * N) {
        load_n<N>(value, in + i);
#pragma unroll
        for (int j = 0; j < N; j++)
            sum += value[j] * scale * (value[j] * scale);
    }
    const float scaled = sqrtf(warp_sum(sum)), length = scaled / scale;
    const bool clamped = length < L2_NORMALIZE_EPS; /* NaN stays */
    const float divisor = clamped ? L2_NORMALIZE_EPS : scaled, factor = clamped ? 1.0f : scale;
    for (int64_t i = first; i < d; i += 32 * N) {
        load_n<N>(value, in + i);
#pragma unroll
        for (int j = 0; j < N; j++)
            value[j] = value[j] * factor / divisor;
        store_n<N>(y + row * d + i, value);
    }
    if (threadIdx.x % 32 == 0)
        norm[row] = length;
}

/* dx = (dy - y (y.dy)) / |x|; where |x| was below the limit, y = x / limit and dx = dy / limit. */
template <int N>
__global__ void __launch_bounds__(L2_WARPS * 32)
    l2_normalize_grad_kernel(float *__restrict__ dx, const float *__restrict__ dy, const float *__restrict__ y,
                             const float *__restrict__ norm, int64_t rows, int64_t d)
{
    const int64_t row = (int64_t)blockIdx.x * L2_WARPS + threadIdx.x / 32, first = threadIdx.x % 32 * N;
    if (row >= rows)
        return;
    const float length = norm[row];
    const bool clamped = length < L2_NORMALIZE_EPS;
    float sum = 0.0f, gradient[N], unit[N];
    for (int64_t i = first; i < d; i += 32 * N) {
        load_n<N>(gradient, dy + row * d + i);
        load_n<N>(unit, y + row * d + i);
#pragma unroll
        for (int j = 0; j < N; j++)
            sum += gradient[j] * unit[j];
    }
    sum = warp_sum(sum);
    const float dot = clamped ? 0.0f : sum, divisor = clamped ? L2_NORMALIZE_EPS : length;
    for (int64_t i = first; i < d; i += 32 * N) {
        load_n<N>(gradient, dy + row * d + i);
        load_n<N>(unit, y + row * d + i);
#pragma unroll
        for (int j = 0; j < N; j++)
            gradient[j] = (gradient[j] - unit[j] * dot) / divisor;
        store_n<N>(dx + row * d + i, gradient);
    }
}

vmae_status cuda_l2_normalize(vmae_backend *be, float *y, float *norm, const float *x, int64_t rows, int64_t d)
{
    const int blocks = cuda_blocks(rows, L2_WARPS);
    if (d % 4 == 0)
        LAUNCH(l2_normalize_kernel<4>, blocks, L2_WARPS * 32, 0, cuda_stream(be), y, norm, x, rows, d);
    else
        LAUNCH(l2_normalize_kernel<1>, blocks, L2_WARPS * 32, 0, cuda_stream(be), y, norm, x, rows, d);
    return CUDA_LAUNCHED("l2_normalize_kernel");
}

vmae_status cuda_l2_normalize_grad(vmae_backend *be, float *dx, const float *dy, const float *y, const float *norm,
                                   int64_t rows, int64_t d)
{
    const int blocks = cuda_blocks(rows, L2_WARPS);
    if (d % 4 == 0)
        LAUNCH(l2_normalize_grad_kernel<4>, blocks, L2_WARPS * 32, 0, cuda_stream(be), dx, dy, y, norm, rows, d);
    else
        LAUNCH(l2_normalize_grad_kernel<1>, blocks, L2_WARPS * 32, 0, cuda_stream(be), dx, dy, y, norm, rows, d);
    return CUDA_LAUNCHED("l2_normalize_grad_kernel");
}
