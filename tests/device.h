/* device.h -- what lies in a device's memory, for tests: they may not look there themselves. */
#ifndef VMAE_TESTS_DEVICE_H
#define VMAE_TESTS_DEVICE_H

#include "engine/backend/backend.h"
#include "tests/test.h"

#include <stdlib.h>

/* A host copy of count floats, fresh memory. NULL, with a failed check, if it could not be had. */
static inline float *device_floats(vmae_backend *be, const float *from, int64_t count)
{
    const size_t bytes = (size_t)count * sizeof(float);
    float *copy = malloc(bytes ? bytes : 1);
    const vmae_status st = copy ? be->download(be, copy, from, bytes) : VMAE_ENOMEM;
    if (vmae_check(st == VMAE_OK, __FILE__, __LINE__, "%s: %s", be->name, copy ? vmae_error() : "out of memory"))
        return copy;
    free(copy);
    return NULL;
}

#endif
