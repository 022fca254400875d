/* cross_entropy.cu -- mean cross-entropy of logits with smoothed labels or soft targets t:
 *
 *   prob = softmax(logits), row[r] = -sum_c t[r,c] log prob[r,c], loss = mean_r row[r]
 *   dlogits = dloss / rows (prob sum_c t - t)
 *
 * A block takes a row. Its logits stay in registers between the maximum, the sum and the division: read once, written
 * once. Rows of more than 8192 classes do not fit: they are read twice. */
#include "engine/backend/cuda/device.cuh"

enum { THREADS = 256 };

/* How a block holds a row: WIDTH values an access (4 where every row begins at a multiple of 16 bytes), STEPS accesses
 * a thread; 0: it holds nothing and reads again. */
template <int WIDTH_, int STEPS_> struct row_shape {
    static constexpr int WIDTH = WIDTH_, STEPS = STEPS_, HELD = STEPS_ > 0 ? STEPS_ : 1;
};

/* ROW_SHAPES(classes, S, statement): runs the statement with the shape S that fits. */
#define ROW_SHAPES(classes, S, ...)                                                                                    \
    do {                                                                                                               \
        if ((classes) % 4 != 0) {                                                                                      \
            if ((classes) <= THREADS * 4) {                                                                            \
                using S = row_shape<1, 4>;                                                                             \
                __VA_ARGS__;                                                                                           \
            } else if ((classes) <= THREADS * 32) {                                                                    \
                using S = row_shape<1, 32>;                                                                            \
                __VA_ARGS__;                                                                                           \
            } else {                                                                                                   \
                using S = row_shape<1, 0>;                                                                             \
                __VA_ARGS__;                                                                                           \
            }                                                                                                          \
        } else if ((classes) <= THREADS * 4) {                                                                         \
            using S = row_shape<4, 1>;                                                                                 \
            __VA_ARGS__;                                                                                               \
        } else if ((classes) <= THREADS * 32) {                                                                        \
            using S = row_shape<4, 8>;                                                                                 \
            __VA_ARGS__;                                                                                               \
        } else {                                                                                                       \
            using S = row_shape<4, 0>;                                                                                 \
            __VA_ARGS__;                                                                                               \
        }                                                                                                              \
    } while (0)

/* Calls body(step, c) for the thread's accesses of a row: values c to c + WIDTH - 1. */
template <class S, class Body> static __device__ __forceinline__ void each_access(int64_t classes, Body body)
{
    if constexpr (S::STEPS > 0) {
#pragma unroll
        for (int step = 0; step < S::STEPS; step++) {
            const int c = (step * THREADS + (int)threadIdx.x) * S::WIDTH;
            if (c < classes)
                body(step, (int64_t)c);
        }
    } else {
#pragma unroll 4
        for (int64_t c = (int64_t)threadIdx.x * S::WIDTH; c < classes; c += THREADS * S::WIDTH)
            body(0, c);
    }
}

static __device__ __forceinline__ void refuse_label(cuda_fault *fault, int64_t row, int32_t label, int64_t classes)
{
    if (atomicCAS(&fault->code, CUDA_REFUSES_NOTHING, CUDA_REFUSES_LABEL) != CUDA_REFUSES_NOTHING)
        return;
    fault->at = (int32_t)row;
    fault->value = label;
    fault->limit = (int32_t)classes;
}

static __device__ __forceinline__ float block_max(float x, float *shared)
{
    x = warp_max(x);
    if (threadIdx.x % 32 == 0)
        shared[threadIdx.x / 32] = x;
    __syncthreads();
    float top = shared[0];
#pragma unroll
    for (int i = 1; i < THREADS / 32; i++)
        top = fmaxf(top, shared[i]);
    __syncthreads();
    return top;
}

/* held = the thread's logits, where S holds them. Returns the row's maximum and sum exp(x - maximum). */
template <class S>
static __device__ __forceinline__ log_sum softmax_sums(float (&held)[S::HELD][S::WIDTH], const float *logits,
                                                       int64_t classes, float *shared)
{
    if constexpr (S::STEPS > 0) {
        float top = -INFINITY, sum = 0.0f;
        each_access<S>(classes, [&](int step, int64_t c) {
            load_n(held[step], logits + c);
#pragma unroll
            for (int i = 0; i < S::WIDTH; i++)
                top = fmaxf(top, held[step][i]);
        });
        top = block_max(top, shared);
        each_access<S>(classes, [&](int step, int64_t) {
#pragma unroll
            for (int i = 0; i < S::WIDTH; i++)
                sum += expf(held[step][i] - top);
        });
        return log_sum{ top, block_sum<THREADS>(sum, shared) };
    } else {
        log_sum own = { -INFINITY, 0.0f };
        each_access<S>(classes, [&](int, int64_t c) {
            float x[S::WIDTH];
            load_n(x, logits + c);
#pragma unroll
            for (int i = 0; i < S::WIDTH; i++)
                log_sum_add(&own, x[i]);
        });
        const float top = block_max(own.top, shared);
        const float scaled = own.top == top ? own.sum : own.sum * expf(own.top - top);
        return log_sum{ top, block_sum<THREADS>(scaled, shared) };
    }
}

/* prob of a row, and row[r] = sum_c t[c] (lse - x[c]): as given with targets, else of the smoothed label; a label out
 * of range counts nothing here. */
template <class S>
static __global__ void __launch_bounds__(THREADS)
    cross_entropy_kernel(float *prob, float *row, const float *logits, const int32_t *labels, const float *targets,
                         int64_t classes, float smoothing)
{
    __shared__ float shared[THREADS / 32];
    const int64_t r = blockIdx.x;
    const float *x = logits + r * classes, *t = targets ? targets + r * classes : NULL;
    float *p = prob + r * classes;
    float held[S::HELD][S::WIDTH], sum = 0.0f;
    const log_sum total = softmax_sums<S>(held, x, classes, shared);
    const float lse = total.top + logf(total.sum), scale = 1.0f / total.sum;
    each_access<S>(classes, [&](int step, int64_t c) {
        float e[S::WIDTH], weight[S::WIDTH];
        if constexpr (S::STEPS == 0)
            load_n(held[step], x + c);
        if (t)
            load_n(weight, t + c);
#pragma unroll
        for (int i = 0; i < S::WIDTH; i++) {
            e[i] = expf(held[step][i] - total.top) * scale;
            const float excess = lse - held[step][i];
            sum += t ? weight[i] * excess : excess;
        }
        store_n(p + c, e);
    });
    if (t || smoothing != 0.0f)
        sum = block_sum<THREADS>(sum, shared);
    if (threadIdx.x != 0)
        return;
    if (!t) {
        const int32_t label = labels[r];
        const float own = label >= 0 && label < classes ? lse - x[label] : 0.0f;
        sum = smoothing == 0.0f ? own : (1.0f - smoothing) * own + smoothing * (sum / (float)classes);
    }
    row[r] = sum;
}

/* loss = mean of row, by one block. Labels, unless NULL: the first that is out of range is refused, and loss stays. */
static __global__ void __launch_bounds__(THREADS)
    cross_entropy_loss_kernel(float *loss, const float *row, const int32_t *labels, int64_t rows, int64_t classes,
                              cuda_fault *fault)
{
    __shared__ float shared[THREADS / 32];
    __shared__ int first_bad;
    if (threadIdx.x == 0)
        first_bad = 0x7FFFFFFF;
    __syncthreads();
    float sum = 0.0f;
    for (int64_t r = threadIdx.x; r < rows; r += THREADS) {
        sum += row[r];
        if (labels && (labels[r] < 0 || labels[r] >= classes))
            atomicMin(&first_bad, (int)r);
    }
    sum = block_sum<THREADS>(sum, shared); /* its barriers make first_bad whole, too */
    if (threadIdx.x != 0)
        return;
    if (first_bad < rows)
        refuse_label(fault, first_bad, labels[first_bad], classes);
    else
        *loss = sum / (float)rows;
}

/* With labels: t = off everywhere, and 1 - smoothing more on the label. */
template <class S>
static __global__ void __launch_bounds__(THREADS)
    cross_entropy_grad_kernel(float *dlogits, const float *dloss, const float *prob, const int32_t *labels,
                              int64_t classes, float smoothing, cuda_fault *fault)
{
    const int64_t r = blockIdx.x;
    const int32_t label = labels[r];
    const float scale = *dloss / (float)gridDim.x, off = smoothing / (float)classes;
    if (threadIdx.x == 0 && (label < 0 || label >= classes))
        refuse_label(fault, r, label, classes);
    each_access<S>(classes, [&](int, int64_t c) {
        float p[S::WIDTH];
        load_n(p, prob + r * classes + c);
#pragma unroll
        for (int i = 0; i < S::WIDTH; i++)
            p[i] = scale * (p[i] - off) - (c + i == label ? scale * (1.0f - smoothing) : 0.0f);
        store_n(dlogits + r * classes + c, p);
    });
}

/* The weights of targets sum to 1, up to rounding, for a distribution; but the formula holds for any. */
template <class S>
static __global__ void __launch_bounds__(THREADS)
    cross_entropy_soft_grad_kernel(float *dlogits, const float *dloss, const float *prob, const float *targets,
                                   int64_t classes)
{
    __shared__ float shared[THREADS / 32];
    const int64_t r = blockIdx.x;
    const float scale = *dloss / (float)gridDim.x, *target = targets + r * classes;
    float t[S::HELD][S::WIDTH], weight = 0.0f;
    each_access<S>(classes, [&](int step, int64_t c) {
        load_n(t[step], target + c);
#pragma unroll
        for (int i = 0; i < S::WIDTH; i++)
            weight += t[step][i];
    });
    weight = block_sum<THREADS>(weight, shared);
    each_access<S>(classes, [&](int step, int64_t c) {
        float p[S::WIDTH];
        load_n(p, prob + r * classes + c);
        if constexpr (S::STEPS == 0)
            load_n(t[step], target + c);
#pragma unroll
        for (int i = 0; i < S::WIDTH; i++)
            p[i] = scale * (weight * p[i] - t[step][i]);
        store_n(dlogits + r * classes + c, p);
    });
}

vmae_status cuda_cross_entropy(vmae_backend *be, float *loss, float *prob, float *row, const float *logits,
                               const int32_t *labels, const float *targets, int64_t rows, int64_t classes,
                               float smoothing)
{
    ROW_SHAPES(classes, S,
               LAUNCH(cross_entropy_kernel<S>, (unsigned)rows, THREADS, 0, cuda_stream(be), prob, row, logits, labels,
                      targets, classes, smoothing));
    VMAE_TRY(CUDA_LAUNCHED("cross_entropy_kernel"));
    LAUNCH(cross_entropy_loss_kernel, 1, THREADS, 0, cuda_stream(be), loss, row, targets ? NULL : labels, rows, classes,
           cuda_self(be)->fault);
    return CUDA_LAUNCHED("cross_entropy_loss_kernel");
}

vmae_status cuda_cross_entropy_grad(vmae_backend *be, float *dlogits, const float *dloss, const float *prob,
                                    const int32_t *labels, const float *targets, int64_t rows, int64_t classes,
                                    float smoothing)
{
    if (targets) {
        ROW_SHAPES(classes, S,
                   LAUNCH(cross_entropy_soft_grad_kernel<S>, (unsigned)rows, THREADS, 0, cuda_stream(be), dlogits,
                          dloss, prob, targets, classes));
        return CUDA_LAUNCHED("cross_entropy_soft_grad_kernel");
    }
    ROW_SHAPES(classes, S,
               LAUNCH(cross_entropy_grad_kernel<S>, (unsigned)rows, THREADS, 0, cuda_stream(be), dlogits, dloss, prob,
                      labels, classes, smoothing, cuda_self(be)->fault));
    return CUDA_LAUNCHED("cross_entropy_grad_kernel");
}
