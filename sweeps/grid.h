/* grid.h -- a grid's blocks, expanded to rows. Internal to sweeps/. */
#ifndef VMAE_SWEEPS_GRID_H
#define VMAE_SWEEPS_GRID_H

#include "sweeps/setting.h"
#include "sweeps/sweep.h"

enum { VMAE_GRID_ROWS_MAX = 1000000 };

/* Expands a block: the group itself, which may hold
 *   set = { STAGE = { options } }                      values for all its rows
 *   product = { STAGE = { option = [ values ] } }      all combinations; the last option runs fastest
 *   zip = { STAGE = { option = [ values ] } }          first values together, second values together, ...
 *   union = ( block, block, ... ), rows = ( ... )      one after the other; rows is the same under the name that reads
 * better exclude = ( { STAGE = { option = value or [ values ] } }, ... )   without rows that match all of a pattern
 *   label, paper_row                                   of all its rows (a label is put in front)
 * A block with several of them has all combinations of what they give. The rows' order is that of the file. Options are
 * checked against the stages' tables. `also` are the names of the group that the caller reads, ended by NULL. */
vmae_status vmae_grid_expand(const vmae_sweep *sweep, const config_setting_t *block, const char *const *also,
                             vmae_sweep_row **rows, size_t *count);

/* Appends the options of { STAGE = { ... } }, checked, to a growing list in the arena. */
typedef struct vmae_assignment_list {
    const vmae_assignment **list;
    size_t count, room;
} vmae_assignment_list;
vmae_status vmae_grid_assignments(const vmae_sweep *sweep, const config_setting_t *stages, vmae_assignment_list *list);

#endif
