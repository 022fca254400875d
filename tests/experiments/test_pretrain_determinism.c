/* test_pretrain_determinism.c -- what a pre-training gives does not depend on how fast it was made. */
#include "vicmae.h"

#include "engine/core/fs.h"
#include "engine/core/hash.h"
#include "engine/core/png.h"

#include <stdio.h>
#include <string.h>

/* Loader threads, prefetch, compute threads: the first is the measure of the others. */
static const struct speed {
    const char *loader, *prefetch, *threads;
} speeds[] = { { "1", "4", "1" }, { "2", "1", "1" }, { "5", "4", "1" }, { "1", "1", "2" }, { "5", "1", "3" } };

static void check_speeds(const char *name, const char *const data[8], const char *precision)
{
    char first[600] = "";
    for (size_t i = 0; i < sizeof speeds / sizeof *speeds; i++) {
        char folder[600];
        snprintf(folder, sizeof folder, "%s/%s-%s-%zu", vmae_test_folder(), name, precision, i);
        if (!RUN_OK("pretrain", "-R", folder, TINY_MODEL, TINY_TRAINING, set("precision", precision),
                    set("loader.threads", speeds[i].loader), set("loader.prefetch", speeds[i].prefetch),
                    set("threads", speeds[i].threads), data[0], data[1], data[2], data[3], data[4], data[5], data[6],
                    data[7]))
            return;
        if (i == 0)
            memcpy(first, folder, sizeof first);
        else
            CHECK_SAME_RUN(first, folder);
    }
}

static const char *const images[] = { TINY_IMAGES, NULL, NULL, NULL, NULL, NULL },
                         *const videos[] = { TINY_VIDEOS, NULL, NULL, NULL, NULL },
                         *const both[] = { TINY_IMAGES, TINY_VIDEOS, "data.image_ratio=0.5" };

TEST(the_filter_of_crops_reaches_the_pixels)
{
    RUN_OK("pretrain", "-R", here("cubic"), TINY_MODEL, TINY_TRAINING, TINY_IMAGES, "train.epochs=0.5");
    RUN_OK("pretrain", "-R", here("linear"), TINY_MODEL, TINY_TRAINING, TINY_IMAGES, "train.epochs=0.5",
           "augment.images.filter=bilinear");
    RUN_OK("pretrain", "-R", here("frames"), TINY_MODEL, TINY_TRAINING, TINY_IMAGES, "train.epochs=0.5",
           "augment.frames.filter=bilinear"); /* of which there are none */
    CHECK(final_metric(here("cubic"), "loss") != final_metric(here("linear"), "loss"));
    CHECK(final_metric(here("cubic"), "loss") == final_metric(here("frames"), "loss"));
}

/* The identity of a run with a monitor on the images of a folder. */
static void identify(const char *run, const char *folder, const char *option, char identity[VMAE_HASH_HEX])
{
    RUN_OK("pretrain", "-R", here(run), TINY_MODEL, TINY_TRAINING, TINY_IMAGES, "train.epochs=0.25",
           "monitor.kind=folder", set("monitor.path", folder), option);
    json_t *done = json_load_file(in(here(run), "done.json"), 0, NULL);
    snprintf(identity, VMAE_HASH_HEX, "%s", event_text(done, "identity"));
    json_decref(done);
}

TEST(what_votes_in_the_monitor_is_part_of_the_run)
{
    char plain[VMAE_HASH_HEX], fewer[VMAE_HASH_HEX], other[VMAE_HASH_HEX], often[VMAE_HASH_HEX];
    const uint8_t grey[16 * 16 * 3] = { 0 };
    const char *const parts[] = { "train/a", "train/b", "val/a", "val/b" };
    for (int i = 0; i < 8; i++) {
        const char *folder = in(here("watched"), parts[i / 2]);
        CHECK_OK(vmae_make_folders(folder));
        CHECK_OK(vmae_png_write(in(folder, i % 2 ? "1.png" : "2.png"), grey, 16, 16));
    }
    identify("plain", here("watched"), "monitor.bank=2000", plain);
    identify("fewer", here("watched"), "monitor.bank=10", fewer);
    identify("often", here("watched"), "monitor.every=0.1", often);
    CHECK_OK(vmae_png_write(in(here("watched"), "train/b/3.png"), grey, 16, 16));
    identify("other", here("watched"), "monitor.bank=2000", other);
    CHECK(strcmp(plain, fewer) != 0 && strcmp(plain, other) != 0);
    CHECK(strcmp(plain, often) == 0);
}

TEST(images_give_the_same_bits_at_any_speed_in_f32)
{
    check_speeds("images", images, "f32");
}
TEST(images_give_the_same_bits_at_any_speed_in_bf16)
{
    check_speeds("images", images, "bf16");
}
TEST(videos_give_the_same_bits_at_any_speed_in_f32)
{
    check_speeds("videos", videos, "f32");
}
TEST(videos_give_the_same_bits_at_any_speed_in_bf16)
{
    check_speeds("videos", videos, "bf16");
}
TEST(mixed_batches_give_the_same_bits_at_any_speed_in_f32)
{
    check_speeds("both", both, "f32");
}
TEST(mixed_batches_give_the_same_bits_at_any_speed_in_bf16)
{
    check_speeds("both", both, "bf16");
}

TEST(real_images_and_clips_give_the_same_bits_at_any_speed)
{
    const char *data = vmae_test_shared("data");
    if (!data)
        SKIP("no shared data");
    char root[600];
    snprintf(root, sizeof root, "data_root=%s", data);
    const char *const real[] = { root,
                                 "data.images.kind=tar",
                                 "data.images.path=cifar10",
                                 "data.images.limit=50",
                                 "data.videos.kind=videos",
                                 "data.videos.path=actions",
                                 "data.videos.limit=12",
                                 NULL };
    check_speeds("real", real, "f32");
}

TEST(another_seed_gives_other_numbers)
{
    const char *a = here("seed1"), *b = here("seed2");
    RUN_OK("pretrain", "-R", a, TINY_MODEL, TINY_TRAINING, TINY_IMAGES);
    RUN_OK("pretrain", "-R", b, TINY_MODEL, TINY_TRAINING, TINY_IMAGES, "seed=2");
    CHECK(!same_files(in(a, "checkpoint.safetensors"), in(b, "checkpoint.safetensors")));
    CHECK(final_metric(a, "loss") != final_metric(b, "loss"));
}

static void same_identity(const char *a, const char *b)
{
    json_t *first = json_load_file(in(a, "done.json"), 0, NULL), *second = json_load_file(in(b, "done.json"), 0, NULL);
    CHECK_STR(event_text(first, "identity"), event_text(second, "identity"));
    json_decref(first);
    json_decref(second);
}

TEST(who_makes_the_views_changes_nothing)
{
    static const char *const on[] = { "augment.on=host", "augment.on=device" };
    char run[2][600], probe[2][600], picture[2][600];
    for (int i = 0; i < 2; i++) {
        snprintf(run[i], sizeof run[i], "%s/views-%d", vmae_test_folder(), i);
        snprintf(probe[i], sizeof probe[i], "%s/views-probe-%d", vmae_test_folder(), i);
        snprintf(picture[i], sizeof picture[i], "%s/views-picture-%d", vmae_test_folder(), i);
        RUN_OK("pretrain", "-R", run[i], TINY_MODEL, TINY_TRAINING, TINY_IMAGES, TINY_VIDEOS, on[i],
               "augment.frames.colour=true", "augment.frames.released=true", "loader.threads=3", "monitor.kind=shapes",
               "monitor.shapes_size=16", "monitor.shapes_count=100", "monitor.every=1");
        RUN_OK("probe", "-R", probe[i], set("checkpoint", in(run[0], "checkpoint.safetensors")), TINY_LABELLED,
               "threads=1", "probe.epochs=2", "probe.augment=true", "features.batch=96", on[i]);
        RUN_OK("reconstruct", "-R", picture[i], set("checkpoint", in(run[0], "checkpoint.safetensors")), TINY_LABELLED,
               "threads=1", "reconstruct.count=3", on[i]);
    }
    CHECK_SAME_RUN(run[0], run[1]);
    CHECK(same_rows(probe[0], probe[1]));
    CHECK(same_files(in(picture[0], "reconstruction.png"), in(picture[1], "reconstruction.png")));
    same_identity(run[0], run[1]);
    same_identity(probe[0], probe[1]);
}
