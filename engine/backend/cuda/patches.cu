/* patches.cu -- cutting images into patches: pixels for the patch projection, targets for the reconstruction. */
#include "engine/backend/cuda/device.cuh"

enum { PATCH_WARPS = 8 };

/* The first pixel of patch `id` of image b. */
static __device__ __forceinline__ const float *patch_corner(const float *images, int64_t b, int64_t id,
                                                            int64_t channels, int64_t side, int64_t p)
{
    const int64_t grid = side / p;
    return images + b * channels * side * side + id / grid * p * side + id % grid * p;
}

/* A warp a patch: a lane copies W pixels of a line at a time (W divides p), so neighbours read and write on. */
template <int W, class T>
static __global__ void gather_patches_kernel(T *y, const float *images, const int32_t *ids, int64_t stride,
                                             int64_t rows, int channels, int side, int p, int64_t keep)
{
    const int64_t row = (int64_t)blockIdx.x * PATCH_WARPS + threadIdx.y;
    if (row >= rows)
        return;
    const int64_t b = row / keep, j = row % keep;
    const float *corner = patch_corner(images, b, ids ? ids[b * stride + j] : j, channels, side, p);
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

/* A warp a patch; each lane reads the values that it writes. t = (t - mean)/sqrt(var + 1e-6), the variance unbiased. */
static __global__ void patch_target_kernel(float *target, const float *images, int64_t rows, int channels, int side,
                                           int p, bool normalise)
{
    const int64_t row = (int64_t)blockIdx.x * PATCH_WARPS + threadIdx.y;
    if (row >= rows)
        return;
    const int64_t patches = (int64_t)(side / p) * (side / p);
    const float *corner = patch_corner(images, row / patches, row % patches, channels, side, p);
    const int values = channels * p * p;
    float *t = target + row * values, sum = 0.0f;
    for (int at = (int)threadIdx.x; at < values; at += 32) {
        const int pixel = at / channels, i = pixel / p;
        const float x = corner[((int64_t)(at - pixel * channels) * side + i) * side + (pixel - i * p)];
        t[at] = x;
        sum += x;
    }
    if (!normalise)
        return;
    const float mean = warp_sum(sum) / (float)values;
    sum = 0.0f;
    for (int at = (int)threadIdx.x; at < values; at += 32)
        sum += (t[at] - mean) * (t[at] - mean);
    const float scale = 1.0f / sqrtf(warp_sum(sum) / (float)(values - 1) + 1e-6f);
    for (int at = (int)threadIdx.x; at < values; at += 32)
        t[at] = (t[at] - mean) * scale;
}

extern "C" vmae_status cuda_patch_target(vmae_backend *be, float *target, const float *images, int64_t batch,
                                         int64_t channels, int64_t side, int64_t p, bool normalise)
{
    if (normalise && channels * p * p < 2)
        return vmae_fail(VMAE_EUSER,
                         "patch_target: a patch of one value has no variance; use larger patches or raw pixels");
    const int64_t rows = batch * (side / p) * (side / p);
    LAUNCH(patch_target_kernel, cuda_blocks(rows, PATCH_WARPS), dim3(32, PATCH_WARPS), 0, cuda_stream(be), target,
           images, rows, (int)channels, (int)side, (int)p, normalise);
    return CUDA_LAUNCHED("patch_target_kernel");
}
