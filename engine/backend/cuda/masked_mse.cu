/* masked_mse.cu -- row[r] = mask[r] mean_i (pred[r,i] - target[r,i])^2; loss = sum row / sum mask. */
#include "engine/backend/cuda/device.cuh"

enum { MSE_WARPS = 8, MSE_THREADS = 1024 };

template <class T>
static __global__ void masked_mse_kernel(float *row, const T *pred, const float *target, const float *mask,
                                         int64_t rows, int64_t skip, int64_t patches, int64_t p)
{
    const int64_t r = (int64_t)blockIdx.x * MSE_WARPS + threadIdx.y;
    if (r >= rows)
        return;
    const T *x = pred + (r / patches * (skip + patches) + skip + r % patches) * p;
    const float *t = target + r * p;
    float sum = 0.0f;
    for (int64_t i = threadIdx.x; mask[r] != 0.0f && i < p; i += 32)
        sum += (to_float(x[i]) - t[i]) * (to_float(x[i]) - t[i]);
    sum = warp_sum(sum);
    if (threadIdx.x == 0)
        row[r] = mask[r] * sum / (float)p;
}

static __device__ __forceinline__ float masked_mse_removed(const float *mask, int64_t rows, float *shared)
{
    float removed = 0.0f;
    for (int64_t r = threadIdx.x; r < rows; r += MSE_THREADS)
        removed += mask[r];
    return block_sum<MSE_THREADS>(removed, shared);
}

static __global__ void masked_mse_loss_kernel(float *loss, cuda_fault *fault, const float *row, const float *mask,
                                              int64_t rows)
{
    __shared__ float shared[MSE_THREADS / 32];
    const float removed = masked_mse_removed(mask, rows, shared);
    float sum = 0.0f;
    for (int64_t r = threadIdx.x; r < rows; r += MSE_THREADS)
        sum += row[r];
    sum = block_sum<MSE_THREADS>(sum, shared);
    if (threadIdx.x != 0)
        return;
    if (removed > 0.0f)
        *loss = sum / removed;
    else
        atomicCAS(&fault->code, (int32_t)CUDA_REFUSES_NOTHING, (int32_t)CUDA_REFUSES_MASK);
}

extern "C" vmae_status cuda_masked_mse(vmae_backend *be, float *loss, float *row, const void *pred, const float *target,
                                       const float *mask, vmae_type type, int64_t batch, int64_t skip, int64_t patches,
                                       int64_t p)
{
    const int64_t rows = batch * patches;
    WITH_TYPE(type, T,
              LAUNCH((masked_mse_kernel<T>), cuda_blocks(rows, MSE_WARPS), dim3(32, MSE_WARPS), 0, cuda_stream(be), row,
                     (const T *)pred, target, mask, rows, skip, patches, p));
    VMAE_TRY(CUDA_LAUNCHED("masked_mse_kernel"));
    LAUNCH(masked_mse_loss_kernel, 1, MSE_THREADS, 0, cuda_stream(be), loss, cuda_self(be)->fault, row, mask, rows);
    return CUDA_LAUNCHED("masked_mse_loss_kernel");
}

/* Every block adds up the mask for itself. */
template <class T>
static __global__ void masked_mse_grad_kernel(T *dpred, cuda_fault *fault, const float *dloss, const T *pred,
                                              const float *target, const float *mask, int64_t tokens, int64_t skip,
                                              int64_t patches, int64_t rows, int64_t p)
{
    __shared__ float shared[MSE_THREADS / 32];
    const float removed = masked_mse_removed(mask, rows, shared);
    if (!(removed > 0.0f) && threadIdx.x == 0)
        atomicCAS(&fault->code, (int32_t)CUDA_REFUSES_NOTHING, (int32_t)CUDA_REFUSES_MASK);
    const float scale = 2.0f * *dloss / (removed * (float)p);
    for (int64_t token = blockIdx.x; token < tokens; token += gridDim.x) {
        const int64_t l = token % (skip + patches) - skip, r = token / (skip + patches) * patches + l;
        const float weight = l < 0 || mask[r] == 0.0f ? 0.0f : mask[r] * scale;
        for (int64_t i = threadIdx.x; i < p; i += MSE_THREADS) {
            const float g = weight == 0.0f ? 0.0f : weight * (to_float(pred[token * p + i]) - target[r * p + i]);
            dpred[token * p + i] = from_float<T>(g);
        }
    }
}

extern "C" vmae_status cuda_masked_mse_grad(vmae_backend *be, void *dpred, const float *dloss, const void *pred,
                                            const float *target, const float *mask, vmae_type type, int64_t batch,
                                            int64_t skip, int64_t patches, int64_t p)
{
    const int64_t tokens = batch * (skip + patches);
    const int blocks = tokens < be->sum_blocks ? cuda_blocks(tokens, 1) : be->sum_blocks;
    WITH_TYPE(type, T,
              LAUNCH((masked_mse_grad_kernel<T>), blocks, MSE_THREADS, 0, cuda_stream(be), (T *)dpred,
                     cuda_self(be)->fault, dloss, (const T *)pred, target, mask, tokens, skip, patches, batch * patches,
                     p));
    return CUDA_LAUNCHED("masked_mse_grad_kernel");
}
