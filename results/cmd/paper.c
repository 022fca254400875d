/* paper.c -- vicmae-results paper: the numbers that the paper prints. */
#include "results/cmd/cmd.h"

static vmae_status fill(vmae_listing *listing, vmae_store *store, const char *table)
{
    sqlite3_stmt *rows = NULL;
    if (table)
        VMAE_TRY(cmd_check_name(store, "the paper has no", table, "SELECT DISTINCT tbl FROM paper ORDER BY 1"));
    VMAE_TRY(vmae_sql_query(
        store, &rows,
        "SELECT tbl AS \"table\", row, col AS \"column\", text, value, unit, tolerance, source FROM paper "
        "WHERE ?1 IS NULL OR tbl = ?1 ORDER BY tbl, row, col",
        "t", table));
    const vmae_status st = cmd_fill(listing, store, rows);
    sqlite3_finalize(rows);
    return st;
}

/* They are compiled in: a database in memory has them too, so no runs are needed. */
static vmae_status list_paper(cmd_context *context, vmae_listing *listing)
{
    vmae_store *store = NULL;
    VMAE_TRY(vmae_store_open(&store, "file:paper?mode=memory", VMAE_STORE_UPDATE));
    const vmae_status st = fill(listing, store, context->count ? context->words[0] : NULL);
    vmae_store_close(store);
    return st;
}

const cmd cmd_paper = {
    .name = "paper",
    .summary = "the numbers that the paper prints",
    .args = "[TABLE]",
    .doc =
        "Lists the paper's numbers as the database holds them: all tables, or one (table1, table2, table3a, table3b, "
        "table3c, table4, text). The tolerance is half a unit of the last digit printed."
        "\vExamples:\n  vicmae-results paper table3a\n  vicmae-results paper --csv > paper.csv",
    .uses = CMD_FORMAT | CMD_LISTING,
    .most = 1,
    .run = list_paper,
};
