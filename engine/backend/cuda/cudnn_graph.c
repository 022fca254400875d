/* cudnn_graph.c -- descriptors, operations and plans of cuDNN's backend API. */
#include "engine/backend/cuda/cudnn_graph.h"

#include <stdio.h>
#include <string.h>

static const cudnnDataType_t BF16 = CUDNN_DATA_BFLOAT16, F32 = CUDNN_DATA_FLOAT;

/* ---- descriptors ---- */

static void sentence(char *text, size_t size, cudnnStatus_t status, const char *what)
{
    char why[512] = "";
    cudnnGetLastErrorString(why, sizeof why);
    why[strcspn(why, "\n")] = '\0';
    snprintf(text, size, "%s: %s%s%s", what, cudnnGetErrorString(status), *why ? ": " : "", why);
}

static bool ok(cudnn_graph *g, cudnnStatus_t status, const char *what)
{
    if (!*g->error && status != CUDNN_STATUS_SUCCESS)
        sentence(g->error, sizeof g->error, status, what);
    return !*g->error;
}

static cudnn_desc create(cudnn_graph *g, cudnnBackendDescriptorType_t type)
{
    cudnn_desc d = NULL;
    if (*g->error)
        return NULL;
    if (g->made_count == CUDNN_GRAPH_DESCRIPTORS)
        snprintf(g->error, sizeof g->error, "a cuDNN graph of more than %d descriptors", CUDNN_GRAPH_DESCRIPTORS);
    else if (ok(g, cudnnBackendCreateDescriptor(type, &d), "cudnnBackendCreateDescriptor"))
        g->made[g->made_count++] = d;
    return d;
}

static void set(cudnn_graph *g, cudnn_desc d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                int64_t count, const void *values, const char *what)
{
    if (!*g->error)
        ok(g, cudnnBackendSetAttribute(d, name, type, count, values), what);
}
#define SET(d, name, type, ...)         set(g, d, CUDNN_ATTR_##name, CUDNN_TYPE_##type, 1, __VA_ARGS__, #name)
#define SET_N(d, name, type, n, values) set(g, d, CUDNN_ATTR_##name, CUDNN_TYPE_##type, n, values, #name)
#define SET_DESC(d, name, value)        SET(d, name, BACKEND_DESCRIPTOR, &(cudnn_desc){ value })

static cudnn_desc finalized(cudnn_graph *g, cudnn_desc d, const char *what)
{
    if (!*g->error)
        ok(g, cudnnBackendFinalize(d), what);
    return d;
}

static void operation(cudnn_graph *g, cudnn_desc d, const char *what)
{
    finalized(g, d, what);
    if (*g->error)
        return;
    if (g->operation_count == CUDNN_GRAPH_OPERATIONS)
        snprintf(g->error, sizeof g->error, "a cuDNN graph of more than %d operations", CUDNN_GRAPH_OPERATIONS);
    else
        g->operations[g->operation_count++] = d;
}

void cudnn_graph_begin(cudnn_graph *g)
{
    memset(g, 0, sizeof *g);
}

void cudnn_graph_end(cudnn_graph *g)
{
    while (g->made_count)
        cudnnBackendDestroyDescriptor(g->made[--g->made_count]);
}

/* ---- the GPU ---- */

vmae_status cudnn_gpu_described(cudnn_gpu *gpu, const char *json)
{
    cudnn_graph scratch, *g = &scratch;
    cudnn_graph_begin(g);
    cudnn_desc d = create(g, CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
    SET_N(d, DEVICEPROP_JSON_REPRESENTATION, CHAR, (int64_t)strlen(json), json);
    finalized(g, d, "the description of a GPU");
    if (*g->error) {
        cudnn_graph_end(g);
        return vmae_fail(VMAE_EUSER, "cuDNN: %s", g->error);
    }
    gpu->properties = d; /* it outlives the graph */
    return VMAE_OK;
}

/* ---- tensors ---- */

cudnn_desc cudnn_tensor(cudnn_graph *g, cudnnDataType_t type, cudnn_kind kind, int rank, const int64_t *dim,
                        const int64_t *stride)
{
    cudnn_desc d = create(g, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    SET(d, TENSOR_UNIQUE_ID, INT64, &(int64_t){ ++g->last_uid });
    SET(d, TENSOR_DATA_TYPE, DATA_TYPE, &type);
    SET(d, TENSOR_BYTE_ALIGNMENT, INT64, &(int64_t){ 16 });
    SET_N(d, TENSOR_DIMENSIONS, INT64, rank, dim);
    SET_N(d, TENSOR_STRIDES, INT64, rank, stride);
    if (kind == CUDNN_VIRTUAL)
        SET(d, TENSOR_IS_VIRTUAL, BOOLEAN, &(bool){ true });
    if (kind == CUDNN_BY_VALUE)
        SET(d, TENSOR_IS_BY_VALUE, BOOLEAN, &(bool){ true });
    return finalized(g, d, "tensor");
}

cudnn_desc cudnn_packed(cudnn_graph *g, cudnnDataType_t type, cudnn_kind kind, int64_t a, int64_t b, int64_t c,
                        int64_t d)
{
    return cudnn_tensor(g, type, kind, 4, (int64_t[]){ a, b, c, d }, (int64_t[]){ b * c * d, c * d, d, 1 });
}

cudnn_desc cudnn_channels_last(cudnn_graph *g, cudnnDataType_t type, cudnn_kind kind, int64_t n, int64_t c, int64_t h,
                               int64_t w)
{
    return cudnn_tensor(g, type, kind, 4, (int64_t[]){ n, c, h, w }, (int64_t[]){ c * h * w, 1, c * w, c });
}

/* ---- operations ---- */

void cudnn_pointwise(cudnn_graph *g, cudnnPointwiseMode_t mode, cudnn_desc x, cudnn_desc b, cudnn_desc y)
{
    cudnn_desc p = create(g, CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    SET(p, POINTWISE_MODE, POINTWISE_MODE, &mode);
    SET(p, POINTWISE_MATH_PREC, DATA_TYPE, &F32);
    finalized(g, p, "pointwise");
    cudnn_desc o = create(g, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    SET_DESC(o, OPERATION_POINTWISE_PW_DESCRIPTOR, p);
    SET_DESC(o, OPERATION_POINTWISE_XDESC, x);
    if (b)
        SET_DESC(o, OPERATION_POINTWISE_BDESC, b);
    SET_DESC(o, OPERATION_POINTWISE_YDESC, y);
    operation(g, o, "pointwise operation");
}

void cudnn_reduce(cudnn_graph *g, cudnnReduceTensorOp_t how, cudnn_desc x, cudnn_desc y)
{
    cudnn_desc r = create(g, CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
    SET(r, REDUCTION_OPERATOR, REDUCTION_OPERATOR_TYPE, &how);
    SET(r, REDUCTION_COMP_TYPE, DATA_TYPE, &F32);
    finalized(g, r, "reduction");
    cudnn_desc o = create(g, CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
    SET_DESC(o, OPERATION_REDUCTION_DESC, r);
    SET_DESC(o, OPERATION_REDUCTION_XDESC, x);
    SET_DESC(o, OPERATION_REDUCTION_YDESC, y);
    operation(g, o, "reduction operation");
}

void cudnn_matmul(cudnn_graph *g, cudnn_desc a, cudnn_desc b, cudnn_desc c)
{
    cudnn_desc m = create(g, CUDNN_BACKEND_MATMUL_DESCRIPTOR);
    SET(m, MATMUL_COMP_TYPE, DATA_TYPE, &F32);
    finalized(g, m, "matmul");
    cudnn_desc o = create(g, CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
    SET_DESC(o, OPERATION_MATMUL_DESC, m);
    SET_DESC(o, OPERATION_MATMUL_ADESC, a);
    SET_DESC(o, OPERATION_MATMUL_BDESC, b);
    SET_DESC(o, OPERATION_MATMUL_CDESC, c);
    operation(g, o, "matmul operation");
}

void cudnn_reshape(cudnn_graph *g, cudnn_desc x, cudnn_desc y)
{
    cudnn_desc o = create(g, CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR);
    SET_DESC(o, OPERATION_RESHAPE_XDESC, x);
    SET_DESC(o, OPERATION_RESHAPE_YDESC, y);
    operation(g, o, "reshape operation");
}

/* ---- attention ---- */

/* One head's rows among `parts` interleaved tensors (3: in qkv; 1: in out). cuDNN sees [batch, heads, tokens, width],
 * or the last two swapped. */
static cudnn_desc by_head(cudnn_graph *g, const cudnn_attention *a, cudnn_kind kind, int64_t parts, bool swap)
{
    const int64_t row = parts * a->heads * a->width;
    if (swap)
        return cudnn_tensor(g, BF16, kind, 4, (int64_t[]){ a->batch, a->heads, a->width, a->tokens },
                            (int64_t[]){ a->tokens * row, a->width, 1, row });
    return cudnn_tensor(g, BF16, kind, 4, (int64_t[]){ a->batch, a->heads, a->tokens, a->width },
                        (int64_t[]){ a->tokens * row, a->width, row, 1 });
}

static cudnn_desc by_row(cudnn_graph *g, const cudnn_attention *a, cudnn_kind kind)
{
    return cudnn_packed(g, F32, kind, a->batch, a->heads, a->tokens, 1);
}

void cudnn_attention_forward(cudnn_graph *g, const cudnn_attention *a, bool stats)
{
    const cudnn_desc q = by_head(g, a, CUDNN_REAL, 3, false), k = by_head(g, a, CUDNN_REAL, 3, false);
    const cudnn_desc v = by_head(g, a, CUDNN_REAL, 3, false), out = by_head(g, a, CUDNN_REAL, 1, false);
    const cudnn_desc scale = cudnn_packed(g, F32, CUDNN_BY_VALUE, 1, 1, 1, 1);
    const cudnn_desc kept = stats ? by_row(g, a, CUDNN_REAL) : NULL;
    cudnn_desc o = create(g, CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR);
    SET_DESC(o, OPERATION_SDPA_FWD_QDESC, q);
    SET_DESC(o, OPERATION_SDPA_FWD_KDESC, k); /* not transposed here */
    SET_DESC(o, OPERATION_SDPA_FWD_VDESC, v);
    SET_DESC(o, OPERATION_SDPA_FWD_ODESC, out);
    if (stats)
        SET_DESC(o, OPERATION_SDPA_FWD_STATSDESC, kept);
    SET_DESC(o, OPERATION_SDPA_FWD_SCALEDESC, scale);
    operation(g, o, "attention operation");
}

static cudnn_desc scores(cudnn_graph *g, const cudnn_attention *a)
{
    return cudnn_packed(g, F32, CUDNN_VIRTUAL, a->batch, a->heads, a->tokens, a->tokens);
}

static cudnn_desc scores_swapped(cudnn_graph *g, const cudnn_attention *a)
{
    const int64_t s = a->tokens;
    return cudnn_tensor(g, BF16, CUDNN_VIRTUAL, 4, (int64_t[]){ a->batch, a->heads, s, s },
                        (int64_t[]){ a->heads * s * s, s * s, 1, s });
}

/* The one pattern of operations that cuDNN's engine for it recognises: it knows the pattern, not the mathematics, and
 * without a single one of them there is no plan. dq straight from its product: the same bits every time, at the price
 * of a workspace of the size of dS. (Through a real f32 tensor and an identity it would be added up in any order.) */
void cudnn_attention_backward(cudnn_graph *g, const cudnn_attention *a)
{
    const cudnn_desc q = by_head(g, a, CUDNN_REAL, 3, false), k_swapped = by_head(g, a, CUDNN_REAL, 3, true);
    const cudnn_desc v_swapped = by_head(g, a, CUDNN_REAL, 3, true), out = by_head(g, a, CUDNN_REAL, 1, false);
    const cudnn_desc dout = by_head(g, a, CUDNN_REAL, 1, false), stats = by_row(g, a, CUDNN_REAL);
    const cudnn_desc dq = by_head(g, a, CUDNN_REAL, 3, false), dk = by_head(g, a, CUDNN_REAL, 3, false);
    const cudnn_desc dv = by_head(g, a, CUDNN_REAL, 3, false);
    const cudnn_desc scale = cudnn_packed(g, F32, CUDNN_BY_VALUE, 1, 1, 1, 1);
    const cudnn_desc one = cudnn_packed(g, F32, CUDNN_BY_VALUE, 1, 1, 1, 1), row_sum = by_row(g, a, CUDNN_REAL);

    const int64_t s = a->tokens, d = a->width;
    const cudnn_desc weighted_out = cudnn_tensor(g, F32, CUDNN_VIRTUAL, 4, (int64_t[]){ a->batch, a->heads, s, d },
                                                 (int64_t[]){ a->heads * s * d, s * d, d, 1 });
    const cudnn_desc sum = by_row(g, a, CUDNN_VIRTUAL);
    cudnn_pointwise(g, CUDNN_POINTWISE_MUL, dout, out, weighted_out);
    cudnn_reduce(g, CUDNN_REDUCE_TENSOR_ADD, weighted_out, sum);
    cudnn_pointwise(g, CUDNN_POINTWISE_MUL, sum, one, row_sum); /* where dropout would scale */

    const cudnn_desc score = scores(g, a), scaled = scores(g, a), shifted = scores(g, a), p = scores(g, a);
    const cudnn_desc p_dropped = scores(g, a), p_swapped = scores_swapped(g, a);
    cudnn_matmul(g, q, k_swapped, score);
    cudnn_pointwise(g, CUDNN_POINTWISE_MUL, score, scale, scaled);
    cudnn_pointwise(g, CUDNN_POINTWISE_SUB, scaled, stats, shifted);
    cudnn_pointwise(g, CUDNN_POINTWISE_EXP, shifted, NULL, p);
    cudnn_pointwise(g, CUDNN_POINTWISE_MUL, p, one, p_dropped);
    cudnn_reshape(g, p_dropped, p_swapped);
    cudnn_matmul(g, p_swapped, dout, dv);

    const cudnn_desc dp = scores(g, a), centred = scores(g, a), weighted = scores(g, a), ds = scores(g, a);
    const cudnn_desc ds_swapped = scores_swapped(g, a), k = by_head(g, a, CUDNN_VIRTUAL, 3, false);
    cudnn_matmul(g, dout, v_swapped, dp);
    cudnn_pointwise(g, CUDNN_POINTWISE_SUB, dp, row_sum, centred);
    cudnn_pointwise(g, CUDNN_POINTWISE_MUL, centred, p, weighted);
    cudnn_pointwise(g, CUDNN_POINTWISE_MUL, weighted, scale, ds);
    cudnn_reshape(g, ds, ds_swapped);
    cudnn_matmul(g, ds_swapped, q, dk);
    cudnn_reshape(g, k_swapped, k);
    cudnn_matmul(g, ds, k, dq);
}

/* ---- convolutions ---- */

#define SET_CONVOLUTION(kind, x, w, y)                                                                                 \
    do {                                                                                                               \
        SET_DESC(o, OPERATION_CONVOLUTION_##kind##_##x, of_x);                                                         \
        SET_DESC(o, OPERATION_CONVOLUTION_##kind##_##w, of_w);                                                         \
        SET_DESC(o, OPERATION_CONVOLUTION_##kind##_##y, of_y);                                                         \
        SET_DESC(o, OPERATION_CONVOLUTION_##kind##_CONV_DESC, how);                                                    \
        SET(o, OPERATION_CONVOLUTION_##kind##_ALPHA, FLOAT, &(float){ 1.0f });                                         \
        SET(o, OPERATION_CONVOLUTION_##kind##_BETA, FLOAT, &(float){ 0.0f });                                          \
    } while (0)

void cudnn_convolve(cudnn_graph *g, const cudnn_convolution *c, cudnn_direction direction)
{
    const int64_t height = (c->height + 2 * c->pad - c->kernel) / c->stride + 1;
    const int64_t width = (c->width + 2 * c->pad - c->kernel) / c->stride + 1;
    const cudnn_desc of_x = cudnn_channels_last(g, c->type, CUDNN_REAL, c->batch, c->in, c->height, c->width);
    const cudnn_desc of_w = cudnn_channels_last(g, c->type, CUDNN_REAL, c->out, c->in, c->kernel, c->kernel);
    const cudnn_desc of_y = cudnn_channels_last(g, c->type, CUDNN_REAL, c->batch, c->out, height, width);
    cudnn_desc how = create(g, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    SET(how, CONVOLUTION_COMP_TYPE, DATA_TYPE, &F32);
    SET(how, CONVOLUTION_CONV_MODE, CONVOLUTION_MODE, &(cudnnConvolutionMode_t){ CUDNN_CROSS_CORRELATION });
    SET(how, CONVOLUTION_SPATIAL_DIMS, INT64, &(int64_t){ 2 });
    SET_N(how, CONVOLUTION_PRE_PADDINGS, INT64, 2, ((int64_t[]){ c->pad, c->pad }));
    SET_N(how, CONVOLUTION_POST_PADDINGS, INT64, 2, ((int64_t[]){ c->pad, c->pad }));
    SET_N(how, CONVOLUTION_FILTER_STRIDES, INT64, 2, ((int64_t[]){ c->stride, c->stride }));
    SET_N(how, CONVOLUTION_DILATIONS, INT64, 2, ((int64_t[]){ 1, 1 }));
    finalized(g, how, "convolution");
    cudnn_desc o = NULL;
    switch (direction) {
    case CUDNN_FORWARD:
        o = create(g, CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
        SET_CONVOLUTION(FORWARD, X, W, Y);
        break;
    case CUDNN_DATA:
        o = create(g, CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR);
        SET_CONVOLUTION(BWD_DATA, DX, W, DY);
        break;
    case CUDNN_FILTER:
        o = create(g, CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR);
        SET_CONVOLUTION(BWD_FILTER, X, DW, DY);
        break;
    }
    operation(g, o, "convolution operation");
    g->exact = c->type == CUDNN_DATA_FLOAT;
}

/* ---- plans ---- */

enum { CONFIGURATIONS = 64 };

/* The same bits every time; and, for exact f32, products of f32. */
static bool wanted(const cudnn_graph *g, cudnn_desc engine)
{
    cudnnBackendNumericalNote_t notes[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
    int64_t count = 0;
    if (cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                                 CUDNN_NUMERICAL_NOTE_TYPE_COUNT, &count, notes) != CUDNN_STATUS_SUCCESS)
        return true;
    for (int64_t i = 0; i < count && i < CUDNN_NUMERICAL_NOTE_TYPE_COUNT; i++)
        switch (notes[i]) {
        case CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC: return false;
        case CUDNN_NUMERICAL_NOTE_TENSOR_CORE: /* rounds the operands */
        case CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS:
        case CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION:
        case CUDNN_NUMERICAL_NOTE_FFT: /* transforms them */
        case CUDNN_NUMERICAL_NOTE_WINOGRAD:
        case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_4x4:
        case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_6x6:
        case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13:
            if (g->exact)
                return false;
            break;
        default: break;
        }
    return true;
}

/* The plan of one configuration, if it can be built. What it needs besides belongs to the graph. */
static bool plan_of(cudnn_plan *plan, cudnn_graph *g, const cudnn_gpu *gpu, cudnn_desc config)
{
    int64_t got = 0;
    cudnn_desc engine = create(g, CUDNN_BACKEND_ENGINE_DESCRIPTOR), p = NULL;
    if (*g->error || cudnnBackendGetAttribute(config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                                              &got, &engine) != CUDNN_STATUS_SUCCESS)
        return false;
    if (!wanted(g, engine))
        return false;
    if (cudnnBackendCreateDescriptor(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, &p) != CUDNN_STATUS_SUCCESS)
        return false;
    cudnnStatus_t status = CUDNN_STATUS_SUCCESS;
    if (!gpu->properties) /* a described GPU comes along with the engine */
        status = cudnnBackendSetAttribute(p, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &gpu->handle);
    if (status == CUDNN_STATUS_SUCCESS)
        status = cudnnBackendSetAttribute(p, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                                          &config);
    if (status == CUDNN_STATUS_SUCCESS)
        status = cudnnBackendFinalize(p);
    if (status != CUDNN_STATUS_SUCCESS) {
        cudnnBackendDestroyDescriptor(p);
        return false;
    }
    plan->plan = p;
    cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &got, &plan->engine);
    cudnnBackendGetAttribute(p, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &got, &plan->workspace);
    return true;
}

/* The first that can be built of one mode's suggestions. */
static bool plan_by(cudnn_plan *plan, cudnn_graph *g, const cudnn_gpu *gpu, cudnn_desc graph,
                    cudnnBackendHeurMode_t mode)
{
    cudnn_desc heuristics = create(g, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR), config[CONFIGURATIONS];
    int64_t suggested = 0, supported = 0;
    SET_DESC(heuristics, ENGINEHEUR_OPERATION_GRAPH, graph);
    SET(heuristics, ENGINEHEUR_MODE, HEUR_MODE, &mode);
    if (gpu->properties)
        SET_DESC(heuristics, ENGINEHEUR_DEVICEPROP, gpu->properties);
    finalized(g, heuristics, "heuristics");
    if (*g->error || !ok(g,
                         cudnnBackendGetAttribute(heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                                  CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, &suggested, NULL),
                         "the number of engines"))
        return false;
    if (suggested > CONFIGURATIONS)
        suggested = CONFIGURATIONS;
    for (int64_t i = 0; i < suggested; i++)
        config[i] = create(g, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    /* Asking for them is what checks support: of those suggested, some come back. */
    if (*g->error || !ok(g,
                         cudnnBackendGetAttribute(heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                                  CUDNN_TYPE_BACKEND_DESCRIPTOR, suggested, &supported, config),
                         "engines"))
        return false;
    plan->suggested += suggested;
    plan->refused += suggested - supported;
    for (int64_t i = 0; i < supported; i++) {
        if (plan_of(plan, g, gpu, config[i]))
            return true;
        plan->refused++;
    }
    return false;
}

vmae_status cudnn_plan_new(cudnn_plan *plan, cudnn_graph *g, const cudnn_gpu *gpu)
{
    *plan = (cudnn_plan){ .engine = -1 };
    cudnn_desc graph = create(g, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    if (!gpu->properties)
        SET(graph, OPERATIONGRAPH_HANDLE, HANDLE, &gpu->handle);
    SET_N(graph, OPERATIONGRAPH_OPS, BACKEND_DESCRIPTOR, g->operation_count, g->operations);
    finalized(g, graph, "operation graph");
    const bool found = !*g->error && (plan_by(plan, g, gpu, graph, CUDNN_HEUR_MODE_A) ||
                                      (!*g->error && plan_by(plan, g, gpu, graph, CUDNN_HEUR_MODE_FALLBACK)));
    if (*g->error)
        return vmae_fail(VMAE_EUSER, "cuDNN: %s", g->error);
    if (!found) {
        sentence(g->error, sizeof g->error, CUDNN_STATUS_NOT_SUPPORTED, "no engine takes this graph");
        return vmae_fail(VMAE_EUSER, "cuDNN: %s", g->error);
    }
    return VMAE_OK;
}

void cudnn_plan_free(cudnn_plan *plan)
{
    if (plan->plan)
        cudnnBackendDestroyDescriptor(plan->plan);
    plan->plan = NULL;
}

vmae_status cudnn_plan_run(const cudnn_plan *plan, const cudnn_gpu *gpu, int count, const int64_t *uids,
                           void *const *pointers, void *workspace)
{
    cudnn_graph scratch, *g = &scratch;
    cudnn_graph_begin(g);
    cudnn_desc pack = create(g, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    SET_N(pack, VARIANT_PACK_UNIQUE_IDS, INT64, count, uids);
    SET_N(pack, VARIANT_PACK_DATA_POINTERS, VOID_PTR, count, pointers);
    SET(pack, VARIANT_PACK_WORKSPACE, VOID_PTR, &workspace);
    finalized(g, pack, "variant pack");
    if (!*g->error)
        ok(g, cudnnBackendExecute(gpu->handle, plan->plan, pack), "cudnnBackendExecute");
    cudnn_graph_end(g);
    return *g->error ? vmae_fail(VMAE_EINTERNAL, "cuDNN: %s", g->error) : VMAE_OK;
}
