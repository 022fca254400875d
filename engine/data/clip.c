/* clip.c -- one open video file. The file is opened and read through an AVIOContext of our own, because its error field
 * alone tells a disk that fails from a demuxer that says EIO of a damaged file. */
#include "engine/data/clip.h"

#include "engine/core/mem.h"
#include "engine/data/av.h"
#include "engine/data/video.h"

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static atomic_llong decoded;

int64_t vmae_video_decoded(void)
{
    return atomic_load(&decoded);
}

bool vmae_clip_is_mov(const vmae_clip *c)
{
    return strstr(c->format->iformat->name, "mp4") != NULL;
}

vmae_status vmae_clip_fail(const vmae_clip *c, int code, const char *what)
{
    char text[128];
    if (c->io && c->io->error < 0 && c->io->error != AVERROR_EOF)
        return vmae_fail_errno(AVUNERROR(c->io->error), "cannot read %s", c->path);
    return vmae_fail(VMAE_EDATA, "%s: %s: %s", c->path, what, vmae_av_error(code, text, sizeof text));
}

static vmae_status open_file(vmae_clip *c)
{
    AVDictionary *options = NULL;
    char *url = vmae_format("file:%s", c->path); /* else a name with a colon is taken for a protocol */
    if (!url)
        return VMAE_ENOMEM;
    av_dict_set(&options, "protocol_whitelist", "file", 0);
    int code = avio_open2(&c->io, url, AVIO_FLAG_READ, NULL, &options);
    av_dict_free(&options);
    free(url);
    return code < 0 ? vmae_fail_errno(AVUNERROR(code), "cannot open %s", c->path) : VMAE_OK;
}

static vmae_status open_container(vmae_clip *c)
{
    AVDictionary *options = NULL;
    if (!(c->packet = av_packet_alloc()) || !(c->frame = av_frame_alloc()) || !(c->format = avformat_alloc_context()))
        return vmae_fail(VMAE_ENOMEM, "%s: out of memory for a demuxer", c->path);
    c->format->pb = c->io;
    av_dict_set(&options, "protocol_whitelist", "file", 0);
    av_dict_set(&options, "format_whitelist", vmae_video_demuxers(), 0);
    int code = avformat_open_input(&c->format, c->path, NULL, &options); /* frees format on failure */
    av_dict_free(&options);
    const bool not_read = c->io->error < 0 && c->io->error != AVERROR_EOF;
    if (!not_read &&
        (code == AVERROR_INVALIDDATA || code == AVERROR_EOF || code == AVERROR(EINVAL))) /* EINVAL: not on the list */
        return vmae_fail(VMAE_EDATA, "%s: not a video file that FFmpeg can read, or truncated in its header", c->path);
    if (code < 0)
        return vmae_clip_fail(c, code, "cannot be opened as a video");
    /* MP4's header says all that a decoder needs; elsewhere FFmpeg has to look at some frames. */
    if (!vmae_clip_is_mov(c) && (code = avformat_find_stream_info(c->format, NULL)) < 0)
        return vmae_clip_fail(c, code, "cannot find out what is in it");
    return VMAE_OK;
}

static vmae_status choose_stream(vmae_clip *c)
{
    for (unsigned i = 0; i < c->format->nb_streams; i++) {
        AVStream *stream = c->format->streams[i];
        const bool wanted = !c->stream && stream->codecpar->codec_type == AVMEDIA_TYPE_VIDEO &&
                            !(stream->disposition & AV_DISPOSITION_ATTACHED_PIC); /* a cover, not a video */
        if (wanted)
            c->stream = stream;
        else
            stream->discard = AVDISCARD_ALL;
    }
    return c->stream ? VMAE_OK
                     : vmae_fail(VMAE_EDATA, "%s: no video stream in it%s", c->path,
                                 c->format->nb_streams ? " (audio only?)" : "");
}

vmae_status vmae_clip_open(vmae_clip *c, const char *path)
{
    *c = (vmae_clip){ .path = path };
    vmae_av_quiet();
    vmae_status st;
    if ((st = open_file(c)) != VMAE_OK || (st = open_container(c)) != VMAE_OK || (st = choose_stream(c)) != VMAE_OK)
        vmae_clip_close(c);
    return st;
}

static vmae_status open_decoder(vmae_clip *c)
{
    const AVCodecParameters *parameters = c->stream->codecpar;
    const AVCodec *codec = avcodec_find_decoder(parameters->codec_id);
    if (!codec)
        return vmae_fail(VMAE_EDATA, "%s: this FFmpeg has no decoder for its video (%s)", c->path,
                         avcodec_get_name(parameters->codec_id));
    if (!(c->decoder = avcodec_alloc_context3(codec)))
        return vmae_fail(VMAE_ENOMEM, "%s: out of memory for a decoder", c->path);
    int code = avcodec_parameters_to_context(c->decoder, parameters);
    c->decoder->thread_count = 1; /* the loader's threads are the parallelism */
    c->decoder->max_pixels = VMAE_MAX_PIXELS;
    c->decoder->pkt_timebase = c->stream->time_base;
    c->decoder->flags |= AV_CODEC_FLAG_BITEXACT;
    if (code >= 0)
        code = avcodec_open2(c->decoder, codec, NULL);
    return code < 0 ? vmae_clip_fail(c, code, "cannot start the decoder") : VMAE_OK;
}

vmae_status vmae_clip_open_decoder(vmae_clip *c, const char *path)
{
    VMAE_TRY(vmae_clip_open(c, path));
    const vmae_status st = open_decoder(c);
    if (st != VMAE_OK)
        vmae_clip_close(c);
    return st;
}

void vmae_clip_close(vmae_clip *c)
{
    av_packet_free(&c->packet);
    av_frame_free(&c->frame);
    avcodec_free_context(&c->decoder);
    avformat_close_input(&c->format);
    avio_closep(&c->io);
}

int vmae_clip_read(vmae_clip *c)
{
    for (;;) {
        const int code = av_read_frame(c->format, c->packet);
        if (code < 0) /* demuxers take a failed read for the end of the file */
            return c->io->error < 0 ? c->io->error : code;
        if (c->packet->stream_index == c->stream->index)
            return 0;
        av_packet_unref(c->packet);
    }
}

/* Whether the packet need not be decoded unless others depend on it. */
static bool is_skippable(const vmae_clip *c)
{
    for (int i = 0; i < c->wanted_count; i++)
        if (c->wanted[i] == c->packet->pts)
            return false;
    return c->wanted_count > 0;
}

static int send_packet(vmae_clip *c)
{
    c->packet_pending = false;
    c->decoder->skip_frame = is_skippable(c) ? AVDISCARD_NONREF : AVDISCARD_DEFAULT;
    if (c->numbered)
        c->packet->pts = c->packet->dts = c->next_number++; /* a decoder hands it on with the frame */
    const int code = avcodec_send_packet(c->decoder, c->packet);
    av_packet_unref(c->packet);
    if (code < 0)
        c->damaged = true;
    return code == AVERROR(ENOMEM) ? code : 0;
}

int vmae_clip_next(vmae_clip *c)
{
    for (;;) {
        int code = avcodec_receive_frame(c->decoder, c->frame);
        if (code == 0) {
            atomic_fetch_add(&decoded, 1);
            c->damaged |= c->frame->decode_error_flags || c->frame->flags & AV_FRAME_FLAG_CORRUPT;
        }
        if (code != AVERROR(EAGAIN))
            return code;
        code = c->packet_pending ? 0 : vmae_clip_read(c);
        if (code == AVERROR_EOF && !c->draining) {
            c->draining = true;
            code = avcodec_send_packet(c->decoder, NULL);
        } else if (code == 0) {
            code = send_packet(c);
        }
        if (code < 0)
            return code;
    }
}

void vmae_clip_flush(vmae_clip *c)
{
    avcodec_flush_buffers(c->decoder);
    av_packet_unref(c->packet);
    c->packet_pending = c->draining = c->damaged = false;
}
