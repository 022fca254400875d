/* losses.c -- what training minimises: MSE of masked patches, InfoNCE (with the l2 norm in front), cross-entropy. */
#include "engine/ops/ops.h"
#include "engine/ops/rule.h"

/* ---- patch mse: inputs pred, images, mask; outputs loss, stats; size: patch, normalise ---- */

static int64_t tokens_to_skip(const vmae_tensor *pred, const vmae_tensor *mask)
{
    return pred->shape.dim[1] - mask->shape.dim[1];
}

static vmae_status patch_mse_prepare(vmae_backend *be, vmae_node *node, bool accumulates)
{
    (void)be, (void)accumulates;
    node->scratch_bytes = 2 * (size_t)vmae_count(node->in[2]) * sizeof(float);
    return VMAE_OK;
}

static vmae_status patch_mse_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    (void)accumulate;
    const vmae_tensor *pred = node->in[0], *images = node->in[1], *mask = node->in[2];
    return be->kernels->patch_mse(be, node->out[0]->data, node->out[1]->data, node->scratch, pred->data, images->data,
                                  mask->data, pred->type, images->shape.dim[0], tokens_to_skip(pred, mask),
                                  images->shape.dim[1], images->shape.dim[2], node->size[0], node->size[1]);
}

/* Inputs dloss, pred, images, mask, stats; output dpred; size[0] patch. */
static vmae_status patch_mse_grad_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    (void)accumulate;
    const vmae_tensor *pred = node->in[1], *images = node->in[2], *mask = node->in[3];
    return be->kernels->patch_mse_grad(be, node->out[0]->data, node->in[0]->data, pred->data, images->data, mask->data,
                                       node->in[4]->data, pred->type, images->shape.dim[0], tokens_to_skip(pred, mask),
                                       images->shape.dim[1], images->shape.dim[2], node->size[0]);
}

static const vmae_rule patch_mse_grad = { "patch_mse_grad", patch_mse_grad_run, NULL, NULL, NULL };

static void patch_mse_backward(vmae_graph *g, vmae_node *node)
{
    vmae_tensor *pred = node->in[0];
    vmae_node *grad =
        vmae_record(g, &patch_mse_grad, 5,
                    (vmae_tensor *[]){ node->out[0]->gradient, pred, node->in[1], node->in[2], node->out[1] });
    if (grad)
        grad->size[0] = node->size[0];
    vmae_add_gradient(g, pred, vmae_result(g, grad, pred->type, pred->shape));
}

static const vmae_rule patch_mse = { "patch_mse", patch_mse_run, patch_mse_backward, patch_mse_prepare, NULL };

vmae_tensor *vmae_patch_mse(vmae_graph *g, vmae_tensor *pred, vmae_tensor *images, vmae_tensor *mask, int64_t patch,
                            bool normalise)
{
    if (!pred || !images || !mask)
        return vmae_graph_fail(g, "patch_mse: an input is missing");
    const int64_t patches = vmae_count_patches(g, "patch_mse", images, patch);
    if (!patches)
        return NULL;
    const vmae_shape *p = &pred->shape, *s = &images->shape;
    if (p->rank != 3 || p->dim[0] != s->dim[0] || p->dim[2] != s->dim[1] * patch * patch ||
        (p->dim[1] != patches && p->dim[1] != patches + 1) || mask->type != VMAE_F32 ||
        !vmae_same_shape(mask->shape, VMAE_SHAPE(s->dim[0], patches)))
        return vmae_graph_fail(g, "patch_mse: pred is %s, images are %s in patches of %lld, mask is %s",
                               vmae_shape_text(*p), vmae_shape_text(*s), (long long)patch,
                               vmae_shape_text(mask->shape));
    vmae_node *node = vmae_record(g, &patch_mse, 3, (vmae_tensor *[]){ pred, images, mask });
    if (!node)
        return NULL;
    node->size[0] = patch;
    node->size[1] = normalise;
    vmae_tensor *loss = vmae_result(g, node, VMAE_F32, VMAE_SHAPE(1));
    vmae_result(g, node, VMAE_F32, VMAE_SHAPE(2 * s->dim[0] * patches + 1));
    return loss;
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
