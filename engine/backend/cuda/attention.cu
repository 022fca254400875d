/* attention.cu -- multi-head self-attention: which way a shape goes, and the launches of own kernels.
 *
 * f32, and bf16 of odd widths: attention_general.cuh. bf16 whose width is a multiple of 8: tensor cores,
 * attention_tensor.cuh. Where cuDNN is faster it runs a plan instead: attention_cudnn.c. */
#include "engine/backend/cuda/attention.h"
#include "engine/backend/cuda/attention_general.cuh"
#include "engine/backend/cuda/attention_tensor.cuh"

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

/* ---- tensor cores ---- */

template <int WIDTH> struct tensor_kernels {
    static constexpr int stride = tensor_tile<WIDTH>::stride;

    /* Tiles of 16 tokens, spread evenly over at most 8 warps. */
    static int warps(const head_view &view)
    {
        const int tiles = (view.tokens + 15) / 16, rounds = (tiles + TENSOR_WARPS - 1) / TENSOR_WARPS;
        return (tiles + rounds - 1) / rounds;
    }
    static int panel(const head_view &view)
    {
        const int tokens = (view.tokens + 15) / 16 * 16;
        return tokens < tensor_tile<WIDTH>::panel ? tokens : tensor_tile<WIDTH>::panel;
    }
    static size_t forward_bytes(int panel, int warps)
    {
        return (size_t)((2 * panel + 16 * warps) * stride) * sizeof(bf16);
    }
    static size_t grad_bytes(int warps)
    {
        return (size_t)((2 * 16 * warps + 2 * QUERIES) * stride + 16 * warps * DS_STRIDE) * sizeof(bf16) +
               2 * QUERIES * sizeof(float);
    }
    static vmae_status allow_forward()
    {
        const int bytes = (int)forward_bytes(tensor_tile<WIDTH>::panel, TENSOR_WARPS);
        return cuda_check(
            cudaFuncSetAttribute(attention_tensor_kernel<WIDTH>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
            "shared memory of attention_tensor_kernel");
    }
    template <int WARPS, bool KEEP> static vmae_status allow_grad()
    {
        return cuda_check(cudaFuncSetAttribute(attention_tensor_grad_kernel<WIDTH, WARPS, KEEP>,
                                               cudaFuncAttributeMaxDynamicSharedMemorySize, (int)grad_bytes(WARPS)),
                          "shared memory of attention_tensor_grad_kernel");
    }
    /* A sequence that fits into shared memory is one block's; the queries of a longer one are shared out. */
    static vmae_status forward(cudaStream_t stream, bf16 *out, float *lse, const bf16 *qkv, int64_t tasks,
                               const head_view &view)
    {
        const int n = warps(view), keys = panel(view);
        const int shares = keys >= view.tokens ? 1 : (view.tokens + 16 * n - 1) / (16 * n);
        LAUNCH((attention_tensor_kernel<WIDTH>), dim3((unsigned)tasks, (unsigned)shares), dim3(32 * n),
               forward_bytes(keys, n), stream, out, lse, qkv, view, keys);
        return CUDA_LAUNCHED("attention_tensor_kernel");
    }
    template <int WARPS, bool KEEP>
    static vmae_status backward(cudaStream_t stream, bf16 *dqkv, const bf16 *dout, const bf16 *qkv, const bf16 *out,
                                const float *lse, int64_t tasks, const head_view &view)
    {
        const int n = (view.tokens + 15) / 16;
        LAUNCH((attention_tensor_grad_kernel<WIDTH, WARPS, KEEP>), dim3((unsigned)tasks), dim3(32 * n), grad_bytes(n),
               stream, dqkv, dout, qkv, out, lse, view);
        return CUDA_LAUNCHED("attention_tensor_grad_kernel");
    }
};

static bool tensor_takes(const vmae_attention_shape *s, bool grad)
{
    if (s->type != VMAE_BF16 || s->width % 8 || s->width > 128)
        return false;
    /* The gradient holds a whole sequence, 16 keys a warp. 13 warps leave a thread 128 registers: enough for narrow
     * heads only. */
    return !grad || s->tokens <= 16 * (s->width > 32 ? 8 : TENSOR_GRAD_WARPS);
}

static vmae_status allow_tensor()
{
    VMAE_TRY(tensor_kernels<32>::allow_forward());
    VMAE_TRY(tensor_kernels<64>::allow_forward());
    VMAE_TRY(tensor_kernels<80>::allow_forward());
    VMAE_TRY(tensor_kernels<128>::allow_forward());
    VMAE_TRY((tensor_kernels<32>::allow_grad<8, true>()));
    VMAE_TRY((tensor_kernels<32>::allow_grad<TENSOR_GRAD_WARPS, true>()));
    VMAE_TRY((tensor_kernels<64>::allow_grad<8, true>()));
    VMAE_TRY((tensor_kernels<80>::allow_grad<8, true>()));
    return tensor_kernels<128>::allow_grad<8, false>();
}

static vmae_status tensor_forward(cudaStream_t stream, bf16 *out, float *lse, const bf16 *qkv, int64_t tasks,
                                  const head_view &view)
{
    if (view.width <= 32)
        return tensor_kernels<32>::forward(stream, out, lse, qkv, tasks, view);
    if (view.width <= 64)
        return tensor_kernels<64>::forward(stream, out, lse, qkv, tasks, view);
    if (view.width <= 80)
        return tensor_kernels<80>::forward(stream, out, lse, qkv, tasks, view);
    return tensor_kernels<128>::forward(stream, out, lse, qkv, tasks, view);
}

static vmae_status tensor_backward(cudaStream_t stream, bf16 *dqkv, const bf16 *dout, const bf16 *qkv, const bf16 *out,
                                   const float *lse, int64_t tasks, const head_view &view)
{
    const bool few = view.tokens <= 16 * 8;
    if (view.width <= 32)
        return few ? tensor_kernels<32>::backward<8, true>(stream, dqkv, dout, qkv, out, lse, tasks, view)
                   : tensor_kernels<32>::backward<TENSOR_GRAD_WARPS, true>(stream, dqkv, dout, qkv, out, lse, tasks,
                                                                           view);
    if (view.width <= 64)
        return tensor_kernels<64>::backward<8, true>(stream, dqkv, dout, qkv, out, lse, tasks, view);
    if (view.width <= 80)
        return tensor_kernels<80>::backward<8, true>(stream, dqkv, dout, qkv, out, lse, tasks, view);
    return tensor_kernels<128>::backward<8, false>(stream, dqkv, dout, qkv, out, lse, tasks, view);
}

/* ---- which way ---- */

enum {
    SHORT_TOKENS = 64
}; /* forward, up to here the own kernels are wanted: cuDNN works in tiles of 64 or 128 tokens */

bool cuda_attention_wants_cudnn(const vmae_attention_shape *shape, bool grad)
{
    if (shape->type != VMAE_BF16 || shape->width % 8)
        return false;
    const char *wanted = getenv("VICMAE_ATTENTION");
    if (wanted && strcmp(wanted, "own") == 0)
        return false;
    if (wanted && strcmp(wanted, "cudnn") == 0)
        return true;
    /* Seen on an H100, 512 images: the gradient of 197 x 32 by own kernels takes two thirds of cuDNN's time, which
     * writes and reads dS; forward it is cuDNN that does. */
    return grad ? !tensor_takes(shape, true) : shape->tokens > SHORT_TOKENS;
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

/* Of own kernels: delta, for the general ones. */
static size_t own_workspace(const vmae_attention_shape *s, bool grad)
{
    return grad && !tensor_takes(s, grad) ? (size_t)(s->batch * s->heads * s->tokens) * sizeof(float) : 0;
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
    VMAE_TRY(allow_general<bf16>());
    return allow_tensor();
}

/* ---- the entries of the table ---- */

vmae_status cuda_attention_prepare(vmae_backend *be, const vmae_attention_shape *shape, bool grad, size_t *workspace)
{
    VMAE_TRY(check_shape(shape));
    return cuda_attention_plan_new(be, shape, grad, tensor_takes(shape, grad) ? "tensor core" : "general",
                                   own_workspace(shape, grad), workspace);
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
    if (tensor_takes(shape, false))
        return tensor_forward(cuda_stream(be), (bf16 *)out, lse, (const bf16 *)qkv, tasks, view);
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
    if (tensor_takes(shape, true))
        return tensor_backward(cuda_stream(be), (bf16 *)dqkv, (const bf16 *)dout, (const bf16 *)qkv, (const bf16 *)out,
                               lse, tasks, view);
    WITH_TYPE(shape->type, T,
              GENERAL(T, shape->width, kernels,
                      return kernels::backward(cuda_stream(be), (T *)dqkv, (float *)workspace, (const T *)dout,
                                               (const T *)qkv, (const T *)out, lse, tasks, view)));
    return VMAE_OK;
}
