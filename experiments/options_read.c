/* options_read.c -- from options to what the engine takes: presets, datasets, augmentation. */
#include "engine/backend/backend.h"
#include "engine/core/fs.h"
#include "engine/core/mem.h"
#include "experiments/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* nano, tiny and small are for CPUs and small images; base, large and huge are the paper's (recipes.md 1.4). */
static const struct preset {
    const char *name;
    const char *image_size, *patch_size, *dim, *depth, *heads, *decoder_dim, *decoder_depth, *decoder_heads,
        *projector_hidden;
} presets[] = {
    { "nano", "32", "4", "192", "6", "3", "96", "2", "3", "512" },
    { "tiny", "64", "8", "192", "12", "3", "128", "4", "4", "1024" },
    { "small", "64", "8", "384", "12", "6", "256", "4", "8", "1024" },
    { "base", "224", "16", "768", "12", "12", "512", "8", "16", "4096" },
    { "large", "224", "16", "1024", "24", "16", "512", "8", "16", "4096" },
    { "huge", "224", "14", "1280", "32", "16", "512", "8", "16", "4096" },
};

static vmae_status apply_preset(vmae_config *config, const struct preset *p)
{
    const struct {
        const char *name, *value;
    } values[] = { { "model.image_size", p->image_size },
                   { "model.patch_size", p->patch_size },
                   { "model.dim", p->dim },
                   { "model.depth", p->depth },
                   { "model.heads", p->heads },
                   { "model.decoder_dim", p->decoder_dim },
                   { "model.decoder_depth", p->decoder_depth },
                   { "model.decoder_heads", p->decoder_heads },
                   { "model.projector_hidden", p->projector_hidden } };
    char origin[64];
    snprintf(origin, sizeof origin, "model.size = %s", p->name);
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        VMAE_TRY(vmae_config_preset(config, values[i].name, values[i].value, origin));
    return VMAE_OK;
}

/* Where a size was first set by hand; before the preset is applied. */
static const char *origin_of_sizes(const vmae_config *config)
{
    for (const vmae_option *o = vmae_model_options; o->name; o++)
        if (vmae_config_is_set(config, o->name))
            return vmae_config_origin(config, o->name);
    return vmae_config_origin(config, "model.size");
}

vmae_status vmae_options_resolve_model(vmae_config *config)
{
    const char *size = vmae_config_text(config, "model.size"), *origin = origin_of_sizes(config);
    for (size_t i = 0; i < sizeof presets / sizeof *presets; i++)
        if (strcmp(presets[i].name, size) == 0)
            VMAE_TRY(apply_preset(config, &presets[i]));
    vmae_model_config model;
    vmae_options_model(config, &model);
    const vmae_status st = vmae_model_check(&model);
    return st == VMAE_OK ? st : vmae_fail_in(st, "%s: model", origin);
}

void vmae_options_model(const vmae_config *config, vmae_model_config *model)
{
    const double ratio = vmae_config_float(config, "model.mlp_ratio");
    const int64_t dim = vmae_config_int(config, "model.dim"),
                  decoder_dim = vmae_config_int(config, "model.decoder_dim");
    *model = (vmae_model_config){ .image_size = vmae_config_int(config, "model.image_size"),
                                  .patch_size = vmae_config_int(config, "model.patch_size"),
                                  .channels = 3,
                                  .dim = dim,
                                  .depth = vmae_config_int(config, "model.depth"),
                                  .heads = vmae_config_int(config, "model.heads"),
                                  .mlp_hidden = (int64_t)(ratio * (double)dim),
                                  .decoder_dim = decoder_dim,
                                  .decoder_depth = vmae_config_int(config, "model.decoder_depth"),
                                  .decoder_heads = vmae_config_int(config, "model.decoder_heads"),
                                  .decoder_mlp_hidden = (int64_t)(ratio * (double)decoder_dim),
                                  .projector_hidden = vmae_config_int(config, "model.projector_hidden"),
                                  .projector_out = vmae_config_int(config, "model.projector_out"),
                                  .pool = vmae_options_pool(config, "model.pool"),
                                  .mask_ratio = vmae_config_float(config, "model.mask_ratio"),
                                  .norm_pix = vmae_config_bool(config, "model.norm_pix") };
}

vmae_pool vmae_options_pool(const vmae_config *config, const char *name)
{
    const char *pool = vmae_config_text(config, name);
    return strcmp(pool, "mean") == 0  ? VMAE_POOL_MEAN
           : strcmp(pool, "max") == 0 ? VMAE_POOL_MAX
           : strcmp(pool, "gem") == 0 ? VMAE_POOL_GEM
                                      : VMAE_POOL_CLS;
}

vmae_status vmae_options_resolve_precision(vmae_config *config)
{
    if (strcmp(vmae_config_text(config, "precision"), "auto") != 0)
        return VMAE_OK;
    vmae_backend *be;
    VMAE_TRY(vmae_backend_open(&be, vmae_config_text(config, "device"), 1));
    const char *precision = vmae_type_name(be->precision);
    vmae_backend_close(be);
    return vmae_config_set(config, "precision", precision, "precision = auto");
}

vmae_type vmae_options_precision(const vmae_config *config)
{
    return strcmp(vmae_config_text(config, "precision"), "bf16") == 0 ? VMAE_BF16 : VMAE_F32;
}

/* "<prefix>.<name>" in one of a few static buffers. */
static const char *key(const char *prefix, const char *name)
{
    static _Thread_local char keys[4][96];
    static _Thread_local unsigned turn;
    char *text = keys[turn++ % 4];
    snprintf(text, sizeof keys[0], "%s.%s", prefix, name);
    return text;
}

vmae_status vmae_options_dataset(const vmae_config *config, const char *prefix, const char *split,
                                 vmae_dataset_spec *spec, char **path_buffer)
{
    const char *path = vmae_config_text(config, key(prefix, "path"));
    *path_buffer = vmae_path_join(vmae_config_text(config, "data_root"), path);
    if (!*path_buffer)
        return VMAE_ENOMEM;
    *spec = (vmae_dataset_spec){ .kind = vmae_config_text(config, key(prefix, "kind")),
                                 .path = *path_buffer,
                                 .split = split ? split : vmae_config_text(config, key(prefix, "split")),
                                 .limit = vmae_config_int(config, key(prefix, "limit")),
                                 .shapes_count = vmae_config_int(config, key(prefix, "shapes_count")),
                                 .shapes_size = (int)vmae_config_int(config, key(prefix, "shapes_size")),
                                 .shapes_frames = (int)vmae_config_int(config, key(prefix, "shapes_frames")),
                                 .shapes_seed = (uint64_t)vmae_config_int(config, key(prefix, "shapes_seed")) };
    return VMAE_OK;
}

vmae_status vmae_options_open_dataset(const vmae_config *config, const char *prefix, const char *split,
                                      vmae_dataset **dataset)
{
    vmae_dataset_spec spec;
    char *path = NULL;
    vmae_status st = vmae_options_dataset(config, prefix, split, &spec, &path);
    if (st == VMAE_OK)
        st = vmae_dataset_open(dataset, &spec);
    free(path);
    return st == VMAE_OK ? st : vmae_fail_in(st, "%s: %s", vmae_config_origin(config, key(prefix, "kind")), prefix);
}

static float number(const vmae_config *config, const char *prefix, const char *name)
{
    return (float)vmae_config_float(config, key(prefix, name));
}

void vmae_options_augment(const vmae_config *config, const char *prefix, int view, vmae_augment *augment)
{
    const bool colour = vmae_config_bool(config, key(prefix, "colour"));
    *augment = vmae_options_evaluation(vmae_config_int(config, "model.image_size"));
    augment->crop_ratio = 1.0f;
    augment->crop = vmae_config_bool(config, key(prefix, "crop"));
    augment->crop_area_min = number(config, prefix, "crop_area_min");
    augment->crop_area_max = number(config, prefix, "crop_area_max");
    augment->bicubic = strcmp(vmae_config_text(config, key(prefix, "filter")), "bicubic") == 0;
    augment->flip = vmae_config_bool(config, key(prefix, "flip"));
    if (!colour)
        return;
    augment->jitter_p = number(config, prefix, "jitter_p");
    augment->brightness = number(config, prefix, "brightness");
    augment->contrast = number(config, prefix, "contrast");
    augment->saturation = number(config, prefix, "saturation");
    augment->hue = number(config, prefix, "hue");
    augment->grey_p = number(config, prefix, "grey_p");
    augment->blur_p = number(config, prefix, view ? "blur_p2" : "blur_p");
    augment->blur_sigma_min = number(config, prefix, "blur_sigma_min");
    augment->blur_sigma_max = number(config, prefix, "blur_sigma_max");
    augment->solarise_p = view ? number(config, prefix, "solarise_p2") : 0.0f;
    augment->released = vmae_config_bool(config, key(prefix, "released"));
}

vmae_augment vmae_options_evaluation(int64_t size)
{
    /* 224 is cut from 256 as everywhere; small images are used whole. */
    vmae_augment augment = { .size = (int)size,
                             .bicubic = true,
                             .crop_area_min = 1.0f,
                             .crop_area_max = 1.0f,
                             .crop_ratio = size >= 128 ? 0.875f : 1.0f };
    memcpy(augment.mean, vmae_imagenet_mean, sizeof augment.mean);
    memcpy(augment.std, vmae_imagenet_std, sizeof augment.std);
    return augment;
}
