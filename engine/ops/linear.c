/* linear.c -- linear layers: y = x w^T + b, with the residual added in the same product. */
#include "engine/ops/linear.h"

#include "engine/ops/ops.h"
#include "engine/ops/rule.h"

/* size[0]: the bias gradient is made elsewhere (by gelu_grad, in the pass that makes dy). */
enum { BIAS_GRADIENT_DONE = 0 };

static vmae_cost product_cost(const vmae_node *node, double m, double n, double k)
{
    const double in = (double)vmae_type_size(node->in[0]->type), out = (double)vmae_type_size(node->out[0]->type);
    return (vmae_cost){ .flops = 2.0 * m * n * k, .bytes = in * (m * k + n * k) + out * m * n };
}

/* ---- y = x w^T + b (+ residual); inputs x, w, b, residual ---- */

static vmae_status linear_prepare_as(vmae_backend *be, vmae_node *node, bool gelu)
{
    const vmae_tensor *x = node->in[0], *w = node->in[1];
    const vmae_matmul_shape shape = { .m = vmae_rows(x),
                                      .n = w->shape.dim[0],
                                      .k = vmae_last_dim(x),
                                      .trans_b = true,
                                      .in = x->type,
                                      .out = node->out[0]->type,
                                      .bias = node->in[2],
                                      .gelu = gelu,
                                      .residual = node->in[3] };
    VMAE_TRY(be->matmul_new(be, (vmae_matmul **)&node->matmul[0], &shape));
    node->scratch_bytes = be->matmul_workspace(node->matmul[0]);
    return VMAE_OK;
}

static vmae_status linear_prepare(vmae_backend *be, vmae_node *node, bool accumulates)
{
    (void)accumulates;
    return linear_prepare_as(be, node, false);
}

static vmae_status linear_gelu_prepare(vmae_backend *be, vmae_node *node, bool accumulates)
{
    (void)accumulates;
    return linear_prepare_as(be, node, true);
}

static vmae_status linear_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    (void)accumulate;
    return be->matmul(be, node->matmul[0], node->out[0]->data, node->in[0]->data, node->in[1]->data,
                      vmae_data(node->in[2]), vmae_data(node->in[3]), node->scratch);
}

static vmae_cost linear_cost(const vmae_node *node)
{
    const double m = (double)vmae_rows(node->in[0]), n = (double)node->in[1]->shape.dim[0];
    vmae_cost cost = product_cost(node, m, n, (double)vmae_last_dim(node->in[0]));
    if (node->in[3]) /* the residual */
        cost.bytes += m * n * (double)vmae_type_size(node->in[3]->type);
    return cost;
}

/* ---- dx = dy w; inputs dy, w ---- */

static vmae_status linear_dx_prepare(vmae_backend *be, vmae_node *node, bool accumulates)
{
    (void)accumulates;
    const vmae_tensor *dy = node->in[0], *w = node->in[1];
    const vmae_matmul_shape shape = { .m = vmae_rows(dy),
                                      .n = vmae_count(w) / w->shape.dim[0],
                                      .k = w->shape.dim[0],
                                      .in = dy->type,
                                      .out = node->out[0]->type };
    VMAE_TRY(be->matmul_new(be, (vmae_matmul **)&node->matmul[0], &shape));
    node->scratch_bytes = be->matmul_workspace(node->matmul[0]);
    return VMAE_OK;
}

static vmae_status linear_dx_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    (void)accumulate;
    return be->matmul(be, node->matmul[0], node->out[0]->data, node->in[0]->data, node->in[1]->data, NULL, NULL,
                      node->scratch);
}

static vmae_cost linear_dx_cost(const vmae_node *node)
{
    const vmae_tensor *w = node->in[1];
    return product_cost(node, (double)vmae_rows(node->in[0]), (double)(vmae_count(w) / w->shape.dim[0]),
                        (double)w->shape.dim[0]);
}

static const vmae_rule linear_dx = { "linear_dx", linear_dx_run, NULL, linear_dx_prepare, linear_dx_cost };

/* ---- dw = dy^T x; inputs dy, x; output the parameter's gradient ---- */

static vmae_status linear_dw_prepare(vmae_backend *be, vmae_node *node, bool accumulates)
{
    const vmae_tensor *dy = node->in[0], *x = node->in[1];
    vmae_matmul_shape shape = { .m = vmae_last_dim(dy),
                                .n = vmae_last_dim(x),
                                .k = vmae_rows(x),
                                .trans_a = true,
                                .in = dy->type,
                                .out = VMAE_F32 };
    VMAE_TRY(be->matmul_new(be, (vmae_matmul **)&node->matmul[0], &shape));
    node->scratch_bytes = be->matmul_workspace(node->matmul[0]);
    if (accumulates) {
        shape.accumulate = true;
        VMAE_TRY(be->matmul_new(be, (vmae_matmul **)&node->matmul[1], &shape));
        const size_t bytes = be->matmul_workspace(node->matmul[1]);
        node->scratch_bytes = bytes > node->scratch_bytes ? bytes : node->scratch_bytes;
    }
    return VMAE_OK;
}

static vmae_status linear_dw_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    return be->matmul(be, node->matmul[accumulate], node->out[0]->data, node->in[0]->data, node->in[1]->data, NULL,
                      NULL, node->scratch);
}

static vmae_cost linear_dw_cost(const vmae_node *node)
{
    return product_cost(node, (double)vmae_last_dim(node->in[0]), (double)vmae_last_dim(node->in[1]),
                        (double)vmae_rows(node->in[1]));
}

static const vmae_rule linear_dw = { "linear_dw", linear_dw_run, NULL, linear_dw_prepare, linear_dw_cost };

/* ---- db = column sums of dy ---- */

static vmae_status column_sum_prepare(vmae_backend *be, vmae_node *node, bool accumulates)
{
    (void)be, (void)accumulates;
    node->scratch_bytes = (size_t)be->sum_blocks * (size_t)vmae_last_dim(node->in[0]) * sizeof(float);
    return VMAE_OK;
}

static vmae_status column_sum_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    const vmae_tensor *dy = node->in[0];
    return be->kernels->column_sum(be, node->out[0]->data, node->scratch, dy->data, dy->type, vmae_rows(dy),
                                   vmae_last_dim(dy), accumulate);
}

static const vmae_rule column_sum = { "column_sum", column_sum_run, NULL, column_sum_prepare, NULL };

/* ---- the backward rule ---- */

static void linear_backward(vmae_graph *g, vmae_node *node)
{
    vmae_tensor *x = node->in[0], *w = node->in[1], *b = node->in[2], *residual = node->in[3];
    vmae_tensor *dy = node->out[0]->gradient;
    vmae_add_gradient(g, residual, dy);
    if (vmae_wants(b) && !node->size[BIAS_GRADIENT_DONE])
        vmae_param_gradient(g, vmae_record(g, &column_sum, 1, &dy), b);
    dy = vmae_cast(g, dy, x->type); /* a f32 result of a bf16 product */
    if (vmae_wants(w))
        vmae_param_gradient(g, vmae_record(g, &linear_dw, 2, (vmae_tensor *[]){ dy, x }), w);
    if (vmae_wants(x))
        vmae_add_gradient(g, x,
                          vmae_result(g, vmae_record(g, &linear_dx, 2, (vmae_tensor *[]){ dy, w }), x->type, x->shape));
}

static const vmae_rule linear = { "linear", linear_run, linear_backward, linear_prepare, linear_cost };
static const vmae_rule linear_gelu = { "linear_gelu", linear_run, NULL, linear_gelu_prepare, linear_cost };

vmae_node *vmae_linear_that_made(const vmae_tensor *y)
{
    vmae_node *node = y->producer;
    return node && node->rule == &linear && vmae_wants(node->in[2]) && y->uses == 1 ? node : NULL;
}

vmae_tensor *vmae_linear_take_bias(vmae_node *node)
{
    node->size[BIAS_GRADIENT_DONE] = 1;
    return node->in[2];
}

static vmae_tensor *record(vmae_graph *g, const vmae_rule *rule, vmae_tensor *x, vmae_tensor *w, vmae_tensor *b,
                           vmae_tensor *residual, vmae_type out)
{
    if (!x || !w)
        return vmae_graph_fail(g, "%s: an input is missing", rule->name);
    vmae_shape shape = x->shape;
    shape.dim[shape.rank - 1] = w->shape.dim[0];
    /* A convolution's weight [N, C, p, p] is a matrix [N, C p p] here. */
    if (vmae_count(w) / w->shape.dim[0] != vmae_last_dim(x) || w->type != x->type)
        return vmae_graph_fail(g, "linear: x is %s, weight %s is %s", vmae_shape_text(x->shape), w->name,
                               vmae_shape_text(w->shape));
    if (out != VMAE_F32 && out != x->type)
        return vmae_graph_fail(g, "%s: a product of f32 gives f32", rule->name);
    if ((b && !vmae_is_floats(b, w->shape.dim[0])) ||
        (residual && (!vmae_same_shape(residual->shape, shape) || residual->type != out)))
        return vmae_graph_fail(g, "linear: the result is %s, bias is %s, residual is %s", vmae_shape_text(shape),
                               b ? vmae_shape_text(b->shape) : "absent",
                               residual ? vmae_shape_text(residual->shape) : "absent");
    return vmae_result(g, vmae_record(g, rule, 4, (vmae_tensor *[]){ x, w, b, residual }), out, shape);
}

vmae_tensor *vmae_linear(vmae_graph *g, vmae_tensor *x, vmae_tensor *w, vmae_tensor *b, vmae_tensor *residual,
                         vmae_type out)
{
    return record(g, &linear, x, w, b, residual, out);
}

vmae_tensor *vmae_linear_gelu(vmae_graph *g, vmae_tensor *x, vmae_tensor *w, vmae_tensor *b)
{
    return record(g, &linear_gelu, x, w, b, NULL, vmae_graph_precision(g));
}
