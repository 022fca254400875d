/* matmul_own.cu -- a product of our own, for shapes that cuBLASLt has no algorithm for. Right for every size; not made
 * to be fast: nothing that a model of this engine is made of comes here. */
#include "engine/backend/cuda/matmul_epilogue.cuh"

namespace
{
enum { TILE = 64, DEPTH = 16, SIDE = 16, MICRO = TILE / SIDE, DEPTHS_PER_PART = 16, THREADS = SIDE * SIDE };

/* How op(X) lies: element (i, j) of it is x[i row + j column]. */
struct operand {
    int64_t row, column;
};

struct product {
    int64_t m, n, k;
    operand a, b;
    const float *bias;
    bool accumulate;
};

/* tile[d][i] = x(first + i, depth + d), zeros outside; whichever of the two directions is dense runs along a warp. */
template <class T>
__device__ void load_tile(float (&tile)[DEPTH][TILE + 1], const T *x, operand lies, int64_t first, int64_t rows,
                          int64_t depth, int64_t depths)
{
    const bool dense = lies.column == 1;
    for (int e = (int)threadIdx.x; e < TILE * DEPTH; e += THREADS) {
        const int i = dense ? e / DEPTH : e % TILE, d = dense ? e % DEPTH : e / TILE;
        const bool inside = first + i < rows && depth + d < depths;
        tile[d][i] = inside ? to_float(x[(first + i) * lies.row + (depth + d) * lies.column]) : 0.0f;
    }
}

/* c = gelu(op(a) op(b) + bias) + residual (+ c). A block computes a TILE x TILE piece, a thread every SIDE-th row and
 * column of it. Sums over k are made in parts of 256, then the parts are added. */
template <class IN, class OUT, cuda_gelu_form GELU>
__global__ void __launch_bounds__(THREADS)
    product_kernel(OUT *c, const IN *a, const IN *b, const OUT *residual, product p, int64_t tiles_across)
{
    __shared__ float tile_a[DEPTH][TILE + 1], tile_b[DEPTH][TILE + 1];
    const int64_t row = (int64_t)blockIdx.x / tiles_across * TILE, column = (int64_t)blockIdx.x % tiles_across * TILE;
    const int x = (int)threadIdx.x % SIDE, y = (int)threadIdx.x / SIDE;
    const operand b_turned = { p.b.column, p.b.row };
    float total[MICRO][MICRO] = {}, part[MICRO][MICRO] = {};
    int depths = 0;
    for (int64_t depth = 0; depth < p.k; depth += DEPTH) {
        load_tile(tile_a, a, p.a, row, p.m, depth, p.k);
        load_tile(tile_b, b, b_turned, column, p.n, depth, p.k);
        __syncthreads();
#pragma unroll
        for (int d = 0; d < DEPTH; d++)
#pragma unroll
            for (int i = 0; i < MICRO; i++)
#pragma unroll
                for (int j = 0; j < MICRO; j++)
                    part[i][j] += tile_a[d][y + i * SIDE] * tile_b[d][x + j * SIDE];
        const bool flush = ++depths == DEPTHS_PER_PART || depth + DEPTH >= p.k;
        depths = flush ? 0 : depths;
#pragma unroll
        for (int i = 0; i < MICRO; i++)
#pragma unroll
            for (int j = 0; j < MICRO; j++) {
                total[i][j] += flush ? part[i][j] : 0.0f;
                part[i][j] = flush ? 0.0f : part[i][j];
            }
        __syncthreads(); /* the tiles are free again */
    }
#pragma unroll
    for (int i = 0; i < MICRO; i++)
#pragma unroll
        for (int j = 0; j < MICRO; j++) {
            const int64_t r = row + y + i * SIDE, q = column + x + j * SIDE;
            if (r >= p.m || q >= p.n)
                continue;
            float v = gelu_as<GELU>(total[i][j] + (p.bias ? p.bias[q] : 0.0f));
            v += residual ? to_float(residual[r * p.n + q]) : 0.0f;
            v += p.accumulate ? to_float(c[r * p.n + q]) : 0.0f;
            c[r * p.n + q] = from_float<OUT>(v);
        }
}

template <class IN, class OUT, cuda_gelu_form GELU>
vmae_status launch(vmae_backend *be, void *c, const void *a, const void *b, const void *residual, const product &p)
{
    const int64_t across = (p.n + TILE - 1) / TILE, down = (p.m + TILE - 1) / TILE;
    LAUNCH((product_kernel<IN, OUT, GELU>), (unsigned)cuda_blocks(across * down, 1), THREADS, 0, cuda_stream(be),
           (OUT *)c, (const IN *)a, (const IN *)b, (const OUT *)residual, p, across);
    return CUDA_LAUNCHED("product_kernel");
}
} // namespace

vmae_status cuda_matmul_own(vmae_backend *be, const vmae_matmul_shape *s, cuda_gelu_form gelu, void *c, const void *a,
                            const void *b, const float *bias, const void *residual)
{
    const operand lies_a = { s->trans_a ? 1 : s->k, s->trans_a ? s->m : 1 },
                  lies_b = { s->trans_b ? 1 : s->n, s->trans_b ? s->k : 1 };
    const product p = { s->m, s->n, s->k, lies_a, lies_b, s->bias ? bias : nullptr, s->accumulate };
    const void *added = s->residual ? residual : nullptr;
    WITH_TYPE(s->in, IN, {
        WITH_GELU(gelu, F, {
            if (s->out == VMAE_F32)
                return launch<IN, float, F>(be, c, a, b, added, p);
            return launch<IN, IN, F>(be, c, a, b, added, p);
        });
    });
}
