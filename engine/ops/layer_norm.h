/* layer_norm.h -- lets a linear layer take from a norm's gradient what that has in registers. Private to engine/ops. */
#ifndef VMAE_OPS_LAYER_NORM_H
#define VMAE_OPS_LAYER_NORM_H

#include "engine/graph/graph.h"

/* dx [..., d], the gradient of a LayerNorm's input, rounded to bf16 in the pass that makes it; NULL if dx is something
 * else. Recorded once, however often it is asked for. */
vmae_tensor *vmae_norm_grad_copy(vmae_graph *g, vmae_tensor *dx);
/* Lets the pass that makes dx also make its column sums, the gradient of `bias`. False, and nothing is recorded, if dx
 * is something else or the bias has a gradient already. */
bool vmae_norm_grad_sums(vmae_graph *g, vmae_tensor *dx, vmae_tensor *bias);

#endif
