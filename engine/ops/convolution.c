/* convolution.c -- two-dimensional convolutions of images whose channels lie last. */
#include "engine/ops/ops.h"
#include "engine/ops/rule.h"

#include <string.h>

enum { BATCH, HEIGHT, WIDTH, IN, OUT, KERNEL, STRIDE, PAD, PASS, SIZES }; /* size[] */

static vmae_convolution_shape shape_of(const vmae_node *node)
{
    const int64_t *s = node->size;
    return (vmae_convolution_shape){ node->in[0]->type, s[BATCH],  s[HEIGHT], s[WIDTH], s[IN], s[OUT],
                                     s[KERNEL],         s[STRIDE], s[PAD] };
}

/* Of all three directions: each reads two of x, w and y, and writes the third. */
static vmae_cost cost_of(const vmae_node *node)
{
    const vmae_convolution_shape shape = shape_of(node), *s = &shape;
    const double pixels = (double)(s->batch * vmae_convolved(s, s->height) * vmae_convolved(s, s->width));
    const double weights = (double)(s->out * s->kernel * s->kernel * s->in);
    const double in = (double)(s->batch * s->height * s->width * s->in);
    return (vmae_cost){ .flops = 2.0 * pixels * weights,
                        .bytes = (in + pixels * (double)s->out + weights) * (double)vmae_type_size(s->type) };
}

static vmae_status prepare(vmae_backend *be, vmae_node *node, bool accumulates)
{
    (void)accumulates;
    const vmae_convolution_shape shape = shape_of(node);
    return be->kernels->convolution_prepare(be, &shape, (vmae_convolution_pass)node->size[PASS], &node->scratch_bytes);
}

/* dx of dy, w */
static vmae_status data_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    (void)accumulate;
    const vmae_convolution_shape shape = shape_of(node);
    return be->kernels->convolution_data_grad(be, node->out[0]->data, node->scratch, node->in[0]->data,
                                              node->in[1]->data, &shape);
}

static const vmae_rule convolution_data = { "convolution_data", data_run, NULL, prepare, cost_of };

/* dw of dy, x */
static vmae_status filter_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    const vmae_convolution_shape shape = shape_of(node);
    return be->kernels->convolution_filter_grad(be, node->out[0]->data, node->scratch, node->in[0]->data,
                                                node->in[1]->data, &shape, accumulate);
}

static const vmae_rule convolution_filter = { "convolution_filter", filter_run, NULL, prepare, cost_of };

/* y of x, w */
static vmae_status convolution_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    (void)accumulate;
    const vmae_convolution_shape shape = shape_of(node);
    return be->kernels->convolution(be, node->out[0]->data, node->scratch, node->in[0]->data, node->in[1]->data,
                                    &shape);
}

static vmae_node *record_grad(vmae_graph *g, vmae_convolution_pass pass, const vmae_node *of, vmae_tensor *other)
{
    const vmae_rule *rule = pass == VMAE_CONVOLUTION_DATA ? &convolution_data : &convolution_filter;
    vmae_node *node = vmae_record(g, rule, 2, (vmae_tensor *[]){ of->out[0]->gradient, other });
    if (node) {
        memcpy(node->size, of->size, SIZES * sizeof *node->size);
        node->size[PASS] = pass;
    }
    return node;
}

static void convolution_backward(vmae_graph *g, vmae_node *node)
{
    vmae_tensor *x = node->in[0], *w = node->in[1];
    if (vmae_wants(w))
        vmae_param_gradient(g, record_grad(g, VMAE_CONVOLUTION_FILTER, node, x), w);
    if (vmae_wants(x))
        vmae_add_gradient(g, x, vmae_result(g, record_grad(g, VMAE_CONVOLUTION_DATA, node, w), x->type, x->shape));
}

static const vmae_rule convolution = { "convolution", convolution_run, convolution_backward, prepare, cost_of };

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
    const int64_t sizes[SIZES] = {
        dim[0], dim[1], dim[2], dim[3], filter[0], filter[1], stride, pad, VMAE_CONVOLUTION
    };
    memcpy(node->size, sizes, sizeof sizes);
    return vmae_result(g, node, x->type,
                       VMAE_SHAPE(dim[0], vmae_convolved(&shape, dim[1]), vmae_convolved(&shape, dim[2]), filter[0]));
}
