/* colour.cuh -- colours of one pixel, to the bits of engine/pixels/colour.c, which follows Pillow and computes in
 * double here and there. A GPU's double is slow (and our build refuses it), so what is double there is exact integers
 * here, or single floats where it can be shown that the result is the same. A product is never contracted with a sum:
 * the functions whose names end in _rn. Private to backend/cuda. */
#ifndef VMAE_BACKEND_CUDA_COLOUR_CUH
#define VMAE_BACKEND_CUDA_COLOUR_CUH

#include "engine/backend/cuda/portable.cuh"
#include "engine/pixels/view.h"

struct pixel {
    int r, g, b;
};

/* Three bytes in a word, the first one lowest. */
static __device__ __forceinline__ pixel unpack_pixel(unsigned word)
{
    return { (int)(word & 255u), (int)(word >> 8 & 255u), (int)(word >> 16 & 255u) };
}
static __device__ __forceinline__ unsigned pack_pixel(pixel p)
{
    return (unsigned)p.r | (unsigned)p.g << 8 | (unsigned)p.b << 16;
}

static __device__ __forceinline__ int luma(pixel p)
{
    return (19595 * p.r + 38470 * p.g + 7471 * p.b + 0x8000) >> 16;
}

static __device__ __forceinline__ int clip_byte(float value)
{
    return (int)(value < 0.0f ? 0.0f : value > 255.0f ? 255.0f : value);
}

/* low + factor (value - low), clipped, truncated. */
static __device__ __forceinline__ int blend(int low, int value, float factor)
{
    return clip_byte(__fadd_rn((float)low, __fmul_rn(factor, (float)(value - low))));
}
static __device__ __forceinline__ pixel blend(int low, pixel p, float factor)
{
    return { blend(low, p.r, factor), blend(low, p.g, factor), blend(low, p.b, factor) };
}

/* ---- hue ---- */

/* 255 x, truncated, of the exact product; 0 <= x <= 1. */
static __device__ __forceinline__ int floor_255(float x)
{
    const int near = (int)(255.0f * x); /* the rounded product may have reached the next integer */
    return fmaf(255.0f, x, (float)-near) < 0.0f ? near - 1 : near;
}

static __device__ __forceinline__ int hue_shift(float turns)
{
    const int shift = floor_255(fabsf(turns));
    return (turns < 0.0f ? -shift : shift) & 255;
}

/* Hue and saturation as bytes; span = high - low > 0. The sector's place, e.g. 2 + (high - r) / span - (high - b) /
 * span, has one of the two quotients equal to 1 (its channel is the lowest), so one rounding of a float gives what the
 * exact difference of the doubles rounds to. Its sixth, rounded to double and then to float, is that rounded to float
 * at once: a third of a binary fraction is never near a tie. */
static __device__ __forceinline__ void hue_of(int *hue, int *saturation, pixel p, int high, int low)
{
    const float span = (float)(high - low), rc = (float)(high - p.r) / span, gc = (float)(high - p.g) / span,
                bc = (float)(high - p.b) / span;
    float sector;
    if (p.r == high)
        sector = __fsub_rn(bc, gc);
    else if (p.g == high)
        sector = p.b == low ? __fadd_rn(1.0f, rc) : __fsub_rn(3.0f, bc);
    else
        sector = p.r == low ? __fadd_rn(3.0f, gc) : __fsub_rn(5.0f, rc);
    float turn = sector / 6.0f;
    if (sector < 0.0f) { /* (6 + sector) / 6, of the exact sum */
        const float sum = __fadd_rn(6.0f, sector), rest = __fsub_rn(sector, __fsub_rn(sum, 6.0f));
        const float near = sum / 6.0f;
        turn = __fadd_rn(near, __fadd_rn(fmaf(-near, 6.0f, sum), rest) / 6.0f);
    }
    *hue = floor_255(turn);
    *saturation = floor_255(span / (float)high);
}

/* x in [0, 1] with 54 bits behind the point; exact for x = 0 and x >= 2^-30. */
static __device__ __forceinline__ int64_t fixed_54(float x)
{
    return (int64_t)(x * 18014398509481984.0f);
}

/* v (1 - x), rounded half up. */
static __device__ __forceinline__ int level(int v, int64_t x)
{
    const int64_t one = (int64_t)1 << 54;
    return (int)((v * (one - x) + (one >> 1)) >> 54);
}

static __device__ __forceinline__ pixel pixel_of_hue(int hue, int saturation, int high)
{
    const int whole = 6 * hue / 255, sector = whole == 6 ? 0 : whole;
    const float f = (float)(6 * hue - 255 * whole) / 255.0f, fs = (float)saturation / 255.0f;
    const int64_t one = (int64_t)1 << 31, f_fixed = (int64_t)(f * 2147483648.0f),
                  fs_fixed = (int64_t)(fs * 2147483648.0f); /* exact: 0, or at least 1/255 */
    const int low = level(high, fixed_54(fs)), falling = level(high, fixed_54(__fmul_rn(fs, f))),
              rising = level(high, fs_fixed * (one - f_fixed) >> 8);
    switch (sector) {
    case 0: return { high, rising, low };
    case 1: return { falling, high, low };
    case 2: return { low, high, rising };
    case 3: return { low, falling, high };
    case 4: return { rising, low, high };
    default: return { high, low, falling };
    }
}

static __device__ __forceinline__ pixel shift_hue(pixel p, int shift)
{
    const int high = max(p.r, max(p.g, p.b)), low = min(p.r, min(p.g, p.b));
    int hue = 0, saturation = 0;
    if (high > low)
        hue_of(&hue, &saturation, p, high, low);
    return pixel_of_hue((hue + shift) & 255, saturation, high);
}

/* ---- the released code ---- */

/* To 53 significant bits, half to even: what a double keeps of it. */
static __device__ __forceinline__ uint64_t round_53(uint64_t x)
{
    const int drop = 11 - __clzll((long long)x);
    if (drop <= 0)
        return x;
    x += ((uint64_t)1 << (drop - 1)) - 1 + (x >> drop & 1);
    return x >> drop << drop;
}

/* 0.2989 r + 0.587 g + 0.114 b in double, truncated: with 56 bits behind the point every step is below 2^64. */
static __device__ __forceinline__ int grey_released(pixel p)
{
    constexpr uint64_t red = (uint64_t)(0.2989 * 0x1p56), green = (uint64_t)(0.587 * 0x1p56),
                       blue = (uint64_t)(0.114 * 0x1p56);
    const uint64_t two = round_53(round_53(red * (uint64_t)p.r) + round_53(green * (uint64_t)p.g));
    return (int)(round_53(two + round_53(blue * (uint64_t)p.b)) >> 56);
}

/* The mean grey of `count` pixels with these sums, times lift[0] + lift[1]: to about 40 bits before it is rounded to
 * float. */
static __device__ __forceinline__ float lifted_grey(int64_t r, int64_t g, int64_t b, int64_t count, const float *lift)
{
    const int64_t numerator = 2989 * r + 5870 * g + 1140 * b, denominator = 10000 * count;
    const int64_t high = (numerator % denominator << 22) / denominator,
                  low = ((numerator % denominator << 22) % denominator << 22) / denominator;
    const uint64_t mean = (uint64_t)(numerator / denominator) << 44 | (uint64_t)high << 22 | (uint64_t)low;
    const float upper = (float)(mean >> 28) * 0x1p-16f, lower = (float)(mean & 0xFFFFFFFu) * 0x1p-44f;
    const float product = __fmul_rn(lift[0], upper), rest = fmaf(lift[0], upper, -product);
    return __fadd_rn(product, fmaf(lift[0], lower, fmaf(lift[1], upper, rest)));
}

static __device__ __forceinline__ int map_row(const float *m, pixel p, float offset)
{
    return clip_byte(__fadd_rn(
        __fadd_rn(__fadd_rn(__fmul_rn(m[0], (float)p.r), __fmul_rn(m[1], (float)p.g)), __fmul_rn(m[2], (float)p.b)),
        offset));
}

/* ---- a view's steps ---- */

/* What steps need to know of the whole image: contrast's pivot, or the released jitter's lifted grey. */
struct of_image {
    int pivot;
    float offset;
};

static __device__ __forceinline__ bool sees_image(int step)
{
    return step == VMAE_STEP_CONTRAST || step == VMAE_STEP_JITTER_RELEASED;
}

/* The first step that needs to know the whole image: at most one does. */
static __device__ __forceinline__ int first_of_image(const vmae_view *view)
{
    int i = 0;
    while (i < view->steps && !sees_image(view->step[i]))
        i++;
    return i;
}

static __device__ __forceinline__ pixel take_steps(pixel p, const vmae_view *view, int from, int to, of_image image)
{
    for (int i = from; i < to; i++) {
        const float value = view->value[i];
        switch (view->step[i]) {
        case VMAE_STEP_BRIGHTNESS: p = blend(0, p, value); break;
        case VMAE_STEP_CONTRAST: p = blend(image.pivot, p, value); break;
        case VMAE_STEP_SATURATION: p = blend(luma(p), p, value); break;
        case VMAE_STEP_HUE: p = shift_hue(p, hue_shift(value)); break;
        case VMAE_STEP_GREY: p.r = p.g = p.b = luma(p); break;
        case VMAE_STEP_JITTER_RELEASED:
            p = { map_row(view->map, p, image.offset), map_row(view->map + 3, p, image.offset),
                  map_row(view->map + 6, p, image.offset) };
            break;
        default: p.r = p.g = p.b = grey_released(p);
        }
    }
    return p;
}

#endif
