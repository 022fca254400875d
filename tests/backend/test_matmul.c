/* test_matmul.c -- matrix products with all that may be fused into them, against double precision. */
#include "tests/backend/kernel_values.h"

#include <stdio.h>

/* Everything of a product; numbers are grabbed. */
typedef struct product {
    vmae_matmul_shape shape;
    tensor a, b, bias, residual, c; /* c: before, if it is accumulated */
} product;

static double element(const double *x, bool transposed, int64_t row, int64_t column, int64_t rows, int64_t columns)
{
    return x[transposed ? column * rows + row : row * columns + column];
}

/* stored: the largest magnitude that a backend may round on the way, which fuses less than the rest into the product.
 */
static double *expected_of(const product *p, double *stored)
{
    const vmae_matmul_shape *s = &p->shape;
    double *c = grab_doubles(s->m * s->n), *a = doubles(p->a), *b = doubles(p->b);
    for (int64_t i = 0; i < s->m * s->n; i++) {
        const int64_t row = i / s->n, column = i % s->n;
        double sum = s->bias ? value_at(p->bias, column) : 0.0;
        for (int64_t k = 0; k < s->k; k++)
            sum += element(a, s->trans_a, row, k, s->m, s->k) * element(b, s->trans_b, k, column, s->k, s->n);
        stored[i] = fabs(sum) + (s->bias ? fabs(value_at(p->bias, column)) : 0.0);
        sum = s->gelu ? 0.5 * sum * erfc(-sum * sqrt(0.5)) : sum;
        sum += s->residual ? value_at(p->residual, i) : 0.0;
        c[i] = sum + (s->accumulate ? value_at(p->c, i) : 0.0);
    }
    return c;
}

static product product_of(const vmae_matmul_shape *s)
{
    return (product){ *s,
                      tensor_random(s->in, s->m * s->k, -1.0, 1.0, 201),
                      tensor_random(s->in, s->k * s->n, -1.0, 1.0, 202),
                      tensor_random(VMAE_F32, s->n, -1.0, 1.0, 203),
                      tensor_random(s->out, s->m * s->n, -1.0, 1.0, 204),
                      tensor_random(s->out, s->m * s->n, -1.0, 1.0, 205) };
}

static const char *text_of(const vmae_matmul_shape *s)
{
    static char text[160];
    snprintf(text, sizeof text, "%lld x %lld x %lld%s%s%s%s%s%s%s%s", (long long)s->m, (long long)s->n, (long long)s->k,
             s->trans_a ? ", A transposed" : "", s->trans_b ? ", B transposed" : "",
             s->in == VMAE_BF16 ? ", of bf16" : "", s->out == VMAE_BF16 ? ", to bf16" : "", s->bias ? ", bias" : "",
             s->gelu ? ", gelu" : "", s->residual ? ", residual" : "", s->accumulate ? ", accumulate" : "");
    return text;
}

static void check_product(vmae_backend *be, vmae_matmul_shape s)
{
    const product p = product_of(&s);
    double *stored = grab_doubles(s.m * s.n), *expected = expected_of(&p, stored);
    vmae_matmul *matmul = NULL, *same = NULL;
    if (!vmae_check(be->matmul_new(be, &matmul, &s) == VMAE_OK, __FILE__, __LINE__, "%s: %s", text_of(&s),
                    vmae_error()))
        return;
    CHECK_OK(be->matmul_new(be, &same, &s));
    CHECK(same == matmul);
    const size_t bytes = be->matmul_workspace(matmul);
    void *workspace = bytes ? grab(bytes) : NULL;
    tensor c[2];
    for (int run = 0; run < 2; run++) {
        c[run] = s.accumulate ? tensor_copy(p.c) : tensor_new(s.out, s.m * s.n);
        const vmae_status st = kernel_done(be, 0,
                                           be->matmul(be, matmul, OUT(c[run].data), IN(p.a.data), IN(p.b.data),
                                                      IN(s.bias ? p.bias.data : NULL),
                                                      IN(s.residual ? p.residual.data : NULL), SCRATCH(workspace)));
        if (!vmae_check(st == VMAE_OK, __FILE__, __LINE__, "%s: %s", text_of(&s), vmae_error()))
            return;
    }
    CHECK(same_bits(c[0], c[1]));
    /* The limit: f32 sums of k products of at most 1, in any order; a library may round the bias to the result's type,
     * and the product before it adds bias, residual or C (seen on an H100). */
    const double sums = 1e-6 * (1.0 + sqrt((double)s.k));
    const bool apart = !vmae_test_on_cpu() && (s.bias || s.gelu || s.residual || s.accumulate);
    for (int64_t i = 0; i < s.m * s.n; i++) {
        const double limit =
            sums + rounding_of(s.out, expected[i]) + (apart ? 2.0 * rounding_of(s.out, stored[i]) : 0.0);
        if (!vmae_check(fabs(value_at(c[0], i) - expected[i]) <= limit, __FILE__, __LINE__,
                        "%s (%s): [%lld] is %.9g, expected %.9g +- %.2g", text_of(&s), on_what(), (long long)i,
                        value_at(c[0], i), expected[i], limit))
            break;
    }
    release_all();
}

static void all_epilogues(vmae_backend *be, int64_t m, int64_t n, int64_t k, vmae_type in, vmae_type out)
{
    const vmae_matmul_shape plain = { .m = m, .n = n, .k = k, .in = in, .out = out };
    for (int i = 0; i < 4; i++) {
        vmae_matmul_shape s = plain;
        s.trans_a = i & 1, s.trans_b = i & 2;
        check_product(be, s);
        s.accumulate = true;
        check_product(be, s);
    }
    for (int i = 1; i < 8; i++) {
        vmae_matmul_shape s = plain;
        s.trans_b = true; /* a layer's weight */
        s.bias = i & 1, s.gelu = i & 2, s.residual = i & 4;
        check_product(be, s);
    }
}

static void all_products(vmae_backend *be)
{
    static const int64_t sizes[][3] = { { 1, 1, 1 },    { 3, 5, 7 },     { 17, 31, 13 }, { 64, 48, 80 },
                                        { 50, 96, 33 }, { 197, 24, 16 }, { 130, 8, 200 } };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        all_epilogues(be, sizes[i][0], sizes[i][1], sizes[i][2], VMAE_F32, VMAE_F32);
        if (be->precision == VMAE_BF16) {
            all_epilogues(be, sizes[i][0], sizes[i][1], sizes[i][2], VMAE_BF16, VMAE_BF16);
            all_epilogues(be, sizes[i][0], sizes[i][1], sizes[i][2], VMAE_BF16, VMAE_F32);
        }
    }
    check_product(
        be, (vmae_matmul_shape){
                .m = 8, .n = 768, .k = 768, .trans_b = true, .in = be->precision, .out = be->precision, .bias = true });
    CHECK(be->algorithms(be) != NULL);
}

TEST(products_with_bias_gelu_residual_and_sum_match_double_precision)
{
    on_one_backend(all_products);
}
