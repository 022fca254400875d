/* matmul.c -- matrix products by oneDNN: one primitive for each distinct shape, made once.
 *
 * B is given to oneDNN as it lies, except in two cases, where it is repacked into oneDNN's own layout first (1/m of the
 * product's cost): its rows are a multiple of 4 KiB apart, so that successive rows fall into the same cache sets
 * (measured: half speed); or neither operand is transposed (the gradient of a linear layer's input) and there are many
 * rows (measured: 15 % faster in bf16). The choice depends on the shape alone, never on a timing, so that the same run
 * gives the same bits. */
#include "engine/backend/cpu/matmul.h"

#include "engine/core/mem.h"

#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARGUMENTS_MAX = 7, ALIGN = 64, MANY_ROWS = 256 };

struct vmae_matmul {
    vmae_matmul *next;
    vmae_matmul_shape shape;
    dnnl_primitive_t primitive, repack; /* repack NULL: B is used as it lies */
    dnnl_memory_t a, b, packed, c, bias, residual, scratchpad;
    size_t packed_bytes, scratchpad_bytes;
};

struct cpu_products {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    vmae_matmul *list;
    int threads;
};

/* oneDNN takes as many threads as OpenMP gives the calling thread at that moment, whoever set that last: without this,
 * opening another backend would change the sums of this one. */
static void use_threads(const cpu_products *products)
{
    if (omp_get_max_threads() != products->threads)
        omp_set_num_threads(products->threads);
}

#define TRY_DNNL(call)                                                                                                 \
    do {                                                                                                               \
        const dnnl_status_t try_dnnl_ = (call);                                                                        \
        if (try_dnnl_ != dnnl_success)                                                                                 \
            return fail_dnnl(try_dnnl_, #call);                                                                        \
    } while (0)

static vmae_status fail_dnnl(dnnl_status_t status, const char *call)
{
    if (status == dnnl_out_of_memory)
        return vmae_fail(VMAE_ENOMEM, "oneDNN ran out of memory in %s", call);
    return vmae_fail(VMAE_EINTERNAL, "oneDNN: %s gave status %d", call, (int)status);
}

static dnnl_data_type_t data_type(vmae_type type)
{
    return type == VMAE_BF16 ? dnnl_bf16 : dnnl_f32;
}

static size_t round_up(size_t bytes)
{
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

/* A [rows, columns] matrix that lies transposed if asked. */
static vmae_status matrix(dnnl_memory_desc_t *desc, int64_t rows, int64_t columns, bool transposed, vmae_type type)
{
    const dnnl_dims_t dims = { rows, columns };
    const dnnl_dims_t strides = { transposed ? 1 : columns, transposed ? rows : 1 };
    TRY_DNNL(dnnl_memory_desc_init_by_strides(desc, 2, dims, data_type(type), strides));
    return VMAE_OK;
}

static vmae_status attributes(dnnl_primitive_attr_t *attr, const vmae_matmul_shape *shape, const dnnl_memory_desc_t *c)
{
    dnnl_post_ops_t ops;
    TRY_DNNL(dnnl_primitive_attr_create(attr));
    TRY_DNNL(dnnl_primitive_attr_set_scratchpad_mode(*attr, dnnl_scratchpad_mode_user));
    TRY_DNNL(dnnl_post_ops_create(&ops));
    dnnl_status_t status = dnnl_success;
    if (shape->accumulate)
        status = dnnl_post_ops_append_sum(ops, 1.0f);
    if (status == dnnl_success && shape->gelu)
        status = dnnl_post_ops_append_eltwise(ops, 1.0f, dnnl_eltwise_gelu_erf, 0.0f, 0.0f);
    if (status == dnnl_success && shape->residual)
        status = dnnl_post_ops_append_binary(ops, dnnl_binary_add, c);
    if (status == dnnl_success)
        status = dnnl_primitive_attr_set_post_ops(*attr, ops);
    dnnl_post_ops_destroy(ops);
    TRY_DNNL(status);
    return VMAE_OK;
}

static vmae_status memory(const cpu_products *products, dnnl_memory_t *object, const dnnl_memory_desc_t *desc)
{
    TRY_DNNL(dnnl_memory_create(object, desc, products->engine, DNNL_MEMORY_NONE));
    return VMAE_OK;
}

static vmae_status make_repack(const cpu_products *products, vmae_matmul *matmul, const dnnl_memory_desc_t *from,
                               const dnnl_memory_desc_t *to)
{
    dnnl_primitive_desc_t desc;
    TRY_DNNL(dnnl_reorder_primitive_desc_create(&desc, from, products->engine, to, products->engine, NULL));
    const dnnl_status_t status = dnnl_primitive_create(&matmul->repack, desc);
    dnnl_primitive_desc_destroy(desc);
    TRY_DNNL(status);
    matmul->packed_bytes = round_up(dnnl_memory_desc_get_size(to));
    return memory(products, &matmul->packed, to);
}

static vmae_status describe(const cpu_products *products, dnnl_primitive_desc_t *pd, const vmae_matmul_shape *shape,
                            const dnnl_memory_desc_t md[3], bool pack_b)
{
    const dnnl_dims_t bias_dims = { 1, shape->n };
    dnnl_memory_desc_t bias, packed = md[1];
    TRY_DNNL(dnnl_memory_desc_init_by_tag(&bias, 2, bias_dims, dnnl_f32, dnnl_ab));
    if (pack_b)
        TRY_DNNL(dnnl_memory_desc_init_by_tag(&packed, 2, md[1].dims, data_type(shape->in), dnnl_format_tag_any));
    dnnl_matmul_desc_t desc;
    TRY_DNNL(dnnl_matmul_desc_init(&desc, &md[0], &packed, shape->bias ? &bias : NULL, &md[2]));
    dnnl_primitive_attr_t attr = NULL;
    const vmae_status attributed = attributes(&attr, shape, &md[2]);
    if (attributed != VMAE_OK) {
        dnnl_primitive_attr_destroy(attr);
        return attributed;
    }
    const dnnl_status_t status = dnnl_primitive_desc_create(pd, &desc, attr, products->engine, NULL);
    dnnl_primitive_attr_destroy(attr);
    if (status == dnnl_unimplemented && shape->in == VMAE_BF16)
        return vmae_fail(VMAE_EUSER, "this processor cannot multiply bf16 matrices; set precision = \"f32\"");
    TRY_DNNL(status);
    return VMAE_OK;
}

static vmae_status prepare(const cpu_products *products, vmae_matmul *matmul)
{
    const vmae_matmul_shape *shape = &matmul->shape;
    dnnl_memory_desc_t md[3];
    VMAE_TRY(matrix(&md[0], shape->m, shape->k, shape->trans_a, shape->in));
    VMAE_TRY(matrix(&md[1], shape->k, shape->n, shape->trans_b, shape->in));
    VMAE_TRY(matrix(&md[2], shape->m, shape->n, false, shape->out));
    const size_t row_bytes = (size_t)(shape->trans_b ? shape->k : shape->n) * vmae_type_size(shape->in);
    const bool pack_b = row_bytes % 4096 == 0 || (!shape->trans_a && !shape->trans_b && shape->m >= MANY_ROWS);
    dnnl_primitive_desc_t pd;
    VMAE_TRY(describe(products, &pd, shape, md, pack_b));
    const dnnl_memory_desc_t b = *dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
    const dnnl_memory_desc_t scratchpad = *dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    const dnnl_memory_desc_t bias = *dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 1);
    const dnnl_status_t status = dnnl_primitive_create(&matmul->primitive, pd);
    dnnl_primitive_desc_destroy(pd);
    TRY_DNNL(status);
    if (pack_b && !dnnl_memory_desc_equal(&b, &md[1]))
        VMAE_TRY(make_repack(products, matmul, &md[1], &b));
    VMAE_TRY(memory(products, &matmul->a, &md[0]));
    VMAE_TRY(memory(products, &matmul->b, &md[1]));
    VMAE_TRY(memory(products, &matmul->c, &md[2]));
    if (shape->bias)
        VMAE_TRY(memory(products, &matmul->bias, &bias));
    if (shape->residual)
        VMAE_TRY(memory(products, &matmul->residual, &md[2]));
    matmul->scratchpad_bytes = round_up(dnnl_memory_desc_get_size(&scratchpad));
    return memory(products, &matmul->scratchpad, &scratchpad);
}

static void matmul_free(vmae_matmul *matmul)
{
    dnnl_memory_t memories[] = { matmul->a,    matmul->b,        matmul->packed,    matmul->c,
                                 matmul->bias, matmul->residual, matmul->scratchpad };
    for (size_t i = 0; i < sizeof memories / sizeof *memories; i++)
        if (memories[i])
            dnnl_memory_destroy(memories[i]);
    if (matmul->primitive)
        dnnl_primitive_destroy(matmul->primitive);
    if (matmul->repack)
        dnnl_primitive_destroy(matmul->repack);
    free(matmul);
}

vmae_status cpu_products_open(cpu_products **products, int threads)
{
    cpu_products *made = vmae_calloc(1, sizeof *made);
    if (!made)
        return VMAE_ENOMEM;
    made->threads = threads;
    dnnl_status_t status = dnnl_engine_create(&made->engine, dnnl_cpu, 0);
    if (status == dnnl_success)
        status = dnnl_stream_create(&made->stream, made->engine, dnnl_stream_default_flags);
    if (status != dnnl_success) {
        cpu_products_close(made);
        return fail_dnnl(status, "opening the CPU engine");
    }
    *products = made;
    return VMAE_OK;
}

void cpu_products_close(cpu_products *products)
{
    for (vmae_matmul *matmul = products->list, *next; matmul; matmul = next) {
        next = matmul->next;
        matmul_free(matmul);
    }
    if (products->stream)
        dnnl_stream_destroy(products->stream);
    if (products->engine)
        dnnl_engine_destroy(products->engine);
    free(products);
}

static bool same_shape(const vmae_matmul_shape *a, const vmae_matmul_shape *b)
{
    return a->m == b->m && a->n == b->n && a->k == b->k && a->trans_a == b->trans_a && a->trans_b == b->trans_b &&
           a->in == b->in && a->out == b->out && a->bias == b->bias && a->gelu == b->gelu &&
           a->residual == b->residual && a->accumulate == b->accumulate;
}

vmae_status cpu_matmul_new(cpu_products *products, vmae_matmul **matmul, const vmae_matmul_shape *shape)
{
    for (vmae_matmul *known = products->list; known; known = known->next) {
        if (same_shape(&known->shape, shape)) {
            *matmul = known;
            return VMAE_OK;
        }
    }
    vmae_matmul *made = vmae_calloc(1, sizeof *made);
    if (!made)
        return VMAE_ENOMEM;
    made->shape = *shape;
    use_threads(products);
    const vmae_status status = prepare(products, made);
    if (status != VMAE_OK) {
        matmul_free(made);
        return vmae_fail_in(status, "matrix product [%lld, %lld] x [%lld, %lld]", (long long)shape->m,
                            (long long)shape->k, (long long)shape->k, (long long)shape->n);
    }
    made->next = products->list;
    products->list = made;
    *matmul = made;
    return VMAE_OK;
}

size_t cpu_matmul_workspace(const vmae_matmul *matmul)
{
    return matmul->packed_bytes + matmul->scratchpad_bytes;
}

static vmae_status repack(const cpu_products *products, const vmae_matmul *matmul)
{
    const dnnl_exec_arg_t args[] = { { DNNL_ARG_FROM, matmul->b }, { DNNL_ARG_TO, matmul->packed } };
    TRY_DNNL(dnnl_primitive_execute(matmul->repack, products->stream, 2, args));
    return VMAE_OK;
}

vmae_status cpu_matmul_run(cpu_products *products, const vmae_matmul *matmul, void *c, const void *a, const void *b,
                           const float *bias, const void *residual, void *workspace)
{
    dnnl_exec_arg_t args[ARGUMENTS_MAX] = { { DNNL_ARG_SRC, matmul->a }, { DNNL_ARG_DST, matmul->c } };
    int count = 2;
    use_threads(products);
    TRY_DNNL(dnnl_memory_set_data_handle(matmul->a, (void *)(uintptr_t)a));
    TRY_DNNL(dnnl_memory_set_data_handle(matmul->b, (void *)(uintptr_t)b));
    TRY_DNNL(dnnl_memory_set_data_handle(matmul->c, c));
    TRY_DNNL(dnnl_memory_set_data_handle(matmul->scratchpad, (char *)workspace + matmul->packed_bytes));
    args[count++] = (dnnl_exec_arg_t){ DNNL_ARG_SCRATCHPAD, matmul->scratchpad };
    if (matmul->repack) {
        TRY_DNNL(dnnl_memory_set_data_handle(matmul->packed, workspace));
        VMAE_TRY(repack(products, matmul));
    }
    args[count++] = (dnnl_exec_arg_t){ DNNL_ARG_WEIGHTS, matmul->repack ? matmul->packed : matmul->b };
    if (matmul->bias) {
        TRY_DNNL(dnnl_memory_set_data_handle(matmul->bias, (void *)(uintptr_t)bias));
        args[count++] = (dnnl_exec_arg_t){ DNNL_ARG_BIAS, matmul->bias };
    }
    if (matmul->residual) {
        const int position = (int)matmul->shape.accumulate + (int)matmul->shape.gelu;
        TRY_DNNL(dnnl_memory_set_data_handle(matmul->residual, (void *)(uintptr_t)residual));
        args[count++] =
            (dnnl_exec_arg_t){ DNNL_ARG_ATTR_MULTIPLE_POST_OP(position) | DNNL_ARG_SRC_1, matmul->residual };
    }
    TRY_DNNL(dnnl_primitive_execute(matmul->primitive, products->stream, count, args));
    return VMAE_OK;
}

/* The instructions that oneDNN allows itself here (ONEDNN_MAX_CPU_ISA may forbid some): they decide the last bits. */
static const char *library_isa(void)
{
    switch ((int)dnnl_get_effective_cpu_isa()) {
    case dnnl_cpu_isa_sse41: return "sse4.1";
    case dnnl_cpu_isa_avx: return "avx";
    case dnnl_cpu_isa_avx2: return "avx2";
    case dnnl_cpu_isa_avx2_vnni: return "avx2_vnni";
    case dnnl_cpu_isa_avx512_core: return "avx512_core";
    case dnnl_cpu_isa_avx512_core_vnni: return "avx512_core_vnni";
    case dnnl_cpu_isa_avx512_core_bf16: return "avx512_core_bf16";
    case dnnl_cpu_isa_avx512_core_amx: return "avx512_core_amx";
    default: return "another instruction set";
    }
}

const char *cpu_matmul_library(void)
{
    static char text[64];
    const dnnl_version_t *version = dnnl_version();
    snprintf(text, sizeof text, "oneDNN %d.%d.%d on %s", version->major, version->minor, version->patch, library_isa());
    return text;
}
