/* table.c -- vicmae-results table. */
#include "results/cmd/common.h"

#include "engine/core/fs.h"
#include "engine/core/mem.h"

#include <stdlib.h>

typedef struct table_options {
    cmd_options common;
    const char *sweep, *grid;
    vmae_table_format format;
} table_options;

static const struct argp_option options[] = {
    { "grid", 'g', "NAME", 0, "only this grid of the sweep", 0 },
    { "format", 'f', "FORMAT", 0, "text (default), md, latex, csv, json", 0 },
    { 0 },
};

static error_t on_option(int key, char *arg, struct argp_state *state)
{
    table_options *table = state->input;
    switch (key) {
    case ARGP_KEY_INIT: cmd_children(state); return 0;
    case 'g': table->grid = arg; return 0;
    case 'f':
        if (vmae_table_format_by_name(&table->format, arg) != VMAE_OK)
            argp_error(state, "%s", vmae_error());
        return 0;
    case ARGP_KEY_ARG:
        if (table->sweep)
            argp_error(state, "table takes one sweep");
        table->sweep = arg;
        return 0;
    case ARGP_KEY_NO_ARGS: argp_error(state, "which sweep? For example: table3"); return EINVAL;
    case ARGP_KEY_END:
        if (table->common.format != VMAE_TABLE_TEXT) /* --json and its like, as everywhere */
            table->format = table->common.format;
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child children[] = { { &cmd_common_argp, 0, NULL, 0 },
                                              { &cmd_listing_argp, 0, NULL, 0 },
                                              { 0 } };
static const struct argp argp = {
    options,
    on_option,
    "SWEEP",
    "Prints a sweep's tables beside the paper's: mean and standard deviation over seeds, distance to the best row and "
    "whether that is "
    "noise, rank agreement with the paper. SWEEP is its name, or name-scale where several scales are stored."
    "\vExamples:\n  vicmae-results table table3\n  vicmae-results table table3-demo --grid a --format latex",
    children,
    NULL,
    NULL
};

int cmd_table(int argc, char **argv)
{
    table_options table = { .format = VMAE_TABLE_TEXT };
    cmd_parse(&argp, argc, argv, &table);
    vmae_store *store = NULL;
    vmae_status st = cmd_open(&table.common, &store);
    if (st == VMAE_OK)
        st = vmae_table_print(store, table.sweep, table.grid, table.format, stdout);
    vmae_store_close(store);
    return st == VMAE_OK ? 0 : cmd_failed(st);
}
