/* test_augment.c -- pixel operations against Pillow's and torchvision's pixels, and what must hold of every view. */
#include "engine/checkpoint/checkpoint.h"
#include "engine/core/log.h"
#include "engine/pixels/pixels.h"
#include "tests/data/views.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- golden vectors ---- */

typedef struct golden {
    vmae_checkpoint *photos, *results;
    vmae_image photo, image;
    vmae_block work;
} golden;

static bool open_golden(golden *g)
{
    const char *folder = vmae_test_shared("golden");
    char path[1024];
    *g = (golden){ 0 };
    if (!folder)
        return false;
    snprintf(path, sizeof path, "%s/photos.safetensors", folder);
    CHECK_OK(vmae_checkpoint_open(&g->photos, path));
    snprintf(path, sizeof path, "%s/augment_basic.safetensors", folder);
    CHECK_OK(vmae_checkpoint_open(&g->results, path));
    return g->photos && g->results;
}

static void close_golden(golden *g)
{
    vmae_checkpoint_free(g->photos);
    vmae_checkpoint_free(g->results);
    vmae_image_release(&g->photo);
    vmae_image_release(&g->image);
    free(g->work.bytes);
}

/* The photo into g->photo and g->image. */
static bool load_photo(golden *g, int k)
{
    char name[32];
    snprintf(name, sizeof name, "photo.%d", k);
    const vmae_entry *e = vmae_checkpoint_find(g->photos, name);
    if (!CHECK(e && e->dtype == VMAE_ST_U8 && e->rank == 3 && e->dim[2] == 3))
        return false;
    vmae_image *both[2] = { &g->photo, &g->image };
    for (int i = 0; i < 2; i++) {
        CHECK_OK(vmae_image_resize_buffer(both[i], (int)e->dim[0], (int)e->dim[1]));
        memcpy(both[i]->rgb, e->data, e->bytes);
    }
    return true;
}

/* The largest difference between g->image and the result `name`.k; -1 if sizes differ. */
static int difference(const golden *g, const char *name, int k)
{
    char full[64];
    snprintf(full, sizeof full, "%s.%d", name, k);
    const vmae_entry *e = vmae_checkpoint_find(g->results, full);
    if (!e || e->dtype != VMAE_ST_U8 || e->rank != 3 || e->dim[0] != g->image.height || e->dim[1] != g->image.width)
        return -1;
    int worst = 0;
    for (size_t i = 0; i < e->count; i++) {
        const int off = abs(((const uint8_t *)e->data)[i] - g->image.rgb[i]);
        worst = off > worst ? off : worst;
    }
    return worst;
}

static float factor_of(const golden *g, const char *name, int k)
{
    const vmae_entry *e = vmae_checkpoint_find(g->results, name);
    float value = NAN;
    if (CHECK(e && e->dtype == VMAE_ST_F32 && e->count == 3))
        memcpy(&value, (const char *)e->data + (size_t)k * sizeof value, sizeof value);
    return value;
}

static int64_t integer_of(const golden *g, const char *name, size_t at)
{
    const vmae_entry *e = vmae_checkpoint_find(g->results, name);
    int64_t value = 0;
    if (CHECK(e && e->dtype == VMAE_ST_I64 && at < e->count))
        memcpy(&value, (const char *)e->data + at * sizeof value, sizeof value);
    return value;
}

static void adjust(golden *g, int operation, int k)
{
    static const char *const names[] = { "brightness", "contrast", "saturation", "hue" };
    static void (*const operations[])(vmae_image *, float) = { vmae_pixels_brightness, vmae_pixels_contrast,
                                                               vmae_pixels_saturation, vmae_pixels_hue };
    operations[operation](&g->image, factor_of(g, names[operation], k));
}

TEST(colour_operations_give_pillows_pixels)
{
    static const char *const results[] = { "adjust_brightness", "adjust_contrast", "adjust_saturation", "adjust_hue" };
    golden g;
    if (!open_golden(&g))
        SKIP("no golden vectors");
    for (int k = 0; k < 3; k++) {
        for (int i = 0; i < 4 && load_photo(&g, k); i++) {
            adjust(&g, i, k);
            CHECK_EQ(difference(&g, results[i], k), 0);
        }
        load_photo(&g, k);
        for (size_t i = 0; i < 4; i++)
            adjust(&g, (int)integer_of(&g, "jitter_order", (size_t)k * 4 + i), k);
        CHECK_EQ(difference(&g, "jitter", k), 0);
        load_photo(&g, k);
        vmae_pixels_grey(&g.image);
        CHECK_EQ(difference(&g, "grayscale", k), 0);
        load_photo(&g, k);
        vmae_pixels_solarise(&g.image, 128);
        CHECK_EQ(difference(&g, "solarize", k), 0);
        load_photo(&g, k);
        vmae_pixels_flip(&g.image);
        CHECK_EQ(difference(&g, "hflip", k), 0);
    }
    close_golden(&g);
}

TEST(crops_and_the_evaluation_transform_give_pillows_pixels)
{
    golden g;
    if (!open_golden(&g))
        SKIP("no golden vectors");
    const int size = atoi(vmae_checkpoint_metadata(g.results, "size"));
    const int eval_size = atoi(vmae_checkpoint_metadata(g.results, "eval_size"));
    const float ratio = strtof(vmae_checkpoint_metadata(g.results, "crop_ratio"), NULL);
    for (int k = 0; k < 3 && load_photo(&g, k); k++) {
        const size_t row = (size_t)k * 4;
        const vmae_box all = { 0, 0, size, size },
                       box = { integer_of(&g, "box", row), integer_of(&g, "box", row + 1),
                               integer_of(&g, "box", row + 2), integer_of(&g, "box", row + 3) };
        vmae_cut cut = { .box = box, .height = size, .width = size, .window = all };
        CHECK_OK(vmae_pixels_resize(&g.image, &g.photo, &cut, &g.work));
        CHECK_EQ(difference(&g, "crop_bilinear", k), 0);
        cut.bicubic = true;
        CHECK_OK(vmae_pixels_resize(&g.image, &g.photo, &cut, &g.work));
        CHECK_EQ(difference(&g, "crop_bicubic", k), 0);

        char name[32];
        snprintf(name, sizeof name, "normalised.%d", k);
        const vmae_entry *e = vmae_checkpoint_find(g.results, name);
        const int64_t shape[3] = { 3, size, size };
        float *wanted = calloc((size_t)(3 * size * size), sizeof *wanted),
              *got = calloc((size_t)(3 * size * size), sizeof *got);
        REQUIRE(e && wanted && got);
        CHECK_OK(vmae_checkpoint_floats(g.results, name, wanted, 3, shape));
        float scale[3], shift[3];
        vmae_normalisation(scale, shift, vmae_imagenet_mean, vmae_imagenet_std);
        vmae_pixels_normalise(got, &g.image, scale, shift);
        CHECK(vmae_max_difference(got, wanted, e->count) < 1e-6); /* values to 2.6: two roundings of float32 */
        free(wanted);
        free(got);

        cut.box = (vmae_box){ 0, 0, g.photo.height, g.photo.width };
        vmae_pixels_centre(g.photo.height, g.photo.width, eval_size, ratio, &cut.height, &cut.width, &cut.window);
        CHECK_OK(vmae_pixels_resize(&g.image, &g.photo, &cut, &g.work));
        CHECK_EQ(difference(&g, "eval", k), 0);
    }
    close_golden(&g);
}

TEST(blur_gives_torchvisions_pixels_within_one)
{
    golden g;
    if (!open_golden(&g))
        SKIP("no golden vectors");
    for (int k = 0; k < 3; k++) {
        load_photo(&g, k);
        float weight[VMAE_VIEW_REACH + 1];
        CHECK_OK(vmae_blur_weights(weight, 9, 0.5f));
        CHECK_OK(vmae_pixels_blur(&g.image, weight, &g.work));
        CHECK_NEAR(difference(&g, "blur_sigma05", k), 0.5, 0.5);
        load_photo(&g, k);
        CHECK_OK(vmae_blur_weights(weight, 9, 2.0f));
        CHECK_OK(vmae_pixels_blur(&g.image, weight, &g.work));
        CHECK_NEAR(difference(&g, "blur_sigma20", k), 0.5, 0.5);
    }
    close_golden(&g);
}

/* ---- properties ---- */

static bool is_sane(const float *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!(fabsf(values[i]) < 3.0f)) /* (1 - 0.406) / 0.225 = 2.64 */
            return false;
    return true;
}

TEST(flipping_twice_changes_nothing)
{
    for (int width = 1; width < 9; width++) {
        vmae_image a = { 0 }, b = { 0 };
        CHECK_OK(random_image(&a, 5, width, 1));
        CHECK_OK(random_image(&b, 5, width, 1));
        vmae_pixels_flip(&a);
        CHECK(memcmp(a.rgb, b.rgb + 3 * (width - 1), 3) == 0);
        vmae_pixels_flip(&a);
        CHECK(memcmp(a.rgb, b.rgb, (size_t)(5 * width * 3)) == 0);
        vmae_image_release(&a);
        vmae_image_release(&b);
    }
}

/* A weight that misses, or a pixel from outside, would change the value; the heap checker sees reads beyond the image.
 */
TEST(a_plain_image_stays_plain_at_any_size)
{
    static const int sizes[][2] = { { 1, 1 }, { 1, 700 }, { 700, 1 }, { 3, 2 }, { 64, 64 }, { 37, 251 }, { 2, 5000 } };
    vmae_augment_scratch scratch = { 0 };
    float out[3 * 24 * 24];
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int variant = 0; variant < 8; variant++) {
            vmae_image image = { 0 };
            REQUIRE_OK(vmae_image_resize_buffer(&image, sizes[i][0], sizes[i][1]));
            memset(image.rgb, 200, (size_t)sizes[i][0] * (size_t)sizes[i][1] * 3);
            vmae_augment how = every_step(24);
            how.jitter_p = how.solarise_p = 0.0f;
            how.grey_p = 0.0f;
            how.blur_p = 1.0f;
            how.crop = variant & 1;
            how.crop_once = how.bicubic = variant & 2;
            how.released = variant & 4;
            vmae_rng rng = vmae_rng_at(i, VMAE_RNG_TEST, 0, (uint64_t)variant);
            CHECK_OK(vmae_augment_apply(&how, &image, &rng, &scratch, out));
            for (int c = 0; c < 3; c++) {
                float plain[24 * 24];
                for (int k = 0; k < 24 * 24; k++)
                    plain[k] = (200.0f / 255.0f - how.mean[c]) / how.std[c];
                CHECK(vmae_max_difference(out + c * 24 * 24, plain, 24 * 24) < 2e-6);
            }
            vmae_image_release(&image);
        }
    vmae_augment_scratch_release(&scratch);
}

TEST(views_of_degenerate_images_are_finite_and_in_range)
{
    static const int sizes[][2] = { { 1, 1 }, { 1, 900 }, { 900, 1 }, { 2, 3 }, { 40, 40 }, { 5, 4000 } };
    static const int views[] = { 1, 2, 7, 32 };
    vmae_augment_scratch scratch = { 0 };
    float *out = calloc(3 * 32 * 32, sizeof *out);
    REQUIRE(out);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        vmae_image image = { 0 };
        CHECK_OK(random_image(&image, sizes[i][0], sizes[i][1], i));
        for (size_t v = 0; v < 4; v++)
            for (uint64_t k = 0; k < 40; k++) {
                vmae_augment how = every_step(views[v]);
                how.released = k & 1;
                how.crop = k % 5 != 0;
                how.crop_once = k & 2;
                vmae_rng rng = vmae_rng_at(3, VMAE_RNG_AUGMENT_1, 0, k);
                CHECK_OK(vmae_augment_apply(&how, &image, &rng, &scratch, out));
                CHECK(is_sane(out, (size_t)(3 * views[v] * views[v])));
            }
        vmae_image_release(&image);
    }
    free(out);
    vmae_augment_scratch_release(&scratch);
}

TEST(a_view_depends_on_its_stream_alone)
{
    enum { N = 20, SIZE = 32, FLOATS = 3 * SIZE * SIZE };
    vmae_image image = { 0 };
    vmae_augment_scratch shared = { 0 };
    const vmae_augment how = every_step(SIZE);
    float *first = calloc((size_t)N * FLOATS, sizeof *first), *again = calloc(FLOATS, sizeof *again);
    REQUIRE(first && again);
    CHECK_OK(random_image(&image, 60, 45, 9));
    for (int i = 0; i < N; i++) {
        vmae_rng rng = vmae_rng_at(3, VMAE_RNG_AUGMENT_1, 2, (uint64_t)i);
        CHECK_OK(vmae_augment_apply(&how, &image, &rng, &shared, first + i * FLOATS));
    }
    int equal_to_neighbour = 0;
    for (int i = N - 1; i >= 0; i--) {
        vmae_augment_scratch own = { 0 };
        vmae_rng rng = vmae_rng_at(3, VMAE_RNG_AUGMENT_1, 2, (uint64_t)i);
        CHECK_OK(vmae_augment_apply(&how, &image, &rng, &own, again));
        CHECK(memcmp(again, first + i * FLOATS, FLOATS * sizeof *again) == 0);
        equal_to_neighbour += i + 1 < N && memcmp(again, first + (i + 1) * FLOATS, FLOATS * sizeof *again) == 0;
        vmae_augment_scratch_release(&own);
    }
    CHECK_EQ(equal_to_neighbour, 0);
    free(first);
    free(again);
    vmae_image_release(&image);
    vmae_augment_scratch_release(&shared);
}

/* Red tells the column and green the row, so a view tells its box. */
TEST(random_crops_keep_to_their_areas_and_aspects_and_ablations_share_them)
{
    enum { SIDE = 256, SIZE = 32, PLANE = SIZE * SIZE };
    vmae_image image = { 0 };
    vmae_augment_scratch scratch = { 0 };
    float out[3 * PLANE], other[3 * PLANE];
    REQUIRE_OK(vmae_image_resize_buffer(&image, SIDE, SIDE));
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) {
            uint8_t *pixel = image.rgb + 3 * (y * SIDE + x);
            pixel[0] = (uint8_t)x;
            pixel[1] = (uint8_t)y;
            pixel[2] = 0;
        }
    vmae_augment how = { .size = SIZE, .crop = true, .crop_area_min = 0.2f, .crop_area_max = 0.5f, .std = { 1, 1, 1 } };
    double areas = 0.0;
    for (uint64_t i = 0; i < 500; i++) {
        vmae_rng rng = vmae_rng_at(1, VMAE_RNG_AUGMENT_1, 0, i), same = rng;
        REQUIRE_OK(vmae_augment_apply(&how, &image, &rng, &scratch, out));
        const double left = 255.0 * (double)out[PLANE / 2 + 4], right = 255.0 * (double)out[PLANE / 2 + SIZE - 5];
        const double top = 255.0 * (double)out[PLANE + 4 * SIZE],
                     bottom = 255.0 * (double)out[PLANE + (SIZE - 5) * SIZE];
        const double width = (right - left) * SIZE / (SIZE - 9), height = (bottom - top) * SIZE / (SIZE - 9);
        const double area = width * height / (SIDE * SIDE), aspect = width / height;
        areas += area / 500;
        CHECK(area > 0.19 && area < 0.52 && aspect > 0.73 && aspect < 1.37);
        vmae_augment plain = how;
        plain.grey_p = plain.jitter_p = 0.0f;
        plain.blur_sigma_min = plain.blur_sigma_max =
            1e-3f; /* the same box with one more operation, which does nothing */
        plain.blur_p = 1.0f;
        REQUIRE_OK(vmae_augment_apply(&plain, &image, &same, &scratch, other));
        CHECK(memcmp(out, other, sizeof out) == 0);
        CHECK(rng.counter[0] == same.counter[0] && rng.used == same.used);
    }
    CHECK_NEAR(areas, 0.35, 0.02);
    vmae_image_release(&image);
    vmae_augment_scratch_release(&scratch);
}

TEST(the_evaluation_window_is_in_the_middle)
{
    int64_t height, width;
    vmae_box window;
    vmae_pixels_centre(375, 500, 224, 0.875f, &height, &width, &window);
    CHECK(height == 256 && width == 341 && window.top == 16 && window.left == 58); /* 58.5 to even */
    vmae_pixels_centre(100, 100, 32, 0.8f, &height, &width, &window);
    CHECK(height == 40 && width == 40 && window.top == 4 && window.height == 32);
    vmae_pixels_centre(1, 60000000, 224, 0.875f, &height, &width, &window);
    CHECK(height == 256 && width == 256 * (int64_t)60000000);
}

TEST(hue_leaves_grey_alone_and_brightness_does_not_wrap)
{
    vmae_image image = { 0 };
    REQUIRE_OK(vmae_image_resize_buffer(&image, 16, 16));
    for (int i = 0; i < 256; i++)
        memset(image.rgb + 3 * i, i, 3);
    for (int shift = -5; shift <= 5; shift++) {
        vmae_pixels_hue(&image, (float)shift / 10.0f);
        for (int i = 0; i < 256; i++)
            CHECK(image.rgb[3 * i] == i && image.rgb[3 * i + 1] == i && image.rgb[3 * i + 2] == i);
    }
    vmae_pixels_brightness(&image, 5.0f);
    CHECK(image.rgb[3 * 51] == 255 && image.rgb[3 * 255] == 255 && image.rgb[3 * 10] == 50);
    vmae_image_release(&image);
}

/* ---- the released code's variants ---- */

TEST(released_jitter_is_its_formula)
{
    const double b = 1.25, c = 0.75, s = 1.15, turns = 0.07, weight[3] = { 0.2989, 0.587, 0.114 };
    const double cosine = cos(2 * acos(-1.0) * turns), sine = sin(2 * acos(-1.0) * turns), k = sqrt(1.0 / 3.0);
    vmae_image image = { 0 }, before = { 0 };
    CHECK_OK(random_image(&image, 9, 11, 5));
    CHECK_OK(random_image(&before, 9, 11, 5));
    double mean = 0.0;
    for (int i = 0; i < 99; i++)
        for (int j = 0; j < 3; j++)
            mean += weight[j] * before.rgb[3 * i + j] / 99.0;
    vmae_pixels_jitter_released(&image, (float)b, (float)c, (float)s, (float)turns);
    int unequal = 0;
    for (int i = 0; i < 99; i++) {
        double x[3], grey = 0.0;
        for (int j = 0; j < 3; j++)
            grey += weight[j] * before.rgb[3 * i + j];
        for (int j = 0; j < 3; j++)
            x[j] = s * (c * b * before.rgb[3 * i + j] + (1 - c) * mean) + (1 - s) * grey;
        const double third = (x[0] + x[1] + x[2]) / 3.0 * (1.0 - cosine);
        for (int j = 0; j < 3; j++) { /* Rodrigues about (1, 1, 1) / sqrt 3 */
            const double y = cosine * x[j] + k * sine * (x[(j + 2) % 3] - x[(j + 1) % 3]) + third;
            const int wanted = (int)fmin(fmax(y, 0.0), 255.0), got = image.rgb[3 * i + j];
            CHECK(abs(wanted - got) <= 1); /* float32 here: a whole number may fall to either side */
            unequal += wanted != got;
        }
    }
    CHECK(unequal <= 3);
    vmae_pixels_jitter_released(&before, 1.0f, 1.0f, 1.0f, 0.0f);
    CHECK_OK(random_image(&image, 9, 11, 5));
    CHECK(memcmp(image.rgb, before.rgb, 297) == 0);
    vmae_pixels_grey_released(&image);
    CHECK(image.rgb[0] == image.rgb[1] && image.rgb[1] == image.rgb[2]);
    vmae_image_release(&image);
    vmae_image_release(&before);
}

TEST(released_blur_is_five_wide_and_nine_high)
{
    enum { SIZE = 21 };
    float plane[SIZE * SIZE] = { 0 };
    vmae_block work = { 0 };
    plane[10 * SIZE + 10] = 1.0f;
    float across[VMAE_VIEW_REACH + 1], down[VMAE_VIEW_REACH + 1];
    CHECK_OK(vmae_blur_weights(across, 5, 1.5f));
    CHECK_OK(vmae_blur_weights(down, 9, 1.5f));
    CHECK_OK(vmae_planes_blur(plane, 1, SIZE, SIZE, across, down, &work));
    double sum = 0.0;
    for (int y = 0; y < SIZE; y++)
        for (int x = 0; x < SIZE; x++) {
            sum += (double)plane[y * SIZE + x];
            CHECK((plane[y * SIZE + x] > 0.0f) == (abs(x - 10) <= 2 && abs(y - 10) <= 4));
        }
    CHECK_NEAR(sum, 1.0, 1e-6);
    CHECK_NEAR(plane[10 * SIZE + 12] / plane[10 * SIZE + 10], exp(-0.5 * 4 / 2.25), 1e-6);
    free(work.bytes);
}

/* ---- refusals ---- */

TEST(settings_out_of_range_and_empty_images_are_refused)
{
    vmae_image image = { 0 };
    vmae_augment_scratch scratch = { 0 };
    float out[3 * 8 * 8];
    vmae_rng rng = vmae_rng_at(0, VMAE_RNG_TEST, 0, 0);
    vmae_augment how = every_step(8);
    CHECK_FAILS(vmae_augment_apply(&how, &image, &rng, &scratch, out), VMAE_EDATA, "empty");
    CHECK_OK(random_image(&image, 8, 8, 1));
    how.size = 0;
    CHECK_FAILS(vmae_augment_apply(&how, &image, &rng, &scratch, out), VMAE_EUSER, "0 pixels a side");
    how = every_step(8);
    how.crop_area_min = NAN;
    CHECK_FAILS(vmae_augment_apply(&how, &image, &rng, &scratch, out), VMAE_EUSER, "random crop");
    how = every_step(8);
    how.blur_sigma_min = 0.0f;
    CHECK_FAILS(vmae_augment_apply(&how, &image, &rng, &scratch, out), VMAE_EUSER, "sigma");
    how = every_step(8);
    how.hue = 0.6f;
    CHECK_FAILS(vmae_augment_apply(&how, &image, &rng, &scratch, out), VMAE_EUSER, "hue");
    how = every_step(8);
    how.grey_p = NAN;
    CHECK_FAILS(vmae_augment_apply(&how, &image, &rng, &scratch, out), VMAE_EUSER, "probabilities");
    how = every_step(8);
    how.std[1] = 0.0f;
    CHECK_FAILS(vmae_augment_apply(&how, &image, &rng, &scratch, out), VMAE_EUSER, "std");
    how = every_step(8);
    how.crop = false;
    how.crop_ratio = 0.0f;
    CHECK_FAILS(vmae_augment_apply(&how, &image, &rng, &scratch, out), VMAE_EUSER, "crop ratio");
    vmae_block work = { 0 };
    const vmae_cut beyond = { .box = { 0, 1, 8, 8 }, .height = 4, .width = 4, .window = { 0, 0, 4, 4 } };
    CHECK_FAILS(vmae_pixels_resize(&scratch.image, &image, &beyond, &work), VMAE_EINTERNAL, "resize");
    CHECK_FAILS(vmae_image_resize_buffer(&image, 0, 5), VMAE_EDATA, "5 x 0");
    CHECK(image.rgb && image.height == 8);
    vmae_image_release(&image);
    vmae_augment_scratch_release(&scratch);
}

/* ---- speed: printed, not judged ---- */

static void time_pipeline(const char *what, int height, int width, const vmae_augment *how, int repeats)
{
    vmae_image image = { 0 };
    vmae_augment_scratch scratch = { 0 };
    float *out = calloc((size_t)(3 * how->size * how->size), sizeof *out);
    REQUIRE(out);
    CHECK_OK(random_image(&image, height, width, 1));
    double best = INFINITY;
    for (int round = 0; round < 5; round++) {
        const double start = vmae_seconds();
        for (int i = 0; i < repeats; i++) {
            vmae_rng rng = vmae_rng_at(1, VMAE_RNG_AUGMENT_1, 0, (uint64_t)i);
            CHECK_OK(vmae_augment_apply(how, &image, &rng, &scratch, out));
        }
        best = fmin(best, (vmae_seconds() - start) / repeats);
    }
    printf("  %-60s %8.1f us\n", what, 1e6 * best);
    free(out);
    vmae_image_release(&image);
    vmae_augment_scratch_release(&scratch);
}

TEST(views_are_timed)
{
    vmae_augment plain = every_step(32);
    plain.jitter_p = plain.grey_p = plain.blur_p = plain.solarise_p = 0.0f;
    time_pipeline("crop 128 x 128 -> 32, flip", 128, 128, &plain, 100);
    vmae_augment how = every_step(32);
    how.jitter_p = how.blur_p = 1.0f;
    time_pipeline("crop 32 -> 32, flip, jitter, grey, blur", 32, 32, &how, 100);
    how.released = true;
    time_pipeline("the same, released code's", 32, 32, &how, 100);
    plain.size = how.size = 224;
    time_pipeline("crop 500 x 375 -> 224, flip", 375, 500, &plain, 10);
    time_pipeline("crop 500 x 375 -> 224, flip, jitter, blur, released", 375, 500, &how, 10);
    how.released = false;
    time_pipeline("crop 500 x 375 -> 224, flip, jitter, grey, blur", 375, 500, &how, 10);
    how.blur_p = 0.0f;
    time_pipeline("crop 500 x 375 -> 224, flip, jitter, grey", 375, 500, &how, 10);
    how.hue = 0.0f;
    time_pipeline("crop 500 x 375 -> 224, flip, jitter without hue, grey", 375, 500, &how, 10);
    how.bicubic = how.crop = false;
    how.flip = false;
    how.jitter_p = how.grey_p = how.solarise_p = 0.0f;
    time_pipeline("evaluation 500 x 375 -> 224, bilinear", 375, 500, &how, 10);
}
