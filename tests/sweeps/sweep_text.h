/* sweep_text.h -- sweeps from text, for tests. */
#ifndef VMAE_TESTS_SWEEP_TEXT_H
#define VMAE_TESTS_SWEEP_TEXT_H

#include "sweeps/sweep.h"

/* Writes <folder>/<name> and returns its path; valid until the program ends. */
const char *write_text(const char *folder, const char *name, const char *text);

/* A whole sweep file around grids and (may be "") more top-level settings: stages pretrain and probe, scales demo (20
 * steps) and big (40). Loads it. */
const char *sweep_text(const char *grids, const char *more);
vmae_status load_sweep_text(vmae_sweep **sweep, const char *text, const vmae_sweep_choice *choice);

/* The labels of a grid's rows, "a|b|c". Fresh memory. */
char *labels_of(const vmae_sweep *sweep, size_t grid);
/* The settings of a grid's rows: "pretrain:model.pool=max,frames.delta=4|..." Fresh memory. */
char *settings_of(const vmae_sweep *sweep, size_t grid);

#endif
