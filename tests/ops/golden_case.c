/* golden_case.c -- fills op cases from golden files and compares. */
#include "tests/ops/golden_case.h"

#include "engine/core/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

vmae_shape golden_shape(const vmae_checkpoint *file, const char *name, int64_t more)
{
    const vmae_entry *entry = vmae_checkpoint_find(file, name);
    vmae_shape shape = VMAE_SHAPE(1);
    if (!vmae_check(entry && entry->rank <= VMAE_RANK, __FILE__, __LINE__, "the golden file has no tensor %s", name))
        return shape;
    shape.rank = entry->rank;
    memcpy(shape.dim, entry->dim, (size_t)entry->rank * sizeof *shape.dim);
    if (shape.rank > 1)
        shape.dim[1] += more;
    return shape;
}

void golden_fill(op_run *run, const vmae_checkpoint *file, bool rounded)
{
    int64_t count = 0;
    for (int i = 0; i < run->what->count; i++) {
        const operand *o = &run->what->operands[i];
        float *values = o->name ? golden_floats(file, o->name, &count) : NULL;
        if (values &&
            vmae_check(count == vmae_shape_count(o->shape), __FILE__, __LINE__, "%s has another size", o->name)) {
            if (rounded && (o->kind == ACTIVATION || o->kind == MATRIX))
                for (int64_t k = 0; k < count; k++)
                    values[k] = float_of_bf16(bf16_of(values[k]));
            CHECK_OK(op_write(run, i, values));
        }
        free(values);
    }
    if (!run->cotangent)
        return;
    const bool given = vmae_checkpoint_find(file, "cotangent");
    const float one = 1.0f;
    float *values = given ? golden_floats(file, "cotangent", &count) : NULL;
    CHECK_OK(vmae_tensor_write(run->g, run->cotangent, given ? values : &one, given ? count : 1));
    free(values);
}

static const char *const limits[] = { [THE_LARGEST] = "the largest",
                                      [THE_ROWS_LARGEST] = "its row's largest",
                                      [THE_COLUMNS_LARGEST] = "its column's largest",
                                      [AT_LEAST_1] = "max(1, |x|)" };

/* What an element's error may be measured against. */
static double scale(const float *wanted, int64_t count, int64_t width, int64_t at, limit_of of)
{
    const int64_t first = of == THE_ROWS_LARGEST ? at / width * width : of == THE_COLUMNS_LARGEST ? at % width : 0;
    const int64_t last = of == THE_ROWS_LARGEST ? first + width : count, step = of == THE_COLUMNS_LARGEST ? width : 1;
    double largest = 0.0;
    if (of == AT_LEAST_1)
        return fmax(1.0, fabs((double)wanted[at]));
    for (int64_t i = first; i < last; i += step)
        largest = fmax(largest, fabs((double)wanted[i]));
    return largest;
}

double golden_error(op_run *run, const vmae_tensor *tensor, const vmae_checkpoint *file, const char *name, limit_of of)
{
    int64_t count = 0;
    double worst = 0.0;
    float *wanted = golden_floats(file, name, &count), *got = vmae_calloc((size_t)count, sizeof *got);
    const int64_t width = tensor->shape.dim[tensor->shape.rank - 1];
    if (wanted && got &&
        vmae_check(count == vmae_shape_count(tensor->shape), __FILE__, __LINE__, "%s has another size", name)) {
        CHECK_OK(op_read(run, tensor, got));
        for (int64_t i = 0; i < count; i++) {
            const double error = fabs((double)got[i] - (double)wanted[i]);
            if (!(error == 0.0)) /* a NaN, and anything where nothing was expected, is infinitely far */
                worst = fmax(worst, isnan(error) ? INFINITY : error / scale(wanted, count, width, i, of));
        }
    } else
        worst = INFINITY;
    free(wanted);
    free(got);
    return worst;
}

void golden_compare(op_run *run, const vmae_tensor *tensor, const vmae_checkpoint *file, const char *name, limit_of of,
                    double limit, double slack)
{
    const bool bf16 = vmae_graph_precision(run->g) == VMAE_BF16;
    const double error = golden_error(run, tensor, file, name, bf16 ? THE_LARGEST : of),
                 allowed = bf16 ? 5e-2 + slack : limit;
    vmae_check(error <= allowed, __FILE__, __LINE__, "%s%s: %s is off by %.3g of %s, allowed %.3g", run->what->name,
               bf16 ? " in bf16" : "", name, error, limits[bf16 ? THE_LARGEST : of], allowed);
}

/* The gradient of a named operand and its name in the file, or NULL. */
static const vmae_tensor *named_gradient(const op_run *run, int i, char *name, size_t size)
{
    const operand *o = &run->what->operands[i];
    if (!takes_gradient(o) || !o->name)
        return NULL;
    const vmae_tensor *gradient = op_gradient(run, i);
    vmae_check(gradient, __FILE__, __LINE__, "%s: no gradient of %s", run->what->name, o->name);
    snprintf(name, size, "grad.%s", o->name);
    return gradient;
}

void golden_gradients(op_run *run, const vmae_checkpoint *file, limit_of of, double limit, const double *slack)
{
    char name[100];
    for (int i = 0; i < run->what->count; i++) {
        const vmae_tensor *gradient = named_gradient(run, i, name, sizeof name);
        if (gradient) /* a vector has no rows */
            golden_compare(run, gradient, file, name, gradient->shape.rank > 1 ? of : THE_LARGEST, limit,
                           slack ? slack[i] : 0.0);
    }
}

void golden_gradient_errors(op_run *run, const vmae_checkpoint *file, double *errors)
{
    char name[100];
    for (int i = 0; i < run->what->count; i++) {
        const vmae_tensor *gradient = named_gradient(run, i, name, sizeof name);
        errors[i] = gradient ? golden_error(run, gradient, file, name, THE_LARGEST) : 0.0;
    }
}
