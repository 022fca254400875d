/* plan.c -- lifetimes, and one arena for everything.
 *
 * A result lives from the node that writes it to the last that reads it; scratch lives during its node. Blocks are
 * placed in order of falling size at the lowest offset where they fit between all blocks placed before whose lifetimes
 * overlap theirs (greedy by size, as in Pisarchyk and Lee 2020, "Efficient memory management for deep neural net
 * inference", algorithm 3). */
#include "engine/graph/internal.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGN = 64 };

typedef struct block {
    size_t bytes, offset;
    int first, last;
    vmae_tensor *tensor; /* NULL: scratch of node `first` */
} block;

static size_t round_up(size_t bytes)
{
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

static size_t tensor_bytes(const vmae_tensor *tensor)
{
    return round_up((size_t)vmae_count(tensor) * vmae_type_size(tensor->type));
}

static void find_lifetimes(vmae_graph *g)
{
    const int end = (int)g->node_count;
    for (size_t i = 0; i < g->tensor_count; i++) {
        vmae_tensor *tensor = g->tensors[i];
        tensor->first = tensor->role == VMAE_ROLE_INPUT ? -1 : tensor->producer ? tensor->producer->number : -1;
        tensor->last = tensor->keep || tensor->role == VMAE_ROLE_INPUT ? end : tensor->first;
    }
    for (size_t i = 0; i < g->node_count; i++)
        for (int k = 0; k < g->nodes[i]->inputs; k++)
            if (g->nodes[i]->in[k] && g->nodes[i]->in[k]->last < (int)i)
                g->nodes[i]->in[k]->last = (int)i;
}

/* The tensor in whose memory x lies. */
static vmae_tensor *owner(vmae_tensor *x)
{
    while (x->shares)
        x = x->shares;
    return x;
}

/* Lets an output take over the memory of an input of the same size that nobody needs afterwards. */
static void share_memory(vmae_graph *g)
{
    for (size_t i = 0; i < g->node_count; i++) {
        vmae_node *node = g->nodes[i];
        if (node->in_place < 0 || !node->in[node->in_place] || !node->out[0])
            continue;
        vmae_tensor *from = node->in[node->in_place], *to = node->out[0], *place = owner(from);
        if (from->role != VMAE_ROLE_RESULT || to->role != VMAE_ROLE_RESULT || place->last != (int)i ||
            tensor_bytes(from) != tensor_bytes(to))
            continue;
        bool twice = false; /* read through another input of the same node, too */
        for (int k = 0; k < node->inputs; k++)
            twice |= k != node->in_place && node->in[k] && node->in[k]->role == VMAE_ROLE_RESULT &&
                     owner(node->in[k]) == place;
        if (twice)
            continue;
        to->shares = place;
        place->last = to->last;
    }
}

static size_t collect_blocks(const vmae_graph *g, block *blocks)
{
    size_t count = 0;
    for (size_t i = 0; i < g->tensor_count; i++) {
        vmae_tensor *tensor = g->tensors[i];
        if ((tensor->role == VMAE_ROLE_RESULT || tensor->role == VMAE_ROLE_INPUT) && !tensor->shares)
            blocks[count++] = (block){ tensor_bytes(tensor), 0, tensor->first, tensor->last, tensor };
    }
    for (size_t i = 0; i < g->node_count; i++)
        if (g->nodes[i]->scratch_bytes)
            blocks[count++] = (block){ round_up(g->nodes[i]->scratch_bytes), 0, (int)i, (int)i, NULL };
    return count;
}

static int by_falling_size(const void *a, const void *b)
{
    const block *x = a, *y = b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return (x->first > y->first) - (x->first < y->first);
}

static int by_offset(const void *a, const void *b)
{
    const block *x = *(block *const *)a, *y = *(block *const *)b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

/* Gives blocks[n] the lowest offset free among blocks[0..n); returns its end. */
static size_t place(block *blocks, size_t n, block **overlapping)
{
    block *self = &blocks[n];
    size_t count = 0, offset = 0;
    for (size_t i = 0; i < n; i++)
        if (blocks[i].first <= self->last && self->first <= blocks[i].last)
            overlapping[count++] = &blocks[i];
    qsort(overlapping, count, sizeof *overlapping, by_offset);
    for (size_t i = 0; i < count; i++) {
        if (overlapping[i]->offset >= offset + self->bytes)
            break;
        if (overlapping[i]->offset + overlapping[i]->bytes > offset)
            offset = overlapping[i]->offset + overlapping[i]->bytes;
    }
    self->offset = offset;
    return offset + self->bytes;
}

static void assign_pointers(vmae_graph *g, const block *blocks, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char *data = (char *)g->memory + blocks[i].offset;
        if (blocks[i].tensor)
            blocks[i].tensor->data = data;
        else
            g->nodes[blocks[i].first]->scratch = data;
    }
    for (size_t i = 0; i < g->tensor_count; i++)
        if (g->tensors[i]->shares)
            g->tensors[i]->data = owner(g->tensors[i])->data;
}

static vmae_status lay_out_memory(vmae_graph *g)
{
    const size_t most = g->tensor_count + g->node_count;
    block *blocks = vmae_calloc(most, sizeof *blocks), **overlapping = vmae_calloc(most, sizeof *overlapping);
    vmae_status st = blocks && overlapping ? VMAE_OK : VMAE_ENOMEM;
    if (st == VMAE_OK) {
        const size_t count = collect_blocks(g, blocks);
        qsort(blocks, count, sizeof *blocks, by_falling_size);
        for (size_t i = 0; i < count; i++) {
            const size_t end = place(blocks, i, overlapping);
            g->memory_bytes = end > g->memory_bytes ? end : g->memory_bytes;
        }
        st = g->be->allocate(g->be, &g->memory, g->memory_bytes);
        if (st == VMAE_OK)
            assign_pointers(g, blocks, count);
    }
    free(blocks);
    free(overlapping);
    return st;
}

vmae_status vmae_graph_plan(vmae_graph *g)
{
    VMAE_TRY(vmae_graph_check(g));
    if (g->planned)
        return vmae_fail(VMAE_EINTERNAL, "the graph is planned already");
    for (size_t i = 0; i < g->node_count; i++) {
        vmae_node *node = g->nodes[i];
        g->host |= node->host;
        if (node->rule->prepare)
            VMAE_TRY(node->rule->prepare(g->be, node, g->accumulates || node->accumulates));
    }
    find_lifetimes(g);
    share_memory(g);
    VMAE_TRY(lay_out_memory(g));
    g->planned = true;
    return VMAE_OK;
}

size_t vmae_graph_memory(const vmae_graph *g)
{
    return g->memory_bytes;
}
