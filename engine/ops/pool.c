/* pool.c -- from tokens to one vector an image: mean, max, GeM, cls. */
#include "engine/ops/ops.h"
#include "engine/ops/rule.h"

/* Inputs x, p; outputs y, which; size[0] kind. */
static vmae_status pool_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    (void)accumulate;
    const vmae_tensor *x = node->in[0];
    return be->kernels->pool(be, node->out[0]->data, vmae_data(node->out[1]), x->data, vmae_data(node->in[1]),
                             (vmae_pool)node->size[0], x->type, x->shape.dim[0], x->shape.dim[1] - 1, x->shape.dim[2]);
}

/* Inputs dy, x, y, which, p, add; outputs dx, dp. */
static vmae_status pool_grad_prepare(vmae_backend *be, vmae_node *node, bool accumulates)
{
    (void)be, (void)accumulates;
    node->scratch_bytes = (size_t)node->in[1]->shape.dim[0] * sizeof(float);
    return VMAE_OK;
}

static vmae_status pool_grad_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    const vmae_tensor *x = node->in[1];
    return be->kernels->pool_grad(be, node->out[0]->data, vmae_data(node->out[1]), node->scratch, node->in[0]->data,
                                  x->data, node->in[2]->data, vmae_data(node->in[3]), vmae_data(node->in[4]),
                                  vmae_data(node->in[5]), (vmae_pool)node->size[0], x->type, x->shape.dim[0],
                                  x->shape.dim[1] - 1, x->shape.dim[2], accumulate);
}

static const vmae_rule pool_grad = { "pool_grad", pool_grad_run, NULL, pool_grad_prepare, NULL };

static void pool_backward(vmae_graph *g, vmae_node *node)
{
    vmae_tensor *x = node->in[0], *around = vmae_gradient_so_far(x);
    vmae_node *grad =
        vmae_record(g, &pool_grad, 6,
                    (vmae_tensor *[]){ node->out[0]->gradient, x, node->out[0], node->out[1], node->in[1], around });
    if (grad) {
        grad->size[0] = node->size[0];
        grad->in_place = around ? 5 : -1;
    }
    vmae_tensor *dx = vmae_result(g, grad, x->type, x->shape);
    if (node->in[1])
        vmae_param_gradient(g, grad, node->in[1]);
    vmae_set_gradient(x, dx);
}

static const vmae_rule pool = { "pool", pool_run, pool_backward, NULL, NULL };

vmae_tensor *vmae_pool_tokens(vmae_graph *g, vmae_tensor *x, vmae_tensor *p, vmae_pool kind)
{
    if (!x || (kind == VMAE_POOL_GEM && !p))
        return vmae_graph_fail(g, "pool: %s is missing", x ? "GeM's exponent" : "an input");
    if (kind == VMAE_POOL_GEM && !vmae_is_floats(p, 1))
        return vmae_graph_fail(g, "pool: GeM's exponent %s is %s; it must be one f32 number", p->name,
                               vmae_shape_text(p->shape));
    if (x->shape.rank != 3 || x->shape.dim[1] < 2)
        return vmae_graph_fail(g, "pool: x is %s; it must be [images, 1 + tokens, width]", vmae_shape_text(x->shape));
    vmae_node *node = vmae_record(g, &pool, 2, (vmae_tensor *[]){ x, kind == VMAE_POOL_GEM ? p : NULL });
    if (node)
        node->size[0] = kind;
    const vmae_shape shape = VMAE_SHAPE(x->shape.dim[0], x->shape.dim[2]);
    vmae_tensor *y = vmae_result(g, node, VMAE_F32, shape);
    if (kind == VMAE_POOL_MAX)
        vmae_result(g, node, VMAE_I32, shape);
    return y;
}
