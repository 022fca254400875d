/* cudnn_plan_on_cpu.c -- a plan's operation graph, computed in double, rounding what each tensor's type would round. */
#include "tests/cuda/cudnn_plan_on_cpu.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- values ---- */

static double rounded(bool bf16, double x)
{
    float f = (float)x;
    uint32_t bits;
    if (!bf16 || isnan(f))
        return f;
    memcpy(&bits, &f, 4);
    bits = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000u;
    memcpy(&f, &bits, 4);
    return f;
}

static double load(bool bf16, const void *p, int64_t i)
{
    float f;
    uint32_t bits;
    if (!bf16)
        return ((const float *)p)[i];
    bits = (uint32_t)((const uint16_t *)p)[i] << 16;
    memcpy(&f, &bits, 4);
    return f;
}

static void store(bool bf16, void *p, int64_t i, double x)
{
    float f = (float)rounded(bf16, x);
    uint32_t bits;
    memcpy(&bits, &f, 4);
    if (bf16)
        ((uint16_t *)p)[i] = (uint16_t)(isnan(f) ? 0x7FFF : bits >> 16);
    else
        ((float *)p)[i] = f;
}

static void unflatten(const array *a, int64_t i, int64_t at[RANK])
{
    for (int d = a->rank - 1; d >= 0; d--)
        at[d] = i % a->dim[d], i /= a->dim[d];
}

static int64_t offset(const array *a, int64_t i)
{
    int64_t at[RANK], o = 0;
    unflatten(a, i, at);
    for (int d = 0; d < a->rank; d++)
        o += at[d] * a->stride[d];
    return o;
}

/* a's value at like's i-th place. */
static double broadcast(const array *a, const array *like, int64_t i)
{
    int64_t at[RANK], o = 0;
    unflatten(like, i, at);
    for (int d = 0; d < a->rank; d++)
        o = o * a->dim[d] + (a->dim[d] == 1 ? 0 : at[d]);
    return a->v[o];
}

static void put(array *a, int64_t i, double x)
{
    a->v[i] = rounded(a->bf16, x);
}

/* ---- the JSON ---- */

static const char *text(const json_t *node, const char *key)
{
    const char *s = json_string_value(json_object_get(node, key));
    return s ? s : "";
}

static array *find(plan_graph *g, const json_t *node, const char *key)
{
    const char *name = text(node, key);
    for (int i = 0; *name && i < g->array_count; i++)
        if (g->arrays[i].uid == strtoll(name, NULL, 10))
            return &g->arrays[i];
    return NULL;
}

static int64_t number(const json_t *list, int i)
{
    const json_t *n = json_is_array(list) ? json_array_get(list, (size_t)i) : list;
    return (int64_t)json_number_value(n);
}

static const char *const outputs[] = { "Y", "matC", "O", "stats", "dX", "dW" };
static const char *const inputs[] = { "X", "B", "matA", "matB", "Q", "K", "V", "scale", "W", "dY" };
#define COUNT(list) (int)(sizeof(list) / sizeof *(list))

/* The keys of a convolution's tensors mean different things in its three directions. */
static bool is_output(const json_t *node, const char *key)
{
    return !(strcmp(key, "Y") == 0 && strstr(text(node, "operation"), "CONVOLUTION_BACKWARD"));
}

static const json_t *graph_of(const plan_graph *g, const char *what)
{
    return json_object_get(json_object_get(g->plan, "operationGraph"), what);
}

static const char *read_tensor(array *a, const json_t *item)
{
    const json_t *dim = json_object_get(item, "dim"), *stride = json_object_get(item, "stride");
    const char *type = text(item, "dataType");
    a->uid = strtoll(text(item, "name"), NULL, 10);
    a->bf16 = strcmp(type, "CUDNN_DATA_BFLOAT16") == 0;
    a->rank = (int)json_array_size(dim);
    a->count = a->span = 1;
    a->is_virtual = json_is_true(json_object_get(item, "isVirtual"));
    a->by_value = json_is_true(json_object_get(item, "isByValue"));
    a->alignment = (uintptr_t)number(json_object_get(item, "ptrAlignment"), 0);
    if ((!a->bf16 && strcmp(type, "CUDNN_DATA_FLOAT")) || a->rank > RANK)
        return "a tensor of a type or rank that is not known here";
    for (int d = 0; d < a->rank; d++) {
        a->dim[d] = number(dim, d);
        a->stride[d] = number(stride, d);
        a->count *= a->dim[d];
        a->span += (a->dim[d] - 1) * a->stride[d];
    }
    return NULL;
}

/* ---- operations: NULL, or what is not known ---- */

static const char *run_pointwise(plan_graph *g, const json_t *node)
{
    array *x = find(g, node, "X"), *b = find(g, node, "B"), *y = find(g, node, "Y");
    const char *mode = text(node, "pointwiseMode") + strlen("CUDNN_POINTWISE_");
    for (int64_t i = 0; i < y->count; i++) {
        const double u = broadcast(x, y, i), w = b ? broadcast(b, y, i) : 0.0;
        if (!strcmp(mode, "ADD"))
            put(y, i, u + w);
        else if (!strcmp(mode, "SUB"))
            put(y, i, u - w);
        else if (!strcmp(mode, "MUL"))
            put(y, i, u * w);
        else if (!strcmp(mode, "DIV"))
            put(y, i, u / w);
        else if (!strcmp(mode, "EXP"))
            put(y, i, exp(u));
        else if (!strcmp(mode, "LOG"))
            put(y, i, log(u));
        else if (!strcmp(mode, "IDENTITY"))
            put(y, i, u);
        else
            return mode;
    }
    return NULL;
}

/* Operands reach the tensor cores as bf16, whatever a virtual tensor's type says. */
static double *as_bf16(const array *a)
{
    double *v = malloc((size_t)a->count * sizeof *v);
    for (int64_t i = 0; v && i < a->count; i++)
        v[i] = rounded(true, a->v[i]);
    return v;
}

static const char *run_matmul(plan_graph *g, const json_t *node)
{
    array *a = find(g, node, "matA"), *b = find(g, node, "matB"), *c = find(g, node, "matC");
    const int64_t m = a->dim[a->rank - 2], k = a->dim[a->rank - 1], n = b->dim[b->rank - 1], batch = c->count / (m * n);
    double *left = as_bf16(a), *right = as_bf16(b), *sum = calloc((size_t)n, sizeof *sum);
    const bool memory = left && right && sum;
    for (int64_t p = 0; memory && p < batch; p++)
        for (int64_t i = 0; i < m; i++) {
            memset(sum, 0, (size_t)n * sizeof *sum);
            for (int64_t t = 0; t < k; t++)
                for (int64_t j = 0; j < n; j++)
                    sum[j] += left[(p * m + i) * k + t] * right[(p * k + t) * n + j];
            for (int64_t j = 0; j < n; j++)
                put(c, (p * m + i) * n + j, sum[j]);
        }
    free(left);
    free(right);
    free(sum);
    return memory ? NULL : "a product without memory";
}

static const char *run_reduction(plan_graph *g, const json_t *node)
{
    array *x = find(g, node, "X"), *y = find(g, node, "Y");
    if (strcmp(text(node, "reductionOp"), "CUDNN_REDUCE_TENSOR_ADD"))
        return text(node, "reductionOp");
    memset(y->v, 0, (size_t)y->count * sizeof *y->v);
    for (int64_t i = 0; i < x->count; i++) {
        int64_t at[RANK], o = 0;
        unflatten(x, i, at);
        for (int d = 0; d < y->rank; d++)
            o = o * y->dim[d] + (y->dim[d] == 1 ? 0 : at[d]);
        y->v[o] += x->v[i];
    }
    for (int64_t i = 0; i < y->count; i++)
        put(y, i, y->v[i]);
    return NULL;
}

/* The same memory under other dimensions and strides. */
static const char *run_reshape(plan_graph *g, const json_t *node)
{
    array *x = find(g, node, "X"), *y = find(g, node, "Y");
    double *memory = calloc((size_t)x->span, sizeof *memory);
    if (!memory || y->span > x->span) {
        free(memory);
        return "a reshape beyond its tensor";
    }
    for (int64_t i = 0; i < x->count; i++)
        memory[offset(x, i)] = x->v[i];
    for (int64_t i = 0; i < y->count; i++)
        put(y, i, memory[offset(y, i)]);
    free(memory);
    return NULL;
}

static const char *run_attention(plan_graph *g, const json_t *node)
{
    array *q = find(g, node, "Q"), *k = find(g, node, "K"), *v = find(g, node, "V"), *o = find(g, node, "O");
    array *stats = find(g, node, "stats"), *scale = find(g, node, "scale");
    const int64_t heads = q->dim[0] * q->dim[1], s = q->dim[2], t = k->dim[2], d = q->dim[3];
    double *p = malloc((size_t)t * sizeof *p), *result = malloc((size_t)d * sizeof *result);
    const bool memory = p && result;
    for (int64_t row = 0; memory && row < heads * s; row++) {
        const int64_t h = row / s;
        double top = -INFINITY, sum = 0.0;
        for (int64_t j = 0; j < t; j++) {
            p[j] = 0.0;
            for (int64_t c = 0; c < d; c++)
                p[j] += q->v[row * d + c] * k->v[(h * t + j) * d + c];
            p[j] *= scale ? scale->v[0] : 1.0;
            top = fmax(top, p[j]);
        }
        for (int64_t j = 0; j < t; j++)
            sum += p[j] = exp(p[j] - top);
        memset(result, 0, (size_t)d * sizeof *result);
        for (int64_t j = 0; j < t; j++) /* unnormalised and in bf16, as a GPU does it */
            for (int64_t c = 0; c < d; c++)
                result[c] += rounded(true, p[j]) * v->v[(h * t + j) * d + c];
        for (int64_t c = 0; c < d; c++)
            put(o, row * d + c, result[c] / sum);
        if (stats)
            put(stats, row, top + log(sum));
    }
    free(p);
    free(result);
    return memory ? NULL : "attention without memory";
}

/* All three directions walk over the same terms y += x w, dx += dy w, dw += x dy. */
static const char *run_convolution(plan_graph *g, const json_t *node)
{
    array *dx = find(g, node, "dX"), *dw = find(g, node, "dW"), *dy = find(g, node, "dY");
    array *x = dx ? dx : find(g, node, "X"), *w = dw ? dw : find(g, node, "W"), *y = dy ? dy : find(g, node, "Y");
    array *result = dx ? dx : dw ? dw : y;
    const json_t *pad = json_object_get(node, "pad"), *stride = json_object_get(node, "stride");
    memset(result->v, 0, (size_t)result->count * sizeof *result->v);
    const int64_t in = x->dim[1], high = w->dim[2], wide = w->dim[3];
    for (int64_t i = 0; i < y->count; i++) {
        int64_t at[RANK];
        unflatten(y, i, at);
        for (int64_t c = 0; c < in; c++)
            for (int64_t kernel = 0; kernel < high * wide; kernel++) {
                const int64_t row = at[2] * number(stride, 0) - number(pad, 0) + kernel / wide;
                const int64_t column = at[3] * number(stride, 1) - number(pad, 1) + kernel % wide;
                if (row < 0 || row >= x->dim[2] || column < 0 || column >= x->dim[3])
                    continue;
                double *of_x = &x->v[((at[0] * in + c) * x->dim[2] + row) * x->dim[3] + column];
                double *of_w = &w->v[(at[1] * in + c) * high * wide + kernel], *of_y = &y->v[i];
                if (dx)
                    *of_x += *of_y * *of_w;
                else if (dw)
                    *of_w += *of_y * *of_x;
                else
                    *of_y += *of_x * *of_w;
            }
    }
    for (int64_t i = 0; i < result->count; i++)
        put(result, i, result->v[i]);
    return NULL;
}

static const char *run_node(plan_graph *g, const json_t *node)
{
    static const struct {
        const char *name;
        const char *(*run)(plan_graph *, const json_t *);
    } known[] = { { "POINTWISE", run_pointwise },
                  { "MATMUL", run_matmul },
                  { "REDUCTION", run_reduction },
                  { "RESHAPE", run_reshape },
                  { "SDPA_FWD", run_attention },
                  { "CONVOLUTION_FORWARD", run_convolution },
                  { "CONVOLUTION_BACKWARD_DATA", run_convolution },
                  { "CONVOLUTION_BACKWARD_FILTER", run_convolution } };
    const char *operation = text(node, "operation");
    for (int i = 0; i < COUNT(known); i++) {
        char name[128];
        snprintf(name, sizeof name, "CUDNN_BACKEND_OPERATION_%s_DESCRIPTOR", known[i].name);
        if (strcmp(operation, name) == 0)
            return known[i].run(g, node);
    }
    return operation;
}

/* Nodes are not in the order of computation: each runs when its inputs are there. */
static const char *run_nodes(plan_graph *g)
{
    const json_t *nodes = graph_of(g, "nodes");
    bool done[ARRAYS] = { false };
    size_t left = json_array_size(nodes);
    for (bool moved = true; left && moved;) {
        moved = false;
        for (size_t n = 0; n < json_array_size(nodes); n++) {
            const json_t *node = json_array_get(nodes, n);
            bool ready = !done[n];
            for (int i = 0; ready && i < COUNT(inputs); i++) {
                const array *in = find(g, node, inputs[i]);
                ready = !in || in->ready;
            }
            if (!ready)
                continue;
            const char *unknown = run_node(g, node);
            if (unknown)
                return unknown;
            for (int i = 0; i < COUNT(outputs); i++) {
                array *out = find(g, node, outputs[i]);
                if (out && is_output(node, outputs[i]))
                    out->ready = true;
            }
            done[n] = moved = true;
            left--;
        }
    }
    return left ? "a graph whose nodes wait for each other" : NULL;
}

/* ---- the whole graph ---- */

const char *plan_graph_read(plan_graph *g, json_t *plan)
{
    g->plan = plan;
    const json_t *nodes = graph_of(g, "nodes"), *tensors = graph_of(g, "tensors");
    if (!nodes)
        return "a plan without its graph";
    if (json_array_size(tensors) > ARRAYS || json_array_size(nodes) > ARRAYS)
        return "a graph that is too large";
    for (size_t i = 0; i < json_array_size(tensors); i++) {
        const char *fault = read_tensor(&g->arrays[g->array_count++], json_array_get(tensors, i));
        if (fault)
            return fault;
    }
    for (size_t n = 0; n < json_array_size(nodes); n++)
        for (int i = 0; i < COUNT(outputs); i++) {
            const json_t *node = json_array_get(nodes, n);
            array *out = find(g, node, outputs[i]);
            if (out && is_output(node, outputs[i]))
                out->output = true;
        }
    return NULL;
}

const char *plan_graph_compute(plan_graph *g)
{
    for (int i = 0; i < g->array_count; i++) {
        array *a = &g->arrays[i];
        if (!(a->v = malloc((size_t)a->count * sizeof *a->v)))
            return "a graph without memory";
        a->ready = !a->output;
        if (a->by_value)
            a->v[0] = a->constant;
        else if (a->memory && !a->output)
            for (int64_t k = 0; k < a->count; k++)
                a->v[k] = load(a->bf16, a->memory, offset(a, k));
    }
    const char *unknown = run_nodes(g);
    for (int i = 0; i < g->array_count; i++) {
        array *a = &g->arrays[i];
        for (int64_t k = 0; !unknown && a->memory && a->output && k < a->count; k++)
            store(a->bf16, a->memory, offset(a, k), a->v[k]);
        free(a->v); /* a captured call may run again */
        a->v = NULL;
    }
    return unknown;
}

void plan_graph_release(plan_graph *g)
{
    for (int i = 0; i < g->array_count; i++)
        free(g->arrays[i].v);
    json_decref(g->plan);
}
