/* pixels.h -- operations on 8-bit images, pixel for pixel those of Pillow 9.4 and torchvision 0.14 (and, where a name
 * ends in _released, those of the released ViC-MAE code). Private to engine/data and its tests. */
#ifndef VMAE_DATA_PIXELS_H
#define VMAE_DATA_PIXELS_H

#include "engine/data/data.h"

/* Hot loops are compiled twice and the better one is taken when the program starts. Both give the same bits: nothing is
 * reassociated, and C11 mode does not contract a*b+c. (Sanitizers come up after the choice is made, so not with them.)
 */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) &&               \
    !defined(__SANITIZE_THREAD__)
#define VMAE_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define VMAE_CLONES
#endif

typedef struct vmae_box {
    int64_t top, left, height, width;
} vmae_box;

/* Memory that one call after another reuses; all zero at first, release with free(block.bytes). */
typedef struct vmae_block {
    void *bytes;
    size_t capacity;
} vmae_block;
vmae_status vmae_block_reserve(vmae_block *block, size_t bytes); /* contents undefined */

/* ---- resize.c ---- */

/* Scales the part `box` of the image to height x width (antialiased: the filter widens with the reduction), and
 * delivers of that only the part `window`: pixels outside the box take no part, pixels outside the window cost nothing.
 * `out` must be another image. */
vmae_status vmae_pixels_resize(vmae_image *out, const vmae_image *image, vmae_box box, int64_t height, int64_t width,
                               vmae_box window, bool bicubic, vmae_block *work);

/* The evaluation transform's geometry: the short side becomes trunc(size / crop_ratio), the long side in proportion,
 * truncated; the window is the middle, its corner rounded half to even. */
void vmae_pixels_centre(int image_height, int image_width, int size, float crop_ratio, int64_t *height, int64_t *width,
                        vmae_box *window);

void vmae_pixels_flip(vmae_image *image); /* left-right */

/* ---- colour.c: in place ---- */

void vmae_pixels_brightness(vmae_image *image, float factor);
void vmae_pixels_contrast(vmae_image *image, float factor);
void vmae_pixels_saturation(vmae_image *image, float factor);
void vmae_pixels_hue(vmae_image *image, float turns); /* 8-bit HSV, as Pillow: shifts by trunc(255 turns) */
void vmae_pixels_grey(vmae_image *image);
void vmae_pixels_solarise(vmae_image *image, int threshold);

/* FFCV-SSL's: one pass in floating point: brightness, contrast (pivot: the mean grey of before), saturation (towards
 * the grey of before), hue as a rotation about the grey axis; then clip and truncate once. A factor of 1 (hue 0) does
 * nothing. */
void vmae_pixels_jitter_released(vmae_image *image, float brightness, float contrast, float saturation, float turns);
void vmae_pixels_grey_released(vmae_image *image);

/* out[c, y, x] = (pixel / 255 - mean[c]) / std[c] */
void vmae_pixels_normalise(float *out, const vmae_image *image, const float mean[3], const float std[3]);

/* ---- blur.c: separable Gaussian, taps exp(-x^2 / 2 sigma^2) over their sum, reflected borders ---- */

enum { VMAE_BLUR_TAPS_MAX = 9 }; /* taps are odd */
vmae_status vmae_pixels_blur(vmae_image *image, int taps, float sigma,
                             vmae_block *work); /* taps x taps, rounded half to even */
/* The same for planes [count, height, width] of floats, in place. */
vmae_status vmae_planes_blur(float *planes, int count, int height, int width, int taps_across, int taps_down,
                             float sigma, vmae_block *work);

#endif
