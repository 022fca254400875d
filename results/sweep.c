/* sweep.c -- sweep descriptions (JSON, written by vicmae-sweep) into the database, and back out by name. */
#include "results/sweep.h"
#include "results/sql.h"

#include "engine/core/fs.h"
#include "engine/core/hash.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_MAX = 256 << 20, DESCRIPTION_VERSION = 1 };

/* ---- fields, with their place in the message ---- */

static vmae_status need_text(const json_t *object, const char *place, const char *name, const char **text)
{
    *text = json_string_value(json_object_get(object, name));
    return *text ? VMAE_OK : vmae_fail(VMAE_EDATA, "%s: \"%s\" is missing or not a text", place, name);
}

static vmae_status need_array(const json_t *object, const char *place, const char *name, const json_t **array)
{
    *array = json_object_get(object, name);
    return json_is_array(*array) ? VMAE_OK : vmae_fail(VMAE_EDATA, "%s: \"%s\" is missing or not a list", place, name);
}

static const char *text_or_null(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

/* ---- one grid ---- */

typedef struct place {
    vmae_store *store;
    int64_t sweep, grid, row;
    char text[160]; /* "grid a, row \"8\"" */
} place;

static vmae_status store_cell(place *at, const json_t *cell)
{
    const json_t *seed = json_object_get(cell, "seed");
    json_t *runs = json_object_get(cell, "runs");
    if (!json_is_integer(seed))
        return vmae_fail(VMAE_EDATA, "%s: a cell's \"seed\" is missing or not a whole number", at->text);
    if (!json_is_object(runs))
        return vmae_fail(VMAE_EDATA, "%s, seed %lld: \"runs\" is missing or not an object", at->text,
                         (long long)json_integer_value(seed));
    const char *stage;
    json_t *identity;
    int64_t n = 0;
    json_object_foreach(runs, stage, identity)
    {
        if (!json_is_string(identity))
            return vmae_fail(VMAE_EDATA, "%s: the run of stage %s is not a text", at->text, stage);
        VMAE_TRY(vmae_sql_run(at->store, "INSERT OR REPLACE INTO sweep_cells VALUES (?,?,?,?,?,?,?)", "iiiitit",
                              at->sweep, at->grid, at->row, (int64_t)json_integer_value(seed), stage, n++,
                              json_string_value(identity)));
    }
    return VMAE_OK;
}

static vmae_status store_row(place *at, const json_t *row)
{
    const char *label;
    const json_t *cells, *paper_row = json_object_get(row, "paper_row");
    VMAE_TRY(need_text(row, at->text, "label", &label));
    VMAE_TRY(need_array(row, at->text, "cells", &cells));
    VMAE_TRY(vmae_sql_run(at->store, "INSERT INTO sweep_rows VALUES (?,?,?,?,?)", "iiitI", at->sweep, at->grid, at->row,
                          label, json_is_integer(paper_row) ? (int64_t)json_integer_value(paper_row) : INT64_MIN));
    for (size_t i = 0; i < json_array_size(cells); i++)
        VMAE_TRY(store_cell(at, json_array_get(cells, i)));
    return VMAE_OK;
}

static vmae_status store_metric(place *at, int64_t n, const json_t *metric)
{
    const char *name, *label;
    VMAE_TRY(need_text(metric, at->text, "metric", &name));
    label = text_or_null(metric, "label");
    return vmae_sql_run(at->store, "INSERT INTO sweep_metrics VALUES (?,?,?,?,?,?)", "iiittt", at->sweep, at->grid, n,
                        name, text_or_null(metric, "paper_column"), label ? label : name);
}

static vmae_status store_grid(place *at, const json_t *grid)
{
    const char *name, *title, *stage, *axis;
    const json_t *metrics, *rows;
    snprintf(at->text, sizeof at->text, "grid %lld", (long long)at->grid + 1);
    VMAE_TRY(need_text(grid, at->text, "name", &name));
    snprintf(at->text, sizeof at->text, "grid %s", name);
    VMAE_TRY(need_text(grid, at->text, "title", &title));
    VMAE_TRY(need_text(grid, at->text, "stage", &stage));
    VMAE_TRY(need_array(grid, at->text, "metrics", &metrics));
    VMAE_TRY(need_array(grid, at->text, "rows", &rows));
    axis = text_or_null(grid, "axis");
    int64_t twice = 0;
    VMAE_TRY(vmae_sql_integer(at->store, &twice, 0, "SELECT 1 FROM sweep_grids WHERE sweep = ? AND name = ?", "it",
                              at->sweep, name));
    if (twice)
        return vmae_fail(VMAE_EDATA, "grid %s is there twice", name);
    VMAE_TRY(vmae_sql_run(at->store, "INSERT INTO sweep_grids VALUES (?,?,?,?,?,?,?,?)", "iitttttt", at->sweep,
                          at->grid, name, title, text_or_null(grid, "paper"), axis ? axis : "setting", stage,
                          text_or_null(grid, "note")));
    for (size_t i = 0; i < json_array_size(metrics); i++)
        VMAE_TRY(store_metric(at, (int64_t)i, json_array_get(metrics, i)));
    for (size_t i = 0; i < json_array_size(rows); i++) {
        at->row = (int64_t)i;
        snprintf(at->text, sizeof at->text, "grid %s, row %zu", name, i + 1);
        VMAE_TRY(store_row(at, json_array_get(rows, i)));
    }
    return VMAE_OK;
}

static bool is_listed(const json_t *list, const char *text)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (strcmp(text, json_string_value(json_array_get(list, i))) == 0)
            return true;
    return false;
}

static vmae_status need_texts(const json_t *list, const char *name)
{
    if (list && !json_is_array(list))
        return vmae_fail(VMAE_EDATA, "sweep: \"%s\" is not a list", name);
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!json_is_string(json_array_get(list, i)))
            return vmae_fail(VMAE_EDATA, "sweep: \"%s\" holds what is not a text", name);
    return VMAE_OK;
}

/* What the command line changed; "overrides_of_speed" are those that change no number, in "overrides" too or not. */
static vmae_status store_overrides(vmae_store *store, int64_t sweep, const json_t *root)
{
    const json_t *all = json_object_get(root, "overrides"), *speed = json_object_get(root, "overrides_of_speed");
    int64_t n = 0;
    VMAE_TRY(need_texts(all, "overrides"));
    VMAE_TRY(need_texts(speed, "overrides_of_speed"));
    for (size_t i = 0; i < json_array_size(all) + json_array_size(speed); i++) {
        const bool of_speed = i >= json_array_size(all);
        const char *text =
            json_string_value(of_speed ? json_array_get(speed, i - json_array_size(all)) : json_array_get(all, i));
        if (of_speed && is_listed(all, text))
            continue;
        VMAE_TRY(vmae_sql_run(store, "INSERT INTO sweep_overrides VALUES (?,?,?,?)", "iiti", sweep, n++, text,
                              (int64_t)is_listed(speed, text)));
    }
    return VMAE_OK;
}

static vmae_status store_sweep(vmae_store *store, const json_t *root, const char *hash)
{
    const char *name, *scale, *config, *data, *revision;
    const json_t *grids;
    const json_t *version = json_object_get(root, "version");
    if (!json_is_integer(version) || json_integer_value(version) != DESCRIPTION_VERSION)
        return vmae_fail(VMAE_EDATA,
                         "\"version\" is not %d: another version of vicmae wrote it, or it is no sweep description",
                         DESCRIPTION_VERSION);
    VMAE_TRY(need_text(root, "sweep", "sweep", &name));
    VMAE_TRY(need_text(root, "sweep", "scale", &scale));
    VMAE_TRY(need_array(root, "sweep", "grids", &grids));
    config = text_or_null(root, "config");
    data = text_or_null(root, "data");
    revision = text_or_null(root, "revision");
    VMAE_TRY(vmae_sql_run(store, "DELETE FROM sweeps WHERE name = ? AND scale = ?", "tt", name, scale));
    VMAE_TRY(vmae_sql_run(store,
                          "INSERT INTO sweeps (name, scale, config, data, revision, hash, title) "
                          "VALUES (?,?,?,?,?,?,?)",
                          "ttttttt", name, scale, config ? config : "", data ? data : "", revision ? revision : "",
                          hash, text_or_null(root, "title")));
    place at = { .store = store, .sweep = sqlite3_last_insert_rowid(vmae_store_sqlite(store)) };
    VMAE_TRY(store_overrides(store, at.sweep, root));
    for (size_t i = 0; i < json_array_size(grids); i++) {
        at.grid = (int64_t)i;
        VMAE_TRY(store_grid(&at, json_array_get(grids, i)));
    }
    return VMAE_OK;
}

static vmae_status parse_and_store(vmae_store *store, const char *bytes, size_t count)
{
    char hex[VMAE_HASH_HEX];
    json_error_t error;
    int64_t known = 0;
    vmae_hash *hash = vmae_hash_new();
    if (!hash)
        return VMAE_ENOMEM;
    vmae_hash_bytes(hash, bytes, count);
    vmae_hash_hex(hash, hex);
    vmae_hash_free(hash);
    VMAE_TRY(vmae_sql_integer(store, &known, 0, "SELECT 1 FROM sweeps WHERE hash = ?", "t", hex));
    if (known)
        return VMAE_OK;
    json_t *root = json_loadb(bytes, count, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        return vmae_fail(VMAE_EDATA, "line %d: %s", error.line, error.text);
    vmae_status st = vmae_sql_begin(store);
    if (st == VMAE_OK && (st = store_sweep(store, root, hex)) == VMAE_OK)
        st = vmae_sql_commit(store);
    vmae_sql_rollback(store);
    json_decref(root);
    return st;
}

vmae_status vmae_store_ingest_sweep(vmae_store *store, const char *path)
{
    char *bytes = NULL;
    size_t count = 0;
    VMAE_TRY(vmae_read_file(path, FILE_MAX, &bytes, &count));
    const vmae_status st = parse_and_store(store, bytes, count);
    free(bytes);
    return st == VMAE_OK ? st : vmae_fail_in(st, "%s", path);
}

/* ---- finding ---- */

vmae_status vmae_sweep_find(vmae_store *store, const char *name, int64_t *sweep)
{
    sqlite3_stmt *rows = NULL;
    bool row;
    char candidates[512] = "";
    int64_t found = 0, id = 0, shipped = 0, shipped_id = 0; /* shipped: without a change by its command line */
    VMAE_TRY(vmae_sql_query(store, &rows,
                            "SELECT id, name || '-' || scale, name = ?1 OR name || '-' || scale = ?1, "
                            "instr(scale, '+') = 0 FROM sweeps "
                            "ORDER BY name || '-' || scale = ?1, name, scale",
                            "t", name));
    vmae_status st;
    while ((st = vmae_sql_step(store, rows, &row)) == VMAE_OK && row) {
        const bool match = sqlite3_column_int(rows, 2);
        if (match && found++ == 0)
            *candidates = 0;
        if (match)
            id = sqlite3_column_int64(rows, 0);
        if (match && sqlite3_column_int(rows, 3)) {
            shipped++;
            shipped_id = sqlite3_column_int64(rows, 0);
        }
        if (match || found == 0) {
            const size_t used = strlen(candidates);
            snprintf(candidates + used, sizeof candidates - used, "%s%s", used ? ", " : "", vmae_sql_text(rows, 1));
        }
    }
    sqlite3_finalize(rows);
    VMAE_TRY(st);
    if (found == 0)
        return vmae_fail(VMAE_EUSER, "there is no sweep %s%s%s", name,
                         *candidates ? "; stored are: " : "; none is stored yet", candidates);
    if (found > 1 && shipped == 1) {
        *sweep = shipped_id;
        return VMAE_OK;
    }
    if (found > 1)
        return vmae_fail(VMAE_EUSER, "sweep %s is stored at several scales: say one of %s", name, candidates);
    *sweep = id;
    return VMAE_OK;
}
