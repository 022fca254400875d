/* vicmae.c -- the pre-training step: masked autoencoding of two views, and a contrastive loss between their pooled
 * tokens. */
#include "engine/model/internal.h"

#include <stdio.h>

/* Linear, BatchNorm, ReLU, twice, then Linear; each view has its own batch statistics (recipes.md 1.2 no. 6). In f32
 * whatever the graph's precision: its rows are few, and BatchNorm followed by a division by the temperature magnifies
 * the rounding of bf16. */
static vmae_tensor *record_projector(const vmae_recorder *r, vmae_tensor *x)
{
    for (int i = 0; i < 2; i++) {
        char norm[32];
        snprintf(norm, sizeof norm, "projector.%d.", 3 * i + 1);
        x = vmae_named_linear(r, x, "projector.", i ? "3" : "0", NULL, VMAE_F32);
        x = vmae_batch_norm(
            r->g, x, vmae_named_param(r, VMAE_F32, norm, "weight"), vmae_named_param(r, VMAE_F32, norm, "bias"),
            vmae_named_param(r, VMAE_F32, norm, "running_mean"), vmae_named_param(r, VMAE_F32, norm, "running_var"), 2,
            VMAE_BATCH_NORM_EPS, VMAE_BATCH_NORM_MOMENTUM, true);
    }
    return vmae_named_linear(r, x, "projector.", "6", NULL, VMAE_F32);
}

/* [2N, 1 + keep, D] -> [2N, 1 + L, P] */
static vmae_tensor *record_decoder(const vmae_recorder *r, const vmae_model_config *config, vmae_tensor *latent,
                                   const vmae_masking *masking)
{
    vmae_graph *g = r->g;
    const vmae_type type = vmae_graph_precision(g);
    vmae_tensor *x = vmae_named_linear(r, vmae_cast(g, latent, type), "", "decoder_embed", NULL, VMAE_F32);
    x = vmae_unshuffle_tokens(g, x, vmae_use_param(g, r->params, "mask_token", VMAE_F32),
                              vmae_use_param(g, r->params, "decoder_pos_embed", VMAE_F32), masking);
    for (int64_t i = 0; i < config->decoder_depth; i++) {
        char prefix[32];
        snprintf(prefix, sizeof prefix, "decoder_blocks.%lld.", (long long)i);
        x = vmae_record_block(r, x, prefix, config->decoder_heads, NULL, false);
    }
    return vmae_named_linear(r, vmae_named_norm(r, x, "", "decoder_norm", type), "", "decoder_pred", NULL, type);
}

void vmae_record_vicmae(vmae_vicmae *m, vmae_graph *g, const vmae_params *params, const vmae_model_config *config,
                        const vmae_vicmae_options *options)
{
    const vmae_recorder r = { g, params };
    const int64_t rows = 2 * options->pairs, side = config->image_size;
    m->images = vmae_input(g, "images", VMAE_F32, VMAE_SHAPE(rows, config->channels, side, side));
    m->noise = vmae_input(g, "noise", VMAE_F32, VMAE_SHAPE(rows, vmae_model_patches(config)));
    m->recon_weight = vmae_input(g, "recon_weight", VMAE_F32, VMAE_SHAPE(1));
    m->lambda = vmae_input(g, "lambda", VMAE_F32, VMAE_SHAPE(1));

    m->masking = vmae_random_masking(g, m->noise, vmae_model_keep(config));
    const vmae_encoder_options encoder = { .masking = &m->masking, .norm = true };
    m->latent = vmae_record_encoder(g, params, config, m->images, &encoder);

    vmae_tensor *p = config->pool == VMAE_POOL_GEM ? vmae_use_param(g, params, "pool.p", VMAE_F32) : NULL;
    m->pooled = vmae_pool_tokens(g, m->latent, p, config->pool);
    m->proj = record_projector(&r, m->pooled);
    m->loss_contrast = vmae_keep(vmae_info_nce(g, vmae_l2_normalize(g, m->proj),
                                               options->pairs / options->positive_ranks, (float)options->temperature));

    m->pred = record_decoder(&r, config, m->latent, &m->masking);
    m->loss_recon =
        vmae_keep(vmae_patch_mse(g, m->pred, m->images, m->masking.mask, config->patch_size, config->norm_pix));
    m->loss = vmae_keep(vmae_weighted_sum(g, m->loss_recon, m->recon_weight, m->loss_contrast, m->lambda));
    if (options->keep_all) {
        vmae_tensor *all[] = {
            m->masking.ids_shuffle, m->masking.ids_restore, m->masking.mask, m->latent, m->pooled, m->proj, m->pred
        };
        for (size_t i = 0; i < sizeof all / sizeof *all; i++)
            vmae_keep(all[i]);
    }
}
