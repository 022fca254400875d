/* matmul_epilogue.cu -- what cuBLASLt's epilogues leave to do: one pass over a product's result, in place. */
#include "engine/backend/cuda/matmul_epilogue.cuh"

namespace
{
enum { COLUMNS = 64, ROWS = 4, ROWS_PER_THREAD = 4, ROUND_THREADS = 256 };

/* c = gelu(c + bias) + residual. A thread owns N consecutive columns (16 bytes, or one) of every (gridDim.y ROWS)-th
 * row, so that it reads its piece of the bias once; a warp's accesses are one after the other. */
template <class T, int N, cuda_gelu_form GELU>
__global__ void finish_kernel(T *c, const float *bias, const T *residual, int64_t m, int64_t n)
{
    const int64_t column = ((int64_t)blockIdx.x * COLUMNS + threadIdx.x) * N;
    if (column >= n)
        return;
    float added[N];
#pragma unroll
    for (int i = 0; i < N; i++)
        added[i] = 0.0f;
    if (bias)
        load_n(added, bias + column);
    for (int64_t row = (int64_t)blockIdx.y * ROWS + threadIdx.y; row < m; row += (int64_t)gridDim.y * ROWS) {
        T *at = c + row * n + column;
        float x[N], r[N];
        load_n(x, at);
#pragma unroll
        for (int i = 0; i < N; i++)
            x[i] = gelu_as<GELU>(x[i] + added[i]);
        if (residual) {
            load_n(r, residual + row * n + column);
#pragma unroll
            for (int i = 0; i < N; i++)
                x[i] += r[i];
        }
        store_n<N, WHOLE>(at, x);
    }
}

__global__ void round_kernel(bf16 *to, const float *from, int64_t n)
{
    const int64_t i = (int64_t)blockIdx.x * ROUND_THREADS + threadIdx.x;
    if (i < n)
        to[i] = __float2bfloat16(from[i]);
}

template <class T, int N, cuda_gelu_form GELU>
vmae_status finish(vmae_backend *be, void *c, int64_t m, int64_t n, const float *bias, const void *residual)
{
    const int64_t rows = (m + ROWS * ROWS_PER_THREAD - 1) / (ROWS * ROWS_PER_THREAD);
    const dim3 grid((unsigned)cuda_blocks(n, (int64_t)COLUMNS * N), (unsigned)(rows < 65535 ? rows : 65535)),
        block(COLUMNS, ROWS);
    LAUNCH((finish_kernel<T, N, GELU>), grid, block, 0, cuda_stream(be), (T *)c, bias, (const T *)residual, m, n);
    return CUDA_LAUNCHED("finish_kernel");
}
} // namespace

vmae_status cuda_matmul_finish(vmae_backend *be, void *c, vmae_type type, int64_t m, int64_t n, const float *bias,
                               cuda_gelu_form gelu, const void *residual)
{
    WITH_TYPE(type, T, {
        WITH_GELU(gelu, F, {
            if (n % vector<T>::width == 0)
                return finish<T, vector<T>::width, F>(be, c, m, n, bias, residual);
            return finish<T, 1, F>(be, c, m, n, bias, residual);
        });
    });
}

vmae_status cuda_matmul_round(vmae_backend *be, vmae_bf16 *to, const float *from, int64_t n)
{
    LAUNCH(round_kernel, (unsigned)cuda_blocks(n, ROUND_THREADS), ROUND_THREADS, 0, cuda_stream(be), (bf16 *)to, from,
           n);
    return CUDA_LAUNCHED("round_kernel");
}
