/* test_cuda_matmul.c -- matrix products of the CUDA backend against plain double: every combination of types, layouts
 * and epilogues at awkward sizes, by cuBLASLt and by what stands in where it has no algorithm or no such epilogue.
 *
 * The device is cuda:0, or what VICMAE_TEST_DEVICE names. Where cuBLASLt is the stand-in, CUBLASLT_ON_CPU makes it
 * refuse things, so that every way of computing a product is taken; a real one ignores that. */
#include "engine/backend/backend.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct sizes {
    int64_t m, n, k;
} sizes;

/* 1 and odd; multiples of the 16 bytes that tensor cores want; off every tile by one; sums long enough to be split. */
static const sizes
    few[] = { { 1, 1, 1 }, { 3, 17, 5 }, { 65, 48, 32 }, { 33, 66, 130 }, { 8, 24, 640 }, { 7, 5, 601 } },
    fewer[] = { { 1, 1, 1 }, { 3, 17, 5 }, { 65, 66, 33 }, { 2, 5, 301 } }, one[] = { { 66, 40, 72 } };

static const char *device(void)
{
    const char *name = getenv("VICMAE_TEST_DEVICE");
    return name && strncmp(name, "cuda", 4) == 0 ? name : "cuda:0";
}

/* A backend whose cuBLASLt refuses `refused` (NULL: nothing), with a form of GELU (NULL: the default). */
static vmae_backend *open_refusing(const char *refused, const char *gelu)
{
    vmae_backend *be = NULL;
    refused ? setenv("CUBLASLT_ON_CPU", refused, 1) : unsetenv("CUBLASLT_ON_CPU");
    gelu ? setenv("VICMAE_GELU", gelu, 1) : unsetenv("VICMAE_GELU");
    return vmae_backend_open(&be, device(), 0) == VMAE_OK ? be : NULL;
}

/* ---- host values, as the device will see them ---- */

static float next_value(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(*state >> 40) / (double)(1 << 23) - 1.0);
}

static uint16_t to_bf16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

static float from_bf16(uint16_t half)
{
    const uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

typedef struct values {
    float *host; /* what the device holds, exactly */
    void *device;
    int64_t count;
    vmae_type type;
} values;

static void values_free(vmae_backend *be, values *v)
{
    free(v->host);
    be->release(be, v->device);
    *v = (values){ 0 };
}

/* The stand-in for device memory is just as large as asked, so whatever steps outside is seen. */
static values values_new(vmae_backend *be, vmae_type type, int64_t count, uint64_t seed)
{
    values v = { calloc((size_t)count, sizeof(float)), NULL, count, type };
    const size_t bytes = (size_t)count * vmae_type_size(type);
    void *raw = malloc(bytes);
    for (int64_t i = 0; i < count; i++) {
        v.host[i] = seed ? next_value(&seed) : NAN; /* NaN: nobody may read it */
        if (type == VMAE_BF16) {
            ((uint16_t *)raw)[i] = to_bf16(v.host[i]);
            v.host[i] = from_bf16(((uint16_t *)raw)[i]);
        } else {
            ((float *)raw)[i] = v.host[i];
        }
    }
    if (be->allocate(be, &v.device, bytes) != VMAE_OK || be->upload(be, v.device, raw, bytes) != VMAE_OK)
        vmae_check(false, __FILE__, __LINE__, "%s", vmae_error());
    free(raw);
    return v;
}

static void *download(vmae_backend *be, const values *v)
{
    const size_t bytes = (size_t)v->count * vmae_type_size(v->type);
    void *raw = calloc(1, bytes);
    if (be->download(be, raw, v->device, bytes) != VMAE_OK)
        vmae_check(false, __FILE__, __LINE__, "%s", vmae_error());
    return raw;
}

/* ---- one product, in double ---- */

static double gelu_of(double x, bool tanh_form)
{
    return tanh_form ? 0.5 * x * (1.0 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))
                     : 0.5 * x * (1.0 + erf(x / sqrt(2.0)));
}

typedef struct operands {
    values a, b, c, bias, residual;
} operands;

/* What element (i, j) should be, and how far off it may be. */
static double expected(const vmae_matmul_shape *s, const operands *o, bool tanh_form, int64_t i, int64_t j,
                       double *tolerance)
{
    double sum = 0.0, size = 0.0;
    for (int64_t l = 0; l < s->k; l++) {
        const double term = (double)o->a.host[s->trans_a ? l * s->m + i : i * s->k + l] *
                            (double)o->b.host[s->trans_b ? j * s->k + l : l * s->n + j];
        sum += term;
        size += fabs(term);
    }
    const double bias = s->bias ? o->bias.host[j] : 0.0, inner = sum + bias,
                 added = s->residual     ? o->residual.host[i * s->n + j]
                         : s->accumulate ? o->c.host[i * s->n + j]
                                         : 0.0,
                 outer = (s->gelu ? gelu_of(inner, tanh_form) : inner) + added;
    /* f32 sums of up to 640 terms. bf16: the result is rounded, and so may be the product (and residual) on its
     * way into a pass of its own, or the bias; GELU's slope is below 1.13. */
    *tolerance = 2e-6 * (size + fabs(bias) + fabs(outer));
    if (s->out == VMAE_BF16)
        *tolerance +=
            0x1.01p-8 * (fabs(outer) + (s->gelu || s->bias ? 1.13 * (fabs(sum) + fabs(bias) + fabs(added)) : 0.0));
    return outer;
}

static void compare(const char *what, const vmae_matmul_shape *s, const operands *o, const void *got, bool tanh_form)
{
    for (int64_t i = 0; i < s->m; i++)
        for (int64_t j = 0; j < s->n; j++) {
            double tolerance;
            const double want = expected(s, o, tanh_form, i, j, &tolerance);
            const int64_t at = i * s->n + j;
            const double value =
                s->out == VMAE_BF16 ? from_bf16(((const uint16_t *)got)[at]) : ((const float *)got)[at];
            if (!(fabs(value - want) <= tolerance)) {
                vmae_check(
                    false, __FILE__, __LINE__,
                    "%s: %lld x %lld x %lld, trans %d%d, types %d %d, bias %d gelu %d residual %d accumulate %d: "
                    "[%lld, %lld] is %.9g, expected %.9g +- %.3g",
                    what, (long long)s->m, (long long)s->n, (long long)s->k, s->trans_a, s->trans_b, s->in, s->out,
                    s->bias, s->gelu, s->residual, s->accumulate, (long long)i, (long long)j, value, want, tolerance);
                return;
            }
        }
}

/* ---- running it ---- */

static operands operands_new(vmae_backend *be, const vmae_matmul_shape *s)
{
    return (operands){ .a = values_new(be, s->in, s->m * s->k, 1),
                       .b = values_new(be, s->in, s->k * s->n, 2),
                       .c = values_new(be, s->out, s->m * s->n, s->accumulate ? 3 : 0),
                       .bias = s->bias ? values_new(be, VMAE_F32, s->n, 4) : (values){ 0 },
                       .residual = s->residual ? values_new(be, s->out, s->m * s->n, 5) : (values){ 0 } };
}

static void operands_free(vmae_backend *be, operands *o)
{
    values_free(be, &o->a);
    values_free(be, &o->b);
    values_free(be, &o->c);
    values_free(be, &o->bias);
    values_free(be, &o->residual);
}

static vmae_status multiply(vmae_backend *be, const vmae_matmul *matmul, const operands *o)
{
    void *workspace = NULL;
    const size_t bytes = be->matmul_workspace(matmul);
    if (bytes)
        VMAE_TRY(be->allocate(be, &workspace, bytes));
    vmae_status st =
        be->matmul(be, matmul, o->c.device, o->a.device, o->b.device, o->bias.device, o->residual.device, workspace);
    if (st == VMAE_OK)
        st = be->synchronize(be);
    be->release(be, workspace);
    return st;
}

/* The same bits again. */
static void check_repeats(vmae_backend *be, const char *what, const vmae_matmul *matmul, const vmae_matmul_shape *shape,
                          const void *first)
{
    operands o = operands_new(be, shape);
    CHECK_OK(multiply(be, matmul, &o));
    void *second = download(be, &o.c);
    vmae_check(memcmp(first, second, (size_t)o.c.count * vmae_type_size(o.c.type)) == 0, __FILE__, __LINE__,
               "%s: %lld x %lld x %lld: other bits the second time", what, (long long)shape->m, (long long)shape->n,
               (long long)shape->k);
    free(second);
    operands_free(be, &o);
}

static void check_product(vmae_backend *be, const char *what, const vmae_matmul_shape *shape, bool tanh_form)
{
    vmae_matmul *matmul = NULL, *again = NULL;
    operands o = operands_new(be, shape);
    REQUIRE_OK(be->matmul_new(be, &matmul, shape));
    CHECK_OK(be->matmul_new(be, &again, shape));
    CHECK(matmul == again);
    CHECK_OK(multiply(be, matmul, &o));
    void *first = download(be, &o.c);
    compare(what, shape, &o, first, tanh_form);
    if (!shape->trans_a)
        check_repeats(be, what, matmul, shape, first);
    free(first);
    operands_free(be, &o);
}

/* All that a shape can say. */
static void check_all(vmae_backend *be, const char *what, const sizes *all, int count, bool tanh_form)
{
    static const vmae_type types[][2] = { { VMAE_F32, VMAE_F32 }, { VMAE_BF16, VMAE_F32 }, { VMAE_BF16, VMAE_BF16 } };
    for (int z = 0; z < count; z++)
        for (int t = 0; t < 3; t++)
            for (int trans = 0; trans < 4; trans++)
                for (int flags = 0; flags < 9; flags++) { /* 8: accumulate */
                    const vmae_matmul_shape shape = { .m = all[z].m,
                                                      .n = all[z].n,
                                                      .k = all[z].k,
                                                      .trans_a = trans & 1,
                                                      .trans_b = trans >> 1,
                                                      .in = types[t][0],
                                                      .out = types[t][1],
                                                      .bias = flags & 1,
                                                      .gelu = flags >> 1 & 1,
                                                      .residual = flags >> 2 & 1,
                                                      .accumulate = flags >> 3 };
                    check_product(be, what, &shape, tanh_form);
                }
}

#define COUNT(array) (int)(sizeof(array) / sizeof *(array))
/* No GPU is a reason to skip; a stand-in that does not open is none. */
#define OPEN(be, refused, gelu)                                                                                        \
    vmae_backend *be = open_refusing(refused, gelu);                                                                   \
    if (!be && getenv("VICMAE_CUDA_MODULE"))                                                                           \
        vmae_check(false, __FILE__, __LINE__, "%s", vmae_error());                                                     \
    if (!be)                                                                                                           \
    SKIP("%s", vmae_error())

TEST(products_are_those_of_plain_double)
{
    OPEN(be, NULL, NULL);
    check_all(be, "by cuBLASLt", few, COUNT(few), false);
    const char *algorithms = be->algorithms(be);
    CHECK_STR(algorithms, "matmul 1 x 1 x 1 NN f32 -> f32: algo ");
    CHECK(!strstr(algorithms, "own kernel"));
    vmae_backend_close(be);
}

TEST(products_without_a_bias_epilogue_are_those_of_plain_double)
{
    OPEN(be, "no_bias", NULL);
    check_all(be, "no bias epilogue", few, COUNT(few), false);
    vmae_backend_close(be);
}

TEST(products_without_an_algorithm_are_those_of_plain_double)
{
    OPEN(be, "nothing", NULL);
    check_all(be, "own kernel", fewer, COUNT(fewer), false);
    vmae_backend_close(be);
}

TEST(products_of_unaligned_rows_are_those_of_plain_double)
{
    static const sizes odd[] = { { 9, 3, 7 }, { 16, 8, 8 } };
    OPEN(be, "aligned", NULL);
    check_all(be, "aligned rows only", odd, COUNT(odd), false);
    vmae_backend_close(be);
}

TEST(products_with_the_tanh_form_of_gelu_are_those_of_plain_double)
{
    static const char *const refused[] = { NULL, "no_bias", "no_gelu", "nothing" };
    for (int i = 0; i < COUNT(refused); i++) {
        OPEN(be, refused[i], "tanh");
        check_all(be, refused[i] ? refused[i] : "tanh", one, COUNT(one), true);
        CHECK_STR(be->algorithms(be), "tanh gelu");
        vmae_backend_close(be);
    }
}

TEST(a_form_of_gelu_that_is_unknown_is_refused)
{
    OPEN(be, NULL, NULL);
    vmae_backend_close(be);
    CHECK(!open_refusing(NULL, "sigmoid"));
    CHECK_STR(vmae_error(), "VICMAE_GELU is \"sigmoid\"");
}

TEST(the_record_says_how_each_product_is_computed)
{
    OPEN(be, NULL, NULL);
    const vmae_matmul_shape layer = {
        .m = 6, .n = 8, .k = 16, .trans_b = true, .in = VMAE_BF16, .out = VMAE_BF16, .bias = true
    };
    vmae_matmul_shape inference = layer;
    inference.gelu = true;
    vmae_matmul *matmul;
    CHECK_OK(be->matmul_new(be, &matmul, &layer));
    CHECK_OK(be->matmul_new(be, &matmul, &inference));
    const char *algorithms = be->algorithms(be);
    CHECK_STR(algorithms, "matmul 6 x 8 x 16 NT bf16 -> bf16 + bias: algo ");
    CHECK_STR(algorithms, ", bias rounded to bf16\n");
    CHECK_STR(algorithms, "matmul 6 x 8 x 16 NT bf16 -> bf16 + bias + gelu: algo ");
    CHECK_STR(algorithms, ", own pass for bias gelu\n");
    vmae_backend_close(be);
}

TEST(a_shape_that_makes_no_sense_is_refused)
{
    OPEN(be, NULL, NULL);
    vmae_matmul *matmul = NULL;
    const vmae_matmul_shape
        wide = { .m = 2, .n = 2, .k = 2, .in = VMAE_F32, .out = VMAE_BF16 },
        empty = { .m = 2, .n = 0, .k = 2, .in = VMAE_F32, .out = VMAE_F32 },
        both = { .m = 2, .n = 2, .k = 2, .in = VMAE_F32, .out = VMAE_F32, .bias = true, .accumulate = true };
    CHECK_FAILS(be->matmul_new(be, &matmul, &wide), VMAE_EINTERNAL, "matrix product 2 x 2 x 2 NN f32 -> bf16: ");
    CHECK_FAILS(be->matmul_new(be, &matmul, &empty), VMAE_EINTERNAL, "a size is below 1");
    CHECK_FAILS(be->matmul_new(be, &matmul, &both), VMAE_EINTERNAL, "neither bias, GELU nor residual");
    CHECK(!matmul);
    vmae_backend_close(be);
}

TEST(a_pointer_that_is_not_aligned_is_refused)
{
    OPEN(be, NULL, NULL);
    const vmae_matmul_shape shape = { .m = 4, .n = 4, .k = 4, .in = VMAE_F32, .out = VMAE_F32 };
    vmae_matmul *matmul = NULL;
    operands o = operands_new(be, &shape);
    REQUIRE_OK(be->matmul_new(be, &matmul, &shape));
    CHECK_FAILS(be->matmul(be, matmul, o.c.device, (float *)o.a.device + 1, o.b.device, NULL, NULL, NULL),
                VMAE_EINTERNAL, "4 x 4 x 4 NN f32 -> f32: a pointer is not aligned");
    operands_free(be, &o);
    vmae_backend_close(be);
}
