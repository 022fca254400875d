/* test_optim.c -- norms, AdamW, SGD and LARS over flat parameters, against double precision and golden vectors. */
#include "tests/backend/kernel_values.h"

#include <stdio.h>

/* Tensors of one value, of none, of more than a chunk, with gaps between, not beginning at 0. */
static const vmae_segment awkward[] = {
    { 16, 1, 0.0f, 1.0f, false },       { 32, 17, 0.05f, 0.5f, true },      { 64, 0, 0.1f, 1.0f, true },
    { 64, 4095, 0.05f, 1.0f, true },    { 4160, 20011, 0.2f, 0.25f, true }, { 24192, 1, 0.1f, 1.0f, true },
    { 30000, 4097, 0.3f, 1.0f, false }, { 34112, 12, 0.1f, 2.0f, true },
};
enum { AWKWARD = sizeof awkward / sizeof *awkward, FLAT = 34130 };

static void *scratch_for(vmae_backend *be, const vmae_segment *segments, int64_t count)
{
    kernel_called(offsetof(vmae_kernels, optim_scratch));
    return grab(be->kernels->optim_scratch(segments, count));
}

static bool covered(int64_t i, const vmae_segment **segment)
{
    for (int s = 0; s < AWKWARD; s++)
        if (i >= awkward[s].offset && i < awkward[s].offset + awkward[s].count) {
            *segment = &awkward[s];
            return true;
        }
    return false;
}

/* ---- norms ---- */

static void norms_awkward(vmae_backend *be)
{
    float *x = random_floats(FLAT, 81), *norm = grab_floats(1 + AWKWARD);
    double *expected = grab_doubles(1 + AWKWARD), total = 0.0;
    const vmae_segment *segments = GRAB(awkward);
    void *squares = scratch_for(be, awkward, AWKWARD);
    for (int64_t i = 0; i < FLAT; i++) {
        const vmae_segment *segment;
        if (!covered(i, &segment))
            x[i] = NAN; /* gaps are nobody's */
    }
    x[40] = 3e30f; /* its square is no float */
    for (int s = 0; s < AWKWARD; s++) {
        double sum = 0.0;
        for (int64_t i = 0; i < awkward[s].count; i++)
            sum += (double)x[awkward[s].offset + i] * (double)x[awkward[s].offset + i];
        expected[1 + s] = sqrt(sum);
        total += sum;
    }
    expected[0] = sqrt(total);
    RUN(be, norms, OUT(norm), SCRATCH(squares), IN(x), IN(segments), AWKWARD);
    for (int s = 0; s <= AWKWARD; s++)
        CHECK_NEAR((double)norm[s], expected[s], 1e-7 * expected[s]);
    x[100] = NAN;
    RUN(be, norms, OUT(norm), SCRATCH(squares), IN(x), IN(segments), AWKWARD);
    CHECK(isnan(norm[0]) && isnan(norm[4]) && !isnan(norm[5]));
    RUN(be, norms, OUT(norm), SCRATCH(squares), IN(x), IN(segments), 0);
    CHECK(norm[0] == 0.0f);
    /* more parts than values, and one tensor alone */
    const vmae_segment *tiny =
        GRAB((vmae_segment[]){ { 0, 1, 0, 1, false }, { 1, 0, 0, 1, false }, { 16, 1, 0, 1, false } });
    squares = scratch_for(be, tiny, 3);
    x[0] = 3.0f, x[16] = 4.0f;
    RUN(be, norms, OUT(norm), SCRATCH(squares), IN(x), IN(tiny), 3);
    CHECK(norm[0] == 5.0f && norm[1] == 3.0f && norm[2] == 0.0f && norm[3] == 4.0f);
    RUN(be, norms, OUT(norm), SCRATCH(squares), IN(x), IN(tiny), 1);
    CHECK(norm[0] == 3.0f && norm[1] == 3.0f);
}

TEST(norms_match_double_precision_over_awkward_segments)
{
    on_every_backend(norms_awkward);
}

/* ---- the three optimisers over awkward segments ---- */

typedef enum kind { ADAMW, SGD, NESTEROV, LARS } kind;

typedef struct state {
    float *param, *a, *b; /* a, b: moments */
    vmae_bf16 *copy;
} state;

static vmae_status take_step(vmae_backend *be, kind which, const state *s, void *scratch, const float *grad,
                             const float *norm, const vmae_segment *segments, int64_t count,
                             const vmae_optim_step *step)
{
    if (which == ADAMW)
        return CALL(be, adamw, OUT(s->param), OUT(s->copy), OUT(s->a), OUT(s->b), IN(grad), IN(norm), IN(segments),
                    count, IN(step));
    if (which == LARS)
        return CALL(be, lars, OUT(s->param), OUT(s->copy), OUT(s->a), SCRATCH(scratch), IN(grad), IN(norm),
                    IN(segments), count, IN(step));
    return CALL(be, sgd, OUT(s->param), OUT(s->copy), OUT(s->a), IN(grad), IN(norm), IN(segments), count, IN(step));
}

/* The same in double precision on the covered values. */
static void reference_step(kind which, double *param, double *a, double *b, const float *grad,
                           const vmae_optim_step *step)
{
    const double t = (double)step->step, b1 = (double)step->beta1, b2 = (double)step->beta2,
                 mu = (double)step->momentum;
    for (int s = 0; s < AWKWARD; s++) {
        const vmae_segment *segment = &awkward[s];
        const double lr = (double)step->lr * (double)segment->lr_scale, wd = (double)segment->weight_decay;
        const bool adapt = which == LARS && segment->matrix;
        double p2 = 0.0, g2 = 0.0;
        for (int64_t i = segment->offset; i < segment->offset + segment->count; i++) {
            const double g = (double)grad[i] * (double)step->scale + wd * param[i];
            p2 += param[i] * param[i];
            g2 += g * g;
        }
        const double ratio = adapt && p2 > 0.0 && g2 > 0.0 ? (double)step->trust * sqrt(p2 / g2) : 1.0;
        for (int64_t i = segment->offset; i < segment->offset + segment->count; i++) {
            double g = (double)grad[i] * (double)step->scale;
            if (which == ADAMW) {
                a[i] = b1 * a[i] + (1.0 - b1) * g;
                b[i] = b2 * b[i] + (1.0 - b2) * g * g;
                param[i] = param[i] * (1.0 - lr * wd) -
                           lr / (1.0 - pow(b1, t)) * a[i] / (sqrt(b[i]) / sqrt(1.0 - pow(b2, t)) + (double)step->eps);
                continue;
            }
            g = which != LARS || segment->matrix ? ratio * (g + wd * param[i]) : g;
            a[i] = step->step == 1 ? g : mu * a[i] + g;
            param[i] -= lr * (which == NESTEROV ? g + mu * a[i] : a[i]);
        }
    }
}

static void awkward_steps(vmae_backend *be, kind which, bool with_copy)
{
    const state s = { random_floats(FLAT, 91), random_floats(FLAT, 92), random_floats(FLAT, 93),
                      with_copy ? grab(FLAT * sizeof(vmae_bf16)) : NULL };
    double *param = as_doubles(s.param, FLAT), *a = grab_doubles(FLAT), *b = grab_doubles(FLAT);
    const vmae_segment *segments = GRAB(awkward);
    void *scratch = scratch_for(be, awkward, AWKWARD);
    const float *before = grab_copy(s.param, FLAT * sizeof(float));
    memset(a, 0, FLAT * sizeof *a);
    memset(b, 0, FLAT * sizeof *b);
    for (int64_t i = 0; i < FLAT;
         i++) { /* SGD's first step must not read its buffer; the gaps of the others stay as they are */
        s.a[i] = which == SGD || which == NESTEROV ? NAN : 0.0f;
        s.b[i] = 0.0f;
    }
    const float *norm = grab_float(1.0f);
    for (int64_t t = 1; t <= 3; t++) {
        const vmae_optim_step step = { .lr = 0.02f,
                                       .beta1 = 0.9f,
                                       .beta2 = 0.95f,
                                       .eps = 1e-8f,
                                       .momentum = 0.9f,
                                       .trust = 0.001f,
                                       .nesterov = which == NESTEROV,
                                       .scale = 0.75f,
                                       .bias1 = (float)(1.0 - pow(0.9f, (double)t)),
                                       .root2 = (float)(1.0 / sqrt(1.0 - pow(0.95f, (double)t))),
                                       .step = (int32_t)t };
        const float *grad = random_floats(FLAT, 100 + (uint64_t)t);
        REQUIRE_OK(take_step(be, which, &s, scratch, grad, norm, segments, AWKWARD, grab_copy(&step, sizeof step)));
        reference_step(which, param, a, b, grad, &step);
    }
    CHECK_ARRAY(s.param, param, FLAT, 2e-7 * 4.0, VMAE_F32);
    int64_t touched = 0, unlike = 0;
    for (int64_t i = 0; i < FLAT; i++) {
        const vmae_segment *segment;
        const bool own = covered(i, &segment);
        touched += !own && memcmp(&before[i], &s.param[i], sizeof(float)) != 0;
        unlike += with_copy && s.copy[i] != (own ? bf16_from_float(s.param[i]) : 0x7F7F);
    }
    CHECK_EQ(touched, 0);
    CHECK_EQ(unlike, 0);
}

static void all_awkward_steps(vmae_backend *be)
{
    for (int which = ADAMW; which <= LARS; which++) {
        awkward_steps(be, (kind)which, false);
        awkward_steps(be, (kind)which, true);
    }
}

TEST(optimisers_match_double_precision_over_awkward_segments_and_leave_gaps_alone)
{
    on_every_backend(all_awkward_steps);
}

static void lars_zero(vmae_backend *be)
{
    const vmae_segment *two = GRAB((vmae_segment[]){ { 0, 4, 0.0f, 1.0f, true }, { 16, 4, 0.0f, 1.0f, true } });
    float *param = GRAB((float[20]){ 0 }), *mu = GRAB((float[20]){ 0 });
    float *grad = GRAB((float[20]){ 1, 1, 1, 1 });
    for (int i = 16; i < 20; i++)
        param[i] = 1.0f;
    void *scratch = scratch_for(be, two, 2);
    const float *norm = grab_float(2.0f);
    const vmae_optim_step *step =
        GRAB((vmae_optim_step[]){ { .lr = 0.5f, .momentum = 0.9f, .trust = 0.001f, .scale = 1.0f, .step = 1 } });
    RUN(be, lars, OUT(param), NULL, OUT(mu), SCRATCH(scratch), IN(grad), IN(norm), IN(two), 2, IN(step));
    for (int i = 0; i < 4; i++)
        CHECK(param[i] == -0.5f && param[16 + i] == 1.0f);
}

TEST(lars_does_not_adapt_a_tensor_or_gradient_that_is_zero)
{
    on_every_backend(lars_zero);
}

/* ---- golden vectors ---- */

static const vmae_checkpoint *golden;
static kind golden_kind;
enum { TENSORS_MAX = 32, STEPS_MAX = 16 };

typedef struct layout {
    const char *name[TENSORS_MAX]; /* behind "param." */
    vmae_segment segment[TENSORS_MAX];
    int64_t count, flat, steps;
} layout;

static layout golden_layout(double weight_decay)
{
    layout l = { .steps = 0 };
    for (size_t i = 0; i < vmae_checkpoint_count(golden); i++) {
        const vmae_entry *entry = vmae_checkpoint_at(golden, i);
        if (strncmp(entry->name, "param.", 6) != 0 || l.count == TENSORS_MAX)
            continue;
        const char *name = entry->name + 6;
        const size_t length = strlen(name);
        const bool bias = length >= 5 && strcmp(name + length - 5, ".bias") == 0;
        const bool decays = golden_kind == ADAMW ? entry->rank > 1 && !bias : golden_kind != LARS || entry->rank > 1;
        l.name[l.count] = name;
        l.segment[l.count++] =
            (vmae_segment){ l.flat, (int64_t)entry->count, decays ? (float)weight_decay : 0.0f, 1.0f, entry->rank > 1 };
        l.flat += ((int64_t)entry->count + 5 + 15) / 16 * 16; /* with gaps */
    }
    return l;
}

/* Tensor FORMAT % name, part `part` of as many as it holds, to or from its place in the flat buffer. */
static float *flat_of(const layout *l, const char *prefix, const char *suffix, int64_t part)
{
    float *flat = grab_floats(l->flat);
    for (int64_t s = 0; s < l->count; s++) {
        char name[256];
        int64_t n;
        snprintf(name, sizeof name, "%s%s%s", prefix, l->name[s], suffix);
        const float *x = golden_floats(golden, name, &n, NULL);
        if ((part + 1) * l->segment[s].count <= n)
            memcpy(flat + l->segment[s].offset, x + part * l->segment[s].count,
                   (size_t)l->segment[s].count * sizeof *x);
    }
    return flat;
}

static void check_flat(const layout *l, const float *got, const float *expected, const char *what, int64_t step)
{
    for (int64_t s = 0; s < l->count; s++) {
        const int64_t at = l->segment[s].offset, n = l->segment[s].count;
        const double top = vmae_max_magnitude(expected + at, (size_t)n),
                     off = vmae_max_difference(got + at, expected + at, (size_t)n);
        vmae_check(off <= 2e-6 * top, __FILE__, __LINE__, "%s of %s after step %lld is off by %.3g of %.3g", what,
                   l->name[s], (long long)step + 1, off, top);
    }
}

static float setting(const char *key)
{
    return vmae_checkpoint_metadata(golden, key) ? (float)golden_number(golden, key) : 0.0f;
}

static void golden_steps(vmae_backend *be)
{
    const layout l = golden_layout(golden_number(golden, "weight_decay"));
    REQUIRE(l.count > 0);
    const char *const suffix = golden_kind == ADAMW ? ".exp_avg" : golden_kind == LARS ? ".mu" : ".momentum_buffer";
    const state s = { flat_of(&l, "param.", "", 0), grab_floats(l.flat), grab_floats(l.flat), NULL };
    const vmae_segment *segments = grab_copy(l.segment, (size_t)l.count * sizeof *segments);
    void *scratch = scratch_for(be, segments, l.count);
    float *norm = grab_floats(1 + l.count);
    norm[0] = 1.0f;
    memset(s.a, 0, (size_t)l.flat * sizeof(float));
    memset(s.b, 0, (size_t)l.flat * sizeof(float));
    const float clip = setting("clip_grad");
    int64_t steps;
    char name[256];
    snprintf(name, sizeof name, "grad.%s", l.name[0]);
    golden_floats(golden, name, &steps, NULL);
    steps /= l.segment[0].count;
    REQUIRE(steps > 0 && steps <= STEPS_MAX);
    for (int64_t t = 0; t < steps; t++) {
        const float *grad = flat_of(&l, "grad.", "", t);
        vmae_optim_step step = { .lr = setting("lr"),
                                 .beta1 = setting("beta1"),
                                 .beta2 = setting("beta2"),
                                 .eps = setting("eps"),
                                 .momentum = setting("momentum"),
                                 .trust = setting("trust"),
                                 .scale = 1.0f,
                                 .step = (int32_t)(t + 1) };
        step.nesterov = golden_kind == NESTEROV;
        if (golden_kind == ADAMW) {
            step.lr = golden_floats(golden, "lr", NULL, NULL)[t];
            RUN(be, norms, OUT(norm), SCRATCH(scratch), IN(grad), IN(segments), l.count);
            const double expected = (double)golden_floats(golden, "grad_norm", NULL, NULL)[t];
            CHECK_NEAR((double)norm[0], expected, 1e-6 * expected);
            step.clip_grad = clip;
            step.bias1 = (float)(1.0 - pow((double)step.beta1, (double)(t + 1)));
            step.root2 = (float)(1.0 / sqrt(1.0 - pow((double)step.beta2, (double)(t + 1))));
        }
        REQUIRE_OK(
            take_step(be, golden_kind, &s, scratch, grad, norm, segments, l.count, grab_copy(&step, sizeof step)));
        check_flat(&l, s.param, flat_of(&l, "param_after.", "", t), "the value", t);
    }
    check_flat(&l, s.a, flat_of(&l, "state.", suffix, 0), suffix, steps - 1);
    if (golden_kind == ADAMW)
        check_flat(&l, s.b, flat_of(&l, "state.", ".exp_avg_sq", 0), ".exp_avg_sq", steps - 1);
}

TEST(optimisers_match_the_golden_vectors)
{
    static const struct {
        const char *name;
        kind which;
    } cases[] = {
        { "adamw", ADAMW }, { "adamw_clip", ADAMW }, { "lars", LARS }, { "sgd", SGD }, { "sgd_nesterov", NESTEROV }
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vmae_checkpoint *file = golden_open(cases[i].name);
        if (!file)
            SKIP("no golden vectors");
        golden = file;
        golden_kind = cases[i].which;
        on_every_backend(golden_steps);
        vmae_checkpoint_free(file);
    }
}
