/* loader.c -- worker threads that make batches ahead of their use.
 *
 * Tickets (step, slot) are handed out in order; a worker makes that one sample into its place in the batch. What a
 * sample is, is a function of seed and ticket alone, so the batches do not depend on the number of threads. A ring
 * holds the batches under way; failures and bad samples are kept with their batch and come to light when it is
 * delivered, in the order of steps and slots. */
#include "engine/data/loader.h"

#include "engine/core/log.h"
#include "engine/core/mem.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_THREADS = 1024, MAX_PREFETCH = 1024 };

/* ---- the threads ---- */

static loader_entry *entry_of(vmae_loader *loader, int64_t step)
{
    return &loader->ring[(step - loader->spec.first_step) % loader->ring_count];
}

/* Takes the next ticket, waiting for room in the ring. NULL: there is nothing left to do. */
static loader_entry *take_ticket(vmae_loader *loader, int *slot)
{
    loader_entry *taken = NULL;
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

static void keep_failure(vmae_loader *loader, loader_entry *to, int slot, vmae_status status)
{
    pthread_mutex_lock(&loader->lock);
    if (to->status == VMAE_OK || slot < to->failed_slot) {
        to->status = status;
        to->failed_slot = slot;
        snprintf(to->error, sizeof to->error, "%s", vmae_error());
    }
    pthread_mutex_unlock(&loader->lock);
}

static void *work(void *context)
{
    vmae_loader *loader = context;
    loader_worker own = { 0 };
    loader_entry *to;
    int slot;
    while ((to = take_ticket(loader, &slot))) {
        const vmae_status st = loader_make_sample(loader, to, slot, &own);
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
static vmae_status allocate_views(const vmae_loader *loader, loader_entry *made, size_t views)
{
    if (loader->spec.records) {
        made->views = vmae_calloc(views, sizeof *made->views);
        made->sources = vmae_calloc(views, (size_t)vmae_view_record_most(loader->size));
        return made->views && made->sources ? VMAE_OK : VMAE_ENOMEM;
    }
    made->pixels = vmae_calloc(views, loader_view_floats(loader) * sizeof *made->pixels);
    return made->pixels ? VMAE_OK : VMAE_ENOMEM;
}

/* How short the short side of a decoded image may be, so that no crop has to be enlarged that would not be at full
 * size: the narrowest crop has sides of sqrt(area_min * 3/4) of the short side. 0: full size. */
static int least_side(const vmae_augment *view)
{
    const double share = view->crop ? sqrt((double)view->crop_area_min * 0.75) : (double)view->crop_ratio;
    const double side = share > 0.0 ? ceil(view->size / share) : 0.0;
    return side < 65536.0 ? (int)side : 0;
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
        loader_entry *made = &loader->ring[i];
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

/* Whether the batch of next_step is complete. Under the lock. */
static bool is_ready(const vmae_loader *loader, const loader_entry *from)
{
    return loader->ticket_step >= loader->next_step &&
           (loader->ticket_step > loader->next_step || loader->ticket_slot > 0) && from->missing == 0;
}

/* Waits for the batch of next_step; called with the lock held. */
static loader_entry *wait_for(vmae_loader *loader)
{
    loader_entry *from = entry_of(loader, loader->next_step);
    const double began = vmae_seconds();
    while (!is_ready(loader, from))
        pthread_cond_wait(&loader->ready, &loader->lock);
    loader->waited += vmae_seconds() - began;
    return from;
}

static vmae_batch batch_of(const vmae_loader *loader, const loader_entry *from)
{
    const bool second = loader->spec.pairs && from->pixels;
    return (vmae_batch){ .step = from->step,
                         .count = from->count,
                         .epoch = from->epoch,
                         .view1 = from->pixels,
                         .view2 = second ? from->pixels + (size_t)from->count * loader_view_floats(loader) : NULL,
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
    const loader_entry *from = entry_of(loader, loader->next_step);
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
    loader_entry *from = wait_for(loader);
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
