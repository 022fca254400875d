/* planted_calls.cu -- captures, graphs and arguments that CUDA refuses: each call prints the code it got. */
#include "planted.h"

#include <cstdio>

/* Ends the capture and says how. */
static void end(cudaStream_t stream)
{
    cudaGraph_t graph;
    say(cudaStreamEndCapture(stream, &graph));
    if (graph)
        cudaGraphDestroy(graph);
}
static cudaStream_t begin(Scene &s, cudaStreamCaptureMode mode)
{
    cudaStreamBeginCapture(s.a, mode);
    LAUNCH(copy_kernel, 1, N, 0, s.a, x, s.y);
    return s.a;
}

/* Everything on two streams, replayed with new data. */
static void right_capture()
{
    Scene s;
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    cudaEvent_t back;
    cudaEventCreateWithFlags(&back, cudaEventDisableTiming);
    cudaStreamBeginCapture(s.a, cudaStreamCaptureModeThreadLocal);
    s.upload(s.a);
    cudaEventRecord(s.e, s.a);
    cudaStreamWaitEvent(s.b, s.e, 0);
    LAUNCH(copy_kernel, 1, N, 0, s.b, x, s.y);
    cudaEventRecord(back, s.b);
    cudaStreamWaitEvent(s.a, back, 0);
    say(cudaStreamEndCapture(s.a, &graph));
    say(cudaGraphInstantiate(&exec, graph, 0));
    cudaGraphDestroy(graph);
    for (int run = 1; run <= 2; run++) {
        for (int i = 0; i < N; i++)
            s.up[i] = (float)run / 2.0f;
        say(cudaGraphLaunch(exec, s.a));
        say(cudaStreamSynchronize(s.a));
    }
    cudaGraphExecDestroy(exec);
    cudaEventDestroy(back);
}
static void capture_of_a_wait()
{
    Scene s;
    say(cudaStreamSynchronize(begin(s, cudaStreamCaptureModeRelaxed)));
    LAUNCH(copy_kernel, 1, N, 0, s.a, x, s.y); /* too late */
    say(cudaGetLastError());
    end(s.a);
}
static void capture_of_a_query()
{
    Scene s;
    say(cudaStreamQuery(begin(s, cudaStreamCaptureModeRelaxed)));
    end(s.a);
}
static void capture_of_a_device_wait()
{
    Scene s;
    begin(s, cudaStreamCaptureModeRelaxed);
    say(cudaDeviceSynchronize());
    end(s.a);
}
static void capture_of_malloc()
{
    Scene s;
    float *y = nullptr;
    begin(s, cudaStreamCaptureModeThreadLocal);
    say(cudaMalloc((void **)&y, 4));
    end(s.a);
    begin(s, cudaStreamCaptureModeRelaxed);
    say(cudaMalloc((void **)&y, 4)); /* allowed */
    end(s.a);
    cudaFree(y);
}
static void capture_of_a_pageable_copy()
{
    Scene s;
    begin(s, cudaStreamCaptureModeThreadLocal);
    say(cudaMemcpyAsync(s.y, h, sizeof h, cudaMemcpyHostToDevice, s.a));
    end(s.a);
}
static void capture_without_join()
{
    Scene s;
    begin(s, cudaStreamCaptureModeThreadLocal);
    cudaEventRecord(s.e, s.a);
    cudaStreamWaitEvent(s.b, s.e, 0);
    LAUNCH(copy_kernel, 1, N, 0, s.b, x, s.y);
    end(s.a);
}
static void capture_that_waits_for_outside()
{
    Scene s;
    cudaEventRecord(s.e, s.b);
    begin(s, cudaStreamCaptureModeThreadLocal);
    say(cudaStreamWaitEvent(s.a, s.e, 0));
    end(s.a);
}
static void capture_of_an_event_query()
{
    Scene s;
    begin(s, cudaStreamCaptureModeThreadLocal);
    cudaEventRecord(s.e, s.a);
    say(cudaEventQuery(s.e));
    end(s.a);
}
static void capture_beside_the_legacy_stream()
{
    Scene s;
    cudaStream_t blocking;
    cudaStreamCreate(&blocking);
    cudaStreamBeginCapture(blocking, cudaStreamCaptureModeRelaxed);
    say(cudaMemset(s.y, 0, 4));
    end(blocking);
    cudaStreamDestroy(blocking);
}
static void capture_ended_elsewhere()
{
    Scene s;
    begin(s, cudaStreamCaptureModeThreadLocal);
    cudaEventRecord(s.e, s.a);
    cudaStreamWaitEvent(s.b, s.e, 0);
    end(s.b);
    end(s.a);
    end(s.a); /* none any more */
}
static void graph_outlives_memory()
{
    Scene s;
    float *z = device(N);
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    cudaStreamBeginCapture(s.a, cudaStreamCaptureModeThreadLocal);
    LAUNCH(copy_kernel, 1, N, 0, s.a, x, z);
    cudaStreamEndCapture(s.a, &graph);
    cudaGraphInstantiate(&exec, graph, 0);
    cudaGraphDestroy(graph);
    cudaFree(z);
    cudaGraphLaunch(exec, s.a);
    cudaStreamSynchronize(s.a);
}
static void graph_destroyed_early()
{
    Scene s;
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    begin(s, cudaStreamCaptureModeThreadLocal);
    cudaStreamEndCapture(s.a, &graph);
    cudaGraphInstantiate(&exec, graph, 0);
    cudaGraphDestroy(graph);
    cudaGraphLaunch(exec, s.a);
    cudaGraphExecDestroy(exec);
}
static void wrong_arguments()
{
    Scene s;
    float *y = device(1), *much = nullptr;
    say(cudaMemcpy(y, h, sizeof h, cudaMemcpyHostToDevice)); /* past its end */
    say(cudaMemcpy(h, y, 4, cudaMemcpyHostToDevice));        /* the wrong way */
    say(cudaMemsetAsync(h, 0, 4, s.a));                      /* not the device's */
    cudaFree(y);
    say(cudaFree(y));
    cudaStreamDestroy(s.b);
    say(cudaStreamSynchronize(s.b));
    LAUNCH(copy_kernel, 1, 1025, 0, s.a, x, s.y);
    say(cudaPeekAtLastError());
    LAUNCH(copy_kernel, 1, N, 49 * 1024, s.a, x, s.y); /* without cudaFuncSetAttribute */
    say(cudaPeekAtLastError());
    say(cudaMalloc((void **)&much, (size_t)1 << 40));
    cudaStreamCreate(&s.b); /* the scene destroys it */
}

static void out_of_memory() /* with COC_MEMORY_BYTES */
{
    float *much = nullptr;
    size_t left = 0, all = 0;
    say(cudaMalloc((void **)&much, (size_t)1 << 20));
    cudaMemGetInfo(&left, &all);
    printf("%zu of %zu bytes left ", left, all);
    cudaFree(much);
}

const Fault call_faults[] = {
    { HOST(right_capture) },
    { HOST(capture_of_a_wait) },
    { HOST(capture_of_a_query) },
    { HOST(capture_of_a_device_wait) },
    { HOST(capture_of_malloc) },
    { HOST(capture_of_a_pageable_copy) },
    { HOST(capture_without_join) },
    { HOST(capture_that_waits_for_outside) },
    { HOST(capture_of_an_event_query) },
    { HOST(capture_beside_the_legacy_stream) },
    { HOST(capture_ended_elsewhere) },
    { HOST(graph_outlives_memory) },
    { HOST(graph_destroyed_early) },
    { HOST(wrong_arguments) },
    { HOST(out_of_memory) },
    {},
};
