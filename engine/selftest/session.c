/* session.c -- one step of pre-training, from its recording to its gradients. */
#include "engine/core/mem.h"
#include "engine/selftest/internal.h"

#include <math.h>

vmae_status session_open(session *s, vmae_backend *be, const vmae_model_config *config, int64_t pairs,
                         double temperature, vmae_type precision)
{
    const vmae_vicmae_options options = { .pairs = pairs, .temperature = temperature, .positive_ranks = 1 };
    *s = (session){ .be = be, .params = vmae_params_new() };
    if (!s->params)
        return VMAE_ENOMEM;
    VMAE_TRY(vmae_declare_encoder(s->params, config, false, true));
    VMAE_TRY(vmae_declare_pretraining(s->params, config));
    VMAE_TRY(vmae_params_allocate(s->params, be, true, precision == VMAE_BF16));
    if (!(s->g = vmae_graph_new(be, precision)))
        return VMAE_ENOMEM;
    vmae_record_vicmae(&s->model, s->g, s->params, config, &options);
    VMAE_TRY(vmae_graph_backward(s->g, s->model.loss));
    return vmae_graph_plan(s->g);
}

void session_close(session *s)
{
    vmae_graph_free(s->g);
    vmae_params_free(s->params);
}

vmae_status session_run(session *s, float recon, float contrast, float loss[LOSSES])
{
    const vmae_tensor *const losses[LOSSES] = { s->model.loss, s->model.loss_recon, s->model.loss_contrast };
    VMAE_TRY(vmae_tensor_write(s->g, s->model.recon_weight, &recon, 1));
    VMAE_TRY(vmae_tensor_write(s->g, s->model.lambda, &contrast, 1));
    VMAE_TRY(vmae_graph_run(s->g, false));
    for (int i = 0; i < LOSSES; i++)
        VMAE_TRY(vmae_tensor_read(s->g, losses[i], &loss[i], 1));
    return VMAE_OK;
}

/* All trainable ones, of the flat buffer: fresh memory. */
static vmae_status download(const session *s, const float *from, float **to)
{
    const size_t count = (size_t)vmae_params_trainable(s->params);
    if (!(*to = vmae_calloc(count, sizeof **to)))
        return VMAE_ENOMEM;
    return s->be->download(s->be, *to, from, count * sizeof **to);
}

vmae_status session_gradients(const session *s, float **gradients)
{
    return download(s, vmae_params_gradients(s->params), gradients);
}

vmae_status session_values(const session *s, float **values)
{
    return download(s, vmae_params_values(s->params), values);
}

double worst_gradient(const vmae_params *params, const float *got, const float *wanted, const char **name)
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
