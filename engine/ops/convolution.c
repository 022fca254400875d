/* convolution.c -- two-dimensional convolutions of images whose channels lie last. */
#include "engine/ops/ops.h"
#include "engine/ops/rule.h"

enum { HEIGHT, WIDTH, STRIDE, PAD };

/* x [B, H, W, C] and w [N, k, k, C], of which a gradient's node has one or neither: `in` channels, `out` of them. */
static vmae_convolution_shape shape_of(const vmae_node *node, vmae_type type, int64_t batch, int64_t in, int64_t out,
                                       int64_t kernel)
{
    const int64_t *s = node->size;
    return (vmae_convolution_shape){ type, batch, s[HEIGHT], s[WIDTH], in, out, kernel, s[STRIDE], s[PAD] };
}

static vmae_convolution_shape forward_shape(const vmae_node *node)
{
    const int64_t *x = node->in[0]->shape.dim, *w = node->in[1]->shape.dim;
    return shape_of(node, node->in[0]->type, x[0], x[3], w[0], w[1]);
}

/* Inputs dy, w. */
static vmae_convolution_shape data_shape(const vmae_node *node)
{
    const int64_t *dy = node->in[0]->shape.dim, *w = node->in[1]->shape.dim;
    return shape_of(node, node->in[0]->type, dy[0], w[3], w[0], w[1]);
}

/* Inputs dy, x; output dw. */
static vmae_convolution_shape filter_shape(const vmae_node *node)
{
    const int64_t *dy = node->in[0]->shape.dim, *x = node->in[1]->shape.dim;
    return shape_of(node, node->in[0]->type, dy[0], x[3], dy[3], node->out[0]->shape.dim[1]);
}

static vmae_cost cost_of(const vmae_convolution_shape *s)
{
    const double pixels = (double)(s->batch * vmae_convolved(s, s->height) * vmae_convolved(s, s->width));
    const double weights = (double)(s->out * s->kernel * s->kernel * s->in);
    const double in = (double)(s->batch * s->height * s->width * s->in);
    return (vmae_cost){ .flops = 2.0 * pixels * weights,
                        .bytes = (in + pixels * (double)s->out + weights) * (double)vmae_type_size(s->type) };
}

/* ---- dx ---- */

static vmae_status data_prepare(vmae_backend *be, vmae_node *node, bool accumulates)
{
    (void)accumulates;
    const vmae_convolution_shape shape = data_shape(node);
    return be->kernels->convolution_prepare(be, &shape, VMAE_CONVOLUTION_DATA, &node->scratch_bytes);
}

static vmae_status data_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    (void)accumulate;
    const vmae_convolution_shape shape = data_shape(node);
    return be->kernels->convolution_data_grad(be, node->out[0]->data, node->scratch, node->in[0]->data,
                                              node->in[1]->data, &shape);
}

static vmae_cost data_cost(const vmae_node *node)
{
    const vmae_convolution_shape shape = data_shape(node);
    return cost_of(&shape);
}

static const vmae_rule convolution_data = { "convolution_data", data_run, NULL, data_prepare, data_cost };

/* ---- dw ---- */

static vmae_status filter_prepare(vmae_backend *be, vmae_node *node, bool accumulates)
{
    (void)accumulates;
    const vmae_convolution_shape shape = filter_shape(node);
    return be->kernels->convolution_prepare(be, &shape, VMAE_CONVOLUTION_FILTER, &node->scratch_bytes);
}

static vmae_status filter_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    const vmae_convolution_shape shape = filter_shape(node);
    return be->kernels->convolution_filter_grad(be, node->out[0]->data, node->scratch, node->in[0]->data,
                                                node->in[1]->data, &shape, accumulate);
}

static vmae_cost filter_cost(const vmae_node *node)
{
    const vmae_convolution_shape shape = filter_shape(node);
    return cost_of(&shape);
}

static const vmae_rule convolution_filter = { "convolution_filter", filter_run, NULL, filter_prepare, filter_cost };

/* ---- y ---- */

static vmae_status convolution_prepare(vmae_backend *be, vmae_node *node, bool accumulates)
{
    (void)accumulates;
    const vmae_convolution_shape shape = forward_shape(node);
    return be->kernels->convolution_prepare(be, &shape, VMAE_CONVOLUTION, &node->scratch_bytes);
}

static vmae_status convolution_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    (void)accumulate;
    const vmae_convolution_shape shape = forward_shape(node);
    return be->kernels->convolution(be, node->out[0]->data, node->scratch, node->in[0]->data, node->in[1]->data,
                                    &shape);
}

static vmae_cost convolution_cost(const vmae_node *node)
{
    const vmae_convolution_shape shape = forward_shape(node);
    return cost_of(&shape);
}

static vmae_node *record_grad(vmae_graph *g, const vmae_rule *rule, const vmae_node *of, vmae_tensor *other)
{
    vmae_node *node = vmae_record(g, rule, 2, (vmae_tensor *[]){ of->out[0]->gradient, other });
    for (int i = 0; node && i <= PAD; i++)
        node->size[i] = of->size[i];
    return node;
}

static void convolution_backward(vmae_graph *g, vmae_node *node)
{
    vmae_tensor *x = node->in[0], *w = node->in[1];
    if (vmae_wants(w))
        vmae_param_gradient(g, record_grad(g, &convolution_filter, node, x), w);
    if (vmae_wants(x))
        vmae_add_gradient(g, x, vmae_result(g, record_grad(g, &convolution_data, node, w), x->type, x->shape));
}

static const vmae_rule convolution = { "convolution", convolution_run, convolution_backward, convolution_prepare,
                                       convolution_cost };

vmae_tensor *vmae_convolution(vmae_graph *g, vmae_tensor *x, vmae_tensor *w, int64_t stride, int64_t pad)
{
    if (!x || !w)
        return vmae_graph_fail(g, "convolution: an input is missing");
    const int64_t *dim = x->shape.dim, *filter = w->shape.dim;
    if (x->shape.rank != 4 || w->shape.rank != 4 || filter[1] != filter[2] || filter[3] != dim[3] || w->type != x->type)
        return vmae_graph_fail(g, "convolution: x is %s, weight %s is %s; they must be [B, H, W, C] and [N, k, k, C]",
                               vmae_shape_text(x->shape), w->name, vmae_shape_text(w->shape));
    const vmae_convolution_shape shape = { x->type, dim[0], dim[1], dim[2], dim[3], filter[0], filter[1], stride, pad };
    if (stride < 1 || pad < 0 || vmae_convolved(&shape, dim[1]) < 1 || vmae_convolved(&shape, dim[2]) < 1)
        return vmae_graph_fail(g, "convolution: a kernel of %lld, stride %lld and padding %lld leave nothing of %s",
                               (long long)filter[1], (long long)stride, (long long)pad, vmae_shape_text(x->shape));
    vmae_node *node = vmae_record(g, &convolution, 2, (vmae_tensor *[]){ x, w });
    if (!node)
        return NULL;
    node->size[HEIGHT] = dim[1];
    node->size[WIDTH] = dim[2];
    node->size[STRIDE] = stride;
    node->size[PAD] = pad;
    return vmae_result(g, node, x->type,
                       VMAE_SHAPE(dim[0], vmae_convolved(&shape, dim[1]), vmae_convolved(&shape, dim[2]), filter[0]));
}
