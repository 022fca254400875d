/* matmul.h -- matrix products by oneDNN. Private to backend/cpu. */
#ifndef VMAE_BACKEND_CPU_MATMUL_H
#define VMAE_BACKEND_CPU_MATMUL_H

#include "engine/backend/backend.h"

/* oneDNN's engine and stream, and every product prepared so far. */
typedef struct cpu_products cpu_products;

vmae_status cpu_products_open(cpu_products **products, int threads);
void cpu_products_close(cpu_products *products);
vmae_status cpu_matmul_new(cpu_products *products, vmae_matmul **matmul, const vmae_matmul_shape *shape);
size_t cpu_matmul_workspace(const vmae_matmul *matmul);
vmae_status cpu_matmul_run(cpu_products *products, const vmae_matmul *matmul, void *c, const void *a, const void *b,
                           const float *bias, const void *residual, void *workspace);
/* "oneDNN 2.6.3" */
const char *cpu_matmul_library(void);

#endif
