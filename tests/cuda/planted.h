/* planted.h -- what the files of planted faults share: the array that a fault's result is left in, memory, streams and
 * a kernel to commit it with, and the tables of faults. planted.cu says what becomes of them. */
#ifndef VMAE_TESTS_CUDA_PLANTED_H
#define VMAE_TESTS_CUDA_PLANTED_H

#include "engine/backend/cuda/portable.cuh"

enum { N = 64 };

extern float *x, h[N]; /* on the device: N floats, 0 to N - 1; on the host: what it held in the end */

float *device(int n);
float *pinned(float value); /* N floats */
void say(cudaError_t error);

__global__ void copy_kernel(float *out, const float *in);

/* Two streams, an event, a pinned buffer of ones, and an array of zeros that ones are copied to. */
struct Scene {
    cudaStream_t a, b;
    cudaEvent_t e;
    float *up, *y;
    Scene() : up(pinned(1.0f)), y(device(N))
    {
        cudaStreamCreateWithFlags(&a, cudaStreamNonBlocking);
        cudaStreamCreateWithFlags(&b, cudaStreamNonBlocking);
        cudaEventCreateWithFlags(&e, cudaEventDisableTiming);
        cudaMemset(y, 0, N * sizeof(float));
        cudaDeviceSynchronize();
    }
    ~Scene()
    {
        cudaDeviceSynchronize();
        cudaStreamDestroy(a);
        cudaStreamDestroy(b);
        cudaEventDestroy(e);
        cudaFreeHost(up);
        cudaFree(y);
    }
    void upload(cudaStream_t stream)
    {
        cudaMemcpyAsync(y, up, N * sizeof(float), cudaMemcpyHostToDevice, stream);
    }
};

struct Fault {
    const char *name;
    void (*commit)();
};
#define HOST(name) #name, name

/* Kernels, memory and streams, calls that are refused. The last of each has no name. */
extern const Fault kernel_faults[], stream_faults[], call_faults[];

#endif
