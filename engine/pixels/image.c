/* image.c -- the memory of images and of scratch blocks. */
#include "engine/core/mem.h"
#include "engine/pixels/pixels.h"

#include <stdlib.h>

vmae_status vmae_block_reserve(vmae_block *block, size_t bytes)
{
    if (bytes <= block->capacity)
        return VMAE_OK;
    void *fresh = vmae_calloc(bytes, 1);
    if (!fresh)
        return VMAE_ENOMEM;
    free(block->bytes); /* not realloc: the old contents need no copy */
    block->bytes = fresh;
    block->capacity = bytes;
    return VMAE_OK;
}

vmae_status vmae_image_resize_buffer(vmae_image *image, int height, int width)
{
    if (height < 1 || width < 1)
        return vmae_fail(VMAE_EDATA, "an image of %d x %d pixels has none", width, height);
    vmae_block block = { image->rgb, image->rgb ? image->capacity : 0 };
    if ((size_t)height > SIZE_MAX / 3 / (size_t)width)
        return vmae_fail(VMAE_ENOMEM, "an image of %d x %d pixels does not fit in memory", width, height);
    VMAE_TRY(vmae_block_reserve(&block, (size_t)height * (size_t)width * 3));
    *image = (vmae_image){ .height = height, .width = width, .rgb = block.bytes, .capacity = block.capacity };
    return VMAE_OK;
}

void vmae_image_release(vmae_image *image)
{
    free(image->rgb);
    *image = (vmae_image){ 0 };
}
