/* optim.cu -- one pass over the flat parameters for all tensors together: norms, AdamW, SGD, LARS.
 *
 * Segments lie in device memory, so that a recorded step can be replayed; the host does not know how long the buffer
 * is. Each block therefore reads the range from the first and the last segment, takes its share of it (a multiple of
 * 16 floats), finds the segment in which the share begins by bisection, and walks on from there. Gaps between segments
 * are never touched. Values move 16 bytes at a time; a tensor's last few, and what an odd offset leaves, one by one.
 *
 * Sums of squares: no float holds the square of 3e30 or of 1e-30, and doubles are slow on many GPUs. So squares are
 * summed in three classes of magnitude, each scaled by a power of two that keeps its sums in range (Blue 1978), with
 * compensation. Shares of sums are as many on every GPU: the same bits everywhere, every time. */
#include "engine/backend/cuda/device.cuh"

enum {
    THREADS = 256,
    ALIGNMENT = 16, /* floats: where segments begin */
    SUM_PARTS = 264 /* shares in which norms are made: 2 a multiprocessor of an H100 */
};

/* ---- shares of the flat buffer ---- */

/* The whole range, and the floats of one of its `parts` shares. */
typedef struct optim_range {
    int64_t begin, end, share;
} optim_range;

static __device__ __forceinline__ optim_range optim_range_of(const vmae_segment *segments, int64_t count, int parts)
{
    const vmae_segment *last = &segments[count - 1];
    const int64_t begin = segments[0].offset / ALIGNMENT * ALIGNMENT, end = last->offset + last->count;
    const int64_t each = (end - begin + parts - 1) / parts;
    return optim_range{ begin, end, (each + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT };
}

/* The first segment that ends behind `at`; count if there is none. */
static __device__ __forceinline__ int64_t optim_find(const vmae_segment *segments, int64_t count, int64_t at)
{
    int64_t low = 0, high = count;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (segments[middle].offset + segments[middle].count > at)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* Calls work(segment, number, first, last) for each piece of a segment in the block's share: all threads together. */
template <class Work>
static __device__ __forceinline__ void optim_walk(const vmae_segment *segments, int64_t count, Work work)
{
    const optim_range range = optim_range_of(segments, count, (int)gridDim.x);
    const int64_t from = range.begin + range.share * blockIdx.x;
    if (from >= range.end)
        return;
    const int64_t to = from + range.share < range.end ? from + range.share : range.end;
    for (int64_t s = optim_find(segments, count, from); s < count && segments[s].offset < to; s++) {
        const int64_t begin = segments[s].offset, end = begin + segments[s].count;
        const int64_t first = begin > from ? begin : from, last = end < to ? end : to;
        if (first < last)
            work(segments[s], s, first, last);
    }
}

/* A number of values as a type: what `work` below takes as its last argument. */
template <int N> struct values {
    static constexpr int count = N;
};

/* Cuts [first, last) into aligned quads and the few values before and behind them; a thread calls work(i, values<4>())
 * for each of its quads, work(i, values<1>()) for a single value, and work(i, values<4 * BATCH>()) where BATCH quads
 * are left, which lie 4 * THREADS apart: loops that only read gain from several reads on their way. */
template <int BATCH, class Work>
static __device__ __forceinline__ void optim_values(int64_t first, int64_t last, Work work)
{
    const int64_t up = (first + 3) / 4 * 4, down = last / 4 * 4;
    const int64_t head = up < last ? up : last, tail = down > head ? down : head;
    int64_t i = head + 4 * (int)threadIdx.x;
    if (BATCH > 1)
        for (; i + (BATCH - 1) * 4 * THREADS < tail; i += BATCH * 4 * THREADS)
            work(i, values<4 * BATCH>());
#pragma unroll 1
    for (; i < tail; i += 4 * THREADS)
        work(i, values<4>());
    if (threadIdx.x < 3) {
        if (first + (int)threadIdx.x < head)
            work(first + (int)threadIdx.x, values<1>());
        if (tail + (int)threadIdx.x < last)
            work(tail + (int)threadIdx.x, values<1>());
    }
}

/* The values of a call of work. */
template <int N> static __device__ __forceinline__ void optim_load(float (&to)[N], const float *x)
{
    if constexpr (N <= 4) {
        load_n(to, x);
    } else {
#pragma unroll
        for (int q = 0; q < N / 4; q++) {
            float quad[4];
            load_vector(quad, x + q * 4 * THREADS);
#pragma unroll
            for (int j = 0; j < 4; j++)
                to[4 * q + j] = quad[j];
        }
    }
}

/* By what every gradient is multiplied; norm0: of the gradients as they lie. */
static __device__ __forceinline__ float optim_scale(const vmae_optim_step *step, float norm0)
{
    const float scale = step->scale, clip = step->clip_grad;
    return clip > 0.0f ? scale * fminf(1.0f, clip / (norm0 * scale + 1e-6f)) : scale;
}

/* ---- sums of squares ---- */

/* sum x^2 = big 2^160 + middle + small 2^-200. A NaN counts as middle, an infinity as big (where the compensation makes
 * a NaN of it). */
enum { BIG, MIDDLE, SMALL, CLASSES };
struct square_sum {
    float sum[CLASSES];
};

/* The same while it is made: sum - excess is it (Kahan). */
struct square_sums {
    float sum[CLASSES], excess[CLASSES];
};

static __device__ __forceinline__ void squares_take(square_sums *to, const float (&part)[CLASSES])
{
#pragma unroll
    for (int c = 0; c < CLASSES; c++) {
        const float y = part[c] - to->excess[c], sum = to->sum[c] + y;
        to->excess[c] = (sum - to->sum[c]) - y;
        to->sum[c] = sum;
    }
}

template <int N> static __device__ __forceinline__ void squares_add(square_sums *to, const float (&x)[N])
{
    constexpr int step = N < 4 ? N : 4;
#pragma unroll
    for (int from = 0; from < N; from += step) {
        float part[CLASSES] = { 0.0f, 0.0f, 0.0f };
#pragma unroll
        for (int i = from; i < from + step; i++) {
            const bool big = fabsf(x[i]) > 0x1p48f, small = fabsf(x[i]) < 0x1p-48f;
            const float y = x[i] * (big ? 0x1p-80f : small ? 0x1p100f : 1.0f);
            part[BIG] += big ? y * y : 0.0f;
            part[MIDDLE] += big || small ? 0.0f : y * y;
            part[SMALL] += small ? y * y : 0.0f;
        }
        squares_take(to, part);
    }
}

/* The root of the sum. */
static __device__ __forceinline__ float squares_norm(const square_sum &x)
{
    if (x.sum[BIG] != 0.0f) /* what is small is nothing beside it; a NaN in either still shows */
        return 0x1p80f * sqrtf(x.sum[BIG] + x.sum[MIDDLE] * 0x1p-80f * 0x1p-80f);
    if (x.sum[MIDDLE] != 0.0f)
        return sqrtf(x.sum[MIDDLE] + x.sum[SMALL] * 0x1p-100f * 0x1p-100f);
    return sqrtf(x.sum[SMALL]) * 0x1p-100f;
}

/* The sum over a warp, in every lane. */
static __device__ __forceinline__ square_sum squares_of_warp(const square_sums &x)
{
    square_sum total;
#pragma unroll
    for (int c = 0; c < CLASSES; c++)
        total.sum[c] = warp_sum(x.sum[c]);
    return total;
}

/* The sum over the block goes to *to. shared: THREADS / 32 sums; free again on return. */
static __device__ __forceinline__ void squares_of_block(square_sum *to, const square_sums &x, square_sum *shared)
{
    const square_sum of_warp = squares_of_warp(x);
    if (threadIdx.x % 32 == 0)
        shared[threadIdx.x / 32] = of_warp;
    __syncthreads();
    if (threadIdx.x < CLASSES) {
        float total = 0.0f;
        for (int i = 0; i < THREADS / 32; i++)
            total += shared[i].sum[threadIdx.x];
        to->sum[threadIdx.x] = total;
    }
    __syncthreads();
}

/* Walking along the buffer either the share or the segment advances, so that share + segment names a piece: SUM_PARTS +
 * count places hold all of them. By a warp; every lane gets the sum over segment s. */
static __device__ __forceinline__ square_sum squares_of_segment(const square_sum *pieces, const optim_range &range,
                                                                const vmae_segment &segment, int64_t s)
{
    square_sums sums = {};
    if (segment.count > 0) {
        const int64_t last = (segment.offset + segment.count - 1 - range.begin) / range.share;
        for (int64_t part = (segment.offset - range.begin) / range.share + threadIdx.x % 32; part <= last; part += 32)
            squares_take(&sums, pieces[part + s].sum);
    }
    return squares_of_warp(sums);
}

static __global__ void __launch_bounds__(THREADS)
    norm_pieces_kernel(square_sum *pieces, const float *x, const vmae_segment *segments, int64_t count)
{
    __shared__ square_sum shared[THREADS / 32];
    optim_walk(segments, count, [&](const vmae_segment &, int64_t s, int64_t first, int64_t last) {
        square_sums sums = {};
        optim_values<8>(first, last, [&](int64_t i, auto n) {
            float value[n.count];
            optim_load(value, x + i);
            squares_add(&sums, value);
        });
        squares_of_block(&pieces[blockIdx.x + s], sums, shared);
    });
}

/* norm[0], norm[1 + s]; one block: a warp makes a segment's sum, which goes to sums[s]; then all are summed. */
static __global__ void __launch_bounds__(THREADS)
    norms_kernel(float *norm, square_sum *sums, const square_sum *pieces, const vmae_segment *segments, int64_t count)
{
    __shared__ square_sum shared[THREADS / 32], total;
    if (count > 0) {
        const optim_range range = optim_range_of(segments, count, SUM_PARTS);
        for (int64_t s = threadIdx.x / 32; s < count; s += THREADS / 32) {
            const square_sum sum = squares_of_segment(pieces, range, segments[s], s);
            if (threadIdx.x % 32 == 0) {
                norm[1 + s] = squares_norm(sum);
                sums[s] = sum;
            }
        }
    }
    __syncthreads();
    square_sums all = {};
    for (int64_t s = threadIdx.x; s < count; s += THREADS)
        squares_take(&all, sums[s].sum);
    squares_of_block(&total, all, shared);
    if (threadIdx.x == 0)
        norm[0] = squares_norm(total);
}

/* ---- AdamW: m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2; p = p keep - rate m / (sqrt v root + eps) ---- */

typedef struct optim_state {
    float *param, *a, *b; /* a, b: moments */
    bf16 *copy;
    const float *grad;
} optim_state;

typedef struct adamw_factors {
    float scale, beta1, beta2, rest1, rest2, root, eps, keep, rate;
} adamw_factors;

template <int N>
static __device__ __forceinline__ void adamw_values(const optim_state &state, const adamw_factors &f, int64_t i)
{
    float p[N], m[N], v[N], g[N];
    load_n(g, state.grad + i);
    load_n(m, state.a + i);
    load_n(v, state.b + i);
    load_n(p, state.param + i);
#pragma unroll
    for (int j = 0; j < N; j++) {
        const float scaled = f.scale * g[j];
        m[j] = f.beta1 * m[j] + f.rest1 * scaled;
        v[j] = f.beta2 * v[j] + f.rest2 * (scaled * scaled);
        p[j] = p[j] * f.keep - f.rate * m[j] / (sqrtf(v[j]) * f.root + f.eps);
    }
    store_n(state.a + i, m);
    store_n(state.b + i, v);
    store_n(state.param + i, p);
    if (state.copy)
        store_n(state.copy + i, p);
}

static __global__ void __launch_bounds__(THREADS)
    adamw_kernel(const optim_state state, const float *norm, const vmae_segment *segments, int64_t count,
                 const vmae_optim_step *step)
{
    if (!isfinite(norm[0]))
        return;
    adamw_factors f = {};
    f.scale = optim_scale(step, norm[0]);
    f.beta1 = step->beta1, f.rest1 = 1.0f - step->beta1;
    f.beta2 = step->beta2, f.rest2 = 1.0f - step->beta2;
    f.root = step->root2, f.eps = step->eps;
    optim_walk(segments, count, [&](const vmae_segment &segment, int64_t, int64_t first, int64_t last) {
        const float lr = step->lr * segment.lr_scale;
        f.keep = 1.0f - lr * segment.weight_decay;
        f.rate = lr / step->bias1;
        optim_values<1>(first, last, [&](int64_t i, auto n) { adamw_values<n.count>(state, f, i); });
    });
}

/* ---- SGD: g += wd p; buf = momentum buf + g; p -= lr (own g + inertia buf): plain 0 and 1, Nesterov 1 and momentum;
 * LARS: the same with g times its ratio ---- */

typedef struct sgd_factors {
    float scale, decay, ratio, momentum, own, inertia, lr;
    bool first; /* a holds nothing yet, whatever its bytes say */
} sgd_factors;

template <int N>
static __device__ __forceinline__ void sgd_values(const optim_state &state, const sgd_factors &f, int64_t i)
{
    float p[N], a[N] = {}, g[N];
    load_n(g, state.grad + i);
    load_n(p, state.param + i);
    if (!f.first)
        load_n(a, state.a + i);
#pragma unroll
    for (int j = 0; j < N; j++) {
        g[j] = f.ratio * (f.scale * g[j] + f.decay * p[j]);
        a[j] = f.momentum * a[j] + g[j];
        p[j] -= f.lr * (f.own * g[j] + f.inertia * a[j]);
    }
    store_n(state.a + i, a);
    store_n(state.param + i, p);
    if (state.copy)
        store_n(state.copy + i, p);
}

static __global__ void __launch_bounds__(THREADS)
    sgd_kernel(const optim_state state, const float *norm, const vmae_segment *segments, int64_t count,
               const vmae_optim_step *step)
{
    if (!isfinite(norm[0]))
        return;
    sgd_factors f = {};
    f.scale = optim_scale(step, norm[0]);
    f.ratio = 1.0f;
    f.momentum = step->momentum;
    f.own = step->nesterov ? 1.0f : 0.0f;
    f.inertia = step->nesterov ? step->momentum : 1.0f;
    f.first = step->step == 1;
    optim_walk(segments, count, [&](const vmae_segment &segment, int64_t, int64_t first, int64_t last) {
        f.lr = step->lr * segment.lr_scale;
        f.decay = segment.weight_decay;
        optim_values<1>(first, last, [&](int64_t i, auto n) { sgd_values<n.count>(state, f, i); });
    });
}

/* ---- LARS ---- */

/* Of matrices: the squares of the decayed gradients and of the parameters. */
static __global__ void __launch_bounds__(THREADS)
    lars_pieces_kernel(square_sum *grad_pieces, square_sum *param_pieces, const float *grad, const float *param,
                       const float *norm, const vmae_segment *segments, int64_t count, const vmae_optim_step *step)
{
    __shared__ square_sum shared[THREADS / 32];
    if (!isfinite(norm[0]))
        return;
    const float scale = optim_scale(step, norm[0]);
    optim_walk(segments, count, [&](const vmae_segment &segment, int64_t s, int64_t first, int64_t last) {
        if (!segment.matrix)
            return;
        const float decay = segment.weight_decay;
        square_sums of_grad = {}, of_param = {};
        optim_values<4>(first, last, [&](int64_t i, auto n) {
            float g[n.count], p[n.count];
            optim_load(g, grad + i);
            optim_load(p, param + i);
#pragma unroll
            for (int j = 0; j < n.count; j++)
                g[j] = scale * g[j] + decay * p[j];
            squares_add(&of_grad, g);
            squares_add(&of_param, p);
        });
        squares_of_block(&grad_pieces[blockIdx.x + s], of_grad, shared);
        squares_of_block(&param_pieces[blockIdx.x + s], of_param, shared);
    });
}

/* ratio[s] = trust |p| / |g|, 1 where a norm is 0 or the tensor no matrix; a warp a segment. */
static __global__ void __launch_bounds__(THREADS)
    lars_ratio_kernel(float *ratio, const square_sum *grad_pieces, const square_sum *param_pieces, const float *norm,
                      const vmae_segment *segments, int64_t count, const vmae_optim_step *step)
{
    const int64_t s = (int64_t)blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
    if (!isfinite(norm[0]) || s >= count)
        return;
    float result = 1.0f;
    if (segments[s].matrix) {
        const optim_range range = optim_range_of(segments, count, SUM_PARTS);
        const float g = squares_norm(squares_of_segment(grad_pieces, range, segments[s], s)),
                    p = squares_norm(squares_of_segment(param_pieces, range, segments[s], s));
        if (p > 0.0f && g > 0.0f)
            result = step->trust * (p / g);
    }
    if (threadIdx.x % 32 == 0)
        ratio[s] = result;
}

static __global__ void __launch_bounds__(THREADS)
    lars_kernel(const optim_state state, const float *ratio, const float *norm, const vmae_segment *segments,
                int64_t count, const vmae_optim_step *step)
{
    if (!isfinite(norm[0]))
        return;
    sgd_factors f = {};
    f.scale = optim_scale(step, norm[0]);
    f.momentum = step->momentum;
    f.inertia = 1.0f;
    optim_walk(segments, count, [&](const vmae_segment &segment, int64_t s, int64_t first, int64_t last) {
        f.lr = step->lr * segment.lr_scale;
        f.decay = segment.matrix ? segment.weight_decay : 0.0f;
        f.ratio = ratio[s];
        optim_values<1>(first, last, [&](int64_t i, auto n) { sgd_values<n.count>(state, f, i); });
    });
}

/* ---- launchers ---- */

/* Blocks of a pass in which nothing is summed: as many as run at a time, so that equal shares end together. */
static int optim_blocks(const vmae_backend *be)
{
    const int blocks = 4 * cuda_self(be)->sm_count;
    return blocks > 0 ? blocks : 1;
}

static int64_t optim_pieces(int64_t count)
{
    return SUM_PARTS + count;
}

/* LARS: two sums, and a ratio a segment. The norms: one sum, and the segments'. */
size_t cuda_optim_scratch(const vmae_segment *segments, int64_t count)
{
    (void)segments;
    return (size_t)(2 * optim_pieces(count)) * sizeof(square_sum) + (size_t)count * sizeof(float);
}

vmae_status cuda_norms(vmae_backend *be, float *norm, void *scratch, const float *x, const vmae_segment *segments,
                       int64_t count)
{
    square_sum *pieces = (square_sum *)scratch, *sums = pieces + optim_pieces(count);
    if (count > 0) {
        LAUNCH(norm_pieces_kernel, SUM_PARTS, THREADS, 0, cuda_stream(be), pieces, x, segments, count);
        VMAE_TRY(CUDA_LAUNCHED("norm_pieces_kernel"));
    }
    LAUNCH(norms_kernel, 1, THREADS, 0, cuda_stream(be), norm, sums, pieces, segments, count);
    return CUDA_LAUNCHED("norms_kernel");
}

vmae_status cuda_adamw(vmae_backend *be, float *param, vmae_bf16 *copy, float *m, float *v, const float *grad,
                       const float *norm, const vmae_segment *segments, int64_t count, const vmae_optim_step *step)
{
    if (count == 0)
        return VMAE_OK;
    const optim_state state = { param, m, v, (bf16 *)copy, grad };
    LAUNCH(adamw_kernel, optim_blocks(be), THREADS, 0, cuda_stream(be), state, norm, segments, count, step);
    return CUDA_LAUNCHED("adamw_kernel");
}

vmae_status cuda_sgd(vmae_backend *be, float *param, vmae_bf16 *copy, float *buf, const float *grad, const float *norm,
                     const vmae_segment *segments, int64_t count, const vmae_optim_step *step)
{
    if (count == 0)
        return VMAE_OK;
    const optim_state state = { param, buf, NULL, (bf16 *)copy, grad };
    LAUNCH(sgd_kernel, optim_blocks(be), THREADS, 0, cuda_stream(be), state, norm, segments, count, step);
    return CUDA_LAUNCHED("sgd_kernel");
}

vmae_status cuda_lars(vmae_backend *be, float *param, vmae_bf16 *copy, float *mu, void *scratch, const float *grad,
                      const float *norm, const vmae_segment *segments, int64_t count, const vmae_optim_step *step)
{
    if (count == 0)
        return VMAE_OK;
    square_sum *grad_pieces = (square_sum *)scratch, *param_pieces = grad_pieces + optim_pieces(count);
    float *ratio = (float *)(param_pieces + optim_pieces(count));
    LAUNCH(lars_pieces_kernel, SUM_PARTS, THREADS, 0, cuda_stream(be), grad_pieces, param_pieces, grad, param, norm,
           segments, count, step);
    VMAE_TRY(CUDA_LAUNCHED("lars_pieces_kernel"));
    LAUNCH(lars_ratio_kernel, cuda_blocks(count, THREADS / 32), THREADS, 0, cuda_stream(be), ratio, grad_pieces,
           param_pieces, norm, segments, count, step);
    VMAE_TRY(CUDA_LAUNCHED("lars_ratio_kernel"));
    const optim_state state = { param, mu, NULL, (bf16 *)copy, grad };
    LAUNCH(lars_kernel, optim_blocks(be), THREADS, 0, cuda_stream(be), state, ratio, norm, segments, count, step);
    return CUDA_LAUNCHED("lars_kernel");
}
