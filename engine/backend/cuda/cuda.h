/* cuda.h -- what the host code of the CUDA backend shares. C11 and C++. Private to backend/cuda.
 *
 * Everything runs on one stream, in the order in which it was queued. Memory comes from be->allocate and the plan; a
 * kernel file allocates nothing while it runs. */
#ifndef VMAE_BACKEND_CUDA_H
#define VMAE_BACKEND_CUDA_H

#include "engine/backend/backend.h"

#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <cudnn.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a kernel refuses by value: it writes one of these, and the next download or synchronize reads it. */
typedef enum cuda_refusal { CUDA_REFUSES_NOTHING, CUDA_REFUSES_LABEL, CUDA_REFUSES_MASK } cuda_refusal;
typedef struct cuda_fault {
    int32_t code; /* cuda_refusal, of the first kernel that refused */
    int32_t at;   /* row */
    int32_t value, limit;
} cuda_fault;

typedef struct cuda_products cuda_products; /* matmul.c: the handle, every product prepared so far */

typedef struct cuda_device {
    int number, sm_count;
    int capability; /* 80, 90 */
    cudaStream_t stream;
    cuda_fault *fault; /* device memory */
    cuda_products *products;
    struct cuda_cudnn *cudnn;                   /* cudnn_open.c; NULL: not wanted yet */
    struct cuda_attention_plan *attentions;     /* attention_cudnn.c: all that was prepared */
    struct cuda_convolution_plan *convolutions; /* convolution_cudnn.c: likewise */
    struct cuda_staging *staging;               /* memory.c: pinned buffers for uploads and downloads */
    char text[65536];                           /* of algorithms() */
} cuda_device;

static inline cuda_device *cuda_self(const vmae_backend *be)
{
    return (cuda_device *)be->self;
}

static inline cudaStream_t cuda_stream(const vmae_backend *be)
{
    return cuda_self(be)->stream;
}

/* VMAE_OK, or a sentence: "<what>: <CUDA's words> (<name>)". Out of memory is VMAE_ENOMEM, the rest VMAE_EINTERNAL. */
vmae_status cuda_check(cudaError_t error, const char *what);
/* After each LAUNCH: a launch that was refused does not stop the next one. */
#define CUDA_LAUNCHED(kernel) cuda_check(cudaGetLastError(), "launching " kernel)

#define CUDA_TRY(call) VMAE_TRY(cuda_check((call), #call))

vmae_status cuda_open(vmae_backend **be, int device); /* open.c */

/* ---- memory.c and recording.c: backend.h says what they do ---- */

vmae_status cuda_memory_open(vmae_backend *be);
void cuda_memory_close(vmae_backend *be);
vmae_status cuda_allocate(vmae_backend *be, void **block, size_t bytes);
void cuda_release(vmae_backend *be, void *block);
vmae_status cuda_upload(vmae_backend *be, void *to, const void *from, size_t bytes);
vmae_status cuda_download(vmae_backend *be, void *to, const void *from, size_t bytes);
vmae_status cuda_synchronize(vmae_backend *be);
vmae_status cuda_prefetch(vmae_backend *be, const void *from, size_t bytes);
vmae_status cuda_record_begin(vmae_backend *be);
vmae_status cuda_record_end(vmae_backend *be, vmae_recording **recording);
vmae_status cuda_replay(vmae_backend *be, vmae_recording *recording);
void cuda_recording_free(vmae_backend *be, vmae_recording *recording);

/* ---- the table: one function per entry of vmae_kernels, in the file of the op's name ---- */

#include "engine/backend/cuda/kernels.h"

/* ---- matrix products: matmul.c ---- */

vmae_status cuda_products_open(vmae_backend *be);
void cuda_products_close(vmae_backend *be);
vmae_status cuda_matmul_new(vmae_backend *be, vmae_matmul **matmul, const vmae_matmul_shape *shape);
size_t cuda_matmul_workspace(const vmae_matmul *matmul);
vmae_status cuda_matmul(vmae_backend *be, const vmae_matmul *matmul, void *c, const void *a, const void *b,
                        const float *bias, const void *residual, void *workspace);
/* text = a line a product: shape, types, epilogue, algorithm, workspace; cut off where `size` (> 0) ends. */
void cuda_matmul_algorithms(vmae_backend *be, char *text, size_t size);

/* ---- attention: attention.cu holds own kernels and decides; attention_cudnn.c the plans of cuDNN ---- */

/* Lets the kernels have more than 48 KiB of shared memory; once, when the backend is opened. */
vmae_status cuda_attention_allow(void);
void cuda_attentions_close(vmae_backend *be);
/* text = likewise. */
void cuda_attention_algorithms(vmae_backend *be, char *text, size_t size);

/* ---- convolutions: convolution.cu, convolution_cudnn.c; cuDNN itself: cudnn_open.c ---- */

void cuda_convolutions_close(vmae_backend *be);
/* text = likewise. */
void cuda_convolution_algorithms(vmae_backend *be, char *text, size_t size);
void cuda_cudnn_close(vmae_backend *be);

#ifdef __cplusplus
}
#endif
#endif
