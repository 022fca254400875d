/* paper.c -- a device that computes nothing: graphs are recorded and planned on it, to be counted. Addresses that it
 * hands out lie nowhere. */
#include "engine/backend/backend.h"

#include "engine/core/mem.h"

#include <stdlib.h>

enum { SUM_BLOCKS = 264 }; /* as on a GPU: the scratch of sums over rows */

struct vmae_matmul {
    char unused;
};

static vmae_status paper_allocate(vmae_backend *be, void **block, size_t bytes)
{
    (void)be;
    static char nowhere[64] __attribute__((aligned(64)));
    (void)bytes;
    *block = nowhere;
    return VMAE_OK;
}

static void paper_release(vmae_backend *be, void *block)
{
    (void)be, (void)block;
}

static vmae_status paper_copy(vmae_backend *be, void *to, const void *from, size_t bytes)
{
    (void)be, (void)to, (void)from, (void)bytes;
    return VMAE_OK;
}

static vmae_status paper_synchronize(vmae_backend *be)
{
    (void)be;
    return vmae_fail(VMAE_EINTERNAL, "a device on paper runs nothing");
}

static vmae_status paper_matmul_new(vmae_backend *be, vmae_matmul **matmul, const vmae_matmul_shape *shape)
{
    static vmae_matmul any;
    (void)be, (void)shape;
    *matmul = &any;
    return VMAE_OK;
}

static size_t paper_matmul_workspace(const vmae_matmul *matmul)
{
    (void)matmul;
    return 0;
}

static vmae_status paper_attention_prepare(vmae_backend *be, const vmae_attention_shape *shape, bool grad,
                                           size_t *workspace)
{
    (void)be, (void)shape, (void)grad;
    *workspace = 0;
    return VMAE_OK;
}

static vmae_status paper_convolution_prepare(vmae_backend *be, const vmae_convolution_shape *shape,
                                             vmae_convolution_pass pass, size_t *workspace)
{
    (void)be, (void)shape, (void)pass;
    *workspace = 0;
    return VMAE_OK;
}

static vmae_status paper_cast(vmae_backend *be, void *y, vmae_type to, const void *x, vmae_type from, int64_t n)
{
    (void)be, (void)y, (void)to, (void)x, (void)from, (void)n;
    return VMAE_OK;
}

static size_t paper_augment_scratch(const vmae_backend *be, int64_t rows, int64_t size)
{
    (void)be, (void)rows, (void)size;
    return 0;
}

static size_t paper_optim_scratch(const vmae_segment *segments, int64_t count)
{
    (void)segments, (void)count;
    return 0;
}

static const char *paper_algorithms(vmae_backend *be)
{
    (void)be;
    return "";
}

static void paper_close(vmae_backend *be)
{
    free(be);
}

vmae_status vmae_paper_open(vmae_backend **be)
{
    static const vmae_kernels kernels = { .isa = "paper", /* what is called before a graph runs */
                                          .cast = paper_cast,
                                          .attention_prepare = paper_attention_prepare,
                                          .convolution_prepare = paper_convolution_prepare,
                                          .augment_scratch = paper_augment_scratch,
                                          .optim_scratch = paper_optim_scratch };
    vmae_backend *made = vmae_calloc(1, sizeof *made);
    if (!made)
        return VMAE_ENOMEM;
    *made = (vmae_backend){ .name = "paper",
                            .description = "on paper",
                            .precision = VMAE_BF16,
                            .sum_blocks = SUM_BLOCKS,
                            .kernels = &kernels,
                            .allocate = paper_allocate,
                            .release = paper_release,
                            .upload = paper_copy,
                            .download = paper_copy,
                            .synchronize = paper_synchronize,
                            .matmul_new = paper_matmul_new,
                            .matmul_workspace = paper_matmul_workspace,
                            .algorithms = paper_algorithms,
                            .close = paper_close };
    *be = made;
    return VMAE_OK;
}
