/* pretrain_data.c -- which images and frames a pre-training batch is made of. */
#include "experiments/pretrain.h"

#include <math.h>
#include <string.h>

static bool wanted(const vmae_config *config, const char *kind, bool images)
{
    const double ratio = vmae_config_float(config, "data.image_ratio");
    return strcmp(vmae_config_text(config, kind), "none") != 0 && (images ? ratio > 0.0 : ratio < 1.0);
}

static vmae_status open_one(const vmae_config *config, const char *prefix, vmae_media media, vmae_dataset **dataset)
{
    VMAE_TRY(vmae_options_open_dataset(config, prefix, NULL, dataset));
    if ((*dataset)->media != media)
        return vmae_config_refuse(config, media == VMAE_IMAGES ? "data.images.kind" : "data.videos.kind",
                                  "these are %s",
                                  media == VMAE_IMAGES ? "videos; images are folder, tar, cifar10, cifar100 or shapes"
                                                       : "images; videos are videos or shapes-video");
    return VMAE_OK;
}

static vmae_source source_of(const vmae_config *config, const vmae_dataset *dataset, int batch, const char *augment)
{
    vmae_source source = { .dataset = dataset, .batch = batch };
    for (int view = 0; view < 2; view++)
        vmae_options_augment(config, augment, view, &source.view[view]);
    source.frames =
        (vmae_frame_sampling){ .distant = strcmp(vmae_config_text(config, "frames.sampling"), "distant") == 0,
                               .delta = (int)vmae_config_int(config, "frames.delta"),
                               .window = (int)vmae_config_int(config, "frames.window") };
    source.fixed_pairs = !vmae_config_bool(config, "frames.fresh");
    return source;
}

vmae_status vmae_pretrain_data_open(vmae_pretrain_data *data, const vmae_config *config)
{
    vmae_pretrain_data d = { 0 };
    vmae_status st = VMAE_OK;
    const bool images = wanted(config, "data.images.kind", true), videos = wanted(config, "data.videos.kind", false);
    const int batch = (int)vmae_config_int(config, "train.batch");
    int from_images = images ? batch : 0;
    if (images && videos)
        from_images = (int)lround(vmae_config_float(config, "data.image_ratio") * batch);
    if (images && from_images > 0 && (st = open_one(config, "data.images", VMAE_IMAGES, &d.images)) != VMAE_OK)
        goto done;
    if (videos && from_images < batch && (st = open_one(config, "data.videos", VMAE_VIDEOS, &d.videos)) != VMAE_OK)
        goto done;
    if (d.images)
        d.sources[d.source_count++] = source_of(config, d.images, from_images, "augment.images");
    if (d.videos)
        d.sources[d.source_count++] = source_of(config, d.videos, batch - from_images, "augment.frames");
    for (int i = 0; i < d.source_count; i++)
        d.samples += d.sources[i].dataset->count;
done:
    if (st == VMAE_OK)
        *data = d;
    else
        vmae_pretrain_data_close(&d);
    return st;
}

void vmae_pretrain_data_close(vmae_pretrain_data *data)
{
    vmae_dataset_close(data->images);
    vmae_dataset_close(data->videos);
    *data = (vmae_pretrain_data){ 0 };
}

vmae_pretrain_length vmae_pretrain_length_of(const vmae_config *config, int64_t samples)
{
    const int64_t per_step = vmae_config_int(config, "train.batch") * vmae_config_int(config, "train.accum_iter");
    vmae_pretrain_length length = { .epoch_steps = vmae_config_int(config, "train.epoch_steps") };
    if (length.epoch_steps == 0)
        length.epoch_steps = samples / per_step > 1 ? samples / per_step : 1;
    length.steps = (int64_t)ceil(vmae_config_float(config, "train.epochs") * (double)length.epoch_steps - 1e-9);
    return length;
}
