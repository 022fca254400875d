/* run.h -- finding a run by what the user typed, and whether its process still lives. */
#ifndef VMAE_RESULTS_RUN_H
#define VMAE_RESULTS_RUN_H

#include "results/results.h"

typedef struct vmae_stored_run {
    int64_t id;
    char identity[129];
} vmae_stored_run;

/* `name` is a run's number as `list` shows it, its identity, or the beginning of it. VMAE_EUSER if nothing matches,
 * and, with the candidates, if several do. */
vmae_status vmae_run_find(vmae_store *store, const char *name, vmae_stored_run *run);

typedef enum vmae_liveness {
    VMAE_ALIVE,
    VMAE_DEAD,
    VMAE_ELSEWHERE /* another host: cannot be told from here */
} vmae_liveness;

/* Does the process still run that made this attempt? By host, boot, process id and, against reused ids, when it began
 * (seconds since 1970; NaN if unknown). A zombie is dead. */
vmae_liveness vmae_process_liveness(const char *host, const char *boot_id, int64_t pid, double started);

/* The status that people see: "stopped" for a run that recorded no end and whose process is gone. Static text. */
const char *vmae_run_status(vmae_store *store, int64_t run, const char *stored);

#endif
