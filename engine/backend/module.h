/* module.h -- the CUDA backend is a shared library of its own, opened only when it is asked for, so that the programs
 * start at once and run where no driver or toolkit is. Private to engine/backend.
 *
 * The library holds one function, VMAE_MODULE_SYMBOL. What it needs of the program (the thread's error sentence) comes
 * to it in a vmae_module_host. */
#ifndef VMAE_BACKEND_MODULE_H
#define VMAE_BACKEND_MODULE_H

#include "engine/backend/backend.h"

#include <stdarg.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct vmae_module_host {
    size_t backend_bytes, kernels_bytes; /* of the structs, as the program knows them */
    const char *version;                 /* VMAE_VERSION of the program */
    vmae_status (*fail)(vmae_status status, const char *format, va_list arguments); /* vmae_fail */
    const char *(*error)(void);                                                     /* vmae_error */
} vmae_module_host;

#define VMAE_MODULE_SYMBOL "vmae_cuda_module"
/* Opens device number `device` (-1: the first that is usable). VMAE_EUSER with a sentence if there is none, or if
 * program and library are not of one build. */
typedef vmae_status vmae_module_open(const vmae_module_host *host, vmae_backend **be, int device);

/* The program's side, module.c: finds the library (VICMAE_CUDA_MODULE, or vicmae-cuda.so beside the program), loads it
 * and calls its function. VMAE_EUSER says what is missing. */
vmae_status vmae_cuda_open(vmae_backend **be, int device);

#ifdef __cplusplus
}
#endif
#endif
