/* test_views.c -- views that a device makes from records: the bits that a loader thread gives on the spot. */
#include "engine/pixels/pixels.h"
#include "tests/backend/kernel_case.h"
#include "tests/data/views.h"

#include <stdlib.h>
#include <string.h>

/* ---- a batch of views, both ways ---- */

enum { ROWS_MOST = 64 };

typedef struct batch {
    int size;
    int64_t rows, used; /* bytes of sources */
    uint8_t *sources;
    vmae_view *views;
    float *wanted; /* [rows, 3, size, size] */
    vmae_augment_scratch scratch;
} batch;

static batch batch_new(int size)
{
    return (batch){ .size = size,
                    .sources = grab((size_t)(ROWS_MOST * vmae_view_record_most(size))),
                    .views = grab(ROWS_MOST * sizeof(vmae_view)),
                    .wanted = grab_floats((int64_t)ROWS_MOST * 3 * size * size) };
}

static void add_view(batch *b, const vmae_drawn *drawn, const vmae_image *image)
{
    vmae_view *view = &b->views[b->rows];
    const int64_t bytes = vmae_view_record_bytes(&drawn->view, b->size);
    REQUIRE(b->rows < ROWS_MOST && bytes <= vmae_view_record_most(b->size) && b->used % 16 == 0);
    *view = drawn->view;
    view->source = b->used;
    CHECK_OK(vmae_augment_pack(drawn, image, &b->scratch, b->sources + b->used));
    if (!kernel_repeats())
        CHECK_OK(vmae_augment_make(drawn, image, &b->scratch, b->wanted + b->rows * 3 * b->size * b->size));
    b->used += bytes;
    b->rows++;
}

/* Runs the views that were added, and forgets the batch and all else that was grabbed. */
static void check_views(vmae_backend *be, batch *b, const char *what)
{
    const int64_t values = 3 * (int64_t)b->size * b->size, all = b->rows * values;
    float *images = grab_floats(all);
    const uint8_t *sources = grab_copy(b->sources, (size_t)b->used); /* of just these sizes */
    const vmae_view *views = grab_copy(b->views, (size_t)b->rows * sizeof *b->views);
    void *scratch = grab(be->kernels->augment_scratch(be, b->rows, b->size));
    kernel_called(offsetof(vmae_kernels, augment_scratch));
    RUN(be, augment, OUT(images), SCRATCH(scratch), IN(sources), IN(views), b->rows, b->size);
    for (int64_t i = 0; i < all && !kernel_repeats(); i++)
        if (memcmp(&images[i], &b->wanted[i], sizeof *images) != 0) {
            vmae_check(false, __FILE__, __LINE__,
                       "%s, %s: view %lld of %lld, %d pixels a side: float %lld is %.9g, not %.9g", on_what(), what,
                       (long long)(i / values), (long long)b->rows, b->size, (long long)(i % values), (double)images[i],
                       (double)b->wanted[i]);
            break;
        }
    vmae_augment_scratch_release(&b->scratch);
    release_all();
}

static void check_image(vmae_backend *be, int height, int width, int count, const vmae_augment *how, const char *what)
{
    batch b = batch_new(how->size);
    vmae_image image = { 0 };
    CHECK_OK(random_image(&image, height, width, (uint64_t)(height + 7 * width + how->size)));
    for (int i = 0; i < count; i++) {
        vmae_rng rng = vmae_rng_at(3, VMAE_RNG_AUGMENT_1, (uint32_t)how->size, (uint64_t)i);
        vmae_drawn drawn;
        CHECK_OK(vmae_augment_draw(how, height, width, &rng, &drawn));
        add_view(&b, &drawn, &image);
    }
    vmae_image_release(&image);
    check_views(be, &b, what);
}

/* ---- sizes, filters, transforms ---- */

static void awkward_sizes(vmae_backend *be)
{
    static const int sizes[][2] = { { 1, 1 }, { 1, 90 }, { 90, 1 }, { 2, 3 }, { 40, 40 }, { 5, 400 }, { 61, 87 } };
    static const int views[] = { 1, 2, 7, 31, 32, 33, 48 };
    for (size_t v = 0; v < sizeof views / sizeof *views; v++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            const vmae_augment how = every_step(views[v]);
            check_image(be, sizes[i][0], sizes[i][1], 5, &how, "every step");
        }
}
TEST(views_from_records_are_the_loaders_at_awkward_sizes)
{
    on_every_backend(awkward_sizes);
}

static void filters(vmae_backend *be)
{
    for (int variant = 0; variant < 16; variant++) {
        vmae_augment how = every_step(36);
        how.bicubic = variant & 1;
        how.crop = variant & 2;
        how.crop_once = variant & 4;
        how.crop_ratio = variant & 4 ? 1.0f : 0.8f;
        how.released = variant & 8;
        how.jitter_p = 1.0f;
        check_image(be, 70, 55, 10, &how, how.released ? "released" : "torchvision");
    }
}
TEST(views_come_out_the_same_with_every_filter_and_transform)
{
    on_every_backend(filters);
}

static void photo(vmae_backend *be)
{
    vmae_augment how = every_step(224);
    check_image(be, 375, 500, 3, &how, "photo");
    how.crop = false;
    check_image(be, 375, 500, 1, &how, "evaluation");
}
TEST(views_of_a_photo_come_out_the_same_at_the_papers_size)
{
    on_one_backend(photo);
}

/* Up to what a device scales, just beyond, and far beyond: of those the loader makes the pixels. */
static void reductions(vmae_backend *be)
{
    static const int sizes[][2] = { { 64, 64 }, { 63, 65 }, { 128, 32 },  { 32, 128 }, { 129, 32 }, { 32, 130 },
                                    { 66, 66 }, { 80, 48 }, { 300, 200 }, { 33, 300 }, { 31, 31 },  { 16, 20 } };
    vmae_augment how = every_step(32);
    int scaled = 0, made = 0;
    how.crop = false;
    how.crop_ratio = 1.0f;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int filter = 0; filter < 2; filter++) {
            vmae_drawn drawn;
            vmae_rng rng = vmae_rng_at(0, VMAE_RNG_TEST, 0, 0);
            how.bicubic = filter;
            CHECK_OK(vmae_augment_draw(&how, sizes[i][0], sizes[i][1], &rng, &drawn));
            CHECK(drawn.view.room_across <= VMAE_VIEW_ROOM && drawn.view.room_down <= VMAE_VIEW_ROOM);
            scaled += drawn.view.room_across > 0;
            made += drawn.view.room_across == 0;
            check_image(be, sizes[i][0], sizes[i][1], 2, &how, "whole image");
        }
    CHECK(scaled > 0 && made > 0);
}
TEST(large_reductions_of_views_come_out_the_same)
{
    on_every_backend(reductions);
}

/* Of boxes whose sides are not in proportion: what one direction may shrink by depends on the other. Four views of
 * each, from the corners of an image. */
static void check_boxes(vmae_backend *be, int size, const int (*sides)[2], size_t count, int height, int width)
{
    const vmae_augment how = every_step(size);
    vmae_image image = { 0 };
    batch b = batch_new(size);
    CHECK_OK(random_image(&image, height, width, 5));
    for (size_t i = 0; i < count; i++)
        for (int k = 0; k < 4; k++) {
            vmae_rng rng = vmae_rng_at(9, VMAE_RNG_AUGMENT_1, (uint32_t)i, (uint64_t)k);
            vmae_drawn drawn;
            CHECK_OK(vmae_augment_draw(&how, height, width, &rng, &drawn));
            drawn.cut.box = (vmae_box){ k % 2 ? height - sides[i][0] : 0, k / 2 ? width - sides[i][1] : 1, sides[i][0],
                                        sides[i][1] };
            drawn.cut.bicubic = k != 3;
            vmae_record_plan(&drawn.view, &drawn.cut);
            add_view(&b, &drawn, &image);
        }
    vmae_image_release(&image);
    check_views(be, &b, "boxes");
}

static void crooked(vmae_backend *be)
{
    static const int sides[][2] = { { 128, 32 }, { 32, 128 }, { 64, 64 }, { 127, 33 }, { 100, 41 },
                                    { 41, 99 },  { 8, 128 },  { 128, 5 }, { 200, 20 }, { 33, 65 } };
    check_boxes(be, 32, sides, sizeof sides / sizeof *sides, 203, 140);
}
TEST(crooked_reductions_of_views_come_out_the_same)
{
    on_every_backend(crooked);
}

/* Large enough for tiles with neighbours on all sides, which read the most. */
static void tiled(vmae_backend *be)
{
    static const int sides[][2] = { { 384, 96 }, { 96, 384 }, { 192, 192 }, { 364, 101 }, { 101, 364 }, { 300, 122 } };
    check_boxes(be, 96, sides, sizeof sides / sizeof *sides, 384, 386);
}
TEST(reductions_of_views_in_many_tiles_come_out_the_same)
{
    on_one_backend(tiled);
}

/* ---- colours ---- */

/* Any colour, dark ones, and such as are nearly grey. */
static void fill_colours(vmae_image *image, vmae_rng *rng)
{
    for (int i = 0; i < image->height * image->width; i++) {
        const uint32_t bits = vmae_rng_u32(rng);
        uint8_t *pixel = image->rgb + 3 * i;
        pixel[0] = (uint8_t)bits;
        pixel[1] = (uint8_t)(bits >> 8 & (i % 3 == 0 ? 15u : 255u));
        pixel[2] = (uint8_t)(i % 5 == 0 ? pixel[1] + (bits >> 16 & 3) : bits >> 16);
    }
}

/* Pillow computes hue in double; a device has none. */
static void hues(vmae_backend *be)
{
    enum { SIZE = 40 };
    const vmae_augment plain = { .size = SIZE, .crop_ratio = 1.0f, .std = { 1.0f, 1.0f, 1.0f } };
    vmae_image image = { 0 };
    vmae_rng rng = vmae_rng_at(1, VMAE_RNG_TEST, 0, 0);
    batch b = batch_new(SIZE);
    CHECK_OK(vmae_image_resize_buffer(&image, SIZE, SIZE));
    for (int i = 0; i < ROWS_MOST; i++) {
        vmae_drawn drawn;
        fill_colours(&image, &rng);
        CHECK_OK(vmae_augment_draw(&plain, SIZE, SIZE, &rng, &drawn));
        drawn.view.steps = 1;
        drawn.view.step[0] = i < ROWS_MOST - 2 ? VMAE_STEP_HUE : VMAE_STEP_GREY_RELEASED;
        drawn.view.value[0] = (float)(4 * i - 128) / 256.0f;
        add_view(&b, &drawn, &image);
    }
    vmae_image_release(&image);
    check_views(be, &b, "hue");
}
TEST(every_hue_of_a_view_comes_out_the_same)
{
    on_every_backend(hues);
}

static void too_many(vmae_backend *be)
{
    vmae_view *view = grab(sizeof *view);
    float *nothing = grab_floats(4);
    if (!vmae_test_on_cpu()) /* a device takes only so many blocks at once */
        CHECK_REFUSED(VMAE_EUSER, "fewer or smaller ones", be, augment, OUT(nothing), SCRATCH(nothing), IN(nothing),
                      IN(view), (int64_t)1 << 40, 8);
}
TEST(more_views_than_a_device_takes_are_refused)
{
    on_one_backend(too_many);
}
