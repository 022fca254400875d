/* dtype.h -- inside checkpoint: element types by name, shapes, and conversion to float. */
#ifndef VMAE_CHECKPOINT_DTYPE_H
#define VMAE_CHECKPOINT_DTYPE_H

#include "engine/checkpoint/checkpoint.h"

#include <stdbool.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "safetensors files are little-endian and are read in place");

enum { VMAE_ST_HEADER_MAX = 100 * 1000 * 1000, VMAE_ST_HEAD = 8, VMAE_ST_ALIGN = 64 };

bool vmae_dtype_find(vmae_dtype *dtype, const char *name);

/* Converts F32, F64, F16 and BF16, aligned to their size; false for other types. */
bool vmae_to_floats(float *to, vmae_dtype dtype, const void *from, size_t count);

/* Elements and bytes of a shape; false if a size is negative, the rank is too large, or the bytes pass SIZE_MAX / 2. */
bool vmae_shape_size(vmae_dtype dtype, int rank, const int64_t *dim, size_t *count, size_t *bytes);

/* "[2, 3]" */
enum { VMAE_SHAPE_TEXT = 24 * VMAE_ST_RANK };
void vmae_shape_print(char text[VMAE_SHAPE_TEXT], int rank, const int64_t *dim);

#endif
