/* test_pretrain_resume.c -- a pre-training that was interrupted, killed or damaged on its way ends as one that was not.
 */
#include "vicmae.h"

#include "engine/core/fs.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PLAIN, ACCUMULATED, WATCHED, KINDS };

/* One more attempt of a kind of run: 12 steps. */
static int go(int kind, const launch *how, const char *folder)
{
    switch (kind) {
    case ACCUMULATED:
        return vicmae_run(how, "pretrain", "-R", folder, TINY_MODEL, TINY_TRAINING, TINY_VIDEOS, "precision=f32",
                          "train.accum_iter=2", "checkpoint.every=0.3", "frames.fresh=false", NULL);
    case WATCHED:
        return vicmae_run(how, "pretrain", "-R", folder, TINY_MODEL, TINY_TRAINING, TINY_IMAGES, TINY_VIDEOS,
                          "precision=bf16", "checkpoint.every=0.75", "monitor.kind=shapes", "monitor.shapes_count=60",
                          "monitor.shapes_size=16", "monitor.every=0.5", "monitor.bank=40", "model.pool=gem",
                          "loader.threads=2", NULL);
    default:
        return vicmae_run(how, "pretrain", "-R", folder, TINY_MODEL, TINY_TRAINING, TINY_IMAGES, "precision=f32", NULL);
    }
}

/* The uninterrupted run of a kind, made once. */
static const char *whole(int kind)
{
    static char folder[KINDS][600];
    if (!*folder[kind]) {
        snprintf(folder[kind], sizeof folder[0], "%s/whole%d", vmae_test_folder(), kind);
        check_code(go(kind, NULL, folder[kind]), 0, __FILE__, __LINE__);
    }
    return folder[kind];
}

static int ends_with(int number)
{
    return number == SIGKILL ? -SIGKILL : 130;
}

typedef struct stop {
    const char *where;
    int n, number;
} stop;

/* Attempts that end as told, then one to the end: the same as the whole run. */
static void check_stops(int kind, const char *name, const stop *stops, int count)
{
    const char *folder = here(name);
    for (int i = 0; i < count; i++) {
        char order[64];
        snprintf(order, sizeof order, "%s %d %d", stops[i].where, stops[i].n, stops[i].number);
        if (!check_code(go(kind, &(launch){ .fault = order }, folder), ends_with(stops[i].number), __FILE__, __LINE__))
            return;
        CHECK(!exists(in(folder, "done.json")));
    }
    if (!check_code(go(kind, NULL, folder), 0, __FILE__, __LINE__))
        return;
    CHECK_SAME_RUN(whole(kind), folder);
    CHECK(!exists(in(folder, "resume.safetensors")) && !exists(in(folder, "resume.safetensors.previous")));
    json_t *events = events_of(folder), *done = json_load_file(in(folder, "done.json"), 0, NULL);
    const json_t *last = NULL;
    CHECK_EQ(count_events(events, "attempt", &last), count + 1);
    CHECK_EQ(json_integer_value(json_object_get(last, "attempt")), count + 1);
    CHECK_EQ(json_integer_value(json_object_get(done, "attempts")), count + 1);
    CHECK_EQ(json_integer_value(json_object_get(done, "last_step")), 12);
    json_decref(events);
    json_decref(done);
}

#define CHECK_STOPS(kind, name, ...)                                                                                   \
    check_stops(kind, name, (const stop[]){ __VA_ARGS__ }, sizeof((const stop[]){ __VA_ARGS__ }) / sizeof(stop))

TEST(a_run_interrupted_at_its_first_step_goes_on)
{
    CHECK_STOPS(PLAIN, "int1", { "metrics", 1, SIGINT });
}

TEST(a_run_terminated_in_the_middle_goes_on)
{
    CHECK_STOPS(PLAIN, "term7", { "metrics", 7, SIGTERM });
}

TEST(a_run_killed_before_its_first_state_starts_again)
{
    CHECK_STOPS(PLAIN, "kill2", { "metrics", 2, SIGKILL });
}

TEST(a_run_killed_after_a_state_goes_on_from_there)
{
    CHECK_STOPS(PLAIN, "kill11", { "metrics", 11, SIGKILL });
    json_t *events = events_of(here("kill11"));
    const json_t *last = NULL;
    count_events(events, "attempt", &last);
    CHECK_EQ(json_integer_value(json_object_get(last, "first_step")), 8);
    json_decref(events);
}

TEST(a_run_stopped_five_times_in_all_ways_gives_the_same)
{
    CHECK_STOPS(PLAIN, "many", { "metrics", 1, SIGTERM }, { "metrics", 3, SIGKILL }, { "metrics", 5, SIGINT },
                { "metrics", 6, SIGUSR1 }, { "metrics", 11, SIGKILL });
}

TEST(a_run_with_accumulated_gradients_and_states_within_epochs_gives_the_same)
{
    CHECK_STOPS(ACCUMULATED, "accumulated", { "metrics", 2, SIGINT }, { "metrics", 4, SIGKILL },
                { "metrics", 9, SIGTERM }, { "metrics", 10, SIGKILL });
}

TEST(a_bf16_run_on_both_kinds_with_a_monitor_gives_the_same)
{
    CHECK_STOPS(WATCHED, "watched", { "metrics", 4, SIGKILL }, { "metrics", 5, SIGINT }, { "metrics", 8, SIGKILL },
                { "metrics", 11, SIGUSR2 });
}

static void check_says_saved(const char *name, const char *fault, int step)
{
    char sentence[64];
    check_code(go(WATCHED, &(launch){ .fault = fault }, here(name)), 130, __FILE__, __LINE__);
    snprintf(sentence, sizeof sentence, "interrupted; saved at step %d of 12: the same command", step);
    CHECK_STR(vicmae_err(), sentence);
}

TEST(a_run_interrupted_at_a_step_with_a_monitor_saves_and_the_next_attempt_measures)
{
    check_says_saved("watched6", "metrics 6 15", 6);
    check_code(go(WATCHED, NULL, here("watched6")), 0, __FILE__, __LINE__);
    CHECK_SAME_RUN(whole(WATCHED), here("watched6"));
}

TEST(a_run_interrupted_while_its_monitor_measures_saves)
{
    /* two passes a monitor, one every second step: the third monitor's queries, then the first thing of all */
    check_says_saved("watching", "features 6 15", 6);
    check_says_saved("watching", "features 1 15", 6);
    check_code(go(WATCHED, NULL, here("watching")), 0, __FILE__, __LINE__);
    CHECK_SAME_RUN(whole(WATCHED), here("watching"));
}

TEST(a_run_interrupted_in_its_last_monitor_ends_without_training_again)
{
    check_says_saved("watched12", "metrics 12 15", 12);
    check_says_saved("watched12", "features 2 10", 12);
    CHECK(!exists(in(here("watched12"), "checkpoint.safetensors")));
    check_code(go(WATCHED, NULL, here("watched12")), 0, __FILE__, __LINE__);
    CHECK_SAME_RUN(whole(WATCHED), here("watched12"));
    json_t *events = events_of(here("watched12"));
    const json_t *last = NULL;
    CHECK_EQ(count_events(events, "attempt", &last), 3);
    CHECK_EQ(json_integer_value(json_object_get(last, "first_step")), 12);
    json_decref(events);
}

TEST(a_run_killed_between_the_two_moves_of_saving_goes_on)
{
    CHECK_STOPS(PLAIN, "torn", { "save", 1, SIGKILL }, { "save", 2, SIGKILL }, { "save", 2, SIGKILL });
}

TEST(a_run_killed_before_its_checkpoint_is_written_goes_on)
{
    CHECK_STOPS(PLAIN, "export", { "save", 3, SIGKILL });
}

TEST(a_run_killed_before_it_says_that_it_is_done_does_not_train_again)
{
    CHECK_STOPS(PLAIN, "said", { "done", 1, SIGKILL });
    json_t *events = events_of(here("said"));
    const json_t *last = NULL;
    count_events(events, "attempt", &last);
    CHECK_EQ(json_integer_value(json_object_get(last, "first_step")), 12);
    json_decref(events);
}

TEST(a_signal_in_the_last_step_lets_the_run_finish)
{
    const char *folder = here("last");
    check_code(go(PLAIN, &(launch){ .fault = "metrics 12 2" }, folder), 0, __FILE__, __LINE__);
    CHECK_SAME_RUN(whole(PLAIN), folder);
}

TEST(an_interrupted_run_says_where_it_was_saved)
{
    const char *folder = here("says");
    check_code(go(PLAIN, &(launch){ .fault = "metrics 3 15" }, folder), 130, __FILE__, __LINE__);
    CHECK_STR(vicmae_err(), "interrupted; saved at step 3 of 12: the same command goes on from there");
    json_t *events = events_of(folder);
    const json_t *end = NULL;
    CHECK_EQ(count_events(events, "end", &end), 1);
    CHECK_STR(event_text(end, "status"), "interrupted");
    CHECK_EQ(json_integer_value(json_object_get(end, "last_step")), 3);
    json_decref(events);
}

TEST(an_attempt_is_on_record_with_its_device_and_a_resume_on_other_threads_is_said)
{
    const char *folder = here("threads");
    check_code(go(PLAIN, &(launch){ .fault = "metrics 3 15" }, folder), 130, __FILE__, __LINE__);
    json_t *events = events_of(folder);
    const json_t *attempt = NULL;
    count_events(events, "attempt", &attempt);
    const json_t *machine = json_object_get(attempt, "machine");
    CHECK_STR(event_text(machine, "device"), "1 threads");
    CHECK_STR(event_text(machine, "device"), "oneDNN ");
    CHECK_STR(event_text(machine, "gpu"), "none");
    CHECK(strcmp(event_text(machine, "threads"), "1") == 0);
    CHECK_STR(event_text(machine, "media_libraries"), "libswscale ");
    CHECK_STR(event_text(machine, "libraries"), "libpng ");
    json_decref(events);
    CHECK(!strstr(vicmae_err(), "the same number of threads"));
    RUN_CODE(130, &(launch){ .fault = "metrics 5 15" }, "pretrain", "-R", folder, in(folder, "config.cfg"));
    CHECK(!strstr(vicmae_err(), "the same number of threads"));
    RUN_OK("pretrain", "-R", folder, in(folder, "config.cfg"), "threads=2");
    CHECK_STR(vicmae_err(),
              "warning: the last attempt had 1 compute threads, this one has 2: the same bits are promised "
              "for the same number of threads");
}

TEST(a_finished_run_is_not_repeated)
{
    const char *folder = whole(PLAIN);
    size_t count = 0, again = 0;
    char *before = contents(in(folder, "journal"), &count);
    check_code(go(PLAIN, NULL, folder), 0, __FILE__, __LINE__);
    CHECK_STR(vicmae_err(), "is finished already");
    char *after = contents(in(folder, "journal"), &again);
    CHECK(before && after && count == again && memcmp(before, after, count) == 0);
    free(before);
    free(after);
}

TEST(what_a_killed_attempt_was_writing_is_removed)
{
    const char *folder = here("leftover");
    check_code(go(PLAIN, &(launch){ .fault = "metrics 5 9" }, folder), -SIGKILL, __FILE__, __LINE__);
    REQUIRE_OK(vmae_write_file(in(folder, "resume.safetensors.tmp-99999"), "half", 4));
    REQUIRE_OK(vmae_write_file(in(folder, "notes.tmp-mine"), "keep", 4));
    check_code(go(PLAIN, NULL, folder), 0, __FILE__, __LINE__);
    CHECK(!exists(in(folder, "resume.safetensors.tmp-99999")));
    CHECK(exists(in(folder, "notes.tmp-mine")));
    CHECK_SAME_RUN(whole(PLAIN), folder);
}

/* ---- damage ---- */

/* A run with two states on disk: steps 4 and 8. */
static bool stopped_at_eight(const char *folder)
{
    return check_code(go(PLAIN, &(launch){ .fault = "metrics 9 9" }, folder), -SIGKILL, __FILE__, __LINE__) &&
           vmae_check(exists(in(folder, "resume.safetensors")) && exists(in(folder, "resume.safetensors.previous")),
                      __FILE__, __LINE__, "two states");
}

static void cut(const char *path, double share)
{
    size_t count = 0;
    char *bytes = contents(path, &count);
    free(bytes);
    CHECK(truncate(path, (off_t)((double)count * share)) == 0);
}

static int64_t first_step_of_last(const char *folder)
{
    json_t *events = events_of(folder);
    const json_t *last = NULL;
    count_events(events, "attempt", &last);
    const int64_t step = json_integer_value(json_object_get(last, "first_step"));
    json_decref(events);
    return step;
}

static void check_falls_back(const char *folder)
{
    check_code(go(PLAIN, NULL, folder), 0, __FILE__, __LINE__);
    CHECK_STR(vicmae_err(), "warning: ");
    CHECK_STR(vicmae_err(), "resume.safetensors");
    CHECK_STR(vicmae_err(), "trying the state before it");
    CHECK_STR(vicmae_err(), "resuming from the state before the last, step 4");
    CHECK_EQ(first_step_of_last(folder), 4);
    CHECK_SAME_RUN(whole(PLAIN), folder);
}

TEST(a_truncated_state_falls_back_to_the_one_before)
{
    const double shares[] = { 0.0, 0.01, 0.5, 0.999 };
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        char folder[600];
        snprintf(folder, sizeof folder, "%s/cut%zu", vmae_test_folder(), i);
        if (!stopped_at_eight(folder))
            return;
        cut(in(folder, "resume.safetensors"), shares[i]);
        check_falls_back(folder);
    }
}

TEST(a_state_without_a_moment_falls_back_to_the_one_before)
{
    const char *folder = here("nomoment");
    REQUIRE(stopped_at_eight(folder));
    size_t count = 0;
    char *bytes = contents(in(folder, "resume.safetensors"), &count), *name = NULL;
    REQUIRE(bytes);
    for (size_t i = 0; i + 10 < count && !name; i++) /* a tensor of the optimiser gets another name */
        if (memcmp(bytes + i, "optimizer.", 10) == 0 || memcmp(bytes + i, "exp_avg", 7) == 0)
            name = bytes + i;
    CHECK(name);
    if (name)
        name[0] = 'X';
    CHECK_OK(vmae_write_file(in(folder, "resume.safetensors"), bytes, count));
    free(bytes);
    check_falls_back(folder);
}

TEST(two_damaged_states_are_refused_and_nothing_starts_anew)
{
    const char *folder = here("both");
    REQUIRE(stopped_at_eight(folder));
    cut(in(folder, "resume.safetensors"), 0.5);
    cut(in(folder, "resume.safetensors.previous"), 0.3);
    for (int attempt = 0; attempt < 2; attempt++) {
        check_code(go(PLAIN, NULL, folder), 1, __FILE__, __LINE__);
        CHECK_STR(vicmae_err(), "this run cannot be resumed (delete its folder to start it anew)");
        CHECK_STR(vicmae_err(), "resume.safetensors.previous");
        CHECK(!exists(in(folder, "done.json")) && !exists(in(folder, "checkpoint.safetensors")));
        CHECK(exists(in(folder, "resume.safetensors")) && exists(in(folder, "resume.safetensors.previous")));
    }
    json_t *events = events_of(folder);
    const json_t *end = NULL;
    CHECK_EQ(count_events(events, "end", &end), 2);
    CHECK_STR(event_text(end, "status"), "failed");
    json_decref(events);
}

TEST(one_damaged_state_without_another_is_refused)
{
    const char *folder = here("single");
    check_code(go(PLAIN, &(launch){ .fault = "metrics 5 9" }, folder), -SIGKILL, __FILE__, __LINE__);
    REQUIRE(!exists(in(folder, "resume.safetensors.previous")));
    cut(in(folder, "resume.safetensors"), 0.9);
    check_code(go(PLAIN, NULL, folder), 1, __FILE__, __LINE__);
    CHECK_STR(vicmae_err(), "cannot be resumed");
    CHECK_STR(vicmae_err(), "resume.safetensors");
}

TEST(a_damaged_state_never_pushes_out_the_good_one)
{
    const char *folder = here("pushed");
    REQUIRE(stopped_at_eight(folder));
    cut(in(folder, "resume.safetensors"), 0.5);
    /* falls back to step 4, and is killed while it saves the next state */
    check_code(go(PLAIN, &(launch){ .fault = "save 1 9" }, folder), -SIGKILL, __FILE__, __LINE__);
    check_code(go(PLAIN, NULL, folder), 0, __FILE__, __LINE__);
    CHECK_EQ(first_step_of_last(folder), 4);
    CHECK_SAME_RUN(whole(PLAIN), folder);
}

TEST(a_full_disk_stops_the_run_with_a_message_and_costs_nothing)
{
    const char *folder = here("full");
    check_code(go(PLAIN, &(launch){ .file_size = 40000 }, folder), 1, __FILE__, __LINE__);
    CHECK_STR(vicmae_err(), "resume.safetensors");
    CHECK_STR(vicmae_err(), "File too large");
    CHECK(!exists(in(folder, "resume.safetensors")));
    REQUIRE(stopped_at_eight(folder));
    check_code(go(PLAIN, &(launch){ .file_size = 40000 }, folder), 1, __FILE__, __LINE__);
    check_code(go(PLAIN, NULL, folder), 0, __FILE__, __LINE__);
    CHECK_EQ(first_step_of_last(folder), 8);
    CHECK_SAME_RUN(whole(PLAIN), folder);
}

TEST(a_finished_run_without_its_done_file_is_closed_from_its_checkpoint)
{
    const char *folder = here("nodone");
    check_code(go(PLAIN, NULL, folder), 0, __FILE__, __LINE__);
    REQUIRE(unlink(in(folder, "done.json")) == 0);
    cut(in(folder, "checkpoint.safetensors"), 0.5); /* and if that is damaged too, it trains again, and says so */
    check_code(go(PLAIN, NULL, folder), 0, __FILE__, __LINE__);
    CHECK_STR(vicmae_err(), "training again");
    CHECK_EQ(first_step_of_last(folder), 0);
    CHECK_SAME_RUN(whole(PLAIN), folder);
}
