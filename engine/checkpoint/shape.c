/* shape.c -- sizes of shapes without overflow, shapes as text. */
#include "engine/checkpoint/dtype.h"

#include <stdio.h>

bool vmae_shape_size(vmae_dtype dtype, int rank, const int64_t *dim, size_t *count, size_t *bytes)
{
    size_t elements = 1, total;
    bool empty = false;
    if (rank < 0 || rank > VMAE_ST_RANK)
        return false;
    for (int i = 0; i < rank; i++) {
        if (dim[i] < 0)
            return false;
        empty = empty || dim[i] == 0;
    }
    for (int i = 0; i < rank && !empty; i++)
        if (__builtin_mul_overflow(elements, (size_t)dim[i], &elements))
            return false;
    if (empty)
        elements = 0;
    if (__builtin_mul_overflow(elements, vmae_dtype_size(dtype), &total) || total > SIZE_MAX / 2)
        return false;
    *count = elements;
    *bytes = total;
    return true;
}

void vmae_shape_print(char text[VMAE_SHAPE_TEXT], int rank, const int64_t *dim)
{
    int used = snprintf(text, VMAE_SHAPE_TEXT, "[");
    for (int i = 0; i < rank && i < VMAE_ST_RANK; i++)
        used += snprintf(text + used, VMAE_SHAPE_TEXT - (size_t)used, "%s%lld", i ? ", " : "", (long long)dim[i]);
    snprintf(text + used, VMAE_SHAPE_TEXT - (size_t)used, "]");
}
