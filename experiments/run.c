/* run.c -- a run's folder from lock to done.json. */
#include "experiments/run.h"
#include "experiments/history.h"
#include "experiments/machine.h"

#include "engine/core/fs.h"
#include "engine/core/log.h"
#include "engine/core/mem.h"

#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    SENTENCE = 2048,
    LOCK_TRIES = 20, /* somebody who inspects the folder holds the lock for microseconds */
    LOCK_WAIT_MS = 10
};

/* A run with what its process needs to know besides. */
typedef struct live_run {
    vmae_run run; /* first: a vmae_run * is a live_run * */
    bool begun;
    int64_t first_step, last_step;
    json_t *fingerprints, *datasets; /* by role */
    json_t *facts;                   /* of the machine */
} live_run;

/* ---- signals ---- */

static const int stop_signals[] = { SIGINT, SIGTERM, SIGUSR1, SIGUSR2 };
enum { STOP_SIGNALS = sizeof stop_signals / sizeof *stop_signals };

static volatile sig_atomic_t stop_requested, interrupted;
static double first_interrupt; /* written once, by the handler */

/* timeout(1) and shells send one Ctrl-C to the process and to its group: what follows within this time is the same one.
 */
static const double SAME_INTERRUPT_S = 0.25;

static void on_signal(int number)
{
    struct timespec now;
    stop_requested = 1;
    if (number != SIGINT || clock_gettime(CLOCK_MONOTONIC, &now) != 0)
        return;
    const double seconds = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    if (interrupted && seconds - first_interrupt > SAME_INTERRUPT_S)
        _exit(130);
    if (!interrupted)
        first_interrupt = seconds;
    interrupted = 1;
}

static void install_handlers(struct sigaction old[STOP_SIGNALS])
{
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
    sigemptyset(&action.sa_mask);
    stop_requested = interrupted = 0;
    for (int i = 0; i < STOP_SIGNALS; i++)
        sigaction(stop_signals[i], &action, &old[i]);
}

static void restore_handlers(const struct sigaction old[STOP_SIGNALS])
{
    for (int i = 0; i < STOP_SIGNALS; i++)
        sigaction(stop_signals[i], &old[i], NULL);
}

bool vmae_run_stop_requested(void)
{
    return stop_requested != 0;
}

/* ---- events ---- */

/* Writes the event and drops the reference. */
static vmae_status write_event(vmae_run *run, json_t *event)
{
    char *text = event ? json_dumps(event, JSON_COMPACT) : NULL;
    json_decref(event);
    if (!text)
        return vmae_fail(VMAE_EINTERNAL, "%s: an event cannot be written as JSON (text that is not UTF-8?)",
                         run->folder);
    const vmae_status st = vmae_journal_event(run->journal, text);
    free(text);
    return st;
}

static json_t *config_as_json(const vmae_config *config)
{
    json_t *map = json_object();
    for (size_t i = 0; map && i < vmae_config_count(config); i++) {
        const char *name = vmae_config_at(config, i)->name;
        json_object_set_new(map, name, json_string(vmae_config_value(config, name)));
    }
    return map;
}

static vmae_status write_attempt(live_run *live)
{
    char start[32];
    const double now = vmae_wall_seconds();
    const time_t seconds = (time_t)now;
    struct tm utc;
    gmtime_r(&seconds, &utc);
    strftime(start, sizeof start, "%Y-%m-%dT%H:%M:%SZ", &utc);
    return write_event(&live->run,
                       json_pack("{s:s, s:i, s:s, s:s, s:i, s:s, s:f, s:I, s:s, s:O}", "type", "attempt", "attempt",
                                 live->run.attempt, "host", vmae_machine_host(), "boot_id", vmae_machine_boot_id(),
                                 "pid", (int)getpid(), "start_time", start, "start_seconds", now, "first_step",
                                 (json_int_t)live->first_step, "revision", vmae_revision(), "machine", live->facts));
}

static vmae_status write_run(live_run *live)
{
    const vmae_config *config = live->run.config;
    json_t *parents = json_array();
    if (live->run.protocol->needs_checkpoint) {
        const char *parent = vmae_config_text(config, "parent");
        if (strlen(parent) == VMAE_HASH_HEX - 1)
            json_array_append_new(parents, json_string(parent));
    }
    json_t *event = json_pack("{s:s, s:s, s:s, s:o, s:o, s:O, s:O}", "type", "run", "identity", live->run.identity,
                              "protocol", live->run.protocol->name, "config", config_as_json(config), "parents",
                              parents, "fingerprints", live->fingerprints, "datasets", live->datasets);
    if (event && vmae_config_option(config, "seed"))
        json_object_set_new(event, "seed", json_integer((json_int_t)vmae_config_int(config, "seed")));
    return write_event(&live->run, event);
}

static vmae_status begin_at(live_run *live, int64_t first_step)
{
    live->first_step = live->last_step = first_step;
    VMAE_TRY(write_attempt(live));
    live->begun = true;
    return write_run(live);
}

static vmae_status check_begun(const live_run *live, const char *what)
{
    return live->begun ? VMAE_OK
                       : vmae_fail(VMAE_EINTERNAL, "%s: protocol %s writes %s before it has begun", live->run.folder,
                                   live->run.protocol->name, what);
}

/* Weight gradients may differ in their last bits between numbers of threads (docs/numerics.md, "The same bits"). */
static vmae_status warn_of_threads(const live_run *live)
{
    vmae_history history = { 0 };
    const char *now = json_string_value(json_object_get(live->facts, "threads"));
    char *journal = vmae_run_path(&live->run, "journal");
    const vmae_status st = journal ? vmae_history_read(&history, journal) : VMAE_ENOMEM;
    if (st == VMAE_OK && now && *history.threads && strcmp(history.threads, now) != 0)
        log_warn("this run began with threads=%s and goes on with %s: the same bits are promised for the same number "
                 "of threads",
                 history.threads, now);
    vmae_history_release(&history);
    free(journal);
    return st;
}

vmae_status vmae_run_begin(vmae_run *run, int64_t first_step)
{
    live_run *live = (live_run *)run;
    if (live->begun || first_step < 0)
        return vmae_fail(VMAE_EINTERNAL, "%s: protocol %s begins at step %lld%s", run->folder, run->protocol->name,
                         (long long)first_step, live->begun ? ", a second time" : "");
    if (first_step > 0)
        VMAE_TRY(warn_of_threads(live));
    return begin_at(live, first_step);
}

vmae_status vmae_run_metrics(vmae_run *run, int64_t step, const vmae_metric *metrics, size_t count)
{
    live_run *live = (live_run *)run;
    VMAE_TRY(check_begun(live, "metrics"));
    VMAE_TRY(vmae_journal_metrics(run->journal, step, metrics, count));
    if (step > live->last_step)
        live->last_step = step;
    return VMAE_OK;
}

vmae_status vmae_run_artefact(vmae_run *run, const char *kind, const char *name)
{
    VMAE_TRY(check_begun((live_run *)run, "an artefact"));
    char hex[VMAE_HASH_HEX];
    struct stat info;
    char *path = vmae_run_path(run, name);
    if (!path)
        return VMAE_ENOMEM;
    vmae_status st = vmae_hash_file(path, hex);
    if (st == VMAE_OK && stat(path, &info) != 0)
        st = vmae_fail(VMAE_EIO, "cannot look at %s", path);
    free(path);
    VMAE_TRY(st);
    return write_event(run, json_pack("{s:s, s:s, s:s, s:s, s:I}", "type", "artefact", "kind", kind, "path", name,
                                      "sha256", hex, "bytes", (json_int_t)info.st_size));
}

vmae_status vmae_run_skipped(vmae_run *run, const char *dataset, const char *sample, const char *reason)
{
    VMAE_TRY(check_begun((live_run *)run, "a skipped sample"));
    json_t *event = json_pack("{s:s, s:s}", "type", "skipped", "dataset", dataset);
    /* file names need not be UTF-8 */
    json_t *name = json_string(sample), *why = json_string(reason);
    json_object_set_new(event, "sample", name ? name : json_string("(a name that is not UTF-8)"));
    json_object_set_new(event, "reason", why ? why : json_string("(text that is not UTF-8)"));
    return write_event(run, event);
}

vmae_status vmae_run_dataset(vmae_run *run, const char *role, const char *description, const char *fingerprint)
{
    live_run *live = (live_run *)run;
    json_object_set_new(live->fingerprints, role, json_string(fingerprint));
    json_t *text = json_string(description);
    json_object_set_new(live->datasets, role, text ? text : json_string("(a path that is not UTF-8)"));
    return live->begun ? write_run(live) : VMAE_OK;
}

vmae_status vmae_run_fact(vmae_run *run, const char *name, const char *value)
{
    live_run *live = (live_run *)run;
    json_object_set_new(live->facts, name, json_string(value));
    return live->begun ? vmae_fail(VMAE_EINTERNAL, "%s: protocol %s learns of the machine after it has begun",
                                   run->folder, run->protocol->name)
                       : VMAE_OK;
}

char *vmae_run_path(const vmae_run *run, const char *name)
{
    return vmae_path_join(run->folder, name);
}

/* ---- the end ---- */

static json_t *value_as_json(double value)
{
    if (isfinite(value))
        return json_real(value);
    return json_string(isnan(value) ? "nan" : value > 0 ? "inf" : "-inf");
}

static vmae_status write_done(live_run *live)
{
    vmae_status st;
    vmae_history history = { 0 };
    vmae_estimate estimate = { 0 };
    char *journal = vmae_run_path(&live->run, "journal"), *path = vmae_run_path(&live->run, "done.json"), *text = NULL;
    json_t *done = NULL, *metrics = json_object();
    if (!journal || !path || !metrics) {
        st = VMAE_ENOMEM;
        goto done;
    }
    /* from the journal, because some may have been measured by earlier attempts only */
    if ((st = vmae_history_read(&history, journal)) != VMAE_OK)
        goto done;
    for (size_t i = 0; i < history.metric_count; i++)
        json_object_set_new(metrics, history.metrics[i].name, value_as_json(history.metrics[i].value));
    done = json_pack("{s:s, s:s, s:s, s:O, s:I, s:f, s:i}", "identity", live->run.identity, "protocol",
                     live->run.protocol->name, "status", "done", "metrics", metrics, "last_step",
                     (json_int_t)history.last_step, "seconds", history.seconds, "attempts", history.attempts);
    if (live->run.protocol->estimate(live->run.config, &estimate) == VMAE_OK && estimate.flops > 0)
        json_object_set_new(done, "flops", json_real(estimate.flops));
    if (history.checkpoint) {
        json_t *event = json_loads(history.checkpoint, 0, NULL);
        json_object_del(event, "type");
        json_object_del(event, "kind");
        json_object_set_new(done, "checkpoint", event);
    }
    text = done ? json_dumps(done, JSON_INDENT(2)) : NULL;
    st = text ? vmae_write_file(path, text, strlen(text)) : vmae_fail(VMAE_ENOMEM, "out of memory for %s", path);
done:
    json_decref(done);
    json_decref(metrics);
    vmae_history_release(&history);
    free(text);
    free(path);
    free(journal);
    return st;
}

static const char *end_status(vmae_status st)
{
    switch (st) {
    case VMAE_OK: return "done";
    case VMAE_EINTERRUPTED: return "interrupted";
    case VMAE_EDIVERGED: return "diverged";
    default: return "failed";
    }
}

/* An attempt that failed before it began takes nothing back: it starts where the journal ends. */
static vmae_status begin_late(live_run *live)
{
    vmae_history history = { 0 };
    char *journal = vmae_run_path(&live->run, "journal");
    vmae_status st = journal ? vmae_history_read(&history, journal) : VMAE_ENOMEM;
    if (st == VMAE_OK)
        st = begin_at(live, history.last_step);
    vmae_history_release(&history);
    free(journal);
    return st;
}

/* Journals how the attempt ended and closes the journal. Returns the protocol's status, or what went wrong in here. */
static vmae_status finish(live_run *live, vmae_status st)
{
    char sentence[SENTENCE] = "";
    if (st != VMAE_OK)
        snprintf(sentence, sizeof sentence, "%s", vmae_error());
    vmae_status written = live->begun ? VMAE_OK : begin_late(live);
    json_t *message = json_string(sentence);
    if (written == VMAE_OK)
        written = write_event(&live->run, json_pack("{s:s, s:s, s:o, s:I}", "type", "end", "status", end_status(st),
                                                    "message", message ? message : json_string("(not UTF-8)"),
                                                    "last_step", (json_int_t)live->last_step));
    else
        json_decref(message);
    const vmae_status closed = vmae_journal_close(live->run.journal);
    live->run.journal = NULL;
    if (st != VMAE_OK)
        return vmae_fail(st, "%s", sentence); /* the first failure is the one to know */
    VMAE_TRY(written);
    VMAE_TRY(closed);
    return write_done(live);
}

/* ---- the start ---- */

static vmae_status take_lock(const char *folder, int *lock)
{
    char *path = vmae_path_join(folder, "lock");
    vmae_status st = path ? VMAE_EBUSY : VMAE_ENOMEM;
    for (int i = 0; i < LOCK_TRIES && st == VMAE_EBUSY; i++) {
        if (i > 0)
            nanosleep(&(struct timespec){ 0, LOCK_WAIT_MS * 1000000L }, NULL);
        st = vmae_lock_take(path, lock);
    }
    free(path);
    return st;
}

/* The identity in an existing done.json. */
static vmae_status read_done(const char *path, char identity[VMAE_HASH_HEX])
{
    char *text = NULL;
    size_t count = 0;
    VMAE_TRY(vmae_read_file(path, 1 << 24, &text, &count));
    json_t *done = json_loadb(text, count, 0, NULL);
    const char *value = json_string_value(json_object_get(done, "identity"));
    vmae_status st = VMAE_OK;
    if (value && strlen(value) == VMAE_HASH_HEX - 1)
        memcpy(identity, value, VMAE_HASH_HEX);
    else
        st = vmae_fail(VMAE_EDATA, "%s is damaged (it names no run); delete it to run this again", path);
    json_decref(done);
    free(text);
    return st;
}

/* Sets *finished if the folder holds this run, finished; fails if it holds another run. */
static vmae_status check_folder(const vmae_run *run, bool *finished)
{
    char identity[VMAE_HASH_HEX] = "";
    char *path = vmae_run_path(run, "done.json"), *journal = vmae_run_path(run, "journal");
    vmae_status st = path && journal ? VMAE_OK : VMAE_ENOMEM;
    vmae_history history = { 0 };
    *finished = false;
    if (st == VMAE_OK && vmae_path_exists(path)) {
        *finished = true;
        st = read_done(path, identity);
    } else if (st == VMAE_OK && (st = vmae_history_read(&history, journal)) == VMAE_OK) {
        memcpy(identity, history.identity, sizeof identity);
    }
    if (st == VMAE_OK && *identity && strcmp(identity, run->identity) != 0)
        st = vmae_fail(VMAE_EUSER,
                       "%s holds run %.16s, but the configuration and data given now make run %.16s: an option or a "
                       "dataset has changed; give another folder",
                       run->folder, identity, run->identity);
    vmae_history_release(&history);
    free(journal);
    free(path);
    return st;
}

static vmae_status write_config(const vmae_run *run)
{
    char *path = vmae_run_path(run, "config.cfg"), *text = vmae_config_print(run->config);
    const vmae_status st = path && text ? vmae_write_file(path, text, strlen(text)) : VMAE_ENOMEM;
    free(text);
    free(path);
    return st;
}

/* Log lines also go to log.txt, unless stderr is that file already, as under vicmae-sweep. */
static vmae_status start_log(const vmae_run *run)
{
    struct stat file, console;
    char *path = vmae_run_path(run, "log.txt");
    if (!path)
        return VMAE_ENOMEM;
    const bool same = stat(path, &file) == 0 && fstat(STDERR_FILENO, &console) == 0 && file.st_dev == console.st_dev &&
                      file.st_ino == console.st_ino;
    const vmae_status st = same ? VMAE_OK : vmae_log_file(path);
    free(path);
    return st;
}

/* Removes what a killed attempt was in the middle of writing ("<name>.tmp-<pid>", engine/core/fs.h): each may be as
 * large as a checkpoint. With the folder locked nobody else is writing here. */
static void remove_torn_files(const vmae_run *run)
{
    char **names = NULL;
    size_t count = 0;
    if (vmae_list_folder(run->folder, false, &names, &count) != VMAE_OK)
        return; /* what matters will say so */
    for (size_t i = 0; i < count; i++) {
        const char *tail = strstr(names[i], ".tmp-");
        if (!tail || !tail[5] || tail[5 + strspn(tail + 5, "0123456789")])
            continue;
        char *path = vmae_run_path(run, names[i]);
        if (path && unlink(path) == 0)
            log_info("removed %s, which a killed attempt left half written", path);
        free(path);
    }
    vmae_list_free(names, count);
}

/* With the folder locked. */
static vmae_status attempt(live_run *live)
{
    remove_torn_files(&live->run);
    VMAE_TRY(write_config(&live->run));
    char *journal = vmae_run_path(&live->run, "journal");
    const vmae_status opened = journal ? vmae_journal_open(&live->run.journal, journal) : VMAE_ENOMEM;
    free(journal);
    VMAE_TRY(opened);
    live->run.attempt = vmae_journal_attempts(live->run.journal) + 1;
    VMAE_TRY(start_log(&live->run));
    log_info("%s %.16s, attempt %d", live->run.protocol->name, live->run.identity, live->run.attempt);

    struct sigaction old[STOP_SIGNALS];
    install_handlers(old);
    const vmae_status st = finish(live, live->run.protocol->run(&live->run));
    restore_handlers(old);
    return st;
}

vmae_status vmae_run_main(const vmae_protocol *protocol, vmae_config *config, const char *root, const char *folder)
{
    vmae_status st;
    bool finished = false;
    live_run live = { .run = { .protocol = protocol, .config = config, .lock = -1 } };
    VMAE_TRY(vmae_run_fill_parent(protocol, config));
    VMAE_TRY(vmae_run_check_parent(protocol, config));
    VMAE_TRY(protocol->resolve(config));
    VMAE_TRY(vmae_run_identity(protocol, config, live.run.identity));

    live.run.folder = folder ? vmae_strdup(folder) : vmae_format("%s/%.*s", root, VMAE_RUN_NAME, live.run.identity);
    live.fingerprints = json_object();
    live.datasets = json_object();
    live.facts = vmae_machine_facts();
    if (!live.run.folder || !live.fingerprints || !live.datasets || !live.facts) {
        st = VMAE_ENOMEM;
        goto done;
    }
    if ((st = vmae_make_folders(live.run.folder)) != VMAE_OK || (st = check_folder(&live.run, &finished)) != VMAE_OK)
        goto done;
    if (!finished) {
        if ((st = take_lock(live.run.folder, &live.run.lock)) != VMAE_OK ||
            (st = check_folder(&live.run, &finished)) != VMAE_OK) /* whoever held the lock may have finished it */
            goto done;
    }
    if (finished)
        log_info("%s %.16s is finished already: %s", protocol->name, live.run.identity, live.run.folder);
    else
        st = attempt(&live);
done:
    vmae_journal_close(live.run.journal);
    vmae_lock_release(live.run.lock);
    json_decref(live.fingerprints);
    json_decref(live.datasets);
    json_decref(live.facts);
    free(live.run.folder);
    return st;
}

/* ---- looking at a run from outside ---- */

static bool is_locked(const char *folder)
{
    char *path = vmae_path_join(folder, "lock");
    const int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    const bool locked = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) != 0;
    if (fd >= 0)
        close(fd);
    free(path);
    return locked;
}

static bool has_file(const char *folder, const char *name)
{
    char *path = vmae_path_join(folder, name);
    const bool there = path && vmae_path_exists(path);
    free(path);
    return there;
}

vmae_run_state vmae_run_inspect(const char *folder, char *message, size_t size)
{
    char nothing[1];
    if (!message) {
        message = nothing;
        size = sizeof nothing;
    }
    snprintf(message, size, "%s", "");
    if (has_file(folder, "done.json"))
        return VMAE_RUN_DONE;
    if (!vmae_path_is_folder(folder))
        return VMAE_RUN_NEW;
    if (is_locked(folder))
        return VMAE_RUN_BUSY;
    if (has_file(folder, "done.json")) /* it finished between the two looks */
        return VMAE_RUN_DONE;

    vmae_history history = { 0 };
    vmae_run_state state = VMAE_RUN_NEW;
    char *journal = vmae_path_join(folder, "journal");
    if (!journal || vmae_history_read(&history, journal) != VMAE_OK) {
        snprintf(message, size, "%s", vmae_error());
        state = VMAE_RUN_FAILED;
    } else if (history.attempts > 0 &&
               (strcmp(history.status, "failed") == 0 || strcmp(history.status, "diverged") == 0)) {
        snprintf(message, size, "%s", history.message);
        state = VMAE_RUN_FAILED;
    } else if (history.attempts > 0) {
        snprintf(message, size, "%s at step %lld", *history.status ? "interrupted" : "killed",
                 (long long)history.last_step);
        state = VMAE_RUN_PARTIAL;
    }
    vmae_history_release(&history);
    free(journal);
    return state;
}
