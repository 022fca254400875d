/* colour.c -- Pillow's ImageEnhance and HSV arithmetic, and the released code's one-pass colour jitter. */
#include "engine/pixels/pixels.h"

#include <math.h>

enum { CHUNK = 64 }; /* pixels that are worked on as planes */

typedef struct planes {
    int32_t r[CHUNK], g[CHUNK], b[CHUNK];
} planes;

static size_t pixel_count(const vmae_image *image)
{
    return (size_t)image->height * (size_t)image->width;
}

static int chunk_size(size_t left)
{
    return left < CHUNK ? (int)left : CHUNK;
}

/* Unused places keep what they had, so the arithmetic always runs over whole chunks. */
static void load(planes *p, const uint8_t *rgb, int count)
{
    for (int i = 0; i < count; i++) {
        p->r[i] = rgb[3 * i];
        p->g[i] = rgb[3 * i + 1];
        p->b[i] = rgb[3 * i + 2];
    }
}

static void store(uint8_t *rgb, const planes *p, int count)
{
    for (int i = 0; i < count; i++) {
        rgb[3 * i] = (uint8_t)p->r[i];
        rgb[3 * i + 1] = (uint8_t)p->g[i];
        rgb[3 * i + 2] = (uint8_t)p->b[i];
    }
}

/* ITU-R 601 in 16-bit fixed point, as Pillow's convert("L"). */
static int32_t luma(int32_t r, int32_t g, int32_t b)
{
    return (19595 * r + 38470 * g + 7471 * b + 0x8000) >> 16;
}

/* Pillow's Image.blend: low + factor (value - low) in float32, clipped, truncated. */
static int32_t blend(int32_t low, int32_t value, float factor)
{
    const float mixed = (float)low + factor * ((float)value - (float)low);
    return (int32_t)(mixed < 0.0f ? 0.0f : mixed > 255.0f ? 255.0f : mixed);
}

static void look_up(vmae_image *image, const uint8_t table[256])
{
    const size_t bytes = 3 * pixel_count(image);
    for (size_t i = 0; i < bytes; i++)
        image->rgb[i] = table[image->rgb[i]];
}

static void blend_with(vmae_image *image, int32_t low, float factor)
{
    uint8_t table[256];
    for (int32_t v = 0; v < 256; v++)
        table[v] = (uint8_t)blend(low, v, factor);
    look_up(image, table);
}

void vmae_pixels_brightness(vmae_image *image, float factor)
{
    blend_with(image, 0, factor);
}

VMAE_CLONES static int64_t sum_luma(const vmae_image *image)
{
    const size_t count = pixel_count(image);
    int64_t total = 0;
    for (size_t at = 0; at < count; at += CHUNK) {
        const int n = chunk_size(count - at);
        planes p;
        int32_t sum = 0;
        load(&p, image->rgb + 3 * at, n);
        for (int i = 0; i < n; i++)
            sum += luma(p.r[i], p.g[i], p.b[i]);
        total += sum;
    }
    return total;
}

void vmae_pixels_contrast(vmae_image *image, float factor)
{
    const double mean = (double)sum_luma(image) / (double)pixel_count(image);
    blend_with(image, (int32_t)(mean + 0.5), factor);
}

VMAE_CLONES void vmae_pixels_saturation(vmae_image *image, float factor)
{
    const size_t count = pixel_count(image);
    planes p = { 0 };
    for (size_t at = 0; at < count; at += CHUNK) {
        const int n = chunk_size(count - at);
        load(&p, image->rgb + 3 * at, n);
        for (int i = 0; i < CHUNK; i++) {
            const int32_t grey = luma(p.r[i], p.g[i], p.b[i]);
            p.r[i] = blend(grey, p.r[i], factor);
            p.g[i] = blend(grey, p.g[i], factor);
            p.b[i] = blend(grey, p.b[i], factor);
        }
        store(image->rgb + 3 * at, &p, n);
    }
}

/* value if condition, else 0; without a branch, which would keep the loop from being vectorised. */
static inline int32_t only(int condition, int32_t value)
{
    return -condition & value;
}

/* Pillow's rgb2hsv and hsv2rgb with the hue shifted in between. Which steps are float and which are double decides the
 * last bit: it is as in libImaging/Convert.c. Branchless, so that it vectorises. */
static void shift_hue(planes *p, int32_t shift)
{
    int32_t hue[CHUNK], saturation[CHUNK];
    for (int i = 0; i < CHUNK; i++) {
        const float r = (float)p->r[i], g = (float)p->g[i], b = (float)p->b[i];
        const float rg_high = r > g ? r : g, rg_low = r < g ? r : g;
        const float high = rg_high > b ? rg_high : b, low = rg_low < b ? rg_low : b, span = high - low;
        const float over = span > 0.0f ? span : 1.0f, top = high > 1.0f ? high : 1.0f;
        const double rc = (double)((high - r) / over), gc = (double)((high - g) / over),
                     bc = (double)((high - b) / over);
        const double sector = r == high ? bc - gc : g == high ? 2.0 + rc - bc : 4.0 + gc - rc;
        const double turn = (double)(float)sector / 6.0 + 1.0, wrapped = turn >= 1.0 ? turn - 1.0 : turn;
        const int32_t h = (int32_t)((double)(float)wrapped * 255.0), s = (int32_t)((double)(span / top) * 255.0);
        hue[i] = ((span > 0.0f ? h : 0) + shift) & 255;
        saturation[i] = s;
    }
    for (int i = 0; i < CHUNK; i++) {
        const int32_t r = p->r[i], g = p->g[i], b = p->b[i], rg = r > g ? r : g, high = rg > b ? rg : b;
        const double position = (double)hue[i] * 6.0 / 255.0;
        const int32_t whole = (int32_t)position, sector = whole == 6 ? 0 : whole;
        const float f = (float)(position - (double)whole), fs = (float)((double)saturation[i] / 255.0);
        const double v = (double)high;
        const int32_t low = (int32_t)(v * (1.0 - (double)fs) + 0.5);
        const int32_t falling = (int32_t)(v * (1.0 - (double)(fs * f)) + 0.5);
        const int32_t rising = (int32_t)(v * (1.0 - (double)fs * (1.0 - (double)f)) + 0.5);
        /* Of the six sectors, each channel is at the top in two, at the bottom in two, and on its way in one each. */
        const int32_t red = only(sector == 1, falling) | only(sector == 4, rising) |
                            only((sector == 2) | (sector == 3), low) | only((sector == 0) | (sector == 5), high);
        const int32_t green = only(sector == 0, rising) | only(sector == 3, falling) | only(sector > 3, low) |
                              only((sector == 1) | (sector == 2), high);
        const int32_t blue = only(sector == 2, rising) | only(sector == 5, falling) | only(sector < 2, low) |
                             only((sector == 3) | (sector == 4), high);
        p->r[i] = red;
        p->g[i] = green;
        p->b[i] = blue;
    }
}

VMAE_CLONES void vmae_pixels_hue(vmae_image *image, float turns)
{
    const size_t count = pixel_count(image);
    const int32_t shift = (int32_t)((double)turns * 255.0) & 255;
    planes p = { 0 };
    for (size_t at = 0; at < count; at += CHUNK) {
        const int n = chunk_size(count - at);
        load(&p, image->rgb + 3 * at, n);
        shift_hue(&p, shift);
        store(image->rgb + 3 * at, &p, n);
    }
}

VMAE_CLONES void vmae_pixels_grey(vmae_image *image)
{
    const size_t count = pixel_count(image);
    for (size_t i = 0; i < count; i++) {
        uint8_t *pixel = image->rgb + 3 * i;
        pixel[0] = pixel[1] = pixel[2] = (uint8_t)luma(pixel[0], pixel[1], pixel[2]);
    }
}

void vmae_pixels_solarise(vmae_image *image, int threshold)
{
    uint8_t table[256];
    for (int v = 0; v < 256; v++)
        table[v] = (uint8_t)(v < threshold ? v : 255 - v);
    look_up(image, table);
}

/* ---- the released code ---- */

static const double grey_weight[3] = { 0.2989, 0.587, 0.114 };

static void mean_colour(const vmae_image *image, double mean[3])
{
    const size_t count = pixel_count(image);
    uint64_t sum[3] = { 0 };
    for (size_t i = 0; i < count; i++)
        for (int c = 0; c < 3; c++)
            sum[c] += image->rgb[3 * i + (size_t)c];
    for (int c = 0; c < 3; c++)
        mean[c] = (double)sum[c] / (double)count;
}

/* The whole jitter is one affine map of a pixel. With grey row g, mean grey m, factors b, c, s and the rotation R:
 *   x -> R (s (c (b x) + (1 - c) m) + (1 - s) g.x)
 * and R m = m, but for rounding: sum[i] of R's rows. */
static void released_map(float matrix[9], double *lift, double sum[3], double brightness, double contrast,
                         double saturation, double turns)
{
    const double angle = turns * 2.0 * 3.14159265358979323846, cosine = cos(angle), sine = sin(angle) * sqrt(1.0 / 3.0);
    const double third = (1.0 - cosine) / 3.0;
    const double rotation[3][3] = { { cosine + third, third - sine, third + sine },
                                    { third + sine, cosine + third, third - sine },
                                    { third - sine, third + sine, cosine + third } };
    *lift = saturation * (1.0 - contrast);
    for (int i = 0; i < 3; i++) {
        sum[i] = 0.0;
        for (int j = 0; j < 3; j++)
            sum[i] += rotation[i][j];
        for (int j = 0; j < 3; j++)
            matrix[3 * i + j] = (float)(saturation * contrast * brightness * rotation[i][j] +
                                        (1.0 - saturation) * grey_weight[j] * sum[i]);
    }
}

void vmae_released_map(float map[9], double *lift, float brightness, float contrast, float saturation, float turns)
{
    double sum[3];
    released_map(map, lift, sum, (double)brightness, (double)contrast, (double)saturation, (double)turns);
}

static int32_t clipped(float value)
{
    return (int32_t)(value < 0.0f ? 0.0f : value > 255.0f ? 255.0f : value);
}

VMAE_CLONES static void apply_map(vmae_image *image, const float m[9], const float offset[3])
{
    const size_t count = pixel_count(image);
    planes p = { 0 };
    for (size_t at = 0; at < count; at += CHUNK) {
        const int n = chunk_size(count - at);
        load(&p, image->rgb + 3 * at, n);
        for (int i = 0; i < CHUNK; i++) {
            const float r = (float)p.r[i], g = (float)p.g[i], b = (float)p.b[i];
            p.r[i] = clipped(m[0] * r + m[1] * g + m[2] * b + offset[0]);
            p.g[i] = clipped(m[3] * r + m[4] * g + m[5] * b + offset[1]);
            p.b[i] = clipped(m[6] * r + m[7] * g + m[8] * b + offset[2]);
        }
        store(image->rgb + 3 * at, &p, n);
    }
}

void vmae_pixels_jitter_released(vmae_image *image, float brightness, float contrast, float saturation, float turns)
{
    double mean[3], lift, sum[3];
    float matrix[9], offset[3];
    mean_colour(image, mean);
    released_map(matrix, &lift, sum, (double)brightness, (double)contrast, (double)saturation, (double)turns);
    const double mean_grey = mean[0] * grey_weight[0] + mean[1] * grey_weight[1] + mean[2] * grey_weight[2];
    for (int i = 0; i < 3; i++)
        offset[i] = (float)(lift * mean_grey * sum[i]);
    apply_map(image, matrix, offset);
}

void vmae_pixels_grey_released(vmae_image *image)
{
    const size_t count = pixel_count(image);
    for (size_t i = 0; i < count; i++) {
        uint8_t *pixel = image->rgb + 3 * i;
        const double grey = grey_weight[0] * pixel[0] + grey_weight[1] * pixel[1] + grey_weight[2] * pixel[2];
        pixel[0] = pixel[1] = pixel[2] = (uint8_t)grey;
    }
}

void vmae_normalisation(float scale[3], float shift[3], const float mean[3], const float std[3])
{
    for (int c = 0; c < 3; c++) {
        scale[c] = (float)(1.0 / (255.0 * (double)std[c]));
        shift[c] = (float)((double)mean[c] / (double)std[c]);
    }
}

VMAE_CLONES void vmae_pixels_normalise(float *out, const vmae_image *image, const float scale[3], const float shift[3])
{
    const size_t count = pixel_count(image);
    for (int c = 0; c < 3; c++) {
        const float by = scale[c], less = shift[c];
        const uint8_t *rgb = image->rgb + c;
        float *plane = out + (size_t)c * count;
        for (size_t i = 0; i < count; i++)
            plane[i] = (float)rgb[3 * i] * by - less;
    }
}
