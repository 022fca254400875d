/* export.c -- vicmae-results export and dump-metrics. */
#include "results/cmd/common.h"

#include "engine/core/fs.h"
#include "engine/core/mem.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RUNS_MAX = 256 };

typedef struct export_options {
    cmd_options common;
    bool canonical;
    const char *database;
    const char *runs[RUNS_MAX];
    int run_count;
} export_options;

enum { KEY_CANONICAL = 0x200 };

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
    case ARGP_KEY_INIT: cmd_children(state); return 0;
    case KEY_CANONICAL: export->canonical = true; return 0;
    case 'D': export->database = arg; return 0;
    case ARGP_KEY_ARG:
        if (export->run_count == RUNS_MAX)
            argp_error(state, "at most %d runs", RUNS_MAX);
        export->runs[export->run_count++] = arg;
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child children[] = { { &cmd_common_argp, 0, NULL, 0 }, { 0 } };
static const struct argp argp = {
    options,
    on_option,
    "[RUN...]",
    "Writes every metric value of all runs, or of these, to standard output: as CSV, or in canonical form; or copies "
    "the database."
    "\vExamples:\n  vicmae-results export 12 > curves.csv\n  vicmae-results export --canonical > a.txt\n"
    "  vicmae-results export --database backup.db",
    children,
    NULL,
    NULL
};

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

static vmae_status write_csv(vmae_store *store, const char *run, bool heading)
{
    sqlite3_stmt *rows = NULL;
    bool row;
    VMAE_TRY(vmae_sql_query(store, &rows,
                            "SELECT identity, protocol, metric, step, coalesce(special, value) FROM metric_values "
                            "WHERE ?1 IS NULL OR identity = ?1 ORDER BY identity, metric, step",
                            "t", run));
    vmae_status st;
    if (heading)
        puts("run,protocol,metric,step,value");
    while ((st = vmae_sql_step(store, rows, &row)) == VMAE_OK && row) {
        printf("%s,", vmae_sql_text(rows, 0));
        vmae_print_csv_cell(stdout, vmae_sql_text(rows, 1));
        printf(",%s,%lld,", vmae_sql_text(rows, 2), (long long)sqlite3_column_int64(rows, 3));
        if (sqlite3_column_type(rows, 4) == SQLITE_TEXT)
            puts(vmae_sql_text(rows, 4));
        else
            printf("%.17g\n", sqlite3_column_double(rows, 4));
    }
    sqlite3_finalize(rows);
    return st;
}

static int by_identity(const void *a, const void *b)
{
    return strcmp(((const vmae_stored_run *)a)->identity, ((const vmae_stored_run *)b)->identity);
}

static int export_runs(vmae_store *store, const export_options *export)
{
    static vmae_stored_run runs[RUNS_MAX];
    uint64_t rows = 0, all = 0;
    for (int i = 0; i < export->run_count; i++) {
        const int code = cmd_find_run(store, export->runs[i], &runs[i]);
        if (code)
            return code;
    }
    if (export->run_count > 1)
        qsort(runs, (size_t) export->run_count, sizeof *runs, by_identity);
    vmae_status st = VMAE_OK;
    if (!export->canonical && export->run_count == 0)
        st = write_csv(store, NULL, true);
    for (int i = 0; i < (export->run_count ? export->run_count : 1) && st == VMAE_OK; i++) {
        const char *identity = export->run_count ? runs[i].identity : NULL;
        if (export->canonical && (st = vmae_store_dump_metrics(store, identity, stdout, &rows)) == VMAE_OK)
            all += rows;
        else if (!export->canonical && identity)
            st = write_csv(store, identity, i == 0);
    }
    return st != VMAE_OK ? cmd_failed(st) : export->canonical && all == 0 ? EXIT_NOTHING : 0;
}

static int export_all(int argc, char **argv, bool canonical)
{
    static export_options export;
    export.canonical = canonical;
    cmd_parse(&argp, argc, argv, &export);
    vmae_store *store = NULL;
    vmae_status st = cmd_open(&export.common, &store);
    int code = 0;
    if (st == VMAE_OK && export.database)
        st = copy_database(store, export.database);
    else if (st == VMAE_OK)
        code = export_runs(store, &export);
    vmae_store_close(store);
    return st == VMAE_OK ? code : cmd_failed(st);
}

int cmd_export(int argc, char **argv)
{
    return export_all(argc, argv, false);
}

int cmd_dump_metrics(int argc, char **argv)
{
    return export_all(argc, argv, true);
}
