/* png.c -- libpng's simplified interface, into memory, then into place. */
#include "engine/core/png.h"

#include "engine/core/fs.h"
#include "engine/core/mem.h"

#include <png.h>
#include <stdlib.h>

vmae_status vmae_png_write(const char *path, const uint8_t *rgb, int width, int height)
{
    png_image image = { .version = PNG_IMAGE_VERSION,
                        .width = (png_uint_32)width,
                        .height = (png_uint_32)height,
                        .format = PNG_FORMAT_RGB };
    png_alloc_size_t bytes = 0;
    if (!png_image_write_to_memory(&image, NULL, &bytes, 0, rgb, 0, NULL))
        return vmae_fail(VMAE_EINTERNAL, "%s: libpng: %s", path, image.message);
    void *encoded = vmae_calloc(bytes, 1);
    if (!encoded)
        return VMAE_ENOMEM;
    vmae_status st = VMAE_OK;
    if (!png_image_write_to_memory(&image, encoded, &bytes, 0, rgb, 0, NULL))
        st = vmae_fail(VMAE_EINTERNAL, "%s: libpng: %s", path, image.message);
    if (st == VMAE_OK)
        st = vmae_write_file(path, encoded, bytes);
    free(encoded);
    return st;
}
