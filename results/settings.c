/* settings.c -- a run's settings without its seeds. */
#include "results/settings.h"
#include "results/sql.h"

#include <stdlib.h>
#include <string.h>

/* ?1 and the runs it builds on, each once a way to it. */
#define FAMILY                                                                                                         \
    "WITH RECURSIVE family(run, prefix, depth) AS (SELECT ?1, '', 0 UNION ALL "                                        \
    "SELECT r.id, f.prefix || r.protocol || '/', f.depth + 1 FROM family AS f JOIN run_parents AS p ON p.run = f.run " \
    "JOIN runs AS r ON r.identity = p.parent WHERE f.depth < 8) "

/* A parent in the database stands for itself with its settings: then neither its identity nor the path of its
 * checkpoint is a setting. Both differ from seed to seed. */
static const char settings_sql[] =
    FAMILY "SELECT f.prefix || c.key || '=' || c.value FROM family AS f JOIN config AS c ON c.run = f.run "
           "WHERE c.speed_only = 0 AND c.key <> 'seed' AND NOT (c.key IN ('checkpoint', 'parent') "
           "AND EXISTS (SELECT 1 FROM run_parents AS p WHERE p.run = f.run) "
           "AND NOT EXISTS (SELECT 1 FROM run_parents AS p WHERE p.run = f.run AND p.parent NOT IN (SELECT identity "
           "FROM runs))) "
           "UNION ALL SELECT f.prefix || 'protocol=' || r.protocol FROM family AS f JOIN runs AS r ON r.id = f.run "
           "UNION ALL SELECT f.prefix || 'data:' || p.name || '=' || substr(p.value, 1, 16) FROM family AS f "
           "JOIN fingerprints AS p ON p.run = f.run";

/* Its own seed first, then those of the runs it builds on where they are others. */
static const char seeds_sql[] =
    FAMILY "SELECT rtrim(f.prefix, '/'), coalesce(r.seed, 'none') FROM family AS f JOIN runs AS r ON r.id = f.run "
           "WHERE f.depth = 0 OR r.seed IS NOT (SELECT seed FROM runs WHERE id = ?1) ORDER BY f.depth, f.prefix";

static vmae_status load_seeds(vmae_settings *settings, vmae_store *store, int64_t run, vmae_arena *arena)
{
    sqlite3_stmt *rows = NULL;
    bool row;
    VMAE_TRY(vmae_sql_query(store, &rows, seeds_sql, "i", run));
    vmae_status st;
    while ((st = vmae_sql_step(store, rows, &row)) == VMAE_OK && row) {
        const char *of = vmae_sql_text(rows, 0), *seed = vmae_sql_text(rows, 1);
        settings->seeds = settings->seeds ? vmae_arena_format(arena, "%s, %s %s", settings->seeds, of, seed)
                                          : vmae_arena_strdup(arena, seed);
        if (!settings->seeds) {
            st = VMAE_ENOMEM;
            break;
        }
    }
    sqlite3_finalize(rows);
    return st == VMAE_OK && !settings->seeds ? vmae_fail(VMAE_EINTERNAL, "there is no run %lld", (long long)run) : st;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

vmae_status vmae_settings_load(vmae_settings *settings, vmae_store *store, int64_t run, vmae_arena *arena)
{
    sqlite3_stmt *rows = NULL;
    bool row;
    size_t room = 0;
    vmae_settings loaded = { 0 };
    VMAE_TRY(vmae_sql_query(store, &rows, settings_sql, "i", run));
    vmae_status st;
    while ((st = vmae_sql_step(store, rows, &row)) == VMAE_OK && row) {
        if (loaded.count == room) {
            room = room ? room * 2 : 64;
            const char **lines = vmae_arena_calloc(arena, room, sizeof *lines);
            if (lines && loaded.count)
                memcpy(lines, loaded.lines, loaded.count * sizeof *lines);
            loaded.lines = lines;
        }
        if (!loaded.lines || !(loaded.lines[loaded.count] = vmae_arena_strdup(arena, vmae_sql_text(rows, 0)))) {
            st = VMAE_ENOMEM;
            break;
        }
        loaded.count++;
    }
    sqlite3_finalize(rows);
    VMAE_TRY(st);
    if (loaded.count > 1)
        qsort(loaded.lines, loaded.count, sizeof *loaded.lines, by_text);
    VMAE_TRY(load_seeds(&loaded, store, run, arena));
    *settings = loaded;
    return VMAE_OK;
}

bool vmae_settings_equal(const vmae_settings *a, const vmae_settings *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (strcmp(a->lines[i], b->lines[i]) != 0)
            return false;
    return true;
}

const char *vmae_settings_value(const vmae_settings *settings, const char *line, size_t name_length)
{
    for (size_t i = 0; i < settings->count; i++)
        if (strncmp(settings->lines[i], line, name_length) == 0 && settings->lines[i][name_length] == '=')
            return settings->lines[i] + name_length + 1;
    return NULL;
}
