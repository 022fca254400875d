/* test_golden_vicmae.c -- the whole pre-training step against the reference vectors: activations, losses, every
 * parameter's gradient. */
#include "engine/core/mem.h"
#include "engine/core/rng.h"
#include "tests/device.h"
#include "tests/model/golden.h"

#include <math.h>
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

/* Moves every trained parameter by a random part of what rounding to bf16 may move it, leaving the arithmetic in f32.
 */
static void disturb_params(step *s, int seed)
{
    vmae_rng rng = vmae_rng_at((uint64_t)seed, VMAE_RNG_TEST, 0, 0);
    const int64_t count = vmae_params_trainable(s->params);
    float *values = device_floats(s->be, vmae_params_values(s->params), count);
    REQUIRE(values);
    for (int64_t i = 0; i < count; i++)
        values[i] *= 1.0f + vmae_rng_between(&rng, -0x1p-9f, 0x1p-9f);
    CHECK_OK(s->be->upload(s->be, vmae_params_values(s->params), values, (size_t)count * sizeof *values));
    CHECK_OK(vmae_params_refresh(s->params));
    free(values);
}

/* How a case is run; zero: as its file says, in f32. */
typedef struct setup {
    vmae_type precision;
    int disturbance;  /* not 0: seed of disturb_params */
    bool recon_alone; /* without the contrastive loss */
} setup;

static vmae_status step_run(step *s, const vmae_checkpoint *file, const setup *how)
{
    vmae_checkpoint *start = golden_open("vicmae_params"), *inputs = golden_open("vicmae_inputs");
    const float recon = (float)golden_number(file, "weight_recon"),
                contrast = how->recon_alone ? 0.0f : (float)golden_number(file, "weight_contrast");
    vmae_status st = VMAE_EDATA;
    if (!start || !inputs)
        goto done;
    s->config = golden_set_model(file);
    s->pairs = (int64_t)golden_number(file, "batch");
    const vmae_vicmae_options options = {
        .pairs = s->pairs, .temperature = golden_number(file, "temperature"), .positive_ranks = 1, .keep_all = true
    };
    if ((st = vmae_backend_open(&s->be, vmae_test_device(), 2)) || !(s->params = vmae_params_new()) ||
        (st = vmae_declare_encoder(s->params, &s->config, false, true)) ||
        (st = vmae_declare_pretraining(s->params, &s->config)) ||
        (st = vmae_params_allocate(s->params, s->be, true, how->precision == VMAE_BF16)) ||
        (st = golden_set_params(s->params, file, start)))
        goto done;
    if (how->disturbance)
        disturb_params(s, how->disturbance);
    s->g = vmae_graph_new(s->be, how->precision);
    vmae_record_vicmae(&s->model, s->g, s->params, &s->config, &options);
    if ((st = vmae_graph_backward(s->g, s->model.loss)) || (st = vmae_graph_plan(s->g)) ||
        (st = golden_set_views(s->g, s->model.images, inputs, "x")) ||
        (st = golden_set_views(s->g, s->model.noise, inputs, "noise")) ||
        (st = vmae_tensor_write(s->g, s->model.recon_weight, &recon, 1)) ||
        (st = vmae_tensor_write(s->g, s->model.lambda, &contrast, 1)))
        goto done;
    st = vmae_graph_run(s->g, false);
done:
    vmae_checkpoint_free(start);
    vmae_checkpoint_free(inputs);
    return st;
}

/* A kept result, split into views, against "<stem>1" and "<stem>2". skip: leading tokens of each row of tokens that the
 * reference lacks. */
static void check_views(step *s, const vmae_checkpoint *file, const vmae_tensor *tensor, const char *stem, int64_t skip,
                        double limit)
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
                memmove(got + b * (tokens - skip) * d, got + (b * tokens + skip) * d,
                        (size_t)((tokens - skip) * d) * sizeof *got);
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

/* Calls back with every trainable parameter, its reference gradient and ours; complains of one that the file lacks. */
typedef void gradient_visitor(void *context, const vmae_param *param, const float *got, const float *wanted);
static void each_gradient(step *s, const vmae_checkpoint *file, gradient_visitor *visit, void *context)
{
    for (int i = 0; i < vmae_params_count(s->params); i++) {
        const vmae_param *param = vmae_params_at(s->params, i);
        char name[200];
        int64_t count;
        if (!param->trainable)
            continue;
        snprintf(name, sizeof name, "grad.%s", param->name);
        float *wanted = golden_floats(file, name, &count), *got = golden_gradient_of(s->be, s->params, param);
        if (wanted && got && vmae_check(count == param->count, __FILE__, __LINE__, "%s has another size", name))
            visit(context, param, got, wanted);
        free(wanted);
        free(got);
    }
}

static void check_gradient(void *floor, const vmae_param *param, const float *got, const float *wanted)
{
    golden_near(param->name, got, wanted, param->count, 2e-4, *(const double *)floor);
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
        float *wanted = golden_floats(file, name, &count), *got = golden_value_of(s->be, s->params, param);
        if (wanted && got)
            golden_near(name, got, wanted, count, limit, 0.0);
        free(wanted);
        free(got);
    }
}

static void check_f32(const char *name)
{
    step s = { 0 };
    vmae_checkpoint *file = golden_open(name);
    if (!file)
        return;
    const vmae_status st = step_run(&s, file, &(setup){ .precision = VMAE_F32 });
    vmae_check(st == VMAE_OK, __FILE__, __LINE__, "%s: %s", name, vmae_error());
    if (st == VMAE_OK) {
        double floor = 1e-6 * golden_largest(file, "grad.");
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
        each_gradient(&s, file, check_gradient, &floor);
        check_buffers(&s, file, 5e-6);
    }
    step_release(&s);
    vmae_checkpoint_free(file);
}

/* ---- bf16 ----
 *
 * The reconstruction, there and back through encoder and decoder: loss within 2e-2 and gradients within 5e-2 of a
 * tensor's largest value, against the f32 step (which the test above holds to the reference).
 *
 * The whole step is ill conditioned where few rows meet in a BatchNorm and ReLUs and maxima change branches: in exact
 * arithmetic, rounding nothing but the encoder's and decoder's weight matrices to bf16 moves gradients of seven of the
 * eight cases by 0.18 to 0.88 of their largest value, so no engine that multiplies in bf16 can be within 5e-2 there.
 * Allowed is therefore, beside 2e-2 and 5e-2, what the f32 step makes of roundings of its parameters: the largest of
 * several such responses, three times, since activations are rounded in several places where parameters are once. */
enum { DISTURBANCES = 8 };

typedef struct deviation {
    double largest_gradient;
    double loss[3];    /* relative error of reconstruction, contrastive, total */
    double worst, sum; /* over tensors: largest error over largest value; the sum of their squares */
    int tensors;
} deviation;

static void add_deviation(void *context, const vmae_param *param, const float *got, const float *wanted)
{
    deviation *d = context;
    const double largest = vmae_max_magnitude(wanted, (size_t)param->count);
    if (largest < 1e-3 * d->largest_gradient)
        return; /* zero in exact arithmetic, or next to it */
    const double error = vmae_max_difference(got, wanted, (size_t)param->count) / largest;
    d->worst = fmax(d->worst, error);
    d->sum += error * error;
    d->tensors++;
}

static double loss_error(step *s, const vmae_checkpoint *file, const vmae_tensor *tensor, const char *name)
{
    int64_t count;
    float *wanted = golden_floats(file, name, &count);
    const double error = wanted ? fabs((double)read_scalar(s, tensor) - wanted[0]) / fabs((double)wanted[0]) : INFINITY;
    free(wanted);
    return error;
}

static deviation measure(const char *name, const vmae_checkpoint *file, vmae_type precision, int disturbance)
{
    step s = { 0 };
    deviation d = { .largest_gradient = golden_largest(file, "grad.") };
    const vmae_status st = step_run(&s, file, &(setup){ .precision = precision, .disturbance = disturbance });
    if (vmae_check(st == VMAE_OK, __FILE__, __LINE__, "%s: %s", name, vmae_error())) {
        each_gradient(&s, file, add_deviation, &d);
        d.loss[0] = loss_error(&s, file, s.model.loss_recon, "loss_recon");
        d.loss[1] = loss_error(&s, file, s.model.loss_contrast, "loss_contrast");
        d.loss[2] = loss_error(&s, file, s.model.loss, "loss_total");
    }
    step_release(&s);
    return d;
}

static double root_mean_square(const deviation *d)
{
    return sqrt(d->sum / (d->tensors ? d->tensors : 1));
}

static void check_bf16(const char *name)
{
    static const char *const losses[] = { "loss_recon", "loss_contrast", "loss_total" };
    vmae_checkpoint *file = golden_open(name);
    if (!file)
        return;
    const deviation ours = measure(name, file, VMAE_BF16, 0);
    double gradient_response = 0.0, loss_response[3] = { 0.0 };
    for (int seed = 1; seed <= DISTURBANCES; seed++) {
        const deviation d = measure(name, file, VMAE_F32, seed);
        gradient_response = fmax(gradient_response, root_mean_square(&d));
        for (int i = 0; i < 3; i++)
            loss_response[i] = fmax(loss_response[i], d.loss[i]);
    }
    printf(
        "  %s: gradients off by %.3f (worst %.3f), contrastive loss by %.4f; the f32 step's own response: %.3f, %.4f\n",
        name, root_mean_square(&ours), ours.worst, ours.loss[1], gradient_response, loss_response[1]);
    vmae_check(root_mean_square(&ours) <= 5e-2 + 3.0 * gradient_response, __FILE__, __LINE__,
               "%s: gradients off by %.3f, response %.3f", name, root_mean_square(&ours), gradient_response);
    for (int i = 0; i < 3; i++)
        vmae_check(ours.loss[i] <= 2e-2 + 3.0 * loss_response[i], __FILE__, __LINE__,
                   "%s: %s off by %.4f, response %.4f", name, losses[i], ours.loss[i], loss_response[i]);
    vmae_checkpoint_free(file);
}

typedef struct comparison {
    const float *wanted; /* gradients of the f32 step, in the order of the parameters */
    const char *name;
    double largest;
} comparison;

static void check_against_f32(const comparison *c, const step *bf16)
{
    int compared = 0;
    for (int i = 0; i < vmae_params_count(bf16->params); i++) {
        const vmae_param *param = vmae_params_at(bf16->params, i);
        const float *wanted = c->wanted + param->offset;
        if (!param->trainable || vmae_max_magnitude(wanted, (size_t)param->count) < 1e-3 * c->largest)
            continue; /* the projector's, and what is zero in exact arithmetic or next to it */
        float *got = golden_gradient_of(bf16->be, bf16->params, param);
        if (got)
            golden_near(param->name, got, wanted, param->count, 5e-2, 0.0);
        free(got);
        compared++;
    }
    vmae_check(compared > 20, __FILE__, __LINE__, "%s: only %d gradients were compared", c->name, compared);
}

static void check_reconstruction_in_bf16(const char *name)
{
    step f32 = { 0 }, bf16 = { 0 };
    vmae_checkpoint *file = golden_open(name);
    if (!file)
        return;
    CHECK_OK(step_run(&f32, file, &(setup){ .precision = VMAE_F32, .recon_alone = true }));
    CHECK_OK(step_run(&bf16, file, &(setup){ .precision = VMAE_BF16, .recon_alone = true }));
    if (f32.g && bf16.g) {
        const float wanted = read_scalar(&f32, f32.model.loss), got = read_scalar(&bf16, bf16.model.loss);
        const int64_t count = vmae_params_trainable(f32.params);
        float *gradients = device_floats(f32.be, vmae_params_gradients(f32.params), count);
        golden_near(name, &got, &wanted, 1, 2e-2, 0.0);
        if (gradients)
            check_against_f32(&(comparison){ gradients, name, vmae_max_magnitude(gradients, (size_t)count) }, &bf16);
        free(gradients);
    }
    step_release(&f32);
    step_release(&bf16);
    vmae_checkpoint_free(file);
}

static const char *const cases[] = { "vicmae_mean_r50", "vicmae_mean_r75", "vicmae_max_r50", "vicmae_max_r75",
                                     "vicmae_gem_r50",  "vicmae_gem_r75",  "vicmae_cls_r50", "vicmae_cls_r75" };

TEST(vicmae_steps_in_f32_equal_the_reference)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_f32(cases[i]);
}

static bool no_bf16(void)
{
    vmae_backend *be = NULL;
    const bool has = vmae_backend_open(&be, vmae_test_device(), 1) == VMAE_OK && be->precision == VMAE_BF16;
    vmae_backend_close(be);
    if (!has)
        vmae_test_skip("%s has no bf16", vmae_test_device());
    return !has;
}

TEST(reconstruction_in_bf16_is_within_5e2_of_f32_in_every_gradient)
{
    for (size_t i = 0; !no_bf16() && i < sizeof cases / sizeof *cases; i++)
        check_reconstruction_in_bf16(cases[i]);
}

TEST(vicmae_steps_in_bf16_are_near_the_reference)
{
    for (size_t i = 0; !no_bf16() && i < sizeof cases / sizeof *cases; i++)
        check_bf16(cases[i]);
}
