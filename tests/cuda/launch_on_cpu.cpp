/* launch_on_cpu.cpp -- what a GPU refuses of a launch: its shape, its shared memory, where its parameters point. */
#include "runtime_on_cpu.h"

#include <cstring>

namespace coc
{

namespace
{

struct Allowance {
    const void *kernel;
    size_t bytes;
};
std::vector<Allowance> allowed_smem;

} // namespace

bool launch_allowed(const Kernel &k)
{
    std::lock_guard<std::recursive_mutex> one(call_lock);
    const dim3 grid = k.grid, block = k.block;
    size_t most = options.static_smem;
    for (const Allowance &a : allowed_smem)
        if (a.kernel == k.function)
            most = a.bytes;
    const uint64_t threads = (uint64_t)block.x * block.y * block.z;
    const bool shape = grid.x && grid.y && grid.z && threads && grid.x <= 2147483647u && grid.y <= 65535 &&
                       grid.z <= 65535 && threads <= options.max_threads && block.x <= 1024 && block.y <= 1024 &&
                       block.z <= 64;
    if (!shape)
        return set_error(cudaErrorInvalidConfiguration) == cudaSuccess;
    const bool fits = k.smem <= most && static_shared_bytes(k.function) + k.smem <= options.optin_smem;
    return set_error(fits ? cudaSuccess : cudaErrorInvalidValue) == cudaSuccess;
}

cudaError_t allow_smem(const void *kernel, int bytes)
{
    return api(Call::plain, [&] {
        if (bytes < 0 || static_shared_bytes(kernel) + (size_t)bytes > options.optin_smem)
            return cudaErrorInvalidValue;
        for (Allowance &a : allowed_smem)
            if (a.kernel == kernel) {
                a.bytes = (size_t)bytes;
                return cudaSuccess;
            }
        allowed_smem.push_back({ kernel, (size_t)bytes });
        return cudaSuccess;
    });
}

/* A parameter that is a pointer leads to device memory or to pinned memory (which a GPU can reach, too). Words in
 * structs that lead to a freed block are leftovers of it; words of other kinds may look like any address. */
COC_PLAIN bool arguments_allowed(const Kernel &k, const Parameter *parameters, size_t count)
{
    const char *what = nullptr;
    size_t i = 0;
    for (; i < count && !what; i++) {
        const Parameter p = parameters[i];
        const Place place = p.bytes ? Place::device : place_of(p.p);
        if (p.p && place == Place::host)
            what = "is a pointer to host memory";
        if (place == Place::no_block)
            what = "points to device memory that is not allocated, or no longer";
        for (size_t at = 0; at + sizeof(void *) <= p.bytes; at += sizeof(void *)) {
            const void *word;
            memcpy(&word, (const char *)p.p + at, sizeof word);
            if (was_freed(word))
                what = "holds a pointer to device memory that was freed";
        }
    }
    if (what)
        device_fault(cudaErrorIllegalAddress,
                     std::string("kernel ") + k.name + ": parameter " + std::to_string(i - 1) + " " + what);
    return !what;
}

} // namespace coc

using namespace coc;

cudaError_t cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute what, int value)
{
    if (what == cudaFuncAttributeMaxDynamicSharedMemorySize)
        return allow_smem(kernel, value);
    return api(Call::plain, [&] {
        const bool good = what == cudaFuncAttributePreferredSharedMemoryCarveout && value >= -1 && value <= 100;
        return good ? cudaSuccess : cudaErrorInvalidValue;
    });
}
