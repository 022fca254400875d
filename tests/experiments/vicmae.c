/* vicmae.c -- starts `vicmae`, reads what it leaves. */
#include "vicmae.h"

#include "engine/core/fs.h"
#include "engine/core/journal.h"
#include "engine/core/log.h"
#include "engine/core/mem.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ARGUMENTS = 128, SAID = 1 << 16 };

static char out_path[600], err_path[600], out_text[SAID], err_text[SAID];

/* ---- the process ---- */

/* In the child: comes back only if it fails. */
static void become(const launch *how, char **argv)
{
    const int out = open(out_path, O_WRONLY | O_CREAT | O_TRUNC, 0644),
              err = open(err_path, O_WRONLY | O_CREAT | O_TRUNC, 0644), nothing = open("/dev/null", O_RDONLY);
    dup2(nothing, 0);
    dup2(out, 1);
    dup2(err, 2);
    setenv("GOMP_SPINCOUNT", "1000", 1);
    if (how && how->fault)
        setenv("VICMAE_FAULT", how->fault, 1);
    else
        unsetenv("VICMAE_FAULT");
    if (how && how->bound_by_modes)
        prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE); /* not allowed to anyone but root, for whom alone it matters */
    if (how && how->file_size) {
        const struct rlimit limit = { (rlim_t)how->file_size, (rlim_t)how->file_size };
        setrlimit(RLIMIT_FSIZE, &limit);
    }
    execv(argv[0], argv);
}

static pid_t start(const launch *how, const char *argument, va_list more)
{
    const char *argv[ARGUMENTS] = { how && how->fault ? FAULTY_VICMAE : VICMAE };
    int count = 1;
    for (; argument && count < ARGUMENTS - 1; argument = va_arg(more, const char *))
        argv[count++] = argument;
    snprintf(out_path, sizeof out_path, "%s/said.out", vmae_test_folder());
    snprintf(err_path, sizeof err_path, "%s/said.err", vmae_test_folder());
    fflush(NULL);
    const pid_t pid = fork();
    if (pid == 0) {
        become(how, (char **)(void *)argv);
        _exit(126);
    }
    return pid;
}

static void read_said(const char *path, char *to)
{
    FILE *file = fopen(path, "r");
    const size_t count = file ? fread(to, 1, SAID - 1, file) : 0;
    to[count] = 0;
    if (file)
        fclose(file);
}

int vicmae_wait(pid_t pid)
{
    const double begin = vmae_seconds();
    int status;
    while (waitpid(pid, &status, WNOHANG) != pid) {
        if (vmae_seconds() - begin > 60) {
            CHECK(!"vicmae hangs");
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            return -1000;
        }
        nanosleep(&(struct timespec){ 0, 2000000 }, NULL);
    }
    read_said(out_path, out_text);
    read_said(err_path, err_text);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

pid_t vicmae_start(const launch *how, const char *argument, ...)
{
    va_list more;
    va_start(more, argument);
    const pid_t pid = start(how, argument, more);
    va_end(more);
    return pid;
}

int vicmae_run(const launch *how, const char *argument, ...)
{
    va_list more;
    va_start(more, argument);
    const pid_t pid = start(how, argument, more);
    va_end(more);
    return vicmae_wait(pid);
}

const char *vicmae_out(void)
{
    return out_text;
}

const char *vicmae_err(void)
{
    return err_text;
}

bool check_code(int code, int expected, const char *file, int line)
{
    return vmae_check(code == expected, file, line, "vicmae ended with %d, expected %d; it said:\n%s", code, expected,
                      err_text);
}

/* ---- names ---- */

/* Of texts that last as long as the program. */
static vmae_arena *texts(void)
{
    static vmae_arena *arena;
    return arena ? arena : (arena = vmae_arena_new());
}

const char *in(const char *folder, const char *name)
{
    return vmae_arena_format(texts(), "%s/%s", folder, name);
}

const char *here(const char *name)
{
    return in(vmae_test_folder(), name);
}

const char *set(const char *key, const char *value)
{
    return vmae_arena_format(texts(), "%s=%s", key, value);
}

/* ---- files ---- */

bool exists(const char *path)
{
    return vmae_path_exists(path);
}

char *contents(const char *path, size_t *count)
{
    char *bytes = NULL;
    CHECK_OK(vmae_read_file(path, (size_t)1 << 28, &bytes, count));
    return bytes;
}

bool same_files(const char *a, const char *b)
{
    size_t count_a = 0, count_b = 0;
    char *of_a = contents(a, &count_a), *of_b = contents(b, &count_b);
    const bool same = of_a && of_b && count_a == count_b && memcmp(of_a, of_b, count_a) == 0;
    free(of_a);
    free(of_b);
    return same;
}

/* ---- the journal ---- */

typedef struct reading {
    json_t *events;
    row *rows;
    size_t count, room;
    char names[64][32];
    size_t first_row[64]; /* of each attempt */
    int64_t first_step[64];
    size_t attempts;
} reading;

static bool is_of_the_clock(const char *name)
{
    static const char *const names[] = { "step_ms",       "images_per_s",         "gflops_per_s",
                                         "roof_fraction", "loader_wait_fraction", "mem_bytes" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

static void take_event(reading *r, const vmae_record *record)
{
    json_t *event = json_loadb(record->text, record->text_count, 0, NULL);
    CHECK(event);
    if (strcmp(event_text(event, "type"), "attempt") == 0 && r->attempts < 64) {
        r->first_row[r->attempts] = r->count;
        r->first_step[r->attempts++] = json_integer_value(json_object_get(event, "first_step"));
    }
    json_array_append_new(r->events, event);
}

static void take_metrics(reading *r, const vmae_record *record)
{
    for (uint32_t i = 0; i < record->count; i++) {
        uint32_t id;
        row fresh = { .step = record->step };
        vmae_record_metric(record, i, &id, &fresh.value);
        if (id >= 64 || is_of_the_clock(r->names[id]))
            continue;
        memcpy(fresh.name, r->names[id], sizeof fresh.name);
        if (r->count == r->room) {
            r->room = 2 * r->room + 64;
            r->rows = vmae_realloc(r->rows, r->room, sizeof *r->rows);
        }
        r->rows[r->count++] = fresh;
    }
}

static void read_journal(reading *r, const char *run)
{
    vmae_map map = { NULL, 0 };
    uint64_t offset = 0;
    *r = (reading){ .events = json_array() };
    const vmae_status st = vmae_map_open(&map, in(run, "journal"));
    CHECK_OK(st);
    for (bool found = st == VMAE_OK && map.count > 0, torn; found;) {
        vmae_record record;
        const vmae_status next = vmae_journal_next(map.bytes, map.count, &offset, &record, &found, &torn);
        CHECK_OK(next);
        if (next != VMAE_OK || !found)
            break;
        offset = record.end;
        if (record.kind == 'E')
            take_event(r, &record);
        else if (record.kind == 'N' && record.id < 64)
            snprintf(r->names[record.id], sizeof r->names[0], "%.*s", (int)record.text_count, record.text);
        else if (record.kind == 'M')
            take_metrics(r, &record);
    }
    vmae_map_close(&map);
}

json_t *events_of(const char *run)
{
    reading r;
    read_journal(&r, run);
    free(r.rows);
    return r.events;
}

const char *event_text(const json_t *event, const char *key)
{
    const char *text = json_string_value(json_object_get(event, key));
    return text ? text : "";
}

size_t count_events(const json_t *events, const char *type, const json_t **last)
{
    size_t count = 0;
    for (size_t i = 0; i < json_array_size(events); i++) {
        const json_t *event = json_array_get(events, i);
        if (strcmp(event_text(event, "type"), type) != 0)
            continue;
        count++;
        if (last)
            *last = event;
    }
    return count;
}

static int by_step_and_name(const void *a, const void *b)
{
    const row *x = a, *y = b;
    return x->step != y->step ? (x->step > y->step) - (x->step < y->step) : strcmp(x->name, y->name);
}

row *visible_rows(const char *run, size_t *count)
{
    reading r;
    read_journal(&r, run);
    size_t kept = 0, attempt = 0;
    for (size_t i = 0; i < r.count; i++) {
        while (attempt < r.attempts && r.first_row[attempt] <= i)
            attempt++;
        bool superseded = false;
        for (size_t later = attempt; later < r.attempts; later++)
            superseded = superseded || r.rows[i].step > r.first_step[later];
        if (!superseded)
            r.rows[kept++] = r.rows[i];
    }
    json_decref(r.events);
    if (kept)
        qsort(r.rows, kept, sizeof *r.rows, by_step_and_name);
    *count = kept;
    return r.rows;
}

bool same_rows(const char *a, const char *b)
{
    size_t count_a, count_b;
    row *of_a = visible_rows(a, &count_a), *of_b = visible_rows(b, &count_b);
    bool same = count_a == count_b && count_a > 0;
    if (!same)
        printf("  %s shows %zu values, %s %zu\n", a, count_a, b, count_b);
    for (size_t i = 0; i < count_a && same; i++) {
        same = of_a[i].step == of_b[i].step && strcmp(of_a[i].name, of_b[i].name) == 0 &&
               memcmp(&of_a[i].value, &of_b[i].value, sizeof(double)) == 0;
        if (!same)
            printf("  step %lld: %s is %.17g, step %lld: %s is %.17g\n", (long long)of_a[i].step, of_a[i].name,
                   of_a[i].value, (long long)of_b[i].step, of_b[i].name, of_b[i].value);
    }
    free(of_a);
    free(of_b);
    return same;
}

double final_metric(const char *run, const char *name)
{
    json_t *done = json_load_file(in(run, "done.json"), 0, NULL);
    const json_t *value = json_object_get(json_object_get(done, "metrics"), name);
    const double number = json_is_number(value) ? json_number_value(value) : NAN;
    vmae_check(json_is_number(value), __FILE__, __LINE__, "%s/done.json has no number \"%s\"", run, name);
    json_decref(done);
    return number;
}
