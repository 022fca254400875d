/* test_golden_probe.c -- the linear probe against the reference: BatchNorm without affine, a linear layer,
 * cross-entropy, three LARS steps. */
#include "engine/core/mem.h"
#include "engine/optim/optimizer.h"
#include "tests/ops/golden_case.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct probe {
    vmae_backend *be;
    vmae_params *params;
    vmae_optimizer *optimizer;
    vmae_graph *train, *score;
    vmae_tensor *x, *labels, *normed, *logits, *loss; /* of train */
    vmae_tensor *test_x, *test_logits;                /* of score */
    int64_t rows, dim, classes, test_rows;
} probe;

static vmae_tensor *head(const probe *p, vmae_graph *g, vmae_tensor *x)
{
    return vmae_linear(g, x, vmae_use_param(g, p->params, "head.1.weight", VMAE_F32),
                       vmae_use_param(g, p->params, "head.1.bias", VMAE_F32), NULL, VMAE_F32);
}

static vmae_status record(probe *p, const vmae_checkpoint *file)
{
    const float eps = (float)golden_number(file, "bn_eps"), momentum = (float)golden_number(file, "bn_momentum");
    vmae_graph *g = p->train = vmae_graph_new(p->be, VMAE_F32);
    p->x = vmae_input(g, "x", VMAE_F32, VMAE_SHAPE(p->rows, p->dim));
    p->labels = vmae_input(g, "labels", VMAE_I32, VMAE_SHAPE(p->rows));
    p->normed = vmae_keep(
        vmae_batch_norm(g, p->x, NULL, NULL, vmae_use_param(g, p->params, "head.0.running_mean", VMAE_F32),
                        vmae_use_param(g, p->params, "head.0.running_var", VMAE_F32), 1, eps, momentum, false));
    p->logits = vmae_keep(head(p, g, p->normed));
    p->loss = vmae_keep(vmae_cross_entropy(g, p->logits, p->labels, NULL, 0.0f));
    VMAE_TRY(vmae_graph_backward(g, p->loss));
    VMAE_TRY(vmae_graph_plan(g));
    g = p->score = vmae_graph_new(p->be, VMAE_F32);
    p->test_x = vmae_input(g, "x", VMAE_F32, VMAE_SHAPE(p->test_rows, p->dim));
    p->test_logits = vmae_keep(head(
        p, g,
        vmae_batch_norm_infer(g, p->test_x, NULL, NULL, vmae_use_param(g, p->params, "head.0.running_mean", VMAE_F32),
                              vmae_use_param(g, p->params, "head.0.running_var", VMAE_F32), eps, false)));
    return vmae_graph_plan(g);
}

static void write_start(probe *p, const vmae_checkpoint *file)
{
    for (int i = 0; i < vmae_params_count(p->params); i++) {
        const vmae_param *param = vmae_params_at(p->params, i);
        char name[100];
        int64_t count = param->count;
        snprintf(name, sizeof name, "param.%s", param->name);
        float *values =
            param->trainable ? golden_floats(file, name, &count) : vmae_calloc((size_t)count, sizeof *values);
        REQUIRE(values && count == param->count);
        for (int64_t k = 0; k < count && !param->trainable; k++)
            values[k] = param->name[15] == 'v' ? 1.0f : 0.0f; /* head.0.running_var : head.0.running_mean */
        CHECK_OK(vmae_params_write(p->params, param, values));
        free(values);
    }
}

static vmae_status probe_open(probe *p, const vmae_checkpoint *file)
{
    const vmae_optimizer_config lars = { .method = VMAE_LARS,
                                         .weight_decay = golden_number(file, "weight_decay"),
                                         .momentum = golden_number(file, "momentum"),
                                         .trust = golden_number(file, "trust") };
    p->rows = (int64_t)golden_number(file, "batch");
    p->dim = (int64_t)golden_number(file, "dim");
    p->classes = (int64_t)golden_number(file, "classes");
    p->test_rows = golden_shape(file, "x_test", 0).dim[0];
    VMAE_TRY(vmae_backend_open(&p->be, vmae_test_device(), 2));
    p->params = vmae_params_new();
    VMAE_TRY(vmae_params_add(p->params, "head.0.running_mean", VMAE_SHAPE(p->dim), false));
    VMAE_TRY(vmae_params_add(p->params, "head.0.running_var", VMAE_SHAPE(p->dim), false));
    VMAE_TRY(vmae_params_add(p->params, "head.1.weight", VMAE_SHAPE(p->classes, p->dim), true));
    VMAE_TRY(vmae_params_add(p->params, "head.1.bias", VMAE_SHAPE(p->classes), true));
    VMAE_TRY(vmae_params_allocate(p->params, p->be, true, false));
    VMAE_TRY(vmae_optimizer_new(&p->optimizer, p->be, p->params, &lars));
    write_start(p, file);
    return record(p, file);
}

/* Row `step` of an entry against count floats. */
static void compare(const vmae_checkpoint *file, const char *name, int64_t step, const float *got, int64_t count,
                    double limit)
{
    int64_t all = 0;
    float *wanted = golden_floats(file, name, &all);
    if (wanted && vmae_check(all >= (step + 1) * count, __FILE__, __LINE__, "%s has another size", name))
        golden_near(name, got, wanted + step * count, count, limit, 0.0);
    free(wanted);
}

static void compare_tensor(const vmae_checkpoint *file, const char *name, int64_t step, vmae_graph *g,
                           const vmae_tensor *tensor, double limit)
{
    const int64_t count = vmae_shape_count(tensor->shape);
    float *got = vmae_calloc((size_t)count, sizeof *got);
    CHECK_OK(vmae_tensor_read(g, tensor, got, count));
    compare(file, name, step, got, count, limit);
    free(got);
}

static void check_step(probe *p, const vmae_checkpoint *file, int64_t step, const float *x, const float *labels)
{
    int32_t ints[256];
    double norm;
    REQUIRE(p->rows <= 256);
    for (int64_t i = 0; i < p->rows; i++)
        ints[i] = (int32_t)labels[step * p->rows + i];
    CHECK_OK(vmae_tensor_write(p->train, p->x, x + step * p->rows * p->dim, p->rows * p->dim));
    CHECK_OK(vmae_tensor_write(p->train, p->labels, ints, p->rows));
    CHECK_OK(vmae_graph_run(p->train, false));
    compare_tensor(file, "normed", step, p->train, p->normed, 5e-6);
    compare_tensor(file, "logits", step, p->train, p->logits, 5e-6);
    compare_tensor(file, "loss", step, p->train, p->loss, 2e-6);
    for (int i = 0; i < vmae_params_count(p->params); i++) {
        const vmae_param *param = vmae_params_at(p->params, i);
        char name[100];
        snprintf(name, sizeof name, "grad.%s", param->name);
        float *got = param->trainable ? golden_gradient_of(p->be, p->params, param) : NULL;
        if (got)
            compare(file, name, step, got, param->count, 2e-4);
        free(got);
    }
    CHECK_OK(vmae_optimizer_step(p->optimizer, golden_number(file, "lr"), 1.0, &norm));
    for (int i = 0; i < vmae_params_count(p->params); i++) {
        const vmae_param *param = vmae_params_at(p->params, i);
        char name[100];
        snprintf(name, sizeof name, "after.%s", param->name);
        float *got = golden_value_of(p->be, p->params, param);
        if (got)
            compare(file, name, step, got, param->count, 5e-6);
        free(got);
    }
}

TEST(three_steps_of_the_linear_probe_follow_the_reference)
{
    probe p = { 0 };
    int64_t count;
    vmae_checkpoint *file = golden_open("linear_probe");
    if (!file)
        return;
    REQUIRE_OK(probe_open(&p, file));
    float *x = golden_floats(file, "x", &count), *labels = golden_floats(file, "labels", &count),
          *test = golden_floats(file, "x_test", &count);
    REQUIRE(x && labels && test);
    for (int64_t step = 0; step < (int64_t)golden_number(file, "steps"); step++)
        check_step(&p, file, step, x, labels);
    CHECK_OK(vmae_tensor_write(p.score, p.test_x, test, count));
    CHECK_OK(vmae_graph_run(p.score, false));
    compare_tensor(file, "logits_test", 0, p.score, p.test_logits, 5e-6);
    free(x);
    free(labels);
    free(test);
    vmae_graph_free(p.train);
    vmae_graph_free(p.score);
    vmae_optimizer_free(p.optimizer);
    vmae_params_free(p.params);
    vmae_backend_close(p.be);
    vmae_checkpoint_free(file);
}
