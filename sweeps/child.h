/* child.h -- one run as a process. Internal to sweeps/. */
#ifndef VMAE_SWEEPS_CHILD_H
#define VMAE_SWEEPS_CHILD_H

#include "sweeps/sweep.h"

#include <signal.h>
#include <sys/types.h>

typedef struct vmae_child {
    pid_t pid;
    const char *folder; /* the plan's */
    /* What the folder held before it: so that an earlier attempt's failure is not taken for this one's. */
    int attempts; /* in the journal; -1: it cannot be read */
    int64_t log_bytes;
} vmae_child;

/* Starts `program PROTOCOL FOLDER/config.cfg --run FOLDER` in a process group of its own, with stdout and stderr
 * appended to FOLDER/log.txt. Writes the config first, with `threads` compute threads (0: all cores) if it leaves their
 * number open; a run that goes on keeps the number that it began with. The child gets SIGTERM when this process dies,
 * whatever kills it. `signals` is the mask it shall have. VMAE_EBUSY: another process has the run. */
vmae_status vmae_child_start(const vmae_plan *plan, size_t run, const char *program, int threads,
                             const sigset_t *signals, vmae_child *child);

/* What became of it, from waitpid's status and its folder. */
typedef enum vmae_child_end {
    VMAE_CHILD_DONE,
    VMAE_CHILD_INTERRUPTED,
    VMAE_CHILD_BUSY,
    VMAE_CHILD_FAILED
} vmae_child_end;
/* message: why it failed, on one line and without control characters. */
vmae_child_end vmae_child_ended(const vmae_child *child, int wait_status, char *message, size_t size);

/* Prints the last lines of what it logged, indented. */
void vmae_child_print_log(const vmae_child *child, int lines, FILE *out);

/* The program "vicmae" beside this one, fresh memory; VMAE_EUSER if there is none. */
vmae_status vmae_child_program(char **path);

#endif
