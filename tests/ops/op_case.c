/* op_case.c -- records a case, fills it, and compares its gradients with central differences or its bf16 with its f32.
 */
#include "tests/ops/op_case.h"

#include "engine/core/mem.h"
#include "engine/core/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool takes_gradient(const operand *o)
{
    return o->kind == ACTIVATION || o->kind == FLOATS || o->kind == MATRIX || o->kind == VECTOR;
}

static bool is_param(const operand *o)
{
    return o->kind >= MATRIX;
}

static const char *name_of(const op_case *what, int i)
{
    static const char *const names[OPERANDS_MAX] = { "in0", "in1", "in2", "in3", "in4", "in5", "in6", "in7" };
    return what->operands[i].name ? what->operands[i].name : names[i];
}

static vmae_status declare(op_run *run, bool copy)
{
    if (!(run->params = vmae_params_new()))
        return VMAE_ENOMEM;
    for (int i = 0; i < run->what->count; i++)
        if (is_param(&run->what->operands[i]))
            VMAE_TRY(vmae_params_add(run->params, name_of(run->what, i), run->what->operands[i].shape,
                                     run->what->operands[i].kind != FROZEN));
    return vmae_params_allocate(run->params, run->be, true, copy);
}

static vmae_tensor *make_operand(op_run *run, int i, vmae_type precision)
{
    const operand *o = &run->what->operands[i];
    if (is_param(o))
        return vmae_use_param(run->g, run->params, name_of(run->what, i), o->kind == MATRIX ? precision : VMAE_F32);
    vmae_tensor *in = vmae_input(run->g, name_of(run->what, i),
                                 o->kind == ACTIVATION ? precision
                                 : o->kind == LABELS   ? VMAE_I32
                                                       : VMAE_F32,
                                 o->shape);
    if (in && takes_gradient(o))
        in->wants_gradient = true; /* as if something trainable were upstream */
    return in;
}

vmae_status op_open(op_run *run, const op_case *what, vmae_type precision)
{
    *run = (op_run){ .what = what };
    VMAE_TRY(vmae_backend_open(&run->be, vmae_test_device(), 2));
    VMAE_TRY(declare(run, precision == VMAE_BF16));
    if (!(run->g = vmae_graph_new(run->be, precision)))
        return VMAE_ENOMEM;
    for (int i = 0; i < what->count; i++)
        run->in[i] = make_operand(run, i, precision);
    run->out = vmae_keep(what->build(run->g, run->in));
    if (run->out && run->out->wants_gradient) {
        run->cotangent = vmae_input(run->g, "cotangent", VMAE_F32, run->out->shape);
        run->loss = vmae_keep(op_dot(run->g, run->out, run->cotangent));
        VMAE_TRY(vmae_graph_backward(run->g, run->loss));
    }
    for (int i = 0; i < what->count; i++)
        if (run->in[i] && run->in[i]->gradient)
            vmae_keep(run->in[i]->gradient);
    return vmae_graph_plan(run->g);
}

void op_release(op_run *run)
{
    vmae_graph_free(run->g);
    vmae_params_free(run->params);
    vmae_backend_close(run->be);
}

vmae_bf16 bf16_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (vmae_bf16)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

float float_of_bf16(vmae_bf16 x)
{
    const uint32_t bits = (uint32_t)x << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void write_bf16(op_run *run, vmae_tensor *tensor, const float *values, int64_t count)
{
    vmae_bf16 *copy = vmae_calloc((size_t)count, sizeof *copy);
    REQUIRE(copy);
    for (int64_t i = 0; i < count; i++)
        copy[i] = bf16_of(values[i]);
    CHECK_OK(vmae_tensor_write(run->g, tensor, copy, count));
    free(copy);
}

static void write_labels(op_run *run, vmae_tensor *tensor, const float *values, int64_t count)
{
    int32_t *labels = vmae_calloc((size_t)count, sizeof *labels);
    REQUIRE(labels);
    for (int64_t i = 0; i < count; i++)
        labels[i] = (int32_t)values[i];
    CHECK_OK(vmae_tensor_write(run->g, tensor, labels, count));
    free(labels);
}

void op_write(op_run *run, int i, const float *values)
{
    const operand *o = &run->what->operands[i];
    const int64_t count = vmae_shape_count(o->shape);
    if (is_param(o)) {
        CHECK_OK(vmae_params_write(run->params, vmae_params_find(run->params, name_of(run->what, i)), values));
        CHECK_OK(vmae_params_refresh(run->params));
    } else if (run->in[i]->type == VMAE_I32) {
        write_labels(run, run->in[i], values, count);
    } else if (run->in[i]->type == VMAE_BF16) {
        write_bf16(run, run->in[i], values, count);
    } else {
        CHECK_OK(vmae_tensor_write(run->g, run->in[i], values, count));
    }
}

/* ---- numbers ---- */

static uint64_t seed_of(const char *name)
{
    uint64_t hash = 0xCBF29CE484222325u;
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 0x100000001B3u;
    return hash;
}

static void make_weights(float *values, int64_t rows, int64_t width)
{
    for (int64_t r = 0; r < rows; r++) {
        double sum = 0.0;
        for (int64_t i = 0; i < width; i++)
            sum += (double)(values[r * width + i] = expf(values[r * width + i]));
        for (int64_t i = 0; i < width; i++)
            values[r * width + i] = (float)((double)values[r * width + i] / sum);
    }
}

static void make_distinct(float *values, int64_t count, vmae_rng *rng)
{
    for (int64_t i = 0; i < count; i++)
        values[i] = 0.2f * (float)(i - count / 2);
    for (int64_t i = count - 1; i > 0; i--) {
        const int64_t k = (int64_t)vmae_rng_below(rng, (uint64_t)i + 1);
        const float other = values[k];
        values[k] = values[i];
        values[i] = other;
    }
}

static void fill(float *values, const operand *o, uint64_t seed, int index)
{
    const int64_t count = vmae_shape_count(o->shape), width = o->shape.dim[o->shape.rank - 1];
    vmae_rng rng = vmae_rng_at(seed, VMAE_RNG_TEST, (uint32_t)index, 0);
    for (int64_t i = 0; i < count; i++) {
        const float x = vmae_rng_normal(&rng);
        switch (o->fill) {
        case NORMAL:
        case DISTINCT:
        case WEIGHTS: values[i] = x; break;
        case NONZERO: values[i] = x + copysignf(0.2f, x); break;
        case POSITIVE: values[i] = 0.5f + 1.5f * vmae_rng_uniform(&rng); break;
        case ZERO_ONE: values[i] = o->kind == LABELS ? (float)(i * 5 % 3) : (float)(i < 2 ? i : x > 0.0f); break;
        }
    }
    if (o->fill == DISTINCT)
        make_distinct(values, count, &rng);
    if (o->fill == WEIGHTS)
        make_weights(values, count / width, width);
}

/* The numbers of operand i (count: the cotangent), fresh memory. */
static float *numbers(const op_run *run, int i, bool bf16)
{
    const operand cotangent = { GIVEN, run->out->shape, NORMAL, NULL };
    const operand *o = i < run->what->count ? &run->what->operands[i] : &cotangent;
    const int64_t count = vmae_shape_count(o->shape);
    float *values = vmae_calloc((size_t)count, sizeof *values);
    if (!values)
        return NULL;
    fill(values, o, seed_of(run->what->name), i);
    for (int64_t k = 0; k < count && bf16 && o->kind != LABELS; k++)
        values[k] = float_of_bf16(bf16_of(values[k]));
    return values;
}

void op_fill(op_run *run, bool bf16)
{
    for (int i = 0; i < run->what->count + (run->cotangent != NULL); i++) {
        float *values = numbers(run, i, bf16);
        REQUIRE(values);
        if (i < run->what->count)
            op_write(run, i, values);
        else
            CHECK_OK(vmae_tensor_write(run->g, run->cotangent, values, vmae_shape_count(run->cotangent->shape)));
        free(values);
    }
}

void op_read(op_run *run, const vmae_tensor *tensor, float *to)
{
    CHECK_OK(vmae_tensor_read(run->g, tensor, to, vmae_shape_count(tensor->shape)));
}

const vmae_tensor *op_gradient(const op_run *run, int i)
{
    return takes_gradient(&run->what->operands[i]) ? run->in[i]->gradient : NULL;
}

/* ---- gradients against central differences ---- */

/* sum(out * cotangent) in double: a loss in f32 would be too coarse to subtract. */
static double loss_of(op_run *run, const float *cotangent, float *out)
{
    double sum = 0.0;
    CHECK_OK(vmae_graph_run(run->g, false));
    op_read(run, run->out, out);
    for (int64_t i = 0; i < vmae_shape_count(run->out->shape); i++)
        sum += (double)out[i] * (double)cotangent[i];
    return sum;
}

static double loss_at(op_run *run, int i, float *values, int64_t at, double step, const float *cotangent, float *out)
{
    const float kept = values[at];
    values[at] = (float)((double)kept + step);
    op_write(run, i, values);
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

static void check_operand(op_run *run, int i, const float *cotangent, float *out)
{
    const vmae_tensor *gradient = op_gradient(run, i);
    const int64_t count = vmae_shape_count(run->what->operands[i].shape);
    REQUIRE(vmae_check(gradient, __FILE__, __LINE__, "%s: operand %d has no gradient", run->what->name, i));
    float *values = numbers(run, i, false), *got = vmae_calloc((size_t)count, sizeof *got);
    double *wanted = vmae_calloc((size_t)count, sizeof *wanted), largest = 0.0;
    if (values && got && wanted) {
        loss_of(run, cotangent, out); /* on the unchanged operands */
        op_read(run, gradient, got);
        for (int64_t k = 0; k < count; k++)
            largest = fmax(largest, fabs(wanted[k] = difference(run, i, values, k, cotangent, out)));
        op_write(run, i, values);
        vmae_check(largest > 0.0, __FILE__, __LINE__, "%s: operand %d changes nothing", run->what->name, i);
        for (int64_t k = 0; k < count; k++)
            if (!vmae_check(fabs((double)got[k] - wanted[k]) <= run->what->tolerance * largest, __FILE__, __LINE__,
                            "%s: gradient [%lld] of operand %d is %.7g, differences give %.7g; largest %.3g",
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
    const vmae_status st = op_open(&run, what, VMAE_F32);
    if (vmae_check(st == VMAE_OK, __FILE__, __LINE__, "%s: %s", what->name, vmae_error())) {
        float *out = vmae_calloc((size_t)vmae_shape_count(run.out->shape), sizeof *out),
              *cotangent = numbers(&run, what->count, false);
        op_fill(&run, false);
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
        op_read(a, x, got);
        op_read(b, y, wanted);
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
    vmae_status st = op_open(&coarse, what, VMAE_BF16);
    if (vmae_check(st == VMAE_OK, __FILE__, __LINE__, "%s in bf16: %s", what->name, vmae_error())) {
        st = op_open(&fine, what, VMAE_F32);
        if (vmae_check(st == VMAE_OK, __FILE__, __LINE__, "%s: %s", what->name, vmae_error())) {
            op_fill(&coarse, true);
            op_fill(&fine, true);
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
    vmae_backend *be = NULL;
    if (vmae_backend_open(&be, vmae_test_device(), 1) != VMAE_OK)
        return !vmae_check(false, __FILE__, __LINE__, "%s", vmae_error());
    const bool absent = be->precision != VMAE_BF16;
    vmae_backend_close(be);
    if (absent)
        vmae_test_skip("%s multiplies no bf16", vmae_test_device());
    return absent;
}

void check_refused(op_build *build, const operand *operands, int count, const char *part)
{
    op_case what = { .name = "refused", .build = build, .count = count };
    op_run run;
    memcpy(what.operands, operands, (size_t)count * sizeof *operands);
    const vmae_status st = op_open(&run, &what, VMAE_F32);
    if (vmae_check(st == VMAE_EINTERNAL, __FILE__, __LINE__, "recorded without a failure (status %d); expected: %s",
                   (int)st, part))
        CHECK_STR(vmae_error(), part);
    op_release(&run);
}
