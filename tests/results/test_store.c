/* test_store.c -- the collector: same journals, same database, whatever happens on the way. */
#include "results/results.h"
#include "results/run.h"
#include "results/sql.h"
#include "tests/results/synthetic.h"
#include "tests/test.h"

#include "engine/core/fs.h"
#include "engine/core/log.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const synthetic_run pretrain = { "aaaa1111", "pretrain", 1,   NULL,   "{\"model.dim\":\"192\"}",
                                        NULL,       50,         0.0, "done", NULL };

static vmae_store *open_store(const char *runs)
{
    vmae_store *store = NULL;
    CHECK_OK(vmae_store_open(&store, synthetic_path(runs, "results.db"), VMAE_STORE_UPDATE));
    return store;
}

static int64_t integer(vmae_store *store, const char *sql)
{
    int64_t value = -1;
    CHECK_OK(vmae_sql_integer(store, &value, -1, sql, NULL));
    return value;
}

/* The canonical dump, and every other content that must not depend on when it was ingested. Fresh memory. */
static char *content(vmae_store *store)
{
    static const char *const queries[] = {
        "SELECT r.identity, n.name, m.step, m.attempt, m.special, m.value FROM metrics m JOIN runs r ON r.id = m.run "
        "JOIN metric_names n ON n.id = m.metric ORDER BY 1, 2, 3, 4",
        "SELECT r.identity, n.name, count, last, last_special, s.last_step, best, best_step FROM summaries s JOIN runs "
        "r ON r.id = s.run JOIN metric_names n ON n.id = s.metric ORDER BY 1, 2",
        "SELECT identity, protocol, seed, status, message, last_step, damage FROM runs ORDER BY 1",
        "SELECT r.identity, attempt, host, pid, first_step, a.last_step, valid_to, a.status, first_wall, last_wall, "
        "started, ended FROM attempts a JOIN runs r ON r.id = a.run ORDER BY 1, 2",
        "SELECT r.identity, step, attempt, wall FROM step_times t JOIN runs r ON r.id = t.run ORDER BY 1, 2, 3",
        "SELECT r.identity, key, value, speed_only FROM config c JOIN runs r ON r.id = c.run ORDER BY 1, 2",
        "SELECT s.name, s.title, o.assignment, o.speed_only, g.name, g.note FROM sweeps s JOIN sweep_grids g ON "
        "g.sweep = "
        "s.id LEFT JOIN sweep_overrides o ON o.sweep = s.id ORDER BY 1, 3, 5",
        "SELECT name, direction, timing FROM metric_names ORDER BY 1",
        "SELECT m.type, m.name, c.name, c.type, c.\"notnull\", c.dflt_value, c.pk FROM sqlite_schema m "
        "LEFT JOIN pragma_table_info(m.name) c ORDER BY 1, 2, c.cid",
        "SELECT r.identity, dataset, sample, reason FROM skipped_samples k JOIN runs r ON r.id = k.run ORDER BY 1, 2, "
        "3",
        "SELECT r.identity, path, kind, sha256, bytes, attempt FROM artefacts a JOIN runs r ON r.id = a.run ORDER BY "
        "1, 2",
    };
    char *text = NULL;
    size_t count = 0;
    FILE *out = open_memstream(&text, &count);
    CHECK_OK(vmae_store_dump_metrics(store, NULL, out, NULL));
    for (size_t i = 0; i < sizeof queries / sizeof *queries; i++) {
        sqlite3_stmt *rows = NULL;
        bool row = false;
        CHECK_OK(vmae_sql_query(store, &rows, queries[i], NULL));
        fprintf(out, "-- %zu\n", i);
        while (rows && vmae_sql_step(store, rows, &row) == VMAE_OK && row) {
            for (int c = 0; c < sqlite3_column_count(rows); c++)
                if (sqlite3_column_type(rows, c) == SQLITE_FLOAT)
                    fprintf(out, "%a\t", sqlite3_column_double(rows, c));
                else
                    fprintf(out, "%s\t", sqlite3_column_type(rows, c) == SQLITE_NULL ? "NULL" : vmae_sql_text(rows, c));
            putc('\n', out);
        }
        sqlite3_finalize(rows);
    }
    fclose(out);
    return text;
}

TEST(ingest_stores_what_the_journal_says)
{
    const char *runs = synthetic_folder("basic");
    synthetic_write(runs, &pretrain);
    vmae_store *store = open_store(runs);
    REQUIRE(store);
    vmae_ingest report;
    REQUIRE_OK(vmae_store_ingest(store, runs, &report));
    CHECK_EQ(report.journals, 1);
    CHECK_EQ(report.changed, 1);
    CHECK_EQ(report.damaged, 0);
    CHECK_EQ(report.rows, 50 * 9 + 9); /* 8 k-NN rows by the tenth part, and the last step */
    CHECK_EQ(integer(store, "SELECT count(*) FROM metrics"), 50 * 9 + 9);
    CHECK_EQ(integer(store, "SELECT count(*) FROM runs WHERE identity = 'aaaa1111' AND protocol = 'pretrain' AND seed "
                            "= 1 AND status = 'done' AND last_step = 50"),
             1);
    CHECK_EQ(integer(store, "SELECT count(*) FROM config WHERE key = 'model.dim' AND value = '192'"), 1);
    CHECK_EQ(integer(store, "SELECT count(*) FROM attempts WHERE host = 'testbed' AND pid = 4242 AND revision = "
                            "'abc123' AND valid_to IS NULL"),
             1);
    CHECK_EQ(integer(store, "SELECT count(*) FROM machine_facts WHERE name = 'threads' AND value = '2'"), 1);
    CHECK_EQ(integer(store, "SELECT count(*) FROM fingerprints WHERE name = 'train' AND value = 'f00d'"), 1);
    CHECK_EQ(
        integer(store,
                "SELECT last_step FROM summaries WHERE metric = (SELECT id FROM metric_names WHERE name = 'loss')"),
        50);
    CHECK_EQ(
        integer(store,
                "SELECT count(*) FROM metric_names WHERE timing AND name IN ('step_ms', 'images_per_s', 'mem_bytes')"),
        3);
    CHECK_EQ(integer(store, "SELECT (SELECT best FROM summaries s JOIN metric_names n ON n.id = s.metric WHERE n.name "
                            "= 'loss') = (SELECT min(value) FROM metric_values WHERE metric = 'loss')"),
             1);
    CHECK_EQ(integer(store, "SELECT (SELECT best FROM summaries s JOIN metric_names n ON n.id = s.metric WHERE n.name "
                            "= 'knn_top1') = (SELECT max(value) FROM metric_values WHERE metric = 'knn_top1')"),
             1);
    REQUIRE_OK(vmae_store_ingest(store, runs, &report));
    CHECK_EQ(report.changed, 0);
    CHECK_EQ(report.rows, 0);
    vmae_store_close(store);
}

/* Two attempts with a resume, odd numbers, repeated and unordered steps, skipped samples, artefacts. */
static void write_eventful(const char *runs, const char *name)
{
    const synthetic_run run = { name, "pretrain", 3, NULL, "{\"x\":\"1\"}", NULL, 0, 0.0, NULL, NULL };
    vmae_journal *journal = NULL;
    REQUIRE_OK(vmae_make_folders(synthetic_path(runs, name)));
    REQUIRE_OK(vmae_journal_open(&journal, synthetic_path(synthetic_path(runs, name), "journal")));
    synthetic_attempt(journal, &run, 1, 0);
    for (int step = 1; step <= 10; step++)
        CHECK_OK(vmae_journal_metrics(journal, step,
                                      (vmae_metric[]){ { "loss", 10.0 - step }, { "top1", step / 100.0 } }, 2));
    CHECK_OK(vmae_journal_event(
        journal, "{\"type\":\"skipped\",\"dataset\":\"k400\",\"sample\":\"a.mp4\",\"reason\":\"no moov\"}"));
    CHECK_OK(vmae_journal_event(
        journal, "{\"type\":\"artefact\",\"kind\":\"checkpoint\",\"path\":\"last.st\",\"sha256\":\"00\",\"bytes\":7}"));
    synthetic_end(journal, "interrupted", "signal", 10);
    synthetic_attempt(journal, &run, 2, 6); /* steps 7 to 10 are taken back */
    CHECK_OK(vmae_journal_event(journal, "{\"type\":\"machine\",\"facts\":{\"algorithms\":\"one\"}}"));
    CHECK_OK(vmae_journal_event(journal, "{\"type\":\"machine\",\"facts\":{\"algorithms\":\"one, two\"}}"));
    for (int step = 7; step <= 9; step++)
        CHECK_OK(vmae_journal_metrics(journal, step, (vmae_metric[]){ { "loss", 20.0 - step }, { "top1", 0.5 } }, 2));
    CHECK_OK(vmae_journal_metrics(journal, 9, (vmae_metric[]){ { "loss", 3.5 } }, 1));  /* said again */
    CHECK_OK(vmae_journal_metrics(journal, 8, (vmae_metric[]){ { "extra", 1.0 } }, 1)); /* a new name, out of order */
    CHECK_OK(vmae_journal_metrics(journal, 12,
                                  (vmae_metric[]){ { "loss", NAN }, { "top1", INFINITY }, { "extra", -INFINITY } }, 3));
    CHECK_OK(vmae_journal_event(
        journal, "{\"type\":\"skipped\",\"dataset\":\"k400\",\"sample\":\"a.mp4\",\"reason\":\"no moov\"}"));
    CHECK_OK(vmae_journal_event(journal, "{\"type\":\"from the future\",\"x\":[1,2,3]}"));
    synthetic_end(journal, "diverged", "loss is not finite", 12);
    CHECK_OK(vmae_journal_close(journal));
}

TEST(a_resumed_attempt_supersedes_rows_but_keeps_them)
{
    const char *runs = synthetic_folder("resumed");
    write_eventful(runs, "bbbb2222");
    vmae_store *store = open_store(runs);
    REQUIRE(store);
    REQUIRE_OK(vmae_store_ingest(store, runs, NULL));
    CHECK_EQ(integer(store, "SELECT count(*) FROM metrics WHERE attempt = 1"), 20);
    CHECK_EQ(integer(store, "SELECT count(*) FROM metric_values WHERE metric = 'loss'"), 6 + 3 + 1);
    CHECK_EQ(integer(store, "SELECT count(*) FROM metric_values WHERE metric = 'loss' AND step > 6 AND value < 3.4"),
             0);
    CHECK_EQ(integer(store, "SELECT value * 10 FROM metric_values WHERE metric = 'loss' AND step = 9"), 35);
    CHECK_EQ(integer(store, "SELECT valid_to FROM attempts WHERE attempt = 1"), 6);
    CHECK_EQ(integer(store, "SELECT count(*) FROM skipped_samples"), 1);
    CHECK_EQ(integer(store, "SELECT count(*) FROM artefacts WHERE bytes = 7"), 1);
    CHECK_EQ(integer(store, "SELECT count(*) FROM machine_facts WHERE name = 'algorithms' AND value = 'one, two' AND "
                            "attempt = 2"),
             1);
    CHECK_EQ(integer(store, "SELECT count(*) FROM machine_facts WHERE name = 'algorithms'"), 1);
    CHECK_EQ(integer(store, "SELECT count(*) FROM runs WHERE status = 'diverged' AND message = 'loss is not finite' "
                            "AND last_step = 12"),
             1);
    CHECK_EQ(integer(store, "SELECT best = 3.5 AND best_step = 9 AND count = 10 AND last IS NULL AND last_special = 1 "
                            "FROM summaries WHERE metric = (SELECT id FROM metric_names WHERE name = 'loss')"),
             1);
    CHECK_EQ(integer(store, "SELECT best = 0.5 AND best_step = 7 FROM summaries WHERE metric = (SELECT id FROM "
                            "metric_names WHERE name = 'top1')"),
             1);
    vmae_store_close(store);
}

TEST(nan_and_infinities_are_kept_apart)
{
    const char *runs = synthetic_folder("special");
    write_eventful(runs, "cccc3333");
    vmae_store *store = open_store(runs);
    REQUIRE(store);
    REQUIRE_OK(vmae_store_ingest(store, runs, NULL));
    CHECK_EQ(integer(store, "SELECT count(*) FROM metrics WHERE step = 12 AND value IS NULL AND special = 1"), 1);
    CHECK_EQ(integer(store, "SELECT count(*) FROM metrics WHERE step = 12 AND value IS NULL AND special = 2"), 1);
    CHECK_EQ(integer(store, "SELECT count(*) FROM metrics WHERE step = 12 AND value IS NULL AND special = 3"), 1);
    char *text = content(store);
    CHECK_STR(text, "cccc3333\textra\t12\t-inf\n");
    CHECK_STR(text, "cccc3333\tloss\t12\tnan\n");
    CHECK_STR(text, "cccc3333\tloss\t1\t0x1.2p+3\n");
    CHECK_STR(text, "cccc3333\ttop1\t12\tinf\n");
    free(text);
    vmae_store_close(store);
}

/* The heart of it: cut the journal anywhere, ingest, let it grow, ingest: the same content as in one go. */
TEST(incremental_ingest_at_any_point_equals_one_ingest)
{
    const char *whole = synthetic_folder("whole");
    char source[600], copy[600];
    write_eventful(whole, "dddd4444");
    vmae_store *store = open_store(whole);
    REQUIRE(store);
    REQUIRE_OK(vmae_store_ingest(store, whole, NULL));
    char *expected = content(store);
    vmae_store_close(store);
    snprintf(source, sizeof source, "%s", synthetic_path(whole, "dddd4444/journal"));
    const long size = synthetic_size(source);
    REQUIRE(size > 1000);
    for (int trial = 0; trial < 12; trial++) {
        const char *runs = synthetic_folder("pieces");
        snprintf(copy, sizeof copy, "%s", synthetic_path(runs, "dddd4444/journal"));
        CHECK_OK(vmae_make_folders(synthetic_path(runs, "dddd4444")));
        store = open_store(runs);
        REQUIRE(store);
        for (long cut = trial * 7; cut < size; cut += 61 + trial * 37) { /* most cuts tear a record */
            synthetic_copy(source, copy, cut);
            CHECK_OK(vmae_store_ingest(store, runs, NULL));
        }
        synthetic_copy(source, copy, size);
        vmae_ingest report = { 0 };
        CHECK_OK(vmae_store_ingest(store, runs, &report));
        CHECK_EQ(report.damaged, 0);
        char *got = content(store);
        CHECK(strcmp(got, expected) == 0);
        free(got);
        vmae_store_close(store);
    }
    free(expected);
}

TEST(a_torn_tail_is_no_damage)
{
    const char *runs = synthetic_folder("torn");
    synthetic_write(runs, &pretrain);
    const char *path = synthetic_path(runs, "aaaa1111/journal");
    REQUIRE(truncate(path, synthetic_size(path) - 3) == 0);
    vmae_store *store = open_store(runs);
    REQUIRE(store);
    vmae_ingest report;
    REQUIRE_OK(vmae_store_ingest(store, runs, &report));
    CHECK_EQ(report.damaged, 0);
    CHECK_EQ(integer(store, "SELECT count(*) FROM runs WHERE status = 'running'"),
             1); /* the end was in the torn record */
    vmae_store_close(store);
}

TEST(a_damaged_journal_is_named_and_does_not_stop_the_others)
{
    const char *runs = synthetic_folder("damaged");
    synthetic_run other = pretrain;
    synthetic_write(runs, &pretrain);
    other.identity = "eeee5555";
    synthetic_write(runs, &other);
    char *bytes = NULL;
    size_t count = 0;
    const char *path = synthetic_path(runs, "aaaa1111/journal");
    REQUIRE_OK(vmae_read_file(path, 1 << 20, &bytes, &count));
    bytes[count / 2] ^= 0x40;
    REQUIRE_OK(vmae_write_file(path, bytes, count));
    vmae_store *store = open_store(runs);
    REQUIRE(store);
    vmae_ingest report;
    REQUIRE_OK(vmae_store_ingest(store, runs, &report));
    CHECK_EQ(report.damaged, 1);
    CHECK_EQ(report.journals, 2);
    CHECK_EQ(integer(store, "SELECT count(*) FROM runs WHERE identity = 'aaaa1111' AND damage IS NOT NULL"), 1);
    CHECK(integer(store,
                  "SELECT count(*) FROM metrics AS m JOIN runs AS r ON r.id = m.run WHERE r.identity = 'aaaa1111'") >
          50); /* up to there */
    CHECK_EQ(integer(store,
                     "SELECT count(*) FROM metrics AS m JOIN runs AS r ON r.id = m.run WHERE r.identity = 'eeee5555'"),
             50 * 9 + 9);
    REQUIRE_OK(vmae_store_ingest(store, runs, &report)); /* said again, not read again */
    CHECK_EQ(report.damaged, 1);
    CHECK_EQ(report.changed, 0);
    bytes[count / 2] ^= 0x40; /* mended: goes on where it stopped */
    REQUIRE_OK(vmae_write_file(path, bytes, count));
    REQUIRE_OK(vmae_store_ingest(store, runs, &report));
    CHECK_EQ(report.damaged, 0);
    CHECK_EQ(integer(store, "SELECT count(*) FROM runs WHERE damage IS NOT NULL"), 0);
    CHECK_EQ(integer(store, "SELECT count(*) FROM metrics"), 2 * (50 * 9 + 9));
    free(bytes);
    vmae_store_close(store);
}

/* Events with a good checksum that make no sense: reported, never crash. */
TEST(nonsense_events_are_damage_with_a_place)
{
    static const char *const events[] = { "{\"type\":7}",
                                          "[]",
                                          "{\"no\":\"type\"}",
                                          "{\"type\":\"artefact\"}",
                                          "{\"type\":\"run\",\"identity\":\"other\"}",
                                          "{\"type\":\"run\",\"identity\":\"../../etc\"}",
                                          "{\"type\":\"run\"}" };
    for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
        const char *runs = synthetic_folder("nonsense");
        synthetic_write(runs, &pretrain);
        vmae_journal *journal = NULL;
        REQUIRE_OK(vmae_journal_open(&journal, synthetic_path(runs, "aaaa1111/journal")));
        if (vmae_journal_event(journal, events[i]) != VMAE_OK) { /* the writer may refuse it itself */
            CHECK_OK(vmae_journal_close(journal));
            continue;
        }
        CHECK_OK(vmae_journal_close(journal));
        vmae_store *store = open_store(runs);
        REQUIRE(store);
        vmae_ingest report;
        CHECK_OK(vmae_store_ingest(store, runs, &report));
        CHECK_EQ(report.damaged, 1);
        CHECK_EQ(integer(store, "SELECT count(*) FROM runs WHERE damage LIKE '%byte%'"), 1);
        vmae_store_close(store);
    }
}

TEST(a_journal_that_is_no_journal_is_reported)
{
    const char *runs = synthetic_folder("foreign");
    REQUIRE_OK(vmae_make_folders(synthetic_path(runs, "x")));
    REQUIRE_OK(vmae_write_file(synthetic_path(runs, "x/journal"), "hello, I am a text file\n", 24));
    REQUIRE_OK(vmae_make_folders(synthetic_path(runs, "empty")));
    REQUIRE_OK(vmae_write_file(synthetic_path(runs, "empty/journal"), "", 0));
    REQUIRE_OK(vmae_make_folders(synthetic_path(runs, "folder/journal")));
    vmae_store *store = open_store(runs);
    REQUIRE(store);
    vmae_ingest report;
    REQUIRE_OK(vmae_store_ingest(store, runs, &report));
    CHECK_EQ(report.damaged, 1);
    CHECK_EQ(report.journals, 2);
    CHECK_EQ(integer(store, "SELECT count(*) FROM runs"), 0);
    CHECK_FAILS(vmae_store_ingest(store, synthetic_path(runs, "nowhere"), &report), VMAE_EUSER, "nowhere");
    vmae_store_close(store);
}

TEST(a_run_done_again_from_the_start_replaces_its_rows)
{
    const char *runs = synthetic_folder("again");
    synthetic_write(runs, &pretrain);
    vmae_store *store = open_store(runs);
    REQUIRE(store);
    REQUIRE_OK(vmae_store_ingest(store, runs, NULL));
    const int64_t id = integer(store, "SELECT id FROM runs");
    synthetic_run shorter = pretrain;
    shorter.steps = 20;
    REQUIRE(unlink(synthetic_path(runs, "aaaa1111/journal")) == 0);
    synthetic_write(runs, &shorter);
    REQUIRE_OK(vmae_store_ingest(store, runs, NULL));
    CHECK_EQ(integer(store, "SELECT max(step) FROM metrics"), 20);
    CHECK_EQ(integer(store, "SELECT id FROM runs"), id);
    vmae_store_close(store);
}

TEST(a_moved_run_is_followed_and_a_copied_one_is_refused)
{
    const char *runs = synthetic_folder("moved"), *other = synthetic_folder("elsewhere");
    synthetic_write(runs, &pretrain);
    vmae_store *store = open_store(runs);
    REQUIRE(store);
    REQUIRE_OK(vmae_store_ingest(store, runs, NULL));
    vmae_ingest report;
    REQUIRE_OK(vmae_make_folders(synthetic_path(other, "aaaa1111")));
    synthetic_copy(synthetic_path(runs, "aaaa1111/journal"), synthetic_path(other, "aaaa1111/journal"), -1);
    REQUIRE_OK(vmae_store_ingest(store, other, &report));
    CHECK_EQ(report.damaged, 1); /* a copy */
    CHECK_EQ(integer(store, "SELECT count(*) FROM runs"), 1);
    REQUIRE(unlink(synthetic_path(runs, "aaaa1111/journal")) == 0);
    REQUIRE_OK(vmae_store_ingest(store, other, &report));
    CHECK_EQ(report.damaged, 0);
    CHECK_EQ(integer(store, "SELECT count(*) FROM runs WHERE folder LIKE '%elsewhere%'"), 1);
    CHECK_EQ(integer(store, "SELECT count(*) FROM metrics"), 50 * 9 + 9);
    vmae_store_close(store);
}

TEST(two_processes_ingest_at_once)
{
    const char *runs = synthetic_folder("two");
    char names[24][16];
    for (int i = 0; i < 24; i++) {
        synthetic_run run = pretrain;
        snprintf(names[i], sizeof names[i], "run%04d", i);
        run.identity = names[i];
        synthetic_write(runs, &run);
    }
    pid_t children[3];
    for (int i = 0; i < 3; i++) { /* also race for making the database */
        children[i] = fork();
        if (children[i] == 0) {
            vmae_store *store = NULL;
            vmae_status st = vmae_store_open(&store, synthetic_path(runs, "results.db"), VMAE_STORE_UPDATE);
            for (int k = 0; k < 3 && st == VMAE_OK; k++)
                st = vmae_store_ingest(store, runs, NULL);
            if (st != VMAE_OK)
                fprintf(stderr, "%s\n", vmae_error());
            vmae_store_close(store);
            _exit(st == VMAE_OK ? 0 : 1);
        }
    }
    for (int i = 0; i < 3; i++) {
        int ended = 1;
        CHECK(waitpid(children[i], &ended, 0) == children[i] && WIFEXITED(ended) && WEXITSTATUS(ended) == 0);
    }
    vmae_store *store = open_store(runs);
    REQUIRE(store);
    CHECK_EQ(integer(store, "SELECT count(*) FROM runs"), 24);
    CHECK_EQ(integer(store, "SELECT count(*) FROM metrics"), 24 * (50 * 9 + 9));
    CHECK_EQ(integer(store, "SELECT count(*) FROM paper WHERE tbl = 'table3a' AND col = 'top1'"), 5);
    vmae_store_close(store);
}

TEST(a_reader_in_the_way_does_not_stop_the_collector)
{
    const char *runs = synthetic_folder("reader");
    synthetic_write(runs, &pretrain);
    vmae_store *store = open_store(runs), *reader = NULL;
    REQUIRE(store);
    REQUIRE_OK(vmae_store_open(&reader, synthetic_path(runs, "results.db"), VMAE_STORE_READ));
    CHECK(vmae_store_read_only(reader));
    REQUIRE_OK(vmae_sql_script(reader, "BEGIN"));
    CHECK_EQ(integer(reader, "SELECT count(*) FROM runs"), 0);
    REQUIRE_OK(vmae_store_ingest(store, runs, NULL));
    CHECK_EQ(integer(reader, "SELECT count(*) FROM runs"), 0); /* its snapshot */
    REQUIRE_OK(vmae_sql_script(reader, "COMMIT"));
    CHECK_EQ(integer(reader, "SELECT count(*) FROM runs"), 1);
    CHECK_FAILS(vmae_store_ingest(reader, runs, NULL), VMAE_EUSER, "for reading");
    CHECK(vmae_sql_script(reader, "DELETE FROM runs") != VMAE_OK);
    vmae_store_close(reader);
    vmae_store_close(store);
}

/* As another user in a folder that cannot be written: needs to start as root, or to be no root at all. */
static int read_only_child(const char *runs)
{
    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
        return 77;
    vmae_store *store = NULL;
    int64_t count = 0;
    if (vmae_store_open(&store, synthetic_path(runs, "results.db"), VMAE_STORE_UPDATE) != VMAE_OK)
        return fprintf(stderr, "  %s\n", vmae_error()), 1;
    if (!vmae_store_read_only(store) ||
        vmae_sql_integer(store, &count, 0, "SELECT count(*) FROM metrics", NULL) != VMAE_OK || count < 400)
        return 2;
    if (vmae_store_ingest(store, runs, NULL) != VMAE_EUSER)
        return 3;
    vmae_store_close(store);
    if (vmae_store_open(&store, synthetic_path(runs, "new.db"), VMAE_STORE_UPDATE) != VMAE_EUSER ||
        !strstr(vmae_error(), "cannot be written"))
        return 4;
    return 0;
}

TEST(a_database_in_a_read_only_folder_opens)
{
    const char *runs = synthetic_folder("sealed");
    synthetic_write(runs, &pretrain);
    vmae_store *store = open_store(runs);
    REQUIRE(store);
    REQUIRE_OK(vmae_store_ingest(store, runs, NULL));
    CHECK_STR(vmae_store_journal_mode(store), "wal");
    vmae_store_close(store);
    REQUIRE(chmod(vmae_test_folder(), 0755) == 0 && chmod(runs, 0555) == 0 &&
            chmod(synthetic_path(runs, "results.db"), 0444) == 0);
    const pid_t child = fork();
    if (child == 0)
        _exit(read_only_child(runs));
    int ended = 1;
    waitpid(child, &ended, 0);
    chmod(runs, 0755);
    if (WIFEXITED(ended) && WEXITSTATUS(ended) == 77)
        SKIP("cannot become another user");
    CHECK_EQ(WIFEXITED(ended) ? WEXITSTATUS(ended) : -1, 0);
}

static int disk_full_child(const char *runs)
{
    vmae_store *store = NULL;
    signal(SIGXFSZ, SIG_IGN);
    if (vmae_store_open(&store, synthetic_path(runs, "results.db"), VMAE_STORE_UPDATE) != VMAE_OK)
        return 1;
    const struct rlimit limit = { 300 << 10, 300 << 10 };
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
        return 2;
    const vmae_status st = vmae_store_ingest(store, runs, NULL);
    if (st != VMAE_EIO)
        return fprintf(stderr, "  status %d: %s\n", (int)st, vmae_error()), 3;
    vmae_store_close(store);
    return 0;
}

TEST(a_full_disk_is_a_clear_failure_and_nothing_is_lost)
{
    const char *runs = synthetic_folder("full");
    synthetic_run big = pretrain;
    big.steps = 3000;
    synthetic_write(runs, &big);
    vmae_store *store = open_store(runs);
    vmae_store_close(store);
    const pid_t child = fork();
    if (child == 0)
        _exit(disk_full_child(runs));
    int ended = 1;
    waitpid(child, &ended, 0);
    CHECK_EQ(WIFEXITED(ended) ? WEXITSTATUS(ended) : -1, 0);
    store = open_store(runs); /* space again */
    REQUIRE(store);
    REQUIRE_OK(vmae_store_ingest(store, runs, NULL));
    CHECK_EQ(integer(store, "SELECT count(*) FROM metric_values WHERE metric = 'loss'"), 3000);
    sqlite3_stmt *row = NULL;
    bool found = false;
    REQUIRE_OK(vmae_sql_query(store, &row, "PRAGMA integrity_check", NULL));
    CHECK_OK(vmae_sql_step(store, row, &found));
    CHECK_STR(vmae_sql_text(row, 0), "ok");
    sqlite3_finalize(row);
    vmae_store_close(store);
}

TEST(other_peoples_and_newer_databases_are_refused)
{
    const char *folder = synthetic_folder("versions");
    vmae_store *store = NULL;
    sqlite3 *db = NULL;
    const char *path = synthetic_path(folder, "foreign.db");
    REQUIRE(sqlite3_open(path, &db) == SQLITE_OK &&
            sqlite3_exec(db, "CREATE TABLE t (x)", NULL, NULL, NULL) == SQLITE_OK);
    sqlite3_close(db);
    CHECK_FAILS(vmae_store_open(&store, path, VMAE_STORE_UPDATE), VMAE_EUSER, "not one of vicmae's");
    CHECK_FAILS(vmae_store_open(&store, path, VMAE_STORE_READ), VMAE_EUSER, "not one of vicmae's");
    path = synthetic_path(folder, "newer.db");
    REQUIRE_OK(vmae_store_open(&store, path, VMAE_STORE_UPDATE));
    CHECK_OK(vmae_sql_script(store, "PRAGMA user_version = 99"));
    vmae_store_close(store);
    store = NULL;
    CHECK_FAILS(vmae_store_open(&store, path, VMAE_STORE_UPDATE), VMAE_EUSER, "newer vicmae");
    CHECK_FAILS(vmae_store_open(&store, synthetic_path(folder, "none.db"), VMAE_STORE_READ), VMAE_EUSER,
                "there is no results database");
    CHECK_FAILS(vmae_store_open(&store, synthetic_path(folder, "no/where.db"), VMAE_STORE_UPDATE), VMAE_EUSER,
                "does not exist");
    path = synthetic_path(folder, "text.db");
    REQUIRE_OK(vmae_write_file(
        path, "this is certainly not an SQLite database, is it? not at all, not even by a long way. no. no.", 90));
    CHECK_FAILS(vmae_store_open(&store, path, VMAE_STORE_UPDATE), VMAE_EDATA, "not a database");
    CHECK(store == NULL);
}

TEST(network_file_systems_are_recognised)
{
    CHECK_STR(vmae_remote_file_system(0x6969), "NFS");
    CHECK_STR(vmae_remote_file_system((int)0xff534d42), "CIFS"); /* as a negative number, too */
    CHECK_STR(vmae_remote_file_system(0x01021997), "9p");
    CHECK_STR(vmae_remote_file_system(0x65735546), "FUSE");
    CHECK_STR(vmae_remote_file_system(0x0bd00bd0), "Lustre");
    CHECK(vmae_remote_file_system(0xef53) == NULL);
    CHECK(vmae_remote_file_system(0x01021994) == NULL);
}

/* SQLite's dot-file locks stand in for a network file system: WAL is refused there without an error. */
TEST(where_sqlite_cannot_use_wal_the_answer_is_read)
{
    const char *runs = synthetic_folder("dotfile");
    char uri[700];
    synthetic_write(runs, &pretrain);
    snprintf(uri, sizeof uri, "file:%s?vfs=unix-dotfile", synthetic_path(runs, "results.db"));
    vmae_store *store = NULL;
    REQUIRE_OK(vmae_store_open(&store, uri, VMAE_STORE_UPDATE));
    CHECK_STR(vmae_store_journal_mode(store), "delete");
    CHECK_OK(vmae_store_ingest(store, runs, NULL));
    CHECK_EQ(integer(store, "SELECT count(*) FROM runs"), 1);
    vmae_store_close(store);
}

TEST(runs_are_found_by_number_and_prefix)
{
    const char *runs = synthetic_folder("find");
    static const char *const names[] = { "abcd0001", "abcd0002", "abce0003", "12345678" };
    for (int i = 0; i < 4; i++) {
        synthetic_run run = pretrain;
        run.identity = names[i];
        run.steps = 2;
        synthetic_write(runs, &run);
    }
    vmae_store *store = open_store(runs);
    REQUIRE(store);
    REQUIRE_OK(vmae_store_ingest(store, runs, NULL));
    vmae_stored_run run = { 0 };
    CHECK_OK(vmae_run_find(store, "abce", &run));
    CHECK(strcmp(run.identity, "abce0003") == 0);
    CHECK_OK(vmae_run_find(store, "1", &run)); /* a number goes before a prefix */
    CHECK(run.id == 1);
    CHECK_OK(vmae_run_find(store, "123", &run));
    CHECK(strcmp(run.identity, "12345678") == 0);
    CHECK_OK(vmae_run_find(store, "abcd0002", &run));
    CHECK(strcmp(run.identity, "abcd0002") == 0);
    CHECK_FAILS(vmae_run_find(store, "abc", &run), VMAE_EUSER, "abcd0001");
    CHECK_STR(vmae_error(), "abce0003");
    CHECK_FAILS(vmae_run_find(store, "ffff", &run), VMAE_EUSER, "no run is called ffff");
    CHECK_FAILS(vmae_run_find(store, "%", &run), VMAE_EUSER, "no run is called %");
    CHECK_FAILS(vmae_run_find(store, "", &run), VMAE_EUSER, "no run is called ");
    vmae_store_close(store);
}

TEST(a_dead_process_is_told_from_a_living_one)
{
    char host[256] = "";
    const double now = vmae_wall_seconds();
    gethostname(host, sizeof host - 1);
    CHECK_EQ(vmae_process_liveness(host, NULL, getpid(), NAN), VMAE_ALIVE);
    CHECK_EQ(vmae_process_liveness(host, NULL, getpid(), now), VMAE_ALIVE);
    CHECK_EQ(vmae_process_liveness(host, "another boot", getpid(), now), VMAE_DEAD);
    CHECK_EQ(vmae_process_liveness("another host", NULL, getpid(), now), VMAE_ELSEWHERE);
    CHECK_EQ(vmae_process_liveness(NULL, NULL, getpid(), now), VMAE_ELSEWHERE);
    CHECK_EQ(vmae_process_liveness(host, NULL, getpid(), now - 3600.0),
             VMAE_DEAD); /* this process began long after: the number was given away again */
    const pid_t child = fork();
    if (child == 0)
        _exit(0);
    siginfo_t info;
    waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT); /* ended, not yet collected: a zombie */
    CHECK_EQ(vmae_process_liveness(host, NULL, child, now), VMAE_DEAD);
    waitpid(child, NULL, 0);
    CHECK_EQ(vmae_process_liveness(host, NULL, child, now), VMAE_DEAD);
}

/* The schema as it was released, filled as it would have been; what it cannot know is read from the journals. */
TEST(a_database_of_version_1_becomes_one_of_today)
{
    const char *runs = synthetic_folder("migrated");
    char path[600], *schema = NULL, *texts[2] = { NULL, NULL }, sql[2000];
    size_t count = 0;
    sqlite3 *db = NULL;
    synthetic_sweep(runs);
    snprintf(path, sizeof path, "%s", synthetic_path(runs, "results.db"));
    REQUIRE_OK(vmae_read_file("tests/results/schema_1.sql", 1 << 20, &schema, &count));
    REQUIRE(sqlite3_open(path, &db) == SQLITE_OK);
    snprintf(
        sql, sizeof sql,
        "PRAGMA application_id = 1447903557;"
        "INSERT INTO runs VALUES (7, 'ba015eed0123456789abcdef', '%s', 'probe', 1, 'done', NULL, 20, NULL);"
        "INSERT INTO config VALUES (7, 'threads', '2');"
        "INSERT INTO metric_names VALUES (1, 'step_ms', NULL, 1), (2, 'images_per_s', NULL, 1), (3, 'loss', 'min', 0);"
        "INSERT INTO journals VALUES (7, 100, 100, 60, 40, 1);"
        "INSERT INTO sweeps VALUES (1, 'table3', 'demo', '', '', '', 'x')",
        synthetic_path(runs, "ba015eed0123456789abcdef"));
    char *message = NULL;
    CHECK(sqlite3_exec(db, schema, NULL, NULL, &message) == SQLITE_OK &&
          sqlite3_exec(db, sql, NULL, NULL, &message) == SQLITE_OK);
    if (message)
        printf("  %s\n", message);
    sqlite3_free(message);
    sqlite3_close(db);
    free(schema);
    for (int fresh = 0; fresh < 2; fresh++) {
        vmae_store *store = NULL;
        if (fresh)
            snprintf(path, sizeof path, "%s", synthetic_path(runs, "fresh.db"));
        else
            CHECK_FAILS(vmae_store_open(&store, path, VMAE_STORE_READ), VMAE_EUSER, "has schema version 1");
        REQUIRE_OK(vmae_store_open(&store, path, VMAE_STORE_UPDATE));
        CHECK_OK(vmae_store_ingest(store, runs, NULL));
        texts[fresh] = content(store);
        vmae_store_close(store);
    }
    CHECK(strcmp(texts[0], texts[1]) == 0);
    free(texts[0]);
    free(texts[1]);
}

TEST(the_collectors_speed_is_printed)
{
    enum { STEPS = 30000, METRICS = 10 };
    const char *runs = synthetic_folder("speed");
    const synthetic_run run = { "ffff0000", "pretrain", 1, NULL, NULL, NULL, 0, 0.0, NULL, NULL };
    vmae_journal *journal = NULL;
    REQUIRE_OK(vmae_make_folders(synthetic_path(runs, run.identity)));
    REQUIRE_OK(vmae_journal_open(&journal, synthetic_path(synthetic_path(runs, run.identity), "journal")));
    synthetic_attempt(journal, &run, 1, 0);
    static const char *const names[METRICS] = {
        "loss",      "loss_recon", "loss_contrast", "lambda",       "lr",
        "grad_norm", "step_ms",    "images_per_s",  "gflops_per_s", "mem_bytes"
    };
    vmae_metric metrics[METRICS];
    bool fine = true;
    for (int step = 1; step <= STEPS; step++) {
        for (int i = 0; i < METRICS; i++)
            metrics[i] = (vmae_metric){ names[i], sin(step * 0.001 * (i + 1)) + i };
        fine = vmae_journal_metrics(journal, step, metrics, METRICS) == VMAE_OK && fine;
    }
    CHECK(fine);
    CHECK_OK(vmae_journal_close(journal));
    vmae_store *store = open_store(runs);
    REQUIRE(store);
    vmae_ingest report;
    REQUIRE_OK(vmae_store_ingest(store, runs, &report));
    CHECK_EQ(report.rows, STEPS * METRICS);
    CHECK_EQ(integer(store, "SELECT count(*) FROM metrics"), STEPS * METRICS);
    vmae_store_close(store);
    printf("  %.0f values a second, %.1f bytes a value\n", (double)report.rows / report.seconds,
           (double)synthetic_size(synthetic_path(runs, "results.db")) / (double)report.rows);
}

TEST(sweeps_are_checked_field_by_field)
{
    static const struct {
        const char *text, *part;
    } wrong[] = {
        { "", "x.json" },
        { "{", "x.json" },
        { "{\"version\":2}", "version" },
        { "{\"version\":1,\"scale\":\"demo\",\"grids\":[]}", "sweep" },
        { "{\"version\":1,\"sweep\":\"s\",\"grids\":[]}", "scale" },
        { "{\"version\":1,\"sweep\":\"s\",\"scale\":\"demo\"}", "grids" },
        { "{\"version\":1,\"sweep\":\"s\",\"scale\":\"demo\",\"grids\":[{}]}", "grid 1" },
        { "{\"version\":1,\"sweep\":\"s\",\"scale\":\"demo\",\"grids\":[],\"overrides\":{}}", "overrides" },
        { "{\"version\":1,\"sweep\":\"s\",\"scale\":\"demo\",\"grids\":[],\"overrides_of_speed\":[1]}",
          "overrides_of_speed" },
        { "{\"version\":1,\"sweep\":\"s\",\"scale\":\"demo\",\"grids\":[{\"name\":\"a\",\"title\":\"t\",\"stage\":"
          "\"p\",\"metrics\":[],\"rows\":[{\"label\":\"l\",\"cells\":[{\"seed\":1.5}]}]}]}",
          "seed" },
        { "{\"version\":1,\"sweep\":\"s\",\"scale\":\"demo\",\"grids\":[{\"name\":\"a\",\"title\":\"t\",\"stage\":"
          "\"p\",\"metrics\":[],\"rows\":[{\"label\":\"l\",\"cells\":[{\"seed\":1,\"runs\":{\"p\":7}}]}]}]}",
          "stage p" },
        { "{\"version\":1,\"sweep\":\"s\",\"scale\":\"demo\",\"grids\":[{\"name\":\"a\",\"title\":\"t\",\"stage\":"
          "\"p\",\"metrics\":[],\"rows\":[]},{\"name\":\"a\",\"title\":\"t\",\"stage\":\"p\",\"metrics\":[],\"rows\":[]"
          "}]}",
          "twice" },
    };
    const char *runs = synthetic_folder("badsweep");
    char path[600];
    snprintf(path, sizeof path, "%s", synthetic_path(runs, "x.json"));
    vmae_store *store = open_store(runs);
    REQUIRE(store);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        CHECK_OK(vmae_write_file(path, wrong[i].text, strlen(wrong[i].text)));
        CHECK_FAILS(vmae_store_ingest_sweep(store, path), VMAE_EDATA, wrong[i].part);
        CHECK_EQ(integer(store, "SELECT count(*) FROM sweeps"), 0);
    }
    CHECK_FAILS(vmae_store_ingest_sweep(store, synthetic_path(runs, "gone.json")), VMAE_EUSER, "gone.json");
    vmae_store_close(store);
}
