/* setting.h -- reading libconfig settings with errors that name the place. Internal to sweeps/. */
#ifndef VMAE_SWEEPS_SETTING_H
#define VMAE_SWEEPS_SETTING_H

#include "engine/core/mem.h"

#include <libconfig.h>
#include <stdbool.h>
#include <stdint.h>

/* Fails with "<file>:<line>: <formatted>". */
vmae_status vmae_setting_refuse(const config_setting_t *setting, const char *format, ...) VMAE_PRINTF(2, 3);
/* "<file>:<line>" in the arena */
char *vmae_setting_origin(vmae_arena *arena, const config_setting_t *setting);

/* Every member of the group must be one of the names (ended by NULL); else fails with the nearest. `what` says what the
 * group is. */
vmae_status vmae_setting_check(const config_setting_t *group, const char *what, const char *const *names);
/* "; did you mean 'x'?" or ", there are: a, b, c": in the arena, "" without names. */
const char *vmae_setting_suggest(vmae_arena *arena, const char *wrong, const char *const *names, size_t count);

/* A text member: *text is left alone if there is none, unless required. In the arena. What a terminal must not see
 * (vmae_text_is_clean) is refused: these texts are printed and name files. */
vmae_status vmae_setting_text(vmae_arena *arena, const config_setting_t *group, const char *name, bool required,
                              const char **text);
vmae_status vmae_setting_whole(const config_setting_t *group, const char *name, int64_t min, int64_t *value);
/* A member of type group or list (*member NULL if there is none). */
vmae_status vmae_setting_group(const config_setting_t *group, const char *name, config_setting_t **member);
vmae_status vmae_setting_list(const config_setting_t *group, const char *name, config_setting_t **member);

/* A scalar as an option's text; NULL, with a sentence, without memory. The setting must be a scalar. */
char *vmae_setting_value(vmae_arena *arena, const config_setting_t *scalar);

/* 1 to 64 letters, digits, _ - . and no dot in front: fit for a file name. */
bool vmae_is_plain_name(const char *name);

#endif
