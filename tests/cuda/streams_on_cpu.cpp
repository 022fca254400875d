/* streams_on_cpu.cpp -- streams and events, and the turns that what is queued on them takes.
 *
 * With options.deferred (COC_DEFERRED=1) a stream runs when something waits for it, and streams take turns at random,
 * so that a forgotten event and the early reuse of a pinned buffer show. Otherwise each operation runs as it is queued.
 */
#include "runtime_on_cpu.h"

#include "sanitizers.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unistd.h>

using namespace coc;

struct CUevent_st {
    bool destroyed = false;
    Ticket last;                       /* null: not recorded yet, or while a stream was captured: */
    std::shared_ptr<Capture> captured; /* there */
    std::vector<unsigned> nodes;       /* what it stands for */
};

namespace coc
{
std::recursive_mutex call_lock;
thread_local bool in_operation;
} // namespace coc

namespace
{

std::vector<CUstream_st *> &streams = *new std::vector<CUstream_st *>; /* needed after the last destructor */
std::vector<CUevent_st *> &events = *new std::vector<CUevent_st *>;
CUstream_st *legacy_stream, *thread_stream;
uint64_t turns;
unsigned long queued_host_changes, queued;

CUstream_st *new_stream(bool blocking)
{
    CUstream_st *q = new CUstream_st;
    q->blocking = blocking;
    q->lane = streams.size() % tsan_lanes;
    streams.push_back(q);
    return q;
}

void built_in_streams()
{
    if (!legacy_stream) {
        legacy_stream = new_stream(true);
        thread_stream = new_stream(true);
    }
}

/* ---- running ---- */

void perform(const Work &run)
{
    if (!run || fault() != cudaSuccess)
        return;
    open_device_memory(true);
    run();
    open_device_memory(false);
}

/* One node of a graph whose predecessors have run: any of them where streams take turns, else the first. */
void step(Launch &l)
{
    const std::vector<Node> &nodes = *l.nodes;
    std::vector<size_t> can;
    for (size_t i = 0; i < nodes.size(); i++) {
        bool ready = !l.done[i];
        for (unsigned before : nodes[i].after)
            ready = ready && l.done[before];
        if (ready)
            can.push_back(i);
        if (ready && !options.deferred)
            break;
    }
    const size_t i = can[can.size() > 1 ? next_random(turns) % can.size() : 0];
    perform(nodes[i].run);
    l.done[i] = true;
    l.left--;
}

/* On its stream's lane. What it holds is dropped there, too: nobody else is known to come after it. */
void advance_on_lane(Operation &o)
{
    acquire(&o.submitted);
    for (const Ticket &t : o.after)
        acquire(&t->finished);
    o.after.clear();
    if (o.launch && o.launch->left) {
        step(*o.launch);
        if (o.launch->left)
            return;
    }
    perform(o.run);
    o.run = nullptr;
    o.launch = nullptr;
    o.done = true;
    release(&o.finished);
}

/* Whether it is done; a graph is so after one step a node. */
bool advance(const CUstream_st &q, Operation &o)
{
    in_operation = true;
    run_on_lane(q.lane, [&o] { advance_on_lane(o); });
    in_operation = false;
    if (o.done)
        queued_host_changes -= o.changes_host;
    return o.done;
}

bool runnable(const CUstream_st *q)
{
    if (q->queue.empty())
        return false;
    for (const Ticket &t : q->queue.front()->after)
        if (!t->done)
            return false;
    return true;
}

/* The host comes after it. */
void host_follows(const Ticket &t)
{
    if (t)
        acquire(&t->finished);
}

} // namespace

namespace coc
{

/* ---- queues ---- */

CUstream_st *stream_of(cudaStream_t handle)
{
    built_in_streams();
    if (!handle || handle == cudaStreamLegacy)
        return legacy_stream;
    if (handle == cudaStreamPerThread)
        return thread_stream;
    return live(streams, handle);
}

bool is_legacy(const CUstream_st &q)
{
    return &q == legacy_stream;
}

void progress(const std::function<bool()> &until)
{
    if (!turns)
        turns = seeded();
    while (queued && !until()) {
        std::vector<CUstream_st *> can;
        for (CUstream_st *q : streams)
            if (runnable(q))
                can.push_back(q);
        if (can.empty())
            return;
        CUstream_st *q = can[can.size() > 1 ? next_random(turns) % can.size() : 0];
        const Ticket t = q->queue.front(); /* stays the first of its queue until it is done */
        if (advance(*q, *t)) {
            q->queue.pop_front();
            queued--;
        }
    }
}

bool is_pending(const Ticket &t)
{
    return t && !t->done;
}

cudaError_t wait_for(const Ticket &t)
{
    progress([&] { return !is_pending(t); });
    host_follows(t);
    return fault();
}

bool queued_changes_host_memory()
{
    return queued_host_changes != 0;
}

cudaError_t submit(cudaStream_t handle, Operation operation, Ticket *ticket)
{
    CUstream_st *q = stream_of(handle);
    if (!q)
        return cudaErrorInvalidResourceHandle;
    if (q->capture)
        return record(*q, operation);
    const cudaError_t error = q == legacy_stream ? refuse_legacy() : cudaSuccess;
    if (error != cudaSuccess)
        return error;
    const Ticket t = std::make_shared<Operation>(std::move(operation));
    if (q == legacy_stream) {
        for (CUstream_st *other : streams)
            if (other->blocking && other->last)
                t->after.push_back(other->last);
    } else if (q->blocking && legacy_stream->last) {
        t->after.push_back(legacy_stream->last);
    }
    release(&t->submitted);
    queued_host_changes += t->changes_host;
    q->queue.push_back(t);
    q->last = t;
    queued++;
    if (ticket)
        *ticket = t;
    if (!options.deferred)
        progress([] { return false; });
    return cudaSuccess;
}

void enqueue_kernel(cudaStream_t stream, std::function<void()> run)
{
    api(Call::plain, [&] {
        Operation o;
        o.run = std::move(run);
        return submit(stream, std::move(o));
    });
}

} // namespace coc

/* ---- the C interface ---- */

cudaError_t coc_enqueue(cudaStream_t stream, void (*fn)(void *), void *arg, void (*drop)(void *))
{
    std::shared_ptr<void> kept(arg, [drop](void *p) {
        if (drop)
            drop(p);
    });
    return api(Call::plain, [&] {
        Operation o;
        o.run = [fn, kept = std::move(kept)] { fn(kept.get()); };
        return submit(stream, std::move(o));
    });
}

/* ---- the end of the process ---- */

namespace
{

/* How many blocks of memory, streams, events and graphs exist; each gets a line on stderr. */
int leaks()
{
    std::lock_guard<std::recursive_mutex> one(call_lock);
    int count = 0;
    std::string text = memory_leaks(&count) + graph_leaks(&count);
    for (const CUstream_st *q : streams)
        if (!q->destroyed && q != legacy_stream && q != thread_stream) {
            text += "  a stream\n";
            count++;
        }
    for (const CUevent_st *e : events)
        if (!e->destroyed) {
            text += "  an event\n";
            count++;
        }
    if (count)
        fprintf(stderr, "cuda_on_cpu: never freed:\n%s", text.c_str());
    return count;
}

struct AtExit {
    ~AtExit()
    {
        const char *wanted = getenv("COC_LEAKS");
        if (!wanted || !*wanted || !leaks() || strcmp(wanted, "fail"))
            return;
        fflush(nullptr);
        _exit(1);
    }
} at_exit;

} // namespace

/* ---- streams ---- */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags)
{
    return api(Call::plain, [&] {
        if (!stream || (flags & ~(unsigned)cudaStreamNonBlocking))
            return cudaErrorInvalidValue;
        built_in_streams();
        *stream = new_stream(!(flags & cudaStreamNonBlocking));
        return cudaSuccess;
    });
}

cudaError_t cudaStreamCreate(cudaStream_t *stream)
{
    return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}

/* Returns at once; what is queued still runs. */
cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    return api(Call::even_after_a_fault, [&] {
        CUstream_st *q = stream_of(stream);
        if (!q || q == legacy_stream || q == thread_stream)
            return cudaErrorInvalidResourceHandle;
        if (q->capture) /* that is lost; this call succeeds */
            (void)refuse_capture(*q->capture, cudaErrorStreamCaptureInvalidated);
        q->destroyed = true;
        return cudaSuccess;
    });
}

/* A captured stream can neither be waited for nor asked, nor can any other where calls are unsafe. */
static cudaError_t refuse_stream(const CUstream_st *q)
{
    if (!q)
        return cudaErrorInvalidResourceHandle;
    return q->capture ? refuse_capture(*q->capture, cudaErrorStreamCaptureUnsupported) : refuse_unsafe();
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    return api(Call::plain, [&] {
        const CUstream_st *q = stream_of(stream);
        cudaError_t error = refuse_stream(q);
        if (error == cudaSuccess && q == legacy_stream)
            error = refuse_legacy();
        if (error != cudaSuccess)
            return error;
        for (CUstream_st *other : streams) /* the legacy stream stands for all that wait for it */
            if (other == q || (q == legacy_stream && other->blocking)) {
                progress([&] { return other->queue.empty(); });
                host_follows(other->last);
            }
        return fault();
    });
}

cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    return api(Call::plain, [&] {
        const CUstream_st *q = stream_of(stream);
        const cudaError_t error = refuse_stream(q);
        if (error != cudaSuccess)
            return error;
        if (q->queue.empty()) {
            host_follows(q->last);
            return cudaSuccess;
        }
        size_t left = q->queue.size(); /* a device works on while it is asked, or asking in a loop would never end */
        progress([&] { return q->queue.empty() || left-- == 0; });
        return cudaErrorNotReady;
    });
}

cudaError_t cudaDeviceSynchronize(void)
{
    return api(Call::plain, [&] {
        const cudaError_t error = refuse_all_captures();
        if (error != cudaSuccess)
            return error;
        progress([] { return false; });
        for (const CUstream_st *q : streams)
            host_follows(q->last);
        return fault();
    });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags)
{
    return api(Call::plain, [&] {
        CUstream_st *q = stream_of(stream);
        CUevent_st *e = live(events, event);
        if (!q || !e)
            return cudaErrorInvalidResourceHandle;
        if (flags)
            return cudaErrorInvalidValue;
        if (e->captured)
            return join_capture(*q, e->captured, e->nodes);
        if (!e->last)
            return cudaSuccess;
        if (q->capture)
            return refuse_capture(*q->capture, cudaErrorStreamCaptureIsolation);
        Operation o;
        o.after.push_back(e->last);
        return submit(stream, std::move(o));
    });
}

/* ---- events ---- */

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags)
{
    return api(Call::plain, [&] {
        const unsigned known = cudaEventBlockingSync | cudaEventDisableTiming | cudaEventInterprocess;
        if (!event || (flags & ~known) || ((flags & cudaEventInterprocess) && !(flags & cudaEventDisableTiming)))
            return cudaErrorInvalidValue;
        CUevent_st *e = new CUevent_st;
        events.push_back(e);
        *event = e;
        return cudaSuccess;
    });
}

cudaError_t cudaEventCreate(cudaEvent_t *event)
{
    return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    return api(Call::even_after_a_fault, [&] {
        CUevent_st *e = live(events, event);
        if (!e)
            return cudaErrorInvalidResourceHandle;
        e->destroyed = true;
        e->last = nullptr;
        e->captured = nullptr;
        return cudaSuccess;
    });
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    return api(Call::plain, [&] {
        CUstream_st *q = stream_of(stream);
        CUevent_st *e = live(events, event);
        if (!q || !e)
            return cudaErrorInvalidResourceHandle;
        if (q->capture && q->capture->invalid)
            return cudaErrorStreamCaptureInvalidated;
        e->captured = q->capture;
        if (q->capture) {
            e->nodes = q->frontier;
            e->last = nullptr;
            return cudaSuccess;
        }
        return submit(stream, Operation(), &e->last);
    });
}

/* Neither a captured event nor, where calls are unsafe, any other can be waited for or asked. */
static cudaError_t refuse_event(const CUevent_st *e)
{
    if (!e)
        return cudaErrorInvalidResourceHandle;
    if (!e->captured)
        return refuse_unsafe();
    e->captured->invalid = true;
    return cudaErrorCapturedEvent;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    return api(Call::plain, [&] {
        const CUevent_st *e = live(events, event);
        const cudaError_t error = refuse_event(e);
        return error != cudaSuccess ? error : wait_for(e->last);
    });
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    return api(Call::plain, [&] {
        const CUevent_st *e = live(events, event);
        const cudaError_t error = refuse_event(e);
        if (error != cudaSuccess)
            return error;
        if (!is_pending(e->last)) {
            host_follows(e->last);
            return cudaSuccess;
        }
        int steps = 1;
        progress([&] { return steps-- == 0; });
        return cudaErrorNotReady;
    });
}
