/* resize.c -- Pillow's resampling (src/libImaging/Resample.c): columns first, rounded to 8 bits, then rows; weights in
 * 22-bit fixed point. Only what the window needs is computed. */
#include "engine/data/pixels.h"

#include <math.h>
#include <string.h>

typedef int32_t ints8 __attribute__((vector_size(32)));

enum { FRACTION_BITS = 22, HALF = 1 << (FRACTION_BITS - 1), STRIP = 64 };

/* The weights of one direction: output i is sum_k weight[i * room + k] * input[begin[i] + k], k < count[i]. */
typedef struct axis {
    int64_t room;
    int64_t *begin;
    int32_t *count, *weight;
} axis;

typedef struct direction {
    int64_t length, size;   /* scale `length` pixels to `size` */
    int64_t offset, window; /* and deliver outputs offset .. offset + window - 1 */
    double scale, support;  /* support: reach of the filter in input pixels */
} direction;

static double triangle(double x)
{
    x = fabs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
}

static double cubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1.0)
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
    return x < 2.0 ? (((x - 5) * x + 8) * x - 4) * a : 0.0;
}

static direction make_direction(int64_t length, int64_t size, int64_t offset, int64_t window, bool bicubic)
{
    const double scale = (double)length / (double)size;
    return (direction){ .length = length,
                        .size = size,
                        .offset = offset,
                        .window = window,
                        .scale = scale,
                        .support = (bicubic ? 2.0 : 1.0) * fmax(scale, 1.0) };
}

/* The inputs [begin, end) of output i of the window. Both grow with i. */
static void reach(const direction *d, int64_t i, int64_t *begin, int64_t *end)
{
    const double centre = ((double)(d->offset + i) + 0.5) * d->scale;
    const int64_t from = (int64_t)(centre - d->support + 0.5), to = (int64_t)(centre + d->support + 0.5);
    *begin = from < 0 ? 0 : from;
    *end = to > d->length ? d->length : to;
}

/* Most inputs that one output can have. */
static int64_t axis_room(const direction *d)
{
    const double most = ceil(d->support) * 2 + 1;
    return most < (double)d->length ? (int64_t)most : d->length;
}

static size_t round_up(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static size_t weight_bytes(const direction *d)
{
    return round_up((size_t)d->window * (size_t)axis_room(d) * sizeof(int32_t));
}

/* An axis in memory: begin, count, weight, and one output's weights before rounding. */
static size_t axis_bytes(const direction *d)
{
    return round_up((size_t)d->window * sizeof(int64_t)) + round_up((size_t)d->window * sizeof(int32_t)) +
           weight_bytes(d) + round_up((size_t)axis_room(d) * sizeof(double));
}

static int32_t to_fixed(double weight)
{
    return (int32_t)(weight * (1 << FRACTION_BITS) + (weight < 0 ? -0.5 : 0.5));
}

static axis make_axis(const direction *d, bool bicubic, uint8_t *memory)
{
    const size_t begin_bytes = round_up((size_t)d->window * sizeof(int64_t));
    const size_t count_bytes = round_up((size_t)d->window * sizeof(int32_t));
    const axis x = { .room = axis_room(d),
                     .begin = (int64_t *)(void *)memory,
                     .count = (int32_t *)(void *)(memory + begin_bytes),
                     .weight = (int32_t *)(void *)(memory + begin_bytes + count_bytes) };
    double *exact = (double *)(void *)(memory + begin_bytes + count_bytes + weight_bytes(d));
    const double shrink = 1.0 / fmax(d->scale, 1.0);
    for (int64_t i = 0; i < d->window; i++) {
        const double centre = ((double)(d->offset + i) + 0.5) * d->scale;
        int64_t begin, end;
        reach(d, i, &begin, &end);
        double sum = 0.0;
        for (int64_t k = 0; k < end - begin; k++) {
            const double at = ((double)(k + begin) - centre + 0.5) * shrink;
            exact[k] = bicubic ? cubic(at) : triangle(at);
            sum += exact[k];
        }
        for (int64_t k = 0; k < end - begin; k++)
            x.weight[i * x.room + k] = to_fixed(exact[k] / sum);
        x.begin[i] = begin;
        x.count[i] = (int32_t)(end - begin);
    }
    return x;
}

/* Two input rows to `window` pixels each. Reads one byte past the rows' last pixels. */
VMAE_CLONES static void resample_rows(uint8_t *restrict out_a, uint8_t *restrict out_b, const uint8_t *row_a,
                                      const uint8_t *row_b, const axis *x, int64_t window)
{
    const ints8 places = {
        0, 8, 16, 24, 0, 8, 16, 24
    }; /* of the bytes in a little-endian word; the fourth is not used */
    for (int64_t i = 0; i < window; i++) {
        const uint8_t *a = row_a + 3 * x->begin[i], *b = row_b + 3 * x->begin[i];
        const int32_t *weight = x->weight + i * x->room;
        const int32_t count = x->count[i];
        ints8 sum = { 0 };
        for (int32_t k = 0; k < count; k++) {
            int32_t u, v;
            memcpy(&u, a + 3 * k, 4);
            memcpy(&v, b + 3 * k, 4);
            const ints8 words = { u, u, u, u, v, v, v, v };
            sum += (words >> places & 255) * weight[k];
        }
        sum = (sum + HALF) >> FRACTION_BITS;
        sum &= sum > 0;
        const ints8 over = sum > 255;
        sum = (sum & ~over) | (over & 255);
        for (int c = 0; c < 3; c++) {
            out_a[3 * i + c] = (uint8_t)sum[c];
            out_b[3 * i + c] = (uint8_t)sum[c + 4];
        }
    }
}

/* out[i] = sum_k weight[k] * rows[k * stride + i] for i < bytes. Reads up to STRIP - 1 bytes past each row. */
VMAE_CLONES static void combine_rows(uint8_t *restrict out, const uint8_t *restrict rows, int64_t stride,
                                     const int32_t *weight, int32_t count, int64_t bytes)
{
    for (int64_t i = 0; i < bytes; i += STRIP) {
        int32_t sum[STRIP];
        uint8_t done[STRIP];
        for (int j = 0; j < STRIP; j++)
            sum[j] = HALF;
        for (int32_t k = 0; k < count; k++) {
            const uint8_t *row = rows + k * stride + i;
            const int32_t w = weight[k];
            for (int j = 0; j < STRIP; j++)
                sum[j] += row[j] * w;
        }
        for (int j = 0; j < STRIP; j++) {
            const int32_t value = sum[j] >> FRACTION_BITS, low = value < 0 ? 0 : value;
            done[j] = (uint8_t)(low > 255 ? 255 : low);
        }
        memcpy(out + i, done, (size_t)(bytes - i < STRIP ? bytes - i : STRIP));
    }
}

static bool inside(vmae_box box, int64_t height, int64_t width)
{
    return box.height > 0 && box.width > 0 && box.top >= 0 && box.left >= 0 && box.top <= height - box.height &&
           box.left <= width - box.width;
}

static void copy_window(vmae_image *out, const vmae_image *image, int64_t top, int64_t left)
{
    for (int64_t y = 0; y < out->height; y++)
        memcpy(out->rgb + y * out->width * 3, image->rgb + ((top + y) * image->width + left) * 3,
               (size_t)out->width * 3);
}

vmae_status vmae_pixels_resize(vmae_image *out, const vmae_image *image, vmae_box box, int64_t height, int64_t width,
                               vmae_box window, bool bicubic, vmae_block *work)
{
    if (!image->rgb || !inside(box, image->height, image->width) || !inside(window, height, width) ||
        window.height > INT32_MAX || window.width > INT32_MAX)
        return vmae_fail(VMAE_EINTERNAL,
                         "resize: box %lld x %lld at (%lld, %lld) of an image of %d x %d pixels, scaled to %lld x %lld",
                         (long long)box.width, (long long)box.height, (long long)box.left, (long long)box.top,
                         image->width, image->height, (long long)width, (long long)height);
    VMAE_TRY(vmae_image_resize_buffer(out, (int)window.height, (int)window.width));
    if (box.height == height && box.width == width) { /* every weight is 0 or 1 */
        copy_window(out, image, box.top + window.top, box.left + window.left);
        return VMAE_OK;
    }
    const direction across = make_direction(box.width, width, window.left, window.width, bicubic);
    const direction down = make_direction(box.height, height, window.top, window.height, bicubic);
    const size_t across_bytes = axis_bytes(&across), down_bytes = axis_bytes(&down);
    const size_t row_bytes = (size_t)box.width * 3, stride = (size_t)window.width * 3;
    int64_t first, end, unused; /* the rows that take part */
    reach(&down, 0, &first, &unused);
    reach(&down, down.window - 1, &unused, &end);
    /* Behind the weights: the rows scaled in width, a copy of the image's last one, past whose end nothing may be read,
     * and a row that nobody wants. */
    const size_t rows_bytes = round_up((size_t)(end - first) * stride + STRIP);
    VMAE_TRY(vmae_block_reserve(work, across_bytes + down_bytes + rows_bytes + row_bytes + STRIP + stride));
    uint8_t *memory = work->bytes, *rows = memory + across_bytes + down_bytes, *last = rows + rows_bytes;
    const axis x = make_axis(&across, bicubic, memory), y = make_axis(&down, bicubic, memory + across_bytes);
    for (int64_t r = first; r < end; r += 2) {
        const int64_t next = r + 1 < end ? r + 1 : r; /* of an odd number the last goes with itself */
        const uint8_t *row[2] = { image->rgb + ((box.top + r) * image->width + box.left) * 3,
                                  image->rgb + ((box.top + next) * image->width + box.left) * 3 };
        for (int i = 0; i < 2; i++)
            if (box.top + (i ? next : r) == image->height - 1)
                row[i] = memcpy(last, row[i], row_bytes);
        resample_rows(rows + (size_t)(r - first) * stride,
                      next > r ? rows + (size_t)(next - first) * stride : last + row_bytes + STRIP, row[0], row[1], &x,
                      window.width);
    }
    for (int64_t r = 0; r < window.height; r++)
        combine_rows(out->rgb + (size_t)r * stride, rows + (size_t)(y.begin[r] - first) * stride, (int64_t)stride,
                     y.weight + r * y.room, y.count[r], (int64_t)stride);
    return VMAE_OK;
}

/* (side - size) / 2, rounded half to even, as Python's round(). */
static int64_t middle(int64_t side, int64_t size)
{
    const int64_t gap = side - size, half = gap / 2;
    return gap % 2 == 0 ? half : half + (half % 2);
}

void vmae_pixels_centre(int image_height, int image_width, int size, float crop_ratio, int64_t *height, int64_t *width,
                        vmae_box *window)
{
    const int64_t h = image_height, w = image_width, least = h < w ? h : w;
    /* In float: 32 / 0.8 is 40, while in double the float nearest 0.8 would give 39.99. */
    int64_t brief = (int64_t)((float)size / crop_ratio);
    brief = brief < size ? size : brief;
    *height = brief * h / least;
    *width = brief * w / least;
    *window = (vmae_box){ middle(*height, size), middle(*width, size), size, size };
}

void vmae_pixels_flip(vmae_image *image)
{
    for (int64_t y = 0; y < image->height; y++) {
        uint8_t *left = image->rgb + y * image->width * 3, *right = left + (image->width - 1) * (ptrdiff_t)3;
        for (; left < right; left += 3, right -= 3)
            for (int c = 0; c < 3; c++) {
                const uint8_t keep = left[c];
                left[c] = right[c];
                right[c] = keep;
            }
    }
}
