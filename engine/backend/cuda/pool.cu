/* pool.cu -- from tokens to one vector an image: class token, mean, max, generalised mean; and their gradients.
 *
 * Forward: a thread owns W columns of an image (16 bytes of x) and goes through the tokens once. Backward: a block owns
 * an image, so that it can add what its columns say about GeM's exponent. */
#include "engine/backend/cuda/device.cuh"

#include <type_traits>

enum { POOL_THREADS = 128, GRAD_X = 64, GRAD_Y = 4, GRAD_THREADS = GRAD_X * GRAD_Y };
#define POOL_EPS 1e-6f

/* max(x, POOL_EPS), but NaN stays NaN: a diverged network must not look healthy here. */
static __device__ __forceinline__ float pool_clamp(float x)
{
    return x < POOL_EPS ? POOL_EPS : x;
}

/* The running pools of one column; `take` is given the patch tokens 1, 2, ... in turn. */
struct mean_pool {
    float sum = 0.0f;
    __device__ __forceinline__ void take(float x, int, float)
    {
        sum += x;
    }
    __device__ __forceinline__ float result(int64_t tokens, float) const
    {
        return sum * (1.0f / (float)tokens);
    }
};

/* The first of equals; the first NaN beats every number. */
struct max_pool {
    float best = 0.0f;
    int at = 0;
    __device__ __forceinline__ void take(float x, int t, float)
    {
        if (t == 1 || x > best || (x != x && best == best)) {
            best = x;
            at = t;
        }
    }
    __device__ __forceinline__ float result(int64_t, float) const
    {
        return best;
    }
};

/* y = m (mean((c/m)^p))^(1/p) with c = max(x, eps) and m the largest c so far: no power overflows, not all of them
 * vanish, and one pass is enough. */
struct gem_pool {
    float top = 0.0f, sum = 0.0f; /* top = ln m */
    __device__ __forceinline__ void take(float x, int t, float p)
    {
        const float l = logf(pool_clamp(x));
        if (t == 1) {
            top = l;
            sum = l - l + 1.0f; /* NaN stays NaN */
        } else if (l > top) {
            sum = sum * expf(p * (top - l)) + 1.0f;
            top = l;
        } else {
            sum += expf(p * (l - top));
        }
    }
    __device__ __forceinline__ float result(int64_t tokens, float p) const
    {
        return expf(top + logf(sum * (1.0f / (float)tokens)) / p);
    }
};

template <class Pool, int W, class T>
static __global__ void pool_kernel(float *y, int32_t *which, const T *x, const float *exponent, int64_t batch,
                                   int64_t tokens, int64_t d)
{
    const int64_t at = ((int64_t)blockIdx.x * POOL_THREADS + threadIdx.x) * W;
    if (at >= batch * d)
        return;
    const T *first = x + at / d * (1 + tokens) * d + at % d;
    const float p = exponent ? *exponent : 0.0f;
    Pool pool[W];
    float value[W];
#pragma unroll 4
    for (int t = 1; t <= (int)tokens; t++) {
        load_n<W>(value, first + t * d);
#pragma unroll
        for (int k = 0; k < W; k++)
            pool[k].take(value[k], t, p);
    }
#pragma unroll
    for (int k = 0; k < W; k++)
        value[k] = pool[k].result(tokens, p);
    store_n<W>(y + at, value);
    if constexpr (std::is_same_v<Pool, max_pool>) {
        if (which) {
#pragma unroll
            for (int k = 0; k < W; k++)
                which[at + k] = pool[k].at;
        }
    }
}

template <class T>
static __global__ void pool_class_kernel(float *y, const T *x, int64_t batch, int64_t tokens, int64_t d)
{
    const int64_t at = (int64_t)blockIdx.x * POOL_THREADS + threadIdx.x;
    if (at < batch * d)
        y[at] = to_float(x[at / d * (1 + tokens) * d + at % d]);
}

template <class Pool, class T>
static vmae_status pool_tokens(vmae_backend *be, float *y, int32_t *which, const T *x, const float *p, int64_t batch,
                               int64_t tokens, int64_t d)
{
    constexpr int width = vector<T>::width;
    if (d % width == 0)
        LAUNCH((pool_kernel<Pool, width, T>), cuda_blocks(batch * d, POOL_THREADS * width), POOL_THREADS, 0,
               cuda_stream(be), y, which, x, p, batch, tokens, d);
    else
        LAUNCH((pool_kernel<Pool, 1, T>), cuda_blocks(batch * d, POOL_THREADS), POOL_THREADS, 0, cuda_stream(be), y,
               which, x, p, batch, tokens, d);
    return CUDA_LAUNCHED("pool_kernel");
}

template <class T>
static vmae_status pool_kind(vmae_backend *be, float *y, int32_t *which, const T *x, const float *p, vmae_pool kind,
                             int64_t batch, int64_t tokens, int64_t d)
{
    switch (kind) {
    case VMAE_POOL_MEAN: return pool_tokens<mean_pool>(be, y, which, x, NULL, batch, tokens, d);
    case VMAE_POOL_MAX: return pool_tokens<max_pool>(be, y, which, x, NULL, batch, tokens, d);
    case VMAE_POOL_GEM: return pool_tokens<gem_pool>(be, y, which, x, p, batch, tokens, d);
    case VMAE_POOL_CLS: break;
    }
    LAUNCH((pool_class_kernel<T>), cuda_blocks(batch * d, POOL_THREADS), POOL_THREADS, 0, cuda_stream(be), y, x, batch,
           tokens, d);
    return CUDA_LAUNCHED("pool_class_kernel");
}

extern "C" vmae_status cuda_pool(vmae_backend *be, float *y, int32_t *which, const void *x, const float *p,
                                 vmae_pool kind, vmae_type type, int64_t batch, int64_t tokens, int64_t d)
{
    if (tokens < 1 && kind != VMAE_POOL_CLS)
        return vmae_fail(VMAE_EUSER,
                         "pool: there are no patch tokens to pool; lower mask_ratio or pool the class token");
    WITH_TYPE(type, T, return pool_kind(be, y, which, (const T *)x, p, kind, batch, tokens, d));
}

/* ---- gradients ---- */

/* What a column knows before its tokens come. */
struct pool_column {
    float dy, y, log_y, share;
    int which;
};

/* The gradient of token t of a column. GeM: with l = ln c - ln y, dy/dx = e^(p l) y / c / tokens where x >= eps, and
 * dy/dp = y/p mean(e^(p l) l), because mean(e^(p l)) = 1; share is the sum of e^(p l) l. */
template <vmae_pool KIND>
static __device__ __forceinline__ float pool_token_grad(pool_column &column, float x, int t, float scale, float p)
{
    if constexpr (KIND == VMAE_POOL_CLS)
        return t == 0 ? column.dy : 0.0f;
    else if constexpr (KIND == VMAE_POOL_MAX)
        return column.which == t ? column.dy : 0.0f;
    else if constexpr (KIND == VMAE_POOL_MEAN)
        return t == 0 ? 0.0f : column.dy * scale;
    if (t == 0)
        return 0.0f;
    const float c = pool_clamp(x), l = logf(c) - column.log_y, power = expf(p * l);
    column.share += power * l;
    return x < POOL_EPS ? 0.0f : column.dy * scale * power * (column.y / c);
}

/* Image blockIdx.x: GRAD_X threads take W columns each, GRAD_Y of them the tokens in turn. dp_image[b] (GeM, or NULL):
 * its part of the exponent's gradient. dx may be add: each value is read and written by one thread. */
template <vmae_pool KIND, int W, class T>
static __global__ void pool_grad_kernel(T *dx, float *dp_image, const float *dy, const T *x, const float *y,
                                        const int32_t *which, const float *exponent, const T *add, int tokens,
                                        int64_t d)
{
    __shared__ float shared[GRAD_THREADS / 32];
    constexpr bool gem = KIND == VMAE_POOL_GEM;
    const int64_t b = blockIdx.x;
    const float scale = 1.0f / (float)tokens, p = gem ? *exponent : 0.0f;
    float dp = 0.0f;
    for (int64_t from = (int64_t)(threadIdx.x % GRAD_X) * W; from < d; from += GRAD_X * W) {
        pool_column column[W];
        float value[W], g[W];
        load_n<W>(value, dy + b * d + from);
        load_n<W>(g, gem ? y + b * d + from : dy + b * d + from);
#pragma unroll
        for (int k = 0; k < W; k++)
            column[k] = { value[k], g[k], gem ? logf(g[k]) : 0.0f, 0.0f,
                          KIND == VMAE_POOL_MAX ? which[b * d + from + k] : 0 };
#pragma unroll 2
        for (int t = (int)threadIdx.x / GRAD_X; t <= tokens; t += GRAD_Y) {
            const int64_t at = (b * (1 + tokens) + t) * d + from;
            if (gem)
                load_n<W>(value, x + at);
#pragma unroll
            for (int k = 0; k < W; k++)
                g[k] = pool_token_grad<KIND>(column[k], value[k], t, scale, p);
            if (add) {
                load_n<W>(value, add + at);
#pragma unroll
                for (int k = 0; k < W; k++)
                    g[k] += value[k];
            }
            store_n<W, WHOLE>(dx + at, g);
        }
#pragma unroll
        for (int k = 0; k < W; k++)
            dp += column[k].dy * column[k].y * column[k].share;
    }
    if (!gem || !dp_image)
        return;
    dp = block_sum<GRAD_THREADS>(dp, shared);
    if (threadIdx.x == 0)
        dp_image[b] = dp / (p * (float)tokens);
}

/* dp (+)= the sum over images, by one block. */
static __global__ void pool_exponent_grad_kernel(float *dp, const float *dp_image, int64_t batch, bool accumulate)
{
    __shared__ float shared[GRAD_THREADS / 32];
    float sum = 0.0f;
    for (int64_t b = threadIdx.x; b < batch; b += GRAD_THREADS)
        sum += dp_image[b];
    sum = block_sum<GRAD_THREADS>(sum, shared);
    if (threadIdx.x == 0)
        dp[0] = accumulate ? dp[0] + sum : sum;
}

template <vmae_pool KIND, class T>
static vmae_status pool_grad(vmae_backend *be, T *dx, float *dp_image, const float *dy, const T *x, const float *y,
                             const int32_t *which, const float *p, const T *add, int64_t batch, int64_t tokens,
                             int64_t d)
{
    if (d % vector<T>::width == 0)
        LAUNCH((pool_grad_kernel<KIND, vector<T>::width, T>), cuda_blocks(batch, 1), GRAD_THREADS, 0, cuda_stream(be),
               dx, dp_image, dy, x, y, which, p, add, (int)tokens, d);
    else
        LAUNCH((pool_grad_kernel<KIND, 1, T>), cuda_blocks(batch, 1), GRAD_THREADS, 0, cuda_stream(be), dx, dp_image,
               dy, x, y, which, p, add, (int)tokens, d);
    return CUDA_LAUNCHED("pool_grad_kernel");
}

template <class T>
static vmae_status pool_grad_kind(vmae_backend *be, T *dx, float *dp_image, const float *dy, const T *x, const float *y,
                                  const int32_t *which, const float *p, const T *add, vmae_pool kind, int64_t batch,
                                  int64_t tokens, int64_t d)
{
    switch (kind) {
    case VMAE_POOL_MEAN: return pool_grad<VMAE_POOL_MEAN>(be, dx, dp_image, dy, x, y, which, p, add, batch, tokens, d);
    case VMAE_POOL_MAX: return pool_grad<VMAE_POOL_MAX>(be, dx, dp_image, dy, x, y, which, p, add, batch, tokens, d);
    case VMAE_POOL_GEM: return pool_grad<VMAE_POOL_GEM>(be, dx, dp_image, dy, x, y, which, p, add, batch, tokens, d);
    case VMAE_POOL_CLS: break;
    }
    return pool_grad<VMAE_POOL_CLS>(be, dx, dp_image, dy, x, y, which, p, add, batch, tokens, d);
}

extern "C" vmae_status cuda_pool_grad(vmae_backend *be, void *dx, float *dp, float *scratch, const float *dy,
                                      const void *x, const float *y, const int32_t *which, const float *p,
                                      const void *add, vmae_pool kind, vmae_type type, int64_t batch, int64_t tokens,
                                      int64_t d, bool accumulate)
{
    float *dp_image = dp && kind == VMAE_POOL_GEM ? scratch : NULL;
    WITH_TYPE(type, T,
              VMAE_TRY(pool_grad_kind(be, (T *)dx, dp_image, dy, (const T *)x, y, which, p, (const T *)add, kind, batch,
                                      tokens, d)));
    if (!dp_image)
        return VMAE_OK;
    LAUNCH(pool_exponent_grad_kernel, 1, GRAD_THREADS, 0, cuda_stream(be), dp, dp_image, batch, accumulate);
    return CUDA_LAUNCHED("pool_exponent_grad_kernel");
}
