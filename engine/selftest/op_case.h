/* op_case.h -- one op, or a few, between inputs and a result: recorded, differentiated, planned and run as a model
 * would. For tests, and for `vicmae selftest`, which holds a device against the CPU.
 *
 * The loss is sum(result * cotangent), so a gradient of the case is the op's own, weighted by random numbers. */
#ifndef VMAE_SELFTEST_OP_CASE_H
#define VMAE_SELFTEST_OP_CASE_H

#include "engine/graph/graph.h"
#include "engine/ops/ops.h"

enum { OPERANDS_MAX = 8 };

/* What an operand is to the graph. */
typedef enum operand_kind {
    ACTIVATION, /* an input of the graph's precision that takes a gradient */
    FLOATS,     /* likewise, f32 in any precision */
    GIVEN,      /* an f32 input without a gradient */
    LABELS,     /* an i32 input */
    MATRIX,     /* a parameter of the graph's precision */
    VECTOR,     /* a parameter that is always f32 */
    FROZEN      /* a parameter without a gradient: statistics, positions */
} operand_kind;

typedef enum operand_fill {
    NORMAL,
    NONZERO,  /* at least 0.2 from 0: no step of a central difference crosses it */
    DISTINCT, /* 0.2 between any two: likewise for ties */
    POSITIVE, /* 0.5 to 2 */
    ZERO_ONE, /* 0 or 1, both at least once; labels: 0, 1 or 2 */
    WEIGHTS   /* rows of positive numbers with sum 1 */
} operand_fill;

typedef struct operand {
    operand_kind kind;
    vmae_shape shape;
    operand_fill fill;
    const char *name; /* of a golden tensor; else NULL */
} operand;

typedef vmae_tensor *op_build(vmae_graph *g, vmae_tensor **in);

typedef struct op_case {
    const char *name;
    op_build *build;
    operand operands[OPERANDS_MAX];
    int count;
    double tolerance; /* f32 gradients against central differences, of the largest */
    bool f32_only;    /* the op has no bf16 form */
    bool no_gradient; /* the op has none: only its bf16 form and its place in the table are checked */
} op_case;

extern const op_case op_cases[];
extern const int op_case_count;

/* An op at work. */
typedef struct op_run {
    const op_case *what;
    vmae_backend *be;
    vmae_params *params;
    vmae_graph *g;
    vmae_tensor *in[OPERANDS_MAX], *out, *cotangent, *loss;
} op_run;

/* Records, differentiates (unless nothing takes a gradient) and plans on a backend that stays the caller's. On failure,
 * too, release it. */
vmae_status op_open(op_run *run, const op_case *what, vmae_backend *be, vmae_type precision);
void op_release(op_run *run);
/* Writes an operand; bf16 ones are rounded. */
vmae_status op_write(op_run *run, int i, const float *values);
/* Random numbers for all operands and the cotangent: functions of the case's name. bf16: rounded to it, so that either
 * precision takes the same. */
vmae_status op_fill(op_run *run, bool bf16);
/* The numbers of operand i (i = count: the cotangent), fresh memory; NULL without it. */
float *op_numbers(const op_run *run, int i, bool bf16);
vmae_bf16 bf16_of(float x); /* to nearest, ties to even; no NaN comes here */
float float_of_bf16(vmae_bf16 x);
vmae_status op_read(op_run *run, const vmae_tensor *tensor, float *to);
/* The gradient of an operand, or NULL if it takes none. Read it with op_read. */
const vmae_tensor *op_gradient(const op_run *run, int i);
bool takes_gradient(const operand *o);

/* sum(x * weight) [1]: x of any type, weight f32 of x's count. No model's op: it also shows how little one needs.
 */
vmae_tensor *op_dot(vmae_graph *g, vmae_tensor *x, vmae_tensor *weight);

#endif
