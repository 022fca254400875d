/* data.h -- datasets, decoding, frame sampling, augmentation, and the loader that turns them into batches.
 *
 * dataset (what is there) -> decode (one image, or two frames of a clip) -> augment (each view) -> batch (loader
 * threads). Every random choice is a function of (seed, purpose, epoch, sample): see rng.h. Nothing here depends on the
 * number of threads. */
#ifndef VMAE_DATA_DATA_H
#define VMAE_DATA_DATA_H

#include "engine/core/hash.h"
#include "engine/core/rng.h"
#include "engine/core/status.h"
#include "engine/pixels/image.h"
#include "engine/pixels/view.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- pixels ---- */

/* Decodes a JPEG (libjpeg-turbo), or whatever still image FFmpeg reads (PNG, WebP, BMP, ...), to RGB; grey and CMYK are
 * converted, EXIF orientation is not applied (as in torchvision's ImageFolder). `least`: the decoder may deliver a JPEG
 * scaled down by DCT scaling as long as the short side stays >= least; 0: full size. VMAE_EDATA, naming `name`, for
 * anything that is not a whole image (truncated JPEGs are refused, not grey-filled), or is larger than 64 Mpixel. */
vmae_status vmae_decode_image(vmae_image *image, const uint8_t *bytes, size_t count, int least, const char *name);

/* ---- datasets ---- */

typedef enum vmae_media { VMAE_IMAGES, VMAE_VIDEOS } vmae_media;

/* A clip's frames in presentation order, counted when the clip is first used, once per process. frames_per_s is 0 if
 * unknown. */
typedef struct vmae_clip_info {
    int frames;
    double frames_per_s;
} vmae_clip_info;

/* What an opened dataset is. A kind (folder, tar, video, cifar, shapes) fills in the functions; `self` is its own
 * state. All functions may be called from many threads at once. */
typedef struct vmae_dataset vmae_dataset;
struct vmae_dataset {
    vmae_media media;
    int64_t count;                   /* samples */
    int classes;                     /* 0 if there are no labels */
    const char *const *class_names;  /* [classes], sorted as the labels count */
    char description[256];           /* "folder /data/x, 1234 images, 10 classes" */
    char fingerprint[VMAE_HASH_HEX]; /* of the list of samples (names, sizes, labels; for archives of their index) or of
                                        the generator's version and settings */
    void *self;
    int (*label)(const vmae_dataset *dataset, int64_t index); /* -1: none */
    const char *(*name)(const vmae_dataset *dataset, int64_t index, char *buffer,
                        size_t size); /* for messages: path or member */
    /* media == VMAE_IMAGES: the decoded image. */
    vmae_status (*image)(const vmae_dataset *dataset, int64_t index, int least, vmae_image *image);
    /* media == VMAE_VIDEOS */
    vmae_status (*clip)(const vmae_dataset *dataset, int64_t index, vmae_clip_info *info);
    /* Decodes `count` frames, given by ascending or equal frame numbers, into images[0..count). */
    vmae_status (*frames)(const vmae_dataset *dataset, int64_t index, const int *frame, int count, vmae_image *images);
    void (*close)(vmae_dataset *dataset); /* releases self and the dataset itself */
};
/* Calls close. NULL is fine. */
void vmae_dataset_close(vmae_dataset *dataset);

/* How to open one. `kind`: "folder" (class folders of images), "tar" (WebDataset or plain tar of images: members
 * <class>/<name>.jpg, or <key>.jpg with <key>.cls), "videos" (class folders of clips), "cifar10" / "cifar100" (binary
 * version, folder with *.bin), "shapes" / "shapes-video" (procedural). */
typedef struct vmae_dataset_spec {
    const char *kind, *path;
    const char *split; /* "train" (also NULL) or "val": a sub-folder or file stem if there is one, else refused for
                        * "val"; "val" is also looked for as "validation", "valid" and "test" */
    int64_t limit;     /* use only the first n samples (0: all); class-balanced sets stay so if their order is */
    /* shapes only */
    int64_t shapes_count;
    int shapes_size;   /* pixels of a side that it renders at */
    int shapes_frames; /* frames of a clip */
    uint64_t shapes_seed;
} vmae_dataset_spec;
vmae_status vmae_dataset_open(vmae_dataset **dataset, const vmae_dataset_spec *spec);

/* One opener per kind, each in its own file; the table of kinds is in dataset.c. */
vmae_status vmae_open_folder(vmae_dataset **dataset, const vmae_dataset_spec *spec);
vmae_status vmae_open_tar(vmae_dataset **dataset, const vmae_dataset_spec *spec);
vmae_status vmae_open_videos(vmae_dataset **dataset, const vmae_dataset_spec *spec);
vmae_status vmae_open_cifar(vmae_dataset **dataset, const vmae_dataset_spec *spec);  /* cifar10 and cifar100 */
vmae_status vmae_open_shapes(vmae_dataset **dataset, const vmae_dataset_spec *spec); /* shapes and shapes-video */

/* ---- which two frames of a clip (paper sec. 3.3 and 4; recipes.md sec. 4) ---- */

typedef struct vmae_frame_sampling {
    bool distant; /* distant: the window is cut in two equal parts, one uniform frame from each */
    int delta;    /* continuous: start i uniform, second frame uniform in (i, i + delta]; 0: the same frame twice */
    int window;   /* frames of the clip that a pair is taken from (a uniform window); 0: the whole clip */
} vmae_frame_sampling;
/* frame[0] <= frame[1]. VMAE_EDATA, saying what is needed, for a clip too short: fewer than 1 frame (delta 0), delta +
 * 1 frames (continuous), 2 frames (distant). A window longer than the clip is the whole clip. */
vmae_status vmae_sample_frames(const vmae_frame_sampling *how, int frames_in_clip, vmae_rng *rng, int frame[2]);

/* ---- augmentation of one view ---- */

/* Every switch off and size set = resize the short side to size / crop_ratio and centre crop: the evaluation transform.
 */
typedef struct vmae_augment {
    int size;     /* pixels of a side of the result */
    bool bicubic; /* filter of resizing; else bilinear; both antialiased as in Pillow */
    bool crop;    /* random resized crop */
    float crop_area_min,
        crop_area_max; /* of the image's area; aspect 3/4 to 4/3 log-uniform; ten tries, then the centre */
    bool crop_once;    /* one draw without retries, sides clipped to the image (MAE's linear probe) */
    bool flip;         /* left-right with probability 0.5 */
    float jitter_p, brightness, contrast, saturation,
        hue; /* colour jitter with probability jitter_p, factors in 1 +- x, hue +- x turns; random order */
    float grey_p;
    float blur_p, blur_sigma_min, blur_sigma_max;
    float solarise_p; /* threshold 128 */
    bool released; /* the released code's colour ops: fixed jitter order, hue as a rotation about the grey axis, blur 5
                      wide x 9 high after normalisation, one sigma a view (that code: one a batch) */
    float crop_ratio;      /* evaluation: 0.875; 1: resize only */
    float mean[3], std[3]; /* of normalisation, of values in [0, 1] */
} vmae_augment;
extern const float vmae_imagenet_mean[3], vmae_imagenet_std[3];

/* What settings and chance make of an image of some size: which part of it, and what is done with that. Order: crop,
 * flip, jitter, grey, blur (9 x 9), solarise, normalise. */
typedef struct vmae_drawn {
    vmae_cut cut;
    vmae_view view; /* but for `source` */
} vmae_drawn;
/* Always draws everything that any operation may need, in one order: settings that differ in one operation see the same
 * crops and colours. VMAE_EUSER for settings out of range, VMAE_EDATA for an image without pixels. */
vmae_status vmae_augment_draw(const vmae_augment *how, int height, int width, vmae_rng *rng, vmae_drawn *drawn);

/* `scratch` keeps buffers between calls (all zero at first; release with vmae_augment_scratch_release). */
typedef struct vmae_augment_scratch {
    vmae_image image;
    vmae_block work;
} vmae_augment_scratch;
/* The view that was drawn, [3, size, size] normalised floats... */
vmae_status vmae_augment_make(const vmae_drawn *drawn, const vmae_image *image, vmae_augment_scratch *scratch,
                              float *out);
/* ... or its record of vmae_view_record_bytes, of which a device makes the same floats (engine/pixels/view.h). */
vmae_status vmae_augment_pack(const vmae_drawn *drawn, const vmae_image *image, vmae_augment_scratch *scratch,
                              uint8_t *record);
/* Draws and makes. */
vmae_status vmae_augment_apply(const vmae_augment *how, const vmae_image *image, vmae_rng *rng,
                               vmae_augment_scratch *scratch, float *out);
void vmae_augment_scratch_release(vmae_augment_scratch *scratch);

/* ---- the loader ---- */

/* Which samples a step sees: a permutation of the dataset for every epoch, a function of (seed, epoch) alone. */
/* Position p of the endless stream: epoch p / count, index perm(epoch)[p % count]. No state: O(1) memory, O(1) time. */
void vmae_order_at(uint64_t seed, int64_t count, bool shuffle, uint64_t position, uint32_t *epoch, int64_t *index);

typedef struct vmae_source { /* one part of a mixed batch */
    const vmae_dataset *dataset;
    int batch;                  /* samples of it in each batch */
    vmae_augment view[2];       /* view 2 is used for pairs only */
    vmae_frame_sampling frames; /* videos */
    bool fixed_pairs; /* the frame pair (and nothing else) does not depend on the epoch, as in the released code */
} vmae_source;

/* A sample that was found bad before, by what vmae_bad_sample said of it: dataset->description and name. */
typedef struct vmae_known_bad {
    const char *dataset, *name;
} vmae_known_bad;

typedef struct vmae_loader_spec {
    const vmae_source *sources;
    int source_count;
    bool pairs;   /* two views a sample; else one */
    bool records; /* batches hold records, of which a device makes the views (vmae_kernels.augment), in place of floats
                   */
    bool shuffle;
    bool last_partial; /* evaluation: one pass over one source, the last batch may be smaller, of a clip the middle
                        * frame (without pairs); else an endless stream of full batches */
    uint64_t seed;
    int64_t first_step;    /* resume: the batches before it are not made */
    int threads, prefetch; /* loader threads >= 1; finished batches held at most: prefetch >= 1 */
    int64_t bad_limit; /* bad samples that are replaced (by the next index of the dataset) before the loader fails; 0:
                        * the first one fails. A sample counts once, however often it comes round. Bad: VMAE_EDATA, and
                        * nothing else: settings that make no sense end the loader, and so does a system that cannot
                        * read, after a few tries */
    const vmae_known_bad *known_bad; /* [known_bad_count] of earlier attempts, or of this run's other loaders: they
                                      * count against the limit, are not warned of again, and not listed by
                                      * vmae_loader_bad. Copied */
    int64_t known_bad_count;
} vmae_loader_spec;

typedef struct vmae_batch {
    int64_t step;
    int count;                  /* samples */
    uint32_t epoch;             /* of the first source's first sample */
    const float *view1, *view2; /* each [count, 3, size, size]; view2 directly behind view1 in memory (one [2 count,
                                   ...] block); view2 NULL without pairs */
    /* with records, in place of view1 and view2: */
    const uint8_t *sources;
    int64_t source_bytes;   /* at most vmae_view_record_most a view */
    const vmae_view *views; /* [count] or [2 count]: view 1 of all samples, then view 2 */
    const int32_t *labels;  /* [count], -1 = none */
    const int64_t *index;   /* [count] sample index within its dataset (after replacement) */
} vmae_batch;

typedef struct vmae_bad_sample {
    const vmae_dataset *dataset;
    int64_t index, step;
    char name[512], reason[512];
} vmae_bad_sample;

/* Source s has streams of its own, of seed + s * 0x9e3779b97f4a7c15: those of the first are the seed's. Its sample at
 * `slot` of `step` is number step * batch + slot of its order; frames and augmentation are drawn for that sample's
 * epoch and index, also where it is replaced. Datasets must outlive the loader; spec and sources are copied.
 * vmae_loader_next, _peek, _waited and _stop belong to one thread. */
typedef struct vmae_loader vmae_loader;
vmae_status vmae_loader_start(vmae_loader **loader, const vmae_loader_spec *spec);
/* The next batch, valid until the next call. *batch = NULL after the last (last_partial). Fails with the bad sample
 * named when the limit is passed, or with what went wrong in a thread, at the same step for any number of threads; then
 * every further call fails likewise. */
vmae_status vmae_loader_next(vmae_loader *loader, const vmae_batch **batch);
/* The batch that the next call will give, if it is complete already, to have its bytes travel ahead; else NULL. They stay
 * where they are until the call after that. */
const vmae_batch *vmae_loader_peek(vmae_loader *loader);
/* Seconds that vmae_loader_next has waited in all, and bad samples replaced so far (listed in the order of steps). */
double vmae_loader_waited(const vmae_loader *loader);
int64_t vmae_loader_bad(vmae_loader *loader, int64_t first, vmae_bad_sample *list,
                        int64_t room);      /* copies from the first'th on; returns how many there are in all */
void vmae_loader_stop(vmae_loader *loader); /* NULL is fine */

#endif
