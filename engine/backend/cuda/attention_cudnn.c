/* attention_cudnn.c -- what was prepared of attention: which way each shape goes. */
#include "engine/backend/cuda/attention.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct attention_entry {
    vmae_attention_shape shape;
    bool grad;
    const char *own_name;
    size_t workspace;
    struct attention_entry *next;
} attention_entry;

struct cuda_attentions {
    attention_entry *first;
};

vmae_status cuda_attentions_open(vmae_backend *be)
{
    cuda_attentions *attentions = calloc(1, sizeof *attentions);
    if (!attentions)
        return vmae_fail(VMAE_ENOMEM, "no memory for the list of attention plans");
    cuda_self(be)->attentions = attentions;
    return cuda_attention_allow();
}

void cuda_attentions_close(vmae_backend *be)
{
    cuda_attentions *attentions = cuda_self(be)->attentions;
    if (!attentions)
        return;
    for (attention_entry *next, *entry = attentions->first; entry; entry = next) {
        next = entry->next;
        free(entry);
    }
    free(attentions);
    cuda_self(be)->attentions = NULL;
}

static bool same_shape(const vmae_attention_shape *a, const vmae_attention_shape *b)
{
    return a->type == b->type && a->batch == b->batch && a->tokens == b->tokens && a->heads == b->heads &&
           a->width == b->width;
}

static attention_entry *find(vmae_backend *be, const vmae_attention_shape *shape, bool grad)
{
    for (attention_entry *entry = cuda_self(be)->attentions->first; entry; entry = entry->next)
        if (entry->grad == grad && same_shape(&entry->shape, shape))
            return entry;
    return NULL;
}

vmae_status cuda_attention_plan_new(vmae_backend *be, const vmae_attention_shape *shape, bool grad,
                                    const char *own_name, size_t own_workspace, size_t *workspace)
{
    attention_entry *entry = find(be, shape, grad);
    if (!entry) {
        if (!(entry = calloc(1, sizeof *entry)))
            return vmae_fail(VMAE_ENOMEM, "no memory for an attention plan");
        *entry = (attention_entry){ *shape, grad, own_name, own_workspace, cuda_self(be)->attentions->first };
        cuda_self(be)->attentions->first = entry;
    }
    *workspace = entry->workspace;
    return VMAE_OK;
}

const cuda_attention_plan *cuda_attention_planned(vmae_backend *be, const vmae_attention_shape *shape, bool grad)
{
    (void)be, (void)shape, (void)grad;
    return NULL;
}

vmae_status cuda_attention_execute(vmae_backend *be, const cuda_attention_plan *plan, void *out, float *lse,
                                   void *workspace, const void *qkv)
{
    (void)be, (void)plan, (void)out, (void)lse, (void)workspace, (void)qkv;
    return vmae_fail(VMAE_EINTERNAL, "attention: no plan");
}

vmae_status cuda_attention_execute_grad(vmae_backend *be, const cuda_attention_plan *plan, void *dqkv, void *workspace,
                                        const void *dout, const void *qkv, const void *out, const float *lse)
{
    (void)be, (void)plan, (void)dqkv, (void)workspace, (void)dout, (void)qkv, (void)out, (void)lse;
    return vmae_fail(VMAE_EINTERNAL, "attention: no plan");
}

void cuda_attention_algorithms(vmae_backend *be, char *text, size_t size)
{
    size_t at = strlen(text);
    for (const attention_entry *e = cuda_self(be)->attentions->first; e && at < size; e = e->next)
        at += (size_t)snprintf(text + at, size - at,
                               "attention%s %s %lld x %lld x %lld x %lld: own %s kernel, workspace %zu\n",
                               e->grad ? "_grad" : "", e->shape.type == VMAE_BF16 ? "bf16" : "f32",
                               (long long)e->shape.batch, (long long)e->shape.heads, (long long)e->shape.tokens,
                               (long long)e->shape.width, e->own_name, e->workspace);
}
