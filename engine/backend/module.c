/* module.c -- finds and opens the library of the CUDA backend. */
#include "engine/backend/module.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char file_name[] = "vicmae-cuda.so";

static vmae_status host_fail(vmae_status status, const char *format, va_list arguments)
{
    char sentence[1024];
    vsnprintf(sentence, sizeof sentence, format, arguments);
    return vmae_fail(status, "%s", sentence);
}

/* Beside the program (as built), or in lib/vicmae beside its folder (as installed). False: no such file. */
static bool beside_program(char *path, size_t size, const char *between)
{
    char program[PATH_MAX];
    const ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length <= 0)
        return false;
    program[length] = '\0';
    char *slash = strrchr(program, '/');
    if (!slash)
        return false;
    *slash = '\0';
    const int needed = snprintf(path, size, "%s/%s%s", program, between, file_name);
    return needed > 0 && (size_t)needed < size && access(path, R_OK) == 0;
}

static bool find(char *path, size_t size)
{
    const char *set = getenv("VICMAE_CUDA_MODULE");
    if (set && *set)
        return snprintf(path, size, "%s", set) < (int)size;
    return beside_program(path, size, "") || beside_program(path, size, "../") ||
           beside_program(path, size, "../lib/vicmae/");
}

vmae_status vmae_cuda_open(vmae_backend **be, int device)
{
    static const vmae_module_host host = { sizeof(vmae_backend), sizeof(vmae_kernels), VMAE_VERSION, host_fail,
                                           vmae_error };
    char path[PATH_MAX];
    if (!find(path, sizeof path))
        return vmae_fail(VMAE_EUSER,
                         "the CUDA backend is not here: no %s beside the program. It is built where CMake finds the "
                         "CUDA Toolkit (12 or later) and cuDNN 9; -DVICMAE_CUDA=ON says what it misses",
                         file_name);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL); /* stays: CUDA's own libraries cannot be unloaded */
    if (!library)
        return vmae_fail(VMAE_EUSER, "the CUDA backend cannot be loaded: %s", dlerror());
    vmae_module_open *open;
    void *symbol = dlsym(library, VMAE_MODULE_SYMBOL);
    if (!symbol)
        return vmae_fail(VMAE_EUSER, "%s is not a backend of vicmae: %s", path, dlerror());
    memcpy(&open, &symbol, sizeof open);
    return open(&host, be, device);
}
