/* cudnn_graph.h -- operation graphs of cuDNN's backend API and the plans that run them. Private to backend/cuda and to
 * the tests that build the same plans for GPUs that are only described.
 *
 * A graph is filled by the functions below; the first call that cuDNN refuses leaves a sentence in `error`, and later
 * calls do nothing. cudnn_plan_new() asks the heuristics for engines and takes the first that gives the same bits every
 * time and whose plan finalizes. */
#ifndef VMAE_BACKEND_CUDA_CUDNN_GRAPH_H
#define VMAE_BACKEND_CUDA_CUDNN_GRAPH_H

#include "engine/core/status.h"

#include <cudnn.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef cudnnBackendDescriptor_t cudnn_desc;

/* The GPU that plans are made for: a handle on a real one, or the properties of one that is described. */
typedef struct cudnn_gpu {
    cudnnHandle_t handle;  /* NULL where there is no GPU; then nothing can run */
    cudnn_desc properties; /* NULL: the handle's GPU */
} cudnn_gpu;

/* json: the 23 keys of CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, each the device attribute of that name. */
vmae_status cudnn_gpu_described(cudnn_gpu *gpu, const char *json);

enum { CUDNN_GRAPH_DESCRIPTORS = 256, CUDNN_GRAPH_OPERATIONS = 32 };

typedef struct cudnn_graph {
    cudnn_desc made[CUDNN_GRAPH_DESCRIPTORS], operations[CUDNN_GRAPH_OPERATIONS];
    int made_count, operation_count;
    bool exact;       /* of f32: no engine that rounds operands for tensor cores, or transforms them */
    int64_t last_uid; /* tensors are numbered from 1 in the order of their making */
    char error[768];  /* empty: so far so good */
} cudnn_graph;

void cudnn_graph_begin(cudnn_graph *g);
void cudnn_graph_end(cudnn_graph *g); /* destroys every descriptor; plans made from it live on */

/* ---- tensors ---- */

typedef enum cudnn_kind { CUDNN_REAL, CUDNN_VIRTUAL, CUDNN_BY_VALUE } cudnn_kind;

cudnn_desc cudnn_tensor(cudnn_graph *g, cudnnDataType_t type, cudnn_kind kind, int rank, const int64_t *dim,
                        const int64_t *stride);
cudnn_desc cudnn_packed(cudnn_graph *g, cudnnDataType_t type, cudnn_kind kind, int64_t a, int64_t b, int64_t c,
                        int64_t d);
/* [n][h][w][c] in memory. */
cudnn_desc cudnn_channels_last(cudnn_graph *g, cudnnDataType_t type, cudnn_kind kind, int64_t n, int64_t c, int64_t h,
                               int64_t w);

/* ---- operations ---- */

void cudnn_pointwise(cudnn_graph *g, cudnnPointwiseMode_t mode, cudnn_desc x, cudnn_desc b, cudnn_desc y);
void cudnn_reduce(cudnn_graph *g, cudnnReduceTensorOp_t how, cudnn_desc x, cudnn_desc y);
void cudnn_matmul(cudnn_graph *g, cudnn_desc a, cudnn_desc b, cudnn_desc c);
void cudnn_reshape(cudnn_graph *g, cudnn_desc x, cudnn_desc y);

/* ---- whole graphs; the numbers of their tensors ---- */

/* Attention of qkv [batch, tokens, 3, heads, width] in bf16, as one linear layer writes it. */
typedef struct cudnn_attention {
    int64_t batch, tokens, heads, width;
} cudnn_attention;

/* With `stats`, the log-sum-exp of each row is kept for the gradient. */
enum { SDPA_Q = 1, SDPA_K, SDPA_V, SDPA_OUT, SDPA_SCALE, SDPA_STATS };
void cudnn_attention_forward(cudnn_graph *g, const cudnn_attention *a, bool stats);

/* D = rowsum(dout out)   P = exp(scale q k' - stats)   dv = P' dout   dS = scale P (dout v' - D)   dk = dS' q   dq = dS
 * k ROW_SUM [batch, heads, tokens] f32 is the caller's to provide; ONE is 1 by value. */
enum {
    SDPA_GRAD_Q = 1,
    SDPA_GRAD_K,
    SDPA_GRAD_V,
    SDPA_GRAD_OUT,
    SDPA_GRAD_DOUT,
    SDPA_GRAD_STATS,
    SDPA_GRAD_DQ,
    SDPA_GRAD_DK,
    SDPA_GRAD_DV,
    SDPA_GRAD_SCALE,
    SDPA_GRAD_ONE,
    SDPA_GRAD_ROW_SUM
};
void cudnn_attention_backward(cudnn_graph *g, const cudnn_attention *a);

/* Convolutions of x [n][h][w][c_in] with w [c_out][kh][kw][c_in], square kernels, everything of one type; f32 is
 * exact. */
typedef struct cudnn_convolution {
    cudnnDataType_t type;
    int64_t batch, in, out, height, width, kernel, pad, stride;
} cudnn_convolution;

enum { CONVOLUTION_X = 1, CONVOLUTION_W, CONVOLUTION_Y }; /* or their gradients: dx, dw, dy */
typedef enum cudnn_direction { CUDNN_FORWARD, CUDNN_DATA, CUDNN_FILTER } cudnn_direction;
void cudnn_convolve(cudnn_graph *g, const cudnn_convolution *c, cudnn_direction direction);

/* ---- plans ---- */

typedef struct cudnn_plan {
    cudnn_desc plan;
    int64_t engine, workspace;  /* the engine's global index; bytes */
    int64_t suggested, refused; /* configurations: of the heuristics; without support, nondeterministic or not built */
} cudnn_plan;

/* VMAE_EUSER: no engine takes the graph (a sentence says why). */
vmae_status cudnn_plan_new(cudnn_plan *plan, cudnn_graph *g, const cudnn_gpu *gpu);
void cudnn_plan_free(cudnn_plan *plan);
/* workspace: a multiple of 256. By-value tensors are pointers to host memory, read before this returns. */
vmae_status cudnn_plan_run(const cudnn_plan *plan, const cudnn_gpu *gpu, int count, const int64_t *uids,
                           void *const *pointers, void *workspace);

#endif
