/* elementwise.c -- GELU, ReLU, sums, casts. */
#include "engine/graph/internal.h"
#include "engine/ops/linear.h"
#include "engine/ops/ops.h"
#include "engine/ops/rule.h"

#include <string.h>

/* A node with one result like its first input. */
static vmae_tensor *like_first(vmae_graph *g, const vmae_rule *rule, int inputs, vmae_tensor *const *in, int in_place)
{
    vmae_node *node = vmae_record(g, rule, inputs, in);
    if (node)
        node->in_place = in_place;
    return vmae_result(g, node, in[0]->type, in[0]->shape);
}

/* ---- gelu ---- */

static vmae_status gelu_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    (void)accumulate;
    return be->kernels->gelu(be, node->out[0]->data, node->in[0]->data, node->in[0]->type, vmae_count(node->in[0]));
}

/* Inputs dy, x; outputs dx and, if x comes straight from a linear layer, the gradient of that layer's bias. */
static vmae_status gelu_grad_prepare(vmae_backend *be, vmae_node *node, bool accumulates)
{
    (void)be, (void)accumulates;
    node->scratch_bytes = (size_t)be->sum_blocks * (size_t)vmae_last_dim(node->in[1]) * sizeof(float);
    return VMAE_OK;
}

static vmae_status gelu_grad_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    const vmae_tensor *x = node->in[1];
    return be->kernels->gelu_grad(be, node->out[0]->data, vmae_data(node->out[1]), node->scratch, node->in[0]->data,
                                  x->data, x->type, vmae_rows(x), vmae_last_dim(x), accumulate);
}

static const vmae_rule gelu_grad = { "gelu_grad", gelu_grad_run, NULL, gelu_grad_prepare, NULL };

static void gelu_backward(vmae_graph *g, vmae_node *node)
{
    vmae_tensor *x = node->in[0], *dy = node->out[0]->gradient;
    vmae_node *layer = vmae_linear_that_made(x);
    vmae_node *grad = vmae_record(g, &gelu_grad, 2, (vmae_tensor *[]){ dy, x });
    if (grad)
        grad->in_place = 0;
    vmae_add_gradient(g, x, vmae_result(g, grad, x->type, x->shape));
    if (layer && grad)
        vmae_param_gradient(g, grad, vmae_linear_take_bias(layer));
}

static const vmae_rule gelu = { "gelu", gelu_run, gelu_backward, NULL, NULL };

vmae_tensor *vmae_gelu(vmae_graph *g, vmae_tensor *x)
{
    return x ? like_first(g, &gelu, 1, &x, -1) : vmae_graph_fail(g, "gelu: an input is missing");
}

/* ---- relu ---- */

static vmae_status relu_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    (void)accumulate;
    return be->kernels->relu(be, node->out[0]->data, node->in[0]->data, node->in[0]->type, vmae_count(node->in[0]));
}

static vmae_status relu_grad_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    (void)accumulate;
    return be->kernels->relu_grad(be, node->out[0]->data, node->in[0]->data, node->in[1]->data, node->in[0]->type,
                                  vmae_count(node->in[0]));
}

static const vmae_rule relu_grad = { "relu_grad", relu_grad_run, NULL, NULL, NULL };

static void relu_backward(vmae_graph *g, vmae_node *node)
{
    vmae_add_gradient(g, node->in[0],
                      like_first(g, &relu_grad, 2, (vmae_tensor *[]){ node->out[0]->gradient, node->out[0] }, 0));
}

static const vmae_rule relu = { "relu", relu_run, relu_backward, NULL, NULL };

vmae_tensor *vmae_relu(vmae_graph *g, vmae_tensor *x)
{
    return x ? like_first(g, &relu, 1, &x, 0) : vmae_graph_fail(g, "relu: an input is missing");
}

/* ---- add ---- */

static vmae_status add_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    (void)accumulate;
    return be->kernels->add(be, node->out[0]->data, node->in[0]->data, node->in[1]->data, node->in[0]->type,
                            vmae_count(node->in[0]));
}

static void add_backward(vmae_graph *g, vmae_node *node)
{
    vmae_add_gradient(g, node->in[0], node->out[0]->gradient);
    vmae_add_gradient(g, node->in[1], node->out[0]->gradient);
}

static const vmae_rule add = { "add", add_run, add_backward, NULL, NULL };

vmae_tensor *vmae_add(vmae_graph *g, vmae_tensor *a, vmae_tensor *b)
{
    if (!a || !b)
        return vmae_graph_fail(g, "add: an input is missing");
    if (!vmae_same_shape(a->shape, b->shape) || a->type != b->type)
        return vmae_graph_fail(g, "add: a is %s, b is %s", vmae_shape_text(a->shape), vmae_shape_text(b->shape));
    return like_first(g, &add, 2, (vmae_tensor *[]){ a, b }, 0);
}

vmae_tensor *vmae_sum_of_gradients(vmae_graph *g, vmae_tensor *a, vmae_tensor *b)
{
    return vmae_add(g, a, b);
}

/* ---- a + scale[b] x[b]; inputs a (NULL: nothing), x, scale ---- */

static vmae_status add_scaled_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    (void)accumulate;
    const vmae_tensor *x = node->in[1];
    const int64_t groups = vmae_count(node->in[2]);
    return be->kernels->add_scaled(be, node->out[0]->data, vmae_data(node->in[0]), x->data, node->in[2]->data, x->type,
                                   groups, vmae_count(x) / groups);
}

static void add_scaled_backward(vmae_graph *g, vmae_node *node);
static const vmae_rule add_scaled = { "add_scaled", add_scaled_run, add_scaled_backward, NULL, NULL };

static vmae_tensor *record_add_scaled(vmae_graph *g, vmae_tensor *a, vmae_tensor *x, vmae_tensor *scale)
{
    vmae_node *node = vmae_record(g, &add_scaled, 3, (vmae_tensor *[]){ a, x, scale });
    return vmae_result(g, node, x->type, x->shape);
}

static void add_scaled_backward(vmae_graph *g, vmae_node *node)
{
    vmae_tensor *dy = node->out[0]->gradient;
    vmae_add_gradient(g, node->in[0], dy);
    if (vmae_wants(node->in[1]))
        vmae_add_gradient(g, node->in[1], record_add_scaled(g, NULL, dy, node->in[2]));
}

vmae_tensor *vmae_add_scaled(vmae_graph *g, vmae_tensor *a, vmae_tensor *x, vmae_tensor *scale)
{
    if (!a || !x || !scale)
        return vmae_graph_fail(g, "add_scaled: an input is missing");
    if (!vmae_same_shape(a->shape, x->shape) || a->type != x->type || !vmae_is_floats(scale, x->shape.dim[0]))
        return vmae_graph_fail(g, "add_scaled: a is %s, x is %s, scale is %s", vmae_shape_text(a->shape),
                               vmae_shape_text(x->shape), vmae_shape_text(scale->shape));
    return record_add_scaled(g, a, x, scale);
}

/* ---- cast ---- */

static vmae_status cast_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    (void)accumulate;
    return be->kernels->cast(be, node->out[0]->data, node->out[0]->type, node->in[0]->data, node->in[0]->type,
                             vmae_count(node->in[0]));
}

static void cast_backward(vmae_graph *g, vmae_node *node)
{
    vmae_add_gradient(g, node->in[0], vmae_cast(g, node->out[0]->gradient, node->in[0]->type));
}

static const vmae_rule cast = { "cast", cast_run, cast_backward, NULL, NULL };

vmae_tensor *vmae_cast(vmae_graph *g, vmae_tensor *x, vmae_type type)
{
    if (!x)
        return vmae_graph_fail(g, "cast: an input is missing");
    if (x->type == type)
        return x;
    return vmae_result(g, vmae_record(g, &cast, 1, &x), type, x->shape);
}

/* ---- weighted sum of two losses; inputs a, wa, b, wb. Its gradient: dy wa and dy wb, by the same kernel with one term
 * zero ---- */

static vmae_status weighted_sum_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    (void)accumulate;
    return be->kernels->weighted_sum(be, node->out[0]->data, node->in[0]->data, node->in[1]->data,
                                     vmae_data(node->in[2]), vmae_data(node->in[3]));
}

static void weighted_sum_backward(vmae_graph *g, vmae_node *node);
static const vmae_rule weighted_sum = { "weighted_sum", weighted_sum_run, weighted_sum_backward, NULL, NULL };

static void weighted_sum_backward(vmae_graph *g, vmae_node *node)
{
    vmae_tensor *dy = node->out[0]->gradient;
    for (int i = 0; i < 4; i += 2)
        if (vmae_wants(node->in[i]))
            vmae_add_gradient(
                g, node->in[i],
                like_first(g, &weighted_sum, 4, (vmae_tensor *[]){ dy, node->in[i + 1], NULL, NULL }, -1));
}

vmae_tensor *vmae_weighted_sum(vmae_graph *g, vmae_tensor *a, vmae_tensor *wa, vmae_tensor *b, vmae_tensor *wb)
{
    if (!a || !wa || !b || !wb)
        return vmae_graph_fail(g, "weighted_sum: an input is missing");
    if (!vmae_is_floats(a, 1) || !vmae_is_floats(wa, 1) || !vmae_is_floats(b, 1) || !vmae_is_floats(wb, 1))
        return vmae_graph_fail(g, "weighted_sum: every input must be a single f32 number");
    return like_first(g, &weighted_sum, 4, (vmae_tensor *[]){ a, wa, b, wb }, -1);
}

/* ---- the seed of a backward pass: ones ---- */

static vmae_status ones_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    (void)accumulate;
    return be->kernels->fill(be, node->out[0]->data, 1.0f, vmae_count(node->out[0]));
}

static const vmae_rule ones = { "ones", ones_run, NULL, NULL, NULL };

vmae_tensor *vmae_ones_like(vmae_graph *g, vmae_tensor *x)
{
    return vmae_result(g, vmae_record(g, &ones, 0, NULL), VMAE_F32, x->shape);
}
