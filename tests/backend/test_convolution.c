/* test_convolution.c -- convolutions and their gradients against double precision. */
#include "tests/backend/kernel_values.h"

typedef struct convolution_case {
    vmae_convolution_shape s;
    double *x, *w, *dy;
} convolution_case;

/* All three walk over the same terms: y += x w, dx += dy w, dw += dy x; the others NULL. */
static void convolution_reference(const convolution_case *c, double *y, double *dx, double *dw)
{
    const vmae_convolution_shape *s = &c->s;
    const int64_t height = vmae_convolved(s, s->height), width = vmae_convolved(s, s->width);
    for (int64_t pixel = 0; pixel < s->batch * height * width; pixel++)
        for (int64_t tap = 0; tap < s->kernel * s->kernel; tap++) {
            const int64_t row = pixel / width % height * s->stride - s->pad + tap / s->kernel;
            const int64_t column = pixel % width * s->stride - s->pad + tap % s->kernel;
            if (row < 0 || row >= s->height || column < 0 || column >= s->width)
                continue;
            const int64_t from = ((pixel / width / height * s->height + row) * s->width + column) * s->in;
            for (int64_t o = 0; o < s->out; o++)
                for (int64_t i = 0; i < s->in; i++) {
                    const int64_t of_w = (o * s->kernel * s->kernel + tap) * s->in + i, of_y = pixel * s->out + o;
                    if (y)
                        y[of_y] += c->x[from + i] * c->w[of_w];
                    if (dx)
                        dx[from + i] += c->dy[of_y] * c->w[of_w];
                    if (dw)
                        dw[of_w] += c->dy[of_y] * c->x[from + i];
                }
        }
}

static void *workspace_of(vmae_backend *be, const vmae_convolution_shape *shape, vmae_convolution_pass pass)
{
    size_t bytes = 0;
    kernel_called(offsetof(vmae_kernels, convolution_prepare));
    CHECK_OK(be->kernels->convolution_prepare(be, shape, pass, &bytes));
    return bytes ? grab(bytes) : NULL;
}

static void check_case(vmae_backend *be, const vmae_convolution_shape *s)
{
    const int64_t pixels = s->batch * vmae_convolved(s, s->height) * vmae_convolved(s, s->width);
    const int64_t of_x = s->batch * s->height * s->width * s->in, of_w = s->out * s->kernel * s->kernel * s->in;
    const tensor x = tensor_random(s->type, of_x, -1.0, 1.0, 71), w = tensor_random(s->type, of_w, -1.0, 1.0, 72);
    const tensor dy = tensor_random(s->type, pixels * s->out, -1.0, 1.0, 73);
    const tensor y = tensor_new(s->type, pixels * s->out), dx = tensor_new(s->type, of_x);
    const tensor dw = tensor_new(VMAE_F32, of_w), added = tensor_random(VMAE_F32, of_w, -1.0, 1.0, 74);
    const convolution_case c = { *s, doubles(x), doubles(w), doubles(dy) };
    double *y_expected = doubles_new(y.n), *dx_expected = doubles_new(of_x), *dw_expected = doubles_new(of_w);
    double *added_expected = doubles(added);
    void *forward = workspace_of(be, s, VMAE_CONVOLUTION), *data = workspace_of(be, s, VMAE_CONVOLUTION_DATA);
    void *filter = workspace_of(be, s, VMAE_CONVOLUTION_FILTER);
    RUN(be, convolution, OUT(y.data), SCRATCH(forward), IN(x.data), IN(w.data), s);
    RUN(be, convolution_data_grad, OUT(dx.data), SCRATCH(data), IN(dy.data), IN(w.data), s);
    RUN(be, convolution_filter_grad, OUT(dw.data), SCRATCH(filter), IN(dy.data), IN(x.data), s, false);
    RUN(be, convolution_filter_grad, OUT(added.data), SCRATCH(filter), IN(dy.data), IN(x.data), s, true);
    convolution_reference(&c, y_expected, dx_expected, dw_expected);
    for (int64_t i = 0; i < of_w; i++)
        added_expected[i] += dw_expected[i];
    const double terms = 1e-6 * (double)(s->kernel * s->kernel * (s->in > s->out ? s->in : s->out));
    double sums = 1e-6 * (double)pixels;
    if (s->type == VMAE_BF16 && !vmae_test_on_cpu()) /* a filter's gradient may be rounded on its way */
        sums += 0x1p-8 * largest(dw_expected, of_w);
    tensor_near(y, y_expected, terms, "y");
    tensor_near(dx, dx_expected, terms, "dx");
    tensor_near(dw, dw_expected, sums, "dw");
    tensor_near(added, added_expected, sums, "dw, accumulated");
    release_all();
}

static void check_sizes(vmae_backend *be, vmae_type type)
{
    check_case(be, &(vmae_convolution_shape){ type, 1, 1, 1, 1, 1, 1, 1, 0 });
    check_case(be, &(vmae_convolution_shape){ type, 2, 5, 7, 3, 5, 3, 1, 1 }); /* odd channels */
    check_case(be, &(vmae_convolution_shape){ type, 1, 9, 6, 8, 24, 3, 2, 1 });
    check_case(be, &(vmae_convolution_shape){ type, 2, 6, 6, 3, 16, 3, 3, 0 });  /* patches */
    check_case(be, &(vmae_convolution_shape){ type, 1, 7, 8, 16, 8, 2, 3, 0 });  /* pixels that nobody reads */
    check_case(be, &(vmae_convolution_shape){ type, 1, 4, 3, 40, 17, 1, 1, 0 }); /* a product */
    check_case(be, &(vmae_convolution_shape){ type, 1, 3, 3, 8, 8, 5, 1, 2 });   /* a kernel wider than the image */
}
TEST(convolutions_and_their_gradients_match)
{
    on_every_backend_and_type(check_sizes);
}

static void check_nothing_left(vmae_backend *be)
{
    const vmae_convolution_shape s = { VMAE_F32, 1, 4, 4, 8, 8, 5, 1, 0 };
    size_t bytes = 0;
    CHECK_FAILS(be->kernels->convolution_prepare(be, &s, VMAE_CONVOLUTION, &bytes), VMAE_EUSER, "4 x 4 pixels");
}
TEST(a_convolution_that_has_no_result_is_refused)
{
    on_one_backend(check_nothing_left);
}
