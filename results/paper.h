/* paper.h -- the paper's numbers (paper/x.csv, compiled in) as rows of the table `paper`. */
#ifndef VMAE_RESULTS_PAPER_H
#define VMAE_RESULTS_PAPER_H

#include "results/results.h"

/* Replaces the table's rows by the compiled-in figures; the caller has a transaction open. */
vmae_status vmae_paper_load(vmae_store *store);

#endif
