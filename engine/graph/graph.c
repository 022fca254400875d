/* graph.c -- recording and differentiation. Planning is in plan.c, running in run.c. */
#include "engine/graph/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

vmae_graph *vmae_graph_new(vmae_backend *be, vmae_type precision)
{
    vmae_graph *g = vmae_calloc(1, sizeof *g);
    if (!g || !(g->arena = vmae_arena_new())) {
        free(g);
        return NULL;
    }
    g->be = be;
    g->precision = precision;
    return g;
}

void vmae_graph_free(vmae_graph *g)
{
    if (!g)
        return;
    for (int i = 0; i < 2; i++)
        vmae_replay_release(g->be, &g->replay[i]);
    if (g->memory)
        g->be->release(g->be, g->memory);
    vmae_arena_free(g->arena);
    free(g->nodes);
    free(g->tensors);
    free(g);
}

vmae_type vmae_graph_precision(const vmae_graph *g)
{
    return g->precision;
}

void vmae_graph_will_accumulate(vmae_graph *g)
{
    if (!g->planned) /* products that add are prepared by the plan */
        g->accumulates = true;
}

vmae_tensor *vmae_graph_fail(vmae_graph *g, const char *format, ...)
{
    if (g->status != VMAE_OK)
        return NULL; /* the first sentence stands */
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    g->status = VMAE_EINTERNAL;
    snprintf(g->sentence, sizeof g->sentence, "%s", text);
    return NULL;
}

static void *out_of_memory(vmae_graph *g)
{
    if (g->status == VMAE_OK) {
        g->status = VMAE_ENOMEM;
        snprintf(g->sentence, sizeof g->sentence, "%s", vmae_error());
    }
    return NULL;
}

/* Grows a list of pointers by one. */
static bool push(vmae_graph *g, void ***list, size_t *count, size_t *room, void *item)
{
    if (*count == *room) {
        const size_t grown = *room ? 2 * *room : 256;
        void **moved = vmae_realloc(*list, grown, sizeof **list);
        if (!moved)
            return out_of_memory(g);
        *list = moved;
        *room = grown;
    }
    (*list)[(*count)++] = item;
    return true;
}

static vmae_tensor *new_tensor(vmae_graph *g, vmae_role role, const char *name, vmae_type type, vmae_shape shape)
{
    vmae_tensor *tensor = vmae_arena_calloc(g->arena, 1, sizeof *tensor);
    if (!tensor || !push(g, (void ***)&g->tensors, &g->tensor_count, &g->tensor_room, tensor))
        return out_of_memory(g);
    for (int i = 0; i < shape.rank; i++)
        if (shape.dim[i] < 1)
            return vmae_graph_fail(g, "%s: shape %s has an empty dimension", name, vmae_shape_text(shape));
    tensor->role = role;
    tensor->name = name;
    tensor->type = type;
    tensor->shape = shape;
    return tensor;
}

vmae_tensor *vmae_input(vmae_graph *g, const char *name, vmae_type type, vmae_shape shape)
{
    return new_tensor(g, VMAE_ROLE_INPUT, name, type, shape);
}

vmae_tensor *vmae_use_param(vmae_graph *g, const vmae_params *params, const char *name, vmae_type type)
{
    const vmae_param *param = vmae_params_find(params, name);
    if (!param)
        return vmae_graph_fail(g, "the model has no parameter %s", name);
    if (type == VMAE_BF16 && !vmae_params_copy(params))
        return vmae_graph_fail(g, "%s: the parameters have no bf16 copy", name);
    for (size_t i = 0; i < g->tensor_count; i++) {
        vmae_tensor *known = g->tensors[i];
        if (known->role == VMAE_ROLE_PARAM && known->param == param && known->type == type)
            return known;
    }
    vmae_tensor *tensor = new_tensor(g, VMAE_ROLE_PARAM, param->name, type, param->shape);
    if (!tensor)
        return NULL;
    tensor->param = param;
    tensor->wants_gradient = param->trainable && vmae_params_gradients(params);
    tensor->data = type == VMAE_BF16 ? (void *)(vmae_params_copy(params) + param->offset)
                                     : (void *)(vmae_params_values(params) + param->offset);
    if (tensor->wants_gradient && g->gradients && g->gradients != vmae_params_gradients(params))
        return vmae_graph_fail(g, "%s: the graph's trainable parameters come from two sets", name);
    if (tensor->wants_gradient)
        g->gradients = vmae_params_gradients(params);
    return tensor;
}

vmae_tensor *vmae_keep(vmae_tensor *tensor)
{
    if (tensor && !(tensor->role == VMAE_ROLE_RESULT && tensor->data)) /* planned: its memory is shared by now */
        tensor->keep = true;
    return tensor;
}

vmae_node *vmae_record(vmae_graph *g, const vmae_rule *rule, int inputs, vmae_tensor *const *in)
{
    if (g->planned)
        vmae_graph_fail(g, "%s is recorded after the graph was planned", rule->name);
    if (g->status != VMAE_OK)
        return NULL;
    vmae_node *node = vmae_arena_calloc(g->arena, 1, sizeof *node);
    if (!node || !push(g, (void ***)&g->nodes, &g->node_count, &g->node_room, node))
        return out_of_memory(g);
    node->rule = rule;
    node->number = (int)g->node_count - 1;
    node->inputs = inputs;
    node->in_place = -1;
    for (int i = 0; i < inputs; i++) {
        node->in[i] = in[i];
        if (in[i])
            in[i]->uses++;
    }
    return node;
}

vmae_tensor *vmae_result(vmae_graph *g, vmae_node *node, vmae_type type, vmae_shape shape)
{
    if (!node)
        return NULL;
    vmae_tensor *tensor = new_tensor(g, VMAE_ROLE_RESULT, node->rule->name, type, shape);
    if (!tensor)
        return NULL;
    tensor->producer = node;
    for (int i = 0; node->rule->backward && i < node->inputs; i++)
        tensor->wants_gradient |= vmae_wants(node->in[i]);
    node->out[node->outputs++] = tensor;
    return tensor;
}

static bool writes_gradient(const vmae_node *node)
{
    for (int i = 0; i < node->outputs; i++)
        if (node->out[i] && node->out[i]->role == VMAE_ROLE_GRADIENT)
            return true;
    return false;
}

vmae_tensor *vmae_param_gradient(vmae_graph *g, vmae_node *node, vmae_tensor *param)
{
    if (!node || !vmae_wants(param)) {
        if (node)
            node->outputs++; /* keeps the position: NULL */
        return NULL;
    }
    if (param->role != VMAE_ROLE_PARAM)
        return vmae_graph_fail(g, "%s: %s is computed, but stands where a parameter belongs", node->rule->name,
                               param->name);
    /* A matrix may be in use as f32 and as bf16: one gradient for both. */
    for (size_t i = 0; i < g->tensor_count && !param->gradient; i++)
        if (g->tensors[i]->role == VMAE_ROLE_GRADIENT && g->tensors[i]->param == param->param)
            param->gradient = g->tensors[i];
    const bool adds = param->gradient;
    if (writes_gradient(node) && adds != node->accumulates) /* one flag for all gradients of a node */
        return vmae_graph_fail(g, "%s: %s is used by several ops, but not together with the same parameters",
                               node->rule->name, param->name);
    if (!adds) {
        if (!(param->gradient = new_tensor(g, VMAE_ROLE_GRADIENT, param->name, VMAE_F32, param->shape)))
            return NULL;
        param->gradient->param = param->param;
        param->gradient->data = g->gradients + param->param->offset;
    }
    node->accumulates = adds;
    node->out[node->outputs++] = param->gradient;
    return param->gradient;
}

vmae_tensor *vmae_gradient_so_far(const vmae_tensor *x)
{
    return x->gradient;
}

void vmae_set_gradient(vmae_tensor *x, vmae_tensor *dx)
{
    x->gradient = dx;
}

void vmae_add_gradient(vmae_graph *g, vmae_tensor *x, vmae_tensor *dx)
{
    if (!vmae_wants(x) || !dx)
        return;
    x->gradient = x->gradient ? vmae_sum_of_gradients(g, x->gradient, dx) : dx;
}

/* An op for inference keeps nothing for a gradient: everything before it would silently get none, or a part of it. */
static void refuse_inference(vmae_graph *g)
{
    for (size_t i = 0; i < g->node_count; i++) {
        const vmae_node *node = g->nodes[i];
        for (int k = 0; !node->rule->backward && k < node->inputs; k++)
            if (vmae_wants(node->in[k]))
                vmae_graph_fail(g, "backward: %s (op %zu) has no gradient, but what it reads from %s is trainable",
                                node->rule->name, i, node->in[k]->name);
    }
}

/* A parameter as an op's x got a gradient that never reaches the flat ones. */
static void refuse_parameters_as_activations(vmae_graph *g)
{
    for (size_t i = 0; i < g->tensor_count; i++) {
        const vmae_tensor *tensor = g->tensors[i];
        if (tensor->role == VMAE_ROLE_PARAM && tensor->gradient && tensor->gradient->role != VMAE_ROLE_GRADIENT)
            vmae_graph_fail(g, "backward: parameter %s stands where only an activation gets a gradient", tensor->name);
    }
}

vmae_status vmae_graph_backward(vmae_graph *g, vmae_tensor *loss)
{
    if (!loss || g->differentiated)
        vmae_graph_fail(g, "backward: %s", loss ? "the graph is differentiated already" : "there is no loss");
    refuse_inference(g);
    if (g->status == VMAE_OK && loss && vmae_count(loss) != 1)
        vmae_graph_fail(g, "backward: the loss is %s; it must be a single number", vmae_shape_text(loss->shape));
    if (g->status == VMAE_OK && loss && !loss->wants_gradient)
        vmae_graph_fail(g, "backward: nothing trainable leads to the loss");
    if (g->status != VMAE_OK || !loss)
        return vmae_graph_check(g);
    g->differentiated = true;
    loss->gradient = vmae_ones_like(g, loss);
    const size_t forward = g->node_count;
    for (size_t i = forward; i-- > 0 && g->status == VMAE_OK;) {
        vmae_node *node = g->nodes[i];
        if (node->rule->backward && node->outputs > 0 && node->out[0] && node->out[0]->gradient &&
            node->out[0]->role == VMAE_ROLE_RESULT && node->out[0] != loss->gradient)
            node->rule->backward(g, node);
    }
    refuse_parameters_as_activations(g);
    return vmae_graph_check(g);
}

vmae_status vmae_graph_check(const vmae_graph *g)
{
    return g->status == VMAE_OK ? VMAE_OK : vmae_fail(g->status, "%s", g->sentence);
}

size_t vmae_graph_nodes(const vmae_graph *g)
{
    return g->node_count;
}

const vmae_node *vmae_graph_node(const vmae_graph *g, size_t index)
{
    return g->nodes[index];
}

const char *vmae_rule_name(const vmae_node *node)
{
    return node->rule->name;
}

vmae_cost vmae_node_cost(const vmae_node *node)
{
    if (node->rule->cost)
        return node->rule->cost(node);
    vmae_cost cost = { 0.0, 0.0 };
    for (int i = 0; i < node->inputs; i++)
        cost.bytes += node->in[i] ? (double)vmae_count(node->in[i]) * (double)vmae_type_size(node->in[i]->type) : 0.0;
    for (int i = 0; i < node->outputs; i++)
        cost.bytes +=
            node->out[i] ? (double)vmae_count(node->out[i]) * (double)vmae_type_size(node->out[i]->type) : 0.0;
    return cost;
}

double vmae_graph_flops(const vmae_graph *g)
{
    double flops = 0.0;
    for (size_t i = 0; i < g->node_count; i++)
        flops += vmae_node_cost(g->nodes[i]).flops;
    return flops;
}

double vmae_graph_bytes(const vmae_graph *g)
{
    double bytes = 0.0;
    for (size_t i = 0; i < g->node_count; i++)
        bytes += vmae_node_cost(g->nodes[i]).bytes;
    return bytes;
}
