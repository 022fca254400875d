/* memory.c -- device memory, and host memory on its way there and back.
 *
 * Uploads go through pinned buffers, so that the caller's memory is free on return and the copy runs beside the queue:
 * small ones through a ring of slots straight to their place, in the queue's order; large ones (a batch) on a second
 * stream into one of two device buffers, while the queue may still work on the batch before; a copy on the device, in
 * the queue's order, puts them in place. The large buffers grow to the largest upload seen, up to a limit; beyond it
 * uploads go in pieces. */
#include "engine/backend/cuda/cuda.h"

#include "engine/core/mem.h"

#include <stdlib.h>
#include <string.h>

enum { SLOTS = 16, LARGE = 2 };
static const size_t slot_bytes = (size_t)256 << 10, least_large = (size_t)4 << 20, most_large = (size_t)512 << 20,
                    download_bytes = (size_t)8 << 20;

typedef struct large_buffer {
    char *pinned, *device;
    size_t bytes;
    const void *from; /* what was prefetched into it and not yet uploaded: host memory, `sent` bytes */
    size_t sent;
    cudaEvent_t arrived, placed; /* on the device; in its place: the buffer is free */
} large_buffer;

typedef struct cuda_staging {
    char *slots; /* pinned, SLOTS * slot_bytes */
    cudaEvent_t sent[SLOTS];
    int turn, large_turn;
    large_buffer large[LARGE];
    cudaStream_t copies;
    char *down;        /* pinned, download_bytes */
    cuda_fault *fault; /* pinned */
} cuda_staging;

static cuda_staging *staging_of(const vmae_backend *be)
{
    return cuda_self(be)->staging;
}

static vmae_status new_event(cudaEvent_t *event)
{
    return cuda_check(cudaEventCreateWithFlags(event, cudaEventDisableTiming), "creating an event");
}

static vmae_status pin(void *block, size_t bytes)
{
    return cuda_check(cudaMallocHost((void **)block, bytes), "pinning host memory");
}

static vmae_status open_staging(vmae_backend *be, cuda_staging *s)
{
    VMAE_TRY(pin(&s->slots, SLOTS * slot_bytes));
    VMAE_TRY(pin(&s->down, download_bytes));
    VMAE_TRY(pin(&s->fault, sizeof *s->fault));
    for (int i = 0; i < SLOTS; i++)
        VMAE_TRY(new_event(&s->sent[i]));
    for (int i = 0; i < LARGE; i++) {
        VMAE_TRY(new_event(&s->large[i].arrived));
        VMAE_TRY(new_event(&s->large[i].placed));
    }
    CUDA_TRY(cudaStreamCreateWithFlags(&s->copies, cudaStreamNonBlocking));
    return cuda_allocate(be, (void **)&cuda_self(be)->fault, sizeof(cuda_fault));
}

vmae_status cuda_memory_open(vmae_backend *be)
{
    cuda_staging *s = cuda_self(be)->staging = vmae_calloc(1, sizeof *s);
    return s ? open_staging(be, s) : VMAE_ENOMEM;
}

static void destroy_event(cudaEvent_t event)
{
    if (event)
        cudaEventDestroy(event);
}

void cuda_memory_close(vmae_backend *be)
{
    cuda_staging *s = staging_of(be);
    if (!s)
        return;
    if (s->copies) {
        cudaStreamSynchronize(s->copies);
        cudaStreamDestroy(s->copies);
    }
    for (int i = 0; i < SLOTS; i++)
        destroy_event(s->sent[i]);
    for (int i = 0; i < LARGE; i++) {
        destroy_event(s->large[i].arrived);
        destroy_event(s->large[i].placed);
        cudaFreeHost(s->large[i].pinned);
        cudaFree(s->large[i].device);
    }
    cudaFreeHost(s->slots);
    cudaFreeHost(s->down);
    cudaFreeHost(s->fault);
    cuda_release(be, cuda_self(be)->fault);
    free(s);
}

/* ---- blocks ---- */

vmae_status cuda_allocate(vmae_backend *be, void **block, size_t bytes)
{
    void *got = NULL;
    const cudaError_t error = cudaMalloc(&got, bytes ? bytes : 1);
    if (error == cudaErrorMemoryAllocation) {
        size_t left = 0, all = 0;
        (void)cudaGetLastError();
        (void)cudaMemGetInfo(&left, &all);
        return vmae_fail(VMAE_ENOMEM,
                         "the GPU's memory does not suffice: %.0f MiB are wanted, %.0f of %.0f MiB are free; use a "
                         "smaller batch with more train.accum_iter, or a smaller model",
                         (double)bytes / 0x1p20, (double)left / 0x1p20, (double)all / 0x1p20);
    }
    VMAE_TRY(cuda_check(error, "allocating device memory"));
    const vmae_status st =
        cuda_check(cudaMemsetAsync(got, 0, bytes ? bytes : 1, cuda_stream(be)), "clearing device memory");
    if (st != VMAE_OK) {
        cudaFree(got);
        return st;
    }
    *block = got;
    return VMAE_OK;
}

void cuda_release(vmae_backend *be, void *block)
{
    if (!block)
        return;
    cudaStreamSynchronize(cuda_stream(be)); /* queued work may still use it */
    cudaFree(block);
}

/* ---- to the device ---- */

static vmae_status upload_small(vmae_backend *be, char *to, const char *from, size_t bytes)
{
    cuda_staging *s = staging_of(be);
    const int slot = s->turn;
    s->turn = (s->turn + 1) % SLOTS;
    char *pinned = s->slots + (size_t)slot * slot_bytes;
    CUDA_TRY(cudaEventSynchronize(s->sent[slot]));
    memcpy(pinned, from, bytes);
    CUDA_TRY(cudaMemcpyAsync(to, pinned, bytes, cudaMemcpyHostToDevice, cuda_stream(be)));
    return cuda_check(cudaEventRecord(s->sent[slot], cuda_stream(be)), "uploading");
}

/* At least `bytes`, a power of two. Nothing uses the buffer: it was placed. */
static vmae_status grow(large_buffer *b, size_t bytes)
{
    size_t wanted = least_large;
    while (wanted < bytes)
        wanted *= 2;
    if (b->bytes >= wanted)
        return VMAE_OK;
    cudaFreeHost(b->pinned);
    cudaFree(b->device);
    b->pinned = b->device = NULL;
    b->bytes = 0;
    VMAE_TRY(pin(&b->pinned, wanted));
    VMAE_TRY(cuda_check(cudaMalloc((void **)&b->device, wanted), "allocating a buffer for uploads"));
    b->bytes = wanted;
    return VMAE_OK;
}

/* Sets the bytes off to the next large buffer. */
static vmae_status send(vmae_backend *be, const void *from, size_t bytes)
{
    cuda_staging *s = staging_of(be);
    large_buffer *b = &s->large[s->large_turn];
    CUDA_TRY(cudaEventSynchronize(b->arrived)); /* something prefetched and not wanted */
    CUDA_TRY(cudaEventSynchronize(b->placed));
    VMAE_TRY(grow(b, bytes));
    memcpy(b->pinned, from, bytes);
    CUDA_TRY(cudaMemcpyAsync(b->device, b->pinned, bytes, cudaMemcpyHostToDevice, s->copies));
    CUDA_TRY(cudaEventRecord(b->arrived, s->copies));
    b->from = from;
    b->sent = bytes;
    return VMAE_OK;
}

vmae_status cuda_prefetch(vmae_backend *be, const void *from, size_t bytes)
{
    return bytes > slot_bytes && bytes <= most_large ? send(be, from, bytes) : VMAE_OK;
}

static vmae_status upload_large(vmae_backend *be, char *to, const char *from, size_t bytes)
{
    cuda_staging *s = staging_of(be);
    large_buffer *b = &s->large[s->large_turn];
    if (b->from != from || b->sent != bytes)
        VMAE_TRY(send(be, from, bytes));
    b->from = NULL;
    s->large_turn = (s->large_turn + 1) % LARGE;
    CUDA_TRY(cudaStreamWaitEvent(cuda_stream(be), b->arrived, 0));
    CUDA_TRY(cudaMemcpyAsync(to, b->device, bytes, cudaMemcpyDeviceToDevice, cuda_stream(be)));
    return cuda_check(cudaEventRecord(b->placed, cuda_stream(be)), "uploading");
}

vmae_status cuda_upload(vmae_backend *be, void *to, const void *from, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        const size_t left = bytes - done, most = left <= slot_bytes ? slot_bytes : most_large,
                     piece = left < most ? left : most;
        if (piece <= slot_bytes)
            VMAE_TRY(upload_small(be, (char *)to + done, (const char *)from + done, piece));
        else
            VMAE_TRY(upload_large(be, (char *)to + done, (const char *)from + done, piece));
        done += piece;
    }
    return VMAE_OK;
}

/* ---- back, and what kernels refused meanwhile ---- */

static vmae_status refusal(vmae_backend *be, const cuda_fault *fault)
{
    CUDA_TRY(cudaMemsetAsync(cuda_self(be)->fault, 0, sizeof *fault, cuda_stream(be)));
    if (fault->code == CUDA_REFUSES_LABEL)
        return vmae_fail(VMAE_EDATA,
                         "cross_entropy: the label of sample %d is %d, but there are %d classes (0 to %d); check the "
                         "dataset's labels and the number of classes",
                         (int)fault->at, (int)fault->value, (int)fault->limit, (int)fault->limit - 1);
    if (fault->code == CUDA_REFUSES_MASK)
        return vmae_fail(VMAE_EDATA,
                         "patch_mse: the mask removes no patch, so there is nothing to reconstruct; raise mask_ratio");
    return vmae_fail(VMAE_EINTERNAL, "a kernel refuses its input with code %d", (int)fault->code);
}

/* Waits for everything queued. */
static vmae_status finish(vmae_backend *be, bool *refused)
{
    cuda_staging *s = staging_of(be);
    CUDA_TRY(
        cudaMemcpyAsync(s->fault, cuda_self(be)->fault, sizeof *s->fault, cudaMemcpyDeviceToHost, cuda_stream(be)));
    VMAE_TRY(cuda_check(cudaStreamSynchronize(cuda_stream(be)), "running on the GPU"));
    *refused = s->fault->code != CUDA_REFUSES_NOTHING;
    return VMAE_OK;
}

vmae_status cuda_synchronize(vmae_backend *be)
{
    bool refused;
    VMAE_TRY(finish(be, &refused));
    return refused ? refusal(be, staging_of(be)->fault) : VMAE_OK;
}

vmae_status cuda_download(vmae_backend *be, void *to, const void *from, size_t bytes)
{
    cuda_staging *s = staging_of(be);
    for (size_t done = 0; done < bytes;) {
        const size_t left = bytes - done, piece = left < download_bytes ? left : download_bytes;
        bool refused;
        CUDA_TRY(cudaMemcpyAsync(s->down, (const char *)from + done, piece, cudaMemcpyDeviceToHost, cuda_stream(be)));
        VMAE_TRY(finish(be, &refused));
        if (refused)
            return refusal(be, s->fault);
        memcpy((char *)to + done, s->down, piece);
        done += piece;
    }
    return VMAE_OK;
}
