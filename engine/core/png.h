/* png.h -- writes 8-bit RGB pictures (libpng). */
#ifndef VMAE_CORE_PNG_H
#define VMAE_CORE_PNG_H

#include "engine/core/status.h"

#include <stdint.h>

/* rgb: height x width x 3. Replaces the file in one go. */
vmae_status vmae_png_write(const char *path, const uint8_t *rgb, int width, int height);

#endif
