/* backend.c -- which device a name means. */
#include "engine/backend/backend.h"

#include <string.h>

vmae_status vmae_backend_open(vmae_backend **be, const char *device, int threads)
{
    if (strcmp(device, "auto") == 0 || strcmp(device, "cpu") == 0)
        return vmae_cpu_open(be, threads);
    if (strncmp(device, "cuda", 4) == 0)
        return vmae_fail(VMAE_EUSER, "device is \"%s\", but this build has no CUDA backend; use device = \"cpu\"",
                         device);
    return vmae_fail(VMAE_EUSER, "device is \"%s\"; known are auto, cpu and cuda:N", device);
}

void vmae_backend_close(vmae_backend *be)
{
    if (be)
        be->close(be);
}
