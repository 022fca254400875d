/* cases.c -- every op at awkward sizes: odd or prime, so that no vector, block or thread divides them. A new op gets a
 * row here; a test fails until it has one.
 *
 * Tolerances: rounding to f32 (6e-8 of the result, over the step of 1/32) and what the stencil cuts off (h^4/30 times
 * the fifth derivative); linear ops show only the first. */
#include "engine/selftest/op_case.h"

#define S                VMAE_SHAPE
#define LINEAR_TOLERANCE 2e-5
#define SMOOTH_TOLERANCE 2e-4

/* ---- matrix products ---- */

static vmae_tensor *linear(vmae_graph *g, vmae_tensor **in)
{
    return vmae_linear(g, in[0], in[1], in[2], NULL, vmae_graph_precision(g));
}

static vmae_tensor *linear_without_bias(vmae_graph *g, vmae_tensor **in)
{
    return vmae_linear(g, in[0], in[1], NULL, NULL, VMAE_F32);
}

static vmae_tensor *linear_residual(vmae_graph *g, vmae_tensor **in)
{
    return vmae_linear(g, in[0], in[1], in[2], in[3], VMAE_F32);
}

static vmae_tensor *linear_gelu(vmae_graph *g, vmae_tensor **in)
{
    return vmae_linear_gelu(g, in[0], in[1], in[2]);
}

/* gelu_grad makes the bias gradient of the layer in front. */
static vmae_tensor *gelu_of_linear(vmae_graph *g, vmae_tensor **in)
{
    return vmae_gelu(g, linear(g, in));
}

/* The layer's result is read twice: its bias gradient must be its own business. */
static vmae_tensor *gelu_of_shared_linear(vmae_graph *g, vmae_tensor **in)
{
    vmae_tensor *y = linear(g, in);
    return vmae_add(g, vmae_gelu(g, y), y);
}

static vmae_tensor *attention(vmae_graph *g, vmae_tensor **in)
{
    return vmae_attention(g, in[0], 2);
}

static vmae_tensor *convolution(vmae_graph *g, vmae_tensor **in)
{
    return vmae_convolution(g, in[0], in[1], 1, 1);
}

static vmae_tensor *convolution_with_stride(vmae_graph *g, vmae_tensor **in)
{
    return vmae_convolution(g, in[0], in[1], 2, 1);
}

/* ---- norms ---- */

static vmae_tensor *layer_norm(vmae_graph *g, vmae_tensor **in)
{
    return vmae_layer_norm(g, in[0], in[1], in[2], 1e-6f, vmae_graph_precision(g));
}

/* The gradient that flows around the norm is added in its kernel. */
static vmae_tensor *layer_norm_in_residual(vmae_graph *g, vmae_tensor **in)
{
    return vmae_add(g, vmae_layer_norm(g, in[0], in[1], in[2], 1e-6f, VMAE_F32), in[0]);
}

static vmae_tensor *batch_norm(vmae_graph *g, vmae_tensor **in)
{
    return vmae_batch_norm(g, in[0], in[1], in[2], in[3], in[4], 2, 1e-5f, 0.1f, false);
}

static vmae_tensor *batch_norm_plain(vmae_graph *g, vmae_tensor **in)
{
    return vmae_batch_norm(g, in[0], NULL, NULL, in[1], in[2], 1, 1e-6f, 0.1f, false);
}

static vmae_tensor *batch_norm_infer(vmae_graph *g, vmae_tensor **in)
{
    return vmae_batch_norm_infer(g, in[0], in[1], in[2], in[3], in[4], 1e-5f, true);
}

static vmae_tensor *l2_normalize(vmae_graph *g, vmae_tensor **in)
{
    return vmae_l2_normalize(g, in[0]);
}

/* ---- element by element ---- */

static vmae_tensor *gelu(vmae_graph *g, vmae_tensor **in)
{
    return vmae_gelu(g, in[0]);
}

static vmae_tensor *relu(vmae_graph *g, vmae_tensor **in)
{
    return vmae_relu(g, in[0]);
}

static vmae_tensor *add(vmae_graph *g, vmae_tensor **in)
{
    return vmae_add(g, in[0], in[1]);
}

static vmae_tensor *add_to_itself(vmae_graph *g, vmae_tensor **in)
{
    return vmae_add(g, in[0], in[0]);
}

static vmae_tensor *add_scaled(vmae_graph *g, vmae_tensor **in)
{
    return vmae_add_scaled(g, in[0], in[1], in[2]);
}

static vmae_tensor *cast_up(vmae_graph *g, vmae_tensor **in)
{
    return vmae_cast(g, in[0], VMAE_F32);
}

static vmae_tensor *cast_down(vmae_graph *g, vmae_tensor **in)
{
    return vmae_cast(g, in[0], vmae_graph_precision(g));
}

static vmae_tensor *weighted_sum(vmae_graph *g, vmae_tensor **in)
{
    return vmae_weighted_sum(g, in[0], in[1], in[2], in[3]);
}

/* ---- patches and tokens: 5 patches, 2 kept ---- */

static vmae_tensor *random_masking(vmae_graph *g, vmae_tensor **in)
{
    return vmae_random_masking(g, in[0], 2).mask;
}

static vmae_tensor *gather_patches(vmae_graph *g, vmae_tensor **in)
{
    const vmae_masking masking = vmae_random_masking(g, in[1], 2);
    return vmae_gather_patches(g, in[0], &masking, 3);
}

static vmae_tensor *embed_tokens(vmae_graph *g, vmae_tensor **in)
{
    return vmae_embed_tokens(g, in[0], in[1], in[2], NULL);
}

static vmae_tensor *embed_visible_tokens(vmae_graph *g, vmae_tensor **in)
{
    const vmae_masking masking = vmae_random_masking(g, in[3], 2);
    return vmae_embed_tokens(g, in[0], in[1], in[2], &masking);
}

static vmae_tensor *unshuffle_tokens(vmae_graph *g, vmae_tensor **in)
{
    const vmae_masking masking = vmae_random_masking(g, in[3], 2);
    return vmae_unshuffle_tokens(g, in[0], in[1], in[2], &masking);
}

static vmae_tensor *pool_mean(vmae_graph *g, vmae_tensor **in)
{
    return vmae_pool_tokens(g, in[0], NULL, VMAE_POOL_MEAN);
}

static vmae_tensor *pool_max(vmae_graph *g, vmae_tensor **in)
{
    return vmae_pool_tokens(g, in[0], NULL, VMAE_POOL_MAX);
}

static vmae_tensor *pool_gem(vmae_graph *g, vmae_tensor **in)
{
    return vmae_pool_tokens(g, in[0], in[1], VMAE_POOL_GEM);
}

static vmae_tensor *pool_cls(vmae_graph *g, vmae_tensor **in)
{
    return vmae_pool_tokens(g, in[0], NULL, VMAE_POOL_CLS);
}

/* The second pool's kernel adds the first one's gradient. */
static vmae_tensor *pool_twice(vmae_graph *g, vmae_tensor **in)
{
    return vmae_add(g, pool_max(g, in), pool_cls(g, in));
}

/* ---- losses ---- */

static vmae_tensor *info_nce(vmae_graph *g, vmae_tensor **in)
{
    return vmae_info_nce(g, vmae_l2_normalize(g, in[0]), 3, 0.5f);
}

/* As the released code on three ranks of one pair. */
static vmae_tensor *info_nce_of_ranks(vmae_graph *g, vmae_tensor **in)
{
    return vmae_info_nce(g, vmae_l2_normalize(g, in[0]), 3, 0.7f);
}

static vmae_tensor *patch_mse(vmae_graph *g, vmae_tensor **in)
{
    return vmae_patch_mse(g, in[0], in[1], in[2], 3, true);
}

static vmae_tensor *patch_mse_of_raw_pixels(vmae_graph *g, vmae_tensor **in)
{
    return vmae_patch_mse(g, in[0], in[1], in[2], 3, false);
}

static vmae_tensor *cross_entropy(vmae_graph *g, vmae_tensor **in)
{
    return vmae_cross_entropy(g, in[0], in[1], NULL, 0.1f);
}

static vmae_tensor *soft_cross_entropy(vmae_graph *g, vmae_tensor **in)
{
    return vmae_cross_entropy(g, in[0], NULL, in[1], 0.0f);
}

const op_case op_cases[] = {
    { "linear",
      linear,
      { { ACTIVATION, S(3, 5, 7), NORMAL, 0 }, { MATRIX, S(11, 7), NORMAL, 0 }, { VECTOR, S(11), NORMAL, 0 } },
      3,
      LINEAR_TOLERANCE,
      false,
      false },
    { "linear without a bias",
      linear_without_bias,
      { { ACTIVATION, S(13, 3), NORMAL, 0 }, { MATRIX, S(5, 3), NORMAL, 0 } },
      2,
      LINEAR_TOLERANCE,
      false,
      false },
    { "linear with a convolution's weight",
      linear,
      { { ACTIVATION, S(2, 3, 12), NORMAL, 0 }, { MATRIX, S(5, 3, 2, 2), NORMAL, 0 }, { VECTOR, S(5), NORMAL, 0 } },
      3,
      LINEAR_TOLERANCE,
      false,
      false },
    { "linear with a residual",
      linear_residual,
      { { ACTIVATION, S(3, 5, 7), NORMAL, 0 },
        { MATRIX, S(11, 7), NORMAL, 0 },
        { VECTOR, S(11), NORMAL, 0 },
        { FLOATS, S(3, 5, 11), NORMAL, 0 } },
      4,
      LINEAR_TOLERANCE,
      false,
      false },
    { "linear_gelu",
      linear_gelu,
      { { ACTIVATION, S(3, 5, 7), NORMAL, 0 }, { MATRIX, S(11, 7), NORMAL, 0 }, { VECTOR, S(11), NORMAL, 0 } },
      3,
      0.0,
      false,
      true },
    { "gelu of linear",
      gelu_of_linear,
      { { ACTIVATION, S(3, 5, 7), NORMAL, 0 }, { MATRIX, S(11, 7), NORMAL, 0 }, { VECTOR, S(11), NORMAL, 0 } },
      3,
      SMOOTH_TOLERANCE,
      false,
      false },
    { "gelu of a shared linear",
      gelu_of_shared_linear,
      { { ACTIVATION, S(3, 5, 7), NORMAL, 0 }, { MATRIX, S(11, 7), NORMAL, 0 }, { VECTOR, S(11), NORMAL, 0 } },
      3,
      SMOOTH_TOLERANCE,
      false,
      false },
    { "attention", attention, { { ACTIVATION, S(2, 5, 3 * 2 * 7), NORMAL, 0 } }, 1, SMOOTH_TOLERANCE, false, false },
    { "convolution",
      convolution,
      { { ACTIVATION, S(2, 3, 5, 7), NORMAL, 0 }, { MATRIX, S(11, 3, 3, 7), NORMAL, 0 } },
      2,
      LINEAR_TOLERANCE,
      false,
      false },
    { "convolution with a stride",
      convolution_with_stride,
      { { ACTIVATION, S(3, 6, 5, 8), NORMAL, 0 }, { MATRIX, S(8, 3, 3, 8), NORMAL, 0 } },
      2,
      LINEAR_TOLERANCE,
      false,
      false },
    { "layer_norm",
      layer_norm,
      { { FLOATS, S(3, 5, 13), NORMAL, 0 }, { VECTOR, S(13), NORMAL, 0 }, { VECTOR, S(13), NORMAL, 0 } },
      3,
      SMOOTH_TOLERANCE,
      false,
      false },
    { "layer_norm in a residual",
      layer_norm_in_residual,
      { { FLOATS, S(5, 17), NORMAL, 0 }, { VECTOR, S(17), NORMAL, 0 }, { VECTOR, S(17), NORMAL, 0 } },
      3,
      SMOOTH_TOLERANCE,
      false,
      false },
    { "batch_norm",
      batch_norm,
      { { ACTIVATION, S(14, 5), NORMAL, 0 },
        { VECTOR, S(5), NORMAL, 0 },
        { VECTOR, S(5), NORMAL, 0 },
        { FROZEN, S(5), NORMAL, 0 },
        { FROZEN, S(5), POSITIVE, 0 } },
      5,
      SMOOTH_TOLERANCE,
      false,
      false },
    { "batch_norm without affine",
      batch_norm_plain,
      { { ACTIVATION, S(7, 3), NORMAL, 0 }, { FROZEN, S(3), NORMAL, 0 }, { FROZEN, S(3), POSITIVE, 0 } },
      3,
      SMOOTH_TOLERANCE,
      false,
      false },
    { "batch_norm_infer",
      batch_norm_infer,
      { { ACTIVATION, S(7, 5), NORMAL, 0 },
        { VECTOR, S(5), NORMAL, 0 },
        { VECTOR, S(5), NORMAL, 0 },
        { FROZEN, S(5), NORMAL, 0 },
        { FROZEN, S(5), POSITIVE, 0 } },
      5,
      0.0,
      false,
      true },
    { "l2_normalize", l2_normalize, { { FLOATS, S(5, 7), NORMAL, 0 } }, 1, SMOOTH_TOLERANCE, true, false },
    { "gelu", gelu, { { ACTIVATION, S(5, 7), NORMAL, 0 } }, 1, SMOOTH_TOLERANCE, false, false },
    { "relu", relu, { { ACTIVATION, S(5, 7), NONZERO, 0 } }, 1, LINEAR_TOLERANCE, false, false },
    { "add",
      add,
      { { ACTIVATION, S(5, 7), NORMAL, 0 }, { ACTIVATION, S(5, 7), NORMAL, 0 } },
      2,
      LINEAR_TOLERANCE,
      false,
      false },
    { "add to itself", add_to_itself, { { ACTIVATION, S(5, 7), NORMAL, 0 } }, 1, LINEAR_TOLERANCE, false, false },
    { "add_scaled",
      add_scaled,
      { { ACTIVATION, S(5, 3, 7), NORMAL, 0 }, { ACTIVATION, S(5, 3, 7), NORMAL, 0 }, { GIVEN, S(5), POSITIVE, 0 } },
      3,
      LINEAR_TOLERANCE,
      false,
      false },
    { "cast to f32", cast_up, { { ACTIVATION, S(5, 7), NORMAL, 0 } }, 1, LINEAR_TOLERANCE, false, false },
    { "cast from f32", cast_down, { { FLOATS, S(5, 7), NORMAL, 0 } }, 1, LINEAR_TOLERANCE, false, false },
    { "weighted_sum",
      weighted_sum,
      { { FLOATS, S(1), NORMAL, 0 },
        { GIVEN, S(1), NONZERO, 0 },
        { FLOATS, S(1), NORMAL, 0 },
        { GIVEN, S(1), NONZERO, 0 } },
      4,
      LINEAR_TOLERANCE,
      true,
      false },
    { "random_masking", random_masking, { { GIVEN, S(3, 5), DISTINCT, 0 } }, 1, 0.0, false, true },
    { "gather_patches",
      gather_patches,
      { { GIVEN, S(2, 3, 9, 9), NORMAL, 0 }, { GIVEN, S(2, 9), DISTINCT, 0 } },
      2,
      0.0,
      false,
      true },
    { "embed_tokens",
      embed_tokens,
      { { ACTIVATION, S(3, 5, 7), NORMAL, 0 }, { VECTOR, S(1, 1, 7), NORMAL, 0 }, { VECTOR, S(1, 6, 7), NORMAL, 0 } },
      3,
      LINEAR_TOLERANCE,
      false,
      false },
    { "embed_tokens of visible patches",
      embed_visible_tokens,
      { { ACTIVATION, S(3, 2, 7), NORMAL, 0 },
        { VECTOR, S(7), NORMAL, 0 },
        { VECTOR, S(1, 6, 7), NORMAL, 0 },
        { GIVEN, S(3, 5), DISTINCT, 0 } },
      4,
      LINEAR_TOLERANCE,
      false,
      false },
    { "unshuffle_tokens",
      unshuffle_tokens,
      { { ACTIVATION, S(3, 3, 7), NORMAL, 0 },
        { VECTOR, S(1, 1, 7), NORMAL, 0 },
        { FROZEN, S(1, 6, 7), NORMAL, 0 },
        { GIVEN, S(3, 5), DISTINCT, 0 } },
      4,
      LINEAR_TOLERANCE,
      false,
      false },
    { "pool: mean", pool_mean, { { ACTIVATION, S(3, 6, 7), NORMAL, 0 } }, 1, LINEAR_TOLERANCE, false, false },
    { "pool: max", pool_max, { { ACTIVATION, S(3, 6, 7), DISTINCT, 0 } }, 1, LINEAR_TOLERANCE, false, false },
    { "pool: GeM",
      pool_gem,
      { { ACTIVATION, S(3, 6, 7), POSITIVE, 0 }, { VECTOR, S(1), POSITIVE, 0 } },
      2,
      SMOOTH_TOLERANCE,
      false,
      false },
    { "pool: class token", pool_cls, { { ACTIVATION, S(3, 6, 7), NORMAL, 0 } }, 1, LINEAR_TOLERANCE, false, false },
    { "two pools", pool_twice, { { ACTIVATION, S(3, 6, 7), DISTINCT, 0 } }, 1, LINEAR_TOLERANCE, false, false },
    { "info_nce", info_nce, { { FLOATS, S(6, 7), NORMAL, 0 } }, 1, SMOOTH_TOLERANCE, true, false },
    { "info_nce of ranks", info_nce_of_ranks, { { FLOATS, S(18, 5), NORMAL, 0 } }, 1, SMOOTH_TOLERANCE, true, false },
    { "patch_mse",
      patch_mse,
      { { ACTIVATION, S(2, 9, 27), NORMAL, 0 }, { GIVEN, S(2, 3, 9, 9), NORMAL, 0 }, { GIVEN, S(2, 9), ZERO_ONE, 0 } },
      3,
      SMOOTH_TOLERANCE,
      false,
      false },
    { "patch_mse of raw pixels, with a class token",
      patch_mse_of_raw_pixels,
      { { ACTIVATION, S(2, 10, 27), NORMAL, 0 }, { GIVEN, S(2, 3, 9, 9), NORMAL, 0 }, { GIVEN, S(2, 9), ZERO_ONE, 0 } },
      3,
      SMOOTH_TOLERANCE,
      false,
      false },
    { "cross_entropy",
      cross_entropy,
      { { FLOATS, S(7, 3), NORMAL, 0 }, { LABELS, S(7), ZERO_ONE, 0 } },
      2,
      SMOOTH_TOLERANCE,
      true,
      false },
    { "cross_entropy with soft targets",
      soft_cross_entropy,
      { { FLOATS, S(7, 5), NORMAL, 0 }, { GIVEN, S(7, 5), WEIGHTS, 0 } },
      2,
      SMOOTH_TOLERANCE,
      true,
      false },
};

const int op_case_count = sizeof op_cases / sizeof *op_cases;
