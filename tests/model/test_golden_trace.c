/* test_golden_trace.c -- ten training steps, and the same with accumulated gradients, against the reference. */
#include "engine/core/mem.h"
#include "engine/optim/optimizer.h"
#include "engine/optim/schedule.h"
#include "tests/model/golden.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct trace {
    vmae_backend *be;
    vmae_params *params;
    vmae_optimizer *optimizer;
    vmae_graph *g;
    vmae_vicmae model;
    vmae_model_config config;
    int64_t pairs, accumulate;
    float *images, *noise, *index, *lambda; /* the inputs of all micro-batches */
    int64_t samples;
} trace;

static vmae_status trace_open(trace *t, const vmae_checkpoint *file, const vmae_checkpoint *inputs,
                              const vmae_checkpoint *start)
{
    int64_t count;
    t->config = golden_set_model(file);
    t->pairs = (int64_t)golden_number(file, "batch");
    t->accumulate = (int64_t)golden_number(file, "accumulate");
    t->images = golden_floats(inputs, "images", &count);
    t->samples = count / (2 * 3 * t->config.image_size * t->config.image_size);
    t->noise = golden_floats(inputs, "noise", &count);
    t->index = golden_floats(inputs, "index", &count);
    t->lambda = golden_floats(inputs, "weight_contrast", &count);
    const vmae_vicmae_options options = { .pairs = t->pairs,
                                          .temperature = golden_number(file, "temperature"),
                                          .positive_ranks = 1 };
    const vmae_optimizer_config adamw = { .method = VMAE_ADAMW,
                                          .weight_decay = golden_number(file, "weight_decay"),
                                          .beta1 = golden_number(file, "beta1"),
                                          .beta2 = golden_number(file, "beta2"),
                                          .eps = golden_number(file, "eps"),
                                          .decays_by_pretraining_rule = true };
    VMAE_TRY(vmae_backend_open(&t->be, vmae_test_device(), 2));
    t->params = vmae_params_new();
    VMAE_TRY(vmae_declare_encoder(t->params, &t->config, false, true));
    VMAE_TRY(vmae_declare_pretraining(t->params, &t->config));
    VMAE_TRY(vmae_params_allocate(t->params, t->be, true, false));
    VMAE_TRY(vmae_model_load(t->params, start));
    VMAE_TRY(vmae_optimizer_new(&t->optimizer, t->be, t->params, &adamw));
    t->g = vmae_graph_new(t->be, VMAE_F32);
    vmae_record_vicmae(&t->model, t->g, t->params, &t->config, &options);
    VMAE_TRY(vmae_graph_backward(t->g, t->model.loss));
    vmae_graph_will_accumulate(t->g);
    return vmae_graph_plan(t->g);
}

static void trace_release(trace *t)
{
    vmae_optimizer_free(t->optimizer);
    vmae_graph_free(t->g);
    vmae_params_free(t->params);
    vmae_backend_close(t->be);
    free(t->images);
    free(t->noise);
    free(t->index);
    free(t->lambda);
}

/* images [sample, view, ...], noise [micro-batch, view, B, L] -> the halves of one batch. */
static vmae_status write_inputs(trace *t, int64_t batch)
{
    const int64_t pixels = 3 * t->config.image_size * t->config.image_size, patches = vmae_model_patches(&t->config);
    const float one = 1.0f;
    float *images = vmae_calloc((size_t)(2 * t->pairs * pixels), sizeof *images);
    for (int64_t view = 0; view < 2; view++)
        for (int64_t i = 0; i < t->pairs; i++) {
            const int64_t sample = (int64_t)t->index[batch * t->pairs + i];
            memcpy(images + (view * t->pairs + i) * pixels, t->images + (2 * sample + view) * pixels,
                   (size_t)pixels * sizeof *images);
        }
    vmae_status st = vmae_tensor_write(t->g, t->model.images, images, 2 * t->pairs * pixels);
    free(images);
    VMAE_TRY(st);
    VMAE_TRY(
        vmae_tensor_write(t->g, t->model.noise, t->noise + batch * 2 * t->pairs * patches, 2 * t->pairs * patches));
    VMAE_TRY(vmae_tensor_write(t->g, t->model.recon_weight, &one, 1));
    return vmae_tensor_write(t->g, t->model.lambda, &t->lambda[batch], 1);
}

static void check_number(const char *what, int64_t at, double got, double wanted, double limit)
{
    vmae_check(fabs(got - wanted) <= limit * fabs(wanted), __FILE__, __LINE__, "%s[%lld] is %.9g, expected %.9g", what,
               (long long)at, got, wanted);
}

static void check_losses(trace *t, const vmae_checkpoint *file, int64_t batch)
{
    const struct {
        const char *name;
        const vmae_tensor *tensor;
        double limit;
    } losses[] = { { "loss_total", t->model.loss, 1e-4 },
                   { "loss_recon", t->model.loss_recon, 1e-4 },
                   { "loss_contrast", t->model.loss_contrast, 5e-3 } };
    for (size_t i = 0; i < 3; i++) {
        int64_t count;
        float got = NAN,
              *wanted = vmae_checkpoint_find(file, losses[i].name) ? golden_floats(file, losses[i].name, &count) : NULL;
        CHECK_OK(vmae_tensor_read(t->g, losses[i].tensor, &got, 1));
        if (wanted)
            check_number(losses[i].name, batch, got, wanted[batch], losses[i].limit);
        free(wanted);
    }
}

/* Keys' biases and the biases in front of a BatchNorm have no gradient in exact arithmetic; Adam turns their noise into
 * steps. */
static bool is_noise(const char *name)
{
    return strcmp(name, "projector.0.bias") == 0 || strcmp(name, "projector.3.bias") == 0;
}

static void check_final(trace *t, const vmae_checkpoint *file)
{
    for (int i = 0; i < vmae_params_count(t->params); i++) {
        const vmae_param *param = vmae_params_at(t->params, i);
        const bool buffer = strstr(param->name, "running_");
        char name[200];
        int64_t count;
        snprintf(name, sizeof name, "%s_final.%s", buffer ? "buffer" : "param", param->name);
        if (!vmae_checkpoint_find(file, name) || is_noise(param->name))
            continue;
        float *wanted = golden_floats(file, name, &count), *got = golden_value_of(t->be, t->params, param);
        REQUIRE(wanted && got);
        if (strstr(param->name, "attn.qkv.bias")) { /* the middle third is the keys' */
            golden_near(name, got, wanted, count / 3, 0.0, 5e-5);
            golden_near(name, got + count / 3 * 2, wanted + count / 3 * 2, count / 3, 0.0, 5e-5);
        } else
            golden_near(name, got, wanted, count, 0.0, buffer ? 5e-3 : 5e-5);
        free(got);
        free(wanted);
    }
}

/* L2 norm of the whole movement of each parameter, in the order of the metadata's names. */
static void check_movement(trace *t, const vmae_checkpoint *file, const vmae_checkpoint *start)
{
    const char *name = vmae_checkpoint_metadata(file, "names");
    int64_t count, n, i = 0;
    float *wanted = golden_floats(file, "update_norm", &count);
    for (; wanted && name && *name && i < count; i++) {
        char text[200];
        const size_t length = strcspn(name, "\n");
        snprintf(text, sizeof text, "%.*s", (int)length, name);
        name += length + (name[length] != 0);
        const vmae_param *param = vmae_params_find(t->params, text);
        float *before = golden_floats(start, text, &n),
              *after = param ? golden_value_of(t->be, t->params, param) : NULL;
        double moved = 0.0;
        for (int64_t k = 0; before && after && k < n; k++)
            moved += pow((double)after[k] - before[k], 2.0);
        free(before);
        free(after);
        if (!is_noise(text) && !strstr(text, "attn.qkv.bias")) /* a third of which is noise */
            check_number(text, i, sqrt(moved), wanted[i], 1e-2);
    }
    CHECK_EQ(i, count);
    free(wanted);
}

static void check_trace(const char *name)
{
    trace t = { 0 };
    int64_t count, norms;
    vmae_checkpoint *file = golden_open(name), *inputs = golden_open("trace"), *start = golden_open("vicmae_params");
    if (!file || !inputs || !start)
        return;
    const vmae_schedule schedule = { .lr = golden_number(file, "lr"),
                                     .min_lr = golden_number(file, "min_lr"),
                                     .warmup_epochs = golden_number(file, "warmup_epochs"),
                                     .epochs = golden_number(file, "epochs") };
    const double per_epoch = golden_number(file, "steps_per_epoch");
    const int64_t batches = (int64_t)golden_number(file, "microbatches");
    float *lr = golden_floats(file, "lr", &count), *grad_norm = golden_floats(file, "grad_norm", &norms);
    REQUIRE_OK(trace_open(&t, file, inputs, start));
    for (int64_t i = 0; i < batches; i++) {
        double norm;
        REQUIRE_OK(write_inputs(&t, i));
        REQUIRE_OK(vmae_graph_run(t.g, i % t.accumulate != 0));
        check_losses(&t, file, i);
        if ((i + 1) % t.accumulate != 0)
            continue;
        const int64_t step = i / t.accumulate;
        const double rate = vmae_lr_at(&schedule, (double)(i / t.accumulate * t.accumulate) / per_epoch);
        check_number("lr", step, rate, lr[step], 2e-6);
        REQUIRE_OK(vmae_optimizer_step(t.optimizer, rate, 1.0 / (double)t.accumulate, &norm));
        check_number("grad_norm", step, norm, grad_norm[step], 1e-2);
    }
    check_final(&t, file);
    check_movement(&t, file, start);
    free(lr);
    free(grad_norm);
    trace_release(&t);
    vmae_checkpoint_free(file);
    vmae_checkpoint_free(inputs);
    vmae_checkpoint_free(start);
}

TEST(ten_training_steps_follow_the_reference)
{
    check_trace("trace");
}

TEST(five_steps_of_two_accumulated_batches_follow_the_reference)
{
    check_trace("trace_accum");
}
