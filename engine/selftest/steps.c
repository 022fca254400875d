/* steps.c -- whole steps of pre-training on the device and on the CPU: losses, every parameter's gradient, and a trace
 * of ten steps of AdamW, run twice on the device. */
#include "engine/core/mem.h"
#include "engine/core/rng.h"
#include "engine/optim/optimizer.h"
#include "engine/selftest/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TRACE = 10, NANO = 1 };

/* Awkward (13 tokens in, 37 out, heads of 8 and 4), a CPU's usual, and one block of ViT-B's sizes. */
static const struct {
    const char *name;
    int64_t pairs;
    vmae_model_config config;
} models[] = {
    { "36 px, width 24", 3, { 36, 6, 3, 24, 2, 3, 52, 12, 1, 3, 28, 20, 12, VMAE_POOL_GEM, 0.65, true } },
    [NANO] = { "nano", 16, { 32, 4, 3, 192, 6, 3, 768, 96, 2, 3, 384, 512, 128, VMAE_POOL_MEAN, 0.75, true } },
    { "a block of base", 4, { 224, 16, 3, 768, 1, 12, 3072, 512, 1, 16, 2048, 4096, 128, VMAE_POOL_MEAN, 0.75, true } },
};

/* With random parameters. */
static vmae_status open_model(session *s, vmae_backend *be, int which, vmae_type precision)
{
    VMAE_TRY(session_open(s, be, &models[which].config, models[which].pairs, 0.1, precision));
    return vmae_model_init(s->params, &models[which].config, 11);
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

static vmae_status run_step(session *s, uint64_t step, float lambda, float loss[LOSSES])
{
    VMAE_TRY(write_random(s, s->model.images, step, true));
    VMAE_TRY(write_random(s, s->model.noise, step, false));
    return session_run(s, 1.0f, lambda, loss);
}

static vmae_status step_outcome(session *s, vmae_backend *be, int which, vmae_type precision, float lambda,
                                float loss[LOSSES], float **gradients)
{
    VMAE_TRY(open_model(s, be, which, precision));
    VMAE_TRY(run_step(s, 0, lambda, loss));
    return session_gradients(s, gradients);
}

/* bf16 is held to the CPU's f32, and without the contrastive loss: BatchNorm over a few rows turns any rounding into
 * much larger differences (docs/numerics.md). */
static void check_step(tally *t, int which, vmae_type precision)
{
    const bool coarse = precision == VMAE_BF16;
    const float lambda = coarse ? 0.0f : 0.1f;
    session s = { 0 }, reference = { 0 };
    float loss[LOSSES], wanted_loss[LOSSES], *got = NULL, *wanted = NULL;
    char name[64];
    const char *where = "";
    vmae_status st = step_outcome(&s, t->test->device, which, precision, lambda, loss, &got);
    if (st == VMAE_OK)
        st = step_outcome(&reference, t->test->cpu, which, VMAE_F32, lambda, wanted_loss, &wanted);
    if (st != VMAE_OK) {
        tally_hold(t, "step", models[which].name, precision, false, vmae_error());
    } else {
        snprintf(name, sizeof name, "%s: losses", models[which].name);
        tally_compare(t, "step", name, precision, share_off(loss, wanted_loss, coarse ? 2 : LOSSES),
                      coarse ? 2e-2 : 2e-5, "total, reconstruction, contrast");
        snprintf(name, sizeof name, "%s: gradients", models[which].name);
        const double worst = worst_gradient(s.params, got, wanted, &where);
        tally_compare(t, "step", name, precision, worst, coarse ? 5e-2 : 2e-3, where);
    }
    free(got);
    free(wanted);
    session_close(&s);
    session_close(&reference);
}

/* The losses of ten steps of AdamW, and the parameters behind them: fresh memory. */
typedef struct trace {
    float loss[TRACE][LOSSES], *values;
    int64_t count; /* of values */
} trace;

static vmae_status train(session *s, vmae_optimizer *optimizer, float lambda, trace *made)
{
    double norm;
    for (int i = 0; i < TRACE; i++) {
        VMAE_TRY(run_step(s, (uint64_t)i, lambda, made->loss[i]));
        VMAE_TRY(vmae_optimizer_step(optimizer, 1e-3, 1.0, &norm));
        if (lambda == 0.0f)
            made->loss[i][2] = 0.0f; /* without weight: not compared */
    }
    made->count = vmae_params_trainable(s->params);
    return session_values(s, &made->values);
}

static vmae_status make_trace(trace *made, vmae_backend *be, vmae_type precision, float lambda)
{
    static const vmae_optimizer_config adamw = { .method = VMAE_ADAMW,
                                                 .weight_decay = 0.05,
                                                 .beta1 = 0.9,
                                                 .beta2 = 0.95,
                                                 .eps = 1e-8,
                                                 .clip_grad = 5.0,
                                                 .decays_by_pretraining_rule = true };
    session s;
    vmae_optimizer *optimizer = NULL;
    vmae_status st = open_model(&s, be, NANO, precision);
    if (st == VMAE_OK && (st = vmae_optimizer_new(&optimizer, be, s.params, &adamw)) == VMAE_OK)
        st = train(&s, optimizer, lambda, made);
    vmae_optimizer_free(optimizer);
    session_close(&s);
    return st;
}

/* Losses are compared in traces without the contrastive one, which makes of any rounding a larger difference with each
 * step. */
static void check_trace(tally *t, vmae_type precision)
{
    trace got = { 0 }, wanted = { 0 }, one = { 0 }, two = { 0 };
    vmae_status st = make_trace(&got, t->test->device, precision, 0.0f);
    if (st == VMAE_OK)
        st = make_trace(&wanted, t->test->cpu, VMAE_F32, 0.0f);
    if (st == VMAE_OK)
        st = make_trace(&one, t->test->device, precision, 0.1f);
    if (st == VMAE_OK)
        st = make_trace(&two, t->test->device, precision, 0.1f);
    if (st != VMAE_OK) {
        tally_hold(t, "step", "a trace of 10 steps", precision, false, vmae_error());
    } else {
        tally_compare(t, "step", "a trace of 10 steps: losses", precision,
                      share_off(&got.loss[0][0], &wanted.loss[0][0], LOSSES * TRACE),
                      precision == VMAE_BF16 ? 2e-2 : 1e-3, "nano, AdamW");
        tally_hold(t, "step", "a trace of 10 steps: the same bits twice", precision,
                   memcmp(one.loss, two.loss, sizeof one.loss) == 0 &&
                       memcmp(one.values, two.values, (size_t)one.count * sizeof *one.values) == 0,
                   "two runs differ");
    }
    free(got.values);
    free(wanted.values);
    free(one.values);
    free(two.values);
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
