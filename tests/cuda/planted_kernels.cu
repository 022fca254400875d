/* planted_kernels.cu -- faults of kernels, one a kernel: accesses out of bounds, missing barriers, races, warp
 * operations that not all lanes reach, shared memory that nobody wrote. */
#include "planted.h"

__global__ void global_overrun(float *x, int n)
{
    const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (i <= n) /* < n */
        x[i] = 1.0f;
}

__global__ void dynamic_shared_overrun(float *x)
{
    DYNAMIC_SHARED(float, s);
    s[threadIdx.x] = 1.0f; /* the launch asks for one float too few */
    __syncthreads();
    x[threadIdx.x] = s[threadIdx.x];
}

__global__ void static_shared_overrun(float *x)
{
    __shared__ float s[N - 1];
    s[threadIdx.x] = 1.0f;
    __syncthreads();
    x[threadIdx.x] = s[N - 1 - threadIdx.x];
}

__global__ void local_overrun(float *x)
{
    float r[4] = { 0, 1, 2, 3 };
    x[threadIdx.x] = r[threadIdx.x]; /* threads 4 to 63 */
}

__global__ void misaligned_vector(float *x)
{
    const float4 v = *reinterpret_cast<float4 *>(x + 1 + 4 * (threadIdx.x % 8));
    x[threadIdx.x] = v.x;
}

/* Turns the 8 x 8 matrix x over its diagonal, in place, through shared memory. */
__global__ void right_transpose(float *x)
{
    __shared__ float s[8][8];
    s[threadIdx.x / 8][threadIdx.x % 8] = x[threadIdx.x];
    __syncthreads();
    x[threadIdx.x] = s[threadIdx.x % 8][threadIdx.x / 8];
}

/* Nothing is out of bounds: only a comparison of the result tells. */
__global__ void wrong_stride(float *x)
{
    __shared__ float s[8 * 8];
    s[threadIdx.x / 8 * 8 + threadIdx.x % 8] = x[threadIdx.x];
    __syncthreads();
    x[threadIdx.x] = s[threadIdx.x % 8 * 7 + threadIdx.x / 8]; /* * 8 */
}

__global__ void missing_barrier(float *x)
{
    __shared__ float s[N];
    s[threadIdx.x] = (float)threadIdx.x;
    /* __syncthreads(); */
    x[threadIdx.x] = s[N - 1 - threadIdx.x];
}

/* Right in ascending order, where every thread reads what an earlier one wrote. */
__global__ void missing_barrier_downward(float *x)
{
    __shared__ float s[N];
    s[threadIdx.x] = (float)threadIdx.x;
    x[threadIdx.x] = threadIdx.x ? s[threadIdx.x - 1] : 0.0f;
}

__global__ void missing_syncwarp(float *x)
{
    __shared__ float s[N];
    s[threadIdx.x] = (float)threadIdx.x;
    /* __syncwarp(); */
    x[threadIdx.x] = s[threadIdx.x ^ 1];
}

/* Right in every order of these fibers, for all write the same value: only TSan knows that nothing orders the two. */
__global__ void race_of_equals(float *x)
{
    __shared__ float s;
    if (threadIdx.x % 32 == 0)
        s = 1.0f;
    __syncthreads();
    x[threadIdx.x] = s;
}

__global__ void plain_add(float *x)
{
    x[0] += 1.0f; /* atomicAdd */
}

__global__ void race_between_blocks(float *x)
{
    if (threadIdx.x == 0)
        x[0] += 1.0f; /* atomicAdd */
}

__global__ void divergent_barrier(float *x)
{
    if (threadIdx.x < 32) {
        __syncthreads();
    } else {
        __syncthreads();
    }
    x[threadIdx.x] = 0.0f;
}

__global__ void barrier_not_reached(float *x)
{
    if (threadIdx.x < 32)
        __syncthreads();
    x[threadIdx.x] = 0.0f;
}

__global__ void shuffle_in_a_branch(float *x)
{
    float v = x[threadIdx.x];
    if (threadIdx.x % 2)
        v += __shfl_xor_sync(0xFFFFFFFFu, v, 2);
    __syncthreads();
    x[threadIdx.x] = v;
}

__global__ void shuffle_outside_its_mask(float *x)
{
    const float v = x[threadIdx.x];
    x[threadIdx.x] = __shfl_xor_sync(0x0000FFFFu, v, 1);
}

template <int COUNT> __global__ void uninitialised_shared(float *x)
{
    __shared__ float s[COUNT];
    if (threadIdx.x < COUNT - 1)
        s[threadIdx.x] = 1.0f;
    __syncthreads();
    x[threadIdx.x] = s[COUNT - 1 - threadIdx.x];
}

__global__ void uninitialised_dynamic_shared(float *x)
{
    DYNAMIC_SHARED(float, s);
    if (threadIdx.x < N - 1)
        s[threadIdx.x] = 1.0f;
    __syncthreads();
    x[threadIdx.x] = s[N - 1 - threadIdx.x];
}

/* Launches it on x. */
#define KERNEL(name, blocks, smem, ...) #name, [] { LAUNCH(name, blocks, N, smem, 0, __VA_ARGS__); }
const Fault kernel_faults[] = {
    { KERNEL(global_overrun, 2, 0, x, N) },
    { KERNEL(dynamic_shared_overrun, 1, (N - 1) * sizeof(float), x) },
    { KERNEL(static_shared_overrun, 1, 0, x) },
    { KERNEL(local_overrun, 1, 0, x) },
    { KERNEL(misaligned_vector, 1, 0, x) },
    { KERNEL(right_transpose, 1, 0, x) },
    { KERNEL(wrong_stride, 1, 0, x) },
    { KERNEL(missing_barrier, 1, 0, x) },
    { KERNEL(missing_barrier_downward, 1, 0, x) },
    { KERNEL(missing_syncwarp, 1, 0, x) },
    { KERNEL(race_of_equals, 1, 0, x) },
    { KERNEL(plain_add, 1, 0, x) },
    { KERNEL(race_between_blocks, 2, 0, x) },
    { KERNEL(divergent_barrier, 1, 0, x) },
    { KERNEL(barrier_not_reached, 1, 0, x) },
    { KERNEL(shuffle_in_a_branch, 1, 0, x) },
    { KERNEL(shuffle_outside_its_mask, 1, 0, x) },
    { KERNEL(uninitialised_shared<N>, 1, 0, x) },
    { KERNEL(uninitialised_dynamic_shared, 1, N * sizeof(float), x) },
    {},
};
