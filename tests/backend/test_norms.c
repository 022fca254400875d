/* test_norms.c -- LayerNorm and BatchNorm against double precision. */
#include "tests/backend/kernel_values.h"

static const struct {
    int64_t rows, d;
} shapes[] = { { 1, 1 },     { 5, 3 },    { 31, 1 },  { 2, 1031 },  { 37, 768 },
               { 101, 197 }, { 7, 2503 }, { 9, 200 }, { 19, 1024 }, { 3, 1280 } };
enum { SHAPES = sizeof shapes / sizeof *shapes };

/* ---- LayerNorm ---- */

typedef struct norm_case {
    double *x, *weight, *bias, *dy;
    int64_t rows, d;
    double eps;
} norm_case;

static void norm_reference(double *y, double *mean, double *rstd, const norm_case *c)
{
    for (int64_t r = 0; r < c->rows; r++) {
        const double *x = c->x + r * c->d;
        double sum = 0.0, squares = 0.0;
        for (int64_t i = 0; i < c->d; i++)
            sum += x[i];
        mean[r] = sum / (double)c->d;
        for (int64_t i = 0; i < c->d; i++)
            squares += (x[i] - mean[r]) * (x[i] - mean[r]);
        rstd[r] = 1.0 / sqrt(squares / (double)c->d + c->eps);
        for (int64_t i = 0; i < c->d; i++)
            y[r * c->d + i] = (x[i] - mean[r]) * rstd[r] * c->weight[i] + c->bias[i];
    }
}

/* sum dy y: its derivatives are the gradients. */
static double norm_loss(const void *context)
{
    const norm_case *c = context;
    static double y[40000], mean[128], rstd[128];
    double loss = 0.0;
    norm_reference(y, mean, rstd, c);
    for (int64_t i = 0; i < c->rows * c->d; i++)
        loss += c->dy[i] * y[i];
    return loss;
}

static void check_layer_norm(vmae_backend *be, vmae_type type)
{
    for (int s = 0; s < SHAPES; s++) {
        const int64_t rows = shapes[s].rows, d = shapes[s].d, n = rows * d;
        const double base = s % 2 ? 30.0 : 0.0;
        const tensor x = tensor_random(type, n, base - 2.0, base + 2.0, 61), dy = tensor_random(type, n, -1.0, 1.0, 62);
        const tensor weight = tensor_random(VMAE_F32, d, 0.5, 1.5, 63),
                     bias = tensor_random(VMAE_F32, d, -1.0, 1.0, 64);
        const tensor add = tensor_random(type, n, -1.0, 1.0, 65),
                     scratch = tensor_new(VMAE_F32, 3 * be->sum_blocks * d);
        const norm_case c = { doubles(x), doubles(weight), doubles(bias), doubles(dy), rows, d, 1e-6 };
        double *y_expected = doubles_new(n), *mean_expected = doubles_new(rows), *rstd_expected = doubles_new(rows);
        norm_reference(y_expected, mean_expected, rstd_expected, &c);
        const tensor y = tensor_new(type, n), mean = tensor_new(VMAE_F32, rows), rstd = tensor_new(VMAE_F32, rows);
        const tensor dx = tensor_new(type, n), dweight = tensor_new(VMAE_F32, d), dbias = tensor_new(VMAE_F32, d);
        RUN(be, layer_norm, OUT(y.data), type, OUT(mean.data), OUT(rstd.data), IN(x.data), type, IN(weight.data),
            IN(bias.data), rows, d, 1e-6f);
        RUN(be, layer_norm_grad, OUT(dx.data), NULL, OUT(dweight.data), OUT(dbias.data), NULL, SCRATCH(scratch.data),
            IN(dy.data), type, IN(x.data), type, IN(mean.data), IN(rstd.data), IN(weight.data), NULL, rows, d, false);
        /* With mean 30 the rounding of x - mean, 2e-6, is what is left; a single value has variance 0 and rstd 1000. */
        const double precision = (s % 2 ? 4e-6 : 2e-6) * fmax(1.0, largest(rstd_expected, rows));
        tensor_near(y, y_expected, precision, "layer_norm");
        tensor_near(mean, mean_expected, 3e-6, "mean");
        /* 6e-6: an unoptimised build adds 1280 values in a row. */
        tensor_near(rstd, rstd_expected, 6e-6 * largest(rstd_expected, rows), "rstd");
        gradient_near(norm_loss, &c, c.x, dx, 40, d > 1 ? 2e-5 : 3e-3, 1.0, "layer_norm dx");
        gradient_near(norm_loss, &c, c.weight, dweight, 40, d > 1 ? 1e-5 : 3e-3, 1.0, "layer_norm dweight");
        gradient_near(norm_loss, &c, c.bias, dbias, 40, 5e-6, 1.0, "layer_norm dbias");

        /* The gradient around the norm, in place; no parameter gradients; accumulation. */
        const tensor around = tensor_copy(add), dw = tensor_copy(weight), db = tensor_copy(bias),
                     plain = tensor_new(type, n);
        RUN(be, layer_norm_grad, OUT(plain.data), NULL, NULL, NULL, NULL, NULL, IN(dy.data), type, IN(x.data), type,
            IN(mean.data), IN(rstd.data), IN(weight.data), NULL, rows, d, false);
        CHECK(same_bits(plain, dx));
        RUN(be, layer_norm_grad, OUT(around.data), NULL, OUT(dw.data), OUT(db.data), NULL, SCRATCH(scratch.data),
            IN(dy.data), type, IN(x.data), type, IN(mean.data), IN(rstd.data), IN(weight.data), IN(around.data), rows,
            d, true);
        double *sum = doubles_new(n);
        for (int64_t i = 0; i < n; i++)
            sum[i] = value_at(add, i) + value_at(dx, i);
        tensor_near(around, sum, type == VMAE_BF16 ? 0x1p-8 * largest(doubles(dx), n) : 1e-6, "layer_norm dx + add");
        /* Another kernel may make the sums when it makes one more of them: in another order. */
        const double most_sum = fmax(1.0, fmax(largest(doubles(dweight), d), largest(doubles(dbias), d)));
        for (int64_t i = 0; i < d; i++) {
            CHECK_NEAR(value_at(dw, i), value_at(weight, i) + value_at(dweight, i), 1e-5 * most_sum);
            CHECK_NEAR(value_at(db, i), value_at(bias, i) + value_at(dbias, i), 1e-5 * most_sum);
        }
        /* With the bf16 copy and the column sums of dx, which may be summed in another order than without. */
        const tensor both = tensor_new(type, n), copy = tensor_new(VMAE_BF16, n), ds = tensor_copy(bias),
                     besides = tensor_copy(weight);
        RUN(be, layer_norm_grad, OUT(both.data), OUT(copy.data), OUT(besides.data), NULL, OUT(ds.data),
            SCRATCH(scratch.data), IN(dy.data), type, IN(x.data), type, IN(mean.data), IN(rstd.data), IN(weight.data),
            IN(add.data), rows, d, true);
        CHECK(same_bits(both, around));
        tensor_near(besides, doubles(dw), 2e-6 * (1.0 + largest(doubles(dw), d)), "layer_norm dweight beside dsum");
        if (type == VMAE_F32) {
            const double most = largest(doubles(around), n);
            tensor_near(copy, doubles(around), 0.0, "layer_norm dx in bf16");
            for (int64_t i = 0; i < d; i++) {
                double column = value_at(bias, i);
                for (int64_t r = 0; r < rows; r++)
                    column += value_at(around, r * d + i);
                CHECK_NEAR(value_at(ds, i), column, 1e-6 * most * (double)rows + 1e-6);
            }
        }
        release_all();
    }
}
TEST(layer_norm_and_its_gradients_match_also_at_mean_30)
{
    on_every_backend_and_type(check_layer_norm);
}

/* The residual stream is f32 while products take bf16: x of one type, y of another. */
static void check_layer_norm_mixed(vmae_backend *be)
{
    static const int64_t sizes[][2] = { { 1, 1 }, { 3, 37 }, { 9, 192 }, { 5, 768 } };
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        const int64_t rows = sizes[s][0], d = sizes[s][1], n = rows * d;
        const tensor x = tensor_random(VMAE_F32, n, -2.0, 2.0, 161), dy = tensor_random(VMAE_BF16, n, -1.0, 1.0, 162);
        const tensor dy_f32 = tensor_new(VMAE_F32, n), weight = tensor_random(VMAE_F32, d, 0.5, 1.5, 163),
                     bias = tensor_random(VMAE_F32, d, -1.0, 1.0, 164);
        const tensor scratch = tensor_new(VMAE_F32, 3 * be->sum_blocks * d);
        tensor y[2] = { tensor_new(VMAE_F32, n), tensor_new(VMAE_BF16, n) }, mean[2], rstd[2], dx[2], dw[2], db[2];
        for (int64_t i = 0; i < n; i++)
            set_at(dy_f32, i, value_at(dy, i));
        for (int t = 0; t < 2; t++) {
            mean[t] = tensor_new(VMAE_F32, rows), rstd[t] = tensor_new(VMAE_F32, rows);
            dx[t] = tensor_random(VMAE_F32, n, -1.0, 1.0, 165); /* the gradient around the norm */
            dw[t] = tensor_new(VMAE_F32, d), db[t] = tensor_new(VMAE_F32, d);
            RUN(be, layer_norm, OUT(y[t].data), y[t].type, OUT(mean[t].data), OUT(rstd[t].data), IN(x.data), VMAE_F32,
                IN(weight.data), IN(bias.data), rows, d, 1e-6f);
            RUN(be, layer_norm_grad, OUT(dx[t].data), NULL, OUT(dw[t].data), OUT(db[t].data), NULL,
                SCRATCH(scratch.data), IN(t ? dy.data : dy_f32.data), y[t].type, IN(x.data), VMAE_F32, IN(mean[t].data),
                IN(rstd[t].data), IN(weight.data), IN(dx[t].data), rows, d, false);
        }
        tensor_near(y[1], doubles(y[0]), 0.0, "layer_norm of f32 in bf16");
        CHECK(same_bits(mean[0], mean[1]) && same_bits(rstd[0], rstd[1]));
        tensor_near(dx[1], doubles(dx[0]), 1e-6 * fmax(1.0, largest(doubles(rstd[0]), rows)), "dx of bf16 in f32");
        tensor_near(dw[1], doubles(dw[0]), 1e-5, "dweight of bf16");
        tensor_near(db[1], doubles(db[0]), 1e-5, "dbias of bf16");
        release_all();
    }
}
TEST(layer_norm_of_f32_gives_bf16_and_takes_its_gradient)
{
    on_every_backend(check_layer_norm_mixed);
}

static void check_layer_norm_edges(vmae_backend *be, vmae_type type)
{
    enum { D = 21 };
    const tensor x = tensor_new(type, 3 * D), y = tensor_new(type, 3 * D), mean = tensor_new(VMAE_F32, 3),
                 rstd = tensor_new(VMAE_F32, 3);
    const tensor weight = tensor_random(VMAE_F32, D, 0.5, 1.5, 66), bias = tensor_random(VMAE_F32, D, -1.0, 1.0, 67);
    for (int i = 0; i < D; i++)
        set_at(x, i, 5.0), set_at(x, D + i, i ? 1.0 : INFINITY), set_at(x, 2 * D + i, i % 2 ? 1e18 : -1e18);
    RUN(be, layer_norm, OUT(y.data), type, OUT(mean.data), OUT(rstd.data), IN(x.data), type, IN(weight.data),
        IN(bias.data), 3, D, 1e-6f);
    tensor_near((tensor){ y.data, type, D }, doubles(bias), 1e-6, "a constant row gives the bias");
    CHECK_NEAR((double)floats(rstd)[0], 1000.0, 0.01);
    CHECK(isnan(value_at(y, D))); /* infinity is not hidden */
    CHECK(isfinite(value_at(y, 2 * D)));
}
TEST(layer_norm_of_a_constant_row_is_the_bias)
{
    on_every_backend_and_type(check_layer_norm_edges);
}

/* ---- BatchNorm ---- */

typedef struct batch_case {
    double *x, *weight, *bias, *dy; /* weight and bias NULL: not affine */
    int64_t rows, d, groups;
    double eps;
    bool relu;
} batch_case;

static void batch_reference(double *y, double *mean, double *variance, const batch_case *c)
{
    const int64_t each = c->rows / c->groups;
    for (int64_t g = 0; g < c->groups; g++) {
        for (int64_t i = 0; i < c->d; i++) {
            const int64_t at = g * c->d + i;
            mean[at] = variance[at] = 0.0;
            for (int64_t r = g * each; r < (g + 1) * each; r++)
                mean[at] += c->x[r * c->d + i] / (double)each;
            for (int64_t r = g * each; r < (g + 1) * each; r++)
                variance[at] += pow(c->x[r * c->d + i] - mean[at], 2.0) / (double)each;
            for (int64_t r = g * each; r < (g + 1) * each; r++) {
                double value = (c->x[r * c->d + i] - mean[at]) / sqrt(variance[at] + c->eps);
                value = c->weight ? value * c->weight[i] + c->bias[i] : value;
                y[r * c->d + i] = c->relu ? fmax(value, 0.0) : value;
            }
        }
    }
}

static double batch_loss(const void *context)
{
    const batch_case *c = context;
    static double y[40000], mean[1024], variance[1024];
    double loss = 0.0;
    batch_reference(y, mean, variance, c);
    for (int64_t i = 0; i < c->rows * c->d; i++)
        loss += c->dy[i] * y[i];
    return loss;
}

static const struct {
    int64_t rows, d, groups;
    bool affine, relu;
} batch_shapes[] = { { 2, 1, 1, true, false },   { 6, 63, 2, true, true },    { 14, 65, 2, false, false },
                     { 130, 64, 1, true, true }, { 128, 200, 2, true, true }, { 99, 200, 3, false, true } };

static void check_batch_norm(vmae_backend *be, vmae_type type)
{
    for (size_t s = 0; s < sizeof batch_shapes / sizeof *batch_shapes; s++) {
        const int64_t rows = batch_shapes[s].rows, d = batch_shapes[s].d, groups = batch_shapes[s].groups, n = rows * d;
        const bool affine = batch_shapes[s].affine, relu = batch_shapes[s].relu;
        const tensor x = tensor_random(type, n, -1.0, 5.0, 71), dy = tensor_random(type, n, -1.0, 1.0, 72);
        const tensor weight = tensor_random(VMAE_F32, d, 0.5, 1.5, 73),
                     bias = tensor_random(VMAE_F32, d, -1.0, 1.0, 74);
        const batch_case c = { doubles(x),
                               affine ? doubles(weight) : NULL,
                               affine ? doubles(bias) : NULL,
                               doubles(dy),
                               rows,
                               d,
                               groups,
                               1e-5,
                               relu };
        double *y_expected = doubles_new(n), *mean_expected = doubles_new(groups * d),
               *variance = doubles_new(groups * d);
        double *running_mean = doubles_new(d), *running_var = doubles_new(d);
        const double each = (double)(rows / groups);
        batch_reference(y_expected, mean_expected, variance, &c);
        for (int64_t i = 0; i < d; i++) {
            running_mean[i] = 0.5, running_var[i] = 2.0;
            for (int64_t g = 0; g < groups; g++) {
                running_mean[i] = 0.9 * running_mean[i] + 0.1 * mean_expected[g * d + i];
                running_var[i] = 0.9 * running_var[i] + 0.1 * variance[g * d + i] * each / (each - 1.0);
            }
        }
        const tensor y = tensor_new(type, n), mean = tensor_new(VMAE_F32, groups * d),
                     rstd = tensor_new(VMAE_F32, groups * d);
        const tensor rm = tensor_new(VMAE_F32, d), rv = tensor_new(VMAE_F32, d), dx = tensor_new(type, n),
                     dw = tensor_new(VMAE_F32, d), db = tensor_new(VMAE_F32, d), dsum = tensor_new(VMAE_F32, d);
        for (int64_t i = 0; i < d; i++)
            floats(rm)[i] = 0.5f, floats(rv)[i] = 2.0f;
        const float *w = affine ? weight.data : NULL, *b = affine ? bias.data : NULL;
        const void *y_or_null = relu ? y.data : NULL;
        RUN(be, batch_norm, OUT(y.data), OUT(mean.data), OUT(rstd.data), OUT(rm.data), OUT(rv.data), IN(x.data), IN(w),
            IN(b), type, rows, d, groups, 1e-5f, 0.1f, relu);
        RUN(be, batch_norm_grad, OUT(dx.data), OUT(affine ? dw.data : NULL), OUT(affine ? db.data : NULL),
            OUT(dsum.data), IN(dy.data), IN(x.data), IN(y_or_null), IN(mean.data), IN(rstd.data), IN(w), type, rows, d,
            groups, relu, false);
        tensor_near(y, y_expected, 1e-5, "batch_norm");
        tensor_near(mean, mean_expected, 1e-6, "mean");
        tensor_near(rm, running_mean, 1e-6, "running_mean");
        tensor_near(rv, running_var, 3e-6, "running_var");
        gradient_near(batch_loss, &c, c.x, dx, 30, 5e-5, 0.1, "batch_norm dx");
        /* zero but for rounding, of sums that are not; two rows a view leave 1/sqrt(eps) of it */
        tensor_near(dsum, doubles_new(d), 2e-6 * (double)rows * fmax(1.0, largest(doubles(rstd), groups * d)),
                    "batch_norm dsum");
        const tensor alone = tensor_new(type, n);
        RUN(be, batch_norm_grad, OUT(alone.data), NULL, NULL, NULL, IN(dy.data), IN(x.data), IN(y_or_null),
            IN(mean.data), IN(rstd.data), IN(w), type, rows, d, groups, relu, false);
        CHECK(same_bits(alone, dx));
        if (affine) {
            gradient_near(batch_loss, &c, c.weight, dw, 20, 2e-5, 1.0, "batch_norm dweight");
            gradient_near(batch_loss, &c, c.bias, db, 20, 1e-5, 1.0, "batch_norm dbias");
            const tensor more_w = tensor_copy(weight), more_b = tensor_copy(bias);
            RUN(be, batch_norm_grad, NULL, OUT(more_w.data), OUT(more_b.data), NULL, IN(dy.data), IN(x.data),
                IN(y_or_null), IN(mean.data), IN(rstd.data), IN(w), type, rows, d, groups, relu, true);
            for (int64_t i = 0; i < d; i++) {
                CHECK(floats(more_w)[i] == floats(weight)[i] + floats(dw)[i]);
                CHECK(floats(more_b)[i] == floats(bias)[i] + floats(db)[i]);
            }
        }
        release_all();
    }
}
TEST(batch_norm_with_separate_views_and_its_gradients_match)
{
    on_every_backend_and_type(check_batch_norm);
}

static void check_batch_norm_infer(vmae_backend *be, vmae_type type)
{
    static const int64_t sizes[][2] = { { 1, 1 }, { 3, 67 }, { 130, 200 } };
    for (int s = 0; s < 3; s++) {
        const int64_t rows = sizes[s][0], d = sizes[s][1], n = rows * d;
        const tensor x = tensor_random(type, n, -1.0, 5.0, 81), y = tensor_new(type, n);
        const tensor mean = tensor_random(VMAE_F32, d, 0.0, 3.0, 82),
                     variance = tensor_random(VMAE_F32, d, 0.1, 3.0, 83);
        const tensor weight = tensor_random(VMAE_F32, d, 0.5, 1.5, 84),
                     bias = tensor_random(VMAE_F32, d, -1.0, 1.0, 85);
        double *plain = doubles_new(n), *full = doubles_new(n);
        for (int64_t i = 0; i < n; i++) {
            plain[i] = (value_at(x, i) - value_at(mean, i % d)) / sqrt(value_at(variance, i % d) + 1e-5);
            full[i] = fmax(0.0, plain[i] * value_at(weight, i % d) + value_at(bias, i % d));
        }
        RUN(be, batch_norm_infer, OUT(y.data), IN(mean.data), IN(variance.data), IN(x.data), NULL, NULL, type, rows, d,
            1e-5f, false);
        tensor_near(y, plain, 1e-5, "infer");
        RUN(be, batch_norm_infer, OUT(y.data), IN(mean.data), IN(variance.data), IN(x.data), IN(weight.data),
            IN(bias.data), type, rows, d, 1e-5f, true);
        tensor_near(y, full, 1e-5, "infer affine relu");
        release_all();
    }
}
TEST(batch_norm_infer_uses_the_running_statistics)
{
    on_every_backend_and_type(check_batch_norm_infer);
}

static void check_batch_norm_edges(vmae_backend *be, vmae_type type)
{
    /* A constant column gives the bias; one row per view has no unbiased variance, and running_var takes 0, not NaN. */
    const tensor x = tensor_new(type, 6), y = tensor_new(type, 6), mean = tensor_new(VMAE_F32, 6),
                 rstd = tensor_new(VMAE_F32, 6);
    float *running_mean = GRAB((float[]){ 0, 0, 0 }), *running_var = GRAB((float[]){ 1, 1, 1 });
    const float *weight = GRAB((float[]){ 2, 2, 2 }), *bias = GRAB((float[]){ 0.25f, 0.5f, 0.75f });
    for (int i = 0; i < 6; i++)
        set_at(x, i, 30.0);
    for (int64_t groups = 1; groups <= 2; groups++) {
        RUN(be, batch_norm, OUT(y.data), OUT(mean.data), OUT(rstd.data), OUT(running_mean), OUT(running_var),
            IN(x.data), IN(weight), IN(bias), type, 2, 3, groups, 1e-5f, 0.1f, false);
        for (int i = 0; i < 6; i++)
            CHECK_NEAR(value_at(y, i), (double)bias[i % 3], 0.0);
        CHECK_NEAR((double)running_var[0], groups == 1 ? 0.9 : 0.729, 1e-6);
    }
}
TEST(batch_norm_of_a_constant_column_is_the_bias)
{
    on_every_backend_and_type(check_batch_norm_edges);
}
