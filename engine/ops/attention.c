/* attention.c -- multi-head self-attention between its two projections. */
#include "engine/ops/ops.h"
#include "engine/ops/rule.h"

enum { BATCH, TOKENS, HEADS, WIDTH };

static vmae_attention_shape shape_of(const vmae_node *node, vmae_type type)
{
    const int64_t *s = node->size;
    return (vmae_attention_shape){
        .type = type, .batch = s[BATCH], .tokens = s[TOKENS], .heads = s[HEADS], .width = s[WIDTH]
    };
}

static vmae_status attention_prepare(vmae_backend *be, vmae_node *node, bool accumulates)
{
    (void)accumulates;
    const vmae_attention_shape shape = shape_of(node, node->in[0]->type);
    return be->kernels->attention_prepare(be, &shape, false, &node->scratch_bytes);
}

static vmae_status attention_grad_prepare(vmae_backend *be, vmae_node *node, bool accumulates)
{
    (void)accumulates;
    const vmae_attention_shape shape = shape_of(node, node->in[1]->type);
    return be->kernels->attention_prepare(be, &shape, true, &node->scratch_bytes);
}

/* Input qkv; outputs out, lse (absent without a gradient). */
static vmae_status attention_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    (void)accumulate;
    const vmae_attention_shape shape = shape_of(node, node->in[0]->type);
    return be->kernels->attention(be, node->out[0]->data, vmae_data(node->out[1]), node->scratch, node->in[0]->data,
                                  &shape);
}

static vmae_cost cost_of(const vmae_node *node, double products, double tensors)
{
    const int64_t *s = node->size;
    const double pairs = (double)s[BATCH] * (double)s[HEADS] * (double)s[TOKENS] * (double)s[TOKENS];
    return (vmae_cost){ .flops = products * 2.0 * pairs * (double)s[WIDTH],
                        .bytes = tensors * (double)(s[BATCH] * s[TOKENS] * s[HEADS] * s[WIDTH]) *
                                 (double)vmae_type_size(node->in[0]->type) };
}

static vmae_cost attention_cost(const vmae_node *node)
{
    return cost_of(node, 2, 4);
}

/* Inputs dout, qkv, out, lse; output dqkv. The recomputed scores do not count as useful work. */
static vmae_status attention_grad_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    (void)accumulate;
    const vmae_attention_shape shape = shape_of(node, node->in[1]->type);
    return be->kernels->attention_grad(be, node->out[0]->data, node->scratch, node->in[0]->data, node->in[1]->data,
                                       node->in[2]->data, node->in[3]->data, &shape);
}

static vmae_cost attention_grad_cost(const vmae_node *node)
{
    return cost_of(node, 4, 8);
}

static const vmae_rule attention_grad = { "attention_grad", attention_grad_run, NULL, attention_grad_prepare,
                                          attention_grad_cost };

static void attention_backward(vmae_graph *g, vmae_node *node)
{
    vmae_tensor *qkv = node->in[0];
    vmae_node *grad = vmae_record(g, &attention_grad, 4,
                                  (vmae_tensor *[]){ node->out[0]->gradient, qkv, node->out[0], node->out[1] });
    for (int i = 0; grad && i < 4; i++)
        grad->size[i] = node->size[i];
    vmae_add_gradient(g, qkv, vmae_result(g, grad, qkv->type, qkv->shape));
}

static const vmae_rule attention = { "attention", attention_run, attention_backward, attention_prepare,
                                     attention_cost };

vmae_tensor *vmae_attention(vmae_graph *g, vmae_tensor *qkv, int64_t heads)
{
    if (!qkv)
        return vmae_graph_fail(g, "attention: an input is missing");
    const int64_t d = vmae_last_dim(qkv) / 3;
    if (qkv->shape.rank != 3 || d * 3 != vmae_last_dim(qkv) || heads < 1 || d % heads != 0)
        return vmae_graph_fail(g,
                               "attention: qkv is %s; it must be [images, tokens, 3 x heads x width] with %lld heads",
                               vmae_shape_text(qkv->shape), (long long)heads);
    vmae_node *node = vmae_record(g, &attention, 1, &qkv);
    if (!node)
        return NULL;
    node->size[BATCH] = qkv->shape.dim[0];
    node->size[TOKENS] = qkv->shape.dim[1];
    node->size[HEADS] = heads;
    node->size[WIDTH] = d / heads;
    vmae_tensor *out = vmae_result(g, node, qkv->type, VMAE_SHAPE(qkv->shape.dim[0], qkv->shape.dim[1], d));
    if (vmae_wants(qkv))
        vmae_result(g, node, VMAE_F32, VMAE_SHAPE(qkv->shape.dim[0], heads, qkv->shape.dim[1]));
    return out;
}
