/* bars.c -- a grid's numbers as bars, the paper's in a panel of their own beside them. */
#include "plots/draw.h"
#include "plots/gnuplot.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What the paper's ablation tables were made with; the other tables say it in their rows. */
static const char *paper_setup(const char *table)
{
    return strncmp(table, "table3", 6) == 0 ? "paper: ViT-B/16, IN1K+K400, 400 epochs" : "paper, as printed";
}

typedef struct range {
    double low, high;
} range;

static void widen(range *r, double value)
{
    if (isnan(value))
        return;
    r->low = isnan(r->low) || value < r->low ? value : r->low;
    r->high = isnan(r->high) || value > r->high ? value : r->high;
}

/* From 0, but where the bars would look all the same: then the axis is cut, which the y label says. */
static bool finish_range(range *r)
{
    const double span = r->high - r->low;
    const bool cut = r->low > 0.0 && span < 0.3 * r->high;
    if (cut)
        r->low = r->low - fmax(span * 0.8, r->high * 0.01);
    else if (r->low > 0.0)
        r->low = 0.0;
    r->high += fmax((r->high - r->low) * 0.16, 1e-9);
    return cut;
}

static double percent(const vmae_table_metric *metric, double value)
{
    return metric->percent ? value * 100.0 : value;
}

/* One panel's block of data. */
static void write_panel(FILE *data, const vmae_table *table, size_t m, bool paper, range *r)
{
    const vmae_table_metric *metric = &table->metrics[m];
    *r = (range){ NAN, NAN };
    for (size_t i = 0; i < table->row_count; i++) {
        const vmae_table_value *value = &table->rows[i].values[m];
        char label[80], above[64] = "";
        vmae_plot_label(label, sizeof label, table->rows[i].label);
        const double height = paper ? value->paper[0] : value->n ? percent(metric, value->mean) : NAN;
        const double error = paper || isnan(value->std) ? NAN : percent(metric, value->std);
        const double second = paper && table->readings > 1 ? value->paper[1] : NAN;
        if (!isnan(height))
            snprintf(above, sizeof above, paper ? "%.2f" : "%.2f (n=%zu)", height, value->n);
        fprintf(data, "%zu\t\"%s\"\t%.9g\t%.9g\t%.9g\t\"%s\"\t%.9g\n", i + 1, label, height, error, second, above,
                isnan(error) ? height : height + error);
        widen(r, isnan(error) ? height : height - error);
        widen(r, isnan(error) ? height : height + error);
        widen(r, second);
    }
    fputs("\n\n", data);
}

static bool has_paper(const vmae_table *table, size_t m)
{
    for (size_t i = 0; i < table->row_count; i++)
        if (!isnan(table->rows[i].values[m].paper[0]))
            return true;
    return false;
}

static bool has_numbers(const vmae_table *table, size_t m)
{
    for (size_t i = 0; i < table->row_count; i++)
        if (table->rows[i].values[m].n > 0)
            return true;
    return false;
}

/* Title and y label of a panel, and its range, appended to the two arguments. */
static void describe_panel(FILE *panels, FILE *ranges, const vmae_table *table, size_t m, bool paper, range r,
                           vmae_arena *arena)
{
    const vmae_table_metric *metric = &table->metrics[m];
    char text[256];
    const bool cut = finish_range(&r);
    if (paper && table->readings > 1)
        r.high += 0.22 * (r.high - r.low); /* room for the key */
    if (paper)
        snprintf(text, sizeof text, "%s", paper_setup(table->paper));
    else
        snprintf(text, sizeof text, "ours: %.80s; %.120s", table->made_at, *table->data ? table->data : "?");
    char *title = vmae_draw_word(arena, text);
    snprintf(text, sizeof text, "%s%s%s", metric->label, metric->percent ? " (%)" : "", cut ? ", axis cut" : "");
    char *label = vmae_draw_word(arena, text);
    fprintf(panels, "%s %s ", title ? title : "?", label ? label : "?");
    fprintf(ranges, "%.9g %.9g ", r.low, r.high);
}

static vmae_status draw_panels(vmae_plot *plot, const vmae_table *table, const char *name, size_t first, size_t last,
                               vmae_arena *arena)
{
    char *data_text = NULL, *panel_text = NULL, *range_text = NULL;
    size_t sizes[3], drawn = 0;
    FILE *data = open_memstream(&data_text, &sizes[0]), *panels = open_memstream(&panel_text, &sizes[1]);
    FILE *ranges = open_memstream(&range_text, &sizes[2]);
    bool beside = false;
    if (!data || !panels || !ranges) {
        if (data)
            fclose(data);
        if (panels)
            fclose(panels);
        if (ranges)
            fclose(ranges);
        free(data_text);
        free(panel_text);
        free(range_text);
        return vmae_fail(VMAE_ENOMEM, "out of memory for a plot");
    }
    for (size_t m = first; m < last; m++)
        beside = beside || (has_numbers(table, m) && has_paper(table, m));
    for (size_t m = first; m < last; m++) {
        if (!has_numbers(table, m) || (beside && !has_paper(table, m)))
            continue;
        for (int paper = 0; paper <= (beside && !(plot->formats & VMAE_PLOT_DUMB) ? 1 : 0); paper++) {
            range r;
            write_panel(data, table, m, paper, &r);
            describe_panel(panels, ranges, table, m, paper, r, arena);
        }
        drawn++;
    }
    fclose(data);
    fclose(panels);
    fclose(ranges);
    char title[512], subtitle[512], axis[128];
    vmae_plot_label(axis, sizeof axis, table->axis);
    snprintf(subtitle, sizeof subtitle, "%s: %s", vmae_table_paper_title(table, arena), table->title);
    vmae_plot_label(title, sizeof title, table->paper ? subtitle : table->title);
    char text[480];
    snprintf(text, sizeof text, "mean and standard deviation over seeds; revision %.40s; %.200s%s",
             *table->revision ? table->revision : "?", table->made_at,
             vmae_table_comparable(table) ? "" : ": not comparable with the paper's numbers");
    vmae_plot_label(subtitle, sizeof subtitle, text);
    vmae_status st = VMAE_OK;
    if (drawn == 0)
        plot->report.left_out++;
    else if (!data_text || !panel_text || !range_text)
        st = vmae_fail(VMAE_ENOMEM, "out of memory for a plot");
    else
        st = vmae_draw(plot, "bars.gp", name, data_text,
                       (const char *[]){ title, subtitle, panel_text, range_text, axis,
                                         !beside               ? "11"
                                         : table->readings > 1 ? "22"
                                                               : "21" },
                       6);
    free(data_text);
    free(panel_text);
    free(range_text);
    return st;
}

vmae_status vmae_draw_bars(vmae_plot *plot, const vmae_table *table, const char *name, vmae_arena *arena)
{
    const unsigned formats = plot->formats;
    vmae_status st = VMAE_OK;
    if (formats & VMAE_PLOT_DUMB) { /* characters have room for one panel */
        plot->formats = VMAE_PLOT_DUMB;
        for (size_t m = 0; m < table->metric_count && st == VMAE_OK; m++)
            st = draw_panels(plot, table, name, m, m + 1, arena);
    }
    plot->formats = formats & ~(unsigned)VMAE_PLOT_DUMB;
    if (st == VMAE_OK && plot->formats)
        st = draw_panels(plot, table, name, 0, table->metric_count, arena);
    plot->formats = formats;
    return st;
}
