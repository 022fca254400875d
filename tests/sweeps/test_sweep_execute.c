/* test_sweep_execute.c -- the vicmae-sweep program on fake protocols: what it does, skips, retries, stops, refuses. */
#include "../test.h"
#include "process.h"
#include "sweep_text.h"

#include "engine/core/fs.h"
#include "engine/core/journal.h"
#include "engine/core/mem.h"
#include "experiments/machine.h"
#include "sweeps/child.h"
#include "sweeps/collect.h"
#include "sweeps/watch.h"

#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define METRICS   " metrics = ( { metric = \"top1\"; label = \"top-1\"; } ); "
#define WITH(...) ((const char *const[]){ __VA_ARGS__, NULL })

static const char five_rows[] = "{ name = \"a\"; title = \"Separation\";" METRICS
                                "product = { pretrain = { frames = { delta = [0, 1, 2, 3, 4]; }; }; }; }";
static const char two_rows[] = "{ name = \"a\"; title = \"Separation\";" METRICS
                               "product = { pretrain = { frames = { delta = [0, 8]; }; }; }; },\n"
                               "{ name = \"b\"; title = \"Pooling\";" METRICS
                               "product = { pretrain = { model = { pool = [\"gem\", \"mean\"]; }; }; }; }";

typedef struct place {
    const char *file, *root;
} place;

/* A sweep file and an empty root of this name. */
static place make_place(const char *name, const char *grids)
{
    static char roots[32][600];
    static int count;
    char file[64];
    snprintf(file, sizeof file, "%s.cfg", name);
    const char *kept = write_text(vmae_test_folder(), file, sweep_text(grids, ""));
    snprintf(roots[count], sizeof roots[count], "%s/%s-runs", vmae_test_folder(), name);
    return (place){ kept, roots[count++] };
}

static size_t count_text(const char *text, const char *part)
{
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, part)); at += strlen(part))
        count++;
    return count;
}

static bool has(const char *root, const char *name)
{
    char *path = vmae_path_join(root, name);
    const bool there = vmae_path_exists(path);
    free(path);
    return there;
}

/* Waits until some run of the root has saved its state. */
static bool wait_for_work(const char *root)
{
    for (int i = 0; i < 2000; i++, sleep_ms(5)) {
        char **names = NULL;
        size_t count = 0;
        bool found = false;
        if (!vmae_path_is_folder(root) || vmae_list_folder(root, true, &names, &count) != VMAE_OK)
            continue;
        for (size_t k = 0; k < count; k++) {
            char *path = vmae_format("%s/%s/resume.safetensors", root, names[k]);
            found = found || vmae_path_exists(path);
            free(path);
        }
        vmae_list_free(names, count);
        if (found)
            return true;
    }
    return false;
}

TEST(a_sweep_is_done_once_and_its_tables_are_printed_and_written)
{
    const place at = make_place("once", two_rows);
    char *out, *err;
    CHECK_EQ(process_run("vicmae-sweep", WITH(at.file, "--root", at.root), &out, &err), 0);
    CHECK_STR(err, "[1/6] pretrain a/0 seed 1: done in ");
    CHECK_STR(err, "test-demo: 6 runs: 6 done now, 0 finished before, 0 failed, 0 blocked, 0 left");
    CHECK_STR(out, "Separation");
    CHECK_STR(out, "tables: ");
    CHECK(has(at.root, "results.db"));
    CHECK(has(at.root, "sweeps/test-demo.json"));
    CHECK(has(at.root, "sweeps/test-demo/a.txt"));
    CHECK(has(at.root, "sweeps/test-demo/b.md"));
    CHECK(has(at.root, "sweeps/test-demo/b.csv"));
    free(out);
    free(err);
    CHECK_EQ(process_run("vicmae-sweep", WITH(at.file, "--root", at.root), &out, &err), 0);
    CHECK_STR(err, "0 done now, 6 finished before");
    CHECK_STR(out, "Separation");
    free(out);
    free(err);
}

/* The text of <root>/sweeps/<name>. Fresh memory. */
static char *stored(const char *root, const char *name)
{
    char *path = vmae_format("%s/sweeps/%s", root, name), *text = process_said(path);
    free(path);
    return text;
}

TEST(a_command_with_other_options_or_seeds_leaves_the_finished_sweep_alone)
{
    const place at = make_place("variant", two_rows);
    char *out, *err, *now;
    CHECK_EQ(process_run("vicmae-sweep", WITH(at.file, "--root", at.root), NULL, NULL), 0);
    char *a = stored(at.root, "test-demo/a.txt"), *b = stored(at.root, "test-demo/b.txt"),
         *description = stored(at.root, "test-demo.json");
    CHECK_STR(a, "Separation");
    CHECK_EQ(process_run("vicmae-sweep", WITH(at.file, "--root", at.root, "--only", "a", "train.steps=5"), &out, &err),
             0);
    CHECK_STR(err, "stored as test-demo+");
    CHECK_STR(err, "train.steps=5");
    CHECK(strstr(out, "missing") == NULL);
    free(out);
    free(err);
    CHECK_EQ(process_run("vicmae-sweep", WITH(at.file, "--root", at.root, "--seeds", "7"), NULL, NULL), 0);
    /* the same sweep, in part and at another speed */
    CHECK_EQ(process_run("vicmae-sweep", WITH(at.file, "--root", at.root, "--only", "b", "threads=1"), &out, &err), 0);
    CHECK(strstr(err, "stored as") == NULL);
    CHECK_STR(err, "0 done now, 4 finished before");
    CHECK(strstr(out, "missing") == NULL);
    free(out);
    free(err);
    CHECK(strcmp(now = stored(at.root, "test-demo/a.txt"), a) == 0);
    free(now);
    CHECK(strcmp(now = stored(at.root, "test-demo/b.txt"), b) == 0);
    free(now);
    now = stored(at.root, "test-demo.json");
    CHECK_STR(now, "\"overrides_of_speed\": [\n  \"threads=1\"");
    free(now);
    CHECK_STR(description, "\"overrides\": []");
    free(description);
    free(a);
    free(b);
}

TEST(a_database_that_cannot_be_used_is_refused_before_the_first_run)
{
    const place at = make_place("garbage", two_rows);
    char *path = vmae_path_join(at.root, "results.db"), *err, *out, **names = NULL;
    size_t count = 0;
    CHECK_OK(vmae_make_folders(at.root));
    CHECK_OK(vmae_write_file(path, "this is no database, whatever its name says", 43));
    CHECK_EQ(process_run("vicmae-sweep", WITH(at.file, "--root", at.root), NULL, &err), 2);
    CHECK_STR(err, "results.db");
    CHECK_STR(err, "nothing was started. Move ");
    free(err);
    CHECK_OK(vmae_list_folder(at.root, true, &names, &count));
    CHECK_EQ(count, 1); /* sweeps/ */
    vmae_list_free(names, count);
    unlink(path);
    CHECK_EQ(process_run("vicmae-sweep", WITH(at.file, "--root", at.root), &out, NULL), 0);
    CHECK_STR(out, "tables: ");
    free(out);
    free(path);
}

TEST(a_database_that_breaks_on_the_way_is_opened_again_and_then_said)
{
    const place at = make_place("breaks", two_rows);
    vmae_sweep *sweep = NULL;
    vmae_plan *plan = NULL;
    vmae_collector collector;
    char *text = NULL;
    size_t count;
    CHECK_EQ(process_run("vicmae-sweep", WITH(at.file, "--root", at.root), NULL, NULL), 0);
    REQUIRE_OK(vmae_sweep_load(&sweep, at.file, NULL));
    REQUIRE_OK(vmae_plan_make(&plan, sweep, &(vmae_plan_options){ .root = at.root }));
    REQUIRE_OK(vmae_plan_write(plan));
    REQUIRE_OK(vmae_collector_open(&collector, plan));
    FILE *out = open_memstream(&text, &count);
    sqlite3_exec(vmae_store_sqlite(collector.store), "UPDATE journals SET size = 0; PRAGMA query_only = ON", NULL, NULL,
                 NULL);
    CHECK_OK(vmae_collector_finish(&collector, out)); /* this connection could not, a fresh one can */
    fflush(out);
    CHECK_STR(text, "Separation");
    sqlite3_exec(vmae_store_sqlite(collector.store), "DROP TABLE journals", NULL, NULL, NULL);
    CHECK_FAILS(vmae_collector_finish(&collector, out), VMAE_EDATA, "there are no tables: ");
    fclose(out);
    vmae_collector_close(&collector);
    vmae_plan_free(plan);
    vmae_sweep_free(sweep);
    free(text);
}

TEST(a_dry_run_makes_nothing_and_says_what_is_to_be_done)
{
    const place at = make_place("dry", two_rows);
    char *out;
    CHECK_EQ(process_run("vicmae-sweep", WITH(at.file, "--root", at.root, "--dry-run", "-j", "2"), &out, NULL), 0);
    CHECK_STR(out, "6 runs, 0 finished, 6 to do");
    CHECK(!vmae_path_exists(at.root));
    free(out);
    CHECK_EQ(process_run("vicmae-sweep", WITH(at.file, "--root", at.root, "--only", "a"), NULL, NULL), 0);
    CHECK_EQ(process_run("vicmae-sweep", WITH(at.file, "--root", at.root, "--dry-run"), &out, NULL), 0);
    CHECK_STR(out, "6 runs, 4 finished, 2 to do");
    CHECK(strstr(out, "time unknown") == NULL); /* now there are runs to judge by */
    free(out);
    CHECK_EQ(process_run("vicmae-sweep", WITH(at.file, "--root", at.root, "--json"), &out, NULL), 0);
    CHECK_EQ(count_text(out, "\"state\": \"done\""), 4);
    free(out);
}

TEST(usage_errors_exit_with_2_and_name_the_remedy)
{
    const place at = make_place("usage", two_rows);
    char *out, *err;
    CHECK_EQ(process_run("vicmae-sweep", WITH("--jobs", "0", at.file), NULL, &err), 2);
    CHECK_STR(err, "--jobs 0");
    free(err);
    CHECK_EQ(process_run("vicmae-sweep", (const char *const[]){ NULL }, NULL, &err), 2);
    CHECK_STR(err, "which sweep?");
    free(err);
    CHECK_EQ(process_run("vicmae-sweep", WITH(at.file, "--scale", "huge"), NULL, &err), 2);
    CHECK_STR(err, "its scales are: demo, big");
    free(err);
    CHECK_EQ(process_run("vicmae-sweep", WITH(at.file, "--only", "z", "--root", at.root), NULL, &err), 2);
    CHECK_STR(err, "its grids are: a, b");
    free(err);
    CHECK_EQ(process_run("vicmae-sweep", WITH(at.file, "train.stepz=3", "--root", at.root), NULL, &err), 2);
    CHECK_STR(err, "did you mean 'train.steps'?");
    free(err);
    CHECK_EQ(process_run("vicmae-sweep", WITH("/nowhere.cfg", "--root", at.root), NULL, &err), 2);
    CHECK_STR(err, "/nowhere.cfg");
    free(err);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(process_run("vicmae-sweep", WITH(i ? "-V" : "--version"), &out, NULL), 0);
        CHECK_STR(out, "vicmae-sweep " VMAE_VERSION " (");
        free(out);
    }
    CHECK_EQ(process_run("vicmae-sweep", WITH("--help"), &out, NULL), 0);
    CHECK_STR(out, "Examples:");
    free(out);
    CHECK_EQ(process_run("vicmae-sweep", WITH(at.file, "--list-scales"), &out, NULL), 0);
    CHECK_STR(out, "big        more numbers");
    free(out);
}

/* How many of the root's runs have this line in their config. */
static size_t count_configs(const char *root, const char *line)
{
    char **names = NULL;
    size_t count = 0, found = 0;
    CHECK_OK(vmae_list_folder(root, true, &names, &count));
    for (size_t i = 0; i < count; i++) {
        char *path = vmae_format("%s/%s/config.cfg", root, names[i]), *text = process_said(path);
        found += strstr(text, line) != NULL;
        free(text);
        free(path);
    }
    vmae_list_free(names, count);
    return found;
}

/* The line of a config with as many threads as each of so many jobs gets. */
static const char *share_line(int jobs)
{
    static char line[32];
    const int share = vmae_machine_cores() / jobs;
    snprintf(line, sizeof line, "threads = %d;", share > 1 ? share : 1);
    return line;
}

TEST(jobs_run_side_by_side_and_share_the_cores)
{
    const place at = make_place("wide", five_rows);
    char *err;
    CHECK_EQ(
        process_run("vicmae-sweep", WITH(at.file, "--root", at.root, "--jobs", "3", "train.step_us=1000"), NULL, &err),
        0);
    CHECK_STR(err, "10 done now");
    free(err);
    CHECK_EQ(count_configs(at.root, share_line(3)), 10); /* also of the first run, which was alone */
}

TEST(a_run_that_goes_on_keeps_its_threads_and_a_finished_one_is_proof_enough_to_go_wide)
{
    const place at = make_place("wider", five_rows);
    pid_t children[8];
    process p = process_start("vicmae-sweep", WITH(at.file, "--root", at.root, "train.step_us=20000"));
    CHECK(wait_for_work(at.root));
    kill(p.pid, SIGINT);
    CHECK_EQ(process_wait(&p), 130);
    CHECK_EQ(count_configs(at.root, "threads = 0;"), 1);
    CHECK_EQ(process_run("vicmae-sweep", WITH(at.file, "--root", at.root, "--jobs", "2"), NULL, NULL), 0);
    CHECK_EQ(count_configs(at.root, "threads = 0;"), 1);
    CHECK_EQ(count_configs(at.root, share_line(2)), 9);
    /* another seed: what is finished shows that this sweep works, so its runs start side by side */
    p = process_start("vicmae-sweep",
                      WITH(at.file, "--root", at.root, "--jobs", "2", "train.step_us=100000", "--seeds", "1,2"));
    size_t most = 0;
    for (int i = 0; i < 400 && most < 2; i++, sleep_ms(5)) {
        const size_t now = process_children(p.pid, children, 8);
        most = now > most ? now : most;
    }
    CHECK_EQ(most, 2);
    kill(p.pid, SIGTERM);
    CHECK_EQ(process_wait(&p), 130);
}

TEST(a_log_says_what_was_started_and_how_far_it_is)
{
    const place at = make_place("log", two_rows);
    char *err;
    CHECK_EQ(process_run("vicmae-sweep",
                         WITH(at.file, "--root", at.root, "--only", "a", "--progress", "0.1", "train.step_us=30000"),
                         NULL, &err),
             0);
    CHECK_STR(err, "[1/4] pretrain a/0 seed 1: started, log in ");
    CHECK_STR(err, "/log.txt");
    CHECK_STR(err, " of 20, ");
    CHECK_STR(err, "s so far, ETA ");            /* by its own pace: no other run is finished */
    CHECK_STR(err, "; all runs: ETA at least "); /* no probe was done yet */
    CHECK_STR(err, "[3/4] pretrain a/8 seed 1: started, log in ");
    free(err);
    CHECK_EQ(process_run("vicmae-sweep", WITH(at.file, "--root", at.root, "--progress", "0"), NULL, &err), 2);
    CHECK_STR(err, "--progress 0: a number of seconds");
    free(err);
}

static void journal_steps(vmae_journal *journal, int64_t from, int64_t to)
{
    for (int64_t step = from; step <= to; step++, sleep_ms(2))
        CHECK_OK(vmae_journal_metrics(journal, step, &(vmae_metric){ "loss", 1 }, 1));
}

TEST(how_far_a_run_is_comes_from_the_whole_records_of_its_last_attempt)
{
    char *folder = vmae_path_join(vmae_test_folder(), "watched"), *path = vmae_path_join(folder, "journal");
    vmae_journal *journal = NULL;
    vmae_watch watch = { .total = 20 };
    CHECK_OK(vmae_make_folders(folder));
    vmae_watch_look(&watch, folder); /* nothing there yet */
    CHECK(watch.step == 0 && vmae_watch_left(&watch) < 0);
    REQUIRE_OK(vmae_journal_open(&journal, path));
    CHECK_OK(vmae_journal_event(journal, "{\"type\": \"attempt\", \"attempt\": 1}"));
    journal_steps(journal, 1, 1);
    vmae_watch_look(&watch, folder);
    CHECK_EQ(watch.step, 1);
    CHECK(vmae_watch_left(&watch) < 0); /* one step has no pace */
    journal_steps(journal, 2, 9);
    CHECK_OK(vmae_journal_event(journal, "{\"type\": \"attempt\", \"attempt\": 2}"));
    vmae_watch_look(&watch, folder);
    CHECK_EQ(watch.step, 0);
    journal_steps(journal, 6, 10);
    CHECK_OK(vmae_journal_close(journal));
    vmae_watch_look(&watch, folder);
    CHECK_EQ(watch.first_step, 6);
    CHECK_EQ(watch.step, 10);
    const double pace = (watch.last_wall - watch.first_wall) / 4;
    CHECK(pace > 0);
    CHECK_NEAR(vmae_watch_left(&watch), 10 * pace, 1e-6);
    const uint64_t offset = watch.offset;
    FILE *torn = fopen(path, "a");
    REQUIRE(torn != NULL);
    fwrite("\x40\0\0\0half", 8, 1, torn);
    fclose(torn);
    vmae_watch_look(&watch, folder);
    CHECK_EQ(watch.step, 10);
    CHECK_EQ(watch.offset, offset);
    free(path);
    free(folder);
}

TEST(a_failed_run_blocks_its_children_shows_its_log_and_is_tried_again_by_the_same_command)
{
    const place at = make_place("fails", two_rows);
    char *reason = vmae_format("%s/reason", vmae_test_folder()), *option = vmae_format("train.fail_file=%s", reason),
         *err;
    CHECK_OK(vmae_write_file(reason, "x", 1));
    CHECK_EQ(process_run("vicmae-sweep", WITH(at.file, "--root", at.root, "--only", "a", option), NULL, &err), 1);
    CHECK_STR(err, "pretrain a/0 seed 1: FAILED: sample 10 of");
    CHECK_STR(err, "    vicmae: sample 10 of"); /* the log's end */
    CHECK_STR(err, "log.txt)");
    CHECK_EQ(count_text(err, "log.txt)"), 1); /* of the first failure only */
    CHECK_STR(err, "0 done now, 0 finished before, 2 failed, 2 blocked, 0 left");
    CHECK_STR(err, "2 of 4 runs failed; the first was pretrain a/0 seed 1");
    free(err);
    unlink(reason);
    CHECK_EQ(process_run("vicmae-sweep", WITH(at.file, "--root", at.root, "--only", "a", option), NULL, &err), 0);
    CHECK_STR(err, "4 done now, 0 finished before, 0 failed");
    free(err);
    free(option);
    free(reason);
}

/* The folder of the root's only run that has a log with these words. Fresh memory. */
static char *folder_that_logged(const char *root, const char *words)
{
    char **names = NULL, *found = NULL;
    size_t count = 0;
    CHECK_OK(vmae_list_folder(root, true, &names, &count));
    for (size_t i = 0; i < count; i++) {
        char *folder = vmae_path_join(root, names[i]), *path = vmae_path_join(folder, "log.txt"),
             *text = process_said(path);
        if (strstr(text, words) && !found)
            found = vmae_strdup(folder);
        free(text);
        free(path);
        free(folder);
    }
    vmae_list_free(names, count);
    return found;
}

TEST(a_run_that_dies_before_its_journal_is_not_blamed_for_an_earlier_failure)
{
    const place at = make_place("early", "{ name = \"a\";" METRICS "rows = ( { label = \"x\"; } ); }");
    char *reason = vmae_format("%s/early", vmae_test_folder()), *option = vmae_format("train.fail_file=%s", reason);
    CHECK_OK(vmae_write_file(reason, "x", 1));
    CHECK_EQ(process_run("vicmae-sweep", WITH(at.file, "--root", at.root, option), NULL, NULL), 1);
    char *folder = folder_that_logged(at.root, "cannot be decoded"), message[300], *text = NULL;
    REQUIRE(folder != NULL);
    char *log = vmae_path_join(folder, "log.txt"), *before = process_said(log);
    const int exit_1 = 1 << 8;
    const vmae_child second = { .folder = folder, .attempts = 1, .log_bytes = (int64_t)strlen(before) };
    CHECK_EQ(vmae_child_ended(&second, exit_1, message, sizeof message), VMAE_CHILD_FAILED);
    CHECK(strcmp(message, "the process exited with code 1 and said nothing") == 0);
    char *after = vmae_format("%svicmae: libgomp is not\x1b[31m here\n", before);
    CHECK_OK(vmae_write_file(log, after, strlen(after)));
    CHECK_EQ(vmae_child_ended(&second, exit_1, message, sizeof message), VMAE_CHILD_FAILED);
    CHECK(strcmp(message, "vicmae: libgomp is not?[31m here") == 0);
    size_t count;
    FILE *out = open_memstream(&text, &count);
    vmae_child_print_log(&second, 20, out);
    fclose(out);
    CHECK(strstr(text, "libgomp") && !strstr(text, "cannot be decoded"));
    free(text);
    const vmae_child first = { .folder = folder };
    CHECK_EQ(vmae_child_ended(&first, exit_1, message, sizeof message), VMAE_CHILD_FAILED);
    CHECK_STR(message, "cannot be decoded");
    free(after);
    free(before);
    free(log);
    free(folder);
    free(option);
    free(reason);
}

TEST(three_failures_of_one_kind_stop_a_sweep_unless_it_is_to_keep_going)
{
    const place at = make_place("bug", five_rows);
    char *err;
    CHECK_EQ(process_run("vicmae-sweep", WITH(at.file, "--root", at.root, "train.diverge=true", "-j", "3"), NULL, &err),
             1);
    CHECK_EQ(count_text(err, "FAILED: loss is nan"), 3);
    CHECK_STR(err, "3 runs have failed alike");
    CHECK_STR(err, "0 done now, 0 finished before, 3 failed, 3 blocked, 4 left");
    free(err);
    CHECK_EQ(
        process_run("vicmae-sweep", WITH(at.file, "--root", at.root, "train.diverge=true", "--keep-going"), NULL, &err),
        1);
    CHECK_EQ(count_text(err, "FAILED: loss is nan"), 5);
    free(err);
}

TEST(a_second_runner_of_the_same_sweep_is_refused_and_told_who_has_it)
{
    const place at = make_place("two", two_rows);
    char *err, pid[32];
    process first = process_start("vicmae-sweep", WITH(at.file, "--root", at.root, "train.step_us=50000"));
    CHECK(wait_for_work(at.root));
    CHECK_EQ(process_run("vicmae-sweep", WITH(at.file, "--root", at.root), NULL, &err), 1);
    CHECK_STR(err, "another runner has sweep test-demo");
    snprintf(pid, sizeof pid, "%d", (int)first.pid);
    CHECK_STR(err, pid);
    free(err);
    kill(first.pid, SIGTERM);
    CHECK_EQ(process_wait(&first), 130);
}

TEST(ctrl_c_lets_runs_save_and_the_same_command_goes_on)
{
    const place at = make_place("ctrlc", two_rows);
    char *err, *out;
    process p = process_start("vicmae-sweep", WITH(at.file, "--root", at.root, "train.step_us=20000", "--jobs", "2"));
    CHECK(wait_for_work(at.root));
    kill(p.pid, SIGINT);
    sleep_ms(2);
    kill(p.pid, SIGINT); /* the same one: timeout(1) sends it to the process and to its group */
    CHECK_EQ(process_wait(&p), 130);
    err = process_said(p.err);
    CHECK_STR(err, "finish their step and save");
    CHECK_STR(err, "interrupted; the same command goes on");
    free(err);
    CHECK_EQ(process_run("vicmae-sweep", WITH(at.file, "--root", at.root, "--dry-run"), &out, NULL), 0);
    CHECK_STR(out, "interrupted at step ");
    CHECK_STR(out, " of 20 steps, "); /* what is left, not the whole */
    free(out);
    CHECK_EQ(process_run("vicmae-sweep", WITH(at.file, "--root", at.root), NULL, &err), 0);
    CHECK_STR(err, "0 failed, 0 blocked, 0 left");
    free(err);
}

TEST(a_second_ctrl_c_ends_everything_at_once)
{
    const place at = make_place("ctrlcc", two_rows);
    pid_t children[8];
    process p =
        process_start("vicmae-sweep", WITH(at.file, "--root", at.root, "train.step_us=1500000", "train.save_every=1"));
    CHECK(wait_for_work(at.root));
    REQUIRE(process_children(p.pid, children, 8) == 1);
    sleep_ms(200); /* well inside the next step */
    kill(p.pid, SIGINT);
    sleep_ms(400);
    kill(p.pid, SIGINT);
    CHECK_EQ(process_wait(&p), 130);
    CHECK(kill(children[0], 0) != 0);
    char *err = process_said(p.err);
    CHECK_STR(err, "stopping 1 run(s) at once");
    free(err);
}

TEST(runs_do_not_outlive_a_runner_that_is_killed)
{
    const place at = make_place("orphan", two_rows);
    pid_t children[8];
    process p =
        process_start("vicmae-sweep", WITH(at.file, "--root", at.root, "train.step_us=20000", "train.steps=2000"));
    CHECK(wait_for_work(at.root));
    REQUIRE(process_children(p.pid, children, 8) == 1);
    kill(p.pid, SIGKILL);
    CHECK_EQ(process_wait(&p), -SIGKILL);
    bool lives = true;
    for (int i = 0; i < 400 && lives; i++, sleep_ms(5)) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/stat", (int)children[0]);
        char *stat = process_said(path); /* nobody may reap it here: a zombie is over, too */
        lives = *stat && !strstr(stat, ") Z ");
        free(stat);
    }
    CHECK(!lives);
}

TEST(a_run_that_another_process_does_is_waited_for)
{
    const place at = make_place("elsewhere", two_rows);
    char *err;
    process first =
        process_start("vicmae-sweep", WITH(at.file, "--root", at.root, "--only", "a", "train.step_us=40000"));
    CHECK(wait_for_work(at.root));
    /* the same runs, planned by another sweep file */
    char *text = process_said(at.file), *other;
    char *name = strstr(text, "\"test\"");
    REQUIRE(name != NULL);
    memcpy(name, "\"tost\"", 6);
    other = vmae_strdup(write_text(vmae_test_folder(), "other.cfg", text));
    CHECK_EQ(process_run("vicmae-sweep", WITH(other, "--root", at.root, "--only", "a"), NULL, &err), 0);
    CHECK_STR(err, "done by another process");
    CHECK_STR(err, "0 failed, 0 blocked, 0 left");
    CHECK_EQ(process_wait(&first), 0);
    free(err);
    free(other);
    free(text);
}

TEST(a_run_that_is_killed_is_a_failure_and_goes_on_next_time)
{
    const place at = make_place("killed", two_rows);
    pid_t children[8];
    process p = process_start("vicmae-sweep", WITH(at.file, "--root", at.root, "--only", "a", "train.step_us=20000"));
    CHECK(wait_for_work(at.root));
    REQUIRE(process_children(p.pid, children, 8) == 1);
    kill(children[0], SIGKILL);
    CHECK_EQ(process_wait(&p), 1);
    char *err = process_said(p.err), *out;
    CHECK_STR(err, "ended by signal 9");
    free(err);
    CHECK_EQ(process_run("vicmae-sweep", WITH(at.file, "--root", at.root, "--dry-run"), &out, NULL), 0);
    CHECK_STR(out, "killed at step ");
    free(out);
    CHECK_EQ(process_run("vicmae-sweep", WITH(at.file, "--root", at.root, "--only", "a"), NULL, NULL), 0);
}
