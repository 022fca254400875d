/* bad.h -- (private to data/) the loader's account of bad samples: what one batch met, and what was met in all. */
#ifndef VMAE_DATA_BAD_H
#define VMAE_DATA_BAD_H

#include "engine/core/mem.h"
#include "engine/data/data.h"

/* Those of one batch, in any order; all zero at first. */
typedef struct vmae_bad_record {
    vmae_bad_sample sample;
    int slot, attempt; /* the place in the batch, and the how-manieth try there */
} vmae_bad_record;
typedef struct vmae_bad_batch {
    vmae_bad_record *records;
    int64_t count, room;
} vmae_bad_batch;
/* Adds a sample whose reason is vmae_error(). */
vmae_status vmae_bad_batch_add(vmae_bad_batch *batch, const vmae_bad_sample *place, int slot, int attempt);
void vmae_bad_batch_release(vmae_bad_batch *batch);

/* All of them, each once however often it comes round; all zero at first. */
typedef struct vmae_bad_list {
    int64_t limit;
    vmae_bad_sample *samples; /* [count] */
    int64_t count, room;
    vmae_known_bad *known; /* [known_count] count, but are not listed; copies */
    int64_t known_count;
    vmae_arena *arena;
} vmae_bad_list;
/* VMAE_EDATA if those that are known are more than the limit. */
vmae_status vmae_bad_list_init(vmae_bad_list *list, const vmae_known_bad *known, int64_t known_count, int64_t limit);
/* Adds those of a batch in the order of its slots, warning of each that is new. VMAE_EDATA, with the one that passes
 * it, past the limit. */
vmae_status vmae_bad_list_add(vmae_bad_list *list, vmae_bad_batch *batch);
void vmae_bad_list_release(vmae_bad_list *list);

#endif
