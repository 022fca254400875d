/* attention_cudnn.c -- what was prepared of attention, and the plans of cuDNN for it.
 *
 * Where cuDNN refuses, the own kernels run, and the list of algorithms says why. */
#include "engine/backend/cuda/attention.h"
#include "engine/backend/cuda/cudnn_open.h"

#include "engine/backend/cuda/algorithms.h"
#include "engine/core/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct cuda_attention_plan {
    vmae_attention_shape shape;
    bool grad;
    const char *own_name; /* of the kernel that runs without a plan */
    size_t workspace;     /* what the caller provides */
    cudnn_plan cudnn;     /* .plan NULL: own kernels */
    float scale, one;     /* read when a plan is run */
    char refusal[160];    /* why cuDNN does not, where it was wanted */
    cuda_attention_plan *next;
};

void cuda_attentions_close(vmae_backend *be)
{
    for (cuda_attention_plan *next, *plan = cuda_self(be)->attentions; plan; plan = next) {
        next = plan->next;
        cudnn_plan_free(&plan->cudnn);
        free(plan);
    }
    cuda_self(be)->attentions = NULL;
}

/* ---- the list ---- */

static bool same_shape(const vmae_attention_shape *a, const vmae_attention_shape *b)
{
    return a->type == b->type && a->batch == b->batch && a->tokens == b->tokens && a->heads == b->heads &&
           a->width == b->width;
}

static cuda_attention_plan *find(vmae_backend *be, const vmae_attention_shape *shape, bool grad)
{
    for (cuda_attention_plan *plan = cuda_self(be)->attentions; plan; plan = plan->next)
        if (plan->grad == grad && same_shape(&plan->shape, shape))
            return plan;
    return NULL;
}

const cuda_attention_plan *cuda_attention_planned(vmae_backend *be, const vmae_attention_shape *shape, bool grad)
{
    const cuda_attention_plan *plan = find(be, shape, grad);
    return plan && plan->cudnn.plan ? plan : NULL;
}

/* One float a row: the statistics that nobody keeps in inference; the row sums of the gradient. */
static size_t row_bytes(const vmae_attention_shape *shape)
{
    return cudnn_aligned((size_t)(shape->batch * shape->heads * shape->tokens) * sizeof(float));
}

static void build(vmae_backend *be, cuda_attention_plan *plan)
{
    const cudnn_gpu *gpu = cuda_cudnn(be, plan->refusal, sizeof plan->refusal);
    if (!gpu)
        return;
    const cudnn_attention shape = { plan->shape.batch, plan->shape.tokens, plan->shape.heads, plan->shape.width };
    cudnn_graph graph;
    cudnn_graph_begin(&graph);
    if (plan->grad)
        cudnn_attention_backward(&graph, &shape);
    else
        cudnn_attention_forward(&graph, &shape, true);
    if (cudnn_plan_new(&plan->cudnn, &graph, gpu) != VMAE_OK)
        snprintf(plan->refusal, sizeof plan->refusal, "%s", vmae_error());
    else
        plan->workspace = CUDNN_ALIGNMENT + row_bytes(&plan->shape) + cudnn_aligned((size_t)plan->cudnn.workspace);
    cudnn_graph_end(&graph);
}

vmae_status cuda_attention_plan_new(vmae_backend *be, const vmae_attention_shape *shape, bool grad,
                                    const char *own_name, size_t own_workspace, size_t *workspace)
{
    cuda_attention_plan *plan = find(be, shape, grad);
    if (!plan) {
        if (!(plan = vmae_calloc(1, sizeof *plan)))
            return VMAE_ENOMEM;
        *plan = (cuda_attention_plan){ .shape = *shape,
                                       .grad = grad,
                                       .own_name = own_name,
                                       .workspace = own_workspace,
                                       .scale = 1.0f / sqrtf((float)shape->width),
                                       .one = 1.0f,
                                       .next = cuda_self(be)->attentions };
        cuda_self(be)->attentions = plan;
        if (cuda_attention_wants_cudnn(shape, grad))
            build(be, plan);
    }
    *workspace = plan->workspace;
    return VMAE_OK;
}

void cuda_attention_algorithms(vmae_backend *be, char *text, size_t size)
{
    text[0] = '\0';
    for (const cuda_attention_plan *p = cuda_self(be)->attentions; p; p = p->next) {
        algorithms_append(text, size, "attention%s %s %lld x %lld heads x %lld x %lld: ", p->grad ? "_grad" : "",
                          vmae_type_name(p->shape.type), (long long)p->shape.batch, (long long)p->shape.heads,
                          (long long)p->shape.tokens, (long long)p->shape.width);
        if (p->cudnn.plan)
            algorithms_append(text, size, "cuDNN engine %lld, workspace %zu\n", (long long)p->cudnn.engine,
                              p->workspace);
        else
            algorithms_append(text, size, "own %s kernel, workspace %zu%s%s\n", p->own_name, p->workspace,
                              *p->refusal ? "; " : "", p->refusal);
    }
}

/* ---- running ---- */

typedef struct plan_memory {
    float *rows; /* row_bytes() */
    void *workspace;
} plan_memory;

static plan_memory memory_of(const cuda_attention_plan *plan, void *workspace)
{
    char *at = cudnn_place(workspace);
    return (plan_memory){ (float *)at, at + row_bytes(&plan->shape) };
}

/* q, k or v (0, 1, 2) of qkv. */
static void *part(const cuda_attention_plan *plan, const void *qkv, int64_t which)
{
    return (vmae_bf16 *)qkv + which * plan->shape.heads * plan->shape.width;
}

vmae_status cuda_attention_execute(vmae_backend *be, const cuda_attention_plan *plan, void *out, float *lse,
                                   void *workspace, const void *qkv)
{
    static const int64_t uids[] = { SDPA_Q, SDPA_K, SDPA_V, SDPA_OUT, SDPA_SCALE, SDPA_STATS };
    const plan_memory memory = memory_of(plan, workspace);
    void *const pointers[] = { part(plan, qkv, 0),   part(plan, qkv, 1),     part(plan, qkv, 2), out,
                               (void *)&plan->scale, lse ? lse : memory.rows };
    return cudnn_plan_run(&plan->cudnn, cuda_cudnn_opened(be), 6, uids, pointers, memory.workspace);
}

vmae_status cuda_attention_execute_grad(vmae_backend *be, const cuda_attention_plan *plan, void *dqkv, void *workspace,
                                        const void *dout, const void *qkv, const void *out, const float *lse)
{
    static const int64_t uids[] = { SDPA_GRAD_Q,    SDPA_GRAD_K,     SDPA_GRAD_V,   SDPA_GRAD_OUT,
                                    SDPA_GRAD_DOUT, SDPA_GRAD_STATS, SDPA_GRAD_DQ,  SDPA_GRAD_DK,
                                    SDPA_GRAD_DV,   SDPA_GRAD_SCALE, SDPA_GRAD_ONE, SDPA_GRAD_ROW_SUM };
    const plan_memory memory = memory_of(plan, workspace);
    void *const pointers[] = { part(plan, qkv, 0),  part(plan, qkv, 1),   part(plan, qkv, 2),  (void *)out,
                               (void *)dout,        (void *)lse,          part(plan, dqkv, 0), part(plan, dqkv, 1),
                               part(plan, dqkv, 2), (void *)&plan->scale, (void *)&plan->one,  memory.rows };
    return cudnn_plan_run(&plan->cudnn, cuda_cudnn_opened(be), 12, uids, pointers, memory.workspace);
}
