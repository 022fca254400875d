/* cudnn_open.c -- cuDNN on the backend's stream, opened when the first plan is wanted. */
#include "engine/backend/cuda/cudnn_open.h"

#include "engine/core/mem.h"

#include <stdio.h>
#include <stdlib.h>

struct cuda_cudnn {
    cudnn_gpu gpu;
    char refusal[160]; /* empty: it can be used */
};

static vmae_status cudnn_check(cudnnStatus_t status, const char *what)
{
    return status == CUDNN_STATUS_SUCCESS
               ? VMAE_OK
               : vmae_fail(VMAE_EINTERNAL, "cuDNN: %s: %s", what, cudnnGetErrorString(status));
}

static vmae_status open_gpu(cudnn_gpu *gpu, cudaStream_t stream)
{
    VMAE_TRY(cudnn_check(cudnnCreate(&gpu->handle), "cudnnCreate"));
    VMAE_TRY(cudnn_check(cudnnSetStream(gpu->handle, stream), "cudnnSetStream"));
    const char *described = getenv("VICMAE_CUDNN_DEVICE_JSON");
    return described && *described ? cudnn_gpu_described(gpu, described) : VMAE_OK;
}

const cudnn_gpu *cuda_cudnn(vmae_backend *be, char *refusal, size_t size)
{
    cuda_device *self = cuda_self(be);
    if (!self->cudnn) {
        if (!(self->cudnn = vmae_calloc(1, sizeof *self->cudnn))) {
            snprintf(refusal, size, "%s", vmae_error());
            return NULL;
        }
        if (open_gpu(&self->cudnn->gpu, self->stream) != VMAE_OK)
            snprintf(self->cudnn->refusal, sizeof self->cudnn->refusal, "%s", vmae_error());
    }
    snprintf(refusal, size, "%s", self->cudnn->refusal);
    return *self->cudnn->refusal ? NULL : &self->cudnn->gpu;
}

const cudnn_gpu *cuda_cudnn_opened(const vmae_backend *be)
{
    return &cuda_self(be)->cudnn->gpu;
}

void cuda_cudnn_close(vmae_backend *be)
{
    struct cuda_cudnn *cudnn = cuda_self(be)->cudnn;
    if (!cudnn)
        return;
    if (cudnn->gpu.properties)
        cudnnBackendDestroyDescriptor(cudnn->gpu.properties);
    if (cudnn->gpu.handle)
        cudnnDestroy(cudnn->gpu.handle);
    free(cudnn);
    cuda_self(be)->cudnn = NULL;
}
