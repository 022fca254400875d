/* pixels.h -- operations on 8-bit images, pixel for pixel those of Pillow 9.4 and torchvision 0.14 (and, where a name
 * ends in _released, those of the released ViC-MAE code). For engine/data, which draws views, for the CPU backend,
 * which makes them from records, and for tests. */
#ifndef VMAE_PIXELS_PIXELS_H
#define VMAE_PIXELS_PIXELS_H

#include "engine/pixels/image.h"
#include "engine/pixels/view.h"

#include <stdbool.h>

/* Hot loops are compiled twice and the better one is taken when the program starts. Both give the same bits: nothing is
 * reassociated, and C11 mode does not contract a*b+c. (Sanitizers come up after the choice is made, so not with them.)
 */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) &&               \
    !defined(__SANITIZE_THREAD__)
#define VMAE_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define VMAE_CLONES
#endif

/* ---- resize.c ---- */

/* `out` must be another image. */
vmae_status vmae_pixels_resize(vmae_image *out, const vmae_image *image, const vmae_cut *cut, vmae_block *work);

/* The same by way of a record (view.h): plan sets what the view says of its record's pixels, for a square window; write
 * makes the record, in memory of vmae_view_record_bytes, scaling at once what shrinks too much for a device; read makes
 * of it the pixels that vmae_pixels_resize gives. */
void vmae_record_plan(vmae_view *view, const vmae_cut *cut);
vmae_status vmae_record_write(uint8_t *record, const vmae_view *view, const vmae_image *image, const vmae_cut *cut,
                              vmae_image *spare, vmae_block *work);
vmae_status vmae_record_read(vmae_image *out, const vmae_view *view, const uint8_t *record, int size, vmae_block *work);

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

/* The jitter above as an affine map of a pixel: x -> map x + lift * (mean grey of before). */
void vmae_released_map(float map[9], double *lift, float brightness, float contrast, float saturation, float turns);

/* out[c, y, x] = byte * scale[c] - shift[c]; these are 1 / (255 std) and mean / std. */
void vmae_normalisation(float scale[3], float shift[3], const float mean[3], const float std[3]);
void vmae_pixels_normalise(float *out, const vmae_image *image, const float scale[3], const float shift[3]);

/* ---- blur.c: separable Gaussian, reflected borders ---- */

enum { VMAE_BLUR_TAPS_MAX = 2 * VMAE_VIEW_REACH + 1 };
/* weight[0] is the middle: exp(-x^2 / 2 sigma^2) over the sum of all `taps`, an odd number; the rest are 0. */
vmae_status vmae_blur_weights(float weight[VMAE_VIEW_REACH + 1], int taps, float sigma);
/* 9 x 9, rounded half to even. */
vmae_status vmae_pixels_blur(vmae_image *image, const float weight[VMAE_VIEW_REACH + 1], vmae_block *work);
/* The same for planes [count, height, width] of floats, in place, with weights of either direction. */
vmae_status vmae_planes_blur(float *planes, int count, int height, int width, const float across[VMAE_VIEW_REACH + 1],
                             const float down[VMAE_VIEW_REACH + 1], vmae_block *work);

/* ---- view.c ---- */

/* What a view does with its pixels once they are cut and scaled: out [3, height, width]. */
vmae_status vmae_view_finish(float *out, const vmae_view *view, vmae_image *image, vmae_block *work);
/* A view from its record. image and work: for its pixels; neither grows if they have room for size x size pixels and
 * vmae_view_work_bytes. */
vmae_status vmae_view_apply(float *out, const vmae_view *view, const uint8_t *sources, int size, vmae_image *image,
                            vmae_block *work);
size_t vmae_view_work_bytes(int64_t size);

#endif
