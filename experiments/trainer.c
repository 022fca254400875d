/* trainer.c -- the model in training: built from options, one pass at a time. */
#include "engine/core/log.h"
#include "engine/core/mem.h"
#include "engine/core/rng.h"
#include "experiments/pretrain.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

vmae_status vmae_trainer_open(vmae_trainer *trainer, const vmae_config *config, vmae_backend *be)
{
    vmae_trainer t = { .be = be,
                       .precision = vmae_options_precision(config),
                       .pairs = vmae_config_int(config, "train.batch"),
                       .accum = vmae_config_int(config, "train.accum_iter"),
                       .seed = vmae_config_int(config, "seed") };
    const vmae_vicmae_options options = { .pairs = t.pairs,
                                          .temperature = vmae_config_float(config, "loss.temperature"),
                                          .positive_ranks = vmae_config_int(config, "loss.positive_ranks") };
    const vmae_optimizer_config adamw = { .method = VMAE_ADAMW,
                                          .weight_decay = vmae_config_float(config, "train.weight_decay"),
                                          .beta1 = vmae_config_float(config, "train.beta1"),
                                          .beta2 = vmae_config_float(config, "train.beta2"),
                                          .eps = 1e-8,
                                          .clip_grad = vmae_config_float(config, "train.clip_grad"),
                                          .decays_by_pretraining_rule = true };
    vmae_options_model(config, &t.config);
    vmae_status st = VMAE_OK;
    if (!be)
        st = vmae_backend_open(&t.be, vmae_config_text(config, "device"), (int)vmae_config_int(config, "threads"));
    if (st == VMAE_OK)
        st = (t.params = vmae_params_new()) ? VMAE_OK : VMAE_ENOMEM;
    if (st != VMAE_OK || (st = vmae_declare_encoder(t.params, &t.config, false, true)) ||
        (st = vmae_declare_pretraining(t.params, &t.config)) ||
        (st = vmae_params_allocate(t.params, t.be, true, t.precision == VMAE_BF16)) ||
        (st = vmae_model_init(t.params, &t.config, (uint64_t)t.seed)) ||
        (st = vmae_optimizer_new(&t.optimizer, t.be, t.params, &adamw)))
        goto done;
    t.noise = vmae_calloc((size_t)(2 * t.pairs * vmae_model_patches(&t.config)), sizeof *t.noise);
    if (!t.noise || !(t.g = vmae_graph_new(t.be, t.precision))) {
        st = VMAE_ENOMEM;
        goto done;
    }
    vmae_record_vicmae(&t.model, t.g, t.params, &t.config, &options);
    if (t.accum > 1)
        vmae_graph_will_accumulate(t.g);
    if ((st = vmae_graph_backward(t.g, t.model.loss)) == VMAE_OK)
        st = vmae_graph_plan(t.g);
    if (st == VMAE_OK)
        st = vmae_images_open(&t.images, t.be, vmae_images_on_device(config, t.be), 2 * t.pairs, t.config.image_size);
    t.flops = vmae_graph_flops(t.g);
done:
    if (st == VMAE_OK)
        *trainer = t;
    else
        vmae_trainer_close(&t);
    return st;
}

void vmae_trainer_close(vmae_trainer *t)
{
    vmae_images_close(&t->images);
    vmae_graph_free(t->g);
    vmae_optimizer_free(t->optimizer);
    vmae_params_free(t->params);
    vmae_backend_close(t->be);
    free(t->noise);
    *t = (vmae_trainer){ 0 };
}

/* The masking noise of a pass: a function of (seed, pass, row). */
static void draw_noise(vmae_trainer *t, int64_t pass)
{
    const int64_t patches = vmae_model_patches(&t->config), rows = 2 * t->pairs;
    for (int64_t row = 0; row < rows; row++) {
        vmae_rng rng = vmae_rng_at((uint64_t)t->seed, VMAE_RNG_MASK, (uint32_t)row, (uint64_t)pass);
        for (int64_t l = 0; l < patches; l++)
            t->noise[row * patches + l] = vmae_rng_uniform(&rng);
    }
}

static vmae_status read_loss(vmae_trainer *t, const vmae_tensor *tensor, double *value)
{
    float number;
    VMAE_TRY(vmae_tensor_read(t->g, tensor, &number, 1));
    *value = number;
    return VMAE_OK;
}

vmae_status vmae_trainer_images(vmae_trainer *t, const vmae_batch *batch)
{
    return vmae_images_put(&t->images, t->model.images->data, batch, 2 * t->pairs);
}

vmae_status vmae_trainer_pass(vmae_trainer *t, int64_t pass, double recon_weight, double lambda, bool accumulate,
                              const vmae_batch *next, vmae_losses *losses)
{
    const int64_t rows = 2 * t->pairs;
    const float weight = (float)recon_weight, contrast = (float)lambda;
    draw_noise(t, pass);
    VMAE_TRY(vmae_tensor_write(t->g, t->model.noise, t->noise, rows * vmae_model_patches(&t->config)));
    VMAE_TRY(vmae_tensor_write(t->g, t->model.recon_weight, &weight, 1));
    VMAE_TRY(vmae_tensor_write(t->g, t->model.lambda, &contrast, 1));
    VMAE_TRY(vmae_graph_run(t->g, accumulate));
    VMAE_TRY(vmae_images_prefetch(&t->images, next, rows));
    VMAE_TRY(read_loss(t, t->model.loss, &losses->total));
    VMAE_TRY(read_loss(t, t->model.loss_recon, &losses->recon));
    VMAE_TRY(read_loss(t, t->model.loss_contrast, &losses->contrast));
    if (isfinite(losses->total) && isfinite(losses->contrast))
        return VMAE_OK;
    VMAE_TRY(vmae_graph_find_nonfinite(t->g)); /* names the op, and fails */
    return vmae_fail(VMAE_EDIVERGED, "the loss is %g (reconstruction %g, contrastive %g)", losses->total, losses->recon,
                     losses->contrast);
}

vmae_status vmae_trainer_step(vmae_trainer *t, double lr, double *grad_norm)
{
    char sentence[512];
    const vmae_status st = vmae_optimizer_step(t->optimizer, lr, 1.0 / (double)t->accum, grad_norm);
    if (st != VMAE_EDIVERGED)
        return st;
    snprintf(sentence, sizeof sentence, "%s", vmae_error());
    if (vmae_graph_find_nonfinite(t->g) != VMAE_OK) /* fails when it has found the op */
        return vmae_fail_in(st, "%s", sentence);
    return vmae_fail(st, "%s, in an earlier pass of this step", sentence);
}

vmae_state vmae_trainer_state(const vmae_trainer *t)
{
    return (vmae_state){ .params = t->params,
                         .optimizer = t->optimizer,
                         .model = &t->config,
                         .batches_a_step = 2 * t->accum /* each view is a batch to a BatchNorm */ };
}

/* `repeats` products one after the other, seconds. */
static vmae_status time_products(vmae_backend *be, const vmae_matmul *matmul, void *const *block, int repeats,
                                 double *seconds)
{
    VMAE_TRY(be->synchronize(be));
    const double start = vmae_seconds();
    for (int i = 0; i < repeats; i++)
        VMAE_TRY(be->matmul(be, matmul, block[0], block[1], block[2], NULL, NULL, block[3]));
    VMAE_TRY(be->synchronize(be));
    *seconds = vmae_seconds() - start;
    return VMAE_OK;
}

/* The best of a few rounds of `size`^3 products; *round: seconds of one round. */
static vmae_status roof_at(vmae_backend *be, vmae_type type, int64_t size, int repeats, double *gflops, double *round)
{
    enum { ROUNDS = 6 };
    const vmae_matmul_shape shape = { .m = size, .n = size, .k = size, .trans_b = true, .in = type, .out = type };
    const size_t bytes = (size_t)(size * size) * vmae_type_size(type);
    float *numbers = vmae_calloc(bytes, 1); /* zeros would draw less power than a model does, and run faster */
    vmae_matmul *matmul;
    void *block[4] = { NULL };
    vmae_rng rng = vmae_rng_at(1, VMAE_RNG_TEST, 0, 0);
    vmae_status st = numbers ? be->matmul_new(be, &matmul, &shape) : VMAE_ENOMEM;
    for (size_t i = 0; st == VMAE_OK && i < bytes / sizeof *numbers; i++) {
        const uint32_t bits = (vmae_rng_u32(&rng) & 0x80FF80FFu) | 0x3F003F00u; /* 0.5 to 2 in size, in either type */
        memcpy(&numbers[i], &bits, sizeof bits);
    }
    for (int i = 0; st == VMAE_OK && i < 4; i++)
        st = be->allocate(be, &block[i], i < 3 ? bytes : be->matmul_workspace(matmul) + 64);
    for (int i = 1; st == VMAE_OK && i < 3; i++)
        st = be->upload(be, block[i], numbers, bytes);
    for (int i = 0; st == VMAE_OK && i < ROUNDS; i++) {
        st = time_products(be, matmul, block, repeats, round);
        *gflops = fmax(*gflops, 2.0 * (double)size * (double)size * (double)size * repeats / *round / 1e9);
    }
    for (int i = 0; i < 4; i++)
        be->release(be, block[i]);
    free(numbers);
    return st;
}

vmae_status vmae_measure_roof(vmae_backend *be, vmae_type type, double *gflops)
{
    double best = 0.0, seconds = 0.0;
    VMAE_TRY(roof_at(be, type, 1024, 1, &best, &seconds));
    if (seconds < 1e-3) /* too short to time, and too small to fill such a device */
        VMAE_TRY(roof_at(be, type, 8192, 4, &best, &seconds));
    *gflops = best;
    return VMAE_OK;
}
