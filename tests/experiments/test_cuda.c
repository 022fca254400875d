/* test_cuda.c -- `vicmae` itself on a GPU's stand-in: the CUDA backend's own sources from pre-training to a probe. */
#include "vicmae.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define GPU "device=cuda:0", "precision=f32"

static bool no_standin(void)
{
    const char *module = getenv("VICMAE_CUDA_MODULE");
    if (module && *module)
        return false;
    vmae_test_skip("the CUDA backend is not built here");
    return true;
}

/* What the run says of the machine: at first, or in its last word on it. */
static const char *fact(const json_t *events, const char *name)
{
    const json_t *attempt = NULL, *later = NULL;
    CHECK(count_events(events, "attempt", &attempt) > 0);
    count_events(events, "machine", &later);
    const char *first = json_string_value(json_object_get(json_object_get(attempt, "machine"), name)),
               *last = json_string_value(json_object_get(json_object_get(later, "facts"), name));
    return last ? last : first ? first : "";
}

/* The losses of both runs, step by step, are within a share of each other. */
static void check_losses_near(const char *a, const char *b, double share)
{
    size_t count[2], compared = 0;
    row *rows[2] = { visible_rows(a, &count[0]), visible_rows(b, &count[1]) };
    REQUIRE(rows[0] && rows[1] && count[0] == count[1]);
    for (size_t i = 0; i < count[0]; i++)
        if (strcmp(rows[0][i].name, "loss") == 0) {
            compared++;
            CHECK_NEAR(rows[0][i].value, rows[1][i].value, share * fabs(rows[1][i].value));
        }
    CHECK(compared > 3);
    free(rows[0]);
    free(rows[1]);
}

TEST(pretraining_on_the_stand_in_repeats_resumes_and_follows_the_cpu)
{
    if (no_standin())
        return;
    const launch killed = { .fault = "metrics 6 9" };
    RUN_OK("pretrain", "-R", here("gpu"), TINY_MODEL, TINY_TRAINING, TINY_VIDEOS, GPU);
    RUN_OK("pretrain", "-R", here("gpu-again"), TINY_MODEL, TINY_TRAINING, TINY_VIDEOS, GPU);
    CHECK_SAME_RUN(here("gpu"), here("gpu-again"));
    RUN_CODE(-9, &killed, "pretrain", "-R", here("gpu-killed"), TINY_MODEL, TINY_TRAINING, TINY_VIDEOS, GPU,
             "checkpoint.every=0.5");
    RUN_OK("pretrain", "-R", here("gpu-killed"), TINY_MODEL, TINY_TRAINING, TINY_VIDEOS, GPU, "checkpoint.every=0.5");
    CHECK_SAME_RUN(here("gpu"), here("gpu-killed"));
    RUN_OK("pretrain", "-R", here("cpu"), TINY_MODEL, TINY_TRAINING, TINY_VIDEOS, "device=cpu", "precision=f32");
    check_losses_near(here("gpu"), here("cpu"), 1e-2);

    json_t *events = events_of(here("gpu"));
    CHECK_STR(fact(events, "gpu"), "cuda:0");
    CHECK_STR(fact(events, "device"), "driver for CUDA");
    CHECK_STR(fact(events, "algorithms"), "matmul");
    json_decref(events);
}

TEST(bf16_and_accumulated_passes_run_on_the_stand_in)
{
    if (no_standin())
        return;
    RUN_OK("pretrain", "-R", here("bf16"), TINY_MODEL, TINY_TRAINING, TINY_IMAGES, "device=cuda", "precision=bf16",
           "train.accum_iter=2", "train.epochs=1");
    RUN_OK("pretrain", "-R", here("bf16-cpu"), TINY_MODEL, TINY_TRAINING, TINY_IMAGES, "device=cpu", "precision=f32",
           "train.accum_iter=2", "train.epochs=1");
    check_losses_near(here("bf16"), here("bf16-cpu"), 3e-2);
}

TEST(a_probe_on_the_stand_in_follows_the_cpu)
{
    if (no_standin())
        return;
    const char *runs[] = { here("probe-gpu"), here("probe-cpu") }, *devices[] = { "device=cuda:0", "device=cpu" };
    for (int i = 0; i < 2; i++)
        RUN_OK("probe", "-R", runs[i], "checkpoint=random", TINY_MODEL, TINY_LABELLED, devices[i], "precision=f32",
               "probe.optimizer=sgd", "probe.epochs=2", "probe.batch=64", "probe.warmup_epochs=1");
    CHECK_NEAR(final_metric(runs[0], "val_loss"), final_metric(runs[1], "val_loss"), 1e-3);
    CHECK_NEAR(final_metric(runs[0], "top1"), final_metric(runs[1], "top1"), 0.02);
    RUN_OK("knn", "-R", here("knn-gpu"), "checkpoint=random", TINY_MODEL, TINY_LABELLED, "device=cuda:0",
           "precision=f32");
    const char *const planned[] = { runs[0], here("knn-gpu") };
    for (int i = 0; i < 2; i++) { /* the encoder's algorithms are known late */
        json_t *events = events_of(planned[i]);
        CHECK_STR(fact(events, "algorithms"), "matmul");
        CHECK_STR(fact(events, "algorithms"), "attention");
        json_decref(events);
    }
}

TEST(the_selftest_passes_on_the_stand_in)
{
    if (no_standin())
        return;
    RUN_OK("selftest", "--quick", "--only", "op", "--output", here("selftest.json"));
    CHECK_STR(vicmae_out(), "PASSED");
    CHECK(exists(here("selftest.json")));
    RUN_OK("selftest", "--quick", "--only", "memory", "--output", here("selftest.json"));
}

/* The self-test where compute-sanitizer is a line of shell; NULL: where there is none. */
static void check_sanitized(const char *line, int code, const char *said)
{
    char *before = strdup(getenv("PATH"));
    const char *path = in(here("sanitizer"), "compute-sanitizer");
    FILE *file = line && (mkdir(here("sanitizer"), 0755) == 0 || errno == EEXIST) ? fopen(path, "w") : NULL;
    REQUIRE(before && (file || !line));
    if (file) {
        fprintf(file, "#!/bin/sh\n%s\n", line);
        CHECK(fclose(file) == 0 && chmod(path, 0755) == 0);
    } else {
        unlink(path);
    }
    setenv("PATH", here("sanitizer"), 1);
    RUN_CODE(code, NULL, "selftest", "--only", "view", "--sizes", "none", "--output", here("selftest.json"));
    CHECK_STR(vicmae_out(), said);
    setenv("PATH", before, 1);
    free(before);
}

TEST(the_selftest_runs_its_own_program_under_compute_sanitizer)
{
    if (no_standin())
        return;
    check_sanitized("while [ \"$1\" != -- ]; do shift; done; shift; exec \"$@\"", 0, "racecheck: clean");
    check_sanitized("exit 9", 1, "racecheck: found something");
    check_sanitized("kill -9 $$", 1, "racecheck: did not run to its end");
    check_sanitized(NULL, 0, "memcheck: not here");
}

TEST(a_gpu_that_is_not_there_is_refused_with_what_is_missing)
{
    RUN_CODE(2, NULL, "pretrain", "-R", here("none"), TINY_MODEL, TINY_TRAINING, TINY_VIDEOS, "device=cuda:7");
    CHECK_STR(vicmae_err(), no_standin() ? "CUDA" : "there is no GPU 7");
    setenv("VICMAE_CUDA_MODULE", "/nowhere/vicmae-cuda.so", 1);
    RUN_CODE(2, NULL, "pretrain", "-R", here("none"), TINY_MODEL, TINY_TRAINING, TINY_VIDEOS, "device=cuda");
    CHECK_STR(vicmae_err(), "/nowhere/vicmae-cuda.so");
    RUN_CODE(2, NULL, "pretrain", "-R", here("none"), TINY_MODEL, TINY_TRAINING, TINY_VIDEOS, "device=cuda:x");
    CHECK_STR(vicmae_err(), "auto, cpu and cuda:N");
}
