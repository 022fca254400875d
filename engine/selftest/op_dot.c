/* op_dot.c -- sum(x * weight): the loss of every op's test. Through upload and download, so that it runs on any
 * backend. */
#include "engine/core/mem.h"
#include "engine/ops/rule.h"
#include "engine/selftest/op_case.h"

#include <stdlib.h>
#include <string.h>

/* Fresh memory, also on failure: what an op before this one refuses by value is refused here. */
static vmae_status download(vmae_backend *be, float **values, const vmae_tensor *x)
{
    const size_t count = (size_t)vmae_count(x);
    if (!(*values = vmae_calloc(count, sizeof **values)))
        return VMAE_ENOMEM;
    VMAE_TRY(be->download(be, *values, x->data, count * vmae_type_size(x->type)));
    for (size_t i = count; x->type == VMAE_BF16 && i-- > 0;) /* widened in place, from the end */
        (*values)[i] = float_of_bf16(((vmae_bf16 *)(void *)*values)[i]);
    return VMAE_OK;
}

static vmae_status dot_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    (void)accumulate;
    float *x = NULL, *weight = NULL;
    vmae_status st = download(be, &x, node->in[0]);
    if (st == VMAE_OK && (st = download(be, &weight, node->in[1])) == VMAE_OK) {
        double sum = 0.0;
        for (int64_t i = 0; i < vmae_count(node->in[0]); i++)
            sum += (double)x[i] * (double)weight[i];
        const float rounded = (float)sum;
        st = be->upload(be, node->out[0]->data, &rounded, sizeof rounded);
    }
    free(x);
    free(weight);
    return st;
}

/* dx = dloss * weight. Inputs dloss, weight. */
static vmae_status dot_grad_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    (void)accumulate;
    vmae_tensor *dx = node->out[0];
    const int64_t count = vmae_count(dx);
    float *dloss = NULL, *weight = NULL;
    vmae_status st = download(be, &dloss, node->in[0]);
    if (st == VMAE_OK)
        st = download(be, &weight, node->in[1]);
    for (int64_t i = 0; st == VMAE_OK && i < count; i++) {
        const float value = dloss[0] * weight[i];
        if (dx->type == VMAE_BF16)
            ((vmae_bf16 *)(void *)weight)[i] = bf16_of(value); /* from the start: never beyond what was read */
        else
            weight[i] = value;
    }
    if (st == VMAE_OK)
        st = be->upload(be, dx->data, weight, (size_t)count * vmae_type_size(dx->type));
    free(dloss);
    free(weight);
    return st;
}

static const vmae_rule dot_grad = { "dot_grad", dot_grad_run, NULL, NULL, NULL };

static void dot_backward(vmae_graph *g, vmae_node *node)
{
    vmae_tensor *x = node->in[0];
    vmae_node *grad = vmae_record(g, &dot_grad, 2, (vmae_tensor *[]){ node->out[0]->gradient, node->in[1] });
    if (grad)
        grad->host = true;
    vmae_add_gradient(g, x, vmae_result(g, grad, x->type, x->shape));
}

static const vmae_rule dot = { "dot", dot_run, dot_backward, NULL, NULL };

vmae_tensor *op_dot(vmae_graph *g, vmae_tensor *x, vmae_tensor *weight)
{
    if (!x || !weight)
        return vmae_graph_fail(g, "dot: an input is missing");
    if (!vmae_is_floats(weight, vmae_count(x)))
        return vmae_graph_fail(g, "dot: x is %s, weight is %s", vmae_shape_text(x->shape),
                               vmae_shape_text(weight->shape));
    vmae_node *node = vmae_record(g, &dot, 2, (vmae_tensor *[]){ x, weight });
    if (node)
        node->host = true;
    return vmae_result(g, node, VMAE_F32, VMAE_SHAPE(1));
}
