/* portable.cuh -- the two pieces of CUDA syntax that only nvcc parses, as macros that a C++ compiler takes as well, so
 * that the same kernels run on a CPU in tests (tests/cuda).
 *
 *   LAUNCH(kernel, grid, block, smem, stream, args...)   kernel<<<grid, block, smem, stream>>>(args...)
 *       a template-id with a comma goes in parentheses: LAUNCH((layer_norm_kernel<float, 256>), ...)
 *   DYNAMIC_SHARED(T, name)                              extern __shared__ T name[]; */
#ifndef VMAE_BACKEND_CUDA_PORTABLE_CUH
#define VMAE_BACKEND_CUDA_PORTABLE_CUH

#ifdef __CUDACC__
#include <cuda_runtime.h>
#define LAUNCH(kernel, grid, block, smem, stream, ...) kernel<<<(grid), (block), (smem), (stream)>>>(__VA_ARGS__)
#define DYNAMIC_SHARED(T, name)                                                                                        \
    extern __shared__ __align__(16) unsigned char dynamic_shared_[];                                                   \
    T *name = reinterpret_cast<T *>(dynamic_shared_)
#else
#include "cuda_on_cpu.h"
#define LAUNCH(kernel, grid, block, smem, stream, ...)                                                                 \
    coc::launch(#kernel, dim3(grid), dim3(block), (smem), (stream), kernel, __VA_ARGS__)
#define DYNAMIC_SHARED(T, name) T *name = reinterpret_cast<T *>(coc::now.smem)
#endif

#endif
