/* video.h -- (private to data/) counting and decoding the frames of one video file. */
#ifndef VMAE_DATA_VIDEO_H
#define VMAE_DATA_VIDEO_H

#include "engine/data/data.h"

/* How a clip's frames are found. Where the container can be trusted (see video.c), frame n is the n'th presentation
 * time, so that it can be sought; elsewhere it is the n'th frame that comes out of the decoder. */
typedef struct vmae_video_index {
    vmae_clip_info info;
    bool by_time;
    int64_t first, last; /* presentation times of the first and last frame; the rest lie evenly between (to the nearest
                            tick) ... */
    uint32_t *times;     /* ... unless they are here: [frames], relative to first; owned */
} vmae_video_index;

/* Reads the whole file once: packets only if its container can be trusted, else every frame is decoded. The first video
 * stream counts. VMAE_EDATA, naming the path, for a file without video or frames, or a truncated one. */
vmae_status vmae_video_count(vmae_video_index *index, const char *path);
void vmae_video_index_release(vmae_video_index *index);

/* Decodes frames, given by ascending or equal numbers below info.frames, into images[0..count). Seeks where that skips
 * anything. Rotation and pixel aspect are not applied. VMAE_EDATA, naming path and frame, if a frame or one that it
 * depends on is damaged. */
vmae_status vmae_video_frames(const vmae_video_index *index, const char *path, const int *frame, int count,
                              vmae_image *images);

#endif
