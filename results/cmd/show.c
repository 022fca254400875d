/* show.c -- vicmae-results show: everything known about one run. */
#include "results/cmd/cmd.h"

#include "engine/core/fs.h"
#include "engine/core/log.h"
#include "engine/core/mem.h"
#include "engine/core/text.h"

#include <stdlib.h>
#include <string.h>

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

static vmae_status print_section(vmae_store *store, vmae_table_format format, size_t i, int64_t run)
{
    sqlite3_stmt *rows = NULL;
    vmae_listing *listing = vmae_listing_new();
    vmae_status st = listing ? vmae_sql_query(store, &rows, sections[i].sql, "i", run) : VMAE_ENOMEM;
    if (st == VMAE_OK)
        st = cmd_fill(listing, store, rows);
    const bool shown = format == VMAE_TABLE_JSON || vmae_listing_rows(listing) > 0;
    if (st == VMAE_OK && shown) {
        printf(format == VMAE_TABLE_JSON       ? ",\n\"%s\": "
               : format == VMAE_TABLE_MARKDOWN ? "\n### %s\n\n"
               : cmd_colours()                 ? "\n\033[1m%s\033[0m\n"
                                               : "\n%s\n",
               format == VMAE_TABLE_JSON ? sections[i].name : sections[i].title);
        st = vmae_listing_print(listing, format, cmd_colours(), stdout);
    }
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

enum { PROTOCOL, SEED, STATUS, LAST_STEP, MESSAGE, FOLDER, DAMAGE, FIELDS };

static void print_json_head(sqlite3_stmt *row, const vmae_stored_run *run, const char *status)
{
    static const char *const names[FIELDS] = { "protocol", "seed",   "stored_status", "last_step",
                                               "message",  "folder", "damage" };
    printf("{\"id\": %lld, \"identity\": \"%s\", \"status\": \"%s\"", (long long)run->id, run->identity, status);
    for (int i = 0; i < FIELDS; i++) {
        printf(", \"%s\": ", names[i]);
        if (sqlite3_column_type(row, i) == SQLITE_NULL)
            fputs("null", stdout);
        else if (sqlite3_column_type(row, i) == SQLITE_INTEGER)
            printf("%lld", (long long)sqlite3_column_int64(row, i));
        else
            vmae_print_json_text(stdout, vmae_sql_text(row, i));
    }
}

static void print_head(sqlite3_stmt *row, const vmae_stored_run *run, const char *status)
{
    static const char *const before[FIELDS] = {
        [MESSAGE] = "\n", [FOLDER] = "\nin ", [DAMAGE] = "\nits journal is damaged: "
    };
    const bool colours = cmd_colours();
    printf("Run %lld  %s\n", (long long)run->id, run->identity);
    vmae_print_clean(stdout, vmae_sql_text(row, PROTOCOL));
    if (sqlite3_column_type(row, SEED) != SQLITE_NULL)
        printf(", seed %lld", (long long)sqlite3_column_int64(row, SEED));
    printf(", %s%s%s", colours ? cmd_status_colour(status) : "", status, colours ? "\033[0m" : "");
    if (sqlite3_column_type(row, LAST_STEP) != SQLITE_NULL)
        printf(" at step %lld", (long long)sqlite3_column_int64(row, LAST_STEP));
    for (int i = MESSAGE; i < FIELDS; i++)
        if (*vmae_sql_text(row, i)) {
            fputs(before[i], stdout);
            vmae_print_clean(stdout, vmae_sql_text(row, i));
        }
    putchar('\n');
}

static vmae_status show_run(vmae_store *store, vmae_table_format format, const vmae_stored_run *run)
{
    sqlite3_stmt *row = NULL;
    bool found = false;
    VMAE_TRY(vmae_sql_query(store, &row,
                            "SELECT protocol, seed, status, last_step, message, folder, damage FROM runs WHERE id = ?",
                            "i", run->id));
    vmae_status st = vmae_sql_step(store, row, &found);
    const char *status = vmae_run_status(store, run->id, vmae_sql_text(row, STATUS));
    char *folder = vmae_strdup(vmae_sql_text(row, FOLDER));
    if (format == VMAE_TABLE_JSON)
        print_json_head(row, run, status);
    else
        print_head(row, run, status);
    sqlite3_finalize(row);
    for (size_t i = 0; i < sizeof sections / sizeof *sections && st == VMAE_OK; i++)
        st = print_section(store, format, i, run->id);
    if (format == VMAE_TABLE_JSON)
        fputs("}\n", stdout);
    else if (st == VMAE_OK && folder && strcmp(status, "done") != 0 && strcmp(status, "running") != 0)
        print_log_tail(folder);
    free(folder);
    return st;
}

static vmae_status show(cmd_context *context, vmae_listing *listing)
{
    vmae_stored_run run;
    (void)listing;
    if (context->format == VMAE_TABLE_CSV || context->format == VMAE_TABLE_LATEX)
        return vmae_fail(VMAE_EUSER, "a run is not one table: show prints text, md or json");
    VMAE_TRY(vmae_run_find(context->store, context->words[0], &run));
    return show_run(context->store, context->format, &run);
}

const cmd cmd_show = {
    .name = "show",
    .summary = "everything about one run",
    .args = "RUN",
    .doc = "Shows a run: settings, parents, machine, data, attempts, numbers, files, and the end of its log if it "
           "failed. RUN is the number that list shows, or the beginning of its identity."
           "\vExamples:\n  vicmae-results show 12\n  vicmae-results show 3fa9 --json",
    .uses = CMD_STORE | CMD_FORMAT,
    .least = 1,
    .most = 1,
    .run = show,
};
