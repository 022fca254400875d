/* encoder.c -- opens a frozen encoder. */
#include "experiments/encoder.h"

#include <string.h>

static vmae_status open_params(vmae_encoder *e, const vmae_config *config, vmae_pool pool,
                               const vmae_checkpoint *checkpoint)
{
    if (!(e->params = vmae_params_new()))
        return VMAE_ENOMEM;
    VMAE_TRY(vmae_declare_encoder(e->params, &e->model, false, true));
    if (pool == VMAE_POOL_GEM)
        VMAE_TRY(vmae_params_add(e->params, "pool.p", VMAE_SHAPE(1), false));
    VMAE_TRY(vmae_params_allocate(e->params, e->be, false, e->precision == VMAE_BF16));
    VMAE_TRY(vmae_model_init(e->params, &e->model, (uint64_t)vmae_config_int(config, "seed")));
    return checkpoint ? vmae_model_load(e->params, checkpoint) : VMAE_OK;
}

vmae_status vmae_encoder_open(vmae_encoder *encoder, const vmae_config *config, vmae_pool pool)
{
    const char *path = vmae_config_text(config, "checkpoint");
    vmae_checkpoint *checkpoint = NULL;
    vmae_encoder e = { .precision = vmae_options_precision(config) };
    vmae_options_model(config, &e.model);
    vmae_status st =
        vmae_backend_open(&e.be, vmae_config_text(config, "device"), (int)vmae_config_int(config, "threads"));
    if (st != VMAE_OK || strcmp(path, "pixels") == 0)
        goto done;
    if (strcmp(path, "random") != 0) {
        if ((st = vmae_checkpoint_open(&checkpoint, path)) != VMAE_OK)
            goto done;
        if ((st = vmae_model_recognise(&e.model, checkpoint)) != VMAE_OK) {
            st = vmae_fail_in(st, "%s", path);
            goto done;
        }
    }
    st = open_params(&e, config, pool, checkpoint);
done:
    vmae_checkpoint_free(checkpoint);
    if (st == VMAE_OK)
        *encoder = e;
    else
        vmae_encoder_close(&e);
    return st;
}

void vmae_encoder_close(vmae_encoder *encoder)
{
    if (encoder->borrowed)
        return;
    vmae_params_free(encoder->params);
    vmae_backend_close(encoder->be);
    *encoder = (vmae_encoder){ 0 };
}
