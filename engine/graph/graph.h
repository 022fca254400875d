/* graph.h -- record once, run many.
 *
 * A model function records ops (engine/ops/ops.h) into a graph of static shapes. vmae_graph_backward() appends the
 * derivative ops; each op family has its own rule. vmae_graph_plan() computes lifetimes, lays every activation into one
 * arena and prepares the backend's products. A run then allocates nothing and creates nothing. The same graph answers
 * FLOPs, bytes and memory before it runs.
 *
 * Recording functions return NULL when shapes disagree, having kept the sentence; they pass NULL inputs on, so a model
 * checks once, at vmae_graph_plan(). Tensors and nodes belong to the graph. Not thread-safe. */
#ifndef VMAE_GRAPH_GRAPH_H
#define VMAE_GRAPH_GRAPH_H

#include "engine/backend/backend.h"
#include "engine/graph/params.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { VMAE_NODE_INPUTS = 10, VMAE_NODE_OUTPUTS = 6 };

typedef struct vmae_graph vmae_graph;
typedef struct vmae_tensor vmae_tensor;
typedef struct vmae_node vmae_node;
typedef struct vmae_rule vmae_rule;

typedef enum vmae_role {
    VMAE_ROLE_INPUT,    /* written by the caller; lives as long as the graph */
    VMAE_ROLE_PARAM,    /* in the flat parameters */
    VMAE_ROLE_GRADIENT, /* of a parameter: in the flat gradients */
    VMAE_ROLE_RESULT    /* of a node; its memory is shared with others when it is not needed */
} vmae_role;

struct vmae_tensor {
    vmae_type type;
    vmae_shape shape;
    vmae_role role;
    const char *name;        /* of an input or parameter; of a result: its op's */
    const vmae_param *param; /* PARAM and GRADIENT */
    vmae_node *producer;     /* RESULT */
    vmae_tensor *gradient;   /* of the loss with respect to this, once recorded */
    bool wants_gradient;     /* something trainable is upstream */
    bool keep;               /* readable after a run: its memory is not shared */
    int uses;                /* nodes that read it */
    void *data;              /* device memory, from vmae_graph_plan() on */
    int first, last;         /* planner: node numbers between which it lives */
    size_t offset;           /* planner: in the arena */
    vmae_tensor *shares;     /* planner: lies in the memory of this input of its producer */
};

struct vmae_node {
    const vmae_rule *rule;
    int number, inputs, outputs;
    vmae_tensor *in[VMAE_NODE_INPUTS], *out[VMAE_NODE_OUTPUTS]; /* optional ones are NULL */
    int64_t size[9];                                            /* the rule's own: sizes, counts, flags */
    float scalar[4];                                            /* the rule's own: eps, temperature, ... */
    int in_place;     /* out[0] may lie in in[in_place]'s memory if that dies here; -1: never */
    bool host;        /* its rule waits for the device: a graph that holds it is not recorded */
    bool accumulates; /* its parameter gradients were written before in this graph: add */
    size_t scratch_bytes;
    void *scratch;
    const vmae_matmul *matmul[2]; /* [1]: the accumulating form */
};

/* FLOPs of matrix products (a multiply-add is 2), and bytes that must move at least. */
typedef struct vmae_cost {
    double flops, bytes;
} vmae_cost;

/* Opens an empty graph. precision: of stored activations and matrix products. */
vmae_graph *vmae_graph_new(vmae_backend *be, vmae_type precision); /* NULL, with a sentence, without memory */
void vmae_graph_free(vmae_graph *g);                               /* NULL is fine */
vmae_type vmae_graph_precision(const vmae_graph *g);

/* Gradients of several runs may be summed (vmae_graph_run with accumulate): call before planning. */
void vmae_graph_will_accumulate(vmae_graph *g);

vmae_tensor *vmae_input(vmae_graph *g, const char *name, vmae_type type, vmae_shape shape);
/* A parameter by its name in the state dict. VMAE_BF16 is its rounded copy (for matrix products), VMAE_F32 the master.
 * The trainable parameters of a graph come from one set. */
vmae_tensor *vmae_use_param(vmae_graph *g, const vmae_params *params, const char *name, vmae_type type);
/* Keeps a result readable after a run. Returns it. Before planning: afterwards it changes nothing. */
vmae_tensor *vmae_keep(vmae_tensor *tensor);

/* Appends the gradients of `loss` [1] with respect to every trainable parameter, and every tensor that leads to one.
 * Once a graph. Refused if an op without a gradient (for inference) stands behind a trainable parameter. */
vmae_status vmae_graph_backward(vmae_graph *g, vmae_tensor *loss);
vmae_status vmae_graph_plan(vmae_graph *g);
/* accumulate: add to the parameters' gradients of the run before instead of overwriting them. */
vmae_status vmae_graph_run(vmae_graph *g, bool accumulate);
/* Runs again, looking at every result: fails with VMAE_EDIVERGED naming the first op whose output is not finite, or
 * VMAE_OK if all are. Slow. Like any run it overwrites gradients and moves the running statistics of BatchNorm. */
vmae_status vmae_graph_find_nonfinite(vmae_graph *g);

/* Times every node by itself: runs it `repeats` times in a row after a first, and calls back with the mean seconds. Its
 * results mean nothing afterwards, as ops in place were repeated. */
typedef void vmae_node_visitor(void *context, const vmae_node *node, double seconds);
vmae_status vmae_graph_time(vmae_graph *g, int repeats, vmae_node_visitor *visit, void *context);

/* Host data in and out. count is in elements and must match. vmae_tensor_read converts bf16 to float; the tensor must
 * be an input, a parameter, a gradient, or kept. */
vmae_status vmae_tensor_write(vmae_graph *g, vmae_tensor *tensor, const void *from, int64_t count);
vmae_status vmae_tensor_read(vmae_graph *g, const vmae_tensor *tensor, float *to, int64_t count);

double vmae_graph_flops(const vmae_graph *g);  /* of one run, before it runs */
double vmae_graph_bytes(const vmae_graph *g);  /* least traffic of one run */
size_t vmae_graph_memory(const vmae_graph *g); /* arena and inputs; from vmae_graph_plan() on */
size_t vmae_graph_nodes(const vmae_graph *g);
const vmae_node *vmae_graph_node(const vmae_graph *g, size_t index);
const char *vmae_rule_name(const vmae_node *node);
vmae_cost vmae_node_cost(const vmae_node *node);

#ifdef __cplusplus
}
#endif
#endif
