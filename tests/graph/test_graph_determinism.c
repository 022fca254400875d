/* test_graph_determinism.c -- a whole pre-training step gives the same bits in every run; and with any number of
 * threads, but for one thing: oneDNN may split the long sum of a weight's gradient (linear_dw) over its threads. Seen:
 * bf16 with small matrices; f32, patch_embed at 64 pairs. Nothing else in a step depends on those gradients. */
#include "engine/core/mem.h"
#include "tests/device.h"
#include "tests/graph/step.h"

#include <stdlib.h>
#include <string.h>

enum { PAIRS = 8 };

/* What a step leaves behind: loss, gradients, all parameters with their running statistics. */
typedef struct outcome {
    float loss, *gradients, *values;
    bool *of_matrix; /* of a gradient: its parameter is one */
    int64_t trainable, total;
} outcome;

static void outcome_release(outcome *o)
{
    free(o->gradients);
    free(o->values);
    free(o->of_matrix);
}

static void mark_matrices(outcome *o, const vmae_params *params)
{
    o->of_matrix = vmae_calloc((size_t)o->trainable, sizeof *o->of_matrix);
    for (int i = 0; o->of_matrix && i < vmae_params_count(params); i++) {
        const vmae_param *param = vmae_params_at(params, i);
        const int64_t rows = param->shape.dim[0]; /* tokens are [1, 1, D] */
        for (int64_t k = 0; param->trainable && rows > 1 && param->shape.rank > 1 && k < param->count; k++)
            o->of_matrix[param->offset + k] = true;
    }
}

static outcome run_step(vmae_type precision, int threads)
{
    const step_options options = { .config = &nano_model, .pairs = PAIRS, .precision = precision, .threads = threads };
    outcome o = { 0 };
    step s;
    const vmae_status st = step_open(&s, &options);
    if (vmae_check(st == VMAE_OK, __FILE__, __LINE__, "%d threads: %s", threads, vmae_error())) {
        CHECK_OK(vmae_graph_run(s.g, false));
        o.loss = step_loss(&s);
        o.trainable = vmae_params_trainable(s.params);
        o.total = vmae_params_total(s.params);
        mark_matrices(&o, s.params);
        o.gradients = device_floats(s.be, vmae_params_gradients(s.params), o.trainable);
        o.values = device_floats(s.be, vmae_params_values(s.params), o.total);
    }
    step_release(&s);
    return o;
}

/* Bits, for all but the gradients of matrices, if those are excepted: they are then near. */
static void check_same(const outcome *a, const outcome *b, bool but_matrices, const char *what, int threads)
{
    REQUIRE(a->of_matrix && a->gradients && a->values && b->gradients && b->values && a->trainable == b->trainable &&
            a->total == b->total);
    vmae_check(memcmp(&a->loss, &b->loss, sizeof a->loss) == 0, __FILE__, __LINE__,
               "%s, %d threads: loss %.9g and %.9g", what, threads, (double)a->loss, (double)b->loss);
    vmae_check(memcmp(a->values, b->values, (size_t)a->total * sizeof(float)) == 0, __FILE__, __LINE__,
               "%s, %d threads: running statistics have other bits", what, threads);
    int64_t differ = 0;
    for (int64_t i = 0; i < a->trainable; i++)
        differ += !(but_matrices && a->of_matrix[i]) && memcmp(&a->gradients[i], &b->gradients[i], sizeof(float)) != 0;
    vmae_check(differ == 0, __FILE__, __LINE__, "%s, %d threads: %lld of %lld gradients have other bits", what, threads,
               (long long)differ, (long long)a->trainable);
    CHECK(vmae_max_difference(a->gradients, b->gradients, (size_t)a->trainable) <=
          1e-6 * vmae_max_magnitude(a->gradients, (size_t)a->trainable)); /* sums of f32 in another order */
}

static void check_threads(vmae_type precision, const char *what)
{
    outcome two = run_step(precision, 2), again = run_step(precision, 2);
    CHECK(two.gradients && vmae_max_magnitude(two.gradients, (size_t)two.trainable) > 1e-3);
    check_same(&two, &again, false, what, 2);
    outcome_release(&again);
    for (int threads = 1; threads <= 3 && vmae_test_on_cpu(); threads += 2) {
        outcome other = run_step(precision, threads);
        check_same(&two, &other, true, what, threads);
        outcome_release(&other);
    }
    outcome_release(&two);
}

TEST(step_in_f32_gives_the_same_bits_twice_and_with_1_2_and_3_threads_but_for_weights_gradients)
{
    check_threads(VMAE_F32, "f32");
}

TEST(step_in_bf16_gives_the_same_bits_twice_and_with_1_2_and_3_threads_but_for_weights_gradients)
{
    vmae_backend *be = NULL;
    REQUIRE_OK(vmae_backend_open(&be, vmae_test_device(), 1));
    const bool has_bf16 = be->precision == VMAE_BF16;
    vmae_backend_close(be);
    if (!has_bf16)
        SKIP("%s multiplies no bf16", vmae_test_device());
    check_threads(VMAE_BF16, "bf16");
}
