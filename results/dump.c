/* dump.c -- the canonical dump: what must be equal where two runs are said to be equal. */
#include "results/sql.h"

#include <math.h>

vmae_status vmae_store_dump_metrics(vmae_store *store, const char *run, FILE *out, uint64_t *count)
{
    static const char *const specials[] = { "", "nan", "inf", "-inf" };
    sqlite3_stmt *rows = NULL;
    bool row;
    uint64_t printed = 0;
    VMAE_TRY(vmae_sql_query(
        store, &rows,
        "SELECT r.identity, n.name, c.step, c.value, c.special FROM (SELECT id, identity FROM runs "
        "WHERE ?1 IS NULL OR identity = ?1) AS r JOIN current_metrics AS c ON c.run = r.id "
        "JOIN metric_names AS n ON n.id = c.metric WHERE n.timing = 0 ORDER BY r.identity, n.name, c.step",
        "t", run));
    vmae_status st;
    while ((st = vmae_sql_step(store, rows, &row)) == VMAE_OK && row) {
        const int special = sqlite3_column_int(rows, 4);
        fprintf(out, "%s\t%s\t%lld\t", vmae_sql_text(rows, 0), vmae_sql_text(rows, 1),
                (long long)sqlite3_column_int64(rows, 2));
        if (special)
            fprintf(out, "%s\n", specials[special & 3]);
        else
            fprintf(out, "%a\n", sqlite3_column_double(rows, 3));
        printed++;
    }
    sqlite3_finalize(rows);
    if (st == VMAE_OK && (fflush(out) != 0 || ferror(out)))
        st = vmae_fail(VMAE_EIO, "the dump could not be written");
    if (st == VMAE_OK && count)
        *count = printed;
    return st;
}
