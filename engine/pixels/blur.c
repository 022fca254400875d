/* blur.c -- separable Gaussian blur with reflected borders, in float32. A ring of row buffers stays in the first-level
 * cache. */
#include "engine/pixels/pixels.h"

#include <math.h>
#include <string.h>

enum { REACH = VMAE_BLUR_TAPS_MAX / 2 };

vmae_status vmae_blur_weights(float weight[REACH + 1], int taps, float sigma)
{
    if (taps < 1 || taps > VMAE_BLUR_TAPS_MAX || taps % 2 == 0)
        return vmae_fail(VMAE_EINTERNAL, "blur of %d taps; an odd number up to %d is meant", taps,
                         (int)VMAE_BLUR_TAPS_MAX);
    if (!(sigma > 0.0f) || !isfinite(sigma))
        return vmae_fail(VMAE_EUSER, "blur with sigma %g; it must be above 0", (double)sigma);
    double value[REACH + 1] = { 1.0 }, sum = 1.0;
    for (int k = 1; k <= taps / 2; k++) {
        const double at = (double)k / (double)sigma;
        value[k] = exp(-0.5 * at * at);
        sum += 2.0 * value[k];
    }
    for (int k = 0; k <= REACH; k++)
        weight[k] = (float)(value[k] / sum);
    return VMAE_OK;
}

/* The last weight that is not 0. */
static int half_of(const float weight[REACH + 1])
{
    int half = REACH;
    while (half > 0 && weight[half] == 0.0f)
        half--;
    return half;
}

/* The place that i stands for: ... 2 1 | 0 1 2 ... n-1 | n-2 ...; n may be 1. */
static int64_t reflect(int64_t i, int64_t n)
{
    while (i < 0 || i >= n) {
        if (n == 1)
            return 0;
        i = i < 0 ? -i : 2 * (n - 1) - i;
    }
    return i;
}

/* padded: REACH pixels of `step` floats, then the row, then REACH pixels; fills the borders. */
static void reflect_row(float *padded, int64_t width, int64_t step)
{
    float *row = padded + REACH * step;
    for (int64_t k = 1; k <= REACH; k++)
        for (int64_t c = 0; c < step; c++) {
            row[-k * step + c] = row[reflect(-k, width) * step + c];
            row[(width - 1 + k) * step + c] = row[reflect(width - 1 + k, width) * step + c];
        }
}

/* out[i] = sum_k weight[|k|] row[i + k step] */
VMAE_CLONES static void blur_row(float *restrict out, const float *restrict row, int64_t count, int64_t step, int half,
                                 const float *weight)
{
    if (half == REACH) { /* the common case, unrolled */
        const float w0 = weight[0], w1 = weight[1], w2 = weight[2], w3 = weight[3], w4 = weight[4];
        for (int64_t i = 0; i < count; i++)
            out[i] = w0 * row[i] + w1 * (row[i - step] + row[i + step]) + w2 * (row[i - 2 * step] + row[i + 2 * step]) +
                     w3 * (row[i - 3 * step] + row[i + 3 * step]) + w4 * (row[i - 4 * step] + row[i + 4 * step]);
        return;
    }
    for (int64_t i = 0; i < count; i++)
        out[i] = weight[0] * row[i];
    for (int k = 1; k <= half; k++)
        for (int64_t i = 0; i < count; i++)
            out[i] += weight[k] * (row[i - k * step] + row[i + k * step]);
}

/* out[i] = sum_k weight[|k|] rows[k][i]; rows[0] is the middle, rows[2k-1] and rows[2k] are k above and below. */
VMAE_CLONES static void combine(float *restrict out, const float *const rows[VMAE_BLUR_TAPS_MAX], int64_t count,
                                int half, const float *weight)
{
    if (half == REACH) {
        const float w0 = weight[0], w1 = weight[1], w2 = weight[2], w3 = weight[3], w4 = weight[4];
        const float *r0 = rows[0], *r1 = rows[1], *r2 = rows[2], *r3 = rows[3], *r4 = rows[4], *r5 = rows[5],
                    *r6 = rows[6], *r7 = rows[7], *r8 = rows[8];
        for (int64_t i = 0; i < count; i++)
            out[i] =
                w0 * r0[i] + w1 * (r1[i] + r2[i]) + w2 * (r3[i] + r4[i]) + w3 * (r5[i] + r6[i]) + w4 * (r7[i] + r8[i]);
        return;
    }
    for (int64_t i = 0; i < count; i++)
        out[i] = weight[0] * rows[0][i];
    for (int k = 1; k <= half; k++)
        for (int64_t i = 0; i < count; i++)
            out[i] += weight[k] * (rows[2 * k - 1][i] + rows[2 * k][i]);
}

VMAE_CLONES static void to_floats(float *restrict out, const uint8_t *restrict bytes, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        out[i] = (float)bytes[i];
}

/* Rounds half to even by adding and subtracting 1.5 * 2^23; values are in [0, 255]. */
VMAE_CLONES static void to_bytes(uint8_t *restrict out, const float *restrict values, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        out[i] = (uint8_t)(int32_t)((values[i] + 12582912.0f) - 12582912.0f);
}

/* A plane of `height` rows of `width` pixels of `step` values; bytes (rounded) or floats, in place. */
typedef struct plane {
    uint8_t *bytes;
    float *floats;
    int64_t height, width, step;
} plane;

static vmae_status blur(const plane *p, const float *across, const float *down, vmae_block *work)
{
    const int half_across = half_of(across), half_down = half_of(down);
    const int64_t count = p->width * p->step, border = REACH * p->step, padded = count + 2 * border;
    VMAE_TRY(vmae_block_reserve(work, (size_t)(padded + (VMAE_BLUR_TAPS_MAX + 1) * count) * sizeof(float)));
    float *input = work->bytes, *output = input + padded, *ring = output + count;
    int64_t ready = 0; /* rows that are in the ring; row r is at r % VMAE_BLUR_TAPS_MAX */
    for (int64_t y = 0; y < p->height; y++) {
        for (; ready < p->height && ready <= y + REACH; ready++) {
            float *row = input + border;
            if (p->bytes)
                to_floats(row, p->bytes + ready * count, count);
            else
                memcpy(row, p->floats + ready * count, (size_t)count * sizeof(float));
            reflect_row(input, p->width, p->step);
            blur_row(ring + (ready % VMAE_BLUR_TAPS_MAX) * count, row, count, p->step, half_across, across);
        }
        const float *rows[VMAE_BLUR_TAPS_MAX];
        for (int k = 0; k <= REACH; k++) {
            rows[k ? 2 * k - 1 : 0] = ring + (reflect(y - k, p->height) % VMAE_BLUR_TAPS_MAX) * count;
            rows[2 * k] = ring + (reflect(y + k, p->height) % VMAE_BLUR_TAPS_MAX) * count;
        }
        combine(p->bytes ? output : p->floats + y * count, rows, count, half_down, down);
        if (p->bytes)
            to_bytes(p->bytes + y * count, output, count);
    }
    return VMAE_OK;
}

vmae_status vmae_pixels_blur(vmae_image *image, const float weight[REACH + 1], vmae_block *work)
{
    const plane p = { .bytes = image->rgb, .height = image->height, .width = image->width, .step = 3 };
    return blur(&p, weight, weight, work);
}

vmae_status vmae_planes_blur(float *planes, int count, int height, int width, const float across[REACH + 1],
                             const float down[REACH + 1], vmae_block *work)
{
    for (int i = 0; i < count; i++) {
        const plane p = { .floats = planes + (int64_t)i * height * width, .height = height, .width = width, .step = 1 };
        VMAE_TRY(blur(&p, across, down, work));
    }
    return VMAE_OK;
}
