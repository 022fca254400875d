/* open.c -- which GPU, what it is, and the table of functions. */
#include "engine/backend/cuda/cuda.h"

#include "engine/core/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LEAST_CAPABILITY = 80, /* bf16 products */
    SUM_BLOCKS = 264       /* two a multiprocessor of an H100; the same on every GPU, so that sums are, too */
};

static const vmae_kernels *cuda_table(int capability)
{
    static vmae_kernels table = {
#define ENTRY(name) .name = cuda_##name,
#include "engine/backend/cuda/entries.h"
#undef ENTRY
    };
    static char isa[16];
    snprintf(isa, sizeof isa, "sm_%d", capability);
    table.isa = isa;
    return &table;
}

vmae_status cuda_check(cudaError_t error, const char *what)
{
    if (error == cudaSuccess)
        return VMAE_OK;
    return vmae_fail(error == cudaErrorMemoryAllocation ? VMAE_ENOMEM : VMAE_EINTERNAL, "%s: %s (%s)", what,
                     cudaGetErrorString(error), cudaGetErrorName(error));
}

static vmae_status count_devices(int *count)
{
    const cudaError_t error = cudaGetDeviceCount(count);
    (void)cudaGetLastError(); /* said once */
    switch (error) {
    case cudaSuccess: return *count > 0 ? VMAE_OK : vmae_fail(VMAE_EUSER, "there is no CUDA device on this machine");
    case cudaErrorNoDevice: return vmae_fail(VMAE_EUSER, "there is no CUDA device on this machine, only a driver");
    case cudaErrorStubLibrary:
        return vmae_fail(VMAE_EUSER, "libcuda.so.1 is the toolkit's stub: no NVIDIA driver is installed");
    case cudaErrorInsufficientDriver:
        return vmae_fail(VMAE_EUSER,
                         "there is no NVIDIA driver, or it is older than CUDA %d.%d wants; nvidia-smi shows it",
                         CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
    default: return vmae_fail(VMAE_EUSER, "CUDA finds no device: %s", cudaGetErrorString(error));
    }
}

static int capability_of(int device)
{
    int major = 0, minor = 0;
    if (cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) != cudaSuccess ||
        cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device) != cudaSuccess)
        return 0;
    return 10 * major + minor;
}

/* -1: the first that is new enough. */
static vmae_status choose(int wanted, int *device)
{
    int count = 0;
    VMAE_TRY(count_devices(&count));
    if (wanted >= count)
        return vmae_fail(VMAE_EUSER, "there is no GPU %d; this machine has %d (0 to %d)", wanted, count, count - 1);
    *device = wanted < 0 ? 0 : wanted;
    while (wanted < 0 && *device < count - 1 && capability_of(*device) < LEAST_CAPABILITY)
        ++*device;
    const int capability = capability_of(*device);
    if (capability < LEAST_CAPABILITY)
        return vmae_fail(VMAE_EUSER, "GPU %d has compute capability %d.%d; 8.0 (Ampere) or later is needed", *device,
                         capability / 10, capability % 10);
    return VMAE_OK;
}

static vmae_status describe(vmae_backend *be)
{
    const cuda_device *self = cuda_self(be);
    struct cudaDeviceProp properties;
    int driver = 0, runtime = 0;
    CUDA_TRY(cudaGetDeviceProperties(&properties, self->number));
    CUDA_TRY(cudaDriverGetVersion(&driver));
    CUDA_TRY(cudaRuntimeGetVersion(&runtime));
    const size_t lt = cublasLtGetVersion(), dnn = cudnnGetVersion();
    snprintf(
        be->description, sizeof be->description,
        "%.64s (sm_%d, %d SMs, %.0f GiB), driver for CUDA %d.%d, CUDA %d.%d, cuBLASLt %zu.%zu.%zu, cuDNN %zu.%zu.%zu",
        properties.name, self->capability, self->sm_count, (double)properties.totalGlobalMem / 0x1p30, driver / 1000,
        driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10, lt / 10000, lt / 100 % 100, lt % 100, dnn / 10000,
        dnn / 100 % 100, dnn % 100);
    return VMAE_OK;
}

static const char *algorithms(vmae_backend *be)
{
    cuda_device *self = cuda_self(be);
    self->text[0] = '\0';
    cuda_matmul_algorithms(be, self->text, sizeof self->text);
    size_t used = strlen(self->text);
    cuda_attention_algorithms(be, self->text + used, sizeof self->text - used);
    used += strlen(self->text + used);
    cuda_convolution_algorithms(be, self->text + used, sizeof self->text - used);
    return self->text;
}

static void cuda_close(vmae_backend *be)
{
    cuda_device *self = cuda_self(be);
    if (self->stream)
        cudaStreamSynchronize(self->stream);
    cuda_attentions_close(be);
    cuda_convolutions_close(be);
    cuda_cudnn_close(be);
    cuda_products_close(be);
    cuda_memory_close(be);
    if (self->stream)
        cudaStreamDestroy(self->stream);
    free((char *)be->name);
    free(self);
    free(be);
}

static vmae_status open_device(vmae_backend *be)
{
    cuda_device *self = cuda_self(be);
    CUDA_TRY(cudaSetDevice(self->number));
    CUDA_TRY(cudaDeviceGetAttribute(&self->sm_count, cudaDevAttrMultiProcessorCount, self->number));
    CUDA_TRY(cudaStreamCreateWithFlags(&self->stream, cudaStreamNonBlocking));
    VMAE_TRY(describe(be));
    VMAE_TRY(cuda_memory_open(be));
    VMAE_TRY(cuda_products_open(be));
    return cuda_attention_allow();
}

vmae_status cuda_open(vmae_backend **be, int wanted)
{
    int device = 0;
    VMAE_TRY(choose(wanted, &device));
    vmae_backend *made = vmae_calloc(1, sizeof *made);
    cuda_device *self = vmae_calloc(1, sizeof *self);
    char *name = vmae_format("cuda:%d", device);
    if (!made || !self || !name) {
        free(made);
        free(self);
        free(name);
        return VMAE_ENOMEM;
    }
    self->number = device;
    self->capability = capability_of(device);
    *made = (vmae_backend){ .name = name,
                            .precision = VMAE_BF16,
                            .sum_blocks = SUM_BLOCKS,
                            .kernels = cuda_table(self->capability),
                            .self = self,
                            .allocate = cuda_allocate,
                            .release = cuda_release,
                            .upload = cuda_upload,
                            .download = cuda_download,
                            .synchronize = cuda_synchronize,
                            .prefetch = cuda_prefetch,
                            .record_begin = cuda_record_begin,
                            .record_end = cuda_record_end,
                            .replay = cuda_replay,
                            .recording_free = cuda_recording_free,
                            .matmul_new = cuda_matmul_new,
                            .matmul_workspace = cuda_matmul_workspace,
                            .matmul = cuda_matmul,
                            .algorithms = algorithms,
                            .close = cuda_close };
    const vmae_status st = open_device(made);
    if (st == VMAE_OK)
        *be = made;
    else
        cuda_close(made);
    return st;
}
