/* device.cuh -- what kernels share: 16-byte accesses of either type, sums over warps and blocks in a fixed order, the
 * blocks of a grid. Private to backend/cuda.
 *
 * bf16 is for storage: a value is loaded, widened to float, computed with, rounded to nearest even and stored. No float
 * atomics: the same bits every time. Kernels are templates over the type (float or __nv_bfloat16) and are launched
 * through WITH_TYPE. */
#ifndef VMAE_BACKEND_CUDA_DEVICE_CUH
#define VMAE_BACKEND_CUDA_DEVICE_CUH

#include "engine/backend/cuda/cuda.h"
#include "engine/backend/cuda/portable.cuh"

#include <cuda_bf16.h>

typedef __nv_bfloat16 bf16;

/* WITH_TYPE(type, T, statement): runs the statement with T = float or bf16. */
#define WITH_TYPE(type, T, ...)                                                                                        \
    do {                                                                                                               \
        if ((type) == VMAE_BF16) {                                                                                     \
            using T = bf16;                                                                                            \
            __VA_ARGS__;                                                                                               \
        } else {                                                                                                       \
            using T = float;                                                                                           \
            __VA_ARGS__;                                                                                               \
        }                                                                                                              \
    } while (0)

static __device__ __forceinline__ float to_float(float x)
{
    return x;
}
static __device__ __forceinline__ float to_float(bf16 x)
{
    return __bfloat162float(x);
}
template <class T> static __device__ __forceinline__ T from_float(float x);
template <> __device__ __forceinline__ float from_float<float>(float x)
{
    return x;
}
template <> __device__ __forceinline__ bf16 from_float<bf16>(float x)
{
    return __float2bfloat16(x);
}

/* Elements in one 16-byte access. */
template <class T> struct vector {
    static constexpr int width = 16 / (int)sizeof(T);
};

/* 16 bytes of x, widened. The address is a multiple of 16. */
static __device__ __forceinline__ void load_vector(float (&to)[4], const float *x)
{
    const float4 v = *reinterpret_cast<const float4 *>(x);
    to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
}
static __device__ __forceinline__ void load_vector(float (&to)[8], const bf16 *x)
{
    const uint4 v = *reinterpret_cast<const uint4 *>(x);
    const unsigned word[4] = { v.x, v.y, v.z, v.w };
#pragma unroll
    for (int i = 0; i < 4; i++) {
        to[2 * i] = __uint_as_float(word[i] << 16);
        to[2 * i + 1] = __uint_as_float(word[i] & 0xFFFF0000u);
    }
}
/* nvcc takes a plain store of 16 bytes apart into four of 4 where a loop is not simple. WHOLE prevents that, for global
 * memory only, by an intrinsic behind which nothing moves, so it can cost registers: where tests/cuda/ptxas_gate.sh
 * finds no vector stores in a kernel, and not elsewhere. */
constexpr bool WHOLE = true;
template <bool IS_WHOLE, class V, class T> static __device__ __forceinline__ void store_as(T *y, V value)
{
    if constexpr (IS_WHOLE)
        __stwb(reinterpret_cast<V *>(y), value);
    else
        *reinterpret_cast<V *>(y) = value;
}
template <bool IS_WHOLE = false> static __device__ __forceinline__ void store_vector(float *y, const float (&from)[4])
{
    store_as<IS_WHOLE>(y, make_float4(from[0], from[1], from[2], from[3]));
}
static __device__ __forceinline__ unsigned pack_bf16(float low, float high)
{
    return (unsigned)__bfloat16_as_ushort(__float2bfloat16(low)) |
           (unsigned)__bfloat16_as_ushort(__float2bfloat16(high)) << 16;
}
template <bool IS_WHOLE = false> static __device__ __forceinline__ void store_vector(bf16 *y, const float (&from)[8])
{
    store_as<IS_WHOLE>(y, make_uint4(pack_bf16(from[0], from[1]), pack_bf16(from[2], from[3]),
                                     pack_bf16(from[4], from[5]), pack_bf16(from[6], from[7])));
}
/* N consecutive elements (N a multiple of what 16 bytes hold; or less, then one by one). */
template <int N, class T> static __device__ __forceinline__ void load_n(float (&to)[N], const T *x)
{
    constexpr int width = vector<T>::width;
    if constexpr (N % width == 0) {
#pragma unroll
        for (int i = 0; i < N / width; i++) {
            float part[width];
            load_vector(part, x + i * width);
#pragma unroll
            for (int j = 0; j < width; j++)
                to[i * width + j] = part[j];
        }
    } else if constexpr (N == 4 && width == 8) { /* half a vector of bf16: 8 bytes */
        const uint2 v = *reinterpret_cast<const uint2 *>(x);
        to[0] = __uint_as_float(v.x << 16), to[1] = __uint_as_float(v.x & 0xFFFF0000u);
        to[2] = __uint_as_float(v.y << 16), to[3] = __uint_as_float(v.y & 0xFFFF0000u);
    } else {
#pragma unroll
        for (int i = 0; i < N; i++)
            to[i] = to_float(x[i]);
    }
}
template <int N, bool IS_WHOLE = false, class T>
static __device__ __forceinline__ void store_n(T *y, const float (&from)[N])
{
    constexpr int width = vector<T>::width;
    if constexpr (N % width == 0) {
#pragma unroll
        for (int i = 0; i < N / width; i++) {
            float part[width];
#pragma unroll
            for (int j = 0; j < width; j++)
                part[j] = from[i * width + j];
            store_vector<IS_WHOLE>(y + i * width, part);
        }
    } else if constexpr (N == 4 && width == 8) {
        *reinterpret_cast<uint2 *>(y) = make_uint2(pack_bf16(from[0], from[1]), pack_bf16(from[2], from[3]));
    } else {
#pragma unroll
        for (int i = 0; i < N; i++)
            y[i] = from_float<T>(from[i]);
    }
}

/* ---- sums and maxima; every lane gets the result; a fixed order ---- */

/* Among LANES neighbouring lanes, a power of two; all lanes of the warp call it. */
template <int LANES, class T> static __device__ __forceinline__ T lanes_sum(T x)
{
#pragma unroll
    for (int i = LANES / 2; i > 0; i /= 2)
        x += __shfl_xor_sync(0xFFFFFFFFu, x, i);
    return x;
}
template <int LANES> static __device__ __forceinline__ float lanes_max(float x)
{
#pragma unroll
    for (int i = LANES / 2; i > 0; i /= 2)
        x = fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, i));
    return x;
}
template <class T> static __device__ __forceinline__ T warp_sum(T x)
{
    return lanes_sum<32>(x);
}
static __device__ __forceinline__ float warp_max(float x)
{
    return lanes_max<32>(x);
}
/* Over a block of THREADS (a multiple of 32, at most 1024). `shared`: THREADS/32 floats that nobody else uses; all
 * threads call it; it ends with a barrier behind which `shared` is free again. */
template <int THREADS> static __device__ __forceinline__ float block_sum(float x, float *shared)
{
    constexpr int warps = THREADS / 32;
    x = warp_sum(x);
    if (warps == 1)
        return x;
    if (threadIdx.x % 32 == 0)
        shared[threadIdx.x / 32] = x;
    __syncthreads();
    float total = 0.0f;
#pragma unroll
    for (int i = 0; i < warps; i++)
        total += shared[i];
    __syncthreads();
    return total;
}

/* A running log-sum-exp: log of the sum is top + log(sum). It begins with { -INFINITY, 0 }. A NaN ends up in the sum.
 */
typedef struct log_sum {
    float top, sum;
} log_sum;

static __device__ __forceinline__ void log_sum_add(log_sum *to, float x)
{
    const float e = expf(-fabsf(x - to->top));
    const bool above = x > to->top;
    to->sum = above ? to->sum * e + 1.0f : to->sum + e;
    to->top = above ? x : to->top;
}

static inline int cuda_blocks(int64_t work, int64_t per_block)
{
    const int64_t blocks = (work + per_block - 1) / per_block;
    return (int)(blocks < 1 ? 1 : blocks < 0x7FFFFFFF ? blocks : 0x7FFFFFFF);
}

#endif
