/* video.c -- frames of one video file by FFmpeg: count them once, then fetch any of them.
 *
 * Frame n is the n'th in presentation order. In MP4/MOV and Matroska/WebM every packet has a presentation time and is
 * one frame, so the sorted times of the packets number the frames without decoding, and a frame is fetched by seeking
 * to the key frame before it. That trust is refused to other containers (AVI has no presentation times, MPEG streams
 * lie), to codecs whose packets may hold no frame or several, to times that repeat, and to streams that begin with
 * frames a decoder drops. There, frame n is the n'th that is decoded from the start. */
#include "engine/data/video.h"

#include "engine/core/mem.h"
#include "engine/data/av.h"

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FRAMES = 50000000 };

/* ---- an open file and its decoder ---- */

typedef struct clip {
    const char *path;
    AVFormatContext *format;
    AVStream *stream;
    AVCodecContext *decoder; /* NULL until clip_decoder() */
    AVPacket *packet;
    AVFrame *frame;
    bool packet_pending; /* packet was read, not sent yet */
    bool draining;
    int64_t last_dts;      /* of the packets that were sent */
    bool damaged;          /* an error since the last key frame that was sought */
    const int64_t *wanted; /* [wanted_count] presentation times; if set, frames that no other one refers to are skipped
                              but for these */
    int wanted_count;
} clip;

static void clip_close(clip *c)
{
    av_packet_free(&c->packet);
    av_frame_free(&c->frame);
    avcodec_free_context(&c->decoder);
    avformat_close_input(&c->format);
}

static vmae_status clip_fail(const clip *c, int code, const char *what)
{
    char text[128];
    return vmae_fail(vmae_av_status(code), "%s: %s: %s", c->path, what, vmae_av_error(code, text, sizeof text));
}

/* Demuxers of media files. Not among them: playlists and the like, which would open other files and addresses. */
static const char known_demuxers[] =
    "mov,matroska,avi,mpeg,mpegts,mpegvideo,gif,ogg,flv,asf,m4v,h264,hevc,obu,ivf,mjpeg,"
    "image2,apng,mxf,nut,rm,dv,wav,mp3,aac,flac";

static bool is_mov(const clip *c)
{
    return strstr(c->format->iformat->name, "mp4") != NULL;
}

static vmae_status clip_open(clip *c, const char *path)
{
    *c = (clip){ .path = path, .last_dts = INT64_MIN };
    vmae_status st = VMAE_OK;
    AVDictionary *options = NULL;
    char *url = vmae_format("file:%s", path); /* else a name with a colon is taken for a protocol */
    if (!url)
        return VMAE_ENOMEM;
    vmae_av_quiet();
    c->packet = av_packet_alloc();
    c->frame = av_frame_alloc();
    av_dict_set(&options, "protocol_whitelist", "file", 0);
    av_dict_set(&options, "format_whitelist", known_demuxers, 0);
    int code = c->packet && c->frame ? avformat_open_input(&c->format, url, NULL, &options) : AVERROR(ENOMEM);
    av_dict_free(&options);
    free(url);
    if (code == AVERROR(ENOENT) || code == AVERROR(EACCES))
        st = vmae_fail_errno(AVUNERROR(code), "cannot open %s", path);
    else if (code == AVERROR_INVALIDDATA || code == AVERROR_EOF ||
             code == AVERROR(EINVAL)) /* EINVAL: not on the list */
        st = vmae_fail(VMAE_EDATA, "%s: not a video file that FFmpeg can read, or truncated in its header", path);
    else if (code < 0)
        st = clip_fail(c, code, "cannot be opened as a video");
    /* MP4's header says all that a decoder needs; elsewhere FFmpeg has to look at some frames. */
    if (st == VMAE_OK && !is_mov(c) && (code = avformat_find_stream_info(c->format, NULL)) < 0)
        st = clip_fail(c, code, "cannot find out what is in it");
    for (unsigned i = 0; st == VMAE_OK && i < c->format->nb_streams; i++) {
        AVStream *stream = c->format->streams[i];
        const bool wanted = !c->stream && stream->codecpar->codec_type == AVMEDIA_TYPE_VIDEO &&
                            !(stream->disposition & AV_DISPOSITION_ATTACHED_PIC); /* a cover, not a video */
        if (wanted)
            c->stream = stream;
        else
            stream->discard = AVDISCARD_ALL;
    }
    if (st == VMAE_OK && !c->stream)
        st = vmae_fail(VMAE_EDATA, "%s: no video stream in it%s", path, c->format->nb_streams ? " (audio only?)" : "");
    if (st != VMAE_OK)
        clip_close(c);
    return st;
}

static vmae_status clip_decoder(clip *c)
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
    return code < 0 ? clip_fail(c, code, "cannot start the decoder") : VMAE_OK;
}

/* The next packet of the video into c->packet; AVERROR_EOF at the end. */
static int read_packet(clip *c)
{
    for (;;) {
        const int code = av_read_frame(c->format, c->packet);
        if (code < 0)
            return code;
        if (c->packet->stream_index == c->stream->index)
            return 0;
        av_packet_unref(c->packet);
    }
}

/* Whether the packet need not be decoded unless others depend on it. */
static bool is_skippable(const clip *c)
{
    for (int i = 0; i < c->wanted_count; i++)
        if (c->wanted[i] == c->packet->pts)
            return false;
    return c->wanted_count > 0;
}

/* The next decoded frame into c->frame. Damage that the decoder reports is kept in c->damaged; it goes on with the next
 * packet. */
static int next_frame(clip *c)
{
    for (;;) {
        int code = avcodec_receive_frame(c->decoder, c->frame);
        if (code == 0 && (c->frame->decode_error_flags || c->frame->flags & AV_FRAME_FLAG_CORRUPT))
            c->damaged = true;
        if (code != AVERROR(EAGAIN))
            return code;
        if (!c->packet_pending) {
            code = read_packet(c);
            if (code == AVERROR_EOF && !c->draining) {
                c->draining = true;
                if ((code = avcodec_send_packet(c->decoder, NULL)) < 0)
                    return code;
                continue;
            }
            if (code < 0)
                return code;
        }
        c->packet_pending = false;
        if (c->packet->dts != AV_NOPTS_VALUE)
            c->last_dts = c->packet->dts;
        c->decoder->skip_frame = is_skippable(c) ? AVDISCARD_NONREF : AVDISCARD_DEFAULT;
        code = avcodec_send_packet(c->decoder, c->packet);
        av_packet_unref(c->packet);
        if (code == AVERROR(ENOMEM))
            return code;
        if (code < 0)
            c->damaged = true;
    }
}

/* ---- counting ---- */

typedef struct time_list {
    int64_t *times;
    int64_t count, room;
} time_list;

static vmae_status append(time_list *list, int64_t time)
{
    if (list->count == list->room) {
        const int64_t wanted = list->room ? list->room * 2 : 256;
        int64_t *times = vmae_realloc(list->times, (size_t)wanted, sizeof *times);
        if (!times)
            return VMAE_ENOMEM;
        list->times = times;
        list->room = wanted;
    }
    list->times[list->count++] = time;
    return VMAE_OK;
}

/* One packet, one frame: only where container and codec promise it. */
static bool is_trusted(const clip *c)
{
    if (!is_mov(c) && !strstr(c->format->iformat->name, "matroska"))
        return false;
    switch (c->stream->codecpar->codec_id) {
    case AV_CODEC_ID_H264:
    case AV_CODEC_ID_HEVC:
    case AV_CODEC_ID_VP8:
    case AV_CODEC_ID_VP9:
    case AV_CODEC_ID_AV1: return true;
    default: return false;
    }
}

/* VP8 keeps frames that are only referred to in packets of their own. */
static bool is_shown(const clip *c)
{
    if (c->packet->flags & AV_PKT_FLAG_DISCARD)
        return false;
    return c->stream->codecpar->codec_id != AV_CODEC_ID_VP8 || c->packet->size < 1 || c->packet->data[0] & 0x10;
}

/* Reads every packet. *trusted is cleared where their times do not number the frames. */
static vmae_status scan_packets(clip *c, time_list *list, bool *trusted)
{
    int64_t packets = 0, first = 0;
    int code;
    while ((code = read_packet(c)) == 0) {
        const AVPacket *packet = c->packet;
        const bool corrupt = packet->flags & AV_PKT_FLAG_CORRUPT, shown = is_shown(c);
        const int64_t time = packet->pts;
        if (packets == 0) {
            first = time;
            *trusted &= packet->flags & AV_PKT_FLAG_KEY && shown;
        }
        *trusted &= time != AV_NOPTS_VALUE && time >= first;
        av_packet_unref(c->packet);
        if (corrupt || packets == MAX_FRAMES)
            return vmae_fail(VMAE_EDATA, "%s: %s after %lld packets of video", c->path,
                             corrupt ? "truncated or damaged" : "too long", (long long)packets);
        packets++;
        if (shown)
            VMAE_TRY(append(list, time));
    }
    if (code != AVERROR_EOF)
        return clip_fail(c, code, "truncated or damaged");
    const int64_t stated = is_mov(c) ? avformat_index_get_entries_count(c->stream) : 0;
    if (packets < stated)
        return vmae_fail(VMAE_EDATA, "%s: truncated: its index has %lld frames, only %lld are there", c->path,
                         (long long)stated, (long long)packets);
    return VMAE_OK;
}

static int by_value(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* The n'th of `frames` times spread evenly from 0 to span, to the nearest tick. */
static int64_t even_time(int64_t span, int frames, int n)
{
    return frames < 2 ? 0 : (int64_t)(((__int128)span * n * 2 + frames - 1) / (2 * (int64_t)(frames - 1)));
}

/* Keeps the sorted times: as a formula if they are even, as they mostly are, else one by one. Not by time if they
 * repeat. */
static vmae_status keep_times(vmae_video_index *index, const time_list *list, AVRational tick)
{
    const int frames = (int)list->count;
    const int64_t *times = list->times;
    bool even = true;
    for (int i = 1; i < frames; i++)
        if (times[i] == times[i - 1])
            return VMAE_OK;
    index->first = times[0];
    index->last = times[frames - 1];
    const int64_t span = index->last - index->first;
    if (span < 0 || span > UINT32_MAX)
        return VMAE_OK;
    for (int i = 0; i < frames; i++)
        even &= times[i] - times[0] == even_time(span, frames, i);
    if (!even) {
        if (!(index->times = vmae_calloc((size_t)frames, sizeof *index->times)))
            return VMAE_ENOMEM;
        for (int i = 0; i < frames; i++)
            index->times[i] = (uint32_t)(times[i] - times[0]);
    }
    if (frames > 1)
        index->info.frames_per_s = (frames - 1) / ((double)span * av_q2d(tick));
    index->by_time = true;
    return VMAE_OK;
}

/* Decodes all of it. */
static vmae_status count_by_decoding(const char *path, int *frames)
{
    clip c;
    int code = 0;
    VMAE_TRY(clip_open(&c, path));
    vmae_status st = clip_decoder(&c);
    int count = 0;
    while (st == VMAE_OK && (code = next_frame(&c)) == 0 && count < MAX_FRAMES)
        count++;
    if (st == VMAE_OK && code != AVERROR_EOF)
        st = clip_fail(&c, code, "cannot be decoded to its end");
    clip_close(&c);
    if (st == VMAE_OK)
        *frames = count;
    return st;
}

vmae_status vmae_video_count(vmae_video_index *index, const char *path)
{
    clip c;
    time_list list = { 0 };
    vmae_video_index made = { 0 };
    VMAE_TRY(clip_open(&c, path));
    bool trusted = is_trusted(&c);
    vmae_status st = scan_packets(&c, &list, &trusted);
    if (st == VMAE_OK && list.count == 0)
        st = vmae_fail(VMAE_EDATA, "%s: its video stream has no frames", path);
    if (st != VMAE_OK)
        goto done;
    const AVRational rate = c.stream->avg_frame_rate.num ? c.stream->avg_frame_rate : c.stream->r_frame_rate;
    made.info.frames = (int)list.count;
    made.info.frames_per_s = rate.num > 0 && rate.den > 0 ? av_q2d(rate) : 0.0;
    if (trusted) {
        qsort(list.times, (size_t)list.count, sizeof *list.times, by_value);
        st = keep_times(&made, &list, c.stream->time_base);
    }
    if (st == VMAE_OK && !made.by_time)
        st = count_by_decoding(path, &made.info.frames);
    if (st == VMAE_OK && made.info.frames == 0)
        st = vmae_fail(VMAE_EDATA, "%s: no frame of its video stream can be decoded", path);
done:
    free(list.times);
    clip_close(&c);
    if (st == VMAE_OK)
        *index = made;
    else
        vmae_video_index_release(&made);
    return st;
}

void vmae_video_index_release(vmae_video_index *index)
{
    free(index->times);
    *index = (vmae_video_index){ 0 };
}

/* ---- fetching ---- */

static int64_t time_of(const vmae_video_index *index, int frame)
{
    return index->first + (index->times ? (int64_t)index->times[frame]
                                        : even_time(index->last - index->first, index->info.frames, frame));
}

static vmae_status frame_fail(const clip *c, const vmae_video_index *index, int frame, const char *what)
{
    return vmae_fail(VMAE_EDATA, "%s: frame %d of %d %s", c->path, frame, index->info.frames, what);
}

/* The n'th frame from the start; *at counts what was decoded. */
static vmae_status fetch_by_count(clip *c, const vmae_video_index *index, int frame, int *at)
{
    for (; *at <= frame; ++*at) {
        const int code = next_frame(c);
        if (code == AVERROR_EOF)
            return frame_fail(c, index, frame, "is missing: the file has changed since it was counted");
        if (code < 0)
            return clip_fail(c, code, "cannot be decoded");
    }
    return c->damaged ? frame_fail(c, index, frame, "or one before it is damaged") : VMAE_OK;
}

/* Goes to a key frame whose presentation time is at or before `time`, its packet pending. False: start over from the
 * beginning. */
static bool seek_before(clip *c, int64_t time)
{
    int64_t at = time;
    for (int tries = 0; tries < 3; tries++) {
        if (av_seek_frame(c->format, c->stream->index, at, AVSEEK_FLAG_BACKWARD) < 0)
            return false;
        avcodec_flush_buffers(c->decoder);
        av_packet_unref(c->packet);
        c->packet_pending = c->draining = c->damaged = false;
        if (read_packet(c) < 0)
            return false;
        c->packet_pending = true;
        if (c->packet->flags & AV_PKT_FLAG_KEY && c->packet->pts != AV_NOPTS_VALUE && c->packet->pts <= time)
            return true;
        if (c->packet->dts == AV_NOPTS_VALUE || c->packet->dts == INT64_MIN)
            return false;
        at = c->packet->dts - 1; /* its leading frames come before it: one key frame further back */
    }
    return false;
}

/* Whether a key frame lies between what was decoded last and the wanted time. */
static bool seeking_pays(const clip *c, int64_t time)
{
    const int entry = av_index_search_timestamp(c->stream, time, AVSEEK_FLAG_BACKWARD);
    const AVIndexEntry *found = entry > 0 ? avformat_index_get_entry(c->stream, entry) : NULL;
    return found && found->timestamp > c->last_dts;
}

static vmae_status reopen(clip *c)
{
    const char *path = c->path;
    clip_close(c);
    VMAE_TRY(clip_open(c, path));
    return clip_decoder(c);
}

/* Decodes on until the frame of this time comes. VMAE_EDATA if it does not. */
static vmae_status decode_until(clip *c, const vmae_video_index *index, int frame)
{
    const int64_t wanted = time_of(index, frame);
    for (;;) {
        const int code = next_frame(c);
        if (code == AVERROR_EOF)
            return frame_fail(c, index, frame, "does not decode");
        if (code < 0)
            return clip_fail(c, code, "cannot be decoded");
        if (c->frame->pts == wanted)
            return c->damaged ? frame_fail(c, index, frame, "or one that it depends on is damaged") : VMAE_OK;
        if (c->frame->pts != AV_NOPTS_VALUE && c->frame->pts > wanted)
            return frame_fail(c, index, frame, "does not decode");
    }
}

static vmae_status fetch_by_time(clip *c, const vmae_video_index *index, int frame)
{
    const bool sought = seeking_pays(c, time_of(index, frame));
    if (sought && seek_before(c, time_of(index, frame))) {
        const vmae_status st = decode_until(c, index, frame);
        if (st != VMAE_EDATA)
            return st;
    }
    if (sought) /* seeking led nowhere: from the beginning, then, before the frame is called damaged */
        VMAE_TRY(reopen(c));
    return decode_until(c, index, frame);
}

vmae_status vmae_video_frames(const vmae_video_index *index, const char *path, const int *frame, int count,
                              vmae_image *images)
{
    clip c;
    vmae_av_rgb rgb = { 0 };
    int decoded = 0;
    int64_t *wanted = NULL;
    for (int i = 0; i < count; i++)
        if (frame[i] < (i ? frame[i - 1] : 0) || frame[i] >= index->info.frames)
            return vmae_fail(VMAE_EINTERNAL, "%s: frame %d was asked for; it has %d, and they are asked for in order",
                             path, frame[i], index->info.frames);
    VMAE_TRY(clip_open(&c, path));
    vmae_status st = clip_decoder(&c);
    if (st == VMAE_OK && index->by_time) {
        if (!(wanted = vmae_calloc((size_t)count, sizeof *wanted)))
            st = VMAE_ENOMEM;
        for (int i = 0; i < count && wanted; i++)
            wanted[i] = time_of(index, frame[i]);
        c.wanted = wanted;
        c.wanted_count = wanted ? count : 0;
    }
    for (int i = 0; i < count && st == VMAE_OK; i++) {
        if (i && frame[i] == frame[i - 1]) {
            st = vmae_image_resize_buffer(&images[i], images[i - 1].height, images[i - 1].width);
            if (st == VMAE_OK)
                memcpy(images[i].rgb, images[i - 1].rgb, (size_t)images[i].height * (size_t)images[i].width * 3);
            continue;
        }
        st = index->by_time ? fetch_by_time(&c, index, frame[i]) : fetch_by_count(&c, index, frame[i], &decoded);
        if (st == VMAE_OK)
            st = vmae_av_to_rgb(&rgb, c.frame, &images[i], path);
    }
    vmae_av_rgb_release(&rgb);
    clip_close(&c);
    free(wanted);
    return st;
}
