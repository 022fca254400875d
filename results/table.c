/* table.c -- gathers a grid: runs into cells, cells into means, the paper's numbers beside them. */
#include "results/table.h"
#include "results/metric_kinds.h"
#include "results/sql.h"
#include "results/stats.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const no_memory_hint = "out of memory";

/* A sweep whose command line changed something is stored under its scale's name, '+', and a hash of the change. */
static int base_scale(const vmae_table *table)
{
    return (int)strcspn(table->scale, "+");
}

bool vmae_table_comparable(const vmae_table *table)
{
    return base_scale(table) == 5 && strncmp(table->scale, "paper", 5) == 0 && table->override_count == 0;
}

const char *vmae_table_paper_title(const vmae_table *table, vmae_arena *arena)
{
    if (!table->paper)
        return "";
    const char *title =
        strncmp(table->paper, "table", 5) == 0 ? vmae_arena_format(arena, "Table %s", table->paper + 5) : table->paper;
    return title ? title : "";
}

/* A column's text in the arena; NULL for SQL's NULL. */
static const char *keep(vmae_arena *arena, sqlite3_stmt *row, int column)
{
    return sqlite3_column_type(row, column) == SQLITE_NULL ? NULL
                                                           : vmae_arena_strdup(arena, vmae_sql_text(row, column));
}

/* ---- the frame: heading, metrics, rows ---- */

static vmae_status load_heading(vmae_table *table, vmae_store *store, int64_t sweep, int64_t grid, vmae_arena *arena)
{
    sqlite3_stmt *row = NULL;
    bool found = false;
    VMAE_TRY(vmae_sql_query(store, &row,
                            "SELECT s.name, s.scale, s.data, s.revision, s.config, g.name, g.title, g.paper, g.axis, "
                            "g.stage, g.note, s.title "
                            "FROM sweeps AS s JOIN sweep_grids AS g ON g.sweep = s.id WHERE s.id = ? AND g.grid = ?",
                            "ii", sweep, grid));
    const vmae_status st = vmae_sql_step(store, row, &found);
    if (st == VMAE_OK && found) {
        const char **fields[] = { &table->sweep,  &table->scale, &table->data,  &table->revision,
                                  &table->config, &table->grid,  &table->title, &table->paper,
                                  &table->axis,   &table->stage, &table->note,  &table->sweep_title };
        for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
            *fields[i] = keep(arena, row, i);
    }
    sqlite3_finalize(row);
    VMAE_TRY(st);
    if (!found || !table->sweep || !table->scale || !table->data || !table->revision || !table->config ||
        !table->grid || !table->title || !table->axis || !table->stage)
        return vmae_fail(found ? VMAE_ENOMEM : VMAE_EINTERNAL, "grid %lld of sweep %lld cannot be loaded",
                         (long long)grid, (long long)sweep);
    return VMAE_OK;
}

static vmae_status load_overrides(vmae_table *table, vmae_store *store, int64_t sweep, vmae_arena *arena)
{
    sqlite3_stmt *rows = NULL;
    bool row;
    int64_t count = 0;
    VMAE_TRY(vmae_sql_integer(store, &count, 0,
                              "SELECT count(*) FROM sweep_overrides WHERE sweep = ? AND speed_only = 0", "i", sweep));
    table->override_text = "";
    if (!(table->overrides = vmae_arena_calloc(arena, (size_t)count, sizeof *table->overrides)))
        return VMAE_ENOMEM;
    VMAE_TRY(vmae_sql_query(
        store, &rows, "SELECT assignment FROM sweep_overrides WHERE sweep = ? AND speed_only = 0 ORDER BY n LIMIT ?",
        "ii", sweep, count));
    vmae_status st;
    while ((st = vmae_sql_step(store, rows, &row)) == VMAE_OK && row) {
        const size_t i = table->override_count++;
        table->overrides[i] = keep(arena, rows, 0);
        table->override_text =
            vmae_arena_format(arena, "%s%s%s", table->override_text, i ? ", " : "", vmae_sql_text(rows, 0));
        if (!table->overrides[i] || !table->override_text) {
            st = VMAE_ENOMEM;
            break;
        }
    }
    sqlite3_finalize(rows);
    VMAE_TRY(st);
    table->made_at = vmae_arena_format(arena, "%.*s scale%s%s", base_scale(table), table->scale, count ? " with " : "",
                                       table->override_text);
    return table->made_at ? VMAE_OK : VMAE_ENOMEM;
}

static vmae_status load_metrics(vmae_table *table, vmae_store *store, int64_t sweep, int64_t grid, vmae_arena *arena)
{
    sqlite3_stmt *rows = NULL;
    bool row;
    int64_t count = 0;
    VMAE_TRY(vmae_sql_integer(store, &count, 0, "SELECT count(*) FROM sweep_metrics WHERE sweep = ? AND grid = ?", "ii",
                              sweep, grid));
    if (!(table->metrics = vmae_arena_calloc(arena, (size_t)count, sizeof *table->metrics)))
        return VMAE_ENOMEM;
    VMAE_TRY(vmae_sql_query(store, &rows,
                            "SELECT metric, label, paper_column FROM sweep_metrics WHERE sweep = ? AND grid = ? "
                            "ORDER BY n LIMIT ?",
                            "iii", sweep, grid, count));
    vmae_status st;
    while ((st = vmae_sql_step(store, rows, &row)) == VMAE_OK && row) {
        vmae_table_metric *metric = &table->metrics[table->metric_count++];
        metric->name = keep(arena, rows, 0);
        metric->label = keep(arena, rows, 1);
        metric->paper_column = keep(arena, rows, 2);
        if (!metric->name || !metric->label) {
            st = vmae_fail(VMAE_ENOMEM, "%s", no_memory_hint);
            break;
        }
        const vmae_metric_kind *kind = vmae_metric_kind_of(metric->name);
        metric->percent = kind->percent;
        metric->direction = !kind->direction ? 0 : strcmp(kind->direction, "min") == 0 ? -1 : 1;
    }
    sqlite3_finalize(rows);
    return st;
}

static vmae_status load_rows(vmae_table *table, vmae_store *store, int64_t sweep, int64_t grid, vmae_arena *arena)
{
    sqlite3_stmt *rows = NULL;
    bool more;
    int64_t count = 0;
    VMAE_TRY(vmae_sql_integer(store, &count, 0, "SELECT count(*) FROM sweep_rows WHERE sweep = ? AND grid = ?", "ii",
                              sweep, grid));
    if (!(table->rows = vmae_arena_calloc(arena, (size_t)count, sizeof *table->rows)))
        return VMAE_ENOMEM;
    VMAE_TRY(vmae_sql_query(
        store, &rows,
        "SELECT r.label, r.paper_row, (SELECT count(DISTINCT c.seed) FROM sweep_cells AS c WHERE c.sweep = r.sweep "
        "AND c.grid = r.grid AND c.row = r.row) FROM sweep_rows AS r WHERE r.sweep = ? AND r.grid = ? "
        "ORDER BY r.row LIMIT ?",
        "iii", sweep, grid, count));
    vmae_status st;
    while ((st = vmae_sql_step(store, rows, &more)) == VMAE_OK && more) {
        vmae_table_row *row = &table->rows[table->row_count++];
        row->label = keep(arena, rows, 0);
        row->paper_row = sqlite3_column_int64(rows, 1);
        row->expected = (size_t)sqlite3_column_int64(rows, 2);
        row->missing = vmae_arena_calloc(arena, row->expected * (table->metric_count + 1), sizeof *row->missing);
        row->values = vmae_arena_calloc(arena, table->metric_count, sizeof *row->values);
        for (size_t m = 0; row->values && m < table->metric_count; m++) {
            row->values[m].values = vmae_arena_calloc(arena, row->expected, sizeof(double));
            row->values[m].seeds = vmae_arena_calloc(arena, row->expected, sizeof(int64_t));
            if (!row->values[m].values || !row->values[m].seeds)
                row->values = NULL;
        }
        if (!row->label || !row->missing || !row->values) {
            st = vmae_fail(VMAE_ENOMEM, "%s", no_memory_hint);
            break;
        }
    }
    sqlite3_finalize(rows);
    return st;
}

/* ---- cells ---- */

/* Why a cell has no number: the first stage that is not done. */
static const char *reason(vmae_arena *arena, int64_t seed, sqlite3_stmt *cell)
{
    const char *stage = vmae_sql_text(cell, 2), *status = vmae_sql_text(cell, 5), *message = vmae_sql_text(cell, 7);
    const char *identity = vmae_sql_text(cell, 3);
    if (sqlite3_column_type(cell, 4) == SQLITE_NULL)
        return vmae_arena_format(arena, "seed %lld: %s has not started (run %.12s)", (long long)seed, stage, identity);
    if (strcmp(status, "running") == 0)
        return vmae_arena_format(arena, "seed %lld: %s is not finished, step %lld (run %.12s)", (long long)seed, stage,
                                 (long long)sqlite3_column_int64(cell, 6), identity);
    return vmae_arena_format(arena, "seed %lld: %s %s%s%.200s (run %.12s)", (long long)seed, stage,
                             strcmp(status, "unknown") == 0 ? "ended in an unknown way" : status, *message ? ": " : "",
                             message, identity);
}

static vmae_status take_value(vmae_table *table, vmae_table_row *row, vmae_store *store, vmae_arena *arena,
                              int64_t seed, int64_t run, sqlite3_stmt *summary)
{
    for (size_t m = 0; m < table->metric_count; m++) {
        bool found = false;
        sqlite3_bind_int64(summary, 1, run);
        sqlite3_bind_text(summary, 2, table->metrics[m].name, -1, SQLITE_STATIC);
        const vmae_status st = vmae_sql_step(store, summary, &found);
        const bool finite = found && sqlite3_column_type(summary, 0) != SQLITE_NULL;
        const double value = finite ? sqlite3_column_double(summary, 0) : NAN;
        sqlite3_reset(summary);
        VMAE_TRY(st);
        vmae_table_value *cell = &row->values[m];
        if (finite && cell->n < row->expected) {
            cell->seeds[cell->n] = seed;
            cell->values[cell->n++] = value;
        } else {
            const char *why = vmae_arena_format(arena, "seed %lld: %s %s %s", (long long)seed, table->stage,
                                                found ? "ended with a value that is not finite for" : "did not measure",
                                                table->metrics[m].name);
            if (!why)
                return VMAE_ENOMEM;
            row->missing[row->missing_count++] = why;
        }
    }
    return VMAE_OK;
}

static vmae_status load_cells(vmae_table *table, vmae_store *store, int64_t sweep, int64_t grid, vmae_arena *arena)
{
    sqlite3_stmt *cells = NULL, *summary = NULL;
    bool more;
    VMAE_TRY(vmae_sql_query(store, &summary,
                            "SELECT s.last FROM summaries AS s JOIN metric_names AS n ON n.id = s.metric "
                            "WHERE s.run = ? AND n.name = ?",
                            NULL));
    vmae_status st =
        vmae_sql_query(store, &cells,
                       "SELECT c.row, c.seed, c.stage, c.identity, r.id, r.status, r.last_step, r.message, "
                       "(SELECT count(*) FROM skipped_samples AS k WHERE k.run = r.id) "
                       "FROM sweep_cells AS c LEFT JOIN runs AS r ON r.identity = c.identity "
                       "WHERE c.sweep = ? AND c.grid = ? ORDER BY c.row, c.seed, c.n",
                       "ii", sweep, grid);
    int64_t held_row = -1, held_seed = 0; /* the first unfinished stage of a cell explains it */
    const char *held = NULL;
    while (st == VMAE_OK && (st = vmae_sql_step(store, cells, &more)) == VMAE_OK && more) {
        const int64_t at = sqlite3_column_int64(cells, 0), seed = sqlite3_column_int64(cells, 1);
        if (at < 0 || (size_t)at >= table->row_count)
            continue;
        vmae_table_row *row = &table->rows[at];
        if (at != held_row || seed != held_seed)
            held = NULL;
        held_row = at;
        held_seed = seed;
        row->skipped += sqlite3_column_int64(cells, 8);
        const bool done = strcmp(vmae_sql_text(cells, 5), "done") == 0,
                   wanted = strcmp(vmae_sql_text(cells, 2), table->stage) == 0;
        if (!done && !held && !(held = reason(arena, seed, cells)))
            st = VMAE_ENOMEM;
        else if (wanted && done)
            st = take_value(table, row, store, arena, seed, sqlite3_column_int64(cells, 4), summary);
        else if (wanted)
            row->missing[row->missing_count++] = held;
    }
    sqlite3_finalize(cells);
    sqlite3_finalize(summary);
    return st;
}

/* ---- the paper ---- */

static vmae_status paper_value(vmae_store *store, const char *table, int64_t row, const char *column, double *value)
{
    sqlite3_stmt *rows = NULL;
    bool found = false;
    VMAE_TRY(vmae_sql_query(store, &rows, "SELECT value FROM paper WHERE tbl = ? AND row = ? AND col = ?", "tit", table,
                            row, column));
    const vmae_status st = vmae_sql_step(store, rows, &found);
    *value = found && sqlite3_column_type(rows, 0) != SQLITE_NULL ? sqlite3_column_double(rows, 0) : NAN;
    sqlite3_finalize(rows);
    return st;
}

/* The row whose numbers belong to this row's setting if the running text is right (x_consistent_with_text) and the
 * print is not (x_as_printed). 0 if the table has no second reading. */
static vmae_status row_by_text(vmae_store *store, const char *table, int64_t row, int64_t *by_text)
{
    return vmae_sql_integer(
        store, by_text, 0,
        "SELECT c.row FROM (SELECT DISTINCT row FROM paper WHERE tbl = ?1 AND col GLOB '*_consistent_with_text') AS c "
        "WHERE NOT EXISTS (SELECT 1 FROM paper AS p JOIN paper AS q ON q.tbl = p.tbl AND q.row = c.row "
        "AND q.col = replace(p.col, '_as_printed', '_consistent_with_text') "
        "WHERE p.tbl = ?1 AND p.row = ?2 AND p.col GLOB '*_as_printed' AND q.text <> p.text)",
        "ti", table, row);
}

static vmae_status load_paper(vmae_table *table, vmae_store *store)
{
    for (size_t r = 0; r < table->row_count; r++) {
        vmae_table_row *row = &table->rows[r];
        int64_t by_text = 0;
        for (size_t m = 0; m < table->metric_count; m++)
            for (int i = 0; i < VMAE_READINGS; i++)
                row->values[m].paper[i] = NAN;
        if (!table->paper || row->paper_row <= 0)
            continue;
        VMAE_TRY(row_by_text(store, table->paper, row->paper_row, &by_text));
        for (size_t m = 0; m < table->metric_count; m++) {
            const char *column = table->metrics[m].paper_column;
            double *paper = row->values[m].paper;
            if (column)
                VMAE_TRY(paper_value(store, table->paper, row->paper_row, column, &paper[0]));
            if (column && by_text)
                VMAE_TRY(paper_value(store, table->paper, by_text, column, &paper[1]));
            if (!isnan(paper[0]) && table->readings == 0)
                table->readings = 1;
            if (!isnan(paper[1]))
                table->readings = 2;
        }
    }
    return VMAE_OK;
}

/* ---- statistics ---- */

static vmae_sample sample_of(const vmae_table_value *value)
{
    return (vmae_sample){ value->values, value->seeds, value->n };
}

/* The best mean of a column; NULL without numbers, or where neither end of the metric is better. */
static vmae_table_value *best_of(const vmae_table *table, size_t m)
{
    vmae_table_value *best = NULL;
    for (size_t r = 0; r < table->row_count; r++) {
        vmae_table_value *value = &table->rows[r].values[m];
        if (value->n > 0 && (!best || (value->mean - best->mean) * table->metrics[m].direction > 0.0))
            best = value;
    }
    return table->metrics[m].direction ? best : NULL;
}

/* How many comparisons the data could have chosen: every pair of rows that has numbers enough for a test. */
static size_t pairs_of(const vmae_table *table, size_t m)
{
    size_t rows = 0;
    for (size_t r = 0; r < table->row_count; r++)
        rows += table->rows[r].values[m].n > 1;
    return rows > 1 ? rows * (rows - 1) / 2 : 0;
}

/* Every row against the best. The best is clearly so if every cell of the column is there and every distance is real.
 */
static vmae_status compare_column(vmae_table *table, size_t m, vmae_arena *arena)
{
    vmae_difference *differences = vmae_arena_calloc(arena, table->row_count, sizeof *differences);
    size_t count = 0, missing = 0;
    if (!differences)
        return VMAE_ENOMEM;
    for (size_t r = 0; r < table->row_count; r++) {
        vmae_table_value *value = &table->rows[r].values[m];
        vmae_mean_std(value->values, value->n, &value->mean, &value->std);
        value->to_best = value->to_best_low = value->to_best_high = value->p = NAN;
        missing += table->rows[r].expected - value->n;
    }
    vmae_table_value *best = best_of(table, m);
    if (!best)
        return VMAE_OK;
    const vmae_sample reference = sample_of(best);
    for (size_t r = 0; r < table->row_count; r++) {
        const vmae_sample sample = sample_of(&table->rows[r].values[m]);
        if (&table->rows[r].values[m] != best && sample.n > 0)
            differences[count++] = vmae_sample_difference(&reference, &sample);
    }
    vmae_holm(differences, count, pairs_of(table, m));
    best->best = true;
    best->clearly_best = count > 0 && missing == 0;
    for (size_t r = 0, i = 0; r < table->row_count; r++) {
        vmae_table_value *value = &table->rows[r].values[m];
        if (value == best || value->n == 0)
            continue;
        const vmae_difference *difference = &differences[i++];
        value->to_best = difference->difference;
        value->to_best_low = difference->low;
        value->to_best_high = difference->high;
        value->p = difference->p_holm;
        value->verdict = vmae_difference_verdict(difference);
        if (strcmp(value->verdict, "real") != 0)
            best->clearly_best = false;
    }
    return VMAE_OK;
}

static vmae_status agree_with_paper(vmae_table *table, size_t m, vmae_arena *arena)
{
    vmae_table_metric *metric = &table->metrics[m];
    double *ours = vmae_arena_calloc(arena, table->row_count, sizeof *ours);
    double *paper = vmae_arena_calloc(arena, table->row_count, sizeof *paper);
    if (!ours || !paper)
        return VMAE_ENOMEM;
    for (int i = 0; i < VMAE_READINGS; i++) {
        size_t n = 0;
        for (size_t r = 0; r < table->row_count; r++) {
            const vmae_table_value *value = &table->rows[r].values[m];
            if (value->n > 0 && !isnan(value->paper[i])) {
                ours[n] = value->mean;
                paper[n++] = value->paper[i];
            }
        }
        if (i == 0)
            metric->tau_n = n;
        if (!vmae_kendall(ours, paper, n, &metric->tau[i], &metric->tau_p[i]))
            metric->tau[i] = metric->tau_p[i] = NAN;
    }
    return VMAE_OK;
}

/* Runs of one stage are held against each other: did they see the same data? (The data may be what the grid varies: so
 * only a note.) */
static vmae_status note_data(vmae_table *table, vmae_store *store, int64_t sweep, int64_t grid, vmae_arena *arena)
{
    sqlite3_stmt *rows = NULL;
    bool more = false;
    VMAE_TRY(vmae_sql_query(
        store, &rows,
        "SELECT f.name, count(DISTINCT f.value) FROM sweep_cells AS c JOIN runs AS r ON r.identity = c.identity "
        "JOIN fingerprints AS f ON f.run = r.id WHERE c.sweep = ? AND c.grid = ? AND c.stage = ? "
        "GROUP BY f.name HAVING count(DISTINCT f.value) > 1 ORDER BY f.name LIMIT 1",
        "iit", sweep, grid, table->stage));
    const vmae_status st = vmae_sql_step(store, rows, &more);
    if (st == VMAE_OK && more)
        table->data_note =
            vmae_arena_format(arena, "the %s runs did not see the same data: %lld fingerprints of %s", table->stage,
                              (long long)sqlite3_column_int64(rows, 1), vmae_sql_text(rows, 0));
    sqlite3_finalize(rows);
    return st;
}

vmae_status vmae_table_load(vmae_table *out, vmae_store *store, int64_t sweep, int64_t grid, vmae_arena *arena)
{
    vmae_table table = { 0 };
    VMAE_TRY(load_heading(&table, store, sweep, grid, arena));
    VMAE_TRY(load_overrides(&table, store, sweep, arena));
    VMAE_TRY(load_metrics(&table, store, sweep, grid, arena));
    VMAE_TRY(load_rows(&table, store, sweep, grid, arena));
    VMAE_TRY(load_cells(&table, store, sweep, grid, arena));
    VMAE_TRY(load_paper(&table, store));
    for (size_t m = 0; m < table.metric_count; m++) {
        VMAE_TRY(compare_column(&table, m, arena));
        VMAE_TRY(agree_with_paper(&table, m, arena));
    }
    VMAE_TRY(note_data(&table, store, sweep, grid, arena));
    *out = table;
    return VMAE_OK;
}
