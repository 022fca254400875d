/* history.h -- what a run's journal says about the run as a whole. */
#ifndef VMAE_EXPERIMENTS_HISTORY_H
#define VMAE_EXPERIMENTS_HISTORY_H

#include "engine/core/hash.h"
#include "engine/core/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct vmae_last_value {
    const char *name;
    int64_t step;
    double value;
} vmae_last_value;

typedef struct vmae_skipped {
    const char *dataset, *sample; /* the dataset's description, the sample's name */
} vmae_skipped;

typedef struct vmae_history {
    int attempts;
    char identity[VMAE_HASH_HEX]; /* "" if no "run" event was written */
    char threads[16];             /* of the last attempt that said (machine facts); "" if none did */
    char status[16];              /* how the last attempt ended; "" if it did not say (it runs, or was killed) */
    const char *message;          /* its message; "" if there is none */
    int64_t last_step;            /* the largest step that counts; 0 without metrics */
    double seconds;               /* from start to last metric, summed over attempts */
    const char *checkpoint;       /* the last "artefact" event of kind "checkpoint" as JSON; NULL if there is none */
    vmae_last_value *metrics;     /* last value of every metric, by name; superseded rows do not count */
    size_t metric_count;
    vmae_skipped *skipped; /* bad samples on record, each once; none of attempts up to one that failed over
                            * its data: they may have been mended since */
    size_t skipped_count;
    struct vmae_arena *arena; /* holds all of it */
} vmae_history;

/* Reads the journal at path; a missing file is an empty history, a torn last record is left out. VMAE_EDATA for a
 * damaged journal. Release with vmae_history_release. */
vmae_status vmae_history_read(vmae_history *history, const char *path);
void vmae_history_release(vmae_history *history);

#endif
