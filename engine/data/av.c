/* av.c -- what decode.c and the video files share of FFmpeg. */
#include "engine/data/av.h"

#include "engine/core/mem.h"

#include <libavutil/error.h>
#include <libavutil/frame.h>
#include <libavutil/log.h>
#include <libavutil/mem.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>

#include <errno.h>
#include <pthread.h>
#include <string.h>

static void set_quiet(void)
{
    av_log_set_level(AV_LOG_QUIET);
}

void vmae_av_quiet(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, set_quiet);
}

const char *vmae_av_error(int code, char *buffer, size_t size)
{
    if (code == AVERROR(ENOMEM)) /* mostly a damaged size: the run has memory for a sample that is whole */
        return "damaged, or it needs more memory than there is";
    return av_strerror(code, buffer, size) < 0 ? "unknown error of FFmpeg" : buffer;
}

static bool is_full_range(const AVFrame *frame)
{
    switch (frame->format) {
    case AV_PIX_FMT_YUVJ411P:
    case AV_PIX_FMT_YUVJ420P:
    case AV_PIX_FMT_YUVJ422P:
    case AV_PIX_FMT_YUVJ440P:
    case AV_PIX_FMT_YUVJ444P: return true;
    default: return frame->color_range == AVCOL_RANGE_JPEG;
    }
}

vmae_status vmae_av_to_rgb(vmae_av_rgb *state, const AVFrame *frame, vmae_image *image, const char *name)
{
    const int width = frame->width, height = frame->height;
    const AVPixFmtDescriptor *format = av_pix_fmt_desc_get((enum AVPixelFormat)frame->format);
    if (width < 1 || height < 1 || !format)
        return vmae_fail(VMAE_EDATA, "%s: the decoder gave no picture", name);
    if ((int64_t)width * height > VMAE_MAX_PIXELS)
        return vmae_fail(VMAE_EDATA, "%s: %d x %d pixels, more than 64 Mpixel", name, width, height);
    state->context =
        sws_getCachedContext(state->context, width, height, (enum AVPixelFormat)frame->format, width, height,
                             AV_PIX_FMT_RGB24, SWS_BICUBIC | SWS_ACCURATE_RND | SWS_BITEXACT, NULL, NULL, NULL);
    if (!state->context)
        return vmae_fail(VMAE_EDATA, "%s: cannot convert %d x %d pixels of format %s to RGB", name, width, height,
                         format->name);
    if (format->nb_components >= 3 && !(format->flags & AV_PIX_FMT_FLAG_RGB)) {
        const int *from =
            sws_getCoefficients(frame->colorspace == AVCOL_SPC_UNSPECIFIED ? SWS_CS_DEFAULT : (int)frame->colorspace);
        sws_setColorspaceDetails(state->context, from, is_full_range(frame), sws_getCoefficients(SWS_CS_DEFAULT), 1, 0,
                                 1 << 16, 1 << 16);
    }
    const size_t row = (size_t)width * 3, stride = (row + 127) / 64 * 64, needed = stride * (size_t)height + 64;
    if (state->capacity < needed) {
        av_freep(&state->rows);
        state->capacity = 0;
        if (!(state->rows = av_malloc(needed)))
            return vmae_fail(VMAE_ENOMEM, "%s: out of memory for %d x %d pixels", name, width, height);
        state->capacity = needed;
    }
    uint8_t *const planes[4] = { state->rows, NULL, NULL, NULL };
    const int strides[4] = { (int)stride, 0, 0, 0 };
    if (sws_scale(state->context, (const uint8_t *const *)frame->data, frame->linesize, 0, height, planes, strides) !=
        height)
        return vmae_fail(VMAE_EDATA, "%s: cannot convert %d x %d pixels of format %s to RGB", name, width, height,
                         format->name);
    VMAE_TRY(vmae_image_resize_buffer(image, height, width));
    for (int y = 0; y < height; y++)
        memcpy(image->rgb + (size_t)y * row, state->rows + (size_t)y * stride, row);
    return VMAE_OK;
}

void vmae_av_rgb_release(vmae_av_rgb *state)
{
    sws_freeContext(state->context);
    av_free(state->rows);
    *state = (vmae_av_rgb){ 0 };
}
