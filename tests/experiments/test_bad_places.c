/* test_bad_places.c -- run folders that cannot be written, are taken, or belong to another run; disks that are full. */
#include "vicmae.h"

#include "engine/core/fs.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TRAIN TINY_MODEL, TINY_TRAINING, TINY_IMAGES, "precision=f32"

TEST(a_root_that_cannot_be_written_is_named)
{
    const char *root = here("readonly");
    const launch bound = { .bound_by_modes = true };
    CHECK_OK(vmae_make_folders(root));
    CHECK(chmod(root, 0555) == 0);
    RUN_CODE(2, &bound, "pretrain", "-r", root, TRAIN);
    CHECK_STR(vicmae_err(), root);
    CHECK_STR(vicmae_err(), "Permission denied");
    CHECK(chmod(root, 0755) == 0);
    RUN_CODE(2, NULL, "pretrain", "-r", "/proc/runs", TRAIN);
    CHECK_STR(vicmae_err(), "/proc/runs");
}

TEST(a_run_folder_that_has_become_read_only_is_named)
{
    const char *run = here("locked");
    const launch bound = { .bound_by_modes = true };
    CHECK_OK(vmae_make_folders(run));
    CHECK(chmod(run, 0555) == 0);
    RUN_CODE(2, &bound, "pretrain", "-R", run, TRAIN);
    CHECK_STR(vicmae_err(), run);
    CHECK_STR(vicmae_err(), "Permission denied");
    CHECK(chmod(run, 0755) == 0);
}

TEST(a_file_in_the_place_of_the_run_folder_is_refused)
{
    const char *run = here("afile");
    CHECK_OK(vmae_write_file(run, "x", 1));
    RUN_CODE(2, NULL, "pretrain", "-R", run, TRAIN);
    CHECK_STR(vicmae_err(), "afile");
}

TEST(a_folder_of_another_configuration_is_refused)
{
    const char *run = here("other");
    RUN_OK("pretrain", "-R", run, TRAIN);
    RUN_CODE(2, NULL, "pretrain", "-R", run, TRAIN, "seed=2");
    CHECK_STR(vicmae_err(), "holds run ");
    CHECK_STR(vicmae_err(), "an option or a dataset has changed; give another folder");
    RUN_CODE(2, NULL, "knn", "-R", run, "checkpoint=pixels", TINY_MODEL, TINY_LABELLED);
    CHECK_STR(vicmae_err(), "holds run ");
    /* also before it is finished */
    const char *half = here("half");
    RUN_CODE(130, &(launch){ .fault = "metrics 2 2" }, "pretrain", "-R", half, TRAIN);
    RUN_CODE(2, NULL, "pretrain", "-R", half, TRAIN, "train.blr=0.02");
    CHECK_STR(vicmae_err(), "give another folder");
    RUN_OK("pretrain", "-R", half, TRAIN, "log.every=2"); /* what is speed only may change on the way */
}

TEST(the_config_that_a_run_leaves_starts_the_same_run)
{
    const char *run = here("itself"), *again = here("itself2");
    RUN_OK("pretrain", "-R", run, TRAIN);
    RUN_OK("pretrain", "-R", again, in(run, "config.cfg"));
    CHECK_SAME_RUN(run, again);
}

TEST(a_second_process_on_a_run_is_told_who_runs_it)
{
    const char *run = here("busy");
    char holder[32];
    const pid_t pid = vicmae_start(&(launch){ .fault = "metrics 2 19" }, "pretrain", "-R", run, TRAIN, NULL);
    for (int i = 0; i < 2000; i++) { /* until it has stopped itself */
        char path[64], line[512] = "", state = 0;
        snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
        FILE *file = fopen(path, "r");
        if (file && fgets(line, sizeof line, file) && strrchr(line, ')'))
            state = strrchr(line, ')')[2];
        if (file)
            fclose(file);
        if (state == 'T')
            break;
        nanosleep(&(struct timespec){ 0, 5000000 }, NULL);
    }
    RUN_CODE(1, NULL, "pretrain", "-R", run, TRAIN);
    snprintf(holder, sizeof holder, "%d", (int)pid);
    CHECK_STR(vicmae_err(), run);
    CHECK_STR(vicmae_err(), holder);
    CHECK(!exists(in(run, "done.json")));
    kill(pid, SIGCONT);
    check_code(vicmae_wait(pid), 0, __FILE__, __LINE__);
    CHECK(exists(in(run, "done.json")));
    json_t *events = events_of(run);
    CHECK_EQ(count_events(events, "attempt", NULL), 1); /* the second one left no trace */
    json_decref(events);
}

TEST(a_full_disk_at_the_journal_is_said)
{
    const char *run = here("journal");
    RUN_CODE(1, &(launch){ .file_size = 3000 }, "pretrain", "-R", run, TRAIN);
    CHECK_STR(vicmae_err(), "journal");
    CHECK_STR(vicmae_err(), "File too large");
    RUN_OK("pretrain", "-R", run, TRAIN);
    const char *whole = here("journal-whole");
    RUN_OK("pretrain", "-R", whole, TRAIN);
    CHECK_SAME_RUN(whole, run);
}

TEST(a_full_disk_at_the_checkpoint_is_said_and_leaves_no_half_file)
{
    const char *run = here("export");
    char **names = NULL;
    size_t count = 0;
    RUN_CODE(1, &(launch){ .file_size = 40000 }, "pretrain", "-R", run, TRAIN, "checkpoint.every=100");
    CHECK_STR(vicmae_err(), "checkpoint.safetensors");
    CHECK_STR(vicmae_err(), "File too large");
    REQUIRE_OK(vmae_list_folder(run, false, &names, &count));
    for (size_t i = 0; i < count; i++)
        CHECK(!strstr(names[i], ".tmp-") && !strstr(names[i], "safetensors"));
    vmae_list_free(names, count);
}
