/* attention.h -- between attention.cu, which holds own kernels, and attention_cudnn.c, which holds plans of cuDNN and
 * the list of what was prepared. Private to backend/cuda. */
#ifndef VMAE_BACKEND_CUDA_ATTENTION_H
#define VMAE_BACKEND_CUDA_ATTENTION_H

#include "engine/backend/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cuda_attention_plan cuda_attention_plan;

/* Whether a plan of cuDNN is wanted for a shape: VICMAE_ATTENTION=own|cudnn, or what is known to be faster. */
bool cuda_attention_wants_cudnn(const vmae_attention_shape *shape, bool grad);

/* The plan of an earlier prepare; NULL: own kernels. */
const cuda_attention_plan *cuda_attention_planned(vmae_backend *be, const vmae_attention_shape *shape, bool grad);
/* Builds the plan, if cuDNN has one, and notes the choice. own_name, own_workspace: what runs without a plan. */
vmae_status cuda_attention_plan_new(vmae_backend *be, const vmae_attention_shape *shape, bool grad,
                                    const char *own_name, size_t own_workspace, size_t *workspace);
vmae_status cuda_attention_execute(vmae_backend *be, const cuda_attention_plan *plan, void *out, float *lse,
                                   void *workspace, const void *qkv);
vmae_status cuda_attention_execute_grad(vmae_backend *be, const cuda_attention_plan *plan, void *dqkv, void *workspace,
                                        const void *dout, const void *qkv, const void *out, const float *lse);

#ifdef __cplusplus
}
#endif
#endif
