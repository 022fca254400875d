/* sizes.c -- which sizes a model may have. A checkpoint's header gets here unproven: what passes can be multiplied and
 * allocated without overflow. */
#include "engine/model/internal.h"

#include <stddef.h>

/* clang-format off */
#define SIZE(name, least, most) { "vicmae." #name, offsetof(vmae_model_config, name), least, most }
/* clang-format on */

const vmae_model_size vmae_model_sizes[VMAE_MODEL_SIZES] = {
    SIZE(image_size, 1, 4096),
    SIZE(patch_size, 1, 4096),
    SIZE(channels, 3, 3), /* all images are RGB */
    SIZE(dim, 1, 65536),
    SIZE(depth, 1, 1000),
    SIZE(heads, 1, 1024),
    SIZE(mlp_hidden, 1, 64 * 65536),
    SIZE(decoder_dim, 1, 65536),
    SIZE(decoder_depth, 1, 1000),
    SIZE(decoder_heads, 1, 1024),
    SIZE(decoder_mlp_hidden, 1, 64 * 65536),
    SIZE(projector_hidden, 1, 65536),
    SIZE(projector_out, 1, 65536),
};

int64_t vmae_model_patches(const vmae_model_config *config)
{
    const int64_t grid = config->image_size / config->patch_size;
    return grid * grid;
}

int64_t vmae_model_keep(const vmae_model_config *config)
{
    return (int64_t)((double)vmae_model_patches(config) *
                     (1.0 - config->mask_ratio)); /* truncates, as Python's int() does */
}

static vmae_status check_ranges(const vmae_model_config *c)
{
    for (int i = 0; i < VMAE_MODEL_SIZES; i++) {
        const vmae_model_size *size = &vmae_model_sizes[i];
        const int64_t value = *(const int64_t *)((const char *)c + size->offset);
        const char *name = size->key + sizeof "vicmae." - 1;
        if (value >= size->least && value <= size->most)
            continue;
        if (size->least == size->most)
            return vmae_fail(VMAE_EUSER, "%s is %lld; models here have %lld", name, (long long)value,
                             (long long)size->least);
        return vmae_fail(VMAE_EUSER, "%s is %lld; it must be between %lld and %lld", name, (long long)value,
                         (long long)size->least, (long long)size->most);
    }
    if (!(c->mask_ratio >= 0.0 && c->mask_ratio < 1.0)) /* a NaN, too */
        return vmae_fail(VMAE_EUSER, "the mask ratio is %g; it is a fraction, 0 <= mask_ratio < 1", c->mask_ratio);
    return VMAE_OK;
}

vmae_status vmae_model_check(const vmae_model_config *c)
{
    VMAE_TRY(check_ranges(c));
    if (c->image_size % c->patch_size != 0)
        return vmae_fail(VMAE_EUSER, "image size %lld is not a multiple of the patch size %lld",
                         (long long)c->image_size, (long long)c->patch_size);
    if (c->dim % c->heads != 0 || c->decoder_dim % c->decoder_heads != 0)
        return vmae_fail(VMAE_EUSER, "widths %lld and %lld must be multiples of their heads %lld and %lld",
                         (long long)c->dim, (long long)c->decoder_dim, (long long)c->heads,
                         (long long)c->decoder_heads);
    if (c->dim % 4 != 0 || c->decoder_dim % 4 != 0)
        return vmae_fail(VMAE_EUSER, "widths %lld and %lld must be multiples of 4 for sine-cosine positions",
                         (long long)c->dim, (long long)c->decoder_dim);
    const int64_t keep = vmae_model_keep(c), patches = vmae_model_patches(c);
    if (keep < 1 || keep >= patches)
        return vmae_fail(VMAE_EUSER,
                         "a mask ratio of %g keeps %lld of %lld patches; at least one must stay and one must go",
                         c->mask_ratio, (long long)keep, (long long)patches);
    return VMAE_OK;
}
