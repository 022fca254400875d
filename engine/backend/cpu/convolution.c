/* convolution.c -- two-dimensional convolutions and their gradients, channels last, on the register-blocked product of
 * attention.c.
 *
 * A row of pixels, with the zeros around it, is a matrix whose rows overlap: the pixels under one weight of the kernel
 * are `stride` pixels apart, and that is all the product needs to know. So nothing is copied out for each weight: a row
 * of results is kernel x kernel products. The same bits for any number of threads: a task writes what no other does. */
#include "engine/backend/cpu/rows.h"

typedef struct convolution_view {
    vmae_convolution_shape s;
    int64_t out_height, out_width, taps;
    int64_t pixels;                  /* of a row with its zeros */
    int64_t in_columns, out_columns; /* channels in whole vectors */
} convolution_view;

static convolution_view convolution_view_of(const vmae_convolution_shape *s)
{
    const int64_t out_width = vmae_convolved(s, s->width), reach = (out_width - 1) * s->stride + s->kernel;
    const int64_t around = s->width + 2 * s->pad;
    return (convolution_view){ .s = *s,
                               .out_height = vmae_convolved(s, s->height),
                               .out_width = out_width,
                               .taps = s->kernel * s->kernel,
                               .pixels = reach > around ? reach : around,
                               .in_columns = whole_vectors(s->in),
                               .out_columns = whole_vectors(s->out) };
}

static vmae_status convolution_check(const vmae_convolution_shape *s)
{
    if (s->batch < 1 || s->in < 1 || s->out < 1 || s->kernel < 1 || s->stride < 1 || s->pad < 0 ||
        vmae_convolved(s, s->height) < 1 || vmae_convolved(s, s->width) < 1)
        return vmae_fail(VMAE_EUSER, "a convolution of %lld x %lld pixels with a kernel of %lld has no result",
                         (long long)s->height, (long long)s->width, (long long)s->kernel);
    return VMAE_OK;
}

/* panel [taps, rows, columns] = w [out, taps, in], turned over (rows: in) or not (rows: out); zeros up to the columns.
 */
static void convolution_weights(float *panel, const void *w, const convolution_view *v, bool turned)
{
    const int64_t in = v->s.in, out = v->s.out, columns = turned ? v->out_columns : v->in_columns;
    const int64_t rows = turned ? in : out;
    memset(panel, 0, (size_t)(v->taps * rows * columns) * sizeof(float));
    for (int64_t o = 0; o < out; o++)
        for (int64_t tap = 0; tap < v->taps; tap++)
            for (int64_t from = 0; from < in; from += ROW_CHUNK) {
                float buffer[ROW_CHUNK] ALIGNED;
                const int64_t n = min_i64(ROW_CHUNK, in - from);
                const float *row = row_load(buffer, w, v->s.type, (o * v->taps + tap) * in + from, n);
                float *to = panel + tap * rows * columns + (turned ? from * columns + o : o * columns + from);
                for (int64_t i = 0; i < n; i++)
                    to[i * (turned ? columns : 1)] = row[i];
            }
}

/* Row `y` of image `n` of x, `channels` of them, to [pixels, stride] behind `pad` pixels of zeros. */
static void convolution_row(float *to, int64_t stride, const void *x, const convolution_view *v, int64_t n, int64_t y)
{
    const vmae_convolution_shape *s = &v->s;
    memset(to, 0, (size_t)(v->pixels * stride) * sizeof(float));
    for (int64_t pixel = 0; pixel < s->width; pixel++) {
        float *at = to + (s->pad + pixel) * stride;
        const float *from = row_load(at, x, s->type, ((n * s->height + y) * s->width + pixel) * s->in, s->in);
        if (from != at)
            memcpy(at, from, (size_t)s->in * sizeof(float));
    }
}

CPU_KERNEL vmae_status cpu_convolution_prepare(vmae_backend *be, const vmae_convolution_shape *shape,
                                               vmae_convolution_pass pass, size_t *workspace)
{
    (void)be, (void)pass;
    *workspace = 0; /* panels: cpu_scratch() */
    return convolution_check(shape);
}

CPU_KERNEL vmae_status cpu_convolution(vmae_backend *be, void *y, void *workspace, const void *x, const void *w,
                                       const vmae_convolution_shape *shape)
{
    (void)workspace;
    VMAE_TRY(convolution_check(shape));
    const convolution_view v = convolution_view_of(shape);
    const vmae_convolution_shape *s = &v.s;
    const int64_t columns = v.out_columns, weights = v.taps * s->in * columns;
    const int64_t row = whole_vectors(v.pixels * s->in), floats = row + v.out_width * columns;
    float *panel = cpu_scratch((size_t)(weights + be->threads * floats) * sizeof(float));
    if (!panel)
        return VMAE_ENOMEM;
    convolution_weights(panel, w, &v, true);
#pragma omp parallel for schedule(static) num_threads(be->threads)
    for (int64_t task = 0; task < s->batch * v.out_height; task++) {
        float *pixels = panel + weights + omp_get_thread_num() * floats, *result = pixels + row;
        const int64_t n = task / v.out_height, top = task % v.out_height * s->stride - s->pad;
        memset(result, 0, (size_t)(v.out_width * columns) * sizeof(float));
        for (int64_t ky = 0; ky < s->kernel; ky++) {
            if (top + ky < 0 || top + ky >= s->height)
                continue;
            convolution_row(pixels, s->in, x, &v, n, top + ky);
            for (int64_t kx = 0; kx < s->kernel; kx++)
                block_product(result, columns, (left_side){ pixels + kx * s->in, s->stride * s->in, 1 },
                              panel + (ky * s->kernel + kx) * s->in * columns, columns, v.out_width, columns, s->in,
                              true);
        }
        for (int64_t pixel = 0; pixel < v.out_width; pixel++)
            row_store(y, s->type, (task * v.out_width + pixel) * s->out, result + pixel * columns, s->out);
    }
    return VMAE_OK;
}

CPU_KERNEL vmae_status cpu_convolution_data_grad(vmae_backend *be, void *dx, void *workspace, const void *dy,
                                                 const void *w, const vmae_convolution_shape *shape)
{
    (void)workspace;
    VMAE_TRY(convolution_check(shape));
    const convolution_view v = convolution_view_of(shape);
    const vmae_convolution_shape *s = &v.s;
    const int64_t columns = v.in_columns, weights = v.taps * s->out * columns;
    const int64_t result_floats = v.pixels * columns, floats = result_floats + whole_vectors(v.out_width * s->out);
    float *panel = cpu_scratch((size_t)(weights + be->threads * floats) * sizeof(float));
    if (!panel)
        return VMAE_ENOMEM;
    convolution_weights(panel, w, &v, false);
#pragma omp parallel for schedule(static) num_threads(be->threads)
    for (int64_t task = 0; task < s->batch * s->height; task++) {
        float *result = panel + weights + omp_get_thread_num() * floats;
        const int64_t n = task / s->height, row = task % s->height + s->pad;
        memset(result, 0, (size_t)result_floats * sizeof(float));
        for (int64_t ky = 0; ky < s->kernel; ky++) {
            const int64_t from = (row - ky) / s->stride;
            if (row < ky || (row - ky) % s->stride || from >= v.out_height)
                continue;
            const float *above = row_load(result + result_floats, dy, s->type,
                                          (n * v.out_height + from) * v.out_width * s->out, v.out_width * s->out);
            for (int64_t kx = 0; kx < s->kernel; kx++)
                block_product(result + kx * columns, s->stride * columns, (left_side){ above, s->out, 1 },
                              panel + (ky * s->kernel + kx) * s->out * columns, columns, v.out_width, columns, s->out,
                              true);
        }
        for (int64_t pixel = 0; pixel < s->width; pixel++)
            row_store(dx, s->type, (task * s->width + pixel) * s->in, result + (s->pad + pixel) * columns, s->in);
    }
    return VMAE_OK;
}

/* A task has 16 filters' weights of one row of the kernel, and walks over all images. */
enum { FILTERS = 16 };

CPU_KERNEL vmae_status cpu_convolution_filter_grad(vmae_backend *be, float *dw, void *workspace, const void *dy,
                                                   const void *x, const vmae_convolution_shape *shape, bool accumulate)
{
    (void)workspace;
    VMAE_TRY(convolution_check(shape));
    const convolution_view v = convolution_view_of(shape);
    const vmae_convolution_shape *s = &v.s;
    const int64_t columns = v.in_columns, row = v.pixels * columns, above_floats = whole_vectors(v.out_width * s->out);
    const int64_t floats = row + above_floats + s->kernel * FILTERS * columns;
    const int64_t groups = (s->out + FILTERS - 1) / FILTERS;
    float *scratch = cpu_scratch((size_t)(be->threads * floats) * sizeof(float));
    if (!scratch)
        return VMAE_ENOMEM;
#pragma omp parallel for schedule(static) num_threads(be->threads)
    for (int64_t task = 0; task < s->kernel * groups; task++) {
        float *pixels = scratch + omp_get_thread_num() * floats, *buffer = pixels + row, *sum = buffer + above_floats;
        const int64_t ky = task / groups, first = task % groups * FILTERS, filters = min_i64(FILTERS, s->out - first);
        memset(sum, 0, (size_t)(s->kernel * FILTERS * columns) * sizeof(float));
        for (int64_t at = 0; at < s->batch * v.out_height; at++) {
            const int64_t from = at % v.out_height * s->stride - s->pad + ky;
            if (from < 0 || from >= s->height)
                continue;
            convolution_row(pixels, columns, x, &v, at / v.out_height, from);
            const float *above = row_load(buffer, dy, s->type, at * v.out_width * s->out, v.out_width * s->out);
            for (int64_t kx = 0; kx < s->kernel; kx++)
                block_product(sum + kx * FILTERS * columns, columns, (left_side){ above + first, 1, s->out },
                              pixels + kx * columns, s->stride * columns, filters, columns, v.out_width, true);
        }
        for (int64_t o = 0; o < filters; o++)
            for (int64_t kx = 0; kx < s->kernel; kx++) {
                float *to = dw + ((first + o) * v.taps + ky * s->kernel + kx) * s->in;
                const float *part = sum + (kx * FILTERS + o) * columns;
                for (int64_t i = 0; i < s->in; i++)
                    to[i] = accumulate ? to[i] + part[i] : part[i];
            }
    }
    return VMAE_OK;
}
