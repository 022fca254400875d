/* optimizer.c -- state, clipping, one pass a step. The arithmetic is in backend/. */
#include "engine/optim/optimizer.h"

#include "engine/core/mem.h"
#include "engine/optim/groups.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct vmae_optimizer {
    vmae_backend *be;
    vmae_params *params;
    vmae_optimizer_config config;
    vmae_segment *segments; /* host */
    vmae_segment *placed;   /* device: the same */
    vmae_optim_step *step;  /* device */
    const vmae_param **segment_params;
    int64_t count;
    float *state[2];    /* m and v, or momentum and nothing */
    float *norm;        /* device: 1 + count */
    void *scratch;      /* device */
    float *host_norm;   /* 1 + count */
    vmae_replay replay; /* of a step */
    int64_t steps;
};

static const char *const state_names[2][2] = { { "optimizer.m", "optimizer.v" }, { "optimizer.momentum", NULL } };

static const char *state_name(const vmae_optimizer *optimizer, int which)
{
    return state_names[optimizer->config.method != VMAE_ADAMW][which];
}

static void make_segments(vmae_optimizer *o)
{
    for (int i = 0; i < vmae_params_count(o->params); i++) {
        const vmae_param *param = vmae_params_at(o->params, i);
        if (!param->trainable)
            continue;
        const bool matrix = param->shape.rank > 1;
        const bool decays =
            o->config.decays_by_pretraining_rule ? vmae_decays_in_pretraining(param->name, param->shape.rank) : matrix;
        o->segment_params[o->count] = param;
        o->segments[o->count++] = (vmae_segment){ .offset = param->offset,
                                                  .count = param->count,
                                                  .lr_scale = 1.0f,
                                                  .matrix = matrix,
                                                  .weight_decay = decays ? (float)o->config.weight_decay : 0.0f };
    }
}

/* At 1, AdamW's corrections divide by zero and a momentum never fades. */
static vmae_status check(const vmae_optimizer_config *config)
{
    const struct {
        const char *name;
        double value;
        bool used;
    } fractions[] = { { "beta1", config->beta1, config->method == VMAE_ADAMW },
                      { "beta2", config->beta2, config->method == VMAE_ADAMW },
                      { "momentum", config->momentum, config->method != VMAE_ADAMW } };
    for (size_t i = 0; i < sizeof fractions / sizeof *fractions; i++)
        if (fractions[i].used && !(fractions[i].value >= 0.0 && fractions[i].value < 1.0))
            return vmae_fail(VMAE_EUSER, "%s is %g; it is a fraction, 0 <= %s < 1", fractions[i].name,
                             fractions[i].value, fractions[i].name);
    return VMAE_OK;
}

vmae_status vmae_optimizer_new(vmae_optimizer **optimizer, vmae_backend *be, vmae_params *params,
                               const vmae_optimizer_config *config)
{
    VMAE_TRY(check(config));
    vmae_status st = VMAE_ENOMEM;
    const size_t most = (size_t)vmae_params_count(params);
    vmae_optimizer *o = vmae_calloc(1, sizeof *o);
    if (!o)
        return VMAE_ENOMEM;
    o->be = be;
    o->params = params;
    o->config = *config;
    o->segments = vmae_calloc(most, sizeof *o->segments);
    o->segment_params = vmae_calloc(most, sizeof *o->segment_params);
    o->host_norm = vmae_calloc(1 + most, sizeof *o->host_norm);
    if (!o->segments || !o->segment_params || !o->host_norm)
        goto failed;
    make_segments(o);
    const size_t bytes = (size_t)vmae_params_trainable(params) * sizeof(float);
    for (int i = 0; i < 2; i++)
        if (state_name(o, i) && (st = be->allocate(be, (void **)&o->state[i], bytes)) != VMAE_OK)
            goto failed;
    const size_t segments = (size_t)o->count * sizeof *o->segments;
    if ((st = be->allocate(be, (void **)&o->norm, (size_t)(1 + o->count) * sizeof(float))) != VMAE_OK ||
        (st = be->allocate(be, &o->scratch, be->kernels->optim_scratch(o->segments, o->count))) != VMAE_OK ||
        (st = be->allocate(be, (void **)&o->step, sizeof *o->step)) != VMAE_OK ||
        (st = be->allocate(be, (void **)&o->placed, segments)) != VMAE_OK ||
        (st = be->upload(be, o->placed, o->segments, segments)) != VMAE_OK)
        goto failed;
    *optimizer = o;
    return VMAE_OK;
failed:
    vmae_optimizer_free(o);
    return st;
}

void vmae_optimizer_free(vmae_optimizer *o)
{
    if (!o)
        return;
    o->be->release(o->be, o->state[0]);
    o->be->release(o->be, o->state[1]);
    o->be->release(o->be, o->norm);
    o->be->release(o->be, o->scratch);
    o->be->release(o->be, o->step);
    o->be->release(o->be, o->placed);
    vmae_replay_release(o->be, &o->replay);
    free(o->segments);
    free(o->segment_params);
    free(o->host_norm);
    free(o);
}

/* Queues the norms and the pass over the parameters. */
static vmae_status queue_step(void *context)
{
    const vmae_optimizer *o = context;
    const vmae_kernels *k = o->be->kernels;
    float *values = vmae_params_values(o->params), *gradients = vmae_params_gradients(o->params);
    float *const *state = o->state;
    vmae_bf16 *copy = vmae_params_copy(o->params);
    VMAE_TRY(k->norms(o->be, o->norm, o->scratch, gradients, o->placed, o->count));
    switch (o->config.method) {
    case VMAE_ADAMW:
        return k->adamw(o->be, values, copy, state[0], state[1], gradients, o->norm, o->placed, o->count, o->step);
    case VMAE_SGD: return k->sgd(o->be, values, copy, state[0], gradients, o->norm, o->placed, o->count, o->step);
    case VMAE_LARS:
        return k->lars(o->be, values, copy, state[0], o->scratch, gradients, o->norm, o->placed, o->count, o->step);
    }
    return VMAE_OK;
}

/* VMAE_EDIVERGED if the norm of the gradients as they lie is not finite: the step changed nothing then. */
static vmae_status read_norm(vmae_optimizer *o)
{
    VMAE_TRY(o->be->download(o->be, o->host_norm, o->norm, (size_t)(1 + o->count) * sizeof(float)));
    if (isfinite(o->host_norm[0]))
        return VMAE_OK;
    for (int64_t i = 0; i < o->count; i++)
        if (!isfinite(o->host_norm[1 + i]))
            return vmae_fail(VMAE_EDIVERGED, "the gradient of %s is not finite", o->segment_params[i]->name);
    return vmae_fail(VMAE_EDIVERGED, "the gradient norm overflows");
}

vmae_status vmae_optimizer_step(vmae_optimizer *o, double lr, double scale, double *grad_norm)
{
    const vmae_optimizer_config *c = &o->config;
    const float beta1 = (float)c->beta1, beta2 = (float)c->beta2;
    const double t = (double)(o->steps + 1);
    const vmae_optim_step step = { .lr = (float)lr,
                                   .beta1 = beta1,
                                   .beta2 = beta2,
                                   .eps = (float)c->eps,
                                   .momentum = (float)c->momentum,
                                   .trust = (float)c->trust,
                                   .scale = (float)scale,
                                   .clip_grad = (float)fmax(c->clip_grad, 0.0),
                                   .bias1 = (float)(1.0 - pow((double)beta1, t)),
                                   .root2 = (float)(1.0 / sqrt(1.0 - pow((double)beta2, t))),
                                   .nesterov = c->nesterov,
                                   .step = (int32_t)(o->steps + 1) };
    VMAE_TRY(o->be->upload(o->be, o->step, &step, sizeof step));
    VMAE_TRY(vmae_replay_run(o->be, &o->replay, queue_step, o));
    VMAE_TRY(read_norm(o));
    *grad_norm = (double)o->host_norm[0] * scale;
    o->steps++;
    return VMAE_OK;
}

int64_t vmae_optimizer_steps(const vmae_optimizer *o)
{
    return o->steps;
}

vmae_status vmae_optimizer_save(const vmae_optimizer *o, vmae_writer *writer, float **floats)
{
    const int64_t n = vmae_params_trainable(o->params);
    char steps[32];
    float *host = vmae_calloc(2 * (size_t)n, sizeof *host);
    if (!host)
        return VMAE_ENOMEM;
    *floats = host;
    for (int i = 0; i < 2 && state_name(o, i); i++) {
        VMAE_TRY(o->be->download(o->be, host + i * n, o->state[i], (size_t)n * sizeof *host));
        VMAE_TRY(vmae_writer_add(writer, state_name(o, i), VMAE_ST_F32, 1, &n, host + i * n));
    }
    snprintf(steps, sizeof steps, "%lld", (long long)o->steps);
    return vmae_writer_metadata(writer, "optimizer.steps", steps);
}

vmae_status vmae_optimizer_load(vmae_optimizer *o, const vmae_checkpoint *checkpoint)
{
    const int64_t n = vmae_params_trainable(o->params);
    const char *steps = vmae_checkpoint_metadata(checkpoint, "optimizer.steps");
    char *end = NULL;
    const long long done = steps ? strtoll(steps, &end, 10) : -1;
    if (done < 0 || *end)
        return vmae_fail(VMAE_EDATA, "the state to resume from has optimizer.steps = \"%s\"; it must be a count",
                         steps ? steps : "(absent)");
    float *host = vmae_calloc((size_t)n, sizeof *host);
    vmae_status st = host ? VMAE_OK : VMAE_ENOMEM;
    for (int i = 0; st == VMAE_OK && i < 2 && state_name(o, i); i++) {
        st = vmae_checkpoint_floats(checkpoint, state_name(o, i), host, 1, &n);
        if (st == VMAE_OK)
            st = o->be->upload(o->be, o->state[i], host, (size_t)n * sizeof *host);
    }
    free(host);
    if (st == VMAE_OK)
        o->steps = done;
    return st;
}

vmae_status vmae_optimizer_state(const vmae_optimizer *o, int which, const vmae_param *param, float *to)
{
    return o->be->download(o->be, to, o->state[which] + param->offset, (size_t)param->count * sizeof *to);
}
