/* cmd_selftest.c -- vicmae selftest: is this device right, and how fast? Ends in one verdict and a file to send. */
#include "experiments/commands.h"

#include "engine/backend/backend.h"
#include "engine/core/fs.h"
#include "engine/core/log.h"
#include "engine/core/mem.h"
#include "engine/selftest/selftest.h"
#include "experiments/machine.h"

#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PLAIN = 256, GOLDEN, MODELS_MAX = 8 };

typedef struct arguments {
    const char *device, *only, *output, *golden;
    struct {
        char size[16];
        int pairs;        /* 0: bench's default */
    } models[MODELS_MAX]; /* to be timed */
    int model_count, threads;
    bool verbose, quick, plain;
} arguments;

static const struct argp_option option_table[] = {
    { "device", 'd', "DEVICE", 0, "what to test: cuda (default), cuda:N, or cpu", 0 },
    { "only", 'g', "GROUP", 0, "memory, view, op, step or golden", 0 },
    { "golden", GOLDEN, "FOLDER", 0, "reference vectors to compare with, too (vicmae_*.safetensors)", 0 },
    { "output", 'o', "FILE", 0, "the report, JSON (default: vicmae-selftest.json)", 0 },
    { "sizes", 's', "LIST", 0, "models to time, as SIZE:PAIRS,... (default: base:64,large:64; none: no timing)", 0 },
    { "quick", 'q', NULL, 0, "neither compute-sanitizer nor timing", 0 },
    { "verbose", 'v', NULL, 0, "a line a check, also for those that pass", 0 },
    { "threads", 't', "N", 0, "threads of the CPU that is compared with (default: all cores)", 0 },
    { "checks-only", PLAIN, NULL, OPTION_HIDDEN, NULL, 0 },
    { 0 }
};

/* "base:64,large" or "none" */
static void read_sizes(struct argp_state *state, char *list)
{
    arguments *a = state->input;
    a->model_count = 0;
    if (strcmp(list, "none") == 0)
        return;
    for (char *item; (item = strsep(&list, ",")); a->model_count++) {
        if (a->model_count == MODELS_MAX)
            argp_error(state, "more than %d sizes", MODELS_MAX);
        const char *size = strsep(&item, ":");
        a->models[a->model_count].pairs = item ? vmae_whole_argument(state, "pairs", item, 2, 1000000) : 0;
        snprintf(a->models[a->model_count].size, sizeof a->models->size, "%s", size);
        if (vmae_bench_check(size) != VMAE_OK)
            argp_error(state, "%s", vmae_error());
    }
}

static error_t on_option(int key, char *value, struct argp_state *state)
{
    arguments *a = state->input;
    switch (key) {
    case 'd': a->device = value; return 0;
    case 'g': a->only = value; return 0;
    case GOLDEN: a->golden = value; return 0;
    case 'o': a->output = value; return 0;
    case 's': read_sizes(state, value); return 0;
    case 'q': a->quick = true; return 0;
    case 'v': a->verbose = true; return 0;
    case 't': a->threads = vmae_whole_argument(state, "threads", value, 1, 1024); return 0;
    case PLAIN: a->plain = true; return 0;
    case ARGP_KEY_ARG: argp_error(state, "%s is one argument too many", value); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/* ---- checks ---- */

typedef struct tally {
    const arguments *a;
    json_t *checks;
    int made;
} tally;

/* JSON has no infinity. */
static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_string(isnan(value) ? "nan" : "infinite");
}

static void on_check(void *context, const vmae_selftest_check *c)
{
    tally *t = context;
    t->made++;
    json_array_append_new(t->checks, json_pack("{s:s, s:s, s:s, s:b, s:o, s:o, s:s}", "group", c->group, "name",
                                               c->name, "precision", c->precision, "passed", c->passed, "worst",
                                               number(c->worst), "limit", number(c->limit), "detail", c->detail));
    if (c->passed && !t->a->verbose)
        return;
    printf("%-6s %-6s %-4s %-44s", c->passed ? "ok" : "FAILED", c->group, c->precision, c->name);
    if (c->limit > 0.0)
        printf(" off by %.2g of the largest, allowed %.0e", c->worst, c->limit);
    printf("%s%s%s\n", *c->detail ? " (" : "", c->detail, *c->detail ? ")" : "");
    fflush(stdout);
}

static vmae_status check_device(vmae_backend *device, const arguments *a, tally *t, int *failed)
{
    vmae_selftest test = { .device = device, .report = on_check, .context = t, .only = a->only, .golden = a->golden };
    VMAE_TRY(vmae_cpu_open(&test.cpu, a->threads));
    const vmae_status st = vmae_selftest_run(&test, failed);
    vmae_backend_close(test.cpu);
    return st;
}

/* ---- the same checks under compute-sanitizer ---- */

enum { ABSENT = -1, BROKEN = -2 };

/* The exit code of a program, whose stdout is thrown away. ABSENT: there is none of that name that may be run; BROKEN:
 * it did not start, or did not end by itself. */
static int run_program(const char *const *argv)
{
    posix_spawn_file_actions_t actions;
    pid_t child;
    int status;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    const int failed = posix_spawnp(&child, argv[0], &actions, NULL, (char *const *)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (failed)
        return failed == ENOENT || failed == EACCES ? ABSENT : BROKEN; /* EACCES: a folder of PATH, too */
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return BROKEN;
    return WIFEXITED(status) ? WEXITSTATUS(status) : BROKEN;
}

/* Memory errors and leaks, then races in shared memory, over every op. Absent: said so, no failure. */
static bool sanitize(const arguments *a, json_t *report)
{
    static const struct {
        const char *name, *tool, *how;
    } tools[] = { { "memcheck", "--tool=memcheck", "--leak-check=full" },
                  { "racecheck", "--tool=racecheck", "--racecheck-report=all" } };
    char *self = realpath("/proc/self/exe", NULL); /* by name: the sanitizer's /proc/self is another */
    json_t *results = json_object();
    bool clean = true, absent = false;
    for (size_t i = 0; i < sizeof tools / sizeof *tools && !absent; i++) {
        const char *const argv[] = {
            "compute-sanitizer", tools[i].tool, tools[i].how, "--error-exitcode=9", "--", self, "selftest", "--device",
            a->device,           "--only",      "op",         "--checks-only",      NULL
        };
        const double start = vmae_seconds();
        fflush(stdout); /* a tool may take minutes */
        const int code = self ? run_program(argv) : BROKEN;
        absent = code == ABSENT;
        const char *said = code == 0        ? "clean"
                           : absent         ? "not here"
                           : code == BROKEN ? "did not run to its end"
                                            : "found something";
        printf("compute-sanitizer %s: %s (%.0f s)\n", tools[i].name, said, vmae_seconds() - start);
        json_object_set_new(results, tools[i].name, json_string(said));
        clean &= absent || code == 0;
    }
    free(self);
    json_object_set_new(report, "compute_sanitizer", results);
    return clean;
}

/* ---- speed ---- */

static void time_models(const arguments *a, json_t *report)
{
    json_t *timings = json_array();
    for (int i = 0; i < a->model_count; i++)
        if (vmae_bench_one(a->models[i].size, a->models[i].pairs, a->device, timings) != VMAE_OK) {
            printf("timing %s: %s\n", a->models[i].size, vmae_error());
            json_array_append_new(timings, json_pack("{s:s, s:i, s:s}", "size", a->models[i].size, "pairs",
                                                     a->models[i].pairs, "error", vmae_error()));
        }
    json_object_set_new(report, "timings", timings);
}

/* ---- report ---- */

static vmae_status write_report(const char *path, json_t *report)
{
    char *text = json_dumps(report, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
    const vmae_status st = text ? vmae_write_file(path, text, strlen(text)) : VMAE_ENOMEM;
    free(text);
    return st;
}

static int test_device(vmae_backend *device, const arguments *a)
{
    json_t *report = json_object(), *checks = json_array();
    tally t = { .a = a, .checks = checks };
    int failed = 0;
    const double start = vmae_seconds();
    printf("vicmae %s (%s) selftest of %s: %s\n", VMAE_VERSION, vmae_revision(), device->name, device->description);
    vmae_status st = check_device(device, a, &t, &failed);
    if (a->plain || st != VMAE_OK) {
        json_decref(report);
        json_decref(checks);
        return st != VMAE_OK ? vmae_report(st) : failed != 0;
    }
    printf("%d checks against the CPU: %d passed, %d failed (%.0f s)\n", t.made, t.made - failed, failed,
           vmae_seconds() - start);
    json_object_set_new(report, "vicmae", json_string(VMAE_VERSION));
    json_object_set_new(report, "revision", json_string(vmae_revision()));
    json_object_set_new(report, "device", json_string(device->name));
    json_object_set_new(report, "description", json_string(device->description));
    json_object_set_new(report, "machine", vmae_machine_facts());
    json_object_set_new(report, "checks", checks);
    json_object_set_new(report, "algorithms", json_string(device->algorithms(device)));
    bool clean = true;
    if (!a->quick && strncmp(device->name, "cuda", 4) == 0)
        clean = sanitize(a, report);
    if (!a->quick)
        time_models(a, report);
    const bool passed = failed == 0 && clean;
    json_object_set_new(report, "seconds", json_real(vmae_seconds() - start));
    json_object_set_new(report, "verdict", json_string(passed ? "passed" : "FAILED"));
    st = write_report(a->output, report);
    json_decref(report);
    if (st != VMAE_OK)
        return vmae_report(st);
    printf("%s: %s%s. The report is in %s%s.\n", device->name, passed ? "PASSED" : "FAILED",
           !passed   ? ": do not use this device for results"
           : a->only ? ", as far as it was tested"
                     : ", this device may be used",
           a->output, passed ? "" : "; please send it with what you ran");
    return passed ? 0 : 1;
}

int vmae_cmd_selftest(int argc, char **argv)
{
    const struct argp argp = {
        option_table,
        on_option,
        NULL,
        "Hold a device against the CPU: every op, whole steps, a trace of ten, memory, the same bits twice; then under "
        "compute-sanitizer where that is installed; then the time of a step as a share of the device's roof. Under "
        "five minutes. Exit code 0: passed, 1: failed, 2: there is no such device, or no such group.\v"
        "Examples:\n  vicmae selftest --device cuda\n  vicmae selftest --device cuda:1 --only step --verbose\n"
        "  vicmae selftest --quick --output report.json",
        NULL,
        NULL,
        NULL
    };
    arguments a = { .device = "cuda",
                    .output = "vicmae-selftest.json",
                    .models = { { "base", 64 }, { "large", 64 } },
                    .model_count = 2 };
    vmae_backend *device = NULL;
    argp_err_exit_status = 2;
    argp_parse(&argp, argc, argv, 0, NULL, &a);
    const vmae_status st = vmae_backend_open(&device, a.device, a.threads);
    if (st != VMAE_OK)
        return vmae_report(st);
    const int code = test_device(device, &a);
    vmae_backend_close(device);
    return code;
}
