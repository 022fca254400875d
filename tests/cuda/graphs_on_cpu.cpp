/* graphs_on_cpu.cpp -- CUDA graphs by stream capture: what is queued on a captured stream becomes a node behind those
 * before it; an event carries the order to other streams, which then are captured, too. What cannot be recorded is
 * refused with CUDA's code, and the capture is lost, as it would be on a GPU.
 *
 * Stricter than CUDA in two places: pageable memory in a copy and a graph launched into a capture are refused. */
#include "runtime_on_cpu.h"

#include <algorithm>

using namespace coc;

struct CUgraph_st {
    std::shared_ptr<const std::vector<Node>> nodes;
    bool destroyed = false;
};
struct CUgraphExec_st {
    std::shared_ptr<const std::vector<Node>> nodes;
    Ticket last; /* launch: a graph does not run beside itself */
    bool destroyed = false;
};

namespace
{

std::vector<CUgraph_st *> &graphs = *new std::vector<CUgraph_st *>; /* never destroyed: the list of leaks comes last */
std::vector<CUgraphExec_st *> &execs = *new std::vector<CUgraphExec_st *>;

/* Whether everything that other streams recorded comes before what the origin recorded last. */
bool is_joined(const Capture &c)
{
    std::vector<bool> before(c.nodes.size());
    std::vector<unsigned> open = c.origin->frontier;
    while (!open.empty()) {
        const unsigned i = open.back();
        open.pop_back();
        if (before[i])
            continue;
        before[i] = true;
        open.insert(open.end(), c.nodes[i].after.begin(), c.nodes[i].after.end());
    }
    for (const CUstream_st *q : c.streams)
        for (unsigned i : q->frontier)
            if (!before[i])
                return false;
    return true;
}

void end(const std::shared_ptr<Capture> &c)
{
    for (CUstream_st *q : c->streams) {
        q->capture = nullptr;
        q->frontier.clear();
    }
    captures.erase(std::find(captures.begin(), captures.end(), c));
}

} // namespace

namespace coc
{

std::vector<std::shared_ptr<Capture>> &captures = *new std::vector<std::shared_ptr<Capture>>;

unsigned long thread_number()
{
    static unsigned long threads;
    static thread_local unsigned long number;
    return number ? number : number = ++threads;
}

cudaError_t refuse_capture(Capture &c, cudaError_t code)
{
    if (c.invalid)
        return cudaErrorStreamCaptureInvalidated;
    c.invalid = true;
    return code;
}

cudaError_t refuse_all_captures()
{
    cudaError_t error = cudaSuccess;
    for (const std::shared_ptr<Capture> &c : captures)
        error = refuse_capture(*c, cudaErrorStreamCaptureUnsupported);
    return error;
}

cudaError_t refuse_legacy()
{
    cudaError_t error = cudaSuccess;
    for (const std::shared_ptr<Capture> &c : captures)
        for (const CUstream_st *q : c->streams)
            if (q->blocking && error == cudaSuccess)
                error = refuse_capture(*c, cudaErrorStreamCaptureImplicit);
    return error;
}

cudaError_t refuse_unsafe()
{
    cudaError_t error = cudaSuccess;
    for (const std::shared_ptr<Capture> &c : captures) {
        const bool own = c->thread == thread_number() && c->mode != cudaStreamCaptureModeRelaxed,
                   others = c->thread != thread_number() && c->mode == cudaStreamCaptureModeGlobal;
        if (own || others)
            error = refuse_capture(*c, cudaErrorStreamCaptureUnsupported);
    }
    return error;
}

cudaError_t record(CUstream_st &q, const Operation &operation)
{
    Capture &c = *q.capture;
    if (c.invalid)
        return cudaErrorStreamCaptureInvalidated;
    if (operation.launch)
        return refuse_capture(c, cudaErrorStreamCaptureUnsupported);
    c.nodes.push_back({ operation.run, q.frontier });
    q.frontier.assign(1, (unsigned)c.nodes.size() - 1);
    return cudaSuccess;
}

/* A stream waits for an event that was recorded in a captured stream: it is captured from now on, too. */
cudaError_t join_capture(CUstream_st &q, const std::shared_ptr<Capture> &c, const std::vector<unsigned> &nodes)
{
    if (std::find(captures.begin(), captures.end(), c) == captures.end())
        return cudaErrorCapturedEvent; /* that capture has ended: the event stands for nothing */
    if (c->invalid)
        return cudaErrorStreamCaptureInvalidated;
    if (is_legacy(q))
        return refuse_capture(*c, cudaErrorStreamCaptureImplicit);
    if (q.capture && q.capture != c) {
        (void)refuse_capture(*q.capture, cudaErrorStreamCaptureMerge); /* both are lost; one code is returned */
        return refuse_capture(*c, cudaErrorStreamCaptureMerge);
    }
    if (!q.capture) {
        q.capture = c;
        c->streams.push_back(&q);
    }
    for (unsigned i : nodes)
        if (std::find(q.frontier.begin(), q.frontier.end(), i) == q.frontier.end())
            q.frontier.push_back(i);
    return cudaSuccess;
}

std::string graph_leaks(int *count)
{
    std::string text;
    for (const CUgraph_st *g : graphs)
        if (!g->destroyed)
            text += "  a graph\n", ++*count;
    for (const CUgraphExec_st *e : execs)
        if (!e->destroyed)
            text += "  an executable graph\n", ++*count;
    return text;
}

} // namespace coc

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode)
{
    return api(Call::plain, [&] {
        CUstream_st *q = stream_of(stream);
        if (!q)
            return cudaErrorInvalidResourceHandle;
        if (is_legacy(*q))
            return cudaErrorStreamCaptureUnsupported;
        if ((unsigned)mode > (unsigned)cudaStreamCaptureModeRelaxed)
            return cudaErrorInvalidValue;
        if (q->capture)
            return cudaErrorIllegalState;
        const std::shared_ptr<Capture> c = std::make_shared<Capture>();
        c->mode = mode;
        c->thread = thread_number();
        c->origin = q;
        c->streams.push_back(q);
        q->capture = c;
        captures.push_back(c);
        return cudaSuccess;
    });
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
    return api(Call::even_after_a_fault, [&] {
        CUstream_st *q = stream_of(stream);
        if (!q || !graph)
            return q ? cudaErrorInvalidValue : cudaErrorInvalidResourceHandle;
        *graph = nullptr;
        const std::shared_ptr<Capture> c = q->capture;
        if (!c)
            return cudaErrorIllegalState;
        if (c->mode != cudaStreamCaptureModeRelaxed && c->thread != thread_number())
            return cudaErrorStreamCaptureWrongThread;
        if (c->origin != q)
            return refuse_capture(*c, cudaErrorStreamCaptureUnmatched);
        const bool joined = is_joined(*c);
        end(c);
        if (c->invalid)
            return cudaErrorStreamCaptureInvalidated;
        if (!joined)
            return cudaErrorStreamCaptureUnjoined;
        CUgraph_st *g = new CUgraph_st;
        g->nodes = std::make_shared<const std::vector<Node>>(std::move(c->nodes));
        graphs.push_back(g);
        *graph = g;
        return cudaSuccess;
    });
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long flags)
{
    return api(Call::plain, [&] {
        const CUgraph_st *g = live(graphs, graph);
        if (!exec || !g || flags)
            return cudaErrorInvalidValue;
        CUgraphExec_st *e = new CUgraphExec_st;
        e->nodes = g->nodes;
        execs.push_back(e);
        *exec = e;
        return cudaSuccess;
    });
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    return api(Call::plain, [&] {
        CUgraphExec_st *e = live(execs, exec);
        if (!e)
            return cudaErrorInvalidValue;
        Operation o;
        o.launch = std::make_shared<Launch>();
        o.launch->nodes = e->nodes;
        o.launch->done.resize(e->nodes->size());
        o.launch->left = e->nodes->size();
        o.changes_host = true;
        if (e->last)
            o.after.push_back(e->last);
        return submit(stream, std::move(o), &e->last);
    });
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    return api(Call::even_after_a_fault, [&] {
        CUgraph_st *g = live(graphs, graph);
        if (!g)
            return cudaErrorInvalidValue;
        g->destroyed = true;
        g->nodes = nullptr;
        return cudaSuccess;
    });
}

/* While a launch is queued its nodes live on, but a GPU's need not: that is a fault of the caller. */
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    return api(Call::even_after_a_fault, [&] {
        CUgraphExec_st *e = live(execs, exec);
        if (!e)
            return cudaErrorInvalidValue;
        if (e->last && !e->last->done)
            device_fault(cudaErrorIllegalAddress, "a graph was destroyed while a launch of it was queued");
        e->destroyed = true;
        e->nodes = nullptr;
        e->last = nullptr;
        return cudaSuccess;
    });
}
