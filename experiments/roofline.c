/* roofline.c -- counts a step: FLOPs, bytes, launches and least time of every kind of op; on a device, what it takes.
 */
#include "experiments/roofline.h"

#include "engine/core/log.h"
#include "engine/core/mem.h"
#include "experiments/pretrain.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KINDS_MAX = 256 };

/* Data sheets, dense, SXM: TFLOP/s of bf16 tensor cores and of f32 without them, TB/s. */
static const struct gpu {
    const char *name, *label;
    double bf16, f32, bandwidth;
} gpus[] = { { "h100", "H100 SXM", 989.4e12, 66.9e12, 3.35e12 },
             { "h200", "H200 SXM", 989.4e12, 66.9e12, 4.8e12 },
             { "a100", "A100 SXM 80 GB", 311.9e12, 19.5e12, 2.039e12 } };

typedef struct kind {
    char name[56];
    int nodes;
    double flops, bytes, seconds, taken; /* least; measured, or 0 */
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
    snprintf(t->kinds[t->count].name, sizeof t->kinds[0].name, "%s", name);
    return &t->kinds[t->count++];
}

static void add(table *t, const char *name, double flops, double bytes, const struct gpu *gpu, vmae_type type,
                double taken)
{
    const double seconds = fmax(flops / (type == VMAE_BF16 ? gpu->bf16 : gpu->f32), bytes / gpu->bandwidth);
    kind *const to[] = { kind_of(t, name), &t->total };
    for (int i = 0; i < 2; i++) {
        to[i]->nodes++;
        to[i]->flops += flops;
        to[i]->bytes += bytes;
        to[i]->seconds += seconds;
        to[i]->taken += taken;
    }
}

/* "linear_dx 25600 x 3072": rows and columns of the first result. */
static void name_by_shape(char *name, size_t size, const vmae_node *node)
{
    const vmae_tensor *y = node->out[0];
    const int64_t columns = y->shape.dim[y->shape.rank - 1];
    snprintf(name, size, "%s %lld x %lld", vmae_rule_name(node), (long long)(vmae_shape_count(y->shape) / columns),
             (long long)columns);
}

static void add_node(table *t, const vmae_node *node, vmae_type precision, const struct gpu *gpu, bool by_shape,
                     double taken)
{
    char name[56];
    const vmae_cost cost = vmae_node_cost(node);
    const vmae_type type = node->in[0] && node->in[0]->type == VMAE_F32 ? VMAE_F32 : precision;
    snprintf(name, sizeof name, "%s", vmae_rule_name(node));
    if (by_shape && node->out[0])
        name_by_shape(name, sizeof name, node);
    add(t, name, cost.flops, cost.bytes, gpu, type, taken);
}

static void count_graph(table *t, const vmae_trainer *trainer, const struct gpu *gpu)
{
    for (size_t i = 0; i < vmae_graph_nodes(trainer->g); i++)
        add_node(t, vmae_graph_node(trainer->g, i), trainer->precision, gpu, false, 0.0);
}

/* norms read the gradients; AdamW reads parameter, gradient and two moments, and writes all but the gradient. */
static void count_optimiser(table *t, const vmae_trainer *trainer, const struct gpu *gpu)
{
    const double numbers = (double)vmae_params_numbers(trainer->params),
                 copy = trainer->precision == VMAE_BF16 ? 2.0 : 0.0;
    add(t, "norms", 0.0, 4.0 * numbers, gpu, VMAE_F32, 0.0);
    add(t, "adamw", 0.0, (28.0 + copy) * numbers, gpu, VMAE_F32, 0.0);
}

static int by_time(const void *a, const void *b)
{
    const kind *x = a, *y = b;
    return (x->seconds < y->seconds) - (x->seconds > y->seconds);
}

static void print_kind(const kind *k, const struct gpu *gpu, double all)
{
    printf("%-34s %5d %11.1f %11.2f %10.3f %6.1f %%  %s\n", k->name, k->nodes, k->flops / 1e9, k->bytes / 1e9,
           1e3 * k->seconds, 100.0 * k->seconds / all,
           k->flops == 0.0                                  ? "memory"
           : k->seconds > 1.001 * k->bytes / gpu->bandwidth ? "products"
                                                            : "memory");
}

static void print_table(table *t, const vmae_trainer *trainer, const struct gpu *gpu, const char *size)
{
    const double peak = trainer->precision == VMAE_BF16 ? gpu->bf16 : gpu->f32;
    printf("%s, %s, %lld pairs, on paper: %s, %.0f TFLOP/s, %.2f TB/s (data sheet)\n", size,
           vmae_type_name(trainer->precision), (long long)trainer->pairs, gpu->label, peak / 1e12,
           gpu->bandwidth / 1e12);
    printf("%-34s %5s %11s %11s %10s %8s  %s\n", "op", "nodes", "GFLOP", "GB", "least ms", "share", "bound by");
    qsort(t->kinds, (size_t)t->count, sizeof *t->kinds, by_time);
    for (int i = 0; i < t->count; i++)
        print_kind(&t->kinds[i], gpu, t->total.seconds);
    snprintf(t->total.name, sizeof t->total.name, "step");
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
    for (int i = 0; i < t->count; i++) {
        const kind *k = &t->kinds[i];
        json_t *op = json_pack("{s:s, s:i, s:f, s:f, s:f}", "op", k->name, "nodes", k->nodes, "flops", k->flops,
                               "bytes", k->bytes, "least_ms", 1e3 * k->seconds);
        if (k->taken > 0.0) /* else it was counted, not measured */
            json_object_set_new(op, "ms", json_real(1e3 * k->taken));
        json_array_append_new(ops, op);
    }
    return json_pack("{s:s, s:s, s:s, s:I, s:f, s:f, s:f, s:I, s:o}", "gpu", gpu->label, "size", size, "precision",
                     vmae_type_name(trainer->precision), "pairs", (json_int_t)trainer->pairs, "flops", t->total.flops,
                     "bytes", t->total.bytes, "least_ms", 1e3 * t->total.seconds, "graph_bytes",
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
    vmae_backend *paper;
    VMAE_TRY(vmae_paper_open(&paper));
    VMAE_TRY(vmae_trainer_open(&trainer, config, paper));
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

/* ---- on a device ---- */

typedef struct timing {
    table *t;
    const struct gpu *roof;
    vmae_type precision;
    bool by_shape;
} timing;

static void on_node(void *context, const vmae_node *node, double seconds)
{
    const timing *of = context;
    add_node(of->t, node, of->precision, of->roof, of->by_shape, seconds);
}

/* Bytes a second of y = a + b over more than any cache holds. */
static vmae_status measure_bandwidth(vmae_backend *be, double *bandwidth)
{
    const int64_t n = strcmp(be->name, "cpu") == 0 ? 16 << 20 : 256 << 20;
    void *block[3] = { NULL };
    vmae_status st = VMAE_OK;
    for (int i = 0; st == VMAE_OK && i < 3; i++)
        st = be->allocate(be, &block[i], (size_t)n * sizeof(float));
    for (int i = 0; st == VMAE_OK && i < 5; i++) {
        st = be->synchronize(be);
        const double start = vmae_seconds();
        if (st == VMAE_OK && (st = be->kernels->add(be, block[0], block[1], block[2], VMAE_F32, n)) == VMAE_OK)
            st = be->synchronize(be);
        *bandwidth = fmax(*bandwidth, 12.0 * (double)n / (vmae_seconds() - start));
    }
    for (int i = 0; i < 3; i++)
        be->release(be, block[i]);
    return st;
}

static vmae_status measure_roofs(vmae_trainer *t, struct gpu *roof)
{
    double f32, bf16;
    VMAE_TRY(vmae_measure_roof(t->be, VMAE_F32, &f32));
    bf16 = f32;
    if (t->precision == VMAE_BF16)
        VMAE_TRY(vmae_measure_roof(t->be, VMAE_BF16, &bf16));
    roof->f32 = 1e9 * f32;
    roof->bf16 = 1e9 * bf16;
    return measure_bandwidth(t->be, &roof->bandwidth);
}

static int by_taken(const void *a, const void *b)
{
    const kind *x = a, *y = b;
    return (x->taken < y->taken) - (x->taken > y->taken);
}

static void print_taken(const kind *k, double all)
{
    printf("%-34s %5d %10.3f %6.1f %% %9.0f %9.0f %9.3f %7.0f %%\n", k->name, k->nodes, 1e3 * k->taken,
           100.0 * k->taken / all, k->flops / k->taken / 1e9, k->bytes / k->taken / 1e9, 1e3 * k->seconds,
           100.0 * k->seconds / k->taken);
}

static void print_times(table *t, const vmae_trainer *trainer, const struct gpu *roof, const char *size)
{
    printf("%s, %s, %lld pairs, on %s\nroofs measured: %.0f GFLOP/s bf16, %.0f f32, %.0f GB/s\n", size,
           vmae_type_name(trainer->precision), (long long)trainer->pairs, trainer->be->description, roof->bf16 / 1e9,
           roof->f32 / 1e9, roof->bandwidth / 1e9);
    printf("%-34s %5s %10s %8s %9s %9s %9s %9s\n", "op", "nodes", "ms", "share", "GFLOP/s", "GB/s", "least ms",
           "of roof");
    qsort(t->kinds, (size_t)t->count, sizeof *t->kinds, by_taken);
    for (int i = 0; i < t->count; i++)
        print_taken(&t->kinds[i], t->total.taken);
    snprintf(t->total.name, sizeof t->total.name, "all, one by one");
    print_taken(&t->total, t->total.taken);
}

vmae_status vmae_op_times_print(const vmae_config *config, bool by_shape, json_t *list)
{
    enum { REPEATS = 3 };
    struct gpu roof = { .name = "measured", .label = "measured" };
    vmae_trainer trainer = { 0 };
    table counted = { .count = 0 };
    timing context = { &counted, &roof, VMAE_F32, by_shape };
    vmae_losses losses;
    double norm;
    VMAE_TRY(vmae_trainer_open(&trainer, config, NULL));
    const int64_t count = 2 * trainer.pairs * 3 * trainer.config.image_size * trainer.config.image_size;
    float *images = vmae_calloc((size_t)count, sizeof *images);
    context.precision = trainer.precision;
    vmae_status st = images ? measure_roofs(&trainer, &roof) : VMAE_ENOMEM;
    for (int64_t i = 0; st == VMAE_OK && i < count; i++)
        images[i] = (float)(i * 7919 % 2003) / 1001.0f - 1.0f;
    if (st == VMAE_OK) /* a mask, and numbers that a model computes with */
        st = vmae_tensor_write(trainer.g, trainer.model.images, images, vmae_shape_count(trainer.model.images->shape));
    if (st == VMAE_OK)
        st = vmae_trainer_pass(&trainer, 0, 1.0, 0.025, false, NULL, &losses);
    if (st == VMAE_OK)
        st = vmae_graph_time(trainer.g, REPEATS, on_node, &context);
    for (int i = 0; st == VMAE_OK && i < 2; i++) {
        const double start = vmae_seconds(), numbers = (double)vmae_params_numbers(trainer.params);
        st = vmae_optimizer_step(trainer.optimizer, 1e-4, 1.0, &norm);
        if (st == VMAE_EDIVERGED) /* the gradients mean nothing after repeats in place */
            st = VMAE_OK;
        if (i == 1)
            add(&counted, "optimizer step", 0.0, (trainer.precision == VMAE_BF16 ? 34.0 : 32.0) * numbers, &roof,
                VMAE_F32, vmae_seconds() - start);
    }
    const char *size = vmae_config_text(config, "model.size");
    if (st == VMAE_OK && list)
        json_array_append_new(list, json_of(&counted, &trainer, &roof, size));
    else if (st == VMAE_OK)
        print_times(&counted, &trainer, &roof, size);
    free(images);
    vmae_trainer_close(&trainer);
    return st;
}
