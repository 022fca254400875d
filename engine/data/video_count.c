/* video_count.c -- how many frames a clip has, and where its decoding can start. */
#include "engine/core/mem.h"
#include "engine/data/clip.h"
#include "engine/data/video.h"

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/crc.h>
#include <libavutil/imgutils.h>
#include <libavutil/pixdesc.h>

#include <stdlib.h>
#include <string.h>

enum { MAX_FRAMES = 50000000 };

/* ---- the packets ---- */

typedef struct key_packet {
    int64_t number, pts, dts, position;
} key_packet;

typedef struct packet_list {
    int64_t *times; /* of the packets that are shown */
    int64_t count, room;
    key_packet *keys; /* all but the first packet */
    int64_t key_count, key_room;
    int64_t packets;
} packet_list;

/* Room for one more of `size` bytes each. NULL: out of memory, *list as it was. */
static void *grow(void *list, int64_t count, int64_t *room, size_t size)
{
    if (count < *room)
        return list;
    const int64_t wanted = *room ? *room * 2 : 64;
    void *moved = vmae_realloc(list, (size_t)wanted, size);
    if (moved)
        *room = wanted;
    return moved;
}

static vmae_status append_time(packet_list *list, int64_t time)
{
    int64_t *times = grow(list->times, list->count, &list->room, sizeof *times);
    if (!times)
        return VMAE_ENOMEM;
    list->times = times;
    times[list->count++] = time;
    return VMAE_OK;
}

static vmae_status append_key(packet_list *list, key_packet key)
{
    key_packet *keys = grow(list->keys, list->key_count, &list->key_room, sizeof *keys);
    if (!keys)
        return VMAE_ENOMEM;
    list->keys = keys;
    keys[list->key_count++] = key;
    return VMAE_OK;
}

/* One packet, one frame: only where container and codec promise it. */
static bool is_trusted(const vmae_clip *c)
{
    if (!vmae_clip_is_mov(c) && !strstr(c->format->iformat->name, "matroska"))
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
static bool is_shown(const vmae_clip *c)
{
    if (c->packet->flags & AV_PKT_FLAG_DISCARD)
        return false;
    return c->stream->codecpar->codec_id != AV_CODEC_ID_VP8 || c->packet->size < 1 || c->packet->data[0] & 0x10;
}

/* Reads every packet. *trusted is cleared where their times do not number the frames. */
static vmae_status scan_packets(vmae_clip *c, packet_list *list, bool *trusted)
{
    int64_t first = 0;
    int code;
    while ((code = vmae_clip_read(c)) == 0) {
        const AVPacket *packet = c->packet;
        const bool corrupt = packet->flags & AV_PKT_FLAG_CORRUPT, shown = is_shown(c);
        const bool is_key = packet->flags & AV_PKT_FLAG_KEY && shown;
        const key_packet key = { list->packets, packet->pts, packet->dts, packet->pos };
        av_packet_unref(c->packet);
        if (list->packets == 0) {
            first = key.pts;
            *trusted &= is_key;
        }
        *trusted &= key.pts != AV_NOPTS_VALUE && key.pts >= first;
        if (corrupt || list->packets == MAX_FRAMES)
            return vmae_fail(VMAE_EDATA, "%s: %s after %lld packets of video", c->path,
                             corrupt ? "truncated or damaged" : "too long", (long long)list->packets);
        if (is_key && list->packets > 0)
            VMAE_TRY(append_key(list, key));
        if (shown)
            VMAE_TRY(append_time(list, key.pts));
        list->packets++;
    }
    if (code != AVERROR_EOF)
        return vmae_clip_fail(c, code, "truncated or damaged");
    const int64_t stated = vmae_clip_is_mov(c) ? avformat_index_get_entries_count(c->stream) : 0;
    if (list->packets < stated)
        return vmae_fail(VMAE_EDATA, "%s: truncated: its index has %lld frames, only %lld are there", c->path,
                         (long long)stated, (long long)list->packets);
    return list->count ? VMAE_OK : vmae_fail(VMAE_EDATA, "%s: its video stream has no frames", c->path);
}

/* ---- frames by time ---- */

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

int64_t vmae_video_time(const vmae_video_index *index, int frame)
{
    return index->first + (index->times ? (int64_t)index->times[frame]
                                        : even_time(index->last - index->first, index->info.frames, frame));
}

/* Keeps the sorted times: as a formula if they are even, as they mostly are, else one by one. Not by time if they
 * repeat. */
static vmae_status keep_times(vmae_video_index *index, const packet_list *list, AVRational tick)
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

static int by_frame(const void *a, const void *b)
{
    const vmae_key_frame *x = a, *y = b;
    return x->frame < y->frame ? -1 : x->frame > y->frame;
}

static vmae_status keep_keys_by_time(vmae_video_index *index, const packet_list *list)
{
    if (!list->key_count)
        return VMAE_OK;
    if (!(index->keys = vmae_calloc((size_t)list->key_count, sizeof *index->keys)))
        return VMAE_ENOMEM;
    for (int64_t i = 0; i < list->key_count; i++) {
        const int64_t time = list->keys[i].pts;
        const int64_t *found = bsearch(&time, list->times, (size_t)list->count, sizeof *list->times, by_value);
        if (found && found > list->times)
            index->keys[index->key_count++] = (vmae_key_frame){ (int)(found - list->times), time, -1 };
    }
    qsort(index->keys, (size_t)index->key_count, sizeof *index->keys, by_frame);
    return VMAE_OK;
}

/* ---- frames by decoding ---- */

uint32_t vmae_video_check(const AVFrame *frame)
{
    const AVCRC *table = av_crc_get_table(AV_CRC_32_IEEE);
    const AVPixFmtDescriptor *format = av_pix_fmt_desc_get((enum AVPixelFormat)frame->format);
    const int planes = av_pix_fmt_count_planes((enum AVPixelFormat)frame->format);
    uint32_t check = (uint32_t)frame->width << 16 ^ (uint32_t)frame->height;
    for (int p = 0; p < planes && format; p++) {
        const int bytes = av_image_get_linesize((enum AVPixelFormat)frame->format, frame->width, p);
        const int rows = p == 1 || p == 2 ? AV_CEIL_RSHIFT(frame->height, format->log2_chroma_h) : frame->height;
        for (int y = 0; y < rows && bytes > 0; y++)
            check = av_crc(table, check, frame->data[p] + (ptrdiff_t)y * frame->linesize[p], (size_t)bytes);
    }
    return check;
}

/* Decodes all of it, noting a mark for each frame where `marking`; *marked is cleared where a frame cannot be told by
 * its packet. */
static vmae_status decode_through(vmae_clip *c, vmae_video_index *index, bool marking, bool *marked)
{
    int64_t room = 0;
    int code;
    while ((code = vmae_clip_next(c)) == 0 && index->info.frames < MAX_FRAMES) {
        const int n = index->info.frames++;
        if (!marking)
            continue;
        vmae_frame_mark *marks = grow(index->marks, n, &room, sizeof *marks);
        if (!marks)
            return VMAE_ENOMEM;
        index->marks = marks;
        *marked &= c->frame->pts >= 0 && c->frame->pts < MAX_FRAMES;
        marks[n] = (vmae_frame_mark){ (uint32_t)c->frame->pts, vmae_video_check(c->frame) };
    }
    return code == 0 || code == AVERROR_EOF ? VMAE_OK : vmae_clip_fail(c, code, "cannot be decoded to its end");
}

/* The key packets that came out as a frame can be sought, if every frame was in a packet of its own. */
static vmae_status keep_keys_by_mark(vmae_video_index *index, const packet_list *list)
{
    const size_t packets = (size_t)list->packets;
    int *frame_of = vmae_calloc(packets, sizeof *frame_of); /* frame + 1 */
    index->keys = vmae_calloc((size_t)list->key_count, sizeof *index->keys);
    if (!frame_of || !index->keys) {
        free(frame_of);
        return VMAE_ENOMEM;
    }
    bool unique = true;
    for (int n = 0; n < index->info.frames && unique; n++) {
        const uint32_t packet = index->marks[n].packet;
        unique = packet < packets && !frame_of[packet];
        if (unique)
            frame_of[packet] = n + 1;
    }
    for (int64_t i = 0; i < list->key_count && unique; i++) {
        const key_packet *key = &list->keys[i];
        const int frame = frame_of[key->number] - 1;
        if (frame > 0 && key->dts != AV_NOPTS_VALUE && key->position >= 0)
            index->keys[index->key_count++] = (vmae_key_frame){ frame, key->dts, key->position };
    }
    qsort(index->keys, (size_t)index->key_count, sizeof *index->keys, by_frame);
    free(frame_of);
    return VMAE_OK;
}

static vmae_status count_by_decoding(vmae_video_index *index, const char *path, const packet_list *list)
{
    vmae_clip c;
    bool marked = true;
    const bool marking = list->key_count > 0;
    VMAE_TRY(vmae_clip_open_decoder(&c, path));
    c.numbered = true;
    index->info.frames = 0;
    vmae_status st = decode_through(&c, index, marking, &marked);
    vmae_clip_close(&c);
    if (st == VMAE_OK && marking && marked)
        st = keep_keys_by_mark(index, list);
    if (!index->key_count) { /* nothing to seek: the marks serve nobody */
        free(index->marks);
        index->marks = NULL;
    }
    if (st == VMAE_OK && index->info.frames == 0)
        st = vmae_fail(VMAE_EDATA, "%s: no frame of its video stream can be decoded", path);
    return st;
}

vmae_status vmae_video_count(vmae_video_index *index, const char *path)
{
    vmae_clip c;
    packet_list list = { 0 };
    vmae_video_index made = { 0 };
    VMAE_TRY(vmae_clip_open(&c, path));
    bool trusted = is_trusted(&c);
    vmae_status st = scan_packets(&c, &list, &trusted);
    const AVRational rate = c.stream->avg_frame_rate.num ? c.stream->avg_frame_rate : c.stream->r_frame_rate;
    made.info.frames = (int)list.count;
    made.info.frames_per_s = rate.num > 0 && rate.den > 0 ? av_q2d(rate) : 0.0;
    if (st == VMAE_OK && trusted) {
        qsort(list.times, (size_t)list.count, sizeof *list.times, by_value);
        st = keep_times(&made, &list, c.stream->time_base);
    }
    vmae_clip_close(&c);
    if (st == VMAE_OK)
        st = made.by_time ? keep_keys_by_time(&made, &list) : count_by_decoding(&made, path, &list);
    free(list.times);
    free(list.keys);
    if (st == VMAE_OK)
        *index = made;
    else
        vmae_video_index_release(&made);
    return st;
}

void vmae_video_index_release(vmae_video_index *index)
{
    free(index->times);
    free(index->marks);
    free(index->keys);
    *index = (vmae_video_index){ 0 };
}
