/* diff.c -- vicmae-results diff: what is not the same in two runs. */
#include "results/cmd/cmd.h"

#include <math.h>
#include <string.h>

typedef struct diff_options {
    bool all;
} diff_options;

static const struct argp_option options[] = {
    { "all", 'a', NULL, 0, "also what is equal", 0 },
    { 0 },
};

static error_t on_option(int key, char *arg, struct argp_state *state)
{
    diff_options *diff = state->input;
    (void)arg;
    if (key != 'a')
        return ARGP_ERR_UNKNOWN;
    diff->all = true;
    return 0;
}

/* Both sides as (what, name, value); parents' settings under their protocol's name. */
static const char facts_sql[] =
    "WITH RECURSIVE family(side, run, prefix, depth) AS ("
    "  SELECT 1, ?1, '', 0 UNION ALL SELECT 2, ?2, '', 0"
    "  UNION ALL SELECT f.side, r.id, r.protocol || '/', f.depth + 1 FROM family AS f JOIN run_parents AS p ON p.run = "
    "f.run"
    "  JOIN runs AS r ON r.identity = p.parent WHERE f.depth < 8),"
    "last(side, run, attempt) AS (SELECT s.side, s.run, max(a.attempt) FROM (SELECT 1 AS side, ?1 AS run UNION ALL "
    "SELECT 2, ?2) AS s"
    "  JOIN attempts AS a ON a.run = s.run GROUP BY s.side),"
    "facts(side, part, what, name, value) AS ("
    "  SELECT side, 0, 'run', 'protocol', protocol FROM family JOIN runs ON id = run WHERE depth = 0"
    "  UNION ALL SELECT side, 0, 'run', 'status', status FROM family JOIN runs ON id = run WHERE depth = 0"
    "  UNION ALL SELECT f.side, 1, 'setting', f.prefix || c.key, c.value FROM family AS f JOIN config AS c ON c.run = "
    "f.run"
    "  UNION ALL SELECT f.side, 2, 'data', f.prefix || p.name, p.value FROM family AS f JOIN fingerprints AS p ON "
    "p.run = f.run"
    "  UNION ALL SELECT f.side, 2, 'data', f.prefix || 'bad samples', count(*) FROM family AS f JOIN skipped_samples "
    "AS k ON k.run = f.run"
    "    GROUP BY f.side, f.run"
    "  UNION ALL SELECT l.side, 3, 'machine', 'revision', a.revision FROM last AS l JOIN attempts AS a ON a.run = "
    "l.run AND a.attempt = l.attempt"
    "  UNION ALL SELECT l.side, 3, 'machine', 'host', a.host FROM last AS l JOIN attempts AS a ON a.run = l.run AND "
    "a.attempt = l.attempt"
    "  UNION ALL SELECT l.side, 3, 'machine', 'attempts', l.attempt FROM last AS l"
    "  UNION ALL SELECT l.side, 3, 'machine', m.name, m.value FROM last AS l JOIN machine_facts AS m ON m.run = l.run "
    "AND m.attempt = l.attempt)"
    "SELECT what, name, max(CASE side WHEN 1 THEN value END), max(CASE side WHEN 2 THEN value END) FROM facts "
    "GROUP BY part, what, name HAVING ?3 OR max(CASE side WHEN 1 THEN value END) IS NOT max(CASE side WHEN 2 THEN "
    "value END) "
    "ORDER BY part, name";

static const char numbers_sql[] =
    "SELECT n.name, a.last, b.last, a.last_special, b.last_special FROM metric_names AS n "
    "LEFT JOIN summaries AS a ON a.metric = n.id AND a.run = ?1 LEFT JOIN summaries AS b ON b.metric = n.id AND b.run "
    "= ?2 "
    "WHERE (a.run IS NOT NULL OR b.run IS NOT NULL) AND (?3 OR a.last IS NOT b.last OR a.last_special IS NOT "
    "b.last_special) "
    "ORDER BY n.timing, n.name";

static void add_value(vmae_listing *listing, sqlite3_stmt *row, int value, int special)
{
    static const char *const names[] = { "", "nan", "inf", "-inf" };
    char text[40];
    if (sqlite3_column_type(row, special) == SQLITE_NULL) {
        vmae_listing_text(listing, NULL);
    } else if (sqlite3_column_int(row, special)) {
        vmae_listing_text(listing, names[sqlite3_column_int(row, special) & 3]);
    } else {
        snprintf(text, sizeof text, "%.9g", sqlite3_column_double(row, value));
        vmae_listing_number_as(listing, sqlite3_column_double(row, value), text);
    }
}

static vmae_status fill(vmae_listing *listing, vmae_store *store, const vmae_stored_run runs[2], bool all)
{
    sqlite3_stmt *rows = NULL;
    bool row;
    char name[64];
    vmae_listing_column(listing, "what");
    vmae_listing_column(listing, "name");
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "run %lld", (long long)runs[i].id);
        vmae_listing_column(listing, name);
    }
    vmae_listing_column(listing, "difference");
    VMAE_TRY(vmae_sql_query(store, &rows, facts_sql, "iii", runs[0].id, runs[1].id, (int64_t)all));
    vmae_status st;
    while ((st = vmae_sql_step(store, rows, &row)) == VMAE_OK && row) {
        for (int i = 0; i < 4; i++)
            vmae_listing_text(listing, sqlite3_column_type(rows, i) == SQLITE_NULL ? NULL : vmae_sql_text(rows, i));
        vmae_listing_empty(listing);
    }
    sqlite3_finalize(rows);
    VMAE_TRY(st);
    VMAE_TRY(vmae_sql_query(store, &rows, numbers_sql, "iii", runs[0].id, runs[1].id, (int64_t)all));
    while ((st = vmae_sql_step(store, rows, &row)) == VMAE_OK && row) {
        const bool both = sqlite3_column_type(rows, 1) != SQLITE_NULL && sqlite3_column_type(rows, 2) != SQLITE_NULL;
        vmae_listing_text(listing, "number");
        vmae_listing_text(listing, vmae_sql_text(rows, 0));
        add_value(listing, rows, 1, 3);
        add_value(listing, rows, 2, 4);
        vmae_listing_number(listing, both ? sqlite3_column_double(rows, 2) - sqlite3_column_double(rows, 1) : NAN, -1);
    }
    sqlite3_finalize(rows);
    return st;
}

static vmae_status diff_runs(cmd_context *context, vmae_listing *listing)
{
    const diff_options *diff = context->input;
    vmae_stored_run runs[2];
    for (int i = 0; i < 2; i++)
        VMAE_TRY(vmae_run_find(context->store, context->words[i], &runs[i]));
    return fill(listing, context->store, runs, diff->all);
}

const cmd cmd_diff = {
    .name = "diff",
    .summary = "what differs between two runs: settings, data, machine, numbers",
    .args = "RUN RUN",
    .doc = "Shows what differs between two runs: settings (of the runs they build on, too), data, machine, and last "
           "numbers."
           "\vExamples:\n  vicmae-results diff 12 15\n  vicmae-results diff 3fa9 77b0 --all --csv",
    .options = options,
    .on_option = on_option,
    .input_size = sizeof(diff_options),
    .uses = CMD_STORE | CMD_FORMAT | CMD_LISTING | CMD_MAY_BE_EMPTY,
    .least = 2,
    .most = 2,
    .empty = "nothing differs",
    .run = diff_runs,
};
