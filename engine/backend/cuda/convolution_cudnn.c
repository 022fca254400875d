/* convolution_cudnn.c -- what was prepared of convolutions: cuDNN's plans, kept by shape and pass.
 * VICMAE_CONVOLUTION=own: none. */
#include "engine/backend/cuda/convolution.h"
#include "engine/backend/cuda/cudnn_open.h"

#include "engine/backend/cuda/algorithms.h"
#include "engine/core/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct cuda_convolution_plan {
    vmae_convolution_shape shape;
    vmae_convolution_pass pass;
    cudnn_plan cudnn; /* .plan NULL: own kernels */
    char refusal[160];
    cuda_convolution_plan *next;
};

static bool same_shape(const vmae_convolution_shape *a, const vmae_convolution_shape *b)
{
    return a->type == b->type && a->batch == b->batch && a->height == b->height && a->width == b->width &&
           a->in == b->in && a->out == b->out && a->kernel == b->kernel && a->stride == b->stride && a->pad == b->pad;
}

static cuda_convolution_plan *find(vmae_backend *be, const vmae_convolution_shape *shape, vmae_convolution_pass pass)
{
    for (cuda_convolution_plan *plan = cuda_self(be)->convolutions; plan; plan = plan->next)
        if (plan->pass == pass && same_shape(&plan->shape, shape))
            return plan;
    return NULL;
}

const cuda_convolution_plan *cuda_convolution_planned(vmae_backend *be, const vmae_convolution_shape *shape,
                                                      vmae_convolution_pass pass)
{
    const cuda_convolution_plan *plan = find(be, shape, pass);
    return plan && plan->cudnn.plan ? plan : NULL;
}

static void build(vmae_backend *be, cuda_convolution_plan *plan)
{
    const vmae_convolution_shape *s = &plan->shape;
    const char *wanted = getenv("VICMAE_CONVOLUTION");
    if (wanted && strcmp(wanted, "own") == 0) {
        snprintf(plan->refusal, sizeof plan->refusal, "VICMAE_CONVOLUTION=own");
        return;
    }
    const cudnn_gpu *gpu = cuda_cudnn(be, plan->refusal, sizeof plan->refusal);
    if (!gpu)
        return;
    const cudnn_convolution of = { .type = s->type == VMAE_BF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT,
                                   .batch = s->batch,
                                   .in = s->in,
                                   .out = s->out,
                                   .height = s->height,
                                   .width = s->width,
                                   .kernel = s->kernel,
                                   .pad = s->pad,
                                   .stride = s->stride };
    static const cudnn_direction direction[] = { CUDNN_FORWARD, CUDNN_DATA, CUDNN_FILTER };
    cudnn_graph graph;
    cudnn_graph_begin(&graph);
    cudnn_convolve(&graph, &of, direction[plan->pass]);
    if (cudnn_plan_new(&plan->cudnn, &graph, gpu) != VMAE_OK)
        snprintf(plan->refusal, sizeof plan->refusal, "%s", vmae_error());
    cudnn_graph_end(&graph);
}

vmae_status cuda_convolution_plan_new(vmae_backend *be, const vmae_convolution_shape *shape, vmae_convolution_pass pass,
                                      size_t *workspace)
{
    cuda_convolution_plan *plan = find(be, shape, pass);
    if (!plan) {
        if (!(plan = vmae_calloc(1, sizeof *plan)))
            return VMAE_ENOMEM;
        *plan = (cuda_convolution_plan){ .shape = *shape, .pass = pass, .next = cuda_self(be)->convolutions };
        cuda_self(be)->convolutions = plan;
        build(be, plan);
    }
    *workspace = plan->cudnn.plan ? cudnn_aligned((size_t)plan->cudnn.workspace) : 0;
    return VMAE_OK;
}

vmae_status cuda_convolution_execute(vmae_backend *be, const cuda_convolution_plan *plan, void *workspace, void *x,
                                     void *w, void *y)
{
    static const int64_t uids[] = { CONVOLUTION_X, CONVOLUTION_W, CONVOLUTION_Y };
    void *const pointers[] = { x, w, y };
    return cudnn_plan_run(&plan->cudnn, cuda_cudnn_opened(be), 3, uids, pointers, workspace);
}

void cuda_convolutions_close(vmae_backend *be)
{
    for (cuda_convolution_plan *next, *plan = cuda_self(be)->convolutions; plan; plan = next) {
        next = plan->next;
        cudnn_plan_free(&plan->cudnn);
        free(plan);
    }
    cuda_self(be)->convolutions = NULL;
}

void cuda_convolution_algorithms(vmae_backend *be, char *text, size_t size)
{
    static const char *const pass[] = { "convolution", "convolution_data_grad", "convolution_filter_grad" };
    text[0] = '\0';
    for (const cuda_convolution_plan *p = cuda_self(be)->convolutions; p; p = p->next) {
        const vmae_convolution_shape *s = &p->shape;
        algorithms_append(
            text, size, "%s %s %lld x %lld x %lld x %lld to %lld, %lld x %lld, stride %lld: ", pass[p->pass],
            vmae_type_name(s->type), (long long)s->batch, (long long)s->height, (long long)s->width, (long long)s->in,
            (long long)s->out, (long long)s->kernel, (long long)s->kernel, (long long)s->stride);
        if (p->cudnn.plan)
            algorithms_append(text, size, "cuDNN engine %lld, workspace %lld\n", (long long)p->cudnn.engine,
                              (long long)p->cudnn.workspace);
        else
            algorithms_append(text, size, "own kernel; %s\n", p->refusal);
    }
}
