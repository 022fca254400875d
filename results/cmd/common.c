/* common.c -- options, opening, finding, printing for all commands. */
#include "results/cmd/common.h"

#include "engine/core/fs.h"
#include "engine/core/log.h"
#include "engine/core/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEY_RUNS = 'r', KEY_DB = 'd', KEY_NO_INGEST = 0x100, KEY_JSON, KEY_CSV, KEY_MD };

static const struct argp_option common_options[] = {
    { NULL, 0, NULL, 0, "Where the results are:", 1 },
    { "runs", KEY_RUNS, "DIR", 0, "folder of the runs (default: runs)", 1 },
    { "db", KEY_DB, "FILE", 0, "results database (default: results.db in the runs folder)", 1 },
    { "no-ingest", KEY_NO_INGEST, NULL, 0, "show what the database holds, without looking for news in the runs folder",
      1 },
    { 0 },
};

static error_t on_common(int key, char *arg, struct argp_state *state)
{
    cmd_options *options = state->input;
    switch (key) {
    case KEY_RUNS: options->runs = arg; return 0;
    case KEY_DB: options->db = arg; return 0;
    case KEY_NO_INGEST: options->no_ingest = true; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

const struct argp cmd_common_argp = { .options = common_options, .parser = on_common };

static const struct argp_option listing_options[] = {
    { NULL, 0, NULL, 0, "Output:", 2 },
    { "json", KEY_JSON, NULL, 0, "a JSON array of objects", 2 },
    { "csv", KEY_CSV, NULL, 0, "comma-separated values with a heading", 2 },
    { "md", KEY_MD, NULL, 0, "a Markdown table", 2 },
    { 0 },
};

static error_t on_listing(int key, char *arg, struct argp_state *state)
{
    (void)arg;
    cmd_options *options = state->input;
    switch (key) {
    case KEY_JSON: options->format = VMAE_TABLE_JSON; return 0;
    case KEY_CSV: options->format = VMAE_TABLE_CSV; return 0;
    case KEY_MD: options->format = VMAE_TABLE_MARKDOWN; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

const struct argp cmd_listing_argp = { .options = listing_options, .parser = on_listing };

void cmd_children(struct argp_state *state)
{
    for (int i = 0; state->root_argp->children && state->root_argp->children[i].argp; i++)
        state->child_inputs[i] = state->input;
}

void cmd_parse(const struct argp *argp, int argc, char **argv, void *input)
{
    argp_parse(argp, argc, argv, 0, NULL, input); /* exits on a wrong option, with argp_err_exit_status */
}

static const char *runs_folder(const cmd_options *options)
{
    return options->runs ? options->runs : "runs";
}

static char *database_path(const cmd_options *options)
{
    return options->db ? vmae_strdup(options->db) : vmae_path_join(runs_folder(options), "results.db");
}

vmae_status cmd_open(const cmd_options *options, vmae_store **store)
{
    const char *runs = runs_folder(options);
    char *path = database_path(options);
    if (!path)
        return VMAE_ENOMEM;
    const bool ingest = !options->no_ingest && vmae_path_is_folder(runs);
    vmae_status st = VMAE_OK;
    if (!ingest && !vmae_path_exists(path) && strncmp(path, "file:", 5) != 0)
        st =
            vmae_fail(VMAE_EUSER,
                      "there are no results: neither a runs folder %s nor a database %s; say where with --runs or --db",
                      runs, path);
    vmae_store *opened = NULL;
    if (st == VMAE_OK)
        st = vmae_store_open(&opened, path, ingest ? VMAE_STORE_UPDATE : VMAE_STORE_READ);
    free(path);
    if (st == VMAE_OK && ingest && !vmae_store_read_only(opened) && vmae_store_ingest(opened, runs, NULL) != VMAE_OK)
        log_warn("showing what was known before: %s",
                 vmae_error()); /* disk full, or somebody writes for long: old numbers are better than none */
    if (st == VMAE_OK)
        *store = opened;
    return st;
}

vmae_status cmd_open_to_write(const cmd_options *options, vmae_store **store)
{
    char *path = database_path(options);
    if (!path)
        return VMAE_ENOMEM;
    const vmae_status st = vmae_store_open(store, path, VMAE_STORE_UPDATE);
    free(path);
    return st;
}

int cmd_failed(vmae_status status)
{
    fprintf(stderr, "%s: %s\n", program_invocation_short_name, vmae_error());
    return vmae_exit_code(status);
}

int cmd_find_run(vmae_store *store, const char *name, vmae_stored_run *run)
{
    bool found = false;
    const vmae_status st = vmae_run_find(store, name, run, &found);
    if (st != VMAE_OK)
        return cmd_failed(st);
    if (!found)
        cmd_failed(VMAE_EUSER);
    return found ? 0 : EXIT_NOTHING;
}

bool cmd_colours(void)
{
    return vmae_log_colours(STDOUT_FILENO);
}

const char *cmd_status_colour(const char *status)
{
    if (strcmp(status, "done") == 0)
        return "\033[32m";
    if (strcmp(status, "running") == 0)
        return "\033[36m";
    return strcmp(status, "interrupted") == 0 || strcmp(status, "stopped") == 0 ? "\033[33m" : "\033[31m";
}

vmae_status cmd_fill(vmae_listing *listing, vmae_store *store, sqlite3_stmt *statement)
{
    bool row;
    vmae_status st;
    const int columns = sqlite3_column_count(statement);
    for (int i = 0; i < columns; i++)
        vmae_listing_column(listing, sqlite3_column_name(statement, i));
    while ((st = vmae_sql_step(store, statement, &row)) == VMAE_OK && row)
        for (int i = 0; i < columns; i++)
            switch (sqlite3_column_type(statement, i)) {
            case SQLITE_INTEGER: vmae_listing_integer(listing, sqlite3_column_int64(statement, i)); break;
            case SQLITE_FLOAT: vmae_listing_number(listing, sqlite3_column_double(statement, i), -1); break;
            case SQLITE_NULL: vmae_listing_empty(listing); break;
            default: vmae_listing_text(listing, vmae_sql_text(statement, i)); break;
            }
    return st;
}

int cmd_print(vmae_listing *listing, const cmd_options *options)
{
    const vmae_status st = vmae_listing_print(listing, options->format, cmd_colours(), stdout);
    if (st != VMAE_OK)
        return cmd_failed(st);
    return vmae_listing_rows(listing) ? 0 : EXIT_NOTHING;
}
