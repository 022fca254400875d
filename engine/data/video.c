/* video.c -- any frames of a counted video file, by decoding on from the key frame before them. */
#include "engine/data/video.h"

#include "engine/core/mem.h"
#include "engine/data/av.h"
#include "engine/data/clip.h"

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>

#include <stdlib.h>
#include <string.h>

static vmae_status frame_fail(const vmae_clip *c, const vmae_video_index *index, int frame, const char *what)
{
    if (c->io->error < 0) /* not the file's fault */
        return vmae_clip_fail(c, c->io->error, what);
    return vmae_fail(VMAE_EDATA, "%s: frame %d of %d %s", c->path, frame, index->info.frames, what);
}

/* ---- decoding on ---- */

/* Until the frame of this time comes. VMAE_EDATA if it does not. */
static vmae_status decode_to_time(vmae_clip *c, const vmae_video_index *index, int frame)
{
    const int64_t wanted = vmae_video_time(index, frame);
    for (;;) {
        const int code = vmae_clip_next(c);
        if (code == AVERROR_EOF)
            return frame_fail(c, index, frame, "does not decode");
        if (code < 0)
            return vmae_clip_fail(c, code, "cannot be decoded");
        if (c->frame->pts == wanted)
            return c->damaged ? frame_fail(c, index, frame, "or one that it depends on is damaged") : VMAE_OK;
        if (c->frame->pts != AV_NOPTS_VALUE && c->frame->pts > wanted)
            return frame_fail(c, index, frame, "does not decode");
    }
}

/* Until the frame of this mark comes, or without marks the `skipped`th. */
static vmae_status decode_to_mark(vmae_clip *c, const vmae_video_index *index, int frame, int skipped)
{
    const vmae_frame_mark *mark = index->marks ? &index->marks[frame] : NULL;
    for (bool found = false; !found;) {
        const int code = vmae_clip_next(c);
        if (code == AVERROR_EOF)
            return frame_fail(c, index, frame, "is missing: the file has changed since it was counted");
        if (code < 0)
            return vmae_clip_fail(c, code, "cannot be decoded");
        found = mark ? c->frame->pts == mark->packet : skipped-- == 0;
    }
    if (c->damaged)
        return frame_fail(c, index, frame, "or one before it is damaged");
    if (mark && vmae_video_check(c->frame) != mark->check)
        return frame_fail(c, index, frame, "is another one now: the file has changed since it was counted");
    return VMAE_OK;
}

/* *at is the frame that was decoded last, -1 before the first. */
static vmae_status decode_on(vmae_clip *c, const vmae_video_index *index, int frame, int *at)
{
    VMAE_TRY(index->by_time ? decode_to_time(c, index, frame) : decode_to_mark(c, index, frame, frame - *at - 1));
    *at = frame;
    return VMAE_OK;
}

/* ---- seeking ---- */

/* Goes to a key frame whose presentation time is at or before `time`, its packet pending. */
static bool seek_time(vmae_clip *c, int64_t time)
{
    int64_t at = time;
    for (int tries = 0; tries < 3; tries++) {
        if (av_seek_frame(c->format, c->stream->index, at, AVSEEK_FLAG_BACKWARD) < 0)
            return false;
        vmae_clip_flush(c);
        if (vmae_clip_read(c) < 0)
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

/* Goes to the packet of this key frame, reading over those that a coarse seek puts before it. */
static bool seek_packet(vmae_clip *c, const vmae_key_frame *key, uint32_t number)
{
    if (av_seek_frame(c->format, c->stream->index, key->time, AVSEEK_FLAG_BACKWARD) < 0)
        return false;
    vmae_clip_flush(c);
    while (vmae_clip_read(c) == 0) {
        if (c->packet->pos == key->position) {
            c->packet_pending = true;
            c->next_number = number;
            return true;
        }
        if (c->packet->dts != AV_NOPTS_VALUE && c->packet->dts > key->time)
            return false;
        av_packet_unref(c->packet);
    }
    return false;
}

/* The last key frame at or before the frame; NULL: only the beginning. */
static const vmae_key_frame *key_before(const vmae_video_index *index, int frame)
{
    int low = 0, high = index->key_count;
    while (low < high) {
        const int middle = low + (high - low) / 2;
        if (index->keys[middle].frame <= frame)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? &index->keys[low - 1] : NULL;
}

static vmae_status start_over(vmae_clip *c, int *at)
{
    const vmae_clip before = *c;
    vmae_clip_close(c);
    VMAE_TRY(vmae_clip_open_decoder(c, before.path));
    c->numbered = before.numbered;
    *at = -1;
    return VMAE_OK;
}

static vmae_status fetch(vmae_clip *c, const vmae_video_index *index, int frame, int *at)
{
    const vmae_key_frame *key = key_before(index, frame);
    if (!key || key->frame <= *at + 1)
        return decode_on(c, index, frame, at);
    if (index->by_time ? seek_time(c, vmae_video_time(index, frame))
                       : seek_packet(c, key, index->marks[key->frame].packet)) {
        const vmae_status st = decode_on(c, index, frame, at);
        if (st != VMAE_EDATA)
            return st;
    }
    /* Seeking led nowhere, or to other pixels: from the beginning, then, before the frame is called damaged. */
    VMAE_TRY(start_over(c, at));
    return decode_on(c, index, frame, at);
}

/* ---- the frames ---- */

static vmae_status copy_image(vmae_image *to, const vmae_image *from)
{
    VMAE_TRY(vmae_image_resize_buffer(to, from->height, from->width));
    memcpy(to->rgb, from->rgb, (size_t)from->height * (size_t)from->width * 3);
    return VMAE_OK;
}

vmae_status vmae_video_frames(const vmae_video_index *index, const char *path, const int *frame, int count,
                              vmae_image *images)
{
    vmae_clip c;
    vmae_av_rgb rgb = { 0 };
    int at = -1;
    for (int i = 0; i < count; i++)
        if (frame[i] < (i ? frame[i - 1] : 0) || frame[i] >= index->info.frames)
            return vmae_fail(VMAE_EINTERNAL, "%s: frame %d was asked for; it has %d, and they are asked for in order",
                             path, frame[i], index->info.frames);
    int64_t *wanted = vmae_calloc((size_t)count, sizeof *wanted);
    if (!wanted)
        return VMAE_ENOMEM;
    vmae_status st = vmae_clip_open_decoder(&c, path);
    if (st != VMAE_OK)
        goto done;
    c.numbered = !index->by_time;
    if (index->by_time) {
        for (int i = 0; i < count; i++)
            wanted[i] = vmae_video_time(index, frame[i]);
        c.wanted = wanted;
        c.wanted_count = count;
    }
    for (int i = 0; i < count && st == VMAE_OK; i++) {
        if (i && frame[i] == frame[i - 1]) {
            st = copy_image(&images[i], &images[i - 1]);
            continue;
        }
        st = fetch(&c, index, frame[i], &at);
        if (st == VMAE_OK)
            st = vmae_av_to_rgb(&rgb, c.frame, &images[i], path);
    }
    vmae_clip_close(&c);
done:
    vmae_av_rgb_release(&rgb);
    free(wanted);
    return st;
}
