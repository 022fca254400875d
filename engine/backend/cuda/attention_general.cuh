/* attention_general.cuh -- attention and its gradient for any number of tokens and any width up to 256, in f32
 * arithmetic on values of either type. Included by attention.cu.
 *
 * A block of 128 threads has a tile of rows (queries, or keys in attention_keys_grad_kernel) in shared memory and walks
 * over the other side, COLUMNS at a time. Eight neighbouring lanes share ROWS rows: thread t has the rows t/8 * ROWS +
 * r, of the scores the columns t%8 + 8 j, of the results the columns 4 (t%8) + 32 c + e. A row's sums and maxima are
 * then shuffles among eight lanes, and a warp reads no scores but its own. Nothing is added up by two threads: the same
 * bits every time. */
#ifndef VMAE_BACKEND_CUDA_ATTENTION_GENERAL_CUH
#define VMAE_BACKEND_CUDA_ATTENTION_GENERAL_CUH

#include "engine/backend/cuda/device.cuh"

enum { GENERAL_THREADS = 128, COLUMNS = 32, SCORE_STRIDE = COLUMNS + 4, GENERAL_MAX_WIDTH = 256 };

/* Rows of one thread: fewer where a row is wide, so that the results fit into registers. */
template <int WIDTH> struct general_tile {
    static constexpr int rows = WIDTH > 128 ? 2 : 4;
    static constexpr int height = rows * GENERAL_THREADS / 8;
};

/* How one head lies in memory: qkv [batch, tokens, 3, heads, width], out [batch, tokens, heads, width]. */
struct head_view {
    int tokens, heads, width;
    float scale; /* 1 / sqrt(width) */

    __host__ __device__ int padded() const
    {
        return (width + 3) & ~3;
    }
    /* Of a row in shared memory: 4 floats more than it holds, so that eight rows lie in different banks. */
    __host__ __device__ int stride() const
    {
        return padded() + 4;
    }
    __device__ int64_t out_step() const
    {
        return (int64_t)heads * width;
    }
    __device__ int64_t qkv_step() const
    {
        return 3 * out_step();
    }
    __device__ int64_t qkv_at(int64_t task, int which) const
    {
        return ((task / heads * tokens * 3 + which) * heads + task % heads) * width;
    }
    __device__ int64_t out_at(int64_t task) const
    {
        return (task / heads * tokens * heads + task % heads) * width;
    }
};

/* to [rows, stride] = the rows of x, `step` elements apart; zeros beyond `valid` rows and up to the padded width. By
 * the whole block, without a barrier. */
template <class T>
static __device__ __forceinline__ void load_panel(float *to, const T *x, int64_t step, int rows, int valid,
                                                  const head_view &view)
{
    constexpr int elements = vector<T>::width;
    const int stride = view.stride();
    if (view.width % elements == 0) {
        const int per_row = view.width / elements;
        for (int i = (int)threadIdx.x; i < rows * per_row; i += GENERAL_THREADS) {
            const int r = i / per_row, column = i % per_row * elements;
            float value[elements];
#pragma unroll
            for (int e = 0; e < elements; e++)
                value[e] = 0.0f;
            if (r < valid)
                load_vector(value, x + r * step + column);
            store_n<elements>(to + r * stride + column, value);
        }
    } else {
        const int padded = view.padded();
        for (int i = (int)threadIdx.x; i < rows * padded; i += GENERAL_THREADS) {
            const int r = i / padded, column = i % padded;
            to[r * stride + column] = r < valid && column < view.width ? to_float(x[r * step + column]) : 0.0f;
        }
    }
}

/* product[r][j] = row group * ROWS + r of a . row lane + 8 j of b. The same order of terms wherever a score is
 * computed: the gradient finds the same scores as the forward pass, bit by bit. */
template <int ROWS>
static __device__ __forceinline__ void tile_scores(float (&product)[ROWS][4], const float *a, const float *b, int group,
                                                   int lane, const head_view &view)
{
    const int stride = view.stride();
    a += group * ROWS * stride;
    b += lane * stride;
#pragma unroll
    for (int r = 0; r < ROWS; r++)
#pragma unroll
        for (int j = 0; j < 4; j++)
            product[r][j] = 0.0f;
    for (int i = 0; i < view.padded(); i += 4) {
        float right[4][4];
#pragma unroll
        for (int j = 0; j < 4; j++)
            load_vector(right[j], b + 8 * j * stride + i);
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            float left[4];
            load_vector(left, a + r * stride + i);
#pragma unroll
            for (int j = 0; j < 4; j++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                    product[r][j] = fmaf(left[e], right[j][e], product[r][j]);
        }
    }
}

/* sum[r] += scores [ROWS, COLUMNS] of this thread's rows times b [COLUMNS, width]. */
template <int ROWS, int WIDTH>
static __device__ __forceinline__ void tile_results(float (&sum)[ROWS][WIDTH / 8], const float *scores, const float *b,
                                                    int group, int lane, const head_view &view)
{
    const int stride = view.stride(), padded = view.padded();
    scores += group * ROWS * SCORE_STRIDE;
#pragma unroll 1
    for (int k = 0; k < COLUMNS; k += 4) {
        float left[ROWS][4];
#pragma unroll
        for (int r = 0; r < ROWS; r++)
            load_vector(left[r], scores + r * SCORE_STRIDE + k);
#pragma unroll
        for (int c = 0; c < WIDTH / 32; c++) {
            const int column = 4 * lane + 32 * c;
            if (column < padded) {
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    float right[4];
                    load_vector(right, b + (k + i) * stride + column);
#pragma unroll
                    for (int r = 0; r < ROWS; r++)
#pragma unroll
                        for (int e = 0; e < 4; e++)
                            sum[r][4 * c + e] = fmaf(left[r][i], right[e], sum[r][4 * c + e]);
                }
            }
        }
    }
}

template <int ROWS>
static __device__ __forceinline__ void write_scores(float *scores, const float (&value)[ROWS][4], int group, int lane)
{
#pragma unroll
    for (int r = 0; r < ROWS; r++)
#pragma unroll
        for (int j = 0; j < 4; j++)
            scores[(group * ROWS + r) * SCORE_STRIDE + lane + 8 * j] = value[r][j];
}

/* One row of results times `factor` to y. */
template <int WIDTH, class T>
static __device__ __forceinline__ void write_row(T *y, const float (&sum)[WIDTH / 8], float factor, int lane, int width)
{
#pragma unroll
    for (int c = 0; c < WIDTH / 32; c++) {
        const int column = 4 * lane + 32 * c;
        float value[4];
#pragma unroll
        for (int e = 0; e < 4; e++)
            value[e] = sum[4 * c + e] * factor;
        if (width % 4 == 0) {
            if (column < width)
                store_n<4>(y + column, value);
        } else {
#pragma unroll
            for (int e = 0; e < 4; e++)
                if (column + e < width)
                    y[column + e] = from_float<T>(value[e]);
        }
    }
}

template <int ROWS, int N> static __device__ __forceinline__ void clear(float (&x)[ROWS][N])
{
#pragma unroll
    for (int r = 0; r < ROWS; r++)
#pragma unroll
        for (int i = 0; i < N; i++)
            x[r][i] = 0.0f;
}

/* out = softmax(q k^T scale) v, lse = log sum e^score. Block (task, tile of queries); the maximum and the sum of a row
 * are brought up to date with each tile of keys. */
template <class T, int WIDTH>
__global__ void __launch_bounds__(GENERAL_THREADS) attention_kernel(T *out, float *lse, const T *qkv, head_view view)
{
    constexpr int ROWS = general_tile<WIDTH>::rows, HEIGHT = general_tile<WIDTH>::height;
    DYNAMIC_SHARED(float, shared);
    const int stride = view.stride(), group = (int)threadIdx.x / 8, lane = (int)threadIdx.x % 8;
    float *query = shared, *key = query + HEIGHT * stride, *value = key + COLUMNS * stride,
          *scores = value + COLUMNS * stride;
    const int64_t task = blockIdx.x;
    const int first = (int)blockIdx.y * HEIGHT;
    const T *q = qkv + view.qkv_at(task, 0), *k = qkv + view.qkv_at(task, 1), *v = qkv + view.qkv_at(task, 2);

    load_panel(query, q + first * view.qkv_step(), view.qkv_step(), HEIGHT, view.tokens - first, view);
    float result[ROWS][WIDTH / 8], top[ROWS], sum[ROWS];
    clear(result);
#pragma unroll
    for (int r = 0; r < ROWS; r++)
        top[r] = -INFINITY, sum[r] = 0.0f;
    for (int at = 0; at < view.tokens; at += COLUMNS) {
        load_panel(key, k + at * view.qkv_step(), view.qkv_step(), COLUMNS, view.tokens - at, view);
        load_panel(value, v + at * view.qkv_step(), view.qkv_step(), COLUMNS, view.tokens - at, view);
        __syncthreads();
        float p[ROWS][4];
        tile_scores(p, query, key, group, lane, view);
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            float highest = -INFINITY;
#pragma unroll
            for (int j = 0; j < 4; j++) {
                if (at + lane + 8 * j < view.tokens)
                    highest = fmaxf(highest, p[r][j]);
            }
            highest = fmaxf(top[r], lanes_max<8>(highest));
            const float correction = expf((top[r] - highest) * view.scale);
            top[r] = highest;
            sum[r] *= correction;
#pragma unroll
            for (int j = 0; j < 4; j++) {
                p[r][j] = at + lane + 8 * j < view.tokens ? expf((p[r][j] - highest) * view.scale) : 0.0f;
                sum[r] += p[r][j];
            }
#pragma unroll
            for (int i = 0; i < WIDTH / 8; i++)
                result[r][i] *= correction;
        }
        write_scores(scores, p, group, lane);
        __syncwarp();
        tile_results<ROWS, WIDTH>(result, scores, value, group, lane, view);
        __syncthreads(); /* before the next keys and scores */
    }
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        const int token = first + group * ROWS + r;
        const float total = lanes_sum<8>(sum[r]);
        if (token < view.tokens) {
            write_row<WIDTH>(out + view.out_at(task) + token * view.out_step(), result[r], 1.0f / total, lane,
                             view.width);
            if (lse && lane == 0)
                lse[task * view.tokens + token] = top[r] * view.scale + logf(total);
        }
    }
}

/* dq = scale dS k, where dS = P (dP - delta), P = e^(score - lse), dP = dout v^T, delta = dout . out by rows, which is
 * kept for the other kernel. Block (task, tile of queries). */
template <class T, int WIDTH>
__global__ void __launch_bounds__(GENERAL_THREADS)
    attention_queries_grad_kernel(T *dqkv, float *delta, const T *dout, const T *qkv, const T *out, const float *lse,
                                  head_view view)
{
    constexpr int ROWS = general_tile<WIDTH>::rows, HEIGHT = general_tile<WIDTH>::height;
    DYNAMIC_SHARED(float, shared);
    const int stride = view.stride(), group = (int)threadIdx.x / 8, lane = (int)threadIdx.x % 8;
    float *query = shared, *gradient = query + HEIGHT * stride, *key = gradient + HEIGHT * stride,
          *value = key + COLUMNS * stride, *scores = value + COLUMNS * stride;
    const int64_t task = blockIdx.x, step = view.qkv_step(), out_step = view.out_step();
    const int first = (int)blockIdx.y * HEIGHT;
    const T *k = qkv + view.qkv_at(task, 1), *v = qkv + view.qkv_at(task, 2);

    load_panel(query, qkv + view.qkv_at(task, 0) + first * step, step, HEIGHT, view.tokens - first, view);
    load_panel(gradient, dout + view.out_at(task) + first * out_step, out_step, HEIGHT, view.tokens - first, view);
    __syncthreads();
    float result[ROWS][WIDTH / 8], row_lse[ROWS], row_delta[ROWS];
    clear(result);
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        const int token = first + group * ROWS + r;
        const bool inside = token < view.tokens;
        float sum = 0.0f;
        if (inside)
            for (int i = lane; i < view.width; i += 8)
                sum = fmaf(gradient[(group * ROWS + r) * stride + i],
                           to_float(out[view.out_at(task) + token * out_step + i]), sum);
        row_delta[r] = lanes_sum<8>(sum);
        row_lse[r] = inside ? lse[task * view.tokens + token] : 0.0f;
        if (inside && lane == 0)
            delta[task * view.tokens + token] = row_delta[r];
    }
    for (int at = 0; at < view.tokens; at += COLUMNS) {
        load_panel(key, k + at * step, step, COLUMNS, view.tokens - at, view);
        load_panel(value, v + at * step, step, COLUMNS, view.tokens - at, view);
        __syncthreads();
        float p[ROWS][4], dp[ROWS][4];
        tile_scores(p, query, key, group, lane, view);
        tile_scores(dp, gradient, value, group, lane, view);
#pragma unroll
        for (int r = 0; r < ROWS; r++)
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const float probability = expf(fmaf(p[r][j], view.scale, -row_lse[r]));
                p[r][j] = at + lane + 8 * j < view.tokens ? probability * (dp[r][j] - row_delta[r]) * view.scale : 0.0f;
            }
        write_scores(scores, p, group, lane);
        __syncwarp();
        tile_results<ROWS, WIDTH>(result, scores, key, group, lane, view);
        __syncthreads();
    }
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        const int token = first + group * ROWS + r;
        if (token < view.tokens)
            write_row<WIDTH>(dqkv + view.qkv_at(task, 0) + token * step, result[r], 1.0f, lane, view.width);
    }
}

/* dk = scale dS^T q, dv = P^T dout. Block (task, tile of keys); what are columns here are queries. */
template <class T, int WIDTH>
__global__ void __launch_bounds__(GENERAL_THREADS)
    attention_keys_grad_kernel(T *dqkv, const float *delta, const T *dout, const T *qkv, const float *lse,
                               head_view view)
{
    constexpr int ROWS = general_tile<WIDTH>::rows, HEIGHT = general_tile<WIDTH>::height;
    DYNAMIC_SHARED(float, shared);
    const int stride = view.stride(), group = (int)threadIdx.x / 8, lane = (int)threadIdx.x % 8;
    float *key = shared, *value = key + HEIGHT * stride, *query = value + HEIGHT * stride,
          *gradient = query + COLUMNS * stride, *scores = gradient + COLUMNS * stride;
    const int64_t task = blockIdx.x, step = view.qkv_step(), out_step = view.out_step();
    const int first = (int)blockIdx.y * HEIGHT;
    const T *q = qkv + view.qkv_at(task, 0), *d = dout + view.out_at(task);

    load_panel(key, qkv + view.qkv_at(task, 1) + first * step, step, HEIGHT, view.tokens - first, view);
    load_panel(value, qkv + view.qkv_at(task, 2) + first * step, step, HEIGHT, view.tokens - first, view);
    float dkey[ROWS][WIDTH / 8], dvalue[ROWS][WIDTH / 8];
    clear(dkey);
    clear(dvalue);
    for (int at = 0; at < view.tokens; at += COLUMNS) {
        load_panel(query, q + at * step, step, COLUMNS, view.tokens - at, view);
        load_panel(gradient, d + at * out_step, out_step, COLUMNS, view.tokens - at, view);
        __syncthreads();
        float p[ROWS][4], dp[ROWS][4];
        tile_scores(p, key, query, group, lane, view);
        tile_scores(dp, value, gradient, group, lane, view);
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const int token = at + lane + 8 * j;
            const bool inside = token < view.tokens;
            const float of_lse = inside ? lse[task * view.tokens + token] : 0.0f;
            const float of_delta = inside ? delta[task * view.tokens + token] : 0.0f;
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                p[r][j] = inside ? expf(fmaf(p[r][j], view.scale, -of_lse)) : 0.0f;
                dp[r][j] = p[r][j] * (dp[r][j] - of_delta) * view.scale;
            }
        }
        write_scores(scores, p, group, lane);
        __syncwarp();
        tile_results<ROWS, WIDTH>(dvalue, scores, gradient, group, lane, view);
        __syncwarp();
        write_scores(scores, dp, group, lane);
        __syncwarp();
        tile_results<ROWS, WIDTH>(dkey, scores, query, group, lane, view);
        __syncthreads();
    }
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        const int token = first + group * ROWS + r;
        if (token < view.tokens) {
            write_row<WIDTH>(dqkv + view.qkv_at(task, 1) + token * step, dkey[r], 1.0f, lane, view.width);
            write_row<WIDTH>(dqkv + view.qkv_at(task, 2) + token * step, dvalue[r], 1.0f, lane, view.width);
        }
    }
}

#endif
