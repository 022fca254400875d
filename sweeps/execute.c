/* execute.c -- does what is missing: slots, order, failures, signals, progress. */
#include "sweeps/sweep.h"

#include "sweeps/child.h"
#include "sweeps/collect.h"
#include "sweeps/price.h"

#include "engine/core/fs.h"
#include "engine/core/log.h"
#include "engine/core/mem.h"
#include "experiments/machine.h"

#include <ctype.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    SAME_FAILURES = 3, /* then nothing new is started */
    KINDS = 64,
    KIND_WORDS = 8,
    LOG_LINES = 20,
    MESSAGE = 1200,
    NAME = 160,
    JOBS_MAX = 1024,
    PRICE_AT_MOST = 5000 /* runs: planning their cost takes time itself */
};
static const double BUSY_POLL_S = 0.5, TICK_S = 0.5;

typedef enum run_phase {
    NOT_WANTED,
    WAITING,
    RUNNING,
    ELSEWHERE, /* another process runs it */
    CACHED,    /* was finished when this command began */
    FINISHED,
    FAILED,
    BLOCKED, /* what it builds on failed */
    LEFT     /* interrupted */
} run_phase;

typedef struct slot {
    vmae_child child; /* pid 0: free */
    size_t run;
    double started;
    bool resumed; /* its time says nothing about a whole run */
} slot;

typedef struct failure_kind {
    char text[200];
    int count;
} failure_kind;

typedef struct executor {
    vmae_plan *plan;
    const vmae_execute_options *options;
    vmae_execute_report *report;
    vmae_collector collector;
    char *program;
    run_phase *phase; /* by run */
    double *flops;
    slot *slots;
    size_t first_open; /* every run before it is settled */
    size_t settled;    /* of wanted, without the cached ones */
    int succeeded, running;
    failure_kind kinds[KINDS];
    int kind_count;
    bool tripped; /* too many failures of a kind */
    char first_failure[MESSAGE];
    int stop_sent; /* signals passed on so far */
    double looked; /* when runs elsewhere were last looked at */
    vmae_speeds speeds;
    bool terminal;
    sigset_t outside; /* the mask that was there before */
} executor;

/* ---- signals: blocked but in ppoll ---- */

static volatile sig_atomic_t stops;
static double first_stop; /* written by the handler */

/* timeout(1) and shells send one Ctrl-C to the process and to its group: what follows within this time is the same one.
 */
static const double SAME_STOP_S = 0.25;

static void on_stop(int number)
{
    struct timespec now = { 0, 0 };
    (void)number;
    clock_gettime(CLOCK_MONOTONIC, &now);
    const double seconds = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    if (stops == 0)
        first_stop = seconds;
    if (stops == 0 || seconds - first_stop > SAME_STOP_S)
        stops++;
}

static void on_child(int number)
{
    (void)number; /* only ends ppoll */
}

static const int caught[] = { SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD };
enum { CAUGHT = sizeof caught / sizeof *caught };

static void install_handlers(executor *e, struct sigaction old[CAUGHT])
{
    sigset_t block;
    sigemptyset(&block);
    stops = 0;
    for (int i = 0; i < CAUGHT; i++) {
        struct sigaction action = { .sa_handler = caught[i] == SIGCHLD ? on_child : on_stop };
        sigemptyset(&action.sa_mask);
        sigaction(caught[i], NULL, &old[i]);
        if (caught[i] == SIGHUP && old[i].sa_handler == SIG_IGN)
            continue; /* nohup */
        sigaddset(&block, caught[i]);
        sigaction(caught[i], &action, NULL);
    }
    sigprocmask(SIG_BLOCK, &block, &e->outside);
}

static void restore_handlers(const executor *e, const struct sigaction old[CAUGHT])
{
    for (int i = 0; i < CAUGHT; i++)
        sigaction(caught[i], &old[i], NULL);
    sigprocmask(SIG_SETMASK, &e->outside, NULL);
}

static void wait_for_news(const executor *e, double seconds)
{
    const struct timespec time = { (time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9) };
    sigset_t open = e->outside;
    for (int i = 0; i < CAUGHT; i++)
        sigdelset(&open, caught[i]);
    ppoll(NULL, 0, &time, &open);
}

/* ---- progress ---- */

static void clear_line(const executor *e)
{
    if (e->terminal)
        fputs("\r\033[K", stderr);
}

static double predict(const executor *e, size_t run)
{
    const vmae_protocol *protocol = e->plan->sweep->stages[e->plan->runs[run].stage].protocol;
    return e->flops[run] > 0 ? vmae_speeds_predict(&e->speeds, protocol->name, e->flops[run]) : -1;
}

/* Seconds until all is done, or negative. */
static double time_left(const executor *e)
{
    double work = 0;
    const double now = vmae_seconds();
    for (size_t i = e->first_open; i < e->plan->run_count; i++)
        if (e->phase[i] == WAITING || e->phase[i] == RUNNING) {
            const double seconds = predict(e, i);
            if (seconds < 0)
                return -1;
            work += seconds;
        }
    for (int s = 0; s < e->options->jobs; s++)
        if (e->slots[s].child.pid) {
            const double spent = now - e->slots[s].started, whole = predict(e, e->slots[s].run);
            work -= spent < whole ? spent : whole;
        }
    return work / e->options->jobs;
}

static void eta_text(const executor *e, char text[64])
{
    char time[VMAE_PRICE_TEXT];
    const double left = time_left(e);
    if (left < 0)
        text[0] = 0;
    else
        snprintf(text, 64, ", ETA %s", vmae_price_time(time, left));
}

/* On a terminal: one line that is drawn again and again. */
static void draw_progress(const executor *e)
{
    const slot *first = NULL;
    struct winsize window = { 0 };
    char name[NAME], eta[64], time[VMAE_PRICE_TEXT], more[32] = "", line[512];
    for (int s = 0; s < e->options->jobs; s++)
        if (e->slots[s].child.pid && (!first || e->slots[s].started < first->started))
            first = &e->slots[s];
    if (!e->terminal || !first)
        return;
    vmae_plan_name(e->plan, first->run, name, sizeof name);
    eta_text(e, eta);
    if (e->running > 1)
        snprintf(more, sizeof more, " and %d more", e->running - 1);
    snprintf(line, sizeof line, "[%zu/%zu] %s%s ... %s%s", e->settled + 1, e->report->wanted - e->report->cached, name,
             more, vmae_price_time(time, vmae_seconds() - first->started), eta);
    const int width = ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 8 ? window.ws_col - 1 : 79;
    fprintf(stderr, "\r\033[K%.*s", width, line);
    fflush(stderr);
}

/* One line that stays. */
static void say(const executor *e, size_t run, const char *what)
{
    char name[NAME], eta[64];
    vmae_plan_name(e->plan, run, name, sizeof name);
    eta_text(e, eta);
    clear_line(e);
    fprintf(stderr, "[%zu/%zu] %s: %s%s\n", e->settled, e->report->wanted - e->report->cached, name, what, eta);
}

/* ---- failures ---- */

/* The same sentence about another file, step or number is the same kind. */
static void kind_of(const executor *e, size_t run, const char *message, char kind[200])
{
    size_t used = (size_t)snprintf(kind, 200, "%s:", e->plan->sweep->stages[e->plan->runs[run].stage].protocol->name);
    int words = 0;
    for (const char *at = message; *at && words < KIND_WORDS;) {
        at += strspn(at, " ");
        const size_t length = strcspn(at, " ");
        bool plain = length > 0;
        for (size_t i = 0; i < length; i++)
            plain = plain && at[i] != '/' && !isdigit((unsigned char)at[i]);
        if (plain && used + length + 2 < 200) {
            kind[used++] = ' ';
            memcpy(kind + used, at, length);
            used += length;
            words++;
        }
        at += length;
    }
    kind[used] = 0;
}

static void count_kind(executor *e, size_t run, const char *message)
{
    char kind[200];
    int i = 0;
    kind_of(e, run, message, kind);
    while (i < e->kind_count && strcmp(e->kinds[i].text, kind) != 0)
        i++;
    if (i == KINDS)
        i = KINDS - 1; /* so many kinds: lumped together */
    if (i == e->kind_count) {
        memcpy(e->kinds[i].text, kind, sizeof kind);
        e->kinds[e->kind_count++].count = 0;
    }
    if (++e->kinds[i].count >= SAME_FAILURES && !e->options->keep_going && !e->tripped) {
        e->tripped = true;
        clear_line(e);
        fprintf(stderr, "%d runs have failed alike: nothing new is started (--keep-going goes on)\n", SAME_FAILURES);
    }
}

static void settle(executor *e, size_t run, run_phase phase)
{
    e->phase[run] = phase;
    e->settled++;
    while (e->first_open < e->plan->run_count && e->phase[e->first_open] != WAITING &&
           e->phase[e->first_open] != RUNNING && e->phase[e->first_open] != ELSEWHERE)
        e->first_open++;
}

/* `child` is NULL if it did not come to a process. */
static void fail_run(executor *e, size_t run, const vmae_child *child, const char *message)
{
    char text[MESSAGE + 64];
    settle(e, run, FAILED);
    snprintf(text, sizeof text, "FAILED: %s", message);
    say(e, run, text);
    if (!*e->first_failure) {
        char name[NAME];
        vmae_plan_name(e->plan, run, name, sizeof name);
        snprintf(e->first_failure, sizeof e->first_failure, "%s (%.400s): %.500s", name, e->plan->runs[run].folder,
                 message);
        if (child)
            vmae_child_print_log(child, LOG_LINES, stderr);
    }
    count_kind(e, run, message);
}

/* ---- the end of a run ---- */

static void finish_run(executor *e, size_t run, double seconds, bool whole)
{
    char text[64], time[VMAE_PRICE_TEXT];
    if (whole)
        vmae_speeds_add(&e->speeds, e->plan->sweep->stages[e->plan->runs[run].stage].protocol->name, e->flops[run],
                        seconds);
    e->succeeded++;
    settle(e, run, FINISHED);
    snprintf(text, sizeof text, "done in %s", vmae_price_time(time, seconds));
    say(e, run, text);
}

static void reap(executor *e, slot *s)
{
    int status;
    char message[MESSAGE];
    if (waitpid(s->child.pid, &status, WNOHANG) != s->child.pid)
        return;
    kill(-s->child.pid, SIGKILL); /* whatever it left behind in its group */
    const size_t run = s->run;
    const double seconds = vmae_seconds() - s->started;
    s->child.pid = 0;
    e->running--;
    switch (vmae_child_ended(&s->child, status, message, sizeof message)) {
    case VMAE_CHILD_DONE: finish_run(e, run, seconds, !s->resumed); break;
    case VMAE_CHILD_BUSY: e->phase[run] = ELSEWHERE; break;
    case VMAE_CHILD_INTERRUPTED:
        settle(e, run, LEFT);
        say(e, run, "interrupted");
        break;
    case VMAE_CHILD_FAILED: fail_run(e, run, &s->child, message); break;
    }
    vmae_collector_run(&e->collector, e->plan->runs[run].folder);
}

/* Runs that another process does: they are waited for, and done here if that one gives up. */
static void look_elsewhere(executor *e)
{
    const double now = vmae_seconds();
    if (now - e->looked < BUSY_POLL_S)
        return;
    e->looked = now;
    for (size_t i = e->first_open; i < e->plan->run_count; i++)
        if (e->phase[i] == ELSEWHERE) {
            const vmae_run_state state = vmae_run_inspect(e->plan->runs[i].folder, NULL, 0);
            if (state == VMAE_RUN_DONE) {
                settle(e, i, FINISHED);
                say(e, i, "done by another process");
                vmae_collector_run(&e->collector, e->plan->runs[i].folder);
            } else if (state != VMAE_RUN_BUSY) {
                e->phase[i] = WAITING;
            }
        }
}

/* ---- the start of a run ---- */

static void start_run(executor *e, size_t run, slot *s)
{
    const char *folder = e->plan->runs[run].folder;
    const vmae_run_state state = vmae_run_inspect(folder, NULL, 0);
    if (state == VMAE_RUN_DONE) { /* somebody else did it meanwhile */
        settle(e, run, FINISHED);
        return;
    }
    const int threads = e->options->jobs > 1 ? vmae_machine_cores() / e->options->jobs : 0;
    const int share = e->options->jobs > 1 && threads < 1 ? 1 : threads;
    const vmae_status st = vmae_child_start(e->plan, run, e->program, share, &e->outside, &s->child);
    if (st == VMAE_EBUSY) {
        e->phase[run] = ELSEWHERE;
        say(e, run, vmae_error()); /* names the holder */
        return;
    }
    if (st != VMAE_OK) {
        char message[MESSAGE];
        snprintf(message, sizeof message, "%s", vmae_error());
        fail_run(e, run, NULL, message);
        return;
    }
    s->run = run;
    s->started = vmae_seconds();
    s->resumed = state == VMAE_RUN_PARTIAL;
    e->phase[run] = RUNNING;
    e->running++;
}

/* false while what it builds on is under way; blocks it if that will not come. */
static bool is_ready(executor *e, size_t run)
{
    const int parent = e->plan->runs[run].parent;
    const run_phase phase = parent < 0 ? FINISHED : e->phase[parent];
    if (phase == FAILED || phase == BLOCKED)
        settle(e, run, BLOCKED);
    else if (phase == LEFT)
        settle(e, run, LEFT);
    return phase == FINISHED || phase == CACHED;
}

static slot *free_slot(executor *e)
{
    const int width = e->succeeded > 0 ? e->options->jobs : 1; /* the first alone: a bug shows once */
    if (e->running >= width)
        return NULL;
    for (int s = 0; s < e->options->jobs; s++)
        if (!e->slots[s].child.pid)
            return &e->slots[s];
    return NULL;
}

static void start_runs(executor *e)
{
    slot *s;
    for (size_t i = e->first_open; i < e->plan->run_count && (s = free_slot(e)) && !e->tripped; i++)
        if (e->phase[i] == WAITING && is_ready(e, i))
            start_run(e, i, s);
}

/* ---- the whole ---- */

static void pass_on_stops(executor *e)
{
    const int wanted = stops > 2 ? 2 : (int)stops;
    while (e->stop_sent < wanted) {
        e->stop_sent++;
        clear_line(e);
        if (e->running > 0)
            fprintf(stderr,
                    e->stop_sent == 1 ? "stopping: %d run(s) finish their step and save (again: at once)\n"
                                      : "stopping %d run(s) at once\n",
                    e->running);
        for (int s = 0; s < e->options->jobs; s++)
            if (e->slots[s].child.pid)
                kill(-e->slots[s].child.pid, e->stop_sent == 1 ? SIGTERM : SIGKILL);
    }
}

static bool any_open(const executor *e)
{
    for (size_t i = e->first_open; i < e->plan->run_count; i++)
        if (e->phase[i] == WAITING || e->phase[i] == ELSEWHERE || e->phase[i] == RUNNING)
            return true;
    return false;
}

static void work(executor *e)
{
    for (;;) {
        pass_on_stops(e);
        for (int s = 0; s < e->options->jobs; s++)
            if (e->slots[s].child.pid)
                reap(e, &e->slots[s]);
        const bool starts = !stops && !e->tripped;
        if (starts) {
            look_elsewhere(e);
            start_runs(e);
        }
        if (e->running == 0 && (!starts || !any_open(e)))
            return;
        draw_progress(e);
        wait_for_news(e, TICK_S);
    }
}

static vmae_status prepare(executor *e)
{
    vmae_plan *plan = e->plan;
    VMAE_TRY(vmae_plan_inspect(plan));
    e->phase = vmae_calloc(plan->run_count, sizeof *e->phase);
    e->flops = vmae_calloc(plan->run_count, sizeof *e->flops);
    e->slots = vmae_calloc((size_t)e->options->jobs, sizeof *e->slots);
    if (!e->phase || !e->flops || !e->slots)
        return VMAE_ENOMEM;
    for (size_t i = 0; i < plan->run_count; i++) {
        e->phase[i] = !plan->runs[i].wanted ? NOT_WANTED : plan->runs[i].state == VMAE_RUN_DONE ? CACHED : WAITING;
        e->report->wanted += e->phase[i] != NOT_WANTED;
        e->report->cached += e->phase[i] == CACHED;
    }
    const size_t todo = e->report->wanted - e->report->cached;
    vmae_speeds_measure(&e->speeds, plan->root);
    for (size_t i = 0; i < plan->run_count && todo <= PRICE_AT_MOST; i++)
        if (e->phase[i] == WAITING) {
            vmae_estimate estimate;
            vmae_price_run(plan, i, &estimate);
            e->flops[i] = estimate.flops;
        }
    while (e->first_open < plan->run_count && e->phase[e->first_open] != WAITING)
        e->first_open++;
    e->terminal = isatty(STDERR_FILENO);
    return e->options->vicmae ? ((e->program = vmae_strdup(e->options->vicmae)) ? VMAE_OK : VMAE_ENOMEM)
                              : vmae_child_program(&e->program);
}

static vmae_status sum_up(executor *e)
{
    vmae_execute_report *r = e->report;
    for (size_t i = 0; i < e->plan->run_count; i++) {
        const int parent = e->plan->runs[i].parent; /* parents come first */
        if (e->phase[i] == WAITING && parent >= 0 && (e->phase[parent] == FAILED || e->phase[parent] == BLOCKED))
            e->phase[i] = BLOCKED;
        r->done += e->phase[i] == FINISHED;
        r->failed += e->phase[i] == FAILED;
        r->blocked += e->phase[i] == BLOCKED;
        r->left += e->phase[i] == LEFT || e->phase[i] == WAITING || e->phase[i] == ELSEWHERE;
    }
    clear_line(e);
    fprintf(stderr, "%s-%s: %zu runs: %zu done now, %zu finished before, %zu failed, %zu blocked, %zu left\n",
            e->plan->sweep->name, e->plan->sweep->stored_scale, r->wanted, r->done, r->cached, r->failed, r->blocked,
            r->left);
    if (stops)
        return vmae_fail(VMAE_EINTERRUPTED, "interrupted; the same command goes on");
    if (r->failed)
        return vmae_fail(VMAE_EDATA, "%zu of %zu runs failed; the first was %s", r->failed, r->wanted,
                         e->first_failure);
    return r->left ? vmae_fail(VMAE_EINTERRUPTED, "%zu runs were interrupted; the same command goes on", r->left)
                   : VMAE_OK;
}

static vmae_status execute(executor *e)
{
    struct sigaction old[CAUGHT];
    VMAE_TRY(prepare(e));
    vmae_sweep_print_variant(e->plan->sweep, stderr);
    VMAE_TRY(vmae_plan_write(e->plan));
    VMAE_TRY(vmae_collector_open(&e->collector, e->plan));
    install_handlers(e, old);
    work(e);
    restore_handlers(e, old);
    const vmae_status st = sum_up(e);
    char sentence[2 * MESSAGE];
    snprintf(sentence, sizeof sentence, "%s", st != VMAE_OK ? vmae_error() : "");
    const vmae_status collected = stops ? VMAE_OK : vmae_collector_finish(&e->collector, stdout);
    vmae_collector_close(&e->collector);
    if (st == VMAE_OK)
        return collected;
    if (collected != VMAE_OK)
        log_error("%s", vmae_error());
    return vmae_fail(st, "%s", sentence);
}

vmae_status vmae_execute(vmae_plan *plan, const vmae_execute_options *options, vmae_execute_report *report)
{
    int lock = -1;
    executor e = { .plan = plan, .options = options, .report = report };
    memset(report, 0, sizeof *report);
    if (options->jobs < 1 || options->jobs > JOBS_MAX)
        return vmae_fail(VMAE_EUSER, "--jobs is %d; it must be 1 to %d", options->jobs, JOBS_MAX);
    char *path = vmae_plan_path(plan, ".lock"), *folder = vmae_path_join(plan->root, "sweeps");
    vmae_status st = path && folder ? vmae_make_folders(folder) : VMAE_ENOMEM;
    if (st == VMAE_OK && (st = vmae_lock_take(path, &lock)) == VMAE_EBUSY)
        st = vmae_fail_in(st, "another runner has sweep %s-%s", plan->sweep->name, plan->sweep->stored_scale);
    if (st == VMAE_OK)
        st = execute(&e);
    vmae_lock_release(lock);
    free(e.slots);
    free(e.flops);
    free(e.phase);
    free(e.program);
    free(folder);
    free(path);
    return st;
}
