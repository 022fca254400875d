/* sql.c -- SQLite through vmae_status. */
#include "results/sql.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

vmae_status vmae_sql_fail(vmae_store *store, const char *doing)
{
    sqlite3 *db = vmae_store_sqlite(store);
    const char *path = vmae_store_path(store), *why = sqlite3_errmsg(db);
    switch (sqlite3_errcode(db) & 0xff) {
    case SQLITE_FULL:
        return vmae_fail(VMAE_EIO, "%s: %s: %s; free some space and ingest again: the journals are untouched", path,
                         doing, why);
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
        return vmae_fail(VMAE_EIO, "%s: %s: %s (%s)", path, doing, why, strerror(sqlite3_system_errno(db)));
    case SQLITE_READONLY:
    case SQLITE_PERM: return vmae_fail(VMAE_EIO, "%s: %s: the database can only be read here", path, doing);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return vmae_fail(VMAE_EBUSY, "%s: %s: another process is writing to it; try again", path, doing);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return vmae_fail(VMAE_EDATA,
                         "%s: %s: %s; remove it and run `vicmae-results ingest`: it is rebuilt from the journals", path,
                         doing, why);
    case SQLITE_NOMEM: return vmae_fail(VMAE_ENOMEM, "%s: %s: out of memory", path, doing);
    default: return vmae_fail(VMAE_EINTERNAL, "%s: %s: %s", path, doing, why);
    }
}

static vmae_status bind_all(vmae_store *store, sqlite3_stmt *statement, const char *letters, va_list args)
{
    int result = SQLITE_OK;
    for (int i = 1; letters && *letters && result == SQLITE_OK; i++, letters++) {
        if (*letters == 'i' || *letters == 'I') {
            const int64_t value = va_arg(args, int64_t);
            result = *letters == 'I' && value == INT64_MIN ? sqlite3_bind_null(statement, i)
                                                           : sqlite3_bind_int64(statement, i, value);
        } else if (*letters == 'd' || *letters == 'D') {
            const double value = va_arg(args, double);
            result = isnan(value) ? sqlite3_bind_null(statement, i) : sqlite3_bind_double(statement, i, value);
        } else {
            result = sqlite3_bind_text(statement, i, va_arg(args, const char *), -1, SQLITE_TRANSIENT);
        }
    }
    return result == SQLITE_OK ? VMAE_OK : vmae_sql_fail(store, "bind");
}

static vmae_status query_list(vmae_store *store, sqlite3_stmt **statement, const char *sql, const char *letters,
                              va_list args)
{
    sqlite3_stmt *prepared = NULL;
    if (sqlite3_prepare_v2(vmae_store_sqlite(store), sql, -1, &prepared, NULL) != SQLITE_OK)
        return vmae_sql_fail(store, "prepare");
    const vmae_status st = bind_all(store, prepared, letters, args);
    if (st != VMAE_OK)
        sqlite3_finalize(prepared);
    else
        *statement = prepared;
    return st;
}

vmae_status vmae_sql_query(vmae_store *store, sqlite3_stmt **statement, const char *sql, const char *letters, ...)
{
    va_list args;
    va_start(args, letters);
    const vmae_status st = query_list(store, statement, sql, letters, args);
    va_end(args);
    return st;
}

vmae_status vmae_sql_step(vmae_store *store, sqlite3_stmt *statement, bool *row)
{
    const int result = sqlite3_step(statement);
    if (result != SQLITE_ROW && result != SQLITE_DONE)
        return vmae_sql_fail(store, sqlite3_stmt_readonly(statement) ? "read" : "write");
    *row = result == SQLITE_ROW;
    return VMAE_OK;
}

/* The statement for this text: from its slot in the cache, or prepared into it. It belongs to the cache, and is reset
 * after use. */
static vmae_status cached(vmae_store *store, const char *sql, sqlite3_stmt **statement)
{
    vmae_sql_cache *cache = vmae_store_cache(store);
    sqlite3_stmt **slot =
        &cache->statements[((uintptr_t)sql >> 3) % 64]; /* nearly all texts are literals, each at one place */
    if (!*slot || strcmp(sqlite3_sql(*slot), sql) != 0) {
        sqlite3_finalize(*slot);
        *slot = NULL;
        if (sqlite3_prepare_v2(vmae_store_sqlite(store), sql, -1, slot, NULL) != SQLITE_OK)
            return vmae_sql_fail(store, "prepare");
    }
    sqlite3_clear_bindings(*slot);
    *statement = *slot;
    return VMAE_OK;
}

void vmae_sql_cache_clear(vmae_sql_cache *cache)
{
    for (size_t i = 0; i < sizeof cache->statements / sizeof *cache->statements; i++) {
        sqlite3_finalize(cache->statements[i]);
        cache->statements[i] = NULL;
    }
}

vmae_status vmae_sql_run(vmae_store *store, const char *sql, const char *letters, ...)
{
    sqlite3_stmt *statement = NULL;
    VMAE_TRY(cached(store, sql, &statement));
    va_list args;
    va_start(args, letters);
    vmae_status st = bind_all(store, statement, letters, args);
    va_end(args);
    for (bool row = true; st == VMAE_OK && row;)
        st = vmae_sql_step(store, statement, &row);
    sqlite3_reset(statement);
    return st;
}

vmae_status vmae_sql_rerun(vmae_store *store, sqlite3_stmt *statement, const char *letters, ...)
{
    va_list args;
    va_start(args, letters);
    vmae_status st = bind_all(store, statement, letters, args);
    va_end(args);
    for (bool row = true; st == VMAE_OK && row;)
        st = vmae_sql_step(store, statement, &row);
    sqlite3_reset(statement);
    return st;
}

vmae_status vmae_sql_script(vmae_store *store, const char *sql)
{
    return sqlite3_exec(vmae_store_sqlite(store), sql, NULL, NULL, NULL) == SQLITE_OK ? VMAE_OK
                                                                                      : vmae_sql_fail(store, "write");
}

vmae_status vmae_sql_integer(vmae_store *store, int64_t *value, int64_t missing, const char *sql, const char *letters,
                             ...)
{
    sqlite3_stmt *statement = NULL;
    bool row = false;
    VMAE_TRY(cached(store, sql, &statement));
    va_list args;
    va_start(args, letters);
    vmae_status st = bind_all(store, statement, letters, args);
    va_end(args);
    if (st == VMAE_OK && (st = vmae_sql_step(store, statement, &row)) == VMAE_OK)
        *value = row && sqlite3_column_type(statement, 0) != SQLITE_NULL ? sqlite3_column_int64(statement, 0) : missing;
    sqlite3_reset(statement);
    return st;
}

const char *vmae_sql_text(sqlite3_stmt *statement, int column)
{
    const char *text = (const char *)sqlite3_column_text(statement, column);
    return text ? text : "";
}

vmae_status vmae_sql_begin(vmae_store *store)
{
    return vmae_sql_script(store, "BEGIN IMMEDIATE");
}

vmae_status vmae_sql_commit(vmae_store *store)
{
    return vmae_sql_script(store, "COMMIT");
}

void vmae_sql_rollback(vmae_store *store)
{
    sqlite3 *db = vmae_store_sqlite(store);
    if (!sqlite3_get_autocommit(db))
        sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
}
