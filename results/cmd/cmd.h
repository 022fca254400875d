/* cmd.h -- what a command of vicmae-results is, and what the commands share. A command says what it needs; cmd_main()
 * parses, opens the database, prints, and makes the exit code. */
#ifndef VMAE_RESULTS_CMD_CMD_H
#define VMAE_RESULTS_CMD_CMD_H

#include "results/listing.h"
#include "results/results.h"
#include "results/run.h"
#include "results/sql.h"

#include <argp.h>

/* Exit codes: 0 ok, 1 it failed, 2 the user can fix it (a name that is not there, too), 3 nothing matched. */
enum { EXIT_USER = 2, EXIT_NOTHING = 3 };

/* What a command needs, as a sum. */
enum {
    CMD_STORE = 1,        /* the database, brought up to date first: --root, --db, --no-ingest */
    CMD_WRITES = 2,       /* with CMD_STORE: to write it itself, so nothing is ingested before */
    CMD_FORMAT = 4,       /* --format, and its short forms --csv, --json, --md, --latex */
    CMD_LISTING = 8,      /* a listing, which is printed after it has run; with CMD_FORMAT */
    CMD_MAY_BE_EMPTY = 16 /* a listing without rows is an answer */
};

typedef struct cmd_context {
    void *input; /* the command's own options, zeroed before parsing; NULL where input_size is 0 */
    char **words;
    int count;
    vmae_table_format format;
    vmae_store *store;
    bool nothing; /* the command sets it if it found nothing to print or draw: exit code 3 */

    const char *root, *db; /* NULL where not given */
    bool no_ingest;
} cmd_context;

typedef struct cmd {
    const char *name, *summary; /* of `vicmae-results --help` */
    const char *args, *doc;     /* as in argp: "RUN RUN...", text with \v before the examples */
    const struct argp_option *options;
    argp_parser_t on_option; /* its input is cmd_context.input */
    size_t input_size;
    unsigned uses;
    int least, most;          /* words besides options */
    vmae_table_format format; /* where none is asked for */
    const char *empty;        /* what people read instead of a listing without rows; NULL: nothing */
    vmae_status (*run)(cmd_context *context, vmae_listing *listing); /* listing: with CMD_LISTING */
} cmd;

extern const cmd cmd_list, cmd_show, cmd_diff, cmd_compare, cmd_table, cmd_plot, cmd_paper, cmd_ingest, cmd_export,
    cmd_dump_metrics, cmd_sql;

/* Runs a command: the process's exit code. Exits by itself on wrong options and for --help. */
int cmd_main(const cmd *command, int argc, char **argv);

/* "top1,loss" in words, cut in place. VMAE_EUSER if there are more than fit. */
typedef struct cmd_words {
    const char *at[16];
    size_t count;
} cmd_words;
vmae_status cmd_split(cmd_words *words, char *text);

/* A name that nothing in the database has is a mistake, not an empty result: it must be among the rows of the query
 * (unless that has none: then nothing is known yet). VMAE_EUSER: "<sentence> <name>; did you mean ...?" */
vmae_status cmd_check_name(vmae_store *store, const char *sentence, const char *name, const char *sql);
vmae_status cmd_check_names(vmae_store *store, const char *sentence, const cmd_words *names, const char *sql);
extern const char cmd_metrics_sql[]; /* every metric that was measured */

/* Adds a statement's columns and rows to a fresh listing, the numbers as numbers. */
vmae_status cmd_fill(vmae_listing *listing, vmae_store *store, sqlite3_stmt *statement);
bool cmd_colours(void);
const char *cmd_status_colour(const char *status);

#endif
