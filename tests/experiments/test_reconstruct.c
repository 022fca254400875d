/* test_reconstruct.c -- the picture of a reconstruction is a picture, of the right size, and is on record. */
#include "vicmae.h"

#include "engine/core/fs.h"
#include "engine/core/hash.h"

#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* 8-bit RGB of a PNG, as libpng reads it; free(). */
static uint8_t *read_png(const char *path, unsigned *width, unsigned *height)
{
    png_image image = { .version = PNG_IMAGE_VERSION };
    if (!CHECK(png_image_begin_read_from_file(&image, path)))
        return NULL;
    image.format = PNG_FORMAT_RGB;
    uint8_t *rgb = malloc(PNG_IMAGE_SIZE(image));
    CHECK(png_image_finish_read(&image, NULL, rgb, 0, NULL));
    *width = image.width;
    *height = image.height;
    return rgb;
}

static uint8_t at(const uint8_t *rgb, unsigned width, unsigned x, unsigned y, int channel)
{
    return rgb[3 * (y * width + x) + (unsigned)channel];
}

/* Row 0 of a grid of 16-pixel images at zoom 2: which of its 4 x 4 patches were removed; -1: the tiles contradict
 * each other. */
static int removed_patches(const uint8_t *rgb, unsigned width)
{
    const unsigned tile = 16 * 2, step = tile + 4;
    int removed = 0;
    for (unsigned patch = 0; patch < 16; patch++) {
        bool grey = true, same_seen = true, same_painted = true;
        for (unsigned i = 0; i < 64; i++) { /* 8 x 8 pixels of the picture */
            const unsigned x = 4 + patch % 4 * 8 + i % 8, y = 4 + patch / 4 * 8 + i / 8;
            for (int c = 0; c < 3; c++) {
                const uint8_t input = at(rgb, width, x, y, c), seen = at(rgb, width, x + step, y, c);
                grey = grey && seen == 128;
                same_seen = same_seen && seen == input;
                same_painted = same_painted && at(rgb, width, x + 2 * step, y, c) == input;
            }
        }
        if (!grey && !(same_seen && same_painted))
            return -1;
        removed += grey;
    }
    return removed;
}

TEST(the_picture_of_a_trained_model_is_valid_and_journalled)
{
    const char *model = here("model"), *folder = here("picture");
    unsigned width = 0, height = 0;
    RUN_OK("pretrain", "-R", model, TINY_MODEL, TINY_TRAINING, TINY_IMAGES);
    RUN_OK("reconstruct", "-R", folder, set("checkpoint", in(model, "checkpoint.safetensors")), TINY_LABELLED,
           "reconstruct.count=3", "reconstruct.zoom=2", "reconstruct.mask_ratio=0.5", "threads=1");
    uint8_t *rgb = read_png(in(folder, "reconstruction.png"), &width, &height);
    REQUIRE(rgb);
    CHECK_EQ(width, 3 * (32 + 4) + 4); /* one column of triples with gaps of 4 */
    CHECK_EQ(height, 3 * (32 + 4) + 4);
    CHECK_EQ(removed_patches(rgb, width), 8);
    for (int c = 0; c < 3; c++)
        CHECK_EQ(at(rgb, width, 0, 0, c), 255);
    free(rgb);

    json_t *events = events_of(folder);
    const json_t *artefact = NULL;
    size_t bytes = 0;
    CHECK_EQ(count_events(events, "artefact", &artefact), 1);
    CHECK_STR(event_text(artefact, "kind"), "picture");
    CHECK_STR(event_text(artefact, "path"), "reconstruction.png");
    char *file = contents(in(folder, "reconstruction.png"), &bytes), hex[VMAE_HASH_HEX];
    CHECK_EQ(json_integer_value(json_object_get(artefact, "bytes")), bytes);
    CHECK_OK(vmae_hash_file(in(folder, "reconstruction.png"), hex));
    CHECK_STR(hex, event_text(artefact, "sha256"));
    CHECK_EQ(strlen(event_text(artefact, "sha256")), VMAE_HASH_HEX - 1);
    free(file);
    json_decref(events);
    CHECK(final_metric(folder, "loss_recon") > 0.0);
}

TEST(eight_pictures_and_more_stand_in_two_columns)
{
    const char *folder = here("columns");
    unsigned width = 0, height = 0;
    RUN_OK("reconstruct", "-R", folder, "checkpoint=random", TINY_MODEL, TINY_LABELLED, "reconstruct.count=9");
    uint8_t *rgb = read_png(in(folder, "reconstruction.png"), &width, &height);
    CHECK_EQ(width, 2 * 3 * (128 + 4) + 4 + 16); /* zoom 8: tiles of 128 pixels */
    CHECK_EQ(height, 5 * (128 + 4) + 4);
    free(rgb);
}

TEST(the_same_seed_paints_the_same_picture)
{
    const char *a = here("same1"), *b = here("same2");
    RUN_OK("reconstruct", "-R", a, "checkpoint=random", TINY_MODEL, TINY_LABELLED, "reconstruct.count=1");
    RUN_OK("reconstruct", "-R", b, "checkpoint=random", TINY_MODEL, TINY_LABELLED, "reconstruct.count=1", "threads=2");
    CHECK(same_files(in(a, "reconstruction.png"), in(b, "reconstruction.png")));
}

TEST(another_zoom_is_another_picture)
{
    const char *root = here("zooms");
    for (int i = 0; i < 2; i++)
        RUN_OK("reconstruct", "-r", root, "checkpoint=random", TINY_MODEL, TINY_LABELLED,
               i ? "reconstruct.zoom=3" : "reconstruct.zoom=2");
    char **names = NULL;
    size_t count = 0;
    CHECK_OK(vmae_list_folder(root, true, &names, &count));
    CHECK_EQ(count, 2);
    vmae_list_free(names, count);
}

TEST(the_limit_of_the_validation_split_is_the_one_that_counts)
{
    unsigned width = 0, height = 0;
    RUN_OK("reconstruct", "-R", here("limited"), "checkpoint=random", TINY_MODEL, TINY_LABELLED, "dataset.val_limit=1",
           "dataset.limit=3", "reconstruct.count=2", "reconstruct.zoom=1");
    uint8_t *rgb = read_png(in(here("limited"), "reconstruction.png"), &width, &height);
    REQUIRE(rgb);
    for (unsigned y = 0; y < 16; y++) /* both rows show the one image */
        CHECK(memcmp(rgb + 3 * ((4 + y) * width + 4), rgb + 3 * ((24 + y) * width + 4), 3 * 16) == 0);
    free(rgb);
    json_t *events = events_of(here("limited"));
    const json_t *what = NULL;
    count_events(events, "run", &what);
    CHECK_EQ(json_object_size(json_object_get(what, "fingerprints")), 1);
    json_decref(events);
}

TEST(a_checkpoint_alone_says_its_sizes)
{
    const char *model = here("model2"), *a = here("told"), *b = here("untold");
    RUN_OK("pretrain", "-R", model, TINY_MODEL, TINY_TRAINING, TINY_IMAGES);
    const char *checkpoint = set("checkpoint", in(model, "checkpoint.safetensors"));
    RUN_OK("reconstruct", "-R", a, checkpoint, TINY_LABELLED, "reconstruct.count=2", TINY_MODEL,
           "dataset.shapes_size=40");
    RUN_OK("reconstruct", "-R", b, checkpoint, TINY_LABELLED, "reconstruct.count=2", "dataset.shapes_size=40");
    CHECK(same_files(in(a, "reconstruction.png"), in(b, "reconstruction.png")));
}

TEST(a_picture_without_a_model_or_too_large_is_refused)
{
    RUN_CODE(2, NULL, "reconstruct", "-R", here("pixels"), "checkpoint=pixels", TINY_LABELLED);
    CHECK_STR(vicmae_err(), "a reconstruction needs a model with its decoder");
    RUN_CODE(2, NULL, "reconstruct", "-R", here("large"), "checkpoint=random", TINY_MODEL, TINY_LABELLED,
             "reconstruct.count=1000", "reconstruct.zoom=64");
    CHECK_STR(vicmae_err(), "reconstruct.zoom is 64; the picture would be");
}
