/* test_decode.c -- still images: every kind that is read, and none that is not whole. */
#include "engine/core/rng.h"
#include "engine/data/data.h"
#include "tests/data/fixtures.h"

#include <libavcodec/avcodec.h>

/* Mean absolute difference from make_pixels. */
static double distance(const vmae_image *image, int kind)
{
    uint8_t *rgb = make_pixels(image->width, image->height, kind);
    double sum = 0.0;
    const size_t count = (size_t)image->width * (size_t)image->height * 3;
    for (size_t i = 0; i < count; i++)
        sum += abs(rgb[i] - image->rgb[i]);
    free(rgb);
    return sum / (double)count;
}

TEST(jpegs_of_every_subsampling_and_progressive_ones_decode)
{
    static const int sampling[] = { TJSAMP_444, TJSAMP_422, TJSAMP_420, TJSAMP_440, TJSAMP_411 };
    vmae_image image = { 0 };
    for (size_t i = 0; i < 5; i++)
        for (int progressive = 0; progressive < 2; progressive++) {
            const bytes jpeg = make_jpeg(97, 61, 3, sampling[i], progressive ? TJFLAG_PROGRESSIVE : 0);
            CHECK_OK(vmae_decode_image(&image, jpeg.at, jpeg.count, 0, "a.jpg"));
            CHECK(image.width == 97 && image.height == 61);
            CHECK(distance(&image, 3) < 3.0);
            free(jpeg.at);
        }
    vmae_image_release(&image);
}
TEST(a_grey_jpeg_has_three_equal_channels)
{
    const bytes jpeg = make_jpeg(33, 20, 1, TJSAMP_GRAY, 0);
    vmae_image image = { 0 };
    REQUIRE_OK(vmae_decode_image(&image, jpeg.at, jpeg.count, 0, "grey.jpg"));
    for (int i = 0; i < 33 * 20; i++)
        CHECK(image.rgb[3 * i] == image.rgb[3 * i + 1] && image.rgb[3 * i] == image.rgb[3 * i + 2]);
    vmae_image_release(&image);
    free(jpeg.at);
}
TEST(a_cmyk_jpeg_is_converted_as_adobe_stores_it)
{
    enum { SIDE = 16 };
    uint8_t cmyk[SIDE * SIDE * 4];
    unsigned char *jpeg = NULL;
    unsigned long count = 0;
    vmae_image image = { 0 };
    for (int i = 0; i < SIDE * SIDE; i++) /* inverted: 255 is no ink. Red 200, green 100, blue 50, black 0 */
        memcpy(cmyk + 4 * i, (uint8_t[]){ 200, 100, 50, 255 }, 4);
    tjhandle handle = tjInitCompress();
    REQUIRE(tjCompress2(handle, cmyk, SIDE, 0, SIDE, TJPF_CMYK, &jpeg, &count, TJSAMP_444, 95, 0) == 0);
    REQUIRE_OK(vmae_decode_image(&image, jpeg, count, 0, "cmyk.jpg"));
    CHECK_NEAR(image.rgb[0], 200, 4);
    CHECK_NEAR(image.rgb[1], 100, 4);
    CHECK_NEAR(image.rgb[2], 50, 4);
    vmae_image_release(&image);
    tjFree(jpeg);
    tjDestroy(handle);
}
TEST(dct_scaling_never_goes_under_what_is_asked)
{
    const bytes jpeg = make_jpeg(640, 400, 2, TJSAMP_420, 0);
    vmae_image image = { 0 };
    static const int least[] = { 0, 1, 50, 51, 100, 101, 224, 399, 400, 401, 5000 };
    for (size_t i = 0; i < sizeof least / sizeof *least; i++) {
        REQUIRE_OK(vmae_decode_image(&image, jpeg.at, jpeg.count, least[i], "s.jpg"));
        CHECK(image.height >= least[i] || image.height == 400);
        CHECK_NEAR((double)image.width / image.height, 1.6, 0.05);
        CHECK(distance(&image, 2) < 4.0);
    }
    REQUIRE_OK(vmae_decode_image(&image, jpeg.at, jpeg.count, 100, "s.jpg"));
    CHECK_EQ(image.height, 100);
    vmae_image_release(&image);
    free(jpeg.at);
}
TEST(a_jpeg_cut_anywhere_is_refused)
{
    for (int progressive = 0; progressive < 2; progressive++) {
        const bytes jpeg = make_jpeg(64, 48, 2, TJSAMP_420, progressive ? TJFLAG_PROGRESSIVE : 0);
        vmae_image image = { 0 };
        for (size_t kept = 0; kept + 2 < jpeg.count; kept += 7) {
            uint8_t *cut = vmae_calloc(kept, 1);
            memcpy(cut, jpeg.at, kept);
            CHECK_FAILS(vmae_decode_image(&image, cut, kept, 0, "cut.jpg"), VMAE_EDATA, "cut.jpg: ");
            free(cut);
        }
        vmae_image_release(&image);
        free(jpeg.at);
    }
}
TEST(huge_dimensions_are_refused_before_memory_is_asked_for)
{
    vmae_image image = { 0 };
    const bytes jpeg = make_jpeg(16, 16, 0, TJSAMP_444, 0);
    for (size_t i = 0; i + 8 < jpeg.count; i++)
        if (jpeg.at[i] == 0xff && jpeg.at[i + 1] == 0xc0)
            memcpy(jpeg.at + i + 5, "\xff\xdc\xff\xdc", 4); /* 65500 x 65500 */
    CHECK_FAILS(vmae_decode_image(&image, jpeg.at, jpeg.count, 0, "huge.jpg"), VMAE_EDATA,
                "65500 x 65500 pixels, more than 64 Mpixel");
    free(jpeg.at);
    static const uint8_t bmp[54] = { 'B', 'M', 54, 0, 0, 0, 0, 0, 0, 0, 54, 0, 0, 0, 40,
                                     0,   0,   0,  0, 0, 1, 0, 0, 0, 1, 0,  1, 0, 24 };
    CHECK_FAILS(vmae_decode_image(&image, bmp, sizeof bmp, 0, "huge.bmp"), VMAE_EDATA, "huge.bmp: ");
    CHECK(image.rgb == NULL);
}

/* ---- through FFmpeg ---- */

static bytes encode(const char *encoder, enum AVPixelFormat format, int width, int height, int kind)
{
    bytes made = { 0 };
    const AVCodec *codec = avcodec_find_encoder_by_name(encoder);
    if (!codec)
        return made;
    AVCodecContext *context = avcodec_alloc_context3(codec);
    AVPacket *packet = av_packet_alloc();
    AVFrame *frame = av_frame_alloc();
    context->width = frame->width = width;
    context->height = frame->height = height;
    context->pix_fmt = frame->format = format;
    context->time_base = (AVRational){ 1, 25 };
    uint8_t *rgb = make_pixels(width, height, kind);
    if (avcodec_open2(context, codec, NULL) >= 0 && av_frame_get_buffer(frame, 0) >= 0) {
        for (int y = 0; y < height; y++)
            for (int x = 0; x < width; x++) {
                const uint8_t *from = rgb + 3 * (y * width + x);
                uint8_t *to = frame->data[0] + y * frame->linesize[0];
                if (format == AV_PIX_FMT_RGB24)
                    memcpy(to + 3 * x, from, 3);
                else if (format == AV_PIX_FMT_BGR24)
                    memcpy(to + 3 * x, (uint8_t[]){ from[2], from[1], from[0] }, 3);
                else if (format == AV_PIX_FMT_RGBA)
                    memcpy(to + 4 * x, (uint8_t[]){ from[0], from[1], from[2], (uint8_t)(x * 9) }, 4);
                else if (format == AV_PIX_FMT_BGRA)
                    memcpy(to + 4 * x, (uint8_t[]){ from[2], from[1], from[0], 255 }, 4);
                else if (format == AV_PIX_FMT_RGB8)
                    to[x] = (uint8_t)((from[0] & 0xe0) | (from[1] & 0xe0) >> 3 | from[2] >> 6);
            }
        if (avcodec_send_frame(context, frame) >= 0 && avcodec_send_frame(context, NULL) >= 0 &&
            avcodec_receive_packet(context, packet) >= 0) {
            made = (bytes){ vmae_calloc((size_t)packet->size, 1), (size_t)packet->size };
            memcpy(made.at, packet->data, made.count);
        }
    }
    free(rgb);
    av_frame_free(&frame);
    av_packet_free(&packet);
    avcodec_free_context(&context);
    return made;
}

/* A GIF is a container around what its encoder gives. */
static bytes wrap_gif(bytes packet, int width, int height)
{
    (void)width, (void)height;
    if (packet.count && packet.at[0] != 'G') { /* header and trailer are the muxer's business in some versions */
        free(packet.at);
        return (bytes){ 0 };
    }
    packet.at = vmae_realloc(packet.at, packet.count + 1, 1);
    packet.at[packet.count++] = 0x3b;
    return packet;
}

static const struct still {
    const char *name, *encoder;
    enum AVPixelFormat format;
    double error; /* mean, of 255 */
} stills[] = {
    { "a.png", "png", AV_PIX_FMT_RGB24, 0.0 },   { "alpha.png", "png", AV_PIX_FMT_RGBA, 0.0 },
    { "a.bmp", "bmp", AV_PIX_FMT_BGR24, 0.0 },   { "a.ppm", "ppm", AV_PIX_FMT_RGB24, 0.0 },
    { "a.tiff", "tiff", AV_PIX_FMT_RGB24, 0.0 }, { "a.webp", "libwebp", AV_PIX_FMT_BGRA, 4.0 },
    { "a.gif", "gif", AV_PIX_FMT_RGB8, 40.0 },
};

TEST(other_stills_decode_and_are_refused_when_cut)
{
    for (size_t i = 0; i < sizeof stills / sizeof *stills; i++) {
        vmae_image image = { 0 };
        bytes file = encode(stills[i].encoder, stills[i].format, 61, 37, 5);
        if (strcmp(stills[i].encoder, "gif") == 0)
            file = wrap_gif(file, 61, 37);
        if (!file.count) {
            printf("  %s: this FFmpeg cannot make one\n", stills[i].name);
            continue;
        }
        if (vmae_check(vmae_decode_image(&image, file.at, file.count, 0, stills[i].name) == VMAE_OK, __FILE__, __LINE__,
                       "%s", vmae_error())) {
            CHECK(image.width == 61 && image.height == 37);
            CHECK_NEAR(distance(&image, 5), 0.0, stills[i].error);
        }
        for (size_t kept = 0; kept < file.count - 16; kept += file.count / 50 + 1) {
            uint8_t *cut = vmae_calloc(kept, 1);
            memcpy(cut, file.at, kept);
            const vmae_status st = vmae_decode_image(&image, cut, kept, 0, stills[i].name);
            vmae_check(st == VMAE_EDATA, __FILE__, __LINE__, "%s cut to %zu of %zu bytes gave status %d",
                       stills[i].name, kept, file.count, (int)st);
            free(cut);
        }
        vmae_image_release(&image);
        free(file.at);
    }
}
TEST(damaged_bytes_in_stills_never_crash)
{
    int refused = 0;
    for (size_t i = 0; i <= sizeof stills / sizeof *stills; i++) {
        const bool jpeg = i == sizeof stills / sizeof *stills;
        const bytes file =
            jpeg ? make_jpeg(61, 37, 4, TJSAMP_420, 0) : encode(stills[i].encoder, stills[i].format, 61, 37, 5);
        vmae_image image = { 0 };
        for (int round = 0; file.count && round < 60; round++) {
            vmae_rng rng = vmae_rng_at(3, VMAE_RNG_TEST, (uint32_t)i, (uint64_t)round);
            uint8_t *hurt = vmae_calloc(file.count, 1);
            memcpy(hurt, file.at, file.count);
            for (int n = 0; n < 4; n++)
                hurt[vmae_rng_below(&rng, n < 2 && file.count > 64 ? 64 : file.count)] = (uint8_t)vmae_rng_u32(&rng);
            const vmae_status st = vmae_decode_image(&image, hurt, file.count, 0, "hurt");
            CHECK(st == VMAE_OK || st == VMAE_EDATA || st == VMAE_ENOMEM);
            refused += st != VMAE_OK;
            free(hurt);
        }
        vmae_image_release(&image);
        free(file.at);
    }
    CHECK(refused > 50);
}
TEST(what_is_no_image_is_named)
{
    vmae_image image = { 0 };
    CHECK_FAILS(vmae_decode_image(&image, (const uint8_t *)"hello, world", 12, 0, "a.txt"), VMAE_EDATA,
                "a.txt: not an image of a known kind");
    CHECK_FAILS(vmae_decode_image(&image, (const uint8_t *)"", 0, 0, "e.jpg"), VMAE_EDATA, "e.jpg: an empty file");
}
TEST(every_shared_photo_decodes_at_full_size_and_scaled)
{
    const char *shared = vmae_test_shared("data/imagenet-sample");
    char **names = NULL;
    size_t count = 0;
    vmae_image image = { 0 };
    int decoded = 0;
    if (!shared)
        SKIP("no shared data");
    REQUIRE_OK(vmae_list_folder(shared, false, &names, &count));
    for (size_t i = 0; i < count; i++) {
        char *path = vmae_path_join(shared, names[i]), *file = NULL;
        size_t size = 0;
        if (strstr(names[i], ".JPEG")) {
            REQUIRE_OK(vmae_read_file(path, 1 << 26, &file, &size));
            CHECK_OK(vmae_decode_image(&image, (const uint8_t *)file, size, 224, names[i]));
            if (i % 4 == 0)
                CHECK_OK(vmae_decode_image(&image, (const uint8_t *)file, size, 0, names[i]));
            decoded++;
        }
        free(file);
        free(path);
    }
    CHECK_EQ(decoded, 200);
    vmae_list_free(names, count);
    vmae_image_release(&image);
}
