/* vit.c -- the Vision Transformer: patch embedding, blocks, classifier (Dosovitskiy et al. 2020; timm's names). */
#include "engine/model/internal.h"

#include <stdio.h>

/* A parameter whose name is put together: "blocks.3." "attn.qkv" ".weight". */
vmae_tensor *vmae_named_param(const vmae_recorder *r, vmae_type type, const char *prefix, const char *name)
{
    char full[160];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    return vmae_use_param(r->g, r->params, full, type);
}

vmae_tensor *vmae_named_linear(const vmae_recorder *r, vmae_tensor *x, const char *prefix, const char *name,
                               vmae_tensor *residual, vmae_type out)
{
    char full[160];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    return vmae_linear(r->g, x, vmae_named_param(r, x ? x->type : VMAE_F32, full, ".weight"),
                       vmae_named_param(r, VMAE_F32, full, ".bias"), residual, out);
}

vmae_tensor *vmae_named_norm(const vmae_recorder *r, vmae_tensor *x, const char *prefix, const char *name,
                             vmae_type out)
{
    char full[160];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    return vmae_layer_norm(r->g, x, vmae_named_param(r, VMAE_F32, full, ".weight"),
                           vmae_named_param(r, VMAE_F32, full, ".bias"), VMAE_LAYER_NORM_EPS, out);
}

/* One residual branch's last layer: x + linear(y), or x + scale * linear(y) with drop path. The residual stream x is
 * f32 in any precision: sums over many blocks lose too much in bf16 (and PyTorch's autocast keeps it so). */
static vmae_tensor *close_branch(const vmae_recorder *r, vmae_tensor *x, vmae_tensor *y, const char *prefix,
                                 const char *name, vmae_tensor *scale)
{
    if (!scale)
        return vmae_named_linear(r, y, prefix, name, x, VMAE_F32);
    return vmae_add_scaled(r->g, x, vmae_named_linear(r, y, prefix, name, NULL, VMAE_F32), scale);
}

static vmae_tensor *mlp_hidden(const vmae_recorder *r, vmae_tensor *x, const char *prefix, bool inference)
{
    if (!inference)
        return vmae_gelu(r->g, vmae_named_linear(r, x, prefix, "mlp.fc1", NULL, vmae_graph_precision(r->g)));
    return vmae_linear_gelu(r->g, x, vmae_named_param(r, vmae_graph_precision(r->g), prefix, "mlp.fc1.weight"),
                            vmae_named_param(r, VMAE_F32, prefix, "mlp.fc1.bias"));
}

/* x += attn(norm1(x)); x += mlp(norm2(x)). scale: NULL, or the two drop-path scales. */
vmae_tensor *vmae_record_block(const vmae_recorder *r, vmae_tensor *x, const char *prefix, int64_t heads,
                               vmae_tensor *const *scale, bool inference)
{
    const vmae_type type = vmae_graph_precision(r->g);
    vmae_tensor *qkv =
        vmae_named_linear(r, vmae_named_norm(r, x, prefix, "norm1", type), prefix, "attn.qkv", NULL, type);
    x = close_branch(r, x, vmae_attention(r->g, qkv, heads), prefix, "attn.proj", scale ? scale[0] : NULL);
    vmae_tensor *hidden = mlp_hidden(r, vmae_named_norm(r, x, prefix, "norm2", type), prefix, inference);
    return close_branch(r, x, hidden, prefix, "mlp.fc2", scale ? scale[1] : NULL);
}

vmae_tensor *vmae_record_encoder(vmae_graph *g, const vmae_params *params, const vmae_model_config *config,
                                 vmae_tensor *images, const vmae_encoder_options *options)
{
    const vmae_recorder r = { g, params };
    vmae_tensor *patches = vmae_gather_patches(g, images, options->masking, config->patch_size);
    vmae_tensor *x = vmae_named_linear(&r, patches, "", "patch_embed.proj", NULL, VMAE_F32);
    x = vmae_embed_tokens(g, x, vmae_use_param(g, params, "cls_token", VMAE_F32),
                          vmae_use_param(g, params, "pos_embed", VMAE_F32), options->masking);
    for (int64_t i = 0; i < config->depth; i++) {
        char prefix[32];
        snprintf(prefix, sizeof prefix, "blocks.%lld.", (long long)i);
        x = vmae_record_block(&r, x, prefix, config->heads,
                              options->branch_scale ? &options->branch_scale[2 * i] : NULL, options->inference);
    }
    return options->norm ? vmae_named_norm(&r, x, "", "norm", VMAE_F32) : x;
}

vmae_tensor *vmae_record_features(vmae_graph *g, const vmae_params *params, const vmae_model_config *config,
                                  vmae_tensor *images, vmae_pool pool)
{
    const vmae_encoder_options options = { .norm = true, .inference = true };
    vmae_tensor *p = pool == VMAE_POOL_GEM ? vmae_use_param(g, params, "pool.p", VMAE_F32) : NULL;
    return vmae_pool_tokens(g, vmae_record_encoder(g, params, config, images, &options), p, pool);
}

vmae_tensor *vmae_record_classifier(vmae_graph *g, const vmae_params *params, const vmae_model_config *config,
                                    vmae_tensor *images, bool global_pool, vmae_tensor *const *branch_scale)
{
    const vmae_recorder r = { g, params };
    const vmae_encoder_options options = { .norm = !global_pool, .branch_scale = branch_scale };
    vmae_tensor *x = vmae_record_encoder(g, params, config, images, &options);
    vmae_tensor *pooled = vmae_pool_tokens(g, x, NULL, global_pool ? VMAE_POOL_MEAN : VMAE_POOL_CLS);
    if (global_pool)
        pooled = vmae_named_norm(&r, pooled, "", "fc_norm", VMAE_F32);
    return vmae_named_linear(&r, vmae_cast(g, pooled, vmae_graph_precision(g)), "", "head", NULL, VMAE_F32);
}
