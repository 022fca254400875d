/* planted_streams.cu -- faults of the host with memory, streams and events: what is used before it is there, reused or
 * freed while work on it is queued, or never freed. */
#include "planted.h"

#include <cstddef>
#include <cstdio>
#include <cstring>

struct Padded {
    float *to;
    bool doubled;
};
__global__ void struct_kernel(Padded p)
{
    p.to[threadIdx.x] = p.doubled ? 2.0f : 1.0f;
}

static void right_event()
{
    Scene s;
    s.upload(s.a);
    cudaEventRecord(s.e, s.a);
    cudaStreamWaitEvent(s.b, s.e, 0);
    LAUNCH(copy_kernel, 1, N, 0, s.b, x, s.y);
    cudaStreamSynchronize(s.b);
    s.up[5] = 2.0f; /* b came after a: the buffer is free */
}
static void forgotten_event()
{
    Scene s;
    s.upload(s.a);
    LAUNCH(copy_kernel, 1, N, 0, s.b, x, s.y); /* nothing makes b wait for a */
    cudaStreamSynchronize(s.b);
}
static void wrong_stream()
{
    Scene s;
    s.upload(s.a);
    LAUNCH(copy_kernel, 1, N, 0, 0, x, s.y); /* on the legacy stream, which waits for none that is non-blocking */
    cudaDeviceSynchronize();
}
static void pinned_reused_early()
{
    Scene s;
    s.upload(s.a);
    s.up[5] = 1000.0f;
    cudaStreamSynchronize(s.a);
}
static void right_pageable()
{
    Scene s;
    float pageable[N];
    for (int i = 0; i < N; i++)
        pageable[i] = 1.0f;
    cudaMemcpyAsync(s.y, pageable, sizeof pageable, cudaMemcpyHostToDevice, s.a); /* staged: may be reused at once */
    pageable[5] = 1000.0f;
    LAUNCH(copy_kernel, 1, N, 0, s.a, x, s.y);
    cudaStreamSynchronize(s.a);
}
static void result_read_early()
{
    Scene s;
    cudaMemcpyAsync(s.up, x, N * sizeof(float), cudaMemcpyDeviceToHost, s.a);
    const volatile float early = s.up[3];
    printf("%g\n", (double)early);
}
static void freed_under_a_kernel()
{
    Scene s;
    float *z = device(N);
    cudaMemset(z, 0, N * sizeof(float));
    cudaDeviceSynchronize();
    LAUNCH(copy_kernel, 1, N, 0, s.a, x, z);
    cudaFree(z);
    cudaStreamSynchronize(s.a);
}
static void freed_under_a_copy()
{
    Scene s;
    float *p = pinned(1.0f);
    cudaMemcpyAsync(s.y, p, N * sizeof(float), cudaMemcpyHostToDevice, s.a);
    cudaFreeHost(p);
    cudaStreamSynchronize(s.a);
}
static void freed_in_a_struct()
{
    Padded p = { device(N), false };
    cudaFree(p.to);
    LAUNCH(struct_kernel, 1, N, 0, 0, p);
    cudaDeviceSynchronize();
}
static void right_struct() /* whose padding holds what is left of a pointer */
{
    float *const gone = device(N);
    Padded p;
    memcpy((char *)&p + offsetof(Padded, doubled), &gone, sizeof gone);
    p.to = x;
    p.doubled = false;
    cudaFree(gone);
    LAUNCH(struct_kernel, 1, N, 0, 0, p);
    cudaDeviceSynchronize();
}
static void host_pointer_to_a_kernel()
{
    LAUNCH(copy_kernel, 1, N, 0, 0, x, h);
    cudaDeviceSynchronize();
}
static void host_reads_device()
{
    const volatile float early = x[3];
    (void)early;
}
static void leaks()
{
    cudaStream_t q;
    cudaEvent_t e;
    device(N);
    pinned(0.0f);
    cudaStreamCreate(&q);
    cudaEventCreate(&e);
}
static void uninitialised_global()
{
    float *y = device(N);
    LAUNCH(copy_kernel, 1, N, 0, 0, x, y);
    cudaDeviceSynchronize();
    cudaFree(y);
}

const Fault stream_faults[] = {
    { HOST(right_event) },
    { HOST(forgotten_event) },
    { HOST(wrong_stream) },
    { HOST(pinned_reused_early) },
    { HOST(right_pageable) },
    { HOST(result_read_early) },
    { HOST(freed_under_a_kernel) },
    { HOST(freed_under_a_copy) },
    { HOST(freed_in_a_struct) },
    { HOST(right_struct) },
    { HOST(host_pointer_to_a_kernel) },
    { HOST(host_reads_device) },
    { HOST(leaks) },
    { HOST(uninitialised_global) },
    {},
};
