/* containers.c -- the containers of video that are read: by which endings a file is taken for a clip, and which of
 * FFmpeg's demuxers may open it. Not among them: playlists, image sequences and devices, which would open other files
 * and addresses than the one that was named. */
#include "engine/data/video.h"

#include <pthread.h>
#include <string.h>

/* One ending each, the most common of a demuxer first. */
static const struct container {
    const char
        *extension; /* NULL: no ending of its own; sound, so that it can be said of a file that it has no pictures */
    const char *demuxer;
} containers[] = {
    { "mp4", "mov" },
    { "mov", "mov" },
    { "m4v", "mov" },
    { "qt", "mov" },
    { "3gp", "mov" },
    { "3g2", "mov" },
    { "f4v", "mov" },
    { "mj2", "mov" },
    { "mkv", "matroska" },
    { "webm", "matroska" },
    { "mk3d", "matroska" },
    { "avi", "avi" },
    { "divx", "avi" },
    { "amv", "avi" },
    { "mpg", "mpeg" },
    { "mpeg", "mpeg" },
    { "vob", "mpeg" },
    { "m2p", "mpeg" },
    { "evo", "mpeg" },
    { "ts", "mpegts" },
    { "mts", "mpegts" },
    { "m2ts", "mpegts" },
    { "m2t", "mpegts" },
    { "m1v", "mpegvideo" },
    { "m2v", "mpegvideo" },
    { "mpv", "mpegvideo" },
    { "ogv", "ogg" },
    { "ogm", "ogg" },
    { "flv", "flv" },
    { "wmv", "asf" },
    { "asf", "asf" },
    { "rm", "rm" },
    { "rmvb", "rm" },
    { "mxf", "mxf" },
    { "gxf", "gxf" },
    { "nut", "nut" },
    { "dv", "dv" },
    { "wtv", "wtv" },
    { "nsv", "nsv" },
    { "y4m", "yuv4mpegpipe" },
    { "h264", "h264" },
    { "264", "h264" },
    { "h265", "hevc" },
    { "265", "hevc" },
    { "hevc", "hevc" },
    { "ivf", "ivf" },
    { "obu", "obu" },
    { "mjpg", "mjpeg" },
    { "mjpeg", "mjpeg" },
    { "gif", "gif" },
    { "apng", "apng" },
    { NULL, "m4v" }, /* a bare MPEG-4 stream under Apple's name */
    { NULL, "wav" },
    { NULL, "mp3" },
    { NULL, "aac" },
    { NULL, "flac" },
};
enum { CONTAINERS = sizeof containers / sizeof *containers };

static const char *extensions[CONTAINERS + 1];
static char demuxers[CONTAINERS * 16];

static void make_lists(void)
{
    int count = 0;
    for (int i = 0; i < CONTAINERS; i++) {
        if (containers[i].extension)
            extensions[count++] = containers[i].extension;
        if (i > 0 && strcmp(containers[i].demuxer, containers[i - 1].demuxer) == 0)
            continue;
        if (i > 0)
            strcat(demuxers, ",");
        strcat(demuxers, containers[i].demuxer);
    }
}

static pthread_once_t made = PTHREAD_ONCE_INIT;

const char *const *vmae_video_extensions(void)
{
    pthread_once(&made, make_lists);
    return extensions;
}

const char *vmae_video_demuxers(void)
{
    pthread_once(&made, make_lists);
    return demuxers;
}
