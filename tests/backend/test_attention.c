/* test_attention.c -- multi-head attention against double precision, on every instruction set. */
#include "tests/backend/kernel_tensors.h"

typedef struct attention_case {
    double *qkv, *dout;
    int64_t batch, tokens, heads, width;
} attention_case;

static double qkv_at(const attention_case *c, int64_t b, int64_t t, int64_t which, int64_t h, int64_t i)
{
    return c->qkv[(((b * c->tokens + t) * 3 + which) * c->heads + h) * c->width + i];
}

static void attention_reference(double *out, double *lse, const attention_case *c)
{
    double score[1100];
    for (int64_t task = 0; task < c->batch * c->heads * c->tokens; task++) {
        const int64_t t = task % c->tokens, h = task / c->tokens % c->heads, b = task / c->tokens / c->heads;
        double top = -INFINITY, sum = 0.0;
        for (int64_t key = 0; key < c->tokens; key++) {
            score[key] = 0.0;
            for (int64_t i = 0; i < c->width; i++)
                score[key] += qkv_at(c, b, t, 0, h, i) * qkv_at(c, b, key, 1, h, i);
            score[key] /= sqrt((double)c->width);
            top = fmax(top, score[key]);
        }
        for (int64_t key = 0; key < c->tokens; key++)
            sum += exp(score[key] - top);
        lse[task] = top + log(sum);
        for (int64_t i = 0; i < c->width; i++) {
            double value = 0.0;
            for (int64_t key = 0; key < c->tokens; key++)
                value += exp(score[key] - lse[task]) * qkv_at(c, b, key, 2, h, i);
            out[((b * c->tokens + t) * c->heads + h) * c->width + i] = value;
        }
    }
}

static double attention_loss(const void *context)
{
    const attention_case *c = context;
    static double out[32768], lse[4096];
    double loss = 0.0;
    attention_reference(out, lse, c);
    for (int64_t i = 0; i < c->batch * c->tokens * c->heads * c->width; i++)
        loss += c->dout[i] * out[i];
    return loss;
}

/* spread: of q, k and v around 0; 6 at width 64 saturates most rows. */
static void check_case(const vmae_kernels *k, vmae_type type, int64_t batch, int64_t tokens, int64_t heads,
                       int64_t width, double spread, int64_t probes)
{
    const vmae_attention_shape shape = { type, batch, tokens, heads, width };
    const int64_t n = batch * tokens * heads * width;
    const tensor qkv = tensor_random(type, 3 * n, -spread, spread, 91), dout = tensor_random(type, n, -1.0, 1.0, 92);
    const attention_case c = { doubles(qkv), doubles(dout), batch, tokens, heads, width };
    double *out_expected = doubles_new(n), *lse_expected = doubles_new(batch * heads * tokens);
    tensor out[4], lse[4], dqkv[4];
    attention_reference(out_expected, lse_expected, &c);
    for (int t = 1; t <= 3; t++) {
        vmae_backend be = with_threads(t);
        out[t] = tensor_new(type, n), lse[t] = tensor_new(VMAE_F32, batch * heads * tokens),
        dqkv[t] = tensor_new(type, 3 * n);
        REQUIRE_OK(k->attention(&be, out[t].data, lse[t].data, NULL, qkv.data, &shape));
        REQUIRE_OK(k->attention_grad(&be, dqkv[t].data, NULL, dout.data, qkv.data, out[t].data, lse[t].data, &shape));
        CHECK(same_bits(out[t], out[1]) && same_bits(lse[t], lse[1]) && same_bits(dqkv[t], dqkv[1]));
        out[0] = tensor_new(type, n);
        REQUIRE_OK(k->attention(&be, out[0].data, NULL, NULL, qkv.data, &shape));
        CHECK(same_bits(out[0], out[1]));
    }
    /* A score of size s is rounded by about s 1e-7 before the exponential. */
    const double scores = largest(lse_expected, batch * heads * tokens);
    tensor_near(out[1], out_expected, (1e-6 + 2e-7 * scores) * spread, "attention", k->isa);
    tensor_near(lse[1], lse_expected, 1e-6 + 2e-7 * scores, "lse", k->isa);
    /* bf16: the gradient takes dout . out from the rounded out. */
    const double tolerance = type == VMAE_BF16 ? 1e-2 : 1e-5 + 5e-7 * scores;
    gradient_near(attention_loss, &c, c.qkv, dqkv[1], probes, tolerance, 0.1, "dqkv", k->isa);
    release_all();
}

static void check_sizes(const vmae_kernels *k, vmae_type type)
{
    check_case(k, type, 1, 1, 1, 8, 1.0, 24);
    check_case(k, type, 2, 2, 3, 1, 1.0, 36);
    check_case(k, type, 3, 5, 2, 13, 1.0, 60);
    check_case(k, type, 2, 17, 3, 32, 1.5, 40);
    check_case(k, type, 2, 50, 2, 64, 1.5, 8);
    check_case(k, type, 1, 65, 3, 33, 1.5, 8);
    check_case(k, type, 1, 71, 1, 256, 0.8, 6);
}
TEST(attention_and_its_gradient_match_at_odd_and_usual_sizes)
{
    for_each_kernel(check_sizes);
}

static void check_vit(const vmae_kernels *k, vmae_type type)
{
    check_case(k, type, 1, 197, 2, 64, 1.0, 2);
    check_case(k, type, 1, 1031, 1, 9, 1.0, 2);
}
TEST(attention_over_an_image_and_over_a_thousand_tokens_matches)
{
    for_each_kernel(check_vit);
}

static void check_saturated(const vmae_kernels *k, vmae_type type)
{
    check_case(k, type, 2, 19, 2, 64, 6.0, 24);
    check_case(k, type, 1, 7, 1, 16, 40.0, 30);
}
TEST(attention_of_saturated_scores_matches)
{
    for_each_kernel(check_saturated);
}

static void check_extremes(const vmae_kernels *k, vmae_type type)
{
    enum { TOKENS = 5, WIDTH = 8, N = TOKENS * WIDTH };
    const vmae_attention_shape shape = { type, 1, TOKENS, 1, WIDTH };
    const tensor qkv = tensor_random(type, 3 * N, -1.0, 1.0, 93), out = tensor_new(type, N),
                 lse = tensor_new(VMAE_F32, TOKENS);
    const tensor dout = tensor_random(type, N, -1.0, 1.0, 94), dqkv = tensor_new(type, 3 * N);
    vmae_backend be = with_threads(2);
    for (int i = 0; i < 2 * WIDTH; i++)
        set_at(qkv, i, 1e15); /* scores of 1e30 in token 0 */
    REQUIRE_OK(k->attention(&be, out.data, lse.data, NULL, qkv.data, &shape));
    REQUIRE_OK(k->attention_grad(&be, dqkv.data, NULL, dout.data, qkv.data, out.data, lse.data, &shape));
    for (int i = 0; i < WIDTH; i++) /* all weight on key 0 */
        CHECK_NEAR(value_at(out, i), value_at(qkv, 2 * WIDTH + i), 1e-6);
    for (int i = 0; i < N; i++)
        CHECK(isfinite(value_at(out, i)));
    set_at(qkv, 0, INFINITY), set_at(qkv, 9, -INFINITY), set_at(qkv, 3 * WIDTH, NAN);
    REQUIRE_OK(k->attention(&be, out.data, lse.data, NULL, qkv.data, &shape));
    REQUIRE_OK(k->attention_grad(&be, dqkv.data, NULL, dout.data, qkv.data, out.data, lse.data, &shape));
    CHECK(isnan(value_at(out, WIDTH)) || isnan(value_at(out, 0))); /* seen, not hidden */
}
TEST(attention_of_huge_and_infinite_values_comes_back)
{
    for_each_kernel(check_extremes);
}
