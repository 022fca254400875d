/* roofline.c -- counts a step on paper: FLOPs, bytes, launches and least time of every kind of op. */
#include "experiments/roofline.h"

#include "experiments/pretrain.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KINDS_MAX = 64 };

/* Data sheets, dense, SXM: TFLOP/s of bf16 tensor cores and of f32 without them, TB/s. */
static const struct gpu {
    const char *name, *label;
    double bf16, f32, bandwidth;
} gpus[] = { { "h100", "H100 SXM", 989.4e12, 66.9e12, 3.35e12 },
             { "h200", "H200 SXM", 989.4e12, 66.9e12, 4.8e12 },
             { "a100", "A100 SXM 80 GB", 311.9e12, 19.5e12, 2.039e12 } };

typedef struct kind {
    const char *name;
    int nodes;
    double flops, bytes, seconds;
} kind;

typedef struct table {
    kind kinds[KINDS_MAX];
    int count;
    kind total;
} table;

static kind *kind_of(table *t, const char *name)
{
    for (int i = 0; i < t->count; i++)
        if (strcmp(t->kinds[i].name, name) == 0)
            return &t->kinds[i];
    if (t->count == KINDS_MAX)
        return &t->kinds[KINDS_MAX - 1];
    t->kinds[t->count] = (kind){ .name = name };
    return &t->kinds[t->count++];
}

static void add(table *t, const char *name, double flops, double bytes, const struct gpu *gpu, vmae_type type)
{
    const double seconds = fmax(flops / (type == VMAE_BF16 ? gpu->bf16 : gpu->f32), bytes / gpu->bandwidth);
    kind *const to[] = { kind_of(t, name), &t->total };
    for (int i = 0; i < 2; i++) {
        to[i]->nodes++;
        to[i]->flops += flops;
        to[i]->bytes += bytes;
        to[i]->seconds += seconds;
    }
}

static void count_graph(table *t, const vmae_trainer *trainer, const struct gpu *gpu)
{
    for (size_t i = 0; i < vmae_graph_nodes(trainer->g); i++) {
        const vmae_node *node = vmae_graph_node(trainer->g, i);
        const vmae_cost cost = vmae_node_cost(node);
        const vmae_type type = node->in[0] && node->in[0]->type == VMAE_F32 ? VMAE_F32 : trainer->precision;
        add(t, vmae_rule_name(node), cost.flops, cost.bytes, gpu, type);
    }
}

/* norms read the gradients; AdamW reads parameter, gradient and two moments, and writes all but the gradient. */
static void count_optimiser(table *t, const vmae_trainer *trainer, const struct gpu *gpu)
{
    const double numbers = (double)vmae_params_numbers(trainer->params),
                 copy = trainer->precision == VMAE_BF16 ? 2.0 : 0.0;
    add(t, "norms", 0.0, 4.0 * numbers, gpu, VMAE_F32);
    add(t, "adamw", 0.0, (28.0 + copy) * numbers, gpu, VMAE_F32);
}

static int by_time(const void *a, const void *b)
{
    const kind *x = a, *y = b;
    return (x->seconds < y->seconds) - (x->seconds > y->seconds);
}

static void print_kind(const kind *k, const struct gpu *gpu, double all)
{
    printf("%-24s %5d %11.1f %11.2f %10.3f %6.1f %%  %s\n", k->name, k->nodes, k->flops / 1e9, k->bytes / 1e9,
           1e3 * k->seconds, 100.0 * k->seconds / all,
           k->flops == 0.0                                  ? "memory"
           : k->seconds > 1.001 * k->bytes / gpu->bandwidth ? "products"
                                                            : "memory");
}

static void print_table(table *t, const vmae_trainer *trainer, const struct gpu *gpu, const char *size)
{
    const double peak = trainer->precision == VMAE_BF16 ? gpu->bf16 : gpu->f32;
    printf("%s, %s, %lld pairs, on paper: %s, %.0f TFLOP/s, %.2f TB/s (data sheet)\n", size,
           trainer->precision == VMAE_BF16 ? "bf16" : "f32", (long long)trainer->pairs, gpu->label, peak / 1e12,
           gpu->bandwidth / 1e12);
    printf("%-24s %5s %11s %11s %10s %8s  %s\n", "op", "nodes", "GFLOP", "GB", "least ms", "share", "bound by");
    qsort(t->kinds, (size_t)t->count, sizeof *t->kinds, by_time);
    for (int i = 0; i < t->count; i++)
        print_kind(&t->kinds[i], gpu, t->total.seconds);
    t->total.name = "step";
    print_kind(&t->total, gpu, t->total.seconds);
    printf(
        "%.1f M parameters, %.1f GiB for activations and inputs; at most %.0f images/s and %.1f %% MFU. Counted, not "
        "measured.\n",
        (double)vmae_params_numbers(trainer->params) / 1e6, (double)vmae_graph_memory(trainer->g) / 0x1p30,
        2.0 * (double)trainer->pairs / t->total.seconds, 100.0 * t->total.flops / peak / t->total.seconds);
}

static json_t *json_of(const table *t, const vmae_trainer *trainer, const struct gpu *gpu, const char *size)
{
    json_t *ops = json_array();
    for (int i = 0; i < t->count; i++)
        json_array_append_new(ops, json_pack("{s:s, s:i, s:f, s:f, s:f}", "op", t->kinds[i].name, "nodes",
                                             t->kinds[i].nodes, "flops", t->kinds[i].flops, "bytes", t->kinds[i].bytes,
                                             "least_ms", 1e3 * t->kinds[i].seconds));
    return json_pack("{s:s, s:s, s:s, s:I, s:f, s:f, s:f, s:I, s:o}", "gpu", gpu->label, "size", size, "precision",
                     trainer->precision == VMAE_BF16 ? "bf16" : "f32", "pairs", (json_int_t)trainer->pairs, "flops",
                     t->total.flops, "bytes", t->total.bytes, "least_ms", 1e3 * t->total.seconds, "graph_bytes",
                     (json_int_t)vmae_graph_memory(trainer->g), "ops", ops);
}

vmae_status vmae_roofline_print(const vmae_config *config, const char *name, json_t *list)
{
    const struct gpu *gpu = NULL;
    for (size_t i = 0; i < sizeof gpus / sizeof *gpus; i++)
        if (strcmp(gpus[i].name, name) == 0)
            gpu = &gpus[i];
    if (!gpu)
        return vmae_fail(VMAE_EUSER, "no data sheet of \"%s\" is known; known are h100, h200 and a100", name);
    vmae_trainer trainer = { 0 };
    table counted = { .count = 0 };
    VMAE_TRY(vmae_trainer_open(&trainer, config));
    count_graph(&counted, &trainer, gpu);
    count_optimiser(&counted, &trainer, gpu);
    const char *size = vmae_config_text(config, "model.size");
    if (list)
        json_array_append_new(list, json_of(&counted, &trainer, gpu, size));
    else
        print_table(&counted, &trainer, gpu, size);
    vmae_trainer_close(&trainer);
    return VMAE_OK;
}
