/* record.c -- what a run's process writes into its journal: the attempt, the run, metrics, artefacts, the end. */
#include "experiments/record.h"
#include "experiments/history.h"
#include "experiments/machine.h"

#include "engine/core/fs.h"
#include "engine/core/log.h"
#include "engine/core/mem.h"
#include "engine/core/text.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Any text as JSON: names of files and what is said of them need not be UTF-8, and may be cut within a character. */
static json_t *text_as_json(const char *text)
{
    char shown[VMAE_SENTENCE];
    vmae_display_text(shown, sizeof shown, text);
    return json_string(shown);
}

/* Writes the event and drops the reference. */
static vmae_status write_event(vmae_run *run, json_t *event)
{
    char *text = event ? json_dumps(event, JSON_COMPACT) : NULL;
    json_decref(event);
    if (!text)
        return vmae_fail(VMAE_EINTERNAL, "%s: an event cannot be written as JSON", run->folder);
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

/* Which options do not change the numbers, for whoever compares runs without knowing the options. */
static json_t *speed_options(const vmae_config *config)
{
    json_t *names = json_array();
    for (size_t i = 0; names && i < vmae_config_count(config); i++)
        if (vmae_config_at(config, i)->role == VMAE_SPEED_ONLY)
            json_array_append_new(names, json_string(vmae_config_at(config, i)->name));
    return names;
}

static vmae_status write_attempt(vmae_live_run *live)
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

static vmae_status write_run(vmae_live_run *live)
{
    const vmae_config *config = live->run.config;
    json_t *parents = json_array();
    if (live->run.protocol->needs_checkpoint) {
        const char *parent = vmae_config_text(config, "parent");
        if (strlen(parent) == VMAE_HASH_HEX - 1)
            json_array_append_new(parents, json_string(parent));
    }
    json_t *event =
        json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:O, s:O}", "type", "run", "identity", live->run.identity, "protocol",
                  live->run.protocol->name, "config", config_as_json(config), "speed", speed_options(config), "parents",
                  parents, "fingerprints", live->fingerprints, "datasets", live->datasets);
    if (event && vmae_config_option(config, "seed"))
        json_object_set_new(event, "seed", json_integer((json_int_t)vmae_config_int(config, "seed")));
    return write_event(&live->run, event);
}

static vmae_status begin_at(vmae_live_run *live, int64_t first_step)
{
    live->first_step = live->last_step = first_step;
    VMAE_TRY(write_attempt(live));
    live->begun = true;
    return write_run(live);
}

static vmae_status check_begun(const vmae_live_run *live, const char *what)
{
    return live->begun ? VMAE_OK
                       : vmae_fail(VMAE_EINTERNAL, "%s: protocol %s writes %s before it has begun", live->run.folder,
                                   live->run.protocol->name, what);
}

/* Weight gradients may differ in their last bits between numbers of threads (docs/numerics.md, "The same bits"). */
static vmae_status warn_of_threads(const vmae_live_run *live)
{
    vmae_history history = { 0 };
    const char *now = json_string_value(json_object_get(live->facts, "threads"));
    char *journal = vmae_run_path(&live->run, "journal");
    const vmae_status st = journal ? vmae_history_read(&history, journal) : VMAE_ENOMEM;
    if (st == VMAE_OK && now && *history.threads && strcmp(history.threads, now) != 0)
        log_warn("the last attempt had %s compute threads, this one has %s: the same bits are promised for the same "
                 "number of threads",
                 history.threads, now);
    vmae_history_release(&history);
    free(journal);
    return st;
}

vmae_status vmae_run_begin(vmae_run *run, int64_t first_step)
{
    vmae_live_run *live = (vmae_live_run *)run;
    if (live->begun || first_step < 0)
        return vmae_fail(VMAE_EINTERNAL, "%s: protocol %s begins at step %lld%s", run->folder, run->protocol->name,
                         (long long)first_step, live->begun ? ", a second time" : "");
    if (first_step > 0)
        VMAE_TRY(warn_of_threads(live));
    return begin_at(live, first_step);
}

vmae_status vmae_run_metrics(vmae_run *run, int64_t step, const vmae_metric *metrics, size_t count)
{
    vmae_live_run *live = (vmae_live_run *)run;
    VMAE_TRY(check_begun(live, "metrics"));
    VMAE_TRY(vmae_journal_metrics(run->journal, step, metrics, count));
    if (step > live->last_step)
        live->last_step = step;
    return VMAE_OK;
}

vmae_status vmae_run_artefact(vmae_run *run, const char *kind, const char *name)
{
    VMAE_TRY(check_begun((vmae_live_run *)run, "an artefact"));
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
    VMAE_TRY(check_begun((vmae_live_run *)run, "a skipped sample"));
    return write_event(run, json_pack("{s:s, s:o, s:o, s:o}", "type", "skipped", "dataset", text_as_json(dataset),
                                      "sample", text_as_json(sample), "reason", text_as_json(reason)));
}

vmae_status vmae_run_dataset(vmae_run *run, const char *role, const char *description, const char *fingerprint)
{
    vmae_live_run *live = (vmae_live_run *)run;
    json_object_set_new(live->fingerprints, role, json_string(fingerprint));
    json_object_set_new(live->datasets, role, text_as_json(description));
    return live->begun ? write_run(live) : VMAE_OK;
}

vmae_status vmae_run_fact(vmae_run *run, const char *name, const char *value)
{
    vmae_live_run *live = (vmae_live_run *)run;
    const char *known = json_string_value(json_object_get(live->facts, name));
    if (known && strcmp(known, value) == 0)
        return VMAE_OK;
    json_object_set_new(live->facts, name, json_string(value));
    return live->begun ? write_event(run, json_pack("{s:s, s:{s:s}}", "type", "machine", "facts", name, value))
                       : VMAE_OK;
}

char *vmae_run_path(const vmae_run *run, const char *name)
{
    return vmae_path_join(run->folder, name);
}

/* ---- the end ---- */

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
static vmae_status begin_late(vmae_live_run *live)
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

vmae_status vmae_record_end(vmae_live_run *live, vmae_status st, const char *message)
{
    if (!live->begun)
        VMAE_TRY(begin_late(live));
    return write_event(&live->run,
                       json_pack("{s:s, s:s, s:b, s:o, s:I, s:f}", "type", "end", "status", end_status(st), "over_data",
                                 st == VMAE_EDATA, "message", text_as_json(message), "last_step",
                                 (json_int_t)live->last_step, "end_seconds", vmae_wall_seconds()));
}
