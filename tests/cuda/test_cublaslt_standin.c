/* test_cublaslt_standin.c -- a test of the tests: the stand-in for cuBLASLt refuses the mistakes that it is there to
 * find.
 *
 * One product that is right, C' [m, n] = A' [k, m]^T B [k, n] + bias with a workspace; then a mistake at a time. */
#include "tests/test.h"

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { M = 8, N = 6, K = 64, SPACE = 1 << 16, APART = 1 << 13 };

typedef struct call {
    cublasLtHandle_t handle;
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t a, b, c, d;
    cublasLtMatmulPreference_t preference;
    cublasLtMatmulHeuristicResult_t result;
    char *memory; /* of the device: A, B, C, D, bias, workspace, each APART from the one before */
    const void *at_a, *at_b, *at_c;
    void *at_d, *workspace;
    const void *bias;
    size_t workspace_bytes;
    float beta;
} call;

static char said[512]; /* by the stand-in, in the last call */

#define OK(expression) CHECK_EQ((expression), CUBLAS_STATUS_SUCCESS)

static void set_desc(call *x, cublasLtMatmulDescAttributes_t attribute, const void *value, size_t bytes)
{
    OK(cublasLtMatmulDescSetAttribute(x->desc, attribute, value, bytes));
}
static void set_layout(cublasLtMatrixLayout_t layout, cublasLtMatrixLayoutAttribute_t attribute, const void *value,
                       size_t bytes)
{
    OK(cublasLtMatrixLayoutSetAttribute(layout, attribute, value, bytes));
}
static void prefer(call *x, cublasLtMatmulPreferenceAttributes_t attribute, const void *value, size_t bytes)
{
    OK(cublasLtMatmulPreferenceSetAttribute(x->preference, attribute, value, bytes));
}

static void call_open(call *x, cudaDataType type)
{
    const cublasOperation_t turned = CUBLAS_OP_T;
    const uint32_t epilogue = CUBLASLT_EPILOGUE_BIAS, align = 64;
    const uint64_t limit = SPACE - 5 * APART;
    *x = (call){ .workspace_bytes = limit };
    static float zeros[SPACE / sizeof(float)];
    CHECK_EQ(cudaMalloc((void **)&x->memory, SPACE), cudaSuccess);
    CHECK_EQ(cudaMemcpy(x->memory, zeros, SPACE, cudaMemcpyHostToDevice), cudaSuccess);
    x->at_a = x->memory, x->at_b = x->memory + APART, x->at_c = x->memory + 2 * APART, x->at_d = x->memory + 3 * APART;
    x->bias = x->memory + 4 * APART, x->workspace = x->memory + 5 * APART;
    OK(cublasLtCreate(&x->handle));
    OK(cublasLtMatmulDescCreate(&x->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    OK(cublasLtMatrixLayoutCreate(&x->a, type, K, M, K));
    OK(cublasLtMatrixLayoutCreate(&x->b, type, K, N, K));
    OK(cublasLtMatrixLayoutCreate(&x->c, type, M, N, M));
    OK(cublasLtMatrixLayoutCreate(&x->d, type, M, N, M));
    OK(cublasLtMatmulPreferenceCreate(&x->preference));
    set_desc(x, CUBLASLT_MATMUL_DESC_TRANSA, &turned, sizeof turned);
    set_desc(x, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue);
    prefer(x, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &limit, sizeof limit);
    prefer(x, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &align, sizeof align);
    prefer(x, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &align, sizeof align);
    prefer(x, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &align, sizeof align);
    prefer(x, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &align, sizeof align);
}

static void call_close(call *x)
{
    cublasLtMatmulPreferenceDestroy(x->preference);
    cublasLtMatrixLayoutDestroy(x->a);
    cublasLtMatrixLayoutDestroy(x->b);
    cublasLtMatrixLayoutDestroy(x->c);
    cublasLtMatrixLayoutDestroy(x->d);
    cublasLtMatmulDescDestroy(x->desc);
    if (x->handle)
        OK(cublasLtDestroy(x->handle));
    CHECK_EQ(cudaFree(x->memory), cudaSuccess);
}

/* What goes to stderr meanwhile lands in `said`. */
static int listen(FILE **heard)
{
    fflush(stderr);
    const int before = dup(2);
    *heard = tmpfile();
    if (*heard)
        dup2(fileno(*heard), 2);
    return before;
}
static void heard_all(FILE *heard, int before)
{
    fflush(stderr);
    dup2(before, 2);
    close(before);
    said[0] = '\0';
    if (!heard)
        return;
    rewind(heard);
    said[fread(said, 1, sizeof said - 1, heard)] = '\0';
    fclose(heard);
}

static cublasStatus_t ask(call *x)
{
    int found = 0;
    FILE *heard;
    const int before = listen(&heard);
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(x->handle, x->desc, x->a, x->b, x->c, x->d,
                                                                 x->preference, 1, &x->result, &found);
    heard_all(heard, before);
    CHECK_EQ(found, status == CUBLAS_STATUS_SUCCESS);
    return status;
}

static cublasStatus_t multiply(call *x)
{
    const float one = 1.0f;
    FILE *heard;
    set_desc(x, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &x->bias, sizeof x->bias);
    const int before = listen(&heard);
    const cublasStatus_t status =
        cublasLtMatmul(x->handle, x->desc, &one, x->at_a, x->a, x->at_b, x->b, &x->beta, x->at_c, x->c, x->at_d, x->d,
                       &x->result.algo, x->workspace, x->workspace_bytes, NULL);
    heard_all(heard, before);
    return status;
}

#define REFUSED(expression, status, words)                                                                             \
    do {                                                                                                               \
        CHECK_EQ((expression), status);                                                                                \
        CHECK_STR(said, words);                                                                                        \
    } while (0)
/* After `mistake`, no algorithm. */
#define NOT_FOUND(type, words, mistake)                                                                                \
    do {                                                                                                               \
        call x;                                                                                                        \
        call_open(&x, type);                                                                                           \
        mistake;                                                                                                       \
        REFUSED(ask(&x), CUBLAS_STATUS_NOT_SUPPORTED, words);                                                          \
        call_close(&x);                                                                                                \
    } while (0)
/* After `mistake`, an algorithm that was found is not run. */
#define NOT_RUN(words, mistake)                                                                                        \
    do {                                                                                                               \
        call x;                                                                                                        \
        call_open(&x, CUDA_R_32F);                                                                                     \
        OK(ask(&x));                                                                                                   \
        mistake;                                                                                                       \
        REFUSED(multiply(&x), CUBLAS_STATUS_INVALID_VALUE, words);                                                     \
        call_close(&x);                                                                                                \
    } while (0)

TEST(what_is_right_is_computed)
{
    call x;
    float a[K * M], b[K * N], c[M * N], bias[M], d[M * N];
    call_open(&x, CUDA_R_32F);
    for (int i = 0; i < K * M; i++)
        a[i] = (float)(i % 7) - 3.0f;
    for (int i = 0; i < K * N; i++)
        b[i] = (float)(i % 5) - 2.0f;
    for (int i = 0; i < M * N; i++)
        c[i] = (float)i;
    for (int i = 0; i < M; i++)
        bias[i] = 100.0f * (float)i;
    cudaMemcpy((void *)(uintptr_t)x.at_a, a, sizeof a, cudaMemcpyHostToDevice);
    cudaMemcpy((void *)(uintptr_t)x.at_b, b, sizeof b, cudaMemcpyHostToDevice);
    cudaMemcpy((void *)(uintptr_t)x.at_c, c, sizeof c, cudaMemcpyHostToDevice);
    cudaMemcpy((void *)(uintptr_t)x.bias, bias, sizeof bias, cudaMemcpyHostToDevice);
    x.beta = 1.0f;
    OK(ask(&x));
    CHECK(x.result.workspaceSize > 0); /* a long sum is split */
    OK(multiply(&x));
    CHECK_STR(said, "");
    CHECK_EQ(cudaMemcpy(d, x.at_d, sizeof d, cudaMemcpyDeviceToHost), cudaSuccess);
    for (int j = 0; j < N; j++)
        for (int i = 0; i < M; i++) {
            float sum = c[j * M + i] + bias[i];
            for (int l = 0; l < K; l++)
                sum += a[i * K + l] * b[j * K + l];
            CHECK_NEAR(d[j * M + i], sum, 0.0); /* whole numbers */
        }
    call_close(&x);
}

TEST(what_no_kernel_takes_has_no_algorithm)
{
    const int32_t f32 = CUDA_R_32F, row = CUBLASLT_ORDER_ROW, batch = 2;
    const uint32_t f32_type = CUDA_R_32F, bf16_type = CUDA_R_16BF, relu = CUBLASLT_EPILOGUE_RELU;
    const uint64_t longer = K + 1;
    const int64_t narrow = K - 1;
    NOT_FOUND(CUDA_R_16BF, "a bias that has not the result's type",
              set_desc(&x, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &f32, sizeof f32));
    NOT_FOUND(CUDA_R_32F, "a leading dimension below its rows",
              set_layout(x.a, CUBLASLT_MATRIX_LAYOUT_LD, &narrow, sizeof narrow));
    NOT_FOUND(CUDA_R_32F, "dimensions that don't go together",
              (set_layout(x.b, CUBLASLT_MATRIX_LAYOUT_ROWS, &longer, sizeof longer),
               set_layout(x.b, CUBLASLT_MATRIX_LAYOUT_LD, &longer, sizeof longer)));
    NOT_FOUND(CUDA_R_16BF, "types that don't go together",
              set_layout(x.d, CUBLASLT_MATRIX_LAYOUT_TYPE, &f32_type, sizeof f32_type));
    NOT_FOUND(CUDA_R_32F, "types that don't go together",
              set_layout(x.a, CUBLASLT_MATRIX_LAYOUT_TYPE, &bf16_type, sizeof bf16_type));
    NOT_FOUND(CUDA_R_32F, "an order other than column-major",
              set_layout(x.d, CUBLASLT_MATRIX_LAYOUT_ORDER, &row, sizeof row));
    NOT_FOUND(CUDA_R_32F, "a batch", set_layout(x.a, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batch, sizeof batch));
    NOT_FOUND(CUDA_R_32F, "an epilogue that is not made here",
              set_desc(&x, CUBLASLT_MATMUL_DESC_EPILOGUE, &relu, sizeof relu));
}

TEST(a_preference_that_makes_no_sense_is_refused)
{
    call x;
    const uint32_t odd = 24;
    call_open(&x, CUDA_R_32F);
    prefer(&x, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &odd, sizeof odd);
    REFUSED(ask(&x), CUBLAS_STATUS_INVALID_VALUE, "an alignment of 24 bytes");
    call_close(&x);
}

TEST(an_algorithm_is_not_run_on_what_it_was_not_chosen_for)
{
    float host[K * M] = { 0 };
    const int64_t wide = K + 8;
    NOT_RUN("less aligned than the preference promised", x.at_a = x.memory + 16);
    NOT_RUN("a null matrix", x.at_b = NULL);
    NOT_RUN("a bias that is null", x.bias = NULL);
    NOT_RUN("a bias that is null or not aligned", x.bias = (const char *)x.bias + 4);
    NOT_RUN("a workspace smaller than the algorithm's", x.workspace_bytes = x.result.workspaceSize - 1);
    NOT_RUN("a workspace that is null", x.workspace = NULL);
    NOT_RUN("not aligned to 256 bytes", x.workspace = x.memory + 5 * APART + 64);
    NOT_RUN("a workspace that overlaps", x.workspace = x.at_d);
    NOT_RUN("a result that overlaps an operand", x.at_d = (void *)(uintptr_t)x.at_a);
    NOT_RUN("a result that overlaps C without being in place", (x.beta = 1.0f, x.at_c = (char *)x.at_d + 64));
    NOT_RUN("memory that is not the device's", x.at_a = (void *)(((uintptr_t)host + 63) & ~(uintptr_t)63));
    NOT_RUN("memory that is not the device's", x.at_b = x.memory + SPACE - 64);
    NOT_RUN("chosen for another product", set_layout(x.a, CUBLASLT_MATRIX_LAYOUT_LD, &wide, sizeof wide));
    NOT_RUN("chosen for another product", memset(&x.result.algo, 0, sizeof x.result.algo));
}

TEST(a_handle_that_was_destroyed_is_refused)
{
    call x;
    call_open(&x, CUDA_R_32F);
    OK(ask(&x));
    cublasLtHandle_t none = x.handle;
    OK(cublasLtDestroy(none));
    x.handle = NULL;
    REFUSED(multiply(&x), CUBLAS_STATUS_NOT_INITIALIZED, "without a handle");
    call_close(&x);
}
