/* test_losses.c -- InfoNCE, MSE of masked patches, cross-entropy and L2 normalisation against golden vectors, double
 * precision and differences. */
#include "tests/backend/kernel_values.h"

#include <stdio.h>

static double number(const float *x)
{
    return (double)*x;
}

/* df/dx by central differences in double precision: `loss` is a reference, so that only the formula is in question. */
static double *differences(double (*loss)(const double *x, const void *job), const void *job, double *x, int64_t n)
{
    double *g = grab_doubles(n);
    for (int64_t i = 0; i < n && !kernel_repeats(); i++) {
        const double at = x[i], h = 1e-5;
        x[i] = at + h;
        const double above = loss(x, job);
        x[i] = at - h;
        const double below = loss(x, job);
        x[i] = at;
        g[i] = (above - below) / (2.0 * h);
    }
    return g;
}

/* ---- InfoNCE ---- */

typedef struct nce_job {
    int64_t rows, d, period;
    double temperature;
} nce_job;

static double dot(const double *a, const double *b, int64_t n)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

static double nce_reference(const double *z, const void *job)
{
    const nce_job *j = job;
    double loss = 0.0;
    for (int64_t i = 0; i < j->rows; i++) {
        double all = 0.0, positive = 0.0;
        const double shift = dot(z + i * j->d, z + i * j->d, j->d) / j->temperature;
        for (int64_t k = 0; k < j->rows; k++) {
            const double term = k == i ? 0.0 : exp(dot(z + i * j->d, z + k * j->d, j->d) / j->temperature - shift);
            all += term;
            positive += k % j->period == i % j->period ? term : 0.0;
        }
        loss -= log(positive / all) / (double)j->rows;
    }
    return loss;
}

/* The gradient of nce_reference, from the similarities of all pairs. */
static double *nce_reference_grad(const double *z, const nce_job *j)
{
    const int64_t rows = j->rows, d = j->d;
    double *w = grab_doubles(rows * rows), *g = grab_doubles(rows * d);
    for (int64_t i = 0; i < rows; i++) {
        double all = 0.0, positive = 0.0;
        for (int64_t k = 0; k < rows; k++) {
            w[i * rows + k] = k == i ? 0.0 : exp((dot(z + i * d, z + k * d, d) - 1.0) / j->temperature);
            all += w[i * rows + k];
            positive += k % j->period == i % j->period ? w[i * rows + k] : 0.0;
        }
        for (int64_t k = 0; k < rows; k++)
            w[i * rows + k] *= 1.0 / all - (k % j->period == i % j->period ? 1.0 / positive : 0.0);
    }
    memset(g, 0, (size_t)(rows * d) * sizeof *g);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t k = 0; k < rows; k++)
            for (int64_t c = 0; c < d; c++)
                g[i * d + c] += (w[i * rows + k] + w[k * rows + i]) * z[k * d + c] / ((double)rows * j->temperature);
    return g;
}

static float *unit_rows(int64_t rows, int64_t d, uint64_t seed)
{
    float *z = random_floats(rows * d, seed);
    for (int64_t r = 0; r < rows; r++) {
        double sum = 0.0;
        for (int64_t i = 0; i < d; i++)
            sum += (double)z[r * d + i] * (double)z[r * d + i];
        for (int64_t i = 0; i < d; i++)
            z[r * d + i] = (float)((double)z[r * d + i] / sqrt(sum));
    }
    return z;
}

static void nce_case(vmae_backend *be, const nce_job *job, bool numeric)
{
    const int64_t n = job->rows * job->d;
    float *z = unit_rows(job->rows, job->d, 7), *dz = grab_floats(n), *loss = grab_floats(1),
          *factor = grab_float(1.5f);
    float *all = grab_floats(job->rows), *positive = grab_floats(job->rows);
    double *exact = as_doubles(z, n);
    RUN(be, info_nce, OUT(loss), OUT(all), OUT(positive), IN(z), job->rows, job->d, job->period,
        (float)job->temperature);
    RUN(be, info_nce_grad, OUT(dz), IN(factor), IN(z), IN(all), IN(positive), job->rows, job->d, job->period,
        (float)job->temperature);
    if (kernel_repeats()) /* the bits are compared; what follows takes its time */
        return;
    const double expected = nce_reference(exact, job);
    CHECK_NEAR(number(loss), expected, 2e-6 * fmax(expected, 1.0 / job->temperature));
    double *g = numeric ? differences(nce_reference, job, exact, n) : nce_reference_grad(exact, job);
    for (int64_t i = 0; i < n; i++)
        g[i] *= (double)*factor;
    CHECK_ARRAY(dz, g, n, 5e-5, VMAE_F32);
}

static void nce_differences(vmae_backend *be)
{
    const nce_job jobs[] = { { 6, 3, 3, 0.5 }, { 12, 5, 3, 0.2 }, { 8, 7, 2, 1.0 }, { 4, 1, 2, 0.7 } };
    for (size_t i = 0; i < sizeof jobs / sizeof *jobs; i++)
        nce_case(be, &jobs[i], true);
}

static void nce_sizes(vmae_backend *be)
{
    /* Across the edges of register tiles (6 rows; 8, 16, 32 columns), tiles (64), packed columns (128) and blocks
     * (192). */
    const nce_job jobs[] = { { 2, 5, 1, 0.1 },      { 64, 32, 32, 0.1 },   { 130, 33, 65, 0.07 },
                             { 194, 129, 97, 0.2 }, { 390, 40, 195, 0.1 }, { 132, 31, 11, 0.1 } };
    for (size_t i = 0; i < sizeof jobs / sizeof *jobs; i++)
        nce_case(be, &jobs[i], false);
}

static void nce_many_rows(vmae_backend *be)
{
    const nce_job job = { 2052, 3, 1026, 0.2 }; /* GPUs cut other tiles from 2048 rows on */
    nce_case(be, &job, false);
}

static void nce_only_positives(vmae_backend *be)
{
    float *z = unit_rows(70, 9, 8), *dz = grab_floats(70 * 9), *all = grab_floats(70), *positive = grab_floats(70);
    float *loss = grab_floats(1), *one = grab_float(1.0f);
    RUN(be, info_nce, OUT(loss), OUT(all), OUT(positive), IN(z), 70, 9, 1, 0.3f);
    RUN(be, info_nce_grad, OUT(dz), IN(one), IN(z), IN(all), IN(positive), 70, 9, 1, 0.3f);
    CHECK_NEAR(number(loss), 0.0, 1e-6);
    CHECK(vmae_max_magnitude(dz, 70 * 9) < 1e-7);
}

TEST(info_nce_is_zero_where_every_other_row_is_a_positive)
{
    on_every_backend(nce_only_positives);
}

TEST(info_nce_gradient_matches_central_differences)
{
    on_every_backend(nce_differences);
}

TEST(info_nce_matches_double_precision_at_awkward_sizes)
{
    on_every_backend(nce_sizes);
}

TEST(info_nce_matches_double_precision_for_many_rows)
{
    on_every_backend(nce_many_rows);
}

static void nce_cold(vmae_backend *be)
{
    /* Two views that coincide, all other rows opposite: similarities differ by 2/0.01, exp of which no float holds. */
    enum { ROWS = 70, D = 3 };
    float *z = grab_floats(ROWS * D), *all = grab_floats(ROWS), *positive = grab_floats(ROWS),
          *dz = grab_floats(ROWS * D), *loss = grab_floats(1), *one = grab_float(1.0f);
    memset(z, 0, ROWS * D * sizeof *z);
    for (int64_t r = 0; r < ROWS; r++)
        z[r * D] = r % (ROWS / 2) == 0 ? 1.0f : -1.0f;
    RUN(be, info_nce, OUT(loss), OUT(all), OUT(positive), IN(z), ROWS, D, ROWS / 2, 0.01f);
    RUN(be, info_nce_grad, OUT(dz), IN(one), IN(z), IN(all), IN(positive), ROWS, D, ROWS / 2, 0.01f);
    /* Row 0 and its pair cost nothing; each other row sees 67 equals. */
    CHECK_NEAR(number(loss), 68.0 / 70.0 * log(67.0), 1e-5);
    for (int64_t i = 0; i < ROWS * D; i++)
        CHECK(isfinite(dz[i]));
    z[5] = NAN;
    RUN(be, info_nce, OUT(loss), OUT(all), OUT(positive), IN(z), ROWS, D, ROWS / 2, 0.01f);
    CHECK(isnan(*loss));
}

TEST(info_nce_survives_a_cold_temperature_and_shows_nan)
{
    on_every_backend(nce_cold);
}

static void nce_refusals(vmae_backend *be)
{
    float *z = GRAB((float[]){ 1, 1, 1, 1, 1, 1, 1, 1 }), *all = grab_floats(8), *positive = grab_floats(8),
          *loss = grab_float(3.0f);
    CHECK_REFUSED(VMAE_EUSER, "without a positive", be, info_nce, OUT(loss), OUT(all), OUT(positive), IN(z), 1, 1, 1,
                  0.1f);
    CHECK_REFUSED(VMAE_EUSER, "two views", be, info_nce, OUT(loss), OUT(all), OUT(positive), IN(z), 8, 1, 8, 0.1f);
    CHECK_REFUSED(VMAE_EUSER, "period 3", be, info_nce, OUT(loss), OUT(all), OUT(positive), IN(z), 8, 1, 3, 0.1f);
    CHECK_REFUSED(VMAE_EUSER, "temperature is 0", be, info_nce, OUT(loss), OUT(all), OUT(positive), IN(z), 8, 1, 4,
                  0.0f);
    CHECK_REFUSED(VMAE_EUSER, "temperature", be, info_nce, OUT(loss), OUT(all), OUT(positive), IN(z), 8, 1, 4, NAN);
    CHECK(*loss == 3.0f);
}

TEST(info_nce_refuses_rows_without_a_positive)
{
    on_one_backend(nce_refusals);
}

static const vmae_checkpoint *golden;

static void golden_nce(vmae_backend *be)
{
    int64_t n, dim[8];
    const float *u1 = golden_floats(golden, "u1", &n, dim), *u2 = golden_floats(golden, "u2", NULL, NULL);
    const int64_t rows = 2 * dim[0], d = dim[1];
    float *u = grab_floats(2 * n), *z = grab_floats(2 * n), *dz = grab_floats(2 * n), *du = grab_floats(2 * n);
    float *norm = grab_floats(rows), *all = grab_floats(rows), *positive = grab_floats(rows), *loss = grab_floats(1),
          *one = grab_float(1.0f);
    memcpy(u, u1, (size_t)n * sizeof *u);
    memcpy(u + n, u2, (size_t)n * sizeof *u);
    const float temperature = (float)golden_number(golden, "temperature");
    RUN(be, l2_normalize, OUT(z), OUT(norm), IN(u), rows, d);
    RUN(be, info_nce, OUT(loss), OUT(all), OUT(positive), IN(z), rows, d, rows / 2, temperature);
    RUN(be, info_nce_grad, OUT(dz), IN(one), IN(z), IN(all), IN(positive), rows, d, rows / 2, temperature);
    RUN(be, l2_normalize_grad, OUT(du), IN(dz), IN(z), IN(norm), rows, d);
    const double expected = number(golden_floats(golden, "loss", NULL, NULL));
    CHECK_NEAR(number(loss), expected, 2e-6 * expected);
    CHECK_ARRAY(du, as_doubles(golden_floats(golden, "grad.u1", NULL, NULL), n), n, 2e-5, VMAE_F32);
    CHECK_ARRAY(du + n, as_doubles(golden_floats(golden, "grad.u2", NULL, NULL), n), n, 2e-5, VMAE_F32);
}

static void on_golden(const char *name, void (*body)(vmae_backend *be))
{
    vmae_checkpoint *file = golden_open(name);
    if (!file)
        SKIP("no golden vectors");
    golden = file;
    on_every_backend(body);
    vmae_checkpoint_free(file);
}

TEST(info_nce_matches_the_golden_vectors)
{
    on_golden("loss_infonce", golden_nce);
    on_golden("loss_infonce_warm", golden_nce);
}

/* ---- L2 normalisation ---- */

typedef struct unit_job {
    int64_t rows, d;
    const float *cotangent;
} unit_job;

static double unit_reference(const double *x, const void *job)
{
    const unit_job *j = job;
    double sum = 0.0;
    for (int64_t r = 0; r < j->rows; r++) {
        const double norm = fmax(sqrt(dot(x + r * j->d, x + r * j->d, j->d)), 1e-12);
        for (int64_t i = 0; i < j->d; i++)
            sum += x[r * j->d + i] / norm * (double)j->cotangent[r * j->d + i];
    }
    return sum;
}

static void unit_differences(vmae_backend *be)
{
    const int64_t rows = 3, d = 37, n = rows * d;
    float *x = random_floats(n, 3), *dy = random_floats(n, 4), *y = grab_floats(n), *dx = grab_floats(n),
          *norm = grab_floats(3);
    const unit_job job = { rows, d, dy };
    RUN(be, l2_normalize, OUT(y), OUT(norm), IN(x), rows, d);
    RUN(be, l2_normalize_grad, OUT(dx), IN(dy), IN(y), IN(norm), rows, d);
    double value = 0.0;
    for (int64_t i = 0; i < n; i++)
        value += (double)y[i] * (double)dy[i];
    double *exact = as_doubles(x, n);
    CHECK_NEAR(value, unit_reference(exact, &job), 1e-5);
    CHECK_ARRAY(dx, differences(unit_reference, &job, exact, n), n, 2e-6, VMAE_F32);
}

TEST(l2_normalize_gradient_matches_central_differences)
{
    on_every_backend(unit_differences);
}

static void unit_extremes(vmae_backend *be)
{
    const float *x = GRAB((float[]){ 0, 0, 0, 3e-30f, 4e-30f, 0, 3e30f, 4e30f, 0, 3e-6f, 0, 4e-6f, NAN, 0, 0 }),
                *dy = GRAB((float[]){ 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3 });
    float *y = grab_floats(15), *dx = grab_floats(15), *norm = grab_floats(5);
    RUN(be, l2_normalize, OUT(y), OUT(norm), IN(x), 5, 3);
    RUN(be, l2_normalize_grad, OUT(dx), IN(dy), IN(y), IN(norm), 5, 3);
    CHECK(y[0] == 0.0f && norm[0] == 0.0f);
    CHECK_NEAR(number(&dx[2]), 3e12, 1e6); /* below the limit: dy / 1e-12 */
    CHECK_NEAR(number(&y[3]), 3e-18, 1e-23);
    CHECK_NEAR(number(&dx[5]), 3e12, 1e6);
    CHECK_NEAR(number(&y[6]), 0.6, 1e-6); /* the square overflows in float */
    CHECK_NEAR(number(&y[7]), 0.8, 1e-6);
    CHECK_NEAR(number(&y[11]), 0.8, 1e-6);
    CHECK(isnan(y[12]));
    const float *near = GRAB((float[]){ 0.5e-12f, 0.0f }),
                *slope = GRAB((float[]){ 1, 1 }); /* below the limit nothing is projected out */
    RUN(be, l2_normalize, OUT(y), OUT(norm), IN(near), 1, 2);
    RUN(be, l2_normalize_grad, OUT(dx), IN(slope), IN(y), IN(norm), 1, 2);
    CHECK_NEAR(number(&y[0]), 0.5, 1e-6);
    CHECK_NEAR(number(&dx[0]), 1e12, 1e6);
}

TEST(l2_normalize_holds_for_zero_tiny_and_huge_rows)
{
    on_every_backend(unit_extremes);
}

static void unit_large(vmae_backend *be)
{
    const int64_t rows = 301, d = 129, n = rows * d;
    float *x = random_floats(n, 5), *y = grab_floats(n), *dx = grab_floats(n), *norm = grab_floats(rows);
    double *expected = grab_doubles(n), *exact = as_doubles(x, n);
    for (int64_t i = 0; i < n; i++)
        expected[i] = exact[i] / sqrt(dot(exact + i / d * d, exact + i / d * d, d));
    RUN(be, l2_normalize, OUT(y), OUT(norm), IN(x), rows, d);
    RUN(be, l2_normalize_grad, OUT(dx), IN(x), IN(y), IN(norm), rows, d);
    CHECK_ARRAY(y, expected, n, 2e-7, VMAE_F32);
    for (int64_t i = 0; i < n; i++) /* along x nothing changes */
        expected[i] = 0.0;
    CHECK(vmae_max_magnitude(dx, (size_t)n) < 1e-6);
}

TEST(l2_normalize_matches_double_precision_at_awkward_sizes)
{
    on_every_backend(unit_large);
}

/* ---- MSE of masked patches ---- */

typedef struct mse_job {
    int64_t batch, skip, channels, grid, p; /* images of grid x grid patches of p x p pixels */
    bool normalise;
    const double *target;
    const float *mask;
} mse_job;

static int64_t mse_patches(const mse_job *j)
{
    return j->grid * j->grid;
}

static int64_t mse_values(const mse_job *j)
{
    return j->channels * j->p * j->p;
}

static const double *mse_target(const mse_job *j, const float *images)
{
    const int64_t patches = mse_patches(j), n = mse_values(j), side = j->grid * j->p;
    double *target = grab_doubles(j->batch * patches * n);
    for (int64_t r = 0; r < j->batch * patches; r++) {
        double *t = target + r * n, mean = 0.0, var = 0.0;
        for (int64_t i = 0; i < n; i++) {
            const int64_t c = i % j->channels, x = i / j->channels % j->p, y = i / j->channels / j->p, l = r % patches;
            const int64_t line = (r / patches * j->channels + c) * side + l / j->grid * j->p + y;
            t[i] = (double)images[line * side + l % j->grid * j->p + x];
            mean += t[i] / (double)n;
        }
        for (int64_t i = 0; i < n; i++)
            var += (t[i] - mean) * (t[i] - mean) / ((double)n - 1.0);
        for (int64_t i = 0; j->normalise && i < n; i++)
            t[i] = (t[i] - mean) / sqrt(var + 1e-6);
    }
    return target;
}

static double mse_reference(const double *pred, const void *job)
{
    const mse_job *j = job;
    const int64_t patches = mse_patches(j), n = mse_values(j);
    double sum = 0.0, removed = 0.0;
    for (int64_t b = 0; b < j->batch; b++)
        for (int64_t l = 0; l < patches; l++) {
            const int64_t r = b * patches + l;
            const double *x = pred + (b * (j->skip + patches) + j->skip + l) * n;
            for (int64_t i = 0; i < n; i++) {
                const double diff = x[i] - j->target[r * n + i];
                sum += (double)j->mask[r] * diff * diff / (double)n;
            }
            removed += (double)j->mask[r];
        }
    return sum / removed;
}

/* The gradient of mse_reference. */
static double *mse_reference_grad(const double *pred, const mse_job *j)
{
    const int64_t patches = mse_patches(j), tokens = j->skip + patches, n = mse_values(j);
    double *g = grab_doubles(j->batch * tokens * n), removed = 0.0;
    for (int64_t r = 0; r < j->batch * patches; r++)
        removed += (double)j->mask[r];
    for (int64_t i = 0; i < j->batch * tokens * n; i++) {
        const int64_t l = i / n % tokens - j->skip, r = i / n / tokens * patches + l;
        g[i] = l < 0 ? 0.0 : 2.0 * (double)j->mask[r] * (pred[i] - j->target[r * n + i % n]) / (removed * (double)n);
    }
    return g;
}

static void mse_case(vmae_backend *be, mse_job job, vmae_type type, bool numeric)
{
    const int64_t patches = mse_patches(&job), p = mse_values(&job), rows = job.batch * patches;
    const int64_t n = job.batch * (job.skip + patches) * p, side = job.grid * job.p;
    float *pred = random_floats(n, 11), *images = random_floats(rows * p, 12), *mask = grab_floats(rows);
    float *loss = grab_floats(1), *stats = grab_floats(2 * rows + 1), *scratch = grab_floats(2 * rows),
          *factor = grab_float(0.75f);
    for (int64_t c = 0; c < job.channels; c++) /* the first patch is constant */
        for (int64_t i = 0; i < job.p * job.p; i++)
            images[(c * side + i / job.p) * side + i % job.p] = 0.25f;
    for (int64_t r = 0; r < rows; r++)
        mask[r] = r % 3 == 1 ? 0.0f : 1.0f;
    void *typed = as_type(pred, n, type), *dpred = grab_type(n, type);
    RUN(be, patch_mse, OUT(loss), OUT(stats), SCRATCH(scratch), IN(typed), IN(images), IN(mask), type, job.batch,
        job.skip, job.channels, side, job.p, job.normalise);
    RUN(be, patch_mse_grad, OUT(dpred), IN(factor), IN(typed), IN(images), IN(mask), IN(stats), type, job.batch,
        job.skip, job.channels, side, job.p);
    if (kernel_repeats()) /* the bits are compared; what follows takes its time */
        return;
    job.target = mse_target(&job, images);
    job.mask = mask;
    double *exact = as_doubles(pred, n);
    const double expected = mse_reference(exact, &job);
    CHECK_NEAR(number(loss), expected, 1e-6 * expected);
    double *g = numeric ? differences(mse_reference, &job, exact, n) : mse_reference_grad(exact, &job);
    for (int64_t i = 0; i < n; i++)
        g[i] *= (double)*factor;
    const float *got = as_floats(dpred, n, type);
    CHECK_ARRAY(got, g, n, 1e-5, type);
}

static void mse_sizes(vmae_backend *be)
{
    for (int type = VMAE_F32; type <= VMAE_BF16; type++) {
        for (int normalise = 0; normalise < 2; normalise++) {
            mse_case(be, (mse_job){ 2, 0, 3, 2, 3, normalise, NULL, NULL }, (vmae_type)type, true);
            mse_case(be, (mse_job){ 1, 1, 1, 3, 2, normalise, NULL, NULL }, (vmae_type)type, true);
            mse_case(be, (mse_job){ 3, 1, 3, 2, 4, normalise, NULL, NULL }, (vmae_type)type, false);
            mse_case(be, (mse_job){ 2, 1, 5, 3, 14, normalise, NULL, NULL }, (vmae_type)type, false);
            mse_case(be, (mse_job){ 3, 0, 3, 2, 16, normalise, NULL, NULL }, (vmae_type)type, false);
            mse_case(be, (mse_job){ 2, 1, 3, 3, 20, normalise, NULL, NULL }, (vmae_type)type,
                     false); /* longer than a chunk of a row */
            mse_case(be, (mse_job){ 1, 1, 1, 2, 80, normalise, NULL, NULL }, (vmae_type)type, false);
            mse_case(be, (mse_job){ 33, 1, 3, 4, 4, normalise, NULL, NULL }, (vmae_type)type, false);
        }
        mse_case(be, (mse_job){ 1, 1, 1, 2, 1, false, NULL, NULL }, (vmae_type)type, true);
    }
}

TEST(patch_mse_and_its_gradient_match_double_precision_also_where_a_patch_is_constant)
{
    on_every_backend(mse_sizes);
}

static void mse_refusals(vmae_backend *be)
{
    float *x = GRAB((float[8]){ 0 }), *mask = GRAB((float[8]){ 0 }), *stats = GRAB((float[17]){ 0 }),
          *scratch = grab_floats(16), *loss = grab_float(5.0f), *one = grab_float(1.0f), *dpred = grab_floats(8);
    CHECK_REFUSED(VMAE_EUSER, "one value", be, patch_mse, OUT(loss), OUT(stats), SCRATCH(scratch), IN(x), IN(x),
                  IN(mask), VMAE_F32, 2, 0, 1, 2, 1, true);
    for (int nan = 0; nan < 2; nan++) {
        mask[2] = nan ? NAN : 0.0f;
        CHECK_REFUSED(VMAE_EDATA, "mask_ratio", be, patch_mse, OUT(loss), OUT(stats), SCRATCH(scratch), IN(x), IN(x),
                      IN(mask), VMAE_F32, 2, 0, 1, 2, 1, false);
        CHECK_REFUSED(VMAE_EDATA, "mask_ratio", be, patch_mse_grad, OUT(dpred), IN(one), IN(x), IN(x), IN(mask),
                      IN(stats), VMAE_F32, 2, 0, 1, 2, 1);
    }
    CHECK(*loss == 5.0f);
}

TEST(patch_mse_refuses_a_mask_that_removes_nothing_and_a_patch_of_one_value)
{
    on_one_backend(mse_refusals);
}

static void golden_mse(vmae_backend *be)
{
    int64_t dim[8], size[8], n;
    const float *images = golden_floats(golden, "images", NULL, size), *pred = golden_floats(golden, "pred", &n, dim);
    const float *mask = golden_floats(golden, "mask", NULL, NULL), *raw = golden_floats(golden, "target", NULL, NULL);
    const int64_t batch = dim[0], patches = dim[1], p = dim[2], patch = (int64_t)golden_number(golden, "patch");
    float *stats = grab_floats(2 * batch * patches + 1), *scratch = grab_floats(2 * batch * patches),
          *loss = grab_floats(1), *one = grab_float(1.0f);
    RUN(be, patch_mse, OUT(loss), OUT(stats), SCRATCH(scratch), IN(raw), IN(images), IN(mask), VMAE_F32, batch, 0,
        size[1], size[2], patch, false);
    CHECK(*loss == 0.0f);
    const bool normalise = golden_number(golden, "norm_pix") != 0.0;
    const double expected = number(golden_floats(golden, "loss", NULL, NULL));
    const float *grad = golden_floats(golden, "grad.pred", NULL, NULL);
    for (int64_t skip = 0; skip < 2; skip++) { /* with a class token of NaN in front: it must not count */
        const int64_t tokens = skip + patches;
        float *x = grab_floats(batch * tokens * p), *dx = grab_floats(batch * tokens * p);
        double *g = grab_doubles(batch * tokens * p);
        for (int64_t i = 0; i < batch * tokens * p; i++) {
            const int64_t l = i / p % tokens - skip, from = (i / p / tokens * patches + l) * p + i % p;
            x[i] = l < 0 ? NAN : pred[from];
            g[i] = l < 0 ? 0.0 : (double)grad[from];
        }
        RUN(be, patch_mse, OUT(loss), OUT(stats), SCRATCH(scratch), IN(x), IN(images), IN(mask), VMAE_F32, batch, skip,
            size[1], size[2], patch, normalise);
        RUN(be, patch_mse_grad, OUT(dx), IN(one), IN(x), IN(images), IN(mask), IN(stats), VMAE_F32, batch, skip,
            size[1], size[2], patch);
        CHECK_NEAR(number(loss), expected, 2e-6 * expected);
        CHECK_ARRAY(dx, g, batch * tokens * p, 2e-5, VMAE_F32);
    }
}

TEST(patch_mse_matches_the_golden_vectors)
{
    on_golden("loss_mse_normpix", golden_mse);
    on_golden("loss_mse_raw", golden_mse);
}

/* ---- cross-entropy ---- */

typedef struct ce_job {
    int64_t rows, classes;
    const int32_t *labels;
    const float *targets;
    double smoothing;
} ce_job;

static double ce_reference(const double *x, const void *job)
{
    const ce_job *j = job;
    double loss = 0.0;
    for (int64_t r = 0; r < j->rows; r++) {
        const double *row = x + r * j->classes;
        double top = row[0], sum = 0.0;
        for (int64_t c = 0; c < j->classes; c++)
            top = fmax(top, row[c]);
        for (int64_t c = 0; c < j->classes; c++)
            sum += exp(row[c] - top);
        for (int64_t c = 0; c < j->classes; c++) {
            const double smooth = j->smoothing / (double)j->classes;
            const double t = j->targets ? (double)j->targets[r * j->classes + c]
                                        : smooth + (c == j->labels[r] ? 1.0 - j->smoothing : 0.0);
            loss += t * (top + log(sum) - row[c]) / (double)j->rows;
        }
    }
    return loss;
}

static void ce_case(vmae_backend *be, int64_t rows, int64_t classes, bool soft, double smoothing, bool numeric)
{
    const int64_t n = rows * classes;
    float *x = random_floats(n, 21), *t = random_floats(n, 22), *prob = grab_floats(n), *dx = grab_floats(n);
    float *row = grab_floats(rows), *loss = grab_floats(1), *factor = grab_float(1.25f);
    int32_t *labels = grab_ints(rows);
    for (int64_t r = 0; r < rows; r++)
        labels[r] = (int32_t)((r * 7 + 3) % classes);
    for (int64_t i = 0; i < n; i++)
        t[i] = fabsf(t[i]); /* targets need not sum to 1 */
    const ce_job job = { rows, classes, labels, soft ? t : NULL, smoothing };
    RUN(be, cross_entropy, OUT(loss), OUT(prob), SCRATCH(row), IN(x), IN(labels), IN(job.targets), rows, classes,
        (float)smoothing);
    RUN(be, cross_entropy_grad, OUT(dx), IN(factor), IN(prob), IN(labels), IN(job.targets), rows, classes,
        (float)smoothing);
    double *exact = as_doubles(x, n);
    const double expected = ce_reference(exact, &job);
    CHECK_NEAR(number(loss), expected, 2e-6 * (1.0 + expected));
    if (numeric) {
        double *g = differences(ce_reference, &job, exact, n);
        for (int64_t i = 0; i < n; i++)
            g[i] *= (double)*factor;
        if (classes == 1) /* exactly 0, but for how a device adds up 1 - s + s */
            CHECK(vmae_max_magnitude(dx, (size_t)n) <= 1e-7);
        else
            CHECK_ARRAY(dx, g, n, 1e-5, VMAE_F32);
    }
}

static void ce_sizes(vmae_backend *be)
{
    for (int soft = 0; soft < 2; soft++) {
        ce_case(be, 5, 7, soft, 0.0, true);
        ce_case(be, 4, 10, soft, 0.1, true);
        ce_case(be, 3, 1, soft, 0.1, true);
        ce_case(be, 65, 1003, soft, 0.1, false);
        ce_case(be, 3, 1024, soft, 0.1, false); /* what GPUs hold in registers, and more */
        ce_case(be, 3, 1028, soft, 0.1, false);
        ce_case(be, 2, 8191, soft, 0.1, false);
        ce_case(be, 2, 8196, soft, 0.1, false);
        ce_case(be, 1, 9001, soft, 0.1, false);
    }
}

TEST(cross_entropy_and_its_gradient_match_double_precision)
{
    on_every_backend(ce_sizes);
}

static void ce_extremes(vmae_backend *be)
{
    const float *x = GRAB((float[]){ 1e4f, -1e4f, 0.0f, -3e38f, 3e38f, -3e38f });
    const int32_t *labels = GRAB((int32_t[]){ 0, 1 });
    float *prob = grab_floats(6), *row = grab_floats(2), *loss = grab_floats(1);
    RUN(be, cross_entropy, OUT(loss), OUT(prob), SCRATCH(row), IN(x), IN(labels), NULL, 2, 3, 0.0f);
    CHECK_NEAR(number(loss), 0.0, 1e-6);
    CHECK(prob[0] == 1.0f && prob[1] < 1e-30f && prob[4] == 1.0f);
    const float *bad = GRAB((float[]){ 0.0f, NAN, 0.0f, 0.0f, 0.0f, 0.0f });
    RUN(be, cross_entropy, OUT(loss), OUT(prob), SCRATCH(row), IN(bad), IN(labels), NULL, 2, 3, 0.0f);
    CHECK(isnan(*loss));
}

TEST(cross_entropy_holds_for_extreme_logits_and_shows_nan)
{
    on_every_backend(ce_extremes);
}

static void ce_refusals(vmae_backend *be)
{
    const float *x = GRAB((float[6]){ 0 }), *one = grab_float(1.0f);
    float *prob = grab_floats(6), *row = grab_floats(2), *dx = grab_floats(6), *loss = grab_float(9.0f);
    const int32_t *high = GRAB((int32_t[]){ 0, 3 }), *low = GRAB((int32_t[]){ -1, 0 }),
                  *wild = GRAB((int32_t[]){ 2, INT32_MAX });
    CHECK_REFUSED(VMAE_EDATA, "sample 1 is 3", be, cross_entropy, OUT(loss), OUT(prob), SCRATCH(row), IN(x), IN(high),
                  NULL, 2, 3, 0.0f);
    CHECK_REFUSED(VMAE_EDATA, "sample 0 is -1", be, cross_entropy, OUT(loss), OUT(prob), SCRATCH(row), IN(x), IN(low),
                  NULL, 2, 3, 0.1f);
    CHECK_REFUSED(VMAE_EDATA, "2147483647", be, cross_entropy_grad, OUT(dx), IN(one), IN(x), IN(wild), NULL, 2, 3,
                  0.1f);
    CHECK(*loss == 9.0f);
    CHECK_OK(CALL(be, cross_entropy, OUT(loss), OUT(prob), SCRATCH(row), IN(x), IN(GRAB((int32_t[]){ 0, 1 })), NULL, 2,
                  3, 0.0f)); /* a refusal is not remembered */
}

TEST(cross_entropy_refuses_labels_out_of_range_and_names_them)
{
    on_one_backend(ce_refusals);
}

static void golden_cross_entropy(vmae_backend *be)
{
    int64_t n, dim[8];
    const float *x = golden_floats(golden, "logits", &n, dim),
                *soft = golden_floats(golden, "soft_targets", NULL, NULL);
    const vmae_entry *entry = vmae_checkpoint_find(golden, "labels");
    REQUIRE(entry && entry->dtype == VMAE_ST_I64);
    int32_t *labels = grab_ints(dim[0]);
    for (int64_t r = 0; r < dim[0]; r++) {
        int64_t label;
        memcpy(&label, (const char *)entry->data + r * 8, sizeof label);
        labels[r] = (int32_t)label;
    }
    float *prob = grab_floats(n), *dx = grab_floats(n), *row = grab_floats(dim[0]), *loss = grab_floats(1),
          *one = grab_float(1.0f);
    const char *const kinds[] = { "hard", "smooth", "soft" };
    for (int kind = 0; kind < 3; kind++) {
        char name[64];
        const float *targets = kind == 2 ? soft : NULL;
        const float smoothing = kind == 1 ? (float)golden_number(golden, "smoothing") : 0.0f;
        RUN(be, cross_entropy, OUT(loss), OUT(prob), SCRATCH(row), IN(x), IN(labels), IN(targets), dim[0], dim[1],
            smoothing);
        RUN(be, cross_entropy_grad, OUT(dx), IN(one), IN(prob), IN(labels), IN(targets), dim[0], dim[1], smoothing);
        snprintf(name, sizeof name, "loss_%s", kinds[kind]);
        const double expected = number(golden_floats(golden, name, NULL, NULL));
        CHECK_NEAR(number(loss), expected, 2e-6 * expected);
        snprintf(name, sizeof name, "grad_%s.logits", kinds[kind]);
        CHECK_ARRAY(dx, as_doubles(golden_floats(golden, name, NULL, NULL), n), n, 2e-5, VMAE_F32);
    }
}

TEST(cross_entropy_matches_the_golden_vectors)
{
    on_golden("loss_cross_entropy", golden_cross_entropy);
}
