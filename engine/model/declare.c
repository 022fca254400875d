/* declare.c -- the state dict: names, shapes and initial values, as the official models have them (recipes.md 1.5
 * and 1.6). */
#include "engine/core/hash.h"
#include "engine/core/mem.h"
#include "engine/core/rng.h"
#include "engine/model/internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- names and shapes ---- */

static vmae_status add(vmae_params *params, const char *prefix, const char *name, vmae_shape shape, bool trainable)
{
    char full[160];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    return vmae_params_add(params, full, shape, trainable);
}

static vmae_status add_linear(vmae_params *params, const char *prefix, const char *name, int64_t out, int64_t in)
{
    char full[160];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    VMAE_TRY(add(params, full, ".weight", VMAE_SHAPE(out, in), true));
    return add(params, full, ".bias", VMAE_SHAPE(out), true);
}

static vmae_status add_norm(vmae_params *params, const char *prefix, const char *name, int64_t d)
{
    char full[160];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    VMAE_TRY(add(params, full, ".weight", VMAE_SHAPE(d), true));
    return add(params, full, ".bias", VMAE_SHAPE(d), true);
}

static vmae_status add_blocks(vmae_params *params, const char *stem, int64_t depth, int64_t d, int64_t hidden)
{
    for (int64_t i = 0; i < depth; i++) {
        char prefix[48];
        snprintf(prefix, sizeof prefix, "%s.%lld.", stem, (long long)i);
        VMAE_TRY(add_norm(params, prefix, "norm1", d));
        VMAE_TRY(add_linear(params, prefix, "attn.qkv", 3 * d, d));
        VMAE_TRY(add_linear(params, prefix, "attn.proj", d, d));
        VMAE_TRY(add_norm(params, prefix, "norm2", d));
        VMAE_TRY(add_linear(params, prefix, "mlp.fc1", hidden, d));
        VMAE_TRY(add_linear(params, prefix, "mlp.fc2", d, hidden));
    }
    return VMAE_OK;
}

vmae_status vmae_declare_encoder(vmae_params *params, const vmae_model_config *c, bool train_positions, bool norm)
{
    VMAE_TRY(add(params, "", "cls_token", VMAE_SHAPE(1, 1, c->dim), true));
    VMAE_TRY(add(params, "", "pos_embed", VMAE_SHAPE(1, 1 + vmae_model_patches(c), c->dim), train_positions));
    VMAE_TRY(add(params, "", "patch_embed.proj.weight", VMAE_SHAPE(c->dim, c->channels, c->patch_size, c->patch_size),
                 true));
    VMAE_TRY(add(params, "", "patch_embed.proj.bias", VMAE_SHAPE(c->dim), true));
    VMAE_TRY(add_blocks(params, "blocks", c->depth, c->dim, c->mlp_hidden));
    return norm ? add_norm(params, "", "norm", c->dim) : VMAE_OK;
}

static vmae_status add_projector_norm(vmae_params *params, const char *name, int64_t d)
{
    VMAE_TRY(add_norm(params, "", name, d));
    VMAE_TRY(add(params, name, ".running_mean", VMAE_SHAPE(d), false));
    return add(params, name, ".running_var", VMAE_SHAPE(d), false);
}

vmae_status vmae_declare_pretraining(vmae_params *params, const vmae_model_config *c)
{
    const int64_t values = c->channels * c->patch_size * c->patch_size, hidden = c->projector_hidden;
    VMAE_TRY(add(params, "", "mask_token", VMAE_SHAPE(1, 1, c->decoder_dim), true));
    VMAE_TRY(add(params, "", "decoder_pos_embed", VMAE_SHAPE(1, 1 + vmae_model_patches(c), c->decoder_dim), false));
    VMAE_TRY(add_linear(params, "", "decoder_embed", c->decoder_dim, c->dim));
    VMAE_TRY(add_blocks(params, "decoder_blocks", c->decoder_depth, c->decoder_dim, c->decoder_mlp_hidden));
    VMAE_TRY(add_norm(params, "", "decoder_norm", c->decoder_dim));
    VMAE_TRY(add_linear(params, "", "decoder_pred", values, c->decoder_dim));
    VMAE_TRY(add_linear(params, "", "projector.0", hidden, c->dim));
    VMAE_TRY(add_projector_norm(params, "projector.1", hidden));
    VMAE_TRY(add_linear(params, "", "projector.3", hidden, hidden));
    VMAE_TRY(add_projector_norm(params, "projector.4", hidden));
    VMAE_TRY(add_linear(params, "", "projector.6", c->projector_out, hidden));
    return c->pool == VMAE_POOL_GEM ? add(params, "", "pool.p", VMAE_SHAPE(1), true) : VMAE_OK;
}

vmae_status vmae_declare_head(vmae_params *params, const vmae_model_config *c, int64_t classes, bool global_pool)
{
    if (global_pool)
        VMAE_TRY(add_norm(params, "", "fc_norm", c->dim));
    return add_linear(params, "", "head", classes, c->dim);
}

/* ---- initial values ---- */

/* sines, then cosines, of t * 10000^(-j / (half/2)), j < half/2: [half] */
static void axis_code(float *code, double t, int64_t half)
{
    for (int64_t j = 0; j < half / 2; j++) {
        const double angle = t * pow(10000.0, -(double)j / (double)(half / 2));
        code[j] = (float)sin(angle);
        code[half / 2 + j] = (float)cos(angle);
    }
}

void vmae_sincos_positions(float *table, int64_t grid, int64_t dim)
{
    memset(table, 0, (size_t)dim * sizeof *table);
    for (int64_t row = 0; row < grid; row++) {
        for (int64_t column = 0; column < grid; column++) {
            float *code = table + (1 + row * grid + column) * dim;
            axis_code(code, (double)column, dim / 2); /* the grid is built width first: column, then row */
            axis_code(code + dim / 2, (double)row, dim / 2);
        }
    }
}

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

static void fill(float *values, int64_t count, float value)
{
    for (int64_t i = 0; i < count; i++)
        values[i] = value;
}

static void fill_uniform(float *values, int64_t count, float bound, vmae_rng *rng)
{
    for (int64_t i = 0; i < count; i++)
        values[i] = vmae_rng_between(rng, -bound, bound);
}

static void fill_normal(float *values, int64_t count, float std, vmae_rng *rng)
{
    for (int64_t i = 0; i < count; i++)
        values[i] = std * vmae_rng_normal(rng);
}

static void initial_values(const vmae_param *param, const vmae_model_config *config, uint64_t seed, float *values)
{
    vmae_rng rng = vmae_rng_at(seed, VMAE_RNG_INIT, 0, vmae_hash_name(param->name) >> 16);
    const int64_t grid = config->image_size / config->patch_size;
    if (ends_with(param->name, "pos_embed"))
        vmae_sincos_positions(values, grid, param->shape.dim[2]);
    else if (ends_with(param->name, "_token"))
        fill_normal(values, param->count, 0.02f, &rng);
    else if (strcmp(param->name, "pool.p") == 0)
        fill(values, param->count, 3.0f);
    else if (strcmp(param->name, "patch_embed.proj.bias") == 0) /* left at the framework's convolution default */
        fill_uniform(values, param->count,
                     1.0f / sqrtf((float)(config->channels * config->patch_size * config->patch_size)), &rng);
    else if (strcmp(param->name, "head.weight") == 0)
        fill_normal(values, param->count, 2e-5f, &rng);
    else if (param->shape.rank >= 2) { /* Xavier uniform on the stored matrix: qkv has fan-out 3 d */
        const double out = (double)param->shape.dim[0], in = (double)param->count / out;
        fill_uniform(values, param->count, (float)sqrt(6.0 / (in + out)), &rng);
    } else
        fill(values, param->count,
             ends_with(param->name, ".weight") || ends_with(param->name, "running_var") ? 1.0f : 0.0f);
}

vmae_status vmae_model_init(vmae_params *params, const vmae_model_config *config, uint64_t seed)
{
    for (int i = 0; i < vmae_params_count(params); i++) {
        const vmae_param *param = vmae_params_at(params, i);
        float *values = vmae_calloc((size_t)param->count, sizeof *values);
        if (!values)
            return VMAE_ENOMEM;
        initial_values(param, config, seed, values);
        const vmae_status st = vmae_params_write(params, param, values);
        free(values);
        VMAE_TRY(st);
    }
    return vmae_params_refresh(params);
}
