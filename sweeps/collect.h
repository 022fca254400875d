/* collect.h -- the runner as collector: results into the database, tables and plots out of it. Internal to sweeps/.
 *
 * The runs' folders hold all that the database is made of: whatever fails in here can be done again later. */
#ifndef VMAE_SWEEPS_COLLECT_H
#define VMAE_SWEEPS_COLLECT_H

#include "results/results.h"
#include "sweeps/sweep.h"

typedef struct vmae_collector {
    vmae_store *store;
    const vmae_plan *plan;
} vmae_collector;

/* Opens <root>/results.db and takes in the plan's description, which vmae_plan_write has written. Fails, before a run
 * has cost anything, if that database cannot be used; the sentence says what to do. */
vmae_status vmae_collector_open(vmae_collector *collector, const vmae_plan *plan);
/* Takes in one run's journal; a failure is logged, and made good by vmae_collector_finish. */
void vmae_collector_run(vmae_collector *collector, const char *folder);
/* Takes in everything under root (opening the database again if that fails), prints the sweep's tables to out, and
 * writes them and the plots to <root>/sweeps/<name>-<stored scale>/, saying where. Without gnuplot there are no plots:
 * logged. */
vmae_status vmae_collector_finish(vmae_collector *collector, FILE *out);
void vmae_collector_close(vmae_collector *collector); /* fine if it was never opened */

#endif
