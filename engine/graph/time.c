/* time.c -- how long each node of a planned graph takes, one at a time. */
#include "engine/graph/internal.h"

#include "engine/core/log.h"

vmae_status vmae_graph_time(vmae_graph *g, int repeats, vmae_node_visitor *visit, void *context)
{
    if (!g->planned)
        return vmae_fail(VMAE_EINTERNAL, "the graph is timed before it was planned");
    for (size_t i = 0; i < g->node_count; i++) {
        const vmae_node *node = g->nodes[i];
        VMAE_TRY(node->rule->run(g->be, node, node->accumulates)); /* the first is slower */
        VMAE_TRY(g->be->synchronize(g->be));
        const double start = vmae_seconds();
        for (int k = 0; k < repeats; k++)
            VMAE_TRY(node->rule->run(g->be, node, node->accumulates));
        VMAE_TRY(g->be->synchronize(g->be));
        visit(context, node, (vmae_seconds() - start) / repeats);
    }
    return VMAE_OK;
}
