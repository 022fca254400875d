/* curves.c -- training curves: of one run, or of every row of a grid as mean and range over seeds. */
#include "plots/draw.h"
#include "plots/gnuplot.h"

#include "results/metric_kinds.h"
#include "results/sql.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    POINTS_MAX = 300,
    PANELS_MAX = 6,
    SERIES_MAX = 14,       /* seven colours, each solid and dashed: more lines nobody can tell apart */
    THOUSANDS_FROM = 10000 /* steps: from here on the axis counts thousands */
};

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
    char *runs[SERIES_MAX];    /* JSON arrays of run ids, for json_each */
    size_t styles[SERIES_MAX]; /* colour and dash: a row has its own in every picture */
    char title[512], subtitle[512];
    double unit; /* steps that count as 1 on the axis */
    bool band;
} vmae_figure;

/* One series of one panel. Long curves are thinned to POINTS_MAX bins of steps; NaN and infinity leave a gap. */
static vmae_status write_series(FILE *data, vmae_store *store, const char *runs, const char *metric, const char *label,
                                double step_unit, bool *any)
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
        fprintf(data, "%.9g", sqlite3_column_double(rows, 0) / step_unit);
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

static vmae_status choose_unit(vmae_store *store, vmae_figure *figure)
{
    int64_t most = 0;
    for (size_t s = 0; s < figure->series_count; s++) {
        int64_t steps = 0;
        VMAE_TRY(vmae_sql_integer(store, &steps, 0,
                                  "SELECT max(last_step) FROM summaries WHERE run IN (SELECT value FROM json_each(?))",
                                  "t", figure->runs[s]));
        most = steps > most ? steps : most;
    }
    figure->unit = most >= THOUSANDS_FROM ? 1000.0 : 1.0;
    return VMAE_OK;
}

static vmae_status write_data(FILE *data, vmae_store *store, const vmae_figure *figure, size_t first, size_t last,
                              bool *any)
{
    for (size_t p = first; p < last; p++)
        for (size_t s = 0; s < figure->series_count; s++)
            VMAE_TRY(write_series(data, store, figure->runs[s], panels[figure->chosen[p]].metric, figure->labels[s],
                                  figure->unit, any));
    return VMAE_OK;
}

static vmae_status draw_part(vmae_plot *plot, const vmae_figure *figure, size_t first, size_t last, const char *name,
                             vmae_arena *arena)
{
    char *data_text = NULL, *words = vmae_arena_strdup(arena, ""), *styles = words;
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
    for (size_t i = 0; i < figure->series_count && styles; i++)
        styles = vmae_arena_format(arena, "%s%zu ", styles, figure->styles[i]);
    if (st == VMAE_OK && (!words || !styles || !data_text))
        st = vmae_fail(VMAE_ENOMEM, "out of memory for a plot");
    if (st == VMAE_OK && !any)
        plot->report.left_out++;
    else if (st == VMAE_OK)
        st = vmae_draw(plot, "curves.gp", name, data_text,
                       (const char *[]){ clean_title, clean_subtitle, words, styles,
                                         figure->unit > 1.0 ? "step (thousands)" : "step", figure->band ? "1" : "0" },
                       6);
    free(data_text);
    return st;
}

/* *drawn false: nothing in it was measured more than once. */
static vmae_status draw(vmae_plot *plot, vmae_figure *figure, const char *name, vmae_arena *arena, bool *drawn)
{
    VMAE_TRY(choose_panels(plot->store, figure));
    VMAE_TRY(choose_unit(plot->store, figure));
    if (!(*drawn = figure->panel_count > 0))
        return VMAE_OK;
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

/* The runs of one stage in the rows from `first` on, as many as one picture can show. */
static vmae_status load_series(vmae_figure *figure, vmae_store *store, const vmae_table *table, int64_t sweep,
                               int64_t grid, const char *stage, size_t first, vmae_arena *arena)
{
    sqlite3_stmt *rows = NULL;
    bool row;
    VMAE_TRY(
        vmae_sql_query(store, &rows,
                       "SELECT c.row, json_group_array(DISTINCT r.id), count(DISTINCT r.id) FROM sweep_cells AS c "
                       "JOIN runs AS r ON r.identity = c.identity WHERE c.sweep = ? AND c.grid = ? AND c.stage = ? "
                       "AND c.row >= ? AND c.row < ? GROUP BY c.row ORDER BY c.row",
                       "iitii", sweep, grid, stage, (int64_t)first, (int64_t)(first + SERIES_MAX)));
    vmae_status st;
    while ((st = vmae_sql_step(store, rows, &row)) == VMAE_OK && row) {
        const size_t at = (size_t)sqlite3_column_int64(rows, 0), i = figure->series_count;
        char label[80];
        if (at >= table->row_count)
            continue;
        vmae_plot_label(label, sizeof label, table->rows[at].label);
        figure->labels[i] = vmae_arena_format(arena, "%s (n=%lld)", label, (long long)sqlite3_column_int64(rows, 2));
        figure->runs[i] = vmae_arena_strdup(arena, vmae_sql_text(rows, 1));
        figure->styles[i] = at - first;
        if (!figure->labels[i] || !figure->runs[i]) {
            st = VMAE_ENOMEM;
            break;
        }
        figure->series_count++;
    }
    sqlite3_finalize(rows);
    return st;
}

/* One stage: steps and losses of two are not the same thing. Many rows take several pictures. */
static vmae_status draw_stage(vmae_plot *plot, const vmae_table *table, int64_t sweep, int64_t grid, const char *stage,
                              const char *name, vmae_arena *arena, bool *any)
{
    for (size_t first = 0; first < table->row_count; first += SERIES_MAX) {
        vmae_figure figure = { .band = true };
        bool drawn = false;
        char rows[64] = "";
        VMAE_TRY(load_series(&figure, plot->store, table, sweep, grid, stage, first, arena));
        if (table->row_count > SERIES_MAX)
            snprintf(rows, sizeof rows, ", rows %zu to %zu of %zu", first + 1,
                     first + SERIES_MAX < table->row_count ? first + SERIES_MAX : table->row_count, table->row_count);
        snprintf(figure.title, sizeof figure.title, "%.200s: training curves (%.60s)%s, by %.60s", table->title, stage,
                 rows, table->axis);
        snprintf(figure.subtitle, sizeof figure.subtitle,
                 "%.200s; data: %.150s; revision %.40s; line: mean of n seeds, band: lowest to highest", table->made_at,
                 *table->data ? table->data : "?", *table->revision ? table->revision : "?");
        char *text = first ? vmae_arena_format(arena, "%s-%s-curves-%zu", name, stage, first / SERIES_MAX + 1)
                           : vmae_arena_format(arena, "%s-%s-curves", name, stage);
        char *file = text ? vmae_draw_file_name(text) : NULL;
        const vmae_status st = !file                     ? VMAE_ENOMEM
                               : figure.series_count > 0 ? draw(plot, &figure, file, arena, &drawn)
                                                         : VMAE_OK;
        free(file);
        VMAE_TRY(st);
        *any = *any || drawn;
    }
    return VMAE_OK;
}

vmae_status vmae_draw_grid_curves(vmae_plot *plot, const vmae_table *table, int64_t sweep, int64_t grid,
                                  const char *name, vmae_arena *arena)
{
    sqlite3_stmt *rows = NULL;
    bool row, any = false;
    VMAE_TRY(vmae_sql_query(plot->store, &rows,
                            "SELECT stage FROM sweep_cells WHERE sweep = ? AND grid = ? GROUP BY stage ORDER BY max(n)",
                            "ii", sweep, grid));
    vmae_status st;
    while ((st = vmae_sql_step(plot->store, rows, &row)) == VMAE_OK && row)
        if ((st = draw_stage(plot, table, sweep, grid, vmae_sql_text(rows, 0), name, arena, &any)) != VMAE_OK)
            break;
    sqlite3_finalize(rows);
    plot->report.left_out += st == VMAE_OK && !any;
    return st;
}

vmae_status vmae_draw_run_curves(vmae_plot *plot, const char *identity, const char *name, vmae_arena *arena)
{
    vmae_figure figure = { .series_count = 1, .labels = { "" } };
    sqlite3_stmt *row = NULL;
    bool found = false;
    VMAE_TRY(vmae_sql_query(
        plot->store, &row,
        "SELECT r.id, r.protocol, r.seed, r.status, (SELECT substr(s.scale, 1, instr(s.scale || '+', '+') - 1) || ' "
        "scale' || coalesce((SELECT ' with ' || "
        "group_concat(assignment, ', ') FROM sweep_overrides WHERE sweep = s.id AND speed_only = 0), '') || "
        "'; data: ' || s.data FROM sweep_cells AS c JOIN sweeps AS s ON s.id = c.sweep WHERE c.identity = r.identity "
        "ORDER BY instr(s.scale, '+') > 0, s.id LIMIT 1), "
        "(SELECT revision FROM attempts WHERE run = r.id ORDER BY attempt DESC LIMIT 1) FROM runs "
        "AS r WHERE r.identity = ?",
        "t", identity));
    const vmae_status st = vmae_sql_step(plot->store, row, &found);
    if (st == VMAE_OK && found) {
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
    bool drawn = false;
    VMAE_TRY(figure.runs[0] ? draw(plot, &figure, name, arena, &drawn) : VMAE_ENOMEM);
    plot->report.left_out += !drawn;
    return VMAE_OK;
}
