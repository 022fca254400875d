/* module.c -- the one function of the library that a program calls, and the program's error sentence from in here. */
#include "engine/backend/module.h"

#include "engine/backend/cuda/cuda.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const vmae_module_host *program;

vmae_status vmae_fail(vmae_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    program->fail(status, format, arguments);
    va_end(arguments);
    return status;
}

vmae_status vmae_fail_in(vmae_status status, const char *format, ...)
{
    char place[512], sentence[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(place, sizeof place, format, arguments);
    va_end(arguments);
    snprintf(sentence, sizeof sentence, "%s", program->error());
    return vmae_fail(status, "%s: %s", place, sentence);
}

const char *vmae_error(void)
{
    return program->error();
}

__attribute__((visibility("default"))) vmae_module_open vmae_cuda_module;
__attribute__((visibility("default"))) vmae_status vmae_cuda_module(const vmae_module_host *host, vmae_backend **be,
                                                                    int device)
{
    program = host;
    if (host->backend_bytes != sizeof(vmae_backend) || host->kernels_bytes != sizeof(vmae_kernels) ||
        strcmp(host->version, VMAE_VERSION) != 0)
        return vmae_fail(VMAE_EUSER,
                         "the CUDA backend's library is of another build than this program (%s, %s): build both",
                         VMAE_VERSION, host->version);
    return cuda_open(be, device);
}
