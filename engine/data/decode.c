/* decode.c -- still images to RGB: JPEG by libjpeg-turbo, the rest by FFmpeg's decoders, from memory. */
#include "engine/data/data.h"

#include "engine/core/mem.h"
#include "engine/data/av.h"

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <turbojpeg.h>

#include <stdlib.h>
#include <string.h>

enum { MAX_FILE_BYTES = 512 << 20 };

/* ---- JPEG ---- */

/* The smallest of libjpeg's DCT scales (k/8) that keeps the short side at least `least` long. */
static tjscalingfactor choose_scale(int width, int height, int least)
{
    tjscalingfactor best = { 1, 1 };
    int factors = 0;
    const tjscalingfactor *scale = tjGetScalingFactors(&factors);
    const int side = width < height ? width : height;
    for (int i = 0; least > 0 && scale && i < factors; i++)
        if (TJSCALED(side, scale[i]) >= least && scale[i].num * best.denom < best.num * scale[i].denom)
            best = scale[i];
    return best;
}

/* a * b / 255, rounded, as Pillow does it. */
static int multiply_255(int a, int b)
{
    const int t = a * b + 128;
    return ((t >> 8) + t) >> 8;
}

/* CMYK in JPEG files is stored inverted (Adobe's habit, which Pillow takes for granted too). The formula is Pillow's.
 */
static void cmyk_to_rgb(const uint8_t *cmyk, size_t pixels, uint8_t *rgb)
{
    for (size_t i = 0; i < pixels; i++, cmyk += 4, rgb += 3)
        for (int c = 0; c < 3; c++) {
            const int value = cmyk[3] - multiply_255(255 - cmyk[c], cmyk[3]);
            rgb[c] = (uint8_t)(value < 0 ? 0 : value);
        }
}

static vmae_status decode_jpeg(vmae_image *image, const uint8_t *bytes, size_t count, int least, const char *name)
{
    /* Accurate DCT: the same pixels as Pillow. A warning is a truncated or damaged file: refused, not grey-filled. */
    const int flags = TJFLAG_ACCURATEDCT | TJFLAG_STOPONWARNING | TJFLAG_LIMITSCANS;
    vmae_status st = VMAE_OK;
    uint8_t *cmyk = NULL;
    int width, height, sampling, colours, code;
    tjhandle handle = tjInitDecompress();
    if (!handle)
        return vmae_fail(VMAE_ENOMEM, "%s: out of memory for a JPEG decoder", name);
    if (tjDecompressHeader3(handle, bytes, count, &width, &height, &sampling, &colours) != 0) {
        st = vmae_fail(VMAE_EDATA, "%s: not a whole JPEG: %s", name, tjGetErrorStr2(handle));
        goto done;
    }
    if (width < 1 || height < 1 || (int64_t)width * height > VMAE_MAX_PIXELS) {
        st = vmae_fail(VMAE_EDATA, "%s: %d x %d pixels, more than 64 Mpixel", name, width, height);
        goto done;
    }
    const tjscalingfactor scale = choose_scale(width, height, least);
    width = TJSCALED(width, scale);
    height = TJSCALED(height, scale);
    if ((st = vmae_image_resize_buffer(image, height, width)) != VMAE_OK)
        goto done;
    if (colours == TJCS_CMYK || colours == TJCS_YCCK) {
        const size_t pixels = (size_t)width * (size_t)height;
        if (!(cmyk = vmae_calloc(pixels, 4))) {
            st = VMAE_ENOMEM;
            goto done;
        }
        code = tjDecompress2(handle, bytes, count, cmyk, width, 0, height, TJPF_CMYK, flags);
        if (code == 0)
            cmyk_to_rgb(cmyk, pixels, image->rgb);
    } else {
        code = tjDecompress2(handle, bytes, count, image->rgb, width, 0, height, TJPF_RGB, flags);
    }
    if (code != 0)
        st = vmae_fail(VMAE_EDATA, "%s: truncated or damaged JPEG: %s", name, tjGetErrorStr2(handle));
done:
    free(cmyk);
    tjDestroy(handle);
    return st;
}

/* ---- everything else ---- */

typedef struct still_format {
    const char *text, *magic;
    size_t length;
    enum AVCodecID codec;
} still_format;
static const still_format formats[] = {
    { "PNG", "\x89PNG\r\n\x1a\n", 8, AV_CODEC_ID_PNG },
    { "WebP", "RIFF", 4, AV_CODEC_ID_WEBP },
    { "GIF", "GIF87a", 6, AV_CODEC_ID_GIF },
    { "GIF", "GIF89a", 6, AV_CODEC_ID_GIF },
    { "BMP", "BM", 2, AV_CODEC_ID_BMP },
    { "TIFF", "II*\0", 4, AV_CODEC_ID_TIFF },
    { "TIFF", "MM\0*", 4, AV_CODEC_ID_TIFF },
    { "PPM", "P6", 2, AV_CODEC_ID_PPM },
    { "PGM", "P5", 2, AV_CODEC_ID_PGM },
};

static const still_format *recognise(const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (count >= formats[i].length && memcmp(bytes, formats[i].magic, formats[i].length) == 0)
            if (formats[i].codec != AV_CODEC_ID_WEBP || (count >= 12 && memcmp(bytes + 8, "WEBP", 4) == 0))
                return &formats[i];
    return NULL;
}

typedef struct memory_file {
    const uint8_t *bytes;
    size_t count, at;
} memory_file;

static int memory_read(void *opaque, uint8_t *buffer, int wanted)
{
    memory_file *file = opaque;
    const size_t left = file->count - file->at, take = left < (size_t)wanted ? left : (size_t)wanted;
    if (!take)
        return AVERROR_EOF;
    memcpy(buffer, file->bytes + file->at, take);
    file->at += take;
    return (int)take;
}

static int64_t memory_seek(void *opaque, int64_t offset, int whence)
{
    memory_file *file = opaque;
    if (whence == AVSEEK_SIZE)
        return (int64_t)file->count;
    if (whence != SEEK_SET || offset < 0 || (uint64_t)offset > file->count)
        return AVERROR(EINVAL);
    file->at = (size_t)offset;
    return offset;
}

/* A GIF is a container: its first frame has to be cut out by the demuxer. Returns FFmpeg's code. */
static int first_gif_packet(AVPacket *packet, const uint8_t *bytes, size_t count)
{
    enum { BUFFER = 1 << 16 };
    memory_file file = { bytes, count, 0 };
    int code = AVERROR(ENOMEM);
    AVFormatContext *format = avformat_alloc_context();
    uint8_t *buffer = av_malloc(BUFFER);
    AVIOContext *io = buffer ? avio_alloc_context(buffer, BUFFER, 0, &file, memory_read, NULL, memory_seek) : NULL;
    if (!io)
        av_free(buffer);
    if (io && format) {
        format->pb = io;
        code = avformat_open_input(&format, NULL, av_find_input_format("gif"), NULL); /* frees format on failure */
        if (code >= 0)
            code = av_read_frame(format, packet);
        if (code >= 0 && packet->flags & AV_PKT_FLAG_CORRUPT)
            code = AVERROR_INVALIDDATA;
    }
    avformat_close_input(&format);
    if (io)
        av_freep(&io->buffer);
    avio_context_free(&io);
    return code;
}

static int whole_packet(AVPacket *packet, const uint8_t *bytes, size_t count)
{
    const int code = av_new_packet(packet, (int)count); /* with the padding that decoders read into */
    if (code >= 0)
        memcpy(packet->data, bytes, count);
    return code;
}

/* Whether the first picture of a GIF is all there: its colour tables, and its chain of data blocks to the end. */
static bool gif_is_whole(const uint8_t *bytes, size_t count)
{
    size_t at = 13;
    if (count < at)
        return false;
    if (bytes[10] & 0x80)
        at += (size_t)6 << (bytes[10] & 7);
    for (bool picture = false; !picture;) {
        if (at + 10 > count)
            return false;
        if (bytes[at] == 0x2c) { /* an image: position, size, flags, colours, code size */
            picture = true;
            const uint8_t flags = bytes[at + 9];
            at += 11 + (flags & 0x80 ? (size_t)6 << (flags & 7) : 0);
        } else if (bytes[at] == 0x21) { /* an extension and its kind */
            at += 2;
        } else {
            return false;
        }
        while (at < count && bytes[at])
            at += 1 + (size_t)bytes[at];
        if (at >= count)
            return false;
        at++;
    }
    return true;
}

/* FFmpeg's decoders forgive some truncated files; a length that the file itself states is checked here. */
static bool is_whole(const still_format *format, const uint8_t *bytes, size_t count)
{
    if (format->codec == AV_CODEC_ID_WEBP) {
        const uint64_t stated = bytes[4] | bytes[5] << 8 | bytes[6] << 16 | (uint64_t)bytes[7] << 24;
        return stated + 8 <= count;
    }
    if (format->codec == AV_CODEC_ID_PNG) /* the last chunk: length 0, "IEND", its CRC; bytes may follow */
        return memmem(bytes, count, "\0\0\0\0IEND\xae\x42\x60\x82", 12) != NULL;
    return format->codec != AV_CODEC_ID_GIF || gif_is_whole(bytes, count);
}

static vmae_status decode_still(vmae_image *image, const uint8_t *bytes, size_t count, const char *name)
{
    const still_format *format = recognise(bytes, count);
    if (!format)
        return vmae_fail(VMAE_EDATA, "%s: not an image of a known kind (JPEG, PNG, WebP, GIF, BMP, TIFF, PPM)", name);
    if (!is_whole(format, bytes, count))
        return vmae_fail(VMAE_EDATA, "%s: truncated %s: it ends after %zu bytes", name, format->text, count);
    char text[128];
    vmae_status st = VMAE_OK;
    vmae_av_rgb rgb = { 0 };
    const AVCodec *codec = avcodec_find_decoder(format->codec);
    AVCodecContext *decoder = codec ? avcodec_alloc_context3(codec) : NULL;
    AVPacket *packet = av_packet_alloc();
    AVFrame *frame = av_frame_alloc();
    if (!codec) {
        st = vmae_fail(VMAE_EDATA, "%s: this FFmpeg was built without its %s decoder", name, format->text);
        goto done;
    }
    if (!decoder || !packet || !frame) {
        st = vmae_fail(VMAE_ENOMEM, "%s: out of memory for a %s decoder", name, format->text);
        goto done;
    }
    decoder->thread_count = 1;
    decoder->max_pixels = VMAE_MAX_PIXELS;
    if (format->codec != AV_CODEC_ID_TIFF) /* that one takes every tag it does not know for an error */
        decoder->err_recognition = AV_EF_EXPLODE | AV_EF_CRCCHECK | AV_EF_BITSTREAM | AV_EF_BUFFER;
    int code =
        format->codec == AV_CODEC_ID_GIF ? first_gif_packet(packet, bytes, count) : whole_packet(packet, bytes, count);
    if (code >= 0)
        code = avcodec_open2(decoder, codec, NULL);
    if (code >= 0)
        code = avcodec_send_packet(decoder, packet);
    if (code >= 0)
        code = avcodec_send_packet(decoder, NULL);
    if (code >= 0)
        code = avcodec_receive_frame(decoder, frame);
    if (code >= 0 && (frame->decode_error_flags || frame->flags & AV_FRAME_FLAG_CORRUPT))
        code = AVERROR_INVALIDDATA;
    if (code < 0 && (int64_t)decoder->width * decoder->height > VMAE_MAX_PIXELS)
        st = vmae_fail(VMAE_EDATA, "%s: %d x %d pixels, more than 64 Mpixel", name, decoder->width, decoder->height);
    else if (code < 0)
        st = vmae_fail(VMAE_EDATA, "%s: truncated, damaged or unsupported %s: %s", name, format->text,
                       vmae_av_error(code, text, sizeof text));
    else
        st = vmae_av_to_rgb(&rgb, frame, image, name);
done:
    vmae_av_rgb_release(&rgb);
    av_frame_free(&frame);
    av_packet_free(&packet);
    avcodec_free_context(&decoder);
    return st;
}

vmae_status vmae_decode_image(vmae_image *image, const uint8_t *bytes, size_t count, int least, const char *name)
{
    if (!bytes || !count)
        return vmae_fail(VMAE_EDATA, "%s: an empty file, not an image", name);
    if (count > MAX_FILE_BYTES)
        return vmae_fail(VMAE_EDATA, "%s: %zu bytes, more than any image of at most 64 Mpixel should have", name,
                         count);
    if (count >= 3 && memcmp(bytes, "\xff\xd8\xff", 3) == 0)
        return decode_jpeg(image, bytes, count, least, name);
    vmae_av_quiet();
    return decode_still(image, bytes, count, name);
}
