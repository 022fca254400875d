/* map.cuh -- what is done value by value: loops over whole tensors, 16 bytes of the wider type at a time. Private to
 * backend/cuda.
 *
 * A kernel calls map() with a function of a value, or map2() with one of two; in place is fine, as a thread reads what
 * it writes before it writes it. */
#ifndef VMAE_BACKEND_CUDA_MAP_CUH
#define VMAE_BACKEND_CUDA_MAP_CUH

#include "engine/backend/cuda/device.cuh"

enum { MAP_THREADS = 256, MAP_VALUES = 8 /* of a thread and turn */ };

/* Blocks for n values: enough to fill the device several times over, each with several turns where there is more. */
static inline int map_blocks(const vmae_backend *be, int64_t n)
{
    const int most = cuda_self(be)->sm_count * 16, blocks = cuda_blocks(n, (int64_t)MAP_THREADS * MAP_VALUES);
    return blocks < most ? blocks : most;
}

static __device__ __forceinline__ int64_t map_first()
{
    return (int64_t)blockIdx.x * MAP_THREADS + threadIdx.x;
}
static __device__ __forceinline__ int64_t map_stride()
{
    return (int64_t)gridDim.x * MAP_THREADS;
}

/* y[i] = f(x[i]) */
template <class Y, class X, class F> static __device__ __forceinline__ void map(Y *y, const X *x, int64_t n, F f)
{
    constexpr int N = sizeof(X) == 2 && sizeof(Y) == 2 ? 8 : 4;
    const int64_t vectors = n / N;
    for (int64_t i = map_first(); i < vectors; i += map_stride()) {
        float values[N];
        load_n<N>(values, x + i * N);
#pragma unroll
        for (int j = 0; j < N; j++)
            values[j] = f(values[j]);
        store_n<N>(y + i * N, values);
    }
    for (int64_t i = vectors * N + map_first(); i < n; i += map_stride())
        y[i] = from_float<Y>(f(to_float(x[i])));
}

/* y[i] = f(a[i], b[i]) */
template <class T, class F> static __device__ __forceinline__ void map2(T *y, const T *a, const T *b, int64_t n, F f)
{
    constexpr int N = vector<T>::width;
    const int64_t vectors = n / N;
    for (int64_t i = map_first(); i < vectors; i += map_stride()) {
        float left[N], right[N];
        load_n<N>(left, a + i * N);
        load_n<N>(right, b + i * N);
#pragma unroll
        for (int j = 0; j < N; j++)
            left[j] = f(left[j], right[j]);
        store_n<N>(y + i * N, left);
    }
    for (int64_t i = vectors * N + map_first(); i < n; i += map_stride())
        y[i] = from_float<T>(f(to_float(a[i]), to_float(b[i])));
}

#endif
