/* kernel_values.c -- numbers for kernel tests. */
#include "tests/backend/kernel_values.h"

#include "engine/core/rng.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- tensors ---- */

tensor tensor_new(vmae_type type, int64_t n)
{
    return (tensor){ grab_type(n, type), type, n };
}

tensor tensor_random(vmae_type type, int64_t n, double low, double high, uint64_t seed)
{
    const tensor t = tensor_new(type, n);
    vmae_rng rng = vmae_rng_at(seed, VMAE_RNG_TEST, 0, (uint64_t)n);
    for (int64_t i = 0; i < n; i++)
        set_at(t, i, low + (high - low) * (double)vmae_rng_uniform(&rng));
    return t;
}

tensor tensor_copy(tensor from)
{
    return (tensor){ grab_copy(from.data, (size_t)from.n * vmae_type_size(from.type)), from.type, from.n };
}

double *doubles(tensor t)
{
    double *values = grab_doubles(t.n);
    for (int64_t i = 0; i < t.n; i++)
        values[i] = value_at(t, i);
    return values;
}

double *doubles_new(int64_t n)
{
    return memset(grab_doubles(n), 0, (size_t)n * sizeof(double));
}

bool same_bits(tensor a, tensor b)
{
    return a.n == b.n && a.type == b.type && memcmp(a.data, b.data, (size_t)a.n * vmae_type_size(a.type)) == 0;
}

/* ---- arrays ---- */

float *random_floats(int64_t n, uint64_t seed)
{
    float *x = grab_floats(n);
    vmae_rng rng = vmae_rng_at(seed, VMAE_RNG_TEST, 0, 0);
    for (int64_t i = 0; i < n; i++)
        x[i] = vmae_rng_normal(&rng);
    return x;
}

void *as_type(float *x, int64_t n, vmae_type type)
{
    const tensor y = tensor_new(type, n);
    for (int64_t i = 0; i < n; i++) {
        set_at(y, i, (double)x[i]);
        x[i] = (float)value_at(y, i);
    }
    return y.data;
}

float *as_floats(const void *y, int64_t n, vmae_type type)
{
    float *x = grab_floats(n);
    for (int64_t i = 0; i < n; i++)
        x[i] = type == VMAE_BF16 ? bf16_to_float(((const vmae_bf16 *)y)[i]) : ((const float *)y)[i];
    return x;
}

double *as_doubles(const float *x, int64_t n)
{
    double *y = grab_doubles(n);
    for (int64_t i = 0; i < n; i++)
        y[i] = (double)x[i];
    return y;
}

double largest(const double *values, int64_t n)
{
    double most = 0.0;
    for (int64_t i = 0; i < n; i++)
        most = fmax(most, fabs(values[i]));
    return most;
}

/* ---- comparisons ---- */

/* bf16 keeps 8 bits: rounding is off by at most 2^-8 of the value; a little more where f32 rounding tips it over. */
double rounding_of(vmae_type type, double value)
{
    return type == VMAE_BF16 ? fabs(value) * 0x1.02p-8 + 1e-38 : 0.0;
}

bool tensor_near(tensor t, const double *expected, double tolerance, const char *what)
{
    if (kernel_repeats())
        return true;
    for (int64_t i = 0; i < t.n; i++) {
        const double limit = tolerance + rounding_of(t.type, expected[i]);
        if (!(fabs(value_at(t, i) - expected[i]) <= limit))
            return vmae_check(false, __FILE__, __LINE__, "%s (%s, %s, n %lld): [%lld] is %.9g, expected %.9g +- %.2g",
                              what, on_what(), vmae_type_name(t.type), (long long)t.n, (long long)i, value_at(t, i),
                              expected[i], limit);
    }
    return true;
}

void check_near(const char *file, int line, const char *what, const float *got, const double *expected, int64_t n,
                double limit, vmae_type type)
{
    if (kernel_repeats())
        return;
    const double top = largest(expected, n);
    double worst = 0.0;
    int64_t at = 0;
    for (int64_t i = 0; i < n; i++) {
        const double excess = fabs((double)got[i] - expected[i]) - rounding_of(type, expected[i]);
        if (!(excess <= worst)) {
            worst = isnan(excess) ? (double)INFINITY : excess;
            at = i;
        }
    }
    vmae_check(worst <= limit * top + 1e-30, file, line,
               "%s[%lld] is %.9g, expected %.9g; off by %.3g of the largest %.3g, limit %.3g (%s)", what, (long long)at,
               (double)got[at], expected[at], worst / (top > 0.0 ? top : 1.0), top, limit, on_what());
}

bool gradient_near(loss_function *loss, const void *context, double *x, tensor grad, int64_t probes, double tolerance,
                   double least, const char *what)
{
    if (kernel_repeats())
        return true;
    const double h = 1e-6;
    int64_t step = grad.n > probes ? grad.n / probes : 1, count = 0;
    step += step > 1 && step % 2 == 0; /* odd: not the same place in every row */
    double *expected = grab_doubles(grad.n / step + 1), most = least;
    for (int64_t i = 0; i < grad.n; i += step) {
        const double kept = x[i];
        x[i] = kept + h;
        const double above = loss(context);
        x[i] = kept - h;
        const double below = loss(context);
        x[i] = kept;
        expected[count] = (above - below) / (2.0 * h);
        most = fmax(most, fabs(expected[count++]));
    }
    for (int64_t i = 0, at = 0; i < grad.n; i += step, at++) {
        const double limit = tolerance * most + rounding_of(grad.type, expected[at]);
        if (!(fabs(value_at(grad, i) - expected[at]) <= limit))
            return vmae_check(false, __FILE__, __LINE__,
                              "%s (%s, %s, n %lld): [%lld] is %.9g, differences give %.9g +- %.2g", what, on_what(),
                              vmae_type_name(grad.type), (long long)grad.n, (long long)i, value_at(grad, i),
                              expected[at], limit);
    }
    return true;
}

/* ---- golden vectors ---- */

vmae_checkpoint *golden_open(const char *name)
{
    const char *folder = vmae_test_shared("golden");
    char path[1024];
    vmae_checkpoint *file = NULL;
    if (!folder)
        return NULL;
    snprintf(path, sizeof path, "%s/%s.safetensors", folder, name);
    CHECK_OK(vmae_checkpoint_open(&file, path));
    return file;
}

float *golden_floats(const vmae_checkpoint *file, const char *name, int64_t *count, int64_t *dim)
{
    const vmae_entry *entry = vmae_checkpoint_find(file, name);
    if (!entry || entry->dtype != VMAE_ST_F32) {
        fprintf(stderr, "golden set: there is no F32 tensor %s\n", name);
        exit(1);
    }
    for (int i = 0; dim && i < entry->rank; i++)
        dim[i] = entry->dim[i];
    if (count)
        *count = (int64_t)entry->count;
    return grab_copy(entry->data, entry->bytes);
}

double golden_number(const vmae_checkpoint *file, const char *key)
{
    const char *text = vmae_checkpoint_metadata(file, key);
    if (!text) {
        fprintf(stderr, "golden set: there is no setting %s\n", key);
        exit(1);
    }
    return strcmp(text, "true") == 0 ? 1.0 : strcmp(text, "false") == 0 ? 0.0 : strtod(text, NULL);
}
