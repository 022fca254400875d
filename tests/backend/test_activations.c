/* test_activations.c -- elementwise kernels, GELU and sums over rows against double precision. */
#include "engine/backend/cpu/fast_math.h"
#include "tests/backend/kernel_values.h"

/* Sizes: one value, less than a vector, odd, more than a ROW_CHUNK, and enough for several threads. */
static const int64_t lengths[] = { 1, 3, 17, 1023, 1025, 40009 };
static const struct {
    int64_t rows, d;
} shapes[] = { { 1, 1 }, { 5, 3 }, { 31, 1 }, { 2, 1031 }, { 37, 768 }, { 101, 197 }, { 7, 2503 } };
enum { LENGTHS = sizeof lengths / sizeof *lengths, SHAPES = sizeof shapes / sizeof *shapes };

/* ---- the functions under everything on the CPU ---- */

TEST(exp_is_within_2e7_of_libm_and_keeps_nan)
{
    if (!vmae_test_on_cpu())
        SKIP("about the CPU");
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
    if (!vmae_test_on_cpu())
        SKIP("about the CPU");
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

static void check_gelu(vmae_backend *be, vmae_type type)
{
    for (int s = 0; s < LENGTHS; s++) {
        const int64_t n = lengths[s];
        const tensor x = tensor_random(type, n, -20.0, 20.0, 11), y = tensor_new(type, n);
        for (int64_t i = 0; i < n; i += 2)
            set_at(x, i, value_at(x, i) / 8.0);
        double *expected = doubles_new(n);
        for (int64_t i = 0; i < n && !kernel_repeats(); i++)
            expected[i] = gelu_of(value_at(x, i));
        RUN(be, gelu, OUT(y.data), IN(x.data), type, n);
        double worst = 0.0;
        for (int64_t i = 0; i < n && !kernel_repeats(); i++)
            worst = fmax(worst, (fabs(value_at(y, i) - expected[i]) - rounding_of(type, expected[i])) /
                                    fmax(1.0, fabs(value_at(x, i))));
        CHECK_NEAR(fmax(worst, 0.0), 0.0, 1e-6);
        release_all();
    }
    /* What no finite model produces must still come back. */
    const tensor x = tensor_new(type, 4), y = tensor_new(type, 4);
    set_at(x, 0, INFINITY), set_at(x, 1, -INFINITY), set_at(x, 2, NAN), set_at(x, 3, 3e38);
    RUN(be, gelu, OUT(y.data), IN(x.data), type, 4);
    CHECK(isinf(value_at(y, 0)) && isnan(value_at(y, 2)));
    CHECK(value_at(y, 3) == value_at(x, 3));
}
TEST(gelu_is_exact_to_1e6_from_minus_20_to_20)
{
    on_every_backend_and_type(check_gelu);
}

static void check_gelu_grad(vmae_backend *be, vmae_type type)
{
    for (int s = 0; s < SHAPES; s++) {
        const int64_t rows = shapes[s].rows, d = shapes[s].d, n = rows * d;
        const tensor x = tensor_random(type, n, -6.0, 6.0, 12), dy = tensor_random(type, n, -1.0, 1.0, 13);
        const tensor scratch = tensor_new(VMAE_F32, be->sum_blocks * d), dbias = tensor_new(VMAE_F32, d),
                     before = tensor_random(VMAE_F32, d, -1.0, 1.0, 14), more = tensor_copy(before);
        const tensor dx = tensor_new(type, n), in_place = tensor_copy(dy), alone = tensor_new(type, n);
        set_at(x, 0, -20.0), set_at(x, n - 1, 20.0);
        double *expected = doubles_new(n), *sums = doubles_new(d);
        for (int64_t i = 0; i < n && !kernel_repeats(); i++) {
            expected[i] = value_at(dy, i) * gelu_slope_of(value_at(x, i));
            sums[i % d] += expected[i];
        }
        RUN(be, gelu_grad, OUT(in_place.data), OUT(dbias.data), SCRATCH(scratch.data), IN(in_place.data), IN(x.data),
            type, rows, d, false);
        tensor_near(in_place, expected, 2e-6, "gelu_grad dx");
        tensor_near(dbias, sums, 2e-6 * sqrt((double)rows) + 1e-6 * largest(sums, d), "gelu_grad dbias");

        RUN(be, gelu_grad, OUT(alone.data), NULL, NULL, IN(dy.data), IN(x.data), type, rows, d, false);
        CHECK(same_bits(alone, in_place));
        RUN(be, gelu_grad, OUT(dx.data), OUT(more.data), SCRATCH(scratch.data), IN(dy.data), IN(x.data), type, rows, d,
            true);
        CHECK(same_bits(dx, in_place));
        for (int64_t i = 0; i < d; i++)
            CHECK(floats(more)[i] == floats(before)[i] + floats(dbias)[i]);
        release_all();
    }
}
TEST(gelu_gradient_and_its_column_sums_match)
{
    on_every_backend_and_type(check_gelu_grad);
}

/* ---- value by value ---- */

static void check_elementwise(vmae_backend *be, vmae_type type)
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
        const tensor y = tensor_new(type, n), left = tensor_copy(a), right = tensor_copy(b), dx = tensor_new(type, n);
        RUN(be, add, OUT(y.data), IN(a.data), IN(b.data), type, n);
        RUN(be, add, OUT(left.data), IN(left.data), IN(b.data), type, n);
        RUN(be, add, OUT(right.data), IN(a.data), IN(right.data), type, n);
        tensor_near(y, sum, 2.5e-7, "add");
        CHECK(same_bits(y, left) && same_bits(y, right));

        const tensor same = tensor_copy(a), through = tensor_copy(b);
        RUN(be, relu, OUT(y.data), IN(a.data), type, n);
        tensor_near(y, kept, 0.0, "relu");
        RUN(be, relu_grad, OUT(dx.data), IN(b.data), IN(y.data), type, n);
        tensor_near(dx, passed, 0.0, "relu_grad");
        RUN(be, relu, OUT(same.data), IN(same.data), type, n);
        RUN(be, relu_grad, OUT(through.data), IN(through.data), IN(y.data), type, n);
        CHECK(same_bits(same, y) && same_bits(through, dx));
        release_all();
    }
    const tensor x = tensor_new(type, 3), y = tensor_new(type, 3);
    set_at(x, 0, NAN), set_at(x, 1, -INFINITY), set_at(x, 2, INFINITY);
    RUN(be, relu, OUT(y.data), IN(x.data), type, 3);
    CHECK(isnan(value_at(y, 0)) && value_at(y, 1) == 0.0 && isinf(value_at(y, 2)));
}
TEST(add_and_relu_work_in_place_and_keep_nan)
{
    on_every_backend_and_type(check_elementwise);
}

static void check_add_scaled(vmae_backend *be, vmae_type type)
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
        const tensor y = tensor_new(type, n), left = tensor_copy(a), right = tensor_copy(b);
        RUN(be, add_scaled, OUT(y.data), NULL, IN(b.data), IN(scale.data), type, groups, each);
        tensor_near(y, without, 2e-7, "scaled");
        RUN(be, add_scaled, OUT(y.data), IN(a.data), IN(b.data), IN(scale.data), type, groups, each);
        tensor_near(y, with, 3e-7, "add_scaled");
        RUN(be, add_scaled, OUT(left.data), IN(left.data), IN(b.data), IN(scale.data), type, groups, each);
        RUN(be, add_scaled, OUT(right.data), IN(a.data), IN(right.data), IN(scale.data), type, groups, each);
        CHECK(same_bits(y, left) && same_bits(y, right));
        release_all();
    }
}
TEST(add_scaled_drops_and_scales_whole_groups)
{
    on_every_backend_and_type(check_add_scaled);
}

static void check_cast(vmae_backend *be, vmae_type type)
{
    for (int s = 0; s < LENGTHS; s++) {
        const int64_t n = lengths[s];
        const tensor x = tensor_random(VMAE_F32, n, -4.0, 4.0, 41), y = tensor_new(type, n),
                     back = tensor_new(VMAE_F32, n), copy = tensor_new(type, n);
        RUN(be, cast, OUT(y.data), type, IN(x.data), VMAE_F32, n);
        tensor_near(y, doubles(x), 0.0, "cast");
        RUN(be, cast, OUT(back.data), VMAE_F32, IN(y.data), type, n);
        tensor_near(back, doubles(y), 0.0, "cast back");
        RUN(be, cast, OUT(copy.data), type, IN(y.data), type, n);
        CHECK(same_bits(copy, y));
        release_all();
    }
}
TEST(cast_rounds_once_and_returns_exactly)
{
    on_every_backend_and_type(check_cast);
}

static void check_cast_edges(vmae_backend *be)
{
    /* to even, to even, up, down, overflow, infinity, NaN with only low bits, -0, smallest denormal */
    static const uint32_t from[] = { 0x3F808000, 0x3F818000, 0x3F808001, 0x3F807FFF, 0x7F7FFFFF,
                                     0xFF800000, 0x7F800001, 0x80000000, 1 };
    static const vmae_bf16 to[] = { 0x3F80, 0x3F82, 0x3F81, 0x3F80, 0x7F80, 0xFF80, 0x7FC0, 0x8000, 0 };
    enum { EDGES = sizeof to / sizeof *to, REPEATS = 5, N = EDGES * REPEATS }; /* more than a vector of 16 */
    const tensor x = tensor_new(VMAE_F32, N), y = tensor_new(VMAE_BF16, N);
    for (int i = 0; i < N; i++)
        ((uint32_t *)x.data)[i] = from[i % EDGES];
    RUN(be, cast, OUT(y.data), VMAE_BF16, IN(x.data), VMAE_F32, N);
    for (int i = 0; i < N; i++) {
        if (isnan(floats(x)[i])) /* any NaN will do: processors differ in which */
            CHECK(isnan(value_at(y, i)));
        else
            CHECK_EQ(((const vmae_bf16 *)y.data)[i], to[i % EDGES]);
    }
}
TEST(cast_to_bf16_rounds_to_even_and_keeps_infinity_and_nan)
{
    on_every_backend(check_cast_edges);
}

static void check_sums(vmae_backend *be, vmae_type type)
{
    for (int s = 0; s < SHAPES; s++) {
        const int64_t rows = shapes[s].rows, d = shapes[s].d;
        const tensor x = tensor_random(type, rows * d, -1.0, 3.0, 51),
                     scratch = tensor_new(VMAE_F32, be->sum_blocks * d), sum = tensor_new(VMAE_F32, d);
        double *sums = doubles_new(d);
        for (int64_t i = 0; i < rows * d; i++)
            sums[i % d] += value_at(x, i);
        RUN(be, column_sum, OUT(sum.data), SCRATCH(scratch.data), IN(x.data), type, rows, d, false);
        tensor_near(sum, sums, 1e-6 * (1.0 + largest(sums, d)), "column_sum");
        const tensor twice = tensor_copy(sum);
        RUN(be, column_sum, OUT(twice.data), SCRATCH(scratch.data), IN(x.data), type, rows, d, true);
        for (int64_t i = 0; i < d; i++)
            CHECK(floats(twice)[i] == 2.0f * floats(sum)[i]);
        release_all();
    }
}
TEST(column_sums_do_not_depend_on_threads_and_accumulate)
{
    on_every_backend_and_type(check_sums);
}

static void check_scalars(vmae_backend *be)
{
    float *a = grab_float(2.0f), *wa = grab_float(0.5f), *b = grab_float(-3.0f), *wb = grab_float(0.25f),
          *y = grab_float(0.0f);
    RUN(be, weighted_sum, OUT(y), IN(a), IN(wa), IN(b), IN(wb));
    CHECK(*y == 0.25f);
    RUN(be, weighted_sum, OUT(y), IN(a), IN(wa), NULL, NULL);
    CHECK(*y == 1.0f);
    for (int s = 0; s < LENGTHS; s++) {
        float *filled = grab_floats(lengths[s]);
        RUN(be, fill, OUT(filled), 1.5f, lengths[s]);
        for (int64_t i = 0; i < lengths[s]; i++)
            REQUIRE(filled[i] == 1.5f);
    }
}
TEST(fill_and_weighted_sum_do_what_they_say)
{
    on_every_backend(check_scalars);
}
