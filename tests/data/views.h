/* views.h -- images and settings for tests of views: every step happens, on pixels of every kind. */
#ifndef VMAE_TESTS_DATA_VIEWS_H
#define VMAE_TESTS_DATA_VIEWS_H

#include "engine/data/data.h"
#include "tests/test.h"

#include <string.h>

/* Odd seeds give noise; even ones gradients with a little noise: in these neighbours are alike, and many pixels are
 * nearly grey. */
static inline vmae_status random_image(vmae_image *image, int height, int width, uint64_t seed)
{
    vmae_rng rng = vmae_rng_at(seed, VMAE_RNG_TEST, 1, 0);
    VMAE_TRY(vmae_image_resize_buffer(image, height, width));
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < 3; c++) {
                const uint32_t noise = vmae_rng_u32(&rng);
                image->rgb[3 * (y * width + x) + c] =
                    (uint8_t)(seed % 2 ? noise : 255 * (uint32_t)(x + y) / (uint32_t)(width + height) + noise % 7);
            }
    return VMAE_OK;
}

static inline vmae_augment every_step(int size)
{
    vmae_augment how = { .size = size,
                         .crop = true,
                         .crop_area_min = 0.08f,
                         .crop_area_max = 1.0f,
                         .bicubic = true,
                         .flip = true,
                         .jitter_p = 0.8f,
                         .brightness = 0.4f,
                         .contrast = 0.4f,
                         .saturation = 0.4f,
                         .hue = 0.3f,
                         .grey_p = 0.2f,
                         .blur_p = 0.5f,
                         .blur_sigma_min = 0.1f,
                         .blur_sigma_max = 2.0f,
                         .solarise_p = 0.2f,
                         .crop_ratio = 0.875f };
    memcpy(how.mean, vmae_imagenet_mean, sizeof how.mean);
    memcpy(how.std, vmae_imagenet_std, sizeof how.std);
    return how;
}

#endif
