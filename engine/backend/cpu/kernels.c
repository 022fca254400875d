/* kernels.c -- every op of the CPU backend, compiled once per instruction set (CPU_TABLE and CPU_ISA come from the
 * build). */
#include "engine/backend/cpu/cpu.h"

#include "engine/backend/cpu/attention.c"
#include "engine/backend/cpu/augment.c"
#include "engine/backend/cpu/batch_norm.c"
#include "engine/backend/cpu/convolution.c"
#include "engine/backend/cpu/cross_entropy.c"
#include "engine/backend/cpu/elementwise.c"
#include "engine/backend/cpu/gelu.c"
#include "engine/backend/cpu/info_nce.c"
#include "engine/backend/cpu/l2_normalize.c"
#include "engine/backend/cpu/layer_norm.c"
#include "engine/backend/cpu/optim.c"
#include "engine/backend/cpu/patch_mse.c"
#include "engine/backend/cpu/patches.c"
#include "engine/backend/cpu/pool.c"
#include "engine/backend/cpu/tokens.c"

extern const vmae_kernels CPU_TABLE;
const vmae_kernels CPU_TABLE = {
    .isa = CPU_ISA,
    .layer_norm = cpu_layer_norm,
    .layer_norm_grad = cpu_layer_norm_grad,
    .gelu = cpu_gelu,
    .gelu_grad = cpu_gelu_grad,
    .relu = cpu_relu,
    .relu_grad = cpu_relu_grad,
    .add = cpu_add,
    .add_scaled = cpu_add_scaled,
    .cast = cpu_cast,
    .fill = cpu_fill,
    .column_sum = cpu_column_sum,
    .weighted_sum = cpu_weighted_sum,
    .attention_prepare = cpu_attention_prepare,
    .attention = cpu_attention,
    .attention_grad = cpu_attention_grad,
    .convolution_prepare = cpu_convolution_prepare,
    .convolution = cpu_convolution,
    .convolution_data_grad = cpu_convolution_data_grad,
    .convolution_filter_grad = cpu_convolution_filter_grad,
    .random_masking = cpu_random_masking,
    .gather_patches = cpu_gather_patches,
    .embed_tokens = cpu_embed_tokens,
    .embed_tokens_grad = cpu_embed_tokens_grad,
    .unshuffle_tokens = cpu_unshuffle_tokens,
    .unshuffle_tokens_grad = cpu_unshuffle_tokens_grad,
    .pool = cpu_pool,
    .pool_grad = cpu_pool_grad,
    .batch_norm = cpu_batch_norm,
    .batch_norm_infer = cpu_batch_norm_infer,
    .batch_norm_grad = cpu_batch_norm_grad,
    .l2_normalize = cpu_l2_normalize,
    .l2_normalize_grad = cpu_l2_normalize_grad,
    .info_nce = cpu_info_nce,
    .info_nce_grad = cpu_info_nce_grad,
    .patch_mse = cpu_patch_mse,
    .patch_mse_grad = cpu_patch_mse_grad,
    .cross_entropy = cpu_cross_entropy,
    .cross_entropy_grad = cpu_cross_entropy_grad,
    .augment_scratch = cpu_augment_scratch,
    .augment = cpu_augment,
    .optim_scratch = cpu_optim_scratch,
    .norms = cpu_norms,
    .adamw = cpu_adamw,
    .sgd = cpu_sgd,
    .lars = cpu_lars,
};
