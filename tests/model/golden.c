/* golden.c -- a set of reference vectors in tests. */
#include "tests/model/golden.h"

#include "engine/core/mem.h"
#include "tests/device.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

vmae_checkpoint *golden_open(const char *name)
{
    const char *folder = vmae_test_shared("golden");
    vmae_checkpoint *file = NULL;
    if (!folder) {
        vmae_test_skip("no golden vectors beside the checkout (VICMAE_GOLDEN=DIR names a set)");
        return NULL;
    }
    CHECK_OK(golden_set_open(&file, folder, name));
    return file;
}

double golden_number(const vmae_checkpoint *file, const char *key)
{
    vmae_check(vmae_checkpoint_metadata(file, key), __FILE__, __LINE__, "the golden file has no metadata %s", key);
    return golden_set_number(file, key, 0.0);
}

bool golden_flag(const vmae_checkpoint *file, const char *key)
{
    const char *text = vmae_checkpoint_metadata(file, key);
    vmae_check(text, __FILE__, __LINE__, "the golden file has no metadata %s", key);
    return text && strcmp(text, "true") == 0;
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
