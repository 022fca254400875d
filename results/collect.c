/* collect.c -- looks for journals with something new and takes it over, a batch of runs a transaction. */
#include "results/intake.h"
#include "results/results.h"
#include "results/sweep.h"

#include "engine/core/fs.h"
#include "engine/core/log.h"
#include "engine/core/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BATCH_ROWS = 1 << 18, BATCH_JOURNALS = 1000 };

/* What the database knew about a journal when the ingest began. */
typedef struct known_journal {
    char *folder;
    int64_t run, size, mtime_ns;
    char *damage; /* NULL: none */
} known_journal;

typedef struct collector {
    vmae_store *store;
    intake_statements statements;
    known_journal *known; /* sorted by folder */
    size_t known_count;
    bool writing; /* a transaction is open */
    size_t batch_rows, batch_journals;
    vmae_ingest report;
} collector;

/* A journal's bytes from some offset on. Not a mapping of the file: a run may cut its torn tail off at any moment, and
 * a mapped page that is gone kills the reader. The memory before `from` is never touched, so it costs nothing. */
typedef struct journal_bytes {
    uint8_t *bytes;
    size_t count, mapped;
} journal_bytes;

static void release_bytes(journal_bytes *file)
{
    if (file->bytes)
        munmap(file->bytes, file->mapped);
    *file = (journal_bytes){ 0 };
}

static vmae_status read_range(int fd, const char *path, journal_bytes *file, size_t from, size_t to)
{
    while (from < to) {
        const ssize_t got = pread(fd, file->bytes + from, to - from, (off_t)from);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return vmae_fail_errno(errno, "%s: cannot be read", path);
        if (got == 0)
            break; /* cut off meanwhile */
        from += (size_t)got;
    }
    file->count = from;
    return VMAE_OK;
}

static vmae_status read_journal(journal_bytes *file, int fd, const char *path, size_t size, size_t from)
{
    release_bytes(file);
    if (size == 0)
        return VMAE_OK;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return vmae_fail(VMAE_ENOMEM, "%s: no memory for its %zu bytes", path, size);
    *file = (journal_bytes){ memory, 0, size };
    return read_range(fd, path, file, from < size ? from : size, size);
}

/* ---- transactions ---- */

static vmae_status begin_batch(collector *c)
{
    if (c->writing)
        return VMAE_OK;
    VMAE_TRY(vmae_sql_begin(c->store));
    c->writing = true;
    return VMAE_OK;
}

static vmae_status commit_batch(collector *c)
{
    if (!c->writing)
        return VMAE_OK;
    VMAE_TRY(vmae_sql_commit(c->store));
    c->writing = false;
    c->batch_rows = c->batch_journals = 0;
    return VMAE_OK;
}

/* ---- which run, and from where ---- */

typedef struct position {
    int64_t run;
    uint64_t offset, last_record;
    uint32_t last_crc;
    char identity[129];
} position;

/* Finds the "run" event near the head of the file; *found false: the run has not written it yet. */
static vmae_status find_identity(const journal_bytes *file, char identity[129], bool *found)
{
    uint64_t offset = 0;
    *found = false;
    for (bool more = true, torn = false; more && !*found;) {
        vmae_record record;
        VMAE_TRY(vmae_journal_next(file->bytes, file->count, &offset, &record, &more, &torn));
        if (more && record.kind == 'E')
            VMAE_TRY(vmae_intake_identity(&record, identity, found));
        else if (more && record.kind == 'M')
            return vmae_fail(VMAE_EDATA, "metrics come before the run said what it is");
    }
    return VMAE_OK;
}

static uint32_t stored_crc(const uint8_t *record)
{
    return (uint32_t)record[4] | (uint32_t)record[5] << 8 | (uint32_t)record[6] << 16 | (uint32_t)record[7] << 24;
}

/* Is the last record taken over still where it was? If not, somebody replaced the file, or it lost more than its torn
 * tail. */
static vmae_status same_file(int fd, const char *path, size_t size, const position *at, bool *same)
{
    uint8_t header[8];
    *same = false;
    if (at->offset > size || at->offset < at->last_record + 8)
        return VMAE_OK;
    const ssize_t got = pread(fd, header, sizeof header, (off_t)at->last_record);
    if (got < 0)
        return vmae_fail_errno(errno, "%s: cannot be read", path);
    *same = got == (ssize_t)sizeof header && stored_crc(header) == at->last_crc;
    return VMAE_OK;
}

static vmae_status load_position(collector *c, int64_t run, position *at)
{
    sqlite3_stmt *row = NULL;
    bool found = false;
    VMAE_TRY(vmae_sql_query(c->store, &row,
                            "SELECT r.identity, j.offset, j.last_record, j.last_crc FROM runs AS r "
                            "LEFT JOIN journals AS j ON j.run = r.id WHERE r.id = ?",
                            "i", run));
    const vmae_status st = vmae_sql_step(c->store, row, &found);
    *at = (position){ .run = run };
    if (st == VMAE_OK && found) {
        snprintf(at->identity, sizeof at->identity, "%s", vmae_sql_text(row, 0));
        at->offset = (uint64_t)sqlite3_column_int64(row, 1);
        at->last_record = (uint64_t)sqlite3_column_int64(row, 2);
        at->last_crc = (uint32_t)sqlite3_column_int64(row, 3);
    }
    sqlite3_finalize(row);
    return st;
}

/* Forgets what was read of a run, but not its number. */
static vmae_status forget_run(collector *c, position *at)
{
    static const char *const tables[] = { "run_parents",  "attempts",        "machine_facts", "config",
                                          "fingerprints", "skipped_samples", "artefacts",     "metrics",
                                          "step_times",   "summaries",       "journals",      "journal_names" };
    char sql[80];
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        snprintf(sql, sizeof sql, "DELETE FROM %s WHERE run = ?", tables[i]);
        VMAE_TRY(vmae_sql_run(c->store, sql, "i", at->run));
    }
    at->offset = at->last_record = at->last_crc = 0;
    return vmae_sql_run(
        c->store, "UPDATE runs SET status = 'running', message = NULL, last_step = NULL, damage = NULL WHERE id = ?",
        "i", at->run);
}

/* The run of this identity, made if it is new. VMAE_EDATA if another folder holds it already. */
static vmae_status claim_run(collector *c, const char *folder, position *at)
{
    sqlite3_stmt *row = NULL;
    bool found = false;
    char *other = NULL;
    VMAE_TRY(vmae_sql_query(c->store, &row, "SELECT id, folder FROM runs WHERE identity = ?", "t", at->identity));
    vmae_status st = vmae_sql_step(c->store, row, &found);
    if (st == VMAE_OK && found) {
        at->run = sqlite3_column_int64(row, 0);
        if (strcmp(vmae_sql_text(row, 1), folder) != 0 && !(other = vmae_path_join(vmae_sql_text(row, 1), "journal")))
            st = VMAE_ENOMEM;
    }
    sqlite3_finalize(row);
    if (st == VMAE_OK && other && vmae_path_exists(other))
        st = vmae_fail(VMAE_EDATA, "this is run %s, which is already known from %s; remove one of the two",
                       at->identity, other);
    else if (st == VMAE_OK && other) /* it moved */
        st = vmae_sql_run(c->store, "UPDATE runs SET folder = ? WHERE id = ?", "ti", folder, at->run);
    free(other);
    VMAE_TRY(st);
    if (found)
        return load_position(c, at->run, at);
    VMAE_TRY(vmae_sql_run(c->store, "INSERT INTO runs (identity, folder, protocol, status) VALUES (?,?,'','running')",
                          "tt", at->identity, folder));
    at->run = sqlite3_last_insert_rowid(vmae_store_sqlite(c->store));
    return VMAE_OK;
}

/* ---- taking over ---- */

static vmae_status save_position(collector *c, const position *at, const struct stat *info)
{
    return vmae_sql_run(c->store, "INSERT OR REPLACE INTO journals VALUES (?,?,?,?,?,?)", "iiiiii", at->run,
                        (int64_t)info->st_size, (int64_t)info->st_mtim.tv_sec * 1000000000 + info->st_mtim.tv_nsec,
                        (int64_t)at->offset, (int64_t)at->last_record, (int64_t)at->last_crc);
}

/* A big journal is committed piece by piece. If another collector was quicker in between, the rest is left to it. */
static vmae_status commit_piece(collector *c, vmae_intake *intake, position *at, const struct stat *info, bool *mine)
{
    VMAE_TRY(vmae_intake_flush(intake));
    struct stat unfinished = *info;
    unfinished.st_size = -1; /* so that nobody takes it for done */
    VMAE_TRY(save_position(c, at, &unfinished));
    VMAE_TRY(commit_batch(c));
    VMAE_TRY(begin_batch(c));
    position now;
    VMAE_TRY(load_position(c, at->run, &now));
    *mine = now.offset == at->offset && now.last_crc == at->last_crc;
    return VMAE_OK;
}

/* Damage is the journal's fault and goes into *damage; a failure of the database or of memory is returned. */
static bool is_damage(collector *c, vmae_status st)
{
    const int code = sqlite3_errcode(vmae_store_sqlite(c->store)) & 0xff;
    return st == VMAE_EDATA && code != SQLITE_CORRUPT && code != SQLITE_NOTADB;
}

static vmae_status take_over(collector *c, const journal_bytes *file, position *at, const struct stat *info,
                             vmae_status *damage)
{
    vmae_intake intake;
    VMAE_TRY(vmae_intake_begin(&intake, c->store, &c->statements, at->run, at->identity));
    vmae_status st = VMAE_OK;
    for (bool more = true, torn = false, mine = true; st == VMAE_OK && more && mine;) {
        vmae_record record;
        uint64_t next = at->offset;
        st = vmae_journal_next(file->bytes, file->count, &next, &record, &more, &torn);
        if (st != VMAE_OK || !more)
            break;
        if ((st = vmae_intake_record(&intake, &record)) != VMAE_OK) {
            if (is_damage(c, st))
                vmae_fail_in(st, "record at byte %llu", (unsigned long long)record.offset);
            break;
        }
        at->offset = record.end;
        at->last_record = record.offset;
        at->last_crc = stored_crc(file->bytes + record.offset);
        c->report.rows += record.kind == 'M' ? record.count : 0;
        c->batch_rows += record.kind == 'M' ? record.count : 0;
        if (c->batch_rows >= BATCH_ROWS)
            st = commit_piece(c, &intake, at, info, &mine);
        if (!mine) {
            vmae_intake_free(&intake);
            return VMAE_OK;
        }
    }
    if (is_damage(c, st)) {
        *damage = st;
        st = vmae_sql_run(c->store, "UPDATE runs SET damage = ? WHERE id = ?", "ti", vmae_error(), at->run);
    }
    if (st == VMAE_OK)
        st = vmae_intake_flush(&intake);
    if (st == VMAE_OK)
        st = save_position(c, at, info);
    vmae_intake_free(&intake);
    return st;
}

static vmae_status resolve(collector *c, int fd, const char *folder, const char *path, const struct stat *info,
                           const known_journal *known, journal_bytes *file, position *at, bool *ready)
{
    const size_t size = (size_t)info->st_size;
    bool same = false;
    *ready = true;
    if (known) {
        VMAE_TRY(load_position(c, known->run, at));
        VMAE_TRY(same_file(fd, path, size, at, &same));
        if (same)
            return read_journal(file, fd, path, size, at->offset);
    }
    VMAE_TRY(read_journal(file, fd, path, size, 0));
    char identity[129];
    VMAE_TRY(find_identity(file, identity, ready));
    if (!*ready)
        return VMAE_OK;
    if (known && strcmp(identity, at->identity) == 0)
        return forget_run(c, at); /* run again from the start */
    *at = (position){ 0 };
    memcpy(at->identity, identity, sizeof identity);
    VMAE_TRY(claim_run(c, folder, at));
    VMAE_TRY(same_file(fd, path, size, at, &same));
    return at->offset && !same ? forget_run(c, at) : VMAE_OK;
}

static vmae_status ingest_open(collector *c, int fd, const char *folder, const char *path, const struct stat *info,
                               const known_journal *known, vmae_status *damage)
{
    position at = { 0 };
    journal_bytes file = { 0 };
    bool ready = false;
    VMAE_TRY(begin_batch(c));
    vmae_status st = resolve(c, fd, folder, path, info, known, &file, &at, &ready);
    if (is_damage(c, st)) {
        *damage = st;
        st = VMAE_OK;
    } else if (st == VMAE_OK && ready) {
        const uint64_t before = at.offset;
        if ((st = vmae_sql_run(c->store, "UPDATE runs SET damage = NULL WHERE id = ? AND damage IS NOT NULL", "i",
                               at.run)) == VMAE_OK)
            st = take_over(c, &file, &at, info, damage);
        c->report.changed += at.offset != before;
    }
    release_bytes(&file);
    return st;
}

static int by_folder(const void *a, const void *b)
{
    return strcmp(((const known_journal *)a)->folder, ((const known_journal *)b)->folder);
}

static void count_damaged(collector *c, const char *path, const char *why)
{
    c->report.damaged++;
    log_warn("%s: %s", path, why);
}

static vmae_status ingest_journal(collector *c, const char *folder, const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISREG(info.st_mode))
        return VMAE_OK; /* not a run's folder, or gone meanwhile */
    c->report.journals++;
    const known_journal key = { .folder = (char *)folder };
    const known_journal *known = c->known_count ? bsearch(&key, c->known, c->known_count, sizeof key, by_folder) : NULL;
    if (known && known->size == info.st_size &&
        known->mtime_ns == (int64_t)info.st_mtim.tv_sec * 1000000000 + info.st_mtim.tv_nsec) {
        if (known->damage)
            count_damaged(c, path, known->damage);
        return VMAE_OK;
    }
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        vmae_fail_errno(errno, "cannot be read");
        count_damaged(c, path, vmae_error());
        return VMAE_OK;
    }
    vmae_status damage = VMAE_OK;
    const vmae_status st = ingest_open(c, fd, folder, path, &info, known, &damage);
    close(fd);
    if (st == VMAE_OK && damage != VMAE_OK)
        count_damaged(c, path, vmae_error());
    VMAE_TRY(st);
    return ++c->batch_journals >= BATCH_JOURNALS || c->batch_rows >= BATCH_ROWS ? commit_batch(c) : VMAE_OK;
}

static vmae_status load_known(collector *c)
{
    sqlite3_stmt *rows = NULL;
    int64_t count = 0;
    bool row = false;
    VMAE_TRY(vmae_sql_integer(c->store, &count, 0, "SELECT count(*) FROM runs", NULL));
    if (!(c->known = vmae_calloc((size_t)count, sizeof *c->known)))
        return VMAE_ENOMEM;
    VMAE_TRY(vmae_sql_query(
        c->store, &rows,
        "SELECT r.folder, r.id, j.size, j.mtime_ns, r.damage FROM runs AS r JOIN journals AS j ON j.run = r.id "
        "LIMIT ?",
        "i", count));
    vmae_status st;
    while ((st = vmae_sql_step(c->store, rows, &row)) == VMAE_OK && row) {
        known_journal *known = &c->known[c->known_count];
        known->folder = vmae_strdup(vmae_sql_text(rows, 0));
        known->run = sqlite3_column_int64(rows, 1);
        known->size = sqlite3_column_int64(rows, 2);
        known->mtime_ns = sqlite3_column_int64(rows, 3);
        known->damage = sqlite3_column_type(rows, 4) == SQLITE_NULL ? NULL : vmae_strdup(vmae_sql_text(rows, 4));
        if (!known->folder) {
            st = VMAE_ENOMEM;
            break;
        }
        c->known_count++;
    }
    sqlite3_finalize(rows);
    if (c->known_count > 1)
        qsort(c->known, c->known_count, sizeof *c->known, by_folder);
    return st;
}

/* Every folder in the runs folder with a journal in it; the runs folder itself if it is one. */
static vmae_status ingest_folder(collector *c, const char *runs)
{
    char **names = NULL, *own = vmae_path_join(runs, "journal");
    size_t count = 0;
    if (!own)
        return VMAE_ENOMEM;
    vmae_status st =
        vmae_path_exists(own) ? ingest_journal(c, runs, own) : vmae_list_folder(runs, true, &names, &count);
    free(own);
    for (size_t i = 0; i < count && st == VMAE_OK; i++) {
        char *folder = vmae_path_join(runs, names[i]), *path = folder ? vmae_path_join(folder, "journal") : NULL;
        st = path ? ingest_journal(c, folder, path) : VMAE_ENOMEM;
        free(folder);
        free(path);
    }
    vmae_list_free(names, count);
    return st;
}

static vmae_status ingest_sweeps(collector *c, const char *runs)
{
    char *folder = vmae_path_join(runs, "sweeps"), **names = NULL;
    size_t count = 0;
    if (!folder)
        return VMAE_ENOMEM;
    vmae_status st = vmae_path_is_folder(folder) ? vmae_list_folder(folder, false, &names, &count) : VMAE_OK;
    for (size_t i = 0; i < count && st == VMAE_OK; i++) {
        const size_t length = strlen(names[i]);
        if (length < 6 || strcmp(names[i] + length - 5, ".json") != 0)
            continue;
        char *path = vmae_path_join(folder, names[i]);
        c->report.sweeps++;
        st = path ? vmae_store_ingest_sweep(c->store, path) : VMAE_ENOMEM;
        if (st == VMAE_EDATA || st == VMAE_EUSER) { /* the sentence has the path */
            c->report.damaged++;
            log_warn("%s", vmae_error());
            st = VMAE_OK;
        }
        free(path);
    }
    vmae_list_free(names, count);
    free(folder);
    return st;
}

/* The write-ahead log would otherwise stay as large as the largest batch. It cannot be cut while somebody reads: then
 * it waits. */
static void shorten_log(vmae_store *store)
{
    if (strcmp(vmae_store_journal_mode(store), "wal") == 0)
        sqlite3_wal_checkpoint_v2(vmae_store_sqlite(store), NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
}

/* Foreign keys are the schema's promise to others; here they hold by construction, and checking two a value costs a
 * third of the speed. Sweeps rely on their cascades, so they come after. */
static vmae_status ingest(collector *c, const char *runs)
{
    VMAE_TRY(load_known(c));
    VMAE_TRY(vmae_intake_prepare(c->store, &c->statements));
    VMAE_TRY(vmae_sql_script(c->store, "PRAGMA foreign_keys = OFF"));
    vmae_status st = ingest_folder(c, runs);
    if (st == VMAE_OK)
        st = commit_batch(c);
    vmae_sql_rollback(c->store); /* the setting cannot change inside a transaction */
    sqlite3_exec(vmae_store_sqlite(c->store), "PRAGMA foreign_keys = ON", NULL, NULL,
                 NULL); /* cannot fail outside one */
    return st == VMAE_OK ? ingest_sweeps(c, runs) : st;
}

vmae_status vmae_store_ingest(vmae_store *store, const char *runs, vmae_ingest *report)
{
    if (vmae_store_read_only(store))
        return vmae_fail(VMAE_EUSER, "%s was opened for reading: nothing can be ingested", vmae_store_path(store));
    char *real = realpath(runs, NULL); /* so that the same run is the same folder from wherever one asks */
    if (!real)
        return vmae_fail_errno(errno, "the runs folder %s cannot be opened", runs);
    collector c = { .store = store };
    const double start = vmae_seconds();
    const vmae_status st =
        vmae_path_is_folder(real) ? ingest(&c, real) : vmae_fail(VMAE_EUSER, "%s is not a folder of runs", runs);
    vmae_intake_finalize(&c.statements);
    vmae_sql_rollback(store);
    if (c.report.rows >= BATCH_ROWS)
        shorten_log(store);
    for (size_t i = 0; i < c.known_count; i++) {
        free(c.known[i].folder);
        free(c.known[i].damage);
    }
    free(c.known);
    free(real);
    c.report.seconds = vmae_seconds() - start;
    if (report && st == VMAE_OK)
        *report = c.report;
    return st;
}
