/* test_shapes.c -- the procedural datasets: same index, same pixels; classes balanced, visible, and not to be had from
 * raw pixels. */
#include "engine/core/log.h"
#include "engine/data/data.h"
#include "engine/data/shapes.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIZE = 32, BYTES = SIZE * SIZE * 3 };

static vmae_dataset_spec spec_of(const char *kind, const char *split)
{
    return (vmae_dataset_spec){
        .kind = kind, .split = split, .shapes_count = 4000, .shapes_size = SIZE, .shapes_frames = 16, .shapes_seed = 7
    };
}

static vmae_dataset *open_set(const char *kind, const char *split)
{
    const vmae_dataset_spec spec = spec_of(kind, split);
    vmae_dataset *dataset = NULL;
    CHECK_OK(vmae_open_shapes(&dataset, &spec));
    return dataset;
}

static void close_set(vmae_dataset *dataset)
{
    dataset->close(dataset);
}

/* Mean absolute difference of two pictures. */
static double distance(const uint8_t *a, const uint8_t *b)
{
    double sum = 0.0;
    for (int i = 0; i < BYTES; i++)
        sum += abs(a[i] - b[i]);
    return sum / BYTES;
}

TEST(a_picture_depends_on_its_index_alone)
{
    enum { N = 40 };
    vmae_dataset *set = open_set("shapes", "train"), *again = open_set("shapes", "train");
    REQUIRE(set && again);
    vmae_image image = { 0 };
    uint8_t *first = malloc((size_t)N * BYTES);
    REQUIRE(first);
    for (int i = 0; i < N; i++) {
        CHECK_OK(set->image(set, i, 0, &image));
        CHECK(image.height == SIZE && image.width == SIZE);
        memcpy(first + i * BYTES, image.rgb, BYTES);
    }
    for (int i = N - 1; i >= 0; i--) {
        CHECK_OK(again->image(again, i, 224, &image));
        CHECK(memcmp(image.rgb, first + i * BYTES, BYTES) == 0);
        if (i + 1 < N)
            CHECK(distance(image.rgb, first + (i + 1) * BYTES) > 5.0);
    }
    free(first);
    vmae_image_release(&image);
    close_set(set);
    close_set(again);
}

TEST(a_frame_asked_for_alone_is_the_frame_among_others)
{
    vmae_dataset *set = open_set("shapes-video", NULL);
    REQUIRE(set);
    vmae_image all[16] = { { 0 } }, one = { 0 };
    int frame[16];
    for (int f = 0; f < 16; f++)
        frame[f] = f;
    for (int clip = 0; clip < 8; clip++) {
        CHECK_OK(set->frames(set, clip, frame, 16, all));
        for (int f = 15; f >= 0; f -= 5) {
            CHECK_OK(set->frames(set, clip, &f, 1, &one));
            CHECK(memcmp(one.rgb, all[f].rgb, BYTES) == 0);
        }
        /* Time changes the picture, bit by bit: neighbours are alike, ends are not. */
        CHECK(distance(all[0].rgb, all[15].rgb) > 2.0 * distance(all[7].rgb, all[8].rgb));
    }
    vmae_clip_info info;
    CHECK_OK(set->clip(set, 0, &info));
    CHECK(info.frames == 16 && info.frames_per_s > 0.0);
    for (int f = 0; f < 16; f++)
        vmae_image_release(&all[f]);
    vmae_image_release(&one);
    close_set(set);
}

TEST(labels_of_every_prefix_are_balanced_and_both_class_names_are_sorted)
{
    static const char *const kinds[] = { "shapes", "shapes-video" };
    for (int k = 0; k < 2; k++) {
        vmae_dataset *set = open_set(kinds[k], "val");
        REQUIRE(set);
        CHECK_EQ(set->classes, k ? VMAE_SHAPES_MOTIONS : VMAE_SHAPES_OBJECTS);
        int count[16] = { 0 };
        for (int i = 0; i < 500; i++) {
            const int label = set->label(set, i);
            REQUIRE(label >= 0 && label < set->classes);
            count[label]++;
            for (int c = 0; c < set->classes; c++)
                CHECK(abs(count[c] - count[0]) <= 1);
        }
        for (int c = 1; c < set->classes; c++)
            CHECK(strcmp(set->class_names[c - 1], set->class_names[c]) < 0);
        char buffer[64];
        CHECK_STR(set->name(set, 12, buffer, sizeof buffer), "val/");
        CHECK_STR(buffer, set->class_names[set->label(set, 12)]);
        CHECK_EQ(set->label(set, 4000), -1);
        close_set(set);
    }
}

TEST(splits_and_seeds_share_no_picture_and_the_fingerprint_tells_them_apart)
{
    vmae_dataset_spec specs[6];
    vmae_dataset *sets[6] = { NULL };
    for (int i = 0; i < 6; i++)
        specs[i] = spec_of("shapes", i == 1 ? "val" : "train");
    specs[2].shapes_seed = 8;
    specs[3].shapes_size = 33;
    specs[4].shapes_count = 3999;
    specs[5].split = NULL; /* the same as train */
    vmae_image a = { 0 }, b = { 0 };
    for (int i = 0; i < 6; i++)
        REQUIRE_OK(vmae_open_shapes(&sets[i], &specs[i]));
    for (int i = 0; i < 20; i++)
        for (int other = 1; other < 3; other++) {
            CHECK_OK(sets[0]->image(sets[0], i, 0, &a));
            CHECK_OK(sets[other]->image(sets[other], i, 0, &b));
            CHECK(distance(a.rgb, b.rgb) > 5.0);
        }
    for (int i = 0; i < 5; i++)
        for (int j = i + 1; j < 5; j++)
            CHECK(strcmp(sets[i]->fingerprint, sets[j]->fingerprint) != 0);
    CHECK(strcmp(sets[0]->fingerprint, sets[5]->fingerprint) == 0);
    CHECK_EQ(strlen(sets[0]->fingerprint), 64);
    for (int i = 0; i < 6; i++)
        close_set(sets[i]);
    vmae_image_release(&a);
    vmae_image_release(&b);
}

/* Whoever changes a pixel must raise VMAE_SHAPES_VERSION (and this sum): results of the old pictures are not the new
 * ones'. The tolerance is for another libm. */
TEST(the_pictures_of_this_version_are_what_they_were)
{
    vmae_dataset *set = open_set("shapes", "train");
    REQUIRE(set);
    vmae_image image = { 0 };
    double sum = 0.0;
    for (int i = 0; i < 100; i++) {
        CHECK_OK(set->image(set, i, 0, &image));
        for (int p = 0; p < BYTES; p++)
            sum += image.rgb[p] * (1 + p % 7);
    }
    CHECK_EQ(VMAE_SHAPES_VERSION, 1);
    CHECK_NEAR(sum, 135899656.0, 1000.0);
    vmae_image_release(&image);
    close_set(set);
}

/* The same scene with another object differs in its pixels: no picture hides its class. */
TEST(the_object_is_to_be_seen_in_nearly_every_picture)
{
    int hidden = 0;
    uint8_t rgb[2][BYTES];
    for (uint64_t i = 0; i < 500; i++) {
        const int object = (int)(i % VMAE_SHAPES_OBJECTS);
        vmae_scene scene;
        vmae_outline outline[2];
        vmae_scene_make(&scene, 1, 0, i, object, (int)(i / 10 % VMAE_SHAPES_MOTIONS));
        vmae_shapes_outline(&outline[0], object);
        vmae_shapes_outline(&outline[1], (object + 1) % VMAE_SHAPES_OBJECTS);
        for (int k = 0; k < 2; k++)
            CHECK_OK(vmae_scene_render(rgb[k], SIZE, &scene, &outline[k], scene.moment));
        int changed = 0;
        for (int p = 0; p < SIZE * SIZE; p++)
            changed += abs(rgb[0][3 * p] - rgb[1][3 * p]) + abs(rgb[0][3 * p + 1] - rgb[1][3 * p + 1]) +
                           abs(rgb[0][3 * p + 2] - rgb[1][3 * p + 2]) >
                       40;
        hidden += changed < 15;
    }
    CHECK(hidden < 25);
}

TEST(motions_are_what_their_names_say)
{
    for (uint64_t i = 0; i < 100; i++)
        for (int motion = 0; motion < VMAE_SHAPES_MOTIONS; motion++) {
            vmae_scene scene;
            vmae_pose pose[3];
            vmae_scene_make(&scene, 2, 2, i, 0, motion);
            for (int k = 0; k < 3; k++)
                vmae_scene_pose(&pose[k], &scene, -0.5f + 0.5f * (float)k);
            const double right = (double)(pose[2].x - pose[0].x), down = (double)(pose[2].y - pose[0].y);
            const double growth = log2((double)(pose[2].radius / pose[0].radius));
            const char *name = vmae_shapes_motions[motion];
            CHECK(pose[1].x > -0.1f && pose[1].x < 1.1f && pose[1].y > -0.1f && pose[1].y < 1.1f);
            CHECK((fabs(right) > 0.4) == (strcmp(name, "slide") == 0));
            CHECK((down > 0.4) == (strcmp(name, "down") == 0));
            CHECK((down < -0.4) == (strcmp(name, "up") == 0));
            CHECK((growth > 0.9) == (strcmp(name, "grow") == 0));
            CHECK((growth < -0.9) == (strcmp(name, "shrink") == 0));
        }
}

/* The nearest class mean is the simplest linear classifier. The class is a matter of shape, so it must do badly
 * (chance: 10%). */
TEST(raw_pixels_do_not_give_the_object_away)
{
    enum { TRAIN = 3000, VAL = 500 };
    vmae_dataset *train = open_set("shapes", "train"), *val = open_set("shapes", "val");
    REQUIRE(train && val);
    double *mean = calloc((size_t)VMAE_SHAPES_OBJECTS * BYTES, sizeof *mean);
    REQUIRE(mean);
    vmae_image image = { 0 };
    for (int i = 0; i < TRAIN; i++) {
        CHECK_OK(train->image(train, i, 0, &image));
        for (int p = 0; p < BYTES; p++)
            mean[train->label(train, i) * BYTES + p] += image.rgb[p] * VMAE_SHAPES_OBJECTS / (double)TRAIN;
    }
    int right = 0;
    for (int i = 0; i < VAL; i++) {
        CHECK_OK(val->image(val, i, 0, &image));
        int best = 0;
        double least = INFINITY;
        for (int c = 0; c < VMAE_SHAPES_OBJECTS; c++) {
            double d = 0.0;
            for (int p = 0; p < BYTES; p++)
                d += (image.rgb[p] - mean[c * BYTES + p]) * (image.rgb[p] - mean[c * BYTES + p]);
            if (d < least) {
                least = d;
                best = c;
            }
        }
        right += best == val->label(val, i);
    }
    printf("  nearest class mean: %.1f%% right\n", 100.0 * right / VAL);
    CHECK(right < VAL * 2 / 5);
    free(mean);
    vmae_image_release(&image);
    close_set(train);
    close_set(val);
}

TEST(any_size_and_any_moment_can_be_rendered)
{
    static const int sizes[] = { 8, 9, 31, 64, 257, 512 };
    uint8_t *rgb = malloc((size_t)512 * 512 * 3);
    REQUIRE(rgb);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (uint64_t i = 0; i < (sizes[s] > 64 ? 3u : 100u); i++) {
            vmae_scene scene;
            vmae_outline outline;
            vmae_scene_make(&scene, 3, 0, i, (int)(i % 10), (int)(i % 8));
            vmae_shapes_outline(&outline, scene.object);
            for (int k = 0; k < 3; k++)
                CHECK_OK(vmae_scene_render(rgb, sizes[s], &scene, &outline, -0.5f + 0.5f * (float)k));
        }
    free(rgb);
}

TEST(settings_and_indices_out_of_range_are_refused)
{
    vmae_dataset *set = NULL;
    vmae_dataset_spec spec = spec_of("shapes", "test");
    CHECK_FAILS(vmae_open_shapes(&set, &spec), VMAE_EUSER, "no split \"test\"");
    spec = spec_of("shapes", "train");
    spec.shapes_size = 100000;
    CHECK_FAILS(vmae_open_shapes(&set, &spec), VMAE_EUSER, "shapes_size is 100000");
    spec = spec_of("shapes", "train");
    spec.shapes_count = INT64_MAX;
    CHECK_FAILS(vmae_open_shapes(&set, &spec), VMAE_EUSER, "shapes_count");
    spec = spec_of("shapes-video", "train");
    spec.shapes_frames = 0;
    CHECK_FAILS(vmae_open_shapes(&set, &spec), VMAE_EUSER, "shapes_frames is 0");
    spec.shapes_frames = 4;
    spec.limit = -1;
    CHECK_FAILS(vmae_open_shapes(&set, &spec), VMAE_EUSER, "limit is -1");
    CHECK(!set);
    spec.limit = 5;
    REQUIRE_OK(vmae_open_shapes(&set, &spec));
    CHECK_EQ(set->count, 5);
    vmae_image image = { 0 };
    int frame = 4;
    CHECK_FAILS(set->frames(set, 0, &frame, 1, &image), VMAE_EDATA, "frame 4");
    frame = -1;
    CHECK_FAILS(set->frames(set, 0, &frame, 1, &image), VMAE_EDATA, "frame -1");
    frame = 0;
    CHECK_FAILS(set->frames(set, 5, &frame, 1, &image), VMAE_EINTERNAL, "sample 5");
    vmae_image_release(&image);
    close_set(set);
}

TEST(rendering_is_timed)
{
    static const int sizes[] = { 32, 64, 224 };
    for (size_t s = 0; s < 3; s++) {
        vmae_dataset_spec spec = spec_of("shapes", "train");
        vmae_dataset *set = NULL;
        vmae_image image = { 0 };
        const int repeats = sizes[s] > 64 ? 10 : 200;
        spec.shapes_size = sizes[s];
        REQUIRE_OK(vmae_open_shapes(&set, &spec));
        double best = INFINITY;
        for (int round = 0; round < 5; round++) {
            const double start = vmae_seconds();
            for (int i = 0; i < repeats; i++)
                CHECK_OK(set->image(set, i, 0, &image));
            best = fmin(best, (vmae_seconds() - start) / repeats);
        }
        printf("  a picture of %3d pixels a side: %.1f us\n", sizes[s], 1e6 * best);
        vmae_image_release(&image);
        close_set(set);
    }
}
