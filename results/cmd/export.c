/* export.c -- vicmae-results export and dump-metrics. */
#include "results/cmd/cmd.h"

#include "engine/core/fs.h"
#include "engine/core/mem.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RUNS_MAX = 256, KEY_CANONICAL = 0x200 };

typedef struct export_options {
    bool canonical;
    const char *database;
} export_options;

static const struct argp_option options[] = {
    { "canonical", KEY_CANONICAL, NULL, 0,
      "identity, metric, step, value as hexadecimal float, in a fixed order, without what measures "
      "time or memory: equal output means equal numbers, bit for bit",
      0 },
    { "database", 'D', "FILE", 0, "copy the whole database into a new file that needs nothing beside it", 0 },
    { 0 },
};

static error_t on_option(int key, char *arg, struct argp_state *state)
{
    export_options *export = state->input;
    switch (key) {
    case KEY_CANONICAL: export->canonical = true; return 0;
    case 'D': export->database = arg; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/* VACUUM INTO a file beside, then renamed: nobody sees half a copy. The copy is in rollback-journal mode, so it opens
 * read-only too. */
static vmae_status copy_database(vmae_store *store, const char *path)
{
    if (vmae_path_exists(path))
        return vmae_fail(VMAE_EUSER, "%s exists already; remove it or choose another name", path);
    char *beside = vmae_format("%s.tmp-%d", path, (int)getpid());
    if (!beside)
        return VMAE_ENOMEM;
    vmae_status st = vmae_sql_run(store, "VACUUM INTO ?", "t", beside);
    if (st == VMAE_OK && rename(beside, path) != 0)
        st = vmae_fail(VMAE_EIO, "%s could not be renamed to %s", beside, path);
    if (st != VMAE_OK)
        unlink(beside);
    free(beside);
    return st;
}

static int by_identity(const void *a, const void *b)
{
    return strcmp(((const vmae_stored_run *)a)->identity, ((const vmae_stored_run *)b)->identity);
}

/* The order asked for does not matter. */
static vmae_status find_runs(const cmd_context *context, vmae_stored_run runs[RUNS_MAX])
{
    for (int i = 0; i < context->count; i++)
        VMAE_TRY(vmae_run_find(context->store, context->words[i], &runs[i]));
    if (context->count > 1)
        qsort(runs, (size_t)context->count, sizeof *runs, by_identity);
    return VMAE_OK;
}

static vmae_status add_rows(vmae_listing *listing, vmae_store *store, const char *run)
{
    sqlite3_stmt *rows = NULL;
    bool row;
    VMAE_TRY(vmae_sql_query(store, &rows,
                            "SELECT identity, protocol, metric, step, value, special FROM metric_values "
                            "WHERE ?1 IS NULL OR identity = ?1 ORDER BY identity, metric, step",
                            "t", run));
    vmae_status st;
    while ((st = vmae_sql_step(store, rows, &row)) == VMAE_OK && row) {
        for (int i = 0; i < 3; i++)
            vmae_listing_text(listing, vmae_sql_text(rows, i));
        vmae_listing_integer(listing, sqlite3_column_int64(rows, 3));
        if (sqlite3_column_type(rows, 5) == SQLITE_NULL)
            vmae_listing_number(listing, sqlite3_column_double(rows, 4), -1);
        else
            vmae_listing_text(listing, vmae_sql_text(rows, 5));
    }
    sqlite3_finalize(rows);
    return st;
}

static vmae_status fill(vmae_listing *listing, cmd_context *context, const vmae_stored_run *runs)
{
    static const char *const columns[] = { "run", "protocol", "metric", "step", "value" };
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
        vmae_listing_column(listing, columns[i]);
    vmae_listing_stream(listing, context->format, stdout);
    if (context->count == 0)
        VMAE_TRY(add_rows(listing, context->store, NULL));
    for (int i = 0; i < context->count; i++)
        VMAE_TRY(add_rows(listing, context->store, runs[i].identity));
    context->nothing = vmae_listing_rows(listing) == 0;
    return vmae_listing_print(listing, context->format, false, stdout);
}

static vmae_status dump_metrics(cmd_context *context, vmae_listing *listing)
{
    static vmae_stored_run runs[RUNS_MAX];
    uint64_t rows = 0, all = 0;
    (void)listing;
    VMAE_TRY(find_runs(context, runs));
    for (int i = 0; i < (context->count ? context->count : 1); i++) {
        VMAE_TRY(vmae_store_dump_metrics(context->store, context->count ? runs[i].identity : NULL, stdout, &rows));
        all += rows;
    }
    context->nothing = all == 0;
    return VMAE_OK;
}

static vmae_status export_metrics(cmd_context *context, vmae_listing *listing)
{
    static vmae_stored_run runs[RUNS_MAX];
    const export_options *export = context->input;
    if (export->database)
        return copy_database(context->store, export->database);
    if (export->canonical)
        return dump_metrics(context, listing);
    VMAE_TRY(find_runs(context, runs));
    if (!(listing = vmae_listing_new()))
        return VMAE_ENOMEM;
    const vmae_status st = fill(listing, context, runs);
    vmae_listing_free(listing);
    return st;
}

const cmd cmd_export = {
    .name = "export",
    .summary = "metrics as CSV, JSON, Markdown, LaTeX or in canonical form; or a copy of the database",
    .args = "[RUN...]",
    .doc = "Writes every metric value of all runs, or of these, to standard output: as CSV, in another format, or in "
           "canonical form; or copies the database."
           "\vExamples:\n  vicmae-results export 12 > curves.csv\n  vicmae-results export 12 --json\n"
           "  vicmae-results export --canonical > a.txt\n  vicmae-results export --database backup.db",
    .options = options,
    .on_option = on_option,
    .input_size = sizeof(export_options),
    .uses = CMD_STORE | CMD_FORMAT,
    .most = RUNS_MAX,
    .format = VMAE_TABLE_CSV,
    .run = export_metrics,
};

const cmd cmd_dump_metrics = {
    .name = "dump-metrics",
    .summary = "the same as export --canonical",
    .args = "[RUN...]",
    .doc = "Prints identity, metric, step and value of every number that does not measure time or memory, in a fixed "
           "order, the value as a hexadecimal float: equal output means equal numbers, bit for bit."
           "\vExamples:\n  vicmae-results dump-metrics > a.txt",
    .uses = CMD_STORE,
    .most = RUNS_MAX,
    .run = dump_metrics,
};
