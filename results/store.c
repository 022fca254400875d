/* store.c -- opens the database: where it lies, how it is locked, what version it is. */
#include "results/embed.h"
#include "results/paper.h"
#include "results/results.h"
#include "results/sql.h"

#include "engine/core/fs.h"
#include "engine/core/log.h"
#include "engine/core/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { SCHEMA_VERSION = 2, APPLICATION_ID = 0x564d4145, /* "VMAE" */ BUSY_MS = 20000, PAUSE_MS = 20 };

struct vmae_store {
    sqlite3 *db;
    vmae_sql_cache cache;
    char *path;
    char journal_mode[16];
    bool read_only;
};

bool vmae_store_read_only(const vmae_store *store)
{
    return store->read_only;
}

const char *vmae_store_path(const vmae_store *store)
{
    return store->path;
}

const char *vmae_store_journal_mode(const vmae_store *store)
{
    return store->journal_mode;
}

vmae_sql_cache *vmae_store_cache(vmae_store *store)
{
    return &store->cache;
}

struct sqlite3 *vmae_store_sqlite(vmae_store *store)
{
    return store->db;
}

const char *vmae_remote_file_system(long type)
{
    static const struct {
        unsigned long type;
        const char *name;
    } remote[] = {
        { 0x6969, "NFS" },        { 0x517b, "SMB" },      { 0xfe534d42, "SMB" },    { 0xff534d42, "CIFS" },
        { 0x65735546, "FUSE" },   { 0x01021997, "9p" },   { 0x0bd00bd0, "Lustre" }, { 0x47504653, "GPFS" },
        { 0x19830326, "BeeGFS" }, { 0x00c36400, "Ceph" }, { 0x5346414f, "AFS" },    { 0x73757245, "Coda" },
        { 0x7461636f, "OCFS2" },  { 0x01161970, "GFS2" }, { 0xaad7aaea, "PanFS" },  { 0x564c, "NCP" },
    };
    for (size_t i = 0; i < sizeof remote / sizeof *remote; i++)
        if (((unsigned long)type & 0xffffffffUL) == remote[i].type)
            return remote[i].name;
    return NULL;
}

static bool is_uri(const char *path)
{
    return strncmp(path, "file:", 5) == 0;
}

/* The folder that a path lies in; fresh memory. */
static char *folder_of(const char *path)
{
    const char *base = vmae_path_base(path);
    return base == path ? vmae_strdup(".") : vmae_format("%.*s", (int)(base - path), path);
}

/* "file:<path>?immutable=1" with the characters that mean something in a URI escaped. */
static char *immutable_uri(const char *path)
{
    char *uri = vmae_calloc(strlen(path) * 3 + 32, 1), *to = uri;
    if (!uri)
        return NULL;
    to = stpcpy(to, "file:");
    for (const char *from = path; *from; from++) {
        if (strchr("?#%", *from))
            to += sprintf(to, "%%%02X", (unsigned char)*from);
        else
            *to++ = *from;
    }
    strcpy(to, "?immutable=1");
    return uri;
}

static vmae_status connect(vmae_store *store, const char *name, int flags)
{
    const int result = sqlite3_open_v2(name, &store->db, flags | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX, NULL);
    if (!store->db)
        return vmae_fail(VMAE_ENOMEM, "%s: out of memory", store->path);
    if (result != SQLITE_OK)
        return vmae_sql_fail(store, "open");
    sqlite3_extended_result_codes(store->db, 1);
    sqlite3_busy_timeout(store->db, BUSY_MS);
    return vmae_sql_script(store, "PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY; PRAGMA mmap_size = 268435456;"
                                  "PRAGMA cache_size = -65536; PRAGMA trusted_schema = OFF");
}

static void disconnect(vmae_store *store)
{
    vmae_sql_cache_clear(&store->cache);
    sqlite3_close(store->db);
    store->db = NULL;
}

/* Asks for WAL where that is safe, and reads what SQLite really did: on some file systems it says "delete", without an
 * error. */
static vmae_status choose_journal_mode(vmae_store *store)
{
    const char *wanted = "WAL", *remote = NULL;
    if (!is_uri(store->path)) {
        struct statfs info;
        char *folder = folder_of(store->path);
        if (!folder)
            return VMAE_ENOMEM;
        if (statfs(folder, &info) == 0)
            remote = vmae_remote_file_system((long)info.f_type);
        free(folder);
    }
    if (remote)
        wanted = "DELETE";
    sqlite3_stmt *statement = NULL;
    bool row = false;
    char sql[64];
    snprintf(sql, sizeof sql, "PRAGMA journal_mode = %s", wanted);
    VMAE_TRY(vmae_sql_query(store, &statement, sql, NULL));
    vmae_status st;
    for (int waited = 0;;
         waited += PAUSE_MS) { /* the change does not use the busy timeout: two first starts meet here */
        st = vmae_sql_step(store, statement, &row);
        if (st != VMAE_EBUSY || waited >= BUSY_MS)
            break;
        sqlite3_reset(statement);
        sqlite3_sleep(PAUSE_MS);
    }
    if (st == VMAE_OK && row)
        snprintf(store->journal_mode, sizeof store->journal_mode, "%s", vmae_sql_text(statement, 0));
    sqlite3_finalize(statement);
    VMAE_TRY(st);
    if (remote)
        log_warn("%s lies on a network or user-space file system (%s): no WAL there, so one writer at a time; a local "
                 "--db is "
                 "faster",
                 store->path, remote);
    else if (strcmp(store->journal_mode, "wal") != 0 && strcmp(store->journal_mode, "memory") != 0)
        log_warn("%s: SQLite cannot use WAL here and uses journal mode \"%s\"", store->path, store->journal_mode);
    return vmae_sql_script(store, "PRAGMA synchronous = NORMAL");
}

/* migrate_<from>_to_<from + 1>.sql: a released one is never changed. */
static vmae_status migrate(vmae_store *store, int64_t from)
{
    char name[64];
    snprintf(name, sizeof name, "migrate_%lld_to_%lld.sql", (long long)from, (long long)from + 1);
    for (const vmae_embedded *file = vmae_results_files; file->name; file++)
        if (strcmp(file->name, name) == 0)
            return vmae_sql_script(store, file->text);
    return vmae_fail(VMAE_EINTERNAL, "%s was not compiled in", name);
}

/* Version 0 and empty: a new file. Runs inside the caller's write transaction, so that parallel first starts do it
 * once. */
static vmae_status create_or_migrate(vmae_store *store)
{
    int64_t version = 0, tables = 0;
    VMAE_TRY(vmae_sql_integer(store, &version, 0, "PRAGMA user_version", NULL));
    VMAE_TRY(vmae_sql_integer(store, &tables, 0, "SELECT count(*) FROM sqlite_schema", NULL));
    if (version == 0 && tables == 0) {
        char sql[64];
        snprintf(sql, sizeof sql, "PRAGMA application_id = %d", APPLICATION_ID);
        VMAE_TRY(vmae_sql_script(store, sql));
        VMAE_TRY(vmae_sql_script(store, vmae_results_files[0].text));
        return vmae_paper_load(store);
    }
    for (int64_t from = version; from >= 1 && from < SCHEMA_VERSION; from++)
        VMAE_TRY(migrate(store, from));
    return VMAE_OK;
}

static vmae_status check_version(vmae_store *store)
{
    int64_t version = 0, id = 0;
    VMAE_TRY(vmae_sql_integer(store, &version, 0, "PRAGMA user_version", NULL));
    VMAE_TRY(vmae_sql_integer(store, &id, 0, "PRAGMA application_id", NULL));
    if (id != APPLICATION_ID)
        return vmae_fail(VMAE_EUSER, "%s is an SQLite database, but not one of vicmae's; give another --db",
                         store->path);
    if (version > SCHEMA_VERSION)
        return vmae_fail(VMAE_EUSER,
                         "%s was written by a newer vicmae (schema version %lld, this program knows %d); update it, or "
                         "give another --db",
                         store->path, (long long)version, SCHEMA_VERSION);
    if (version < SCHEMA_VERSION)
        return vmae_fail(
            VMAE_EUSER,
            "%s has schema version %lld; this program reads %d: `vicmae-results ingest` with this database "
            "brings it there (where it can be written: else copy it first)",
            store->path, (long long)version, SCHEMA_VERSION);
    return VMAE_OK;
}

static vmae_status open_for_update(vmae_store *store)
{
    VMAE_TRY(connect(store, store->path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE));
    int64_t version = 0, tables = 0;
    VMAE_TRY(vmae_sql_integer(store, &version, 0, "PRAGMA user_version", NULL));
    VMAE_TRY(vmae_sql_integer(store, &tables, 0, "SELECT count(*) FROM sqlite_schema", NULL));
    if (version >= SCHEMA_VERSION || (version == 0 && tables > 0))
        VMAE_TRY(check_version(store)); /* before anything is changed in a file that may be somebody else's */
    VMAE_TRY(choose_journal_mode(store));
    if (version == SCHEMA_VERSION)
        return VMAE_OK;
    VMAE_TRY(vmae_sql_begin(store));
    vmae_status st = create_or_migrate(store);
    if (st == VMAE_OK)
        st = vmae_sql_commit(store);
    vmae_sql_rollback(store);
    return st == VMAE_OK ? check_version(store) : st;
}

/* immutable: SQLite then needs no -shm file beside it, which it could not make; what is still in a -wal file stays
 * unseen. */
static vmae_status open_for_reading(vmae_store *store, bool writable)
{
    store->read_only = true;
    char *wal = vmae_format("%s-wal", store->path);
    char *uri = !writable && !is_uri(store->path) ? immutable_uri(store->path) : vmae_strdup(store->path);
    vmae_status st = VMAE_ENOMEM;
    if (!wal || !uri)
        goto done;
    vmae_map map = { 0 };
    if (!writable && vmae_path_exists(wal) && vmae_map_open(&map, wal) == VMAE_OK) {
        if (map.count > 0)
            log_warn("%s has a write-ahead log that cannot be read where the folder cannot be written: the newest rows "
                     "may be missing",
                     store->path);
        vmae_map_close(&map);
    }
    if ((st = connect(store, uri, SQLITE_OPEN_READONLY)) == VMAE_OK && (st = check_version(store)) == VMAE_OK)
        st = vmae_sql_script(store, "PRAGMA query_only = ON");
    snprintf(store->journal_mode, sizeof store->journal_mode, "%s", "read-only");
done:
    free(wal);
    free(uri);
    return st;
}

static bool can_write(const char *path)
{
    if (is_uri(path))
        return true;
    char *folder = folder_of(path);
    const bool ok = folder && access(folder, W_OK) == 0 && (!vmae_path_exists(path) || access(path, W_OK) == 0);
    free(folder);
    return ok;
}

static vmae_status open_as_asked(vmae_store *store, vmae_store_mode mode)
{
    const bool writable = can_write(store->path), exists = is_uri(store->path) || vmae_path_exists(store->path);
    if (mode == VMAE_STORE_READ || (!writable && exists)) {
        if (!exists)
            return vmae_fail(VMAE_EUSER,
                             "there is no results database %s; run `vicmae-results ingest`, or give --runs or --db",
                             store->path);
        return open_for_reading(store, writable);
    }
    if (!writable) {
        char *folder = folder_of(store->path);
        if (!folder)
            return VMAE_ENOMEM;
        const vmae_status st =
            vmae_fail(VMAE_EUSER, "the results database %s cannot be made: the folder %s %s; give another --db",
                      store->path, folder, vmae_path_is_folder(folder) ? "cannot be written" : "does not exist");
        free(folder);
        return st;
    }
    const vmae_status st = open_for_update(store);
    const int code = store->db ? sqlite3_errcode(store->db) & 0xff : SQLITE_OK;
    if (st == VMAE_OK || !exists || (code != SQLITE_READONLY && code != SQLITE_CANTOPEN))
        return st;
    disconnect(store); /* a read-only mount: root may "write" there until it tries */
    log_warn("%s; opened for reading only", vmae_error());
    return open_for_reading(store, false);
}

vmae_status vmae_store_open(vmae_store **out, const char *path, vmae_store_mode mode)
{
    vmae_store *store = vmae_calloc(1, sizeof *store);
    if (!store || !(store->path = vmae_strdup(path))) {
        free(store);
        return VMAE_ENOMEM;
    }
    const vmae_status st = open_as_asked(store, mode);
    if (st != VMAE_OK) {
        vmae_store_close(store);
        return st;
    }
    *out = store;
    return VMAE_OK;
}

void vmae_store_close(vmae_store *store)
{
    if (!store)
        return;
    disconnect(store);
    free(store->path);
    free(store);
}
