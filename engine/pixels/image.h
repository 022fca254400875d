/* image.h -- an 8-bit RGB image in memory, and which part of it is wanted. */
#ifndef VMAE_PIXELS_IMAGE_H
#define VMAE_PIXELS_IMAGE_H

#include "engine/core/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* height x width x 3, rows without padding. Owned: release with vmae_image_release. All zero = empty. */
typedef struct vmae_image {
    int height, width;
    uint8_t *rgb;
    size_t capacity; /* bytes at rgb; buffers are reused */
} vmae_image;
/* Contents undefined; keeps the buffer if it fits. */
vmae_status vmae_image_resize_buffer(vmae_image *image, int height, int width);
void vmae_image_release(vmae_image *image);

/* Memory that one call after another reuses; all zero at first, release with free(block.bytes). */
typedef struct vmae_block {
    void *bytes;
    size_t capacity;
} vmae_block;
vmae_status vmae_block_reserve(vmae_block *block, size_t bytes); /* contents undefined */

typedef struct vmae_box {
    int64_t top, left, height, width;
} vmae_box;

/* Which part `box` of an image is scaled to height x width (antialiased: the filter widens with the reduction), and
 * which part `window` of that is wanted: pixels outside the box take no part, pixels outside the window cost nothing.
 */
typedef struct vmae_cut {
    vmae_box box;
    int64_t height, width;
    vmae_box window;
    bool bicubic; /* else bilinear */
} vmae_cut;

#endif
