/* test_values.c -- ops without a gradient, and what two ways of recording the same must agree on. */
#include "tests/ops/op_check.h"

#include <math.h>
#include <stdlib.h>

#define S VMAE_SHAPE
enum { VALUES_MAX = 1024 };

/* Runs a case in f32 on its random numbers. */
static vmae_status run_case(op_run *run, const op_case *what)
{
    VMAE_TRY(op_open(run, what, test_backend(), VMAE_F32));
    CHECK_OK(op_fill(run, false));
    return vmae_graph_run(run->g, false);
}

/* ---- linear_gelu ---- */

static vmae_tensor *both_gelus(vmae_graph *g, vmae_tensor **in)
{
    vmae_keep(in[3] = vmae_gelu(g, vmae_linear(g, in[0], in[1], in[2], NULL, VMAE_F32)));
    return vmae_linear_gelu(g, in[0], in[1], in[2]);
}

TEST(linear_gelu_equals_linear_then_gelu)
{
    const op_case what = {
        "gelus",
        both_gelus,
        { { ACTIVATION, S(13, 7), NORMAL, 0 }, { MATRIX, S(11, 7), NORMAL, 0 }, { VECTOR, S(11), NORMAL, 0 } },
        3,
        0.0,
        false,
        true
    };
    op_run run;
    float fused[VALUES_MAX], apart[VALUES_MAX];
    REQUIRE_OK(run_case(&run, &what));
    CHECK_OK(op_read(&run, run.out, fused));
    CHECK_OK(op_read(&run, run.in[3], apart));
    CHECK(vmae_max_difference(fused, apart, 13 * 11) < 2e-6 * vmae_max_magnitude(apart, 13 * 11));
    op_release(&run);
}

/* ---- batch norm ---- */

static vmae_tensor *fused_relu(vmae_graph *g, vmae_tensor **in)
{
    return vmae_batch_norm(g, in[0], in[1], in[2], in[3], in[4], 2, 1e-5f, 0.1f, true);
}

static vmae_tensor *relu_apart(vmae_graph *g, vmae_tensor **in)
{
    return vmae_relu(g, vmae_batch_norm(g, in[0], in[1], in[2], in[3], in[4], 2, 1e-5f, 0.1f, false));
}

#define BATCH_NORM_OPERANDS                                                                                            \
    {                                                                                                                  \
        { ACTIVATION, S(14, 5), NORMAL, 0 }, { VECTOR, S(5), NORMAL, 0 }, { VECTOR, S(5), NORMAL, 0 },                 \
            { FROZEN, S(5), NORMAL, 0 },                                                                               \
        {                                                                                                              \
            FROZEN, S(5), POSITIVE, 0                                                                                  \
        }                                                                                                              \
    }

TEST(batch_norm_with_relu_equals_batch_norm_then_relu)
{
    const op_case fused = { "relu", fused_relu, BATCH_NORM_OPERANDS, 5, 0.0, false, false };
    const op_case apart = { "relu", relu_apart, BATCH_NORM_OPERANDS, 5, 0.0, false, false };
    op_run a, b;
    float x[VALUES_MAX], y[VALUES_MAX];
    REQUIRE_OK(run_case(&a, &fused));
    REQUIRE_OK(run_case(&b, &apart));
    CHECK_OK(op_read(&a, a.out, x));
    CHECK_OK(op_read(&b, b.out, y));
    CHECK(vmae_max_difference(x, y, 70) == 0.0);
    for (int i = 0; i < 3; i++) {
        CHECK_OK(op_read(&a, op_gradient(&a, i), x));
        CHECK_OK(op_read(&b, op_gradient(&b, i), y));
        const size_t count = (size_t)vmae_shape_count(a.in[i]->shape);
        CHECK(vmae_max_magnitude(y, count) > 0.1);
        CHECK(vmae_max_difference(x, y, count) <= 1e-6 * vmae_max_magnitude(y, count));
    }
    op_release(&a);
    op_release(&b);
}

static vmae_tensor *batch_norm_infer(vmae_graph *g, vmae_tensor **in)
{
    return vmae_batch_norm_infer(g, in[0], in[1], in[2], in[3], in[4], 1e-5f, true);
}

TEST(batch_norm_infer_uses_the_running_statistics_and_leaves_them)
{
    const op_case what = { "infer", batch_norm_infer, BATCH_NORM_OPERANDS, 5, 0.0, false, true };
    op_run run;
    float x[VALUES_MAX], y[VALUES_MAX], v[4][5];
    REQUIRE_OK(run_case(&run, &what));
    CHECK_OK(op_read(&run, run.in[0], x));
    CHECK_OK(op_read(&run, run.out, y));
    for (int i = 0; i < 4; i++)
        CHECK_OK(op_read(&run, run.in[1 + i], v[i]));
    for (int i = 0; i < 70; i++) {
        const int k = i % 5;
        const double wanted =
            ((double)x[i] - (double)v[2][k]) / sqrt((double)v[3][k] + 1e-5) * (double)v[0][k] + (double)v[1][k];
        CHECK_NEAR((double)y[i], fmax(0.0, wanted), 1e-5);
    }
    op_release(&run);
}

/* A constant in front of BatchNorm changes nothing: the bias gets no more than rounding, though its neighbours get
 * gradients of order 1. */
static vmae_tensor *batch_norm_of_linear(vmae_graph *g, vmae_tensor **in)
{
    vmae_tensor *y = vmae_linear(g, in[5], in[6], in[0], NULL, VMAE_F32);
    return vmae_batch_norm(g, y, in[1], in[2], in[3], in[4], 2, 1e-5f, 0.1f, false);
}

TEST(bias_in_front_of_batch_norm_gets_no_gradient)
{
    const op_case what = { "bias",
                           batch_norm_of_linear,
                           { { VECTOR, S(5), NORMAL, 0 },
                             { VECTOR, S(5), NORMAL, 0 },
                             { VECTOR, S(5), NORMAL, 0 },
                             { FROZEN, S(5), NORMAL, 0 },
                             { FROZEN, S(5), POSITIVE, 0 },
                             { ACTIVATION, S(14, 3), NORMAL, 0 },
                             { MATRIX, S(5, 3), NORMAL, 0 } },
                           7,
                           0.0,
                           false,
                           false };
    op_run run;
    float bias[5], weight[15];
    REQUIRE_OK(run_case(&run, &what));
    REQUIRE(op_gradient(&run, 0));
    CHECK_OK(op_read(&run, op_gradient(&run, 0), bias));
    CHECK_OK(op_read(&run, op_gradient(&run, 6), weight));
    CHECK(vmae_max_magnitude(weight, 15) > 0.1);
    CHECK(vmae_max_magnitude(bias, 5) < 1e-5);
    op_release(&run);
}

/* ---- attention ---- */

static vmae_tensor *projected_attention(vmae_graph *g, vmae_tensor **in)
{
    return vmae_attention(g, vmae_linear(g, in[0], in[1], in[2], NULL, VMAE_F32), 2);
}

/* The same number added to every score of a query cancels in the softmax, and a key's bias does just that. */
TEST(bias_of_the_keys_gets_no_gradient)
{
    enum { D = 6 };
    const op_case what = {
        "keys",
        projected_attention,
        { { ACTIVATION, S(2, 5, D), NORMAL, 0 }, { MATRIX, S(3 * D, D), NORMAL, 0 }, { VECTOR, S(3 * D), NORMAL, 0 } },
        3,
        0.0,
        false,
        false
    };
    op_run run;
    float bias[3 * D];
    REQUIRE_OK(run_case(&run, &what));
    CHECK_OK(op_read(&run, op_gradient(&run, 2), bias));
    CHECK(vmae_max_magnitude(bias, D) > 0.01);
    CHECK(vmae_max_magnitude(bias + D, D) < 1e-5);
    CHECK(vmae_max_magnitude(bias + 2 * (size_t)D, D) > 0.01);
    op_release(&run);
}

/* ---- patches ---- */

static vmae_tensor *masked(vmae_graph *g, vmae_tensor **in)
{
    const vmae_masking masking = vmae_random_masking(g, in[1], 2);
    in[3] = vmae_keep(masking.ids_shuffle);
    in[4] = vmae_keep(masking.ids_restore);
    in[5] = vmae_keep(masking.mask);
    in[6] = vmae_keep(vmae_patch_mse(g, in[2], in[0], masking.mask, 3, false));
    return vmae_gather_patches(g, in[0], &masking, 3);
}

/* 2 images, 3 channels, side 9: 9 patches of 3 x 3. */
TEST(patches_go_in_channel_first_and_come_out_channel_last)
{
    const op_case what = {
        "patches",
        masked,
        { { GIVEN, S(2, 3, 9, 9), NORMAL, 0 }, { GIVEN, S(2, 9), DISTINCT, 0 }, { GIVEN, S(2, 9, 27), NORMAL, 0 } },
        3,
        0.0,
        false,
        true
    };
    op_run run;
    float images[2][3][9][9], noise[2][9], shuffle[2][9], restore[2][9], mask[2][9], target[2][9][3][3][3], loss,
        patches[2][2][3][3][3];
    REQUIRE_OK(run_case(&run, &what));
    CHECK_OK(op_read(&run, run.in[0], &images[0][0][0][0]));
    CHECK_OK(op_read(&run, run.in[1], &noise[0][0]));
    CHECK_OK(op_read(&run, run.in[3], &shuffle[0][0]));
    CHECK_OK(op_read(&run, run.in[4], &restore[0][0]));
    CHECK_OK(op_read(&run, run.in[5], &mask[0][0]));
    CHECK_OK(op_read(&run, run.out, &patches[0][0][0][0][0]));
    for (int i = 0; i < 2 * 9 * 27; i++) {
        const int b = i / 243, l = i / 27 % 9, r = i / 9 % 3, q = i / 3 % 3, c = i % 3;
        target[b][l][r][q][c] = images[b][c][l / 3 * 3 + r][l % 3 * 3 + q];
    }
    CHECK_OK(op_write(&run, 2, &target[0][0][0][0][0])); /* a prediction of just that */
    CHECK_OK(vmae_graph_run(run.g, false));
    CHECK_OK(op_read(&run, run.in[6], &loss));
    CHECK(loss == 0.0f);
    for (int i = 0; i < 2 * 2 * 27; i++) {
        const int b = i / 54, k = i / 27 % 2, c = i / 9 % 3, r = i / 3 % 3, q = i % 3, l = (int)shuffle[b][k];
        CHECK(patches[b][k][c][r][q] == images[b][c][l / 3 * 3 + r][l % 3 * 3 + q]);
    }
    for (int i = 0; i < 2 * 9; i++) {
        const int b = i / 9, k = i % 9;
        CHECK(restore[b][(int)shuffle[b][k]] == (float)k);
        CHECK(mask[b][(int)shuffle[b][k]] == (k < 2 ? 0.0f : 1.0f));
        CHECK(k == 0 || noise[b][(int)shuffle[b][k - 1]] < noise[b][(int)shuffle[b][k]]);
    }
    op_release(&run);
}
