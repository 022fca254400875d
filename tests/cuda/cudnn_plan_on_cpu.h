/* cudnn_plan_on_cpu.h -- the operation graph that a cuDNN plan was made from, read from the plan's JSON and computed on
 * the CPU. Private to the stand-in for cuDNN. */
#ifndef VMAE_TESTS_CUDA_CUDNN_PLAN_H
#define VMAE_TESTS_CUDA_CUDNN_PLAN_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum { ARRAYS = 128, RANK = 5 };

/* A tensor of the graph: its values row-major, whatever its strides. */
typedef struct array {
    int64_t uid, dim[RANK], stride[RANK], count, span; /* span: elements from the first to the last in memory */
    int rank;
    bool bf16, is_virtual, by_value, output, ready;
    uintptr_t alignment;
    double *v;
    void *memory;   /* of the caller; NULL for a virtual tensor */
    float constant; /* of a by-value tensor */
} array;

typedef struct plan_graph {
    json_t *plan;
    array arrays[ARRAYS];
    int array_count;
} plan_graph;

/* Both return NULL, or what is wrong. */

/* Tensors, and which of them the graph computes. g begins as zeros and owns the plan's JSON (or NULL) from now on. */
const char *plan_graph_read(plan_graph *g, json_t *plan);
/* From the memory and the constants of the inputs to the memory of the outputs; any number of times. */
const char *plan_graph_compute(plan_graph *g);
void plan_graph_release(plan_graph *g);

#endif
