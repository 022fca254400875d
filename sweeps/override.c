/* override.c -- what the command line changes of a sweep, and whether that makes it another one. */
#include "sweeps/override.h"

#include "sweeps/setting.h"

#include "engine/core/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VARIANT_DIGITS = 8 };

/* ---- what an option means ---- */

/* A speed-only option is one that identities do not hold by its name. Three kinds change them all the same, by what
 * they name: a dataset's path (through its fingerprint), a checkpoint (through the parent), a size preset (through the
 * sizes that it fills in). */
static bool changes_identities(const vmae_option *option)
{
    const char *last = strrchr(option->name, '.');
    return option->role == VMAE_IDENTITY || strcmp(option->name, "checkpoint") == 0 ||
           strcmp(option->name, "model.size") == 0 || (last && strcmp(last, ".path") == 0);
}

/* Whether a scale's words about its data ("CIFAR-10, 32 px") are no longer true. */
static bool changes_data(const char *name)
{
    return strcmp(name, "data") == 0 || strncmp(name, "data.", 5) == 0 || strncmp(name, "dataset.", 8) == 0 ||
           strcmp(name, "model.image_size") == 0;
}

/* ---- one override ---- */

/* No stage has the option: the nearest name of any. */
static vmae_status refuse_override(vmae_sweep *sweep, const char *given, const char *name)
{
    size_t count = 0, n = 0;
    for (size_t s = 0; s < sweep->stage_count; s++)
        count += vmae_config_count(sweep->stages[s].base);
    const char **names = vmae_arena_calloc(sweep->arena, count, sizeof *names);
    if (!names)
        return VMAE_ENOMEM;
    for (size_t s = 0; s < sweep->stage_count; s++)
        for (size_t i = 0; i < vmae_config_count(sweep->stages[s].base); i++)
            names[n++] = vmae_config_at(sweep->stages[s].base, i)->name;
    const char *nearest = vmae_nearest_name(name, names, count);
    return vmae_fail(VMAE_EUSER, "command line: %s: no stage of %s has an option '%s'%s%s%s", given, sweep->path, name,
                     nearest ? "; did you mean '" : "", nearest ? nearest : "", nearest ? "'?" : "");
}

static vmae_status override_stage(vmae_sweep *sweep, const char *given, const char *prefix, size_t length, int *only)
{
    *only = -1;
    if (!prefix)
        return VMAE_OK;
    const char **names = vmae_arena_calloc(sweep->arena, sweep->stage_count, sizeof *names);
    char *wanted = vmae_arena_format(sweep->arena, "%.*s", (int)length, prefix);
    if (!names || !wanted)
        return VMAE_ENOMEM;
    for (size_t s = 0; s < sweep->stage_count; s++) {
        names[s] = sweep->stages[s].name;
        if (strcmp(names[s], wanted) == 0)
            *only = (int)s;
    }
    return *only >= 0 ? VMAE_OK
                      : vmae_fail(VMAE_EUSER, "command line: %s: there is no stage '%s'%s", given, wanted,
                                  vmae_setting_suggest(sweep->arena, wanted, names, sweep->stage_count));
}

/* The value that the option has in all cells already: given once more, it makes no other sweep. Where rows set the
 * option, it takes the place of theirs. */
static bool is_as_in_the_file(const vmae_sweep *sweep, size_t stage, const vmae_option *option, const vmae_config *with)
{
    const vmae_config *base = sweep->stages[stage].base;
    for (size_t g = 0; g < sweep->grid_count; g++)
        for (size_t r = 0; r < sweep->grids[g].row_count; r++)
            for (size_t i = 0; i < sweep->grids[g].rows[r].set_count; i++) {
                const vmae_assignment *set = sweep->grids[g].rows[r].set[i];
                if (set->stage == (int)stage && strcmp(set->name, option->name) == 0)
                    return false;
            }
    return option->type == VMAE_FLOAT
               ? vmae_config_float(base, option->name) == vmae_config_float(with, option->name)
               : strcmp(vmae_config_value(base, option->name), vmae_config_value(with, option->name)) == 0;
}

/* Takes it into every stage that has the option and another value. *identity: it changes identities of one of them. */
static vmae_status take_override(vmae_sweep *sweep, const char *given, bool *identity)
{
    const char *equals = strchr(given, '=');
    if (!equals || equals == given)
        return vmae_fail(VMAE_EUSER, "command line: '%s' is not an override; write option=value, or stage:option=value",
                         given);
    const char *colon = memchr(given, ':', (size_t)(equals - given)), *from = colon ? colon + 1 : given;
    char *name = vmae_arena_format(sweep->arena, "%.*s", (int)(equals - from), from);
    int only;
    if (!name)
        return VMAE_ENOMEM;
    VMAE_TRY(override_stage(sweep, given, colon ? given : NULL, colon ? (size_t)(colon - given) : 0, &only));
    if (strcmp(name, "seed") == 0)
        return vmae_fail(VMAE_EUSER, "command line: %s: a sweep has a list of seeds; use --seeds 1,2,3", given);
    bool found = false;
    for (size_t s = 0; s < sweep->stage_count; s++) {
        const vmae_sweep_stage *stage = &sweep->stages[s];
        const vmae_option *option = vmae_config_option(stage->base, name);
        if ((only >= 0 && only != (int)s) || !option)
            continue;
        found = true;
        vmae_config *scratch = NULL;
        VMAE_TRY(vmae_config_copy(&scratch, stage->base));
        const vmae_status st = vmae_config_set(scratch, name, equals + 1, "command line");
        const char *value = st == VMAE_OK ? vmae_arena_strdup(sweep->arena, vmae_config_value(scratch, name)) : NULL;
        const bool nothing_new = st == VMAE_OK && is_as_in_the_file(sweep, s, option, scratch);
        vmae_config_free(scratch);
        VMAE_TRY(st);
        if (!value)
            return VMAE_ENOMEM;
        *identity |= !nothing_new && changes_identities(option);
        sweep->command_line[sweep->command_line_count++] =
            (vmae_assignment){ (int)s, option->name, value, "command line", nothing_new };
    }
    return found ? VMAE_OK : refuse_override(sweep, given, name);
}

/* ---- the sweep they make ---- */

static vmae_status describe_data(vmae_sweep *sweep)
{
    const char *text = NULL;
    for (size_t i = 0; i < sweep->override_count; i++) {
        const char *given = sweep->overrides[i], *colon = memchr(given, ':', strcspn(given, "=")),
                   *name = colon ? colon + 1 : given;
        char *bare = vmae_arena_format(sweep->arena, "%.*s", (int)strcspn(name, "="), name);
        if (!bare)
            return VMAE_ENOMEM;
        if (!changes_data(bare))
            continue;
        text = text ? vmae_arena_format(sweep->arena, "%s, %s", text, given)
                    : vmae_arena_format(sweep->arena, "overridden: %s", given);
        if (!text)
            return VMAE_ENOMEM;
    }
    if (text)
        sweep->data = text;
    return VMAE_OK;
}

/* By stage, by name, and as given for the same option: the last one wins. */
static int by_option(const void *a, const void *b)
{
    const vmae_assignment *x = *(const vmae_assignment *const *)a, *y = *(const vmae_assignment *const *)b;
    if (x->stage != y->stage)
        return x->stage - y->stage;
    const int order = strcmp(x->name, y->name);
    return order ? order : (x > y) - (x < y);
}

static int by_seed(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static vmae_status hash_seeds(const vmae_sweep *sweep, vmae_hash *hash)
{
    char number[32];
    int64_t *seeds = vmae_calloc(sweep->seed_count, sizeof *seeds);
    if (!seeds)
        return VMAE_ENOMEM;
    memcpy(seeds, sweep->seeds, sweep->seed_count * sizeof *seeds);
    qsort(seeds, sweep->seed_count, sizeof *seeds, by_seed);
    for (size_t i = 0; i < sweep->seed_count; i++) {
        snprintf(number, sizeof number, "%lld", (long long)seeds[i]);
        vmae_hash_field(hash, "seed", number);
    }
    free(seeds);
    return VMAE_OK;
}

/* However the same values are written and ordered, it is the same sweep. */
static vmae_status name_variant(vmae_sweep *sweep)
{
    char hex[VMAE_HASH_HEX];
    size_t count = 0, changes = 0;
    vmae_hash *hash = vmae_hash_new();
    const vmae_assignment **sorted = vmae_arena_calloc(sweep->arena, sweep->command_line_count, sizeof *sorted);
    vmae_status st = hash && sorted ? VMAE_OK : VMAE_ENOMEM;
    for (size_t i = 0; i < sweep->command_line_count && st == VMAE_OK; i++) {
        const vmae_assignment *a = &sweep->command_line[i];
        if (changes_identities(vmae_config_option(sweep->stages[a->stage].base, a->name)))
            sorted[count++] = a;
    }
    if (st == VMAE_OK)
        qsort(sorted, count, sizeof *sorted, by_option);
    for (size_t i = 0; i < count; i++) {
        const vmae_assignment *a = sorted[i], *next = i + 1 < count ? sorted[i + 1] : NULL;
        if ((next && next->stage == a->stage && strcmp(next->name, a->name) == 0) || a->nothing_new)
            continue;
        changes++;
        vmae_hash_field(hash, "stage", sweep->stages[a->stage].name);
        vmae_hash_field(hash, a->name, a->text);
    }
    if (st == VMAE_OK && sweep->other_seeds)
        st = hash_seeds(sweep, hash);
    sweep->stored_scale = sweep->scale;
    if (!changes)
        sweep->override_count = 0; /* each was taken back by a later one */
    if (st == VMAE_OK && (changes || sweep->other_seeds)) {
        vmae_hash_hex(hash, hex);
        sweep->stored_scale = vmae_arena_format(sweep->arena, "%s+%.*s", sweep->scale, VARIANT_DIGITS, hex);
        st = sweep->stored_scale ? VMAE_OK : VMAE_ENOMEM;
    }
    vmae_hash_free(hash);
    return st;
}

vmae_status vmae_sweep_override(vmae_sweep *sweep, const char *const *given, size_t count)
{
    sweep->overrides = vmae_arena_calloc(sweep->arena, count, sizeof *sweep->overrides);
    sweep->speed_overrides = vmae_arena_calloc(sweep->arena, count, sizeof *sweep->speed_overrides);
    sweep->command_line = vmae_arena_calloc(sweep->arena, count * sweep->stage_count, sizeof *sweep->command_line);
    if (!sweep->overrides || !sweep->speed_overrides || !sweep->command_line)
        return VMAE_ENOMEM;
    for (size_t i = 0; i < count; i++) {
        bool identity = false;
        VMAE_TRY(take_override(sweep, given[i], &identity));
        const char *copy = vmae_arena_strdup(sweep->arena, given[i]);
        if (!copy)
            return VMAE_ENOMEM;
        if (identity)
            sweep->overrides[sweep->override_count++] = copy;
        else
            sweep->speed_overrides[sweep->speed_override_count++] = copy;
    }
    VMAE_TRY(name_variant(sweep));
    return describe_data(sweep);
}

void vmae_sweep_print_variant(const vmae_sweep *sweep, FILE *out)
{
    if (strcmp(sweep->stored_scale, sweep->scale) == 0)
        return;
    fprintf(out, "stored as %s-%s, because it is not the sweep as its file has it:", sweep->name, sweep->stored_scale);
    for (size_t i = 0; i < sweep->override_count; i++) {
        putc(' ', out);
        vmae_print_clean(out, sweep->overrides[i]);
    }
    fputs(sweep->other_seeds ? " --seeds " : "", out);
    for (size_t i = 0; sweep->other_seeds && i < sweep->seed_count; i++)
        fprintf(out, "%s%lld", i ? "," : "", (long long)sweep->seeds[i]);
    putc('\n', out);
}
