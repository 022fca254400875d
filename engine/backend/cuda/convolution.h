/* convolution.h -- between convolution.cu, which holds own kernels, and convolution_cudnn.c, which holds plans of
 * cuDNN. Private to backend/cuda. */
#ifndef VMAE_BACKEND_CUDA_CONVOLUTION_H
#define VMAE_BACKEND_CUDA_CONVOLUTION_H

#include "engine/backend/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cuda_convolution_plan cuda_convolution_plan;

/* Builds the plan of a pass, if cuDNN has one: the bytes of its workspace. */
vmae_status cuda_convolution_plan_new(vmae_backend *be, const vmae_convolution_shape *shape, vmae_convolution_pass pass,
                                      size_t *workspace);
/* The plan of an earlier prepare; NULL: own kernels. */
const cuda_convolution_plan *cuda_convolution_planned(vmae_backend *be, const vmae_convolution_shape *shape,
                                                      vmae_convolution_pass pass);
/* x, w, y, or their gradients. */
vmae_status cuda_convolution_execute(vmae_backend *be, const cuda_convolution_plan *plan, void *workspace, void *x,
                                     void *w, void *y);

#ifdef __cplusplus
}
#endif
#endif
