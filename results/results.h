/* results.h -- the results database: fed from run journals, read by vicmae-results, the sweep runner and the plots.
 *
 * The journals are the truth (engine/core/journal.h); the database can be deleted and built again from them at any
 * time. What it holds about metrics is a pure function of the journals: it does not matter when or how often they were
 * ingested.
 *
 * Folders: runs are R/<anything>/journal, sweeps are R/sweeps/<name>-<scale>.json, the database is R/results.db unless
 * said otherwise. Nothing here is thread-safe on one store; several processes may each open the same database. */
#ifndef VMAE_RESULTS_RESULTS_H
#define VMAE_RESULTS_RESULTS_H

#include "engine/core/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

struct sqlite3;
typedef struct vmae_store vmae_store;

typedef enum vmae_store_mode {
    VMAE_STORE_UPDATE, /* creates it if need be; falls back to reading (and logs that) where it cannot be written */
    VMAE_STORE_READ    /* never writes; VMAE_EUSER if there is no database */
} vmae_store_mode;

/* Opens the database at `path`. A "file:" URI is passed to SQLite as it is. WAL on a local disk; on a network file
 * system, or where SQLite answers that it could not, a rollback journal (logged). VMAE_EUSER: no such folder, or
 * written by a newer version; VMAE_EDATA: not a database; VMAE_EBUSY: locked by another process for 20 s. */
vmae_status vmae_store_open(vmae_store **store, const char *path, vmae_store_mode mode);
void vmae_store_close(vmae_store *store); /* NULL is fine */
bool vmae_store_read_only(const vmae_store *store);
const char *vmae_store_path(const vmae_store *store);
const char *vmae_store_journal_mode(const vmae_store *store); /* "wal", "delete", ... as SQLite answered */
struct sqlite3 *vmae_store_sqlite(vmae_store *store);

/* The name of a network or user-space file system by its statfs(2) type, or NULL for a local one. */
const char *vmae_remote_file_system(long type);

typedef struct vmae_ingest {
    size_t journals, changed; /* seen; with something new */
    size_t damaged; /* journals that could not be read to their end: each was logged by name; the rest went on */
    size_t sweeps;
    uint64_t rows; /* metric values read */
    double seconds;
} vmae_ingest;

/* Brings the database up to date with every journal in the runs folder and every sweep in its sweeps/ folder. `runs`
 * may also be a single run's folder. Incremental and idempotent; safe beside running runs and beside other collectors.
 * A damaged journal or sweep file is logged, counted and remembered (runs.damage), and does not stop the others.
 * *report may be NULL. VMAE_EUSER: no such folder or a read-only store; VMAE_EIO: disk full (what was committed stays).
 */
vmae_status vmae_store_ingest(vmae_store *store, const char *runs, vmae_ingest *report);

/* Stores one sweep description, replacing an earlier one of the same name and scale. VMAE_EDATA names the wrong field.
 */
vmae_status vmae_store_ingest_sweep(vmae_store *store, const char *path);

typedef enum vmae_table_format {
    VMAE_TABLE_TEXT,
    VMAE_TABLE_MARKDOWN,
    VMAE_TABLE_LATEX,
    VMAE_TABLE_CSV,
    VMAE_TABLE_JSON
} vmae_table_format;
vmae_status vmae_table_format_by_name(vmae_table_format *format,
                                      const char *name); /* "text", "md", "latex", "csv", "json" */

/* Prints every grid of a sweep (or the one named `grid`) beside the paper's numbers: mean +- standard deviation over
 * seeds with n, distance to the best row and whether that is noise, rank agreement, missing cells with their reason.
 * `sweep` is "table3" or, where several scales are stored, "table3-demo". VMAE_EUSER: no such sweep or grid; the
 * sentence lists those there are. */
vmae_status vmae_table_print(vmae_store *store, const char *sweep, const char *grid, vmae_table_format format,
                             FILE *out);

/* Prints "identity <tab> metric <tab> step <tab> value" of every current row whose metric does not measure time or
 * memory, ordered by identity, metric, step, with the value as a hexadecimal float: equal text means equal numbers, bit
 * for bit (but for the sign of zero). `run` is an identity, or NULL for all. *rows may be NULL. */
vmae_status vmae_store_dump_metrics(vmae_store *store, const char *run, FILE *out, uint64_t *rows);

#ifdef __cplusplus
}
#endif
#endif
