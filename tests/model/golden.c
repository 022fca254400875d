/* golden.c -- reads a set of reference vectors. */
#include "tests/model/golden.h"

#include "engine/core/mem.h"
#include "tests/device.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

vmae_checkpoint *golden_open(const char *name)
{
    const char *folder = vmae_test_shared("golden");
    char path[700];
    vmae_checkpoint *file = NULL;
    if (!folder) {
        vmae_test_skip("no golden vectors beside the checkout (VICMAE_GOLDEN=DIR names a set)");
        return NULL;
    }
    snprintf(path, sizeof path, "%s/%s.safetensors", folder, name);
    CHECK_OK(vmae_checkpoint_open(&file, path));
    return file;
}

double golden_number(const vmae_checkpoint *file, const char *key)
{
    const char *text = vmae_checkpoint_metadata(file, key);
    vmae_check(text, __FILE__, __LINE__, "the golden file has no metadata %s", key);
    return text ? strtod(text, NULL) : 0.0;
}

bool golden_flag(const vmae_checkpoint *file, const char *key)
{
    const char *text = vmae_checkpoint_metadata(file, key);
    vmae_check(text, __FILE__, __LINE__, "the golden file has no metadata %s", key);
    return text && strcmp(text, "true") == 0;
}

vmae_pool golden_pool(const vmae_checkpoint *file)
{
    const char *pool = vmae_checkpoint_metadata(file, "pool");
    if (!pool || strcmp(pool, "mean") == 0)
        return VMAE_POOL_MEAN;
    return strcmp(pool, "max") == 0 ? VMAE_POOL_MAX : strcmp(pool, "gem") == 0 ? VMAE_POOL_GEM : VMAE_POOL_CLS;
}

static int64_t size_of(const vmae_checkpoint *file, const char *key, int64_t otherwise)
{
    const char *text = vmae_checkpoint_metadata(file, key);
    return text ? strtoll(text, NULL, 10) : otherwise;
}

vmae_model_config golden_model(const vmae_checkpoint *file)
{
    const int64_t dim = size_of(file, "dim", 0), decoder_dim = size_of(file, "dec_dim", 32),
                  ratio = size_of(file, "mlp_ratio", 4);
    const char *mask_ratio = vmae_checkpoint_metadata(file, "mask_ratio"),
               *norm_pix = vmae_checkpoint_metadata(file, "norm_pix");
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
                                .pool = golden_pool(file),
                                .mask_ratio = mask_ratio ? strtod(mask_ratio, NULL) : 0.5,
                                .norm_pix = norm_pix && strcmp(norm_pix, "true") == 0 };
}

float *golden_floats(const vmae_checkpoint *file, const char *name, int64_t *count)
{
    const vmae_entry *entry = vmae_checkpoint_find(file, name);
    vmae_check(entry, __FILE__, __LINE__, "the golden file has no tensor %s", name);
    float *values = entry ? vmae_calloc(entry->count, sizeof *values) : NULL;
    if (!values)
        return NULL;
    *count = (int64_t)entry->count;
    for (size_t i = 0; i < entry->count; i++) {
        switch (entry->dtype) {
        case VMAE_ST_F32: memcpy(&values[i], (const char *)entry->data + 4 * i, 4); break;
        case VMAE_ST_I64: {
            int64_t value;
            memcpy(&value, (const char *)entry->data + 8 * i, 8);
            values[i] = (float)value;
            break;
        }
        case VMAE_ST_U8: values[i] = ((const uint8_t *)entry->data)[i]; break;
        default: vmae_check(false, __FILE__, __LINE__, "%s has type %s", name, vmae_dtype_name(entry->dtype));
        }
    }
    return values;
}

void golden_params(vmae_params *params, const vmae_checkpoint *file, const vmae_checkpoint *base)
{
    for (int i = 0; i < vmae_params_count(params); i++) {
        const vmae_param *param = vmae_params_at(params, i);
        char name[200];
        int64_t count;
        snprintf(name, sizeof name, "param.%s", param->name);
        const bool own = vmae_checkpoint_find(file, name);
        float *values = golden_floats(own ? file : base, own ? name : param->name, &count);
        if (values && vmae_check(count == param->count, __FILE__, __LINE__, "%s has another size", name))
            CHECK_OK(vmae_params_write(params, param, values));
        free(values);
    }
}

float *golden_value_of(vmae_backend *be, const vmae_params *params, const vmae_param *param)
{
    return device_floats(be, vmae_params_values(params) + param->offset, param->count);
}

float *golden_gradient_of(vmae_backend *be, const vmae_params *params, const vmae_param *param)
{
    return device_floats(be, vmae_params_gradients(params) + param->offset, param->count);
}

bool golden_near(const char *what, const float *got, const float *wanted, int64_t count, double limit, double floor)
{
    const double worst = vmae_max_difference(got, wanted, (size_t)count),
                 largest = vmae_max_magnitude(wanted, (size_t)count);
    return vmae_check(worst <= limit * largest + floor, __FILE__, __LINE__,
                      "%s: off by %.3g, largest %.3g, allowed %.3g", what, worst, largest, limit * largest + floor);
}

double golden_largest(const vmae_checkpoint *file, const char *prefix)
{
    double largest = 0.0;
    for (size_t i = 0; i < vmae_checkpoint_count(file); i++) {
        const vmae_entry *entry = vmae_checkpoint_at(file, i);
        if (strncmp(entry->name, prefix, strlen(prefix)) == 0 && entry->dtype == VMAE_ST_F32)
            largest = fmax(largest, vmae_max_magnitude(entry->data, entry->count));
    }
    return largest;
}
