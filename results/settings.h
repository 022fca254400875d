/* settings.h -- which runs differ in nothing but their seed. */
#ifndef VMAE_RESULTS_SETTINGS_H
#define VMAE_RESULTS_SETTINGS_H

#include "results/results.h"

#include "engine/core/mem.h"

/* What decides a run's numbers besides its seeds: its settings and data, and those of all runs it builds on, as sorted
 * "name=value" lines. Names of a parent's have its protocol in front ("pretrain/model.mask_ratio"), data are
 * "data:train". What is for speed only (threads, paths) is left out. A parent that is not in the database counts by its
 * identity. In the arena. */
typedef struct vmae_settings {
    const char **lines;
    size_t count;
    const char *seeds; /* "2", or "2, pretrain 1" where a run that it builds on has another */
} vmae_settings;
vmae_status vmae_settings_load(vmae_settings *settings, vmae_store *store, int64_t run, vmae_arena *arena);
bool vmae_settings_equal(const vmae_settings *a, const vmae_settings *b);
/* The value of the line's name in these settings; NULL if there is none. */
const char *vmae_settings_value(const vmae_settings *settings, const char *line, size_t name_length);

#endif
