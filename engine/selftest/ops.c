/* ops.c -- every op of cases.c on the device and on the CPU: results and gradients of the same numbers, and the same
 * bits twice. */
#include "engine/core/mem.h"
#include "engine/selftest/internal.h"
#include "engine/selftest/op_case.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Result and gradients of a case, one after the other. */
typedef struct outcome {
    float *values;
    int64_t count, start[OPERANDS_MAX + 2]; /* [0]: the result, [1 + i]: operand i's gradient, the end */
} outcome;

static void measure(const op_run *run, outcome *o)
{
    o->count = vmae_shape_count(run->out->shape);
    o->start[0] = 0;
    for (int i = 0; i < run->what->count; i++) {
        o->start[1 + i] = o->count;
        if (op_gradient(run, i))
            o->count += vmae_shape_count(run->what->operands[i].shape);
    }
    o->start[1 + run->what->count] = o->count;
}

static vmae_status run_once(op_run *run, outcome *o)
{
    VMAE_TRY(op_fill(run, true));
    VMAE_TRY(vmae_graph_run(run->g, false));
    measure(run, o);
    free(o->values);
    if (!(o->values = vmae_calloc((size_t)o->count, sizeof *o->values)))
        return VMAE_ENOMEM;
    VMAE_TRY(op_read(run, run->out, o->values));
    for (int i = 0; i < run->what->count; i++)
        if (op_gradient(run, i))
            VMAE_TRY(op_read(run, op_gradient(run, i), o->values + o->start[1 + i]));
    return VMAE_OK;
}

/* again: NULL, or the outcome of a second run. */
static vmae_status outcome_of(const op_case *what, vmae_backend *be, vmae_type precision, outcome *o, outcome *again)
{
    op_run run;
    vmae_status st = op_open(&run, what, be, precision);
    if (st == VMAE_OK)
        st = run_once(&run, o);
    if (st == VMAE_OK && again)
        st = run_once(&run, again);
    op_release(&run);
    return st;
}

static void compare(tally *t, const op_case *what, vmae_type precision, const outcome *got, const outcome *wanted)
{
    /* f32: sums in another order. bf16: a rounding that falls the other way, and what follows from it. */
    const double limit = precision == VMAE_BF16 ? 2e-2 : 2e-5;
    double worst = 0.0;
    char where[64] = "";
    for (int part = 0; part <= what->count; part++) {
        const int64_t from = wanted->start[part], n = wanted->start[part + 1] - from;
        const double off = share_off(got->values + from, wanted->values + from, n);
        if (off > worst) {
            worst = off;
            snprintf(where, sizeof where, part ? "gradient of operand %d" : "result", part - 1);
        }
    }
    tally_compare(t, "op", what->name, precision, worst, limit, where);
}

/* A CPU that multiplies no bf16 takes the same, rounded numbers in f32. */
static void check(tally *t, const op_case *what, vmae_type precision)
{
    const vmae_type held_to = precision > t->test->cpu->precision ? VMAE_F32 : precision;
    outcome got = { 0 }, again = { 0 }, wanted = { 0 };
    vmae_status st = outcome_of(what, t->test->device, precision, &got, &again);
    if (st == VMAE_OK)
        st = outcome_of(what, t->test->cpu, held_to, &wanted, NULL);
    if (st != VMAE_OK) {
        tally_hold(t, "op", what->name, precision, false, vmae_error());
    } else {
        compare(t, what, precision, &got, &wanted);
        if (memcmp(got.values, again.values, (size_t)got.count * sizeof(float)) != 0)
            tally_hold(t, "op", what->name, precision, false, "two runs give other bits");
    }
    free(got.values);
    free(again.values);
    free(wanted.values);
}

void selftest_ops(tally *t)
{
    for (int i = 0; i < op_case_count; i++) {
        check(t, &op_cases[i], VMAE_F32);
        if (!op_cases[i].f32_only && t->test->device->precision == VMAE_BF16)
            check(t, &op_cases[i], VMAE_BF16);
    }
}
