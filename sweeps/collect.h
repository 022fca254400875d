/* collect.h -- the runner as collector: results into the database, tables and plots out of it. Internal to sweeps/.
 *
 * Nothing in here can fail a sweep: what goes wrong is logged, and the runs' folders hold all that is needed to do it
 * again. */
#ifndef VMAE_SWEEPS_COLLECT_H
#define VMAE_SWEEPS_COLLECT_H

#include "results/results.h"
#include "sweeps/sweep.h"

typedef struct vmae_collector {
    vmae_store *store; /* NULL: could not be opened */
    const vmae_plan *plan;
} vmae_collector;

/* Opens <root>/results.db and takes in the plan's description, which vmae_plan_write has written. */
void vmae_collector_open(vmae_collector *collector, const vmae_plan *plan);
/* Takes in one run's journal. */
void vmae_collector_run(vmae_collector *collector, const char *folder);
/* Takes in everything under root, prints the sweep's tables to out, and writes them and the plots to
 * <root>/sweeps/<name>-<stored scale>/, saying where. */
void vmae_collector_finish(vmae_collector *collector, FILE *out);
void vmae_collector_close(vmae_collector *collector);

#endif
