/* op_check.c -- compares a case's gradients with central differences, and its bf16 with its f32. */
#include "tests/ops/op_check.h"

#include "engine/core/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static vmae_backend *opened;

static void close_backend(void)
{
    vmae_backend_close(opened);
}

vmae_backend *test_backend(void)
{
    if (opened)
        return opened;
    if (vmae_backend_open(&opened, vmae_test_device(), 2) != VMAE_OK) {
        fprintf(stderr, "test: %s\n", vmae_error());
        exit(1);
    }
    atexit(close_backend);
    return opened;
}

/* ---- gradients against central differences ---- */

/* sum(out * cotangent) in double: a loss in f32 would be too coarse to subtract. */
static double loss_of(op_run *run, const float *cotangent, float *out)
{
    double sum = 0.0;
    CHECK_OK(vmae_graph_run(run->g, false));
    CHECK_OK(op_read(run, run->out, out));
    for (int64_t i = 0; i < vmae_shape_count(run->out->shape); i++)
        sum += (double)out[i] * (double)cotangent[i];
    return sum;
}

static double loss_at(op_run *run, int i, float *values, int64_t at, double step, const float *cotangent, float *out)
{
    const float kept = values[at];
    values[at] = (float)((double)kept + step);
    CHECK_OK(op_write(run, i, values));
    values[at] = kept;
    return loss_of(run, cotangent, out);
}

/* Of fourth order, since f32 allows no small step: (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12h. */
static double difference(op_run *run, int i, float *values, int64_t at, const float *cotangent, float *out)
{
    const double h = 0x1p-5;
    const double near =
        loss_at(run, i, values, at, h, cotangent, out) - loss_at(run, i, values, at, -h, cotangent, out);
    const double far =
        loss_at(run, i, values, at, 2 * h, cotangent, out) - loss_at(run, i, values, at, -2 * h, cotangent, out);
    return (8.0 * near - far) / (12.0 * h);
}

/* What rounding a loss of one number to f32 makes of the differences: 18 times 2^-24 of it over 12 h, and as much again
 * for a loss that is itself summed in f32. Of more numbers the roundings cancel, and the tolerance holds them. */
static double rounding_of_loss(const op_run *run, double loss)
{
    return vmae_shape_count(run->out->shape) == 1 ? 2.0 * 18.0 * 0x1p-24 * fabs(loss) * 32.0 / 12.0 : 0.0;
}

static void check_operand(op_run *run, int i, const float *cotangent, float *out)
{
    const vmae_tensor *gradient = op_gradient(run, i);
    const int64_t count = vmae_shape_count(run->what->operands[i].shape);
    REQUIRE(vmae_check(gradient, __FILE__, __LINE__, "%s: operand %d has no gradient", run->what->name, i));
    float *values = op_numbers(run, i, false), *got = vmae_calloc((size_t)count, sizeof *got);
    double *wanted = vmae_calloc((size_t)count, sizeof *wanted), largest = 0.0;
    if (values && got && wanted) {
        const double noise = rounding_of_loss(run, loss_of(run, cotangent, out)); /* on the unchanged operands */
        CHECK_OK(op_read(run, gradient, got));
        for (int64_t k = 0; k < count; k++)
            largest = fmax(largest, fabs(wanted[k] = difference(run, i, values, k, cotangent, out)));
        CHECK_OK(op_write(run, i, values));
        vmae_check(largest > 0.0, __FILE__, __LINE__, "%s: operand %d changes nothing", run->what->name, i);
        for (int64_t k = 0; k < count; k++)
            if (!vmae_check(fabs((double)got[k] - wanted[k]) <= run->what->tolerance * largest + noise, __FILE__,
                            __LINE__, "%s: gradient [%lld] of operand %d is %.7g, differences give %.7g; largest %.3g",
                            run->what->name, (long long)k, i, (double)got[k], wanted[k], largest))
                break;
    }
    vmae_check(values && got && wanted, __FILE__, __LINE__, "%s", vmae_error());
    free(values);
    free(got);
    free(wanted);
}

void check_gradient(const op_case *what)
{
    op_run run;
    const vmae_status st = op_open(&run, what, test_backend(), VMAE_F32);
    if (vmae_check(st == VMAE_OK, __FILE__, __LINE__, "%s: %s", what->name, vmae_error())) {
        float *out = vmae_calloc((size_t)vmae_shape_count(run.out->shape), sizeof *out),
              *cotangent = op_numbers(&run, what->count, false);
        CHECK_OK(op_fill(&run, false));
        for (int i = 0; i < what->count && out && cotangent; i++)
            if (takes_gradient(&what->operands[i]))
                check_operand(&run, i, cotangent, out);
        free(out);
        free(cotangent);
    }
    op_release(&run);
}

/* ---- bf16 ---- */

/* Rounding to 8 bits is off by 2^-9 of a value; a result sees that of a few inputs and intermediate values, hence 2 %
 * of the largest. */
static void check_alike(const op_case *what, const char *part, int i, op_run *a, const vmae_tensor *x, op_run *b,
                        const vmae_tensor *y)
{
    const int64_t count = vmae_shape_count(x->shape);
    float *got = vmae_calloc((size_t)count, sizeof *got), *wanted = vmae_calloc((size_t)count, sizeof *wanted);
    if (got && wanted) {
        CHECK_OK(op_read(a, x, got));
        CHECK_OK(op_read(b, y, wanted));
        const double worst = vmae_max_difference(got, wanted, (size_t)count),
                     largest = vmae_max_magnitude(wanted, (size_t)count);
        vmae_check(worst <= 0.02 * largest, __FILE__, __LINE__, "%s in bf16: %s %d is off by %.3g, largest %.3g",
                   what->name, part, i, worst, largest);
    }
    free(got);
    free(wanted);
}

void check_bf16(const op_case *what)
{
    op_run coarse, fine;
    vmae_status st = op_open(&coarse, what, test_backend(), VMAE_BF16);
    if (vmae_check(st == VMAE_OK, __FILE__, __LINE__, "%s in bf16: %s", what->name, vmae_error())) {
        st = op_open(&fine, what, test_backend(), VMAE_F32);
        if (vmae_check(st == VMAE_OK, __FILE__, __LINE__, "%s: %s", what->name, vmae_error())) {
            CHECK_OK(op_fill(&coarse, true));
            CHECK_OK(op_fill(&fine, true));
            CHECK_OK(vmae_graph_run(coarse.g, false));
            CHECK_OK(vmae_graph_run(fine.g, false));
            check_alike(what, "result", 0, &coarse, coarse.out, &fine, fine.out);
            for (int i = 0; i < what->count; i++)
                if (op_gradient(&fine, i))
                    check_alike(what, "gradient of operand", i, &coarse, op_gradient(&coarse, i), &fine,
                                op_gradient(&fine, i));
        }
        op_release(&fine);
    }
    op_release(&coarse);
}

bool no_bf16(void)
{
    if (test_backend()->precision == VMAE_BF16)
        return false;
    vmae_test_skip("%s multiplies no bf16", vmae_test_device());
    return true;
}

void check_refused(op_build *build, const operand *operands, int count, const char *part)
{
    op_case what = { .name = "refused", .build = build, .count = count };
    op_run run;
    memcpy(what.operands, operands, (size_t)count * sizeof *operands);
    const vmae_status st = op_open(&run, &what, test_backend(), VMAE_F32);
    if (vmae_check(st == VMAE_EINTERNAL, __FILE__, __LINE__, "recorded without a failure (status %d); expected: %s",
                   (int)st, part))
        CHECK_STR(vmae_error(), part);
    op_release(&run);
}
