/* memory_on_cpu.cpp -- the device that this stands in for, its memory, and pinned memory.
 *
 * Device memory has addresses of its own, which the heap never gives out, so a pointer says by itself what it is. A
 * block begins full of NaNs (it starts undefined on a GPU) and lies between fences of known bytes. Under ASan the host
 * may not touch it; operations open it while they run. Freed memory faults when touched, whoever is late: cudaFree
 * "may" synchronize, says its documentation, so nobody may count on it. */
#include "runtime_on_cpu.h"

#include "sanitizers.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>

using namespace coc;

namespace
{

struct Region {
    char *p;
    size_t bytes;
    bool pinned;
};
/* Never destroyed: the list of leaks comes last. */
std::vector<Region> &blocks = *new std::vector<Region>;
std::vector<Region> &freed = *new std::vector<Region>; /* the last ones, of device memory */
size_t device_bytes;

const size_t granule = 256, fence_bytes = 256, page = 4096, space_bytes = (size_t)256 << 30;
char *space, *next_free; /* device memory is handed out round and round, so that a freed block is not given soon */
const unsigned char fence = 0xFD, undefined = 0xFF;

size_t padded(size_t bytes)
{
    return (bytes + granule - 1) & ~(granule - 1);
}

/* ---- the device ---- */

struct Device {
    const char *name;
    int major, minor, multiprocessors;
    size_t memory, l2, shared_multiprocessor;
};
const Device h100 = { "NVIDIA H100 80GB HBM3 (a stand-in)", 9, 0, 132, 85027979264u, 52428800, 233472 };
const Device a100 = { "NVIDIA A100-SXM4-80GB (a stand-in)", 8, 0, 108, 85094432768u, 41943040, 167936 };

const Device &device()
{
    static const char *const chosen = getenv("COC_DEVICE");
    return chosen && !strcmp(chosen, "a100") ? a100 : h100;
}

size_t memory_limit()
{
    const char *const text = getenv("COC_MEMORY_BYTES"); /* read each time: a test sets it between two calls */
    const unsigned long long limit = text ? strtoull(text, nullptr, 10) : 0;
    return limit && limit < device().memory ? limit : device().memory;
}

Region *find(std::vector<Region> &in, const void *p, size_t bytes)
{
    for (Region &b : in)
        if ((const char *)p >= b.p && (const char *)p <= b.p + b.bytes && bytes <= (size_t)(b.p + b.bytes - (char *)p))
            return &b;
    return nullptr;
}

void erase(std::vector<Region> &from, Region *b)
{
    *b = from.back();
    from.pop_back();
}

void poison(const void *p, size_t bytes, bool on)
{
#ifdef COC_ASAN
    if (on)
        __asan_poison_memory_region(p, bytes);
    else
        __asan_unpoison_memory_region(p, bytes);
#else
    (void)p, (void)bytes, (void)on;
#endif
}

/* A large block is closed at its ends only: closing and opening all of it would cost more than most kernels. */
const size_t most_closed = (size_t)8 << 20;

void close_block(const Region &b, bool on)
{
    if (b.bytes <= 2 * most_closed) {
        poison(b.p, b.bytes, on);
    } else {
        poison(b.p, most_closed, on);
        poison(b.p + ((b.bytes - most_closed) & ~(size_t)7), most_closed + b.bytes % 8, on);
    }
}

size_t span(size_t bytes) /* of a block and its fences */
{
    return (fence_bytes + padded(bytes) + fence_bytes + page - 1) & ~(page - 1);
}

/* Where nothing lies from `at` on, or null. */
char *fit(char *at, size_t bytes)
{
    for (bool moved = true; moved;) {
        moved = false;
        for (const Region &b : blocks)
            if (!b.pinned && b.p - fence_bytes < at + bytes && at < b.p - fence_bytes + span(b.bytes)) {
                at = b.p - fence_bytes + span(b.bytes);
                moved = true;
            }
    }
    return at + bytes <= space + space_bytes ? at : nullptr;
}

char *new_block(size_t bytes)
{
    if (!space) {
        void *got = mmap(nullptr, space_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (got == MAP_FAILED)
            return nullptr;
        space = next_free = (char *)got;
    }
    char *m = fit(next_free, span(bytes));
    if (!m)
        m = fit(space, span(bytes));
    if (!m || mprotect(m, span(bytes), PROT_READ | PROT_WRITE))
        return nullptr;
    next_free = m + span(bytes);
    for (size_t i = freed.size(); i-- > 0;)
        if (freed[i].p < next_free && m < freed[i].p + freed[i].bytes)
            erase(freed, &freed[i]);
    memset(m, fence, fence_bytes);
    memset(m + fence_bytes, undefined, bytes);
    memset(m + fence_bytes + bytes, fence, span(bytes) - fence_bytes - bytes);
    poison(m, span(bytes), true);
    if (bytes > 2 * most_closed)
        poison(m + fence_bytes + most_closed, ((bytes - most_closed) & ~(size_t)7) - most_closed, false);
    return m + fence_bytes;
}

void free_block(const Region &b)
{
    if (freed.size() == 256)
        freed.erase(freed.begin(), freed.begin() + 64);
    freed.push_back(b);
    char *m = b.p - fence_bytes;
    madvise(m, span(b.bytes), MADV_DONTNEED);
    mprotect(m, span(b.bytes), PROT_NONE);
    poison(m, span(b.bytes), true);
}

/* What a sanitizer finds at once, the fences tell later where there is none. */
void check_fences(const Region &b)
{
    poison(b.p - fence_bytes, span(b.bytes), false);
    const char *at = nullptr;
    for (size_t i = 0; i < fence_bytes; i++)
        if ((unsigned char)b.p[-(ptrdiff_t)fence_bytes + (ptrdiff_t)i] != fence)
            at = "before";
    for (size_t i = b.bytes; i < span(b.bytes) - fence_bytes; i++)
        if ((unsigned char)b.p[i] != fence)
            at = "behind";
    if (at)
        device_fault(cudaErrorIllegalAddress, std::string("something has written ") + at + " a block of " +
                                                  std::to_string(b.bytes) + " bytes of device memory");
}

} // namespace

/* ---- for the other files ---- */

namespace coc
{

Place place_of(const void *p)
{
    if (const Region *b = find(blocks, p, 0))
        return b->pinned ? Place::pinned : Place::device;
    return space && (const char *)p >= space && (const char *)p < space + space_bytes ? Place::no_block : Place::host;
}

bool was_freed(const void *p)
{
    return place_of(p) == Place::no_block && find(freed, p, 1);
}

bool on_device(const void *p, size_t bytes)
{
    const Region *b = find(blocks, p, bytes);
    return b && !b->pinned;
}

bool in_pinned(const void *p, size_t bytes)
{
    const Region *b = find(blocks, p, bytes);
    return b && b->pinned;
}

void open_device_memory(bool open)
{
#ifdef COC_ASAN
    for (const Region &b : blocks)
        if (!b.pinned)
            close_block(b, !open);
#else
    (void)open, (void)close_block;
#endif
}

void open_pinned_memory(const void *p, size_t bytes, bool open)
{
    poison(p, bytes, !open);
}

std::string memory_leaks(int *count)
{
    std::string text;
    for (const Region &b : blocks) {
        text += "  " + std::to_string(b.bytes) + " bytes of " + (b.pinned ? "pinned" : "device") + " memory\n";
        ++*count;
    }
    return text;
}

} // namespace coc

/* ---- the C interface ---- */

int coc_device_readable(const void *p, size_t bytes)
{
    std::unique_lock<std::recursive_mutex> one(call_lock, std::defer_lock);
    if (!in_operation)
        one.lock();
    const bool inside = on_device(p, bytes);
    if (!inside)
        fprintf(stderr, "cuda_on_cpu: %zu bytes at %p are not in one live block of device memory%s\n", bytes, p,
                place_of(p) == Place::no_block ? ": that was freed, or lies between blocks" : "");
    return inside;
}

int coc_device_writable(void *p, size_t bytes)
{
    return coc_device_readable(p, bytes);
}

/* ---- CUDA's own ---- */

cudaError_t cudaMalloc(void **p, size_t bytes)
{
    return api(Call::unsafe_in_capture, [&] {
        if (!p)
            return cudaErrorInvalidValue;
        *p = nullptr;
        if (!bytes)
            return cudaSuccess;
        if (bytes > memory_limit() || device_bytes + padded(bytes) > memory_limit())
            return cudaErrorMemoryAllocation;
        char *got = new_block(bytes);
        if (!got)
            return cudaErrorMemoryAllocation;
        blocks.push_back({ got, bytes, false });
        device_bytes += padded(bytes);
        *p = got;
        return cudaSuccess;
    });
}

cudaError_t cudaFree(void *p)
{
    return api(Call::unsafe_in_capture, [&] {
        if (!p)
            return cudaSuccess;
        Region *b = find(blocks, p, 0);
        if (!b || b->pinned || b->p != p)
            return cudaErrorInvalidValue;
        const Region was = *b;
        erase(blocks, b);
        device_bytes -= padded(was.bytes);
        check_fences(was);
        free_block(was);
        return cudaSuccess;
    });
}

cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned flags)
{
    return api(Call::unsafe_in_capture, [&] {
        if (!p || (flags & ~(unsigned)(cudaHostAllocPortable | cudaHostAllocMapped | cudaHostAllocWriteCombined)))
            return cudaErrorInvalidValue;
        *p = nullptr;
        if (!bytes)
            return cudaSuccess;
        if (!(*p = aligned_alloc(64, (bytes + 63) & ~(size_t)63)))
            return cudaErrorMemoryAllocation;
        memset(*p, undefined, bytes);
        poison((char *)*p + ((bytes + 7) & ~(size_t)7), ((bytes + 63) & ~(size_t)63) - ((bytes + 7) & ~(size_t)7),
               true);
        blocks.push_back({ (char *)*p, bytes, true });
        return cudaSuccess;
    });
}

cudaError_t cudaMallocHost(void **p, size_t bytes)
{
    return cudaHostAlloc(p, bytes, cudaHostAllocDefault);
}

cudaError_t cudaFreeHost(void *p)
{
    return api(Call::unsafe_in_capture, [&] {
        if (!p)
            return cudaSuccess;
        Region *b = find(blocks, p, 0);
        if (!b || !b->pinned || b->p != p)
            return cudaErrorInvalidValue;
        poison(p, (b->bytes + 63) & ~(size_t)63, false);
        erase(blocks, b);
        free(p);
        return cudaSuccess;
    });
}

cudaError_t cudaMemGetInfo(size_t *left, size_t *total)
{
    return api(Call::plain, [&] {
        *total = memory_limit();
        *left = device_bytes < *total ? *total - device_bytes : 0;
        return cudaSuccess;
    });
}

/* ---- the device ---- */

cudaError_t cudaGetDeviceCount(int *count)
{
    return api(Call::plain, [&] {
        const char *const none = getenv("COC_DEVICE");
        *count = none && !strcmp(none, "none") ? 0 : 1;
        return *count ? cudaSuccess : cudaErrorNoDevice;
    });
}

cudaError_t cudaSetDevice(int number)
{
    return api(Call::plain, [&] { return number ? cudaErrorInvalidDevice : cudaSuccess; });
}

cudaError_t cudaDriverGetVersion(int *version)
{
    return api(Call::plain, [&] {
        *version = CUDART_VERSION;
        return cudaSuccess;
    });
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    return cudaDriverGetVersion(version);
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int number)
{
    return api(Call::plain, [&] {
        if (!p || number)
            return cudaErrorInvalidDevice;
        const Device &d = device();
        memset(p, 0, sizeof *p);
        snprintf(p->name, sizeof p->name, "%s", d.name);
        p->totalGlobalMem = memory_limit();
        p->sharedMemPerBlock = options.static_smem;
        p->sharedMemPerBlockOptin = options.optin_smem;
        p->sharedMemPerMultiprocessor = d.shared_multiprocessor;
        p->reservedSharedMemPerBlock = 1024;
        p->regsPerBlock = p->regsPerMultiprocessor = 65536;
        p->warpSize = 32;
        p->maxThreadsPerBlock = (int)options.max_threads;
        p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024, p->maxThreadsDim[2] = 64;
        p->maxGridSize[0] = 0x7FFFFFFF, p->maxGridSize[1] = p->maxGridSize[2] = 65535;
        p->totalConstMem = 65536;
        p->major = d.major, p->minor = d.minor;
        p->textureAlignment = 512, p->texturePitchAlignment = 32;
        p->multiProcessorCount = d.multiprocessors;
        p->maxThreadsPerMultiProcessor = 2048, p->maxBlocksPerMultiProcessor = 32;
        p->l2CacheSize = (int)d.l2;
        p->memoryBusWidth = 5120;
        p->concurrentKernels = p->unifiedAddressing = p->canMapHostMemory = p->ECCEnabled = 1;
        p->asyncEngineCount = 3;
        return cudaSuccess;
    });
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int number)
{
    return api(Call::plain, [&] {
        const Device &d = device();
        if (number)
            return cudaErrorInvalidDevice;
        switch (attribute) {
        case cudaDevAttrComputeCapabilityMajor: *value = d.major; break;
        case cudaDevAttrComputeCapabilityMinor: *value = d.minor; break;
        case cudaDevAttrMultiProcessorCount: *value = d.multiprocessors; break;
        default: return cudaErrorInvalidValue;
        }
        return cudaSuccess;
    });
}
