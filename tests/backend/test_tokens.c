/* test_tokens.c -- masking, patches, encoder and decoder tokens, pooling: against plain loops in double precision and
 * golden vectors. */
#include "engine/core/rng.h"
#include "tests/backend/kernel_values.h"

#include <stdlib.h>

enum { TYPES = VMAE_BF16 + 1 };

/* ---- masking ---- */

static const float *order_noise;

/* Ascending, NaN last, equals by index: what a stable sort gives. */
static int by_noise(const void *left, const void *right)
{
    const int32_t i = *(const int32_t *)left, j = *(const int32_t *)right;
    const float a = order_noise[i], b = order_noise[j];
    if (isnan(a) != isnan(b))
        return isnan(a) ? 1 : -1;
    if (a < b || a > b)
        return a < b ? -1 : 1;
    return i < j ? -1 : i > j;
}

static void masking_case(vmae_backend *be, float *noise, int64_t batch, int64_t patches, int64_t keep)
{
    const int64_t n = batch * patches;
    int32_t *shuffle = grab_ints(n), *restore = grab_ints(n), *expected = grab_ints(patches);
    float *mask = grab_floats(n);
    RUN(be, random_masking, OUT(shuffle), OUT(restore), OUT(mask), IN(noise), batch, patches, keep);
    int64_t wrong = 0;
    for (int64_t b = 0; b < batch; b++) {
        for (int64_t i = 0; i < patches; i++)
            expected[i] = (int32_t)i;
        order_noise = noise + b * patches;
        qsort(expected, (size_t)patches, sizeof *expected, by_noise);
        for (int64_t i = 0; i < patches; i++) {
            wrong += shuffle[b * patches + i] != expected[i];
            wrong += restore[b * patches + expected[i]] != i;
            wrong += mask[b * patches + expected[i]] != (i < keep ? 0.0f : 1.0f);
        }
    }
    CHECK_EQ(wrong, 0);
}

static void masking_sizes(vmae_backend *be)
{
    const int64_t sizes[][3] = {
        { 1, 1, 1 }, { 3, 9, 2 }, { 2, 64, 16 }, { 37, 197, 49 }, { 1, 5000, 0 }, { 2, 31, 31 }
    };
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        masking_case(be, random_floats(sizes[s][0] * sizes[s][1], s), sizes[s][0], sizes[s][1], sizes[s][2]);
}

TEST(random_masking_is_a_stable_argsort_with_its_inverse_and_mask)
{
    on_every_backend(masking_sizes);
}

static void masking_hostile(vmae_backend *be)
{
    float *noise = random_floats(4 * 100, 1);
    for (int64_t i = 0; i < 100; i++) {
        noise[i] = 0.5f;                                    /* all equal */
        noise[100 + i] = i % 3 == 0 ? -0.0f : 0.0f;         /* equal, though the bits differ */
        noise[200 + i] = i % 2 == 0 ? NAN : noise[200 + i]; /* no order */
        noise[300 + i] = i % 4 == 0 ? INFINITY : i % 4 == 1 ? -INFINITY : i % 4 == 2 ? -NAN : 1e-45f;
    }
    masking_case(be, noise, 4, 100, 25);
}

TEST(random_masking_of_equal_or_nan_noise_is_stable_and_still_a_permutation)
{
    on_every_backend(masking_hostile);
}

/* ---- patches ---- */

/* ids [batch, stride], each row a permutation of stride patches. */
static int32_t *random_ids(int64_t batch, int64_t patches, uint64_t seed)
{
    vmae_rng rng = vmae_rng_at(seed, VMAE_RNG_TEST, 1, 0);
    int32_t *ids = grab_ints(batch * patches);
    for (int64_t b = 0; b < batch; b++)
        for (int64_t i = 0; i < patches; i++) {
            const int64_t j = (int64_t)vmae_rng_below(&rng, (uint64_t)i + 1);
            ids[b * patches + i] = ids[b * patches + j];
            ids[b * patches + j] = (int32_t)i;
        }
    return ids;
}

static void gather_case(vmae_backend *be, int64_t batch, int64_t channels, int64_t grid, int64_t p, int64_t keep,
                        bool all, vmae_type type)
{
    const int64_t side = grid * p, patches = grid * grid, n = batch * keep * channels * p * p;
    const float *images = random_floats(batch * channels * side * side, 31);
    const int32_t *ids = random_ids(batch, patches, 32);
    void *y = grab_type(n, type);
    RUN(be, gather_patches, OUT(y), IN(images), IN(all ? NULL : ids), patches, type, batch, channels, side, p, keep);
    const float *got = as_floats(y, n, type);
    int64_t wrong = 0;
    for (int64_t i = 0; i < n; i++) {
        const int64_t column = i % p, row = i / p % p, c = i / p / p % channels, j = i / p / p / channels % keep;
        const int64_t b = i / p / p / channels / keep, l = all ? j : ids[b * patches + j];
        const float x = images[((b * channels + c) * side + l / grid * p + row) * side + l % grid * p + column];
        wrong += got[i] != (type == VMAE_BF16 ? bf16_to_float(bf16_from_float(x)) : x);
    }
    CHECK_EQ(wrong, 0);
}

static void gather_sizes(vmae_backend *be)
{
    for (int type = VMAE_F32; type < TYPES; type++) {
        gather_case(be, 2, 3, 3, 4, 5, false, (vmae_type)type);
        gather_case(be, 3, 1, 5, 3, 25, true, (vmae_type)type);
        gather_case(be, 1, 4, 2, 1, 1, false, (vmae_type)type);
        gather_case(be, 5, 3, 6, 16, 9, false, (vmae_type)type);
    }
}

TEST(gather_patches_copies_the_chosen_pixels_in_the_order_of_a_convolution)
{
    on_every_backend(gather_sizes);
}

/* ---- tokens ---- */

static void embed_case(vmae_backend *be, int64_t batch, int64_t keep, int64_t patches, int64_t d, bool all, bool frozen,
                       bool accumulate, vmae_type type)
{
    const int64_t n = batch * keep * d, m = batch * (1 + keep) * d;
    const int32_t *ids = all ? NULL : random_ids(batch, patches, 51);
    float *x = random_floats(n, 52), *cls = random_floats(d, 53), *pos = random_floats((1 + patches) * d, 54);
    float *dy = random_floats(m, 55), *dcls = random_floats(d, 56), *dpos = random_floats((1 + patches) * d, 57);
    void *x_typed = as_type(x, n, type), *dy_typed = as_type(dy, m, type), *y = grab_type(m, type),
         *dx = grab_type(n, type);
    double *ey = grab_doubles(m), *edx = grab_doubles(n), *edcls = as_doubles(dcls, d);
    double *edpos = as_doubles(dpos, (1 + patches) * d);
    for (int64_t i = 0; !accumulate && i < d; i++)
        edcls[i] = 0.0;
    for (int64_t i = 0; !accumulate && i < (1 + patches) * d; i++)
        edpos[i] = 0.0;
    for (int64_t i = 0; i < m; i++) {
        const int64_t c = i % d, j = i / d % (1 + keep) - 1, b = i / d / (1 + keep);
        const int64_t l = j < 0 ? 0 : 1 + (ids ? ids[b * patches + j] : j);
        ey[i] = (double)pos[l * d + c] + (double)(j < 0 ? cls[c] : x[(b * keep + j) * d + c]);
        edpos[l * d + c] += (double)dy[i];
        if (j < 0)
            edcls[c] += (double)dy[i];
        else
            edx[(b * keep + j) * d + c] = (double)dy[i];
    }
    RUN(be, embed_tokens, OUT(y), IN(x_typed), IN(cls), IN(pos), IN(ids), patches, type, batch, keep, d);
    RUN(be, embed_tokens_grad, OUT(dx), OUT(dcls), OUT(frozen ? NULL : dpos), IN(dy_typed), IN(ids), patches, type,
        batch, keep, patches, d, accumulate);
    const float *got = as_floats(y, m, type), *got_dx = as_floats(dx, n, type);
    CHECK_ARRAY(got, ey, m, 1e-7, type);
    CHECK_ARRAY(got_dx, edx, n, 0.0, VMAE_F32);
    CHECK_ARRAY(dcls, edcls, d, 1e-6, VMAE_F32);
    if (!frozen)
        CHECK_ARRAY(dpos, edpos, (1 + patches) * d, 1e-6, VMAE_F32);
}

static void embed_sizes(vmae_backend *be)
{
    for (int type = VMAE_F32; type < TYPES; type++)
        for (int accumulate = 0; accumulate < 2; accumulate++) {
            embed_case(be, 1, 1, 1, 1, false, false, accumulate, (vmae_type)type);
            embed_case(be, 3, 4, 9, 37, false, false, accumulate, (vmae_type)type);
            embed_case(be, 67, 5, 16, 67, false, true, accumulate, (vmae_type)type);
            embed_case(be, 35, 9, 9, 131, true, false, accumulate, (vmae_type)type);
            embed_case(be, 2, 3, 4, 2055, false, false, accumulate, (vmae_type)type); /* wider than a chunk of a row */
        }
}

TEST(embed_tokens_and_their_gradients_match_plain_loops)
{
    on_every_backend(embed_sizes);
}

static void unshuffle_case(vmae_backend *be, int64_t batch, int64_t keep, int64_t patches, int64_t d, bool accumulate,
                           vmae_type type)
{
    const int64_t n = batch * (1 + keep) * d, m = batch * (1 + patches) * d;
    int32_t *shuffle = random_ids(batch, patches, 61), *restore = grab_ints(batch * patches);
    for (int64_t i = 0; i < batch * patches; i++)
        restore[i / patches * patches + shuffle[i]] = (int32_t)(i % patches);
    float *x = random_floats(n, 62), *token = random_floats(d, 63), *pos = random_floats((1 + patches) * d, 64);
    float *dy = random_floats(m, 65), *dtoken = random_floats(d, 66), *scratch = grab_floats(be->sum_blocks * d);
    void *x_typed = as_type(x, n, type), *dy_typed = as_type(dy, m, type), *y = grab_type(m, type),
         *dx = grab_type(n, type);
    double *ey = grab_doubles(m), *edx = grab_doubles(n), *edtoken = as_doubles(dtoken, d), top = 0.0;
    for (int64_t i = 0; !accumulate && i < d; i++)
        edtoken[i] = 0.0;
    for (int64_t i = 0; i < m; i++) {
        const int64_t c = i % d, l = i / d % (1 + patches), b = i / d / (1 + patches);
        const int64_t r = l == 0 ? 0 : 1 + restore[b * patches + l - 1];
        ey[i] = (double)pos[l * d + c] + (double)(r <= keep ? x[(b * (1 + keep) + r) * d + c] : token[c]);
        if (r <= keep)
            edx[(b * (1 + keep) + r) * d + c] = (double)dy[i];
        else
            edtoken[c] += (double)dy[i];
    }
    RUN(be, unshuffle_tokens, OUT(y), IN(x_typed), IN(token), IN(pos), IN(restore), type, batch, keep, patches, d);
    RUN(be, unshuffle_tokens_grad, OUT(dx), OUT(dtoken), SCRATCH(scratch), IN(dy_typed), IN(restore), IN(shuffle), type,
        batch, keep, patches, d, accumulate);
    const float *got = as_floats(y, m, type), *got_dx = as_floats(dx, n, type);
    CHECK_ARRAY(got, ey, m, 1e-7, type);
    CHECK_ARRAY(got_dx, edx, n, 0.0, VMAE_F32);
    for (int64_t i = 0; i < d; i++)
        top = fmax(top, fabs((double)dtoken[i] - edtoken[i]));
    CHECK_NEAR(top, 0.0, 1e-6 * sqrt((double)(batch * patches)) * 4.0); /* sums of that many values of size 1 */
}

static void unshuffle_sizes(vmae_backend *be)
{
    for (int type = VMAE_F32; type < TYPES; type++)
        for (int accumulate = 0; accumulate < 2; accumulate++) {
            unshuffle_case(be, 1, 1, 1, 1, accumulate, (vmae_type)type);
            unshuffle_case(be, 3, 4, 9, 37, accumulate, (vmae_type)type);
            unshuffle_case(be, 67, 5, 16, 67, accumulate, (vmae_type)type);
            unshuffle_case(be, 2, 0, 5, 1031, accumulate, (vmae_type)type);
            unshuffle_case(be, 33, 16, 16, 40, accumulate, (vmae_type)type); /* nothing removed */
        }
}

TEST(unshuffle_tokens_and_their_gradients_match_plain_loops)
{
    on_every_backend(unshuffle_sizes);
}

/* ---- pooling ---- */

typedef struct pool_job {
    vmae_pool kind;
    int64_t batch, tokens, d;
    const float *cotangent;
} pool_job;

/* x [batch, 1+tokens, d] followed by p -> y [batch, d]. */
static void pool_reference(double *y, const double *x, const pool_job *j)
{
    const double p = x[j->batch * (1 + j->tokens) * j->d];
    for (int64_t i = 0; i < j->batch * j->d; i++) {
        const double *first = x + i / j->d * (1 + j->tokens) * j->d + i % j->d;
        double sum = 0.0, top = -(double)INFINITY;
        for (int64_t t = 1; t <= j->tokens; t++) {
            const double value = first[t * j->d];
            sum += j->kind == VMAE_POOL_GEM ? pow(fmax(value, 1e-6), p) : value;
            top = fmax(top, value);
        }
        const double mean = sum / (double)j->tokens;
        y[i] = j->kind == VMAE_POOL_CLS   ? first[0]
               : j->kind == VMAE_POOL_MAX ? top
               : j->kind == VMAE_POOL_GEM ? pow(mean, 1.0 / p)
                                          : mean;
    }
}

static double pool_loss(const double *x, const pool_job *job)
{
    double *y = malloc((size_t)(job->batch * job->d) * sizeof *y), sum = 0.0;
    if (!y)
        return (double)NAN;
    pool_reference(y, x, job);
    for (int64_t i = 0; i < job->batch * job->d; i++)
        sum += y[i] * (double)job->cotangent[i];
    free(y);
    return sum;
}

static void pool_case(vmae_backend *be, vmae_pool kind, int64_t batch, int64_t tokens, int64_t d, vmae_type type,
                      float p, bool numeric)
{
    const int64_t n = batch * (1 + tokens) * d, out = batch * d;
    float *x = random_floats(n, 71), *add = random_floats(n, 72), *y = grab_floats(out), *dp = grab_float(0.5f),
          *gem_p = grab_float(p);
    const float *dy = random_floats(out, 73);
    float *scratch = grab_floats(batch);
    for (int64_t i = 0; i < n; i += d)
        x[i] = -fabsf(x[i]); /* channel 0 is negative throughout: GeM clamps all of it */
    int32_t *which = grab_ints(out);
    void *typed = as_type(x, n, type), *add_typed = as_type(add, n, type), *dx = grab_type(n, type);
    const pool_job job = { kind, batch, tokens, d, dy };
    double *exact = grab_doubles(n + 1), *expected = grab_doubles(out);
    for (int64_t i = 0; i < n; i++)
        exact[i] = (double)x[i];
    exact[n] = (double)p;
    pool_reference(expected, exact, &job);
    RUN(be, pool, OUT(y), OUT(which), IN(typed), IN(gem_p), kind, type, batch, tokens, d);
    CHECK_ARRAY(y, expected, out, 2e-6, VMAE_F32);
    RUN(be, pool_grad, OUT(dx), OUT(dp), SCRATCH(scratch), IN(dy), IN(typed), IN(y), IN(which), IN(gem_p),
        IN(add_typed), kind, type, batch, tokens, d, true);
    if (numeric) {
        double *g = grab_doubles(n + 1);
        for (int64_t i = 0; i <= n && !kernel_repeats(); i++) {
            const double at = exact[i], h = 1e-6;
            exact[i] = at + h;
            const double above = pool_loss(exact, &job);
            exact[i] = at - h;
            g[i] = (above - pool_loss(exact, &job)) / (2.0 * h) + (i < n ? (double)add[i] : 0.0);
            exact[i] = at;
        }
        const float *got = as_floats(dx, n, type);
        CHECK_ARRAY(got, g, n, 2e-6, type);
        if (kind == VMAE_POOL_GEM)
            CHECK(kernel_repeats() || fabs((double)*dp - 0.5 - g[n]) <= 1e-5 * (1.0 + fabs(g[n])));
        /* In place of add, and without it: the same but for the sum. */
        RUN(be, pool_grad, OUT(add_typed), OUT(dp), SCRATCH(scratch), IN(dy), IN(typed), IN(y), IN(which), IN(gem_p),
            IN(add_typed), kind, type, batch, tokens, d, false);
        CHECK(memcmp(add_typed, dx, (size_t)n * vmae_type_size(type)) == 0);
        if (kind == VMAE_POOL_GEM)
            CHECK(kernel_repeats() || fabs((double)*dp - g[n]) <= 1e-5 * (1.0 + fabs(g[n])));
        RUN(be, pool_grad, OUT(dx), OUT(dp), SCRATCH(scratch), IN(dy), IN(typed), IN(y), IN(which), IN(gem_p), NULL,
            kind, type, batch, tokens, d, false);
        for (int64_t i = 0; i < n; i++)
            g[i] -= (double)add[i];
        const float *alone = as_floats(dx, n, type);
        CHECK_ARRAY(alone, g, n, 2e-6, type);
    }
}

static void pool_sizes(vmae_backend *be)
{
    for (int kind = VMAE_POOL_MEAN; kind <= VMAE_POOL_CLS; kind++)
        for (int type = VMAE_F32; type < TYPES; type++) {
            pool_case(be, (vmae_pool)kind, 2, 5, 7, (vmae_type)type, 3.0f, true);
            pool_case(be, (vmae_pool)kind, 1, 1, 19, (vmae_type)type, 1.7f, true);
            pool_case(be, (vmae_pool)kind, 5, 16, 515, (vmae_type)type, 4.2f, false); /* wider than two chunks */
        }
}

TEST(pooling_and_its_gradients_match_central_differences)
{
    on_every_backend(pool_sizes);
}

static void pool_hostile(vmae_backend *be)
{
    /* tokens 1..4 of two channels: ties, and a NaN */
    const float *x = GRAB((float[]){ 9, 9, 1, 2, 3, NAN, 3, 5, 2, NAN }), *two = grab_float(2.0f);
    float *y = grab_floats(2);
    int32_t *which = grab_ints(2);
    RUN(be, pool, OUT(y), OUT(which), IN(x), NULL, VMAE_POOL_MAX, VMAE_F32, 1, 4, 2);
    CHECK(y[0] == 3.0f && which[0] == 2);
    CHECK(isnan(y[1]) && which[1] == 2);
    RUN(be, pool, OUT(y), NULL, IN(x), IN(two), VMAE_POOL_GEM, VMAE_F32, 1, 4, 2);
    CHECK_NEAR((double)y[0], sqrt(23.0 / 4.0), 1e-6);
    CHECK(isnan(y[1]));
    RUN(be, pool, OUT(y), NULL, IN(x), NULL, VMAE_POOL_MEAN, VMAE_F32, 1, 4, 2);
    CHECK(y[0] == 9.0f / 4.0f && isnan(y[1]));
    /* powers that no float holds: (1e-6)^9 and (1e6)^9 */
    const float *wide = GRAB((float[]){ 0, 0, -1, 1e6f, -2, 2e6f, -3, 1e6f }), *nine = grab_float(9.0f);
    const double big = 1e6 * pow((2.0 + 512.0) / 3.0, 1.0 / 9.0);
    RUN(be, pool, OUT(y), NULL, IN(wide), IN(nine), VMAE_POOL_GEM, VMAE_F32, 1, 3, 2);
    CHECK_NEAR((double)y[0], 1e-6, 1e-11);
    CHECK_NEAR((double)y[1], big, 4e-6 * big);
}

TEST(pooling_takes_the_first_of_equals_shows_nan_and_keeps_large_powers)
{
    on_every_backend(pool_hostile);
}

static void pool_refusals(vmae_backend *be)
{
    float *x = GRAB((float[]){ 1, 2 }), *y = grab_floats(2);
    CHECK_REFUSED(VMAE_EUSER, "no patch tokens", be, pool, OUT(y), NULL, IN(x), NULL, VMAE_POOL_MEAN, VMAE_F32, 1, 0,
                  2);
    CHECK_OK(CALL(be, pool, OUT(y), NULL, IN(x), NULL, VMAE_POOL_CLS, VMAE_F32, 1, 0, 2));
}

TEST(pooling_no_tokens_is_refused)
{
    on_one_backend(pool_refusals);
}

static const vmae_checkpoint *golden;
static vmae_pool golden_kind;

static void golden_pool(vmae_backend *be)
{
    int64_t dim[8], out, n;
    const float *x = golden_floats(golden, "x", NULL, dim), *dy = golden_floats(golden, "cotangent", &out, NULL);
    const float *grad = golden_floats(golden, "grad.x", NULL, NULL);
    const int64_t batch = dim[0], tokens = dim[1], d = dim[2];
    n = batch * (1 + tokens) * d;
    float *in = grab_floats(n), *y = grab_floats(out), *dx = grab_floats(n), *scratch = grab_floats(batch),
          *dp = grab_float(0.0f);
    int32_t *which = grab_ints(out);
    double *g = grab_doubles(n);
    for (int64_t i = 0; i < n; i++) { /* the golden inputs have no class token */
        const int64_t t = i / d % (1 + tokens) - 1, from = (i / d / (1 + tokens) * tokens + t) * d + i % d;
        in[i] = t < 0 ? 0.0f : x[from];
        g[i] = t < 0 ? 0.0 : (double)grad[from];
    }
    const bool gem = golden_kind == VMAE_POOL_GEM;
    const float *p = gem ? golden_floats(golden, "pool.p", NULL, NULL) : NULL;
    RUN(be, pool, OUT(y), OUT(which), IN(in), IN(p), golden_kind, VMAE_F32, batch, tokens, d);
    RUN(be, pool_grad, OUT(dx), OUT(dp), SCRATCH(scratch), IN(dy), IN(in), IN(y), IN(which), IN(p), NULL, golden_kind,
        VMAE_F32, batch, tokens, d, false);
    CHECK_ARRAY(y, as_doubles(golden_floats(golden, "output", NULL, NULL), out), out, 2e-6, VMAE_F32);
    CHECK_ARRAY(dx, g, n, 5e-6, VMAE_F32);
    if (gem) {
        const double expected = (double)*golden_floats(golden, "grad.pool.p", NULL, NULL);
        CHECK_NEAR((double)*dp, expected, 1e-5 * fabs(expected));
    }
}

TEST(pooling_matches_the_golden_vectors)
{
    static const struct {
        const char *name;
        vmae_pool kind;
    } cases[] = { { "op_pool_mean", VMAE_POOL_MEAN },
                  { "op_pool_max", VMAE_POOL_MAX },
                  { "op_pool_gem", VMAE_POOL_GEM } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vmae_checkpoint *file = golden_open(cases[i].name);
        if (!file)
            SKIP("no golden vectors");
        golden = file;
        golden_kind = cases[i].kind;
        on_every_backend(golden_pool);
        vmae_checkpoint_free(file);
    }
}
