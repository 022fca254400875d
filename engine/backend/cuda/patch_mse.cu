/* patch_mse.cu -- the reconstruction loss: mask[r] mean_i (pred[r,i] - target[r,i])^2, summed over patches, over sum
 * mask. A target is a patch of an image, cut out and normalised in shared memory: in global memory it never is.
 *
 * A warp a patch. Lines of the patch come in as they lie in the image, plane after plane; they are read back with the
 * channel fastest, as pred has it. */
#include "engine/backend/cuda/device.cuh"

enum { PATCH_WARPS = 8, PATCH_SHARED = 47 * 1024, SUM_THREADS = 1024 };

/* pitch: floats between two planes in shared memory; a few more than a plane, so that the channels of a pixel lie in
 * different banks, and a multiple of 4 for 16-byte stores. */
typedef struct patch_shape {
    int channels, side, p, patches, values, pitch;
} patch_shape;

/* Copies patch l of an image to `planes` [channels, pitch] (a warp's own); returns the sum of what this lane copied.
 * PIXELS (they divide p) at a time. */
template <int PIXELS>
static __device__ __forceinline__ float patch_load(float *planes, const float *images, const patch_shape &s, int64_t r)
{
    const int64_t b = r / s.patches;
    const int l = (int)(r % s.patches), grid = s.side / s.p;
    const float *corner = images + (b * s.channels * s.side + l / grid * s.p) * s.side + l % grid * s.p;
    float sum = 0.0f;
#pragma unroll 4
    for (int at = (int)threadIdx.x * PIXELS; at < s.values; at += 32 * PIXELS) {
        const int line = at / s.p, column = at - line * s.p, c = line / s.p, i = line - c * s.p;
        float x[PIXELS], part = 0.0f;
        load_n<PIXELS>(x, corner + ((int64_t)c * s.side + i) * s.side + column);
        store_n<PIXELS>(planes + c * s.pitch + i * s.p + column, x);
#pragma unroll
        for (int k = 0; k < PIXELS; k++)
            part += x[k];
        sum += part;
    }
    __syncwarp();
    return sum;
}

/* mean and 1/sqrt(var + 1e-6) of the warp's patch, the variance unbiased. */
static __device__ __forceinline__ float2 patch_measure(const float *planes, const patch_shape &s, float sum)
{
    const float mean = warp_sum(sum) / (float)s.values;
    const int plane = s.p * s.p;
    float squares = 0.0f;
    for (int c = 0; c < s.channels; c++)
        for (int i = (int)threadIdx.x; i < plane; i += 32) {
            const float x = planes[c * s.pitch + i] - mean;
            squares += x * x;
        }
    return make_float2(mean, 1.0f / sqrtf(warp_sum(squares) / (float)(s.values - 1) + 1e-6f));
}

/* x[k] -= target[at + k]. */
template <int W>
static __device__ __forceinline__ void patch_subtract(float (&x)[W], const float *planes, const patch_shape &s, int at,
                                                      float2 stats)
{
    const int pixel = at / s.channels;
    int c = at - pixel * s.channels;
    const float *t = planes + c * s.pitch + pixel;
#pragma unroll
    for (int k = 0; k < W; k++) {
        x[k] -= (*t - stats.x) * stats.y;
        t += s.pitch;
        if (++c == s.channels) { /* the next pixel */
            c = 0;
            t += 1 - s.channels * s.pitch;
        }
    }
}

/* part[block] = (sum of the losses of its patches, sum of their mask); stats as backend.h has them. */
template <int PIXELS, int W, class T>
static __global__ void patch_mse_kernel(float2 *part, float2 *stats, const T *pred, const float *images,
                                        const float *mask, patch_shape s, int64_t rows, int skip, bool normalise)
{
    DYNAMIC_SHARED(float, shared);
    __shared__ float2 own[PATCH_WARPS];
    const int64_t r = (int64_t)blockIdx.x * blockDim.y + threadIdx.y;
    const float weight = r < rows ? mask[r] : 0.0f;
    float2 measured = make_float2(0.0f, 0.0f);
    float sum = 0.0f;
    if (weight != 0.0f) {
        float *planes = shared + threadIdx.y * (s.channels * s.pitch);
        const float total = patch_load<PIXELS>(planes, images, s, r);
        measured = normalise ? patch_measure(planes, s, total) : make_float2(0.0f, 1.0f);
        const T *from = pred + (r / s.patches * (skip + s.patches) + skip + r % s.patches) * s.values;
#pragma unroll 4
        for (int at = (int)threadIdx.x * W; at < s.values; at += 32 * W) {
            float x[W], squares = 0.0f;
            load_n<W>(x, from + at);
            patch_subtract(x, planes, s, at, measured);
#pragma unroll
            for (int k = 0; k < W; k++)
                squares += x[k] * x[k];
            sum += squares;
        }
        sum = weight * warp_sum(sum) / (float)s.values;
    }
    if (threadIdx.x == 0) {
        own[threadIdx.y] = make_float2(sum, weight);
        if (r < rows)
            stats[r] = measured;
    }
    __syncthreads();
    if (threadIdx.x != 0 || threadIdx.y != 0)
        return;
    float2 all = own[0];
    for (int w = 1; w < (int)blockDim.y; w++) {
        all.x += own[w].x;
        all.y += own[w].y;
    }
    part[blockIdx.x] = all;
}

static __device__ void refuse_mask(cuda_fault *fault)
{
    atomicCAS(&fault->code, (int32_t)CUDA_REFUSES_NOTHING, (int32_t)CUDA_REFUSES_MASK);
}

/* One block adds the parts up. */
static __global__ void patch_mse_loss_kernel(float *loss, float *removed, cuda_fault *fault, const float2 *part,
                                             int parts)
{
    __shared__ float shared[SUM_THREADS / 32];
    float sum = 0.0f, weights = 0.0f;
#pragma unroll 4
    for (int i = (int)threadIdx.x; i < parts; i += SUM_THREADS) {
        sum += part[i].x;
        weights += part[i].y;
    }
    sum = block_sum<SUM_THREADS>(sum, shared);
    weights = block_sum<SUM_THREADS>(weights, shared);
    if (threadIdx.x != 0)
        return;
    *removed = weights;
    if (weights > 0.0f)
        *loss = sum / weights;
    else
        refuse_mask(fault);
}

/* A warp a token; dpred = weight (pred - target), zeros where the weight is 0 and in class tokens. */
template <int PIXELS, int W, class T>
static __global__ void patch_mse_grad_kernel(T *dpred, cuda_fault *fault, const float *dloss, const T *pred,
                                             const float *images, const float *mask, const float2 *stats, patch_shape s,
                                             int64_t rows, int64_t tokens, int skip)
{
    DYNAMIC_SHARED(float, shared);
    const int64_t token = (int64_t)blockIdx.x * blockDim.y + threadIdx.y;
    if (token >= tokens)
        return; /* whole warps leave together, and no barrier of the block follows */
    const float removed = reinterpret_cast<const float *>(stats)[2 * rows];
    if (!(removed > 0.0f) && token == 0 && threadIdx.x == 0)
        refuse_mask(fault);
    const int64_t b = token / (skip + s.patches), r = b * s.patches + token % (skip + s.patches) - skip;
    const float kept = r < b * s.patches ? 0.0f : mask[r];
    const float weight = kept == 0.0f ? 0.0f : kept * (2.0f * *dloss / (removed * (float)s.values));
    const T *from = pred + token * s.values;
    T *to = dpred + token * s.values;
    if (weight == 0.0f) {
        const float zeros[W] = {};
        for (int at = (int)threadIdx.x * W; at < s.values; at += 32 * W)
            store_n<W>(to + at, zeros);
        return;
    }
    float *planes = shared + threadIdx.y * (s.channels * s.pitch);
    (void)patch_load<PIXELS>(planes, images, s, r);
    const float2 measured = stats[r];
#pragma unroll 4
    for (int at = (int)threadIdx.x * W; at < s.values; at += 32 * W) {
        float x[W];
        load_n<W>(x, from + at);
        patch_subtract(x, planes, s, at, measured);
#pragma unroll
        for (int k = 0; k < W; k++)
            x[k] *= weight;
        store_n<W>(to + at, x);
    }
}

/* ---- launchers ---- */

static patch_shape patch_shape_of(int64_t channels, int64_t side, int64_t p)
{
    patch_shape s = { (int)channels, (int)side, (int)p, (int)((side / p) * (side / p)), (int)(channels * p * p), 0 };
    s.pitch = (s.p * s.p + 3) / 4 * 4 + 12;
    return s;
}

static int patch_bytes(const patch_shape &s)
{
    return s.channels * s.pitch * (int)sizeof(float);
}

/* Warps whose patches fit into a block's shared memory; 0 if none does, with a sentence. */
static int patch_warps(const patch_shape &s)
{
    const int warps = PATCH_SHARED / patch_bytes(s);
    if (warps == 0)
        (void)vmae_fail(VMAE_EUSER,
                        "patch_mse: a patch of %d x %d x %d values does not fit into a GPU's shared memory; "
                        "use smaller patches",
                        s.p, s.p, s.channels);
    return warps < PATCH_WARPS ? warps : (int)PATCH_WARPS;
}

/* Runs the statement with PIXELS and W: what an image's lines and pred's rows allow a lane to take at once. */
#define WITH_PATCH(s, T, ...)                                                                                          \
    do {                                                                                                               \
        if ((s).p % 4 == 0) {                                                                                          \
            constexpr int PIXELS = 4, W = vector<T>::width;                                                            \
            __VA_ARGS__;                                                                                               \
        } else if ((s).values % 4 == 0) {                                                                              \
            constexpr int PIXELS = 1, W = 4;                                                                           \
            __VA_ARGS__;                                                                                               \
        } else {                                                                                                       \
            constexpr int PIXELS = 1, W = 1;                                                                           \
            __VA_ARGS__;                                                                                               \
        }                                                                                                              \
    } while (0)

extern "C" vmae_status cuda_patch_mse(vmae_backend *be, float *loss, float *stats, float *scratch, const void *pred,
                                      const float *images, const float *mask, vmae_type type, int64_t batch,
                                      int64_t skip, int64_t channels, int64_t side, int64_t p, bool normalise)
{
    if (normalise && channels * p * p < 2)
        return vmae_fail(VMAE_EUSER,
                         "patch_mse: a patch of one value has no variance; use larger patches or raw pixels");
    const patch_shape s = patch_shape_of(channels, side, p);
    const int64_t rows = batch * s.patches;
    const int warps = patch_warps(s);
    if (warps == 0)
        return VMAE_EUSER;
    const int blocks = cuda_blocks(rows, warps);
    WITH_TYPE(type, T,
              WITH_PATCH(s, T,
                         LAUNCH((patch_mse_kernel<PIXELS, W, T>), blocks, dim3(32, warps), warps * patch_bytes(s),
                                cuda_stream(be), (float2 *)scratch, (float2 *)stats, (const T *)pred, images, mask, s,
                                rows, (int)skip, normalise)));
    VMAE_TRY(CUDA_LAUNCHED("patch_mse_kernel"));
    LAUNCH(patch_mse_loss_kernel, 1, SUM_THREADS, 0, cuda_stream(be), loss, stats + 2 * rows, cuda_self(be)->fault,
           (const float2 *)scratch, blocks);
    return CUDA_LAUNCHED("patch_mse_loss_kernel");
}

extern "C" vmae_status cuda_patch_mse_grad(vmae_backend *be, void *dpred, const float *dloss, const void *pred,
                                           const float *images, const float *mask, const float *stats, vmae_type type,
                                           int64_t batch, int64_t skip, int64_t channels, int64_t side, int64_t p)
{
    const patch_shape s = patch_shape_of(channels, side, p);
    const int64_t rows = batch * s.patches, tokens = batch * (skip + s.patches);
    const int warps = patch_warps(s);
    if (warps == 0)
        return VMAE_EUSER;
    WITH_TYPE(type, T,
              WITH_PATCH(s, T,
                         LAUNCH((patch_mse_grad_kernel<PIXELS, W, T>), cuda_blocks(tokens, warps), dim3(32, warps),
                                warps * patch_bytes(s), cuda_stream(be), (T *)dpred, cuda_self(be)->fault, dloss,
                                (const T *)pred, images, mask, (const float2 *)stats, s, rows, tokens, (int)skip)));
    return CUDA_LAUNCHED("patch_mse_grad_kernel");
}
