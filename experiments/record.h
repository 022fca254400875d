/* record.h -- a run with what its process needs to know besides, and what is written of it. Private to run.c and
 * record.c.
 */
#ifndef VMAE_EXPERIMENTS_RECORD_H
#define VMAE_EXPERIMENTS_RECORD_H

#include "experiments/run.h"

#include <jansson.h>

enum { VMAE_SENTENCE = 2048 }; /* bytes of a message, at most */

typedef struct vmae_live_run {
    vmae_run run; /* first: a vmae_run * is a vmae_live_run * */
    bool begun;
    int64_t first_step, last_step;
    json_t *fingerprints, *datasets; /* by role */
    json_t *facts;                   /* of the machine */
} vmae_live_run;

/* Journals how the attempt ended; one that failed before it began is begun first. */
vmae_status vmae_record_end(vmae_live_run *live, vmae_status st, const char *message);

#endif
