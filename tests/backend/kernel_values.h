/* kernel_values.h -- numbers for kernel tests: tensors of either type, random and golden ones, comparisons with double
 * precision, derivatives. */
#ifndef VMAE_TESTS_BACKEND_KERNEL_VALUES_H
#define VMAE_TESTS_BACKEND_KERNEL_VALUES_H

#include "engine/backend/cpu/cpu.h"
#include "engine/checkpoint/checkpoint.h"
#include "tests/backend/kernel_case.h"

/* ---- tensors ---- */

typedef struct tensor {
    void *data; /* grabbed */
    vmae_type type;
    int64_t n;
} tensor;

static inline double value_at(tensor t, int64_t i)
{
    return t.type == VMAE_BF16 ? (double)bf16_to_float(((const vmae_bf16 *)t.data)[i])
                               : (double)((const float *)t.data)[i];
}

static inline void set_at(tensor t, int64_t i, double value)
{
    if (t.type == VMAE_BF16)
        ((vmae_bf16 *)t.data)[i] = bf16_from_float((float)value);
    else
        ((float *)t.data)[i] = (float)value;
}

static inline float *floats(tensor t)
{
    return t.data;
}

tensor tensor_new(vmae_type type, int64_t n); /* filled with a pattern that is no plausible result */
tensor tensor_random(vmae_type type, int64_t n, double low, double high, uint64_t seed);
tensor tensor_copy(tensor from);
double *doubles(tensor t);      /* its values */
double *doubles_new(int64_t n); /* zeros */
bool same_bits(tensor a, tensor b);

/* ---- arrays ---- */

float *random_floats(int64_t n, uint64_t seed); /* normal numbers, a function of the seed */
/* A copy of x as activations; x itself is rounded to what they hold. */
void *as_type(float *x, int64_t n, vmae_type type);
float *as_floats(const void *y, int64_t n, vmae_type type);
double *as_doubles(const float *x, int64_t n);
double largest(const double *values, int64_t n);

/* ---- comparisons: of a body's first run; of a repetition the bits are compared ---- */

/* What storing a value in a type may change. */
double rounding_of(vmae_type type, double value);
/* |t - expected| <= tolerance (+ the rounding of its type), value by value. */
bool tensor_near(tensor t, const double *expected, double tolerance, const char *what);
/* |got - expected| <= limit * (the largest expected magnitude), and for bf16 the rounding of the value besides. */
void check_near(const char *file, int line, const char *what, const float *got, const double *expected, int64_t n,
                double limit, vmae_type type);
#define CHECK_ARRAY(got, expected, n, limit, type) check_near(__FILE__, __LINE__, #got, got, expected, n, limit, type)

/* Derivatives of loss(context) with respect to x[0..n), which the loss reads through its context, against `grad`: all
 * of them, or about `probes` spread over the tensor. tolerance is relative to the largest derivative seen, but at least
 * to `least`. */
typedef double loss_function(const void *context);
bool gradient_near(loss_function *loss, const void *context, double *x, tensor grad, int64_t probes, double tolerance,
                   double least, const char *what);

/* ---- golden vectors ---- */

/* The file of a case, or NULL (then the test is skipped). Free it. */
vmae_checkpoint *golden_open(const char *name);
/* A copy of an F32 tensor, grabbed; its shape goes to dim if that is not NULL. Exits if it is absent: the set is
 * damaged. */
float *golden_floats(const vmae_checkpoint *file, const char *name, int64_t *count, int64_t *dim);
double golden_number(const vmae_checkpoint *file, const char *key);

#endif
