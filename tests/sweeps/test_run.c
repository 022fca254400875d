/* test_run.c -- a run's folder: identity, journal, attempts, done.json, inspection. */
#include "../test.h"

#include "engine/core/fs.h"
#include "engine/core/mem.h"
#include "experiments/history.h"
#include "experiments/run.h"

#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* A config of a fake protocol with assignments ended by NULL. */
static vmae_config *config_of(const char *protocol, const char *const *assignments)
{
    vmae_config *config = NULL;
    CHECK_OK(vmae_protocol_config(vmae_protocol_find(protocol), &config));
    for (size_t i = 0; assignments && assignments[i]; i++)
        CHECK_OK(vmae_config_assign(config, assignments[i]));
    return config;
}

static void identity_of(const char *protocol, const char *const *assignments, char identity[VMAE_HASH_HEX])
{
    vmae_config *config = config_of(protocol, assignments);
    identity[0] = 0;
    CHECK_OK(vmae_run_fill_parent(vmae_protocol_find(protocol), config));
    CHECK_OK(vmae_run_identity(vmae_protocol_find(protocol), config, identity));
    vmae_config_free(config);
}

#define WITH(...) ((const char *const[]){ __VA_ARGS__, NULL })

static char *folder_named(const char *name)
{
    return vmae_format("%s/%s", vmae_test_folder(), name);
}

static vmae_status run_in(const char *protocol, const char *folder, const char *const *assignments)
{
    vmae_config *config = config_of(protocol, assignments);
    const vmae_status st = vmae_run_main(vmae_protocol_find(protocol), config, vmae_test_folder(), folder);
    vmae_config_free(config);
    return st;
}

static json_t *read_json(const char *folder, const char *name)
{
    char *path = vmae_path_join(folder, name);
    json_t *json = json_load_file(path, 0, NULL);
    free(path);
    return json;
}

static double done_metric(const char *folder, const char *name)
{
    json_t *done = read_json(folder, "done.json");
    const double value = json_number_value(json_object_get(json_object_get(done, "metrics"), name));
    json_decref(done);
    return value;
}

TEST(identity_is_of_what_changes_the_numbers_only)
{
    char plain[VMAE_HASH_HEX], other[VMAE_HASH_HEX];
    identity_of("pretrain", NULL, plain);
    CHECK_EQ(strlen(plain), 64);
    identity_of("pretrain", WITH("threads=3", "train.step_us=5", "log.every=7"), other);
    CHECK(strcmp(plain, other) == 0);
    identity_of("pretrain", WITH("model.mask_ratio=0.750", "seed=1"), other); /* the defaults, said */
    CHECK(strcmp(plain, other) == 0);
    identity_of("pretrain", WITH("model.mask_ratio=0.5"), other);
    CHECK(strcmp(plain, other) != 0);
    identity_of("pretrain", WITH("seed=2"), other);
    CHECK(strcmp(plain, other) != 0);
}

TEST(identity_does_not_change_from_build_to_build)
{
    char identity[VMAE_HASH_HEX];
    identity_of("pretrain", WITH("model.mask_ratio=0.5", "seed=2"), identity);
    /* every finished run of every user has such a name: a change here must raise VMAE_NUMERICS_VERSION instead */
    CHECK(strcmp(VMAE_NUMERICS_VERSION, "1") != 0 ||
          strcmp(identity, "cdcc092ab7c24a9f680797edebb64f4c87ce52a947657d145517606d12613339") == 0);
}

TEST(a_probe_of_another_checkpoint_is_another_run)
{
    char a[VMAE_HASH_HEX], b[VMAE_HASH_HEX], c[VMAE_HASH_HEX];
    char *file = folder_named("weights.safetensors"), *assignment = vmae_format("checkpoint=%s", file);
    CHECK_OK(vmae_write_file(file, "1 0x1p-1", 8));
    identity_of("probe", WITH("checkpoint=random"), a);
    identity_of("probe", WITH("checkpoint=pixels"), b);
    CHECK(strcmp(a, b) != 0);
    identity_of("probe", (const char *const[]){ assignment, NULL }, a);
    CHECK(strcmp(a, b) != 0);
    CHECK_OK(vmae_write_file(file, "2 0x1p-1", 8)); /* same path, other weights */
    identity_of("probe", (const char *const[]){ assignment, NULL }, c);
    CHECK(strcmp(a, c) != 0);
    free(assignment);
    free(file);
}

TEST(a_probe_without_a_checkpoint_is_refused)
{
    vmae_config *config = config_of("probe", NULL);
    CHECK_FAILS(vmae_run_fill_parent(vmae_protocol_find("probe"), config), VMAE_EUSER, "needs the safetensors file");
    CHECK_OK(vmae_config_assign(config, "checkpoint=/nowhere/at/all"));
    CHECK_FAILS(vmae_run_fill_parent(vmae_protocol_find("probe"), config), VMAE_EUSER, "/nowhere/at/all");
    vmae_config_free(config);
}

TEST(a_run_leaves_config_journal_and_done_and_is_not_done_twice)
{
    char *folder = folder_named("one");
    char message[100];
    CHECK_EQ(vmae_run_inspect(folder, message, sizeof message), VMAE_RUN_NEW);
    CHECK_OK(run_in("pretrain", folder, WITH("seed=4")));
    CHECK_EQ(vmae_run_inspect(folder, message, sizeof message), VMAE_RUN_DONE);
    json_t *done = read_json(folder, "done.json");
    char identity[VMAE_HASH_HEX];
    identity_of("pretrain", WITH("seed=4"), identity);
    CHECK(strcmp(json_string_value(json_object_get(done, "identity")), identity) == 0);
    CHECK_EQ(json_integer_value(json_object_get(done, "last_step")), 20);
    CHECK_EQ(json_integer_value(json_object_get(done, "attempts")), 1);
    CHECK(json_is_number(json_object_get(json_object_get(done, "metrics"), "only_early")));
    CHECK(strcmp(json_string_value(json_object_get(json_object_get(done, "checkpoint"), "path")),
                 "checkpoint.safetensors") == 0);
    CHECK_NEAR(json_number_value(json_object_get(done, "flops")), 1.6e11, 1);
    json_decref(done);

    char *config = vmae_path_join(folder, "config.cfg"), *journal = vmae_path_join(folder, "journal");
    vmae_config *again = config_of("pretrain", NULL);
    CHECK_OK(vmae_config_read(again, config, NULL));
    CHECK_EQ(vmae_config_int(again, "seed"), 4);
    char *before = NULL, *after = NULL;
    size_t before_count, after_count;
    CHECK_OK(vmae_read_file(journal, 1 << 20, &before, &before_count));
    CHECK_OK(vmae_run_main(vmae_protocol_find("pretrain"), again, "/", folder));
    CHECK_OK(vmae_read_file(journal, 1 << 20, &after, &after_count));
    CHECK(before_count == after_count && memcmp(before, after, after_count) == 0);
    free(before);
    free(after);
    free(config);
    free(journal);
    vmae_config_free(again);
    free(folder);
}

TEST(a_run_without_a_folder_gets_one_named_by_its_identity)
{
    char identity[VMAE_HASH_HEX];
    CHECK_OK(run_in("pretrain", NULL, WITH("seed=44")));
    identity_of("pretrain", WITH("seed=44"), identity);
    char *folder = vmae_format("%s/%.16s", vmae_test_folder(), identity);
    CHECK_EQ(vmae_run_inspect(folder, NULL, 0), VMAE_RUN_DONE);

    /* and a probe of its checkpoint knows it as its parent */
    char *assignment = vmae_format("checkpoint=%s/checkpoint.safetensors", folder);
    vmae_config *probe = config_of("probe", (const char *const[]){ assignment, NULL });
    CHECK_OK(vmae_run_fill_parent(vmae_protocol_find("probe"), probe));
    CHECK(strcmp(vmae_config_text(probe, "parent"), identity) == 0);
    vmae_config_free(probe);
    free(assignment);
    free(folder);
}

TEST(a_failed_run_says_why_and_goes_on_when_the_reason_is_gone)
{
    char *folder = folder_named("fails"), *reason = folder_named("reason"),
         *assignment = vmae_format("train.fail_file=%s", reason);
    char message[200];
    CHECK_OK(vmae_write_file(reason, "x", 1));
    CHECK_FAILS(run_in("pretrain", folder, (const char *const[]){ assignment, NULL }), VMAE_EDATA, "sample 10 of");
    CHECK_EQ(vmae_run_inspect(folder, message, sizeof message), VMAE_RUN_FAILED);
    CHECK_STR(message, "cannot be decoded");
    unlink(reason);
    CHECK_OK(run_in("pretrain", folder, (const char *const[]){ assignment, NULL }));
    json_t *done = read_json(folder, "done.json");
    CHECK_EQ(json_integer_value(json_object_get(done, "attempts")), 2);
    json_decref(done);
    CHECK_OK(run_in("pretrain", NULL, NULL)); /* the same, undisturbed */
    char identity[VMAE_HASH_HEX];
    identity_of("pretrain", NULL, identity);
    char *other = vmae_format("%s/%.16s", vmae_test_folder(), identity);
    CHECK(done_metric(folder, "loss") == done_metric(other, "loss"));
    CHECK(done_metric(folder, "only_early") == done_metric(other, "only_early"));
    free(other);
    free(assignment);
    free(reason);
    free(folder);
}

TEST(a_diverged_run_is_a_failed_one_with_its_own_status)
{
    char *folder = folder_named("diverges"), *journal = vmae_path_join(folder, "journal");
    char message[200];
    vmae_history history;
    CHECK_FAILS(run_in("pretrain", folder, WITH("train.diverge=true")), VMAE_EDIVERGED, "loss is nan at step 10");
    CHECK_EQ(vmae_run_inspect(folder, message, sizeof message), VMAE_RUN_FAILED);
    REQUIRE_OK(vmae_history_read(&history, journal));
    CHECK(strcmp(history.status, "diverged") == 0);
    CHECK_EQ(history.last_step, 9);
    vmae_history_release(&history);
    free(journal);
    free(folder);
}

TEST(metrics_that_a_resume_takes_back_do_not_count)
{
    char *path = folder_named("superseded.journal");
    vmae_journal *journal = NULL;
    vmae_history history;
    REQUIRE_OK(vmae_journal_open(&journal, path));
    static const struct {
        int64_t first;
        int64_t from, to;
        double value;
    } attempts[] = { { 0, 1, 10, 1 }, { 5, 6, 7, 2 }, { 6, 7, 8, 3 } };
    for (size_t a = 0; a < 3; a++) {
        char *event = vmae_format("{\"type\":\"attempt\",\"first_step\":%lld}", (long long)attempts[a].first);
        CHECK_OK(vmae_journal_event(journal, event));
        free(event);
        for (int64_t step = attempts[a].from; step <= attempts[a].to; step++) {
            const vmae_metric metrics[] = { { "x", attempts[a].value * 100 + (double)step },
                                            { "first_only", (double)step } };
            CHECK_OK(vmae_journal_metrics(journal, step, metrics, a == 0 ? 2 : 1));
        }
    }
    CHECK_OK(vmae_journal_close(journal));
    REQUIRE_OK(vmae_history_read(&history, path));
    REQUIRE(history.metric_count == 2);
    CHECK_EQ(history.attempts, 3);
    CHECK_EQ(history.last_step, 8);
    CHECK_NEAR(history.metrics[0].value, 5, 0); /* first_only: its rows after step 5 were taken back */
    CHECK_NEAR(history.metrics[1].value, 308, 0);
    vmae_history_release(&history);
    free(path);
}

TEST(a_folder_of_another_run_is_refused)
{
    char *folder = folder_named("taken");
    CHECK_OK(run_in("pretrain", folder, WITH("seed=7")));
    CHECK_FAILS(run_in("pretrain", folder, WITH("seed=8")), VMAE_EUSER, "holds run");
    char *done = vmae_path_join(folder, "done.json");
    unlink(done); /* unfinished, it is still that other run */
    CHECK_FAILS(run_in("pretrain", folder, WITH("seed=8")), VMAE_EUSER, "holds run");
    CHECK_OK(vmae_write_file(done, "{", 1));
    CHECK_FAILS(run_in("pretrain", folder, WITH("seed=7")), VMAE_EDATA, "damaged");
    free(done);
    free(folder);
}

TEST(a_damaged_journal_is_a_failure_that_says_so)
{
    char *folder = folder_named("damaged"), *journal = vmae_path_join(folder, "journal"),
         *done = vmae_path_join(folder, "done.json");
    char message[400];
    CHECK_OK(run_in("pretrain", folder, NULL));
    unlink(done);
    const int fd = open(journal, O_WRONLY);
    CHECK(pwrite(fd, "XXXX", 4, 100) == 4);
    close(fd);
    CHECK_EQ(vmae_run_inspect(folder, message, sizeof message), VMAE_RUN_FAILED);
    CHECK_STR(message, "journal");
    CHECK_FAILS(run_in("pretrain", folder, NULL), VMAE_EDATA, "journal");
    free(done);
    free(journal);
    free(folder);
}

/* Runs in a child and returns its exit code after `signals` of `number`, 400 ms apart, once it is at work. */
static int run_and_signal(const char *folder, const char *const *assignments, int number, int signals)
{
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        if (!freopen("/dev/null", "w", stderr))
            _exit(99);
        _exit(vmae_exit_code(run_in("pretrain", folder, assignments)));
    }
    char *journal = vmae_path_join(folder, "resume.safetensors");
    for (int i = 0; i < 500 && !vmae_path_exists(journal); i++)
        usleep(5000);
    free(journal);
    usleep(50000); /* inside the next step */
    for (int i = 0; i < signals; i++) {
        kill(child, number);
        usleep(400000);
    }
    int status;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

TEST(a_signal_ends_a_run_after_its_step_and_it_goes_on_to_the_same_numbers)
{
    static const int signals[] = { SIGINT, SIGTERM, SIGUSR1, SIGUSR2 };
    char message[200];
    char *whole = folder_named("whole");
    CHECK_OK(run_in("pretrain", whole, WITH("train.steps=40")));
    for (size_t i = 0; i < 4; i++) {
        char *name = vmae_format("signal%zu", i), *folder = folder_named(name);
        CHECK_EQ(run_and_signal(folder, WITH("train.steps=40", "train.step_us=20000"), signals[i], 1), 130);
        CHECK_EQ(vmae_run_inspect(folder, message, sizeof message), VMAE_RUN_PARTIAL);
        CHECK_STR(message, "interrupted at step");
        CHECK_OK(run_in("pretrain", folder, WITH("train.steps=40")));
        CHECK(done_metric(folder, "loss") == done_metric(whole, "loss"));
        free(folder);
        free(name);
    }
    free(whole);
}

TEST(a_second_ctrl_c_ends_a_run_at_once)
{
    char *folder = folder_named("impatient");
    char message[200];
    CHECK_EQ(run_and_signal(folder, WITH("train.steps=100", "train.save_every=1", "train.step_us=1200000"), SIGINT, 2),
             130);
    CHECK_EQ(vmae_run_inspect(folder, message, sizeof message), VMAE_RUN_PARTIAL);
    CHECK_STR(message, "killed at step"); /* it had no time to say more */
    free(folder);
}

TEST(a_run_that_is_going_on_is_busy_and_cannot_be_started_twice)
{
    char *folder = folder_named("busy"), *lock = vmae_path_join(folder, "lock");
    int held = -1;
    CHECK_OK(vmae_make_folders(folder));
    CHECK_OK(vmae_lock_take(lock, &held));
    CHECK_EQ(vmae_run_inspect(folder, NULL, 0), VMAE_RUN_BUSY);
    CHECK_FAILS(run_in("pretrain", folder, NULL), VMAE_EBUSY, "lock");
    vmae_lock_release(held);
    CHECK_EQ(vmae_run_inspect(folder, NULL, 0), VMAE_RUN_NEW);
    free(lock);
    free(folder);
}

TEST(the_journal_names_machine_revision_config_and_data)
{
    char *folder = folder_named("facts"), *path = vmae_path_join(folder, "journal");
    vmae_map map;
    bool found, torn;
    uint64_t offset = 0;
    vmae_record record;
    json_t *attempt = NULL, *run = NULL;
    CHECK_OK(run_in("pretrain", folder, WITH("model.pool=gem", "seed=3")));
    REQUIRE_OK(vmae_map_open(&map, path));
    while (vmae_journal_next(map.bytes, map.count, &offset, &record, &found, &torn) == VMAE_OK && found) {
        offset = record.end;
        if (record.kind != 'E')
            continue;
        json_t *event = json_loadb(record.text, record.text_count, 0, NULL);
        const char *type = json_string_value(json_object_get(event, "type"));
        if (strcmp(type, "attempt") == 0)
            attempt = json_incref(event);
        if (strcmp(type, "run") == 0 && !run)
            run = json_incref(event);
        json_decref(event);
    }
    vmae_map_close(&map);
    REQUIRE(attempt && run);
    static const char *const texts[] = { "host", "boot_id", "start_time", "revision" };
    for (size_t i = 0; i < 4; i++)
        CHECK(json_string_length(json_object_get(attempt, texts[i])) > 0);
    static const char *const facts[] = { "cores", "memory_bytes", "kernel", "compiler", "libraries" };
    for (size_t i = 0; i < 5; i++)
        CHECK(json_string_length(json_object_get(json_object_get(attempt, "machine"), facts[i])) > 0);
    CHECK_EQ(json_integer_value(json_object_get(attempt, "attempt")), 1);
    CHECK_EQ(json_integer_value(json_object_get(attempt, "pid")), getpid());
    CHECK(strcmp(json_string_value(json_object_get(json_object_get(run, "config"), "model.pool")), "gem") == 0);
    CHECK_EQ(json_integer_value(json_object_get(run, "seed")), 3);
    CHECK(strcmp(json_string_value(json_object_get(json_object_get(run, "fingerprints"), "images")), "0011") == 0);
    json_decref(attempt);
    json_decref(run);
    free(path);
    free(folder);
}
