/* paper.c -- vicmae-results paper: the numbers that the paper prints. */
#include "results/cmd/common.h"

typedef struct paper_options {
    cmd_options common;
    const char *table;
} paper_options;

static error_t on_option(int key, char *arg, struct argp_state *state)
{
    paper_options *paper = state->input;
    switch (key) {
    case ARGP_KEY_INIT: cmd_children(state); return 0;
    case ARGP_KEY_ARG:
        if (paper->table)
            argp_error(state, "paper takes one table");
        paper->table = arg;
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child children[] = { { &cmd_common_argp, 0, NULL, 0 },
                                              { &cmd_listing_argp, 0, NULL, 0 },
                                              { 0 } };
static const struct argp argp = {
    NULL,
    on_option,
    "[TABLE]",
    "Lists the paper's numbers as the database holds them: all tables, or one (table1, table2, table3a, table3b, "
    "table3c, table4, text). The "
    "tolerance is half a unit of the last digit printed."
    "\vExamples:\n  vicmae-results paper table3a\n  vicmae-results paper --csv > paper.csv",
    children,
    NULL,
    NULL
};

/* They are compiled in: a database in memory has them too, so no runs are needed. */
static vmae_status fill(vmae_listing *listing, const char *table)
{
    vmae_store *store = NULL;
    sqlite3_stmt *rows = NULL;
    VMAE_TRY(vmae_store_open(&store, "file:paper?mode=memory", VMAE_STORE_UPDATE));
    vmae_status st = vmae_sql_query(
        store, &rows,
        "SELECT tbl AS \"table\", row, col AS \"column\", text, value, unit, tolerance, source FROM paper "
        "WHERE ?1 IS NULL OR tbl = ?1 ORDER BY tbl, row, col",
        "t", table);
    if (st == VMAE_OK)
        st = cmd_fill(listing, store, rows);
    sqlite3_finalize(rows);
    vmae_store_close(store);
    return st;
}

int cmd_paper(int argc, char **argv)
{
    paper_options paper = { .table = NULL };
    cmd_parse(&argp, argc, argv, &paper);
    vmae_listing *listing = vmae_listing_new();
    const vmae_status st = listing ? fill(listing, paper.table) : VMAE_ENOMEM;
    const int code = st == VMAE_OK ? cmd_print(listing, &paper.common) : cmd_failed(st);
    vmae_listing_free(listing);
    return code;
}
