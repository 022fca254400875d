/* journal.h -- a run's append-only journal: the truth about what the run did and measured.
 *
 * File: the 8 bytes "VMAEJNL1", then records. A record is u32 length, u32 crc32 of the payload (zlib's), payload; all
 * integers little-endian. payload[0] is the kind:
 *   'E'  event: a JSON object, UTF-8 (see below)
 *   'N'  metric name: u32 id (counted from 0 in each file), then the name, no final 0
 *   'M'  metrics: i64 step, f64 wall-clock seconds, u32 count, then count x (u32 name id, f64 value); NaN and
 *        infinities allowed
 *
 * Events have a "type":
 *   "attempt"   a process starts on this run: attempt (counted from 1), host, boot_id, pid, start_time (for people),
 *               start_seconds (since 1970), first_step, revision, machine {...}
 *   "machine"   what the attempt learned of the machine after its start (more for machine {...}): facts {...}
 *   "run"       what the run is: identity, protocol, config {key: value text}, speed [keys that do not change the
 *               numbers], seed, parents [identity], fingerprints {...}, datasets {...}
 *   "skipped"   a bad sample: dataset, sample, reason
 *   "artefact"  a file the run made: kind ("checkpoint", "picture", ...), path relative to the run's folder, sha256,
 *               bytes
 *   "end"       how the attempt ended: status ("done", "failed", "diverged", "interrupted"), message, last_step,
 *               end_seconds
 * Metrics belong to the attempt record before them. A resumed attempt begins at first_step; rows of earlier attempts
 * with step > first_step are superseded (they stay in the file).
 *
 * One record is one write(2). fdatasync runs by time (every 5 s and on close), not by step. On opening for append a
 * torn last record is cut off, and said. A damaged record in the middle is an error. */
#ifndef VMAE_CORE_JOURNAL_H
#define VMAE_CORE_JOURNAL_H

#include "engine/core/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct vmae_metric {
    const char *name; /* "loss_recon"; static or outliving the journal */
    double value;
} vmae_metric;

typedef struct vmae_journal vmae_journal;

/* Opens for append, creating the file. Holds no lock: the run's folder is locked by its process. */
vmae_status vmae_journal_open(vmae_journal **journal, const char *path);
vmae_status vmae_journal_event(vmae_journal *journal, const char *json);
/* One 'M' record; names seen for the first time get an 'N' record before it, in the same write. */
vmae_status vmae_journal_metrics(vmae_journal *journal, int64_t step, const vmae_metric *metrics, size_t count);
vmae_status vmae_journal_sync(vmae_journal *journal);
vmae_status vmae_journal_close(vmae_journal *journal); /* syncs; NULL is fine; always frees */
/* Attempts ("type": "attempt" events) already in the file when it was opened. */
int vmae_journal_attempts(const vmae_journal *journal);

/* ---- reading ---- */

typedef struct vmae_record {
    char kind;            /* 'E', 'N' or 'M' */
    uint64_t offset, end; /* of the record in the file: resume reading at end */
    /* 'E': the JSON in text. 'N': id and, in text, the name. Neither ends with a NUL. */
    const char *text;
    size_t text_count;
    uint32_t id;
    /* 'M' */
    int64_t step;
    double wall_seconds;
    uint32_t count;
    const uint8_t *values; /* count packed (u32 id, f64 value): read with vmae_record_metric */
} vmae_record;
void vmae_record_metric(const vmae_record *record, uint32_t index, uint32_t *id, double *value);

/* Parses records out of memory (a mapped file). *offset starts at 0 (then the magic is checked) or at a record's end.
 * Returns VMAE_OK with *found true and the record, or *found false at a clean end or at a torn last record (*torn true,
 * *offset unchanged); VMAE_EDATA for a damaged file. Never reads outside bytes[0, count). */
vmae_status vmae_journal_next(const uint8_t *bytes, size_t count, uint64_t *offset, vmae_record *record, bool *found,
                              bool *torn);

#endif
