/* grid.c -- blocks to rows: product, zip, union, exclude. Nothing in here can loop or compute. */
#include "sweeps/grid.h"

#include "engine/core/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_MAX_BYTES = 256 };

/* One option with a list of values. */
typedef struct axis {
    int stage;
    char *name;
    const config_setting_t *values;
    const char *label; /* the shortest name that no other axis of the block has */
} axis;

typedef struct axis_list {
    axis *list;
    size_t count;
} axis_list;

typedef struct rows {
    vmae_sweep_row *list;
    size_t count;
} rows;

static vmae_arena *arena_of(const vmae_sweep *sweep)
{
    return sweep->arena;
}

/* ---- options of stages ---- */

static vmae_status find_stage(const vmae_sweep *sweep, const config_setting_t *group, int *stage)
{
    for (size_t i = 0; i < sweep->stage_count; i++)
        if (strcmp(sweep->stages[i].name, config_setting_name(group)) == 0) {
            *stage = (int)i;
            return config_setting_is_group(group)
                       ? VMAE_OK
                       : vmae_setting_refuse(group, "%s must be a group of options: %s = { ... };",
                                             sweep->stages[i].name, sweep->stages[i].name);
        }
    const char **names = vmae_arena_calloc(arena_of(sweep), sweep->stage_count, sizeof *names);
    if (!names)
        return VMAE_ENOMEM;
    for (size_t i = 0; i < sweep->stage_count; i++)
        names[i] = sweep->stages[i].name;
    return vmae_setting_refuse(
        group, "there is no stage '%s'%s", config_setting_name(group),
        vmae_setting_suggest(arena_of(sweep), config_setting_name(group), names, sweep->stage_count));
}

typedef vmae_status (*leaf_function)(void *context, const char *name, const config_setting_t *leaf);

/* Calls for every setting that is not a group, with its dotted name. */
static vmae_status walk(const config_setting_t *group, const char *prefix, leaf_function call, void *context)
{
    const int count = config_setting_length(group);
    for (int i = 0; i < count; i++) {
        const config_setting_t *member = config_setting_get_elem(group, (unsigned)i);
        char name[NAME_MAX_BYTES];
        if (snprintf(name, sizeof name, "%s%s%s", prefix, *prefix ? "." : "", config_setting_name(member)) >=
            (int)sizeof name)
            return vmae_setting_refuse(member, "this name is too long");
        VMAE_TRY(config_setting_is_group(member) ? walk(member, name, call, context) : call(context, name, member));
    }
    return VMAE_OK;
}

static vmae_status push(vmae_arena *arena, vmae_assignment_list *list, const vmae_assignment *assignment)
{
    if (list->count == list->room) {
        const size_t room = list->room ? 2 * list->room : 8;
        const vmae_assignment **more = vmae_arena_calloc(arena, room, sizeof *more);
        if (!more)
            return VMAE_ENOMEM;
        if (list->count)
            memcpy(more, list->list, list->count * sizeof *more);
        list->list = more;
        list->room = room;
    }
    list->list[list->count++] = assignment;
    return VMAE_OK;
}

static const vmae_assignment *assignment_of(vmae_arena *arena, int stage, const char *name,
                                            const config_setting_t *value, const config_setting_t *place)
{
    vmae_assignment *assignment = vmae_arena_calloc(arena, 1, sizeof *assignment);
    if (!assignment)
        return NULL;
    assignment->stage = stage;
    assignment->name = vmae_arena_strdup(arena, name);
    assignment->text = vmae_setting_value(arena, value);
    assignment->origin = vmae_setting_origin(arena, place);
    return assignment->name && assignment->text && assignment->origin ? assignment : NULL;
}

typedef struct set_context {
    const vmae_sweep *sweep;
    int stage;
    vmae_assignment_list *list;
} set_context;

static vmae_status set_leaf(void *context, const char *name, const config_setting_t *leaf)
{
    set_context *c = context;
    const vmae_assignment *assignment = assignment_of(arena_of(c->sweep), c->stage, name, leaf, leaf);
    return assignment ? push(arena_of(c->sweep), c->list, assignment) : VMAE_ENOMEM;
}

vmae_status vmae_grid_assignments(const vmae_sweep *sweep, const config_setting_t *stages, vmae_assignment_list *list)
{
    const int count = config_setting_length(stages);
    for (int i = 0; i < count; i++) {
        const config_setting_t *group = config_setting_get_elem(stages, (unsigned)i);
        set_context context = { sweep, 0, list };
        VMAE_TRY(find_stage(sweep, group, &context.stage));
        vmae_config *scratch = NULL; /* checks names and types, with their place */
        VMAE_TRY(vmae_config_copy(&scratch, sweep->stages[context.stage].base));
        const vmae_status st = vmae_config_apply(scratch, group, NULL);
        vmae_config_free(scratch);
        VMAE_TRY(st);
        VMAE_TRY(walk(group, "", set_leaf, &context));
    }
    return VMAE_OK;
}

/* ---- axes ---- */

typedef struct axis_context {
    const vmae_sweep *sweep;
    int stage;
    const char *what; /* "product" or "zip" */
    bool scalars;     /* a single value is fine (patterns) */
    axis_list *axes;
    vmae_config *scratch;
} axis_context;

static vmae_status axis_leaf(void *context, const char *name, const config_setting_t *leaf)
{
    axis_context *c = context;
    vmae_arena *arena = arena_of(c->sweep);
    const bool scalar = !config_setting_is_aggregate(leaf);
    const int count = scalar ? 1 : config_setting_length(leaf);
    if ((scalar && !c->scalars) || count == 0)
        return vmae_setting_refuse(leaf, "%s needs a list of values for %s: [ ... ], or ( ... ) if their types differ",
                                   c->what, name);
    for (int i = 0; i < count; i++) {
        const config_setting_t *value = scalar ? leaf : config_setting_get_elem(leaf, (unsigned)i);
        if (config_setting_is_aggregate(value))
            return vmae_setting_refuse(leaf, "value %d of %s must be a single value", i + 1, name);
        const vmae_assignment *checked = assignment_of(arena, c->stage, name, value, leaf);
        if (!checked)
            return VMAE_ENOMEM;
        VMAE_TRY(vmae_config_set(c->scratch, name, checked->text, checked->origin));
    }
    axis *more = vmae_arena_calloc(arena, c->axes->count + 1, sizeof *more);
    if (!more)
        return VMAE_ENOMEM;
    if (c->axes->count)
        memcpy(more, c->axes->list, c->axes->count * sizeof *more);
    more[c->axes->count] = (axis){ c->stage, vmae_arena_strdup(arena, name), leaf, NULL };
    c->axes->list = more;
    return more[c->axes->count++].name ? VMAE_OK : VMAE_ENOMEM;
}

/* `group` is { STAGE = { option = [ values ] } }. */
static vmae_status read_axes(const vmae_sweep *sweep, const config_setting_t *group, const char *what, bool scalars,
                             axis_list *axes)
{
    const int count = config_setting_length(group);
    for (int i = 0; i < count; i++) {
        const config_setting_t *stage = config_setting_get_elem(group, (unsigned)i);
        axis_context context = { sweep, 0, what, scalars, axes, NULL };
        VMAE_TRY(find_stage(sweep, stage, &context.stage));
        VMAE_TRY(vmae_config_copy(&context.scratch, sweep->stages[context.stage].base));
        const vmae_status st = walk(stage, "", axis_leaf, &context);
        vmae_config_free(context.scratch);
        VMAE_TRY(st);
    }
    return axes->count ? VMAE_OK : vmae_setting_refuse(group, "%s is empty", what);
}

static const char *last_part(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot ? dot + 1 : name;
}

/* "mask_ratio" if no other axis ends so, else the whole name. */
static void label_axes(axis_list *axes)
{
    for (size_t i = 0; i < axes->count; i++) {
        axis *a = &axes->list[i];
        a->label = last_part(a->name);
        for (size_t k = 0; k < axes->count; k++)
            if (k != i && strcmp(last_part(axes->list[k].name), last_part(a->name)) == 0)
                a->label = a->name;
    }
}

static const config_setting_t *axis_value(const axis *a, size_t index)
{
    return config_setting_is_aggregate(a->values) ? config_setting_get_elem(a->values, (unsigned)index) : a->values;
}

static size_t axis_length(const axis *a)
{
    return config_setting_is_aggregate(a->values) ? (size_t)config_setting_length(a->values) : 1;
}

/* ---- rows ---- */

static vmae_status cross(vmae_arena *arena, const config_setting_t *place, rows *to, const rows *with)
{
    if (with->count > 0 && to->count > VMAE_GRID_ROWS_MAX / with->count)
        return vmae_setting_refuse(place, "this block has more than %d rows", VMAE_GRID_ROWS_MAX);
    rows all = { vmae_arena_calloc(arena, to->count * with->count, sizeof *all.list), 0 };
    if (!all.list)
        return VMAE_ENOMEM;
    for (size_t i = 0; i < to->count; i++)
        for (size_t k = 0; k < with->count; k++) {
            const vmae_sweep_row *a = &to->list[i], *b = &with->list[k];
            const size_t count = a->set_count + b->set_count;
            const vmae_assignment **set = vmae_arena_calloc(arena, count, sizeof *set);
            if (!set)
                return VMAE_ENOMEM;
            if (a->set_count)
                memcpy(set, a->set, a->set_count * sizeof *set);
            if (b->set_count)
                memcpy(set + a->set_count, b->set, b->set_count * sizeof *set);
            const char *label = !*a->label ? b->label : a->label;
            if (*a->label && *b->label)
                label = vmae_arena_format(arena, "%s, %s", a->label, b->label);
            if (!label)
                return VMAE_ENOMEM;
            all.list[all.count++] = (vmae_sweep_row){ label, b->paper_row ? b->paper_row : a->paper_row, set, count };
        }
    *to = all;
    return VMAE_OK;
}

/* Rows of one axis (axes == 1), or of axes that run together. `bare`: labelled by the value alone. */
static vmae_status axis_rows(vmae_arena *arena, const axis *axes, size_t count, bool bare, rows *out)
{
    const size_t length = axis_length(&axes[0]);
    rows all = { vmae_arena_calloc(arena, length, sizeof *all.list), length };
    if (!all.list)
        return VMAE_ENOMEM;
    for (size_t i = 0; i < length; i++) {
        const vmae_assignment **set = vmae_arena_calloc(arena, count, sizeof *set);
        const char *label = "";
        if (!set)
            return VMAE_ENOMEM;
        for (size_t a = 0; a < count; a++) {
            set[a] = assignment_of(arena, axes[a].stage, axes[a].name, axis_value(&axes[a], i), axes[a].values);
            if (!set[a])
                return VMAE_ENOMEM;
            label = bare
                        ? set[a]->text
                        : vmae_arena_format(arena, "%s%s%s %s", label, *label ? ", " : "", axes[a].label, set[a]->text);
            if (!label)
                return VMAE_ENOMEM;
        }
        all.list[i] = (vmae_sweep_row){ label, 0, set, count };
    }
    *out = all;
    return VMAE_OK;
}

static vmae_status cross_axes(const vmae_sweep *sweep, const config_setting_t *block, bool alone, rows *to)
{
    vmae_arena *arena = arena_of(sweep);
    config_setting_t *product, *zip;
    axis_list axes = { NULL, 0 };
    size_t products = 0;
    VMAE_TRY(vmae_setting_group(block, "product", &product));
    VMAE_TRY(vmae_setting_group(block, "zip", &zip));
    if (product) {
        VMAE_TRY(read_axes(sweep, product, "product", false, &axes));
        products = axes.count;
    }
    if (zip) {
        VMAE_TRY(read_axes(sweep, zip, "zip", false, &axes));
        for (size_t i = products + 1; i < axes.count; i++)
            if (axis_length(&axes.list[i]) != axis_length(&axes.list[products]))
                return vmae_setting_refuse(axes.list[i].values,
                                           "zip takes values together, but %s has %zu and %s has %zu",
                                           axes.list[products].name, axis_length(&axes.list[products]),
                                           axes.list[i].name, axis_length(&axes.list[i]));
    }
    label_axes(&axes);
    for (size_t i = 0; i < axes.count; i++)
        for (size_t k = 0; k < i; k++)
            if (axes.list[i].stage == axes.list[k].stage && strcmp(axes.list[i].name, axes.list[k].name) == 0)
                return vmae_setting_refuse(axes.list[i].values, "%s is in product and in zip", axes.list[i].name);
    const bool bare = alone && axes.count == 1;
    for (size_t i = 0; i < products; i++) {
        rows values;
        VMAE_TRY(axis_rows(arena, &axes.list[i], 1, bare, &values));
        VMAE_TRY(cross(arena, axes.list[i].values, to, &values));
    }
    if (axes.count > products) {
        rows values;
        VMAE_TRY(axis_rows(arena, &axes.list[products], axes.count - products, bare, &values));
        VMAE_TRY(cross(arena, zip, to, &values));
    }
    return VMAE_OK;
}

/* ---- exclude ---- */

/* The row's own value of an option, else the stage's. */
static const char *value_in_row(const vmae_sweep *sweep, const vmae_sweep_row *row, const axis *a)
{
    for (size_t i = row->set_count; i-- > 0;)
        if (row->set[i]->stage == a->stage && strcmp(row->set[i]->name, a->name) == 0)
            return row->set[i]->text;
    return vmae_config_value(sweep->stages[a->stage].base, a->name);
}

static bool same_value(const char *a, const char *b)
{
    char *end_a, *end_b;
    const double x = strtod(a, &end_a), y = strtod(b, &end_b);
    if (end_a > a && end_b > b && !*end_a && !*end_b)
        return x == y;
    return strcmp(a, b) == 0;
}

static vmae_status matches(const vmae_sweep *sweep, const vmae_sweep_row *row, const axis_list *pattern, bool *match)
{
    *match = true;
    for (size_t i = 0; i < pattern->count && *match; i++) {
        const axis *a = &pattern->list[i];
        const char *value = value_in_row(sweep, row, a);
        bool any = false;
        for (size_t k = 0; k < axis_length(a) && !any; k++) {
            const char *wanted = vmae_setting_value(arena_of(sweep), axis_value(a, k));
            if (!wanted)
                return VMAE_ENOMEM;
            any = same_value(value, wanted);
        }
        *match = any;
    }
    return VMAE_OK;
}

static vmae_status exclude(const vmae_sweep *sweep, const config_setting_t *block, rows *from)
{
    config_setting_t *patterns;
    VMAE_TRY(vmae_setting_list(block, "exclude", &patterns));
    const int count = patterns ? config_setting_length(patterns) : 0;
    for (int i = 0; i < count; i++) {
        const config_setting_t *pattern = config_setting_get_elem(patterns, (unsigned)i);
        axis_list axes = { NULL, 0 };
        size_t kept = 0;
        VMAE_TRY(read_axes(sweep, pattern, "exclude", true, &axes));
        for (size_t r = 0; r < from->count; r++) {
            bool match;
            VMAE_TRY(matches(sweep, &from->list[r], &axes, &match));
            if (!match)
                from->list[kept++] = from->list[r];
        }
        if (kept == from->count)
            return vmae_setting_refuse(pattern, "this pattern excludes nothing: no row matches all of it");
        from->count = kept;
    }
    return VMAE_OK;
}

/* ---- blocks ---- */

static vmae_status expand(const vmae_sweep *sweep, const config_setting_t *block, const char *const *also, rows *out);

static vmae_status expand_list(const vmae_sweep *sweep, const config_setting_t *list, rows *out)
{
    vmae_arena *arena = arena_of(sweep);
    const int count = config_setting_length(list);
    rows all = { NULL, 0 };
    for (int i = 0; i < count; i++) {
        rows part = { NULL, 0 };
        VMAE_TRY(expand(sweep, config_setting_get_elem(list, (unsigned)i), NULL, &part));
        vmae_sweep_row *more = vmae_arena_calloc(arena, all.count + part.count, sizeof *more);
        if (!more)
            return VMAE_ENOMEM;
        if (all.count)
            memcpy(more, all.list, all.count * sizeof *more);
        if (part.count)
            memcpy(more + all.count, part.list, part.count * sizeof *more);
        all = (rows){ more, all.count + part.count };
    }
    if (!all.count)
        return vmae_setting_refuse(list, "%s is empty", config_setting_name(list));
    *out = all;
    return VMAE_OK;
}

/* What a `set` without a label is called. */
static const char *label_of_set(vmae_arena *arena, const vmae_assignment_list *list)
{
    const char *label = "";
    for (size_t i = 0; i < list->count && label; i++)
        label = vmae_arena_format(arena, "%s%s%s %s", label, i ? ", " : "", last_part(list->list[i]->name),
                                  list->list[i]->text);
    return label;
}

static vmae_status check_names(const config_setting_t *block, const char *const *also)
{
    static const char *const own[] = { "set", "product", "zip", "union", "rows", "exclude", "label", "paper_row" };
    const char *names[32];
    size_t count = 0;
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        names[count++] = own[i];
    for (size_t i = 0; also && also[i]; i++)
        names[count++] = also[i];
    names[count] = NULL;
    return vmae_setting_check(block, also ? "a grid" : "a block of a grid", names);
}

static vmae_status expand(const vmae_sweep *sweep, const config_setting_t *block, const char *const *also, rows *out)
{
    vmae_arena *arena = arena_of(sweep);
    vmae_assignment_list set = { NULL, 0, 0 };
    config_setting_t *group, *lists[2];
    const char *label = NULL;
    int64_t paper_row = 0;
    VMAE_TRY(check_names(block, also));
    VMAE_TRY(vmae_setting_group(block, "set", &group));
    VMAE_TRY(vmae_setting_list(block, "union", &lists[0]));
    VMAE_TRY(vmae_setting_list(block, "rows", &lists[1]));
    VMAE_TRY(vmae_setting_text(arena, block, "label", false, &label));
    VMAE_TRY(vmae_setting_whole(block, "paper_row", 1, &paper_row));
    if (group)
        VMAE_TRY(vmae_grid_assignments(sweep, group, &set));
    const bool axes = config_setting_get_member(block, "product") || config_setting_get_member(block, "zip");
    if (!label) /* a whole grid's set needs no name: all rows have it */
        label = also ? "" : label_of_set(arena, &set);
    if (!label)
        return VMAE_ENOMEM;

    vmae_sweep_row *one = vmae_arena_calloc(arena, 1, sizeof *one);
    if (!one)
        return VMAE_ENOMEM;
    *one = (vmae_sweep_row){ label, paper_row, set.list, set.count };
    rows all = { one, 1 };
    if (axes)
        VMAE_TRY(cross_axes(sweep, block, also && !lists[0] && !lists[1], &all));
    for (int i = 0; i < 2; i++)
        if (lists[i]) {
            rows parts;
            VMAE_TRY(expand_list(sweep, lists[i], &parts));
            VMAE_TRY(cross(arena, lists[i], &all, &parts));
        }
    VMAE_TRY(exclude(sweep, block, &all));
    *out = all;
    return VMAE_OK;
}

static int by_label(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A table has one row of each name. */
static vmae_status check_labels(const config_setting_t *block, const rows *all)
{
    vmae_status st = VMAE_OK;
    const char **labels = vmae_calloc(all->count, sizeof *labels);
    if (!labels)
        return VMAE_ENOMEM;
    for (size_t i = 0; i < all->count; i++)
        labels[i] = all->list[i].label;
    qsort(labels, all->count, sizeof *labels, by_label);
    for (size_t i = 0; i < all->count && st == VMAE_OK; i++)
        if (!*labels[i] && all->count > 1)
            st = vmae_setting_refuse(block, "a row of this grid has no label and sets nothing");
        else if (!vmae_text_is_clean(labels[i])) /* made of a value */
            st = vmae_setting_refuse(block, "a row of this grid would be called '%s'; give it a label", labels[i]);
        else if (i > 0 && strcmp(labels[i], labels[i - 1]) == 0)
            st = vmae_setting_refuse(block, "two rows of this grid are called '%s'; give one a label", labels[i]);
    free(labels);
    return st;
}

vmae_status vmae_grid_expand(const vmae_sweep *sweep, const config_setting_t *block, const char *const *also,
                             vmae_sweep_row **out, size_t *count)
{
    rows all;
    VMAE_TRY(expand(sweep, block, also, &all));
    if (all.count == 0)
        return vmae_setting_refuse(block, "exclude leaves no row of this grid");
    VMAE_TRY(check_labels(block, &all));
    *out = all.list;
    *count = all.count;
    return VMAE_OK;
}
