/* override.h -- the command line's option=value. Internal to sweeps/. */
#ifndef VMAE_SWEEPS_OVERRIDE_H
#define VMAE_SWEEPS_OVERRIDE_H

#include "sweeps/sweep.h"

/* Takes the overrides into a sweep that is read but for them, and sets what depends on them: command_line, overrides,
 * speed_overrides, data, stored_scale. VMAE_EUSER for an option or stage that does not exist (with the nearest), or a
 * wrong value. */
vmae_status vmae_sweep_override(vmae_sweep *sweep, const char *const *given, size_t count);

#endif
