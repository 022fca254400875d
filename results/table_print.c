/* table_print.c -- a grid as text, Markdown, LaTeX, CSV or JSON, the paper's numbers beside ours. */
#include "results/listing.h"
#include "results/sql.h"
#include "results/sweep.h"
#include "results/table.h"

#include "engine/core/text.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

vmae_status vmae_table_format_by_name(vmae_table_format *format, const char *name)
{
    static const char *const names[] = { "text", "md", "latex", "csv", "json" };
    for (int i = 0; i < 5; i++)
        if (strcmp(name, names[i]) == 0) {
            *format = (vmae_table_format)i;
            return VMAE_OK;
        }
    return vmae_fail(VMAE_EUSER, "a format is one of text, md, latex, csv, json; not %s", name);
}

/* ---- words that several formats share ---- */

static const char *reading_name(const vmae_table *table, size_t reading)
{
    return table->readings < 2 ? "paper" : reading == 0 ? "paper, as printed" : "paper, by its text";
}

/* Ours, in the unit people see. */
static double shown(const vmae_table_metric *metric, double value)
{
    return metric->percent ? value * 100.0 : value;
}

static int digits(const vmae_table_metric *metric)
{
    return metric->percent ? 2 : 4;
}

static void heading(const vmae_table *table, char *text, size_t size)
{
    if (table->paper && strncmp(table->paper, "table", 5) == 0)
        snprintf(text, size, "Table %s: %s", table->paper + 5, table->title);
    else
        snprintf(text, size, "%s", table->title);
}

static void subheading(const vmae_table *table, char *text, size_t size)
{
    const char *title = table->sweep_title ? table->sweep_title : "";
    snprintf(text, size, "sweep %s%s%s%s, %s; data: %s; revision %s", table->sweep, *title ? " (" : "", title,
             *title ? ")" : "", table->made_at, *table->data ? table->data : "?",
             *table->revision ? table->revision : "?");
}

static void warning(const vmae_table *table, char *text, size_t size)
{
    *text = 0;
    if (!vmae_table_comparable(table))
        snprintf(text, size, "%s: not comparable with the paper's numbers", table->made_at);
}

static void agreement(const vmae_table *table, size_t m, size_t reading, char *text, size_t size)
{
    const vmae_table_metric *metric = &table->metrics[m];
    char which[64] = "";
    if (table->readings > 1)
        snprintf(which, sizeof which, " (%s)", reading_name(table, reading));
    if (isnan(metric->tau[reading]))
        snprintf(text, size, "%s%s: can't tell (%zu row%s)", metric->label, which, metric->tau_n,
                 metric->tau_n == 1 ? "" : "s");
    else if (isnan(metric->tau_p[reading]))
        snprintf(text, size, "%s%s: Kendall tau %+.2f over %zu rows, with ties", metric->label, which,
                 metric->tau[reading], metric->tau_n);
    else
        snprintf(text, size, "%s%s: Kendall tau %+.2f over %zu rows, p %.2g", metric->label, which,
                 metric->tau[reading], metric->tau_n, metric->tau_p[reading]);
}

/* "63.20 ± 0.40", "63.20", "missing" */
static void mean_text(const vmae_table_metric *metric, const vmae_table_value *value, const char *plus_minus,
                      char *text, size_t size)
{
    if (value->n == 0)
        snprintf(text, size, "missing");
    else if (isnan(value->std))
        snprintf(text, size, "%.*f", digits(metric), shown(metric, value->mean));
    else
        snprintf(text, size, "%.*f%s%.*f", digits(metric), shown(metric, value->mean), plus_minus, digits(metric),
                 shown(metric, value->std));
}

static void distance_text(const vmae_table_metric *metric, const vmae_table_value *value, char *text, size_t size)
{
    *text = 0;
    if (value->best)
        snprintf(text, size, "best");
    else if (value->verdict)
        snprintf(text, size, "%+.*f %s", digits(metric), shown(metric, value->to_best),
                 strncmp(value->verdict, "can't", 5) == 0 ? "?" : value->verdict);
}

/* ---- text and Markdown ---- */

static vmae_listing *cells_of(const vmae_table *table)
{
    char text[128];
    vmae_listing *listing = vmae_listing_new();
    if (!listing)
        return NULL;
    vmae_listing_column(listing, table->axis);
    for (size_t m = 0; m < table->metric_count; m++) {
        const vmae_table_metric *metric = &table->metrics[m];
        snprintf(text, sizeof text, "%s%s", metric->label, metric->percent ? " (%)" : "");
        vmae_listing_column(listing, text);
        vmae_listing_column(listing, "to best");
        for (size_t i = 0; i < table->readings; i++)
            vmae_listing_column(listing, reading_name(table, i));
    }
    vmae_listing_column(listing, "n");
    for (size_t r = 0; r < table->row_count; r++) {
        const vmae_table_row *row = &table->rows[r];
        vmae_listing_text(listing, row->label);
        size_t least = row->expected;
        for (size_t m = 0; m < table->metric_count; m++) {
            const vmae_table_value *value = &row->values[m];
            least = value->n < least ? value->n : least;
            mean_text(&table->metrics[m], value, " ± ", text, sizeof text);
            vmae_listing_number_as(listing, value->mean, text);
            distance_text(&table->metrics[m], value, text, sizeof text);
            vmae_listing_number_as(listing, value->to_best, text);
            for (size_t i = 0; i < table->readings; i++)
                vmae_listing_number(listing, value->paper[i], 2);
        }
        if (least == row->expected)
            vmae_listing_integer(listing, (int64_t)least);
        else
            snprintf(text, sizeof text, "%zu of %zu", least, row->expected),
                vmae_listing_number_as(listing, (double)least, text);
    }
    return listing;
}

static bool any_verdict(const vmae_table *table)
{
    for (size_t r = 0; r < table->row_count; r++)
        for (size_t m = 0; m < table->metric_count; m++)
            if (table->rows[r].values[m].verdict)
                return true;
    return false;
}

/* The lines below a table, each with `before` in front. */
static void write_notes(const vmae_table *table, const char *before, FILE *out)
{
    char text[256];
    if (table->note) {
        fputs(before, out);
        vmae_print_clean(out, table->note);
        putc('\n', out);
    }
    if (any_verdict(table))
        fprintf(
            out,
            "%s± is the standard deviation over n seeds. \"to best\": distance to the best row; real or noise at 5%% "
            "by Student's t (paired where both rows have the same seeds, else Welch's), with Holm's correction over "
            "every pair of rows, as these numbers also chose the best; ? where n is too small to tell.\n",
            before);
    for (size_t m = 0; table->readings > 0 && m < table->metric_count; m++)
        for (size_t i = 0; i < table->readings; i++) {
            agreement(table, m, i, text, sizeof text);
            fprintf(out, "%srank agreement with the paper, ", before);
            vmae_print_clean(out, text);
            putc('\n', out);
        }
    if (table->data_note) {
        fputs(before, out);
        vmae_print_clean(out, table->data_note);
        putc('\n', out);
    }
    for (size_t r = 0; r < table->row_count; r++) {
        const vmae_table_row *row = &table->rows[r];
        for (size_t i = 0; i < row->missing_count; i++) {
            fprintf(out, "%smissing, ", before);
            vmae_print_clean(out, row->label);
            fputs(", ", out);
            vmae_print_clean(out, row->missing[i]);
            putc('\n', out);
        }
        if (row->skipped > 0) {
            fprintf(out, "%s", before);
            vmae_print_clean(out, row->label);
            fprintf(out, ": %lld bad sample%s left out\n", (long long)row->skipped, row->skipped == 1 ? "" : "s");
        }
    }
}

static vmae_status write_text(const vmae_table *table, bool markdown, FILE *out)
{
    char text[2048];
    heading(table, text, sizeof text);
    fputs(markdown ? "### " : "", out);
    vmae_print_clean(out, text);
    subheading(table, text, sizeof text);
    fputs(markdown ? "\n\n" : "\n", out);
    vmae_print_clean(out, text);
    warning(table, text, sizeof text);
    if (*text) {
        fputs(markdown ? "; **" : "\n", out);
        vmae_print_clean(out, text);
        fputs(markdown ? "**" : "", out);
    }
    fputs("\n\n", out);
    vmae_listing *listing = cells_of(table);
    if (!listing)
        return VMAE_ENOMEM;
    const vmae_status st = vmae_listing_print(listing, markdown ? VMAE_TABLE_MARKDOWN : VMAE_TABLE_TEXT, false, out);
    vmae_listing_free(listing);
    fputs(markdown ? "\n" : "", out);
    write_notes(table, markdown ? "- " : "  ", out);
    return st;
}

/* ---- LaTeX ---- */

/* Bold only where every other row's distance is real. */
static void write_latex(const vmae_table *table, FILE *out)
{
    char text[2048];
    fputs("% needs \\usepackage{booktabs}\n\\begin{table}\n\\centering\n\\begin{tabular}{l", out);
    for (size_t m = 0; m < table->metric_count; m++)
        for (size_t i = 0; i <= table->readings; i++)
            putc('r', out);
    fputs("r}\n\\toprule\n", out);
    vmae_print_latex(out, table->axis);
    for (size_t m = 0; m < table->metric_count; m++) {
        fputs(" & ", out);
        vmae_print_latex(out, table->metrics[m].label);
        fputs(table->metrics[m].percent ? " (\\%)" : "", out);
        for (size_t i = 0; i < table->readings; i++) {
            fputs(" & ", out);
            vmae_print_latex(out, reading_name(table, i));
        }
    }
    fputs(" & n \\\\\n\\midrule\n", out);
    for (size_t r = 0; r < table->row_count; r++) {
        const vmae_table_row *row = &table->rows[r];
        size_t least = row->expected;
        vmae_print_latex(out, row->label);
        for (size_t m = 0; m < table->metric_count; m++) {
            const vmae_table_value *value = &row->values[m];
            least = value->n < least ? value->n : least;
            mean_text(&table->metrics[m], value, " $\\pm$ ", text, sizeof text);
            fprintf(out, value->clearly_best ? " & \\textbf{%s}" : " & %s", text);
            for (size_t i = 0; i < table->readings; i++)
                if (isnan(value->paper[i]))
                    fputs(" & --", out);
                else
                    fprintf(out, " & %.2f", value->paper[i]);
        }
        fprintf(out, " & %zu \\\\\n", least);
    }
    fputs("\\bottomrule\n\\end{tabular}\n\\caption{", out);
    heading(table, text, sizeof text);
    vmae_print_latex(out, text);
    fputs(". ", out);
    subheading(table, text, sizeof text);
    vmae_print_latex(out, text);
    warning(table, text, sizeof text);
    fputs(*text ? "; " : "", out);
    vmae_print_latex(out, text);
    fputs(table->note ? ". " : "", out);
    vmae_print_latex(out, table->note ? table->note : "");
    fputs(". Mean $\\pm$ standard deviation over n seeds.}\n\\end{table}\n", out);
}

/* ---- CSV and JSON: one row a cell, in the metric's own unit, the paper in the paper's ---- */

static void csv_cell(FILE *out, const char *text)
{
    vmae_print_csv_cell(out, text);
    putc(',', out);
}

static void write_csv(const vmae_table *table, bool names, FILE *out)
{
    if (names)
        fputs("sweep,scale,overrides,data,revision,grid,paper_table,row,label,paper_row,metric,n,expected,mean,std,to_"
              "best,to_"
              "best_low,to_best_high,p,verdict,paper,paper_by_text,missing\n",
              out);
    for (size_t r = 0; r < table->row_count; r++)
        for (size_t m = 0; m < table->metric_count; m++) {
            const vmae_table_row *row = &table->rows[r];
            const vmae_table_value *value = &row->values[m];
            const char *texts[] = { table->sweep,
                                    table->scale,
                                    table->override_text,
                                    table->data,
                                    table->revision,
                                    table->grid,
                                    table->paper ? table->paper : "" };
            for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
                csv_cell(out, texts[i]);
            fprintf(out, "%zu,", r + 1);
            vmae_print_csv_cell(out, row->label);
            fprintf(out, row->paper_row ? ",%lld," : ",,", (long long)row->paper_row);
            vmae_print_csv_cell(out, table->metrics[m].name);
            fprintf(out, ",%zu,%zu", value->n, row->expected);
            const double numbers[] = { value->mean,        value->std,          value->to_best,
                                       value->to_best_low, value->to_best_high, value->p };
            for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
                fprintf(out, isnan(numbers[i]) ? "," : ",%.9g", numbers[i]);
            putc(',', out);
            vmae_print_csv_cell(out, value->best ? "best" : value->verdict ? value->verdict : "");
            for (int i = 0; i < VMAE_READINGS; i++)
                fprintf(out, isnan(value->paper[i]) ? "," : ",%.9g", value->paper[i]);
            putc(',', out);
            vmae_print_csv_cell(out, row->missing_count ? row->missing[0] : "");
            putc('\n', out);
        }
}

static void json_field(FILE *out, const char *name, const char *text, const char *after)
{
    fprintf(out, "\"%s\": ", name);
    if (text)
        vmae_print_json_text(out, text);
    else
        fputs("null", out);
    fputs(after, out);
}

static void json_number(FILE *out, const char *name, double value, const char *after)
{
    fprintf(out, "\"%s\": ", name);
    vmae_print_json_number(out, value);
    fputs(after, out);
}

static void json_value(const vmae_table_metric *metric, const vmae_table_value *value, FILE *out)
{
    fputs("{", out);
    json_field(out, "metric", metric->name, ", \"seeds\": {");
    for (size_t i = 0; i < value->n; i++) {
        fprintf(out, "%s\"%lld\": ", i ? ", " : "", (long long)value->seeds[i]);
        vmae_print_json_number(out, value->values[i]);
    }
    fprintf(out, "}, \"n\": %zu, ", value->n);
    json_number(out, "mean", value->mean, ", ");
    json_number(out, "std", value->std, ", ");
    json_number(out, "to_best", value->best ? 0.0 : value->to_best, ", ");
    json_number(out, "to_best_low", value->to_best_low, ", ");
    json_number(out, "to_best_high", value->to_best_high, ", ");
    json_number(out, "p", value->p, ", ");
    json_field(out, "verdict", value->best ? "best" : value->verdict, ", ");
    json_number(out, "paper", value->paper[0], ", ");
    json_number(out, "paper_by_text", value->paper[1], "}");
}

static void write_json(const vmae_table *table, FILE *out)
{
    fputs("{", out);
    json_field(out, "sweep", table->sweep, ", ");
    json_field(out, "scale", table->scale, ", ");
    fputs("\"overrides\": [", out);
    for (size_t i = 0; i < table->override_count; i++) {
        fputs(i ? ", " : "", out);
        vmae_print_json_text(out, table->overrides[i]);
    }
    fprintf(out, "], \"comparable_with_paper\": %s, ", vmae_table_comparable(table) ? "true" : "false");
    json_field(out, "data", table->data, ", ");
    json_field(out, "revision", table->revision, ", ");
    json_field(out, "grid", table->grid, ", ");
    json_field(out, "title", table->title, ", ");
    json_field(out, "sweep_title", table->sweep_title, ", ");
    json_field(out, "note", table->note, ", ");
    json_field(out, "paper_table", table->paper, ", ");
    json_field(out, "axis", table->axis, ",\n  \"agreement\": [");
    for (size_t m = 0; m < table->metric_count; m++) {
        const vmae_table_metric *metric = &table->metrics[m];
        fputs(m ? ", {" : "{", out);
        json_field(out, "metric", metric->name, ", ");
        json_number(out, "tau", table->readings > 0 ? metric->tau[0] : NAN, ", ");
        json_number(out, "tau_by_text", table->readings > 1 ? metric->tau[1] : NAN, ", ");
        fprintf(out, "\"rows\": %zu}", metric->tau_n);
    }
    fputs("],\n  \"rows\": [", out);
    for (size_t r = 0; r < table->row_count; r++) {
        const vmae_table_row *row = &table->rows[r];
        fputs(r ? ",\n   {" : "\n   {", out);
        json_field(out, "label", row->label, ", ");
        fprintf(out, row->paper_row ? "\"paper_row\": %lld, " : "\"paper_row\": null, ", (long long)row->paper_row);
        fprintf(out, "\"expected\": %zu, \"skipped_samples\": %lld, \"missing\": [", row->expected,
                (long long)row->skipped);
        for (size_t i = 0; i < row->missing_count; i++) {
            fputs(i ? ", " : "", out);
            vmae_print_json_text(out, row->missing[i]);
        }
        fputs("], \"values\": [", out);
        for (size_t m = 0; m < table->metric_count; m++) {
            fputs(m ? ", " : "", out);
            json_value(&table->metrics[m], &row->values[m], out);
        }
        fputs("]}", out);
    }
    fputs("]}", out);
}

vmae_status vmae_table_write(const vmae_table *table, vmae_table_format format, FILE *out)
{
    vmae_status st = VMAE_OK;
    switch (format) {
    case VMAE_TABLE_TEXT:
    case VMAE_TABLE_MARKDOWN: st = write_text(table, format == VMAE_TABLE_MARKDOWN, out); break;
    case VMAE_TABLE_LATEX: write_latex(table, out); break;
    case VMAE_TABLE_CSV: write_csv(table, true, out); break;
    case VMAE_TABLE_JSON: write_json(table, out); break;
    }
    return st != VMAE_OK ? st : ferror(out) ? vmae_fail(VMAE_EIO, "the table could not be written") : VMAE_OK;
}

/* ---- a whole sweep ---- */

static vmae_status print_one(vmae_store *store, int64_t sweep, int64_t grid, size_t before, vmae_table_format format,
                             FILE *out)
{
    vmae_arena *arena = vmae_arena_new();
    vmae_table table;
    if (!arena)
        return VMAE_ENOMEM;
    vmae_status st = vmae_table_load(&table, store, sweep, grid, arena);
    if (st == VMAE_OK && format == VMAE_TABLE_JSON)
        fputs(before ? ",\n " : "\n ", out);
    else if (st == VMAE_OK && before && format != VMAE_TABLE_CSV)
        putc('\n', out);
    if (st == VMAE_OK && format == VMAE_TABLE_CSV)
        write_csv(&table, before == 0, out);
    else if (st == VMAE_OK)
        st = vmae_table_write(&table, format, out);
    vmae_arena_free(arena);
    return st;
}

static vmae_status no_such_grid(vmae_store *store, int64_t sweep, const char *grid)
{
    sqlite3_stmt *row = NULL;
    bool found = false;
    VMAE_TRY(vmae_sql_query(
        store, &row,
        "SELECT group_concat(name, ', ') FROM (SELECT name FROM sweep_grids WHERE sweep = ? ORDER BY grid)", "i",
        sweep));
    vmae_status st = vmae_sql_step(store, row, &found);
    if (st == VMAE_OK)
        st = vmae_fail(VMAE_EUSER, "the sweep has no grid %s; it has %s", grid,
                       *vmae_sql_text(row, 0) ? vmae_sql_text(row, 0) : "none");
    sqlite3_finalize(row);
    return st;
}

vmae_status vmae_table_print(vmae_store *store, const char *name, const char *grid, vmae_table_format format, FILE *out)
{
    int64_t sweep = 0, grids = 0, only = -1;
    VMAE_TRY(vmae_sweep_find(store, name, &sweep));
    VMAE_TRY(vmae_sql_integer(store, &grids, 0, "SELECT count(*) FROM sweep_grids WHERE sweep = ?", "i", sweep));
    if (grid) {
        VMAE_TRY(vmae_sql_integer(store, &only, -1, "SELECT grid FROM sweep_grids WHERE sweep = ? AND name = ?", "it",
                                  sweep, grid));
        if (only < 0)
            return no_such_grid(store, sweep, grid);
    }
    fputs(format == VMAE_TABLE_JSON ? "[" : "", out);
    for (int64_t i = 0, printed = 0; i < grids; i++)
        if (only < 0 || i == only)
            VMAE_TRY(print_one(store, sweep, i, (size_t)printed++, format, out));
    fputs(format == VMAE_TABLE_JSON ? "\n]\n" : "", out);
    return ferror(out) ? vmae_fail(VMAE_EIO, "the table could not be written") : VMAE_OK;
}
