/* run.h -- a run: one resolved config in its own folder, with log, journal, checkpoints, and attempts. */
/* clang-format off */
/* Folder R/<identity>/ :
 *   config.cfg  the resolved options; `vicmae PROTOCOL R/<identity>/config.cfg --run R/<identity>` starts or resumes it
 *   log.txt     what it said
 *   journal     what it measured (engine/core/journal.h)
 *   lock        held (flock) while a process runs it; says who
 *   done.json   written last, atomically: {"identity", "protocol", "status": "done", "metrics": {name: last value, where
 *               "nan", "inf" and "-inf" are texts}, "last_step", "seconds", "attempts", "flops",
 *               "checkpoint": {"path", "sha256", "bytes"}}. A run is finished if and only if it is there.
 *   checkpoint.safetensors, *.png              whatever the protocol makes
 *   resume.safetensors, its .previous          what it goes on from, until it is done */
/* clang-format on */
#ifndef VMAE_EXPERIMENTS_RUN_H
#define VMAE_EXPERIMENTS_RUN_H

#include "engine/core/journal.h"
#include "experiments/protocol.h"

enum { VMAE_RUN_NAME = 16 }; /* a run's folder is named by the first 16 hex digits of its identity */

struct vmae_run {
    const vmae_protocol *protocol;
    const vmae_config *config; /* resolved */
    char *folder;
    char identity[VMAE_HASH_HEX];
    vmae_journal *journal;
    int lock;
    int attempt; /* counted from 1 */
};

typedef enum vmae_run_state {
    VMAE_RUN_NEW,     /* no folder, or nothing happened in it yet */
    VMAE_RUN_PARTIAL, /* interrupted: goes on from its last checkpoint */
    VMAE_RUN_FAILED,  /* the last attempt ended with an error (its message is returned) */
    VMAE_RUN_BUSY,    /* a live process holds its lock */
    VMAE_RUN_DONE
} vmae_run_state;

/* Reads the state of R/<identity>'s folder without disturbing it. message (may be NULL) gets the last attempt's error,
 * "killed at step N" or "interrupted at step N", or ''. Cheap for DONE and BUSY; else the journal is walked. A damaged
 * journal is FAILED. */
vmae_run_state vmae_run_inspect(const char *folder, char *message, size_t size);

/* For protocols that build on a checkpoint, before resolve: an empty "parent" becomes the identity of the run that made
 * the checkpoint (the done.json beside it names it, with this hash), else the file's hash; 'random' and 'pixels' are
 * their own parent. A parent that is set stands: the planner of a sweep knows it before the file is there. VMAE_EUSER
 * without a checkpoint. Each file is hashed once a process. */
vmae_status vmae_run_fill_parent(const vmae_protocol *protocol, vmae_config *config);
/* VMAE_EUSER if the checkpoint is there, but not the parent's. */
vmae_status vmae_run_check_parent(const vmae_protocol *protocol, const vmae_config *config);

/* Fills in the parent or checks it, resolves the config (again: resolve must not mind), locks the folder (making it),
 * writes config.cfg, opens the journal, records the attempt, installs signal handlers, runs the protocol, records how
 * it ended. A finished run returns VMAE_OK at once, having said so. folder NULL: "<root>/<first 16 digits of the
 * identity>". VMAE_EBUSY: another process runs it. VMAE_EUSER: the folder holds another run. Not reentrant: signal
 * handlers and the log file belong to the process. */
vmae_status vmae_run_main(const vmae_protocol *protocol, vmae_config *config, const char *root, const char *folder);

/* For protocols: true once INT, TERM, USR1 or USR2 has arrived: finish the step, save, return VMAE_EINTERRUPTED. A
 * second INT ends the process at once. */
bool vmae_run_stop_requested(void);
/* Before metrics, artefacts and skipped samples, after what is said of the device: journals that this attempt goes on
 * after first_step. Metrics of earlier attempts behind it are superseded. */
vmae_status vmae_run_begin(vmae_run *run, int64_t first_step);
vmae_status vmae_run_metrics(vmae_run *run, int64_t step, const vmae_metric *metrics, size_t count);
/* Journals a file of the run's folder: its hash and size. */
vmae_status vmae_run_artefact(vmae_run *run, const char *kind, const char *name);
vmae_status vmae_run_skipped(vmae_run *run, const char *dataset, const char *sample, const char *reason);
/* A dataset's description and fingerprint, for the record: enters the "run" event. Before vmae_run_begin, or after it
 * (then the event is written again). */
vmae_status vmae_run_dataset(vmae_run *run, const char *role, const char *description, const char *fingerprint);
/* What the protocol knows of the machine ("threads", "gpu"): enters this attempt's event; what it learns after
 * vmae_run_begin has an event of its own. What was said already is not said again. */
vmae_status vmae_run_fact(vmae_run *run, const char *name, const char *value);
char *vmae_run_path(const vmae_run *run, const char *name); /* fresh memory */

#endif
