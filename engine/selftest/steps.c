/* steps.c -- whole steps of pre-training on the device and on the CPU: losses, every parameter's gradient, and a trace
 * of ten steps of AdamW, run twice on the device. */
#include "engine/core/mem.h"
#include "engine/core/rng.h"
#include "engine/model/model.h"
#include "engine/optim/optimizer.h"
#include "engine/selftest/internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TRACE = 10 };

/* Awkward (13 tokens in, 37 out, heads of 8 and 4), a CPU's usual, and one block of ViT-B's sizes. */
static const struct {
    const char *name;
    int64_t pairs;
    vmae_model_config config;
} models[] = {
    { "36 px, width 24", 3, { 36, 6, 3, 24, 2, 3, 52, 12, 1, 3, 28, 20, 12, VMAE_POOL_GEM, 0.65, true } },
    { "nano", 16, { 32, 4, 3, 192, 6, 3, 768, 96, 2, 3, 384, 512, 128, VMAE_POOL_MEAN, 0.75, true } },
    { "a block of base", 4, { 224, 16, 3, 768, 1, 12, 3072, 512, 1, 16, 2048, 4096, 128, VMAE_POOL_MEAN, 0.75, true } },
};

typedef struct session {
    vmae_params *params;
    vmae_optimizer *optimizer;
    vmae_graph *g;
    vmae_vicmae model;
} session;

static void session_close(session *s)
{
    vmae_graph_free(s->g);
    vmae_optimizer_free(s->optimizer);
    vmae_params_free(s->params);
}

static vmae_status session_open(session *s, vmae_backend *be, int which, vmae_type precision)
{
    static const vmae_optimizer_config adamw = { .method = VMAE_ADAMW,
                                                 .weight_decay = 0.05,
                                                 .beta1 = 0.9,
                                                 .beta2 = 0.95,
                                                 .eps = 1e-8,
                                                 .clip_grad = 5.0,
                                                 .decays_by_pretraining_rule = true };
    const vmae_model_config *config = &models[which].config;
    const vmae_vicmae_options options = { .pairs = models[which].pairs, .temperature = 0.1, .positive_ranks = 1 };
    *s = (session){ .params = vmae_params_new() };
    if (!s->params)
        return VMAE_ENOMEM;
    VMAE_TRY(vmae_declare_encoder(s->params, config, false, true));
    VMAE_TRY(vmae_declare_pretraining(s->params, config));
    VMAE_TRY(vmae_params_allocate(s->params, be, true, precision == VMAE_BF16));
    VMAE_TRY(vmae_model_init(s->params, config, 11));
    VMAE_TRY(vmae_params_refresh(s->params));
    VMAE_TRY(vmae_optimizer_new(&s->optimizer, be, s->params, &adamw));
    if (!(s->g = vmae_graph_new(be, precision)))
        return VMAE_ENOMEM;
    vmae_record_vicmae(&s->model, s->g, s->params, config, &options);
    VMAE_TRY(vmae_graph_backward(s->g, s->model.loss));
    return vmae_graph_plan(s->g);
}

static vmae_status write_random(session *s, vmae_tensor *tensor, uint64_t sample, bool normal)
{
    const int64_t count = vmae_shape_count(tensor->shape);
    float *values = vmae_calloc((size_t)count, sizeof *values);
    if (!values)
        return VMAE_ENOMEM;
    vmae_rng rng = vmae_rng_at(5, VMAE_RNG_TEST, normal, sample);
    for (int64_t i = 0; i < count; i++)
        values[i] = normal ? vmae_rng_normal(&rng) : vmae_rng_uniform(&rng);
    const vmae_status st = vmae_tensor_write(s->g, tensor, values, count);
    free(values);
    return st;
}

static vmae_status run_step(session *s, uint64_t step, float lambda, float loss[3])
{
    const float recon = 1.0f;
    const vmae_tensor *const losses[] = { s->model.loss, s->model.loss_recon, s->model.loss_contrast };
    VMAE_TRY(write_random(s, s->model.images, step, true));
    VMAE_TRY(write_random(s, s->model.noise, step, false));
    VMAE_TRY(vmae_tensor_write(s->g, s->model.recon_weight, &recon, 1));
    VMAE_TRY(vmae_tensor_write(s->g, s->model.lambda, &lambda, 1));
    VMAE_TRY(vmae_graph_run(s->g, false));
    for (int i = 0; i < 3; i++)
        VMAE_TRY(vmae_tensor_read(s->g, losses[i], &loss[i], 1));
    return VMAE_OK;
}

/* Losses, then all gradients; fresh memory. */
static vmae_status step_outcome(vmae_backend *be, int which, vmae_type precision, float lambda, float loss[3],
                                float **gradients, session *s)
{
    VMAE_TRY(session_open(s, be, which, precision));
    VMAE_TRY(run_step(s, 0, lambda, loss));
    const size_t count = (size_t)vmae_params_trainable(s->params);
    if (!(*gradients = vmae_calloc(count, sizeof **gradients)))
        return VMAE_ENOMEM;
    return be->download(be, *gradients, vmae_params_gradients(s->params), count * sizeof **gradients);
}

/* The largest share by which a tensor's gradient is off, of tensors that matter: a gradient of nothing but rounding
 * says nothing. */
static double worst_gradient(const vmae_params *params, const float *got, const float *wanted, const char **name)
{
    const int64_t all = vmae_params_trainable(params);
    double worst = 0.0, largest = 0.0;
    for (int64_t i = 0; i < all; i++)
        largest = fmax(largest, fabs((double)wanted[i]));
    for (int i = 0; i < vmae_params_count(params); i++) {
        const vmae_param *p = vmae_params_at(params, i);
        double own = 0.0;
        for (int64_t k = 0; p->trainable && k < p->count; k++)
            own = fmax(own, fabs((double)wanted[p->offset + k]));
        if (!p->trainable || own < 1e-3 * largest)
            continue;
        const double off = share_off(got + p->offset, wanted + p->offset, p->count);
        if (off > worst) {
            worst = off;
            *name = p->name;
        }
    }
    return worst;
}

/* bf16 is held to the CPU's f32, and without the contrastive loss: BatchNorm over a few rows turns any rounding into
 * much larger differences (docs/numerics.md). */
static void check_step(tally *t, int which, vmae_type precision)
{
    const bool coarse = precision == VMAE_BF16;
    const float lambda = coarse ? 0.0f : 0.1f;
    session s = { 0 }, reference = { 0 };
    float loss[3], wanted_loss[3], *got = NULL, *wanted = NULL;
    char name[64];
    const char *where = "";
    vmae_status st = step_outcome(t->test->device, which, precision, lambda, loss, &got, &s);
    if (st == VMAE_OK)
        st = step_outcome(t->test->cpu, which, VMAE_F32, lambda, wanted_loss, &wanted, &reference);
    if (st != VMAE_OK) {
        tally_hold(t, "step", models[which].name, precision, false, vmae_error());
    } else {
        snprintf(name, sizeof name, "%s: losses", models[which].name);
        tally_compare(t, "step", name, precision, share_off(loss, wanted_loss, coarse ? 2 : 3), coarse ? 2e-2 : 2e-5,
                      "total, reconstruction, contrast");
        snprintf(name, sizeof name, "%s: gradients", models[which].name);
        const double worst = worst_gradient(s.params, got, wanted, &where);
        tally_compare(t, "step", name, precision, worst, coarse ? 5e-2 : 2e-3, where);
    }
    free(got);
    free(wanted);
    session_close(&s);
    session_close(&reference);
}

/* Ten steps; losses and the parameters at the end. */
static vmae_status trace(vmae_backend *be, vmae_type precision, float lambda, float *losses, float **values,
                         int64_t *count)
{
    session s = { 0 };
    vmae_status st = session_open(&s, be, 1, precision);
    for (int i = 0; st == VMAE_OK && i < TRACE; i++) {
        double norm;
        st = run_step(&s, (uint64_t)i, lambda, losses + 3 * (size_t)i);
        if (lambda == 0.0f)
            losses[3 * i + 2] = 0.0f;
        if (st == VMAE_OK)
            st = vmae_optimizer_step(s.optimizer, 1e-3, 1.0, &norm);
    }
    if (st == VMAE_OK) {
        *count = vmae_params_trainable(s.params);
        *values = vmae_calloc((size_t)*count, sizeof **values);
        st = *values ? be->download(be, *values, vmae_params_values(s.params), (size_t)*count * sizeof **values)
                     : VMAE_ENOMEM;
    }
    session_close(&s);
    return st;
}

/* Compared without the contrastive loss, which makes of any rounding a larger difference with each step. */
static void check_trace(tally *t, vmae_type precision)
{
    const float lambda = 0.0f;
    float loss[2][3 * TRACE], compared[3 * TRACE], wanted[3 * TRACE], *values[4] = { NULL };
    int64_t count = 0;
    vmae_status st = VMAE_OK;
    st = trace(t->test->device, precision, lambda, compared, &values[2], &count);
    if (st == VMAE_OK)
        st = trace(t->test->cpu, VMAE_F32, lambda, wanted, &values[3], &count);
    for (int i = 0; st == VMAE_OK && i < 2; i++)
        st = trace(t->test->device, precision, 0.1f, loss[i], &values[i], &count);
    if (st != VMAE_OK) {
        tally_hold(t, "step", "a trace of 10 steps", precision, false, vmae_error());
    } else {
        tally_compare(t, "step", "a trace of 10 steps: losses", precision, share_off(compared, wanted, 3 * TRACE),
                      precision == VMAE_BF16 ? 2e-2 : 1e-3, "nano, AdamW");
        tally_hold(t, "step", "a trace of 10 steps: the same bits twice", precision,
                   memcmp(loss[0], loss[1], sizeof loss[0]) == 0 &&
                       memcmp(values[0], values[1], (size_t)count * sizeof(float)) == 0,
                   "two runs differ");
    }
    for (int i = 0; i < 4; i++)
        free(values[i]);
}

void selftest_steps(tally *t)
{
    for (int which = 0; which < (int)(sizeof models / sizeof *models); which++) {
        check_step(t, which, VMAE_F32);
        if (t->test->device->precision == VMAE_BF16)
            check_step(t, which, VMAE_BF16);
    }
    check_trace(t, VMAE_F32);
    if (t->test->device->precision == VMAE_BF16)
        check_trace(t, VMAE_BF16);
}
