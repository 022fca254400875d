/* dtype.c -- element types: names, sizes, and conversion to float. */
#include "engine/checkpoint/dtype.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

static const struct {
    const char *name;
    size_t size;
} types[] = {
    [VMAE_ST_F32] = { "F32", 4 },   [VMAE_ST_F64] = { "F64", 8 },   [VMAE_ST_F16] = { "F16", 2 },
    [VMAE_ST_BF16] = { "BF16", 2 }, [VMAE_ST_I64] = { "I64", 8 },   [VMAE_ST_I32] = { "I32", 4 },
    [VMAE_ST_U8] = { "U8", 1 },     [VMAE_ST_BOOL] = { "BOOL", 1 },
};

size_t vmae_dtype_size(vmae_dtype dtype)
{
    return types[dtype].size;
}

const char *vmae_dtype_name(vmae_dtype dtype)
{
    return types[dtype].name;
}

bool vmae_dtype_find(vmae_dtype *dtype, const char *name)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(types[i].name, name) == 0) {
            *dtype = (vmae_dtype)i;
            return true;
        }
    }
    return false;
}

static float from_half(uint16_t half)
{
    const int exponent = half >> 10 & 31, fraction = half & 1023;
    float magnitude;
    if (exponent == 31)
        magnitude = fraction ? NAN : INFINITY;
    else if (exponent)
        magnitude = ldexpf((float)(fraction + 1024), exponent - 25);
    else
        magnitude = (float)fraction * 0x1p-24f; /* subnormal, and zero */
    return half >> 15 ? -magnitude : magnitude;
}

static float from_bfloat(uint16_t upper)
{
    const uint32_t bits = (uint32_t)upper << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

bool vmae_to_floats(float *to, vmae_dtype dtype, const void *from, size_t count)
{
    switch (dtype) {
    case VMAE_ST_F32:
        if (count)
            memcpy(to, from, count * sizeof *to);
        return true;
    case VMAE_ST_F64:
        for (size_t i = 0; i < count; i++)
            to[i] = (float)((const double *)from)[i];
        return true;
    case VMAE_ST_F16:
        for (size_t i = 0; i < count; i++)
            to[i] = from_half(((const uint16_t *)from)[i]);
        return true;
    case VMAE_ST_BF16:
        for (size_t i = 0; i < count; i++)
            to[i] = from_bfloat(((const uint16_t *)from)[i]);
        return true;
    default: return false;
    }
}
