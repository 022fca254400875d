/* attention_tensor.cuh -- attention and its gradient in bf16 on tensor cores, for short sequences. Included by
 * attention.cu.
 *
 * One block has one head of one image: its keys and values are read once into shared memory. Products are m16n8k16; the
 * scores of a warp's 16 rows stay in registers, where the result of one product is laid out as the left side of the
 * next. Names of fragments: lane l has row l/4 (and + 8) and columns 2 (l%4), + 1 of every 8 columns.
 *
 * The gradient keeps dk and dv of 16 keys in the registers of one warp while the block walks over the queries, 64 at a
 * time; dS goes through shared memory to where dq is added up over all keys. No sum is shared by two warps: the same
 * bits every time. */
#ifndef VMAE_BACKEND_CUDA_ATTENTION_TENSOR_CUH
#define VMAE_BACKEND_CUDA_ATTENTION_TENSOR_CUH

#include "engine/backend/cuda/attention_general.cuh"
#include "engine/backend/cuda/tensor_core.cuh"

enum { TENSOR_WARPS = 8, TENSOR_GRAD_WARPS = 13, STEP_KEYS = 32, QUERIES = 64, DS_STRIDE = QUERIES + 8 };

#define LOG2_E 1.44269504088896341f
#define LN_2   0.693147180559945309f

/* Eight elements more than a row has, so that eight rows lie in different banks. */
template <int WIDTH> struct tensor_tile {
    static constexpr int stride = WIDTH + 8;
    static constexpr int vectors = WIDTH / 8;
    static constexpr int panel = WIDTH > 64 ? 192 : 256; /* keys in shared memory at a time */
    static constexpr int row_lanes = WIDTH > 32 ? 8 : 4; /* lanes that read one row together */
};

/* to [rows, stride] = rows of x, `step` elements apart; zeros beyond `valid` rows and `width` columns. By `threads`
 * threads, this one being number `index` of them. */
template <int WIDTH>
static __device__ __forceinline__ void load_rows(bf16 *to, const bf16 *x, int64_t step, int rows, int valid, int width,
                                                 int index, int threads)
{
    constexpr int vectors = tensor_tile<WIDTH>::vectors;
#pragma unroll 2
    for (int i = index; i < rows * vectors; i += threads) {
        const int r = i / vectors, column = i % vectors * 8;
        uint4 value = make_uint4(0, 0, 0, 0);
        if (r < valid && column < width)
            value = *reinterpret_cast<const uint4 *>(x + r * step + column);
        *reinterpret_cast<uint4 *>(to + r * tensor_tile<WIDTH>::stride + column) = value;
    }
}

template <int WIDTH>
static __device__ __forceinline__ void store_rows(bf16 *x, const bf16 *from, int64_t step, int rows, int width,
                                                  int index, int threads)
{
    constexpr int vectors = tensor_tile<WIDTH>::vectors;
    for (int i = index; i < rows * vectors; i += threads) {
        const int r = i / vectors, column = i % vectors * 8;
        if (column < width)
            *reinterpret_cast<uint4 *>(x + r * step + column) =
                *reinterpret_cast<const uint4 *>(from + r * tensor_tile<WIDTH>::stride + column);
    }
}

/* Where a lane's row of the four 8 x 8 matrices begins. A left side [16 rows, 16 k] and, transposed, a right side
 * [16 k, 16 columns], both as they lie in memory: */
static __device__ __forceinline__ const bf16 *left_row(const bf16 *x, int stride, int lane)
{
    return x + lane % 16 * stride + lane / 16 * 8;
}
/* A right side that lies as [16 columns, 16 k]; and, transposed, a left side that lies as [16 k, 16 rows]: */
static __device__ __forceinline__ const bf16 *right_row(const bf16 *x, int stride, int lane)
{
    return x + (lane / 16 * 8 + lane % 8) * stride + lane / 8 % 2 * 8;
}

/* Two products that are neighbours in columns: `right` holds the right sides of both. */
static __device__ __forceinline__ void mma_pair(float (&first)[4], float (&second)[4], const unsigned (&left)[4],
                                                const unsigned (&right)[4])
{
    const unsigned b0[2] = { right[0], right[1] }, b1[2] = { right[2], right[3] };
    mma_bf16_16x8x16(first, left, b0);
    mma_bf16_16x8x16(second, left, b1);
}

/* Two neighbouring results [16, 8] as the left side [16, 16] of the next product. */
static __device__ __forceinline__ void as_left(unsigned (&left)[4], const float (&first)[4], const float (&second)[4])
{
    left[0] = pack_bf16(first[0], first[1]);
    left[1] = pack_bf16(first[2], first[3]);
    left[2] = pack_bf16(second[0], second[1]);
    left[3] = pack_bf16(second[2], second[3]);
}

static __device__ __forceinline__ void put_pair(bf16 *at, unsigned pair)
{
    *reinterpret_cast<unsigned *>(at) = pair;
}

/* Results [16, WIDTH] of a warp, row l/4 times factor[0], row l/4 + 8 times factor[1], to shared memory. */
template <int WIDTH>
static __device__ __forceinline__ void put_results(bf16 *to, const float (&result)[WIDTH / 8][4], float factor0,
                                                   float factor1, int lane)
{
    constexpr int stride = tensor_tile<WIDTH>::stride;
    to += lane / 4 * stride + lane % 4 * 2;
#pragma unroll
    for (int n = 0; n < WIDTH / 8; n++) {
        put_pair(to + 8 * n, pack_bf16(result[n][0] * factor0, result[n][1] * factor0));
        put_pair(to + 8 * stride + 8 * n, pack_bf16(result[n][2] * factor1, result[n][3] * factor1));
    }
}

/* One step of a warp's 16 queries over up to STEP_KEYS of `valid` keys. top and sum: of rows l/4 and l/4 + 8, in units
 * of log 2; a row lies in four lanes. */
template <int WIDTH>
static __device__ __forceinline__ void attend(float (&result)[WIDTH / 8][4], float (&top)[2], float (&sum)[2],
                                              const unsigned (&query)[WIDTH / 16][4], const bf16 *key,
                                              const bf16 *value, int valid, float scale, int lane)
{
    constexpr int stride = tensor_tile<WIDTH>::stride, KEYS = STEP_KEYS;
    float score[KEYS / 8][4];
#pragma unroll
    for (int pair = 0; pair < KEYS / 16; pair++) {
#pragma unroll
        for (int i = 0; i < 4; i++)
            score[2 * pair][i] = score[2 * pair + 1][i] = 0.0f;
        if (16 * pair < valid) {
#pragma unroll
            for (int k = 0; k < WIDTH / 16; k++) {
                unsigned right[4];
                load_matrices(right, right_row(key + 16 * pair * stride + 16 * k, stride, lane));
                mma_pair(score[2 * pair], score[2 * pair + 1], query[k], right);
            }
        }
    }
    float factor[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float highest = -INFINITY;
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
            for (int e = 0; e < 2; e++)
                if (8 * n + lane % 4 * 2 + e < valid)
                    highest = fmaxf(highest, score[n][2 * half + e]);
        highest = fmaxf(top[half], lanes_max<4>(highest));
        factor[half] = exp2f((top[half] - highest) * scale);
        top[half] = highest;
        float part = 0.0f;
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
                float &p = score[n][2 * half + e];
                p = 8 * n + lane % 4 * 2 + e < valid ? exp2f((p - highest) * scale) : 0.0f;
                part += p;
            }
        sum[half] = sum[half] * factor[half] + part;
    }
#pragma unroll
    for (int n = 0; n < WIDTH / 8; n++) {
        result[n][0] *= factor[0], result[n][1] *= factor[0];
        result[n][2] *= factor[1], result[n][3] *= factor[1];
    }
#pragma unroll
    for (int pair = 0; pair < KEYS / 16; pair++)
        if (16 * pair < valid) {
            unsigned left[4];
            as_left(left, score[2 * pair], score[2 * pair + 1]);
#pragma unroll
            for (int n = 0; n < WIDTH / 16; n++) {
                unsigned right[4];
                load_matrices_transposed(right, left_row(value + 16 * pair * stride + 16 * n, stride, lane));
                mma_pair(result[2 * n], result[2 * n + 1], left, right);
            }
        }
}

/* Block (task, share of the queries); each warp has 16 queries at a time. `panel`: keys in shared memory, a multiple of
 * 16; the whole sequence, if it fits. */
template <int WIDTH>
__global__ void __launch_bounds__(32 * TENSOR_WARPS, 1)
    attention_tensor_kernel(bf16 *out, float *lse, const bf16 *qkv, head_view view, int panel)
{
    constexpr int stride = tensor_tile<WIDTH>::stride;
    DYNAMIC_SHARED(bf16, shared);
    const int threads = (int)blockDim.x, warps = threads / 32, warp = (int)threadIdx.x / 32,
              lane = (int)threadIdx.x % 32;
    bf16 *key = shared, *value = key + panel * stride, *mine = value + panel * stride + warp * 16 * stride;
    const int64_t task = blockIdx.x, step = view.qkv_step();
    const bf16 *q = qkv + view.qkv_at(task, 0), *k = qkv + view.qkv_at(task, 1), *v = qkv + view.qkv_at(task, 2);
    const bool whole = panel >= view.tokens;

#pragma unroll 1
    for (int round = (int)blockIdx.y; round * warps * 16 < view.tokens; round += (int)gridDim.y) {
        const int first = (round * warps + warp) * 16, count = min(16, view.tokens - first); /* < 1: idle */
        unsigned query[WIDTH / 16][4];
        float result[WIDTH / 8][4], top[2] = { -INFINITY, -INFINITY }, sum[2] = { 0.0f, 0.0f };
        load_rows<WIDTH>(mine, q + first * step, step, 16, count, view.width, lane, 32);
        __syncwarp();
#pragma unroll
        for (int i = 0; i < WIDTH / 16; i++)
            load_matrices(query[i], left_row(mine + 16 * i, stride, lane));
        clear(result);
#pragma unroll 1
        for (int at = 0; at < view.tokens; at += panel) {
            if (!whole || round == (int)blockIdx.y) {
                __syncthreads();
                load_rows<WIDTH>(key, k + at * step, step, panel, view.tokens - at, view.width, (int)threadIdx.x,
                                 threads);
                load_rows<WIDTH>(value, v + at * step, step, panel, view.tokens - at, view.width, (int)threadIdx.x,
                                 threads);
                __syncthreads();
            }
            const int valid = min(panel, view.tokens - at);
            if (count > 0)
#pragma unroll 1
                for (int from = 0; from < valid; from += STEP_KEYS)
                    attend<WIDTH>(result, top, sum, query, key + from * stride, value + from * stride, valid - from,
                                  view.scale * LOG2_E, lane);
        }
        const float total0 = lanes_sum<4>(sum[0]), total1 = lanes_sum<4>(sum[1]);
        __syncwarp();
        put_results<WIDTH>(mine, result, 1.0f / total0, 1.0f / total1, lane);
        __syncwarp();
        store_rows<WIDTH>(out + view.out_at(task) + first * view.out_step(), mine, view.out_step(), count, view.width,
                          lane, 32);
        if (lse && lane % 4 == 0) {
            if (lane / 4 < count)
                lse[task * view.tokens + first + lane / 4] = top[0] * view.scale + log2f(total0) * LN_2;
            if (lane / 4 + 8 < count)
                lse[task * view.tokens + first + lane / 4 + 8] = top[1] * view.scale + log2f(total1) * LN_2;
        }
        __syncwarp();
    }
}

/* ---- gradient ---- */

/* sum + a . b of two pairs. */
static __device__ __forceinline__ float dot_pair(unsigned a, unsigned b, float sum)
{
    sum = fmaf(__uint_as_float(a << 16), __uint_as_float(b << 16), sum);
    return fmaf(__uint_as_float(a & 0xFFFF0000u), __uint_as_float(b & 0xFFFF0000u), sum);
}

/* 64 rows of queries and of dout to shared memory, with their lse (in units of log 2) and delta = dout . out. */
template <int WIDTH, int UNROLL>
static __device__ __forceinline__ void load_queries(bf16 *query, bf16 *gradient, float *row_lse, float *row_delta,
                                                    const bf16 *q, const bf16 *dout, const bf16 *out, const float *lse,
                                                    int count, const head_view &view)
{
    constexpr int lanes = tensor_tile<WIDTH>::row_lanes, stride = tensor_tile<WIDTH>::stride;
    const int64_t step = view.qkv_step(), out_step = view.out_step();
#pragma unroll UNROLL
    for (int r = (int)threadIdx.x / lanes; r < QUERIES; r += (int)blockDim.x / lanes) { /* whole warps */
        float sum = 0.0f;
#pragma unroll
        for (int i = 0; i < (WIDTH / 8 + lanes - 1) / lanes; i++) {
            const int column = ((int)threadIdx.x % lanes + i * lanes) * 8;
            if (column < WIDTH) {
                uint4 of_q = make_uint4(0, 0, 0, 0), of_dout = of_q;
                if (r < count && column < view.width) {
                    of_q = *reinterpret_cast<const uint4 *>(q + r * step + column);
                    of_dout = *reinterpret_cast<const uint4 *>(dout + r * out_step + column);
                    const uint4 of_out = *reinterpret_cast<const uint4 *>(out + r * out_step + column);
                    sum = dot_pair(of_dout.x, of_out.x, sum);
                    sum = dot_pair(of_dout.y, of_out.y, sum);
                    sum = dot_pair(of_dout.z, of_out.z, sum);
                    sum = dot_pair(of_dout.w, of_out.w, sum);
                }
                *reinterpret_cast<uint4 *>(query + r * stride + column) = of_q;
                *reinterpret_cast<uint4 *>(gradient + r * stride + column) = of_dout;
            }
        }
        sum = lanes_sum<lanes>(sum);
        if (threadIdx.x % lanes == 0) {
            row_delta[r] = sum;
            row_lse[r] = r < count ? lse[r] * LOG2_E : 0.0f;
        }
    }
}

/* dq of 16 queries x 16 columns at a time, from dS [keys, queries] and the keys, to where the queries were. */
template <int WIDTH>
static __device__ __forceinline__ void query_gradients(bf16 *dquery, const bf16 *ds, const bf16 *key, int tiles,
                                                       int key_tiles, int warp, int warps, int lane)
{
    constexpr int stride = tensor_tile<WIDTH>::stride, columns = WIDTH / 16;
#pragma unroll 1
    for (int unit = warp; unit < tiles * columns; unit += warps) {
        const int tile = unit / columns, column = unit % columns * 16;
        float result[2][4];
        clear(result);
#pragma unroll 1
        for (int k = 0; k < key_tiles; k++) {
            unsigned left[4], right[4];
            load_matrices_transposed(left, right_row(ds + 16 * k * DS_STRIDE + 16 * tile, DS_STRIDE, lane));
            load_matrices_transposed(right, left_row(key + 16 * k * stride + column, stride, lane));
            mma_pair(result[0], result[1], left, right);
        }
        bf16 *to = dquery + (16 * tile + lane / 4) * stride + column + lane % 4 * 2;
#pragma unroll
        for (int n = 0; n < 2; n++) {
            put_pair(to + 8 * n, pack_bf16(result[n][0], result[n][1]));
            put_pair(to + 8 * stride + 8 * n, pack_bf16(result[n][2], result[n][3]));
        }
    }
}

/* dq, dk, dv of one head. As many warps as there are tiles of 16 keys, at most WARPS. KEEP: the keys and values of a
 * warp stay in registers too. */
template <int WIDTH, int WARPS, bool KEEP>
__global__ void __launch_bounds__(32 * WARPS, 1)
    attention_tensor_grad_kernel(bf16 *dqkv, const bf16 *dout, const bf16 *qkv, const bf16 *out, const float *lse,
                                 head_view view)
{
    constexpr int stride = tensor_tile<WIDTH>::stride, lanes = tensor_tile<WIDTH>::row_lanes;
    DYNAMIC_SHARED(bf16, shared);
    const int threads = (int)blockDim.x, warps = threads / 32, warp = (int)threadIdx.x / 32,
              lane = (int)threadIdx.x % 32, keys = 16 * warps;
    bf16 *key = shared, *value = key + keys * stride, *query = value + keys * stride,
         *gradient = query + QUERIES * stride, *ds = gradient + QUERIES * stride;
    float *row_lse = reinterpret_cast<float *>(ds + keys * DS_STRIDE), *row_delta = row_lse + QUERIES;
    bf16 *my_key = key + 16 * warp * stride, *my_value = value + 16 * warp * stride,
         *my_ds = ds + 16 * warp * DS_STRIDE;
    const int64_t task = blockIdx.x, step = view.qkv_step(), out_step = view.out_step();
    const float scale = view.scale * LOG2_E;
    const bool inside0 = 16 * warp + lane / 4 < view.tokens, inside1 = 16 * warp + lane / 4 + 8 < view.tokens;

    load_rows<WIDTH>(key, qkv + view.qkv_at(task, 1), step, keys, view.tokens, view.width, (int)threadIdx.x, threads);
    load_rows<WIDTH>(value, qkv + view.qkv_at(task, 2), step, keys, view.tokens, view.width, (int)threadIdx.x, threads);
    float dkey[WIDTH / 8][4], dvalue[WIDTH / 8][4];
    clear(dkey);
    clear(dvalue);
    unsigned kept_key[KEEP ? WIDTH / 16 : 1][4], kept_value[KEEP ? WIDTH / 16 : 1][4];
#pragma unroll 1
    for (int first = 0; first < view.tokens; first += QUERIES) {
        const int count = min((int)QUERIES, view.tokens - first);
        load_queries<WIDTH, (WARPS > 8 ? 1 : 2)>(
            query, gradient, row_lse, row_delta, qkv + view.qkv_at(task, 0) + first * step,
            dout + view.out_at(task) + first * out_step, out + view.out_at(task) + first * out_step,
            lse + task * view.tokens + first, count, view);
        __syncthreads();
        if (KEEP && first == 0) {
#pragma unroll
            for (int k = 0; k < WIDTH / 16; k++) {
                load_matrices(kept_key[KEEP ? k : 0], left_row(my_key + 16 * k, stride, lane));
                load_matrices(kept_value[KEEP ? k : 0], left_row(my_value + 16 * k, stride, lane));
            }
        }
#pragma unroll 1
        for (int at = 0; at < count; at += 16) {
            float p[2][4], dp[2][4];
            clear(p);
            clear(dp);
#pragma unroll
            for (int k = 0; k < WIDTH / 16; k++) {
                unsigned left[4], right[4];
                load_matrices(right, right_row(query + at * stride + 16 * k, stride, lane));
                if (!KEEP)
                    load_matrices(left, left_row(my_key + 16 * k, stride, lane));
                mma_pair(p[0], p[1], KEEP ? kept_key[KEEP ? k : 0] : left, right);
                load_matrices(right, right_row(gradient + at * stride + 16 * k, stride, lane));
                if (!KEEP)
                    load_matrices(left, left_row(my_value + 16 * k, stride, lane));
                mma_pair(dp[0], dp[1], KEEP ? kept_value[KEEP ? k : 0] : left, right);
            }
#pragma unroll
            for (int n = 0; n < 2; n++)
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    const int r = at + 8 * n + lane % 4 * 2 + e;
                    const float of_lse = row_lse[r], of_delta = row_delta[r];
                    p[n][e] = inside0 ? exp2f(fmaf(p[n][e], scale, -of_lse)) : 0.0f;
                    p[n][2 + e] = inside1 ? exp2f(fmaf(p[n][2 + e], scale, -of_lse)) : 0.0f;
                    dp[n][e] = p[n][e] * (dp[n][e] - of_delta) * view.scale;
                    dp[n][2 + e] = p[n][2 + e] * (dp[n][2 + e] - of_delta) * view.scale;
                }
            unsigned left_p[4], left_ds[4];
            as_left(left_p, p[0], p[1]);
            as_left(left_ds, dp[0], dp[1]);
            bf16 *to = my_ds + lane / 4 * DS_STRIDE + at + lane % 4 * 2;
            put_pair(to, left_ds[0]);
            put_pair(to + 8 * DS_STRIDE, left_ds[1]);
            put_pair(to + 8, left_ds[2]);
            put_pair(to + 8 * DS_STRIDE + 8, left_ds[3]);
#pragma unroll
            for (int n = 0; n < WIDTH / 16; n++) {
                unsigned right[4];
                load_matrices_transposed(right, left_row(gradient + at * stride + 16 * n, stride, lane));
                mma_pair(dvalue[2 * n], dvalue[2 * n + 1], left_p, right);
                load_matrices_transposed(right, left_row(query + at * stride + 16 * n, stride, lane));
                mma_pair(dkey[2 * n], dkey[2 * n + 1], left_ds, right);
            }
        }
        __syncthreads();
        query_gradients<WIDTH>(query, ds, key, (count + 15) / 16, warps, warp, warps, lane);
        __syncthreads();
        /* Each thread stores what it will overwrite with the next queries: no barrier between the two. */
#pragma unroll 1
        for (int r = (int)threadIdx.x / lanes; r < count; r += threads / lanes)
#pragma unroll
            for (int i = 0; i < (WIDTH / 8 + lanes - 1) / lanes; i++) {
                const int column = ((int)threadIdx.x % lanes + i * lanes) * 8;
                if (column < view.width)
                    *reinterpret_cast<uint4 *>(dqkv + view.qkv_at(task, 0) + (first + r) * step + column) =
                        *reinterpret_cast<const uint4 *>(query + r * stride + column);
            }
    }
    /* The keys and values are not needed any more: their place carries the gradients to 16-byte stores. */
    put_results<WIDTH>(my_key, dkey, 1.0f, 1.0f, lane);
    put_results<WIDTH>(my_value, dvalue, 1.0f, 1.0f, lane);
    __syncwarp();
    const int rows = min(16, view.tokens - 16 * warp);
    store_rows<WIDTH>(dqkv + view.qkv_at(task, 1) + 16 * warp * step, my_key, step, rows, view.width, lane, 32);
    store_rows<WIDTH>(dqkv + view.qkv_at(task, 2) + 16 * warp * step, my_value, step, rows, view.width, lane, 32);
}

#endif
