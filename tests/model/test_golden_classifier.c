/* test_golden_classifier.c -- the encoder with a classification head: [CLS], global pooling, drop path, mixed targets.
 */
#include "engine/core/mem.h"
#include "tests/model/golden.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 64 };

typedef struct classifier {
    vmae_backend *be;
    vmae_params *params;
    vmae_graph *g;
    vmae_tensor *images, *targets, *logits, *loss, *scale[2 * DEPTH_MAX];
    vmae_model_config config;
    int64_t batch, classes;
    bool global_pool, drop_path;
} classifier;

static vmae_status classifier_open(classifier *c, const vmae_checkpoint *file)
{
    c->config = golden_set_model(file);
    c->batch = (int64_t)golden_number(file, "batch");
    c->classes = (int64_t)golden_number(file, "classes");
    c->global_pool = golden_flag(file, "global_pool");
    c->drop_path = vmae_checkpoint_find(file, "keep");
    VMAE_TRY(vmae_backend_open(&c->be, vmae_test_device(), 2));
    c->params = vmae_params_new();
    VMAE_TRY(vmae_declare_encoder(c->params, &c->config, true, !c->global_pool));
    VMAE_TRY(vmae_declare_head(c->params, &c->config, c->classes, c->global_pool));
    VMAE_TRY(vmae_params_allocate(c->params, c->be, true, false));
    c->g = vmae_graph_new(c->be, VMAE_F32);
    c->images =
        vmae_input(c->g, "images", VMAE_F32, VMAE_SHAPE(c->batch, 3, c->config.image_size, c->config.image_size));
    c->targets = vmae_input(c->g, "targets", VMAE_F32, VMAE_SHAPE(c->batch, c->classes));
    for (int64_t i = 0; c->drop_path && i < 2 * c->config.depth; i++)
        c->scale[i] = vmae_input(c->g, "scale", VMAE_F32, VMAE_SHAPE(c->batch));
    c->logits = vmae_keep(
        vmae_record_classifier(c->g, c->params, &c->config, c->images, c->global_pool, c->drop_path ? c->scale : NULL));
    c->loss = vmae_keep(vmae_cross_entropy(c->g, c->logits, NULL, c->targets, 0.0f));
    VMAE_TRY(vmae_graph_backward(c->g, c->loss));
    return vmae_graph_plan(c->g);
}

/* scale[block, branch][sample] = keep / (1 - rate of the block) */
static void write_scales(classifier *c, const vmae_checkpoint *file)
{
    int64_t count;
    float *keep = golden_floats(file, "keep", &count), *rates = golden_floats(file, "drop_path_rates", &count);
    for (int64_t i = 0; keep && rates && i < 2 * c->config.depth; i++) {
        for (int64_t b = 0; b < c->batch; b++)
            keep[i * c->batch + b] /= 1.0f - rates[i / 2];
        CHECK_OK(vmae_tensor_write(c->g, c->scale[i], keep + i * c->batch, c->batch));
    }
    free(keep);
    free(rates);
}

static void write_input(classifier *c, const vmae_checkpoint *file, vmae_tensor *to, const char *name)
{
    int64_t count;
    float *values = golden_floats(file, name, &count);
    if (values)
        CHECK_OK(vmae_tensor_write(c->g, to, values, count));
    free(values);
}

static void check_classifier(const char *name)
{
    classifier c = { 0 };
    int64_t count;
    vmae_checkpoint *file = golden_open(name), *encoder = golden_open("vicmae_params");
    if (!file || !encoder)
        return;
    REQUIRE_OK(classifier_open(&c, file));
    REQUIRE_OK(golden_set_params(c.params, file, encoder));
    write_input(&c, file, c.images, vmae_checkpoint_find(file, "x_mixed") ? "x_mixed" : "x");
    write_input(&c, file, c.targets, "targets");
    if (c.drop_path)
        write_scales(&c, file);
    REQUIRE_OK(vmae_graph_run(c.g, false));
    float *logits = golden_floats(file, "logits", &count), *loss = golden_floats(file, "loss", &count), got[1024],
          got_loss;
    REQUIRE(c.batch * c.classes <= 1024);
    CHECK_OK(vmae_tensor_read(c.g, c.logits, got, c.batch * c.classes));
    CHECK_OK(vmae_tensor_read(c.g, c.loss, &got_loss, 1));
    golden_near("logits", got, logits, c.batch * c.classes, 5e-6, 0.0);
    golden_near("loss", &got_loss, loss, 1, 2e-6, 0.0);
    const double floor = 1e-6 * golden_largest(file, "grad.");
    for (int i = 0; i < vmae_params_count(c.params); i++) {
        const vmae_param *param = vmae_params_at(c.params, i);
        char full[200];
        snprintf(full, sizeof full, "grad.%s", param->name);
        if (!vmae_checkpoint_find(file, full))
            continue;
        float *wanted = golden_floats(file, full, &count), *gradient = golden_gradient_of(c.be, c.params, param);
        if (wanted && gradient)
            golden_near(full, gradient, wanted, count, 2e-4, floor);
        free(wanted);
        free(gradient);
    }
    free(logits);
    free(loss);
    vmae_graph_free(c.g);
    vmae_params_free(c.params);
    vmae_backend_close(c.be);
    vmae_checkpoint_free(file);
    vmae_checkpoint_free(encoder);
}

TEST(classifier_on_the_class_token_equals_the_reference)
{
    check_classifier("vit_classify_cls");
}

TEST(classifier_on_pooled_patches_with_mixed_targets_equals_the_reference)
{
    check_classifier("vit_classify_gap_mixup");
    check_classifier("vit_classify_gap_cutmix");
}

TEST(classifier_with_drop_path_equals_the_reference)
{
    check_classifier("vit_classify_gap_droppath");
}
