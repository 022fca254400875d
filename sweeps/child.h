/* child.h -- one run as a process. Internal to sweeps/. */
#ifndef VMAE_SWEEPS_CHILD_H
#define VMAE_SWEEPS_CHILD_H

#include "sweeps/sweep.h"

#include <signal.h>
#include <sys/types.h>

/* Starts `program PROTOCOL FOLDER/config.cfg --run FOLDER` in a process group of its own, with stdout and stderr
 * appended to FOLDER/log.txt. Writes the config first, with `threads` compute threads if it leaves their number open
 * (0: leaves it so). The child gets SIGTERM when this process dies, whatever kills it. `signals` is the mask it shall
 * have. */
vmae_status vmae_child_start(const vmae_plan *plan, size_t run, const char *program, int threads,
                             const sigset_t *signals, pid_t *pid);

/* What became of it, from waitpid's status and its folder. */
typedef enum vmae_child_end {
    VMAE_CHILD_DONE,
    VMAE_CHILD_INTERRUPTED,
    VMAE_CHILD_BUSY,
    VMAE_CHILD_FAILED
} vmae_child_end;
/* message: why it failed. */
vmae_child_end vmae_child_ended(const char *folder, int wait_status, char *message, size_t size);

/* Prints the last lines of a run's log, indented. */
void vmae_child_print_log(const char *folder, int lines, FILE *out);

/* The program "vicmae" beside this one, fresh memory; VMAE_EUSER if there is none. */
vmae_status vmae_child_program(char **path);

#endif
