/* test_ops.c -- every op of cases.c: gradients, precision; and that every op which a model records is in cases.c. */
#include "engine/core/mem.h"
#include "engine/model/model.h"
#include "tests/ops/op_check.h"

#include <stdlib.h>
#include <string.h>

TEST(every_gradient_matches_central_differences)
{
    for (int i = 0; i < op_case_count; i++)
        if (!op_cases[i].no_gradient)
            check_gradient(&op_cases[i]);
}

TEST(every_op_in_bf16_is_near_f32)
{
    if (no_bf16())
        return;
    for (int i = 0; i < op_case_count; i++)
        if (!op_cases[i].f32_only)
            check_bf16(&op_cases[i]);
}

/* ---- frozen parameters ---- */

/* Gradients of every operand that takes one, one after the other; fresh memory. */
static float *all_gradients(const op_case *what, int64_t *count)
{
    op_run run;
    float *gradients = NULL;
    *count = 0;
    const vmae_status st = op_open(&run, what, test_backend(), VMAE_F32);
    if (vmae_check(st == VMAE_OK, __FILE__, __LINE__, "%s: %s", what->name, vmae_error())) {
        CHECK_OK(op_fill(&run, false));
        CHECK_OK(vmae_graph_run(run.g, false));
        for (int i = 0; i < what->count; i++)
            *count += vmae_shape_count(what->operands[i].shape);
        gradients = vmae_calloc((size_t)*count, sizeof *gradients);
        float *to = gradients;
        for (int i = 0; gradients && i < what->count; to += vmae_shape_count(what->operands[i++].shape))
            if (takes_gradient(&what->operands[i]))
                CHECK_OK(op_read(&run, op_gradient(&run, i), to));
    }
    op_release(&run);
    return gradients;
}

/* The same gradients, but for the frozen operand's, which is absent (zeros here). */
static void check_frozen(const op_case *what, int frozen)
{
    int64_t count, unused, at = 0;
    op_case variant = *what;
    variant.operands[frozen].kind = FROZEN;
    float *wanted = all_gradients(what, &count), *got = all_gradients(&variant, &unused);
    REQUIRE(wanted && got);
    for (int i = 0; i < frozen; i++)
        at += vmae_shape_count(what->operands[i].shape);
    memset(wanted + at, 0, (size_t)vmae_shape_count(what->operands[frozen].shape) * sizeof *wanted);
    vmae_check(vmae_max_difference(got, wanted, (size_t)count) <= 1e-6 * vmae_max_magnitude(wanted, (size_t)count),
               __FILE__, __LINE__, "%s: with operand %d frozen the other gradients are off by %g", what->name, frozen,
               vmae_max_difference(got, wanted, (size_t)count));
    free(wanted);
    free(got);
}

TEST(freezing_one_parameter_leaves_the_other_gradients_as_they_are)
{
    int checked = 0;
    for (int i = 0; i < op_case_count; i++)
        for (int k = 0; !op_cases[i].no_gradient && k < op_cases[i].count; k++)
            if (op_cases[i].operands[k].kind == VECTOR || op_cases[i].operands[k].kind == MATRIX) {
                check_frozen(&op_cases[i], k);
                checked++;
            }
    CHECK(checked > 20);
}

/* ---- no op without a case ---- */

enum { NAMES_MAX = 200 };

typedef struct names {
    const char *list[NAMES_MAX];
    int count;
} names;

static bool has(const names *set, const char *name)
{
    for (int i = 0; i < set->count; i++)
        if (strcmp(set->list[i], name) == 0)
            return true;
    return false;
}

static void add_rules(names *set, const vmae_graph *g)
{
    for (size_t i = 0; i < vmae_graph_nodes(g); i++) {
        const char *name = vmae_rule_name(vmae_graph_node(g, i));
        if (!has(set, name) && set->count < NAMES_MAX)
            set->list[set->count++] = name;
    }
}

static void add_cases(names *set, vmae_type precision)
{
    for (int i = 0; i < op_case_count; i++) {
        op_run run;
        if (precision == VMAE_BF16 && op_cases[i].f32_only)
            continue;
        const vmae_status st = op_open(&run, &op_cases[i], test_backend(), precision);
        vmae_check(st == VMAE_OK, __FILE__, __LINE__, "%s: %s", op_cases[i].name, vmae_error());
        add_rules(set, run.g);
        op_release(&run);
    }
}

static const vmae_model_config tiny = { .image_size = 12,
                                        .patch_size = 4,
                                        .channels = 3,
                                        .dim = 16,
                                        .depth = 1,
                                        .heads = 2,
                                        .mlp_hidden = 20,
                                        .decoder_dim = 12,
                                        .decoder_depth = 1,
                                        .decoder_heads = 3,
                                        .decoder_mlp_hidden = 20,
                                        .projector_hidden = 8,
                                        .projector_out = 4,
                                        .mask_ratio = 0.5,
                                        .norm_pix = true };
enum { CLASSES = 5, BATCH = 4 };

typedef void record_model(vmae_graph *g, const vmae_params *params, const vmae_model_config *config);

static void record_pretraining(vmae_graph *g, const vmae_params *params, const vmae_model_config *config)
{
    const vmae_vicmae_options options = { .pairs = BATCH / 2, .temperature = 0.1, .positive_ranks = 1 };
    vmae_vicmae model;
    vmae_record_vicmae(&model, g, params, config, &options);
    CHECK_OK(vmae_graph_backward(g, model.loss));
}

static vmae_tensor *images_of(vmae_graph *g, const vmae_model_config *config)
{
    return vmae_input(g, "images", VMAE_F32, VMAE_SHAPE(BATCH, 3, config->image_size, config->image_size));
}

static void record_features(vmae_graph *g, const vmae_params *params, const vmae_model_config *config)
{
    vmae_keep(vmae_record_features(g, params, config, images_of(g, config), config->pool));
}

static void record_classifier(vmae_graph *g, const vmae_params *params, const vmae_model_config *config)
{
    vmae_tensor *scale[2];
    for (int i = 0; i < 2; i++)
        scale[i] = vmae_input(g, "scale", VMAE_F32, VMAE_SHAPE(BATCH));
    vmae_tensor *logits =
        vmae_record_classifier(g, params, config, images_of(g, config), config->pool == VMAE_POOL_MEAN, scale);
    vmae_tensor *targets = vmae_input(g, "targets", VMAE_F32, VMAE_SHAPE(BATCH, CLASSES));
    CHECK_OK(vmae_graph_backward(g, vmae_cross_entropy(g, logits, NULL, targets, 0.0f)));
}

/* The linear probe's: BatchNorm without affine in front of a linear layer, then with running statistics. */
static void record_probe(vmae_graph *g, const vmae_params *params, const vmae_model_config *config)
{
    vmae_tensor *x = vmae_input(g, "x", VMAE_F32, VMAE_SHAPE(BATCH, config->dim));
    vmae_tensor *labels = vmae_input(g, "labels", VMAE_I32, VMAE_SHAPE(BATCH));
    vmae_tensor *mean = vmae_use_param(g, params, "mean", VMAE_F32), *var = vmae_use_param(g, params, "var", VMAE_F32);
    vmae_tensor *w = vmae_use_param(g, params, "head.weight", VMAE_F32),
                *b = vmae_use_param(g, params, "head.bias", VMAE_F32);
    vmae_keep(vmae_batch_norm_infer(g, x, NULL, NULL, mean, var, 1e-6f, false));
    vmae_tensor *normed = vmae_batch_norm(g, x, NULL, NULL, mean, var, 1, 1e-6f, 0.1f, false);
    CHECK_OK(vmae_graph_backward(
        g, vmae_cross_entropy(g, vmae_linear(g, normed, w, b, NULL, VMAE_F32), labels, NULL, 0.0f)));
}

static void add_model(names *set, vmae_backend *be, record_model *record, vmae_pool pool, vmae_type precision)
{
    vmae_model_config config = tiny;
    vmae_params *params = vmae_params_new();
    config.pool = pool;
    CHECK_OK(vmae_declare_encoder(params, &config, record == record_classifier, true));
    CHECK_OK(vmae_declare_pretraining(params, &config));
    CHECK_OK(vmae_declare_head(params, &config, CLASSES, pool == VMAE_POOL_MEAN));
    CHECK_OK(vmae_params_add(params, "mean", VMAE_SHAPE(config.dim), false));
    CHECK_OK(vmae_params_add(params, "var", VMAE_SHAPE(config.dim), false));
    CHECK_OK(vmae_params_allocate(params, be, true, precision == VMAE_BF16));
    vmae_graph *g = vmae_graph_new(be, precision);
    record(g, params, &config);
    add_rules(set, g);
    vmae_graph_free(g);
    vmae_params_free(params);
}

TEST(every_op_that_a_model_records_has_a_case)
{
    static record_model *const models[] = { record_pretraining, record_features, record_classifier, record_probe };
    static const vmae_pool pools[] = { VMAE_POOL_MEAN, VMAE_POOL_MAX, VMAE_POOL_GEM, VMAE_POOL_CLS };
    names tested = { .count = 0 }, used = { .count = 0 };
    vmae_backend *be = NULL;
    REQUIRE_OK(vmae_backend_open(&be, vmae_test_device(), 1));
    for (vmae_type precision = VMAE_F32; precision <= be->precision; precision++) {
        add_cases(&tested, precision);
        for (size_t m = 0; m < sizeof models / sizeof *models; m++)
            for (size_t p = 0; p < sizeof pools / sizeof *pools; p++)
                add_model(&used, be, models[m], pools[p], precision);
    }
    vmae_backend_close(be);
    CHECK(used.count >= 34); /* the walk saw something */
    for (int i = 0; i < used.count; i++)
        vmae_check(has(&tested, used.list[i]), __FILE__, __LINE__, "op %s has no case in engine/selftest/cases.c",
                   used.list[i]);
}
