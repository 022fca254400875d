/* table.h -- one grid of a sweep as numbers: what the table printers and the bar plots show. */
#ifndef VMAE_RESULTS_TABLE_H
#define VMAE_RESULTS_TABLE_H

#include "results/results.h"

#include "engine/core/mem.h"

enum { VMAE_READINGS = 2 }; /* the paper as printed, and (Table 3c) as its running text needs it */

typedef struct vmae_table_value {
    size_t n;          /* seeds with a number */
    double *values;    /* n, in the metric's own unit (fractions), by seed */
    int64_t *seeds;    /* n, ascending */
    double mean, std;  /* NaN where there are too few */
    bool best;         /* the best mean of its column; none has it where neither end of the metric is better */
    bool clearly_best; /* and the column has every cell, and every other row's distance is real */
    double to_best;    /* mean distance to the best row; NaN for it, and if unknown */
    double to_best_low, to_best_high; /* its 95% interval, of this comparison alone */
    double p;                         /* corrected for every pair of rows; NaN if it cannot be told */
    const char *verdict;              /* by p: "real", "noise", ...; NULL for the best row */
    double paper[VMAE_READINGS];      /* as printed, in the paper's unit; NaN: none */
} vmae_table_value;

typedef struct vmae_table_row {
    const char *label;
    int64_t paper_row;        /* 0: not in the paper */
    vmae_table_value *values; /* one a metric */
    size_t expected;          /* seeds asked for */
    const char **missing;     /* one reason a missing cell */
    size_t missing_count;
    int64_t skipped; /* bad samples that its runs left out */
} vmae_table_row;

typedef struct vmae_table_metric {
    const char *name, *label, *paper_column; /* paper_column NULL: none */
    bool percent;
    int direction;                                   /* -1: small is good, 1: large is good, 0: neither */
    double tau[VMAE_READINGS], tau_p[VMAE_READINGS]; /* rank agreement with the paper; NaN: cannot be told */
    size_t tau_n;                                    /* rows it is over */
} vmae_table_metric;

typedef struct vmae_table {
    const char *sweep, *sweep_title, *scale, *data, *revision, *config; /* sweep_title NULL: it has none */
    const char *grid, *title, *paper, *axis, *stage, *note; /* paper NULL: not one of the paper's tables; note, too */
    const char **overrides;                                 /* of the command line, that change numbers */
    size_t override_count;
    const char *override_text; /* all of them: "train.epochs=5, probe:probe.epochs=3"; "" */
    const char *made_at; /* "demo scale", "paper scale with train.epochs=5": what every number must be shown with */
    vmae_table_metric *metrics;
    size_t metric_count;
    vmae_table_row *rows;
    size_t row_count;
    size_t readings;       /* 0 without paper numbers, 1, or 2 */
    const char *data_note; /* NULL, or that the runs did not see the same data */
} vmae_table;

/* Everything lives in the arena. `grid` counts from 0. */
vmae_status vmae_table_load(vmae_table *table, vmae_store *store, int64_t sweep, int64_t grid, vmae_arena *arena);

/* "Table 3a" from "table3a"; "" for NULL */
const char *vmae_table_paper_title(const vmae_table *table, vmae_arena *arena);
/* Was it made at a scale whose numbers may be held against the paper's, unchanged by the command line? */
bool vmae_table_comparable(const vmae_table *table);

/* table_print.c */
vmae_status vmae_table_write(const vmae_table *table, vmae_table_format format, FILE *out);

#endif
