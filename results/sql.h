/* sql.h -- SQLite through vmae_status: prepare, bind by a letter each, step. Inside results/ and plots/ only. */
#ifndef VMAE_RESULTS_SQL_H
#define VMAE_RESULTS_SQL_H

#include "results/results.h"

#include <sqlite3.h>

/* The failure of the last call on this store as a status and sentence: full disk, locked, damaged, read-only, else
 * internal. */
vmae_status vmae_sql_fail(vmae_store *store, const char *doing);

/* Prepares and binds. `letters` has one letter a parameter: i int64_t, d double, t const char * (NULL is SQL's NULL;
 * copied), I int64_t that is NULL where it is INT64_MIN, D double that is NULL where it is not a number. NULL: no
 * parameters. */
vmae_status vmae_sql_query(vmae_store *store, sqlite3_stmt **statement, const char *sql, const char *letters, ...);
/* The next row: *row false at the end. */
vmae_status vmae_sql_step(vmae_store *store, sqlite3_stmt *statement, bool *row);
/* Prepares (or takes from the store's cache), binds, runs to the end. */
vmae_status vmae_sql_run(vmae_store *store, const char *sql, const char *letters, ...);
/* Binds a prepared statement anew, runs it to the end and resets it. */
vmae_status vmae_sql_rerun(vmae_store *store, sqlite3_stmt *statement, const char *letters, ...);
/* Several statements, no parameters. */
vmae_status vmae_sql_script(vmae_store *store, const char *sql);
/* Runs it; *value is the first column of its first row, `missing` if there is none or it is NULL. */
vmae_status vmae_sql_integer(vmae_store *store, int64_t *value, int64_t missing, const char *sql, const char *letters,
                             ...);

/* Column texts; "" for NULL. Valid until the next step. */
const char *vmae_sql_text(sqlite3_stmt *statement, int column);

/* Statements that vmae_sql_run and vmae_sql_integer keep, so that a run's few dozen small writes cost no parsing. The
 * store owns it. */
typedef struct vmae_sql_cache {
    sqlite3_stmt *statements[64];
} vmae_sql_cache;
vmae_sql_cache *vmae_store_cache(vmae_store *store);
void vmae_sql_cache_clear(vmae_sql_cache *cache);

/* One write transaction; nothing may be nested in it. */
vmae_status vmae_sql_begin(vmae_store *store);
vmae_status vmae_sql_commit(vmae_store *store);
void vmae_sql_rollback(vmae_store *store); /* also fine outside a transaction; keeps the sentence */

#endif
