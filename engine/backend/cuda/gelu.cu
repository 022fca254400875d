/* gelu.cu -- the exact GELU and its gradient, with the column sums that are the gradient of the bias in front. */
#include "engine/backend/cuda/column_sum.cuh"
#include "engine/backend/cuda/gelu.cuh"
#include "engine/backend/cuda/map.cuh"

template <class T> __global__ void __launch_bounds__(MAP_THREADS) gelu_kernel(T *y, const T *x, int64_t n)
{
    map(y, x, n, [](float value) { return gelu_of(value); });
}

template <class T>
__global__ void __launch_bounds__(MAP_THREADS) gelu_grad_kernel(T *dx, const T *dy, const T *x, int64_t n)
{
    map2(dx, dy, x, n, [](float gradient, float value) { return gradient * gelu_slope_of(value); });
}

/* The same for a part of the rows (column_sum.cuh), and the column sums of dx before it is rounded. N divides d. */
template <class T, int N>
__global__ void __launch_bounds__(COLUMN_LANES *ROW_LANES)
    gelu_grad_sum_kernel(T *dx, float *parts, const T *dy, const T *__restrict__ x, int64_t rows, int64_t d)
{
    __shared__ __align__(16) lane_sums<N> sums;
    const int64_t column = tile_column<N>(), end = part_row(rows, blockIdx.y + 1, gridDim.y);
    float sum[N] = {};
    if (column < d) {
        for (int64_t row = part_row(rows, blockIdx.y, gridDim.y) + threadIdx.y; row < end; row += ROW_LANES) {
            float gradient[N], value[N];
            load_n<N>(gradient, dy + row * d + column);
            load_n<N>(value, x + row * d + column);
#pragma unroll
            for (int j = 0; j < N; j++) {
                const float slope = gelu_slope_of(value[j]);
                sum[j] = fmaf(gradient[j], slope, sum[j]);
                gradient[j] *= slope;
            }
            store_n<N, WHOLE>(dx + row * d + column, gradient);
        }
    }
    part_write<N>(parts + blockIdx.y * d, sums, sum, d);
}

vmae_status cuda_gelu(vmae_backend *be, void *y, const void *x, vmae_type type, int64_t n)
{
    WITH_TYPE(type, T,
              LAUNCH(gelu_kernel<T>, map_blocks(be, n), MAP_THREADS, 0, cuda_stream(be), (T *)y, (const T *)x, n));
    return CUDA_LAUNCHED("gelu_kernel");
}

template <class T, int N>
static vmae_status launch_gelu_grad_sum(vmae_backend *be, T *dx, float *scratch, const T *dy, const T *x, int64_t rows,
                                        int64_t d)
{
    LAUNCH((gelu_grad_sum_kernel<T, N>), column_grid(d, N, cuda_parts(be, rows)), dim3(COLUMN_LANES, ROW_LANES), 0,
           cuda_stream(be), dx, scratch, dy, x, rows, d);
    return CUDA_LAUNCHED("gelu_grad_sum_kernel");
}

vmae_status cuda_gelu_grad(vmae_backend *be, void *dx, float *dbias, float *scratch, const void *dy, const void *x,
                           vmae_type type, int64_t rows, int64_t d, bool accumulate)
{
    const int64_t n = rows * d;
    if (!dbias) {
        WITH_TYPE(type, T,
                  LAUNCH(gelu_grad_kernel<T>, map_blocks(be, n), MAP_THREADS, 0, cuda_stream(be), (T *)dx,
                         (const T *)dy, (const T *)x, n));
        return CUDA_LAUNCHED("gelu_grad_kernel");
    }
    WITH_TYPE(type, T, constexpr int width = vector<T>::width; VMAE_TRY((
        d % width == 0 ? launch_gelu_grad_sum<T, width>(be, (T *)dx, scratch, (const T *)dy, (const T *)x, rows, d)
                       : launch_gelu_grad_sum<T, 1>(be, (T *)dx, scratch, (const T *)dy, (const T *)x, rows, d))));
    return cuda_sum_parts(be, dbias, NULL, scratch, cuda_parts(be, rows), d, d, accumulate);
}
