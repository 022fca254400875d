/* test_classes.c -- splits whose classes are not the same: what can be scored is, by name; what cannot is refused. */
#include "vicmae.h"

#include "engine/core/fs.h"
#include "engine/core/png.h"
#include "engine/core/rng.h"
#include "tests/data/fixtures.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A noisy 16 x 16 picture of the colour that the class stands for: neighbours are of its own class. */
static void write_picture(const char *path, char class, int number)
{
    uint8_t rgb[16 * 16 * 3];
    vmae_rng rng = vmae_rng_at(5, VMAE_RNG_TEST, (uint32_t) class, (uint64_t)number);
    for (int k = 0; k < 16 * 16 * 3; k++)
        rgb[k] = (uint8_t)(255.0f * vmae_rng_uniform(&rng) * (k % 3 == class % 3 ? 1.0f : 0.3f));
    CHECK_OK(vmae_png_write(path, rgb, 16, 16));
}

static void write_split(const char *root, const char *split, const char *classes)
{
    for (const char *c = classes; *c; c++) {
        const char *folder = in(in(root, split), (const char[]){ *c, 0 });
        CHECK_OK(vmae_make_folders(folder));
        for (int i = 0; i < 4; i++) {
            char name[32];
            snprintf(name, sizeof name, "%s%d.png", split, i);
            write_picture(in(folder, name), *c, i + (*split == 'v' ? 100 : 0));
        }
    }
}

#define KNN(run, kind, root)                                                                                           \
    "knn", "-R", here(run), "checkpoint=pixels", TINY_MODEL, "dataset.kind=" kind, set("dataset.path", root), "knn.k=3"

TEST(labels_of_a_split_without_some_classes_are_mapped_by_name)
{
    const char *root = here("fewer");
    write_split(root, "train", "abc");
    write_split(root, "val", "ac");
    RUN_OK(KNN("fewer-run", "folder", root));
    CHECK_NEAR(final_metric(here("fewer-run"), "top1"), 1.0, 0.0); /* by number c would be b */
    CHECK_STR(vicmae_err(), "has only 2 of the 3 classes of");
}

TEST(a_class_that_was_never_trained_is_refused_by_its_name)
{
    const char *root = here("other");
    write_split(root, "train", "abc");
    write_split(root, "val", "acd"); /* as many, but not the same */
    RUN_CODE(2, NULL, KNN("other-run", "folder", root));
    CHECK_STR(vicmae_err(), "command line: dataset: the splits must be of the same classes, but \"d\" of ");
    CHECK_STR(vicmae_err(), "other/val");
    CHECK_STR(vicmae_err(), "other/train");
}

TEST(a_split_of_one_class_is_too_few)
{
    const char *root = here("single");
    write_split(root, "train", "a");
    write_split(root, "val", "a");
    RUN_CODE(2, NULL, KNN("single-run", "folder", root));
    CHECK_STR(vicmae_err(), "has 1 classes; an evaluation needs at least 2");
}

/* One shard with three pictures of every label up to the last, which are colours. */
static void write_shard(const char *path, int last)
{
    archive tar = { 0 };
    for (int label = 0; label <= last; label++)
        for (int i = 0; i < 3; i++) {
            char name[32];
            size_t count = 0;
            write_picture(here("member.png"), (char)('a' + label), i + 10 * last);
            char *png = contents(here("member.png"), &count);
            snprintf(name, sizeof name, "%d%d.png", label, i);
            tar_add(&tar, name, '0', png, count);
            free(png);
            snprintf(name, sizeof name, "%d%d.cls", label, i);
            tar_add(&tar, name, '0', &(char){ (char)('0' + label) }, 1);
        }
    tar_end(&tar);
    CHECK_OK(vmae_write_file(path, tar.at, tar.count));
    tar_free(&tar);
}

TEST(a_shard_without_the_highest_label_is_scored)
{
    const char *root = here("shards"), *more = here("more");
    CHECK_OK(vmae_make_folders(root));
    CHECK_OK(vmae_make_folders(more));
    write_shard(in(root, "train.tar"), 2);
    write_shard(in(root, "val.tar"), 1);
    RUN_OK(KNN("shards-run", "tar", root));
    CHECK_NEAR(final_metric(here("shards-run"), "top1"), 1.0, 0.0);
    write_shard(in(more, "train.tar"), 1); /* nothing votes for label 2 */
    write_shard(in(more, "val.tar"), 2);
    RUN_OK(KNN("more-run", "tar", more));
    CHECK_NEAR(final_metric(here("more-run"), "top1"), 2.0 / 3.0, 1e-12);
}

TEST(a_monitor_that_cannot_score_is_refused_before_the_first_step)
{
    const char *root = here("watched"), *run = here("watched-run");
    write_split(root, "train", "ab");
    write_split(root, "val", "ax");
    RUN_CODE(2, NULL, "pretrain", "-R", run, TINY_MODEL, TINY_TRAINING, TINY_IMAGES, "monitor.kind=folder",
             set("monitor.path", root));
    CHECK_STR(vicmae_err(), "command line: monitor: the splits must be of the same classes, but \"x\" of ");
    size_t count = 0;
    free(visible_rows(run, &count));
    CHECK_EQ(count, 0);
    RUN_CODE(2, NULL, "pretrain", "-R", here("moving-run"), TINY_MODEL, TINY_TRAINING, TINY_IMAGES,
             "monitor.kind=shapes-video", "monitor.shapes_size=16", "monitor.shapes_count=40");
    CHECK_STR(vicmae_err(), "command line: monitor: the splits must be images, not ");
}
