/* load.c -- a sweep file and a command line to a vmae_sweep. */
#include "sweeps/grid.h"
#include "sweeps/override.h"
#include "sweeps/setting.h"
#include "sweeps/sweep.h"

#include "engine/core/fs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const file_names[] = { "name", "title", "stages", "scales", "seeds", "grids", NULL };
static const char *const stage_names[] = { "protocol", "name", "recipe", "builds_on", NULL };
static const char *const scale_names[] = { "data", "seeds", NULL };
static const char *const grid_names[] = { "name", "title", "paper", "axis", "note", "stage", "metrics", NULL };
static const char *const metric_names[] = { "metric", "label", "paper_column", NULL };

typedef struct loader {
    vmae_sweep *sweep;
    vmae_arena *arena;
    config_setting_t *root, *scale;
    const vmae_sweep_choice *choice;
} loader;

/* ---- scales ---- */

static vmae_status find_scales(config_setting_t *root, config_setting_t **scales)
{
    VMAE_TRY(vmae_setting_group(root, "scales", scales));
    if (!*scales || config_setting_length(*scales) == 0)
        return vmae_setting_refuse(*scales ? *scales : root, "a sweep needs scales: scales = { demo = { ... }; };");
    return VMAE_OK;
}

static vmae_status choose_scale(loader *l)
{
    config_setting_t *scales;
    VMAE_TRY(find_scales(l->root, &scales));
    const size_t count = (size_t)config_setting_length(scales);
    const char **names = vmae_arena_calloc(l->arena, count, sizeof *names);
    if (!names)
        return VMAE_ENOMEM;
    for (size_t i = 0; i < count; i++) {
        names[i] = config_setting_name(config_setting_get_elem(scales, (unsigned)i));
        if (!config_setting_is_group(config_setting_get_elem(scales, (unsigned)i)))
            return vmae_setting_refuse(config_setting_get_elem(scales, (unsigned)i),
                                       "scale %s must be a group: %s = { ... };", names[i], names[i]);
    }
    const char *wanted = l->choice->scale;
    if (!wanted)
        wanted = config_setting_get_member(scales, "demo") ? "demo" : names[0];
    l->scale = vmae_is_plain_name(wanted) ? config_setting_get_member(scales, wanted) : NULL;
    if (!l->scale) {
        const char *list = "";
        for (size_t i = 0; i < count && list; i++)
            list = vmae_arena_format(l->arena, "%s%s%s", list, i ? ", " : "", names[i]);
        const char *nearest = vmae_nearest_name(wanted, names, count);
        return vmae_fail(VMAE_EUSER, "%s has no scale '%s'; its scales are: %s%s%s%s", l->sweep->path, wanted,
                         list ? list : "", nearest ? "; did you mean '" : "", nearest ? nearest : "",
                         nearest ? "'?" : "");
    }
    l->sweep->scale = vmae_arena_strdup(l->arena, wanted);
    l->sweep->data = "";
    return l->sweep->scale ? vmae_setting_text(l->arena, l->scale, "data", false, &l->sweep->data) : VMAE_ENOMEM;
}

/* ---- seeds ---- */

static vmae_status take_seeds(loader *l, const int64_t *seeds, size_t count, const char *origin)
{
    for (size_t i = 0; i < count; i++) {
        if (seeds[i] < 0 || seeds[i] > INT64_C(1) << 53)
            return vmae_fail(VMAE_EUSER, "%s: seed %lld is not in 0 to 2^53", origin, (long long)seeds[i]);
        for (size_t k = 0; k < i; k++)
            if (seeds[k] == seeds[i])
                return vmae_fail(VMAE_EUSER, "%s: seed %lld is there twice", origin, (long long)seeds[i]);
    }
    l->sweep->seeds = seeds;
    l->sweep->seed_count = count;
    return VMAE_OK;
}

static vmae_status seeds_of_setting(loader *l, const config_setting_t *list)
{
    const int count = config_setting_is_aggregate(list) ? config_setting_length(list) : 0;
    if (count < 1 || count > 10000)
        return vmae_setting_refuse(list, "seeds must be a list of whole numbers: seeds = [ 1, 2, 3 ];");
    int64_t *seeds = vmae_arena_calloc(l->arena, (size_t)count, sizeof *seeds);
    const char *origin = vmae_setting_origin(l->arena, list);
    if (!seeds || !origin)
        return VMAE_ENOMEM;
    for (int i = 0; i < count; i++) {
        const config_setting_t *seed = config_setting_get_elem(list, (unsigned)i);
        const int type = config_setting_type(seed);
        if (type != CONFIG_TYPE_INT && type != CONFIG_TYPE_INT64)
            return vmae_setting_refuse(list, "seed %d is not a whole number", i + 1);
        seeds[i] = config_setting_get_int64(seed);
    }
    return take_seeds(l, seeds, (size_t)count, origin);
}

static vmae_status seeds_of_text(loader *l, const char *text)
{
    size_t count = 1, n = 0;
    for (const char *c = text; *c; c++)
        count += *c == ',';
    int64_t *seeds = vmae_arena_calloc(l->arena, count, sizeof *seeds);
    if (!seeds)
        return VMAE_ENOMEM;
    for (const char *at = text;; at++) {
        char *end;
        errno = 0;
        seeds[n++] = strtoll(at, &end, 10);
        if (end == at || errno || (*end && *end != ','))
            return vmae_fail(VMAE_EUSER, "--seeds %s: write whole numbers with commas between: --seeds 1,2,3", text);
        at = end;
        if (!*at)
            return take_seeds(l, seeds, n, "--seeds");
    }
}

static bool is_seed(const int64_t *seeds, size_t count, int64_t seed)
{
    for (size_t i = 0; i < count; i++)
        if (seeds[i] == seed)
            return true;
    return false;
}

static vmae_status read_seeds(loader *l)
{
    static const int64_t one = 1;
    const config_setting_t *list = config_setting_get_member(l->scale, "seeds");
    if (!list)
        list = config_setting_get_member(l->root, "seeds");
    VMAE_TRY(list ? seeds_of_setting(l, list) : take_seeds(l, &one, 1, "seeds"));
    if (!l->choice->seeds)
        return VMAE_OK;
    const int64_t *shipped = l->sweep->seeds;
    const size_t count = l->sweep->seed_count;
    VMAE_TRY(seeds_of_text(l, l->choice->seeds));
    l->sweep->other_seeds =
        l->sweep->seed_count != count; /* each is there once: so equal counts and no new one are equal sets */
    for (size_t i = 0; i < l->sweep->seed_count; i++)
        l->sweep->other_seeds |= !is_seed(shipped, count, l->sweep->seeds[i]);
    return VMAE_OK;
}

/* ---- stages ---- */

static vmae_status find_protocol(loader *l, const config_setting_t *stage, const char *name,
                                 const vmae_protocol **found)
{
    if ((*found = vmae_protocol_find(name)))
        return VMAE_OK;
    size_t count;
    const vmae_protocol *const *all = vmae_protocol_all(&count);
    const char **names = vmae_arena_calloc(l->arena, count, sizeof *names);
    if (!names)
        return VMAE_ENOMEM;
    for (size_t i = 0; i < count; i++)
        names[i] = all[i]->name;
    return vmae_setting_refuse(config_setting_get_member(stage, "protocol"), "there is no protocol '%s'%s", name,
                               vmae_setting_suggest(l->arena, name, names, count));
}

/* Recipes are named from the sweep file's own folder, as @include is. */
static vmae_status read_recipe(loader *l, const config_setting_t *stage, vmae_config *config)
{
    const char *recipe = NULL;
    VMAE_TRY(vmae_setting_text(l->arena, stage, "recipe", false, &recipe));
    if (!recipe)
        return VMAE_OK;
    const char *file = config_setting_source_file(stage);
    const size_t folder = file ? (size_t)(vmae_path_base(file) - file) : 0;
    const char *path =
        *recipe == '/' ? recipe : vmae_arena_format(l->arena, "%.*s%s", (int)folder, file ? file : "", recipe);
    if (!path)
        return VMAE_ENOMEM;
    const vmae_status st = vmae_config_read(config, path, NULL);
    if (st == VMAE_OK)
        return VMAE_OK;
    const char *origin = vmae_setting_origin(l->arena, config_setting_get_member(stage, "recipe"));
    return vmae_fail_in(st, "%s: recipe", origin ? origin : l->sweep->path);
}

static vmae_status read_base(loader *l, const config_setting_t *setting, vmae_sweep_stage *stage)
{
    VMAE_TRY(vmae_protocol_config(stage->protocol, &stage->base));
    VMAE_TRY(read_recipe(l, setting, stage->base));
    VMAE_TRY(vmae_config_apply(stage->base, setting, stage_names));
    config_setting_t *scaled;
    VMAE_TRY(vmae_setting_group(l->scale, stage->name, &scaled));
    return scaled ? vmae_config_apply(stage->base, scaled, NULL) : VMAE_OK;
}

static vmae_status find_builds_on(loader *l, const config_setting_t *setting, size_t index)
{
    vmae_sweep_stage *stage = &l->sweep->stages[index];
    const char *wanted = NULL;
    stage->builds_on = -1;
    VMAE_TRY(vmae_setting_text(l->arena, setting, "builds_on", false, &wanted));
    if (wanted && !stage->protocol->needs_checkpoint)
        return vmae_setting_refuse(setting, "stage %s builds on '%s', but protocol %s takes no checkpoint", stage->name,
                                   wanted, stage->protocol->name);
    if (!stage->protocol->needs_checkpoint)
        return VMAE_OK;
    for (size_t i = index; i-- > 0 && stage->builds_on < 0;) {
        const vmae_sweep_stage *earlier = &l->sweep->stages[i];
        if (wanted ? strcmp(earlier->name, wanted) == 0 : !earlier->protocol->needs_checkpoint)
            stage->builds_on = (int)i;
    }
    if (wanted && stage->builds_on < 0)
        return vmae_setting_refuse(setting, "stage %s builds on '%s', which is no stage before it", stage->name,
                                   wanted);
    return VMAE_OK;
}

static vmae_status read_stage(loader *l, const config_setting_t *setting, size_t index)
{
    vmae_sweep_stage *stage = &l->sweep->stages[index];
    const char *protocol = NULL;
    VMAE_TRY(vmae_setting_text(l->arena, setting, "protocol", true, &protocol));
    VMAE_TRY(find_protocol(l, setting, protocol, &stage->protocol));
    stage->name = stage->protocol->name;
    VMAE_TRY(vmae_setting_text(l->arena, setting, "name", false, &stage->name));
    if (!vmae_is_plain_name(stage->name))
        return vmae_setting_refuse(setting, "stage name '%s': use letters, digits, _ and -", stage->name);
    for (size_t i = 0; i < index; i++)
        if (strcmp(l->sweep->stages[i].name, stage->name) == 0)
            return vmae_setting_refuse(setting, "two stages are called %s; give one a name = \"...\"", stage->name);
    for (size_t i = 0; scale_names[i]; i++)
        if (strcmp(stage->name, scale_names[i]) == 0)
            return vmae_setting_refuse(setting, "a stage cannot be called '%s', which means something else in a scale",
                                       stage->name);
    VMAE_TRY(find_builds_on(l, setting, index));
    l->sweep->stage_count = index + 1; /* so that its config is released */
    return read_base(l, setting, stage);
}

static bool is_stage(const vmae_sweep *sweep, const char *name)
{
    for (size_t i = 0; i < sweep->stage_count; i++)
        if (strcmp(sweep->stages[i].name, name) == 0)
            return true;
    return false;
}

/* A file of scales that sweeps share may speak of protocols that this one has no stage of: checked, not used. */
static vmae_status check_foreign(const loader *l, const config_setting_t *scale)
{
    size_t count;
    const vmae_protocol *const *protocols = vmae_protocol_all(&count);
    for (size_t i = 0; i < count; i++) {
        config_setting_t *group;
        vmae_config *scratch = NULL;
        VMAE_TRY(vmae_setting_group(scale, protocols[i]->name, &group));
        if (!group || is_stage(l->sweep, protocols[i]->name))
            continue;
        vmae_status st = vmae_protocol_config(protocols[i], &scratch);
        if (st == VMAE_OK)
            st = vmae_config_apply(scratch, group, NULL);
        vmae_config_free(scratch);
        VMAE_TRY(st);
    }
    return VMAE_OK;
}

/* Every scale is checked, whichever runs: else a misspelt option of `paper` shows on the cluster. */
static vmae_status check_scale(loader *l, const config_setting_t *scale, const char *const *names)
{
    VMAE_TRY(vmae_setting_check(scale, "a scale of this sweep", names));
    for (size_t s = 0; s < l->sweep->stage_count; s++) {
        const vmae_sweep_stage *stage = &l->sweep->stages[s];
        config_setting_t *group;
        VMAE_TRY(vmae_setting_group(scale, stage->name, &group));
        if (!group)
            continue;
        vmae_config *scratch = NULL;
        VMAE_TRY(vmae_config_copy(&scratch, stage->base));
        const vmae_status st = vmae_config_apply(scratch, group, NULL);
        vmae_config_free(scratch);
        VMAE_TRY(st);
    }
    return check_foreign(l, scale);
}

static vmae_status read_stages(loader *l)
{
    config_setting_t *list;
    VMAE_TRY(vmae_setting_list(l->root, "stages", &list));
    const int count = list ? config_setting_length(list) : 0;
    if (count < 1 || count > 100)
        return vmae_setting_refuse(
            list ? list : l->root,
            "a sweep needs stages: stages = ( { protocol = \"pretrain\"; }, { protocol = \"probe\"; } );");
    l->sweep->stages = vmae_arena_calloc(l->arena, (size_t)count, sizeof *l->sweep->stages);
    if (!l->sweep->stages)
        return VMAE_ENOMEM;
    for (int i = 0; i < count; i++)
        VMAE_TRY(read_stage(l, config_setting_get_elem(list, (unsigned)i), (size_t)i));

    size_t n = 0, protocol_count;
    const vmae_protocol *const *protocols = vmae_protocol_all(&protocol_count);
    const char **names = vmae_arena_calloc(l->arena, (size_t)count + protocol_count + 3, sizeof *names);
    if (!names)
        return VMAE_ENOMEM;
    for (; scale_names[n]; n++)
        names[n] = scale_names[n];
    for (int i = 0; i < count; i++)
        names[n++] = l->sweep->stages[i].name;
    for (size_t i = 0; i < protocol_count; i++)
        if (!is_stage(l->sweep, protocols[i]->name))
            names[n++] = protocols[i]->name;
    config_setting_t *scales;
    VMAE_TRY(find_scales(l->root, &scales));
    const int scale_count = config_setting_length(scales);
    for (int i = 0; i < scale_count; i++)
        VMAE_TRY(check_scale(l, config_setting_get_elem(scales, (unsigned)i), names));
    return VMAE_OK;
}

/* ---- grids ---- */

static vmae_status read_metrics(loader *l, const config_setting_t *setting, vmae_sweep_grid *grid)
{
    config_setting_t *list;
    VMAE_TRY(vmae_setting_list(setting, "metrics", &list));
    const int count = list ? config_setting_length(list) : 0;
    if (count < 1 || count > 1000)
        return vmae_setting_refuse(
            list ? list : setting,
            "a grid needs metrics to show: metrics = ( { metric = \"top1\"; label = \"top-1\"; } );");
    grid->metrics = vmae_arena_calloc(l->arena, (size_t)count, sizeof *grid->metrics);
    if (!grid->metrics)
        return VMAE_ENOMEM;
    for (int i = 0; i < count; i++) {
        const config_setting_t *element = config_setting_get_elem(list, (unsigned)i);
        vmae_sweep_metric *metric = &grid->metrics[i];
        VMAE_TRY(vmae_setting_check(element, "a metric of a grid", metric_names));
        VMAE_TRY(vmae_setting_text(l->arena, element, "metric", true, &metric->metric));
        metric->label = metric->metric;
        VMAE_TRY(vmae_setting_text(l->arena, element, "label", false, &metric->label));
        VMAE_TRY(vmae_setting_text(l->arena, element, "paper_column", false, &metric->paper_column));
    }
    grid->metric_count = (size_t)count;
    return VMAE_OK;
}

static vmae_status read_grid_stage(loader *l, const config_setting_t *setting, vmae_sweep_grid *grid)
{
    const char *name = NULL;
    grid->stage = (int)l->sweep->stage_count - 1;
    VMAE_TRY(vmae_setting_text(l->arena, setting, "stage", false, &name));
    for (size_t i = 0; name && i < l->sweep->stage_count; i++)
        if (strcmp(name, l->sweep->stages[i].name) == 0) {
            grid->stage = (int)i;
            return VMAE_OK;
        }
    return name ? vmae_setting_refuse(config_setting_get_member(setting, "stage"), "there is no stage '%s'", name)
                : VMAE_OK;
}

static vmae_status read_grid(loader *l, const config_setting_t *setting, vmae_sweep_grid *grid, size_t index)
{
    VMAE_TRY(vmae_setting_text(l->arena, setting, "name", true, &grid->name));
    if (!vmae_is_plain_name(grid->name))
        return vmae_setting_refuse(setting, "grid name '%s': use letters, digits, _ and -", grid->name);
    for (size_t i = 0; i < index; i++)
        if (strcmp(l->sweep->grids[i].name, grid->name) == 0)
            return vmae_setting_refuse(setting, "two grids are called %s", grid->name);
    grid->title = grid->axis = grid->name;
    VMAE_TRY(vmae_setting_text(l->arena, setting, "title", false, &grid->title));
    VMAE_TRY(vmae_setting_text(l->arena, setting, "axis", false, &grid->axis));
    VMAE_TRY(vmae_setting_text(l->arena, setting, "paper", false, &grid->paper));
    VMAE_TRY(vmae_setting_text(l->arena, setting, "note", false, &grid->note));
    VMAE_TRY(read_grid_stage(l, setting, grid));
    VMAE_TRY(read_metrics(l, setting, grid));
    return vmae_grid_expand(l->sweep, setting, grid_names, &grid->rows, &grid->row_count);
}

static vmae_status read_grids(loader *l)
{
    config_setting_t *list;
    VMAE_TRY(vmae_setting_list(l->root, "grids", &list));
    const int count = list ? config_setting_length(list) : 0;
    if (count < 1 || count > 1000)
        return vmae_setting_refuse(list ? list : l->root, "a sweep needs grids: grids = ( { name = \"a\"; ... } );");
    l->sweep->grids = vmae_arena_calloc(l->arena, (size_t)count, sizeof *l->sweep->grids);
    if (!l->sweep->grids)
        return VMAE_ENOMEM;
    for (int i = 0; i < count; i++)
        VMAE_TRY(read_grid(l, config_setting_get_elem(list, (unsigned)i), &l->sweep->grids[i], (size_t)i));
    l->sweep->grid_count = (size_t)count;
    return VMAE_OK;
}

/* ---- the whole ---- */

static vmae_status load(loader *l)
{
    vmae_sweep *sweep = l->sweep;
    VMAE_TRY(vmae_setting_check(l->root, "a sweep file", file_names));
    VMAE_TRY(vmae_setting_text(l->arena, l->root, "name", true, &sweep->name));
    if (!vmae_is_plain_name(sweep->name))
        return vmae_setting_refuse(config_setting_get_member(l->root, "name"),
                                   "name '%s': use letters, digits, _ and -", sweep->name);
    sweep->title = sweep->name;
    VMAE_TRY(vmae_setting_text(l->arena, l->root, "title", false, &sweep->title));
    VMAE_TRY(choose_scale(l));
    VMAE_TRY(read_seeds(l));
    VMAE_TRY(read_stages(l));
    VMAE_TRY(read_grids(l));
    return vmae_sweep_override(sweep, l->choice->overrides, l->choice->override_count);
}

vmae_status vmae_sweep_load(vmae_sweep **out, const char *path, const vmae_sweep_choice *choice)
{
    static const vmae_sweep_choice nothing;
    vmae_status st;
    config_t tree;
    loader l = { .choice = choice ? choice : &nothing };
    config_init(&tree);
    l.arena = vmae_arena_new();
    l.sweep = l.arena ? vmae_arena_calloc(l.arena, 1, sizeof *l.sweep) : NULL;
    if (!l.sweep) {
        vmae_arena_free(l.arena);
        st = VMAE_ENOMEM;
        goto done;
    }
    l.sweep->arena = l.arena;
    if (!(l.sweep->path = vmae_arena_strdup(l.arena, path))) {
        st = VMAE_ENOMEM;
        goto done;
    }
    if ((st = vmae_config_parse_file(&tree, path)) != VMAE_OK)
        goto done;
    l.root = config_root_setting(&tree);
    if (!config_setting_source_file(l.root))
        l.root->file = l.sweep->path; /* an empty file has no place of its own */
    if ((st = load(&l)) != VMAE_OK)
        goto done;
    *out = l.sweep;
    l.sweep = NULL;
done:
    vmae_sweep_free(l.sweep);
    config_destroy(&tree);
    return st;
}

void vmae_sweep_free(vmae_sweep *sweep)
{
    if (!sweep)
        return;
    for (size_t i = 0; i < sweep->stage_count; i++)
        vmae_config_free(sweep->stages[i].base);
    vmae_arena_free(sweep->arena);
}

static vmae_status print_scales(config_setting_t *root, vmae_arena *arena, FILE *out)
{
    config_setting_t *scales;
    VMAE_TRY(find_scales(root, &scales));
    const int count = config_setting_length(scales);
    for (int i = 0; i < count; i++) {
        const config_setting_t *scale = config_setting_get_elem(scales, (unsigned)i);
        const char *data = "";
        if (config_setting_is_group(scale))
            VMAE_TRY(vmae_setting_text(arena, scale, "data", false, &data));
        fprintf(out, "%-10s %s\n", config_setting_name(scale), data);
    }
    return VMAE_OK;
}

vmae_status vmae_sweep_list_scales(const char *path, FILE *out)
{
    config_t tree;
    config_init(&tree);
    vmae_arena *arena = vmae_arena_new();
    vmae_status st = arena ? vmae_config_parse_file(&tree, path) : VMAE_ENOMEM;
    if (st == VMAE_OK)
        st = print_scales(config_root_setting(&tree), arena, out);
    vmae_arena_free(arena);
    config_destroy(&tree);
    return st;
}
