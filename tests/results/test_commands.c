/* test_commands.c -- the program as a person or a script meets it: output, exit codes. */
#include "tests/results/program.h"
#include "tests/results/synthetic.h"
#include "tests/test.h"

#include "engine/core/fs.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *runs_folder(void)
{
    static const char *runs;
    if (!runs) {
        runs = synthetic_folder("commands");
        synthetic_sweep(runs);
    }
    return runs;
}

#define RUN(...) program_run(&out, runs_folder(), (const char *const[]){ __VA_ARGS__, NULL })

static program_outcome out; /* too large for the stack */

TEST(list_shows_runs_and_filters_them)
{
    RUN("ingest");
    CHECK_EQ(out.code, 0);
    CHECK_STR(out.text, "63 runs, 63 with news");
    RUN("ingest");
    CHECK_STR(out.text, "63 runs, 0 with news, 0 values");
    RUN("list");
    CHECK_EQ(out.code, 0);
    CHECK_STR(out.text, "id  run           protocol  seed  status    step  time     top1  knn_top1     loss\n");
    CHECK_STR(out.text, "aa325eed0123  pretrain     2  diverged   400  48 s");
    RUN("list", "--status", "diverged,failed", "--csv");
    CHECK_EQ(out.code, 0);
    CHECK_STR(out.text, "aa325eed0123456789abcdef,pretrain,2,diverged,400,");
    CHECK(strchr(strchr(out.text, '\n') + 1, '\n')[1] == 0); /* one row */
    RUN("list", "--where", "data.separation=D", "--where", "seed>=2", "--json");
    json_t *root = json_loads(out.text, 0, NULL);
    CHECK_EQ(json_array_size(root), 2);
    json_decref(root);
    RUN("list", "--where", "model.mask_ratio<0.5");
    CHECK_EQ(out.code, 3);
    RUN("list", "--where", "model.maskratio=1");
    CHECK_EQ(out.code, 2);
    CHECK_STR(out.text, "did you mean model.mask_ratio");
    RUN("list", "--sweep", "table3", "--protocol", "probe", "--keys", "probe.epochs", "--metrics", "top5");
    CHECK_EQ(out.code, 0);
    CHECK_STR(out.text, "top5  probe.epochs\n");
    RUN("list", "--frobnicate");
    CHECK_EQ(out.code, 2);
}

TEST(show_has_everything_and_the_log_of_a_failed_run)
{
    RUN("show", "aa325");
    CHECK_EQ(out.code, 0);
    CHECK_STR(out.text, "diverged at step 400");
    CHECK_STR(out.text, "Testium 9000");
    CHECK_STR(out.text, "data.separation   8");
    CHECK_STR(out.text, "starting\nstep 1\nloss is not finite at step 120\n");
    RUN("show", "ba01", "--json");
    json_t *root = json_loads(out.text, 0, NULL);
    REQUIRE(json_is_object(root));
    CHECK_STR(json_string_value(json_object_get(json_array_get(json_object_get(root, "parents"), 0), "identity")),
              "aa015eed");
    CHECK_EQ(json_array_size(json_object_get(root, "attempts")), 1);
    json_decref(root);
    RUN("show", "aa");
    CHECK_EQ(out.code, 2);
    CHECK_STR(out.text, "several runs");
    CHECK_STR(out.text, "aa015eed01234567  pretrain seed 1, done");
    RUN("show", "ba01", "--csv");
    CHECK_EQ(out.code, 2);
    CHECK_STR(out.text, "text, md or json");
    RUN("show");
    CHECK_EQ(out.code, 2);
}

TEST(diff_shows_settings_of_parents_too)
{
    RUN("diff", "ba01", "ba41");
    CHECK_EQ(out.code, 0);
    CHECK_STR(out.text, "pretrain/data.separation  0");
    CHECK(!strstr(out.text, "mask_ratio"));
    RUN("diff", "ba01", "ba01");
    CHECK_EQ(out.code, 0);
    CHECK_STR(out.text, "nothing differs");
    RUN("diff", "ba01", "ba41", "--all", "--csv");
    CHECK_STR(out.text, "pretrain/model.mask_ratio,0.75,0.75,\n");
    RUN("diff", "ba01");
    CHECK_EQ(out.code, 2);
}

TEST(compare_adds_other_seeds_and_gives_a_verdict)
{
    RUN("compare", "ba01", "ba41", "ba21");
    CHECK_EQ(out.code, 0);
    CHECK_STR(out.text, "real: better  paired by seed  pretrain/data.separation=D");
    CHECK_STR(out.text, "6 finished runs with the same settings");
    RUN("compare", "ba01", "ba41", "--only");
    CHECK_STR(out.text, "can't tell (n=1)");
    RUN("compare", "ba11", "ba21", "--metric", "top1", "--json");
    json_t *root = json_loads(out.text, 0, NULL);
    REQUIRE(json_array_size(root) == 2);
    CHECK_STR(json_string_value(json_object_get(json_array_get(root, 1), "verdict")), "noise");
    CHECK_EQ(json_integer_value(json_object_get(json_array_get(root, 1), "n")), 3);
    json_decref(root);
    RUN("compare", "ba01", "ba02");
    CHECK_STR(out.text, "nothing but the seed");
    RUN("compare", "ba01", "--metric", "mem_bytes"); /* only pre-training measures it */
    CHECK_STR(out.text, "no numbers");
}

TEST(sql_reads_and_never_writes)
{
    RUN("sql", "SELECT protocol, count(*) AS n FROM runs GROUP BY 1", "--csv");
    CHECK_EQ(out.code, 0);
    CHECK_STR(out.text, "protocol,n\npretrain,32\nprobe,31\n");
    static const char *const refused[] = { "DELETE FROM runs",
                                           "INSERT INTO runs (identity) VALUES ('x')",
                                           "DROP TABLE runs",
                                           "PRAGMA journal_mode = delete",
                                           "ATTACH 'x.db' AS x",
                                           "VACUUM",
                                           "CREATE TEMP TABLE t (x)",
                                           "SELECT load_extension('x')",
                                           "SELECT 1; SELECT 2",
                                           "",
                                           "SELECT * FROM nothing",
                                           "WITH x AS (SELECT 1) DELETE FROM runs",
                                           "BEGIN",
                                           "UPDATE runs SET status = 'done'" };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        RUN("sql", refused[i]);
        CHECK_EQ(out.code, 2);
    }
    RUN("sql", "SELECT count(*) AS n FROM runs", "--csv");
    CHECK_STR(out.text, "n\n63\n");
    RUN("sql", "SELECT * FROM runs WHERE 0");
    CHECK_EQ(out.code, 3);
}

TEST(canonical_dumps_of_two_databases_are_equal)
{
    const char *db = synthetic_path(synthetic_folder("second"), "other.db");
    static char first[1 << 20];
    RUN("export", "--canonical", "ba01", "aa01");
    CHECK_EQ(out.code, 0);
    memcpy(first, out.text, sizeof first);
    program_run(&out, runs_folder(),
                (const char *const[]){ "dump-metrics", "--db", db, "aa01", "ba01",
                                       NULL }); /* the order asked for does not matter */
    CHECK_EQ(out.code, 0);
    CHECK(strcmp(first, out.text) == 0);
    CHECK_STR(first, "aa015eed0123456789abcdef\tgrad_norm\t1\t0x1.");
    CHECK(!strstr(first, "step_ms") && !strstr(first, "images_per_s") && !strstr(first, "mem_bytes"));
    RUN("export", "ba01");
    CHECK_STR(out.text, "run,protocol,metric,step,value\nba015eed0123456789abcdef,probe,loss,1,");
}

TEST(a_copied_database_stands_alone)
{
    const char *copy = synthetic_path(synthetic_folder("copy"), "copy.db");
    RUN("export", "--database", copy);
    CHECK_EQ(out.code, 0);
    RUN("export", "--database", copy);
    CHECK_EQ(out.code, 2);
    CHECK_STR(out.text, "exists already");
    program_run(&out, NULL,
                (const char *const[]){ "table", "table3", "--db", copy, "--no-ingest", "--grid", "b", NULL });
    CHECK_EQ(out.code, 0);
    CHECK_STR(out.text, "Table 3b: Pooling");
    CHECK(!vmae_path_exists(synthetic_path(copy, "-wal")));
}

TEST(help_version_and_wrong_words)
{
    program_run(&out, NULL, (const char *const[]){ "--help", NULL });
    CHECK_EQ(out.code, 0);
    CHECK_STR(out.text, "Examples:");
    program_run(&out, NULL, (const char *const[]){ "--version", NULL });
    CHECK_EQ(out.code, 0);
    CHECK_STR(out.text, "vicmae-results " VMAE_VERSION " (");
    static const char *const commands[] = { "list",  "show",   "diff",   "compare",      "table", "plot",
                                            "paper", "ingest", "export", "dump-metrics", "sql" };
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        program_run(&out, NULL, (const char *const[]){ commands[i], "--help", NULL });
        CHECK_EQ(out.code, 0);
        CHECK_STR(out.text, "Examples:\n  vicmae-results");
    }
    program_run(&out, NULL, (const char *const[]){ "lsit", NULL });
    CHECK_EQ(out.code, 2);
    program_run(&out, "/nonexistent", (const char *const[]){ "list", NULL });
    CHECK_EQ(out.code, 2);
    CHECK_STR(out.text, "there are no results");
    program_run(&out, NULL, (const char *const[]){ "paper", "table3a", "--csv", NULL });
    CHECK_EQ(out.code, 0);
    CHECK_STR(out.text, "table3a,5,top1,67.66,67.66,%,0.005,\"ViC-MAE, ECCV 2024, Table 3a\"");
}

/* A name that is not there is a wrong command (2), with the nearest that is; an empty result is 3. */
TEST(unknown_names_are_refused_everywhere_alike)
{
    static const struct {
        const char *words[5], *part;
    } cases[] = {
        { { "show", "zzz" }, "no run is called zzz" },
        { { "diff", "zzz", "ba01" }, "no run is called zzz" },
        { { "compare", "zzz" }, "no run is called zzz" },
        { { "export", "zzz" }, "no run is called zzz" },
        { { "plot", "zzz" }, "zzz is no sweep: no run is called zzz" },
        { { "table", "table9" }, "table3-demo" },
        { { "table", "table3", "--grid", "z" }, "it has a, b, c" },
        { { "list", "--sweep", "table9" }, "table3-demo" },
        { { "list", "--keys", "modle.mask_ratio" }, "did you mean model.mask_ratio" },
        { { "list", "--metrics", "top1,tpo5" }, "did you mean top5" },
        { { "compare", "ba01", "--metric", "tpo1" }, "did you mean top1" },
        { { "list", "--status", "dnoe" }, "did you mean done" },
        { { "list", "--protocol", "prob" }, "did you mean probe" },
        { { "list", "word" }, "one word too many" },
        { { "diff", "ba01" }, "it needs RUN RUN" },
        { { "list", "--format", "html" }, "text, md, latex, csv, json; not html" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        program_run(&out, runs_folder(), cases[i].words);
        CHECK_EQ(out.code, 2);
        CHECK_STR(out.text, cases[i].part);
    }
    RUN("list", "--status", "failed");
    CHECK_EQ(out.code, 3);
    CHECK_STR(out.text, "no run matches");
    RUN("list", "--keys", "seed,revision,host", "--protocol", "probe");
    CHECK_STR(out.text, "abc123    testbed");
    program_run(&out, NULL, (const char *const[]){ "paper", "table3x", NULL });
    CHECK_EQ(out.code, 2);
    CHECK_STR(out.text, "did you mean table3a");
    program_run(&out, NULL, (const char *const[]){ "tabel", NULL });
    CHECK_EQ(out.code, 2);
    CHECK_STR(out.text, "did you mean table");
}

TEST(every_format_has_a_short_form)
{
    static const char *const forms[][3] = {
        { "--csv", "csv", "run,protocol,metric,step,value\nba015eed0123456789abcdef,probe,loss,1," },
        { "--json", "json", "\"protocol\": \"probe\", \"metric\": \"loss\", \"step\": 1, \"value\": " },
        { "--md", "md", "| run | protocol | metric | step | value |\n|---|---|---|---:|---:|\n" },
        { "--latex", "latex", "run & protocol & metric & step & value \\\\\n" }
    };
    static char first[sizeof out.text];
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        RUN("export", "ba01", forms[i][0]);
        CHECK_EQ(out.code, 0);
        CHECK_STR(out.text, forms[i][2]);
        memcpy(first, out.text, sizeof first);
        RUN("export", "ba01", "--format", forms[i][1]);
        CHECK(strcmp(out.text, first) == 0);
        RUN("list", forms[i][0]);
        CHECK_EQ(out.code, 0);
        RUN("table", "table3", forms[i][0]);
        CHECK_EQ(out.code, 0);
    }
}

/* Reading another database from a place that has runs of its own. */
TEST(a_database_alone_is_only_read)
{
    const char *here = synthetic_folder("elsewhere"), *db = synthetic_path(here, "other.db");
    char before[4096];
    REQUIRE(getcwd(before, sizeof before));
    synthetic_write(synthetic_path(here, "runs"),
                    &(synthetic_run){ "aaaa1111", "pretrain", 1, NULL, NULL, NULL, 3, 0.0, "done", NULL });
    program_run(&out, runs_folder(), (const char *const[]){ "ingest", "--db", db, NULL });
    CHECK_EQ(out.code, 0);
    REQUIRE(chdir(here) == 0);
    static const char count[] = "SELECT count(*) AS n FROM runs";
    program_run(&out, NULL, (const char *const[]){ "sql", count, "--csv", "--db", db, NULL });
    CHECK_STR(out.text, "n\n63\n");
    program_run(&out, NULL, (const char *const[]){ "sql", count, "--csv", NULL }); /* runs, as always */
    CHECK_STR(out.text, "n\n1\n");
    program_run(&out, NULL, (const char *const[]){ "sql", count, "--csv", "--db", db, "--runs", "runs", NULL });
    CHECK_STR(out.text, "n\n64\n"); /* --root by its old name */
    program_run(&out, NULL, (const char *const[]){ "list", "--db", "nothing.db", NULL });
    CHECK_EQ(out.code, 2);
    CHECK(!vmae_path_exists("nothing.db"));
    CHECK(chdir(before) == 0);
}
