/* plan.c -- cells to runs. Equal runs are one run: first by what was set (no config is built for the second), then by
 * identity. */
#include "sweeps/sweep.h"

#include "engine/core/mem.h"
#include "engine/core/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Text -> run index; grows. */
typedef struct map_entry {
    const char *key;
    int32_t value;
} map_entry;

typedef struct map {
    map_entry *entries;
    size_t room, used; /* room is a power of two */
} map;

typedef struct planner {
    vmae_plan *plan;
    const vmae_sweep *sweep;
    vmae_arena *arena;
    bool without_data;
    map by_setting, by_identity;
    size_t room;            /* of plan->runs */
    size_t grid, row, seed; /* the cell at hand */
    int32_t *cell;          /* its runs */
} planner;

/* ---- the map ---- */

static map_entry *slot_of(map_entry *entries, size_t room, const char *key)
{
    size_t i = (size_t)vmae_hash_name(key) & (room - 1);
    while (entries[i].key && strcmp(entries[i].key, key) != 0)
        i = (i + 1) & (room - 1);
    return &entries[i];
}

static int32_t map_find(const map *m, const char *key)
{
    if (!m->room)
        return -1;
    const map_entry *entry = slot_of(m->entries, m->room, key);
    return entry->key ? entry->value : -1;
}

static vmae_status map_put(map *m, const char *key, int32_t value)
{
    if (2 * (m->used + 1) > m->room) {
        const size_t room = m->room ? 2 * m->room : 256;
        map_entry *entries = vmae_calloc(room, sizeof *entries);
        if (!entries)
            return VMAE_ENOMEM;
        for (size_t i = 0; i < m->room; i++)
            if (m->entries[i].key)
                *slot_of(entries, room, m->entries[i].key) = m->entries[i];
        free(m->entries);
        m->entries = entries;
        m->room = room;
    }
    map_entry *entry = slot_of(m->entries, m->room, key);
    m->used += !entry->key;
    *entry = (map_entry){ key, value };
    return VMAE_OK;
}

/* ---- one run ---- */

static bool sets_checkpoint(const vmae_sweep *sweep, const vmae_sweep_row *row, int stage)
{
    bool set = false;
    for (size_t i = 0; i < row->set_count; i++)
        if (row->set[i]->stage == stage && strcmp(row->set[i]->name, "checkpoint") == 0)
            set = *row->set[i]->text != 0;
    for (size_t i = 0; i < sweep->command_line_count; i++)
        if (sweep->command_line[i].stage == stage && strcmp(sweep->command_line[i].name, "checkpoint") == 0)
            set = *sweep->command_line[i].text != 0;
    return set || *vmae_config_text(sweep->stages[stage].base, "checkpoint");
}

/* Whether the stage takes an earlier stage's checkpoint in this row, and not one that was named. */
static bool takes_parent(const vmae_sweep *sweep, const vmae_sweep_row *row, int stage)
{
    return sweep->stages[stage].builds_on >= 0 && !sets_checkpoint(sweep, row, stage);
}

/* What tells this run from others of its stage: the row's values, the parent, the seed. */
static char *setting_key(const planner *p, int stage, int32_t parent)
{
    const vmae_sweep_row *row = &p->sweep->grids[p->grid].rows[p->row];
    char *key = vmae_arena_format(p->arena, "%d|%d|%lld", stage, (int)parent, (long long)p->sweep->seeds[p->seed]);
    for (size_t i = 0; i < row->set_count && key; i++)
        if (row->set[i]->stage == stage)
            key = vmae_arena_format(p->arena, "%s|%s=%s", key, row->set[i]->name, row->set[i]->text);
    return key;
}

static vmae_status set_parent(vmae_config *config, const char *root, const vmae_plan_run *parent)
{
    char *checkpoint = vmae_format("%s/%.*s/checkpoint.safetensors", root, VMAE_RUN_NAME, parent->identity);
    if (!checkpoint)
        return VMAE_ENOMEM;
    vmae_status st = vmae_config_set(config, "checkpoint", checkpoint, "the sweep");
    if (st == VMAE_OK)
        st = vmae_config_set(config, "parent", parent->identity, "the sweep");
    free(checkpoint);
    return st;
}

static vmae_status build(const vmae_sweep *sweep, const vmae_sweep_row *row, int stage, int64_t seed, const char *root,
                         const vmae_plan_run *parent, vmae_config **out)
{
    char number[32];
    const vmae_sweep_stage *s = &sweep->stages[stage];
    vmae_config *config = NULL;
    VMAE_TRY(vmae_config_copy(&config, s->base));
    vmae_status st = VMAE_OK;
    for (size_t i = 0; i < row->set_count && st == VMAE_OK; i++)
        if (row->set[i]->stage == stage)
            st = vmae_config_set(config, row->set[i]->name, row->set[i]->text, row->set[i]->origin);
    snprintf(number, sizeof number, "%lld", (long long)seed);
    if (st == VMAE_OK && vmae_config_option(config, "seed"))
        st = vmae_config_set(config, "seed", number, "the sweep's seeds");
    for (size_t i = 0; i < sweep->command_line_count && st == VMAE_OK; i++)
        if (sweep->command_line[i].stage == stage)
            st = vmae_config_set(config, sweep->command_line[i].name, sweep->command_line[i].text, "command line");
    if (st == VMAE_OK && parent)
        st = set_parent(config, root, parent);
    if (st == VMAE_OK)
        st = vmae_run_fill_parent(s->protocol, config);
    if (st == VMAE_OK)
        st = s->protocol->resolve(config);
    if (st == VMAE_OK)
        *out = config;
    else
        vmae_config_free(config);
    return st;
}

/* An identity that says only which configuration it is. */
static vmae_status provisional_identity(const vmae_config *config, const char *protocol, char identity[VMAE_HASH_HEX])
{
    vmae_hash *hash = vmae_hash_new();
    char *text = vmae_config_print(config);
    if (hash && text) {
        vmae_hash_field(hash, "provisional", protocol);
        vmae_hash_field(hash, "config", text);
        vmae_hash_hex(hash, identity);
    }
    const vmae_status st = hash && text ? VMAE_OK : VMAE_ENOMEM;
    free(text);
    vmae_hash_free(hash);
    return st;
}

static vmae_status identify(planner *p, const vmae_protocol *protocol, const vmae_config *config, vmae_plan_run *run)
{
    const bool parent_unknown = run->parent >= 0 && p->plan->runs[run->parent].provisional;
    vmae_status st = vmae_run_identity(protocol, config, run->identity);
    const bool no_data = st == VMAE_EUSER || st == VMAE_EIO || st == VMAE_EDATA;
    if (no_data && p->without_data) {
        if (!p->plan->data_problem)
            p->plan->data_problem = vmae_arena_strdup(p->arena, vmae_error());
        st = provisional_identity(config, protocol->name, run->identity);
        run->provisional = true;
    } else if (st == VMAE_OK) {
        run->provisional = parent_unknown;
    }
    return st;
}

static vmae_status add_run(planner *p, const vmae_plan_run *run, int32_t *index)
{
    vmae_plan *plan = p->plan;
    if (plan->run_count == p->room) {
        const size_t room = p->room ? 2 * p->room : 64;
        vmae_plan_run *runs = room > INT32_MAX ? NULL : vmae_realloc(plan->runs, room, sizeof *runs);
        if (!runs)
            return vmae_fail(VMAE_ENOMEM, "no memory for a plan of %zu runs", room);
        plan->runs = runs;
        p->room = room;
    }
    vmae_plan_run *fresh = &plan->runs[plan->run_count];
    *fresh = *run;
    const char *identity = vmae_arena_strdup(p->arena, run->identity);
    fresh->folder = vmae_arena_format(p->arena, "%s/%.*s", plan->root, VMAE_RUN_NAME, run->identity);
    fresh->message = "";
    if (!identity || !fresh->folder)
        return VMAE_ENOMEM;
    *index = (int32_t)plan->run_count++;
    return map_put(&p->by_identity, identity, *index);
}

static vmae_status in_cell(const planner *p, vmae_status st)
{
    const vmae_sweep_grid *grid = &p->sweep->grids[p->grid];
    return vmae_fail_in(st, "grid %s, row '%s'", grid->name, grid->rows[p->row].label);
}

/* The run of a stage in the cell at hand, with those it builds on. */
static vmae_status need(planner *p, int stage)
{
    if (p->cell[stage] >= 0)
        return VMAE_OK;
    const vmae_sweep_stage *s = &p->sweep->stages[stage];
    const vmae_sweep_row *row = &p->sweep->grids[p->grid].rows[p->row];
    int32_t parent = -1;
    if (takes_parent(p->sweep, row, stage)) {
        VMAE_TRY(need(p, s->builds_on));
        parent = p->cell[s->builds_on];
    }
    const char *key = setting_key(p, stage, parent);
    if (!key)
        return VMAE_ENOMEM;
    int32_t index = map_find(&p->by_setting, key);
    if (index < 0) {
        vmae_plan_run run = {
            .stage = stage, .parent = parent, .seed = p->sweep->seeds[p->seed], .grid = p->grid, .row = p->row
        };
        vmae_config *config = NULL;
        vmae_status st =
            build(p->sweep, row, stage, run.seed, p->plan->root, parent >= 0 ? &p->plan->runs[parent] : NULL, &config);
        if (st == VMAE_OK)
            st = identify(p, s->protocol, config, &run);
        vmae_config_free(config);
        if (st != VMAE_OK)
            return in_cell(p, st);
        index = map_find(&p->by_identity, run.identity);
        if (index < 0)
            VMAE_TRY(add_run(p, &run, &index));
        VMAE_TRY(map_put(&p->by_setting, key, index));
    }
    p->cell[stage] = index;
    return VMAE_OK;
}

/* A stage that others build on is run where one of them wants it. */
static bool is_leaf(const vmae_sweep *sweep, size_t stage)
{
    for (size_t i = 0; i < sweep->stage_count; i++)
        if (sweep->stages[i].builds_on == (int)stage)
            return false;
    return true;
}

static vmae_status plan_cell(planner *p, bool wanted)
{
    for (size_t s = 0; s < p->sweep->stage_count; s++)
        p->cell[s] = -1;
    for (size_t s = 0; s < p->sweep->stage_count; s++)
        if (is_leaf(p->sweep, s) || p->sweep->grids[p->grid].stage == (int)s)
            VMAE_TRY(need(p, (int)s));
    for (size_t s = 0; s < p->sweep->stage_count; s++) {
        vmae_plan_run *run = p->cell[s] >= 0 ? &p->plan->runs[p->cell[s]] : NULL;
        if (!run)
            continue;
        run->cells++;
        if (wanted && !run->wanted) { /* known by the first cell that wants it, not by one that --only left out */
            run->wanted = true;
            run->grid = p->grid;
            run->row = p->row;
        }
    }
    return VMAE_OK;
}

/* ---- which grids ---- */

static vmae_status choose_grids(const vmae_sweep *sweep, const char *only, vmae_arena *arena, bool **wanted)
{
    bool *flags = vmae_arena_calloc(arena, sweep->grid_count, sizeof *flags);
    const char **names = vmae_arena_calloc(arena, sweep->grid_count, sizeof *names);
    const char *list = "";
    if (!flags || !names)
        return VMAE_ENOMEM;
    for (size_t g = 0; g < sweep->grid_count; g++) {
        names[g] = sweep->grids[g].name;
        flags[g] = !only;
        list = vmae_arena_format(arena, "%s%s%s", list, g ? ", " : "", names[g]);
        if (!list)
            return VMAE_ENOMEM;
    }
    for (const char *at = only; at;) {
        const size_t length = strcspn(at, ",");
        const char *name = vmae_arena_format(arena, "%.*s", (int)length, at);
        size_t g = 0;
        if (!name)
            return VMAE_ENOMEM;
        while (g < sweep->grid_count && strcmp(names[g], name) != 0)
            g++;
        if (g == sweep->grid_count) {
            const char *nearest = vmae_nearest_name(name, names, sweep->grid_count);
            return vmae_fail(VMAE_EUSER, "%s has no grid '%s'; its grids are: %s%s%s%s", sweep->path, name, list,
                             nearest ? "; did you mean '" : "", nearest ? nearest : "", nearest ? "'?" : "");
        }
        flags[g] = true;
        at = at[length] ? at + length + 1 : NULL;
    }
    *wanted = flags;
    return VMAE_OK;
}

/* ---- the plan ---- */

static vmae_status make(planner *p, const char *only)
{
    const vmae_sweep *sweep = p->sweep;
    bool *wanted = NULL;
    VMAE_TRY(choose_grids(sweep, only, p->arena, &wanted));
    p->plan->grid_wanted = wanted;
    size_t cells = 0;
    p->plan->first_cell = vmae_arena_calloc(p->arena, sweep->grid_count, sizeof *p->plan->first_cell);
    if (!p->plan->first_cell)
        return VMAE_ENOMEM;
    for (size_t g = 0; g < sweep->grid_count; g++) {
        p->plan->first_cell[g] = cells;
        cells += sweep->grids[g].row_count * sweep->seed_count;
    }
    if (cells > VMAE_PLAN_CELLS_MAX)
        return vmae_fail(VMAE_EUSER, "%s makes %zu cells (rows x seeds); %d are the limit", sweep->path, cells,
                         VMAE_PLAN_CELLS_MAX);
    p->plan->cell_count = cells;
    p->plan->cells = vmae_arena_calloc(p->arena, cells * sweep->stage_count, sizeof *p->plan->cells);
    if (!p->plan->cells)
        return VMAE_ENOMEM;
    for (p->grid = 0; p->grid < sweep->grid_count; p->grid++)
        for (p->row = 0; p->row < sweep->grids[p->grid].row_count; p->row++)
            for (p->seed = 0; p->seed < sweep->seed_count; p->seed++) {
                p->cell = p->plan->cells +
                          (p->plan->first_cell[p->grid] + p->row * sweep->seed_count + p->seed) * sweep->stage_count;
                VMAE_TRY(plan_cell(p, wanted[p->grid]));
            }
    return VMAE_OK;
}

vmae_status vmae_plan_make(vmae_plan **out, const vmae_sweep *sweep, const vmae_plan_options *options)
{
    vmae_status st = VMAE_ENOMEM;
    vmae_arena *arena = vmae_arena_new();
    planner p = { .sweep = sweep, .arena = arena, .without_data = options->without_data };
    p.plan = arena ? vmae_arena_calloc(arena, 1, sizeof *p.plan) : NULL;
    if (!p.plan) {
        vmae_arena_free(arena);
        return st;
    }
    *p.plan = (vmae_plan){ .sweep = sweep, .root = vmae_arena_strdup(arena, options->root), .arena = arena };
    if (p.plan->root)
        st = make(&p, options->only);
    free(p.by_setting.entries);
    free(p.by_identity.entries);
    if (st == VMAE_OK)
        *out = p.plan;
    else
        vmae_plan_free(p.plan);
    return st;
}

void vmae_plan_free(vmae_plan *plan)
{
    if (!plan)
        return;
    free(plan->runs);
    vmae_arena_free(plan->arena);
}

int32_t vmae_plan_cell(const vmae_plan *plan, size_t grid, size_t row, size_t seed, size_t stage)
{
    const vmae_sweep *sweep = plan->sweep;
    return plan->cells[(plan->first_cell[grid] + row * sweep->seed_count + seed) * sweep->stage_count + stage];
}

vmae_status vmae_plan_config(const vmae_plan *plan, size_t run, vmae_config **config)
{
    const vmae_plan_run *r = &plan->runs[run];
    return build(plan->sweep, &plan->sweep->grids[r->grid].rows[r->row], r->stage, r->seed, plan->root,
                 r->parent >= 0 ? &plan->runs[r->parent] : NULL, config);
}

vmae_status vmae_plan_inspect(vmae_plan *plan)
{
    for (size_t i = 0; i < plan->run_count; i++) {
        vmae_plan_run *run = &plan->runs[i];
        char said[1024], message[1024];
        if (run->provisional)
            continue;
        run->state = vmae_run_inspect(run->folder, said, sizeof said);
        vmae_display_text(message, sizeof message, said); /* it comes out of a journal */
        run->message = *message ? vmae_arena_strdup(plan->arena, message) : "";
        if (!run->message)
            return VMAE_ENOMEM;
    }
    return VMAE_OK;
}

void vmae_plan_name(const vmae_plan *plan, size_t run, char *name, size_t size)
{
    const vmae_plan_run *r = &plan->runs[run];
    const vmae_sweep_grid *grid = &plan->sweep->grids[r->grid];
    snprintf(name, size, "%s %s/%s seed %lld", plan->sweep->stages[r->stage].name, grid->name, grid->rows[r->row].label,
             (long long)r->seed);
}

char *vmae_plan_path(const vmae_plan *plan, const char *suffix)
{
    return vmae_format("%s/sweeps/%s-%s%s", plan->root, plan->sweep->name, plan->sweep->stored_scale, suffix);
}
