/* attention.cu -- multi-head self-attention: which way a shape goes, and the launches of own kernels.
 *
 * f32, and bf16 of odd widths: attention_general.cuh. bf16 whose width is a multiple of 8: tensor cores,
 * attention_tensor.cuh. Where cuDNN is faster it runs a plan instead: attention_cudnn.c. */
#include "engine/backend/cuda/attention.h"
#include "engine/backend/cuda/attention_general.cuh"

#include <cmath>
#include <cstdlib>
#include <cstring>

/* ---- the general kernels ---- */

static size_t general_bytes(const head_view &view, int high, int low)
{
    return (size_t)((high + low) * view.stride()) * sizeof(float);
}

template <class T, int WIDTH> struct general_kernels {
    static constexpr int height = general_tile<WIDTH>::height;
    static constexpr size_t scores = (size_t)(height * SCORE_STRIDE) * sizeof(float);

    static dim3 grid(int64_t tasks, const head_view &view)
    {
        return dim3((unsigned)tasks, (unsigned)((view.tokens + height - 1) / height));
    }
    static size_t forward_bytes(const head_view &view)
    {
        return general_bytes(view, height, 2 * COLUMNS) + scores;
    }
    static size_t grad_bytes(const head_view &view)
    {
        return general_bytes(view, 2 * height, 2 * COLUMNS) + scores;
    }
    static vmae_status allow()
    {
        const head_view widest = { 1, 1, WIDTH, 1.0f };
        CUDA_TRY(cudaFuncSetAttribute(attention_kernel<T, WIDTH>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                      (int)forward_bytes(widest)));
        CUDA_TRY(cudaFuncSetAttribute(attention_queries_grad_kernel<T, WIDTH>,
                                      cudaFuncAttributeMaxDynamicSharedMemorySize, (int)grad_bytes(widest)));
        return cuda_check(cudaFuncSetAttribute(attention_keys_grad_kernel<T, WIDTH>,
                                               cudaFuncAttributeMaxDynamicSharedMemorySize, (int)grad_bytes(widest)),
                          "shared memory of attention_keys_grad_kernel");
    }
    static vmae_status forward(cudaStream_t stream, T *out, float *lse, const T *qkv, int64_t tasks,
                               const head_view &view)
    {
        LAUNCH((attention_kernel<T, WIDTH>), grid(tasks, view), dim3(GENERAL_THREADS), forward_bytes(view), stream, out,
               lse, qkv, view);
        return CUDA_LAUNCHED("attention_kernel");
    }
    static vmae_status backward(cudaStream_t stream, T *dqkv, float *delta, const T *dout, const T *qkv, const T *out,
                                const float *lse, int64_t tasks, const head_view &view)
    {
        LAUNCH((attention_queries_grad_kernel<T, WIDTH>), grid(tasks, view), dim3(GENERAL_THREADS), grad_bytes(view),
               stream, dqkv, delta, dout, qkv, out, lse, view);
        VMAE_TRY(CUDA_LAUNCHED("attention_queries_grad_kernel"));
        LAUNCH((attention_keys_grad_kernel<T, WIDTH>), grid(tasks, view), dim3(GENERAL_THREADS), grad_bytes(view),
               stream, dqkv, delta, dout, qkv, lse, view);
        return CUDA_LAUNCHED("attention_keys_grad_kernel");
    }
};

/* GENERAL(width, KERNELS, statement): the statement with the narrowest kernels that hold the width. */
#define GENERAL(T, width, KERNELS, ...)                                                                                \
    do {                                                                                                               \
        if ((width) <= 32) {                                                                                           \
            using KERNELS = general_kernels<T, 32>;                                                                    \
            __VA_ARGS__;                                                                                               \
        } else if ((width) <= 64) {                                                                                    \
            using KERNELS = general_kernels<T, 64>;                                                                    \
            __VA_ARGS__;                                                                                               \
        } else if ((width) <= 128) {                                                                                   \
            using KERNELS = general_kernels<T, 128>;                                                                   \
            __VA_ARGS__;                                                                                               \
        } else {                                                                                                       \
            using KERNELS = general_kernels<T, 256>;                                                                   \
            __VA_ARGS__;                                                                                               \
        }                                                                                                              \
    } while (0)

/* ---- which way ---- */

enum { SHORT_TOKENS = 64 }; /* up to here the own kernels are wanted: cuDNN works in tiles of 64 or 128 tokens */

cuda_attention_way cuda_attention_choice(const vmae_attention_shape *shape, bool grad)
{
    (void)grad;
    if (shape->type != VMAE_BF16 || shape->width % 8)
        return CUDA_ATTENTION_OWN;
    const char *wanted = getenv("VICMAE_ATTENTION");
    if (wanted && strcmp(wanted, "own") == 0)
        return CUDA_ATTENTION_OWN;
    if (wanted && strcmp(wanted, "cudnn") == 0)
        return CUDA_ATTENTION_CUDNN;
    return shape->tokens <= SHORT_TOKENS ? CUDA_ATTENTION_OWN : CUDA_ATTENTION_CUDNN;
}

static vmae_status check_shape(const vmae_attention_shape *s)
{
    if (s->batch < 1 || s->tokens < 1 || s->heads < 1 || s->width < 1)
        return vmae_fail(VMAE_EUSER,
                         "attention of %lld images, %lld tokens, %lld heads of width %lld: all must be >= 1",
                         (long long)s->batch, (long long)s->tokens, (long long)s->heads, (long long)s->width);
    if (s->width > GENERAL_MAX_WIDTH)
        return vmae_fail(VMAE_EUSER, "attention heads are %lld wide; the CUDA backend takes at most %d",
                         (long long)s->width, GENERAL_MAX_WIDTH);
    if (s->tokens > 1 << 20 || s->batch * s->heads > INT32_MAX)
        return vmae_fail(VMAE_EUSER, "attention of %lld tokens in %lld heads is too large", (long long)s->tokens,
                         (long long)(s->batch * s->heads));
    return VMAE_OK;
}

static head_view view_of(const vmae_attention_shape *s)
{
    return head_view{ (int)s->tokens, (int)s->heads, (int)s->width, 1.0f / sqrtf((float)s->width) };
}

/* Of own kernels: delta. */
static size_t own_workspace(const vmae_attention_shape *s, bool grad)
{
    return grad ? (size_t)(s->batch * s->heads * s->tokens) * sizeof(float) : 0;
}

template <class T> static vmae_status allow_general()
{
    VMAE_TRY((general_kernels<T, 32>::allow()));
    VMAE_TRY((general_kernels<T, 64>::allow()));
    VMAE_TRY((general_kernels<T, 128>::allow()));
    return general_kernels<T, 256>::allow();
}

vmae_status cuda_attention_allow(void)
{
    VMAE_TRY(allow_general<float>());
    return allow_general<bf16>();
}

/* ---- the entries of the table ---- */

vmae_status cuda_attention_prepare(vmae_backend *be, const vmae_attention_shape *shape, bool grad, size_t *workspace)
{
    VMAE_TRY(check_shape(shape));
    return cuda_attention_plan_new(be, shape, grad, "general", own_workspace(shape, grad), workspace);
}

vmae_status cuda_attention(vmae_backend *be, void *out, float *lse, void *workspace, const void *qkv,
                           const vmae_attention_shape *shape)
{
    VMAE_TRY(check_shape(shape));
    const cuda_attention_plan *plan = cuda_attention_planned(be, shape, false);
    if (plan)
        return cuda_attention_execute(be, plan, out, lse, workspace, qkv);
    const head_view view = view_of(shape);
    const int64_t tasks = shape->batch * shape->heads;
    WITH_TYPE(shape->type, T,
              GENERAL(T, shape->width, kernels,
                      return kernels::forward(cuda_stream(be), (T *)out, lse, (const T *)qkv, tasks, view)));
    return VMAE_OK;
}

vmae_status cuda_attention_grad(vmae_backend *be, void *dqkv, void *workspace, const void *dout, const void *qkv,
                                const void *out, const float *lse, const vmae_attention_shape *shape)
{
    VMAE_TRY(check_shape(shape));
    const cuda_attention_plan *plan = cuda_attention_planned(be, shape, true);
    if (plan)
        return cuda_attention_execute_grad(be, plan, dqkv, workspace, dout, qkv, out, lse);
    const head_view view = view_of(shape);
    const int64_t tasks = shape->batch * shape->heads;
    WITH_TYPE(shape->type, T,
              GENERAL(T, shape->width, kernels,
                      return kernels::backward(cuda_stream(be), (T *)dqkv, (float *)workspace, (const T *)dout,
                                               (const T *)qkv, (const T *)out, lse, tasks, view)));
    return VMAE_OK;
}
