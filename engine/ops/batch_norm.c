/* batch_norm.c -- BatchNorm1d with ReLU, each view with its own statistics. */
#include "engine/ops/linear.h"
#include "engine/ops/ops.h"
#include "engine/ops/rule.h"

enum { GROUPS, RELU };  /* size[] */
enum { EPS, MOMENTUM }; /* scalar[] */

/* Inputs x, weight, bias, running_mean, running_var (the last two are written, too); outputs y, mean, rstd. */
static vmae_status batch_norm_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    (void)accumulate;
    const vmae_tensor *x = node->in[0];
    return be->kernels->batch_norm(be, node->out[0]->data, node->out[1]->data, node->out[2]->data, node->in[3]->data,
                                   node->in[4]->data, x->data, vmae_data(node->in[1]), vmae_data(node->in[2]), x->type,
                                   vmae_rows(x), vmae_last_dim(x), node->size[GROUPS], node->scalar[EPS],
                                   node->scalar[MOMENTUM], node->size[RELU]);
}

/* Inputs dy, x, y, mean, rstd, weight; outputs dx, dweight, dbias, and the gradient of the bias in front if x comes
 * straight from a linear layer. */
static vmae_status batch_norm_grad_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    const vmae_tensor *x = node->in[1];
    return be->kernels->batch_norm_grad(
        be, vmae_data(node->out[0]), vmae_data(node->out[1]), vmae_data(node->out[2]), vmae_data(node->out[3]),
        node->in[0]->data, x->data, node->in[2]->data, node->in[3]->data, node->in[4]->data, vmae_data(node->in[5]),
        x->type, vmae_rows(x), vmae_last_dim(x), node->size[GROUPS], node->size[RELU], accumulate);
}

static const vmae_rule batch_norm_grad = { "batch_norm_grad", batch_norm_grad_run, NULL, NULL, NULL };

static void batch_norm_backward(vmae_graph *g, vmae_node *node)
{
    vmae_tensor *x = node->in[0];
    vmae_node *layer = vmae_linear_that_made(x); /* before the gradient reads x, too */
    vmae_node *grad = vmae_record(
        g, &batch_norm_grad, 6,
        (vmae_tensor *[]){ node->out[0]->gradient, x, node->out[0], node->out[1], node->out[2], node->in[1] });
    if (!grad)
        return;
    grad->size[GROUPS] = node->size[GROUPS];
    grad->size[RELU] = node->size[RELU];
    vmae_tensor *dx = vmae_result(g, grad, x->type, x->shape);
    vmae_param_gradient(g, grad, node->in[1]);
    vmae_param_gradient(g, grad, node->in[2]);
    vmae_param_gradient(g, grad, layer ? vmae_linear_take_bias(layer) : NULL);
    vmae_add_gradient(g, x, dx);
}

static const vmae_rule batch_norm = { "batch_norm", batch_norm_run, batch_norm_backward, NULL, NULL };

static vmae_status batch_norm_infer_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    (void)accumulate;
    const vmae_tensor *x = node->in[0];
    return be->kernels->batch_norm_infer(be, node->out[0]->data, node->in[3]->data, node->in[4]->data, x->data,
                                         vmae_data(node->in[1]), vmae_data(node->in[2]), x->type, vmae_rows(x),
                                         vmae_last_dim(x), node->scalar[EPS], node->size[RELU]);
}

static const vmae_rule batch_norm_infer = { "batch_norm_infer", batch_norm_infer_run, NULL, NULL, NULL };

/* Shapes checked, node recorded. */
static vmae_node *record(vmae_graph *g, const vmae_rule *rule, vmae_tensor *const in[5], int64_t groups, float eps,
                         bool use_relu)
{
    if (!in[0] || !in[3] || !in[4] || !in[1] != !in[2]) {
        vmae_graph_fail(g, "batch_norm: an input is missing (weight and bias are both given, or neither)");
        return NULL;
    }
    const int64_t d = vmae_last_dim(in[0]);
    for (int i = 1; i < 5; i++) {
        if (in[i] && !vmae_is_floats(in[i], d)) {
            vmae_graph_fail(g, "batch_norm: x is %s, %s is %s; it must be f32 and as wide",
                            vmae_shape_text(in[0]->shape), in[i]->name, vmae_shape_text(in[i]->shape));
            return NULL;
        }
    }
    vmae_node *node = vmae_record(g, rule, 5, in);
    if (node) {
        node->size[GROUPS] = groups;
        node->size[RELU] = use_relu;
        node->scalar[EPS] = eps;
    }
    return node;
}

vmae_tensor *vmae_batch_norm(vmae_graph *g, vmae_tensor *x, vmae_tensor *weight, vmae_tensor *bias,
                             vmae_tensor *running_mean, vmae_tensor *running_var, int64_t groups, float eps,
                             float momentum, bool relu)
{
    if (x && (groups < 1 || vmae_rows(x) % groups != 0 || vmae_rows(x) / groups < 2))
        return vmae_graph_fail(g, "batch_norm: %lld rows in %lld views: every view needs the same number, at least 2",
                               (long long)vmae_rows(x), (long long)groups);
    vmae_node *node =
        record(g, &batch_norm, (vmae_tensor *[]){ x, weight, bias, running_mean, running_var }, groups, eps, relu);
    if (!node)
        return NULL;
    node->scalar[MOMENTUM] = momentum;
    vmae_tensor *y = vmae_result(g, node, x->type, x->shape);
    vmae_result(g, node, VMAE_F32, VMAE_SHAPE(groups, vmae_last_dim(x)));
    vmae_result(g, node, VMAE_F32, VMAE_SHAPE(groups, vmae_last_dim(x)));
    return y;
}

vmae_tensor *vmae_batch_norm_infer(vmae_graph *g, vmae_tensor *x, vmae_tensor *weight, vmae_tensor *bias,
                                   vmae_tensor *running_mean, vmae_tensor *running_var, float eps, bool relu)
{
    vmae_node *node =
        record(g, &batch_norm_infer, (vmae_tensor *[]){ x, weight, bias, running_mean, running_var }, 1, eps, relu);
    return node ? vmae_result(g, node, x->type, x->shape) : NULL;
}
