/* golden_set.c -- reads a set of reference vectors. */
#include "engine/selftest/golden_set.h"

#include "engine/core/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

vmae_status golden_set_open(vmae_checkpoint **file, const char *folder, const char *name)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s.safetensors", folder, name);
    return vmae_checkpoint_open(file, path);
}

double golden_set_number(const vmae_checkpoint *file, const char *key, double otherwise)
{
    const char *text = vmae_checkpoint_metadata(file, key);
    return text ? strtod(text, NULL) : otherwise;
}

static int64_t size_of(const vmae_checkpoint *file, const char *key, int64_t otherwise)
{
    return (int64_t)golden_set_number(file, key, (double)otherwise);
}

static vmae_pool pool_of(const vmae_checkpoint *file)
{
    const char *pool = vmae_checkpoint_metadata(file, "pool");
    if (!pool || strcmp(pool, "mean") == 0)
        return VMAE_POOL_MEAN;
    return strcmp(pool, "max") == 0 ? VMAE_POOL_MAX : strcmp(pool, "gem") == 0 ? VMAE_POOL_GEM : VMAE_POOL_CLS;
}

vmae_model_config golden_set_model(const vmae_checkpoint *file)
{
    const int64_t dim = size_of(file, "dim", 0), decoder_dim = size_of(file, "dec_dim", 32),
                  ratio = size_of(file, "mlp_ratio", 4);
    const char *norm_pix = vmae_checkpoint_metadata(file, "norm_pix");
    return (vmae_model_config){ .image_size = size_of(file, "img", 0),
                                .patch_size = size_of(file, "patch", 0),
                                .channels = 3,
                                .dim = dim,
                                .depth = size_of(file, "depth", 0),
                                .heads = size_of(file, "heads", 0),
                                .mlp_hidden = ratio * dim,
                                .decoder_dim = decoder_dim,
                                .decoder_depth = size_of(file, "dec_depth", 1),
                                .decoder_heads = size_of(file, "dec_heads", 4),
                                .decoder_mlp_hidden = ratio * decoder_dim,
                                .projector_hidden = size_of(file, "proj_hidden", 8),
                                .projector_out = size_of(file, "proj_out", 8),
                                .pool = pool_of(file),
                                .mask_ratio = golden_set_number(file, "mask_ratio", 0.5),
                                .norm_pix = norm_pix && strcmp(norm_pix, "true") == 0 };
}

vmae_status golden_set_floats(const vmae_checkpoint *file, const char *name, int64_t count, const float **values)
{
    const vmae_entry *entry = vmae_checkpoint_find(file, name);
    if (!entry || entry->dtype != VMAE_ST_F32 || (int64_t)entry->count != count)
        return vmae_fail(VMAE_EDATA, "the golden set has no F32 tensor %s of %lld values", name, (long long)count);
    *values = entry->data;
    return VMAE_OK;
}

vmae_status golden_set_params(vmae_params *params, const vmae_checkpoint *file, const vmae_checkpoint *base)
{
    for (int i = 0; i < vmae_params_count(params); i++) {
        const vmae_param *p = vmae_params_at(params, i);
        const float *values = NULL;
        char name[200];
        snprintf(name, sizeof name, "param.%s", p->name);
        const bool own = vmae_checkpoint_find(file, name);
        VMAE_TRY(golden_set_floats(own ? file : base, own ? name : p->name, p->count, &values));
        VMAE_TRY(vmae_params_write(params, p, values));
    }
    return vmae_params_refresh(params);
}

vmae_status golden_set_views(vmae_graph *g, vmae_tensor *to, const vmae_checkpoint *inputs, const char *stem)
{
    const int64_t half = vmae_shape_count(to->shape) / 2;
    float *both = vmae_calloc((size_t)(2 * half), sizeof *both);
    vmae_status st = both ? VMAE_OK : VMAE_ENOMEM;
    for (int view = 0; st == VMAE_OK && view < 2; view++) {
        const float *values = NULL;
        char name[32];
        snprintf(name, sizeof name, "%s%d", stem, view + 1);
        if ((st = golden_set_floats(inputs, name, half, &values)) == VMAE_OK)
            memcpy(both + view * half, values, (size_t)half * sizeof *both);
    }
    if (st == VMAE_OK)
        st = vmae_tensor_write(g, to, both, 2 * half);
    free(both);
    return st;
}
