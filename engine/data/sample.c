/* sample.c -- makes one sample of a batch: decodes it, augments it, puts it in its place; what is bad is replaced. */
#include "engine/data/loader.h"

#include "engine/core/mem.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* Every source has its own streams; the first one's are those of the seed itself. */
static uint64_t seed_of(const vmae_loader *loader, int source)
{
    return loader->spec.seed + (uint64_t)source * 0x9e3779b97f4a7c15u;
}

static vmae_status decode_clip(const vmae_loader *loader, const vmae_source *source, vmae_rng *rng, int64_t index,
                               loader_worker *own)
{
    vmae_clip_info info;
    int frame[2];
    VMAE_TRY(source->dataset->clip(source->dataset, index, &info));
    if (!loader->spec.pairs && loader->spec.last_partial) {
        frame[0] = info.frames / 2;
    } else {
        const vmae_frame_sampling one = { .delta = 0, .window = source->frames.window };
        const vmae_status st = vmae_sample_frames(loader->spec.pairs ? &source->frames : &one, info.frames, rng, frame);
        if (st != VMAE_OK) {
            char name[512];
            return vmae_fail_in(st, "%s", source->dataset->name(source->dataset, index, name, sizeof name));
        }
    }
    return source->dataset->frames(source->dataset, index, frame, loader->spec.pairs ? 2 : 1, own->image);
}

size_t loader_view_floats(const vmae_loader *loader)
{
    return (size_t)3 * (size_t)loader->size * (size_t)loader->size;
}

/* Room for records of a sample; what fails later leaves it unused, and ends the loader. */
static int64_t take_room(vmae_loader *loader, loader_entry *to, int64_t bytes)
{
    pthread_mutex_lock(&loader->lock);
    const int64_t at = to->source_bytes;
    to->source_bytes += bytes;
    pthread_mutex_unlock(&loader->lock);
    return at;
}

/* The views that were drawn of images, into their places in the batch: as floats or as records. */
static vmae_status put_views(vmae_loader *loader, loader_entry *to, int slot, const vmae_drawn *drawn,
                             const vmae_image *const *images, loader_worker *own)
{
    const int views = loader->spec.pairs ? 2 : 1;
    int64_t bytes[2] = { 0 }, at = 0;
    if (loader->spec.records) {
        for (int i = 0; i < views; i++)
            bytes[i] = vmae_view_record_bytes(&drawn[i].view, loader->size);
        at = take_room(loader, to, bytes[0] + bytes[1]);
    }
    for (int i = 0; i < views; i++) {
        const int64_t row = slot + (int64_t)i * to->count;
        if (loader->spec.records) {
            to->views[row] = drawn[i].view;
            to->views[row].source = at;
            VMAE_TRY(vmae_augment_pack(&drawn[i], images[i], &own->scratch, to->sources + at));
            at += bytes[i];
        } else {
            VMAE_TRY(vmae_augment_make(&drawn[i], images[i], &own->scratch,
                                       to->pixels + (size_t)row * loader_view_floats(loader)));
        }
    }
    return VMAE_OK;
}

/* Decodes sample `index` and augments it with the streams of (epoch, key). */
static vmae_status produce(vmae_loader *loader, int source_number, uint32_t epoch, int64_t key, int64_t index,
                           loader_worker *own, loader_entry *to, int slot)
{
    static const vmae_purpose purposes[2] = { VMAE_RNG_AUGMENT_1, VMAE_RNG_AUGMENT_2 };
    const vmae_source *source = &loader->sources[source_number];
    const vmae_dataset *dataset = source->dataset;
    const uint64_t seed = seed_of(loader, source_number);
    const bool video = dataset->media == VMAE_VIDEOS;
    const vmae_image *const images[2] = { &own->image[0], &own->image[video] };
    vmae_drawn drawn[2];
    if (video) {
        vmae_rng rng = vmae_rng_at(seed, VMAE_RNG_FRAMES, source->fixed_pairs ? 0 : epoch, (uint64_t)key);
        VMAE_TRY(decode_clip(loader, source, &rng, index, own));
    } else {
        VMAE_TRY(dataset->image(dataset, index, loader->least[source_number], &own->image[0]));
    }
    for (int i = 0; i < (loader->spec.pairs ? 2 : 1); i++) {
        vmae_rng rng = vmae_rng_at(seed, purposes[i], epoch, (uint64_t)key);
        VMAE_TRY(vmae_augment_draw(&source->view[i], images[i]->height, images[i]->width, &rng, &drawn[i]));
    }
    return put_views(loader, to, slot, drawn, images, own);
}

/* produce(), where a failure of the system (a disk or file server that hiccups, no more open files) gets a few tries:
 * to replace a good sample because of it would change the run. */
static vmae_status produce_patiently(vmae_loader *loader, int source, uint32_t epoch, int64_t key, int64_t index,
                                     loader_worker *own, loader_entry *to, int slot)
{
    static const long pause_ms[] = { 50, 250, 1000 };
    enum { PAUSES = sizeof pause_ms / sizeof *pause_ms };
    vmae_status st = produce(loader, source, epoch, key, index, own, to, slot);
    for (int i = 0; i < PAUSES && st == VMAE_EIO && !atomic_load(&loader->out_of_patience); i++) {
        nanosleep(&(struct timespec){ pause_ms[i] / 1000, pause_ms[i] % 1000 * 1000000 }, NULL);
        st = produce(loader, source, epoch, key, index, own, to, slot);
    }
    if (st != VMAE_EIO)
        return st;
    atomic_store(&loader->out_of_patience, true);
    char reason[768];
    snprintf(reason, sizeof reason, "%s", vmae_error());
    return vmae_fail(st, "%s (tried again and again; mend that, then the same command goes on)", reason);
}

static vmae_status keep_bad(vmae_loader *loader, loader_entry *to, int slot, int attempt, const vmae_dataset *dataset,
                            int64_t index)
{
    const vmae_bad_sample place = { .dataset = dataset, .index = index, .step = to->step };
    pthread_mutex_lock(&loader->lock);
    const vmae_status st = vmae_bad_batch_add(&to->bad, &place, slot, attempt);
    pthread_mutex_unlock(&loader->lock);
    return st;
}

vmae_status loader_make_sample(vmae_loader *loader, loader_entry *to, int slot, loader_worker *own)
{
    int number = 0;
    while (slot >= loader->first_slot[number + 1])
        number++;
    const vmae_source *source = &loader->sources[number];
    const vmae_dataset *dataset = source->dataset;
    const int64_t place = slot - loader->first_slot[number];
    uint32_t epoch;
    int64_t key;
    vmae_order_at(seed_of(loader, number), dataset->count, loader->spec.shuffle,
                  (uint64_t)to->step * (uint64_t)source->batch + (uint64_t)place, &epoch, &key);
    if (slot == 0)
        to->epoch = epoch;
    for (int64_t attempt = 0; attempt < dataset->count; attempt++) {
        const int64_t index = (key + attempt) % dataset->count;
        const vmae_status st = produce_patiently(loader, number, epoch, key, index, own, to, slot);
        if (st == VMAE_OK) {
            to->labels[slot] = dataset->label ? dataset->label(dataset, index) : -1;
            to->index[slot] = index;
            return VMAE_OK;
        }
        if (st != VMAE_EDATA) /* not the sample's fault: settings, the system, memory */
            return st;
        VMAE_TRY(keep_bad(loader, to, slot, attempt > INT32_MAX ? INT32_MAX : (int)attempt, dataset, index));
        if (attempt >= loader->spec.bad_limit)
            return VMAE_OK; /* these alone pass the limit: delivery will say so */
    }
    return vmae_fail_in(VMAE_EDATA, "not one of the %lld samples of %s can be read; the last",
                        (long long)dataset->count, dataset->description);
}
