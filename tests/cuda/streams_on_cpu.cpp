/* streams_on_cpu.cpp -- streams and events, copies, errors.
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

thread_local cudaError_t last_error;
cudaError_t fault_code;
std::string fault_message;

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
    if (!run || fault_code != cudaSuccess)
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

bool is_pending(const Ticket &t)
{
    return t && !t->done;
}

/* The host comes after it. */
void host_follows(const Ticket &t)
{
    if (t)
        acquire(&t->finished);
}

cudaError_t wait_for(const Ticket &t)
{
    progress([&] { return !is_pending(t); });
    host_follows(t);
    return fault_code;
}

} // namespace

namespace coc
{

/* ---- errors ---- */

cudaError_t refuse_call(Call kind)
{
    if (fault_code != cudaSuccess && kind != Call::even_after_a_fault)
        return fault_code;
    return kind == Call::unsafe_in_capture ? refuse_unsafe() : cudaSuccess;
}

cudaError_t set_error(cudaError_t error)
{
    if (error != cudaSuccess)
        last_error = error;
    return error;
}

void device_fault(cudaError_t code, const std::string &what)
{
    if (options.abort_on_error) {
        fflush(stdout);
        fprintf(stderr, "cuda_on_cpu: %s\n", what.c_str());
        abort();
    }
    if (fault_code == cudaSuccess) {
        fault_code = code;
        fault_message = what;
    }
}

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

/* ---- copies ---- */

namespace
{

struct Copy {
    char *to;
    const char *from;
    size_t bytes;
    bool to_device, from_device, to_pinned, from_pinned;
    std::shared_ptr<std::vector<char>> staged; /* what pageable memory held when the copy was queued */
    uint64_t sum = 0;
    bool summed = false;
};

uint64_t checksum(const char *p, size_t bytes)
{
    uint64_t h = 0x9E3779B97F4A7C15ull, word;
    for (; bytes >= 8; p += 8, bytes -= 8) {
        memcpy(&word, p, 8);
        h = (h ^ word) * 0xFF51AFD7ED558CCDull, h ^= h >> 32;
    }
    for (; bytes; p++, bytes--)
        h = (h ^ (unsigned char)*p) * 0xFF51AFD7ED558CCDull, h ^= h >> 32;
    return h;
}

void run_copy(const Copy &c)
{
    if ((c.to_device && !on_device(c.to, c.bytes)) || (c.from_device && !on_device(c.from, c.bytes)))
        return device_fault(cudaErrorIllegalAddress,
                            "device memory of a queued copy was freed before the copy had its turn");
    if ((c.to_pinned && !in_pinned(c.to, c.bytes)) || (c.from_pinned && !in_pinned(c.from, c.bytes)))
        return device_fault(cudaErrorIllegalAddress,
                            "pinned memory of a queued copy was freed before the copy had its turn");
    if (c.summed && checksum(c.from, c.bytes) != c.sum)
        return device_fault(cudaErrorIllegalAddress,
                            "the host changed pinned memory while a copy from it was queued (early reuse)");
    if (c.to_pinned)
        open_pinned_memory(c.to, c.bytes, true);
    memcpy(c.to, c.staged ? c.staged->data() : c.from, c.bytes);
}

/* Direction and extent. The host's side of a copy may be pinned or pageable, never the device's. */
bool classify(Copy &c, cudaMemcpyKind kind)
{
    const bool any_to = place_of(c.to) == Place::device || place_of(c.to) == Place::no_block,
               any_from = place_of(c.from) == Place::device || place_of(c.from) == Place::no_block;
    c.to_device =
        kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice || (kind == cudaMemcpyDefault && any_to);
    c.from_device =
        kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice || (kind == cudaMemcpyDefault && any_from);
    c.to_pinned = !c.to_device && in_pinned(c.to, c.bytes);
    c.from_pinned = !c.from_device && in_pinned(c.from, c.bytes);
    return c.to_device == any_to && c.from_device == any_from && (!c.to_device || on_device(c.to, c.bytes)) &&
           (!c.from_device || on_device(c.from, c.bytes));
}

/* `waits`: the call returns when the copy is done. */
cudaError_t copy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream, bool waits)
{
    const CUstream_st *q = stream_of(stream);
    Copy c{ (char *)to, (const char *)from, bytes, false, false, false, false, nullptr };
    if (!q)
        return cudaErrorInvalidResourceHandle;
    if ((unsigned)kind > (unsigned)cudaMemcpyDefault)
        return cudaErrorInvalidMemcpyDirection;
    if (!bytes)
        return cudaSuccess;
    if (!to || !from || !classify(c, kind))
        return cudaErrorInvalidValue;
    const bool pageable_from = !c.from_device && !c.from_pinned, pageable_to = !c.to_device && !c.to_pinned;
    if (q->capture && (pageable_from || pageable_to))
        return refuse_capture(*q->capture, cudaErrorStreamCaptureUnsupported);
    if (pageable_from)
        c.staged = std::make_shared<std::vector<char>>(c.from, c.from + bytes);
    if (options.deferred && !q->capture && c.from_pinned && !queued_changes_host_memory()) {
        c.sum = checksum(c.from, bytes);
        c.summed = true;
    }
    const bool to_pinned = c.to_pinned;
    Operation o;
    o.changes_host = !c.to_device;
    o.run = [c = std::move(c)] { run_copy(c); };
    Ticket ticket;
    const cudaError_t error = submit(stream, std::move(o), &ticket);
    if (error != cudaSuccess || q->capture)
        return error;
    if (waits || pageable_to)
        return wait_for(ticket);
    if (to_pinned && is_pending(ticket))
        open_pinned_memory(to, bytes, false); /* what it holds is undefined until the copy is done */
    return fault_code;
}

cudaError_t set_bytes(void *p, int value, size_t bytes, cudaStream_t stream)
{
    if (!bytes)
        return cudaSuccess;
    if (!on_device(p, bytes))
        return cudaErrorInvalidValue;
    Operation o;
    o.run = [=] {
        if (on_device(p, bytes))
            memset(p, value, bytes);
        else
            device_fault(cudaErrorIllegalAddress, "device memory of a queued memset was freed before it had its turn");
    };
    return submit(stream, std::move(o));
}

} // namespace

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream)
{
    return api(Call::plain, [&] { return copy(to, from, bytes, kind, stream, false); });
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    return api(Call::unsafe_in_capture,
               [&] { return copy(to, from, bytes, kind, nullptr, kind != cudaMemcpyDeviceToDevice); });
}

cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t stream)
{
    return api(Call::plain, [&] { return set_bytes(p, value, bytes, stream); });
}

cudaError_t cudaMemset(void *p, int value, size_t bytes)
{
    return api(Call::unsafe_in_capture, [&] { return set_bytes(p, value, bytes, nullptr); });
}

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
        return fault_code;
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
        return fault_code;
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

/* ---- errors ---- */

cudaError_t cudaPeekAtLastError(void)
{
    return fault_code != cudaSuccess ? fault_code : last_error;
}

cudaError_t cudaGetLastError(void)
{
    const cudaError_t error = cudaPeekAtLastError();
    last_error = cudaSuccess;
    return error;
}

namespace
{
struct Word {
    cudaError_t code;
    const char *name, *text;
};
#define WORD(code, text)                                                                                               \
    {                                                                                                                  \
        code, #code, text                                                                                              \
    }
const Word words[] = {
    WORD(cudaSuccess, "no error"),
    WORD(cudaErrorInvalidValue, "invalid argument"),
    WORD(cudaErrorMemoryAllocation, "out of memory"),
    WORD(cudaErrorInvalidConfiguration, "invalid configuration argument"),
    WORD(cudaErrorInvalidMemcpyDirection, "invalid copy direction for memcpy"),
    WORD(cudaErrorInsufficientDriver, "CUDA driver version is insufficient for CUDA runtime version"),
    WORD(cudaErrorStubLibrary, "CUDA driver is a stub library"),
    WORD(cudaErrorNoDevice, "no CUDA-capable device is detected"),
    WORD(cudaErrorInvalidDevice, "invalid device ordinal"),
    WORD(cudaErrorInvalidResourceHandle, "invalid resource handle"),
    WORD(cudaErrorIllegalState, "the operation cannot be performed in the present state"),
    WORD(cudaErrorNotReady, "device not ready"),
    WORD(cudaErrorIllegalAddress, "an illegal memory access was encountered"),
    WORD(cudaErrorLaunchFailure, "unspecified launch failure"),
    WORD(cudaErrorStreamCaptureUnsupported, "operation not permitted when stream is capturing"),
    WORD(cudaErrorStreamCaptureInvalidated, "operation failed due to a previous error during capture"),
    WORD(cudaErrorStreamCaptureMerge, "operation would result in a merge of separate capture sequences"),
    WORD(cudaErrorStreamCaptureUnmatched, "capture was not ended in the same stream as it began"),
    WORD(cudaErrorStreamCaptureUnjoined, "capturing stream has unjoined work"),
    WORD(cudaErrorStreamCaptureIsolation, "dependency created on uncaptured work in another stream"),
    WORD(cudaErrorStreamCaptureImplicit,
         "operation would make the legacy stream depend on a capturing blocking stream"),
    WORD(cudaErrorCapturedEvent, "operation not permitted on an event last recorded in a capturing stream"),
    WORD(cudaErrorStreamCaptureWrongThread, "attempt to terminate a thread-local capture sequence from another thread"),
};
} // namespace

const char *cudaGetErrorName(cudaError_t error)
{
    for (const Word &w : words)
        if (w.code == error)
            return w.name;
    return "unrecognized error code";
}

const char *cudaGetErrorString(cudaError_t error)
{
    if (error == fault_code && error != cudaSuccess)
        return fault_message.c_str(); /* says more than a GPU would */
    for (const Word &w : words)
        if (w.code == error)
            return w.text;
    return "unrecognized error code";
}
