/* losses.c -- what training minimises: masked MSE, InfoNCE (with the l2 norm in front), cross-entropy. */
#include "engine/ops/ops.h"
#include "engine/ops/rule.h"

/* ---- masked mse: inputs pred, target, mask; outputs loss, row (scratch that the arena holds) ---- */

static int64_t tokens_to_skip(const vmae_tensor *pred, const vmae_tensor *target)
{
    return pred->shape.dim[1] - target->shape.dim[1];
}

static vmae_status masked_mse_prepare(vmae_backend *be, vmae_node *node, bool accumulates)
{
    (void)be, (void)accumulates;
    node->scratch_bytes = (size_t)vmae_count(node->in[2]) * sizeof(float);
    return VMAE_OK;
}

static vmae_status masked_mse_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    (void)accumulate;
    const vmae_tensor *pred = node->in[0], *target = node->in[1];
    return be->kernels->masked_mse(be, node->out[0]->data, node->scratch, pred->data, target->data, node->in[2]->data,
                                   pred->type, target->shape.dim[0], tokens_to_skip(pred, target), target->shape.dim[1],
                                   target->shape.dim[2]);
}

/* Inputs dloss, pred, target, mask; output dpred. */
static vmae_status masked_mse_grad_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    (void)accumulate;
    const vmae_tensor *pred = node->in[1], *target = node->in[2];
    return be->kernels->masked_mse_grad(be, node->out[0]->data, node->in[0]->data, pred->data, target->data,
                                        node->in[3]->data, pred->type, target->shape.dim[0],
                                        tokens_to_skip(pred, target), target->shape.dim[1], target->shape.dim[2]);
}

static const vmae_rule masked_mse_grad = { "masked_mse_grad", masked_mse_grad_run, NULL, NULL, NULL };

static void masked_mse_backward(vmae_graph *g, vmae_node *node)
{
    vmae_tensor *pred = node->in[0];
    vmae_node *grad = vmae_record(g, &masked_mse_grad, 4,
                                  (vmae_tensor *[]){ node->out[0]->gradient, pred, node->in[1], node->in[2] });
    vmae_add_gradient(g, pred, vmae_result(g, grad, pred->type, pred->shape));
}

static const vmae_rule masked_mse = { "masked_mse", masked_mse_run, masked_mse_backward, masked_mse_prepare, NULL };

vmae_tensor *vmae_masked_mse(vmae_graph *g, vmae_tensor *pred, vmae_tensor *target, vmae_tensor *mask)
{
    if (!pred || !target || !mask)
        return vmae_graph_fail(g, "masked_mse: an input is missing");
    const vmae_shape *p = &pred->shape, *t = &target->shape, *m = &mask->shape;
    if (p->rank != 3 || t->rank != 3 || m->rank != 2 || p->dim[0] != t->dim[0] || p->dim[2] != t->dim[2] ||
        m->dim[0] != t->dim[0] || m->dim[1] != t->dim[1] || (p->dim[1] != t->dim[1] && p->dim[1] != t->dim[1] + 1) ||
        target->type != VMAE_F32 || mask->type != VMAE_F32)
        return vmae_graph_fail(g, "masked_mse: pred is %s, target is %s, mask is %s", vmae_shape_text(*p),
                               vmae_shape_text(*t), vmae_shape_text(*m));
    return vmae_result(g, vmae_record(g, &masked_mse, 3, (vmae_tensor *[]){ pred, target, mask }), VMAE_F32,
                       VMAE_SHAPE(1));
}

/* ---- l2 normalise: input x; outputs y, norm ---- */

static vmae_status l2_normalize_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    (void)accumulate;
    const vmae_tensor *x = node->in[0];
    return be->kernels->l2_normalize(be, node->out[0]->data, node->out[1]->data, x->data, vmae_rows(x),
                                     vmae_last_dim(x));
}

/* Inputs dy, y, norm; output dx. */
static vmae_status l2_normalize_grad_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    (void)accumulate;
    const vmae_tensor *y = node->in[1];
    return be->kernels->l2_normalize_grad(be, node->out[0]->data, node->in[0]->data, y->data, node->in[2]->data,
                                          vmae_rows(y), vmae_last_dim(y));
}

static const vmae_rule l2_normalize_grad = { "l2_normalize_grad", l2_normalize_grad_run, NULL, NULL, NULL };

static void l2_normalize_backward(vmae_graph *g, vmae_node *node)
{
    vmae_tensor *x = node->in[0];
    vmae_node *grad =
        vmae_record(g, &l2_normalize_grad, 3, (vmae_tensor *[]){ node->out[0]->gradient, node->out[0], node->out[1] });
    vmae_add_gradient(g, x, vmae_result(g, grad, VMAE_F32, x->shape));
}

static const vmae_rule l2_normalize = { "l2_normalize", l2_normalize_run, l2_normalize_backward, NULL, NULL };

vmae_tensor *vmae_l2_normalize(vmae_graph *g, vmae_tensor *x)
{
    if (!x)
        return vmae_graph_fail(g, "l2_normalize: an input is missing");
    if (x->type != VMAE_F32)
        return vmae_graph_fail(g, "l2_normalize: x must be f32");
    vmae_node *node = vmae_record(g, &l2_normalize, 1, &x);
    vmae_tensor *y = vmae_result(g, node, VMAE_F32, x->shape);
    vmae_result(g, node, VMAE_F32, VMAE_SHAPE(vmae_rows(x)));
    return y;
}

/* ---- InfoNCE: input z; outputs loss, lse_all, lse_positive; size[0] period, scalar[0] temperature ---- */

static vmae_status info_nce_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    (void)accumulate;
    const vmae_tensor *z = node->in[0];
    return be->kernels->info_nce(be, node->out[0]->data, node->out[1]->data, node->out[2]->data, z->data, vmae_rows(z),
                                 vmae_last_dim(z), node->size[0], node->scalar[0]);
}

static vmae_cost info_nce_cost(const vmae_node *node)
{
    const double rows = (double)vmae_rows(node->in[0]), d = (double)vmae_last_dim(node->in[0]);
    return (vmae_cost){ .flops = 2.0 * rows * rows * d, .bytes = rows * (d + 2) * 4 };
}

/* Inputs dloss, z, lse_all, lse_positive; output dz. */
static vmae_status info_nce_grad_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    (void)accumulate;
    const vmae_tensor *z = node->in[1];
    return be->kernels->info_nce_grad(be, node->out[0]->data, node->in[0]->data, z->data, node->in[2]->data,
                                      node->in[3]->data, vmae_rows(z), vmae_last_dim(z), node->size[0],
                                      node->scalar[0]);
}

static vmae_cost info_nce_grad_cost(const vmae_node *node)
{
    const double rows = (double)vmae_rows(node->in[1]), d = (double)vmae_last_dim(node->in[1]);
    return (vmae_cost){ .flops = 4.0 * rows * rows * d, .bytes = 2 * rows * (d + 1) * 4 };
}

static const vmae_rule info_nce_grad = { "info_nce_grad", info_nce_grad_run, NULL, NULL, info_nce_grad_cost };

static void info_nce_backward(vmae_graph *g, vmae_node *node)
{
    vmae_tensor *z = node->in[0];
    vmae_node *grad =
        vmae_record(g, &info_nce_grad, 4, (vmae_tensor *[]){ node->out[0]->gradient, z, node->out[1], node->out[2] });
    if (grad) {
        grad->size[0] = node->size[0];
        grad->scalar[0] = node->scalar[0];
    }
    vmae_add_gradient(g, z, vmae_result(g, grad, VMAE_F32, z->shape));
}

static const vmae_rule info_nce = { "info_nce", info_nce_run, info_nce_backward, NULL, info_nce_cost };

vmae_tensor *vmae_info_nce(vmae_graph *g, vmae_tensor *z, int64_t period, float temperature)
{
    if (!z)
        return vmae_graph_fail(g, "info_nce: an input is missing");
    const int64_t rows = vmae_rows(z);
    if (z->type != VMAE_F32 || rows % 2 != 0 || period < 1 || rows / 2 % period != 0)
        return vmae_graph_fail(g, "info_nce: z is %s; it must be f32 with two views, each a multiple of %lld rows",
                               vmae_shape_text(z->shape), (long long)period);
    vmae_node *node = vmae_record(g, &info_nce, 1, &z);
    if (node) {
        node->size[0] = period;
        node->scalar[0] = temperature;
    }
    vmae_tensor *loss = vmae_result(g, node, VMAE_F32, VMAE_SHAPE(1));
    vmae_result(g, node, VMAE_F32, VMAE_SHAPE(rows));
    vmae_result(g, node, VMAE_F32, VMAE_SHAPE(rows));
    return loss;
}

/* ---- cross-entropy: inputs logits, labels, targets; outputs loss, prob; scalar[0] smoothing ---- */

static vmae_status cross_entropy_prepare(vmae_backend *be, vmae_node *node, bool accumulates)
{
    (void)be, (void)accumulates;
    node->scratch_bytes = (size_t)vmae_rows(node->in[0]) * sizeof(float);
    return VMAE_OK;
}

static vmae_status cross_entropy_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    (void)accumulate;
    const vmae_tensor *logits = node->in[0];
    return be->kernels->cross_entropy(be, node->out[0]->data, node->out[1]->data, node->scratch, logits->data,
                                      vmae_data(node->in[1]), vmae_data(node->in[2]), vmae_rows(logits),
                                      vmae_last_dim(logits), node->scalar[0]);
}

/* Inputs dloss, prob, labels, targets; output dlogits. */
static vmae_status cross_entropy_grad_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    (void)accumulate;
    const vmae_tensor *prob = node->in[1];
    return be->kernels->cross_entropy_grad(be, node->out[0]->data, node->in[0]->data, prob->data,
                                           vmae_data(node->in[2]), vmae_data(node->in[3]), vmae_rows(prob),
                                           vmae_last_dim(prob), node->scalar[0]);
}

static const vmae_rule cross_entropy_grad = { "cross_entropy_grad", cross_entropy_grad_run, NULL, NULL, NULL };

static void cross_entropy_backward(vmae_graph *g, vmae_node *node)
{
    vmae_tensor *logits = node->in[0];
    vmae_node *grad = vmae_record(g, &cross_entropy_grad, 4,
                                  (vmae_tensor *[]){ node->out[0]->gradient, node->out[1], node->in[1], node->in[2] });
    if (grad)
        grad->scalar[0] = node->scalar[0];
    vmae_add_gradient(g, logits, vmae_result(g, grad, VMAE_F32, logits->shape));
}

static const vmae_rule cross_entropy = { "cross_entropy", cross_entropy_run, cross_entropy_backward,
                                         cross_entropy_prepare, NULL };

vmae_tensor *vmae_cross_entropy(vmae_graph *g, vmae_tensor *logits, vmae_tensor *labels, vmae_tensor *targets,
                                float smoothing)
{
    if (!logits || !labels == !targets)
        return vmae_graph_fail(g, "cross_entropy: an input is missing, or there are both labels and targets");
    if (logits->type != VMAE_F32 || (labels && (labels->type != VMAE_I32 || vmae_count(labels) != vmae_rows(logits))) ||
        (targets && (targets->type != VMAE_F32 || !vmae_same_shape(targets->shape, logits->shape))))
        return vmae_graph_fail(g, "cross_entropy: logits are %s, labels are %s, targets are %s",
                               vmae_shape_text(logits->shape), labels ? vmae_shape_text(labels->shape) : "absent",
                               targets ? vmae_shape_text(targets->shape) : "absent");
    vmae_node *node = vmae_record(g, &cross_entropy, 3, (vmae_tensor *[]){ logits, labels, targets });
    if (node)
        node->scalar[0] = smoothing;
    vmae_tensor *loss = vmae_result(g, node, VMAE_F32, VMAE_SHAPE(1));
    vmae_result(g, node, VMAE_F32, logits->shape);
    return loss;
}
