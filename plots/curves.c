/* curves.c -- training curves: of one run, or of every row of a grid as mean and range over seeds. */
#include "plots/draw.h"
#include "plots/gnuplot.h"

#include "results/metric_kinds.h"
#include "results/sql.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { POINTS_MAX = 300, PANELS_MAX = 6, SERIES_MAX = 28 };

/* The panels that are drawn where there are such metrics, in this order. */
static const struct {
    const char *metric, *label;
} panels[] = {
    { "loss", "loss" },
    { "loss_recon", "reconstruction loss (MSE)" },
    { "loss_contrast", "contrastive loss (InfoNCE)" },
    { "lambda", "weight of the contrastive loss" },
    { "knn_top1", "k-NN top-1 (%)" },
    { "top1", "top-1 (%)" },
    { "val_loss", "validation loss" },
    { "lr", "learning rate" },
};
enum { KNOWN_PANELS = sizeof panels / sizeof *panels };

typedef struct figure {
    size_t chosen[PANELS_MAX], panel_count, series_count;
    const char *labels[SERIES_MAX];
    char *runs[SERIES_MAX]; /* JSON arrays of run ids, for json_each */
    char title[512], subtitle[512];
    const char *axis; /* what a step of these runs is */
    bool band;
} vmae_figure;

/* One series of one panel. Long curves are thinned to POINTS_MAX bins of steps; NaN and infinity leave a gap. */
static vmae_status write_series(FILE *data, vmae_store *store, const char *runs, const char *metric, const char *label,
                                bool *any)
{
    sqlite3_stmt *rows = NULL;
    bool row;
    const double unit = vmae_metric_kind_of(metric)->percent ? 100.0 : 1.0;
    int64_t most = 0;
    char name[96];
    vmae_plot_label(name, sizeof name, label);
    fprintf(data, "\"%s\"\n", name);
    VMAE_TRY(vmae_sql_integer(store, &most, 0,
                              "SELECT max(s.last_step) FROM summaries AS s JOIN metric_names AS n ON n.id = s.metric "
                              "WHERE s.run IN (SELECT value FROM json_each(?)) AND n.name = ?",
                              "tt", runs, metric));
    const int64_t width = most / POINTS_MAX + 1;
    /* First the mean of each run in each bin, then over runs: a run with denser points weighs no more. */
    VMAE_TRY(vmae_sql_query(
        store, &rows,
        "SELECT max(step), avg(mean), min(mean), max(mean), max(special) FROM ("
        "SELECT c.run, c.step / ?3 AS bin, max(c.step) AS step, avg(c.value) AS mean, max(c.special) AS special "
        "FROM current_metrics AS c WHERE c.run IN (SELECT value FROM json_each(?1)) "
        "AND c.metric = (SELECT id FROM metric_names WHERE name = ?2) GROUP BY c.run, bin) GROUP BY bin ORDER BY bin",
        "tti", runs, metric, width));
    vmae_status st;
    while ((st = vmae_sql_step(store, rows, &row)) == VMAE_OK && row) {
        const bool gap = sqlite3_column_int(rows, 4) != 0 || sqlite3_column_type(rows, 1) == SQLITE_NULL;
        fprintf(data, "%lld", (long long)sqlite3_column_int64(rows, 0));
        for (int i = 1; i <= 3; i++)
            fprintf(data, "\t%.9g", gap ? NAN : sqlite3_column_double(rows, i) * unit);
        putc('\n', data);
        *any = *any || !gap;
    }
    sqlite3_finalize(rows);
    fputs("\n\n", data);
    return st;
}

static vmae_status has_metric(vmae_store *store, const vmae_figure *figure, const char *metric, bool *has)
{
    *has = false;
    for (size_t i = 0; i < figure->series_count && !*has; i++) {
        int64_t found = 0;
        VMAE_TRY(
            vmae_sql_integer(store, &found, 0,
                             "SELECT 1 FROM summaries AS s JOIN metric_names AS n ON n.id = s.metric "
                             "WHERE s.run IN (SELECT value FROM json_each(?)) AND n.name = ? AND s.count > 1 LIMIT 1",
                             "tt", figure->runs[i], metric));
        *has = found != 0;
    }
    return VMAE_OK;
}

static vmae_status choose_panels(vmae_store *store, vmae_figure *figure)
{
    for (size_t i = 0; i < KNOWN_PANELS && figure->panel_count < PANELS_MAX; i++) {
        bool has = false;
        VMAE_TRY(has_metric(store, figure, panels[i].metric, &has));
        if (has)
            figure->chosen[figure->panel_count++] = i;
    }
    return VMAE_OK;
}

static vmae_status write_data(FILE *data, vmae_store *store, const vmae_figure *figure, size_t first, size_t last,
                              bool *any)
{
    for (size_t p = first; p < last; p++)
        for (size_t s = 0; s < figure->series_count; s++)
            VMAE_TRY(
                write_series(data, store, figure->runs[s], panels[figure->chosen[p]].metric, figure->labels[s], any));
    return VMAE_OK;
}

static vmae_status draw_part(vmae_plot *plot, const vmae_figure *figure, size_t first, size_t last, const char *name,
                             vmae_arena *arena)
{
    char *data_text = NULL, *words = vmae_arena_strdup(arena, ""), series[16];
    size_t size;
    bool any = false;
    FILE *data = open_memstream(&data_text, &size);
    if (!data)
        return vmae_fail(VMAE_ENOMEM, "out of memory for a plot");
    vmae_status st = write_data(data, plot->store, figure, first, last, &any);
    fclose(data);
    for (size_t p = first; p < last && words; p++) {
        const char *word = vmae_draw_word(arena, panels[figure->chosen[p]].label);
        words = word ? vmae_arena_format(arena, "%s%s ", words, word) : NULL;
    }
    char clean_title[512], clean_subtitle[512];
    vmae_plot_label(clean_title, sizeof clean_title, figure->title);
    vmae_plot_label(clean_subtitle, sizeof clean_subtitle, figure->subtitle);
    snprintf(series, sizeof series, "%zu", figure->series_count);
    if (st == VMAE_OK && (!words || !data_text))
        st = vmae_fail(VMAE_ENOMEM, "out of memory for a plot");
    if (st == VMAE_OK && !any)
        plot->report.left_out++;
    else if (st == VMAE_OK)
        st = vmae_draw(
            plot, "curves.gp", name, data_text,
            (const char *[]){ clean_title, clean_subtitle, words, series, figure->axis, figure->band ? "1" : "0" }, 6);
    free(data_text);
    return st;
}

static vmae_status draw(vmae_plot *plot, vmae_figure *figure, const char *name, vmae_arena *arena)
{
    VMAE_TRY(choose_panels(plot->store, figure));
    if (figure->panel_count == 0) {
        plot->report.left_out++;
        return VMAE_OK;
    }
    const unsigned formats = plot->formats;
    vmae_status st = VMAE_OK;
    if (formats & VMAE_PLOT_DUMB) { /* characters have room for one panel */
        plot->formats = VMAE_PLOT_DUMB;
        for (size_t p = 0; p < figure->panel_count && st == VMAE_OK; p++)
            st = draw_part(plot, figure, p, p + 1, name, arena);
    }
    plot->formats = formats & ~(unsigned)VMAE_PLOT_DUMB;
    if (st == VMAE_OK && plot->formats)
        st = draw_part(plot, figure, 0, figure->panel_count, name, arena);
    plot->formats = formats;
    return st;
}

/* Probes measure once an epoch and count those. */
static const char *step_name(const char *protocol)
{
    return strcmp(protocol, "probe") == 0 ? "epoch" : "step";
}

/* The stage that trains the model: the first of the cell's stages. */
static vmae_status load_series(vmae_figure *figure, vmae_store *store, const vmae_table *table, int64_t sweep,
                               int64_t grid, vmae_arena *arena, char **stage)
{
    sqlite3_stmt *rows = NULL;
    bool row;
    VMAE_TRY(vmae_sql_query(
        store, &rows,
        "SELECT c.row, json_group_array(r.id), count(*), c.stage FROM sweep_cells AS c "
        "JOIN runs AS r ON r.identity = c.identity WHERE c.sweep = ? AND c.grid = ? AND c.n = 0 GROUP BY c.row "
        "ORDER BY c.row LIMIT ?",
        "iii", sweep, grid, (int64_t)SERIES_MAX));
    vmae_status st;
    while ((st = vmae_sql_step(store, rows, &row)) == VMAE_OK && row) {
        const int64_t at = sqlite3_column_int64(rows, 0), n = sqlite3_column_int64(rows, 2);
        if (at < 0 || (size_t)at >= table->row_count)
            continue;
        const size_t i = figure->series_count;
        figure->labels[i] =
            vmae_arena_format(arena, "%.30s %.50s (n=%lld)", table->axis, table->rows[at].label, (long long)n);
        figure->runs[i] = vmae_arena_strdup(arena, vmae_sql_text(rows, 1));
        *stage = vmae_arena_strdup(arena, vmae_sql_text(rows, 3));
        if (!figure->labels[i] || !figure->runs[i] || !*stage) {
            st = VMAE_ENOMEM;
            break;
        }
        figure->series_count++;
    }
    sqlite3_finalize(rows);
    return st;
}

vmae_status vmae_draw_grid_curves(vmae_plot *plot, const vmae_table *table, int64_t sweep, int64_t grid,
                                  const char *name, vmae_arena *arena)
{
    vmae_figure figure = { .band = true };
    char *stage = NULL;
    VMAE_TRY(load_series(&figure, plot->store, table, sweep, grid, arena, &stage));
    if (figure.series_count == 0) {
        plot->report.left_out++;
        return VMAE_OK;
    }
    snprintf(figure.title, sizeof figure.title, "%.200s: training curves (%.60s)", table->title, stage);
    snprintf(figure.subtitle, sizeof figure.subtitle,
             "%.200s; data: %.150s; revision %.40s; line: mean over seeds, band: lowest to highest", table->made_at,
             *table->data ? table->data : "?", *table->revision ? table->revision : "?");
    figure.axis = step_name(stage);
    return draw(plot, &figure, name, arena);
}

vmae_status vmae_draw_run_curves(vmae_plot *plot, const char *identity, const char *name, vmae_arena *arena)
{
    vmae_figure figure = { .series_count = 1, .labels = { "" } };
    sqlite3_stmt *row = NULL;
    bool found = false;
    VMAE_TRY(vmae_sql_query(
        plot->store, &row,
        "SELECT r.id, r.protocol, r.seed, r.status, (SELECT s.scale || ' scale' || coalesce((SELECT ' with ' || "
        "group_concat(assignment, ', ') FROM sweep_overrides WHERE sweep = s.id AND speed_only = 0), '') || "
        "'; data: ' || s.data FROM sweep_cells AS c JOIN sweeps AS s ON s.id = c.sweep WHERE c.identity = r.identity "
        "LIMIT 1), "
        "(SELECT revision FROM attempts WHERE run = r.id ORDER BY attempt DESC LIMIT 1) FROM runs "
        "AS r WHERE r.identity = ?",
        "t", identity));
    const vmae_status st = vmae_sql_step(plot->store, row, &found);
    if (st == VMAE_OK && found) {
        figure.axis = step_name(vmae_sql_text(row, 1));
        figure.runs[0] = vmae_arena_format(arena, "[%lld]", (long long)sqlite3_column_int64(row, 0));
        snprintf(figure.title, sizeof figure.title, "%.60s, run %lld (%.12s), seed %.20s, %.20s", vmae_sql_text(row, 1),
                 (long long)sqlite3_column_int64(row, 0), identity, vmae_sql_text(row, 2), vmae_sql_text(row, 3));
        snprintf(figure.subtitle, sizeof figure.subtitle, "%.200s%srevision %.40s", vmae_sql_text(row, 4),
                 *vmae_sql_text(row, 4) ? "; " : "", *vmae_sql_text(row, 5) ? vmae_sql_text(row, 5) : "?");
    }
    sqlite3_finalize(row);
    VMAE_TRY(st);
    if (!found)
        return vmae_fail(VMAE_EUSER, "there is no run %s", identity);
    return figure.runs[0] ? draw(plot, &figure, name, arena) : VMAE_ENOMEM;
}
