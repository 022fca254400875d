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

#ifdef __cplusplus
}
#endif
#endif
