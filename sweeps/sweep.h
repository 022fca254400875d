/* sweep.h -- from a sweep file to runs, and the runs done.
 *
 * A sweep = stages (pretrain, then what builds on it) x grids of rows x seeds, at one of its scales. Loading parses the
 * file with the protocols' real option tables, planning resolves every cell to runs with identities (equal runs are one
 * run), executing does what is missing. README.md shows the file. */
#ifndef VMAE_SWEEPS_SWEEP_H
#define VMAE_SWEEPS_SWEEP_H

#include "experiments/protocol.h"
#include "experiments/run.h"

#include <stdio.h>

/* ---- the file ---- */

/* One option's value for one stage, as a sweep file gives it. */
typedef struct vmae_assignment {
    int stage;
    const char *name, *text; /* "model.mask_ratio", "0.75" */
    const char *origin;      /* "sweeps/table3.cfg:14" */
    bool nothing_new;        /* of the command line: all cells have this value already */
} vmae_assignment;

typedef struct vmae_sweep_row {
    const char *label;
    int64_t paper_row; /* row of the paper's table; 0: none */
    const vmae_assignment *const *set;
    size_t set_count;
} vmae_sweep_row;

typedef struct vmae_sweep_metric {
    const char *metric, *label;
    const char *paper_column; /* NULL: the paper has none */
} vmae_sweep_metric;

typedef struct vmae_sweep_grid {
    const char *name, *title, *axis;
    const char *paper; /* name of the paper's table; NULL: none */
    const char *note;  /* NULL: none */
    int stage;         /* whose metrics it shows */
    vmae_sweep_metric *metrics;
    size_t metric_count;
    vmae_sweep_row *rows;
    size_t row_count;
} vmae_sweep_grid;

typedef struct vmae_sweep_stage {
    const char *name;
    const vmae_protocol *protocol;
    int builds_on;     /* stage whose checkpoint it takes, -1: none */
    vmae_config *base; /* recipe, stage and scale; what rows, seeds and the command line change is not in it */
} vmae_sweep_stage;

typedef struct vmae_sweep {
    const char *path, *name, *title;
    const char *scale,
        *data; /* data: what it runs on, in words; "overridden: ..." where the command line changed that */
    /* What files and tables call the scale: "demo", or "demo+1a2b3c4d" where the command line makes it another sweep
     * than the file's (other numbers, other seeds), so that it cannot displace that one. */
    const char *stored_scale;
    vmae_sweep_stage *stages;
    size_t stage_count;
    vmae_sweep_grid *grids;
    size_t grid_count;
    const int64_t *seeds;
    size_t seed_count;
    bool other_seeds;             /* than the file's */
    const char **overrides;       /* the command line's that change identities, as given */
    const char **speed_overrides; /* and its others: threads, data_root, ... */
    size_t override_count, speed_override_count;
    vmae_assignment *command_line; /* the same, for each stage that has the option */
    size_t command_line_count;
    struct vmae_arena *arena; /* holds all of it but the stages' configs */
} vmae_sweep;

/* What the command line says. All may be NULL or 0. */
typedef struct vmae_sweep_choice {
    const char *scale;            /* NULL: "demo" if there is one, else the first */
    const char *seeds;            /* "1,2,3": instead of the file's */
    const char *const *overrides; /* "train.epochs=3" for every stage that has it, "probe:probe.epochs=3" for one */
    size_t override_count;
} vmae_sweep_choice;

/* VMAE_EUSER, with file and line and the nearest name, for whatever is wrong in the file or the choice. The sweep
 * belongs to the caller: vmae_sweep_free. */
vmae_status vmae_sweep_load(vmae_sweep **sweep, const char *path, const vmae_sweep_choice *choice);
void vmae_sweep_free(vmae_sweep *sweep); /* NULL is fine */
/* One line if it is not the sweep as its file has it: why, and what it is stored as. */
void vmae_sweep_print_variant(const vmae_sweep *sweep, FILE *out);
/* Prints the names of a file's scales with their data, one a line. */
vmae_status vmae_sweep_list_scales(const char *path, FILE *out);

/* ---- the plan ---- */

enum { VMAE_PLAN_CELLS_MAX = 1000000 }; /* rows x seeds, all grids together */

typedef struct vmae_plan_run {
    char identity[VMAE_HASH_HEX];
    int stage, parent; /* parent: index of the run whose checkpoint it takes; always smaller than its own; -1: none */
    int64_t seed;
    const char *folder;
    /* where it is needed */
    size_t grid, row; /* the first cell that is wanted; the first of all if none is */
    int cells;        /* how many cells share it */
    bool wanted;      /* by a grid that --only did not leave out */
    bool provisional; /* its data cannot be opened here: identity and state are unknown (dry runs only) */
    /* as last looked at by vmae_plan_inspect */
    vmae_run_state state;
    const char *message;
} vmae_plan_run;

typedef struct vmae_plan {
    const vmae_sweep *sweep;
    const char *root;
    vmae_plan_run *runs; /* parents before children, else in the order of grids, rows, seeds */
    size_t run_count;
    /* run of a cell: cells[(first_cell[grid] + row * seeds + seed) * stages + stage], -1: the cell does not need that
     * stage */
    int32_t *cells;
    size_t *first_cell, cell_count;
    const bool *grid_wanted;  /* by grid: not left out by `only` */
    const char *data_problem; /* why identities are provisional; NULL: none is */
    struct vmae_arena *arena;
} vmae_plan;

typedef struct vmae_plan_options {
    const char *root;
    const char *only;  /* "a,b": grids to do; NULL: all */
    bool without_data; /* plan on where data are missing (for dry runs) */
} vmae_plan_options;

/* Resolves every cell. VMAE_EUSER for rules between options that a row breaks, missing data, or an unknown grid in
 * `only`. The sweep must outlive the plan. */
vmae_status vmae_plan_make(vmae_plan **plan, const vmae_sweep *sweep, const vmae_plan_options *options);
void vmae_plan_free(vmae_plan *plan); /* NULL is fine */

int32_t vmae_plan_cell(const vmae_plan *plan, size_t grid, size_t row, size_t seed, size_t stage);
/* The resolved configuration of a run, fresh. */
vmae_status vmae_plan_config(const vmae_plan *plan, size_t run, vmae_config **config);
/* Looks at the folders of all runs. */
vmae_status vmae_plan_inspect(vmae_plan *plan);
/* "pretrain a/4 seed 1", cut to fit */
void vmae_plan_name(const vmae_plan *plan, size_t run, char *name, size_t size);

/* The description for the results database: cells with their runs' identities, beside what the tables show. Fresh
 * memory. */
char *vmae_plan_describe(const vmae_plan *plan);
/* Writes it to <root>/sweeps/<name>-<stored scale>.json. */
vmae_status vmae_plan_write(const vmae_plan *plan);
/* <root>/sweeps/<name>-<stored scale><suffix>, fresh memory. */
char *vmae_plan_path(const vmae_plan *plan, const char *suffix);

/* What is to be done and what it costs, for people and for programs. */
vmae_status vmae_plan_show(const vmae_plan *plan, FILE *out);
vmae_status vmae_plan_show_json(const vmae_plan *plan, FILE *out);

/* ---- doing it ---- */

typedef struct vmae_execute_options {
    int jobs;           /* runs at a time, >= 1 */
    bool keep_going;    /* else: no new runs after the third failure of one kind */
    double progress_s;  /* where stderr is no terminal, a line about what runs this often; 0: once a minute */
    const char *vicmae; /* the program that does a run; NULL: "vicmae" beside this program */
} vmae_execute_options;

typedef struct vmae_execute_report {
    size_t wanted, cached, done, failed, blocked, left; /* left: not started, or interrupted */
} vmae_execute_report;

/* Does what is missing, one process a run, and feeds the results database. At the end prints tables and draws plots.
 * VMAE_OK: everything that was wanted is finished; VMAE_EINTERRUPTED: asked to stop; VMAE_EBUSY: another runner has
 * this sweep and scale; VMAE_EUSER: results.db cannot be used, nothing was started; VMAE_EDATA: there are no tables;
 * else the first failure's sentence. Installs signal handlers; not reentrant. */
vmae_status vmae_execute(vmae_plan *plan, const vmae_execute_options *options, vmae_execute_report *report);

#endif
