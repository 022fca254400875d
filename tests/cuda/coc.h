/* coc.h -- what the stand-ins for CUDA's libraries (cuBLASLt, cuDNN) need of the stand-in for its runtime
 * (cuda_on_cpu): work in a stream's order, and a check of pointers. C and C++. */
#ifndef VMAE_TESTS_CUDA_COC_H
#define VMAE_TESTS_CUDA_COC_H

#include <cuda_runtime_api.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Runs fn(arg) when its turn comes in the stream; fn may touch device memory, and calls no CUDA function. While the
 * stream is captured it is recorded instead, and then runs once a launch of the graph: any number of times. `arg`
 * lives until drop(arg) (NULL: nobody's to free), which is called once, also where this is refused.
 * cudaSuccess, or the code that a launch on this stream would be refused with. */
cudaError_t coc_enqueue(cudaStream_t stream, void (*fn)(void *), void *arg, void (*drop)(void *));

/* Whether `bytes` bytes from `pointer` on lie in one live block of device memory. Ask when a call comes, and once more
 * when it runs, for the block may have been freed in between. If they do not, a line on stderr says so. */
int coc_device_readable(const void *pointer, size_t bytes);
int coc_device_writable(void *pointer, size_t bytes);

/* What has been done since the program began. */
typedef struct coc_counts {
    unsigned long kernels, copies, pageable_copies, memsets, library_calls, graph_launches;
    unsigned long waits; /* of the host for the device: synchronize, copies that do so */
} coc_counts;
coc_counts coc_count(void);

/* How many blocks of device and pinned memory, streams, events and graphs exist; each gets a line on stderr. The end of
 * the process asks, too, if COC_LEAKS is "report" or "fail" (then its exit status is 1). */
int coc_leaks(void);

/* After a fault (of a kernel, a copy) every call fails, as on a GPU. Tests that provoke one go on after this; what is
 * still queued is dropped. */
void coc_clear_fault(void);

#ifdef __cplusplus
}
#endif
#endif
