/* load.c -- a model from a checkpoint, and into one. */
#include "engine/core/mem.h"
#include "engine/model/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool may_be_absent(const char *name)
{
    return strcmp(name, "pool.p") == 0 || strcmp(name, "pos_embed") == 0 || strcmp(name, "decoder_pos_embed") == 0;
}

vmae_status vmae_model_load(vmae_params *params, const vmae_checkpoint *checkpoint)
{
    for (int i = 0; i < vmae_params_count(params); i++) {
        const vmae_param *param = vmae_params_at(params, i);
        if (!vmae_checkpoint_find(checkpoint, param->name) && may_be_absent(param->name))
            continue;
        float *values = vmae_calloc((size_t)param->count, sizeof *values);
        if (!values)
            return VMAE_ENOMEM;
        vmae_status st = vmae_checkpoint_floats(checkpoint, param->name, values, param->shape.rank, param->shape.dim);
        if (st == VMAE_OK)
            st = vmae_params_write(params, param, values);
        free(values);
        VMAE_TRY(st);
    }
    return vmae_params_refresh(params);
}

vmae_status vmae_model_save(const vmae_params *params, vmae_writer *writer, const int64_t *batches, float **floats)
{
    float *values = vmae_calloc((size_t)vmae_params_total(params), sizeof *values);
    if (!values)
        return VMAE_ENOMEM;
    *floats = values;
    for (int i = 0; i < vmae_params_count(params); i++) {
        const vmae_param *param = vmae_params_at(params, i);
        VMAE_TRY(vmae_params_read(params, param, values + param->offset));
        VMAE_TRY(vmae_writer_add(writer, param->name, VMAE_ST_F32, param->shape.rank, param->shape.dim,
                                 values + param->offset));
        const size_t stem = strlen(param->name) - strlen("running_var");
        if (strlen(param->name) > strlen("running_var") && strcmp(param->name + stem, "running_var") == 0) {
            char name[160];
            snprintf(name, sizeof name, "%.*snum_batches_tracked", (int)stem, param->name);
            VMAE_TRY(vmae_writer_add(writer, name, VMAE_ST_I64, 0, NULL, batches));
        }
    }
    return VMAE_OK;
}

/* ---- sizes as metadata ---- */

static const char *const pool_names[] = { "mean", "max", "gem", "cls" };

vmae_status vmae_model_describe(const vmae_model_config *config, vmae_writer *writer)
{
    char text[48];
    for (int i = 0; i < VMAE_MODEL_SIZES; i++) {
        snprintf(text, sizeof text, "%lld",
                 (long long)*(const int64_t *)((const char *)config + vmae_model_sizes[i].offset));
        VMAE_TRY(vmae_writer_metadata(writer, vmae_model_sizes[i].key, text));
    }
    snprintf(text, sizeof text, "%.17g", config->mask_ratio);
    VMAE_TRY(vmae_writer_metadata(writer, "vicmae.mask_ratio", text));
    VMAE_TRY(vmae_writer_metadata(writer, "vicmae.norm_pix", config->norm_pix ? "true" : "false"));
    return vmae_writer_metadata(writer, "vicmae.pool", pool_names[config->pool]);
}

static vmae_status read_metadata(vmae_model_config *config, const vmae_checkpoint *checkpoint)
{
    for (int i = 0; i < VMAE_MODEL_SIZES; i++) {
        const char *key = vmae_model_sizes[i].key, *text = vmae_checkpoint_metadata(checkpoint, key);
        char *end = NULL;
        const long long value = text ? strtoll(text, &end, 10) : 0;
        if (!text || *end || value < 1) /* how large: vmae_model_check */
            return vmae_fail(VMAE_EDATA, "the checkpoint's metadata has %s = \"%s\"; it must be a positive size", key,
                             text ? text : "(absent)");
        *(int64_t *)((char *)config + vmae_model_sizes[i].offset) = value;
    }
    const char *ratio = vmae_checkpoint_metadata(checkpoint, "vicmae.mask_ratio"),
               *pool = vmae_checkpoint_metadata(checkpoint, "vicmae.pool"),
               *norm_pix = vmae_checkpoint_metadata(checkpoint, "vicmae.norm_pix");
    config->mask_ratio = ratio ? strtod(ratio, NULL) : 0.75;
    config->norm_pix = !norm_pix || strcmp(norm_pix, "true") == 0;
    config->pool = VMAE_POOL_MEAN;
    for (int i = 0; pool && i < 4; i++)
        if (strcmp(pool, pool_names[i]) == 0)
            config->pool = (vmae_pool)i;
    return vmae_model_check(config);
}

static int64_t count_blocks(const vmae_checkpoint *checkpoint, const char *stem)
{
    char name[96];
    for (int64_t i = 0;; i++) {
        snprintf(name, sizeof name, "%s.%lld.norm1.weight", stem, (long long)i);
        if (!vmae_checkpoint_find(checkpoint, name))
            return i;
    }
}

static int64_t dimension(const vmae_checkpoint *checkpoint, const char *name, int axis, int64_t otherwise)
{
    const vmae_entry *entry = vmae_checkpoint_find(checkpoint, name);
    return entry && axis < entry->rank ? entry->dim[axis] : otherwise;
}

vmae_status vmae_model_recognise(vmae_model_config *config, const vmae_checkpoint *checkpoint)
{
    vmae_model_config c = { .pool = VMAE_POOL_MEAN, .mask_ratio = 0.75, .norm_pix = true };
    if (vmae_checkpoint_metadata(checkpoint, "vicmae.dim")) {
        VMAE_TRY(read_metadata(&c, checkpoint));
        *config = c;
        return VMAE_OK;
    }
    const vmae_entry *patch = vmae_checkpoint_find(checkpoint, "patch_embed.proj.weight"),
                     *pos = vmae_checkpoint_find(checkpoint, "pos_embed");
    if (!patch || patch->rank != 4 || !pos || pos->rank != 3 || pos->dim[1] < 2 || pos->dim[1] > 1 << 20 ||
        pos->dim[2] != patch->dim[0])
        return vmae_fail(
            VMAE_EUSER,
            "the checkpoint is not a ViT encoder: it needs patch_embed.proj.weight [D, C, p, p] and pos_embed "
            "[1, 1 + L, D]");
    c.dim = patch->dim[0];
    c.channels = patch->dim[1];
    c.patch_size = patch->dim[2];
    int64_t grid = 1;
    while (grid * grid < pos->dim[1] - 1)
        grid++;
    c.image_size = grid * c.patch_size;
    c.depth = count_blocks(checkpoint, "blocks");
    c.heads = c.dim == 1280 ? 16 : c.dim / 64 > 0 ? c.dim / 64 : 1; /* ViT-H has heads of width 80 */
    c.mlp_hidden = dimension(checkpoint, "blocks.0.mlp.fc1.weight", 0, 4 * c.dim);
    c.decoder_dim = dimension(checkpoint, "decoder_embed.weight", 0, 512);
    const int64_t decoder_depth = count_blocks(checkpoint, "decoder_blocks");
    c.decoder_depth = decoder_depth ? decoder_depth : 8;
    c.decoder_heads = c.decoder_dim == 256 ? 8 : 16; /* recipes.md 1.4 */
    c.decoder_mlp_hidden = dimension(checkpoint, "decoder_blocks.0.mlp.fc1.weight", 0, 4 * c.decoder_dim);
    c.projector_hidden = dimension(checkpoint, "projector.0.weight", 0, 4096);
    c.projector_out = dimension(checkpoint, "projector.6.weight", 0, 128);
    if (grid * grid != pos->dim[1] - 1 || c.depth < 1)
        return vmae_fail(VMAE_EUSER,
                         "the checkpoint is not a ViT encoder that this version knows: %lld positions, %lld blocks",
                         (long long)pos->dim[1], (long long)c.depth);
    VMAE_TRY(vmae_model_check(&c));
    *config = c;
    return VMAE_OK;
}
