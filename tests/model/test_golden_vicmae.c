/* test_golden_vicmae.c -- the whole pre-training step against the reference vectors: activations, losses, every parameter's gradient. */
#include "engine/core/mem.h"
#include "tests/model/golden.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct step {
    vmae_backend *be;
    vmae_params *params;
    vmae_graph *g;
    vmae_vicmae model;
    vmae_model_config config;
    int64_t pairs;
} step;

static void step_release(step *s)
{
    vmae_graph_free(s->g);
    vmae_params_free(s->params);
    vmae_backend_close(s->be);
}

/* The golden files name views 1 and 2; here they are the halves of one batch. */
static vmae_status write_views(step *s, vmae_tensor *to, const vmae_checkpoint *inputs, const char *stem)
{
    char name[32];
    int64_t count = 0, half = vmae_shape_count(to->shape) / 2;
    float *both = vmae_calloc((size_t)(2 * half), sizeof *both);
    for (int view = 0; both && view < 2; view++) {
        snprintf(name, sizeof name, "%s%d", stem, view + 1);
        float *values = golden_floats(inputs, name, &count);
        if (values && count == half)
            memcpy(both + view * half, values, (size_t)half * sizeof *both);
        CHECK_EQ(count, half);
        free(values);
    }
    const vmae_status st = vmae_tensor_write(s->g, to, both, 2 * half);
    free(both);
    return st;
}

static vmae_status step_run(step *s, const vmae_checkpoint *file, vmae_type precision, int threads)
{
    vmae_checkpoint *start = golden_open("vicmae_params"), *inputs = golden_open("vicmae_inputs");
    const float recon = (float)golden_number(file, "weight_recon"), contrast = (float)golden_number(file, "weight_contrast");
    vmae_status st = VMAE_EDATA;
    if (!start || !inputs)
        goto done;
    s->config = golden_model(file);
    s->pairs = (int64_t)golden_number(file, "batch");
    const vmae_vicmae_options options = { .pairs = s->pairs, .temperature = golden_number(file, "temperature"), .positive_ranks = 1,
                                          .keep_all = true };
    if ((st = vmae_cpu_open(&s->be, threads)) || !(s->params = vmae_params_new()) ||
        (st = vmae_declare_encoder(s->params, &s->config, false, true)) || (st = vmae_declare_pretraining(s->params, &s->config)) ||
        (st = vmae_params_allocate(s->params, s->be, true, precision == VMAE_BF16)) ||
        (st = vmae_model_init(s->params, &s->config, 1)) || (st = vmae_model_load(s->params, start)))
        goto done;
    s->g = vmae_graph_new(s->be, precision);
    vmae_record_vicmae(&s->model, s->g, s->params, &s->config, &options);
    if ((st = vmae_graph_backward(s->g, s->model.loss)) || (st = vmae_graph_plan(s->g)) ||
        (st = write_views(s, s->model.images, inputs, "x")) || (st = write_views(s, s->model.noise, inputs, "noise")) ||
        (st = vmae_tensor_write(s->g, s->model.recon_weight, &recon, 1)) ||
        (st = vmae_tensor_write(s->g, s->model.lambda, &contrast, 1)))
        goto done;
    st = vmae_graph_run(s->g, false);
done:
    vmae_checkpoint_free(start);
    vmae_checkpoint_free(inputs);
    return st;
}

/* A kept result, split into views, against "<stem>1" and "<stem>2". skip: leading tokens of each row of tokens that the reference lacks. */
static void check_views(step *s, const vmae_checkpoint *file, const vmae_tensor *tensor, const char *stem, int64_t skip, double limit)
{
    const int64_t count = vmae_shape_count(tensor->shape);
    float *all = vmae_calloc((size_t)count, sizeof *all);
    REQUIRE_OK(vmae_tensor_read(s->g, tensor, all, count));
    for (int view = 0; view < 2; view++) {
        char name[64];
        int64_t wanted_count = 0;
        snprintf(name, sizeof name, "%s%d", stem, view + 1);
        float *wanted = golden_floats(file, name, &wanted_count), *got = all + view * (count / 2);
        if (!wanted)
            continue;
        if (skip) { /* close the gaps */
            const int64_t tokens = tensor->shape.dim[1], d = tensor->shape.dim[2];
            for (int64_t b = 0; b < s->pairs; b++)
                memmove(got + b * (tokens - skip) * d, got + (b * tokens + skip) * d, (size_t)((tokens - skip) * d) * sizeof *got);
        }
        golden_near(name, got, wanted, wanted_count, limit, 0.0);
        free(wanted);
    }
    free(all);
}

static float read_scalar(step *s, const vmae_tensor *tensor)
{
    float value = 0.0f;
    CHECK_OK(vmae_tensor_read(s->g, tensor, &value, 1));
    return value;
}

static void check_loss(step *s, const vmae_checkpoint *file, const vmae_tensor *tensor, const char *name, double limit)
{
    int64_t count;
    float *wanted = golden_floats(file, name, &count), got = read_scalar(s, tensor);
    if (wanted)
        golden_near(name, &got, wanted, 1, limit, 0.0);
    free(wanted);
}

/* Every "grad.X" of the file, and that no trainable parameter lacks one. */
static void check_gradients(step *s, const vmae_checkpoint *file, double limit, double of_largest)
{
    const double floor = of_largest * golden_largest(file, "grad.");
    float *flat = vmae_params_gradients(s->params);
    for (int i = 0; i < vmae_params_count(s->params); i++) {
        const vmae_param *param = vmae_params_at(s->params, i);
        char name[200];
        int64_t count;
        if (!param->trainable)
            continue;
        snprintf(name, sizeof name, "grad.%s", param->name);
        float *wanted = golden_floats(file, name, &count);
        if (wanted && vmae_check(count == param->count, __FILE__, __LINE__, "%s has another size", name))
            golden_near(name, flat + param->offset, wanted, count, limit, floor);
        free(wanted);
    }
}

static void check_buffers(step *s, const vmae_checkpoint *file, double limit)
{
    for (int i = 0; i < vmae_params_count(s->params); i++) {
        const vmae_param *param = vmae_params_at(s->params, i);
        char name[200];
        int64_t count;
        if (!strstr(param->name, "running_"))
            continue;
        snprintf(name, sizeof name, "buffer_after.%s", param->name);
        float *wanted = golden_floats(file, name, &count);
        if (wanted)
            golden_near(name, vmae_params_values(s->params) + param->offset, wanted, count, limit, 0.0);
        free(wanted);
    }
}

static void check_case(const char *name, vmae_type precision, int threads)
{
    step s = { 0 };
    vmae_checkpoint *file = golden_open(name);
    if (!file)
        return;
    const vmae_status st = step_run(&s, file, precision, threads);
    vmae_check(st == VMAE_OK, __FILE__, __LINE__, "%s: %s", name, vmae_error());
    if (st == VMAE_OK && precision == VMAE_F32) {
        check_views(&s, file, s.model.masking.ids_shuffle, "ids_shuffle", 0, 0.0);
        check_views(&s, file, s.model.masking.ids_restore, "ids_restore", 0, 0.0);
        check_views(&s, file, s.model.masking.mask, "mask", 0, 0.0);
        check_views(&s, file, s.model.latent, "latent", 0, 5e-6);
        check_views(&s, file, s.model.pooled, "pooled", 0, 5e-6);
        check_views(&s, file, s.model.pred, "pred", 1, 5e-6);
        check_views(&s, file, s.model.proj, "proj", 0, 5e-5);
        check_loss(&s, file, s.model.loss_recon, "loss_recon", 2e-6);
        check_loss(&s, file, s.model.loss_contrast, "loss_contrast", 5e-5);
        check_loss(&s, file, s.model.loss, "loss_total", 5e-6);
        check_gradients(&s, file, 2e-4, 1e-6);
        check_buffers(&s, file, 5e-6);
    } else if (st == VMAE_OK) { /* bf16: losses within 2e-2, gradients within 5e-2 of each tensor's largest value */
        check_loss(&s, file, s.model.loss_recon, "loss_recon", 2e-2);
        check_loss(&s, file, s.model.loss_contrast, "loss_contrast", 2e-2);
        check_loss(&s, file, s.model.loss, "loss_total", 2e-2);
        check_gradients(&s, file, 5e-2, 1e-3);
    }
    step_release(&s);
    vmae_checkpoint_free(file);
}

static const char *const cases[] = { "vicmae_mean_r50", "vicmae_mean_r75", "vicmae_max_r50", "vicmae_max_r75",
                                     "vicmae_gem_r50",  "vicmae_gem_r75",  "vicmae_cls_r50", "vicmae_cls_r75" };

TEST(vicmae_steps_in_f32_equal_the_reference)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_case(cases[i], VMAE_F32, 2);
}

TEST(vicmae_steps_in_bf16_are_near_the_reference)
{
    vmae_backend *be = NULL;
    REQUIRE_OK(vmae_cpu_open(&be, 1));
    const bool has_bf16 = be->precision == VMAE_BF16;
    vmae_backend_close(be);
    if (!has_bf16)
        SKIP("this processor has no bf16");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_case(cases[i], VMAE_BF16, 2);
}
