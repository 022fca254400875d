/* common.h -- what every command shares: options, opening the database, finding runs, exit codes. */
#ifndef VMAE_RESULTS_CMD_COMMON_H
#define VMAE_RESULTS_CMD_COMMON_H

#include "results/listing.h"
#include "results/results.h"
#include "results/run.h"
#include "results/sql.h"

#include <argp.h>

/* Exit codes: 0 ok, 1 it failed, 2 the user can fix it, 3 nothing matched. */
enum { EXIT_USER = 2, EXIT_NOTHING = 3 };

typedef struct cmd_options {
    const char *runs, *db;
    bool no_ingest;
    vmae_table_format format;
} cmd_options;

/* Children of a command's argp. The command's own input must begin with a cmd_options, and its parser must pass
 * state->input on to the children at ARGP_KEY_INIT: cmd_children() does that. */
extern const struct argp cmd_common_argp;  /* --runs --db --no-ingest */
extern const struct argp cmd_listing_argp; /* --json --csv --md */
void cmd_children(struct argp_state *state);

/* Parses or exits with 2 (0 for --help). `input` begins with a cmd_options. */
void cmd_parse(const struct argp *argp, int argc, char **argv, void *input);

/* Opens the database and, unless told not to or unable to, brings it up to date with the runs folder first. */
vmae_status cmd_open(const cmd_options *options, vmae_store **store);
/* Makes the database's folder and opens it for writing. */
vmae_status cmd_open_to_write(const cmd_options *options, vmae_store **store);

/* Prints the kept sentence and gives the exit code. */
int cmd_failed(vmae_status status);

/* 0, or an exit code after printing why: 3 if no run is called so, 2 if several are. */
int cmd_find_run(vmae_store *store, const char *name, vmae_stored_run *run);

/* Prints a listing on stdout: exit code 0, or 3 if it has no row. */
int cmd_print(vmae_listing *listing, const cmd_options *options);
/* Adds a statement's columns and rows to a fresh listing, the numbers as numbers. */
vmae_status cmd_fill(vmae_listing *listing, vmae_store *store, sqlite3_stmt *statement);
bool cmd_colours(void);
const char *cmd_status_colour(const char *status);

/* The commands; each is one file. */
int cmd_list(int argc, char **argv);
int cmd_show(int argc, char **argv);
int cmd_diff(int argc, char **argv);
int cmd_compare(int argc, char **argv);
int cmd_table(int argc, char **argv);
int cmd_plot(int argc, char **argv);
int cmd_export(int argc, char **argv);
int cmd_dump_metrics(int argc, char **argv);
int cmd_ingest(int argc, char **argv);
int cmd_sql(int argc, char **argv);
int cmd_paper(int argc, char **argv);

#endif
