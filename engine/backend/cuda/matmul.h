/* matmul.h -- what a matrix product does besides cuBLASLt: a pass over its result, and a product of our own where the
 * library has none. Private to backend/cuda. */
#ifndef VMAE_BACKEND_CUDA_MATMUL_H
#define VMAE_BACKEND_CUDA_MATMUL_H

#include "engine/backend/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum cuda_gelu_form { CUDA_GELU_NONE, CUDA_GELU_ERF, CUDA_GELU_TANH } cuda_gelu_form;

/* c[m,n] = gelu(c + bias) + residual, in place; bias (f32 [n]) and residual (like c) may be NULL. */
vmae_status cuda_matmul_finish(vmae_backend *be, void *c, vmae_type type, int64_t m, int64_t n, const float *bias,
                               cuda_gelu_form gelu, const void *residual);

/* to[n] = from[n], rounded to nearest even. */
vmae_status cuda_matmul_round(vmae_backend *be, vmae_bf16 *to, const float *from, int64_t n);

/* The whole product of `shape`, epilogue included, for shapes that cuBLASLt has no algorithm for. */
vmae_status cuda_matmul_own(vmae_backend *be, const vmae_matmul_shape *shape, cuda_gelu_form gelu, void *c,
                            const void *a, const void *b, const float *bias, const void *residual);

#ifdef __cplusplus
}
#endif
#endif
