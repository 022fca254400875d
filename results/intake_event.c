/* intake_event.c -- the JSON events of a journal as rows. Unknown types and fields are left alone: a newer engine wrote
 * them. */
#include "results/intake.h"

#include <ctype.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static vmae_status parse(json_t **event, const char **type, const char *text, size_t count)
{
    json_error_t error;
    json_t *parsed = json_loadb(text, count, 0, &error);
    if (!parsed)
        return vmae_fail(VMAE_EDATA, "an event is not JSON: %s", error.text);
    *type = json_string_value(json_object_get(parsed, "type"));
    if (!*type) {
        json_decref(parsed);
        return vmae_fail(VMAE_EDATA, "an event has no \"type\"");
    }
    *event = parsed;
    return VMAE_OK;
}

static const char *text_of(const json_t *event, const char *name)
{
    return json_string_value(json_object_get(event, name));
}

static int64_t integer_of(const json_t *event, const char *name, int64_t missing)
{
    const json_t *value = json_object_get(event, name);
    return json_is_integer(value) ? (int64_t)json_integer_value(value) : missing;
}

static double number_of(const json_t *event, const char *name)
{
    const json_t *value = json_object_get(event, name);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

/* Any value as text: strings as they are, the rest as JSON. Fresh memory. */
static char *value_text(const json_t *value)
{
    return json_is_string(value) ? strdup(json_string_value(value))
                                 : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);
}

static bool known_status(const char *status)
{
    static const char *const known[] = { "done", "failed", "diverged", "interrupted" };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(status, known[i]) == 0)
            return true;
    return false;
}

/* Every member of the object as a row of (run[, attempt], name, value). */
static vmae_status take_members(vmae_intake *intake, json_t *object, intake_statement into)
{
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value)
    {
        char *text = value_text(value);
        if (!text)
            return vmae_fail(VMAE_ENOMEM, "out of memory in event field %s", name);
        sqlite3_stmt *insert = intake->statements->prepared[into];
        const vmae_status st =
            into == INTAKE_MACHINE
                ? vmae_sql_rerun(intake->store, insert, "iitt", intake->run, intake->attempt, name, text)
                : vmae_sql_rerun(intake->store, insert, "itt", intake->run, name, text);
        free(text);
        VMAE_TRY(st);
    }
    return VMAE_OK;
}

/* Attempts are counted by their order in the file. Rows of earlier ones past its first step are taken back. */
static vmae_status take_attempt(vmae_intake *intake, json_t *event)
{
    VMAE_TRY(vmae_intake_flush(intake));
    const int64_t attempt = intake->attempt + 1, first = integer_of(event, "first_step", 0);
    if (attempt > INT32_MAX)
        return vmae_fail(VMAE_EDATA, "there are too many attempts");
    char *start = json_object_get(event, "start_time") ? value_text(json_object_get(event, "start_time")) : NULL;
    vmae_status st = vmae_sql_run(
        intake->store,
        "INSERT INTO attempts (run, attempt, host, boot_id, pid, start_time, started, revision, first_step) "
        "VALUES (?,?,?,?,?,?,?,?,?)",
        "iittItDti", intake->run, attempt, text_of(event, "host"), text_of(event, "boot_id"),
        integer_of(event, "pid", INT64_MIN), start, number_of(event, "start_seconds"), text_of(event, "revision"),
        first);
    free(start);
    VMAE_TRY(st);
    intake->attempt = attempt;
    VMAE_TRY(take_members(intake, json_object_get(event, "machine"), INTAKE_MACHINE));
    if (attempt == 1)
        return VMAE_OK;
    VMAE_TRY(vmae_sql_run(
        intake->store, "UPDATE attempts SET valid_to = min(coalesce(valid_to, ?3), ?3) WHERE run = ?1 AND attempt < ?2",
        "iii", intake->run, attempt, first));
    for (uint32_t i = 0; i < intake->metric_count; i++)
        intake->metrics[i].recompute = true;
    return VMAE_OK;
}

static vmae_status take_machine(vmae_intake *intake, json_t *event)
{
    if (intake->attempt == 0)
        return vmae_fail(VMAE_EDATA, "a \"machine\" event comes before the first attempt");
    return take_members(intake, json_object_get(event, "facts"), INTAKE_MACHINE);
}

static vmae_status take_run(vmae_intake *intake, json_t *event)
{
    const char *identity = text_of(event, "identity"), *protocol = text_of(event, "protocol");
    if (!identity || strcmp(identity, intake->identity) != 0)
        return vmae_fail(VMAE_EDATA, "the journal is of run %s, but an event in it says %s", intake->identity,
                         identity ? identity : "nothing");
    const json_t *parents = json_object_get(event, "parents");
    VMAE_TRY(vmae_sql_run(intake->store, "UPDATE runs SET protocol = ?2, seed = ?3 WHERE id = ?1", "itI", intake->run,
                          protocol ? protocol : "", integer_of(event, "seed", INT64_MIN)));
    static const char *const replaced[] = { "DELETE FROM config WHERE run = ?",
                                            "DELETE FROM fingerprints WHERE run = ?",
                                            "DELETE FROM run_parents WHERE run = ?" };
    for (size_t i = 0; i < sizeof replaced / sizeof *replaced; i++)
        VMAE_TRY(vmae_sql_run(intake->store, replaced[i], "i", intake->run));
    for (size_t i = 0; i < json_array_size(parents); i++)
        if (json_is_string(json_array_get(parents, i)))
            VMAE_TRY(vmae_sql_run(intake->store, "INSERT INTO run_parents VALUES (?,?,?)", "iit", intake->run,
                                  (int64_t)i, json_string_value(json_array_get(parents, i))));
    VMAE_TRY(take_members(intake, json_object_get(event, "config"), INTAKE_CONFIG));
    const json_t *speed = json_object_get(event, "speed");
    for (size_t i = 0; i < json_array_size(speed); i++)
        VMAE_TRY(vmae_sql_run(intake->store, "UPDATE config SET speed_only = 1 WHERE run = ? AND key = ?", "it",
                              intake->run, json_string_value(json_array_get(speed, i))));
    return take_members(intake, json_object_get(event, "fingerprints"), INTAKE_FINGERPRINT);
}

static vmae_status take_skipped(vmae_intake *intake, const json_t *event)
{
    const char *dataset = text_of(event, "dataset"), *reason = text_of(event, "reason");
    const json_t *sample = json_object_get(event, "sample");
    char *name = sample ? value_text(sample) : strdup("");
    if (!name)
        return vmae_fail(VMAE_ENOMEM, "out of memory in an event");
    const vmae_status st = vmae_sql_run(intake->store, "INSERT OR REPLACE INTO skipped_samples VALUES (?,?,?,?)",
                                        "ittt", intake->run, dataset ? dataset : "", name, reason ? reason : "");
    free(name);
    return st;
}

static vmae_status take_artefact(vmae_intake *intake, const json_t *event)
{
    const char *path = text_of(event, "path"), *kind = text_of(event, "kind");
    if (!path || !*path)
        return vmae_fail(VMAE_EDATA, "an \"artefact\" event has no path");
    return vmae_sql_run(intake->store, "INSERT OR REPLACE INTO artefacts VALUES (?,?,?,?,?,?)", "itttIi", intake->run,
                        path, kind ? kind : "", text_of(event, "sha256"), integer_of(event, "bytes", INT64_MIN),
                        intake->attempt);
}

static vmae_status take_end(vmae_intake *intake, const json_t *event)
{
    const char *status = text_of(event, "status");
    if (intake->attempt == 0)
        return vmae_fail(VMAE_EDATA, "an \"end\" event comes before the first attempt");
    return vmae_sql_run(intake->store,
                        "UPDATE attempts SET status = ?3, message = ?4, ended = ?6, "
                        "last_step = CASE WHEN ?5 IS NULL THEN last_step ELSE max(coalesce(last_step, ?5), ?5) END "
                        "WHERE run = ?1 AND attempt = ?2",
                        "iittID", intake->run, intake->attempt, status && known_status(status) ? status : "unknown",
                        text_of(event, "message"), integer_of(event, "last_step", INT64_MIN),
                        number_of(event, "end_seconds"));
}

vmae_status vmae_intake_event(vmae_intake *intake, const char *text, size_t count)
{
    json_t *event = NULL;
    const char *type = NULL;
    VMAE_TRY(parse(&event, &type, text, count));
    vmae_status st = VMAE_OK;
    if (strcmp(type, "attempt") == 0)
        st = take_attempt(intake, event);
    else if (strcmp(type, "machine") == 0)
        st = take_machine(intake, event);
    else if (strcmp(type, "run") == 0)
        st = take_run(intake, event);
    else if (strcmp(type, "skipped") == 0)
        st = take_skipped(intake, event);
    else if (strcmp(type, "artefact") == 0)
        st = take_artefact(intake, event);
    else if (strcmp(type, "end") == 0)
        st = take_end(intake, event);
    json_decref(event);
    return st;
}

vmae_status vmae_intake_identity(const vmae_record *record, char identity[129], bool *found)
{
    json_t *event = NULL;
    const char *type = NULL;
    *found = false;
    VMAE_TRY(parse(&event, &type, record->text, record->text_count));
    vmae_status st = VMAE_OK;
    if (strcmp(type, "run") == 0) {
        const char *text = text_of(event, "identity");
        const size_t length = text ? strlen(text) : 0;
        bool fine = length >= 1 && length <= 128;
        for (size_t i = 0; fine && i < length; i++)
            fine = isalnum((unsigned char)text[i]) || strchr("_-.", text[i]);
        if (!fine)
            st = vmae_fail(VMAE_EDATA, "a \"run\" event has no usable identity");
        else
            memcpy(identity, text, length + 1);
        *found = fine;
    }
    json_decref(event);
    return st;
}
