/* test_cublaslt_shapes.c -- every matrix product of the paper's models, asked of the real cuBLASLt.
 *
 * The graphs of pre-training, features, probe and fine-tuning at the sizes base, large and huge are recorded on a
 * device of paper, which says what products they are made of. For each, the CUDA backend makes its descriptor, layouts
 * and preference with the real library, and asks for an algorithm: here that question is answered by this program,
 * which reads everything back and holds it against what the library documents. Then it prints a table.
 *
 * What algorithm the library has for a product it only says with a handle, and a handle needs a GPU. Where there is one
 * the question goes on to the library, and the table ends with its answers. */
#include "engine/backend/cuda/matmul.h"
#include "engine/core/mem.h"
#include "engine/model/model.h"
#include "experiments/options.h"
#include "experiments/protocol.h"
#include "tests/test.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PRODUCTS_MAX = 1024, USERS = 256, TENSOR_ALIGN = 64, PARAMETER_ALIGN = 32 };

/* ---- the products of a graph ---- */

typedef struct product {
    vmae_matmul_shape shape;
    char users[USERS]; /* "large pretrain bf16, ..." */
    char answer[160];  /* what was asked of the library */
} product;

static product products[PRODUCTS_MAX];
static int count;
static char user[32];
static vmae_status (*paper_matmul_new)(vmae_backend *be, vmae_matmul **matmul, const vmae_matmul_shape *shape);

static bool same_shape(const vmae_matmul_shape *a, const vmae_matmul_shape *b)
{
    return a->m == b->m && a->n == b->n && a->k == b->k && a->trans_a == b->trans_a && a->trans_b == b->trans_b &&
           a->in == b->in && a->out == b->out && a->bias == b->bias && a->gelu == b->gelu &&
           a->residual == b->residual && a->accumulate == b->accumulate;
}

static vmae_status note_product(vmae_backend *be, vmae_matmul **matmul, const vmae_matmul_shape *shape)
{
    int i = 0;
    while (i < count && !same_shape(&products[i].shape, shape))
        i++;
    if (i == PRODUCTS_MAX)
        return vmae_fail(VMAE_EINTERNAL, "more than %d products", PRODUCTS_MAX);
    if (i == count)
        products[count++].shape = *shape;
    char *users = products[i].users;
    if (!strstr(users, user))
        snprintf(users + strlen(users), USERS - strlen(users), "%s%s", *users ? ", " : "", user);
    return paper_matmul_new(be, matmul, shape);
}

static vmae_status open_paper(vmae_backend **be)
{
    VMAE_TRY(vmae_paper_open(be));
    paper_matmul_new = (*be)->matmul_new;
    (*be)->matmul_new = note_product;
    return VMAE_OK;
}

typedef struct recorded {
    vmae_backend *be;
    vmae_params *params;
    vmae_graph *g;
} recorded;

static void recorded_close(recorded *r)
{
    vmae_graph_free(r->g);
    vmae_params_free(r->params);
    vmae_backend_close(r->be);
}

/* Declared by the caller in between: opens an empty set of parameters, then a graph on it. */
static vmae_status recorded_open(recorded *r)
{
    VMAE_TRY(open_paper(&r->be));
    return (r->params = vmae_params_new()) ? VMAE_OK : VMAE_ENOMEM;
}

static vmae_status recorded_graph(recorded *r, vmae_type precision)
{
    VMAE_TRY(vmae_params_allocate(r->params, r->be, true, precision == VMAE_BF16));
    return (r->g = vmae_graph_new(r->be, precision)) ? VMAE_OK : VMAE_ENOMEM;
}

static vmae_tensor *images_of(recorded *r, const vmae_model_config *c, int64_t batch)
{
    return vmae_input(r->g, "images", VMAE_F32, VMAE_SHAPE(batch, 3, c->image_size, c->image_size));
}

static vmae_status record_pretraining(recorded *r, const vmae_model_config *c, vmae_type precision)
{
    vmae_vicmae model = { 0 };
    const vmae_vicmae_options options = { .pairs = 256, .temperature = 0.1, .positive_ranks = 1 };
    VMAE_TRY(vmae_declare_encoder(r->params, c, false, true));
    VMAE_TRY(vmae_declare_pretraining(r->params, c));
    VMAE_TRY(recorded_graph(r, precision));
    vmae_record_vicmae(&model, r->g, r->params, c, &options);
    vmae_graph_will_accumulate(r->g);
    VMAE_TRY(vmae_graph_backward(r->g, model.loss));
    return vmae_graph_plan(r->g);
}

static vmae_status record_features(recorded *r, const vmae_model_config *c, vmae_type precision)
{
    VMAE_TRY(vmae_declare_encoder(r->params, c, false, true));
    VMAE_TRY(recorded_graph(r, precision));
    vmae_keep(vmae_record_features(r->g, r->params, c, images_of(r, c, 256), VMAE_POOL_MEAN));
    return vmae_graph_plan(r->g);
}

static vmae_status record_finetuning(recorded *r, const vmae_model_config *c, vmae_type precision)
{
    VMAE_TRY(vmae_declare_encoder(r->params, c, true, false));
    VMAE_TRY(vmae_declare_head(r->params, c, 1000, true));
    VMAE_TRY(recorded_graph(r, precision));
    vmae_tensor *targets = vmae_input(r->g, "targets", VMAE_F32, VMAE_SHAPE(256, 1000)),
                *logits = vmae_record_classifier(r->g, r->params, c, images_of(r, c, 256), true, NULL);
    VMAE_TRY(vmae_graph_backward(r->g, vmae_keep(vmae_cross_entropy(r->g, logits, NULL, targets, 0.0f))));
    return vmae_graph_plan(r->g);
}

/* The linear classifier of experiments/probe.c, in f32 as there: 1000 classes, its batch. */
static vmae_status record_probe(recorded *r, const vmae_model_config *c, vmae_type precision)
{
    VMAE_TRY(vmae_params_add(r->params, "weight", VMAE_SHAPE(1000, c->dim), true));
    VMAE_TRY(vmae_params_add(r->params, "bias", VMAE_SHAPE(1000), true));
    VMAE_TRY(recorded_graph(r, precision));
    vmae_tensor *x = vmae_input(r->g, "features", VMAE_F32, VMAE_SHAPE(16384, c->dim)),
                *labels = vmae_input(r->g, "labels", VMAE_I32, VMAE_SHAPE(16384)),
                *logits = vmae_linear(r->g, x, vmae_use_param(r->g, r->params, "weight", VMAE_F32),
                                      vmae_use_param(r->g, r->params, "bias", VMAE_F32), NULL, VMAE_F32);
    VMAE_TRY(vmae_graph_backward(r->g, vmae_keep(vmae_cross_entropy(r->g, logits, labels, NULL, 0.0f))));
    return vmae_graph_plan(r->g);
}

/* The sizes that `vicmae pretrain model.size=NAME` has. */
static vmae_status model_of(const char *size, vmae_model_config *model)
{
    const vmae_protocol *pretrain = vmae_protocol_find("pretrain");
    vmae_config *config = NULL;
    VMAE_TRY(vmae_protocol_config(pretrain, &config));
    vmae_status st = vmae_config_set(config, "model.size", size, "test");
    if (st == VMAE_OK && (st = vmae_config_set(config, "data.images.kind", "shapes", "test")) == VMAE_OK &&
        (st = pretrain->resolve(config)) == VMAE_OK)
        vmae_options_model(config, model);
    vmae_config_free(config);
    return st;
}

static vmae_status record_all(void)
{
    static const char *const sizes[] = { "base", "large", "huge" };
    static const struct {
        const char *name;
        vmae_status (*record)(recorded *r, const vmae_model_config *c, vmae_type precision);
        bool bf16;
    } graphs[] = { { "pretrain", record_pretraining, true },
                   { "features", record_features, true },
                   { "finetune", record_finetuning, true },
                   { "probe", record_probe, false } };
    for (int s = 0; s < 3; s++)
        for (int i = 0; i < 4; i++)
            for (int bf16 = graphs[i].bf16; bf16 >= 0; bf16--) {
                vmae_model_config model;
                recorded r = { 0 };
                VMAE_TRY(model_of(sizes[s], &model));
                snprintf(user, sizeof user, "%s %s", sizes[s], graphs[i].name);
                vmae_status st = recorded_open(&r);
                if (st == VMAE_OK)
                    st = graphs[i].record(&r, &model, bf16 ? VMAE_BF16 : VMAE_F32);
                recorded_close(&r);
                if (st != VMAE_OK)
                    return vmae_fail_in(st, "%s", user);
            }
    return VMAE_OK;
}

/* ---- what the backend asks the library, read back ---- */

static cublasStatus_t (*real_heuristic)(cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t,
                                        cublasLtMatrixLayout_t, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                        cublasLtMatmulPreference_t, int, cublasLtMatmulHeuristicResult_t *, int *);
static cublasStatus_t (*real_destroy)(cublasLtHandle_t);
static cublasLtHandle_t real_handle; /* NULL: no GPU */
static cublasStatus_t no_handle;     /* what the library said instead */
static bool refusing;                /* whatever has an epilogue */
static product *asked;
static int questions;

/* Everything is looked at through the library's own readers. */
#define READ(function, object, attribute, type)                                                                        \
    __extension__({                                                                                                    \
        type read_value_ = { 0 };                                                                                      \
        size_t read_bytes_ = 0;                                                                                        \
        vmae_check(function(object, attribute, &read_value_, sizeof read_value_, &read_bytes_) ==                      \
                           CUBLAS_STATUS_SUCCESS &&                                                                    \
                       read_bytes_ == sizeof read_value_,                                                              \
                   __FILE__, __LINE__, "%s cannot be read", #attribute);                                               \
        read_value_;                                                                                                   \
    })
#define OF_DESC(attribute, type) READ(cublasLtMatmulDescGetAttribute, desc, CUBLASLT_MATMUL_DESC_##attribute, type)
#define OF_LAYOUT(attribute, type)                                                                                     \
    READ(cublasLtMatrixLayoutGetAttribute, layout, CUBLASLT_MATRIX_LAYOUT_##attribute, type)
#define OF_PREFERENCE(attribute, type)                                                                                 \
    READ(cublasLtMatmulPreferenceGetAttribute, preference, CUBLASLT_MATMUL_PREF_##attribute, type)

static int data_type(vmae_type type)
{
    return type == VMAE_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

/* op(X) is rows x columns, column-major; kernels index with 32 bits. Returns whether columns begin at multiples of 16
 * bytes, as the fastest kernels want. */
static bool check_layout(cublasLtMatrixLayout_t layout, int32_t op, int64_t rows, int64_t columns, vmae_type type)
{
    const int64_t lies_rows = op == CUBLAS_OP_T ? columns : rows, lies_columns = op == CUBLAS_OP_T ? rows : columns;
    const int64_t ld = OF_LAYOUT(LD, int64_t);
    CHECK_EQ(OF_LAYOUT(TYPE, uint32_t), data_type(type));
    CHECK_EQ(OF_LAYOUT(ORDER, int32_t), CUBLASLT_ORDER_COL); /* bias and GELU are refused for others */
    CHECK_EQ(OF_LAYOUT(ROWS, uint64_t), lies_rows);
    CHECK_EQ(OF_LAYOUT(COLS, uint64_t), lies_columns);
    CHECK_EQ(ld, lies_rows); /* dense, and not below the rows */
    CHECK_EQ(OF_LAYOUT(BATCH_COUNT, int32_t), 1);
    CHECK(rows < INT32_MAX && columns < INT32_MAX);
    return ld * (int64_t)vmae_type_size(type) % 16 == 0;
}

static void check_epilogue(cublasLtMatmulDesc_t desc, const vmae_matmul_shape *s)
{
    const uint32_t epilogue = OF_DESC(EPILOGUE, uint32_t);
    const bool bias = epilogue & CUBLASLT_EPILOGUE_BIAS;
    const void *pointer = OF_DESC(BIAS_POINTER, const void *);
    CHECK(epilogue == CUBLASLT_EPILOGUE_DEFAULT || epilogue == CUBLASLT_EPILOGUE_BIAS);
    CHECK(!bias || s->bias);
    CHECK(bias == (pointer != NULL));
    CHECK((uintptr_t)pointer % 16 == 0); /* the heuristic takes the pointer's alignment for the real one's */
    CHECK_EQ(OF_DESC(BIAS_DATA_TYPE, int32_t), bias ? data_type(s->out) : -1); /* the result's, by the documentation */
    CHECK(!OF_DESC(EPILOGUE_AUX_POINTER, const void *));
}

static void check_descriptor(cublasLtMatmulDesc_t desc, const vmae_matmul_shape *s)
{
    CHECK_EQ(OF_DESC(COMPUTE_TYPE, int32_t), CUBLAS_COMPUTE_32F); /* no TF32, no bf16 sums */
    CHECK_EQ(OF_DESC(SCALE_TYPE, int32_t), CUDA_R_32F);
    CHECK_EQ(OF_DESC(POINTER_MODE, int32_t), CUBLASLT_POINTER_MODE_HOST);
    CHECK_EQ(OF_DESC(TRANSA, int32_t), s->trans_b ? CUBLAS_OP_T : CUBLAS_OP_N);
    CHECK_EQ(OF_DESC(TRANSB, int32_t), s->trans_a ? CUBLAS_OP_T : CUBLAS_OP_N);
    CHECK_EQ(OF_DESC(TRANSC, int32_t), CUBLAS_OP_N);
    CHECK_EQ(OF_DESC(FILL_MODE, int32_t), CUBLAS_FILL_MODE_FULL);
    CHECK_EQ(OF_DESC(FAST_ACCUM, int8_t), 0);
    CHECK_EQ(OF_DESC(SM_COUNT_TARGET, int32_t), 0);
    CHECK(!OF_DESC(A_SCALE_POINTER, const void *) && !OF_DESC(B_SCALE_POINTER, const void *) &&
          !OF_DESC(C_SCALE_POINTER, const void *) && !OF_DESC(D_SCALE_POINTER, const void *) &&
          !OF_DESC(AMAX_D_POINTER, const void *));
    check_epilogue(desc, s);
}

static void check_preference(cublasLtMatmulPreference_t preference, const vmae_matmul_shape *s)
{
    const uint32_t operand = s->in == VMAE_BF16 ? PARAMETER_ALIGN : TENSOR_ALIGN;
    CHECK_EQ(OF_PREFERENCE(SEARCH_MODE, uint32_t), CUBLASLT_SEARCH_BEST_FIT);
    CHECK_EQ(OF_PREFERENCE(MAX_WORKSPACE_BYTES, uint64_t), 32 << 20);
    CHECK_EQ(OF_PREFERENCE(REDUCTION_SCHEME_MASK, uint32_t), CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE);
    CHECK_EQ(OF_PREFERENCE(MIN_ALIGNMENT_A_BYTES, uint32_t), operand);
    CHECK_EQ(OF_PREFERENCE(MIN_ALIGNMENT_B_BYTES, uint32_t), operand);
    CHECK_EQ(OF_PREFERENCE(MIN_ALIGNMENT_C_BYTES, uint32_t), TENSOR_ALIGN);
    CHECK_EQ(OF_PREFERENCE(MIN_ALIGNMENT_D_BYTES, uint32_t), TENSOR_ALIGN);
}

/* A promise of alignment for real pointers: parameters lie at multiples of 16 numbers, tensors at multiples of 64
 * bytes. */
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int wanted,
                                              cublasLtMatmulHeuristicResult_t results[], int *found)
{
    const vmae_matmul_shape *s = &asked->shape;
    questions++;
    check_descriptor(desc, s);
    const bool fast_a = check_layout(a, OF_DESC(TRANSA, int32_t), s->n, s->k, s->in),
               fast_b = check_layout(b, OF_DESC(TRANSB, int32_t), s->k, s->m, s->in),
               fast_d = check_layout(d, CUBLAS_OP_N, s->n, s->m, s->out);
    CHECK(c == d);
    check_preference(preference, s);
    *found = 0;
    const uint32_t epilogue = OF_DESC(EPILOGUE, uint32_t);
    if (refusing && epilogue != CUBLASLT_EPILOGUE_DEFAULT)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    snprintf(asked->answer, sizeof asked->answer, "%s%-7s bias %-4s 16-byte rows %s", refusing ? "(refused bias) " : "",
             epilogue == CUBLASLT_EPILOGUE_BIAS ? "bias" : "default",
             epilogue != CUBLASLT_EPILOGUE_BIAS ? "-"
             : s->out == VMAE_BF16              ? "bf16"
                                                : "f32",
             fast_a && fast_b && fast_d ? "yes" : "no");
    if (real_handle)
        return real_heuristic(handle, desc, a, b, c, d, preference, wanted, results, found);
    memset(results, 0, sizeof *results);
    results->state = CUBLAS_STATUS_SUCCESS;
    *found = 1;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle)
{
    static int nothing;
    cublasStatus_t (*create)(cublasLtHandle_t *);
    *(void **)&create = dlsym(RTLD_NEXT, "cublasLtCreate");
    *(void **)&real_heuristic = dlsym(RTLD_NEXT, "cublasLtMatmulAlgoGetHeuristic");
    *(void **)&real_destroy = dlsym(RTLD_NEXT, "cublasLtDestroy");
    if (!create || !real_heuristic || !real_destroy)
        return CUBLAS_STATUS_NOT_INITIALIZED;
    no_handle = create(handle);
    real_handle = no_handle == CUBLAS_STATUS_SUCCESS ? *handle : NULL;
    if (!real_handle)
        *handle = (cublasLtHandle_t)(void *)&nothing;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
{
    if (real_handle)
        real_destroy(handle);
    real_handle = NULL;
    return CUBLAS_STATUS_SUCCESS;
}

/* Nothing is computed here. */
vmae_status cuda_matmul_finish(vmae_backend *be, void *c, vmae_type type, int64_t m, int64_t n, const float *bias,
                               cuda_gelu_form gelu, const void *residual)
{
    (void)be, (void)c, (void)type, (void)m, (void)n, (void)bias, (void)gelu, (void)residual;
    return VMAE_EINTERNAL;
}
vmae_status cuda_matmul_round(vmae_backend *be, vmae_bf16 *to, const float *from, int64_t n)
{
    (void)be, (void)to, (void)from, (void)n;
    return VMAE_EINTERNAL;
}
vmae_status cuda_matmul_own(vmae_backend *be, const vmae_matmul_shape *shape, cuda_gelu_form gelu, void *c,
                            const void *a, const void *b, const float *bias, const void *residual)
{
    (void)be, (void)shape, (void)gelu, (void)c, (void)a, (void)b, (void)bias, (void)residual;
    return VMAE_EINTERNAL;
}

/* ---- the tests ---- */

static void print_table(void)
{
    printf("%9s %6s %6s  AB  %-12s %-14s %-40s %s\n", "m", "n", "k", "types", "also", "asked of cuBLASLt", "used by");
    for (int i = 0; i < count; i++) {
        const vmae_matmul_shape *s = &products[i].shape;
        char types[16], also[32];
        snprintf(types, sizeof types, "%s -> %s", vmae_type_name(s->in), vmae_type_name(s->out));
        snprintf(also, sizeof also, "%s%s%s%s", s->bias ? "bias " : "", s->gelu ? "gelu " : "",
                 s->residual ? "resid " : "", s->accumulate ? "accum" : "");
        printf("%9lld %6lld %6lld  %c%c  %-12s %-14s %-40s %s\n", (long long)s->m, (long long)s->n, (long long)s->k,
               s->trans_a ? 'T' : 'N', s->trans_b ? 'T' : 'N', types, also, products[i].answer, products[i].users);
    }
}

/* All of them prepared by the backend. */
static void prepare_all(vmae_backend *be)
{
    questions = 0;
    REQUIRE_OK(cuda_products_open(be));
    for (int i = 0; i < count; i++) {
        vmae_matmul *matmul = NULL;
        asked = &products[i];
        CHECK_OK(cuda_matmul_new(be, &matmul, &products[i].shape));
    }
}

static void print_answers(vmae_backend *be)
{
    const size_t size = (size_t)PRODUCTS_MAX * 256;
    char *text = malloc(size);
    if (text) {
        cuda_matmul_algorithms(be, text, size);
        printf("What cuBLASLt chooses on this GPU:\n%s", text);
        CHECK(!strstr(text, "own kernel")); /* a size of the paper without an algorithm would cost a day */
    }
    free(text);
}

TEST(every_product_of_the_papers_models_is_asked_for_as_documented)
{
    cuda_device device = { .capability = 90 };
    vmae_backend be = { .name = "cuda", .self = &device };
    REQUIRE_OK(record_all());
    CHECK(count > 50);
    refusing = true; /* first what is asked where there is no epilogue with a bias, then the usual */
    prepare_all(&be);
    CHECK(questions > count);
    cuda_products_close(&be);
    refusing = false;
    prepare_all(&be);
    CHECK_EQ(questions, count);
    print_table();
    printf("%d products, each described to cuBLASLt %zu and read back.\n", count, cublasLtGetVersion());
    if (real_handle)
        print_answers(&be);
    else
        printf(
            "Not checkable here: which algorithm it has for them. cublasLtMatmulAlgoGetHeuristic wants a handle, and "
            "cublasLtCreate gives %s without a GPU.\n",
            cublasLtGetStatusName(no_handle));
    cuda_products_close(&be);
}
