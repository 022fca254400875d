/* loader.c -- worker threads that make batches ahead of their use.
 *
 * Tickets (step, slot) are handed out in order; a worker makes that one sample into its place in the batch. What a
 * sample is, is a function of seed and ticket alone, so the batches do not depend on the number of threads. A ring
 * holds the batches under way; failures and bad samples are kept with their batch and come to light when it is
 * delivered, in the order of steps and slots. */
#include "engine/core/log.h"
#include "engine/core/mem.h"
#include "engine/data/bad.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_THREADS = 1024, MAX_PREFETCH = 1024 };

/* A batch under way, ready, or in the consumer's hands. */
typedef struct entry {
    int64_t step;
    int count, missing; /* samples of it; those not made yet (guarded by the loader's lock) */
    uint32_t epoch;
    float *pixels;        /* of the views; or, in records: */
    uint8_t *sources;     /* one record behind the other, in the order in which they came */
    int64_t source_bytes; /* guarded by the lock */
    vmae_view *views;
    int32_t *labels;
    int64_t *index;
    vmae_bad_batch bad; /* guarded by the lock */
    vmae_status status; /* the failure with the lowest slot, guarded by the lock */
    int failed_slot;
    char error[1024];
} entry;

struct vmae_loader {
    vmae_loader_spec spec;
    vmae_source *sources; /* our copy */
    int *first_slot;      /* [source_count + 1] */
    int *least;           /* [source_count] for vmae_decode_image */
    int batch, size;
    int64_t steps; /* last_partial: there are so many; else INT64_MAX */

    pthread_mutex_t lock;
    pthread_cond_t work, ready; /* a ticket may be free; a batch may be ready */
    bool stopping;
    atomic_bool out_of_patience; /* a system error stayed: the rest of its batch need not wait for it too */
    int64_t ticket_step;
    int ticket_slot;
    int64_t oldest; /* the oldest step that still needs its ring entry */
    entry *ring;
    int ring_count;
    pthread_t *threads;
    int started;

    /* the consumer's */
    int64_t next_step;
    bool holding; /* the batch of next_step - 1 is in use */
    vmae_batch delivered, peeked;
    double waited;
    vmae_status failed;
    char failure[1024];
    vmae_bad_list bad; /* guarded by the lock */
};

typedef struct worker {
    vmae_image image[2];
    vmae_augment_scratch scratch;
} worker;

/* ---- making one sample ---- */

/* Every source has its own streams; the first one's are those of the seed itself. */
static uint64_t seed_of(const vmae_loader *loader, int source)
{
    return loader->spec.seed + (uint64_t)source * 0x9e3779b97f4a7c15u;
}

/* How short the short side of a decoded image may be, so that no crop has to be enlarged that would not be at full
 * size: the narrowest crop has sides of sqrt(area_min * 3/4) of the short side. 0: full size. */
static int least_side(const vmae_augment *view)
{
    const double share = view->crop ? sqrt((double)view->crop_area_min * 0.75) : (double)view->crop_ratio;
    const double side = share > 0.0 ? ceil(view->size / share) : 0.0;
    return side < 65536.0 ? (int)side : 0;
}

static vmae_status decode_clip(const vmae_loader *loader, const vmae_source *source, vmae_rng *rng, int64_t index,
                               worker *own)
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

static size_t view_floats(const vmae_loader *loader)
{
    return (size_t)3 * (size_t)loader->size * (size_t)loader->size;
}

/* Room for records of a sample; what fails later leaves it unused, and ends the loader. */
static int64_t take_room(vmae_loader *loader, entry *to, int64_t bytes)
{
    pthread_mutex_lock(&loader->lock);
    const int64_t at = to->source_bytes;
    to->source_bytes += bytes;
    pthread_mutex_unlock(&loader->lock);
    return at;
}

/* The views that were drawn of images, into their places in the batch: as floats or as records. */
static vmae_status put_views(vmae_loader *loader, entry *to, int slot, const vmae_drawn *drawn,
                             const vmae_image *const *images, worker *own)
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
            VMAE_TRY(
                vmae_augment_make(&drawn[i], images[i], &own->scratch, to->pixels + (size_t)row * view_floats(loader)));
        }
    }
    return VMAE_OK;
}

/* Decodes sample `index` and augments it with the streams of (epoch, key). */
static vmae_status produce(vmae_loader *loader, int source_number, uint32_t epoch, int64_t key, int64_t index,
                           worker *own, entry *to, int slot)
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
                                     worker *own, entry *to, int slot)
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

static void keep_failure(vmae_loader *loader, entry *to, int slot, vmae_status status)
{
    pthread_mutex_lock(&loader->lock);
    if (to->status == VMAE_OK || slot < to->failed_slot) {
        to->status = status;
        to->failed_slot = slot;
        snprintf(to->error, sizeof to->error, "%s", vmae_error());
    }
    pthread_mutex_unlock(&loader->lock);
}

static vmae_status keep_bad(vmae_loader *loader, entry *to, int slot, int attempt, const vmae_dataset *dataset,
                            int64_t index)
{
    const vmae_bad_sample place = { .dataset = dataset, .index = index, .step = to->step };
    pthread_mutex_lock(&loader->lock);
    const vmae_status st = vmae_bad_batch_add(&to->bad, &place, slot, attempt);
    pthread_mutex_unlock(&loader->lock);
    return st;
}

/* Makes the sample of one ticket; a bad one is replaced by the next of its dataset, with the augmentation of its own
 * place. */
static vmae_status make_sample(vmae_loader *loader, entry *to, int slot, worker *own)
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

/* ---- the threads ---- */

static entry *entry_of(vmae_loader *loader, int64_t step)
{
    return &loader->ring[(step - loader->spec.first_step) % loader->ring_count];
}

/* Takes the next ticket, waiting for room in the ring. NULL: there is nothing left to do. */
static entry *take_ticket(vmae_loader *loader, int *slot)
{
    entry *taken = NULL;
    pthread_mutex_lock(&loader->lock);
    while (!loader->stopping && loader->ticket_step < loader->steps &&
           loader->ticket_step >= loader->oldest + loader->ring_count)
        pthread_cond_wait(&loader->work, &loader->lock);
    if (!loader->stopping && loader->ticket_step < loader->steps) {
        taken = entry_of(loader, loader->ticket_step);
        *slot = loader->ticket_slot;
        if (*slot == 0) {
            taken->step = loader->ticket_step;
            taken->count = loader->batch;
            if (loader->spec.last_partial &&
                loader->sources[0].dataset->count - taken->step * loader->batch < loader->batch)
                taken->count = (int)(loader->sources[0].dataset->count - taken->step * loader->batch);
            taken->missing = taken->count;
            taken->source_bytes = 0;
            taken->bad.count = 0;
            taken->status = VMAE_OK;
        }
        if (++loader->ticket_slot == taken->count) {
            loader->ticket_slot = 0;
            loader->ticket_step++;
        }
    }
    pthread_mutex_unlock(&loader->lock);
    return taken;
}

static void *work(void *context)
{
    vmae_loader *loader = context;
    worker own = { 0 };
    entry *to;
    int slot;
    while ((to = take_ticket(loader, &slot))) {
        const vmae_status st = make_sample(loader, to, slot, &own);
        if (st != VMAE_OK)
            keep_failure(loader, to, slot, st);
        pthread_mutex_lock(&loader->lock);
        if (--to->missing == 0)
            pthread_cond_broadcast(&loader->ready);
        pthread_mutex_unlock(&loader->lock);
    }
    for (int i = 0; i < 2; i++)
        vmae_image_release(&own.image[i]);
    vmae_augment_scratch_release(&own.scratch);
    return NULL;
}

/* ---- starting and stopping ---- */

static vmae_status check_source(const vmae_loader_spec *spec, int number)
{
    const vmae_source *source = &spec->sources[number];
    const vmae_dataset *dataset = source->dataset;
    const int size = spec->sources[0].view[0].size;
    if (!dataset || dataset->count < 1)
        return vmae_fail(VMAE_EUSER, "data source %d has no samples", number);
    if (source->batch < 1 || source->batch > 1 << 24)
        return vmae_fail(VMAE_EUSER, "data source %d (%s) has a batch of %d samples; it needs at least 1", number,
                         dataset->description, source->batch);
    for (int view = 0; view < (spec->pairs ? 2 : 1); view++)
        if (source->view[view].size != size || size < 1 || size > 8192)
            return vmae_fail(VMAE_EUSER,
                             "data source %d, view %d: images of %d pixels a side; all views need the same, 1 to 8192",
                             number, view + 1, source->view[view].size);
    return VMAE_OK;
}

static vmae_status check_spec(const vmae_loader_spec *spec)
{
    if (spec->source_count < 1 || spec->source_count > 1024)
        return vmae_fail(VMAE_EUSER, "the loader needs 1 to 1024 data sources, not %d", spec->source_count);
    if (spec->threads < 1 || spec->threads > MAX_THREADS)
        return vmae_fail(VMAE_EUSER, "the loader needs 1 to %d threads, not %d", MAX_THREADS, spec->threads);
    if (spec->prefetch < 1 || spec->prefetch > MAX_PREFETCH)
        return vmae_fail(VMAE_EUSER, "the loader holds 1 to %d finished batches, not %d", MAX_PREFETCH, spec->prefetch);
    if (spec->first_step < 0 || spec->first_step >= (int64_t)1 << 38 || spec->bad_limit < 0 ||
        spec->known_bad_count < 0)
        return vmae_fail(VMAE_EUSER, "the loader cannot begin at step %lld with a limit of %lld bad samples",
                         (long long)spec->first_step, (long long)spec->bad_limit);
    if (spec->last_partial && spec->source_count != 1)
        return vmae_fail(VMAE_EUSER, "one pass over the data (evaluation) takes one data source, not %d",
                         spec->source_count);
    for (int i = 0; i < spec->source_count; i++)
        VMAE_TRY(check_source(spec, i));
    return VMAE_OK;
}

/* < 2^28 bytes each, of < 2^25 */
static vmae_status allocate_views(const vmae_loader *loader, entry *made, size_t views)
{
    if (loader->spec.records) {
        made->views = vmae_calloc(views, sizeof *made->views);
        made->sources = vmae_calloc(views, (size_t)vmae_view_record_most(loader->size));
        return made->views && made->sources ? VMAE_OK : VMAE_ENOMEM;
    }
    made->pixels = vmae_calloc(views, view_floats(loader) * sizeof *made->pixels);
    return made->pixels ? VMAE_OK : VMAE_ENOMEM;
}

static vmae_status allocate(vmae_loader *loader)
{
    const vmae_loader_spec *spec = &loader->spec;
    const size_t sources = (size_t)spec->source_count;
    loader->sources = vmae_calloc(sources, sizeof *loader->sources);
    loader->first_slot = vmae_calloc(sources + 1, sizeof *loader->first_slot);
    loader->least = vmae_calloc(sources, sizeof *loader->least);
    if (!loader->sources || !loader->first_slot || !loader->least)
        return VMAE_ENOMEM;
    memcpy(loader->sources, spec->sources, sources * sizeof *loader->sources);
    loader->spec.sources = loader->sources;
    int64_t batch = 0;
    for (int i = 0; i < spec->source_count; i++) {
        const vmae_augment *view = loader->sources[i].view;
        const int least[2] = { least_side(&view[0]), spec->pairs ? least_side(&view[1]) : 1 };
        loader->least[i] = !least[0] || !least[1] ? 0 : least[0] > least[1] ? least[0] : least[1];
        batch += loader->sources[i].batch;
        if (batch > 1 << 24)
            return vmae_fail(VMAE_EUSER, "a batch of more than %d samples", 1 << 24);
        loader->first_slot[i + 1] = (int)batch;
    }
    loader->batch = (int)batch;
    loader->size = loader->sources[0].view[0].size;
    loader->steps = INT64_MAX;
    if (spec->last_partial)
        loader->steps = (loader->sources[0].dataset->count + batch - 1) / batch;
    loader->ring_count = spec->prefetch + 1; /* and the one in the consumer's hands */
    loader->ring = vmae_calloc((size_t)loader->ring_count, sizeof *loader->ring);
    loader->threads = vmae_calloc((size_t)spec->threads, sizeof *loader->threads);
    if (!loader->ring || !loader->threads)
        return VMAE_ENOMEM;
    for (int i = 0; i < loader->ring_count; i++) {
        entry *made = &loader->ring[i];
        made->labels = vmae_calloc((size_t)batch, sizeof *made->labels);
        made->index = vmae_calloc((size_t)batch, sizeof *made->index);
        if (!made->labels || !made->index || allocate_views(loader, made, (size_t)batch * (spec->pairs ? 2 : 1)))
            return vmae_fail_in(VMAE_ENOMEM, "loader: %d batches of %lld samples of %d pixels a side",
                                loader->ring_count, (long long)batch, loader->size);
    }
    return VMAE_OK;
}

static vmae_status start_threads(vmae_loader *loader)
{
    /* Signals are for the main thread, which knows how to save and go. */
    sigset_t all, before;
    int code = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (loader->started < loader->spec.threads && code == 0)
        if ((code = pthread_create(&loader->threads[loader->started], NULL, work, loader)) == 0)
            loader->started++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return code
               ? vmae_fail_errno(code, "cannot start loader thread %d of %d", loader->started + 1, loader->spec.threads)
               : VMAE_OK;
}

vmae_status vmae_loader_start(vmae_loader **loader, const vmae_loader_spec *spec)
{
    VMAE_TRY(check_spec(spec));
    vmae_loader *made = vmae_calloc(1, sizeof *made);
    if (!made)
        return VMAE_ENOMEM;
    made->spec = *spec;
    made->ticket_step = made->oldest = made->next_step = spec->first_step;
    pthread_mutex_init(&made->lock, NULL);
    pthread_cond_init(&made->work, NULL);
    pthread_cond_init(&made->ready, NULL);
    vmae_status st = vmae_bad_list_init(&made->bad, spec->known_bad, spec->known_bad_count, spec->bad_limit);
    if (st == VMAE_OK)
        st = allocate(made);
    if (st == VMAE_OK)
        st = start_threads(made);
    if (st != VMAE_OK) {
        vmae_loader_stop(made);
        return st;
    }
    *loader = made;
    return VMAE_OK;
}

void vmae_loader_stop(vmae_loader *loader)
{
    if (!loader)
        return;
    pthread_mutex_lock(&loader->lock);
    loader->stopping = true;
    pthread_cond_broadcast(&loader->work);
    pthread_mutex_unlock(&loader->lock);
    for (int i = 0; i < loader->started; i++)
        pthread_join(loader->threads[i], NULL);
    for (int i = 0; loader->ring && i < loader->ring_count; i++) {
        free(loader->ring[i].pixels);
        free(loader->ring[i].sources);
        free(loader->ring[i].views);
        free(loader->ring[i].labels);
        free(loader->ring[i].index);
        vmae_bad_batch_release(&loader->ring[i].bad);
    }
    pthread_cond_destroy(&loader->ready);
    pthread_cond_destroy(&loader->work);
    pthread_mutex_destroy(&loader->lock);
    free(loader->threads);
    free(loader->ring);
    free(loader->sources);
    free(loader->first_slot);
    free(loader->least);
    vmae_bad_list_release(&loader->bad);
    free(loader);
}

/* ---- delivering ---- */

/* Waits for the batch of next_step; called with the lock held. */
/* Whether the batch of next_step is complete. Under the lock. */
static bool is_ready(const vmae_loader *loader, const entry *from)
{
    return loader->ticket_step >= loader->next_step &&
           (loader->ticket_step > loader->next_step || loader->ticket_slot > 0) && from->missing == 0;
}

static entry *wait_for(vmae_loader *loader)
{
    entry *from = entry_of(loader, loader->next_step);
    const double began = vmae_seconds();
    while (!is_ready(loader, from))
        pthread_cond_wait(&loader->ready, &loader->lock);
    loader->waited += vmae_seconds() - began;
    return from;
}

static vmae_batch batch_of(const vmae_loader *loader, const entry *from)
{
    const bool second = loader->spec.pairs && from->pixels;
    return (vmae_batch){ .step = from->step,
                         .count = from->count,
                         .epoch = from->epoch,
                         .view1 = from->pixels,
                         .view2 = second ? from->pixels + (size_t)from->count * view_floats(loader) : NULL,
                         .sources = from->sources,
                         .source_bytes = from->source_bytes,
                         .views = from->views,
                         .labels = from->labels,
                         .index = from->index };
}

const vmae_batch *vmae_loader_peek(vmae_loader *loader)
{
    const vmae_batch *found = NULL;
    pthread_mutex_lock(&loader->lock);
    const entry *from = entry_of(loader, loader->next_step);
    if (loader->failed == VMAE_OK && loader->next_step < loader->steps && is_ready(loader, from) &&
        from->status == VMAE_OK) {
        loader->peeked = batch_of(loader, from);
        found = &loader->peeked;
    }
    pthread_mutex_unlock(&loader->lock);
    return found;
}

vmae_status vmae_loader_next(vmae_loader *loader, const vmae_batch **batch)
{
    if (loader->failed != VMAE_OK)
        return vmae_fail(loader->failed, "%s", loader->failure);
    pthread_mutex_lock(&loader->lock);
    if (loader->holding) {
        loader->holding = false;
        loader->oldest++;
        pthread_cond_broadcast(&loader->work);
    }
    if (loader->next_step >= loader->steps) {
        pthread_mutex_unlock(&loader->lock);
        *batch = NULL;
        return VMAE_OK;
    }
    entry *from = wait_for(loader);
    vmae_status st = vmae_bad_list_add(&loader->bad, &from->bad);
    if (st == VMAE_OK && from->status != VMAE_OK)
        st = vmae_fail(from->status, "%s", from->error);
    pthread_mutex_unlock(&loader->lock);
    if (st != VMAE_OK) {
        loader->failed = st;
        snprintf(loader->failure, sizeof loader->failure, "%s", vmae_error());
        return st;
    }
    loader->delivered = batch_of(loader, from);
    loader->next_step++;
    loader->holding = true;
    *batch = &loader->delivered;
    return VMAE_OK;
}

double vmae_loader_waited(const vmae_loader *loader)
{
    return loader->waited;
}

int64_t vmae_loader_bad(vmae_loader *loader, int64_t first, vmae_bad_sample *list, int64_t room)
{
    pthread_mutex_lock(&loader->lock);
    const int64_t count = loader->bad.count;
    for (int64_t i = first; i >= 0 && i < count && i - first < room; i++)
        list[i - first] = loader->bad.samples[i];
    pthread_mutex_unlock(&loader->lock);
    return count;
}
