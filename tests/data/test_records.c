/* test_records.c -- a loader's batches as records: of them come the floats that the loader would have made. */
#include "engine/pixels/pixels.h"
#include "tests/data/views.h"

#include <stdlib.h>

/* Images of 40 to 60 pixels a side; clips of them. */
static vmae_status striped(const vmae_dataset *dataset, int64_t index, int least, vmae_image *image)
{
    (void)dataset;
    (void)least;
    if (index == 5)
        return vmae_fail(VMAE_EDATA, "sample 5 is broken");
    VMAE_TRY(random_image(image, 40 + (int)(index % 3) * 7, 60 - (int)(index % 4) * 5, (uint64_t)index));
    return VMAE_OK;
}
static vmae_status clip_info(const vmae_dataset *dataset, int64_t index, vmae_clip_info *info)
{
    (void)dataset;
    (void)index;
    *info = (vmae_clip_info){ 8, 25.0 };
    return VMAE_OK;
}
static vmae_status striped_frames(const vmae_dataset *dataset, int64_t index, const int *frame, int count,
                                  vmae_image *images)
{
    for (int i = 0; i < count; i++)
        VMAE_TRY(striped(dataset, 100 + 8 * index + frame[i], 0, &images[i]));
    return VMAE_OK;
}
static const char *striped_name(const vmae_dataset *dataset, int64_t index, char *buffer, size_t size)
{
    (void)dataset;
    (void)index;
    (void)size;
    buffer[0] = '\0';
    return buffer;
}

/* Every batch of records gives the floats that the same loader would have made. */
static void check_batch(const vmae_batch *records, const vmae_batch *floats, int64_t views, int size)
{
    const int64_t values = 3 * (int64_t)size * size;
    vmae_image image = { 0 };
    vmae_block work = { 0 };
    float *got = calloc((size_t)values, sizeof *got);
    REQUIRE(got);
    CHECK(!records->view1 && !records->view2 && !floats->sources && !floats->views);
    CHECK(records->source_bytes <= views * vmae_view_record_most(size));
    CHECK(memcmp(floats->index, records->index, (size_t)records->count * sizeof *records->index) == 0);
    for (int64_t i = 0; i < views; i++) {
        const vmae_view *view = &records->views[i];
        CHECK(view->source % 16 == 0 && view->source + vmae_view_record_bytes(view, size) <= records->source_bytes);
        CHECK_OK(vmae_view_apply(got, view, records->sources, size, &image, &work));
        CHECK(memcmp(got, floats->view1 + i * values, (size_t)values * sizeof *got) == 0);
    }
    CHECK(image.capacity == (size_t)values && work.capacity <= vmae_view_work_bytes(size)); /* what a backend has */
    vmae_image_release(&image);
    free(work.bytes);
    free(got);
}

static void check_loader(vmae_loader_spec spec, int steps)
{
    vmae_loader *loader[2] = { NULL, NULL };
    const vmae_batch *floats, *records;
    REQUIRE_OK(vmae_loader_start(&loader[0], &spec));
    spec.records = true;
    REQUIRE_OK(vmae_loader_start(&loader[1], &spec));
    for (int step = 0; step < steps; step++) {
        REQUIRE_OK(vmae_loader_next(loader[0], &floats));
        REQUIRE_OK(vmae_loader_next(loader[1], &records));
        REQUIRE(floats && records && floats->count == records->count);
        check_batch(records, floats, records->count * (spec.pairs ? 2 : 1), spec.sources[0].view[0].size);
    }
    vmae_loader_stop(loader[0]);
    vmae_loader_stop(loader[1]);
}

TEST(a_loaders_records_give_its_floats)
{
    const vmae_dataset images = { .media = VMAE_IMAGES,
                                  .count = 23,
                                  .description = "stripes",
                                  .name = striped_name,
                                  .image = striped },
                       clips = { .media = VMAE_VIDEOS,
                                 .count = 9,
                                 .description = "striped clips",
                                 .name = striped_name,
                                 .clip = clip_info,
                                 .frames = striped_frames };
    vmae_source sources[2] = {
        { .dataset = &images, .batch = 5, .view = { every_step(20), every_step(20) } },
        { .dataset = &clips, .batch = 3, .view = { every_step(20), every_step(20) }, .frames = { .distant = true } }
    };
    sources[0].view[1].released = true;
    for (int threads = 1; threads <= 5; threads += 2) {
        const vmae_loader_spec pairs = { .sources = sources,
                                         .source_count = 2,
                                         .pairs = true,
                                         .shuffle = true,
                                         .seed = 4,
                                         .threads = threads,
                                         .prefetch = 2,
                                         .bad_limit = 1 };
        check_loader(pairs, 9);
        vmae_loader_spec pass = { .sources = sources,
                                  .source_count = 1,
                                  .last_partial = true,
                                  .threads = threads,
                                  .prefetch = 1,
                                  .bad_limit = 1 };
        sources[0].view[0].crop = false;
        check_loader(pass, 5);
        sources[0].view[0].crop = true;
    }
}
