/* run.c -- finding runs, and telling the living from the dead. */
#include "results/run.h"
#include "results/sql.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static vmae_status find_number(vmae_store *store, const char *name, vmae_stored_run *run, bool *found)
{
    sqlite3_stmt *row = NULL;
    VMAE_TRY(vmae_sql_query(store, &row, "SELECT id, identity FROM runs WHERE id = ?", "i",
                            (int64_t)strtoll(name, NULL, 10)));
    const vmae_status st = vmae_sql_step(store, row, found);
    if (st == VMAE_OK && *found) {
        run->id = sqlite3_column_int64(row, 0);
        snprintf(run->identity, sizeof run->identity, "%s", vmae_sql_text(row, 1));
    }
    sqlite3_finalize(row);
    return st;
}

/* Identities that begin with the name: a range of the index. */
static vmae_status find_prefix(vmae_store *store, const char *name, vmae_stored_run *run, size_t *matches,
                               char *candidates, size_t size)
{
    sqlite3_stmt *rows = NULL;
    bool row;
    VMAE_TRY(vmae_sql_query(
        store, &rows,
        "SELECT id, identity, protocol, coalesce(seed, ''), status FROM runs WHERE identity >= ?1 AND "
        "identity < ?1 || char(1114111) AND substr(identity, 1, length(?1)) = ?1 ORDER BY identity LIMIT 11",
        "t", name));
    vmae_status st;
    while ((st = vmae_sql_step(store, rows, &row)) == VMAE_OK && row) {
        const bool whole = strcmp(vmae_sql_text(rows, 1), name) == 0;
        const size_t used = strlen(candidates);
        if (++*matches == 11)
            snprintf(candidates + used, size - used, "\n  ...");
        else
            snprintf(candidates + used, size - used, "\n  %lld  %.16s  %.32s seed %.20s, %s",
                     (long long)sqlite3_column_int64(rows, 0), vmae_sql_text(rows, 1), vmae_sql_text(rows, 2),
                     vmae_sql_text(rows, 3), vmae_sql_text(rows, 4));
        if (whole || *matches == 1) {
            run->id = sqlite3_column_int64(rows, 0);
            snprintf(run->identity, sizeof run->identity, "%s", vmae_sql_text(rows, 1));
        }
        if (whole) {
            *matches = 1;
            break;
        }
    }
    sqlite3_finalize(rows);
    return st;
}

vmae_status vmae_run_find(vmae_store *store, const char *name, vmae_stored_run *run)
{
    const size_t length = strlen(name);
    bool found = false;
    if (length > 0 && length <= 9 && strspn(name, "0123456789") == length) {
        VMAE_TRY(find_number(store, name, run, &found));
        if (found)
            return VMAE_OK;
    }
    char candidates[1536] = "";
    size_t matches = 0;
    if (length > 0)
        VMAE_TRY(find_prefix(store, name, run, &matches, candidates, sizeof candidates));
    if (matches == 0)
        return vmae_fail(VMAE_EUSER, "no run is called %s; `vicmae-results list` shows those there are", name);
    return matches == 1 ? VMAE_OK : vmae_fail(VMAE_EUSER, "%s is the beginning of several runs:%s", name, candidates);
}

/* ---- processes ---- */

/* A small file of /proc; *text is "" if it cannot be read. */
static void read_small(const char *path, char *text, size_t size)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? 0 : read(fd, text, size - 1);
    if (fd >= 0)
        close(fd);
    got = got < 0 ? 0 : got;
    text[got] = 0;
    text[strcspn(text, "\n")] = 0;
}

/* State letter and start in clock ticks since boot, from /proc/<pid>/stat: after the name, which may hold anything. */
static bool process_state(int64_t pid, char *state, double *start_ticks)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    read_small(path, text, sizeof text);
    const char *after = strrchr(text, ')');
    if (!after || !after[1])
        return false;
    *state = after[2];
    after += 2;
    for (int field = 3; field < 22 && after; field++)
        after = strchr(after + 1, ' ');
    *start_ticks = after ? strtod(after + 1, NULL) : NAN;
    return true;
}

static double boot_seconds(void)
{
    struct timespec now, since;
    clock_gettime(CLOCK_REALTIME, &now);
    clock_gettime(CLOCK_BOOTTIME, &since);
    return (double)(now.tv_sec - since.tv_sec) + 1e-9 * (double)(now.tv_nsec - since.tv_nsec);
}

/* The process id was given to another process that began after ours was logged. Ours began a little before that; the
 * slack is for clocks that were set in between. */
static bool reused(double started, double start_ticks)
{
    static const double slack_s = 5.0;
    return boot_seconds() + start_ticks / (double)sysconf(_SC_CLK_TCK) > started + slack_s; /* false for NaN */
}

vmae_liveness vmae_process_liveness(const char *host, const char *boot_id, int64_t pid, double started)
{
    char here[256] = "", boot[64], state = 0;
    double start_ticks = NAN;
    gethostname(here, sizeof here - 1);
    if (!host || strcmp(host, here) != 0)
        return VMAE_ELSEWHERE;
    read_small("/proc/sys/kernel/random/boot_id", boot, sizeof boot);
    if (boot_id && *boot_id && *boot && strcmp(boot_id, boot) != 0)
        return VMAE_DEAD; /* the machine was started anew */
    if (pid <= 0 || pid > INT32_MAX)
        return VMAE_ELSEWHERE;
    if (kill((pid_t)pid, 0) != 0 && errno == ESRCH)
        return VMAE_DEAD;
    if (process_state(pid, &state, &start_ticks) && (state == 'Z' || state == 'X' || reused(started, start_ticks)))
        return VMAE_DEAD;
    return VMAE_ALIVE;
}

const char *vmae_run_status(vmae_store *store, int64_t run, const char *stored)
{
    static const char *const known[] = { "done", "failed", "diverged", "interrupted", "unknown" };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(stored, known[i]) == 0)
            return known[i];
    sqlite3_stmt *row = NULL;
    bool found = false;
    vmae_liveness liveness = VMAE_ELSEWHERE;
    if (vmae_sql_query(store, &row,
                       "SELECT host, boot_id, pid, started FROM attempts WHERE run = ? ORDER BY attempt DESC LIMIT 1",
                       "i", run) == VMAE_OK &&
        vmae_sql_step(store, row, &found) == VMAE_OK && found)
        liveness =
            vmae_process_liveness((const char *)sqlite3_column_text(row, 0), (const char *)sqlite3_column_text(row, 1),
                                  sqlite3_column_int64(row, 2),
                                  sqlite3_column_type(row, 3) == SQLITE_NULL ? NAN : sqlite3_column_double(row, 3));
    sqlite3_finalize(row);
    return liveness == VMAE_DEAD ? "stopped" : "running";
}
