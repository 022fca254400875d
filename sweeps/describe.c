/* describe.c -- the plan as JSON for the results database. */
#include "sweeps/sweep.h"

#include "engine/core/fs.h"
#include "engine/core/mem.h"
#include "experiments/machine.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static void put_text(json_t *object, const char *name, const char *text)
{
    if (!text)
        return;
    json_t *value = json_string(text); /* NULL if it is not UTF-8 */
    json_object_set_new(object, name, value ? value : json_string("?"));
}

static json_t *describe_texts(const char *const *texts, size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        json_t *text = json_string(texts[i]);
        json_array_append_new(list, text ? text : json_string("?"));
    }
    return list;
}

static json_t *describe_metrics(const vmae_sweep_grid *grid)
{
    json_t *list = json_array();
    for (size_t i = 0; i < grid->metric_count; i++) {
        json_t *metric = json_object();
        put_text(metric, "metric", grid->metrics[i].metric);
        put_text(metric, "label", grid->metrics[i].label);
        put_text(metric, "paper_column", grid->metrics[i].paper_column);
        json_array_append_new(list, metric);
    }
    return list;
}

static json_t *describe_cells(const vmae_plan *plan, size_t grid, size_t row)
{
    const vmae_sweep *sweep = plan->sweep;
    json_t *list = json_array();
    for (size_t seed = 0; seed < sweep->seed_count; seed++) {
        json_t *cell = json_object(), *runs = json_object();
        json_object_set_new(cell, "seed", json_integer((json_int_t)sweep->seeds[seed]));
        for (size_t s = 0; s < sweep->stage_count; s++) {
            const int32_t run = vmae_plan_cell(plan, grid, row, seed, s);
            if (run >= 0)
                put_text(runs, sweep->stages[s].name, plan->runs[run].identity);
        }
        json_object_set_new(cell, "runs", runs);
        json_array_append_new(list, cell);
    }
    return list;
}

static json_t *describe_grid(const vmae_plan *plan, size_t index)
{
    const vmae_sweep_grid *grid = &plan->sweep->grids[index];
    json_t *object = json_object(), *rows = json_array();
    put_text(object, "name", grid->name);
    put_text(object, "title", grid->title);
    put_text(object, "axis", grid->axis);
    put_text(object, "paper", grid->paper);
    put_text(object, "note", grid->note);
    put_text(object, "stage", plan->sweep->stages[grid->stage].name);
    json_object_set_new(object, "metrics", describe_metrics(grid));
    for (size_t r = 0; r < grid->row_count; r++) {
        json_t *row = json_object();
        put_text(row, "label", grid->rows[r].label);
        if (grid->rows[r].paper_row)
            json_object_set_new(row, "paper_row", json_integer((json_int_t)grid->rows[r].paper_row));
        json_object_set_new(row, "cells", describe_cells(plan, index, r));
        json_array_append_new(rows, row);
    }
    json_object_set_new(object, "rows", rows);
    return object;
}

char *vmae_plan_describe(const vmae_plan *plan)
{
    const vmae_sweep *sweep = plan->sweep;
    json_t *root = json_object(), *grids = json_array();
    json_object_set_new(root, "version", json_integer(1));
    put_text(root, "sweep", sweep->name);
    put_text(root, "title", sweep->title);
    put_text(root, "scale", sweep->stored_scale);
    put_text(root, "config", sweep->path);
    put_text(root, "data", sweep->data);
    put_text(root, "revision", vmae_revision());
    json_object_set_new(root, "overrides", describe_texts(sweep->overrides, sweep->override_count));
    json_object_set_new(root, "overrides_of_speed",
                        describe_texts(sweep->speed_overrides, sweep->speed_override_count));
    for (size_t g = 0; g < sweep->grid_count; g++)
        json_array_append_new(grids, describe_grid(plan, g));
    json_object_set_new(root, "grids", grids);
    char *text = root ? json_dumps(root, JSON_INDENT(1)) : NULL;
    json_decref(root);
    if (!text)
        vmae_fail(VMAE_ENOMEM, "no memory to describe sweep %s", sweep->name);
    return text;
}

vmae_status vmae_plan_write(const vmae_plan *plan)
{
    vmae_status st = VMAE_ENOMEM;
    char *folder = vmae_path_join(plan->root, "sweeps"), *path = vmae_plan_path(plan, ".json"),
         *text = vmae_plan_describe(plan);
    if (folder && path && text && (st = vmae_make_folders(folder)) == VMAE_OK)
        st = vmae_write_file(path, text, strlen(text));
    free(text);
    free(path);
    free(folder);
    return st;
}
