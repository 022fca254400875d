/* test_sources.c -- opening datasets: class folders, CIFAR's binary files, and what is said when they are not there. */
#include "engine/core/log.h"
#include "engine/data/data.h"
#include "tests/data/fixtures.h"

#include <unistd.h>

static void write_jpeg(const char *name, int kind)
{
    const bytes jpeg = make_jpeg(20 + kind, 16, kind, TJSAMP_420, 0);
    CHECK_OK(vmae_write_file(in_folder(name), jpeg.at, jpeg.count));
    free(jpeg.at);
}

TEST(an_unknown_kind_names_the_known_ones_and_the_nearest)
{
    vmae_dataset *dataset = NULL;
    CHECK_FAILS(vmae_dataset_open(&dataset, &(vmae_dataset_spec){ .kind = "foldr", .path = "/" }), VMAE_EUSER,
                "did you mean \"folder\"?");
    CHECK_FAILS(vmae_dataset_open(&dataset, &(vmae_dataset_spec){ .kind = "lmdb-records", .path = "/" }), VMAE_EUSER,
                "there are: folder, tar, videos, cifar10, cifar100, shapes, shapes-video");
    CHECK_FAILS(vmae_dataset_open(&dataset, &(vmae_dataset_spec){ 0 }), VMAE_EUSER, "no dataset kind \"\"");
    CHECK(dataset == NULL);
    vmae_dataset_close(NULL);
}
TEST(a_missing_path_says_what_belongs_there)
{
    static const char *const kinds[] = { "folder", "tar", "videos", "cifar10", "cifar100" };
    static const char *const says[] = { "<path>/train/<class>/<file>", "train-0000.tar", "class folders of videos",
                                        "data_batch_1.bin", "train.bin" };
    vmae_dataset *dataset = NULL;
    for (size_t i = 0; i < 5; i++) {
        const vmae_dataset_spec nowhere = { .kind = kinds[i], .path = "/nowhere/at/all" }, none = { .kind = kinds[i] };
        CHECK_FAILS(vmae_dataset_open(&dataset, &nowhere), VMAE_EUSER, says[i]);
        CHECK_FAILS(vmae_dataset_open(&dataset, &nowhere), VMAE_EUSER, "/nowhere/at/all does not exist");
        CHECK_FAILS(vmae_dataset_open(&dataset, &none), VMAE_EUSER, "needs a path");
    }
}
TEST(class_folders_are_sorted_and_other_files_left_alone)
{
    vmae_dataset *dataset = NULL;
    vmae_image image = { 0 };
    char name[600];
    REQUIRE_OK(vmae_make_folders(in_folder("set/train/dog")));
    REQUIRE_OK(vmae_make_folders(in_folder("set/train/cat")));
    REQUIRE_OK(vmae_make_folders(in_folder("set/train/.cache")));
    REQUIRE_OK(vmae_make_folders(in_folder("set/validation/cat")));
    write_jpeg("set/train/dog/b.JPG", 1);
    write_jpeg("set/train/dog/a.jpeg", 2);
    write_jpeg("set/train/cat/z.jpg", 3);
    write_jpeg("set/train/cat/._z.jpg", 3);
    write_jpeg("set/validation/cat/v.jpg", 4);
    REQUIRE_OK(vmae_write_file(in_folder("set/train/cat/notes.txt"), "x", 1));
    REQUIRE_OK(vmae_make_folders(in_folder("set/train/cat/folder.jpg")));
    vmae_dataset_spec spec = { .kind = "folder", .path = in_folder("set") };
    REQUIRE_OK(vmae_dataset_open(&dataset, &spec));
    REQUIRE(dataset->count == 3);
    CHECK_EQ(dataset->classes, 2);
    CHECK_STR(dataset->class_names[0], "cat");
    CHECK_EQ(dataset->label(dataset, 0), 0);
    CHECK_EQ(dataset->label(dataset, 2), 1);
    CHECK_STR(dataset->name(dataset, 1, name, sizeof name), "set/train/dog/a.jpeg");
    REQUIRE_OK(dataset->image(dataset, 1, 0, &image));
    CHECK_EQ(image.width, 22);
    CHECK_STR(dataset->description, "3 images, 2 classes");
    char before[VMAE_HASH_HEX];
    memcpy(before, dataset->fingerprint, sizeof before);
    vmae_dataset_close(dataset);

    write_jpeg("set/train/dog/b.JPG", 7); /* another size in bytes: other data */
    REQUIRE_OK(vmae_dataset_open(&dataset, &spec));
    CHECK(strcmp(before, dataset->fingerprint) != 0);
    memcpy(before, dataset->fingerprint, sizeof before);
    vmae_dataset_close(dataset);
    spec.limit = 2;
    REQUIRE_OK(vmae_dataset_open(&dataset, &spec));
    CHECK_EQ(dataset->count, 2);
    CHECK_STR(dataset->description, "the first 2");
    CHECK(strcmp(before, dataset->fingerprint) != 0);
    vmae_dataset_close(dataset);
    spec.limit = 0;
    spec.split = "val";
    REQUIRE_OK(vmae_dataset_open(&dataset, &spec));
    CHECK_EQ(dataset->count, 1);
    vmae_dataset_close(dataset);
    dataset = NULL;
    spec.limit = -1;
    CHECK_FAILS(vmae_dataset_open(&dataset, &spec), VMAE_EUSER, "the limit is -1");
    CHECK(dataset == NULL);
    vmae_image_release(&image);
}
TEST(files_that_are_left_out_are_counted_and_named_once)
{
    char *text = NULL;
    size_t length = 0;
    vmae_dataset *dataset = NULL;
    static const char *const others[] = { "a.heic", "b.avif", "c.txt", "d.raw", ".hidden" };
    REQUIRE_OK(vmae_make_folders(in_folder("left/one/deeper")));
    vmae_dataset_spec spec = { .kind = "folder", .path = in_folder("left") };
    for (int i = 0; i < 5; i++) {
        char name[64];
        snprintf(name, sizeof name, "left/one/%s", others[i]);
        REQUIRE_OK(vmae_write_file(in_folder(name), "x", 1));
    }
    CHECK_FAILS(vmae_dataset_open(&dataset, &spec), VMAE_EUSER, "no images in its 1 class folders (");
    CHECK_STR(vmae_error(),
              ", but 4 files of other kinds (one/a.heic, one/b.avif, one/c.txt, ...); images end in .jpg, "
              ".jpeg, .png");
    write_jpeg("left/one/z.jpg", 1);
    REQUIRE_OK(vmae_log_file(in_folder("left.log")));
    REQUIRE_OK(vmae_dataset_open(&dataset, &spec));
    REQUIRE_OK(vmae_log_file(NULL));
    CHECK_EQ(dataset->count, 1);
    REQUIRE_OK(vmae_read_file(in_folder("left.log"), 1 << 20, &text, &length));
    const char *warning = strstr(text, "left: left out 4 files of other kinds");
    CHECK(warning && !strstr(warning + 10, "left out"));
    free(text);
    vmae_dataset_close(dataset);
}
TEST(class_folders_without_a_split_are_the_training_data)
{
    vmae_dataset *dataset = NULL;
    REQUIRE_OK(vmae_make_folders(in_folder("bare/cat")));
    write_jpeg("bare/cat/1.jpg", 1);
    vmae_dataset_spec spec = { .kind = "folder", .path = in_folder("bare"), .split = "train" };
    REQUIRE_OK(vmae_dataset_open(&dataset, &spec));
    CHECK_EQ(dataset->count, 1);
    vmae_dataset_close(dataset);
    dataset = NULL;
    spec.split = "val";
    CHECK_FAILS(vmae_dataset_open(&dataset, &spec), VMAE_EUSER,
                "bare has no folder \"val\" (nor \"validation\", \"valid\", \"test\"), which split \"val\" needs");
    CHECK(dataset == NULL);
}
TEST(empty_and_unreadable_folders_are_refused)
{
    vmae_dataset *dataset = NULL;
    REQUIRE_OK(vmae_make_folders(in_folder("empty")));
    REQUIRE_OK(vmae_make_folders(in_folder("hollow/a")));
    REQUIRE_OK(vmae_make_folders(in_folder("dangling/a")));
    vmae_dataset_spec spec = { .kind = "folder", .path = in_folder("empty") };
    CHECK_FAILS(vmae_dataset_open(&dataset, &spec), VMAE_EUSER, "empty has no class folders");
    spec.path = in_folder("hollow");
    CHECK_FAILS(vmae_dataset_open(&dataset, &spec), VMAE_EUSER, "hollow: no images in its 1 class folders");
    REQUIRE(symlink("nowhere", in_folder("dangling/a/1.jpg")) == 0);
    spec.path = in_folder("dangling");
    CHECK_FAILS(vmae_dataset_open(&dataset, &spec), VMAE_EUSER, "dangling/a/1.jpg (a link that leads nowhere?");
    REQUIRE_OK(vmae_write_file(in_folder("file"), "x", 1));
    spec.path = in_folder("file");
    CHECK_FAILS(vmae_dataset_open(&dataset, &spec), VMAE_EUSER, "file is a file");
    CHECK(dataset == NULL);
}

/* ---- CIFAR ---- */

enum { PLANE = 1024 };

/* `records` records; pixel i of channel c of record r is r + c + i. */
static void write_cifar(const char *name, int label_bytes, int records, int first_label, size_t extra)
{
    const size_t record = (size_t)label_bytes + 3 * PLANE;
    uint8_t *file = vmae_calloc(record * (size_t)records + extra, 1);
    for (int r = 0; r < records; r++) {
        uint8_t *at = file + record * (size_t)r;
        at[0] = 99;
        at[label_bytes - 1] = (uint8_t)(first_label + r);
        for (int i = 0; i < 3 * PLANE; i++)
            at[label_bytes + i] = (uint8_t)(r + i / PLANE + i % PLANE);
    }
    CHECK_OK(vmae_write_file(in_folder(name), file, record * (size_t)records + extra));
    free(file);
}

TEST(cifar10_batches_are_one_dataset)
{
    vmae_dataset *dataset = NULL;
    vmae_image image = { 0 };
    char name[600];
    REQUIRE_OK(vmae_make_folders(in_folder("c10/cifar-10-batches-bin")));
    for (int i = 1; i <= 5; i++) {
        snprintf(name, sizeof name, "c10/cifar-10-batches-bin/data_batch_%d.bin", i);
        write_cifar(name, 1, i, i, 0);
    }
    write_cifar("c10/cifar-10-batches-bin/test_batch.bin", 1, 2, 0, 0);
    REQUIRE_OK(
        vmae_write_file(in_folder("c10/cifar-10-batches-bin/batches.meta.txt"), "airplane\nautomobile\r\nbird\n", 26));
    vmae_dataset_spec spec = { .kind = "cifar10", .path = in_folder("c10") };
    REQUIRE_OK(vmae_dataset_open(&dataset, &spec));
    REQUIRE(dataset->count == 15);
    CHECK_EQ(dataset->label(dataset, 0), 1);
    CHECK_EQ(dataset->label(dataset, 2), 3);
    CHECK_EQ(dataset->label(dataset, 14), 9);
    CHECK_STR(dataset->name(dataset, 14, name, sizeof name), "data_batch_5.bin, record 4");
    CHECK(strcmp(dataset->class_names[1], "automobile") == 0 && strcmp(dataset->class_names[9], "9") == 0);
    REQUIRE_OK(dataset->image(dataset, 14, 0, &image));
    CHECK(image.width == 32 && image.height == 32);
    for (int i = 0; i < PLANE; i += 37)
        for (int c = 0; c < 3; c++)
            CHECK_EQ(image.rgb[3 * i + c], (uint8_t)(4 + c + i));
    vmae_dataset_close(dataset);
    spec.path = in_folder("c10/cifar-10-batches-bin");
    spec.split = "val";
    REQUIRE_OK(vmae_dataset_open(&dataset, &spec));
    CHECK_EQ(dataset->count, 2);
    vmae_dataset_close(dataset);
    vmae_image_release(&image);
}
TEST(cifar100_uses_the_fine_label)
{
    vmae_dataset *dataset = NULL;
    REQUIRE_OK(vmae_make_folders(in_folder("c100")));
    write_cifar("c100/train.bin", 2, 3, 41, 0);
    const vmae_dataset_spec spec = { .kind = "cifar100", .path = in_folder("c100") };
    REQUIRE_OK(vmae_dataset_open(&dataset, &spec));
    CHECK_EQ(dataset->classes, 100);
    CHECK_EQ(dataset->count, 3);
    CHECK_EQ(dataset->label(dataset, 2), 43);
    vmae_dataset_close(dataset);
}
TEST(cifar_files_that_are_missing_cut_or_mislabelled_are_refused)
{
    vmae_dataset *dataset = NULL;
    REQUIRE_OK(vmae_make_folders(in_folder("bad10")));
    vmae_dataset_spec spec = { .kind = "cifar10", .path = in_folder("bad10"), .split = "val" };
    CHECK_FAILS(vmae_dataset_open(&dataset, &spec), VMAE_EUSER, "bad10/test_batch.bin is missing");
    write_cifar("bad10/test_batch.bin", 1, 2, 0, 5);
    CHECK_FAILS(vmae_dataset_open(&dataset, &spec), VMAE_EDATA, "not a whole number of 3073-byte records");
    REQUIRE_OK(vmae_write_file(in_folder("bad10/test_batch.bin"), "", 0));
    CHECK_FAILS(vmae_dataset_open(&dataset, &spec), VMAE_EDATA, "0 bytes are not");
    write_cifar("bad10/test_batch.bin", 1, 3, 8, 0);
    CHECK_FAILS(vmae_dataset_open(&dataset, &spec), VMAE_EDATA, "record 2 has label 10; there are 10 classes");
    spec.split = "extra";
    CHECK_FAILS(vmae_dataset_open(&dataset, &spec), VMAE_EUSER, "no split \"extra\"");
    CHECK(dataset == NULL);
}
TEST(a_cifar_file_that_is_cut_while_in_use_is_named)
{
    vmae_dataset *dataset = NULL;
    vmae_image image = { 0 };
    REQUIRE_OK(vmae_make_folders(in_folder("live10")));
    write_cifar("live10/test_batch.bin", 1, 3, 0, 0);
    const vmae_dataset_spec spec = { .kind = "cifar10", .path = in_folder("live10"), .split = "val" };
    REQUIRE_OK(vmae_dataset_open(&dataset, &spec));
    REQUIRE(truncate(in_folder("live10/test_batch.bin"), 3073) == 0);
    CHECK_FAILS(dataset->image(dataset, 2, 0, &image), VMAE_EIO, "test_batch.bin ends at byte");
    CHECK_EQ(dataset->label(dataset, 2), 2);
    vmae_dataset_close(dataset);
    vmae_image_release(&image);
}
TEST(the_procedural_kinds_open_through_the_same_table)
{
    static const char *const kinds[] = { "shapes", "shapes-video" };
    for (int i = 0; i < 2; i++) {
        vmae_dataset *dataset = NULL;
        vmae_image image = { 0 };
        const vmae_dataset_spec spec = {
            .kind = kinds[i], .limit = 5, .shapes_count = 20, .shapes_size = 32, .shapes_frames = 8
        };
        REQUIRE_OK(vmae_dataset_open(&dataset, &spec));
        CHECK_EQ(dataset->count, 5);
        CHECK_EQ(dataset->media, i ? VMAE_VIDEOS : VMAE_IMAGES);
        if (i)
            CHECK_OK(dataset->frames(dataset, 4, (int[]){ 7 }, 1, &image));
        else
            CHECK_OK(dataset->image(dataset, 4, 0, &image));
        vmae_image_release(&image);
        vmae_dataset_close(dataset);
    }
}
TEST(the_shared_clips_open_with_their_classes)
{
    const char *shared = vmae_test_shared("data/actions");
    if (!shared)
        SKIP("no shared data");
    vmae_dataset *dataset = NULL;
    const vmae_dataset_spec spec = { .kind = "videos", .path = shared, .split = "val" };
    REQUIRE_OK(vmae_dataset_open(&dataset, &spec));
    CHECK_EQ(dataset->count, 230);
    CHECK_EQ(dataset->classes, 21);
    int64_t frames = 0;
    vmae_image images[2] = { 0 };
    for (int64_t i = 0; i < dataset->count; i++) {
        vmae_clip_info info = { 0 };
        CHECK_OK(dataset->clip(dataset, i, &info));
        CHECK_NEAR(info.frames_per_s, 30.0, 0.01);
        frames += info.frames;
        if (i % 8 == 0) {
            CHECK_OK(dataset->frames(dataset, i, (int[]){ info.frames / 2, info.frames - 1 }, 2, images));
            CHECK(images[1].width == 170 && images[1].height == 128);
        }
    }
    CHECK_EQ(frames, 7549);
    vmae_image_release(&images[0]);
    vmae_image_release(&images[1]);
    vmae_dataset_close(dataset);
}
