/* draw.h -- the kinds of picture. Inside plots/ only. */
#ifndef VMAE_PLOTS_DRAW_H
#define VMAE_PLOTS_DRAW_H

#include "plots/plots.h"
#include "results/table.h"

typedef struct vmae_plot {
    vmae_store *store;
    const char *folder;
    unsigned formats;
    FILE *terminal;
    vmae_plot_report report;
} vmae_plot;

/* Runs the template once a format: "<folder>/<name>.svg" and so on. */
vmae_status vmae_draw(vmae_plot *plot, const char *template_name, const char *name, const char *data,
                      const char *const *arguments, size_t count);

/* A text as a file's name: what is not a plain character becomes '_'. Names come from the database, which got them from
 * a file. Fresh memory; NULL without. */
char *vmae_draw_file_name(const char *text);

/* A label as one word of an argument: no-break spaces in it. In the arena; NULL without memory. */
char *vmae_draw_word(vmae_arena *arena, const char *text);

vmae_status vmae_draw_bars(vmae_plot *plot, const vmae_table *table, const char *name, vmae_arena *arena);
/* A picture a stage ("<name>-<stage>-curves"; of many rows several), one line a row of the grid: the mean over seeds,
 * in a band from the lowest to the highest. */
vmae_status vmae_draw_grid_curves(vmae_plot *plot, const vmae_table *table, int64_t sweep, int64_t grid,
                                  const char *name, vmae_arena *arena);
vmae_status vmae_draw_run_curves(vmae_plot *plot, const char *identity, const char *name, vmae_arena *arena);

#endif
