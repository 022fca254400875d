/* layer_norm.c -- LayerNorm; its gradient takes in the one that flows around it (the residual). */
#include "engine/ops/layer_norm.h"

#include "engine/ops/ops.h"
#include "engine/ops/rule.h"

/* Inputs x, weight, bias; outputs y, mean, rstd; scalar[0] eps. */
static vmae_status layer_norm_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    (void)accumulate;
    const vmae_tensor *x = node->in[0];
    return be->kernels->layer_norm(be, node->out[0]->data, node->out[0]->type, node->out[1]->data, node->out[2]->data,
                                   x->data, x->type, node->in[1]->data, node->in[2]->data, vmae_rows(x),
                                   vmae_last_dim(x), node->scalar[0]);
}

/* Inputs dy, x, mean, rstd, weight, add; outputs dx, dweight, dbias and, where a linear layer asked for them, the
 * column sums of dx and its bf16 copy: their positions are in size[], 0 while absent. */
enum { SUMS, COPY };

static void *extra(const vmae_node *node, int which)
{
    return node->size[which] ? vmae_data(node->out[node->size[which]]) : NULL;
}

static vmae_status layer_norm_grad_prepare(vmae_backend *be, vmae_node *node, bool accumulates)
{
    (void)be, (void)accumulates;
    node->scratch_bytes = (size_t)3 * (size_t)be->sum_blocks * (size_t)vmae_last_dim(node->in[1]) * sizeof(float);
    return VMAE_OK;
}

static vmae_status layer_norm_grad_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    const vmae_tensor *dy = node->in[0], *x = node->in[1];
    return be->kernels->layer_norm_grad(be, node->out[0]->data, extra(node, COPY), vmae_data(node->out[1]),
                                        vmae_data(node->out[2]), extra(node, SUMS), node->scratch, dy->data, dy->type,
                                        x->data, x->type, node->in[2]->data, node->in[3]->data, node->in[4]->data,
                                        vmae_data(node->in[5]), vmae_rows(x), vmae_last_dim(x), accumulate);
}

static const vmae_rule layer_norm_grad = { "layer_norm_grad", layer_norm_grad_run, NULL, layer_norm_grad_prepare,
                                           NULL };

/* The node that made dx, if it is a norm's gradient. */
static vmae_node *maker(const vmae_tensor *dx)
{
    vmae_node *node = dx ? dx->producer : NULL;
    return node && node->rule == &layer_norm_grad && node->out[0] == dx ? node : NULL;
}

vmae_tensor *vmae_norm_grad_copy(vmae_graph *g, vmae_tensor *dx)
{
    vmae_node *node = maker(dx);
    if (!node)
        return NULL;
    if (!node->size[COPY]) {
        node->size[COPY] = node->outputs;
        vmae_result(g, node, VMAE_BF16, dx->shape);
    }
    return node->out[node->size[COPY]];
}

bool vmae_norm_grad_sums(vmae_graph *g, vmae_tensor *dx, vmae_tensor *bias)
{
    vmae_node *node = maker(dx);
    if (!node || node->size[SUMS] || node->accumulates || bias->gradient)
        return false;
    node->size[SUMS] = node->outputs;
    vmae_param_gradient(g, node, bias);
    return true;
}

static void layer_norm_backward(vmae_graph *g, vmae_node *node)
{
    vmae_tensor *x = node->in[0], *around = vmae_gradient_so_far(x);
    vmae_node *grad =
        vmae_record(g, &layer_norm_grad, 6,
                    (vmae_tensor *[]){ node->out[0]->gradient, x, node->out[1], node->out[2], node->in[1], around });
    vmae_tensor *dx = vmae_result(g, grad, x->type, x->shape);
    vmae_param_gradient(g, grad, node->in[1]);
    vmae_param_gradient(g, grad, node->in[2]);
    if (grad && around)
        grad->in_place = 5;
    vmae_set_gradient(x, dx);
}

static const vmae_rule layer_norm = { "layer_norm", layer_norm_run, layer_norm_backward, NULL, NULL };

vmae_tensor *vmae_layer_norm(vmae_graph *g, vmae_tensor *x, vmae_tensor *weight, vmae_tensor *bias, float eps,
                             vmae_type out)
{
    if (!x || !weight || !bias)
        return vmae_graph_fail(g, "layer_norm: an input is missing");
    if (!vmae_is_floats(weight, vmae_last_dim(x)) || !vmae_is_floats(bias, vmae_last_dim(x)))
        return vmae_graph_fail(g, "layer_norm: x is %s, weight is %s, bias is %s; the last two must be f32",
                               vmae_shape_text(x->shape), vmae_shape_text(weight->shape), vmae_shape_text(bias->shape));
    vmae_node *node = vmae_record(g, &layer_norm, 3, (vmae_tensor *[]){ x, weight, bias });
    if (node)
        node->scalar[0] = eps;
    vmae_tensor *y = vmae_result(g, node, out, x->shape);
    vmae_result(g, node, VMAE_F32, VMAE_SHAPE(vmae_rows(x)));
    vmae_result(g, node, VMAE_F32, VMAE_SHAPE(vmae_rows(x)));
    return y;
}
