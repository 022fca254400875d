/* sweep.h -- finding a stored sweep by what the user typed. */
#ifndef VMAE_RESULTS_SWEEP_H
#define VMAE_RESULTS_SWEEP_H

#include "results/results.h"

/* `name` is "table3" or "table3-demo"; of several that a name without scale fits, the only one that no command line
 * changed. VMAE_EUSER lists the candidates: none, or several scales. */
vmae_status vmae_sweep_find(vmae_store *store, const char *name, int64_t *sweep);

#endif
