/* show.c -- --dry-run: every run, why it is to be done, what it costs. */
#include "sweeps/price.h"
#include "sweeps/sweep.h"

#include "engine/core/mem.h"
#include "engine/core/text.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { REASON = 1200, NAME = 200 };
#define TIME_UNKNOWN "time unknown before the first run"

typedef struct total {
    size_t runs, finished;
    double flops, bytes, seconds;
    bool flops_unknown, seconds_unknown; /* of some run */
} total;

static const char *state_name(const vmae_plan_run *run)
{
    if (run->provisional)
        return "unknown";
    switch (run->state) {
    case VMAE_RUN_NEW: return "new";
    case VMAE_RUN_PARTIAL: return "interrupted";
    case VMAE_RUN_FAILED: return "failed";
    case VMAE_RUN_BUSY: return "running";
    case VMAE_RUN_DONE: return "done";
    }
    return "unknown";
}

static void reason_of(const vmae_plan *plan, const vmae_plan_run *run, char reason[REASON])
{
    const vmae_plan_run *parent = run->parent >= 0 ? &plan->runs[run->parent] : NULL;
    char after[64] = "";
    if (parent && parent->state != VMAE_RUN_DONE)
        snprintf(after, sizeof after, ", after %s %.8s", plan->sweep->stages[parent->stage].name, parent->identity);
    if (run->provisional)
        snprintf(reason, REASON, "to do%s (its data are not here)", after);
    else if (run->state == VMAE_RUN_NEW)
        snprintf(reason, REASON, "new%s", after);
    else if (run->state == VMAE_RUN_PARTIAL)
        snprintf(reason, REASON, "%s: goes on%s", run->message, after);
    else if (run->state == VMAE_RUN_FAILED)
        snprintf(reason, REASON, "failed, is tried again%s: %s", after, run->message);
    else if (run->state == VMAE_RUN_BUSY)
        snprintf(reason, REASON, "runs now in another process");
    else
        snprintf(reason, REASON, "finished");
}

/* Seconds that the rest of a run will take, negative if unknown; adds it to the total. */
static double add_price(const vmae_plan *plan, size_t index, const vmae_speeds *speeds, const vmae_price *price,
                        total *sum)
{
    const vmae_protocol *protocol = plan->sweep->stages[plan->runs[index].stage].protocol;
    if (!price->known) {
        sum->flops_unknown = sum->seconds_unknown = true;
        return -1;
    }
    const double seconds = vmae_speeds_predict_rest(speeds, protocol->name, price);
    sum->flops += price->rest * price->whole.flops;
    sum->bytes += price->whole.disk_bytes;
    if (seconds >= 0)
        sum->seconds += seconds;
    else
        sum->seconds_unknown = true;
    return seconds;
}

/* "            540 of 1200 steps, 3.4 TFLOP, 2 min 10 s" */
static void show_price(const vmae_price *price, double seconds, FILE *out)
{
    char flops[VMAE_PRICE_TEXT], time[VMAE_TIME_TEXT];
    const int64_t steps = price->whole.steps, left = llround(price->rest * (double)steps);
    fprintf(out, "            ");
    if (left < steps)
        fprintf(out, "%lld of ", (long long)left);
    fprintf(out, "%lld step%s, ", (long long)steps, steps == 1 ? "" : "s");
    if (price->whole.flops > 0)
        fprintf(out, "%s, ", vmae_price_flops(flops, price->rest * price->whole.flops));
    fprintf(out, "%s\n", seconds >= 0 ? vmae_time_text(time, seconds) : TIME_UNKNOWN);
}

static void show_run(const vmae_plan *plan, size_t index, const vmae_speeds *speeds, total *sum, FILE *out)
{
    const vmae_plan_run *run = &plan->runs[index];
    char reason[REASON], name[NAME], shared[48] = "";
    vmae_plan_name(plan, index, name, sizeof name);
    reason_of(plan, run, reason);
    if (run->cells > 1)
        snprintf(shared, sizeof shared, " (%d cells share it)", run->cells);
    fprintf(out, "  %.8s  %-36s %s%s\n", run->provisional ? "--------" : run->identity, name, reason, shared);
    if (run->state == VMAE_RUN_DONE && !run->provisional) {
        sum->finished++;
        return;
    }
    const vmae_price price = vmae_price_run(plan, index);
    const double seconds = add_price(plan, index, speeds, &price, sum);
    if (price.known)
        show_price(&price, seconds, out);
}

static void show_total(const total *sum, FILE *out)
{
    char flops[VMAE_PRICE_TEXT], time[VMAE_TIME_TEXT], bytes[VMAE_PRICE_TEXT];
    fprintf(out, "to do: %s%s, ", sum->flops_unknown ? "at least " : "", vmae_price_flops(flops, sum->flops));
    if (sum->seconds_unknown && sum->seconds == 0)
        fprintf(out, TIME_UNKNOWN);
    else
        fprintf(out, "%s%s", sum->seconds_unknown ? "at least " : "", vmae_time_text(time, sum->seconds));
    fprintf(out, ", %s of disk\n", vmae_price_bytes(bytes, sum->bytes));
}

vmae_status vmae_plan_show(const vmae_plan *plan, FILE *out)
{
    const vmae_sweep *sweep = plan->sweep;
    vmae_speeds speeds;
    total sum = { 0 };
    size_t grids = 0, rows = 0;
    vmae_speeds_measure(&speeds, plan->root);
    for (size_t g = 0; g < sweep->grid_count; g++) {
        grids += plan->grid_wanted[g];
        rows += plan->grid_wanted[g] ? sweep->grids[g].row_count : 0;
    }
    fprintf(out, "%s at scale %s%s", sweep->name, sweep->scale, *sweep->data ? ": " : "");
    vmae_print_clean(out, sweep->data); /* it may hold words of the command line */
    fprintf(out, "\n%s\n", sweep->title);
    vmae_sweep_print_variant(sweep, out);
    if (plan->data_problem)
        fprintf(out, "The data are not here, so what is finished cannot be known: %s\n", plan->data_problem);
    fprintf(out, "\n");
    for (size_t i = 0; i < plan->run_count; i++)
        if (plan->runs[i].wanted) {
            show_run(plan, i, &speeds, &sum, out);
            sum.runs++;
        }
    fprintf(out, "\n%zu grid%s, %zu rows, %zu seed%s: %zu runs, %zu finished, %zu to do\n", grids,
            grids == 1 ? "" : "s", rows, sweep->seed_count, sweep->seed_count == 1 ? "" : "s", sum.runs, sum.finished,
            sum.runs - sum.finished);
    if (sum.runs > sum.finished)
        show_total(&sum, out);
    return ferror(out) ? vmae_fail(VMAE_EIO, "cannot write the plan") : VMAE_OK;
}

static json_t *run_as_json(const vmae_plan *plan, size_t index, const vmae_speeds *speeds)
{
    const vmae_plan_run *run = &plan->runs[index];
    const vmae_sweep_stage *stage = &plan->sweep->stages[run->stage];
    total ignored = { 0 };
    json_t *object = json_pack("{s:s, s:s, s:s, s:I, s:s, s:s, s:i, s:b}", "identity", run->identity, "stage",
                               stage->name, "protocol", stage->protocol->name, "seed", (json_int_t)run->seed, "folder",
                               run->folder, "state", state_name(run), "cells", run->cells, "wanted", (int)run->wanted);
    if (!object)
        return NULL;
    if (run->parent >= 0)
        json_object_set_new(object, "parent", json_string(plan->runs[run->parent].identity));
    if (*run->message)
        json_object_set_new(object, "message", json_string(run->message));
    if (run->state == VMAE_RUN_DONE && !run->provisional)
        return object;
    const vmae_price price = vmae_price_run(plan, index);
    const double seconds = add_price(plan, index, speeds, &price, &ignored);
    json_object_set_new(object, "steps", json_integer((json_int_t)price.whole.steps));
    json_object_set_new(object, "flops", json_real(price.whole.flops));
    json_object_set_new(object, "disk_bytes", json_real(price.whole.disk_bytes));
    json_object_set_new(object, "rest", json_real(price.rest));
    json_object_set_new(object, "seconds", seconds >= 0 ? json_real(seconds) : json_null());
    return object;
}

vmae_status vmae_plan_show_json(const vmae_plan *plan, FILE *out)
{
    vmae_speeds speeds;
    char *text = vmae_plan_describe(plan);
    json_t *root = text ? json_loads(text, 0, NULL) : NULL, *runs = json_array();
    free(text);
    if (!root)
        return VMAE_ENOMEM;
    vmae_speeds_measure(&speeds, plan->root);
    for (size_t i = 0; i < plan->run_count; i++)
        json_array_append_new(runs, run_as_json(plan, i, &speeds));
    json_object_set_new(root, "runs", runs);
    const bool written = json_dumpf(root, out, JSON_INDENT(1)) == 0 && fputc('\n', out) != EOF;
    json_decref(root);
    return written ? VMAE_OK : vmae_fail(VMAE_EIO, "cannot write the plan");
}
