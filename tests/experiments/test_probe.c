/* test_probe.c -- the linear probe learns what can be learnt, and gives the same however it is run. */
#include "vicmae.h"

#include "engine/core/fs.h"
#include "engine/core/png.h"
#include "engine/core/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHORT_PROBE                                                                                                    \
    "probe.optimizer=sgd", "probe.epochs=8", "probe.batch=64", "probe.warmup_epochs=1", "probe.eval_every=2"

/* Three classes of noisy images that differ in their mean colour: a hyperplane parts them. */
static const char *toy(void)
{
    static char root[600];
    static const char *const classes[] = { "blue", "green", "red" };
    uint8_t rgb[16 * 16 * 3];
    if (*root)
        return root;
    snprintf(root, sizeof root, "%s", here("toy"));
    for (int split = 0; split < 2; split++)
        for (int c = 0; c < 3; c++) {
            const char *folder = in(in(root, split ? "val" : "train"), classes[c]);
            CHECK_OK(vmae_make_folders(folder));
            for (int i = 0; i < (split ? 10 : 20); i++) {
                char name[32];
                vmae_rng rng = vmae_rng_at(7, VMAE_RNG_TEST, (uint32_t)(3 * split + c), (uint64_t)i);
                for (int k = 0; k < 16 * 16 * 3; k++)
                    rgb[k] = (uint8_t)(255.0f * vmae_rng_uniform(&rng) * (k % 3 == 2 - c ? 1.0f : 0.6f));
                snprintf(name, sizeof name, "%d.png", i);
                CHECK_OK(vmae_png_write(in(folder, name), rgb, 16, 16));
            }
        }
    return root;
}

#define TOY "dataset.kind=folder", set("dataset.path", toy())

static const char *encoder(void)
{
    static char checkpoint[700];
    if (!*checkpoint) {
        RUN_OK("pretrain", "-R", here("encoder"), TINY_MODEL, TINY_TRAINING, TINY_VIDEOS, "train.epochs=10");
        snprintf(checkpoint, sizeof checkpoint, "checkpoint=%s/checkpoint.safetensors", here("encoder"));
    }
    return checkpoint;
}

TEST(classes_that_a_hyperplane_parts_are_learnt_from_pixels)
{
    const char *run = here("toy-pixels");
    RUN_OK("probe", "-R", run, "checkpoint=pixels", TINY_MODEL, TOY, SHORT_PROBE, "probe.epochs=40", "probe.batch=30");
    CHECK_NEAR(final_metric(run, "top1"), 1.0, 0.0);
    CHECK_NEAR(final_metric(run, "top5"), 1.0, 0.0);
    CHECK(final_metric(run, "val_loss") < 0.6);
}

TEST(classes_that_a_hyperplane_parts_are_learnt_with_lars_too)
{
    const char *run = here("toy-lars");
    RUN_OK("probe", "-R", run, "checkpoint=pixels", TINY_MODEL, TOY, "probe.epochs=200", "probe.batch=60",
           "probe.blr=10");
    CHECK(final_metric(run, "top1") > 0.9);
}

TEST(pixels_of_the_procedural_images_tell_more_than_chance)
{
    const char *run = here("pixels");
    RUN_OK("probe", "-R", run, "checkpoint=pixels", TINY_MODEL, TINY_LABELLED, SHORT_PROBE, "probe.epochs=30");
    CHECK(final_metric(run, "top1") > 0.2); /* 10 classes, 200 images: six standard deviations above chance */
    CHECK(final_metric(run, "train_top1") > final_metric(run, "top1"));
}

TEST(a_probe_of_a_pretrained_encoder_runs_to_its_end_and_names_its_parent)
{
    const char *run = here("trained");
    RUN_OK("probe", "-R", run, encoder(), TINY_LABELLED, SHORT_PROBE);
    json_t *events = events_of(run), *parent = json_load_file(in(here("encoder"), "done.json"), 0, NULL);
    const json_t *what = NULL;
    count_events(events, "run", &what);
    CHECK_STR(event_text(what, "protocol"), "probe");
    CHECK_STR(event_text(parent, "identity"), json_string_value(json_array_get(json_object_get(what, "parents"), 0)));
    CHECK_EQ(json_object_size(json_object_get(what, "fingerprints")), 2);
    json_decref(events);
    json_decref(parent);

    size_t count, scored = 0, trained = 0;
    row *rows = visible_rows(run, &count);
    for (size_t i = 0; i < count; i++) {
        scored += strcmp(rows[i].name, "top1") == 0;
        trained += strcmp(rows[i].name, "train_top1") == 0;
    }
    CHECK_EQ(trained, 8);
    CHECK_EQ(scored, 4); /* every second epoch */
    free(rows);
}

TEST(a_probe_gives_the_same_at_any_speed)
{
    const char *a = here("speed1"), *b = here("speed2"), *c = here("speed3");
    RUN_OK("probe", "-R", a, encoder(), TINY_LABELLED, SHORT_PROBE, "threads=1");
    RUN_OK("probe", "-R", b, encoder(), TINY_LABELLED, SHORT_PROBE, "threads=2", "loader.threads=3");
    RUN_OK("probe", "-R", c, encoder(), TINY_LABELLED, SHORT_PROBE, "threads=1", "loader.prefetch=1");
    CHECK(same_rows(a, b));
    CHECK(same_rows(a, c));
    const char *other = here("speed4");
    RUN_OK("probe", "-R", other, encoder(), TINY_LABELLED, SHORT_PROBE, "seed=2");
    CHECK(final_metric(a, "val_loss") != final_metric(other, "val_loss"));
}

/* A bf16 product may sum in another order for another number of rows: its last bit is 2^-8 of a value. */
static void check_batches(const char *checkpoint, const char *precision, double limit)
{
    static const char *const batches[] = { "256", "1", "7", "100" };
    double top1 = 0.0, loss = 0.0;
    for (int i = 0; i < 4; i++) {
        char name[64];
        static int count;
        snprintf(name, sizeof name, "batch%d", count++);
        RUN_OK("probe", "-R", here(name), checkpoint, TINY_MODEL, TINY_LABELLED, SHORT_PROBE,
               set("precision", precision), set("features.batch", batches[i]));
        if (i == 0) {
            top1 = final_metric(here(name), "top1");
            loss = final_metric(here(name), "val_loss");
        }
        CHECK_NEAR(final_metric(here(name), "top1"), top1, limit > 1e-5 ? 0.01 : 0.0);
        CHECK_NEAR(final_metric(here(name), "val_loss"), loss, limit);
    }
}

TEST(a_probe_does_not_depend_on_how_many_images_go_through_the_encoder_at_once)
{
    check_batches("checkpoint=pixels", "f32", 0.0);
    check_batches(encoder(), "f32", 1e-6);
    check_batches(encoder(), "bf16", 1e-3);
}

TEST(augmentation_gives_new_features_in_every_epoch)
{
    const char *plain = here("plain"), *a = here("augmented1"), *b = here("augmented2");
    RUN_OK("probe", "-R", plain, encoder(), TINY_LABELLED, SHORT_PROBE, "probe.epochs=3");
    RUN_OK("probe", "-R", a, encoder(), TINY_LABELLED, SHORT_PROBE, "probe.epochs=3", "probe.augment=true");
    RUN_OK("probe", "-R", b, encoder(), TINY_LABELLED, SHORT_PROBE, "probe.epochs=3", "probe.augment=true",
           "loader.threads=3");
    CHECK(same_rows(a, b));
    CHECK(final_metric(a, "loss") != final_metric(plain, "loss"));
    /* a rate of nothing keeps the classifier at its start: the loss moves only because the images do */
    const char *still = here("still"), *moving = here("moving");
    RUN_OK("probe", "-R", still, encoder(), TINY_LABELLED, "probe.optimizer=sgd", "probe.epochs=2", "probe.blr=0",
           "probe.batch=400");
    RUN_OK("probe", "-R", moving, encoder(), TINY_LABELLED, "probe.optimizer=sgd", "probe.epochs=2", "probe.blr=0",
           "probe.batch=400", "probe.augment=true");
    size_t count;
    for (int i = 0; i < 2; i++) {
        row *rows = visible_rows(i ? moving : still, &count);
        double loss[3] = { 0 };
        for (size_t k = 0; k < count; k++)
            if (strcmp(rows[k].name, "loss") == 0 && rows[k].step < 3)
                loss[rows[k].step] = rows[k].value;
        CHECK(loss[1] > 0.0);
        CHECK(i ? loss[1] != loss[2] : __builtin_fabs(loss[1] - loss[2]) < 1e-6);
        free(rows);
    }
}

TEST(every_pooling_of_features_works_and_gives_its_own)
{
    static const char *const pools[] = { "cls", "mean", "max", "gem" };
    double loss[4];
    for (int i = 0; i < 4; i++) {
        RUN_OK("probe", "-R", here(pools[i]), encoder(), TINY_LABELLED, SHORT_PROBE, set("features.pool", pools[i]));
        loss[i] = final_metric(here(pools[i]), "val_loss");
        for (int k = 0; k < i; k++)
            CHECK(loss[i] != loss[k]);
    }
}

TEST(an_interrupted_probe_starts_again_and_gives_the_same)
{
    const char *whole = here("whole"), *run = here("interrupted");
    RUN_OK("probe", "-R", whole, encoder(), TINY_LABELLED, SHORT_PROBE);
    /* 400 images in batches of 64: 6 steps an epoch */
    RUN_CODE(130, &(launch){ .fault = "metrics 12 2" }, "probe", "-R", run, encoder(), TINY_LABELLED, SHORT_PROBE);
    CHECK_STR(vicmae_err(), "interrupted at epoch 2 of 8: the same command starts the probe again");
    RUN_CODE(-9, &(launch){ .fault = "metrics 30 9" }, "probe", "-R", run, encoder(), TINY_LABELLED, SHORT_PROBE);
    RUN_OK("probe", "-R", run, encoder(), TINY_LABELLED, SHORT_PROBE);
    CHECK(same_rows(whole, run));
}

/* Features that are new in every epoch cost as much as the epoch: what is done is not done again. */
TEST(an_interrupted_probe_with_augmentation_goes_on_and_gives_the_same)
{
    const char *whole = here("augmented-whole"), *run = here("augmented-run");
#define AUGMENTED(folder) "probe", "-R", folder, encoder(), TINY_LABELLED, SHORT_PROBE, "probe.augment=true"
    RUN_OK(AUGMENTED(whole));
    RUN_CODE(130, &(launch){ .fault = "metrics 12 15" }, AUGMENTED(run));
    CHECK_STR(vicmae_err(), "interrupted at epoch 2 of 8: the same command goes on from there");
    /* the features of the validation split, then those of the third and fourth epoch */
    RUN_CODE(130, &(launch){ .fault = "features 3 15" }, AUGMENTED(run));
    CHECK_STR(vicmae_err(), "interrupted at epoch 3 of 8: the same command goes on from there");
    RUN_CODE(-9, &(launch){ .fault = "metrics 30 9" }, AUGMENTED(run)); /* before the state of epoch 5 */
    RUN_CODE(-9, &(launch){ .fault = "save 2 9" }, AUGMENTED(run));     /* between the two moves of epoch 6's */
    RUN_CODE(-9, &(launch){ .fault = "done 1 9" }, AUGMENTED(run));
    RUN_OK(AUGMENTED(run));
    CHECK(same_rows(whole, run));
    CHECK(!exists(in(run, "resume.safetensors")) && !exists(in(run, "resume.safetensors.previous")));
    json_t *events = events_of(run);
    const int64_t first[] = { 0, 12, 18, 24, 30, 48 };
    int attempt = 0;
    for (size_t i = 0; i < json_array_size(events); i++) {
        const json_t *event = json_array_get(events, i);
        if (strcmp(event_text(event, "type"), "attempt") != 0)
            continue;
        CHECK_EQ(json_integer_value(json_object_get(event, "first_step")), attempt < 6 ? first[attempt] : -1);
        attempt++;
    }
    CHECK_EQ(attempt, 6);
    json_decref(events);
}

TEST(a_random_encoder_is_a_baseline_of_its_own)
{
    const char *a = here("random1"), *b = here("random2"), *c = here("random3");
    RUN_OK("probe", "-R", a, "checkpoint=random", TINY_MODEL, TINY_LABELLED, SHORT_PROBE);
    RUN_OK("probe", "-R", b, "checkpoint=random", TINY_MODEL, TINY_LABELLED, SHORT_PROBE, "threads=2");
    RUN_OK("probe", "-R", c, "checkpoint=random", TINY_MODEL, TINY_LABELLED, SHORT_PROBE, "seed=2");
    CHECK(same_rows(a, b));
    CHECK(final_metric(a, "val_loss") != final_metric(c, "val_loss"));
}

/* Written into done.json: the cost of the encoder that ran, not of the one that model.* would be. */
TEST(the_cost_of_a_probe_is_that_of_its_checkpoint)
{
    double flops[2];
    for (int told = 0; told < 2; told++) {
        const char *run = here(told ? "told" : "untold");
        if (told)
            RUN_OK("knn", "-R", run, encoder(), TINY_LABELLED, TINY_MODEL);
        else
            RUN_OK("knn", "-R", run, encoder(), TINY_LABELLED);
        json_t *done = json_load_file(in(run, "done.json"), 0, NULL);
        flops[told] = json_number_value(json_object_get(done, "flops"));
        json_decref(done);
    }
    /* 600 images of 17 tokens through two blocks 16 wide */
    CHECK_NEAR(flops[0], 600.0 * 2 * (2.0 * 17 * 12 * 16 * 16 + 4.0 * 17 * 17 * 16), 1.0);
    CHECK(flops[0] == flops[1]);
}
