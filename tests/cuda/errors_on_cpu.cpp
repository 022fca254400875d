/* errors_on_cpu.cpp -- what calls return, what stays after a fault, and the words for it. */
#include "runtime_on_cpu.h"

#include <cstdio>
#include <cstdlib>

using namespace coc;

namespace
{

thread_local cudaError_t last_error;
cudaError_t fault_code;
std::string fault_message;

} // namespace

namespace coc
{

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

cudaError_t fault()
{
    return fault_code;
}

} // namespace coc

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
