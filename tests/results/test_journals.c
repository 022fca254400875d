/* test_journals.c -- journals as experiments/run.c writes them (of protocols that compute nothing) in the database. */
#include "experiments/run.h"
#include "results/results.h"
#include "results/run.h"
#include "results/sql.h"
#include "tests/results/program.h"
#include "tests/results/synthetic.h"
#include "tests/test.h"

#include "engine/core/fs.h"
#include "engine/core/log.h"
#include "engine/core/mem.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const vmae_option options_of_both[] = {
    { "seed", VMAE_INT, VMAE_IDENTITY, "1", 0, 1000, NULL, NULL, "seed" },
    { "threads", VMAE_INT, VMAE_SPEED_ONLY, "1", 0, 64, NULL, NULL, "threads" },
    { "data_root", VMAE_TEXT, VMAE_SPEED_ONLY, "", 0, 0, NULL, NULL, "folder" },
    { "width", VMAE_INT, VMAE_IDENTITY, "8", 1, 1000, NULL, NULL, "a size" },
    { NULL, VMAE_BOOL, VMAE_SPEED_ONLY, NULL, 0, 0, NULL, NULL, NULL },
};
static const vmae_option options_of_probes[] = {
    { "checkpoint", VMAE_TEXT, VMAE_SPEED_ONLY, "", 0, 0, NULL, NULL, "file" },
    { "parent", VMAE_TEXT, VMAE_IDENTITY, "", 0, 0, NULL, NULL, "identity" },
    { NULL, VMAE_BOOL, VMAE_SPEED_ONLY, NULL, 0, 0, NULL, NULL, NULL },
};
static const vmae_option *const pretrain_tables[] = { options_of_both, NULL };
static const vmae_option *const probe_tables[] = { options_of_both, options_of_probes, NULL };

static vmae_status resolve(vmae_config *config)
{
    (void)config;
    return VMAE_OK;
}

/* data_root stands for the data themselves: other folder, other data. */
static vmae_status fingerprint(const vmae_config *config, vmae_hash *hash)
{
    vmae_hash_field(hash, "data", vmae_config_text(config, "data_root"));
    return VMAE_OK;
}

static vmae_status estimate(const vmae_config *config, vmae_estimate *price)
{
    (void)config;
    *price = (vmae_estimate){ .steps = 1 };
    return VMAE_OK;
}

static bool die_in_the_middle;

static vmae_status measure(vmae_run *run)
{
    const double seed = (double)vmae_config_int(run->config, "seed"),
                 width = (double)vmae_config_int(run->config, "width");
    VMAE_TRY(vmae_run_dataset(run, "train", "numbers", vmae_config_text(run->config, "data_root")));
    VMAE_TRY(vmae_run_begin(run, 0));
    VMAE_TRY(vmae_run_metrics(run, 1, &(vmae_metric){ "top1", 0.4 + 0.01 * width + 0.001 * seed * seed }, 1));
    if (die_in_the_middle)
        _exit(9);
    nanosleep(&(struct timespec){ 0, 120000000 }, NULL);
    char *path = vmae_run_path(run, "checkpoint.safetensors");
    const vmae_status st = path ? vmae_write_file(path, "weights", 7) : VMAE_ENOMEM;
    free(path);
    return st == VMAE_OK ? vmae_run_artefact(run, "checkpoint", "checkpoint.safetensors") : st;
}

static const vmae_protocol pretrain = {
    "pretrain", "", pretrain_tables, false, resolve, fingerprint, estimate, measure
};
static const vmae_protocol probe = { "probe", "", probe_tables, true, resolve, fingerprint, estimate, measure };

/* Runs it in this process; its folder. */
static const char *do_run(const vmae_protocol *protocol, const char *runs, const char *name,
                          const char *const *settings)
{
    vmae_config *config = NULL;
    const char *folder = synthetic_path(runs, name);
    CHECK_OK(vmae_protocol_config(protocol, &config));
    for (; config && *settings; settings++)
        CHECK_OK(vmae_config_assign(config, *settings));
    if (config)
        CHECK_OK(vmae_run_main(protocol, config, runs, folder));
    vmae_config_free(config);
    return folder;
}
#define DO_RUN(protocol, runs, name, ...) do_run(protocol, runs, name, (const char *const[]){ __VA_ARGS__, NULL })

static vmae_store *store_of(const char *runs)
{
    vmae_store *store = NULL;
    CHECK_OK(vmae_store_open(&store, synthetic_path(runs, "results.db"), VMAE_STORE_UPDATE));
    CHECK_OK(vmae_store_ingest(store, runs, NULL));
    return store;
}

static int64_t integer(vmae_store *store, const char *sql)
{
    int64_t value = -1;
    CHECK_OK(vmae_sql_integer(store, &value, -1, sql, NULL));
    return value;
}

TEST(a_real_journal_says_how_long_a_run_took_and_what_is_for_speed_only)
{
    const char *runs = synthetic_folder("times");
    const double before = vmae_wall_seconds();
    DO_RUN(&pretrain, runs, "one", "threads=2");
    vmae_store *store = store_of(runs);
    REQUIRE(store);
    CHECK_EQ(integer(store, "SELECT count(*) FROM config WHERE speed_only = 1 AND key IN ('threads', 'data_root')"), 2);
    CHECK_EQ(integer(store, "SELECT count(*) FROM config WHERE speed_only = 0 AND key IN ('seed', 'width')"), 2);
    CHECK_EQ(integer(store, "SELECT count(*) FROM config"), 4);
    /* one metric, so there is no time between the first and the last */
    CHECK(integer(store, "SELECT 1000 * seconds FROM run_times") >= 120);
    CHECK_NEAR((double)integer(store, "SELECT 1000 * started FROM attempts") / 1e3, before, 5.0);
    vmae_store_close(store);
}

/* The process that was killed is gone; then its number belongs to a process that began later: this one. */
TEST(a_killed_run_is_seen_even_where_its_process_id_was_given_away_again)
{
    const char *runs = synthetic_folder("killed");
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        die_in_the_middle = true;
        DO_RUN(&pretrain, runs, "one", "seed=1");
        _exit(0);
    }
    waitpid(child, NULL, 0);
    vmae_store *store = store_of(runs);
    REQUIRE(store);
    CHECK_EQ(integer(store, "SELECT count(*) FROM runs WHERE status = 'running'"), 1);
    CHECK_STR(vmae_run_status(store, 1, "running"), "stopped");
    CHECK_OK(vmae_sql_run(store, "UPDATE attempts SET pid = ?", "i", (int64_t)getpid()));
    CHECK_STR(vmae_run_status(store, 1, "running"), "running"); /* began before the journal was written */
    CHECK_OK(vmae_sql_script(store, "UPDATE attempts SET started = started - 3600"));
    CHECK_STR(vmae_run_status(store, 1, "running"), "stopped");
    vmae_store_close(store);
}

static program_outcome out;

static const char *id_of(vmae_store *store, const char *runs, const char *name)
{
    static char texts[4][24];
    static int turn;
    int64_t id = 0;
    char *text = texts[turn++ % 4];
    CHECK_OK(vmae_sql_integer(store, &id, 0, "SELECT id FROM runs WHERE folder = ?", "t", synthetic_path(runs, name)));
    snprintf(text, sizeof texts[0], "%lld", (long long)id);
    return text;
}

/* Pre-trainings of width 8 and 16 and their probes, with `seeds` seeds; probe seeds follow, or are all 1. */
static void two_settings(const char *runs, int seeds, bool follow)
{
    for (int width = 8; width <= 16; width += 8)
        for (int seed = 1; seed <= seeds; seed++) {
            char name[40], width_text[40], seed_text[40], threads[40], checkpoint[700];
            snprintf(name, sizeof name, "pretrain%d-%d", width, seed);
            snprintf(width_text, sizeof width_text, "width=%d", width);
            snprintf(seed_text, sizeof seed_text, "seed=%d", seed);
            snprintf(threads, sizeof threads, "threads=%d", seed); /* another for each: must not tell them apart */
            snprintf(checkpoint, sizeof checkpoint, "checkpoint=%s/checkpoint.safetensors",
                     DO_RUN(&pretrain, runs, name, width_text, seed_text, threads));
            snprintf(name, sizeof name, "probe%d-%d", width, seed);
            DO_RUN(&probe, runs, name, checkpoint, threads, width_text, follow ? seed_text : "seed=1");
        }
}

static const json_t *column(json_t *root, size_t row, const char *name)
{
    return json_object_get(json_array_get(root, row), name);
}

TEST(compare_joins_the_seeds_of_real_probes)
{
    const char *runs = synthetic_folder("seeds");
    two_settings(runs, 3, true);
    vmae_store *store = store_of(runs);
    REQUIRE(store);
    const char *a = id_of(store, runs, "probe8-1"), *b = id_of(store, runs, "probe16-2");
    program_run(&out, runs, (const char *const[]){ "compare", a, b, "--json", NULL });
    CHECK_EQ(out.code, 0);
    json_t *root = json_loads(out.text, 0, NULL);
    REQUIRE(json_array_size(root) == 2);
    for (size_t row = 0; row < 2; row++)
        CHECK_EQ(json_integer_value(column(root, row, "n")), 3);
    CHECK_NEAR(json_number_value(column(root, 1, "to A")), 0.08, 1e-12);
    CHECK(strcmp(json_string_value(column(root, 1, "what differs")), "pretrain/width=16 width=16") == 0);
    json_decref(root);
    program_run(&out, runs, (const char *const[]){ "compare", a, b, NULL });
    CHECK_STR(out.text, "4 finished runs with the same settings and other seeds added");
    program_run(&out, runs, (const char *const[]){ "compare", a, id_of(store, runs, "probe8-3"), NULL });
    CHECK_STR(out.text, "differ by nothing but the seed");
    vmae_store_close(store);
}

/* Three pre-trainings, each probed with the probe's default seed: their numbers are still of three seeds. */
TEST(the_seeds_of_what_a_run_builds_on_count)
{
    const char *runs = synthetic_folder("parents");
    two_settings(runs, 3, false);
    vmae_store *store = store_of(runs);
    REQUIRE(store);
    program_run(
        &out, runs,
        (const char *const[]){ "compare", id_of(store, runs, "probe8-1"), id_of(store, runs, "probe16-1"), NULL });
    CHECK_EQ(out.code, 0);
    CHECK_STR(out.text, "4 finished runs with the same settings");
    CHECK_STR(out.text, "(seed 1, pretrain 3)");
    vmae_store_close(store);
}

TEST(other_data_are_another_setting_and_a_seed_counts_once)
{
    const char *runs = synthetic_folder("data");
    DO_RUN(&pretrain, runs, "a", "data_root=/a");
    DO_RUN(&pretrain, runs, "b", "data_root=/b");
    vmae_store *store = store_of(runs);
    REQUIRE(store);
    const char *a = id_of(store, runs, "a"), *b = id_of(store, runs, "b");
    program_run(&out, runs, (const char *const[]){ "compare", a, b, NULL });
    CHECK_EQ(out.code, 0);
    CHECK_STR(out.text, "data:train=/b");
    CHECK(!strstr(out.text, "data_root"));
    CHECK_OK(vmae_sql_script(store, "UPDATE fingerprints SET value = ''"));
    program_run(&out, runs, (const char *const[]){ "compare", a, "--no-ingest", NULL });
    CHECK_EQ(out.code, 2);
    CHECK_STR(out.text, "have the same settings, data and seed (1)");
    program_run(&out, runs, (const char *const[]){ "compare", a, "--no-ingest", "--only", NULL });
    CHECK_EQ(out.code, 0);
    vmae_store_close(store);
}
