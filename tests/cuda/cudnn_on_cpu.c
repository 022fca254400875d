/* cudnn_on_cpu.c -- cuDNN's handle and cudnnBackendExecute on the CPU; the rest of cuDNN is the real library, which
 * builds plans for a GPU that is only described.
 *
 * A plan's JSON holds the operation graph that it was made from. It is read back and computed (cudnn_plan_on_cpu.c): so
 * a graph that cuDNN accepts is also known to mean what its author thinks. It says nothing about NVIDIA's kernels. The
 * work waits for its turn in the stream, may be captured, and demands what the real library documents: aligned device
 * memory of the right size, a workspace (which it fills with NaNs).
 *
 * A variant pack does not give back what was put into it, so cudnnBackendSetAttribute is listened to on its way. */
#include "tests/cuda/coc.h"
#include "tests/cuda/cudnn_plan_on_cpu.h"
#include "tests/cuda/described_gpu.h"

#include <cudnn.h>
#include <dlfcn.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef cudnnBackendDescriptor_t desc;

enum { PACKED = 64, WORKSPACE_ALIGNMENT = 256 };

/* One call of cudnnBackendExecute. */
typedef struct execution {
    plan_graph graph;
    void *workspace;
    int64_t workspace_bytes;
} execution;

static void complain(const char *what, const char *which)
{
    fprintf(stderr, "cudnn_on_cpu: %s%s\n", what, which);
}

/* What the backend is told to plan for where nobody says otherwise. */
__attribute__((constructor)) static void describe_a_gpu(void)
{
    setenv("VICMAE_CUDNN_DEVICE_JSON", DESCRIBED_H100, 0);
}

/* ---- an execution ---- */

static void release(void *arg)
{
    execution *e = arg;
    plan_graph_release(&e->graph);
    free(e);
}

static bool reachable(const array *a)
{
    const size_t bytes = (size_t)a->span * (a->bf16 ? 2 : 4);
    return a->output ? coc_device_writable(a->memory, bytes) : coc_device_readable(a->memory, bytes);
}

/* Whether the tensors and the workspace lie in device memory, now. */
static bool memory_is_there(const execution *e)
{
    for (int i = 0; i < e->graph.array_count; i++)
        if (e->graph.arrays[i].memory && !reachable(&e->graph.arrays[i]))
            return false;
    return e->workspace_bytes == 0 || coc_device_writable(e->workspace, (size_t)e->workspace_bytes);
}

static void run(void *arg)
{
    execution *e = arg;
    if (!memory_is_there(e))
        abort();
    if (e->workspace_bytes)
        memset(e->workspace, 0xFF, (size_t)e->workspace_bytes);
    const char *unknown = plan_graph_compute(&e->graph);
    if (unknown) {
        complain("cannot do ", unknown);
        abort();
    }
}

/* ---- the variant pack, as it is filled ---- */

static struct {
    desc pack;
    int64_t count, uids[PACKED];
    void *pointers[PACKED], *workspace;
} filled;

cudnnStatus_t cudnnBackendSetAttribute(desc d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                                       int64_t count, const void *values)
{
    static cudnnStatus_t (*real)(desc, cudnnBackendAttributeName_t, cudnnBackendAttributeType_t, int64_t, const void *);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "cudnnBackendSetAttribute");
    if (count <= PACKED && name == CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS) {
        memset(&filled, 0, sizeof filled);
        filled.pack = d;
        filled.count = count;
        memcpy(filled.uids, values, (size_t)count * sizeof *filled.uids);
    }
    if (count <= PACKED && name == CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS)
        memcpy(filled.pointers, values, (size_t)count * sizeof *filled.pointers);
    if (name == CUDNN_ATTR_VARIANT_PACK_WORKSPACE)
        memcpy(&filled.workspace, values, sizeof filled.workspace);
    return real(d, name, type, count, values);
}

/* ---- the functions that need a GPU ---- */

struct cudnnContext {
    cudaStream_t stream;
};

cudnnStatus_t cudnnCreate(cudnnHandle_t *handle)
{
    return (*handle = calloc(1, sizeof **handle)) ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_ALLOC_FAILED;
}

cudnnStatus_t cudnnDestroy(cudnnHandle_t handle)
{
    free(handle);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream)
{
    handle->stream = stream;
    return CUDNN_STATUS_SUCCESS;
}

static json_t *json_of(desc plan)
{
    int64_t length = 0;
    json_t *root = NULL;
    cudnnBackendGetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, 0, &length, NULL);
    char *json = calloc(1, (size_t)length + 1);
    if (json) {
        cudnnBackendGetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, length, &length,
                                 json);
        root = json_loads(json, 0, NULL);
    }
    free(json);
    return root;
}

/* What the variant pack holds for it. */
static const char *bind(array *a)
{
    void *memory = NULL;
    for (int64_t i = 0; i < filled.count; i++)
        if (filled.uids[i] == a->uid)
            memory = filled.pointers[i];
    if (a->is_virtual)
        return memory ? "memory for a virtual tensor" : NULL;
    if (!memory)
        return "a tensor without memory in the variant pack";
    if (a->by_value) {
        memcpy(&a->constant, memory, sizeof a->constant); /* the host's; read at the call */
        return NULL;
    }
    a->memory = memory;
    return (uintptr_t)memory % (a->alignment ? a->alignment : 16) ? "a tensor that is not aligned as it says" : NULL;
}

static const char *prepare(execution *e, desc plan)
{
    int64_t got = 0;
    const char *fault = plan_graph_read(&e->graph, json_of(plan));
    for (int i = 0; !fault && i < e->graph.array_count; i++)
        fault = bind(&e->graph.arrays[i]);
    if (fault)
        return fault;
    cudnnBackendGetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &got,
                             &e->workspace_bytes);
    e->workspace = filled.workspace;
    if (e->workspace_bytes && (uintptr_t)e->workspace % WORKSPACE_ALIGNMENT)
        return "a workspace that is not aligned";
    return memory_is_there(e) ? NULL : "memory that is not the device's";
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, desc plan, desc pack)
{
    if (!handle || !plan || pack != filled.pack)
        return CUDNN_STATUS_BAD_PARAM;
    execution *e = calloc(1, sizeof *e);
    if (!e)
        return CUDNN_STATUS_ALLOC_FAILED;
    const char *fault = prepare(e, plan);
    if (fault) {
        complain(fault, "");
        release(e);
        return CUDNN_STATUS_BAD_PARAM;
    }
    return coc_enqueue(handle->stream, run, e, release) == cudaSuccess ? CUDNN_STATUS_SUCCESS
                                                                       : CUDNN_STATUS_EXECUTION_FAILED;
}
