/* intake.c -- rows of a journal into the database: gathered, ordered by metric, inserted, summed up. */
#include "results/intake.h"
#include "results/metric_kinds.h"

#include "engine/core/mem.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NAMES_MAX = 4096, NAME_LENGTH_MAX = 120 };

static const char *const sql_texts[INTAKE_STATEMENTS] = {
    [INTAKE_METRIC] =
        "INSERT OR REPLACE INTO metrics (run, metric, step, attempt, value, special) VALUES (?,?,?,?,?,?)",
    [INTAKE_TIME] = "INSERT OR REPLACE INTO step_times VALUES (?,?,?,?)",
    [INTAKE_NAME_FIND] = "SELECT id FROM metric_names WHERE name = ?",
    [INTAKE_NAME_ADD] = "INSERT INTO metric_names (name, direction, timing) VALUES (?,?,?)",
    [INTAKE_JOURNAL_NAME] = "INSERT INTO journal_names VALUES (?,?,?)",
    [INTAKE_SUMMARY] = "INSERT OR REPLACE INTO summaries VALUES (?,?,?,?,?,?,?,?)",
    [INTAKE_CONFIG] = "INSERT OR REPLACE INTO config (run, key, value) VALUES (?,?,?)",
    [INTAKE_FINGERPRINT] = "INSERT OR REPLACE INTO fingerprints VALUES (?,?,?)",
    [INTAKE_MACHINE] = "INSERT OR REPLACE INTO machine_facts VALUES (?,?,?,?)",
};

vmae_status vmae_intake_prepare(vmae_store *store, intake_statements *statements)
{
    for (int i = 0; i < INTAKE_STATEMENTS; i++)
        VMAE_TRY(vmae_sql_query(store, &statements->prepared[i], sql_texts[i], NULL));
    return VMAE_OK;
}

void vmae_intake_finalize(intake_statements *statements)
{
    for (int i = 0; i < INTAKE_STATEMENTS; i++) {
        sqlite3_finalize(statements->prepared[i]);
        statements->prepared[i] = NULL;
    }
}

/* ---- special values: SQLite stores not-a-number as NULL, so what it was is kept beside ---- */

static int special_of(double value)
{
    return isnan(value) ? 1 : isinf(value) ? (value > 0 ? 2 : 3) : 0;
}

static double value_of(double value, int special)
{
    return special == 0 ? value : special == 1 ? NAN : special == 2 ? INFINITY : -INFINITY;
}

/* ---- metrics known to this journal ---- */

static vmae_status add_metric(vmae_intake *intake, int64_t id, const char *direction)
{
    if (intake->metric_count == intake->metric_room) {
        const uint32_t room = intake->metric_room ? intake->metric_room * 2 : 16;
        intake_metric *more = vmae_realloc(intake->metrics, room, sizeof *more);
        if (!more)
            return VMAE_ENOMEM;
        intake->metrics = more;
        intake->metric_room = room;
    }
    intake->metrics[intake->metric_count++] = (intake_metric){
        .id = id,
        .direction = !direction || !*direction ? 0
                     : direction[1] == 'i'     ? -1
                                               : 1, /* "min", "max" */
        .last_step = INT64_MIN,
        .best_step = INT64_MIN,
        .best = NAN,
    };
    return VMAE_OK;
}

static vmae_status load_metrics(vmae_intake *intake)
{
    sqlite3_stmt *rows = NULL;
    bool row;
    VMAE_TRY(vmae_sql_query(
        intake->store, &rows,
        "SELECT j.metric, n.direction, s.count, s.last, s.last_special, s.last_step, s.best, s.best_step "
        "FROM journal_names AS j JOIN metric_names AS n ON n.id = j.metric "
        "LEFT JOIN summaries AS s ON s.run = j.run AND s.metric = j.metric WHERE j.run = ? ORDER BY j.id",
        "i", intake->run));
    vmae_status st;
    while ((st = vmae_sql_step(intake->store, rows, &row)) == VMAE_OK && row) {
        if ((st = add_metric(intake, sqlite3_column_int64(rows, 0), vmae_sql_text(rows, 1))) != VMAE_OK)
            break;
        intake_metric *metric = &intake->metrics[intake->metric_count - 1];
        metric->count = sqlite3_column_int64(rows, 2);
        if (metric->count == 0)
            continue;
        metric->last = value_of(sqlite3_column_double(rows, 3), sqlite3_column_int(rows, 4));
        metric->last_step = sqlite3_column_int64(rows, 5);
        if (sqlite3_column_type(rows, 6) != SQLITE_NULL) {
            metric->best = sqlite3_column_double(rows, 6);
            metric->best_step = sqlite3_column_int64(rows, 7);
        }
    }
    sqlite3_finalize(rows);
    return st;
}

vmae_status vmae_intake_begin(vmae_intake *intake, vmae_store *store, intake_statements *statements, int64_t run,
                              const char *identity)
{
    *intake = (vmae_intake){
        .store = store, .statements = statements, .run = run, .attempt_step = INT64_MIN, .first_wall = NAN, .wall = NAN
    };
    snprintf(intake->identity, sizeof intake->identity, "%s", identity);
    VMAE_TRY(vmae_sql_integer(store, &intake->attempt, 0, "SELECT max(attempt) FROM attempts WHERE run = ?", "i", run));
    const vmae_status st = load_metrics(intake);
    if (st != VMAE_OK)
        vmae_intake_free(intake);
    return st;
}

void vmae_intake_free(vmae_intake *intake)
{
    free(intake->metrics);
    free(intake->rows);
    *intake = (vmae_intake){ 0 };
}

/* ---- one record ---- */

static vmae_status find_or_add_name(vmae_intake *intake, const char *name, int64_t *id)
{
    sqlite3_stmt *find = intake->statements->prepared[INTAKE_NAME_FIND];
    bool row = false;
    sqlite3_bind_text(find, 1, name, -1, SQLITE_STATIC);
    vmae_status st = vmae_sql_step(intake->store, find, &row);
    if (st == VMAE_OK && row)
        *id = sqlite3_column_int64(find, 0);
    sqlite3_reset(find);
    if (st != VMAE_OK || row)
        return st;
    const vmae_metric_kind *kind = vmae_metric_kind_of(name);
    VMAE_TRY(vmae_sql_rerun(intake->store, intake->statements->prepared[INTAKE_NAME_ADD], "tti", name, kind->direction,
                            (int64_t)kind->timing));
    *id = sqlite3_last_insert_rowid(vmae_store_sqlite(intake->store));
    return VMAE_OK;
}

static vmae_status take_name(vmae_intake *intake, const vmae_record *record)
{
    char name[NAME_LENGTH_MAX + 1];
    if (record->text_count == 0 || record->text_count > NAME_LENGTH_MAX)
        return vmae_fail(VMAE_EDATA, "a metric name has %zu characters; 1 to %d are allowed", record->text_count,
                         NAME_LENGTH_MAX);
    for (size_t i = 0; i < record->text_count; i++)
        if (!isalnum((unsigned char)record->text[i]) && !memchr("_./-:@", record->text[i], 6))
            return vmae_fail(VMAE_EDATA, "a metric name holds the byte 0x%02x", (unsigned char)record->text[i]);
    memcpy(name, record->text, record->text_count);
    name[record->text_count] = 0;
    int64_t id = 0;
    if (record->id > intake->metric_count || record->id >= NAMES_MAX)
        return vmae_fail(VMAE_EDATA, "metric %s has the id %u, expected %u", name, record->id, intake->metric_count);
    VMAE_TRY(find_or_add_name(intake, name, &id));
    if (record->id < intake->metric_count) /* said again: fine if it says the same */
        return intake->metrics[record->id].id == id
                   ? VMAE_OK
                   : vmae_fail(VMAE_EDATA, "metric id %u is given to a second name, %s", record->id, name);
    VMAE_TRY(add_metric(intake, id, vmae_metric_kind_of(name)->direction));
    return vmae_sql_rerun(intake->store, intake->statements->prepared[INTAKE_JOURNAL_NAME], "iii", intake->run,
                          (int64_t)record->id, id);
}

static vmae_status reserve_rows(vmae_intake *intake, size_t more)
{
    if (intake->row_count + more <= intake->row_room)
        return VMAE_OK;
    size_t room = intake->row_room ? intake->row_room * 2 : 1024;
    while (room < intake->row_count + more)
        room *= 2;
    intake_row *rows = vmae_realloc(intake->rows, room, sizeof *rows);
    if (!rows)
        return VMAE_ENOMEM;
    intake->rows = rows;
    intake->row_room = room;
    return VMAE_OK;
}

static void sum_up(intake_metric *metric, int64_t step, double value)
{
    metric->touched = true;
    if (step <=
        metric->last_step) /* out of order, or said again: the whole column is summed up anew from the database */
        metric->recompute = true;
    metric->count++;
    metric->last = value;
    metric->last_step = step;
    if (!isfinite(value) || metric->direction == 0)
        return;
    if (isnan(metric->best) || (metric->direction < 0 ? value < metric->best : value > metric->best)) {
        metric->best = value;
        metric->best_step = step;
    }
}

static vmae_status take_metrics(vmae_intake *intake, const vmae_record *record)
{
    uint32_t name;
    double value;
    if (intake->attempt == 0)
        return vmae_fail(VMAE_EDATA, "metrics come before the first attempt");
    for (uint32_t i = 0; i < record->count; i++) {
        vmae_record_metric(record, i, &name, &value);
        if (name >= intake->metric_count)
            return vmae_fail(VMAE_EDATA, "metric id %u has no name; %u are known", name, intake->metric_count);
    }
    VMAE_TRY(reserve_rows(intake, record->count));
    for (uint32_t i = 0; i < record->count; i++) {
        vmae_record_metric(record, i, &name, &value);
        intake->rows[intake->row_count++] = (intake_row){ record->step, value, name, (uint32_t)intake->attempt };
        sum_up(&intake->metrics[name], record->step, value);
    }
    if (record->step > intake->attempt_step)
        intake->attempt_step = record->step;
    const double wall = isfinite(record->wall_seconds) ? record->wall_seconds : 0.0;
    intake->wall = wall;
    if (isnan(intake->first_wall))
        intake->first_wall = wall;
    return vmae_sql_rerun(intake->store, intake->statements->prepared[INTAKE_TIME], "iiid", intake->run, record->step,
                          intake->attempt, wall);
}

vmae_status vmae_intake_record(vmae_intake *intake, const vmae_record *record)
{
    switch (record->kind) {
    case 'N': return take_name(intake, record);
    case 'M': return take_metrics(intake, record);
    case 'E': return vmae_intake_event(intake, record->text, record->text_count);
    default: return VMAE_OK; /* vmae_journal_next lets nothing else through */
    }
}

/* ---- bulk ---- */

/* Inserts the rows metric by metric: they arrive step by step, but the table is ordered by metric first, and inserting
 * in its order is several times faster. Within a metric the order of arrival stays, so the last of two equal keys wins.
 */
static vmae_status insert_rows(vmae_intake *intake)
{
    sqlite3_stmt *insert = intake->statements->prepared[INTAKE_METRIC];
    size_t *starts = vmae_calloc(intake->metric_count + 1, sizeof *starts);
    uint32_t *order = vmae_calloc(intake->row_count, sizeof *order);
    vmae_status st = starts && order ? VMAE_OK : VMAE_ENOMEM;
    if (st != VMAE_OK)
        goto done;
    for (size_t i = 0; i < intake->row_count; i++)
        starts[intake->rows[i].name + 1]++;
    for (uint32_t i = 0; i < intake->metric_count; i++)
        starts[i + 1] += starts[i];
    for (size_t i = 0; i < intake->row_count; i++)
        order[starts[intake->rows[i].name]++] = (uint32_t)i;
    sqlite3_bind_int64(insert, 1, intake->run);
    for (size_t i = 0; i < intake->row_count && st == VMAE_OK; i++) {
        const intake_row *row = &intake->rows[order[i]];
        const int special = special_of(row->value);
        sqlite3_bind_int64(insert, 2, intake->metrics[row->name].id);
        sqlite3_bind_int64(insert, 3, row->step);
        sqlite3_bind_int64(insert, 4, row->attempt);
        if (special)
            sqlite3_bind_null(insert, 5);
        else
            sqlite3_bind_double(insert, 5, row->value);
        sqlite3_bind_int(insert, 6, special);
        if (sqlite3_step(insert) != SQLITE_DONE)
            st = vmae_sql_fail(intake->store, "write");
        sqlite3_reset(insert);
    }
done:
    free(starts);
    free(order);
    return st;
}

/* One column summed up from the table: after rows were taken back or came out of order. */
static vmae_status recompute(vmae_intake *intake, intake_metric *metric)
{
    sqlite3_stmt *rows = NULL;
    bool row;
    metric->count = 0;
    metric->last_step = metric->best_step = INT64_MIN;
    metric->best = NAN;
    VMAE_TRY(
        vmae_sql_query(intake->store, &rows,
                       "SELECT step, value, special FROM current_metrics WHERE run = ? AND metric = ? ORDER BY step",
                       "ii", intake->run, metric->id));
    vmae_status st;
    while ((st = vmae_sql_step(intake->store, rows, &row)) == VMAE_OK && row)
        sum_up(metric, sqlite3_column_int64(rows, 0),
               value_of(sqlite3_column_double(rows, 1), sqlite3_column_int(rows, 2)));
    sqlite3_finalize(rows);
    metric->recompute = false;
    return st;
}

static vmae_status write_summary(vmae_intake *intake, intake_metric *metric)
{
    if (metric->recompute)
        VMAE_TRY(recompute(intake, metric));
    metric->touched = false;
    if (metric->count == 0)
        return vmae_sql_run(intake->store, "DELETE FROM summaries WHERE run = ? AND metric = ?", "ii", intake->run,
                            metric->id);
    const int special = special_of(metric->last);
    return vmae_sql_rerun(intake->store, intake->statements->prepared[INTAKE_SUMMARY], "iiiDiiDI", intake->run,
                          metric->id, metric->count, special ? NAN : metric->last, (int64_t)special, metric->last_step,
                          metric->best, isnan(metric->best) ? INT64_MIN : metric->best_step);
}

/* The attempt's last step and the run's state follow from what has been read. */
static vmae_status write_progress(vmae_intake *intake)
{
    if (intake->attempt_step != INT64_MIN)
        VMAE_TRY(vmae_sql_run(intake->store,
                              "UPDATE attempts SET last_step = max(coalesce(last_step, ?3), ?3), "
                              "first_wall = coalesce(first_wall, ?4), last_wall = ?5 WHERE run = ?1 AND attempt = ?2",
                              "iiidd", intake->run, intake->attempt, intake->attempt_step, intake->first_wall,
                              intake->wall));
    intake->attempt_step = INT64_MIN;
    intake->first_wall = intake->wall = NAN;
    return vmae_sql_run(
        intake->store,
        "UPDATE runs SET status = coalesce(a.status, 'running'), message = a.message, last_step = a.last_step "
        "FROM (SELECT * FROM attempts WHERE run = ?1 ORDER BY attempt DESC LIMIT 1) AS a WHERE runs.id = ?1",
        "i", intake->run);
}

vmae_status vmae_intake_flush(vmae_intake *intake)
{
    if (intake->row_count > 0)
        VMAE_TRY(insert_rows(intake));
    intake->row_count = 0;
    for (uint32_t i = 0; i < intake->metric_count; i++)
        if (intake->metrics[i].touched || intake->metrics[i].recompute)
            VMAE_TRY(write_summary(intake, &intake->metrics[i]));
    return write_progress(intake);
}
