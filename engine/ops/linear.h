/* linear.h -- lets gelu_grad and batch_norm_grad make the gradient of the bias in front of them. Private to engine/ops.
 */
#ifndef VMAE_OPS_LINEAR_H
#define VMAE_OPS_LINEAR_H

#include "engine/graph/graph.h"

/* The linear layer that made y, if it has a trainable bias and y is read once (by the caller); else NULL. */
vmae_node *vmae_linear_that_made(const vmae_tensor *y);
/* Its bias; the layer's own backward rule then leaves the bias alone. */
vmae_tensor *vmae_linear_take_bias(vmae_node *node);

#endif
