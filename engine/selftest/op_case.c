/* op_case.c -- records a case and fills it. */
#include "engine/selftest/op_case.h"

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

vmae_status op_open(op_run *run, const op_case *what, vmae_backend *be, vmae_type precision)
{
    *run = (op_run){ .what = what, .be = be };
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

static vmae_status write_bf16(op_run *run, vmae_tensor *tensor, const float *values, int64_t count)
{
    vmae_bf16 *copy = vmae_calloc((size_t)count, sizeof *copy);
    if (!copy)
        return VMAE_ENOMEM;
    for (int64_t i = 0; i < count; i++)
        copy[i] = bf16_of(values[i]);
    const vmae_status st = vmae_tensor_write(run->g, tensor, copy, count);
    free(copy);
    return st;
}

static vmae_status write_labels(op_run *run, vmae_tensor *tensor, const float *values, int64_t count)
{
    int32_t *labels = vmae_calloc((size_t)count, sizeof *labels);
    if (!labels)
        return VMAE_ENOMEM;
    for (int64_t i = 0; i < count; i++)
        labels[i] = (int32_t)values[i];
    const vmae_status st = vmae_tensor_write(run->g, tensor, labels, count);
    free(labels);
    return st;
}

vmae_status op_write(op_run *run, int i, const float *values)
{
    const operand *o = &run->what->operands[i];
    const int64_t count = vmae_shape_count(o->shape);
    if (is_param(o)) {
        VMAE_TRY(vmae_params_write(run->params, vmae_params_find(run->params, name_of(run->what, i)), values));
        return vmae_params_refresh(run->params);
    }
    if (run->in[i]->type == VMAE_I32)
        return write_labels(run, run->in[i], values, count);
    if (run->in[i]->type == VMAE_BF16)
        return write_bf16(run, run->in[i], values, count);
    return vmae_tensor_write(run->g, run->in[i], values, count);
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

float *op_numbers(const op_run *run, int i, bool bf16)
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

vmae_status op_fill(op_run *run, bool bf16)
{
    for (int i = 0; i < run->what->count + (run->cotangent != NULL); i++) {
        float *values = op_numbers(run, i, bf16);
        if (!values)
            return VMAE_ENOMEM;
        const vmae_status st = i < run->what->count ? op_write(run, i, values)
                                                    : vmae_tensor_write(run->g, run->cotangent, values,
                                                                        vmae_shape_count(run->cotangent->shape));
        free(values);
        VMAE_TRY(st);
    }
    return VMAE_OK;
}

vmae_status op_read(op_run *run, const vmae_tensor *tensor, float *to)
{
    return vmae_tensor_read(run->g, tensor, to, vmae_shape_count(tensor->shape));
}

const vmae_tensor *op_gradient(const op_run *run, int i)
{
    return takes_gradient(&run->what->operands[i]) ? run->in[i]->gradient : NULL;
}
