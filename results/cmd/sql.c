/* sql.c -- vicmae-results sql: a query of the user's own, which cannot change anything. */
#include "results/cmd/cmd.h"

#include <ctype.h>
#include <string.h>

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

static vmae_status run_query(cmd_context *context, vmae_listing *listing)
{
    vmae_store *store = context->store;
    const char *query = context->words[0];
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

const cmd cmd_sql = {
    .name = "sql",
    .summary = "a query of your own; read-only",
    .args = "QUERY",
    .doc = "Runs one SELECT on the results database and prints its rows. Nothing can be changed through it. The tables "
           "are described in results/schema.sql; the view metric_values has every number with its run and metric by "
           "name. Put the query in quotes."
           "\vExamples:\n"
           "  vicmae-results sql \"SELECT protocol, status, count(*) FROM runs GROUP BY 1, 2\"\n"
           "  vicmae-results sql \"SELECT step, value FROM metric_values WHERE run = 12 AND metric = 'loss'\" --csv",
    .uses = CMD_STORE | CMD_FORMAT | CMD_LISTING,
    .least = 1,
    .most = 1,
    .run = run_query,
};
