/* matmul_epilogue.cuh -- both forms of GELU. Private to backend/cuda. */
#ifndef VMAE_BACKEND_CUDA_MATMUL_EPILOGUE_CUH
#define VMAE_BACKEND_CUDA_MATMUL_EPILOGUE_CUH

#include "engine/backend/cuda/gelu.cuh"
#include "engine/backend/cuda/matmul.h"

/* Exact, or as cuBLASLt has it: x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))). */
template <cuda_gelu_form FORM> static __device__ __forceinline__ float gelu_as(float x)
{
    if constexpr (FORM == CUDA_GELU_ERF)
        return gelu_of(x);
    else if constexpr (FORM == CUDA_GELU_TANH)
        return 0.5f * x * (1.0f + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
    else
        return x;
}

/* WITH_GELU(form, F, statement): runs the statement with F = the form, known when compiled. */
#define WITH_GELU(form, F, ...)                                                                                        \
    do {                                                                                                               \
        if ((form) == CUDA_GELU_ERF) {                                                                                 \
            constexpr cuda_gelu_form F = CUDA_GELU_ERF;                                                                \
            __VA_ARGS__;                                                                                               \
        } else if ((form) == CUDA_GELU_TANH) {                                                                         \
            constexpr cuda_gelu_form F = CUDA_GELU_TANH;                                                               \
            __VA_ARGS__;                                                                                               \
        } else {                                                                                                       \
            constexpr cuda_gelu_form F = CUDA_GELU_NONE;                                                               \
            __VA_ARGS__;                                                                                               \
        }                                                                                                              \
    } while (0)

#endif
