/* convolution.cu -- two-dimensional convolutions, channels last. cuDNN's plans compute them (convolution_cudnn.c); the
 * kernels here do where cuDNN has no plan, one result a thread or a block, and bring a filter's gradient to f32. */
#include "engine/backend/cuda/convolution.h"
#include "engine/backend/cuda/cudnn_open.h"
#include "engine/backend/cuda/device.cuh"

enum { CONVOLUTION_THREADS = 128 };

struct convolution_view {
    int64_t batch, height, width, in, out, out_height, out_width;
    int kernel, stride, pad;
};

/* The sum over channels of one weight's pixels: a chain of its own, so that no sum is longer than a row of channels. */
template <class T>
static __device__ __forceinline__ float dot(const T *a, int64_t a_step, const T *b, int64_t b_step, int64_t count)
{
    float sum = 0.0f;
    for (int64_t i = 0; i < count; i++)
        sum = fmaf(to_float(a[i * a_step]), to_float(b[i * b_step]), sum);
    return sum;
}

/* y[n, oy, ox, o] = sum over ky, kx, c of x[n, oy stride - pad + ky, ox stride - pad + kx, c] w[o, ky, kx, c]. */
template <class T>
__global__ void __launch_bounds__(CONVOLUTION_THREADS)
    convolution_kernel(T *y, const T *x, const T *w, convolution_view v)
{
    const int64_t at = (int64_t)blockIdx.x * CONVOLUTION_THREADS + threadIdx.x;
    if (at >= v.batch * v.out_height * v.out_width * v.out)
        return;
    const int64_t o = at % v.out, pixel = at / v.out, ox = pixel % v.out_width, oy = pixel / v.out_width % v.out_height;
    const int64_t n = pixel / v.out_width / v.out_height;
    float sum = 0.0f;
    for (int ky = 0; ky < v.kernel; ky++)
        for (int kx = 0; kx < v.kernel; kx++) {
            const int64_t iy = oy * v.stride - v.pad + ky, ix = ox * v.stride - v.pad + kx;
            if (iy >= 0 && iy < v.height && ix >= 0 && ix < v.width)
                sum += dot(x + ((n * v.height + iy) * v.width + ix) * v.in, 1,
                           w + ((o * v.kernel + ky) * v.kernel + kx) * v.in, 1, v.in);
        }
    y[at] = from_float<T>(sum);
}

/* dx[n, iy, ix, c] = sum over o and the ky, kx that reach it of dy[n, oy, ox, o] w[o, ky, kx, c]. */
template <class T>
__global__ void __launch_bounds__(CONVOLUTION_THREADS)
    convolution_data_grad_kernel(T *dx, const T *dy, const T *w, convolution_view v)
{
    const int64_t at = (int64_t)blockIdx.x * CONVOLUTION_THREADS + threadIdx.x;
    if (at >= v.batch * v.height * v.width * v.in)
        return;
    const int64_t c = at % v.in, pixel = at / v.in, ix = pixel % v.width, iy = pixel / v.width % v.height;
    const int64_t n = pixel / v.width / v.height, filter = (int64_t)v.kernel * v.kernel * v.in;
    float sum = 0.0f;
    for (int ky = 0; ky < v.kernel; ky++)
        for (int kx = 0; kx < v.kernel; kx++) {
            const int64_t down = iy + v.pad - ky, right = ix + v.pad - kx, oy = down / v.stride, ox = right / v.stride;
            if (down >= 0 && right >= 0 && down % v.stride == 0 && right % v.stride == 0 && oy < v.out_height &&
                ox < v.out_width)
                sum += dot(dy + ((n * v.out_height + oy) * v.out_width + ox) * v.out, 1,
                           w + ((int64_t)ky * v.kernel + kx) * v.in + c, filter, v.out);
        }
    dx[at] = from_float<T>(sum);
}

/* dw[o, ky, kx, c] (+)= sum over all pixels of dy x. One block a weight: its threads share the pixels. */
template <class T>
__global__ void __launch_bounds__(CONVOLUTION_THREADS)
    convolution_filter_grad_kernel(float *dw, const T *dy, const T *x, convolution_view v, bool accumulate)
{
    __shared__ float shared[CONVOLUTION_THREADS / 32];
    const int64_t at = blockIdx.x, c = at % v.in, tap = at / v.in;
    const int kx = (int)(tap % v.kernel), ky = (int)(tap / v.kernel % v.kernel);
    const int64_t o = tap / v.kernel / v.kernel;
    float sum = 0.0f;
    for (int64_t pixel = threadIdx.x; pixel < v.batch * v.out_height * v.out_width; pixel += CONVOLUTION_THREADS) {
        const int64_t ox = pixel % v.out_width, oy = pixel / v.out_width % v.out_height;
        const int64_t iy = oy * v.stride - v.pad + ky, ix = ox * v.stride - v.pad + kx;
        if (iy >= 0 && iy < v.height && ix >= 0 && ix < v.width)
            sum = fmaf(to_float(dy[pixel * v.out + o]),
                       to_float(x[((pixel / v.out_width / v.out_height * v.height + iy) * v.width + ix) * v.in + c]),
                       sum);
    }
    sum = block_sum<CONVOLUTION_THREADS>(sum, shared);
    if (threadIdx.x == 0)
        dw[at] = accumulate ? dw[at] + sum : sum;
}

/* dw (+)= what cuDNN made, of the activations' type. */
template <class T>
__global__ void __launch_bounds__(CONVOLUTION_THREADS)
    take_filter_grad_kernel(float *dw, const T *made, int64_t n, bool accumulate)
{
    const int64_t at = (int64_t)blockIdx.x * CONVOLUTION_THREADS + threadIdx.x;
    if (at < n)
        dw[at] = accumulate ? dw[at] + to_float(made[at]) : to_float(made[at]);
}

/* ---- the entries of the table ---- */

static convolution_view view_of(const vmae_convolution_shape *s)
{
    return convolution_view{ s->batch,
                             s->height,
                             s->width,
                             s->in,
                             s->out,
                             vmae_convolved(s, s->height),
                             vmae_convolved(s, s->width),
                             (int)s->kernel,
                             (int)s->stride,
                             (int)s->pad };
}

static int64_t filter_count(const vmae_convolution_shape *s)
{
    return s->out * s->kernel * s->kernel * s->in;
}

static vmae_status check_shape(const vmae_convolution_shape *s)
{
    if (s->batch < 1 || s->in < 1 || s->out < 1 || s->kernel < 1 || s->stride < 1 || s->pad < 0 ||
        vmae_convolved(s, s->height) < 1 || vmae_convolved(s, s->width) < 1)
        return vmae_fail(VMAE_EUSER, "a convolution of %lld x %lld pixels with a kernel of %lld has no result",
                         (long long)s->height, (long long)s->width, (long long)s->kernel);
    return VMAE_OK;
}

/* The plan's workspace, and in front of it the filter's gradient before it goes to dw. */
static size_t made_bytes(const vmae_convolution_shape *s, vmae_convolution_pass pass)
{
    return pass == VMAE_CONVOLUTION_FILTER ? cudnn_aligned((size_t)filter_count(s) * vmae_type_size(s->type)) : 0;
}

vmae_status cuda_convolution_prepare(vmae_backend *be, const vmae_convolution_shape *shape, vmae_convolution_pass pass,
                                     size_t *workspace)
{
    size_t bytes = 0;
    VMAE_TRY(check_shape(shape));
    VMAE_TRY(cuda_convolution_plan_new(be, shape, pass, &bytes));
    const bool planned = cuda_convolution_planned(be, shape, pass) != NULL;
    *workspace = planned ? CUDNN_ALIGNMENT + made_bytes(shape, pass) + bytes : 0;
    return VMAE_OK;
}

vmae_status cuda_convolution(vmae_backend *be, void *y, void *workspace, const void *x, const void *w,
                             const vmae_convolution_shape *shape)
{
    VMAE_TRY(check_shape(shape));
    const cuda_convolution_plan *plan = cuda_convolution_planned(be, shape, VMAE_CONVOLUTION);
    if (plan)
        return cuda_convolution_execute(be, plan, cudnn_place(workspace), (void *)x, (void *)w, y);
    const convolution_view v = view_of(shape);
    const int blocks = cuda_blocks(v.batch * v.out_height * v.out_width * v.out, CONVOLUTION_THREADS);
    WITH_TYPE(shape->type, T,
              LAUNCH((convolution_kernel<T>), dim3(blocks), dim3(CONVOLUTION_THREADS), 0, cuda_stream(be), (T *)y,
                     (const T *)x, (const T *)w, v));
    return CUDA_LAUNCHED("convolution_kernel");
}

vmae_status cuda_convolution_data_grad(vmae_backend *be, void *dx, void *workspace, const void *dy, const void *w,
                                       const vmae_convolution_shape *shape)
{
    VMAE_TRY(check_shape(shape));
    const cuda_convolution_plan *plan = cuda_convolution_planned(be, shape, VMAE_CONVOLUTION_DATA);
    if (plan)
        return cuda_convolution_execute(be, plan, cudnn_place(workspace), dx, (void *)w, (void *)dy);
    const convolution_view v = view_of(shape);
    const int blocks = cuda_blocks(v.batch * v.height * v.width * v.in, CONVOLUTION_THREADS);
    WITH_TYPE(shape->type, T,
              LAUNCH((convolution_data_grad_kernel<T>), dim3(blocks), dim3(CONVOLUTION_THREADS), 0, cuda_stream(be),
                     (T *)dx, (const T *)dy, (const T *)w, v));
    return CUDA_LAUNCHED("convolution_data_grad_kernel");
}

vmae_status cuda_convolution_filter_grad(vmae_backend *be, float *dw, void *workspace, const void *dy, const void *x,
                                         const vmae_convolution_shape *shape, bool accumulate)
{
    VMAE_TRY(check_shape(shape));
    const cuda_convolution_plan *plan = cuda_convolution_planned(be, shape, VMAE_CONVOLUTION_FILTER);
    const int64_t n = filter_count(shape);
    if (plan) {
        char *made = cudnn_place(workspace);
        VMAE_TRY(cuda_convolution_execute(be, plan, made + made_bytes(shape, VMAE_CONVOLUTION_FILTER), (void *)x, made,
                                          (void *)dy));
        WITH_TYPE(shape->type, T,
                  LAUNCH((take_filter_grad_kernel<T>), dim3(cuda_blocks(n, CONVOLUTION_THREADS)),
                         dim3(CONVOLUTION_THREADS), 0, cuda_stream(be), dw, (const T *)made, n, accumulate));
        return CUDA_LAUNCHED("take_filter_grad_kernel");
    }
    const convolution_view v = view_of(shape);
    WITH_TYPE(shape->type, T,
              LAUNCH((convolution_filter_grad_kernel<T>), dim3(cuda_blocks(n, 1)), dim3(CONVOLUTION_THREADS), 0,
                     cuda_stream(be), dw, (const T *)dy, (const T *)x, v, accumulate));
    return CUDA_LAUNCHED("convolution_filter_grad_kernel");
}
