/* column_sum.cuh -- sums over rows, column by column, in two kernels: each part of the rows is summed by a block of its
 * own into scratch, then the parts are added. Private to backend/cuda.
 *
 * First kernel: a block of COLUMN_LANES x ROW_LANES threads takes the rows of part blockIdx.y and the columns of tile
 * blockIdx.x, N neighbouring columns a thread, and every ROW_LANES-th row. part_write() adds what its threads summed
 * and writes the tile's stretch of scratch [parts, d]. Second kernel: cuda_sum_parts(). */
#ifndef VMAE_BACKEND_CUDA_COLUMN_SUM_CUH
#define VMAE_BACKEND_CUDA_COLUMN_SUM_CUH

#include "engine/backend/cuda/device.cuh"

enum { COLUMN_LANES = 32, ROW_LANES = 8 };

/* Parts in which `rows` rows are summed: be->sum_blocks, fewer where a part would have fewer than ROW_LANES rows. */
static inline int cuda_parts(const vmae_backend *be, int64_t rows)
{
    const int64_t parts = (rows + ROW_LANES - 1) / ROW_LANES;
    return parts < 1 ? 1 : parts < be->sum_blocks ? (int)parts : be->sum_blocks;
}

static inline dim3 column_grid(int64_t d, int columns, int parts)
{
    return dim3((unsigned)cuda_blocks(d, (int64_t)COLUMN_LANES * columns), (unsigned)parts);
}

/* The first row of a part; of part `parts`: the number of rows. */
static __device__ __forceinline__ int64_t part_row(int64_t rows, unsigned part, unsigned parts)
{
    return rows * part / parts;
}

/* The first of this thread's N columns. */
template <int N> static __device__ __forceinline__ int64_t tile_column()
{
    return ((int64_t)blockIdx.x * COLUMN_LANES + threadIdx.x) * N;
}

/* Shared memory for part_write, __align__(16). */
template <int N> using lane_sums = float[ROW_LANES][COLUMN_LANES * N];

/* part[c] = the sum over the block's row lanes of what they hold for column c, for the columns of the tile. All threads
 * of the block call it, once. */
template <int N>
static __device__ __forceinline__ void part_write(float *part, lane_sums<N> &sums, const float (&sum)[N], int64_t d)
{
    constexpr int tile = COLUMN_LANES * N;
    store_n<N>(&sums[threadIdx.y][threadIdx.x * N], sum);
    __syncthreads();
    const int64_t first = (int64_t)blockIdx.x * tile;
    for (int c = (int)(threadIdx.y * COLUMN_LANES + threadIdx.x); c < tile && first + c < d;
         c += COLUMN_LANES * ROW_LANES) {
        float total = sums[0][c];
#pragma unroll
        for (int i = 1; i < ROW_LANES; i++)
            total += sums[i][c];
        part[first + c] = total;
    }
}

/* first[d] (+)= the column sums of parts [count, stride], and second[d] those from column d on; either may be NULL.
 * elementwise.cu. */
vmae_status cuda_sum_parts(vmae_backend *be, float *first, float *second, const float *parts, int count, int64_t stride,
                           int64_t d, bool accumulate);

#endif
