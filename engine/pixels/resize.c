/* resize.c -- Pillow's resampling (src/libImaging/Resample.c): columns first, rounded to 8 bits, then rows; weights in
 * 22-bit fixed point. Only what the window needs is computed. */
#include "engine/pixels/pixels.h"

#include <math.h>
#include <string.h>

typedef int32_t ints8 __attribute__((vector_size(32)));

enum { FRACTION_BITS = 22, HALF = 1 << (FRACTION_BITS - 1), STRIP = 64 };

/* The weights of one direction: output i is sum_k weight[i * room + k] * input[begin[i] + k], k < count[i]. They lie
 * one behind the other, as in a record (view.h). */
typedef struct axis {
    int64_t room;
    const int32_t *begin, *count, *weight;
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

/* The inputs that take part. */
static void extent(const direction *d, int64_t *first, int64_t *end)
{
    int64_t unused;
    reach(d, 0, first, &unused);
    reach(d, d->window - 1, &unused, end);
}

static size_t round_up(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static int64_t axis_numbers(int64_t window, int64_t room)
{
    return window * (2 + room);
}

static axis axis_at(const int32_t *numbers, int64_t window, int64_t room)
{
    return (axis){ .room = room, .begin = numbers, .count = numbers + window, .weight = numbers + 2 * window };
}

static int32_t to_fixed(double weight)
{
    return (int32_t)(weight * (1 << FRACTION_BITS) + (weight < 0 ? -0.5 : 0.5));
}

/* begin counts from input `first`. exact [axis_room]: one output's weights before rounding. */
static axis make_axis(const direction *d, bool bicubic, int64_t first, int32_t *numbers, double *exact)
{
    const int64_t room = axis_room(d);
    const double shrink = 1.0 / fmax(d->scale, 1.0);
    for (int64_t i = 0; i < d->window; i++) {
        const double centre = ((double)(d->offset + i) + 0.5) * d->scale;
        int32_t *weight = numbers + 2 * d->window + i * room;
        int64_t begin, end;
        reach(d, i, &begin, &end);
        double sum = 0.0;
        for (int64_t k = 0; k < end - begin; k++) {
            const double at = ((double)(k + begin) - centre + 0.5) * shrink;
            exact[k] = bicubic ? cubic(at) : triangle(at);
            sum += exact[k];
        }
        for (int64_t k = 0; k < room; k++)
            weight[k] = k < end - begin ? to_fixed(exact[k] / sum) : 0;
        numbers[i] = (int32_t)(begin - first);
        numbers[d->window + i] = (int32_t)(end - begin);
    }
    return axis_at(numbers, d->window, room);
}

/* Two input rows to `window` pixels each. Reads one byte past the rows' last pixels. */
VMAE_CLONES static void resample_rows(uint8_t *restrict out_a, uint8_t *restrict out_b, const uint8_t *row_a,
                                      const uint8_t *row_b, const axis *x, int64_t window)
{
    const ints8 places = {
        0, 8, 16, 24, 0, 8, 16, 24
    }; /* of the bytes in a little-endian word; the fourth is not used */
    for (int64_t i = 0; i < window; i++) {
        const uint8_t *a = row_a + 3 * (int64_t)x->begin[i], *b = row_b + 3 * (int64_t)x->begin[i];
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

/* The pixels that take part in a window: `count` rows, `stride` bytes apart. */
typedef struct source {
    const uint8_t *rows;
    int64_t stride, count;
    const uint8_t *last; /* the last row, if a byte past its end may not be read where it is; or NULL */
} source;

static const uint8_t *row_of(const source *from, int64_t r)
{
    return from->last && r == from->count - 1 ? from->last : from->rows + r * from->stride;
}

/* middle: the source's rows scaled in width, and STRIP bytes; unwanted: one row. */
static void scale(vmae_image *out, const source *from, const axis *x, const axis *y, uint8_t *middle, uint8_t *unwanted)
{
    const int64_t stride = (int64_t)out->width * 3;
    for (int64_t r = 0; r < from->count; r += 2) {
        const int64_t next = r + 1 < from->count ? r + 1 : r; /* of an odd number the last goes with itself */
        resample_rows(middle + r * stride, next > r ? middle + next * stride : unwanted, row_of(from, r),
                      row_of(from, next), x, out->width);
    }
    for (int64_t r = 0; r < out->height; r++)
        combine_rows(out->rgb + r * stride, middle + y->begin[r] * stride, stride, y->weight + r * y->room, y->count[r],
                     stride);
}

static bool inside(vmae_box box, int64_t height, int64_t width)
{
    return box.height > 0 && box.width > 0 && box.top >= 0 && box.left >= 0 && box.top <= height - box.height &&
           box.left <= width - box.width;
}

static vmae_status check_cut(const vmae_cut *cut, const vmae_image *image)
{
    if (image->rgb && inside(cut->box, image->height, image->width) && inside(cut->window, cut->height, cut->width) &&
        cut->window.height <= INT32_MAX && cut->window.width <= INT32_MAX)
        return VMAE_OK;
    return vmae_fail(
        VMAE_EINTERNAL, "resize: box %lld x %lld at (%lld, %lld) of an image of %d x %d pixels, scaled to %lld x %lld",
        (long long)cut->box.width, (long long)cut->box.height, (long long)cut->box.left, (long long)cut->box.top,
        image->width, image->height, (long long)cut->width, (long long)cut->height);
}

/* Every weight is 0 or 1. */
static bool only_copies(const vmae_cut *cut)
{
    return cut->box.height == cut->height && cut->box.width == cut->width;
}

static direction across_of(const vmae_cut *cut)
{
    return make_direction(cut->box.width, cut->width, cut->window.left, cut->window.width, cut->bicubic);
}

static direction down_of(const vmae_cut *cut)
{
    return make_direction(cut->box.height, cut->height, cut->window.top, cut->window.height, cut->bicubic);
}

static const uint8_t *pixel_at(const vmae_image *image, int64_t y, int64_t x)
{
    return image->rgb + (y * image->width + x) * 3;
}

static void copy_rows(uint8_t *to, int64_t to_stride, const uint8_t *from, int64_t from_stride, int64_t rows,
                      int64_t bytes)
{
    for (int64_t r = 0; r < rows; r++)
        memcpy(to + r * to_stride, from + r * from_stride, (size_t)bytes);
}

vmae_status vmae_pixels_resize(vmae_image *out, const vmae_image *image, const vmae_cut *cut, vmae_block *work)
{
    VMAE_TRY(check_cut(cut, image));
    VMAE_TRY(vmae_image_resize_buffer(out, (int)cut->window.height, (int)cut->window.width));
    const int64_t stride = cut->window.width * 3;
    if (only_copies(cut)) {
        copy_rows(out->rgb, stride, pixel_at(image, cut->box.top + cut->window.top, cut->box.left + cut->window.left),
                  (int64_t)image->width * 3, out->height, stride);
        return VMAE_OK;
    }
    const direction across = across_of(cut), down = down_of(cut);
    int64_t top, bottom, left, right; /* within the box */
    extent(&across, &left, &right);
    extent(&down, &top, &bottom);
    const int64_t room_across = axis_room(&across), room_down = axis_room(&down);
    const size_t across_bytes = round_up((size_t)axis_numbers(across.window, room_across) * sizeof(int32_t)),
                 down_bytes = round_up((size_t)axis_numbers(down.window, room_down) * sizeof(int32_t)),
                 exact_bytes = round_up((size_t)(room_across > room_down ? room_across : room_down) * sizeof(double)),
                 middle_bytes = round_up((size_t)((bottom - top) * stride) + STRIP),
                 row_bytes = (size_t)(right - left) * 3;
    /* The weights, the rows scaled in width, a copy of the image's last row, past whose end nothing may be read, and a
     * row that nobody wants. */
    VMAE_TRY(vmae_block_reserve(work, across_bytes + down_bytes + exact_bytes + middle_bytes +
                                          round_up(row_bytes + STRIP) + (size_t)stride));
    uint8_t *memory = work->bytes, *middle = memory + across_bytes + down_bytes + exact_bytes,
            *last = middle + middle_bytes;
    double *exact = (double *)(void *)(memory + across_bytes + down_bytes);
    const axis x = make_axis(&across, cut->bicubic, left, (int32_t *)(void *)memory, exact),
               y = make_axis(&down, cut->bicubic, top, (int32_t *)(void *)(memory + across_bytes), exact);
    const bool ends = cut->box.top + bottom == image->height;
    const source from = {
        .rows = pixel_at(image, cut->box.top + top, cut->box.left + left),
        .stride = (int64_t)image->width * 3,
        .count = bottom - top,
        .last = ends ? memcpy(last, pixel_at(image, image->height - 1, cut->box.left + left), row_bytes) : NULL
    };
    scale(out, &from, &x, &y, middle, last + round_up(row_bytes + STRIP));
    return VMAE_OK;
}

/* ---- records ---- */

void vmae_record_plan(vmae_view *view, const vmae_cut *cut)
{
    const direction across = across_of(cut), down = down_of(cut);
    const int64_t size = cut->window.width;
    if (!only_copies(cut) && across.scale <= VMAE_VIEW_SHRINK && down.scale <= VMAE_VIEW_SHRINK &&
        across.scale * down.scale <= VMAE_VIEW_SHRINK) {
        int64_t top, bottom, left, right;
        extent(&across, &left, &right);
        extent(&down, &top, &bottom);
        view->rows = (int32_t)(bottom - top);
        view->columns = (int32_t)(right - left);
        view->stride = (view->columns * 3 + 15) / 16 * 16;
        view->room_across = (int32_t)axis_room(&across);
        view->room_down = (int32_t)axis_room(&down);
        if (vmae_view_record_bytes(view, size) <= vmae_view_record_most(size))
            return;
    }
    view->rows = view->columns = (int32_t)size;
    view->stride = (view->columns * 3 + 15) / 16 * 16;
    view->room_across = view->room_down = 0;
}

vmae_status vmae_record_write(uint8_t *record, const vmae_view *view, const vmae_image *image, const vmae_cut *cut,
                              vmae_image *spare, vmae_block *work)
{
    if (!view->room_across) {
        VMAE_TRY(vmae_pixels_resize(spare, image, cut, work));
        copy_rows(record, view->stride, spare->rgb, (int64_t)spare->width * 3, view->rows, (int64_t)view->columns * 3);
        return VMAE_OK;
    }
    const direction across = across_of(cut), down = down_of(cut);
    int64_t top, left, unused;
    VMAE_TRY(check_cut(cut, image));
    VMAE_TRY(vmae_block_reserve(work, VMAE_VIEW_ROOM * sizeof(double)));
    extent(&across, &left, &unused);
    extent(&down, &top, &unused);
    copy_rows(record, view->stride, pixel_at(image, cut->box.top + top, cut->box.left + left),
              (int64_t)image->width * 3, view->rows, (int64_t)view->columns * 3);
    int32_t *numbers = (int32_t *)(void *)(record + vmae_view_pixel_bytes(view));
    make_axis(&across, cut->bicubic, left, numbers, work->bytes);
    make_axis(&down, cut->bicubic, top, numbers + axis_numbers(across.window, view->room_across), work->bytes);
    return VMAE_OK;
}

vmae_status vmae_record_read(vmae_image *out, const vmae_view *view, const uint8_t *record, int size, vmae_block *work)
{
    const int64_t stride = (int64_t)size * 3;
    VMAE_TRY(vmae_image_resize_buffer(out, size, size));
    if (!view->room_across) {
        copy_rows(out->rgb, stride, record, view->stride, size, stride);
        return VMAE_OK;
    }
    const size_t middle_bytes = round_up((size_t)(view->rows * stride) + STRIP);
    VMAE_TRY(vmae_block_reserve(work, middle_bytes + (size_t)stride));
    const int32_t *numbers = (const int32_t *)(const void *)(record + vmae_view_pixel_bytes(view));
    const axis x = axis_at(numbers, size, view->room_across),
               y = axis_at(numbers + axis_numbers(size, view->room_across), size, view->room_down);
    const source from = { .rows = record, .stride = view->stride, .count = view->rows };
    uint8_t *middle = work->bytes;
    scale(out, &from, &x, &y, middle, middle + middle_bytes);
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
