/* rule.h -- what an op family is to the graph, and what its file needs to record, differentiate and run. Private to
 * engine/ops and engine/graph. */
#ifndef VMAE_OPS_RULE_H
#define VMAE_OPS_RULE_H

#include "engine/graph/graph.h"

struct vmae_rule {
    const char *name;
    /* Calls the backend. accumulate: add to parameter gradients. */
    vmae_status (*run)(vmae_backend *be, const vmae_node *node, bool accumulate);
    /* Appends the nodes that give the inputs' gradients; out[0]->gradient is there. NULL: not differentiable (targets,
     * masks, gradients). */
    void (*backward)(vmae_graph *g, vmae_node *node);
    /* Prepares matrix products and sets scratch_bytes; may be NULL. accumulates: products that add may be needed. */
    vmae_status (*prepare)(vmae_backend *be, vmae_node *node, bool accumulates);
    vmae_cost (*cost)(const vmae_node *node); /* NULL: no matrix product; the bytes of inputs and outputs */
};

/* A node with its inputs (entries may be NULL), no outputs yet. NULL, with a sentence, without memory. */
vmae_node *vmae_record(vmae_graph *g, const vmae_rule *rule, int inputs, vmae_tensor *const *in);
/* Adds a fresh result to a node. wants_gradient follows from the inputs if the rule can be differentiated. */
vmae_tensor *vmae_result(vmae_graph *g, vmae_node *node, vmae_type type, vmae_shape shape);
/* Makes the gradient of a parameter an output of a node: a tensor in the flat gradients. NULL if the parameter is not
 * trainable. */
vmae_tensor *vmae_param_gradient(vmae_graph *g, vmae_node *node, vmae_tensor *param);
/* Keeps the first sentence of a recording that failed; returns NULL. */
vmae_tensor *vmae_graph_fail(vmae_graph *g, const char *format, ...) VMAE_PRINTF(2, 3);

/* x's gradient so far, or NULL: an op whose kernel can add it on the way takes it from here and then sets the sum. */
vmae_tensor *vmae_gradient_so_far(const vmae_tensor *x);
void vmae_set_gradient(vmae_tensor *x, vmae_tensor *dx);
/* Adds dx to x's gradient: the first one is taken as it is, a second one recorded as a sum. NULL x, or one that wants
 * none, is fine. */
void vmae_add_gradient(vmae_graph *g, vmae_tensor *x, vmae_tensor *dx);

/* The number of square patches of images [B, C, S, S] f32, or 0 with the op's sentence: tokens.c. */
int64_t vmae_count_patches(vmae_graph *g, const char *op, const vmae_tensor *images, int64_t patch);

static inline bool vmae_wants(const vmae_tensor *x)
{
    return x && x->wants_gradient;
}
static inline int64_t vmae_count(const vmae_tensor *x)
{
    return vmae_shape_count(x->shape);
}
static inline int64_t vmae_last_dim(const vmae_tensor *x)
{
    return x->shape.dim[x->shape.rank - 1];
}
static inline int64_t vmae_rows(const vmae_tensor *x)
{
    return vmae_count(x) / vmae_last_dim(x);
}
/* Kernels may read `count` floats from it. */
static inline bool vmae_is_floats(const vmae_tensor *x, int64_t count)
{
    return x->type == VMAE_F32 && vmae_count(x) == count;
}
static inline void *vmae_data(const vmae_tensor *x)
{
    return x ? x->data : NULL;
}

#endif
