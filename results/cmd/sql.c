/* sql.c -- vicmae-results sql: a query of the user's own, which cannot change anything. */
#include "results/cmd/common.h"

#include <ctype.h>
#include <string.h>

typedef struct sql_options {
    cmd_options common;
    const char *query;
} sql_options;

static error_t on_option(int key, char *arg, struct argp_state *state)
{
    sql_options *sql = state->input;
    switch (key) {
    case ARGP_KEY_INIT: cmd_children(state); return 0;
    case ARGP_KEY_ARG:
        if (sql->query)
            argp_error(state, "sql takes one query: put it in quotes");
        sql->query = arg;
        return 0;
    case ARGP_KEY_NO_ARGS: argp_error(state, "which query?"); return EINVAL;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child children[] = { { &cmd_common_argp, 0, NULL, 0 },
                                              { &cmd_listing_argp, 0, NULL, 0 },
                                              { 0 } };
static const struct argp argp = {
    NULL,
    on_option,
    "QUERY",
    "Runs one SELECT on the results database and prints its rows. Nothing can be changed through it. The tables are "
    "described in "
    "results/schema.sql; the view metric_values has every number with its run and metric by name."
    "\vExamples:\n"
    "  vicmae-results sql \"SELECT protocol, status, count(*) FROM runs GROUP BY 1, 2\"\n"
    "  vicmae-results sql \"SELECT step, value FROM metric_values WHERE run = 12 AND metric = 'loss'\" --csv",
    children,
    NULL,
    NULL
};

/* Reading only: no writes, no other files, no settings, no extensions. */
static int allow(void *context, int action, const char *a, const char *b, const char *c, const char *d)
{
    (void)context, (void)a, (void)c, (void)d;
    switch (action) {
    case SQLITE_SELECT:
    case SQLITE_READ:
    case SQLITE_RECURSIVE: return SQLITE_OK;
    case SQLITE_FUNCTION: return b && strcasecmp(b, "load_extension") == 0 ? SQLITE_DENY : SQLITE_OK;
    default: return SQLITE_DENY;
    }
}

static vmae_status run_query(vmae_listing *listing, vmae_store *store, const char *query)
{
    sqlite3 *db = vmae_store_sqlite(store);
    sqlite3_stmt *statement = NULL;
    const char *rest = "";
    VMAE_TRY(vmae_sql_script(store, "PRAGMA query_only = ON"));
    sqlite3_set_authorizer(db, allow, NULL);
    const int result = sqlite3_prepare_v2(db, query, -1, &statement, &rest);
    if (result == SQLITE_AUTH)
        return vmae_fail(VMAE_EUSER, "only SELECT is possible here: %s", sqlite3_errmsg(db));
    if (result != SQLITE_OK)
        return vmae_fail(VMAE_EUSER, "the query is wrong: %s", sqlite3_errmsg(db));
    while (isspace((unsigned char)*rest) || *rest == ';')
        rest++;
    vmae_status st = VMAE_OK;
    if (!statement)
        st = vmae_fail(VMAE_EUSER, "the query is empty");
    else if (*rest)
        st = vmae_fail(VMAE_EUSER, "one query at a time; this came after it: %s", rest);
    else if (!sqlite3_stmt_readonly(statement))
        st = vmae_fail(VMAE_EUSER, "only SELECT is possible here");
    else
        st = cmd_fill(listing, store, statement);
    sqlite3_finalize(statement);
    return st;
}

int cmd_sql(int argc, char **argv)
{
    sql_options sql = { .query = NULL };
    cmd_parse(&argp, argc, argv, &sql);
    vmae_store *store = NULL;
    vmae_listing *listing = vmae_listing_new();
    vmae_status st = listing ? cmd_open(&sql.common, &store) : VMAE_ENOMEM;
    if (st == VMAE_OK)
        st = run_query(listing, store, sql.query);
    const int code = st == VMAE_OK ? cmd_print(listing, &sql.common) : cmd_failed(st);
    vmae_listing_free(listing);
    vmae_store_close(store);
    return code;
}
