/* test_shipped_recipes.c -- the recipes that come with vicmae, at sizes that take no time. */
#include "vicmae.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TWO_STEPS "train.batch=8", "train.accum_iter=1", "train.epochs=2", "train.epoch_steps=1", "log.every=1"

/* An option's value in the run's record. */
static void check_option(const char *run, const char *name, const char *value)
{
    json_t *events = events_of(run);
    const json_t *what = NULL;
    count_events(events, "run", &what);
    const char *found = event_text(json_object_get(what, "config"), name);
    vmae_check(strcmp(found, value) == 0, __FILE__, __LINE__, "%s is \"%s\", expected \"%s\"", name, found, value);
    json_decref(events);
}

static void check_two_steps(const char *run)
{
    size_t count, losses = 0;
    row *rows = visible_rows(run, &count);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(rows[i].name, "loss") == 0)
            CHECK_EQ(rows[i].step, ++losses);
        CHECK(__builtin_isfinite(rows[i].value));
    }
    CHECK_EQ(losses, 2);
    free(rows);
    CHECK(exists(in(run, "done.json")) && exists(in(run, "checkpoint.safetensors")));
}

static const char *recipe(const char *name)
{
    return in(SOURCE "/experiments", name);
}

TEST(the_recipe_of_the_paper_pretrains)
{
    const char *run = here("paper");
    RUN_OK("pretrain", recipe("vicmae.cfg"), "-R", run, TINY_MODEL, TINY_IMAGES, TINY_VIDEOS, TWO_STEPS);
    check_two_steps(run);
    check_option(run, "loss.lambda", "0.025");
    check_option(run, "augment.frames.colour", "false");
    check_option(run, "model.dim", "16"); /* what the command line sets wins over the recipe's size */
    check_option(run, "model.mask_ratio", "0.75");
}

TEST(the_recipe_of_the_paper_is_what_the_options_are_without_it)
{
    const char *with = here("with"), *without = here("without");
    RUN_OK("pretrain", recipe("vicmae.cfg"), "-R", with, TINY_MODEL, TINY_IMAGES, TINY_VIDEOS, TWO_STEPS);
    RUN_OK("pretrain", "-R", without, TINY_MODEL, TINY_IMAGES, TINY_VIDEOS, TWO_STEPS);
    CHECK_SAME_RUN(with, without); /* their identity is in the checkpoint's metadata */
}

TEST(the_recipe_of_the_released_code_pretrains)
{
    const char *run = here("released");
    RUN_OK("pretrain", recipe("release.cfg"), "-R", run, TINY_MODEL, TINY_IMAGES, TINY_VIDEOS, TWO_STEPS);
    check_two_steps(run);
    check_option(run, "loss.recon_weight", "0.97");
    check_option(run, "loss.positive_ranks", "8");
    check_option(run, "model.mask_ratio", "0.5");
    check_option(run, "augment.frames.released", "true");
    check_option(run, "augment.frames.filter", "bilinear");
    check_option(run, "augment.images.filter", "bilinear");
    CHECK_NEAR(final_metric(run, "lambda"), 0.03, 1e-12); /* constant from step 0 */
}

TEST(the_recipe_of_the_linear_probe_runs)
{
    const char *run = here("probe");
    RUN_OK("pretrain", recipe("vicmae.cfg"), "-R", here("encoder"), TINY_MODEL, TINY_IMAGES, TINY_VIDEOS, TWO_STEPS);
    RUN_OK("probe", recipe("probe.cfg"), "-R", run, set("checkpoint", in(here("encoder"), "checkpoint.safetensors")),
           TINY_LABELLED, "probe.epochs=3", "probe.warmup_epochs=1");
    check_option(run, "probe.optimizer", "lars");
    check_option(run, "probe.augment", "true");
    check_option(run, "features.pool", "mean");
    CHECK(final_metric(run, "top1") >= 0.0);
    CHECK(final_metric(run, "top5") >= final_metric(run, "top1"));
}
