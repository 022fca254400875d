/* test_bad_data.c -- data that are not there, not what was asked for, or damaged. */
#include "vicmae.h"

#include "engine/core/fs.h"
#include "engine/core/mem.h"
#include "tests/data/fixtures.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PRETRAIN(folder) "pretrain", "-R", folder, TINY_MODEL, TINY_TRAINING, "precision=f32"

/* ---- small files ---- */

static const char *class_folder(const char *name)
{
    const char *folder = in(here(name), "train/one");
    CHECK_OK(vmae_make_folders(folder));
    return folder;
}

static void write_jpeg(const char *folder, int number, double share)
{
    char name[32];
    bytes jpeg = make_jpeg(24, 24, number, TJSAMP_420, 0);
    snprintf(name, sizeof name, "%d.jpg", number);
    CHECK_OK(vmae_write_file(in(folder, name), jpeg.at, (size_t)((double)jpeg.count * share)));
    free(jpeg.at);
}

/* One frame of 16 x 16 equal pixels: codes of 9 bits, with a clear code before the table grows. */
static size_t gif_frame(uint8_t *to, uint8_t colour)
{
    static const uint8_t head[] = { 0x21, 0xf9, 4, 0, 4, 0, 0, 0, 0x2c, 0, 0, 0, 0, 16, 0, 16, 0, 0, 8 };
    uint8_t data[400] = { 0 };
    size_t bit = 0, n = 0;
    const unsigned clear = 256, end = 257;
    for (int i = -1; i <= 256; i++) {
        const unsigned code = i == 256 ? end : i < 0 ? clear : colour;
        for (int b = 0; b < 9; b++, bit++)
            data[bit / 8] |= (uint8_t)((code >> b & 1) << bit % 8);
        if (i == 127) /* the table is at 9 bits still */
            for (int b = 0; b < 9; b++, bit++)
                data[bit / 8] |= (uint8_t)((clear >> b & 1) << bit % 8);
    }
    const size_t count = (bit + 7) / 8;
    memcpy(to, head, sizeof head);
    n = sizeof head;
    for (size_t from = 0; from < count; from += 255) {
        const size_t part = count - from < 255 ? count - from : 255;
        to[n++] = (uint8_t)part;
        memcpy(to + n, data + from, part);
        n += part;
    }
    to[n++] = 0;
    return n;
}

/* An animation of grey frames. */
static void write_clip(const char *folder, const char *name, int frames)
{
    static uint8_t gif[65536];
    static const uint8_t head[] = { 'G', 'I', 'F', '8', '9', 'a', 16, 0, 16, 0, 0xf7, 0, 0 };
    size_t n = sizeof head;
    memcpy(gif, head, sizeof head);
    for (int i = 0; i < 256; i++, n += 3)
        memset(gif + n, i, 3);
    for (int f = 0; f < frames; f++)
        n += gif_frame(gif + n, (uint8_t)(40 + 10 * f));
    gif[n++] = 0x3b;
    CHECK_OK(vmae_write_file(in(folder, name), gif, n));
}

static const uint8_t sound[52] = { 'R', 'I', 'F', 'F', 44, 0, 0,   0,   'W', 'A',  'V',  'E', 'f', 'm',  't',
                                   ' ', 16,  0,   0,   0,  1, 0,   1,   0,   0x40, 0x1f, 0,   0,   0x80, 0x3e,
                                   0,   0,   2,   0,   16, 0, 'd', 'a', 't', 'a',  8,    0,   0,   0 };

/* ---- what was asked for ---- */

TEST(a_missing_path_is_named_with_what_belongs_there)
{
    RUN_CODE(2, NULL, PRETRAIN(here("r0")), "data.images.kind=folder", "data.images.path=/nowhere/at/all");
    CHECK_STR(vicmae_err(), "command line: data.images: /nowhere/at/all does not exist");
    CHECK_STR(vicmae_err(), "class folders of images");
    CHECK(!exists(here("r0"))); /* no run folder for what cannot be a run */
}

TEST(a_kind_without_a_path_says_so)
{
    RUN_CODE(2, NULL, PRETRAIN(here("r1")), "data.videos.kind=videos");
    CHECK_STR(vicmae_err(), "data.videos: ");
    CHECK_STR(vicmae_err(), "needs a path");
}

TEST(an_empty_folder_is_refused_with_its_remedy)
{
    CHECK_OK(vmae_make_folders(here("empty")));
    RUN_CODE(2, NULL, PRETRAIN(here("r2")), "data.images.kind=folder", set("data.images.path", here("empty")));
    CHECK_STR(vicmae_err(), "has no class folders; put the images into");
    RUN_CODE(2, NULL, "knn", "-R", here("r2"), "checkpoint=pixels", TINY_MODEL, "dataset.kind=folder",
             set("dataset.path", here("empty")));
    CHECK_STR(vicmae_err(), "command line: dataset: ");
    class_folder("hollow");
    RUN_CODE(2, NULL, PRETRAIN(here("r2")), "data.images.kind=folder", set("data.images.path", here("hollow")));
    CHECK_STR(vicmae_err(), "hollow");
    CHECK_STR(vicmae_err(), "images");
}

TEST(a_folder_that_lacks_the_split_of_an_evaluation_is_refused)
{
    const char *folder = class_folder("unsplit");
    for (int i = 0; i < 3; i++)
        write_jpeg(folder, i, 1.0);
    RUN_CODE(2, NULL, "knn", "-R", here("r3"), "checkpoint=pixels", TINY_MODEL, "dataset.kind=folder",
             set("dataset.path", here("unsplit")));
    CHECK_STR(vicmae_err(), "unsplit");
    CHECK_STR(vicmae_err(), "val");
}

TEST(an_unknown_kind_is_refused_with_the_known_ones)
{
    RUN_CODE(2, NULL, PRETRAIN(here("r4")), "data.images.kind=fodler");
    CHECK_STR(vicmae_err(), "data.images.kind is fodler");
    CHECK_STR(vicmae_err(), "folder tar videos");
    CHECK_STR(vicmae_err(), "did you mean folder?");
}

TEST(videos_in_the_place_of_images_are_refused_and_the_other_way_round)
{
    RUN_CODE(2, NULL, PRETRAIN(here("r5")), "data.images.kind=shapes-video", "data.images.shapes_size=16");
    CHECK_STR(vicmae_err(), "data.images.kind is shapes-video; these are videos; images are folder, tar");
    RUN_CODE(2, NULL, PRETRAIN(here("r6")), "data.videos.kind=shapes", "data.videos.shapes_size=16");
    CHECK_STR(vicmae_err(), "data.videos.kind is shapes; these are images; videos are videos or shapes-video");
    RUN_CODE(2, NULL, "knn", "-R", here("r7"), "checkpoint=pixels", TINY_MODEL, "dataset.kind=shapes-video",
             "dataset.shapes_size=16", "dataset.shapes_count=20");
    CHECK_STR(vicmae_err(), "must be images");
    RUN_CODE(2, NULL, "reconstruct", "-R", here("r8"), "checkpoint=random", TINY_MODEL, "dataset.kind=shapes-video",
             "dataset.shapes_size=16", "dataset.shapes_count=20");
    CHECK_STR(vicmae_err(), "pictures are made of images");
}

TEST(a_file_that_is_no_archive_is_refused)
{
    CHECK_OK(vmae_write_file(here("text.tar"), "this is not an archive, whatever its name says", 46));
    RUN_CODE(1, NULL, PRETRAIN(here("r9")), "data.images.kind=tar", set("data.images.path", here("text.tar")));
    CHECK_STR(vicmae_err(), "text.tar");
}

/* ---- clips too short, damaged, without pictures ---- */

static const char *check_skipped(const char *run, size_t expected)
{
    static char names[2048];
    json_t *events = events_of(run);
    size_t count = 0;
    *names = 0;
    for (size_t i = 0; i < json_array_size(events); i++) {
        const json_t *event = json_array_get(events, i);
        if (strcmp(event_text(event, "type"), "skipped") != 0)
            continue;
        count++;
        const size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s: %s\n", event_text(event, "sample"),
                 event_text(event, "reason"));
    }
    CHECK_EQ(count, expected);
    json_decref(events);
    return names;
}

static void write_clips(const char *name, int count, int frames)
{
    const char *folder = class_folder(name);
    for (int i = 0; i < count; i++) {
        char file[32];
        snprintf(file, sizeof file, "clip%d.gif", i);
        write_clip(folder, file, frames);
    }
}

#define CLIPS(name) "data.videos.kind=videos", set("data.videos.path", here(name))

TEST(the_clips_of_these_tests_are_clips)
{
    write_clips("good", 4, 12);
    RUN_OK(PRETRAIN(here("good-run")), CLIPS("good"), "frames.sampling=continuous", "frames.delta=11");
    check_skipped(here("good-run"), 0);
}

TEST(a_separation_that_every_clip_is_too_short_for_fails_and_names_one)
{
    write_clips("short", 4, 5);
    const char *run = here("short-run");
    RUN_CODE(1, NULL, PRETRAIN(run), CLIPS("short"), "frames.sampling=continuous", "frames.delta=8");
    CHECK_STR(vicmae_err(), "not one of the 4 samples of videos ");
    CHECK_STR(vicmae_err(), "the clip has 5 frames, but continuous sampling needs at least 9");
    CHECK_STR(vicmae_err(), "train/one/clip");
    CHECK(!exists(in(run, "checkpoint.safetensors")));
    json_t *events = events_of(run);
    const json_t *end = NULL;
    CHECK_EQ(count_events(events, "end", &end), 1);
    CHECK_STR(event_text(end, "status"), "failed");
    CHECK_STR(event_text(end, "message"), "step 0: not one of the 4 samples");
    json_decref(events);
    /* one frame is enough for the same frame twice */
    RUN_OK(PRETRAIN(here("short-run0")), CLIPS("short"), "frames.sampling=continuous", "frames.delta=0");
}

TEST(clips_too_short_for_the_separation_are_skipped_counted_and_journalled)
{
    write_clips("some", 6, 12);
    write_clip(in(here("some"), "train/one"), "clip2.gif", 4);
    write_clip(in(here("some"), "train/one"), "clip5.gif", 8);
    const char *run = here("some-run"), *other = here("some-run2");
    RUN_OK(PRETRAIN(run), CLIPS("some"), "frames.sampling=continuous", "frames.delta=8");
    CHECK_STR(vicmae_err(), "warning: bad sample 1 of at most 100, replaced by the next: ");
    CHECK_STR(vicmae_err(), "the clip has 4 frames, but continuous sampling needs at least 9");
    const char *names = check_skipped(run, 2); /* though every epoch comes by them */
    CHECK_STR(names, "clip2.gif: ");
    CHECK_STR(names, "clip5.gif: ");
    CHECK_STR(names, "the clip has 8 frames");
    /* and what replaces them does not depend on the threads */
    RUN_OK(PRETRAIN(other), CLIPS("some"), "frames.sampling=continuous", "frames.delta=8", "loader.threads=4");
    CHECK_SAME_RUN(run, other);
}

TEST(a_file_of_sound_and_an_empty_one_are_skipped_with_their_reasons)
{
    write_clips("odd", 4, 12);
    const char *folder = in(here("odd"), "train/one"), *run = here("odd-run");
    CHECK_OK(vmae_write_file(in(folder, "sound.avi"), sound, sizeof sound));
    CHECK_OK(vmae_write_file(in(folder, "nothing.mp4"), "", 0));
    CHECK_OK(vmae_write_file(in(folder, "text.mkv"), "no video at all", 15));
    write_clip(folder, "zero.gif", 0);
    RUN_OK(PRETRAIN(run), CLIPS("odd"));
    const char *names = check_skipped(run, 4);
    CHECK_STR(names, "sound.avi: ");
    CHECK_STR(names, "audio only");
    CHECK_STR(names, "nothing.mp4: ");
    CHECK_STR(names, "text.mkv: ");
    CHECK_STR(names, "zero.gif: ");
}

TEST(clips_without_a_frame_alone_fail)
{
    const char *folder = class_folder("mute");
    CHECK_OK(vmae_write_file(in(folder, "sound.avi"), sound, sizeof sound));
    write_clip(folder, "zero.gif", 0);
    RUN_CODE(1, NULL, PRETRAIN(here("mute-run")), CLIPS("mute"));
    CHECK_STR(vicmae_err(), "not one of the 2 samples");
    check_skipped(here("mute-run"), 2);
}

/* ---- damaged images ---- */

static void write_photos(const char *name, int count, int damaged)
{
    const char *folder = class_folder(name);
    for (int i = 0; i < count; i++)
        write_jpeg(folder, i, i < damaged ? 0.6 : 1.0);
}

#define PHOTOS(name) "data.images.kind=folder", set("data.images.path", here(name))

TEST(truncated_jpegs_are_skipped_up_to_the_limit)
{
    write_photos("photos", 8, 2);
    const char *run = here("photos-run");
    RUN_OK(PRETRAIN(run), PHOTOS("photos"), "loader.bad_limit=2");
    const char *names = check_skipped(run, 2);
    CHECK_STR(names, "0.jpg: ");
    CHECK_STR(names, "1.jpg: ");
}

/* What is said of a dataset is cut to a length: wherever that falls, the sample goes on record. */
TEST(a_bad_sample_of_a_long_path_of_wide_characters_is_journalled)
{
    for (int shift = 0; shift < 2; shift++) {
        char name[256] = "wide";
        size_t used = strlen(name) + (size_t)snprintf(name + 4, sizeof name - 4, "%s", shift ? "x" : "");
        for (; used + 2 < 240; used += 2)
            memcpy(name + used, "\xc3\xa9", 3); /* e with an acute accent */
        write_photos(name, 8, 1);
        const char *run = here(shift ? "wide1" : "wide0");
        RUN_OK(PRETRAIN(run), PHOTOS(name));
        CHECK_STR(check_skipped(run, 1), "0.jpg: ");
    }
}

TEST(one_truncated_jpeg_more_than_the_limit_fails_and_names_it)
{
    write_photos("photos3", 8, 3);
    const char *run = here("photos3-run");
    RUN_CODE(1, NULL, PRETRAIN(run), PHOTOS("photos3"), "loader.bad_limit=2");
    CHECK_STR(vicmae_err(), "bad sample 3, the limit is 2");
    CHECK_STR(vicmae_err(), ".jpg: ");
    CHECK(!exists(in(run, "done.json")));
    /* the limit is no part of what the run is: with a higher one it goes on */
    RUN_OK(PRETRAIN(run), PHOTOS("photos3"), "loader.bad_limit=3");
    json_t *done = json_load_file(in(run, "done.json"), 0, NULL);
    CHECK_EQ(json_integer_value(json_object_get(done, "attempts")), 2);
    json_decref(done);
}

/* An interruption does not start the count anew, and the samples are on record once; a failure does, as what it failed
 * over may have been mended since. */
TEST(bad_samples_of_an_interrupted_attempt_count_in_the_next)
{
    write_photos("photos4", 8, 3);
    const char *run = here("photos4-run");
    RUN_CODE(130, (&(launch){ .fault = "metrics 9 2" }), PRETRAIN(run), PHOTOS("photos4"), "loader.bad_limit=3");
    check_skipped(run, 3);
    RUN_CODE(1, NULL, PRETRAIN(run), PHOTOS("photos4"), "loader.bad_limit=2");
    CHECK_STR(vicmae_err(), "3 samples are known to be bad, the limit is 2");
    RUN_CODE(1, NULL, PRETRAIN(run), PHOTOS("photos4"), "loader.bad_limit=2");
    CHECK_STR(vicmae_err(), "bad sample 3, the limit is 2");
    RUN_OK(PRETRAIN(run), PHOTOS("photos4"), "loader.bad_limit=3");
}

TEST(bad_samples_on_record_are_not_recorded_again)
{
    write_photos("photos5", 8, 2);
    const char *run = here("photos5-run");
    RUN_CODE(130, (&(launch){ .fault = "metrics 9 2" }), PRETRAIN(run), PHOTOS("photos5"));
    RUN_OK(PRETRAIN(run), PHOTOS("photos5"));
    check_skipped(run, 2);
}

TEST(no_bad_sample_is_borne_with_a_limit_of_zero)
{
    write_photos("photos1", 8, 1);
    RUN_CODE(1, NULL, PRETRAIN(here("photos1-run")), PHOTOS("photos1"), "loader.bad_limit=0");
    CHECK_STR(vicmae_err(), "bad sample 1, the limit is 0");
    CHECK_STR(vicmae_err(), "0.jpg: ");
}

#define RECONSTRUCT(run, name)                                                                                         \
    "reconstruct", "-R", run, "checkpoint=random", TINY_MODEL, "dataset.kind=folder", set("dataset.path", here(name)), \
        "reconstruct.count=2"

/* All that it needs is a validation split. */
TEST(a_picture_is_made_of_what_can_be_read_up_to_the_limit)
{
    const char *folder = in(here("shown"), "val/one"), *run = here("shown-run"), *strict = here("shown-strict");
    CHECK_OK(vmae_make_folders(folder));
    for (int i = 0; i < 2; i++)
        write_jpeg(folder, i, i ? 1.0 : 0.6);
    RUN_OK(RECONSTRUCT(run, "shown"));
    CHECK_STR(check_skipped(run, 1), "one/0.jpg: ");
    CHECK(exists(in(run, "reconstruction.png")));
    RUN_CODE(1, NULL, RECONSTRUCT(strict, "shown"), "loader.bad_limit=0");
    CHECK_STR(vicmae_err(), "bad sample 1, the limit is 0");
    CHECK_STR(check_skipped(strict, 1), "one/0.jpg: ");
}

TEST(truncated_jpegs_of_a_labelled_set_are_journalled_too)
{
    CHECK_OK(vmae_make_folders(in(here("labelled"), "train/a")));
    const char *const parts[] = { "train/a", "train/b", "val/a", "val/b" };
    for (int p = 0; p < 4; p++) {
        CHECK_OK(vmae_make_folders(in(here("labelled"), parts[p])));
        for (int i = 0; i < 4; i++)
            write_jpeg(in(here("labelled"), parts[p]), i, p == 1 && i == 2 ? 0.5 : 1.0);
    }
    const char *run = here("labelled-run");
    RUN_OK("knn", "-R", run, "checkpoint=pixels", TINY_MODEL, "dataset.kind=folder",
           set("dataset.path", here("labelled")), "knn.k=1");
    CHECK_STR(check_skipped(run, 1), "train/b/2.jpg: ");
    /* also where one is too many */
    const char *strict = here("strict-run");
    RUN_CODE(1, NULL, "knn", "-R", strict, "checkpoint=pixels", TINY_MODEL, "dataset.kind=folder",
             set("dataset.path", here("labelled")), "knn.k=1", "loader.bad_limit=0");
    CHECK_STR(vicmae_err(), "bad sample 1, the limit is 0");
    CHECK_STR(check_skipped(strict, 1), "train/b/2.jpg: ");
}
