/* test_video.c -- frames by number against plain sequential decoding, counts, and clips that are not what they say. */
#include "engine/core/fs.h"
#include "engine/core/mem.h"
#include "engine/data/av.h"
#include "engine/data/data.h"
#include "engine/data/listing.h"
#include "engine/data/video.h"
#include "tests/test.h"

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/opt.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the reference: every frame in the order of the decoder, as hashes of its RGB pixels ---- */

enum { MAX_REFERENCE = 512 };
typedef struct reference {
    int frames, width, height;
    uint64_t hash[MAX_REFERENCE];
} reference;

static uint64_t hash_image(const vmae_image *image)
{
    uint64_t h = 1469598103934665603u ^ (uint64_t)image->width << 32 ^ (uint64_t)image->height;
    const size_t count = (size_t)image->width * (size_t)image->height * 3;
    for (size_t i = 0; i < count; i += sizeof(uint64_t)) {
        uint64_t word = 0;
        memcpy(&word, image->rgb + i, count - i < sizeof word ? count - i : sizeof word);
        h = (h ^ word) * 1099511628211u;
        h ^= h >> 32;
    }
    return h;
}

static bool decode_all(reference *all, const char *path)
{
    AVFormatContext *format = NULL;
    *all = (reference){ 0 };
    vmae_av_quiet();
    if (avformat_open_input(&format, path, NULL, NULL) < 0 || avformat_find_stream_info(format, NULL) < 0) {
        avformat_close_input(&format);
        return false;
    }
    int stream = 0;
    while (format->streams[stream]->codecpar->codec_type != AVMEDIA_TYPE_VIDEO)
        stream++;
    const AVCodecParameters *parameters = format->streams[stream]->codecpar;
    AVCodecContext *decoder = avcodec_alloc_context3(avcodec_find_decoder(parameters->codec_id));
    avcodec_parameters_to_context(decoder, parameters);
    decoder->thread_count = 1;
    bool ok = avcodec_open2(decoder, NULL, NULL) >= 0;
    AVPacket *packet = av_packet_alloc();
    AVFrame *frame = av_frame_alloc();
    vmae_image image = { 0 };
    vmae_av_rgb rgb = { 0 };
    for (bool end = false; ok && !end;) {
        const int code = av_read_frame(format, packet);
        end = code < 0;
        if (end || packet->stream_index == stream)
            avcodec_send_packet(decoder, end ? NULL : packet);
        av_packet_unref(packet);
        while (avcodec_receive_frame(decoder, frame) == 0 && all->frames < MAX_REFERENCE) {
            ok &= vmae_av_to_rgb(&rgb, frame, &image, path) == VMAE_OK;
            all->width = frame->width;
            all->height = frame->height;
            all->hash[all->frames++] = hash_image(&image);
        }
    }
    vmae_av_rgb_release(&rgb);
    vmae_image_release(&image);
    av_frame_free(&frame);
    av_packet_free(&packet);
    avcodec_free_context(&decoder);
    avformat_close_input(&format);
    return ok;
}

/* Fetches the pair and compares it with the reference. */
static bool pair_is_exact(const vmae_video_index *index, const reference *all, const char *path, int a, int b)
{
    vmae_image images[2] = { 0 };
    const int frame[2] = { a, b };
    const vmae_status st = vmae_video_frames(index, path, frame, 2, images);
    const bool exact =
        st == VMAE_OK && hash_image(&images[0]) == all->hash[a] && hash_image(&images[1]) == all->hash[b];
    if (!exact)
        vmae_check(false, __FILE__, __LINE__, "%s: frames %d and %d: %s", path, a, b,
                   st ? vmae_error() : "other pixels than in sequence");
    vmae_image_release(&images[0]);
    vmae_image_release(&images[1]);
    return exact;
}

/* Count and `pairs` frame pairs all over the clip. */
static bool clip_is_exact(const char *path, int pairs, const reference *all)
{
    vmae_video_index index = { 0 };
    const vmae_status st = vmae_video_count(&index, path);
    bool ok = vmae_check(st == VMAE_OK, __FILE__, __LINE__, "%s: %s", path, vmae_error());
    ok = ok && vmae_check(index.info.frames == all->frames, __FILE__, __LINE__, "%s: counted %d frames, %d decode",
                          path, index.info.frames, all->frames);
    vmae_rng rng = vmae_rng_at(1, VMAE_RNG_TEST, 0, vmae_hash_name(path) & 0xffffffff);
    for (int i = 0; i < pairs && ok; i++) {
        int a = (int)vmae_rng_below(&rng, (uint64_t)all->frames), b = (int)vmae_rng_below(&rng, (uint64_t)all->frames);
        if (i == 0)
            a = b = all->frames - 1;
        ok = pair_is_exact(&index, all, path, a < b ? a : b, a < b ? b : a);
    }
    vmae_video_index_release(&index);
    return ok;
}

/* ---- clips of our own ---- */

typedef struct clip_recipe {
    const char *encoder, *options; /* options: "key=value:..." of the encoder, or NULL */
    int frames, gop, b_frames;
    int most; /* frames that fetching the last one may decode; 0: as many as there are */
} clip_recipe;

static void paint(AVFrame *frame, int n)
{
    for (int y = 0; y < frame->height; y++)
        for (int x = 0; x < frame->width; x++)
            frame->data[0][y * frame->linesize[0] + x] = (uint8_t)(40 + ((x + 3 * n) ^ (y + n)) % 160);
    for (int p = 1; p < 3; p++)
        for (int y = 0; y < frame->height / 2; y++)
            memset(frame->data[p] + y * frame->linesize[p], 100 + 5 * n % 60 + 20 * p, (size_t)frame->width / 2);
}

static bool write_packets(AVFormatContext *format, AVCodecContext *encoder, AVFrame *frame, AVPacket *packet)
{
    if (avcodec_send_frame(encoder, frame) < 0)
        return false;
    while (avcodec_receive_packet(encoder, packet) == 0) {
        av_packet_rescale_ts(packet, encoder->time_base, format->streams[0]->time_base);
        packet->stream_index = 0;
        if (av_interleaved_write_frame(format, packet) < 0)
            return false;
    }
    return true;
}

/* A small moving pattern; false if this FFmpeg lacks the encoder. */
static bool make_clip(const char *path, const clip_recipe *recipe)
{
    const AVCodec *codec = avcodec_find_encoder_by_name(recipe->encoder);
    AVFormatContext *format = NULL;
    if (!codec || avformat_alloc_output_context2(&format, NULL, NULL, path) < 0)
        return false;
    AVCodecContext *encoder = avcodec_alloc_context3(codec);
    AVStream *stream = avformat_new_stream(format, NULL);
    AVPacket *packet = av_packet_alloc();
    AVFrame *frame = av_frame_alloc();
    encoder->width = frame->width = 90;
    encoder->height = frame->height = 58;
    encoder->pix_fmt = frame->format = AV_PIX_FMT_YUV420P;
    encoder->time_base = stream->time_base = (AVRational){ 1, 25 };
    stream->avg_frame_rate = encoder->framerate = (AVRational){ 25, 1 };
    encoder->gop_size = recipe->gop;
    encoder->max_b_frames = recipe->b_frames;
    encoder->bit_rate = 200000;
    encoder->thread_count = 1;
    if (format->oformat->flags & AVFMT_GLOBALHEADER)
        encoder->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    if (recipe->options)
        av_set_options_string(encoder->priv_data, recipe->options, "=", ";");
    bool ok = avcodec_open2(encoder, codec, NULL) >= 0 &&
              avcodec_parameters_from_context(stream->codecpar, encoder) >= 0 &&
              avio_open(&format->pb, path, AVIO_FLAG_WRITE) >= 0 && avformat_write_header(format, NULL) >= 0 &&
              av_frame_get_buffer(frame, 0) >= 0;
    for (int n = 0; n < recipe->frames && ok; n++) {
        ok = av_frame_make_writable(frame) >= 0;
        paint(frame, n);
        frame->pts = n;
        ok = ok && write_packets(format, encoder, frame, packet);
    }
    ok = ok && (!recipe->frames || write_packets(format, encoder, NULL, packet)) && av_write_trailer(format) >= 0;
    avio_closep(&format->pb);
    av_frame_free(&frame);
    av_packet_free(&packet);
    avcodec_free_context(&encoder);
    avformat_free_context(format);
    return ok;
}

static const char *in_folder(const char *name)
{
    static char path[4][600];
    static int turn;
    char *at = path[turn++ % 4];
    snprintf(at, sizeof path[0], "%s/%s", vmae_test_folder(), name);
    return at;
}

/* The last frame costs its own group of pictures, not the clip. */
static void check_sought(const char *path, const vmae_video_index *index, int most)
{
    const int last = index->info.frames - 1;
    vmae_image image = { 0 };
    const int64_t before = vmae_video_decoded();
    CHECK_OK(vmae_video_frames(index, path, &last, 1, &image));
    const long long decoded = (long long)(vmae_video_decoded() - before);
    vmae_check(decoded <= most, __FILE__, __LINE__, "%s: the last of %d frames took %lld, should take %d", path,
               index->info.frames, decoded, most);
    vmae_image_release(&image);
}

static void check_own_clip(const char *name, const clip_recipe *recipe, bool by_time)
{
    const char *path = in_folder(name);
    reference all;
    vmae_video_index index = { 0 };
    if (!make_clip(path, recipe))
        SKIP("this FFmpeg cannot encode %s with %s", name, recipe->encoder);
    REQUIRE(decode_all(&all, path));
    CHECK_EQ(all.frames, recipe->frames);
    REQUIRE_OK(vmae_video_count(&index, path));
    CHECK_EQ(index.by_time, by_time);
    CHECK_NEAR(index.info.frames_per_s, 25.0, 0.1);
    check_sought(path, &index, recipe->most ? recipe->most : recipe->frames);
    vmae_video_index_release(&index);
    CHECK(clip_is_exact(path, 40, &all));
}

TEST(frames_of_an_mpeg4_avi_with_b_frames_are_sought_and_exact)
{
    check_own_clip("b.avi", &(clip_recipe){ .encoder = "mpeg4", .frames = 37, .gop = 10, .b_frames = 2, .most = 10 },
                   false);
}
TEST(frames_of_an_mpeg4_mp4_are_sought_and_exact)
{
    check_own_clip("m.mp4", &(clip_recipe){ .encoder = "mpeg4", .frames = 37, .gop = 10, .b_frames = 2, .most = 10 },
                   false);
}
TEST(frames_of_an_mpeg1_program_stream_are_sought_and_exact)
{
    check_own_clip(
        "m.mpg", &(clip_recipe){ .encoder = "mpeg1video", .frames = 37, .gop = 10, .b_frames = 2, .most = 30 }, false);
}
TEST(frames_of_a_transport_stream_are_sought_and_exact)
{
    check_own_clip(
        "t.ts", &(clip_recipe){ .encoder = "mpeg2video", .frames = 61, .gop = 12, .b_frames = 2, .most = 13 }, false);
}
TEST(frames_of_h264_in_avi_are_sought_and_exact)
{
    check_own_clip("h.avi", &(clip_recipe){ .encoder = "libx264", .frames = 61, .gop = 12, .b_frames = 2, .most = 12 },
                   false);
}
TEST(frames_of_h264_in_mp4_are_sought_and_exact)
{
    check_own_clip("h.mp4", &(clip_recipe){ .encoder = "libx264", .frames = 61, .gop = 12, .b_frames = 3, .most = 12 },
                   true);
}
TEST(frames_of_h264_with_open_groups_of_pictures_are_exact)
{
    check_own_clip("o.mp4",
                   &(clip_recipe){ .encoder = "libx264",
                                   .options = "x264-params=open-gop=1:scenecut=0",
                                   .frames = 61,
                                   .gop = 12,
                                   .b_frames = 3 },
                   true);
    check_own_clip("o.mkv",
                   &(clip_recipe){ .encoder = "libx264",
                                   .options = "x264-params=open-gop=1:scenecut=0",
                                   .frames = 61,
                                   .gop = 12,
                                   .b_frames = 3 },
                   true);
}
TEST(frames_of_vp9_in_webm_are_sought_and_exact)
{
    check_own_clip(
        "v.webm",
        &(clip_recipe){
            .encoder = "libvpx-vp9", .options = "deadline=realtime;cpu-used=8", .frames = 40, .gop = 9, .most = 9 },
        true);
}
TEST(frames_of_vp8_with_hidden_frames_are_sought_and_exact)
{
    check_own_clip(
        "v8.webm",
        &(clip_recipe){
            .encoder = "libvpx", .options = "auto-alt-ref=1;lag-in-frames=16", .frames = 50, .gop = 20, .most = 20 },
        true);
}
TEST(a_file_name_with_colons_is_a_file_name)
{
    const char *path = in_folder("http:x:y.avi");
    vmae_video_index index = { 0 };
    if (!make_clip(path, &(clip_recipe){ .encoder = "mpeg4", .frames = 3, .gop = 10 }))
        SKIP("this FFmpeg cannot encode mpeg4");
    CHECK_OK(vmae_video_count(&index, path));
    CHECK_EQ(index.info.frames, 3);
    vmae_video_index_release(&index);
}

TEST(frames_of_containers_of_every_family_are_exact)
{
    static const struct {
        const char *name, *encoder;
    } clips[] = {
        { "a.nut", "mpeg4" },      { "b.asf", "msmpeg4" },    { "c.wmv", "wmv2" },    { "d.m2ts", "mpeg2video" },
        { "e.mts", "libx264" },    { "f.vob", "mpeg2video" }, { "g.3g2", "mpeg4" },   { "h.y4m", "wrapped_avframe" },
        { "i.ogv", "libtheora" },  { "j.flv", "flv" },        { "k.mjpg", "mjpeg" },  { "l.h264", "libx264" },
        { "m.m2v", "mpeg2video" }, { "n.3gp", "libx264" },    { "o.f4v", "libx264" }, { "p.ivf", "libvpx" },
    };
    int tried = 0;
    for (size_t i = 0; i < sizeof clips / sizeof *clips; i++) {
        reference all;
        const char *path = in_folder(clips[i].name);
        if (!make_clip(path, &(clip_recipe){ .encoder = clips[i].encoder, .frames = 21, .gop = 6 }))
            continue;
        CHECK(vmae_has_extension(path, vmae_video_extensions()));
        CHECK(decode_all(&all, path) && all.frames > 0 && clip_is_exact(path, 8, &all));
        tried++;
    }
    printf("  %d of %zu could be made\n", tried, sizeof clips / sizeof *clips);
    CHECK(tried >= 6);
}
/* A demuxer that FFmpeg does not know would refuse nothing and allow nothing: a slip of the table. */
TEST(every_demuxer_of_the_table_is_one_of_ffmpeg)
{
    char list[1024], *rest = list;
    snprintf(list, sizeof list, "%s", vmae_video_demuxers());
    for (const char *name; (name = strsep(&rest, ","));)
        vmae_check(av_find_input_format(name) != NULL, __FILE__, __LINE__, "no demuxer \"%s\"", name);
    CHECK(!strstr(vmae_video_demuxers(), "concat") && !strstr(vmae_video_demuxers(), "hls"));
}

/* ---- not what they say ---- */

static const uint8_t wav[] = { 'R', 'I', 'F', 'F', 52, 0, 0,   0,   'W', 'A',  'V',  'E', 'f', 'm',  't',
                               ' ', 16,  0,   0,   0,  1, 0,   1,   0,   0x40, 0x1f, 0,   0,   0x80, 0x3e,
                               0,   0,   2,   0,   16, 0, 'd', 'a', 't', 'a',  16,   0,   0,   0,    1,
                               0,   2,   0,   3,   0,  4, 0,   5,   0,   6,    0,    7,   0,   8,    0 };

TEST(sound_without_pictures_is_refused_by_name)
{
    const char *path = in_folder("sound.mp4");
    vmae_video_index index = { 0 };
    REQUIRE_OK(vmae_write_file(path, wav, sizeof wav));
    CHECK_FAILS(vmae_video_count(&index, path), VMAE_EDATA, "sound.mp4: no video stream in it (audio only?)");
}
TEST(a_video_without_frames_is_refused_by_name)
{
    const char *path = in_folder("none.avi");
    vmae_video_index index = { 0 };
    if (!make_clip(path, &(clip_recipe){ .encoder = "mpeg4", .frames = 0, .gop = 10 }))
        SKIP("this FFmpeg cannot encode mpeg4");
    CHECK_FAILS(vmae_video_count(&index, path), VMAE_EDATA, "none.avi: its video stream has no frames");
}
TEST(text_an_empty_file_and_a_missing_one_are_refused)
{
    vmae_video_index index = { 0 };
    const char *text = in_folder("text.mp4"), *empty = in_folder("empty.mp4");
    REQUIRE_OK(vmae_write_file(text, "not a video at all, just some text that goes on for a while\n", 60));
    REQUIRE_OK(vmae_write_file(empty, "", 0));
    CHECK_FAILS(vmae_video_count(&index, text), VMAE_EDATA, "text.mp4: not a video file");
    CHECK_FAILS(vmae_video_count(&index, empty), VMAE_EDATA, "empty.mp4: not a video file");
    CHECK_FAILS(vmae_video_count(&index, in_folder("absent.mp4")), VMAE_EUSER, "absent.mp4: No such file");
}
/* The position of MP4's list of chunk offsets; 0: not found. */
static size_t find_stco(const char *bytes, size_t count)
{
    const char *found = memmem(bytes, count, "stco", 4);
    return found ? (size_t)(found - bytes) : 0;
}
TEST(a_size_that_asks_for_more_memory_than_there_is_is_damage)
{
    const char *path = in_folder("lies.mp4");
    char *bytes = NULL;
    size_t count = 0;
    vmae_video_index index = { 0 };
    if (!make_clip(path, &(clip_recipe){ .encoder = "mpeg4", .frames = 3, .gop = 10 }))
        SKIP("this FFmpeg cannot encode mpeg4");
    REQUIRE_OK(vmae_read_file(path, 1 << 24, &bytes, &count));
    const size_t at = find_stco(bytes, count);
    REQUIRE(at);
    bytes[at + 8] ^= (char)0x80; /* 2^31 chunks */
    REQUIRE_OK(vmae_write_file(path, bytes, count));
    CHECK_FAILS(vmae_video_count(&index, path), VMAE_EDATA,
                "lies.mp4: cannot be opened as a video: damaged, or it needs more memory than there is");
    free(bytes);
}
TEST(a_disk_that_cannot_be_read_is_no_damage)
{
    const char *path = in_folder("disk.avi");
    vmae_video_index index = { 0 };
    if (symlink("/proc/self/mem", path) != 0 || access(path, R_OK) != 0) /* reading its beginning gives EIO */
        SKIP("no /proc/self/mem");
    CHECK_FAILS(vmae_video_count(&index, path), VMAE_EIO, "disk.avi: Input/output error");
}
TEST(a_playlist_opens_no_other_file)
{
    const char *clip = in_folder("real.avi"), *list = in_folder("list.mp4");
    char text[1400];
    vmae_video_index index = { 0 };
    if (!make_clip(clip, &(clip_recipe){ .encoder = "mpeg4", .frames = 3, .gop = 10 }))
        SKIP("this FFmpeg cannot encode mpeg4");
    const int length = snprintf(text, sizeof text, "ffconcat version 1.0\nfile 'real.avi'\n");
    REQUIRE_OK(vmae_write_file(list, text, (size_t)length));
    CHECK_FAILS(vmae_video_count(&index, list), VMAE_EDATA, "list.mp4: not a video file");
}
TEST(frames_beyond_the_end_or_out_of_order_are_our_bug_not_a_crash)
{
    const char *path = in_folder("few.avi");
    vmae_video_index index = { 0 };
    vmae_image images[2] = { 0 };
    if (!make_clip(path, &(clip_recipe){ .encoder = "mpeg4", .frames = 3, .gop = 10 }))
        SKIP("this FFmpeg cannot encode mpeg4");
    REQUIRE_OK(vmae_video_count(&index, path));
    CHECK_FAILS(vmae_video_frames(&index, path, (int[]){ 0, 3 }, 2, images), VMAE_EINTERNAL, "frame 3");
    CHECK_FAILS(vmae_video_frames(&index, path, (int[]){ 2, 1 }, 2, images), VMAE_EINTERNAL, "in order");
    CHECK_FAILS(vmae_video_frames(&index, path, (int[]){ -1, 1 }, 2, images), VMAE_EINTERNAL, "frame -1");
    vmae_image_release(&images[0]);
    vmae_image_release(&images[1]);
    vmae_video_index_release(&index);
}
TEST(a_truncated_mp4_is_refused_and_says_how_much_is_there)
{
    const char *path = in_folder("whole.mp4"), *cut = in_folder("cut.mp4");
    char *bytes = NULL;
    size_t count = 0;
    vmae_video_index index = { 0 };
    if (!make_clip(path, &(clip_recipe){ .encoder = "libx264", .frames = 61, .gop = 12, .b_frames = 3 }))
        SKIP("this FFmpeg has no libx264");
    REQUIRE_OK(vmae_read_file(path, 1 << 24, &bytes, &count));
    REQUIRE_OK(vmae_write_file(cut, bytes, count * 2 / 3)); /* its index is at the end: nothing is readable */
    CHECK_FAILS(vmae_video_count(&index, cut), VMAE_EDATA, "cut.mp4");
    free(bytes);
    const char *shared = vmae_test_shared("data/actions/train/golf");
    char **names = NULL;
    size_t files = 0;
    if (!shared)
        SKIP("no shared data: no clip with its index in front");
    REQUIRE_OK(vmae_list_folder(shared, false, &names, &files));
    char *front = vmae_path_join(shared, names[0]);
    REQUIRE_OK(vmae_read_file(front, 1 << 24, &bytes, &count));
    REQUIRE_OK(vmae_write_file(cut, bytes, count * 2 / 3));
    CHECK_FAILS(vmae_video_count(&index, cut), VMAE_EDATA, "truncated");
    free(bytes);
    free(front);
    vmae_list_free(names, files);
}

TEST(damage_anywhere_in_a_clip_neither_crashes_nor_hangs)
{
    static const char *const names[] = { "f.mp4", "f.avi", "f.mkv" };
    static const char *const encoders[] = { "libx264", "mpeg4", "libx264" };
    int refused = 0;
    for (int kind = 0; kind < 3; kind++) {
        const char *path = in_folder(names[kind]);
        char *bytes = NULL;
        size_t count = 0;
        if (!make_clip(path, &(clip_recipe){ .encoder = encoders[kind], .frames = 20, .gop = 8, .b_frames = 2 }))
            SKIP("this FFmpeg lacks %s", encoders[kind]);
        REQUIRE_OK(vmae_read_file(path, 1 << 24, &bytes, &count));
        for (int round = 0; round < 60; round++) {
            vmae_rng rng = vmae_rng_at(7, VMAE_RNG_TEST, (uint32_t)kind, (uint64_t)round);
            char *hurt = vmae_calloc(count, 1);
            memcpy(hurt, bytes, count);
            const size_t kept = round % 3 ? count : vmae_rng_below(&rng, count);
            for (int i = 0; i < 8; i++)
                hurt[vmae_rng_below(&rng, count)] = (char)vmae_rng_u32(&rng);
            REQUIRE_OK(vmae_write_file(path, hurt, kept));
            free(hurt);
            vmae_video_index index = { 0 };
            vmae_image images[2] = { 0 };
            if (vmae_video_count(&index, path) != VMAE_OK ||
                vmae_video_frames(&index, path, (int[]){ index.info.frames / 3, index.info.frames - 1 }, 2, images) !=
                    VMAE_OK) {
                CHECK_STR(vmae_error(), names[kind]);
                refused++;
            }
            vmae_image_release(&images[0]);
            vmae_image_release(&images[1]);
            vmae_video_index_release(&index);
        }
        free(bytes);
    }
    CHECK(refused > 60); /* of 180: every cut one at least */
}

/* ---- real clips ---- */

TEST(frames_of_real_clips_with_b_frames_are_exact)
{
    static const char *const classes[] = { "golf", "walk", "shoot_gun", "catch" };
    int tried = 0;
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        char folder[256];
        char **names = NULL;
        size_t count = 0;
        snprintf(folder, sizeof folder, "data/actions/train/%s", classes[i]);
        const char *shared = vmae_test_shared(folder);
        if (!shared)
            SKIP("no shared data");
        REQUIRE_OK(vmae_list_folder(shared, false, &names, &count));
        for (size_t n = 0; n < count; n += 6) {
            reference all;
            char *path = vmae_path_join(shared, names[n]);
            CHECK(decode_all(&all, path) && clip_is_exact(path, 6, &all));
            tried++;
            free(path);
        }
        vmae_list_free(names, count);
    }
    CHECK(tried >= 20);
}

static const struct real_file {
    const char *name;
    int frames;
} real_files[] = {
    { "jhmdb-golf.avi", 40 },
    { "ucf101-eye-makeup.avi", 164 },
    { "archery.avi", 131 },
    { "archery.webm", 131 },
    { "ut-interaction.avi", 108 },
    { "ucf11-biking.mpg", 151 },
    { "pancake.mkv", 310 },
    { "arm-wrestling.mp4", 280 },
    { "pool-cleaning.mp4", 32 },
    { "weight-lifting.mp4", 355 },
    { "bikes.mp4", 250 },
    { "cctv-18fps.mp4", 36 },
    { "nasa-multistream.mp4", 325 },
    { "keyboard-rotated.mov", 3 },
    { "newtons-cradle.gif", 36 },
    { "patterns/h264-10bit.mp4", 30 },
    { "patterns/h265-8bit.mp4", 10 },
    { "patterns/h265-10bit.mp4", 30 },
};

TEST(frames_of_many_formats_are_exact)
{
    const char *shared = vmae_test_shared("data/video-formats");
    if (!shared)
        SKIP("no shared data");
    for (size_t i = 0; i < sizeof real_files / sizeof *real_files; i++) {
        reference all;
        char *path = vmae_path_join(shared, real_files[i].name);
        if (CHECK(decode_all(&all, path))) {
            vmae_check(all.frames == real_files[i].frames, __FILE__, __LINE__, "%s: %d frames decode, expected %d",
                       path, all.frames, real_files[i].frames);
            clip_is_exact(path, 4, &all);
        }
        free(path);
    }
}

/* One file for each way in which frames are found; the other AVIs have one key frame each, their first. */
TEST(frames_of_real_clips_are_sought)
{
    static const struct {
        const char *name;
        int frame, most; /* this frame alone takes at most so many */
    } files[] = {
        { "archery.webm", 130, 16 },
        { "pancake.mkv", 309, 16 },
        { "jhmdb-golf.avi", 39, 4 },
        { "ucf11-biking.mpg", 150, 24 },
    };
    const char *shared = vmae_test_shared("data/video-formats");
    if (!shared)
        SKIP("no shared data");
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *path = vmae_path_join(shared, files[i].name);
        vmae_video_index index = { 0 };
        vmae_image image = { 0 };
        REQUIRE_OK(vmae_video_count(&index, path));
        const int64_t before = vmae_video_decoded();
        CHECK_OK(vmae_video_frames(&index, path, &files[i].frame, 1, &image));
        const long long decoded = (long long)(vmae_video_decoded() - before);
        vmae_check(decoded <= files[i].most, __FILE__, __LINE__, "%s: frame %d took %lld", path, files[i].frame,
                   decoded);
        vmae_image_release(&image);
        vmae_video_index_release(&index);
        free(path);
    }
}

TEST(big_and_unusual_pixel_formats_are_exact)
{
    static const char *const names[] = { "cctv-1080p.mp4", "patterns/h264-full-range.mp4", "patterns/av1.mkv" };
    const char *shared = vmae_test_shared("data/video-formats");
    if (!shared)
        SKIP("no shared data");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        reference all;
        char *path = vmae_path_join(shared, names[i]);
        CHECK(decode_all(&all, path) && clip_is_exact(path, 1, &all));
        free(path);
    }
}

/* Broken NAL units: some frame cannot be had, and it is the damaged one that is refused, not the clip. */
TEST(a_damaged_h264_stream_is_reported_frame_by_frame)
{
    const char *shared = vmae_test_shared("data/video-formats/patterns");
    if (!shared)
        SKIP("no shared data");
    char *path = vmae_path_join(shared, "corrupted.mp4");
    vmae_video_index index = { 0 };
    vmae_image image = { 0 };
    int refused = 0;
    REQUIRE_OK(vmae_video_count(&index, path));
    CHECK_EQ(index.info.frames, 50);
    for (int n = 0; n < index.info.frames; n += 7) {
        const vmae_status st = vmae_video_frames(&index, path, &n, 1, &image);
        if (st == VMAE_OK)
            continue;
        refused++;
        CHECK_EQ(st, VMAE_EDATA);
        CHECK_STR(vmae_error(), "corrupted.mp4: frame ");
    }
    printf("  %d of 8 refused\n", refused);
    CHECK(refused > 0);
    vmae_image_release(&image);
    vmae_video_index_release(&index);
    free(path);
}

/* ---- the dataset ---- */

typedef struct race {
    const vmae_dataset *dataset;
    uint64_t hash[8];
    bool ok;
} race;

static void *fetch_all(void *context)
{
    race *r = context;
    vmae_image images[2] = { 0 };
    r->ok = true;
    for (int64_t i = 0; i < r->dataset->count; i++) {
        vmae_clip_info info;
        r->ok &= r->dataset->clip(r->dataset, i, &info) == VMAE_OK && info.frames == 9 + i;
        r->ok &= r->dataset->frames(r->dataset, i, (int[]){ 2, info.frames - 1 }, 2, images) == VMAE_OK;
        if (r->ok)
            r->hash[i] = hash_image(&images[0]) ^ hash_image(&images[1]) * 3;
    }
    vmae_image_release(&images[0]);
    vmae_image_release(&images[1]);
    return NULL;
}

TEST(many_threads_see_the_same_clips)
{
    enum { THREADS = 4, CLIPS = 4 };
    char name[64];
    REQUIRE_OK(vmae_make_folders(in_folder("clips/val/b")));
    REQUIRE_OK(vmae_make_folders(in_folder("clips/val/a")));
    for (int i = 0; i < CLIPS; i++) {
        snprintf(name, sizeof name, "clips/val/%c/%d.avi", i < 2 ? 'a' : 'b', i);
        if (!make_clip(in_folder(name), &(clip_recipe){ .encoder = "mpeg4", .frames = 9 + i, .gop = 4, .b_frames = 1 }))
            SKIP("this FFmpeg cannot encode mpeg4");
    }
    vmae_dataset *dataset = NULL;
    const vmae_dataset_spec spec = { .kind = "videos", .path = in_folder("clips"), .split = "val" };
    REQUIRE_OK(vmae_dataset_open(&dataset, &spec));
    CHECK_EQ(dataset->count, CLIPS);
    CHECK_EQ(dataset->classes, 2);
    CHECK_EQ(dataset->label(dataset, 3), 1);
    CHECK_STR(dataset->description, "4 clips, 2 classes");
    pthread_t threads[THREADS];
    race races[THREADS];
    for (int i = 0; i < THREADS; i++) {
        races[i] = (race){ .dataset = dataset };
        pthread_create(&threads[i], NULL, fetch_all, &races[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        CHECK(races[i].ok && memcmp(races[i].hash, races[0].hash, sizeof races[0].hash) == 0);
    }
    vmae_dataset_close(dataset);
}
TEST(a_folder_without_videos_and_a_missing_split_say_what_was_looked_for)
{
    vmae_dataset *dataset = NULL;
    REQUIRE_OK(vmae_make_folders(in_folder("hollow/jump")));
    vmae_dataset_spec spec = { .kind = "videos", .path = in_folder("hollow") };
    CHECK_FAILS(vmae_dataset_open(&dataset, &spec), VMAE_EUSER, "no videos in its 1 class folders");
    spec.split = "val";
    CHECK_FAILS(vmae_dataset_open(&dataset, &spec), VMAE_EUSER, "has no folder \"val\"");
    CHECK(dataset == NULL);
}
