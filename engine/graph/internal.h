/* internal.h -- the graph's own state. Private to engine/graph. */
#ifndef VMAE_GRAPH_INTERNAL_H
#define VMAE_GRAPH_INTERNAL_H

#include "engine/core/mem.h"
#include "engine/graph/graph.h"
#include "engine/ops/rule.h"

struct vmae_graph {
    vmae_backend *be;
    vmae_type precision;
    vmae_arena *arena; /* tensors and nodes */
    vmae_node **nodes;
    vmae_tensor **tensors;
    size_t node_count, node_room, tensor_count, tensor_room;
    float *gradients; /* the flat gradients of the parameters in use */
    bool accumulates, differentiated, planned;
    bool host;             /* a node waits for the device: cannot be recorded */
    vmae_replay replay[2]; /* [accumulate] */
    void *memory;          /* one device block: inputs, activations, scratch */
    size_t memory_bytes;
    vmae_status status; /* of recording; the first failure stands */
    char sentence[512];
};

/* The failure of recording, if there was one, as the thread's last error. */
vmae_status vmae_graph_check(const vmae_graph *g);

/* ops/elementwise.c: the two ops that differentiation itself needs. */
vmae_tensor *vmae_sum_of_gradients(vmae_graph *g, vmae_tensor *a, vmae_tensor *b);
vmae_tensor *vmae_ones_like(vmae_graph *g, vmae_tensor *x);

#endif
