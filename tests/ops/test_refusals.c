/* test_refusals.c -- what the ops refuse to record, and with which words. */
#include "tests/ops/op_check.h"

#define S VMAE_SHAPE
#define G(...)                                                                                                         \
    {                                                                                                                  \
        GIVEN, S(__VA_ARGS__), NORMAL, 0                                                                               \
    }
#define REFUSED(build, part, ...)                                                                                      \
    do {                                                                                                               \
        const operand refused_[] = { __VA_ARGS__ };                                                                    \
        check_refused(build, refused_, (int)(sizeof refused_ / sizeof *refused_), part);                               \
    } while (0)

static vmae_tensor *linear_f32(vmae_graph *g, vmae_tensor **in)
{
    return vmae_linear(g, in[0], in[1], in[2], in[3], VMAE_F32);
}

static vmae_tensor *linear_to_bf16(vmae_graph *g, vmae_tensor **in)
{
    return vmae_linear(g, in[0], in[1], NULL, NULL, VMAE_BF16);
}

TEST(linear_of_unequal_widths_names_both_and_the_weight)
{
    REFUSED(linear_f32, "linear: x is [2, 5, 7], weight fc1.weight is [3, 8]", G(2, 5, 7),
            { MATRIX, S(3, 8), NORMAL, "fc1.weight" }, { VECTOR, S(3), NORMAL, 0 }, G(2, 5, 3));
    REFUSED(linear_f32, "the result is [2, 5, 3], bias is [4], residual is [2, 5, 3]", G(2, 5, 7),
            { MATRIX, S(3, 7), NORMAL, 0 }, { VECTOR, S(4), NORMAL, 0 }, G(2, 5, 3));
    REFUSED(linear_f32, "residual is [2, 3, 5]", G(2, 5, 7), { MATRIX, S(3, 7), NORMAL, 0 },
            { VECTOR, S(3), NORMAL, 0 }, G(2, 3, 5));
    REFUSED(linear_f32, "bias is [3]", G(2, 5, 7), { MATRIX, S(3, 7), NORMAL, 0 }, { LABELS, S(3), NORMAL, 0 },
            G(2, 5, 3));
    REFUSED(linear_to_bf16, "a product of f32 gives f32", G(2, 7), { MATRIX, S(3, 7), NORMAL, 0 });
}

static vmae_tensor *layer_norm(vmae_graph *g, vmae_tensor **in)
{
    return vmae_layer_norm(g, in[0], in[1], in[2], 1e-6f, VMAE_F32);
}

static vmae_tensor *attention_of_3_heads(vmae_graph *g, vmae_tensor **in)
{
    return vmae_attention(g, in[0], 3);
}

static vmae_tensor *l2_normalize(vmae_graph *g, vmae_tensor **in)
{
    return vmae_l2_normalize(g, in[0]);
}

TEST(layers_of_a_block_refuse_widths_that_do_not_fit)
{
    REFUSED(layer_norm, "layer_norm: x is [2, 7], weight is [6], bias is [7]", G(2, 7), { VECTOR, S(6), NORMAL, 0 },
            { VECTOR, S(7), NORMAL, 0 });
    REFUSED(layer_norm, "the last two must be f32", G(2, 7), { VECTOR, S(7), NORMAL, 0 }, { LABELS, S(7), NORMAL, 0 });
    REFUSED(attention_of_3_heads, "qkv is [2, 5, 24]; it must be [images, tokens, 3 x heads x width] with 3 heads",
            G(2, 5, 24));
    REFUSED(attention_of_3_heads, "qkv is [2, 5, 19]", G(2, 5, 19));
    REFUSED(attention_of_3_heads, "qkv is [5, 18]", G(5, 18));
    REFUSED(l2_normalize, "x must be f32", { LABELS, S(5), NORMAL, 0 });
}

static vmae_tensor *batch_norm(vmae_graph *g, vmae_tensor **in)
{
    return vmae_batch_norm(g, in[0], in[1], in[2], in[3], in[4], 2, 1e-5f, 0.1f, true);
}

static vmae_tensor *batch_norm_without_bias(vmae_graph *g, vmae_tensor **in)
{
    return vmae_batch_norm(g, in[0], in[1], NULL, in[2], in[3], 2, 1e-5f, 0.1f, true);
}

TEST(batch_norm_refuses_views_that_do_not_divide_the_rows)
{
    const operand frozen = { FROZEN, S(3), NORMAL, 0 }, bias = { VECTOR, S(3), NORMAL, "bn.bias" };
    REFUSED(batch_norm, "7 rows in 2 views: every view needs the same number, at least 2", G(7, 3), bias, frozen,
            frozen, frozen);
    REFUSED(batch_norm, "2 rows in 2 views", G(2, 3), bias, frozen, frozen, frozen);
    REFUSED(batch_norm, "x is [6, 4], bn.bias is [3]", G(6, 4), bias, frozen, frozen, frozen);
    REFUSED(batch_norm_without_bias, "weight and bias are both given, or neither", G(6, 3), bias, frozen, frozen);
}

static vmae_tensor *add(vmae_graph *g, vmae_tensor **in)
{
    return vmae_add(g, in[0], in[1]);
}

static vmae_tensor *add_scaled(vmae_graph *g, vmae_tensor **in)
{
    return vmae_add_scaled(g, in[0], in[1], in[2]);
}

static vmae_tensor *weighted_sum(vmae_graph *g, vmae_tensor **in)
{
    return vmae_weighted_sum(g, in[0], in[1], in[2], in[3]);
}

TEST(sums_of_unequal_shapes_name_them)
{
    REFUSED(add, "add: a is [5, 7], b is [7, 5]", G(5, 7), G(7, 5));
    REFUSED(add_scaled, "a is [5, 7], x is [5, 6], scale is [5]", G(5, 7), G(5, 6), G(5));
    REFUSED(add_scaled, "x is [5, 7], scale is [7]", G(5, 7), G(5, 7), G(7));
    REFUSED(weighted_sum, "every input must be a single f32 number", G(1), G(1), G(2), G(1));
}

/* ---- patches and tokens: noise is the last operand, 2 are kept ---- */

static vmae_tensor *masking_of_5(vmae_graph *g, vmae_tensor **in)
{
    return vmae_random_masking(g, in[0], 5).mask;
}

static vmae_tensor *masking_of_none(vmae_graph *g, vmae_tensor **in)
{
    return vmae_random_masking(g, in[0], 0).mask;
}

static vmae_tensor *gather_patches(vmae_graph *g, vmae_tensor **in)
{
    const vmae_masking masking = vmae_random_masking(g, in[1], 2);
    return vmae_gather_patches(g, in[0], &masking, 4);
}

static vmae_tensor *patch_mse_of_nothing(vmae_graph *g, vmae_tensor **in)
{
    return vmae_patch_mse(g, in[0], in[1], in[2], 0, false);
}

TEST(patches_refuse_images_and_maskings_that_do_not_fit)
{
    REFUSED(masking_of_5, "noise is [3, 5]; 5 patches to keep must be at least 1 and fewer than all", G(3, 5));
    REFUSED(masking_of_none, "0 patches to keep", G(3, 5));
    REFUSED(masking_of_none, "noise is [15]", G(15));
    REFUSED(gather_patches, "images are [2, 3, 8, 12]; they must be f32, square and a multiple of the patch size 4",
            G(2, 3, 8, 12), G(2, 6));
    REFUSED(gather_patches, "the masking is [2, 5], but there are 2 images of 4 patches", G(2, 3, 8, 8), G(2, 5));
    REFUSED(gather_patches, "the masking is [1, 4], but there are 2 images", G(2, 3, 8, 8), G(1, 4));
    REFUSED(patch_mse_of_nothing, "the patch size 0", G(2, 9, 27), G(2, 3, 9, 9), G(2, 9));
}

static vmae_tensor *embed_tokens(vmae_graph *g, vmae_tensor **in)
{
    const vmae_masking masking = vmae_random_masking(g, in[3], 2);
    return vmae_embed_tokens(g, in[0], in[1], in[2], &masking);
}

static vmae_tensor *embed_all_tokens(vmae_graph *g, vmae_tensor **in)
{
    return vmae_embed_tokens(g, in[0], in[1], in[2], NULL);
}

static vmae_tensor *unshuffle_tokens(vmae_graph *g, vmae_tensor **in)
{
    const vmae_masking masking = vmae_random_masking(g, in[3], 2);
    return vmae_unshuffle_tokens(g, in[0], in[1], in[2], &masking);
}

TEST(tokens_refuse_positions_and_maskings_that_do_not_fit)
{
    REFUSED(embed_tokens, "embed_tokens: x is [3, 4, 7], cls is [7], pos is [1, 6, 7]", G(3, 4, 7), G(7), G(1, 6, 7),
            G(3, 5));
    REFUSED(embed_tokens, "cls is [6]", G(3, 2, 7), G(6), G(1, 6, 7), G(3, 5));
    REFUSED(embed_tokens, "pos is [1, 7, 7]", G(3, 2, 7), G(7), G(1, 7, 7), G(3, 5));
    REFUSED(embed_tokens, "masking is [2, 5]", G(3, 2, 7), G(7), G(1, 6, 7), G(2, 5));
    REFUSED(embed_all_tokens, "x is [3, 4, 7], cls is [7], pos is [1, 6, 7], masking is absent", G(3, 4, 7), G(7),
            G(1, 6, 7));
    REFUSED(unshuffle_tokens, "unshuffle_tokens: x is [3, 4, 7], mask_token is [7], pos is [6, 7], masking is [3, 5]",
            G(3, 4, 7), G(7), G(6, 7), G(3, 5));
    REFUSED(unshuffle_tokens, "masking is [2, 5]", G(3, 3, 7), G(7), G(6, 7), G(2, 5));
    REFUSED(unshuffle_tokens, "decoder_pos_embed is trainable; positions get no gradient here", G(3, 3, 7), G(7),
            { VECTOR, S(6, 7), NORMAL, "decoder_pos_embed" }, G(3, 5));
}

static vmae_tensor *pool_max(vmae_graph *g, vmae_tensor **in)
{
    return vmae_pool_tokens(g, in[0], NULL, VMAE_POOL_MAX);
}

static vmae_tensor *pool_gem(vmae_graph *g, vmae_tensor **in)
{
    return vmae_pool_tokens(g, in[0], in[1], VMAE_POOL_GEM);
}

static vmae_tensor *pool_gem_without_exponent(vmae_graph *g, vmae_tensor **in)
{
    return vmae_pool_tokens(g, in[0], NULL, VMAE_POOL_GEM);
}

TEST(pools_refuse_inputs_without_patches_or_exponent)
{
    REFUSED(pool_max, "pool: x is [3, 1, 7]; it must be [images, 1 + tokens, width]", G(3, 1, 7));
    REFUSED(pool_max, "pool: x is [3, 7]", G(3, 7));
    REFUSED(pool_gem, "GeM's exponent pool.p is [2]", G(3, 5, 7), { VECTOR, S(2), NORMAL, "pool.p" });
    REFUSED(pool_gem_without_exponent, "GeM's exponent is missing", G(3, 5, 7));
}

static vmae_tensor *info_nce(vmae_graph *g, vmae_tensor **in)
{
    return vmae_info_nce(g, in[0], 3, 0.1f);
}

static vmae_tensor *patch_mse(vmae_graph *g, vmae_tensor **in)
{
    return vmae_patch_mse(g, in[0], in[1], in[2], 2, true);
}

static vmae_tensor *cross_entropy(vmae_graph *g, vmae_tensor **in)
{
    return vmae_cross_entropy(g, in[0], in[1], NULL, 0.1f);
}

static vmae_tensor *soft_cross_entropy(vmae_graph *g, vmae_tensor **in)
{
    return vmae_cross_entropy(g, in[0], NULL, in[1], 0.1f);
}

static vmae_tensor *cross_entropy_of_both(vmae_graph *g, vmae_tensor **in)
{
    return vmae_cross_entropy(g, in[0], in[1], in[2], 0.1f);
}

TEST(losses_refuse_shapes_that_disagree)
{
    REFUSED(patch_mse, "patch_mse: images are [2, 3, 9, 9]", G(2, 9, 12), G(2, 3, 9, 9), G(2, 9));
    REFUSED(patch_mse, "pred is [2, 9, 13], images are [2, 3, 6, 6] in patches of 2", G(2, 9, 13), G(2, 3, 6, 6),
            G(2, 9));
    REFUSED(patch_mse, "pred is [2, 11, 12]", G(2, 11, 12), G(2, 3, 6, 6), G(2, 9));
    REFUSED(patch_mse, "pred is [3, 9, 12]", G(3, 9, 12), G(2, 3, 6, 6), G(2, 9));
    REFUSED(patch_mse, "mask is [9, 2]", G(2, 9, 12), G(2, 3, 6, 6), G(9, 2));
    REFUSED(info_nce, "z is [5, 7]; it must be f32 with two views, each a multiple of 3 rows", G(5, 7));
    REFUSED(info_nce, "z is [8, 7]", G(8, 7));
    REFUSED(cross_entropy, "logits are [5, 7], labels are [4], targets are absent", G(5, 7),
            { LABELS, S(4), ZERO_ONE, 0 });
    REFUSED(cross_entropy, "labels are [5]", G(5, 7), G(5)); /* floats */
    REFUSED(soft_cross_entropy, "targets are [5, 6]", G(5, 7), G(5, 6));
    REFUSED(cross_entropy_of_both, "there are both labels and targets", G(5, 7), { LABELS, S(5), ZERO_ONE, 0 },
            G(5, 7));
}

/* ---- what came before failed, or was forgotten ---- */

static vmae_tensor *chain(vmae_graph *g, vmae_tensor **in)
{
    return vmae_gelu(g, vmae_relu(g, vmae_l2_normalize(g, vmae_add(g, in[0], in[1]))));
}

TEST(first_failure_of_a_chain_is_the_one_that_is_told)
{
    REFUSED(chain, "add: a is [5, 7], b is [7, 5]", G(5, 7), G(7, 5));
}

/* Each op with every tensor missing. */
static vmae_tensor *none(vmae_graph *g, int op)
{
    const vmae_masking masking = { NULL, NULL, NULL, 1 };
    switch (op) {
    case 0: return vmae_linear(g, NULL, NULL, NULL, NULL, VMAE_F32);
    case 1: return vmae_linear_gelu(g, NULL, NULL, NULL);
    case 2: return vmae_layer_norm(g, NULL, NULL, NULL, 1e-6f, VMAE_F32);
    case 3: return vmae_gelu(g, NULL);
    case 4: return vmae_relu(g, NULL);
    case 5: return vmae_add(g, NULL, NULL);
    case 6: return vmae_add_scaled(g, NULL, NULL, NULL);
    case 7: return vmae_cast(g, NULL, VMAE_BF16);
    case 8: return vmae_weighted_sum(g, NULL, NULL, NULL, NULL);
    case 9: return vmae_attention(g, NULL, 1);
    case 10: return vmae_random_masking(g, NULL, 1).mask;
    case 11: return vmae_gather_patches(g, NULL, &masking, 1);
    case 12: return vmae_patch_mse(g, NULL, NULL, NULL, 1, true);
    case 13: return vmae_embed_tokens(g, NULL, NULL, NULL, &masking);
    case 14: return vmae_unshuffle_tokens(g, NULL, NULL, NULL, &masking);
    case 15: return vmae_pool_tokens(g, NULL, NULL, VMAE_POOL_GEM);
    case 16: return vmae_batch_norm(g, NULL, NULL, NULL, NULL, NULL, 2, 1e-5f, 0.1f, true);
    case 17: return vmae_batch_norm_infer(g, NULL, NULL, NULL, NULL, NULL, 1e-5f, true);
    case 18: return vmae_l2_normalize(g, NULL);
    case 19: return vmae_info_nce(g, NULL, 1, 0.1f);
    default: return vmae_cross_entropy(g, NULL, NULL, NULL, 0.0f);
    }
}

TEST(an_op_without_its_inputs_says_so_when_the_graph_is_planned)
{
    vmae_backend *be = NULL;
    REQUIRE_OK(vmae_backend_open(&be, vmae_test_device(), 1));
    for (int op = 0; op < 21; op++) {
        vmae_graph *g = vmae_graph_new(be, VMAE_F32);
        vmae_check(!none(g, op), __FILE__, __LINE__, "op %d gave a tensor", op);
        CHECK_FAILS(vmae_graph_plan(g), VMAE_EINTERNAL, "missing");
        vmae_graph_free(g);
    }
    vmae_backend_close(be);
}

/* Runs a case on random numbers but for one operand, which is refused: by the op, or where there is a queue by whoever
 * waits for it first, in the op's words. */
static void check_run_fails(const op_case *what, int zeroed, float value, vmae_status expected, const char *part)
{
    op_run run;
    REQUIRE_OK(op_open(&run, what, test_backend(), VMAE_F32));
    float values[64];
    CHECK_OK(op_fill(&run, false));
    for (int i = 0; i < 64; i++)
        values[i] = value;
    CHECK_OK(op_write(&run, zeroed, values));
    vmae_status st = vmae_graph_run(run.g, false);
    if (st == VMAE_OK)
        st = run.be->synchronize(run.be);
    CHECK_EQ(st, expected);
    CHECK_STR(st ? vmae_error() : "", part);
    if (vmae_test_on_cpu())
        CHECK_STR(st ? vmae_error() : "", "(op 0)");
    op_release(&run);
}

TEST(numbers_that_are_refused_name_the_op)
{
    const op_case mse = { "mse", patch_mse, { { ACTIVATION, S(2, 9, 12), NORMAL, 0 }, G(2, 3, 6, 6), G(2, 9) }, 3, 0,
                          false, false };
    const op_case entropy = {
        "entropy", cross_entropy, { { FLOATS, S(5, 7), NORMAL, 0 }, { LABELS, S(5), ZERO_ONE, 0 } }, 2, 0, false, false
    };
    check_run_fails(&mse, 2, 0.0f, VMAE_EDATA, "patch_mse");
    check_run_fails(&entropy, 1, 7.0f, VMAE_EDATA, "cross_entropy");
}
