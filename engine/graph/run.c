/* run.c -- runs a planned graph; host data in and out; the search for the op that went bad. */
#include "engine/graph/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static vmae_status run_node(vmae_graph *g, const vmae_node *node, bool accumulate)
{
    return node->rule->run(g->be, node, accumulate || node->accumulates);
}

static vmae_status run_nodes(vmae_graph *g, bool accumulate)
{
    for (size_t i = 0; i < g->node_count; i++) {
        const vmae_status st = run_node(g, g->nodes[i], accumulate);
        if (st != VMAE_OK)
            return vmae_fail_in(st, "%s (op %zu)", g->nodes[i]->rule->name, i);
    }
    return VMAE_OK;
}

static vmae_status run_assigning(void *g)
{
    return run_nodes(g, false);
}

static vmae_status run_accumulating(void *g)
{
    return run_nodes(g, true);
}

vmae_status vmae_graph_run(vmae_graph *g, bool accumulate)
{
    if (!g->planned || (accumulate && !g->accumulates))
        return vmae_fail(VMAE_EINTERNAL, "the graph is run before it was planned for this");
    if (g->host)
        return run_nodes(g, accumulate);
    return vmae_replay_run(g->be, &g->replay[accumulate], accumulate ? run_accumulating : run_assigning, g);
}

/* Copies any tensor that holds data right now to host floats. */
static vmae_status read_floats(const vmae_graph *g, const vmae_tensor *tensor, float *to)
{
    const size_t count = (size_t)vmae_count(tensor);
    if (tensor->type == VMAE_F32)
        return g->be->download(g->be, to, tensor->data, count * sizeof *to);
    void *raw = vmae_calloc(count, vmae_type_size(tensor->type));
    if (!raw)
        return VMAE_ENOMEM;
    const vmae_status st = g->be->download(g->be, raw, tensor->data, count * vmae_type_size(tensor->type));
    for (size_t i = 0; st == VMAE_OK && i < count; i++) {
        if (tensor->type == VMAE_I32)
            to[i] = (float)((const int32_t *)raw)[i];
        else {
            const uint32_t bits = (uint32_t)((const vmae_bf16 *)raw)[i] << 16;
            memcpy(&to[i], &bits, sizeof bits);
        }
    }
    free(raw);
    return st;
}

/* The first element that is not finite; *at is -1 where all are. */
static vmae_status find_bad(const vmae_graph *g, const vmae_tensor *tensor, int64_t *at, float *value)
{
    const int64_t count = vmae_count(tensor);
    float *values = vmae_calloc((size_t)count, sizeof *values);
    if (!values)
        return VMAE_ENOMEM;
    const vmae_status st = read_floats(g, tensor, values);
    *at = -1;
    for (int64_t i = 0; st == VMAE_OK && *at < 0 && i < count; i++)
        if (!isfinite(values[i]))
            *value = values[*at = i];
    free(values);
    return st;
}

/* The parameter that a reader should look at: the first that is not finite itself, else the first. */
static vmae_status suspect(const vmae_graph *g, const vmae_node *node, const vmae_tensor **param, bool *bad)
{
    float value;
    *param = NULL;
    *bad = false;
    for (int k = 0; k < node->inputs && !*bad; k++) {
        const vmae_tensor *in = node->in[k];
        int64_t at;
        if (!in || in->role != VMAE_ROLE_PARAM)
            continue;
        VMAE_TRY(find_bad(g, in, &at, &value));
        *bad = at >= 0;
        *param = *param && !*bad ? *param : in;
    }
    return VMAE_OK;
}

static vmae_status check_finite(const vmae_graph *g, const vmae_node *node, const vmae_tensor *tensor)
{
    float value = 0.0f;
    int64_t at;
    VMAE_TRY(find_bad(g, tensor, &at, &value));
    if (at < 0)
        return VMAE_OK;
    bool bad;
    const vmae_tensor *param;
    VMAE_TRY(suspect(g, node, &param, &bad));
    return vmae_fail(VMAE_EDIVERGED, "op %d, %s%s%s%s, is the first whose result %s is not finite (%g at element %lld)",
                     node->number, node->rule->name, param ? " of " : "", param ? param->name : "",
                     bad ? " (itself not finite)" : "", vmae_shape_text(tensor->shape), (double)value, (long long)at);
}

vmae_status vmae_graph_find_nonfinite(vmae_graph *g)
{
    if (!g->planned)
        return vmae_fail(VMAE_EINTERNAL, "the graph is run before it was planned for this");
    for (size_t i = 0; i < g->node_count; i++) {
        const vmae_node *node = g->nodes[i];
        VMAE_TRY(run_node(g, node, false));
        for (int k = 0; k < node->outputs; k++)
            if (node->out[k] && node->out[k]->type != VMAE_I32)
                VMAE_TRY(check_finite(g, node, node->out[k]));
    }
    return VMAE_OK;
}

vmae_status vmae_tensor_write(vmae_graph *g, vmae_tensor *tensor, const void *from, int64_t count)
{
    if (!tensor->data || tensor->role != VMAE_ROLE_INPUT || count != vmae_count(tensor))
        return vmae_fail(VMAE_EINTERNAL, "%s %s cannot take %lld elements", tensor->name,
                         vmae_shape_text(tensor->shape), (long long)count);
    return g->be->upload(g->be, tensor->data, from, (size_t)count * vmae_type_size(tensor->type));
}

vmae_status vmae_tensor_read(vmae_graph *g, const vmae_tensor *tensor, float *to, int64_t count)
{
    if (!tensor->data || (tensor->role == VMAE_ROLE_RESULT && !tensor->keep) || count != vmae_count(tensor))
        return vmae_fail(VMAE_EINTERNAL, "%s %s cannot be read as %lld elements", tensor->name,
                         vmae_shape_text(tensor->shape), (long long)count);
    return read_floats(g, tensor, to);
}
