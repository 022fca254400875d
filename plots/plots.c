/* plots.c -- what to draw: which sweep, which grids, under which names. */
#include "plots/plots.h"
#include "plots/draw.h"

#include "results/sql.h"
#include "results/sweep.h"
#include "results/table.h"

#include "engine/core/fs.h"
#include "engine/core/mem.h"

#include <stdlib.h>
#include <string.h>

vmae_status vmae_plot_formats_by_name(unsigned *formats, const char *names)
{
    static const struct {
        const char *name;
        unsigned format;
    } known[] = { { "svg", VMAE_PLOT_SVG }, { "png", VMAE_PLOT_PNG }, { "dumb", VMAE_PLOT_DUMB } };
    unsigned result = 0;
    for (const char *at = names; *at; at += strspn(at, ",")) {
        const size_t count = strcspn(at, ",");
        unsigned found = 0;
        for (size_t i = 0; i < 3; i++)
            if (strlen(known[i].name) == count && strncmp(known[i].name, at, count) == 0)
                found = known[i].format;
        if (!found)
            return vmae_fail(VMAE_EUSER, "a picture's format is svg, png or dumb; not %.*s", (int)count, at);
        result |= found;
        at += count;
    }
    if (!result)
        return vmae_fail(VMAE_EUSER, "no picture format was given: svg, png or dumb");
    *formats = result;
    return VMAE_OK;
}

static vmae_status prepare(const char *folder, unsigned formats, FILE *terminal)
{
    if ((formats & VMAE_PLOT_DUMB) && !terminal)
        return vmae_fail(VMAE_EINTERNAL, "pictures of characters need a stream");
    if (formats & (VMAE_PLOT_SVG | VMAE_PLOT_PNG))
        return folder ? vmae_make_folders(folder) : vmae_fail(VMAE_EINTERNAL, "pictures need a folder");
    return VMAE_OK;
}

static vmae_status plot_grid(vmae_plot *plot, int64_t sweep, int64_t grid)
{
    vmae_table table;
    vmae_arena *arena = vmae_arena_new();
    if (!arena)
        return VMAE_ENOMEM;
    vmae_status st = vmae_table_load(&table, plot->store, sweep, grid, arena);
    char *text = st == VMAE_OK ? vmae_format("%s-%s-%s", table.sweep, table.scale, table.grid) : NULL;
    char *name = text ? vmae_draw_file_name(text) : NULL;
    if (st == VMAE_OK && !name)
        st = VMAE_ENOMEM;
    if (st == VMAE_OK)
        st = vmae_draw_bars(plot, &table, name, arena);
    if (st == VMAE_OK)
        st = vmae_draw_grid_curves(plot, &table, sweep, grid, name, arena);
    free(text);
    free(name);
    vmae_arena_free(arena);
    return st;
}

vmae_status vmae_plot_sweep(vmae_store *store, const char *name, const char *folder, unsigned formats, FILE *terminal,
                            vmae_plot_report *report)
{
    int64_t sweep = 0, grids = 0;
    vmae_plot plot = { .store = store, .folder = folder, .formats = formats, .terminal = terminal };
    VMAE_TRY(prepare(folder, formats, terminal));
    VMAE_TRY(vmae_sweep_find(store, name, &sweep));
    VMAE_TRY(vmae_sql_integer(store, &grids, 0, "SELECT count(*) FROM sweep_grids WHERE sweep = ?", "i", sweep));
    for (int64_t i = 0; i < grids; i++)
        VMAE_TRY(plot_grid(&plot, sweep, i));
    if (report)
        *report = plot.report;
    return VMAE_OK;
}

vmae_status vmae_plot_run(vmae_store *store, const char *identity, const char *folder, unsigned formats, FILE *terminal,
                          vmae_plot_report *report)
{
    vmae_plot plot = { .store = store, .folder = folder, .formats = formats, .terminal = terminal };
    VMAE_TRY(prepare(folder, formats, terminal));
    vmae_arena *arena = vmae_arena_new();
    char *safe = vmae_draw_file_name(identity), *name = safe ? vmae_format("run-%s", safe) : NULL;
    vmae_status st = arena && name ? vmae_draw_run_curves(&plot, identity, name, arena) : VMAE_ENOMEM;
    free(safe);
    free(name);
    vmae_arena_free(arena);
    if (st == VMAE_OK && report)
        *report = plot.report;
    return st;
}
