/* cmd_bench.c -- vicmae bench: the time of a pre-training step (forward, backward, AdamW; data in memory) against the
 * machine's roof, which is measured in the same run. */
#include "experiments/commands.h"

#include "engine/core/log.h"
#include "engine/core/mem.h"
#include "engine/core/rng.h"
#include "experiments/machine.h"
#include "experiments/pretrain.h"
#include "experiments/roofline.h"

#include <argp.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PRECISIONS = 2, SIZES_MAX = 8, STEPS_MAX = 1000, WARM_UP = 3, BY_SHAPE = 256 };

typedef struct arguments {
    const char *sizes[SIZES_MAX];
    int size_count, steps, threads, pairs;
    const char *precisions[PRECISIONS], *device, *predict;
    int precision_count; /* 0: all that the device multiplies fast */
    bool json, ops, by_shape;
} arguments;

static const struct argp_option option_table[] = {
    { "steps", 's', "N", 0, "steps, of which the first 3 warm up (default: 12)", 0 },
    { "precision", 'p', "LIST", 0, "f32, bf16 or f32,bf16 (default: both, where the device has bf16)", 0 },
    { "threads", 't', "N", 0, "compute threads (default: all cores)", 0 },
    { "pairs", 'b', "N", 0, "pairs of a batch (default: 64 nano and tiny, 32 small, 8 base, 4 large, 2 huge)", 0 },
    { "device", 'd', "DEVICE", 0, "auto, cpu or cuda:N", 0 },
    { "predict", 'r', "GPU", 0, "count a step's least time on h100, h200 or a100 instead of running it", 0 },
    { "ops", 'o', NULL, 0, "time every kind of op by itself, beside the least it could take", 0 },
    { "ops-by-shape", BY_SHAPE, NULL, 0, "likewise, every shape by itself", 0 },
    { "json", 'j', NULL, 0, "machine-readable", 0 },
    { 0 }
};

/* "f32", "bf16", or both in any order, comma between them. */
static void read_precisions(struct argp_state *state, const char *text)
{
    static const char *const known[PRECISIONS] = { "f32", "bf16" };
    arguments *a = state->input;
    a->precision_count = 0;
    while (a->precision_count < PRECISIONS) {
        const size_t length = strcspn(text, ",");
        const char *found = NULL;
        for (int i = 0; i < PRECISIONS; i++)
            if (strlen(known[i]) == length && strncmp(known[i], text, length) == 0)
                found = known[i];
        if (!found)
            argp_error(state, "precision is %s; it must be f32, bf16 or f32,bf16", text);
        a->precisions[a->precision_count++] = found;
        if (!text[length])
            return;
        text += length + 1;
    }
    argp_error(state, "more than %d precisions", PRECISIONS);
}

static error_t on_option(int key, char *value, struct argp_state *state)
{
    arguments *a = state->input;
    switch (key) {
    case 's': a->steps = vmae_whole_argument(state, "steps", value, WARM_UP + 1, STEPS_MAX); return 0;
    case 'p': read_precisions(state, value); return 0;
    case 't': a->threads = vmae_whole_argument(state, "threads", value, 1, 1024); return 0;
    case 'b': a->pairs = vmae_whole_argument(state, "pairs", value, 2, 1000000); return 0;
    case 'd': a->device = value; return 0;
    case 'r': a->predict = value; return 0;
    case 'o': a->ops = true; return 0;
    case BY_SHAPE: a->ops = a->by_shape = true; return 0;
    case 'j': a->json = true; return 0;
    case ARGP_KEY_END:
        if (a->predict && a->ops)
            argp_error(state, "--predict counts and --ops measures; give one of them");
        return 0;
    case ARGP_KEY_ARG:
        if (a->size_count == SIZES_MAX)
            argp_error(state, "more than %d sizes", SIZES_MAX);
        a->sizes[a->size_count++] = value;
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

typedef struct timing {
    double median, least, most, flops, roof, loss;
    int64_t pairs, parameters;
    size_t memory;
} timing;

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int default_pairs(const char *size)
{
    static const struct {
        const char *name;
        int pairs;
    } table[] = { { "nano", 64 }, { "tiny", 64 }, { "small", 32 }, { "base", 8 }, { "large", 4 }, { "huge", 2 } };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i].name, size) == 0)
            return table[i].pairs;
    return 8;
}

static vmae_status configure(vmae_config **config, const arguments *a, const char *size, const char *precision)
{
    const vmae_protocol *pretrain = vmae_protocol_find("pretrain");
    char number[32];
    VMAE_TRY(vmae_protocol_config(pretrain, config));
    VMAE_TRY(vmae_config_set(*config, "model.size", size, "command line"));
    VMAE_TRY(vmae_config_set(*config, "precision", precision, "command line"));
    VMAE_TRY(vmae_config_set(*config, "device", a->device, "command line"));
    VMAE_TRY(vmae_config_set(*config, "data.images.kind", "shapes", "bench"));
    VMAE_TRY(vmae_config_set(*config, "augment.on", "host", "bench")); /* views are there already */
    snprintf(number, sizeof number, "%d", a->pairs ? a->pairs : default_pairs(size));
    VMAE_TRY(vmae_config_set(*config, "train.batch", number, "command line"));
    snprintf(number, sizeof number, "%d", a->threads);
    VMAE_TRY(vmae_config_set(*config, "threads", number, "command line"));
    return pretrain->resolve(*config);
}

/* One step as training takes it. */
static vmae_status step(vmae_trainer *t, const vmae_batch *batch, int64_t pass, double *loss)
{
    vmae_losses losses;
    double norm;
    VMAE_TRY(vmae_trainer_images(t, batch));
    VMAE_TRY(vmae_trainer_pass(t, pass, 1.0, 0.025, false, batch, &losses));
    VMAE_TRY(vmae_optimizer_step(t->optimizer, 1e-4, 1.0, &norm));
    VMAE_TRY(t->be->synchronize(t->be));
    *loss = losses.total;
    return VMAE_OK;
}

static vmae_status measure(const vmae_config *config, int steps, timing *result, char *description, size_t size)
{
    static double seconds[STEPS_MAX];
    vmae_trainer t = { 0 };
    VMAE_TRY(vmae_trainer_open(&t, config, NULL));
    const int64_t count = 2 * t.pairs * 3 * t.config.image_size * t.config.image_size;
    float *images = vmae_calloc((size_t)count, sizeof *images);
    const vmae_batch batch = { .view1 = images };
    vmae_rng rng = vmae_rng_at(1, VMAE_RNG_TEST, 0, 0);
    vmae_status st = images ? vmae_measure_roof(t.be, t.precision, &result->roof) : VMAE_ENOMEM;
    for (int64_t i = 0; st == VMAE_OK && i < count; i++)
        images[i] = vmae_rng_normal(&rng);
    for (int i = 0; st == VMAE_OK && i < steps; i++) {
        const double start = vmae_seconds();
        st = step(&t, &batch, i, &result->loss);
        seconds[i] = vmae_seconds() - start;
    }
    if (st == VMAE_OK) {
        const int counted = steps - WARM_UP;
        qsort(seconds + WARM_UP, (size_t)counted, sizeof *seconds, by_value);
        result->least = seconds[WARM_UP];
        result->most = seconds[steps - 1];
        result->median = counted % 2 ? seconds[WARM_UP + counted / 2]
                                     : 0.5 * (seconds[WARM_UP + counted / 2] + seconds[WARM_UP + counted / 2 - 1]);
        result->flops = t.flops;
        result->pairs = t.pairs;
        result->parameters = vmae_params_numbers(t.params);
        result->memory = vmae_graph_memory(t.g);
        snprintf(description, size, "%s", t.be->description);
    }
    free(images);
    vmae_trainer_close(&t);
    return st;
}

static void print_timing(const char *size, const char *precision, const timing *r, bool first, const char *description)
{
    const double gflops = r->flops / r->median / 1e9;
    if (first)
        printf("vicmae %s (%s), %s\n", VMAE_VERSION, vmae_revision(), description);
    printf("%-6s %-5s %3lld pairs  %8.1f ms [%.1f .. %.1f]  %8.1f images/s  %6.1f GFLOP/s  %4.1f %% of roof %.0f  %.0f "
           "MiB  loss %.3f\n",
           size, precision, (long long)r->pairs, 1e3 * r->median, 1e3 * r->least, 1e3 * r->most,
           2.0 * (double)r->pairs / r->median, gflops, 100.0 * gflops / r->roof, r->roof, (double)r->memory / 0x1p20,
           r->loss);
    fflush(stdout);
}

static json_t *json_of(const char *size, const char *precision, const timing *r)
{
    return json_pack("{s:s, s:s, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:I}", "size", size, "precision", precision,
                     "pairs", (json_int_t)r->pairs, "step_ms", 1e3 * r->median, "least_ms", 1e3 * r->least, "most_ms",
                     1e3 * r->most, "images_per_s", 2.0 * (double)r->pairs / r->median, "gflops_per_s",
                     r->flops / r->median / 1e9, "roof_gflops_per_s", r->roof, "graph_bytes", (json_int_t)r->memory);
}

vmae_status vmae_bench_check(const char *size)
{
    vmae_config *config = NULL;
    const vmae_status st = configure(&config, &(arguments){ .device = "auto" }, size, "f32");
    vmae_config_free(config);
    return st;
}

vmae_status vmae_bench_one(const char *size, int pairs, const char *device, json_t *list)
{
    const arguments a = { .steps = 12, .pairs = pairs, .device = device };
    char description[192];
    vmae_backend *be = NULL;
    vmae_config *config = NULL;
    timing result = { 0 };
    VMAE_TRY(vmae_backend_open(&be, device, 0));
    const char *precision = vmae_type_name(be->precision);
    vmae_backend_close(be);
    vmae_status st = configure(&config, &a, size, precision);
    if (st == VMAE_OK)
        st = measure(config, a.steps, &result, description, sizeof description);
    vmae_config_free(config);
    VMAE_TRY(st);
    print_timing(size, precision, &result, false, description);
    json_array_append_new(list, json_of(size, precision, &result));
    return VMAE_OK;
}

static vmae_status bench_all(const arguments *a, json_t *list)
{
    char description[192];
    for (int i = 0; i < a->size_count; i++) {
        for (int p = 0; p < a->precision_count; p++) {
            vmae_config *config = NULL;
            timing result = { 0 };
            vmae_status st = configure(&config, a, a->sizes[i], a->precisions[p]);
            if (st == VMAE_OK && a->predict)
                st = vmae_roofline_print(config, a->predict, list);
            else if (st == VMAE_OK && a->ops)
                st = vmae_op_times_print(config, a->by_shape, list);
            else if (st == VMAE_OK)
                st = measure(config, a->steps, &result, description, sizeof description);
            vmae_config_free(config);
            VMAE_TRY(st);
            if (a->predict || a->ops)
                continue;
            if (list)
                json_array_append_new(list, json_of(a->sizes[i], a->precisions[p], &result));
            else
                print_timing(a->sizes[i], a->precisions[p], &result, i == 0 && p == 0, description);
        }
    }
    return VMAE_OK;
}

/* What the device multiplies fast. */
static vmae_status all_precisions(arguments *a)
{
    vmae_backend *be;
    VMAE_TRY(a->predict ? vmae_paper_open(&be) : vmae_backend_open(&be, a->device, a->threads));
    a->precisions[a->precision_count++] = "f32";
    if (be->precision == VMAE_BF16)
        a->precisions[a->precision_count++] = "bf16";
    vmae_backend_close(be);
    return VMAE_OK;
}

int vmae_cmd_bench(int argc, char **argv)
{
    const struct argp argp = {
        option_table,
        on_option,
        "[SIZE...]",
        "Time of a pre-training step (forward, backward, AdamW; data in memory) for model sizes nano, tiny, small, "
        "base, large, huge, as a share of the machine's roof: the best of a few 1024^3 matrix products in the same "
        "run.\v"
        "Examples:\n  vicmae bench nano small base\n  vicmae bench nano --precision bf16 --steps 50 --json\n"
        "  vicmae bench large --pairs 256 --precision bf16 --predict h100",
        NULL,
        NULL,
        NULL
    };
    arguments a = { .steps = 12, .device = "auto" };
    argp_err_exit_status = 2;
    argp_parse(&argp, argc, argv, 0, NULL, &a);
    if (a.size_count == 0)
        a.sizes[a.size_count++] = "nano";
    vmae_status st = a.precision_count == 0 ? all_precisions(&a) : VMAE_OK;
    if (st != VMAE_OK)
        return vmae_report(st);
    json_t *list = a.json ? json_array() : NULL;
    st = bench_all(&a, list);
    if (st == VMAE_OK && list) {
        json_dumpf(list, stdout, JSON_INDENT(1));
        putchar('\n');
    }
    json_decref(list);
    return vmae_report(st);
}
