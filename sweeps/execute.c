/* execute.c -- does what is missing: slots, order, failures, stops. */
#include "sweeps/sweep.h"

#include "sweeps/child.h"
#include "sweeps/collect.h"
#include "sweeps/console.h"
#include "sweeps/failures.h"
#include "sweeps/price.h"
#include "sweeps/stops.h"

#include "engine/core/fs.h"
#include "engine/core/log.h"
#include "engine/core/mem.h"
#include "engine/core/text.h"
#include "experiments/machine.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

enum {
    SAME_FAILURES = 3, /* then nothing new is started */
    LOG_LINES = 20,
    MESSAGE = 1200,
    NAME = 160,
    JOBS_MAX = 1024,
    PRICE_AT_MOST = 5000 /* runs: planning their cost takes time itself */
};
static const double BUSY_POLL_S = 0.5, TICK_S = 0.5, PROGRESS_S = 60;

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
    vmae_watch watch;
} slot;

typedef struct executor {
    vmae_plan *plan;
    const vmae_execute_options *options;
    vmae_execute_report *report;
    vmae_collector collector;
    char *program;
    run_phase *phase; /* by run */
    vmae_price *prices;
    slot *slots;
    size_t first_open; /* every run before it is settled */
    size_t settled;    /* of wanted, without the cached ones */
    bool succeeded;    /* some run of this sweep, now or before */
    int running;
    vmae_failures failures;
    bool tripped; /* too many failures of a kind */
    char first_failure[MESSAGE];
    int stop_sent; /* signals passed on so far */
    double looked; /* when runs elsewhere were last looked at */
    vmae_speeds speeds;
    vmae_console console;
    vmae_stops stops;
} executor;

static const char *protocol_of(const executor *e, size_t run)
{
    return e->plan->sweep->stages[e->plan->runs[run].stage].protocol->name;
}

/* ---- how long it takes ---- */

static double predict(const executor *e, const vmae_speeds *speeds, size_t run)
{
    return vmae_speeds_predict_rest(speeds, protocol_of(e, run), &e->prices[run]);
}

/* Of a running run: by its own pace, else by that of finished ones. */
static vmae_eta eta_of_run(const executor *e, const slot *s)
{
    double left = vmae_watch_left(&s->watch);
    if (left < 0) {
        const double whole = predict(e, &e->speeds, s->run), spent = vmae_seconds() - s->started;
        left = whole < 0 ? -1 : whole > spent ? whole - spent : 0;
    }
    return (vmae_eta){ left >= 0 ? left : 0, left >= 0, left >= 0 };
}

/* Finished runs, and for protocols of which none is finished yet what a running one promises. */
static void guess_speeds(const executor *e, vmae_speeds *speeds)
{
    *speeds = e->speeds;
    for (int i = 0; i < e->options->jobs; i++) {
        const slot *s = &e->slots[i];
        if (!s->child.pid || s->resumed || predict(e, &e->speeds, s->run) >= 0)
            continue;
        const vmae_eta left = eta_of_run(e, s);
        if (left.known)
            vmae_speeds_add(speeds, protocol_of(e, s->run), e->prices[s->run].whole.flops,
                            vmae_seconds() - s->started + left.seconds);
    }
}

/* Until all is done. */
static vmae_eta eta_of_all(const executor *e)
{
    vmae_speeds speeds;
    vmae_eta eta = { 0, false, true };
    guess_speeds(e, &speeds);
    for (size_t i = e->first_open; i < e->plan->run_count; i++)
        if (e->phase[i] == WAITING) {
            const double seconds = predict(e, &speeds, i);
            eta.seconds += seconds >= 0 ? seconds : 0;
            eta.known |= seconds >= 0;
            eta.complete &= seconds >= 0;
        }
    for (int s = 0; s < e->options->jobs; s++)
        if (e->slots[s].child.pid) {
            const vmae_eta left = eta_of_run(e, &e->slots[s]);
            eta.seconds += left.seconds;
            eta.known |= left.known;
            eta.complete &= left.known;
        }
    eta.seconds /= e->options->jobs;
    return eta;
}

/* ---- what is said ---- */

static void say(const executor *e, size_t number, size_t run, const char *what)
{
    char name[NAME];
    vmae_plan_name(e->plan, run, name, sizeof name);
    vmae_console_say(&e->console, number, name, what, eta_of_all(e));
}

static void show_progress(executor *e)
{
    slot *first = NULL;
    char name[NAME];
    for (int s = 0; s < e->options->jobs; s++)
        if (e->slots[s].child.pid) {
            vmae_watch_look(&e->slots[s].watch, e->slots[s].child.folder);
            if (!first || e->slots[s].started < first->started)
                first = &e->slots[s];
        }
    if (!first || !vmae_console_is_due(&e->console))
        return;
    vmae_plan_name(e->plan, first->run, name, sizeof name);
    vmae_console_progress(&e->console, e->settled + 1, name, e->running - 1, &first->watch,
                          vmae_seconds() - first->started, eta_of_run(e, first), eta_of_all(e));
}

/* ---- failures ---- */

static void count_failure(executor *e, size_t run, const char *message)
{
    if (vmae_failures_add(&e->failures, protocol_of(e, run), message) < SAME_FAILURES || e->options->keep_going ||
        e->tripped)
        return;
    e->tripped = true;
    vmae_console_clear(&e->console);
    fprintf(stderr, "%d runs have failed alike: nothing new is started (--keep-going goes on)\n", SAME_FAILURES);
}

static void settle(executor *e, size_t run, run_phase phase)
{
    e->phase[run] = phase;
    e->settled++;
    e->succeeded |= phase == FINISHED;
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
    say(e, e->settled, run, text);
    if (!*e->first_failure) {
        char name[NAME];
        vmae_plan_name(e->plan, run, name, sizeof name);
        snprintf(e->first_failure, sizeof e->first_failure, "%s (%.400s): %.500s", name, e->plan->runs[run].folder,
                 message);
        if (child)
            vmae_child_print_log(child, LOG_LINES, stderr);
    }
    count_failure(e, run, message);
}

/* ---- the end of a run ---- */

static void finish_run(executor *e, size_t run, double seconds, bool whole)
{
    char text[64], time[VMAE_TIME_TEXT];
    if (whole && e->prices[run].known)
        vmae_speeds_add(&e->speeds, protocol_of(e, run), e->prices[run].whole.flops, seconds);
    settle(e, run, FINISHED);
    snprintf(text, sizeof text, "done in %s", vmae_time_text(time, seconds));
    say(e, e->settled, run, text);
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
        say(e, e->settled, run, "interrupted");
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
                say(e, e->settled, i, "done by another process");
                vmae_collector_run(&e->collector, e->plan->runs[i].folder);
            } else if (state != VMAE_RUN_BUSY) {
                e->phase[i] = WAITING;
            }
        }
}

/* ---- the start of a run ---- */

/* Each of the runs that may go side by side gets its share of the cores; so does the first, which runs alone: how many
 * threads there are may change last bits (docs/numerics.md), and one command's runs are held against each other. */
static int share_of_cores(const executor *e)
{
    const int share = vmae_machine_cores() / e->options->jobs;
    return e->options->jobs == 1 ? 0 : share > 1 ? share : 1;
}

static void say_started(const executor *e, const slot *s)
{
    char text[MESSAGE];
    if (e->console.terminal) /* there the progress line says so */
        return;
    snprintf(text, sizeof text, "%s, log in %s/log.txt", s->resumed ? "goes on" : "started", s->child.folder);
    say(e, e->settled + (size_t)e->running, s->run, text);
}

static void start_run(executor *e, size_t run, slot *s)
{
    const vmae_run_state state = vmae_run_inspect(e->plan->runs[run].folder, NULL, 0);
    if (state == VMAE_RUN_DONE) { /* somebody else did it meanwhile */
        settle(e, run, FINISHED);
        return;
    }
    const vmae_status st = vmae_child_start(e->plan, run, e->program, share_of_cores(e), &e->stops.outside, &s->child);
    if (st == VMAE_EBUSY) {
        e->phase[run] = ELSEWHERE;
        say(e, e->settled, run, vmae_error()); /* names the holder */
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
    s->resumed = state == VMAE_RUN_PARTIAL || e->prices[run].rest < 1;
    vmae_watch_begin(&s->watch, e->plan->runs[run].folder, e->prices[run].whole.steps);
    e->phase[run] = RUNNING;
    e->running++;
    say_started(e, s);
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
    const int width = e->succeeded ? e->options->jobs : 1; /* the first alone: a bug shows once */
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
    const int count = vmae_stops_count(), wanted = count > 2 ? 2 : count;
    while (e->stop_sent < wanted) {
        e->stop_sent++;
        vmae_console_clear(&e->console);
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
        const bool starts = !vmae_stops_count() && !e->tripped;
        if (starts) {
            look_elsewhere(e);
            start_runs(e);
        }
        if (e->running == 0 && (!starts || !any_open(e)))
            return;
        show_progress(e);
        vmae_stops_wait(&e->stops, e->console.every < TICK_S ? e->console.every : TICK_S);
    }
}

static vmae_status prepare(executor *e)
{
    vmae_plan *plan = e->plan;
    VMAE_TRY(vmae_plan_inspect(plan));
    e->phase = vmae_calloc(plan->run_count, sizeof *e->phase);
    e->prices = vmae_calloc(plan->run_count, sizeof *e->prices);
    e->slots = vmae_calloc((size_t)e->options->jobs, sizeof *e->slots);
    if (!e->phase || !e->prices || !e->slots)
        return VMAE_ENOMEM;
    for (size_t i = 0; i < plan->run_count; i++) {
        e->phase[i] = !plan->runs[i].wanted ? NOT_WANTED : plan->runs[i].state == VMAE_RUN_DONE ? CACHED : WAITING;
        e->report->wanted += e->phase[i] != NOT_WANTED;
        e->report->cached += e->phase[i] == CACHED;
    }
    const size_t todo = e->report->wanted - e->report->cached;
    vmae_speeds_measure(&e->speeds, plan->root);
    e->succeeded = e->report->cached > 0;
    for (size_t i = 0; i < plan->run_count; i++) {
        e->prices[i] = (vmae_price){ .rest = 1 };
        if (e->phase[i] == WAITING && todo <= PRICE_AT_MOST)
            e->prices[i] = vmae_price_run(plan, i);
    }
    while (e->first_open < plan->run_count && e->phase[e->first_open] != WAITING)
        e->first_open++;
    vmae_console_open(&e->console, e->options->progress_s > 0 ? e->options->progress_s : PROGRESS_S, todo);
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
    vmae_console_clear(&e->console);
    fprintf(stderr, "%s-%s: %zu runs: %zu done now, %zu finished before, %zu failed, %zu blocked, %zu left\n",
            e->plan->sweep->name, e->plan->sweep->stored_scale, r->wanted, r->done, r->cached, r->failed, r->blocked,
            r->left);
    if (vmae_stops_count() && r->left) /* a signal that came while the last run ended has changed nothing */
        return vmae_fail(VMAE_EINTERRUPTED, "interrupted; the same command goes on");
    if (r->failed)
        return vmae_fail(VMAE_EDATA, "%zu of %zu runs failed; the first was %s", r->failed, r->wanted,
                         e->first_failure);
    return r->left ? vmae_fail(VMAE_EINTERRUPTED, "%zu runs were interrupted; the same command goes on", r->left)
                   : VMAE_OK;
}

static vmae_status execute(executor *e)
{
    VMAE_TRY(prepare(e));
    vmae_sweep_print_variant(e->plan->sweep, stderr);
    VMAE_TRY(vmae_plan_write(e->plan));
    VMAE_TRY(vmae_collector_open(&e->collector, e->plan));
    vmae_stops_install(&e->stops);
    work(e);
    vmae_stops_restore(&e->stops);
    const vmae_status st = sum_up(e);
    char sentence[2 * MESSAGE];
    snprintf(sentence, sizeof sentence, "%s", st != VMAE_OK ? vmae_error() : "");
    const bool interrupted = vmae_stops_count() && e->report->left;
    const vmae_status collected = interrupted ? VMAE_OK : vmae_collector_finish(&e->collector, stdout);
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
    free(e.prices);
    free(e.phase);
    free(e.program);
    free(folder);
    free(path);
    return st;
}
