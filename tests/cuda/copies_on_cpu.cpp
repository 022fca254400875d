/* copies_on_cpu.cpp -- copies and memsets: what they may touch, and what must not change while they are queued. */
#include "runtime_on_cpu.h"

#include <cstring>

using namespace coc;

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
    return fault();
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
