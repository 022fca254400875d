/* test_loader.c -- batches: the same for any number of threads, from any first step, with bad samples and without. */
#include "engine/core/log.h"
#include "engine/data/data.h"
#include "tests/data/fixtures.h"

#include <stdatomic.h>
#include <unistd.h>

/* ---- datasets in memory: an image of any index, with some that fail ---- */

typedef struct fake {
    int64_t bad_every; /* every n'th sample is bad; 0: none */
    vmae_status bad_status;
    int frames;
    atomic_int fails; /* if not 0: the bad ones fail so often, then they are good */
} fake;

static int fake_label(const vmae_dataset *dataset, int64_t index)
{
    (void)dataset;
    return (int)(index % 7);
}
static const char *fake_name(const vmae_dataset *dataset, int64_t index, char *buffer, size_t size)
{
    (void)dataset;
    snprintf(buffer, size, "fake %lld", (long long)index);
    return buffer;
}
static vmae_status fill(const vmae_dataset *dataset, int64_t index, int frame, vmae_image *image)
{
    fake *self = dataset->self;
    const bool bad = self->bad_every && index % self->bad_every == self->bad_every - 1;
    const bool recovered = bad && self->fails && atomic_fetch_sub(&self->fails, 1) == 1;
    if (recovered)
        self->bad_every = 0;
    if (bad && !recovered)
        return vmae_fail(self->bad_status, "fake %lld is broken", (long long)index);
    VMAE_TRY(vmae_image_resize_buffer(image, 24, 24 + (int)(index % 5)));
    for (int i = 0; i < image->width * image->height * 3; i++)
        image->rgb[i] = (uint8_t)((int64_t)i * (index + 3) + frame * 17);
    return VMAE_OK;
}
static vmae_status fake_image(const vmae_dataset *dataset, int64_t index, int least, vmae_image *image)
{
    (void)least;
    return fill(dataset, index, 0, image);
}
static vmae_status fake_clip(const vmae_dataset *dataset, int64_t index, vmae_clip_info *info)
{
    const fake *self = dataset->self;
    *info = (vmae_clip_info){ index % 4 ? self->frames : 3, 25.0 };
    return VMAE_OK;
}
static vmae_status fake_frames(const vmae_dataset *dataset, int64_t index, const int *frame, int count,
                               vmae_image *images)
{
    for (int i = 0; i < count; i++)
        VMAE_TRY(fill(dataset, index, frame[i], &images[i]));
    return VMAE_OK;
}

static vmae_dataset fake_dataset(fake *self, vmae_media media, int64_t count)
{
    return (vmae_dataset){ .media = media,
                           .count = count,
                           .classes = 7,
                           .description = "fakes",
                           .self = self,
                           .label = fake_label,
                           .name = fake_name,
                           .image = fake_image,
                           .clip = fake_clip,
                           .frames = fake_frames };
}

static vmae_augment pretrain_view(int size)
{
    return (vmae_augment){ .size = size,
                           .crop = true,
                           .crop_area_min = 0.3f,
                           .crop_area_max = 1.0f,
                           .flip = true,
                           .jitter_p = 0.8f,
                           .brightness = 0.4f,
                           .contrast = 0.4f,
                           .saturation = 0.2f,
                           .hue = 0.1f,
                           .crop_ratio = 0.875f,
                           .mean = { 0.5f, 0.5f, 0.5f },
                           .std = { 0.2f, 0.2f, 0.2f } };
}
static vmae_augment plain_view(int size)
{
    return (vmae_augment){ .size = size, .crop_ratio = 1.0f, .std = { 1.0f, 1.0f, 1.0f } };
}

/* ---- running one, as a hash per batch ---- */

enum { MAX_STEPS = 64 };
typedef struct trace {
    int steps;
    uint64_t hash[MAX_STEPS];
    int64_t bad;
    vmae_status status;
    char error[512], first_bad[64];
} trace;

static uint64_t hash_more(uint64_t h, const void *data, size_t count)
{
    const uint8_t *at = data;
    for (size_t i = 0; i < count; i++)
        h = (h ^ at[i]) * 1099511628211u;
    return h;
}

static uint64_t hash_batch(const vmae_batch *batch, int size)
{
    const size_t floats = (size_t)batch->count * 3 * (size_t)size * (size_t)size;
    uint64_t h = hash_more(14695981039346656037u, &batch->step, sizeof batch->step);
    h = hash_more(h, &batch->epoch, sizeof batch->epoch);
    h = hash_more(h, batch->view1, floats * sizeof(float));
    if (batch->view2)
        h = hash_more(h, batch->view2, floats * sizeof(float));
    h = hash_more(h, batch->labels, (size_t)batch->count * sizeof *batch->labels);
    return hash_more(h, batch->index, (size_t)batch->count * sizeof *batch->index);
}

static trace run(const vmae_loader_spec *spec, int steps)
{
    trace t = { 0 };
    vmae_loader *loader = NULL;
    const vmae_batch *batch = NULL;
    t.status = vmae_loader_start(&loader, spec);
    while (t.status == VMAE_OK && t.steps < steps) {
        t.status = vmae_loader_next(loader, &batch);
        if (t.status != VMAE_OK || !batch)
            break;
        t.hash[t.steps++] = hash_batch(batch, spec->sources[0].view[0].size);
    }
    if (t.status != VMAE_OK)
        snprintf(t.error, sizeof t.error, "%s", vmae_error());
    if (loader) {
        vmae_bad_sample first = { 0 };
        t.bad = vmae_loader_bad(loader, 0, &first, 1);
        snprintf(t.first_bad, sizeof t.first_bad, "%.40s at step %lld", first.name, (long long)first.step);
        CHECK(vmae_loader_waited(loader) >= 0.0);
    }
    vmae_loader_stop(loader);
    return t;
}

static bool same(const trace *a, const trace *b)
{
    return a->steps == b->steps && memcmp(a->hash, b->hash, (size_t)a->steps * sizeof a->hash[0]) == 0 &&
           a->bad == b->bad && a->status == b->status && strcmp(a->error, b->error) == 0 &&
           strcmp(a->first_bad, b->first_bad) == 0;
}

/* Images and clips mixed, pairs. */
typedef struct mixed {
    fake images, clips;
    vmae_dataset dataset[2];
    vmae_source sources[2];
    vmae_loader_spec spec;
} mixed;

static void make_mixed(mixed *m, int64_t bad_every)
{
    m->images = (fake){ .bad_every = bad_every, .bad_status = VMAE_EDATA };
    m->clips = (fake){ .frames = 12 };
    m->dataset[0] = fake_dataset(&m->images, VMAE_IMAGES, 53);
    m->dataset[1] = fake_dataset(&m->clips, VMAE_VIDEOS, 31);
    m->sources[0] =
        (vmae_source){ .dataset = &m->dataset[0], .batch = 5, .view = { pretrain_view(16), pretrain_view(16) } };
    m->sources[1] = (vmae_source){ .dataset = &m->dataset[1],
                                   .batch = 3,
                                   .view = { pretrain_view(16), plain_view(16) },
                                   .frames = { .distant = true } };
    m->spec = (vmae_loader_spec){ .sources = m->sources,
                                  .source_count = 2,
                                  .pairs = true,
                                  .shuffle = true,
                                  .seed = 11,
                                  .threads = 1,
                                  .prefetch = 2,
                                  .bad_limit = 100 };
}

TEST(batches_do_not_depend_on_threads_or_prefetch)
{
    static const int threads[] = { 1, 2, 5, 5 }, prefetch[] = { 2, 1, 3, 9 };
    for (int bad = 0; bad < 2; bad++) {
        mixed m;
        trace first = { 0 };
        make_mixed(&m, bad ? 4 : 0);
        for (int i = 0; i < 4; i++) {
            m.spec.threads = threads[i];
            m.spec.prefetch = prefetch[i];
            const trace t = run(&m.spec, 30);
            CHECK_EQ(t.status, VMAE_OK);
            CHECK_EQ(t.steps, 30);
            CHECK_EQ(t.bad, bad ? 13 : 0); /* 13 of 53, however often they come round */
            if (i == 0)
                first = t;
            CHECK(same(&t, &first));
        }
        for (int i = 1; i < 30; i++)
            CHECK(first.hash[i] != first.hash[0]);
    }
}
TEST(resuming_gives_the_batches_that_would_have_come)
{
    mixed m;
    make_mixed(&m, 0);
    const trace whole = run(&m.spec, 20);
    m.spec.first_step = 13;
    m.spec.threads = 3;
    const trace rest = run(&m.spec, 7);
    CHECK_EQ(rest.steps, 7);
    CHECK(memcmp(rest.hash, whole.hash + 13, 7 * sizeof rest.hash[0]) == 0);
    m.spec.first_step = 0;
    m.spec.seed = 12;
    const trace other = run(&m.spec, 20);
    CHECK(other.hash[0] != whole.hash[0]);
}
TEST(an_epoch_visits_every_sample_once_and_views_lie_behind_each_other)
{
    fake self = { 0 };
    vmae_dataset dataset = fake_dataset(&self, VMAE_IMAGES, 24);
    const vmae_source source = { .dataset = &dataset, .batch = 6, .view = { pretrain_view(8), plain_view(8) } };
    const vmae_loader_spec spec = {
        .sources = &source, .source_count = 1, .pairs = true, .shuffle = true, .seed = 5, .threads = 2, .prefetch = 2
    };
    vmae_loader *loader = NULL;
    const vmae_batch *batch = NULL;
    int visits[24] = { 0 };
    REQUIRE_OK(vmae_loader_start(&loader, &spec));
    for (int step = 0; step < 8; step++) {
        REQUIRE_OK(vmae_loader_next(loader, &batch));
        CHECK_EQ(batch->step, step);
        CHECK_EQ(batch->count, 6);
        CHECK_EQ(batch->epoch, step / 4);
        CHECK(batch->view2 == batch->view1 + 6 * 3 * 8 * 8);
        for (int i = 0; i < 6; i++) {
            visits[batch->index[i]]++;
            CHECK_EQ(batch->labels[i], batch->index[i] % 7);
        }
    }
    for (int i = 0; i < 24; i++)
        CHECK_EQ(visits[i], 2);
    vmae_loader_stop(loader);
}
/* Peeking at the batch to come changes nothing, and shows what then comes where it will be. */
TEST(what_a_peek_shows_comes_next)
{
    fake self = { 0 };
    vmae_dataset dataset = fake_dataset(&self, VMAE_IMAGES, 24);
    const vmae_source source = { .dataset = &dataset, .batch = 6, .view = { pretrain_view(8), plain_view(8) } };
    const vmae_loader_spec spec = {
        .sources = &source, .source_count = 1, .pairs = true, .shuffle = true, .seed = 5, .threads = 2, .prefetch = 2
    };
    vmae_loader *loader = NULL;
    const vmae_batch *batch = NULL;
    REQUIRE_OK(vmae_loader_start(&loader, &spec));
    for (int step = 0, seen = 0; step < 2000 && seen < 8; step++) {
        const vmae_batch *peeked = vmae_loader_peek(loader);
        const vmae_batch copy = peeked ? *peeked : (vmae_batch){ 0 };
        const float first = peeked ? copy.view1[0] : 0.0f;
        REQUIRE_OK(vmae_loader_next(loader, &batch));
        CHECK_EQ(batch->step, step);
        if (peeked)
            CHECK(copy.view1 == batch->view1 && copy.step == step && first == batch->view1[0]);
        seen += peeked != NULL;
        if (step == 1999)
            CHECK(seen > 0);
    }
    vmae_loader_stop(loader);
}
TEST(evaluation_is_one_pass_with_a_smaller_last_batch)
{
    fake self = { .frames = 12 };
    for (int video = 0; video < 2; video++) {
        vmae_dataset dataset = fake_dataset(&self, video ? VMAE_VIDEOS : VMAE_IMAGES, 23);
        const vmae_source source = { .dataset = &dataset, .batch = 5, .view = { plain_view(8) } };
        vmae_loader_spec spec = {
            .sources = &source, .source_count = 1, .last_partial = true, .threads = 3, .prefetch = 2
        };
        vmae_loader *loader = NULL;
        const vmae_batch *batch = NULL;
        REQUIRE_OK(vmae_loader_start(&loader, &spec));
        int64_t seen = 0;
        while (vmae_loader_next(loader, &batch) == VMAE_OK && batch) {
            CHECK(batch->view2 == NULL);
            CHECK_EQ(batch->count, seen == 20 ? 3 : 5);
            for (int i = 0; i < batch->count; i++)
                CHECK_EQ(batch->index[i], seen++);
        }
        CHECK_EQ(seen, 23);
        CHECK_OK(vmae_loader_next(loader, &batch)); /* the end stays the end */
        CHECK(batch == NULL);
        vmae_loader_stop(loader);
        spec.first_step = 4;
        const trace t = run(&spec, 10);
        CHECK_EQ(t.steps, 1);
        spec.first_step = 9;
        CHECK_EQ(run(&spec, 10).steps, 0);
    }
}
TEST(fixed_pairs_are_the_same_frames_in_every_epoch)
{
    fake self = { .frames = 40 };
    vmae_dataset dataset = fake_dataset(&self, VMAE_VIDEOS, 3);
    vmae_source source = { .dataset = &dataset,
                           .batch = 3,
                           .view = { plain_view(8), plain_view(8) },
                           .frames = { .delta = 2 },
                           .fixed_pairs = true };
    const vmae_loader_spec spec = { .sources = &source, .source_count = 1, .pairs = true, .threads = 2, .prefetch = 1 };
    for (int fixed = 0; fixed < 2; fixed++) {
        vmae_loader *loader = NULL;
        const vmae_batch *batch = NULL;
        float first[3 * 3 * 8 * 8];
        bool equal = true;
        source.fixed_pairs = fixed;
        REQUIRE_OK(vmae_loader_start(&loader, &spec));
        for (int epoch = 0; epoch < 4; epoch++) {
            REQUIRE_OK(vmae_loader_next(loader, &batch));
            if (epoch == 0)
                memcpy(first, batch->view1, sizeof first);
            equal &= memcmp(first, batch->view1, sizeof first) == 0;
        }
        CHECK_EQ(equal, fixed);
        vmae_loader_stop(loader);
    }
}

/* ---- what goes wrong ---- */

TEST(a_bad_sample_is_replaced_by_the_next_one_and_listed)
{
    fake self = { .bad_every = 4, .bad_status = VMAE_EDATA };
    vmae_dataset dataset = fake_dataset(&self, VMAE_IMAGES, 12); /* 3, 7, 11 are bad; 11 wraps round to 0 */
    const vmae_source source = { .dataset = &dataset, .batch = 12, .view = { plain_view(8) } };
    const vmae_loader_spec spec = {
        .sources = &source, .source_count = 1, .threads = 4, .prefetch = 1, .bad_limit = 3
    };
    static const int64_t expected[] = { 0, 1, 2, 4, 4, 5, 6, 8, 8, 9, 10, 0 };
    vmae_loader *loader = NULL;
    const vmae_batch *batch = NULL;
    vmae_bad_sample bad[2];
    REQUIRE_OK(vmae_loader_start(&loader, &spec));
    for (int epoch = 0; epoch < 3; epoch++) {
        REQUIRE_OK(vmae_loader_next(loader, &batch));
        for (int i = 0; i < 12; i++)
            CHECK_EQ(batch->index[i], expected[i]);
        CHECK_EQ(vmae_loader_bad(loader, 1, bad, 2), 3);
        CHECK_EQ(bad[0].index, 7);
        CHECK_EQ(bad[1].index, 11);
        CHECK_STR(bad[1].name, "fake 11");
        CHECK_STR(bad[1].reason, "fake 11 is broken");
        CHECK(bad[0].dataset == &dataset && bad[0].step == 0);
    }
    vmae_loader_stop(loader);
}
TEST(past_the_limit_the_loader_fails_at_the_same_step_for_any_threads)
{
    static const int threads[] = { 1, 2, 5 };
    trace first = { 0 };
    for (int i = 0; i < 3; i++) {
        mixed m;
        make_mixed(&m, 9);
        m.spec.threads = threads[i];
        m.spec.bad_limit = 2;
        const trace t = run(&m.spec, 30);
        CHECK_EQ(t.status, VMAE_EDATA);
        CHECK_STR(t.error, "bad sample 3, the limit is 2 (step ");
        CHECK_STR(t.error, "is broken");
        CHECK_EQ(t.bad, 3);
        if (i == 0)
            first = t;
        CHECK(same(&t, &first));
    }
    mixed m;
    make_mixed(&m, 1); /* all of them */
    m.spec.bad_limit = 0;
    CHECK_STR(run(&m.spec, 3).error, "bad sample 1, the limit is 0 (step 0): fake ");
    m.spec.bad_limit = 1000;
    CHECK_STR(run(&m.spec, 3).error, "not one of the 53 samples of fakes can be read; the last: fake ");
}
TEST(a_failure_that_is_not_the_samples_fault_comes_in_its_turn_and_stays)
{
    fake self = { .bad_every = 10, .bad_status = VMAE_ENOMEM };
    vmae_dataset dataset = fake_dataset(&self, VMAE_IMAGES, 20);
    const vmae_source source = { .dataset = &dataset, .batch = 4, .view = { plain_view(8) } };
    const vmae_loader_spec spec = {
        .sources = &source, .source_count = 1, .threads = 3, .prefetch = 5, .bad_limit = 100
    };
    vmae_loader *loader = NULL;
    const vmae_batch *batch = NULL;
    REQUIRE_OK(vmae_loader_start(&loader, &spec));
    CHECK_OK(vmae_loader_next(loader, &batch)); /* 0-3 */
    CHECK_OK(vmae_loader_next(loader, &batch)); /* 4-7 */
    CHECK_FAILS(vmae_loader_next(loader, &batch), VMAE_ENOMEM, "fake 9 is broken");
    CHECK_FAILS(vmae_loader_next(loader, &batch), VMAE_ENOMEM, "fake 9 is broken");
    vmae_loader_stop(loader);
}
TEST(settings_that_fit_no_sample_end_the_loader_at_once)
{
    mixed m;
    make_mixed(&m, 0);
    m.sources[1].frames = (vmae_frame_sampling){ .delta = 6, .window = 4 };
    const trace t = run(&m.spec, 3);
    CHECK_EQ(t.status, VMAE_EUSER);
    CHECK_EQ(t.steps, 0);
    CHECK_EQ(t.bad, 0);
    CHECK_STR(t.error, "a window of 4 frames is too short: continuous sampling needs 7");
}
TEST(a_system_error_that_passes_changes_nothing)
{
    mixed good, flaky;
    make_mixed(&good, 0);
    make_mixed(&flaky, 0);
    flaky.images = (fake){ .bad_every = 4, .bad_status = VMAE_EIO, .fails = 3 };
    const trace a = run(&good.spec, 6), b = run(&flaky.spec, 6);
    CHECK_EQ(b.status, VMAE_OK);
    CHECK_EQ(flaky.images.fails, 0);
    CHECK(same(&a, &b));
}
TEST(a_system_error_that_stays_ends_the_loader_and_replaces_nothing)
{
    mixed m;
    make_mixed(&m, 4);
    m.images.bad_status = VMAE_EIO;
    m.sources[0].batch = 40; /* ten of them fail, and only the first is waited for */
    const double began = vmae_seconds();
    const trace t = run(&m.spec, 3);
    CHECK(vmae_seconds() - began < 5.0);
    CHECK_EQ(t.status, VMAE_EIO);
    CHECK_EQ(t.bad, 0);
    CHECK_STR(t.error, "is broken (tried again and again; mend that, then the same command goes on)");
}
TEST(samples_known_to_be_bad_count_but_are_not_listed_again)
{
    fake self = { .bad_every = 4, .bad_status = VMAE_EDATA };
    vmae_dataset dataset = fake_dataset(&self, VMAE_IMAGES, 12); /* 3, 7, 11 are bad */
    const vmae_source source = { .dataset = &dataset, .batch = 12, .view = { plain_view(8) } };
    const vmae_known_bad known[] = { { "fakes", "fake 7" }, { "other fakes", "fake 3" } };
    vmae_loader_spec spec = { .sources = &source,
                              .source_count = 1,
                              .threads = 2,
                              .prefetch = 1,
                              .bad_limit = 4,
                              .known_bad = known,
                              .known_bad_count = 2 };
    const trace t = run(&spec, 2);
    CHECK_EQ(t.status, VMAE_OK);
    CHECK_EQ(t.bad, 2); /* 3 of these fakes, and 11 */
    spec.bad_limit = 3;
    CHECK_STR(run(&spec, 2).error, "bad sample 4, the limit is 3 (step 0): fake 11 is broken");
    spec.bad_limit = 1;
    CHECK_STR(run(&spec, 2).error,
              "2 samples are known to be bad, the limit is 1; mend them, or raise loader.bad_limit; the last: fake 3");
}
TEST(clips_shorter_than_the_separation_are_bad_samples_by_name)
{
    fake self = { .frames = 12 };
    vmae_dataset dataset = fake_dataset(&self, VMAE_VIDEOS, 8); /* 0 and 4 have 3 frames */
    const vmae_source source = {
        .dataset = &dataset, .batch = 8, .view = { plain_view(8), plain_view(8) }, .frames = { .delta = 6 }
    };
    vmae_loader_spec spec = {
        .sources = &source, .source_count = 1, .pairs = true, .threads = 2, .prefetch = 1, .bad_limit = 0
    };
    CHECK_STR(run(&spec, 1).error, "fake 0: the clip has 3 frames, but continuous sampling needs at least 7");
    spec.bad_limit = 2;
    const trace t = run(&spec, 3);
    CHECK_EQ(t.status, VMAE_OK);
    CHECK_EQ(t.bad, 2);
}
TEST(settings_that_make_no_sense_are_refused)
{
    mixed m;
    vmae_loader *loader = NULL;
    make_mixed(&m, 0);
    struct {
        int *field;
        int value;
        const char *says;
    } const wrong[] = {
        { &m.spec.threads, 0, "threads, not 0" },
        { &m.spec.prefetch, 0, "finished batches, not 0" },
        { &m.spec.source_count, 0, "data sources, not 0" },
        { &m.sources[1].batch, 0, "batch of 0 samples" },
        { &m.sources[1].view[1].size, 17, "17 pixels a side" },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const int kept = *wrong[i].field;
        *wrong[i].field = wrong[i].value;
        CHECK_FAILS(vmae_loader_start(&loader, &m.spec), VMAE_EUSER, wrong[i].says);
        *wrong[i].field = kept;
    }
    m.spec.last_partial = true;
    CHECK_FAILS(vmae_loader_start(&loader, &m.spec), VMAE_EUSER, "takes one data source, not 2");
    m.dataset[0].count = 0;
    m.spec.last_partial = false;
    CHECK_FAILS(vmae_loader_start(&loader, &m.spec), VMAE_EUSER, "data source 0 has no samples");
    CHECK(loader == NULL);
}
TEST(stopping_is_clean_in_every_state)
{
    mixed m;
    make_mixed(&m, 5);
    m.spec.threads = 4;
    for (int taken = 0; taken < 4; taken++) {
        vmae_loader *loader = NULL;
        const vmae_batch *batch;
        REQUIRE_OK(vmae_loader_start(&loader, &m.spec));
        for (int i = 0; i < taken; i++)
            CHECK_OK(vmae_loader_next(loader, &batch));
        vmae_loader_stop(loader);
    }
    vmae_loader_stop(NULL);
}

/* ---- real files ---- */

TEST(broken_files_in_a_folder_and_a_tar_are_replaced)
{
    bytes good[3], broken;
    archive a = { 0 };
    REQUIRE_OK(vmae_make_folders(in_folder("mix/c")));
    for (int i = 0; i < 3; i++)
        good[i] = make_jpeg(40, 40, i, TJSAMP_420, 0);
    broken = (bytes){ good[0].at, good[0].count / 2 };
    const bytes files[] = { good[0], broken, good[1], { (uint8_t *)(uintptr_t) "this is text", 12 }, good[2] };
    for (int i = 0; i < 5; i++) {
        char name[32];
        snprintf(name, sizeof name, "mix/c/%d.jpg", i);
        REQUIRE_OK(vmae_write_file(in_folder(name), files[i].at, files[i].count));
        tar_add(&a, name + 4, '0', files[i].at, files[i].count);
    }
    tar_end(&a);
    REQUIRE_OK(vmae_write_file(in_folder("mix.tar"), a.at, a.count));
    uint64_t hashes[2] = { 0 };
    for (int kind = 0; kind < 2; kind++) {
        vmae_dataset *dataset = NULL;
        const vmae_dataset_spec spec = { .kind = kind ? "tar" : "folder", .path = in_folder(kind ? "mix.tar" : "mix") };
        REQUIRE_OK(vmae_dataset_open(&dataset, &spec));
        const vmae_source source = { .dataset = dataset, .batch = 5, .view = { pretrain_view(16), pretrain_view(16) } };
        const vmae_loader_spec loader = { .sources = &source,
                                          .source_count = 1,
                                          .pairs = true,
                                          .shuffle = true,
                                          .seed = 3,
                                          .threads = 2,
                                          .prefetch = 1,
                                          .bad_limit = 2 };
        const trace t = run(&loader, 3);
        CHECK_EQ(t.status, VMAE_OK);
        CHECK_EQ(t.bad, 2);
        CHECK_STR(t.first_bad, "mix");
        hashes[kind] = t.hash[0];
        vmae_dataset_close(dataset);
    }
    CHECK(hashes[0] == hashes[1]); /* the same files, the same order, the same seed */
    for (int i = 0; i < 3; i++)
        free(good[i].at);
    tar_free(&a);
}
TEST(a_file_that_is_gone_since_it_was_listed_is_a_bad_sample)
{
    vmae_dataset *dataset = NULL;
    REQUIRE_OK(vmae_make_folders(in_folder("gone/c")));
    for (int i = 0; i < 3; i++) {
        char name[32];
        const bytes jpeg = make_jpeg(40, 40, i, TJSAMP_420, 0);
        snprintf(name, sizeof name, "gone/c/%d.jpg", i);
        REQUIRE_OK(vmae_write_file(in_folder(name), jpeg.at, jpeg.count));
        free(jpeg.at);
    }
    REQUIRE_OK(vmae_dataset_open(&dataset, &(vmae_dataset_spec){ .kind = "folder", .path = in_folder("gone") }));
    REQUIRE(unlink(in_folder("gone/c/1.jpg")) == 0);
    const vmae_source source = { .dataset = dataset, .batch = 3, .view = { plain_view(8) } };
    vmae_loader_spec spec = { .sources = &source, .source_count = 1, .threads = 1, .prefetch = 1, .bad_limit = 1 };
    const trace t = run(&spec, 2);
    CHECK_EQ(t.status, VMAE_OK);
    CHECK_EQ(t.bad, 1);
    CHECK_STR(t.first_bad, "1.jpg at step 0");
    spec.bad_limit = 0;
    CHECK_STR(run(&spec, 1).error, "gone/c/1.jpg: No such file");
    vmae_dataset_close(dataset);
}
TEST(shared_clips_and_photos_make_one_stream)
{
    const char *clips = vmae_test_shared("data/actions"), *photos = vmae_test_shared("data/cifar10");
    if (!clips || !photos)
        SKIP("no shared data");
    vmae_dataset *dataset[2] = { 0 };
    REQUIRE_OK(vmae_dataset_open(&dataset[0], &(vmae_dataset_spec){ .kind = "tar", .path = photos }));
    REQUIRE_OK(vmae_dataset_open(&dataset[1], &(vmae_dataset_spec){ .kind = "videos", .path = clips }));
    const vmae_source sources[] = {
        { .dataset = dataset[0], .batch = 8, .view = { pretrain_view(32), pretrain_view(32) } },
        { .dataset = dataset[1],
          .batch = 8,
          .view = { pretrain_view(32), pretrain_view(32) },
          .frames = { .distant = true } },
    };
    vmae_loader_spec spec = {
        .sources = sources, .source_count = 2, .pairs = true, .shuffle = true, .seed = 1, .threads = 1, .prefetch = 2
    };
    const trace one = run(&spec, 4);
    CHECK_EQ(one.status, VMAE_OK);
    CHECK_EQ(one.steps, 4);
    spec.threads = 3;
    const trace three = run(&spec, 4);
    CHECK(same(&one, &three));
    vmae_dataset_close(dataset[0]);
    vmae_dataset_close(dataset[1]);
}
