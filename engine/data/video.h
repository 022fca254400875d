/* video.h -- (private to data/) counting and decoding the frames of one video file.
 *
 * Frame n is the n'th in presentation order. In MP4/MOV and Matroska/WebM every packet has a presentation time and is
 * one frame, so the sorted times of the packets number the frames without decoding. That trust is refused to other
 * containers (AVI has no presentation times, MPEG streams lie), to codecs whose packets may hold no frame or several,
 * to times that repeat, and to streams that begin with frames a decoder drops. There, frame n is the n'th that is
 * decoded from the start, and what that gave is kept as a mark for each frame, so that a frame which is fetched by
 * seeking is known to be the same one. */
#ifndef VMAE_DATA_VIDEO_H
#define VMAE_DATA_VIDEO_H

#include "engine/data/data.h"

/* ---- containers.c ---- */

/* Endings of file names that are taken for clips, without dot, ended by NULL; and the demuxers that may open them,
 * as FFmpeg's format_whitelist wants them. */
const char *const *vmae_video_extensions(void);
const char *vmae_video_demuxers(void);

/* ---- what is known of a clip ---- */

/* A frame that decoding can start at. */
typedef struct vmae_key_frame {
    int frame;
    int64_t time;     /* to seek to: by_time its presentation time, else its packet's decoding time */
    int64_t position; /* of its packet in the file, by which it is known again (not by_time) */
} vmae_key_frame;

/* A frame as decoding from the start gave it. */
typedef struct vmae_frame_mark {
    uint32_t packet; /* number of the packet that it was in */
    uint32_t check;  /* CRC of its pixels */
} vmae_frame_mark;

typedef struct vmae_video_index {
    vmae_clip_info info;
    bool by_time;        /* frames are found by their times, else by their marks, or by counting if there are none */
    int64_t first, last; /* presentation times of the first and last frame; the rest lie evenly between (to the nearest
                            tick) ... */
    uint32_t *times;     /* ... unless they are here: [frames], relative to first; owned */
    vmae_frame_mark *marks; /* [frames], or NULL; owned */
    vmae_key_frame *keys;   /* [key_count] by ascending frame, without frame 0; owned */
    int key_count;
} vmae_video_index;

/* ---- video_count.c ---- */

/* Reads the whole file once: packets only if its container can be trusted, else every frame is decoded. The first video
 * stream counts. VMAE_EDATA, naming the path, for a file without video or frames, or a truncated one. */
vmae_status vmae_video_count(vmae_video_index *index, const char *path);
void vmae_video_index_release(vmae_video_index *index);
/* The presentation time of a frame (by_time). */
int64_t vmae_video_time(const vmae_video_index *index, int frame);

struct AVFrame;
/* The `check` of a decoded frame. */
uint32_t vmae_video_check(const struct AVFrame *frame);

/* ---- video.c ---- */

/* Decodes frames, given by ascending or equal numbers below info.frames, into images[0..count). Starts at the key frame
 * before each where that skips anything; the pixels are those of decoding from the start. Rotation and pixel aspect are
 * not applied. VMAE_EDATA, naming path and frame, if a frame or one that it depends on is damaged. */
vmae_status vmae_video_frames(const vmae_video_index *index, const char *path, const int *frame, int count,
                              vmae_image *images);

/* Frames that decoders have delivered in this process so far: what seeking saves shows here. */
int64_t vmae_video_decoded(void);

#endif
