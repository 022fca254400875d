/* matmul.c -- matrix products by cuBLASLt: descriptors and an algorithm for each distinct shape, made and chosen once.
 *
 * cuBLASLt is column-major: to it a row-major [r,c] is a c x r matrix. So C = op(A) op(B) is asked for as
 * C' = op(B)' op(A)': the operands change places, no data moves, and the bias runs along the rows of C'.
 *
 * What is fused follows what cuBLASLt documents. A bias has the type of the result. To a f32 result it is added as it
 * is; for a bf16 result it is first rounded to bf16, in the workspace: n values, against a pass over m n of them (that
 * would cost a tenth of a training step). cuBLASLt's GELU is the tanh form, ours is exact: so the product is plain, and
 * bias, GELU and residual are one pass over the result, with the bias unrounded. VICMAE_GELU=tanh takes cuBLASLt's
 * instead, for the inference form of the shape, and algorithms() says so.
 *
 * The algorithm is the heuristic's first, among those that sum over k in the compute type: a split sum that passes
 * through a bf16 result would lose what f32 sums are for. Both schemes left are the same bits every time. Where the
 * library has no algorithm, a kernel of our own computes the product (matmul_own.cu). */
#include "engine/backend/cuda/matmul.h"

#include "engine/backend/cuda/algorithms.h"
#include "engine/core/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    RESULTS_MAX = 8,          /* of the heuristic: the first that is usable is taken */
    FORMS_MAX = 3,            /* ways to divide a product between cuBLASLt and the pass behind it */
    WORKSPACE_ALIGN = 256,    /* cuBLASLt's demand; tensors are aligned to 64 */
    TENSOR_ALIGN = 64,        /* of activations, and of f32 parameters: segments begin at multiples of 16 floats */
    BF16_PARAMETER_ALIGN = 32 /* their bf16 copies: the same offsets, in values of half the size */
};
static const uint64_t workspace_limit = (uint64_t)32 << 20; /* what cuBLAS itself takes on sm_90 */

/* One way to compute a product: what cuBLASLt adds, and whether a pass over the result adds the rest. */
typedef struct product_form {
    uint32_t epilogue;
    vmae_type bias; /* the epilogue's type */
    bool pass;
} product_form;

struct vmae_matmul {
    vmae_matmul *next;
    vmae_matmul_shape shape;
    bool own; /* cuBLASLt has no algorithm: none of what follows is in use, but gelu */
    product_form form;
    cuda_gelu_form gelu;
    bool add_c; /* beta is 1: C is the residual, or the result itself */
    size_t bias_bytes;
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t a, b, c; /* of our A, B, C */
    cublasLtMatmulHeuristicResult_t chosen;
};

struct cuda_products {
    cublasLtHandle_t handle;
    vmae_matmul *first, **end; /* in the order in which they were prepared */
    bool tanh_gelu;
};

/* ---- errors ---- */

static vmae_status lt_check(cublasStatus_t status, const char *call)
{
    if (status == CUBLAS_STATUS_SUCCESS)
        return VMAE_OK;
    return vmae_fail(status == CUBLAS_STATUS_ALLOC_FAILED ? VMAE_ENOMEM : VMAE_EINTERNAL, "cuBLASLt: %s: %s (%s)", call,
                     cublasLtGetStatusString(status), cublasLtGetStatusName(status));
}

#define LT_TRY(call) VMAE_TRY(lt_check((call), #call))

/* "64 x 768 x 3072 NT bf16 -> f32 + bias + residual": m, n, k, whether A and B lie transposed. */
static void describe(char *text, size_t size, const vmae_matmul_shape *s)
{
    snprintf(text, size, "%lld x %lld x %lld %c%c %s -> %s%s%s%s%s", (long long)s->m, (long long)s->n, (long long)s->k,
             s->trans_a ? 'T' : 'N', s->trans_b ? 'T' : 'N', vmae_type_name(s->in), vmae_type_name(s->out),
             s->bias ? " + bias" : "", s->gelu ? " + gelu" : "", s->residual ? " + residual" : "",
             s->accumulate ? " accumulated" : "");
}

static vmae_status fail_in_shape(vmae_status status, const vmae_matmul_shape *shape)
{
    char text[160];
    describe(text, sizeof text, shape);
    return vmae_fail_in(status, "matrix product %s", text);
}

/* ---- opening and closing ---- */

static void matmul_free(vmae_matmul *matmul)
{
    if (!matmul)
        return;
    if (matmul->desc)
        cublasLtMatmulDescDestroy(matmul->desc);
    if (matmul->a)
        cublasLtMatrixLayoutDestroy(matmul->a);
    if (matmul->b)
        cublasLtMatrixLayoutDestroy(matmul->b);
    if (matmul->c)
        cublasLtMatrixLayoutDestroy(matmul->c);
    free(matmul);
}

static vmae_status choose_gelu(bool *tanh_gelu)
{
    const char *name = getenv("VICMAE_GELU");
    *tanh_gelu = name && strcmp(name, "tanh") == 0;
    if (name && *name && !*tanh_gelu && strcmp(name, "erf") != 0)
        return vmae_fail(VMAE_EUSER, "VICMAE_GELU is \"%s\"; it is erf (exact) or tanh (cuBLASLt's own)", name);
    return VMAE_OK;
}

vmae_status cuda_products_open(vmae_backend *be)
{
    cuda_products *made = vmae_calloc(1, sizeof *made);
    if (!made)
        return VMAE_ENOMEM;
    made->end = &made->first;
    cuda_self(be)->products = made;
    VMAE_TRY(choose_gelu(&made->tanh_gelu));
    return lt_check(cublasLtCreate(&made->handle), "cublasLtCreate");
}

void cuda_products_close(vmae_backend *be)
{
    cuda_products *products = cuda_self(be)->products;
    if (!products)
        return;
    for (vmae_matmul *matmul = products->first, *next; matmul; matmul = next) {
        next = matmul->next;
        matmul_free(matmul);
    }
    if (products->handle)
        cublasLtDestroy(products->handle);
    free(products);
    cuda_self(be)->products = NULL;
}

/* ---- preparing ---- */

static cudaDataType_t data_type(vmae_type type)
{
    return type == VMAE_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

/* A row-major [rows, columns] matrix, or one that lies as [columns, rows]. */
static vmae_status layout(cublasLtMatrixLayout_t *made, int64_t rows, int64_t columns, bool transposed, vmae_type type)
{
    const int64_t length = transposed ? rows : columns, count = transposed ? columns : rows;
    return lt_check(cublasLtMatrixLayoutCreate(made, data_type(type), (uint64_t)length, (uint64_t)count, length),
                    "cublasLtMatrixLayoutCreate");
}

/* What no form changes. No TF32: f32 products are f32. */
static vmae_status make_descriptors(vmae_matmul *made)
{
    const vmae_matmul_shape *s = &made->shape;
    const cublasOperation_t first = s->trans_b ? CUBLAS_OP_T : CUBLAS_OP_N,
                            second = s->trans_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    VMAE_TRY(layout(&made->a, s->m, s->k, s->trans_a, s->in));
    VMAE_TRY(layout(&made->b, s->k, s->n, s->trans_b, s->in));
    VMAE_TRY(layout(&made->c, s->m, s->n, false, s->out));
    LT_TRY(cublasLtMatmulDescCreate(&made->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    LT_TRY(cublasLtMatmulDescSetAttribute(made->desc, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first));
    LT_TRY(cublasLtMatmulDescSetAttribute(made->desc, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second));
    return VMAE_OK;
}

/* In the order of preference. */
static int forms_of(product_form forms[FORMS_MAX], const vmae_matmul_shape *s, bool tanh_gelu)
{
    int count = 0;
    const bool fused = !s->gelu || (tanh_gelu && !s->residual); /* cuBLASLt adds C in front of GELU */
    if (fused)
        forms[count++] =
            (product_form){ .epilogue = s->gelu   ? s->bias ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_GELU
                                        : s->bias ? CUBLASLT_EPILOGUE_BIAS
                                                  : CUBLASLT_EPILOGUE_DEFAULT,
                            .bias = s->out };
    if (s->bias || s->gelu)
        forms[count++] = (product_form){ .epilogue = CUBLASLT_EPILOGUE_DEFAULT, .pass = true };
    return count;
}

static bool has_bias(const product_form *form)
{
    return form->epilogue == CUBLASLT_EPILOGUE_BIAS || form->epilogue == CUBLASLT_EPILOGUE_GELU_BIAS;
}

static size_t align_up(size_t bytes)
{
    return (bytes + WORKSPACE_ALIGN - 1) / WORKSPACE_ALIGN * WORKSPACE_ALIGN;
}

static vmae_status set_epilogue(vmae_matmul *made, const product_form *form)
{
    const int32_t type = has_bias(form) ? (int32_t)data_type(form->bias) : -1;
    /* Nothing reads it yet, but the heuristic takes its alignment for the bias's. */
    const void *bias = has_bias(form) ? (const void *)(uintptr_t)TENSOR_ALIGN : NULL;
    LT_TRY(cublasLtMatmulDescSetAttribute(made->desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &form->epilogue,
                                          sizeof form->epilogue));
    LT_TRY(cublasLtMatmulDescSetAttribute(made->desc, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &type, sizeof type));
    LT_TRY(cublasLtMatmulDescSetAttribute(made->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias));
    return VMAE_OK;
}

static uint32_t operand_align(vmae_type type)
{
    return type == VMAE_BF16 ? BF16_PARAMETER_ALIGN : TENSOR_ALIGN;
}

static vmae_status set_preference(cublasLtMatmulPreference_t preference, const vmae_matmul_shape *s)
{
    const uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE, operand = operand_align(s->in),
                   result = TENSOR_ALIGN;
    const struct {
        cublasLtMatmulPreferenceAttributes_t attribute;
        const void *value;
        size_t bytes;
    } wanted[] = {
        { CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace_limit, sizeof workspace_limit },
        { CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &schemes, sizeof schemes },
        { CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &operand, sizeof operand },
        { CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &operand, sizeof operand },
        { CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &result, sizeof result },
        { CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &result, sizeof result },
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        LT_TRY(cublasLtMatmulPreferenceSetAttribute(preference, wanted[i].attribute, wanted[i].value, wanted[i].bytes));
    return VMAE_OK;
}

/* The first usable algorithm for the descriptors as they are; *found is false if there is none. */
static vmae_status ask(const cuda_products *products, vmae_matmul *made, cublasLtMatmulPreference_t preference,
                       bool *found)
{
    cublasLtMatmulHeuristicResult_t results[RESULTS_MAX];
    int count = 0;
    *found = false;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
        products->handle, made->desc, made->b, made->a, made->c, made->c, preference, RESULTS_MAX, results, &count);
    if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE ||
        status == CUBLAS_STATUS_ARCH_MISMATCH)
        return VMAE_OK;
    VMAE_TRY(lt_check(status, "cublasLtMatmulAlgoGetHeuristic"));
    for (int i = 0; i < count && !*found; i++) {
        if (results[i].state != CUBLAS_STATUS_SUCCESS || results[i].workspaceSize > workspace_limit)
            continue;
        made->chosen = results[i];
        *found = true;
    }
    return VMAE_OK;
}

static vmae_status choose(const cuda_products *products, vmae_matmul *made, cublasLtMatmulPreference_t preference)
{
    product_form forms[FORMS_MAX];
    const int count = forms_of(forms, &made->shape, products->tanh_gelu);
    bool found = false;
    for (int i = 0; i < count && !found; i++) {
        made->form = forms[i];
        VMAE_TRY(set_epilogue(made, &made->form));
        VMAE_TRY(ask(products, made, preference, &found));
    }
    made->own = !found;
    return VMAE_OK;
}

static vmae_status prepare(const cuda_products *products, vmae_matmul *made)
{
    const vmae_matmul_shape *s = &made->shape;
    cublasLtMatmulPreference_t preference = NULL;
    made->gelu = !s->gelu ? CUDA_GELU_NONE : products->tanh_gelu ? CUDA_GELU_TANH : CUDA_GELU_ERF;
    VMAE_TRY(make_descriptors(made));
    LT_TRY(cublasLtMatmulPreferenceCreate(&preference));
    vmae_status st = set_preference(preference, s);
    if (st == VMAE_OK)
        st = choose(products, made, preference);
    cublasLtMatmulPreferenceDestroy(preference);
    VMAE_TRY(st);
    made->add_c = s->accumulate || (s->residual && !(made->form.pass && s->gelu));
    if (!made->own && has_bias(&made->form) && made->form.bias == VMAE_BF16)
        made->bias_bytes = align_up((size_t)s->n * sizeof(vmae_bf16));
    return VMAE_OK;
}

static bool same_shape(const vmae_matmul_shape *a, const vmae_matmul_shape *b)
{
    return a->m == b->m && a->n == b->n && a->k == b->k && a->trans_a == b->trans_a && a->trans_b == b->trans_b &&
           a->in == b->in && a->out == b->out && a->bias == b->bias && a->gelu == b->gelu &&
           a->residual == b->residual && a->accumulate == b->accumulate;
}

static vmae_status check_shape(const vmae_matmul_shape *s)
{
    if (s->m < 1 || s->n < 1 || s->k < 1)
        return vmae_fail(VMAE_EINTERNAL, "a size is below 1");
    if ((s->in != VMAE_F32 && s->in != VMAE_BF16) || (s->out != VMAE_F32 && s->out != s->in))
        return vmae_fail(VMAE_EINTERNAL, "the operands are f32 or bf16, and the result is f32 or of their type");
    if (s->accumulate && (s->bias || s->gelu || s->residual))
        return vmae_fail(VMAE_EINTERNAL, "what accumulates has neither bias, GELU nor residual");
    return VMAE_OK;
}

vmae_status cuda_matmul_new(vmae_backend *be, vmae_matmul **matmul, const vmae_matmul_shape *shape)
{
    cuda_products *products = cuda_self(be)->products;
    for (vmae_matmul *known = products->first; known; known = known->next) {
        if (same_shape(&known->shape, shape)) {
            *matmul = known;
            return VMAE_OK;
        }
    }
    vmae_matmul *made = vmae_calloc(1, sizeof *made);
    if (!made)
        return VMAE_ENOMEM;
    made->shape = *shape;
    vmae_status st = check_shape(shape);
    if (st == VMAE_OK)
        st = prepare(products, made);
    if (st != VMAE_OK) {
        matmul_free(made);
        return fail_in_shape(st, shape);
    }
    *products->end = made;
    products->end = &made->next;
    *matmul = made;
    return VMAE_OK;
}

/* The rounded bias, then cuBLASLt's own; and room to align both. */
size_t cuda_matmul_workspace(const vmae_matmul *matmul)
{
    const size_t bytes = matmul->own ? 0 : matmul->bias_bytes + matmul->chosen.workspaceSize;
    return bytes ? bytes + WORKSPACE_ALIGN - TENSOR_ALIGN : 0;
}

/* ---- running ---- */

static vmae_status check_pointers(const vmae_matmul *matmul, const void *c, const void *a, const void *b,
                                  const void *residual)
{
    const uintptr_t operands = (uintptr_t)a | (uintptr_t)b, results = (uintptr_t)c | (uintptr_t)residual;
    if (operands % operand_align(matmul->shape.in) == 0 && results % TENSOR_ALIGN == 0)
        return VMAE_OK;
    return fail_in_shape(vmae_fail(VMAE_EINTERNAL, "a pointer is not aligned as the algorithm was promised"),
                         &matmul->shape);
}

static vmae_status set_bias(vmae_backend *be, const vmae_matmul *matmul, const float *bias, char *workspace)
{
    const void *pointer = bias;
    if (matmul->form.bias == VMAE_BF16) {
        pointer = workspace;
        VMAE_TRY(cuda_matmul_round(be, (vmae_bf16 *)workspace, bias, matmul->shape.n));
    }
    return lt_check(
        cublasLtMatmulDescSetAttribute(matmul->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &pointer, sizeof pointer),
        "setting the bias");
}

vmae_status cuda_matmul(vmae_backend *be, const vmae_matmul *matmul, void *c, const void *a, const void *b,
                        const float *bias, const void *residual, void *workspace)
{
    const vmae_matmul_shape *s = &matmul->shape;
    const float alpha = 1.0f, beta = matmul->add_c ? 1.0f : 0.0f;
    const void *added = matmul->add_c && s->residual ? residual : c;
    char *aligned = (char *)align_up((size_t)(uintptr_t)workspace);
    VMAE_TRY(check_pointers(matmul, c, a, b, residual));
    if (matmul->own)
        return cuda_matmul_own(be, s, matmul->gelu, c, a, b, bias, residual);
    if (has_bias(&matmul->form))
        VMAE_TRY(set_bias(be, matmul, bias, aligned));
    const size_t bytes = matmul->chosen.workspaceSize;
    const cublasStatus_t status = cublasLtMatmul(cuda_self(be)->products->handle, matmul->desc, &alpha, b, matmul->b, a,
                                                 matmul->a, &beta, added, matmul->c, c, matmul->c, &matmul->chosen.algo,
                                                 bytes ? aligned + matmul->bias_bytes : NULL, bytes, cuda_stream(be));
    if (status != CUBLAS_STATUS_SUCCESS)
        return fail_in_shape(lt_check(status, "cublasLtMatmul"), s);
    if (!matmul->form.pass)
        return VMAE_OK;
    return cuda_matmul_finish(be, c, s->out, s->m, s->n, bias, matmul->gelu, matmul->add_c ? NULL : residual);
}

/* ---- the record ---- */

/* What is 0 is left out: most of it mostly is. */
static void append_algorithm(char *text, size_t size, const vmae_matmul *matmul)
{
    static const struct {
        const char *name;
        cublasLtMatmulAlgoConfigAttributes_t attribute;
        size_t bytes;
    } parts[] = { { "algo", CUBLASLT_ALGO_CONFIG_ID, 4 },
                  { "tile", CUBLASLT_ALGO_CONFIG_TILE_ID, 4 },
                  { "stages", CUBLASLT_ALGO_CONFIG_STAGES_ID, 4 },
                  { "splitk", CUBLASLT_ALGO_CONFIG_SPLITK_NUM, 4 },
                  { "reduction", CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, 4 },
                  { "swizzle", CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING, 4 },
                  { "custom", CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION, 4 },
                  { "inner", CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID, 2 },
                  { "cluster", CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID, 2 } };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        uint32_t wide = 0;
        uint16_t narrow = 0;
        size_t written;
        void *to = parts[i].bytes == sizeof narrow ? (void *)&narrow : (void *)&wide;
        if (cublasLtMatmulAlgoConfigGetAttribute(&matmul->chosen.algo, parts[i].attribute, to, parts[i].bytes,
                                                 &written) == CUBLAS_STATUS_SUCCESS &&
            (wide || narrow))
            algorithms_append(text, size, "%s %u ", parts[i].name, (unsigned)wide + narrow);
    }
    algorithms_append(text, size, "waves %.2f", (double)matmul->chosen.wavesCount);
    if (matmul->chosen.workspaceSize)
        algorithms_append(text, size, " workspace %zu", matmul->chosen.workspaceSize);
}

static void append_form(char *text, size_t size, const vmae_matmul *matmul)
{
    const product_form *form = &matmul->form;
    const bool tanh_gelu = matmul->gelu == CUDA_GELU_TANH;
    if (has_bias(form) && form->bias == VMAE_BF16)
        algorithms_append(text, size, ", bias rounded to bf16");
    if (matmul->gelu && !form->pass)
        algorithms_append(text, size, ", cuBLASLt's tanh gelu");
    if (form->pass)
        algorithms_append(text, size, ", own pass for%s%s%s", matmul->shape.bias ? " bias" : "",
                          !matmul->gelu ? ""
                          : tanh_gelu   ? " tanh gelu"
                                        : " gelu",
                          matmul->shape.residual && !matmul->add_c ? " residual" : "");
}

void cuda_matmul_algorithms(vmae_backend *be, char *text, size_t size)
{
    text[0] = '\0';
    for (const vmae_matmul *matmul = cuda_self(be)->products->first; matmul; matmul = matmul->next) {
        char shape[160];
        describe(shape, sizeof shape, &matmul->shape);
        algorithms_append(text, size, "matmul %s: ", shape);
        if (matmul->own) {
            algorithms_append(text, size, "own kernel%s\n", matmul->gelu == CUDA_GELU_TANH ? ", tanh gelu" : "");
            continue;
        }
        append_algorithm(text, size, matmul);
        append_form(text, size, matmul);
        algorithms_append(text, size, "\n");
    }
}
