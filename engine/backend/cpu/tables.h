/* tables.h -- the CPU kernels, once per instruction set. */
#ifndef VMAE_BACKEND_CPU_TABLES_H
#define VMAE_BACKEND_CPU_TABLES_H

#include "engine/backend/backend.h"

#if defined(__x86_64__)
extern const vmae_kernels vmae_cpu_kernels_sse2, vmae_cpu_kernels_avx2, vmae_cpu_kernels_avx512;
#else
extern const vmae_kernels vmae_cpu_kernels_generic;
#endif

/* Those that this processor runs, the best first. */
const vmae_kernels *const *vmae_cpu_tables(int *count);

#endif
