/* list.c -- vicmae-results list. */
#include "results/cmd/cmd.h"
#include "results/metric_kinds.h"
#include "results/sweep.h"

#include "engine/core/mem.h"
#include "engine/core/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WHERE_MAX = 16 };

typedef struct where {
    char *key;
    const char *operation, *value;
} where;

typedef struct list_options {
    where conditions[WHERE_MAX];
    int condition_count;
    char *status, *metrics, *keys; /* cut in place */
    const char *sweep, *protocol;
} list_options;

static const struct argp_option options[] = {
    { "where", 'w', "KEY=VALUE", 0,
      "only runs with this setting; also != < <= > >=; may be given several times (all must hold)", 0 },
    { "sweep", 's', "NAME", 0, "only runs of this sweep", 0 },
    { "status", 't', "STATUS", 0,
      "only runs that are running, stopped, done, failed, diverged, interrupted (several: with commas)", 0 },
    { "protocol", 'p', "NAME", 0, "only runs of this protocol: pretrain, probe, ...", 0 },
    { "metrics", 'm', "NAMES", 0, "columns: last values of these metrics (default: top1,knn_top1,loss)", 0 },
    { "keys", 'k', "KEYS", 0, "columns: these settings", 0 },
    { 0 },
};

/* "model.mask_ratio>=0.5" */
static error_t add_condition(list_options *list, char *text, struct argp_state *state)
{
    static const char *const operations[] = { "!=", "<=", ">=", "=", "<", ">" };
    if (list->condition_count == WHERE_MAX) {
        argp_error(state, "at most %d --where", WHERE_MAX);
        return EINVAL;
    }
    char *at = text + strcspn(text, "!<>=");
    for (size_t i = 0; i < sizeof operations / sizeof *operations && at > text; i++) {
        const size_t count = strlen(operations[i]);
        if (strncmp(at, operations[i], count) == 0) {
            *at = 0;
            list->conditions[list->condition_count++] = (where){ text, operations[i], at + count };
            return 0;
        }
    }
    argp_error(state, "--where needs KEY=VALUE, not \"%s\"", text);
    return EINVAL;
}

static error_t on_option(int key, char *arg, struct argp_state *state)
{
    list_options *list = state->input;
    switch (key) {
    case 'w': return add_condition(list, arg, state);
    case 's': list->sweep = arg; return 0;
    case 't': list->status = arg; return 0;
    case 'p': list->protocol = arg; return 0;
    case 'm': list->metrics = arg; return 0;
    case 'k': list->keys = arg; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/* vmae_match(value, operation, wanted): as numbers where both are numbers, else as texts. A run without the key matches
 * only !=. */
static void match(sqlite3_context *context, int count, sqlite3_value **values)
{
    (void)count;
    const char *value = (const char *)sqlite3_value_text(values[0]),
               *operation = (const char *)sqlite3_value_text(values[1]);
    const char *wanted = (const char *)sqlite3_value_text(values[2]);
    if (!value || !operation || !wanted) {
        sqlite3_result_int(context, operation && strcmp(operation, "!=") == 0);
        return;
    }
    char *end_a, *end_b;
    const double a = strtod(value, &end_a), b = strtod(wanted, &end_b);
    const bool numbers = *value && *wanted && !*end_a && !*end_b;
    const double order = numbers ? a - b : (double)strcmp(value, wanted);
    const bool less = order < 0.0, equal = order == 0.0;
    const bool result = *operation == '!'   ? !equal
                        : *operation == '=' ? equal
                        : *operation == '<' ? less || (operation[1] && equal)
                                            : !(less || equal) || (operation[1] && equal);
    sqlite3_result_int(context, result);
}

/* Settings, and a few facts about the run under names of their own. */
static const char *key_sql(const char *key)
{
    if (strcmp(key, "seed") == 0 || strcmp(key, "protocol") == 0 || strcmp(key, "identity") == 0)
        return strcmp(key, "seed") == 0 ? "r.seed" : strcmp(key, "protocol") == 0 ? "r.protocol" : "r.identity";
    if (strcmp(key, "revision") == 0 || strcmp(key, "host") == 0)
        return strcmp(key, "host") == 0
                   ? "(SELECT host FROM attempts WHERE run = r.id ORDER BY attempt DESC LIMIT 1)"
                   : "(SELECT revision FROM attempts WHERE run = r.id ORDER BY attempt DESC LIMIT 1)";
    return NULL;
}

static vmae_status check_key(vmae_store *store, const char *key)
{
    return key_sql(key)
               ? VMAE_OK
               : cmd_check_name(store, "no run has a setting", key, "SELECT DISTINCT key FROM config ORDER BY 1");
}

/* A name that no run has is a mistake, not an empty list. */
static vmae_status check_names(const list_options *list, vmae_store *store, const cmd_words *statuses,
                               const cmd_words *metrics, const cmd_words *keys)
{
    for (int i = 0; i < list->condition_count; i++)
        VMAE_TRY(check_key(store, list->conditions[i].key));
    for (size_t i = 0; i < keys->count; i++)
        VMAE_TRY(check_key(store, keys->at[i]));
    if (list->metrics) /* the standard ones need not be there */
        VMAE_TRY(cmd_check_names(store, "no run has measured", metrics, cmd_metrics_sql));
    if (list->protocol)
        VMAE_TRY(cmd_check_name(store, "no run is of protocol", list->protocol,
                                "SELECT DISTINCT protocol FROM runs ORDER BY 1"));
    return cmd_check_names(store, "no run can be", statuses,
                           "VALUES ('running'), ('stopped'), ('done'), ('failed'), ('diverged'), ('interrupted'), "
                           "('unknown')");
}

static vmae_status build_query(const list_options *list, vmae_store *store, int64_t sweep, sqlite3_stmt **rows)
{
    char sql[4096];
    size_t used = (size_t)snprintf(sql, sizeof sql,
                                   "SELECT r.id, r.identity, r.protocol, r.seed, r.status, r.last_step, "
                                   "(SELECT seconds FROM run_times WHERE run = r.id), r.damage FROM runs AS r "
                                   "WHERE (?1 IS NULL OR r.protocol = ?1) "
                                   "AND (?2 < 0 OR r.identity IN (SELECT identity FROM sweep_cells WHERE sweep = ?2))");
    for (int i = 0; i < list->condition_count; i++) {
        const char *fact = key_sql(list->conditions[i].key);
        char config[96];
        snprintf(config, sizeof config, "(SELECT value FROM config WHERE run = r.id AND key = ?%d)", 3 + 3 * i);
        used += (size_t)snprintf(sql + used, sizeof sql - used, " AND vmae_match(%s, ?%d, ?%d)", fact ? fact : config,
                                 4 + 3 * i, 5 + 3 * i);
    }
    snprintf(sql + used, sizeof sql - used, " ORDER BY r.id");
    if (sqlite3_create_function(vmae_store_sqlite(store), "vmae_match", 3, SQLITE_UTF8 | SQLITE_DETERMINISTIC, NULL,
                                match, NULL, NULL) != SQLITE_OK)
        return vmae_sql_fail(store, "define a function");
    VMAE_TRY(vmae_sql_query(store, rows, sql, "ti", list->protocol, sweep));
    for (int i = 0; i < list->condition_count; i++) {
        if (!key_sql(list->conditions[i].key))
            sqlite3_bind_text(*rows, 3 + 3 * i, list->conditions[i].key, -1, SQLITE_STATIC);
        sqlite3_bind_text(*rows, 4 + 3 * i, list->conditions[i].operation, -1, SQLITE_STATIC);
        sqlite3_bind_text(*rows, 5 + 3 * i, list->conditions[i].value, -1, SQLITE_STATIC);
    }
    return VMAE_OK;
}

static bool is_among(const cmd_words *words, const char *word)
{
    for (size_t i = 0; i < words->count; i++)
        if (strcmp(words->at[i], word) == 0)
            return true;
    return words->count == 0;
}

static vmae_status add_metric(vmae_listing *listing, vmae_store *store, sqlite3_stmt *summary, int64_t run,
                              const char *name)
{
    bool found = false;
    sqlite3_bind_int64(summary, 1, run);
    sqlite3_bind_text(summary, 2, name, -1, SQLITE_STATIC);
    const vmae_status st = vmae_sql_step(store, summary, &found);
    const bool special = found && sqlite3_column_int(summary, 1) != 0;
    const double value = found && !special ? sqlite3_column_double(summary, 0) : NAN;
    sqlite3_reset(summary);
    char text[40] = "";
    if (special)
        snprintf(text, sizeof text, "not finite");
    else if (!isnan(value) && vmae_metric_kind_of(name)->percent)
        snprintf(text, sizeof text, "%.2f %%", value * 100.0);
    else if (!isnan(value))
        snprintf(text, sizeof text, "%.5g", value);
    vmae_listing_number_as(listing, value, *text ? text : NULL);
    return st;
}

static bool is_for_people(vmae_table_format format)
{
    return format != VMAE_TABLE_CSV && format != VMAE_TABLE_JSON;
}

static void add_run(vmae_listing *listing, vmae_table_format format, sqlite3_stmt *row, const char *status)
{
    const bool people = is_for_people(format);
    char duration[VMAE_TIME_TEXT] = "";
    const double seconds = sqlite3_column_type(row, 6) == SQLITE_NULL ? NAN : sqlite3_column_double(row, 6);
    if (!isnan(seconds))
        vmae_time_text(duration, seconds);
    vmae_listing_integer(listing, sqlite3_column_int64(row, 0));
    vmae_listing_format_text(listing, people ? "%.12s" : "%s", vmae_sql_text(row, 1));
    vmae_listing_text(listing, vmae_sql_text(row, 2));
    if (sqlite3_column_type(row, 3) == SQLITE_NULL)
        vmae_listing_empty(listing);
    else
        vmae_listing_integer(listing, sqlite3_column_int64(row, 3));
    vmae_listing_format_text(listing, "%s%s", status,
                             sqlite3_column_type(row, 7) == SQLITE_NULL ? ""
                             : people                                   ? ", journal damaged"
                                                                        : "");
    vmae_listing_colour(listing, cmd_status_colour(status));
    if (sqlite3_column_type(row, 5) == SQLITE_NULL)
        vmae_listing_empty(listing);
    else
        vmae_listing_integer(listing, sqlite3_column_int64(row, 5));
    vmae_listing_number_as(listing, seconds, *duration ? duration : NULL);
}

static vmae_status add_keys(vmae_listing *listing, vmae_store *store, int64_t run, const cmd_words *keys)
{
    for (size_t i = 0; i < keys->count; i++) {
        sqlite3_stmt *row = NULL;
        bool found = false;
        char sql[160];
        const char *fact = key_sql(keys->at[i]);
        snprintf(sql, sizeof sql, fact ? "SELECT %s FROM runs AS r WHERE r.id = ?" : "%s",
                 fact ? fact : "SELECT value FROM config WHERE run = ? AND key = ?");
        VMAE_TRY(vmae_sql_query(store, &row, sql, fact ? "i" : "it", run, keys->at[i]));
        const vmae_status st = vmae_sql_step(store, row, &found);
        vmae_listing_text(listing, found ? vmae_sql_text(row, 0) : NULL);
        sqlite3_finalize(row);
        VMAE_TRY(st);
    }
    return VMAE_OK;
}

static void add_columns(vmae_listing *listing, vmae_table_format format, const cmd_words *metrics,
                        const cmd_words *keys)
{
    static const char *const fixed[] = { "id", "run", "protocol", "seed", "status", "step" };
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        vmae_listing_column(listing, fixed[i]);
    vmae_listing_column(listing, is_for_people(format) ? "time" : "seconds");
    for (size_t i = 0; i < metrics->count; i++)
        vmae_listing_column(listing, metrics->at[i]);
    for (size_t i = 0; i < keys->count; i++)
        vmae_listing_column(listing, keys->at[i]);
}

static vmae_status list_runs(cmd_context *context, vmae_listing *listing)
{
    static char standard[] = "top1,knn_top1,loss";
    const list_options *list = context->input;
    vmae_store *store = context->store;
    cmd_words metrics, keys, statuses;
    int64_t sweep = -1;
    VMAE_TRY(cmd_split(&metrics, list->metrics ? list->metrics : standard));
    VMAE_TRY(cmd_split(&keys, list->keys));
    VMAE_TRY(cmd_split(&statuses, list->status));
    VMAE_TRY(check_names(list, store, &statuses, &metrics, &keys));
    if (list->sweep)
        VMAE_TRY(vmae_sweep_find(store, list->sweep, &sweep));
    add_columns(listing, context->format, &metrics, &keys);
    sqlite3_stmt *rows = NULL, *summary = NULL;
    bool row;
    VMAE_TRY(build_query(list, store, sweep, &rows));
    vmae_status st = vmae_sql_query(store, &summary,
                                    "SELECT s.last, s.last_special FROM summaries AS s JOIN metric_names AS n "
                                    "ON n.id = s.metric WHERE s.run = ? AND n.name = ?",
                                    NULL);
    while (st == VMAE_OK && (st = vmae_sql_step(store, rows, &row)) == VMAE_OK && row) {
        const int64_t run = sqlite3_column_int64(rows, 0);
        const char *status = vmae_run_status(store, run, vmae_sql_text(rows, 4));
        if (!is_among(&statuses, status))
            continue;
        add_run(listing, context->format, rows, status);
        for (size_t i = 0; i < metrics.count && st == VMAE_OK; i++)
            st = add_metric(listing, store, summary, run, metrics.at[i]);
        if (st == VMAE_OK)
            st = add_keys(listing, store, run, &keys);
    }
    sqlite3_finalize(rows);
    sqlite3_finalize(summary);
    return st;
}

const cmd cmd_list = {
    .name = "list",
    .summary = "runs, with their state and last numbers",
    .doc = "Lists runs with their state, time and last numbers."
           "\vExamples:\n"
           "  vicmae-results list\n"
           "  vicmae-results list --where model.mask_ratio=0.75 --where 'seed<3' --protocol probe\n"
           "  vicmae-results list --sweep table3 --status failed,diverged --json",
    .options = options,
    .on_option = on_option,
    .input_size = sizeof(list_options),
    .uses = CMD_STORE | CMD_FORMAT | CMD_LISTING,
    .empty = "no run matches",
    .run = list_runs,
};
