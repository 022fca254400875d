/* recording.c -- a CUDA graph of what was queued: hundreds of launches become one. */
#include "engine/backend/cuda/cuda.h"

#include "engine/core/mem.h"

#include <stdlib.h>

struct vmae_recording {
    cudaGraphExec_t exec;
};

/* Thread-local: another thread's allocation is no mistake of this one's. */
vmae_status cuda_record_begin(vmae_backend *be)
{
    return cuda_check(cudaStreamBeginCapture(cuda_stream(be), cudaStreamCaptureModeThreadLocal), "recording");
}

vmae_status cuda_record_end(vmae_backend *be, vmae_recording **recording)
{
    cudaGraph_t graph = NULL;
    vmae_recording *made = NULL;
    const cudaError_t ended = cudaStreamEndCapture(cuda_stream(be), &graph);
    vmae_status st = VMAE_OK;
    if (!recording) { /* what failed has said why */
        (void)cudaGetLastError();
    } else if ((st = cuda_check(ended, "recording")) == VMAE_OK && !(made = vmae_calloc(1, sizeof *made))) {
        st = VMAE_ENOMEM;
    } else if (st == VMAE_OK &&
               (st = cuda_check(cudaGraphInstantiate(&made->exec, graph, 0), "recording")) == VMAE_OK) {
        *recording = made;
        made = NULL;
    }
    free(made);
    if (graph)
        cudaGraphDestroy(graph);
    return st;
}

vmae_status cuda_replay(vmae_backend *be, vmae_recording *recording)
{
    return cuda_check(cudaGraphLaunch(recording->exec, cuda_stream(be)), "replaying a recording");
}

void cuda_recording_free(vmae_backend *be, vmae_recording *recording)
{
    if (!recording)
        return;
    cudaStreamSynchronize(cuda_stream(be)); /* it may still run */
    cudaGraphExecDestroy(recording->exec);
    free(recording);
}
