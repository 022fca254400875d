/* test_golden_ops.c -- single ops against the reference vectors, through the graph: f32 within the limits of the set's
 * README, bf16 within 5e-2 of each tensor's largest value (losses 2e-2). */
#include "engine/core/mem.h"
#include "tests/ops/golden_case.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Opens a case filled from its file. False: said why. */
static bool open_case(op_run *run, const op_case *what, const vmae_checkpoint *file, vmae_type precision, bool rounded)
{
    const vmae_status st = op_open(run, what, test_backend(), precision);
    if (!vmae_check(st == VMAE_OK, __FILE__, __LINE__, "%s: %s", what->name, vmae_error())) {
        op_release(run);
        return false;
    }
    golden_fill(run, file, rounded);
    return true;
}

static vmae_type best_precision(void)
{
    vmae_backend *be = NULL;
    vmae_type best = VMAE_F32;
    if (vmae_backend_open(&be, vmae_test_device(), 1) == VMAE_OK)
        best = be->precision;
    vmae_backend_close(be);
    return best;
}

/* What rounding its operands to bf16 does to a case whose arithmetic is f32, three times: a bf16 run also rounds what
 * lies between them. */
typedef struct response {
    double output, gradients[OPERANDS_MAX];
} response;

static response measure_response(const op_case *what, const vmae_checkpoint *file)
{
    response r = { 0 };
    op_run run;
    if (open_case(&run, what, file, VMAE_F32, true)) {
        CHECK_OK(vmae_graph_run(run.g, false));
        r.output = golden_error(&run, run.out, file, "output", THE_LARGEST);
        golden_gradient_errors(&run, file, r.gradients);
        r.output *= 3.0;
        for (int i = 0; i < what->count; i++)
            r.gradients[i] *= 3.0;
        op_release(&run);
    }
    return r;
}

/* Output and gradients of a case in the precisions that the processor multiplies. `amplifies`: the case can make more
 * of a rounding than it was, as a softmax of large scores does; bf16 may then be off by its response beside 5e-2. */
static void check_golden(const op_case *what, const vmae_checkpoint *file, limit_of of, double limit,
                         double gradient_limit, bool amplifies)
{
    for (vmae_type precision = VMAE_F32; precision <= best_precision(); precision++) {
        op_run run;
        if (precision == VMAE_BF16 && what->f32_only)
            continue;
        const response slack =
            precision == VMAE_BF16 && amplifies ? measure_response(what, file) : (response){ .output = 0.0 };
        if (!open_case(&run, what, file, precision, false))
            continue;
        CHECK_OK(vmae_graph_run(run.g, false));
        golden_compare(&run, run.out, file, "output", of, limit, slack.output);
        golden_gradients(&run, file, of, gradient_limit, slack.gradients);
        op_release(&run);
    }
}

/* Settings of the file at hand, for the functions that record its case. */
static struct {
    int heads, patch;
    float temperature, smoothing;
} set;

/* ---- layers ---- */

static vmae_tensor *layer_norm(vmae_graph *g, vmae_tensor **in)
{
    return vmae_layer_norm(g, in[0], in[1], in[2], 1e-6f, vmae_graph_precision(g));
}

TEST(layer_norm_equals_the_reference_also_for_narrow_rows_and_mean_30)
{
    vmae_checkpoint *file = golden_open("op_layer_norm");
    if (!file)
        return;
    const op_case what = { "layer_norm",
                           layer_norm,
                           { { FLOATS, golden_shape(file, "x", 0), NORMAL, "x" },
                             { VECTOR, golden_shape(file, "weight", 0), NORMAL, "weight" },
                             { VECTOR, golden_shape(file, "bias", 0), NORMAL, "bias" } },
                           3,
                           0.0,
                           false,
                           false };
    CHECK_NEAR(golden_number(file, "eps"), 1e-6, 0.0);
    check_golden(&what, file, THE_ROWS_LARGEST, 1e-5, 1e-5, false);
    vmae_checkpoint_free(file);
}

static vmae_tensor *gelu(vmae_graph *g, vmae_tensor **in)
{
    return vmae_gelu(g, in[0]);
}

TEST(gelu_equals_the_reference_also_in_its_tails)
{
    vmae_checkpoint *file = golden_open("op_gelu");
    if (!file)
        return;
    const op_case what = { "gelu", gelu, { { ACTIVATION, golden_shape(file, "x", 0), NORMAL, "x" } }, 1, 0.0,
                           false,  false };
    check_golden(&what, file, AT_LEAST_1, 1e-5, 1e-5, false);
    vmae_checkpoint_free(file);
}

static vmae_tensor *attention(vmae_graph *g, vmae_tensor **in)
{
    const vmae_type type = vmae_graph_precision(g);
    return vmae_linear(g, vmae_attention(g, vmae_linear(g, in[0], in[1], in[2], NULL, type), set.heads), in[3], in[4],
                       NULL, VMAE_F32);
}

TEST(attention_with_its_projections_equals_the_reference_also_where_it_saturates)
{
    vmae_checkpoint *file = golden_open("op_attention");
    if (!file)
        return;
    const op_case what = { "attention",
                           attention,
                           { { ACTIVATION, golden_shape(file, "x", 0), NORMAL, "x" },
                             { MATRIX, golden_shape(file, "attn.qkv.weight", 0), NORMAL, "attn.qkv.weight" },
                             { VECTOR, golden_shape(file, "attn.qkv.bias", 0), NORMAL, "attn.qkv.bias" },
                             { MATRIX, golden_shape(file, "attn.proj.weight", 0), NORMAL, "attn.proj.weight" },
                             { VECTOR, golden_shape(file, "attn.proj.bias", 0), NORMAL, "attn.proj.bias" } },
                           5,
                           0.0,
                           false,
                           false };
    set.heads = (int)golden_number(file, "heads");
    check_golden(&what, file, THE_LARGEST, 1e-5, 5e-5, true);
    vmae_checkpoint_free(file);
}

/* ---- batch norm: f32 alone, since bf16 does not hold the file's narrow column, and the model never has it in bf16
 * ---- */

static vmae_tensor *batch_norm(vmae_graph *g, vmae_tensor **in)
{
    return vmae_batch_norm(g, in[0], in[1], in[2], in[3], in[4], 1, 1e-5f, 0.1f, false);
}

static vmae_tensor *batch_norm_infer(vmae_graph *g, vmae_tensor **in)
{
    return vmae_batch_norm_infer(g, in[0], in[1], in[2], in[3], in[4], 1e-5f, false);
}

TEST(batch_norm_equals_the_reference_in_training_and_evaluation)
{
    vmae_checkpoint *file = golden_open("op_batch_norm");
    if (!file)
        return;
    op_case what = { "batch_norm",
                     batch_norm,
                     { { ACTIVATION, golden_shape(file, "x", 0), NORMAL, "x" },
                       { VECTOR, golden_shape(file, "weight", 0), NORMAL, "weight" },
                       { VECTOR, golden_shape(file, "bias", 0), NORMAL, "bias" },
                       { FROZEN, golden_shape(file, "buffer.running_mean", 0), NORMAL, "buffer.running_mean" },
                       { FROZEN, golden_shape(file, "buffer.running_var", 0), NORMAL, "buffer.running_var" } },
                     5,
                     0.0,
                     true,
                     false };
    op_run run;
    check_golden(&what, file, THE_COLUMNS_LARGEST, 1e-5, 1e-5, false);
    if (open_case(&run, &what, file, VMAE_F32, false)) {
        CHECK_OK(vmae_graph_run(run.g, false));
        golden_compare(&run, run.in[3], file, "buffer_after.running_mean", THE_LARGEST, 2e-6, 0.0);
        golden_compare(&run, run.in[4], file, "buffer_after.running_var", THE_LARGEST, 2e-6, 0.0);
        op_release(&run);
    }
    what.build = batch_norm_infer;
    if (open_case(&run, &what, file, VMAE_F32, false)) {
        CHECK_OK(vmae_graph_run(run.g, false));
        golden_compare(&run, run.out, file, "output_eval", THE_COLUMNS_LARGEST, 1e-5, 0.0);
        op_release(&run);
    }
    vmae_checkpoint_free(file);
}

/* ---- pooling: the files' x has no class token ---- */

static vmae_tensor *pool_mean(vmae_graph *g, vmae_tensor **in)
{
    return vmae_pool_tokens(g, in[0], NULL, VMAE_POOL_MEAN);
}

static vmae_tensor *pool_max(vmae_graph *g, vmae_tensor **in)
{
    return vmae_pool_tokens(g, in[0], NULL, VMAE_POOL_MAX);
}

static vmae_tensor *pool_gem(vmae_graph *g, vmae_tensor **in)
{
    return vmae_pool_tokens(g, in[0], in[1], VMAE_POOL_GEM);
}

/* Puts a class token of 100 in front of each image's tokens: it must not count. */
static void write_tokens(op_run *run, const vmae_checkpoint *file)
{
    int64_t count = 0;
    const vmae_shape *s = &run->what->operands[0].shape;
    float *x = golden_floats(file, "x", &count), *padded = vmae_calloc((size_t)vmae_shape_count(*s), sizeof *padded);
    const int64_t row = (s->dim[1] - 1) * s->dim[2], d = s->dim[2];
    for (int64_t b = 0; x && padded && b < s->dim[0]; b++) {
        for (int64_t i = 0; i < d; i++)
            padded[b * (row + d) + i] = 100.0f;
        memcpy(padded + b * (row + d) + d, x + b * row, (size_t)row * sizeof *x);
    }
    if (padded)
        CHECK_OK(op_write(run, 0, padded));
    free(x);
    free(padded);
}

static void compare_tokens(op_run *run, const vmae_checkpoint *file)
{
    int64_t count = 0;
    const vmae_shape *s = &run->what->operands[0].shape;
    const int64_t row = (s->dim[1] - 1) * s->dim[2], d = s->dim[2];
    const bool bf16 = vmae_graph_precision(run->g) == VMAE_BF16;
    float *wanted = golden_floats(file, "grad.x", &count),
          *got = vmae_calloc((size_t)vmae_shape_count(*s), sizeof *got);
    if (wanted && got) {
        CHECK_OK(op_read(run, op_gradient(run, 0), got));
        const double largest = vmae_max_magnitude(wanted, (size_t)count);
        for (int64_t b = 0; b < s->dim[0]; b++) {
            CHECK(vmae_max_magnitude(got + b * (row + d), (size_t)d) == 0.0);
            const double worst = vmae_max_difference(got + b * (row + d) + d, wanted + b * row, (size_t)row);
            vmae_check(worst <= (bf16 ? 5e-2 : 1e-5) * largest, __FILE__, __LINE__,
                       "%s: grad.x is off by %.3g, largest %.3g", run->what->name, worst, largest);
        }
    }
    free(wanted);
    free(got);
}

static void check_pool(const char *name, op_build *build, bool exponent)
{
    vmae_checkpoint *file = golden_open(name);
    if (!file)
        return;
    op_case what = { name,  build, { { ACTIVATION, golden_shape(file, "x", 1), NORMAL, NULL } }, exponent ? 2 : 1, 0.0,
                     false, false };
    if (exponent)
        what.operands[1] = (operand){ VECTOR, golden_shape(file, "pool.p", 0), NORMAL, "pool.p" };
    for (vmae_type precision = VMAE_F32; precision <= best_precision(); precision++) {
        op_run run;
        if (!open_case(&run, &what, file, precision, false))
            continue;
        write_tokens(&run, file);
        CHECK_OK(vmae_graph_run(run.g, false));
        golden_compare(&run, run.out, file, "output", THE_LARGEST, 1e-5, 0.0);
        compare_tokens(&run, file);
        golden_gradients(&run, file, THE_LARGEST, 1e-5, NULL);
        op_release(&run);
    }
    vmae_checkpoint_free(file);
}

TEST(pools_equal_the_reference_without_the_class_token)
{
    check_pool("op_pool_mean", pool_mean, false);
    check_pool("op_pool_max", pool_max, false);
    check_pool("op_pool_gem", pool_gem, true);
}

/* ---- losses ---- */

static void check_loss(op_run *run, const vmae_checkpoint *file, const char *name, double limit)
{
    int64_t count = 0;
    float got = NAN, *wanted = golden_floats(file, name, &count);
    CHECK_OK(vmae_graph_run(run->g, false));
    CHECK_OK(op_read(run, run->out, &got));
    if (wanted)
        golden_near(name, &got, wanted, 1, vmae_graph_precision(run->g) == VMAE_BF16 ? 2e-2 : limit, 0.0);
    free(wanted);
}

static vmae_tensor *mse_normpix(vmae_graph *g, vmae_tensor **in)
{
    return vmae_patch_mse(g, in[0], in[1], in[2], set.patch, true);
}

static vmae_tensor *mse_raw(vmae_graph *g, vmae_tensor **in)
{
    return vmae_patch_mse(g, in[0], in[1], in[2], set.patch, false);
}

/* A prediction equal to the file's target, which is in raw pixels, costs nothing. */
static void check_target(op_run *run, const vmae_checkpoint *file)
{
    int64_t count = 0;
    float loss = NAN, *target = golden_floats(file, "target", &count);
    if (target) {
        CHECK_OK(op_write(run, 0, target));
        CHECK_OK(vmae_graph_run(run->g, false));
        CHECK_OK(op_read(run, run->out, &loss));
        CHECK(loss == 0.0f);
    }
    free(target);
}

static void check_mse(const char *name, op_build *build)
{
    vmae_checkpoint *file = golden_open(name);
    if (!file)
        return;
    const op_case what = { name,
                           build,
                           { { ACTIVATION, golden_shape(file, "pred", 0), NORMAL, "pred" },
                             { GIVEN, golden_shape(file, "images", 0), NORMAL, "images" },
                             { GIVEN, golden_shape(file, "mask", 0), NORMAL, "mask" } },
                           3,
                           0.0,
                           false,
                           false };
    set.patch = (int)golden_number(file, "patch");
    for (vmae_type precision = VMAE_F32; precision <= best_precision(); precision++) {
        op_run run;
        if (!open_case(&run, &what, file, precision, false))
            continue;
        check_loss(&run, file, "loss", 2e-6);
        golden_gradients(&run, file, THE_LARGEST, 2e-4, NULL);
        if (build == mse_raw && precision == VMAE_F32)
            check_target(&run, file);
        op_release(&run);
    }
    vmae_checkpoint_free(file);
}

TEST(patch_mse_equals_the_reference_on_raw_and_normalised_pixels)
{
    check_mse("loss_mse_normpix", mse_normpix);
    check_mse("loss_mse_raw", mse_raw);
}

static vmae_tensor *info_nce(vmae_graph *g, vmae_tensor **in)
{
    return vmae_info_nce(g, vmae_l2_normalize(g, in[0]), in[0]->shape.dim[0] / 2, set.temperature);
}

/* Entries a and b, one after the other; fresh memory. */
static float *joined(const vmae_checkpoint *file, const char *a, const char *b)
{
    int64_t m = 0, n = 0;
    float *x = golden_floats(file, a, &m), *y = golden_floats(file, b, &n),
          *both = vmae_calloc((size_t)(m + n), sizeof *both);
    if (x && y && both) {
        memcpy(both, x, (size_t)m * sizeof *x);
        memcpy(both + m, y, (size_t)n * sizeof *y);
    }
    free(x);
    free(y);
    return both;
}

static void check_info_nce(const char *name)
{
    vmae_checkpoint *file = golden_open(name);
    if (!file)
        return;
    vmae_shape shape = golden_shape(file, "u1", 0);
    shape.dim[0] *= 2;
    const op_case what = { name, info_nce, { { FLOATS, shape, NORMAL, NULL } }, 1, 0.0, true, false };
    op_run run;
    set.temperature = (float)golden_number(file, "temperature");
    if (open_case(&run, &what, file, VMAE_F32, false)) {
        const int64_t count = vmae_shape_count(shape);
        float *u = joined(file, "u1", "u2"), *wanted = joined(file, "grad.u1", "grad.u2"),
              *got = vmae_calloc((size_t)count, sizeof *got);
        CHECK_OK(op_write(&run, 0, u));
        check_loss(&run, file, "loss", 5e-5);
        CHECK_OK(op_read(&run, op_gradient(&run, 0), got));
        golden_near("grad.u", got, wanted, count, 2e-4, 0.0);
        free(u);
        free(wanted);
        free(got);
        op_release(&run);
    }
    vmae_checkpoint_free(file);
}

TEST(info_nce_equals_the_reference_at_both_temperatures)
{
    check_info_nce("loss_infonce");
    check_info_nce("loss_infonce_warm");
}

static vmae_tensor *hard(vmae_graph *g, vmae_tensor **in)
{
    return vmae_cross_entropy(g, in[0], in[1], NULL, 0.0f);
}

static vmae_tensor *smooth(vmae_graph *g, vmae_tensor **in)
{
    return vmae_cross_entropy(g, in[0], in[1], NULL, set.smoothing);
}

static vmae_tensor *soft(vmae_graph *g, vmae_tensor **in)
{
    return vmae_cross_entropy(g, in[0], NULL, in[1], 0.0f);
}

TEST(cross_entropy_equals_the_reference_for_hard_smooth_and_soft_targets)
{
    static const struct {
        const char *name;
        op_build *build;
    } kinds[] = { { "hard", hard }, { "smooth", smooth }, { "soft", soft } };
    vmae_checkpoint *file = golden_open("loss_cross_entropy");
    if (!file)
        return;
    set.smoothing = (float)golden_number(file, "smoothing");
    for (size_t i = 0; i < 3; i++) {
        const char *targets = i == 2 ? "soft_targets" : "labels";
        const op_case what = { kinds[i].name,
                               kinds[i].build,
                               { { FLOATS, golden_shape(file, "logits", 0), NORMAL, "logits" },
                                 { i == 2 ? GIVEN : LABELS, golden_shape(file, targets, 0), NORMAL, targets } },
                               2,
                               0.0,
                               true,
                               false };
        op_run run;
        char name[40];
        if (!open_case(&run, &what, file, VMAE_F32, false))
            continue;
        snprintf(name, sizeof name, "loss_%s", kinds[i].name);
        check_loss(&run, file, name, 2e-6);
        snprintf(name, sizeof name, "grad_%s.logits", kinds[i].name);
        golden_compare(&run, op_gradient(&run, 0), file, name, THE_LARGEST, 2e-4, 0.0);
        op_release(&run);
    }
    vmae_checkpoint_free(file);
}

/* ---- positions ---- */

static void check_positions(const vmae_checkpoint *file, const char *name, int64_t grid, int64_t dim)
{
    int64_t count = 0;
    float *wanted = golden_floats(file, name, &count),
          *table = vmae_calloc((size_t)((1 + grid * grid) * dim), sizeof *table);
    if (wanted && table &&
        vmae_check(count == (1 + grid * grid) * dim, __FILE__, __LINE__, "%s has another size", name)) {
        vmae_sincos_positions(table, grid, dim);
        golden_near(name, table, wanted, count, 2e-6, 0.0);
    }
    free(wanted);
    free(table);
}

static void check_large_positions(const vmae_checkpoint *file, int64_t grid, int64_t dim)
{
    int64_t rows, columns, count;
    float *at_row = golden_floats(file, "large_rows", &rows), *at_column = golden_floats(file, "large_cols", &columns);
    float *wanted = golden_floats(file, "large_values", &count),
          *table = vmae_calloc((size_t)((1 + grid * grid) * dim), sizeof *table);
    double sum = 0.0;
    REQUIRE(at_row && at_column && wanted && table && count == rows * columns);
    vmae_sincos_positions(table, grid, dim);
    for (int64_t i = 0; i < count; i++)
        CHECK_NEAR((double)table[(int64_t)at_row[i / columns] * dim + (int64_t)at_column[i % columns]],
                   (double)wanted[i], 2e-6);
    for (int64_t i = 0; i < (1 + grid * grid) * dim; i++)
        sum += (double)table[i];
    CHECK_NEAR(sum, golden_number(file, "large_sum"), 0.01);
    free(at_row);
    free(at_column);
    free(wanted);
    free(table);
}

TEST(positions_equal_the_reference_column_first)
{
    vmae_checkpoint *file = golden_open("pos_embed");
    if (!file)
        return;
    const int64_t grid = (int64_t)golden_number(file, "grid");
    check_positions(file, "encoder", grid, (int64_t)golden_number(file, "dim"));
    check_positions(file, "decoder", grid, (int64_t)golden_number(file, "dec_dim"));
    check_large_positions(file, (int64_t)golden_number(file, "large_grid"), (int64_t)golden_number(file, "large_dim"));
    vmae_checkpoint_free(file);
}
