/* paper.c -- reads the compiled-in CSV files into the table `paper`, one row a cell. */
#include "results/paper.h"
#include "results/embed.h"
#include "results/sql.h"

#include "engine/core/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS_MAX = 24 };

/* Which columns are the paper's results, and in what unit. Every other column is kept as words. */
static const struct {
    const char *table, *columns, *unit, *source;
} results[] = {
    { "table1", "in1k_top1 k400_top1 places365_top1 ssv2_top1", "%", "ViC-MAE, ECCV 2024, Table 1" },
    { "table2", "food101 cifar10 cifar100 birdsnap sun397 voc2007 dtd caltech101", "%", "ViC-MAE, ECCV 2024, Table 2" },
    { "table3a", "top1 top5", "%", "ViC-MAE, ECCV 2024, Table 3a" },
    { "table3b", "top1 top5", "%", "ViC-MAE, ECCV 2024, Table 3b" },
    { "table3c", "top1 top5", "%", "ViC-MAE, ECCV 2024, Table 3c" },
    { "table4", "ap_box ap_mask", "AP", "ViC-MAE, ECCV 2024, Table 4" },
    { "text", "value", NULL, "ViC-MAE, ECCV 2024, running text" }, /* its unit has a column of its own */
};

static bool has_word(const char *list, const char *word)
{
    const size_t count = strlen(word);
    for (const char *at = list; (at = strstr(at, word)); at += count)
        if ((at == list || at[-1] == ' ') && (at[count] == ' ' || !at[count]))
            return true;
    return false;
}

/* Splits a line in place. The files have no quotes: a cell ends at a comma. */
static int split(char *line, char *cells[COLUMNS_MAX])
{
    int count = 0;
    for (char *rest = line; rest && count < COLUMNS_MAX;)
        cells[count++] = strsep(&rest, ",");
    return count;
}

/* "67.66" is exact to half a unit of its last digit: 0.005. */
static double printed_tolerance(const char *text)
{
    const char *point = strchr(text, '.');
    return 0.5 * pow(10.0, point ? -(double)strlen(point + 1) : 0.0);
}

static vmae_status load_cell(vmae_store *store, size_t table, int64_t row, const char *column, const char *text,
                             const char *unit)
{
    double value = NAN, tolerance = NAN;
    if (has_word(results[table].columns, column)) {
        char *end;
        value = strtod(text, &end);
        if (*end || !*text) /* "54.5;33.8": several numbers are words here */
            value = NAN;
        else
            tolerance = printed_tolerance(text);
    }
    return vmae_sql_run(store, "INSERT INTO paper VALUES (?,?,?,?,?,?,?,?)", "tittDtDt", results[table].table, row,
                        column, text, value, isnan(value) ? NULL : unit, tolerance, results[table].source);
}

static vmae_status load_table(vmae_store *store, size_t table, char *text)
{
    char *names[COLUMNS_MAX], *cells[COLUMNS_MAX];
    char *header = strsep(&text, "\n");
    const int columns = split(header, names);
    int64_t row = 0;
    for (char *line; text && *text;) {
        line = strsep(&text, "\n");
        if (split(line, cells) != columns)
            return vmae_fail(VMAE_EINTERNAL, "paper/%s.csv: row %lld has another number of columns than the heading",
                             results[table].table, (long long)row + 1);
        const char *unit = results[table].unit;
        for (int i = 0; i < columns; i++)
            if (!unit && strcmp(names[i], "unit") == 0)
                unit = cells[i];
        row++;
        for (int i = 0; i < columns; i++)
            if (*cells[i] && strcmp(names[i], "row") != 0)
                VMAE_TRY(load_cell(store, table, row, names[i], cells[i], unit));
    }
    return VMAE_OK;
}

vmae_status vmae_paper_load(vmae_store *store)
{
    VMAE_TRY(vmae_sql_script(store, "DELETE FROM paper"));
    for (size_t i = 0; i < sizeof results / sizeof *results; i++) {
        const vmae_embedded *file = vmae_results_files;
        const size_t count = strlen(results[i].table);
        while (file->name &&
               (strncmp(file->name, results[i].table, count) != 0 || strcmp(file->name + count, ".csv") != 0))
            file++;
        if (!file->name)
            return vmae_fail(VMAE_EINTERNAL, "paper/%s.csv was not compiled in", results[i].table);
        char *text = vmae_strdup(file->text);
        if (!text)
            return VMAE_ENOMEM;
        const vmae_status st = load_table(store, i, text);
        free(text);
        VMAE_TRY(st);
    }
    return VMAE_OK;
}
