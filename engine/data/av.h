/* av.h -- (private to data/) what decode.c and the video files share of FFmpeg: quiet logging, error texts, frames to
 * RGB. */
#ifndef VMAE_DATA_AV_H
#define VMAE_DATA_AV_H

#include "engine/data/data.h"

struct AVFrame;
struct SwsContext;

enum { VMAE_MAX_PIXELS = 64 << 20 }; /* of one decoded image or frame: refused before anything is allocated */

/* Conversion state that can serve many frames of one stream; all zero at first. */
typedef struct vmae_av_rgb {
    struct SwsContext *context;
    uint8_t *rows; /* swscale writes whole vectors, past the end of a row, so not into the image itself */
    size_t capacity;
} vmae_av_rgb;
/* Converts with the frame's own matrix and range (BT.601, limited, where it names none, as FFmpeg's scale filter does),
 * bit-exact on every machine. VMAE_EDATA, naming `name`, for sizes or formats that cannot be converted. */
vmae_status vmae_av_to_rgb(vmae_av_rgb *state, const struct AVFrame *frame, vmae_image *image, const char *name);
void vmae_av_rgb_release(vmae_av_rgb *state);

/* FFmpeg prints nothing from here on: what it has to say comes back in statuses. Cheap; any thread. */
void vmae_av_quiet(void);
/* The text of an FFmpeg error code; NULL-safe buffer of the caller. */
const char *vmae_av_error(int code, char *buffer, size_t size);

#endif
