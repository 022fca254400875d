/* run.c -- a run's folder from lock to done.json. */
#include "experiments/history.h"
#include "experiments/machine.h"
#include "experiments/record.h"

#include "engine/core/fs.h"
#include "engine/core/log.h"
#include "engine/core/mem.h"

#include <fcntl.h>
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
    LOCK_TRIES = 20, /* somebody who inspects the folder holds the lock for microseconds */
    LOCK_WAIT_MS = 10
};

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

/* ---- the end ---- */

static json_t *value_as_json(double value)
{
    if (isfinite(value))
        return json_real(value);
    return json_string(isnan(value) ? "nan" : value > 0 ? "inf" : "-inf");
}

static vmae_status write_done(vmae_live_run *live)
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

/* Journals how the attempt ended and closes the journal. Returns the protocol's status, or what went wrong in here. */
static vmae_status finish(vmae_live_run *live, vmae_status st)
{
    char sentence[VMAE_SENTENCE] = "";
    if (st != VMAE_OK)
        snprintf(sentence, sizeof sentence, "%s", vmae_error());
    const vmae_status written = vmae_record_end(live, st, sentence), closed = vmae_journal_close(live->run.journal);
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

/* What a run resumes from is of no use once it is done. Not before: whoever is killed in between must find it. */
static void remove_states(const vmae_run *run)
{
    static const char *const names[] = { "resume.safetensors", "resume.safetensors.previous" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *path = vmae_run_path(run, names[i]);
        if (path)
            unlink(path); /* it may be there or not: nothing depends on it */
        free(path);
    }
}

/* With the folder locked. */
static vmae_status attempt(vmae_live_run *live)
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
    if (st == VMAE_OK)
        remove_states(&live->run);
    return st;
}

vmae_status vmae_run_main(const vmae_protocol *protocol, vmae_config *config, const char *root, const char *folder)
{
    vmae_status st;
    bool finished = false;
    vmae_live_run live = { .run = { .protocol = protocol, .config = config, .lock = -1 } };
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
    if (finished) {
        log_info("%s %.16s is finished already: %s", protocol->name, live.run.identity, live.run.folder);
        remove_states(&live.run); /* left by a kill right after done.json was written; nobody else needs them */
    } else
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
