/* test_pretrain_diverge.c -- a pre-training whose numbers leave the finite ones stops, says where, and keeps what was
 * good. */
#include "vicmae.h"

#include "engine/checkpoint/checkpoint.h"
#include "engine/core/fs.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* Weight decay times learning rate is far above 2: the weights double and double. */
#define ABSURD "train.blr=1000", "train.weight_decay=10", "train.warmup_epochs=0", "checkpoint.every=0.25"

static void check_diverged(const char *folder)
{
    json_t *events = events_of(folder);
    const json_t *end = NULL;
    CHECK(count_events(events, "end", &end) >= 1);
    CHECK_STR(event_text(end, "status"), "diverged");
    CHECK_STR(event_text(end, "message"), "step ");
    CHECK_STR(event_text(end, "message"), "op ");
    CHECK_STR(vicmae_err(), event_text(end, "message"));
    CHECK(!exists(in(folder, "done.json")) && !exists(in(folder, "checkpoint.safetensors")));
    json_decref(events);
}

/* Every number of a state is finite. */
static void check_finite(const char *path)
{
    vmae_checkpoint *file = NULL;
    REQUIRE_OK(vmae_checkpoint_open(&file, path));
    int64_t bad = 0;
    for (size_t i = 0; i < vmae_checkpoint_count(file); i++) {
        const vmae_entry *entry = vmae_checkpoint_at(file, i);
        for (size_t k = 0; entry->dtype == VMAE_ST_F32 && k < entry->count; k++)
            bad += !isfinite(((const float *)entry->data)[k]);
    }
    CHECK_EQ(bad, 0);
    vmae_checkpoint_free(file);
}

TEST(an_absurd_learning_rate_ends_diverged_and_names_step_and_op)
{
    const char *folder = here("absurd");
    RUN_CODE(1, NULL, "pretrain", "-R", folder, TINY_MODEL, TINY_TRAINING, TINY_IMAGES, "precision=f32",
             "train.epochs=20", ABSURD);
    CHECK_STR(vicmae_err(), "finite");
    check_diverged(folder);
    check_finite(in(folder, "resume.safetensors"));
    size_t count = 0, again = 0;
    char *before = contents(in(folder, "resume.safetensors"), &count);
    /* the same command diverges again, and the state stays */
    RUN_CODE(1, NULL, "pretrain", "-R", folder, TINY_MODEL, TINY_TRAINING, TINY_IMAGES, "precision=f32",
             "train.epochs=20", ABSURD);
    check_diverged(folder);
    char *after = contents(in(folder, "resume.safetensors"), &again);
    CHECK(before && after && count == again && memcmp(before, after, count) == 0);
    free(before);
    free(after);
}

TEST(a_bf16_run_that_accumulates_diverges_with_the_same_care)
{
    const char *folder = here("absurd16");
    RUN_CODE(1, NULL, "pretrain", "-R", folder, TINY_MODEL, TINY_TRAINING, TINY_VIDEOS, "precision=bf16",
             "train.epochs=20", "train.accum_iter=2", ABSURD);
    check_diverged(folder);
    check_finite(in(folder, "resume.safetensors"));
}

TEST(an_infinity_in_the_state_names_the_op_that_meets_it)
{
    const char *folder = here("infinite"), *state = in(folder, "resume.safetensors");
    RUN_CODE(-SIGKILL, &(launch){ .fault = "metrics 5 9" }, "pretrain", "-R", folder, TINY_MODEL, TINY_TRAINING,
             TINY_IMAGES, "precision=f32");
    size_t count = 0;
    vmae_checkpoint *file = NULL;
    char *bytes = contents(state, &count);
    REQUIRE(bytes);
    REQUIRE_OK(vmae_checkpoint_parse(&file, bytes, count, state));
    const vmae_entry *weight = vmae_checkpoint_find(file, "blocks.1.mlp.fc2.weight");
    const float infinity = INFINITY;
    if (CHECK(weight))
        memcpy(bytes + ((const char *)weight->data - bytes) + 12, &infinity, sizeof infinity);
    vmae_checkpoint_free(file);
    CHECK_OK(vmae_write_file(state, bytes, count));
    free(bytes);
    RUN_CODE(1, NULL, "pretrain", "-R", folder, TINY_MODEL, TINY_TRAINING, TINY_IMAGES, "precision=f32");
    check_diverged(folder);
    CHECK_STR(vicmae_err(), "step 4: ");
    CHECK_STR(vicmae_err(), "linear");
    CHECK_STR(vicmae_err(), "blocks.1.mlp.fc2");
}
