/* loader.h -- the loader's state, and the making of one sample by one of its threads. Private to engine/data. */
#ifndef VMAE_DATA_LOADER_H
#define VMAE_DATA_LOADER_H

#include "engine/data/bad.h"

#include <pthread.h>
#include <stdatomic.h>

/* A batch under way, ready, or in the consumer's hands. */
typedef struct loader_entry {
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
} loader_entry;

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
    loader_entry *ring;
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

/* What a thread keeps from sample to sample; all zero at first. */
typedef struct loader_worker {
    vmae_image image[2];
    vmae_augment_scratch scratch;
} loader_worker;

/* ---- sample.c ---- */

/* Makes the sample of one ticket (to->step, slot); a bad one is replaced by the next of its dataset, with the
 * augmentation of its own place. Without the lock. */
vmae_status loader_make_sample(vmae_loader *loader, loader_entry *to, int slot, loader_worker *own);
/* Numbers of one view. */
size_t loader_view_floats(const vmae_loader *loader);

#endif
