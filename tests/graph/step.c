/* step.c -- a pre-training step of a small ViC-MAE. */
#include "tests/graph/step.h"

#include "engine/core/mem.h"
#include "engine/core/rng.h"
#include "tests/device.h"

#include <math.h>
#include <stdlib.h>

#define MODEL(side, patch, width, blocks, heads_, dwidth, dblocks, dheads, hidden)                                     \
    {                                                                                                                  \
        .image_size = side, .patch_size = patch, .channels = 3, .dim = width, .depth = blocks, .heads = heads_,        \
        .mlp_hidden = 4 * width, .decoder_dim = dwidth, .decoder_depth = dblocks, .decoder_heads = dheads,             \
        .decoder_mlp_hidden = 4 * dwidth, .projector_hidden = hidden, .projector_out = 128, .pool = VMAE_POOL_MEAN,    \
        .mask_ratio = 0.75, .norm_pix = true                                                                           \
    }

const vmae_model_config nano_model = MODEL(32, 4, 192, 6, 3, 96, 2, 3, 512);
const vmae_model_config small_model = MODEL(64, 8, 384, 12, 6, 256, 4, 8, 1024);
const vmae_model_config base_model = MODEL(224, 16, 768, 12, 12, 512, 8, 16, 4096);

static vmae_status write_random(vmae_graph *g, vmae_tensor *tensor, uint64_t sample, bool normal)
{
    const int64_t count = vmae_shape_count(tensor->shape);
    float *values = vmae_calloc((size_t)count, sizeof *values);
    if (!values)
        return VMAE_ENOMEM;
    vmae_rng rng = vmae_rng_at(7, VMAE_RNG_TEST, 0, sample);
    for (int64_t i = 0; i < count; i++)
        values[i] = normal ? vmae_rng_normal(&rng) : vmae_rng_uniform(&rng);
    const vmae_status st = vmae_tensor_write(g, tensor, values, count);
    free(values);
    return st;
}

static void keep_everything(vmae_graph *g)
{
    for (size_t i = 0; i < vmae_graph_nodes(g); i++) {
        const vmae_node *node = vmae_graph_node(g, i);
        for (int k = 0; k < node->outputs; k++)
            if (node->out[k] && node->out[k]->role == VMAE_ROLE_RESULT)
                vmae_keep(node->out[k]);
    }
}

vmae_status step_record(step *s, const step_options *o)
{
    const vmae_vicmae_options options = { .pairs = o->pairs, .temperature = 0.1, .positive_ranks = 1 };
    *s = (step){ 0 };
    VMAE_TRY(vmae_backend_open(&s->be, vmae_test_device(), o->threads));
    if (!(s->params = vmae_params_new()))
        return VMAE_ENOMEM;
    VMAE_TRY(vmae_declare_encoder(s->params, o->config, false, true));
    VMAE_TRY(vmae_declare_pretraining(s->params, o->config));
    VMAE_TRY(vmae_params_allocate(s->params, s->be, true, o->precision == VMAE_BF16));
    if (!(s->g = vmae_graph_new(s->be, o->precision)))
        return VMAE_ENOMEM;
    vmae_record_vicmae(&s->model, s->g, s->params, o->config, &options);
    if (o->accumulates)
        vmae_graph_will_accumulate(s->g);
    return vmae_graph_backward(s->g, s->model.loss);
}

vmae_status step_open(step *s, const step_options *o)
{
    const float recon = 1.0f, lambda = 0.1f;
    VMAE_TRY(step_record(s, o));
    if (o->keep_everything)
        keep_everything(s->g);
    VMAE_TRY(vmae_graph_plan(s->g));
    VMAE_TRY(vmae_model_init(s->params, o->config, 3));
    VMAE_TRY(vmae_params_refresh(s->params));
    VMAE_TRY(write_random(s->g, s->model.images, 1, true));
    VMAE_TRY(write_random(s->g, s->model.noise, 2, false));
    VMAE_TRY(vmae_tensor_write(s->g, s->model.recon_weight, &recon, 1));
    return vmae_tensor_write(s->g, s->model.lambda, &lambda, 1);
}

void step_release(step *s)
{
    free(s->gradients);
    vmae_graph_free(s->g);
    vmae_params_free(s->params);
    vmae_backend_close(s->be);
}

const float *step_gradients(step *s)
{
    free(s->gradients);
    return s->gradients = device_floats(s->be, vmae_params_gradients(s->params), vmae_params_trainable(s->params));
}

float step_loss(const step *s)
{
    float loss = NAN;
    CHECK_OK(vmae_tensor_read(s->g, s->model.loss, &loss, 1));
    return loss;
}
