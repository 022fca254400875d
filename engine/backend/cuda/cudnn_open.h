/* cudnn_open.h -- cuDNN on the backend's stream, opened when the first plan is wanted. Private to backend/cuda.
 *
 * VICMAE_CUDNN_DEVICE_JSON describes a GPU to build plans for instead of the one that is there: tests run where there
 * is none. */
#ifndef VMAE_BACKEND_CUDA_CUDNN_OPEN_H
#define VMAE_BACKEND_CUDA_CUDNN_OPEN_H

#include "engine/backend/cuda/cuda.h"
#include "engine/backend/cuda/cudnn_graph.h"

#include <stdint.h>

enum { CUDNN_ALIGNMENT = 256 }; /* of a workspace; the caller's memory may begin at any multiple of 64 bytes */

/* NULL, with the reason in refusal: cuDNN cannot be used here. */
const cudnn_gpu *cuda_cudnn(vmae_backend *be, char *refusal, size_t size);
/* The same, where a plan shows that it can. */
const cudnn_gpu *cuda_cudnn_opened(const vmae_backend *be);
void cuda_cudnn_close(vmae_backend *be);

static inline size_t cudnn_aligned(size_t bytes)
{
    return (bytes + CUDNN_ALIGNMENT - 1) / CUDNN_ALIGNMENT * CUDNN_ALIGNMENT;
}

/* The first place in memory of the caller's that a workspace may begin at. */
static inline char *cudnn_place(void *memory)
{
    const uintptr_t begin = (uintptr_t)memory;
    return (char *)memory + (cudnn_aligned(begin) - begin);
}

#endif
