/* settings.h -- which runs differ in nothing but their seed. */
#ifndef VMAE_RESULTS_SETTINGS_H
#define VMAE_RESULTS_SETTINGS_H

#include "results/results.h"

#include "engine/core/mem.h"

/* The settings of a run and of all runs it builds on, seeds left out, as sorted "name=value" lines; names of a parent's
 * settings have its protocol in front ("pretrain/model.mask_ratio"). A parent that is not in the database counts by its
 * identity. In the arena. */
typedef struct vmae_settings {
    const char **lines;
    size_t count;
} vmae_settings;
vmae_status vmae_settings_load(vmae_settings *settings, vmae_store *store, int64_t run, vmae_arena *arena);
bool vmae_settings_equal(const vmae_settings *a, const vmae_settings *b);
/* The value of the line's name in these settings; NULL if there is none. */
const char *vmae_settings_value(const vmae_settings *settings, const char *line, size_t name_length);

#endif
