/* clip.h -- (private to data/) one open video file: its packets, and the frames that its decoder makes of them. */
#ifndef VMAE_DATA_CLIP_H
#define VMAE_DATA_CLIP_H

#include "engine/core/status.h"

#include <stdbool.h>
#include <stdint.h>

struct AVCodecContext;
struct AVFormatContext;
struct AVFrame;
struct AVIOContext;
struct AVPacket;
struct AVStream;

typedef struct vmae_clip {
    const char *path;
    struct AVIOContext *io;
    struct AVFormatContext *format;
    struct AVStream *stream; /* the first video stream; all others are discarded */
    struct AVCodecContext *decoder;
    struct AVPacket *packet;
    struct AVFrame *frame;
    bool packet_pending; /* packet was read, not sent yet */
    bool draining;
    bool damaged;          /* an error since the beginning, or since the key frame that was sought */
    bool numbered;         /* packets, and so frames, carry their number in place of a presentation time */
    int64_t next_number;   /* of the next packet to be sent */
    const int64_t *wanted; /* [wanted_count] presentation times; if set, frames that no other one refers to are skipped
                              but for these */
    int wanted_count;
} vmae_clip;

/* Opens the file for vmae_clip_read. VMAE_EDATA, naming the path, for a file that is no video or is damaged, also where
 * FFmpeg says that memory ran out: a damaged size field asks for more than there is. VMAE_EIO where reading fails. */
vmae_status vmae_clip_open(vmae_clip *clip, const char *path);
/* The same with a decoder, for vmae_clip_next. */
vmae_status vmae_clip_open_decoder(vmae_clip *clip, const char *path);
void vmae_clip_close(vmae_clip *clip);

/* The next packet of the video into clip->packet. FFmpeg's code; AVERROR_EOF at the end. */
int vmae_clip_read(vmae_clip *clip);
/* The next decoded frame into clip->frame; FFmpeg's code. Damage that the decoder reports is kept in clip->damaged; it
 * goes on with the next packet. */
int vmae_clip_next(vmae_clip *clip);
/* Forgets what was decoded, after a seek. */
void vmae_clip_flush(vmae_clip *clip);

/* MP4 and its relatives. */
bool vmae_clip_is_mov(const vmae_clip *clip);
/* A sentence for FFmpeg's code: VMAE_EIO or the like where the system could not read the file, else VMAE_EDATA. */
vmae_status vmae_clip_fail(const vmae_clip *clip, int code, const char *what);

#endif
