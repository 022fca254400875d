/* state.h -- a training's state in files: what a run goes on from, and what it leaves. */
#ifndef VMAE_EXPERIMENTS_STATE_H
#define VMAE_EXPERIMENTS_STATE_H

#include "engine/model/model.h"
#include "engine/optim/optimizer.h"

typedef struct vmae_state {
    vmae_params *params;
    vmae_optimizer *optimizer;
    const vmae_model_config *model; /* its sizes go into the metadata; NULL: none do */
    int64_t batches_a_step;         /* that a BatchNorm sees */
} vmae_state;

/* The state to resume from: parameters, moments, step. The file before it is kept as "<path>.previous". */
vmae_status vmae_state_save(const vmae_state *state, const char *path, const char *identity, int64_t step);
/* Restores it, from the file before if the newest is damaged (and says so; the damaged one is then gone, so that the
 * next save cannot push out the good one). *step = -1 if there is none. VMAE_EDATA or VMAE_EUSER if neither can be
 * used. */
vmae_status vmae_state_restore(const vmae_state *state, const char *path, int64_t *step);
/* The model alone, as others read it. */
vmae_status vmae_state_export(const vmae_state *state, const char *path, const char *identity, int64_t step);
/* For a run that was killed between its export and its end: the parameters of an export of this run after `step` steps,
 * at path. *found false, and nothing changed, if there is none such. Not a state to train on from: it has no moments.
 */
vmae_status vmae_state_reload(const vmae_state *state, const char *path, const char *identity, int64_t step,
                              bool *found);

#endif
