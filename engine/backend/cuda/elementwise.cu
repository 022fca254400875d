/* elementwise.cu -- sums, scales, casts: what is done value by value, and the sum over rows. */
#include "engine/backend/cuda/column_sum.cuh"
#include "engine/backend/cuda/map.cuh"

/* ---- value by value ---- */

/* A NaN stays one: a diverged run must be seen, not cut off. */
template <class T> __global__ void __launch_bounds__(MAP_THREADS) relu_kernel(T *y, const T *x, int64_t n)
{
    map(y, x, n, [](float value) { return value < 0.0f ? 0.0f : value; });
}

template <class T>
__global__ void __launch_bounds__(MAP_THREADS) relu_grad_kernel(T *dx, const T *dy, const T *y, int64_t n)
{
    map2(dx, dy, y, n, [](float gradient, float value) { return value > 0.0f ? gradient : 0.0f; });
}

template <class T> __global__ void __launch_bounds__(MAP_THREADS) add_kernel(T *y, const T *a, const T *b, int64_t n)
{
    map2(y, a, b, n, [](float left, float right) { return left + right; });
}

template <class Y, class X> __global__ void __launch_bounds__(MAP_THREADS) cast_kernel(Y *y, const X *x, int64_t n)
{
    map(y, x, n, [](float value) { return value; });
}

__global__ void __launch_bounds__(MAP_THREADS) fill_kernel(float *y, float value, int64_t n)
{
    const float values[4] = { value, value, value, value };
    for (int64_t i = map_first(); i < n / 4; i += map_stride())
        store_vector(y + i * 4, values);
    for (int64_t i = n / 4 * 4 + map_first(); i < n; i += map_stride())
        y[i] = value;
}

/* y[g,i] = a[g,i] + scale[g] b[g,i]; N divides n, so that a vector lies within a group. blockIdx.y: groups. */
template <class T, int N>
__global__ void __launch_bounds__(MAP_THREADS)
    add_scaled_kernel(T *y, const T *a, const T *b, const float *scale, int64_t groups, int64_t n)
{
    for (int64_t group = blockIdx.y; group < groups; group += gridDim.y) {
        const float factor = scale[group];
        for (int64_t i = map_first() * N; i < n; i += map_stride() * N) {
            const int64_t at = group * n + i;
            float left[N] = {}, right[N];
            if (a)
                load_n<N>(left, a + at);
            load_n<N>(right, b + at);
#pragma unroll
            for (int j = 0; j < N; j++)
                left[j] = a ? left[j] + factor * right[j] : factor * right[j];
            store_n<N, WHOLE>(y + at, left);
        }
    }
}

__global__ void weighted_sum_kernel(float *y, const float *a, const float *wa, const float *b, const float *wb)
{
    *y = a[0] * wa[0] + (b ? b[0] * wb[0] : 0.0f);
}

/* ---- sums over rows ---- */

/* The column sums of a part of the rows (column_sum.cuh). N divides d. */
template <class T, int N>
__global__ void __launch_bounds__(COLUMN_LANES *ROW_LANES)
    column_sum_kernel(float *parts, const T *__restrict__ x, int64_t rows, int64_t d)
{
    __shared__ __align__(16) lane_sums<N> sums;
    const int64_t column = tile_column<N>(), end = part_row(rows, blockIdx.y + 1, gridDim.y);
    float sum[N] = {};
    if (column < d) {
#pragma unroll 4
        for (int64_t row = part_row(rows, blockIdx.y, gridDim.y) + threadIdx.y; row < end; row += ROW_LANES) {
            float values[N];
            load_n<N>(values, x + row * d + column);
#pragma unroll
            for (int j = 0; j < N; j++)
                sum[j] += values[j];
        }
    }
    part_write<N>(parts + blockIdx.y * d, sums, sum, d);
}

/* A block adds the parts of COLUMN_LANES columns: each of its row lanes every ROW_LANES-th part, then the lanes. */
__global__ void __launch_bounds__(COLUMN_LANES *ROW_LANES)
    sum_parts_kernel(float *first, float *second, const float *__restrict__ parts, int count, int64_t stride, int64_t d,
                     bool accumulate)
{
    __shared__ float sums[ROW_LANES][COLUMN_LANES];
    const int64_t column = tile_column<1>();
    float *out = blockIdx.y == 0 ? first : second;
    float sum = 0.0f;
    if (column < d && out) {
        const float *from = parts + blockIdx.y * d + column;
#pragma unroll 8
        for (int part = (int)threadIdx.y; part < count; part += ROW_LANES)
            sum += from[part * stride];
    }
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && column < d && out) {
        float total = sums[0][threadIdx.x];
#pragma unroll
        for (int i = 1; i < ROW_LANES; i++)
            total += sums[i][threadIdx.x];
        out[column] = accumulate ? out[column] + total : total;
    }
}

vmae_status cuda_sum_parts(vmae_backend *be, float *first, float *second, const float *parts, int count, int64_t stride,
                           int64_t d, bool accumulate)
{
    LAUNCH(sum_parts_kernel, column_grid(d, 1, second ? 2 : 1), dim3(COLUMN_LANES, ROW_LANES), 0, cuda_stream(be),
           first, second, parts, count, stride, d, accumulate);
    return CUDA_LAUNCHED("sum_parts_kernel");
}

/* ---- the table ---- */

vmae_status cuda_relu(vmae_backend *be, void *y, const void *x, vmae_type type, int64_t n)
{
    WITH_TYPE(type, T,
              LAUNCH(relu_kernel<T>, map_blocks(be, n), MAP_THREADS, 0, cuda_stream(be), (T *)y, (const T *)x, n));
    return CUDA_LAUNCHED("relu_kernel");
}

vmae_status cuda_relu_grad(vmae_backend *be, void *dx, const void *dy, const void *y, vmae_type type, int64_t n)
{
    WITH_TYPE(type, T,
              LAUNCH(relu_grad_kernel<T>, map_blocks(be, n), MAP_THREADS, 0, cuda_stream(be), (T *)dx, (const T *)dy,
                     (const T *)y, n));
    return CUDA_LAUNCHED("relu_grad_kernel");
}

vmae_status cuda_add(vmae_backend *be, void *y, const void *a, const void *b, vmae_type type, int64_t n)
{
    WITH_TYPE(type, T,
              LAUNCH(add_kernel<T>, map_blocks(be, n), MAP_THREADS, 0, cuda_stream(be), (T *)y, (const T *)a,
                     (const T *)b, n));
    return CUDA_LAUNCHED("add_kernel");
}

template <class T, int N>
static vmae_status launch_add_scaled(vmae_backend *be, T *y, const T *a, const T *b, const float *scale, int64_t groups,
                                     int64_t n)
{
    const dim3 grid((unsigned)cuda_blocks(n, (int64_t)MAP_THREADS * N), (unsigned)(groups < 65535 ? groups : 65535));
    if (groups > 0)
        LAUNCH((add_scaled_kernel<T, N>), grid, MAP_THREADS, 0, cuda_stream(be), y, a, b, scale, groups, n);
    return CUDA_LAUNCHED("add_scaled_kernel");
}

vmae_status cuda_add_scaled(vmae_backend *be, void *y, const void *a, const void *b, const float *scale, vmae_type type,
                            int64_t groups, int64_t n)
{
    WITH_TYPE(type, T, constexpr int width = vector<T>::width;
              return n % width == 0
                         ? launch_add_scaled<T, width>(be, (T *)y, (const T *)a, (const T *)b, scale, groups, n)
                         : launch_add_scaled<T, 1>(be, (T *)y, (const T *)a, (const T *)b, scale, groups, n));
}

vmae_status cuda_cast(vmae_backend *be, void *y, vmae_type to, const void *x, vmae_type from, int64_t n)
{
    if (to == from)
        return cuda_check(
            cudaMemcpyAsync(y, x, (size_t)n * vmae_type_size(to), cudaMemcpyDeviceToDevice, cuda_stream(be)),
            "cast: copying");
    if (to == VMAE_BF16)
        LAUNCH((cast_kernel<bf16, float>), map_blocks(be, n), MAP_THREADS, 0, cuda_stream(be), (bf16 *)y,
               (const float *)x, n);
    else
        LAUNCH((cast_kernel<float, bf16>), map_blocks(be, n), MAP_THREADS, 0, cuda_stream(be), (float *)y,
               (const bf16 *)x, n);
    return CUDA_LAUNCHED("cast_kernel");
}

vmae_status cuda_fill(vmae_backend *be, float *y, float value, int64_t n)
{
    LAUNCH(fill_kernel, map_blocks(be, n), MAP_THREADS, 0, cuda_stream(be), y, value, n);
    return CUDA_LAUNCHED("fill_kernel");
}

template <class T, int N>
static vmae_status launch_column_sum(vmae_backend *be, float *scratch, const T *x, int64_t rows, int64_t d)
{
    LAUNCH((column_sum_kernel<T, N>), column_grid(d, N, cuda_parts(be, rows)), dim3(COLUMN_LANES, ROW_LANES), 0,
           cuda_stream(be), scratch, x, rows, d);
    return CUDA_LAUNCHED("column_sum_kernel");
}

vmae_status cuda_column_sum(vmae_backend *be, float *sum, float *scratch, const void *x, vmae_type type, int64_t rows,
                            int64_t d, bool accumulate)
{
    WITH_TYPE(type, T, constexpr int width = vector<T>::width;
              VMAE_TRY((d % width == 0 ? launch_column_sum<T, width>(be, scratch, (const T *)x, rows, d)
                                       : launch_column_sum<T, 1>(be, scratch, (const T *)x, rows, d))));
    return cuda_sum_parts(be, sum, NULL, scratch, cuda_parts(be, rows), d, d, accumulate);
}

vmae_status cuda_weighted_sum(vmae_backend *be, float *y, const float *a, const float *wa, const float *b,
                              const float *wb)
{
    LAUNCH(weighted_sum_kernel, 1, 1, 0, cuda_stream(be), y, a, wa, b, wb);
    return CUDA_LAUNCHED("weighted_sum_kernel");
}
