/* show.c -- vicmae-results show: everything known about one run. */
#include "results/cmd/common.h"

#include "engine/core/fs.h"
#include "engine/core/log.h"
#include "engine/core/mem.h"
#include "engine/core/text.h"

#include <stdlib.h>
#include <string.h>

typedef struct show_options {
    cmd_options common;
    const char *run;
} show_options;

static error_t on_option(int key, char *arg, struct argp_state *state)
{
    show_options *show = state->input;
    switch (key) {
    case ARGP_KEY_INIT: cmd_children(state); return 0;
    case ARGP_KEY_ARG:
        if (show->run)
            argp_error(state, "show takes one run");
        show->run = arg;
        return 0;
    case ARGP_KEY_NO_ARGS: argp_error(state, "which run? `vicmae-results list` shows them"); return EINVAL;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child children[] = { { &cmd_common_argp, 0, NULL, 0 },
                                              { &cmd_listing_argp, 0, NULL, 0 },
                                              { 0 } };
static const struct argp argp = { NULL,
                                  on_option,
                                  "RUN",
                                  "Shows a run: settings, parents, machine, data, attempts, numbers, files, and the "
                                  "end of its log if it failed. RUN is the number "
                                  "that list shows, or the beginning of its identity."
                                  "\vExamples:\n  vicmae-results show 12\n  vicmae-results show 3fa9 --json",
                                  children,
                                  NULL,
                                  NULL };

static const struct {
    const char *name, *title, *sql; /* ?1 is the run */
} sections[] = {
    { "parents", "Builds on",
      "SELECT r.id, p.parent AS identity, r.protocol, r.seed, coalesce(r.status, 'unknown here') AS status "
      "FROM run_parents AS p LEFT JOIN runs AS r ON r.identity = p.parent WHERE p.run = ?1 ORDER BY p.n" },
    { "children", "Used by",
      "SELECT r.id, r.identity, r.protocol, r.seed, r.status FROM run_parents AS p JOIN runs AS r ON r.id = p.run "
      "WHERE p.parent = (SELECT identity FROM runs WHERE id = ?1) ORDER BY r.id" },
    { "config", "Settings", "SELECT key, value FROM config WHERE run = ?1 ORDER BY key" },
    { "fingerprints", "Data", "SELECT name, value FROM fingerprints WHERE run = ?1 ORDER BY name" },
    { "attempts", "Attempts",
      "SELECT attempt, host, pid, start_time AS started, revision, first_step, last_step, valid_to, "
      "round(coalesce(ended, last_wall) - coalesce(started, first_wall), 1) AS seconds, coalesce(status, 'no end "
      "recorded') AS ended, message FROM attempts WHERE run = ?1 ORDER BY attempt" },
    { "machine", "Machine (last attempt)",
      "SELECT name, value FROM machine_facts WHERE run = ?1 AND attempt = (SELECT max(attempt) "
      "FROM machine_facts WHERE run = ?1) ORDER BY name" },
    { "numbers", "Numbers",
      "SELECT n.name AS metric, CASE s.last_special WHEN 0 THEN s.last WHEN 1 THEN 'nan' WHEN 2 THEN 'inf' "
      "ELSE '-inf' END AS last, s.last_step AS step, s.best, s.best_step, s.count AS rows FROM summaries AS s "
      "JOIN metric_names AS n ON n.id = s.metric WHERE s.run = ?1 ORDER BY n.timing, n.name" },
    { "artefacts", "Files", "SELECT kind, path, bytes, sha256 FROM artefacts WHERE run = ?1 ORDER BY path" },
    { "skipped", "Bad samples left out",
      "SELECT dataset, sample, reason FROM skipped_samples WHERE run = ?1 ORDER BY dataset, sample LIMIT 20" },
    { "sweeps", "Cells",
      "SELECT s.name AS sweep, s.scale, g.name AS grid, w.label AS row, c.seed, c.stage FROM sweep_cells AS c "
      "JOIN sweeps AS s ON s.id = c.sweep JOIN sweep_grids AS g ON g.sweep = c.sweep AND g.grid = c.grid "
      "JOIN sweep_rows AS w ON w.sweep = c.sweep AND w.grid = c.grid AND w.row = c.row "
      "WHERE c.identity = (SELECT identity FROM runs WHERE id = ?1) ORDER BY s.name, s.scale, g.grid, c.row, c.seed" },
};

static vmae_status print_section(vmae_store *store, const cmd_options *options, size_t i, int64_t run)
{
    sqlite3_stmt *rows = NULL;
    vmae_listing *listing = vmae_listing_new();
    vmae_status st = listing ? vmae_sql_query(store, &rows, sections[i].sql, "i", run) : VMAE_ENOMEM;
    if (st == VMAE_OK)
        st = cmd_fill(listing, store, rows);
    if (st == VMAE_OK && options->format == VMAE_TABLE_JSON)
        printf(",\n\"%s\": ", sections[i].name);
    else if (st == VMAE_OK && vmae_listing_rows(listing) > 0)
        printf(options->format == VMAE_TABLE_MARKDOWN ? "\n### %s\n\n"
               : cmd_colours()                        ? "\n\033[1m%s\033[0m\n"
                                                      : "\n%s\n",
               sections[i].title);
    if (st == VMAE_OK && (options->format == VMAE_TABLE_JSON || vmae_listing_rows(listing) > 0))
        st = vmae_listing_print(listing, options->format, cmd_colours(), stdout);
    sqlite3_finalize(rows);
    vmae_listing_free(listing);
    return st;
}

/* What a person would look at first. */
static void print_log_tail(const char *folder)
{
    enum { LINES = 20 };
    char *path = vmae_path_join(folder, "log.txt"), *text = path ? vmae_log_tail(path, LINES) : NULL;
    printf(text ? "\nEnd of " : "\nThere is no log at ");
    vmae_print_clean(stdout, path ? path : folder);
    printf(text ? "\n%s\n" : "\n", text);
    free(text);
    free(path);
}

static vmae_status show(vmae_store *store, const show_options *options, const vmae_stored_run *run)
{
    sqlite3_stmt *row = NULL;
    bool found = false;
    VMAE_TRY(vmae_sql_query(store, &row,
                            "SELECT protocol, seed, status, last_step, message, folder, damage FROM runs WHERE id = ?",
                            "i", run->id));
    vmae_status st = vmae_sql_step(store, row, &found);
    const char *status = vmae_run_status(store, run->id, vmae_sql_text(row, 2));
    char *folder = vmae_strdup(vmae_sql_text(row, 5));
    if (options->common.format == VMAE_TABLE_JSON) {
        static const char *const names[] = { "protocol", "seed",   "stored_status", "last_step",
                                             "message",  "folder", "damage" };
        printf("{\"id\": %lld, \"identity\": \"%s\", \"status\": \"%s\"", (long long)run->id, run->identity, status);
        for (int i = 0; i < 7; i++) {
            printf(", \"%s\": ", names[i]);
            if (sqlite3_column_type(row, i) == SQLITE_NULL)
                fputs("null", stdout);
            else if (sqlite3_column_type(row, i) == SQLITE_INTEGER)
                printf("%lld", (long long)sqlite3_column_int64(row, i));
            else
                vmae_print_json_text(stdout, vmae_sql_text(row, i));
        }
    } else {
        printf("Run %lld  %s\n", (long long)run->id, run->identity);
        vmae_print_clean(stdout, vmae_sql_text(row, 0));
        if (sqlite3_column_type(row, 1) != SQLITE_NULL)
            printf(", seed %lld", (long long)sqlite3_column_int64(row, 1));
        printf(", %s%s%s", cmd_colours() ? cmd_status_colour(status) : "", status, cmd_colours() ? "\033[0m" : "");
        if (sqlite3_column_type(row, 3) != SQLITE_NULL)
            printf(" at step %lld", (long long)sqlite3_column_int64(row, 3));
        for (int i = 4; i < 7; i++)
            if (*vmae_sql_text(row, i)) {
                fputs(i == 4 ? "\n" : i == 5 ? "\nin " : "\nits journal is damaged: ", stdout);
                vmae_print_clean(stdout, vmae_sql_text(row, i));
            }
        putchar('\n');
    }
    sqlite3_finalize(row);
    for (size_t i = 0; i < sizeof sections / sizeof *sections && st == VMAE_OK; i++)
        st = print_section(store, &options->common, i, run->id);
    if (options->common.format == VMAE_TABLE_JSON)
        fputs("}\n", stdout);
    else if (st == VMAE_OK && folder && strcmp(status, "done") != 0 && strcmp(status, "running") != 0)
        print_log_tail(folder);
    free(folder);
    return st;
}

int cmd_show(int argc, char **argv)
{
    show_options options = { .run = NULL };
    cmd_parse(&argp, argc, argv, &options);
    vmae_store *store = NULL;
    vmae_stored_run run;
    vmae_status st = cmd_open(&options.common, &store);
    int code = st == VMAE_OK ? cmd_find_run(store, options.run, &run) : cmd_failed(st);
    if (code == 0 && (st = show(store, &options, &run)) != VMAE_OK)
        code = cmd_failed(st);
    vmae_store_close(store);
    return code;
}
