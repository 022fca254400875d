/* synthetic.h -- run folders with invented numbers, written through engine/core/journal.h like real ones. */
#ifndef VMAE_TESTS_SYNTHETIC_H
#define VMAE_TESTS_SYNTHETIC_H

#include "engine/core/journal.h"

#include <stdbool.h>

typedef struct synthetic_run {
    const char *identity, *protocol;
    int seed;
    const char *parent; /* identity, or NULL */
    const char *config; /* JSON object; NULL: {} */
    const char *data;   /* fingerprint; NULL: "f00d" */
    int steps;          /* metrics are written for steps 1 .. steps */
    double final_top1;  /* of protocol "probe" */
    const char *status; /* of the "end" event; NULL: none is written */
    const char *message;
} synthetic_run;

/* A fresh, empty folder below the test folder. Valid until the program ends. */
const char *synthetic_folder(const char *name);
const char *synthetic_path(const char *folder, const char *name); /* one of eight static buffers */

/* runs/<identity>/journal and log.txt. REQUIREs nothing: failures are CHECKed. */
void synthetic_write(const char *runs, const synthetic_run *run);
/* The events that begin an attempt, on an open journal. */
void synthetic_attempt(vmae_journal *journal, const synthetic_run *run, int attempt, int first_step);
void synthetic_end(vmae_journal *journal, const char *status, const char *message, int last_step);

/* A demo-scale table3 with all three grids: 5 + 3 + 3 rows, 3 seeds, pretrain and probe each. Row "8" of grid a: seed 2
 * failed in pre-training, seed 3 is missing. */
void synthetic_sweep(const char *runs);

/* Copies a whole file; truncated to `keep` bytes where that is less. */
void synthetic_copy(const char *from, const char *to, long keep);
long synthetic_size(const char *path);

#endif
