/* roofline.h -- the least time of a pre-training step on a GPU that need not be here: counted from the recorded graph,
 * not measured.
 *
 * A node takes at least the larger of FLOPs over the peak of matrix products and bytes over the memory's bandwidth; the
 * step at least the sum over its nodes, since each reads what the one before has written. */
#ifndef VMAE_EXPERIMENTS_ROOFLINE_H
#define VMAE_EXPERIMENTS_ROOFLINE_H

#include "engine/core/config.h"

#include <jansson.h>

/* Prints what every kind of op of a step takes on the config's device, timed one by one with data in memory, beside the
 * least it could take by roofs measured in the same run; or appends it to `list`. by_shape: every shape by itself. */
vmae_status vmae_op_times_print(const vmae_config *config, bool by_shape, json_t *list);

/* Prints a table of ops for a pre-training configuration on a GPU by name ("h100", "h200", "a100"), or appends it to
 * `list`. VMAE_EUSER for an unknown GPU. */
vmae_status vmae_roofline_print(const vmae_config *config, const char *gpu, json_t *list);

#endif
