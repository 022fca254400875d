/* intake.h -- one journal on its way into the database: events, then rows in bulk. Used by collect.c only.
 *
 * Everything happens inside a write transaction of the caller's. */
#ifndef VMAE_RESULTS_INTAKE_H
#define VMAE_RESULTS_INTAKE_H

#include "results/sql.h"

#include "engine/core/journal.h"

/* Statements that every run needs, prepared once. */
typedef enum intake_statement {
    INTAKE_METRIC,
    INTAKE_TIME,
    INTAKE_NAME_FIND,
    INTAKE_NAME_ADD,
    INTAKE_JOURNAL_NAME,
    INTAKE_SUMMARY,
    INTAKE_CONFIG,
    INTAKE_FINGERPRINT,
    INTAKE_MACHINE,
    INTAKE_STATEMENTS
} intake_statement;

typedef struct intake_statements {
    sqlite3_stmt *prepared[INTAKE_STATEMENTS];
} intake_statements;
vmae_status vmae_intake_prepare(vmae_store *store, intake_statements *statements);
void vmae_intake_finalize(intake_statements *statements);

/* A metric of this journal, with its summary so far. */
typedef struct intake_metric {
    int64_t id;    /* in metric_names */
    int direction; /* -1: small is good, 1: large is good, 0: neither */
    bool touched, recompute;
    int64_t count, last_step, best_step;
    double last, best; /* best is NaN if there is none */
} intake_metric;

typedef struct intake_row {
    int64_t step;
    double value;
    uint32_t name, attempt;
} intake_row;

typedef struct vmae_intake {
    vmae_store *store;
    intake_statements *statements;
    int64_t run;
    char identity[129];
    int64_t attempt;         /* the one that rows belong to; 0 before the first */
    int64_t attempt_step;    /* largest step seen in it; INT64_MIN: none */
    double first_wall, wall; /* of the attempt's rows in this chunk; NaN: none */
    intake_metric *metrics;
    uint32_t metric_count, metric_room;
    intake_row *rows;
    size_t row_count, row_room;
} vmae_intake;

/* Loads what earlier ingests left for this run: names, summaries, the current attempt. */
vmae_status vmae_intake_begin(vmae_intake *intake, vmae_store *store, intake_statements *statements, int64_t run,
                              const char *identity);
void vmae_intake_free(vmae_intake *intake);

/* Takes over one record. VMAE_EDATA: the record makes no sense; nothing of it was taken over. */
vmae_status vmae_intake_record(vmae_intake *intake, const vmae_record *record);
/* Writes the gathered rows and brings attempts and summaries up to date. */
vmae_status vmae_intake_flush(vmae_intake *intake);

/* The identity in a "run" event; *found false if the event is of another type. */
vmae_status vmae_intake_identity(const vmae_record *record, char identity[129], bool *found);

/* intake_event.c: applies an event to the database and the intake. */
vmae_status vmae_intake_event(vmae_intake *intake, const char *json, size_t count);

#endif
