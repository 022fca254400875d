/* test_activations.c -- elementwise kernels, GELU, LayerNorm and BatchNorm against double precision, on every
 * instruction set. */
#include "engine/backend/cpu/fast_math.h"
#include "tests/backend/kernel_tensors.h"

/* Sizes: one value, less than a vector, odd, more than a ROW_CHUNK, and enough for several threads. */
static const int64_t lengths[] = { 1, 3, 17, 1023, 1025, 40009 };
static const struct {
    int64_t rows, d;
} shapes[] = { { 1, 1 }, { 5, 3 }, { 31, 1 }, { 2, 1031 }, { 37, 768 }, { 101, 197 }, { 7, 2503 } };
enum { LENGTHS = sizeof lengths / sizeof *lengths, SHAPES = sizeof shapes / sizeof *shapes };

/* ---- the functions under everything ---- */

TEST(exp_is_within_2e7_of_libm_and_keeps_nan)
{
    double worst = 0.0;
    for (double x = -87.0; x <= 88.0; x += 0.00137) {
        const double expected = exp((double)(float)x);
        worst = fmax(worst, fabs((double)fast_exp((float)x) - expected) / expected);
    }
    CHECK_NEAR(worst, 0.0, 2e-7);
    CHECK(isnan(fast_exp(NAN)));
    CHECK(fast_exp(0.0f) == 1.0f);
    CHECK(fast_exp(-INFINITY) < 2e-38f && fast_exp(-INFINITY) >= 0.0f);
    CHECK(fast_exp(INFINITY) > 1e38f);
}

TEST(normal_distribution_is_within_2_5e7_of_libm_and_its_tail_is_relative)
{
    double worst = 0.0, tail = 0.0;
    for (double x = -12.0; x <= 20.0; x += 0.00041) {
        float density;
        const double at = (double)(float)x, cdf = (double)normal_cdf((float)x, &density);
        worst = fmax(worst, fabs(cdf - 0.5 * erfc(-at * sqrt(0.5))));
        if (x < 0.0)
            tail = fmax(tail, fabs(cdf / (0.5 * erfc(-at * sqrt(0.5))) - 1.0));
    }
    CHECK_NEAR(worst, 0.0, 2.5e-7);
    CHECK_NEAR(tail, 0.0, 2e-5); /* e^(-x^2/2) with x^2/2 = 72 in f32 is good to 4e-6 */
}

/* ---- GELU ---- */

static double gelu_of(double x)
{
    return 0.5 * x * erfc(-x * sqrt(0.5));
}

static double gelu_slope_of(double x)
{
    return 0.5 * erfc(-x * sqrt(0.5)) + x * exp(-0.5 * x * x) / sqrt(2.0 * acos(-1.0));
}

static void check_gelu(const vmae_kernels *k, vmae_type type)
{
    for (int s = 0; s < LENGTHS; s++) {
        const int64_t n = lengths[s];
        const tensor x = tensor_random(type, n, -20.0, 20.0, 11), y = tensor_new(type, n), again = tensor_new(type, n);
        for (int64_t i = 0; i < n; i += 2)
            set_at(x, i, value_at(x, i) / 8.0);
        vmae_backend one = with_threads(1), three = with_threads(3);
        REQUIRE_OK(k->gelu(&one, y.data, x.data, type, n));
        REQUIRE_OK(k->gelu(&three, again.data, x.data, type, n));
        CHECK(same_bits(y, again));
        double worst = 0.0;
        for (int64_t i = 0; i < n; i++) {
            const double at = value_at(x, i), expected = gelu_of(at);
            worst = fmax(worst, (fabs(value_at(y, i) - expected) - rounding_of(type, expected)) / fmax(1.0, fabs(at)));
        }
        CHECK_NEAR(fmax(worst, 0.0), 0.0, 1e-6);
        release_all();
    }
    /* What no finite model produces must still come back. */
    const tensor x = tensor_new(type, 4), y = tensor_new(type, 4);
    vmae_backend be = with_threads(1);
    set_at(x, 0, INFINITY), set_at(x, 1, -INFINITY), set_at(x, 2, NAN), set_at(x, 3, 3e38);
    REQUIRE_OK(k->gelu(&be, y.data, x.data, type, 4));
    CHECK(isinf(value_at(y, 0)) && isnan(value_at(y, 2)));
    CHECK(value_at(y, 3) == value_at(x, 3));
}
TEST(gelu_is_exact_to_1e6_from_minus_20_to_20)
{
    for_each_kernel(check_gelu);
}

static void check_gelu_grad(const vmae_kernels *k, vmae_type type)
{
    for (int s = 0; s < SHAPES; s++) {
        const int64_t rows = shapes[s].rows, d = shapes[s].d, n = rows * d;
        const tensor x = tensor_random(type, n, -6.0, 6.0, 12), dy = tensor_random(type, n, -1.0, 1.0, 13);
        const tensor scratch = tensor_new(VMAE_F32, SUM_BLOCKS * d), before = tensor_random(VMAE_F32, d, -1.0, 1.0, 14);
        tensor dx[4], dbias[4];
        set_at(x, 0, -20.0), set_at(x, n - 1, 20.0);
        double *expected = doubles_new(n), *sums = doubles_new(d);
        for (int64_t i = 0; i < n; i++) {
            expected[i] = value_at(dy, i) * gelu_slope_of(value_at(x, i));
            sums[i % d] += expected[i];
        }
        for (int threads = 1; threads <= 3; threads++) {
            vmae_backend be = with_threads(threads);
            dx[threads] = tensor_copy(dy); /* in place */
            dbias[threads] = tensor_new(VMAE_F32, d);
            REQUIRE_OK(k->gelu_grad(&be, dx[threads].data, dbias[threads].data, scratch.data, dx[threads].data, x.data,
                                    type, rows, d, false));
            CHECK(same_bits(dx[threads], dx[1]) && same_bits(dbias[threads], dbias[1]));
        }
        tensor_near(dx[1], expected, 2e-6, "dx", k->isa);
        tensor_near(dbias[1], sums, 2e-6 * sqrt((double)rows) + 1e-6 * largest(sums, d), "dbias", k->isa);

        vmae_backend be = with_threads(2);
        dx[0] = tensor_new(type, n);
        REQUIRE_OK(k->gelu_grad(&be, dx[0].data, NULL, NULL, dy.data, x.data, type, rows, d, false));
        CHECK(same_bits(dx[0], dx[1]));
        dbias[0] = tensor_copy(before);
        REQUIRE_OK(k->gelu_grad(&be, dx[0].data, dbias[0].data, scratch.data, dy.data, x.data, type, rows, d, true));
        for (int64_t i = 0; i < d; i++)
            CHECK(floats(dbias[0])[i] == floats(before)[i] + floats(dbias[1])[i]);
        release_all();
    }
}
TEST(gelu_gradient_and_its_column_sums_match)
{
    for_each_kernel(check_gelu_grad);
}

/* ---- value by value ---- */

static void check_elementwise(const vmae_kernels *k, vmae_type type)
{
    for (int s = 0; s < LENGTHS; s++) {
        const int64_t n = lengths[s];
        const tensor a = tensor_random(type, n, -2.0, 2.0, 21), b = tensor_random(type, n, -2.0, 2.0, 22);
        double *sum = doubles_new(n), *kept = doubles_new(n), *passed = doubles_new(n);
        for (int64_t i = 0; i < n; i++) {
            sum[i] = value_at(a, i) + value_at(b, i);
            kept[i] = fmax(value_at(a, i), 0.0);
            passed[i] = kept[i] > 0.0 ? value_at(b, i) : 0.0;
        }
        for (int threads = 1; threads <= 3; threads++) {
            vmae_backend be = with_threads(threads);
            const tensor y = tensor_new(type, n), left = tensor_copy(a), right = tensor_copy(b),
                         dx = tensor_new(type, n);
            REQUIRE_OK(k->add(&be, y.data, a.data, b.data, type, n));
            REQUIRE_OK(k->add(&be, left.data, left.data, b.data, type, n));
            REQUIRE_OK(k->add(&be, right.data, a.data, right.data, type, n));
            tensor_near(y, sum, 2.5e-7, "add", k->isa);
            CHECK(same_bits(y, left) && same_bits(y, right));

            REQUIRE_OK(k->relu(&be, y.data, a.data, type, n));
            tensor_near(y, kept, 0.0, "relu", k->isa);
            REQUIRE_OK(k->relu_grad(&be, dx.data, b.data, y.data, type, n));
            tensor_near(dx, passed, 0.0, "relu_grad", k->isa);
            const tensor same = tensor_copy(a), through = tensor_copy(b);
            REQUIRE_OK(k->relu(&be, same.data, same.data, type, n));
            REQUIRE_OK(k->relu_grad(&be, through.data, through.data, y.data, type, n));
            CHECK(same_bits(same, y) && same_bits(through, dx));
        }
        release_all();
    }
    vmae_backend be = with_threads(1);
    const tensor x = tensor_new(type, 3), y = tensor_new(type, 3);
    set_at(x, 0, NAN), set_at(x, 1, -INFINITY), set_at(x, 2, INFINITY);
    REQUIRE_OK(k->relu(&be, y.data, x.data, type, 3));
    CHECK(isnan(value_at(y, 0)) && value_at(y, 1) == 0.0 && isinf(value_at(y, 2)));
}
TEST(add_and_relu_work_in_place_and_keep_nan)
{
    for_each_kernel(check_elementwise);
}

static void check_add_scaled(const vmae_kernels *k, vmae_type type)
{
    static const int64_t sizes[][2] = { { 1, 1 }, { 3, 7 }, { 4, 1025 }, { 5, 5003 } };
    for (int s = 0; s < 4; s++) {
        const int64_t groups = sizes[s][0], each = sizes[s][1], n = groups * each;
        const tensor a = tensor_random(type, n, -1.0, 1.0, 31), b = tensor_random(type, n, -1.0, 1.0, 32);
        const tensor scale = tensor_random(VMAE_F32, groups, 0.0, 2.0, 33);
        double *with = doubles_new(n), *without = doubles_new(n);
        floats(scale)[0] = 0.0f; /* a dropped path */
        for (int64_t i = 0; i < n; i++) {
            without[i] = (double)floats(scale)[i / each] * value_at(b, i);
            with[i] = value_at(a, i) + without[i];
        }
        for (int threads = 1; threads <= 3; threads++) {
            vmae_backend be = with_threads(threads);
            const tensor y = tensor_new(type, n), left = tensor_copy(a), right = tensor_copy(b);
            REQUIRE_OK(k->add_scaled(&be, y.data, NULL, b.data, scale.data, type, groups, each));
            tensor_near(y, without, 2e-7, "scaled", k->isa);
            REQUIRE_OK(k->add_scaled(&be, y.data, a.data, b.data, scale.data, type, groups, each));
            tensor_near(y, with, 3e-7, "add_scaled", k->isa);
            REQUIRE_OK(k->add_scaled(&be, left.data, left.data, b.data, scale.data, type, groups, each));
            REQUIRE_OK(k->add_scaled(&be, right.data, a.data, right.data, scale.data, type, groups, each));
            CHECK(same_bits(y, left) && same_bits(y, right));
        }
        release_all();
    }
}
TEST(add_scaled_drops_and_scales_whole_groups)
{
    for_each_kernel(check_add_scaled);
}

static void check_cast(const vmae_kernels *k, vmae_type type)
{
    vmae_backend be = with_threads(3);
    for (int s = 0; s < LENGTHS; s++) {
        const int64_t n = lengths[s];
        const tensor x = tensor_random(VMAE_F32, n, -4.0, 4.0, 41), y = tensor_new(type, n),
                     back = tensor_new(VMAE_F32, n);
        const tensor copy = tensor_new(type, n);
        REQUIRE_OK(k->cast(&be, y.data, type, x.data, VMAE_F32, n));
        tensor_near(y, doubles(x), 0.0, "cast", k->isa);
        REQUIRE_OK(k->cast(&be, back.data, VMAE_F32, y.data, type, n));
        tensor_near(back, doubles(y), 0.0, "cast back", k->isa);
        REQUIRE_OK(k->cast(&be, copy.data, type, y.data, type, n));
        CHECK(same_bits(copy, y));
        release_all();
    }
}
TEST(cast_rounds_once_and_returns_exactly)
{
    for_each_kernel(check_cast);
}

static void check_cast_edges(const vmae_kernels *k, vmae_type type)
{
    /* to even, to even, up, down, overflow, infinity, NaN with only low bits, -0, smallest denormal */
    static const uint32_t from[] = { 0x3F808000, 0x3F818000, 0x3F808001, 0x3F807FFF, 0x7F7FFFFF,
                                     0xFF800000, 0x7F800001, 0x80000000, 1 };
    static const vmae_bf16 to[] = { 0x3F80, 0x3F82, 0x3F81, 0x3F80, 0x7F80, 0xFF80, 0x7FC0, 0x8000, 0 };
    enum { EDGES = sizeof to / sizeof *to, REPEATS = 5 };
    uint32_t x[EDGES * REPEATS] __attribute__((aligned(64))); /* more than a vector of 16 */
    vmae_bf16 y[EDGES * REPEATS] __attribute__((aligned(64)));
    vmae_backend be = with_threads(1);
    for (int i = 0; i < EDGES * REPEATS; i++)
        x[i] = from[i % EDGES];
    if (type != VMAE_BF16)
        return;
    REQUIRE_OK(k->cast(&be, y, VMAE_BF16, x, VMAE_F32, EDGES * REPEATS));
    for (int i = 0; i < EDGES * REPEATS; i++)
        CHECK_EQ(y[i], to[i % EDGES]);
}
TEST(cast_to_bf16_rounds_to_even_and_keeps_infinity_and_nan)
{
    for_each_kernel(check_cast_edges);
}

static void check_sums(const vmae_kernels *k, vmae_type type)
{
    for (int s = 0; s < SHAPES; s++) {
        const int64_t rows = shapes[s].rows, d = shapes[s].d;
        const tensor x = tensor_random(type, rows * d, -1.0, 3.0, 51), scratch = tensor_new(VMAE_F32, SUM_BLOCKS * d);
        double *sums = doubles_new(d);
        for (int64_t i = 0; i < rows * d; i++)
            sums[i % d] += value_at(x, i);
        tensor first = { 0 };
        for (int threads = 1; threads <= 3; threads++) {
            vmae_backend be = with_threads(threads);
            const tensor sum = tensor_new(VMAE_F32, d), twice = tensor_new(VMAE_F32, d);
            REQUIRE_OK(k->column_sum(&be, sum.data, scratch.data, x.data, type, rows, d, false));
            tensor_near(sum, sums, 1e-6 * (1.0 + largest(sums, d)), "column_sum", k->isa);
            memcpy(twice.data, sum.data, (size_t)d * sizeof(float));
            REQUIRE_OK(k->column_sum(&be, twice.data, scratch.data, x.data, type, rows, d, true));
            for (int64_t i = 0; i < d; i++)
                CHECK(floats(twice)[i] == 2.0f * floats(sum)[i]);
            first = threads == 1 ? sum : first;
            CHECK(same_bits(sum, first));
            REQUIRE_OK(k->fill(&be, twice.data, 1.5f, d));
            for (int64_t i = 0; i < d; i++)
                CHECK(floats(twice)[i] == 1.5f);
        }
        release_all();
    }
    vmae_backend be = with_threads(1);
    const float a = 2.0f, wa = 0.5f, b = -3.0f, wb = 0.25f;
    float y = 0.0f;
    REQUIRE_OK(k->weighted_sum(&be, &y, &a, &wa, &b, &wb));
    CHECK(y == 0.25f);
}
TEST(column_sums_do_not_depend_on_threads_and_accumulate)
{
    for_each_kernel(check_sums);
}

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

static void check_layer_norm(const vmae_kernels *k, vmae_type type)
{
    for (int s = 0; s < SHAPES; s++) {
        const int64_t rows = shapes[s].rows, d = shapes[s].d, n = rows * d;
        const double base = s % 2 ? 30.0 : 0.0;
        const tensor x = tensor_random(type, n, base - 2.0, base + 2.0, 61), dy = tensor_random(type, n, -1.0, 1.0, 62);
        const tensor weight = tensor_random(VMAE_F32, d, 0.5, 1.5, 63),
                     bias = tensor_random(VMAE_F32, d, -1.0, 1.0, 64);
        const tensor add = tensor_random(type, n, -1.0, 1.0, 65), scratch = tensor_new(VMAE_F32, 2 * SUM_BLOCKS * d);
        const norm_case c = { doubles(x), doubles(weight), doubles(bias), doubles(dy), rows, d, 1e-6 };
        double *y_expected = doubles_new(n), *mean_expected = doubles_new(rows), *rstd_expected = doubles_new(rows);
        norm_reference(y_expected, mean_expected, rstd_expected, &c);
        tensor y[4], mean[4], rstd[4], dx[4], dweight[4], dbias[4];
        for (int threads = 1; threads <= 3; threads++) {
            vmae_backend be = with_threads(threads);
            y[threads] = tensor_new(type, n), dx[threads] = tensor_new(type, n);
            mean[threads] = tensor_new(VMAE_F32, rows), rstd[threads] = tensor_new(VMAE_F32, rows);
            dweight[threads] = tensor_new(VMAE_F32, d), dbias[threads] = tensor_new(VMAE_F32, d);
            REQUIRE_OK(k->layer_norm(&be, y[threads].data, type, mean[threads].data, rstd[threads].data, x.data, type,
                                     weight.data, bias.data, rows, d, 1e-6f));
            REQUIRE_OK(k->layer_norm_grad(&be, dx[threads].data, dweight[threads].data, dbias[threads].data,
                                          scratch.data, dy.data, type, x.data, type, mean[threads].data,
                                          rstd[threads].data, weight.data, NULL, rows, d, false));
            CHECK(same_bits(y[threads], y[1]) && same_bits(mean[threads], mean[1]) &&
                  same_bits(rstd[threads], rstd[1]));
            CHECK(same_bits(dx[threads], dx[1]) && same_bits(dweight[threads], dweight[1]) &&
                  same_bits(dbias[threads], dbias[1]));
        }
        /* With mean 30 the rounding of x - mean, 2e-6, is what is left; a single value has variance 0 and rstd 1000. */
        const double precision = (s % 2 ? 4e-6 : 2e-6) * fmax(1.0, largest(rstd_expected, rows));
        tensor_near(y[1], y_expected, precision, "layer_norm", k->isa);
        tensor_near(mean[1], mean_expected, 3e-6, "mean", k->isa);
        tensor_near(rstd[1], rstd_expected, 3e-6 * largest(rstd_expected, rows), "rstd", k->isa);
        gradient_near(norm_loss, &c, c.x, dx[1], 40, d > 1 ? 2e-5 : 3e-3, 1.0, "layer_norm dx", k->isa);
        gradient_near(norm_loss, &c, c.weight, dweight[1], 40, d > 1 ? 1e-5 : 3e-3, 1.0, "layer_norm dweight", k->isa);
        gradient_near(norm_loss, &c, c.bias, dbias[1], 40, 5e-6, 1.0, "layer_norm dbias", k->isa);

        /* The gradient around the norm, in place; no parameter gradients; accumulation. */
        vmae_backend be = with_threads(2);
        const tensor around = tensor_copy(add), dw = tensor_copy(weight), db = tensor_copy(bias),
                     plain = tensor_new(type, n);
        REQUIRE_OK(k->layer_norm_grad(&be, plain.data, NULL, NULL, NULL, dy.data, type, x.data, type, mean[1].data,
                                      rstd[1].data, weight.data, NULL, rows, d, false));
        CHECK(same_bits(plain, dx[1]));
        REQUIRE_OK(k->layer_norm_grad(&be, around.data, dw.data, db.data, scratch.data, dy.data, type, x.data, type,
                                      mean[1].data, rstd[1].data, weight.data, around.data, rows, d, true));
        double *sum = doubles_new(n);
        for (int64_t i = 0; i < n; i++)
            sum[i] = value_at(add, i) + value_at(dx[1], i);
        tensor_near(around, sum, type == VMAE_BF16 ? 0x1p-8 * largest(doubles(dx[1]), n) : 1e-6, "layer_norm dx + add",
                    k->isa);
        for (int64_t i = 0; i < d; i++) {
            CHECK(floats(dw)[i] == floats(weight)[i] + floats(dweight[1])[i]);
            CHECK(floats(db)[i] == floats(bias)[i] + floats(dbias[1])[i]);
        }
        release_all();
    }
}
TEST(layer_norm_and_its_gradients_match_also_at_mean_30)
{
    for_each_kernel(check_layer_norm);
}

static void check_layer_norm_edges(const vmae_kernels *k, vmae_type type)
{
    enum { D = 21 };
    const tensor x = tensor_new(type, 3 * D), y = tensor_new(type, 3 * D), mean = tensor_new(VMAE_F32, 3),
                 rstd = tensor_new(VMAE_F32, 3);
    const tensor weight = tensor_random(VMAE_F32, D, 0.5, 1.5, 66), bias = tensor_random(VMAE_F32, D, -1.0, 1.0, 67);
    vmae_backend be = with_threads(1);
    for (int i = 0; i < D; i++)
        set_at(x, i, 5.0), set_at(x, D + i, i ? 1.0 : INFINITY), set_at(x, 2 * D + i, i % 2 ? 1e18 : -1e18);
    REQUIRE_OK(
        k->layer_norm(&be, y.data, type, mean.data, rstd.data, x.data, type, weight.data, bias.data, 3, D, 1e-6f));
    tensor_near((tensor){ y.data, type, D }, doubles(bias), 1e-6, "a constant row gives the bias", k->isa);
    CHECK_NEAR((double)floats(rstd)[0], 1000.0, 0.01);
    CHECK(isnan(value_at(y, D))); /* infinity is not hidden */
    CHECK(isfinite(value_at(y, 2 * D)));
}
TEST(layer_norm_of_a_constant_row_is_the_bias)
{
    for_each_kernel(check_layer_norm_edges);
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

static void check_batch_norm(const vmae_kernels *k, vmae_type type)
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
        tensor y[4], mean[4], rstd[4], rm[4], rv[4], dx[4], dw[4], db[4];
        for (int t = 1; t <= 3; t++) {
            vmae_backend be = with_threads(t);
            y[t] = tensor_new(type, n), mean[t] = tensor_new(VMAE_F32, groups * d),
            rstd[t] = tensor_new(VMAE_F32, groups * d);
            rm[t] = tensor_new(VMAE_F32, d), rv[t] = tensor_new(VMAE_F32, d), dx[t] = tensor_new(type, n);
            dw[t] = tensor_new(VMAE_F32, d), db[t] = tensor_new(VMAE_F32, d);
            for (int64_t i = 0; i < d; i++)
                floats(rm[t])[i] = 0.5f, floats(rv[t])[i] = 2.0f;
            REQUIRE_OK(k->batch_norm(&be, y[t].data, mean[t].data, rstd[t].data, rm[t].data, rv[t].data, x.data,
                                     affine ? weight.data : NULL, affine ? bias.data : NULL, type, rows, d, groups,
                                     1e-5f, 0.1f, relu));
            REQUIRE_OK(k->batch_norm_grad(&be, dx[t].data, affine ? dw[t].data : NULL, affine ? db[t].data : NULL, NULL,
                                          dy.data, x.data, relu ? y[t].data : NULL, mean[t].data, rstd[t].data,
                                          affine ? weight.data : NULL, type, rows, d, groups, relu, false));
            CHECK(same_bits(y[t], y[1]) && same_bits(mean[t], mean[1]) && same_bits(rstd[t], rstd[1]));
            CHECK(same_bits(rm[t], rm[1]) && same_bits(rv[t], rv[1]));
            CHECK(same_bits(dx[t], dx[1]) && same_bits(dw[t], dw[1]) && same_bits(db[t], db[1]));
        }
        tensor_near(y[1], y_expected, 1e-5, "batch_norm", k->isa);
        tensor_near(mean[1], mean_expected, 1e-6, "mean", k->isa);
        tensor_near(rm[1], running_mean, 1e-6, "running_mean", k->isa);
        tensor_near(rv[1], running_var, 3e-6, "running_var", k->isa);
        gradient_near(batch_loss, &c, c.x, dx[1], 30, 5e-5, 0.1, "batch_norm dx", k->isa);
        if (affine) {
            gradient_near(batch_loss, &c, c.weight, dw[1], 20, 2e-5, 1.0, "batch_norm dweight", k->isa);
            gradient_near(batch_loss, &c, c.bias, db[1], 20, 1e-5, 1.0, "batch_norm dbias", k->isa);
            vmae_backend be = with_threads(2);
            const tensor more_w = tensor_copy(weight), more_b = tensor_copy(bias);
            REQUIRE_OK(k->batch_norm_grad(&be, NULL, more_w.data, more_b.data, NULL, dy.data, x.data,
                                          relu ? y[1].data : NULL, mean[1].data, rstd[1].data, weight.data, type, rows,
                                          d, groups, relu, true));
            for (int64_t i = 0; i < d; i++) {
                CHECK(floats(more_w)[i] == floats(weight)[i] + floats(dw[1])[i]);
                CHECK(floats(more_b)[i] == floats(bias)[i] + floats(db[1])[i]);
            }
        }
        release_all();
    }
}
TEST(batch_norm_with_separate_views_and_its_gradients_match)
{
    for_each_kernel(check_batch_norm);
}

static void check_batch_norm_infer(const vmae_kernels *k, vmae_type type)
{
    static const int64_t sizes[][2] = { { 1, 1 }, { 3, 67 }, { 130, 200 } };
    for (int s = 0; s < 3; s++) {
        const int64_t rows = sizes[s][0], d = sizes[s][1], n = rows * d;
        const tensor x = tensor_random(type, n, -1.0, 5.0, 81), y = tensor_new(type, n), again = tensor_new(type, n);
        const tensor mean = tensor_random(VMAE_F32, d, 0.0, 3.0, 82),
                     variance = tensor_random(VMAE_F32, d, 0.1, 3.0, 83);
        const tensor weight = tensor_random(VMAE_F32, d, 0.5, 1.5, 84),
                     bias = tensor_random(VMAE_F32, d, -1.0, 1.0, 85);
        double *plain = doubles_new(n), *full = doubles_new(n);
        for (int64_t i = 0; i < n; i++) {
            plain[i] = (value_at(x, i) - value_at(mean, i % d)) / sqrt(value_at(variance, i % d) + 1e-5);
            full[i] = fmax(0.0, plain[i] * value_at(weight, i % d) + value_at(bias, i % d));
        }
        vmae_backend one = with_threads(1), three = with_threads(3);
        REQUIRE_OK(k->batch_norm_infer(&one, y.data, mean.data, variance.data, x.data, NULL, NULL, type, rows, d, 1e-5f,
                                       false));
        tensor_near(y, plain, 1e-5, "infer", k->isa);
        REQUIRE_OK(k->batch_norm_infer(&one, y.data, mean.data, variance.data, x.data, weight.data, bias.data, type,
                                       rows, d, 1e-5f, true));
        REQUIRE_OK(k->batch_norm_infer(&three, again.data, mean.data, variance.data, x.data, weight.data, bias.data,
                                       type, rows, d, 1e-5f, true));
        tensor_near(y, full, 1e-5, "infer affine relu", k->isa);
        CHECK(same_bits(y, again));
        release_all();
    }
}
TEST(batch_norm_infer_uses_the_running_statistics)
{
    for_each_kernel(check_batch_norm_infer);
}

static void check_batch_norm_edges(const vmae_kernels *k, vmae_type type)
{
    /* A constant column gives the bias; one row per view has no unbiased variance, and running_var takes 0, not NaN. */
    const tensor x = tensor_new(type, 6), y = tensor_new(type, 6), mean = tensor_new(VMAE_F32, 6),
                 rstd = tensor_new(VMAE_F32, 6);
    float running_mean[3] = { 0 }, running_var[3] = { 1.0f, 1.0f, 1.0f };
    const float weight[3] = { 2.0f, 2.0f, 2.0f }, bias[3] = { 0.25f, 0.5f, 0.75f };
    vmae_backend be = with_threads(1);
    for (int i = 0; i < 6; i++)
        set_at(x, i, 30.0);
    REQUIRE_OK(k->batch_norm(&be, y.data, mean.data, rstd.data, running_mean, running_var, x.data, weight, bias, type,
                             2, 3, 1, 1e-5f, 0.1f, false));
    for (int i = 0; i < 6; i++)
        CHECK_NEAR(value_at(y, i), (double)bias[i % 3], 0.0);
    CHECK_NEAR((double)running_var[0], 0.9, 1e-6);
    REQUIRE_OK(k->batch_norm(&be, y.data, mean.data, rstd.data, running_mean, running_var, x.data, weight, bias, type,
                             2, 3, 2, 1e-5f, 0.1f, false));
    CHECK_NEAR((double)running_var[0], 0.729, 1e-6);
}
TEST(batch_norm_of_a_constant_column_is_the_bias)
{
    for_each_kernel(check_batch_norm_edges);
}
