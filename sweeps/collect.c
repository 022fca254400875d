/* collect.c -- calls into results and plots. */
#include "sweeps/collect.h"

#include "engine/core/fs.h"
#include "engine/core/log.h"
#include "engine/core/mem.h"
#include "plots/plots.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { PICTURE_MAX = 1 << 28 };

/* What the sweep can do without is logged. */
static bool fine(vmae_status st, const char *what)
{
    if (st != VMAE_OK)
        log_warn("%s: %s", what, vmae_error());
    return st == VMAE_OK;
}

/* ---- the database ---- */

static vmae_status open_store(vmae_collector *collector)
{
    char *path = vmae_path_join(collector->plan->root, "results.db");
    vmae_status st = path ? vmae_store_open(&collector->store, path, VMAE_STORE_UPDATE) : VMAE_ENOMEM;
    if (st == VMAE_OK && vmae_store_read_only(collector->store))
        st = vmae_fail(VMAE_EUSER, "%s can only be read", path);
    free(path);
    return st;
}

static vmae_status take_in_sweep(vmae_collector *collector)
{
    char *description = vmae_plan_path(collector->plan, ".json");
    const vmae_status st = description ? vmae_store_ingest_sweep(collector->store, description) : VMAE_ENOMEM;
    free(description);
    return st;
}

vmae_status vmae_collector_open(vmae_collector *collector, const vmae_plan *plan)
{
    *collector = (vmae_collector){ NULL, plan };
    vmae_status st = open_store(collector);
    if (st == VMAE_OK) /* so that tables can be looked at while it runs */
        st = take_in_sweep(collector);
    if (st == VMAE_OK)
        return VMAE_OK;
    vmae_collector_close(collector);
    if (st == VMAE_EDATA || st == VMAE_EUSER) {
        char sentence[1024];
        snprintf(sentence, sizeof sentence, "%s", vmae_error());
        st = vmae_fail(VMAE_EUSER,
                       "%s; nothing was started. Move %s/results.db away: it is built again from the journals",
                       sentence, plan->root);
    }
    return st;
}

void vmae_collector_run(vmae_collector *collector, const char *folder)
{
    fine(vmae_store_ingest(collector->store, folder, NULL), "results database");
}

void vmae_collector_close(vmae_collector *collector)
{
    vmae_store_close(collector->store);
    collector->store = NULL;
}

/* Everything, whatever went wrong on the way; a second time in a database that is opened afresh. */
static vmae_status take_in_all(vmae_collector *collector)
{
    if (fine(vmae_store_ingest(collector->store, collector->plan->root, NULL), "results database, once more"))
        return VMAE_OK;
    vmae_collector_close(collector);
    VMAE_TRY(open_store(collector));
    return vmae_store_ingest(collector->store, collector->plan->root, NULL);
}

/* ---- tables and pictures ---- */

static vmae_status write_table(vmae_collector *collector, const char *sweep, const char *grid, const char *folder,
                               vmae_table_format format, const char *suffix)
{
    vmae_status st = VMAE_ENOMEM;
    char *text = NULL, *path = vmae_format("%s/%s.%s", folder, grid, suffix);
    size_t count = 0;
    FILE *memory = path ? open_memstream(&text, &count) : NULL;
    if (memory) {
        st = vmae_table_print(collector->store, sweep, grid, format, memory);
        if (fclose(memory) != 0 && st == VMAE_OK)
            st = vmae_fail(VMAE_ENOMEM, "no memory for table %s", grid);
        if (st == VMAE_OK)
            st = vmae_write_file(path, text, count);
    }
    free(text);
    free(path);
    return st;
}

static void draw(vmae_collector *collector, const char *sweep, const char *folder, FILE *out)
{
    vmae_plot_report report = { 0 };
    if (fine(vmae_plot_sweep(collector->store, sweep, folder, VMAE_PLOT_SVG | VMAE_PLOT_PNG, NULL, &report), "plots") &&
        report.files > 0)
        fprintf(out, "plots:  %s/*.svg, *.png (%zu files)\n", folder, report.files);
}

/* "a-colour_only-seed1-reconstruction.png": the first wanted cell that needs the run. */
static char *picture_path(const vmae_plan *plan, const vmae_plan_run *run, const char *folder, const char *picture)
{
    const vmae_sweep_grid *grid = &plan->sweep->grids[run->grid];
    char *path = vmae_format("%s/%s-%s-seed%lld-%s", folder, grid->name, grid->rows[run->row].label,
                             (long long)run->seed, picture);
    for (char *c = path ? path + strlen(folder) + 1 : NULL; c && *c; c++)
        if (!isalnum((unsigned char)*c) && *c != '-' && *c != '.')
            *c = '_';
    return path;
}

/* What the reconstruct stage has painted, beside tables and plots. */
static void copy_pictures(const vmae_collector *collector, const char *folder, FILE *out)
{
    static const char picture[] = "reconstruction.png";
    const vmae_plan *plan = collector->plan;
    size_t copied = 0;
    for (size_t i = 0; i < plan->run_count; i++) {
        const vmae_plan_run *run = &plan->runs[i];
        if (!run->wanted || strcmp(plan->sweep->stages[run->stage].protocol->name, "reconstruct") != 0)
            continue;
        char *from = vmae_path_join(run->folder, picture), *to = picture_path(plan, run, folder, picture),
             *bytes = NULL;
        size_t count = 0;
        if (from && to && vmae_path_exists(from) &&
            fine(vmae_read_file(from, PICTURE_MAX, &bytes, &count), "picture") &&
            fine(vmae_write_file(to, bytes, count), "picture"))
            copied++;
        free(bytes);
        free(from);
        free(to);
    }
    if (copied)
        fprintf(out, "pictures: %s/*-%s (%zu files: input, visible patches, reconstruction)\n", folder, picture,
                copied);
}

/* Prints the wanted grids' tables, and writes them to the folder. */
static vmae_status make_tables(vmae_collector *collector, const char *name, const char *folder, FILE *out)
{
    static const struct {
        vmae_table_format format;
        const char *suffix;
    } formats[] = { { VMAE_TABLE_TEXT, "txt" }, { VMAE_TABLE_MARKDOWN, "md" }, { VMAE_TABLE_CSV, "csv" } };
    const vmae_sweep *sweep = collector->plan->sweep;
    VMAE_TRY(vmae_make_folders(folder));
    for (size_t g = 0; g < sweep->grid_count; g++) {
        if (!collector->plan->grid_wanted[g])
            continue;
        VMAE_TRY(vmae_table_print(collector->store, name, sweep->grids[g].name, VMAE_TABLE_TEXT, out));
        fputc('\n', out);
        for (size_t f = 0; f < sizeof formats / sizeof *formats; f++)
            VMAE_TRY(write_table(collector, name, sweep->grids[g].name, folder, formats[f].format, formats[f].suffix));
    }
    fprintf(out, "tables: %s/*.txt, *.md, *.csv\n", folder);
    return VMAE_OK;
}

vmae_status vmae_collector_finish(vmae_collector *collector, FILE *out)
{
    const vmae_sweep *sweep = collector->plan->sweep;
    char *name = vmae_format("%s-%s", sweep->name, sweep->stored_scale), *folder = vmae_plan_path(collector->plan, "");
    vmae_status st = name && folder ? take_in_all(collector) : VMAE_ENOMEM;
    if (st == VMAE_OK)
        st = make_tables(collector, name, folder, out);
    if (st == VMAE_OK) {
        draw(collector, name, folder, out);
        copy_pictures(collector, folder, out);
        fflush(out);
    }
    free(folder);
    free(name);
    if (st == VMAE_OK)
        return VMAE_OK;
    char sentence[1024];
    snprintf(sentence, sizeof sentence, "%s", vmae_error());
    return vmae_fail(
        VMAE_EDATA,
        "there are no tables: %s. The runs are safe: the same command, or `vicmae-results table`, makes them "
        "from the journals",
        sentence);
}
