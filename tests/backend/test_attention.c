/* test_attention.c -- multi-head attention against double precision, there and back. */
#include "tests/backend/kernel_values.h"

/* What a device may be off by beside the CPU's tolerance where its products take bf16: a probability is rounded by 2^-9
 * of itself, and the mean over the values by no more; a gradient sums a few roundings, and dout . out is of a rounded
 * out. */
#define BF16_PROBABILITIES   0x1p-8
#define BF16_SCORE_GRADIENTS 2e-2

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
        for (int64_t key = 0; key < c->tokens; key++)
            score[key] = exp(score[key] - lse[task]);
        for (int64_t i = 0; i < c->width; i++) {
            double value = 0.0;
            for (int64_t key = 0; key < c->tokens; key++)
                value += score[key] * qkv_at(c, b, key, 2, h, i);
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

typedef struct attention_result {
    tensor out, lse, dqkv;
} attention_result;

static void *workspace_of(vmae_backend *be, const vmae_attention_shape *shape, bool grad)
{
    size_t bytes = 0;
    kernel_called(offsetof(vmae_kernels, attention_prepare));
    CHECK_OK(be->kernels->attention_prepare(be, shape, grad, &bytes));
    return bytes ? grab(bytes) : NULL;
}

static attention_result attend(vmae_backend *be, const vmae_attention_shape *shape, tensor qkv, tensor dout)
{
    const int64_t n = dout.n, rows = shape->batch * shape->heads * shape->tokens;
    const attention_result r = { tensor_new(shape->type, n), tensor_new(VMAE_F32, rows),
                                 tensor_new(shape->type, 3 * n) };
    void *forward = workspace_of(be, shape, false), *backward = workspace_of(be, shape, true);
    CHECK_OK(CALL(be, attention, OUT(r.out.data), OUT(r.lse.data), SCRATCH(forward), IN(qkv.data), shape));
    CHECK_OK(CALL(be, attention_grad, OUT(r.dqkv.data), SCRATCH(backward), IN(dout.data), IN(qkv.data), IN(r.out.data),
                  IN(r.lse.data), shape));
    return r;
}

/* spread: of q, k and v around 0; 6 at width 64 saturates most rows. */
static void check_case(vmae_backend *be, vmae_type type, int64_t batch, int64_t tokens, int64_t heads, int64_t width,
                       double spread, int64_t probes)
{
    const vmae_attention_shape shape = { type, batch, tokens, heads, width };
    const int64_t n = batch * tokens * heads * width;
    const tensor qkv = tensor_random(type, 3 * n, -spread, spread, 91), dout = tensor_random(type, n, -1.0, 1.0, 92);
    const attention_case c = { doubles(qkv), doubles(dout), batch, tokens, heads, width };
    double *out_expected = doubles_new(n), *lse_expected = doubles_new(batch * heads * tokens);
    const attention_result r = attend(be, &shape, qkv, dout);
    const tensor inferred = tensor_new(type, n);
    void *workspace = workspace_of(be, &shape, false);
    RUN(be, attention, OUT(inferred.data), NULL, SCRATCH(workspace), IN(qkv.data), &shape);
    if (kernel_repeats()) { /* the bits are compared; what follows takes its time */
        release_all();
        return;
    }
    attention_reference(out_expected, lse_expected, &c);
    /* A score of size s is rounded by about s 1e-7 before the exponential. */
    const double scores = largest(lse_expected, batch * heads * tokens);
    double within = (1e-6 + 2e-7 * scores) * spread, grad_within = 1e-5 + 5e-7 * scores;
    if (type == VMAE_BF16) {
        grad_within = 1e-2;      /* the gradient takes dout . out from the rounded out */
        if (!vmae_test_on_cpu()) /* tensor cores take probabilities, and the gradients of scores, in bf16 */
            within += BF16_PROBABILITIES * spread, grad_within = BF16_SCORE_GRADIENTS;
    }
    tensor_near(r.out, out_expected, within, "attention");
    tensor_near(r.lse, lse_expected, 1e-6 + 2e-7 * scores, "lse");
    tensor_near(inferred, out_expected, within, "attention for inference");
    gradient_near(attention_loss, &c, c.qkv, r.dqkv, probes, grad_within, 0.1, "dqkv");
    release_all();
}

static void check_sizes(vmae_backend *be, vmae_type type)
{
    check_case(be, type, 1, 1, 1, 8, 1.0, 24);
    check_case(be, type, 2, 2, 3, 1, 1.0, 36);
    check_case(be, type, 3, 5, 2, 13, 1.0, 60);
    check_case(be, type, 2, 17, 3, 32, 1.5, 40);
    check_case(be, type, 2, 50, 2, 64, 1.5, 8);
    check_case(be, type, 1, 65, 3, 33, 1.5, 8);
    check_case(be, type, 1, 71, 1, 256, 0.8, 6);
}
TEST(attention_and_its_gradient_match_at_odd_and_usual_sizes)
{
    on_every_backend_and_type(check_sizes);
}

static void check_vit(vmae_backend *be, vmae_type type)
{
    check_case(be, type, 1, 197, 2, 64, 1.0, 2);
    check_case(be, type, 1, vmae_test_on_cpu() ? 1031 : 331, 1, 9, 1.0, 2);
}
TEST(attention_over_an_image_and_over_many_tokens_matches)
{
    on_every_backend_and_type(check_vit);
}

static void check_saturated(vmae_backend *be, vmae_type type)
{
    check_case(be, type, 2, 19, 2, 64, 6.0, 24);
    check_case(be, type, 1, 7, 1, 16, 40.0, 30);
}
TEST(attention_of_saturated_scores_matches)
{
    on_every_backend_and_type(check_saturated);
}

static void check_extremes(vmae_backend *be, vmae_type type)
{
    enum { TOKENS = 5, WIDTH = 8, N = TOKENS * WIDTH };
    const vmae_attention_shape shape = { type, 1, TOKENS, 1, WIDTH };
    const tensor qkv = tensor_random(type, 3 * N, -1.0, 1.0, 93), dout = tensor_random(type, N, -1.0, 1.0, 94);
    for (int i = 0; i < 2 * WIDTH; i++)
        set_at(qkv, i, 1e15); /* scores of 1e30 in token 0 */
    attention_result r = attend(be, &shape, qkv, dout);
    int wrong = 0, infinite = 0;
    for (int i = 0; i < WIDTH; i++) /* all weight on key 0 */
        wrong += !(fabs(value_at(r.out, i) - value_at(qkv, 2 * WIDTH + i)) <= 1e-6);
    for (int i = 0; i < N; i++)
        infinite += !isfinite(value_at(r.out, i));
    CHECK_EQ(wrong, 0);
    CHECK_EQ(infinite, 0);
    set_at(qkv, 0, INFINITY), set_at(qkv, 9, -INFINITY), set_at(qkv, 3 * WIDTH, NAN);
    r = attend(be, &shape, qkv, dout);
    CHECK(isnan(value_at(r.out, WIDTH)) || isnan(value_at(r.out, 0))); /* seen, not hidden */
}
TEST(attention_of_huge_and_infinite_values_comes_back)
{
    on_every_backend_and_type(check_extremes);
}
