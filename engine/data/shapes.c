/* shapes.c -- the procedural datasets "shapes" (pictures, labelled by object) and "shapes-video" (clips, labelled by
 * motion). */
#include "engine/data/shapes.h"
#include "engine/core/mem.h"
#include "engine/data/data.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double CLIP_S = 2.0; /* a clip shows its motion once, in whatever number of frames */

typedef struct shapes {
    uint64_t seed;
    uint32_t stream;
    int size, frames;
    const char *split;
    vmae_outline outlines[VMAE_SHAPES_OBJECTS];
} shapes;

/* Labels go round, so every prefix of a set is balanced; the other class of a sample goes round more slowly, and for
 * each label from another start. */
static void scene_at(vmae_scene *scene, const vmae_dataset *dataset, int64_t index)
{
    const shapes *self = dataset->self;
    const int label = (int)(index % dataset->classes),
              others = dataset->media == VMAE_VIDEOS ? VMAE_SHAPES_OBJECTS : VMAE_SHAPES_MOTIONS;
    const int other = (int)((index / dataset->classes + 3 * label) % others);
    const bool video = dataset->media == VMAE_VIDEOS;
    vmae_scene_make(scene, self->seed, self->stream, (uint64_t)index, video ? other : label, video ? label : other);
}

static bool known(const vmae_dataset *dataset, int64_t index)
{
    return index >= 0 && index < dataset->count;
}

static vmae_status unknown(const vmae_dataset *dataset, int64_t index)
{
    return vmae_fail(VMAE_EINTERNAL, "shapes: sample %" PRId64 " of %" PRId64, index, dataset->count);
}

static int label_of(const vmae_dataset *dataset, int64_t index)
{
    return known(dataset, index) ? (int)(index % dataset->classes) : -1;
}

static const char *name(const vmae_dataset *dataset, int64_t index, char *buffer, size_t size)
{
    const shapes *self = dataset->self;
    snprintf(buffer, size, "%s/%s/%" PRId64, self->split,
             dataset->class_names[known(dataset, index) ? index % dataset->classes : 0], index);
    return buffer;
}

static vmae_status render(const shapes *self, const vmae_scene *scene, float t, vmae_image *image)
{
    VMAE_TRY(vmae_image_resize_buffer(image, self->size, self->size));
    return vmae_scene_render(image->rgb, self->size, scene, &self->outlines[scene->object], t);
}

static vmae_status image(const vmae_dataset *dataset, int64_t index, int least, vmae_image *out)
{
    (void)least; /* there is one size */
    if (!known(dataset, index))
        return unknown(dataset, index);
    vmae_scene scene;
    scene_at(&scene, dataset, index);
    return render(dataset->self, &scene, scene.moment, out);
}

static vmae_status clip(const vmae_dataset *dataset, int64_t index, vmae_clip_info *info)
{
    const shapes *self = dataset->self;
    if (!known(dataset, index))
        return unknown(dataset, index);
    *info = (vmae_clip_info){ .frames = self->frames, .frames_per_s = self->frames / CLIP_S };
    return VMAE_OK;
}

static vmae_status frames(const vmae_dataset *dataset, int64_t index, const int *frame, int count, vmae_image *images)
{
    const shapes *self = dataset->self;
    if (!known(dataset, index))
        return unknown(dataset, index);
    vmae_scene scene;
    scene_at(&scene, dataset, index);
    for (int i = 0; i < count; i++) {
        if (frame[i] < 0 || frame[i] >= self->frames)
            return vmae_fail(VMAE_EDATA, "shapes-video: frame %d of a clip of %d frames", frame[i], self->frames);
        const float t = self->frames > 1 ? (float)frame[i] / (float)(self->frames - 1) - 0.5f : 0.0f;
        VMAE_TRY(render(self, &scene, t, &images[i]));
    }
    return VMAE_OK;
}

static void close_shapes(vmae_dataset *dataset)
{
    free(dataset->self);
    free(dataset);
}

static vmae_status check(const vmae_dataset_spec *spec, bool video)
{
    const int64_t most = (int64_t)1 << 40;
    if (spec->shapes_count < 1 || spec->shapes_count > most)
        return vmae_fail(VMAE_EUSER, "%s: shapes_count is %" PRId64 "; 1 to 2^40 samples are possible", spec->kind,
                         spec->shapes_count);
    if (spec->shapes_size < VMAE_SHAPES_SIZE_MIN || spec->shapes_size > VMAE_SHAPES_SIZE_MAX)
        return vmae_fail(VMAE_EUSER, "%s: shapes_size is %d; %d to %d pixels are possible", spec->kind,
                         spec->shapes_size, (int)VMAE_SHAPES_SIZE_MIN, (int)VMAE_SHAPES_SIZE_MAX);
    if (video && (spec->shapes_frames < 1 || spec->shapes_frames > 10000))
        return vmae_fail(VMAE_EUSER, "%s: shapes_frames is %d; 1 to 10000 are possible", spec->kind,
                         spec->shapes_frames);
    if (spec->split && strcmp(spec->split, "train") != 0 && strcmp(spec->split, "val") != 0)
        return vmae_fail(VMAE_EUSER, "%s: there is no split \"%s\"; there are train and val", spec->kind, spec->split);
    if (spec->limit < 0)
        return vmae_fail(VMAE_EUSER, "%s: limit is %" PRId64 "; 0 means all samples", spec->kind, spec->limit);
    return VMAE_OK;
}

/* Of the generator's version and of every setting that a pixel or a label depends on. */
static vmae_status fingerprint(vmae_dataset *d)
{
    const shapes *self = d->self;
    vmae_hash *hash = vmae_hash_new();
    if (!hash)
        return VMAE_ENOMEM;
    const struct {
        const char *name;
        int64_t value;
    } fields[] = { { "version", VMAE_SHAPES_VERSION }, { "media", d->media }, { "stream", self->stream },
                   { "seed", (int64_t)self->seed },    { "count", d->count }, { "size", self->size },
                   { "frames", self->frames } };
    vmae_hash_field(hash, "kind", "shapes");
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        char text[32];
        snprintf(text, sizeof text, "%" PRId64, fields[i].value);
        vmae_hash_field(hash, fields[i].name, text);
    }
    vmae_hash_hex(hash, d->fingerprint);
    vmae_hash_free(hash);
    return VMAE_OK;
}

vmae_status vmae_open_shapes(vmae_dataset **dataset, const vmae_dataset_spec *spec)
{
    const bool video = strcmp(spec->kind, "shapes-video") == 0, val = spec->split && strcmp(spec->split, "val") == 0;
    VMAE_TRY(check(spec, video));
    vmae_dataset *d = vmae_calloc(1, sizeof *d);
    shapes *self = vmae_calloc(1, sizeof *self);
    if (!d || !self) {
        free(self);
        free(d);
        return VMAE_ENOMEM;
    }
    *self =
        (shapes){ .seed = spec->shapes_seed,
                  .stream = (video ? 2u : 0u) + (val ? 1u : 0u), /* splits share no scene, nor do pictures and clips */
                  .size = spec->shapes_size,
                  .frames = video ? spec->shapes_frames : 1,
                  .split = val ? "val" : "train" };
    for (int i = 0; i < VMAE_SHAPES_OBJECTS; i++)
        vmae_shapes_outline(&self->outlines[i], i);
    *d = (vmae_dataset){ .media = video ? VMAE_VIDEOS : VMAE_IMAGES,
                         .count = spec->limit && spec->limit < spec->shapes_count ? spec->limit : spec->shapes_count,
                         .classes = video ? VMAE_SHAPES_MOTIONS : VMAE_SHAPES_OBJECTS,
                         .class_names = video ? vmae_shapes_motions : vmae_shapes_objects,
                         .self = self,
                         .label = label_of,
                         .name = name,
                         .close = close_shapes };
    if (video) {
        d->clip = clip;
        d->frames = frames;
        snprintf(d->description, sizeof d->description,
                 "shapes-video, %s, %" PRId64 " clips of %d frames, %d pixels, %d motions", self->split, d->count,
                 self->frames, self->size, d->classes);
    } else {
        d->image = image;
        snprintf(d->description, sizeof d->description, "shapes, %s, %" PRId64 " images, %d pixels, %d objects",
                 self->split, d->count, self->size, d->classes);
    }
    const vmae_status st = fingerprint(d);
    if (st != VMAE_OK) {
        close_shapes(d);
        return st;
    }
    *dataset = d;
    return VMAE_OK;
}
