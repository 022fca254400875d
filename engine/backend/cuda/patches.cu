/* patches.cu -- the pixels of chosen patches, for the patch projection. */
#include "engine/backend/cuda/device.cuh"

enum { PATCH_WARPS = 8 };

/* A warp a patch: a lane copies W pixels of a line at a time (W divides p), so neighbours read and write on. */
template <int W, class T>
static __global__ void gather_patches_kernel(T *y, const float *images, const int32_t *ids, int64_t stride,
                                             int64_t rows, int channels, int side, int p, int64_t keep)
{
    const int64_t row = (int64_t)blockIdx.x * PATCH_WARPS + threadIdx.y;
    if (row >= rows)
        return;
    const int64_t b = row / keep, j = row % keep;
    const int id = ids ? ids[b * stride + j] : (int)j, grid = side / p;
    const float *corner = images + (b * channels * side + id / grid * p) * side + id % grid * p;
    const int values = channels * p * p;
    y += row * values;
#pragma unroll 4
    for (int at = (int)threadIdx.x * W; at < values; at += 32 * W) {
        const int line = at / p, c = line / p;
        float x[W];
        load_n<W>(x, corner + ((int64_t)c * side + (line - c * p)) * side + (at - line * p));
        store_n<W>(y + at, x);
    }
}

extern "C" vmae_status cuda_gather_patches(vmae_backend *be, void *y, const float *images, const int32_t *ids,
                                           int64_t stride, vmae_type type, int64_t batch, int64_t channels,
                                           int64_t side, int64_t p, int64_t keep)
{
    const int64_t rows = batch * keep;
    const dim3 block(32, PATCH_WARPS), grid((unsigned)cuda_blocks(rows, PATCH_WARPS));
    WITH_TYPE(type, T, {
        constexpr int width = vector<T>::width;
        if (p % width == 0)
            LAUNCH((gather_patches_kernel<width, T>), grid, block, 0, cuda_stream(be), (T *)y, images, ids, stride,
                   rows, (int)channels, (int)side, (int)p, keep);
        else
            LAUNCH((gather_patches_kernel<1, T>), grid, block, 0, cuda_stream(be), (T *)y, images, ids, stride, rows,
                   (int)channels, (int)side, (int)p, keep);
    });
    return CUDA_LAUNCHED("gather_patches_kernel");
}
