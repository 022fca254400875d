/* config.c -- the option table, values and where they came from. Files are read in config_file.c, text is made in
 * config_text.c. */
#include "engine/core/config.h"

#include "engine/core/config_value.h"
#include "engine/core/mem.h"
#include "engine/core/text.h"

#include <libconfig.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What all copies of a config share. */
typedef struct schema {
    atomic_int users;
    size_t count;
    const vmae_option **options; /* in table order */
    size_t *by_name;             /* indices, names rising */
    vmae_value *initial;         /* the defaults; origin stays NULL */
} schema;

struct vmae_config {
    schema *schema;
    vmae_value values[];
};

/* ---- the schema ---- */

static void release_schema(schema *s)
{
    if (!s || atomic_fetch_sub(&s->users, 1) != 1)
        return;
    for (size_t i = 0; s->initial && i < s->count; i++)
        free(s->initial[i].text);
    free(s->initial);
    free(s->by_name);
    free(s->options);
    free(s);
}

static int compare_by_name(const void *a, const void *b, void *context)
{
    const schema *s = context;
    return strcmp(s->options[*(const size_t *)a]->name, s->options[*(const size_t *)b]->name);
}

static vmae_status check_table(schema *s)
{
    for (size_t i = 0; i < s->count; i++) {
        const vmae_option *option = s->options[i];
        if (option->type == VMAE_CHOICE && !option->choices)
            return vmae_fail(VMAE_EINTERNAL, "option table: %s has no choices", option->name);
        const vmae_status st = vmae_check_value(option, option->initial, VMAE_AS_TEXT, "option table", &s->initial[i]);
        if (st != VMAE_OK) /* our bug, not the user's */
            return st == VMAE_EUSER ? vmae_fail(VMAE_EINTERNAL, "%s", vmae_error()) : st;
        s->by_name[i] = i;
    }
    qsort_r(s->by_name, s->count, sizeof *s->by_name, compare_by_name, s);
    for (size_t i = 1; i < s->count; i++) {
        const char *last = s->options[s->by_name[i - 1]]->name, *name = s->options[s->by_name[i]]->name;
        const size_t length = strlen(last);
        if (strncmp(last, name, length) == 0 && (name[length] == '\0' || name[length] == '.'))
            return vmae_fail(VMAE_EINTERNAL, "option table: %s is an option already, so %s cannot be one", last, name);
    }
    return VMAE_OK;
}

static vmae_status make_schema(schema **result, const vmae_option *const *tables)
{
    schema *s = vmae_calloc(1, sizeof *s);
    if (!s)
        return VMAE_ENOMEM;
    atomic_init(&s->users, 1);
    size_t count = 0;
    for (size_t t = 0; tables[t]; t++)
        for (const vmae_option *option = tables[t]; option->name; option++)
            count++;
    s->options = vmae_calloc(count, sizeof *s->options);
    s->by_name = vmae_calloc(count, sizeof *s->by_name);
    s->initial = vmae_calloc(count, sizeof *s->initial);
    if (!s->options || !s->by_name || !s->initial) {
        release_schema(s);
        return VMAE_ENOMEM;
    }
    for (size_t t = 0; tables[t]; t++)
        for (const vmae_option *option = tables[t]; option->name; option++)
            s->options[s->count++] = option;
    const vmae_status st = check_table(s);
    if (st != VMAE_OK)
        release_schema(s);
    else
        *result = s;
    return st;
}

enum { NOT_FOUND = -1 };

static ptrdiff_t find_option(const vmae_config *config, const char *name)
{
    const schema *s = config->schema;
    size_t low = 0, high = s->count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const int order = strcmp(name, s->options[s->by_name[middle]]->name);
        if (order == 0)
            return (ptrdiff_t)s->by_name[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NOT_FOUND;
}

/* ---- life ---- */

static vmae_config *allocate(schema *s)
{
    vmae_config *config = vmae_calloc(1, sizeof *config + s->count * sizeof *config->values);
    if (config)
        config->schema = s;
    return config;
}

vmae_status vmae_config_new(vmae_config **config, const vmae_option *const *tables)
{
    schema *s;
    VMAE_TRY(make_schema(&s, tables));
    vmae_config *made = allocate(s);
    if (!made) {
        release_schema(s);
        return VMAE_ENOMEM;
    }
    *config = made;
    return VMAE_OK;
}

vmae_status vmae_config_copy(vmae_config **copy, const vmae_config *config)
{
    vmae_config *made = allocate(config->schema);
    if (!made)
        return VMAE_ENOMEM;
    atomic_fetch_add(&made->schema->users, 1);
    for (size_t i = 0; i < made->schema->count; i++) {
        if (!config->values[i].text)
            continue;
        made->values[i] = config->values[i];
        made->values[i].origin = NULL;
        made->values[i].text = vmae_strdup(config->values[i].text);
        if (made->values[i].text)
            made->values[i].origin = vmae_strdup(config->values[i].origin);
        if (!made->values[i].origin) {
            vmae_config_free(made);
            return VMAE_ENOMEM;
        }
    }
    *copy = made;
    return VMAE_OK;
}

void vmae_config_free(vmae_config *config)
{
    if (!config)
        return;
    for (size_t i = 0; i < config->schema->count; i++) {
        free(config->values[i].text);
        free(config->values[i].origin);
    }
    release_schema(config->schema);
    free(config);
}

/* ---- setting ---- */

/* The option whose part after the last dot is that of `name`, if it is the only one: "mask_ratio" -> model.mask_ratio.
 */
static const char *same_last_part(const schema *s, const char *name)
{
    const char *dot = strrchr(name, '.'), *last = dot ? dot + 1 : name, *found = NULL;
    for (size_t i = 0; i < s->count; i++) {
        const char *other_dot = strrchr(s->options[i]->name, '.');
        if (strcmp(other_dot ? other_dot + 1 : s->options[i]->name, last) != 0)
            continue;
        if (found)
            return NULL;
        found = s->options[i]->name;
    }
    return found;
}

static vmae_status unknown_option(const vmae_config *config, const char *name, const char *origin,
                                  const char *const *also)
{
    const schema *s = config->schema;
    char shown[VMAE_SHOWN];
    size_t more = 0;
    vmae_display_text(shown, sizeof shown, name);
    const size_t length = strlen(name);
    for (size_t i = 0; i < s->count; i++)
        if (strncmp(s->options[i]->name, name, length) == 0 && s->options[i]->name[length] == '.')
            return vmae_fail(VMAE_EUSER, "%s: %s is a group of options, not an option; one of them is %s", origin,
                             shown, s->options[i]->name);
    while (also && also[more])
        more++;
    const char **names = vmae_calloc(s->count + more, sizeof *names);
    if (!names)
        return VMAE_ENOMEM;
    for (size_t i = 0; i < s->count; i++)
        names[i] = s->options[i]->name;
    for (size_t i = 0; i < more; i++)
        names[s->count + i] = also[i];
    const char *nearest = same_last_part(s, name);
    if (!nearest)
        nearest = vmae_nearest_name(name, names, s->count + more);
    free(names);
    return vmae_fail(VMAE_EUSER, "%s: unknown option %s%s%s%s", origin, shown, nearest ? "; did you mean " : "",
                     nearest ? nearest : "", nearest ? "?" : "");
}

static vmae_status set_value(vmae_config *config, const char *name, const char *text, vmae_written as,
                             const char *origin, const char *const *also)
{
    const ptrdiff_t index = find_option(config, name);
    vmae_value checked;
    if (index == NOT_FOUND)
        return unknown_option(config, name, origin, also);
    VMAE_TRY(vmae_check_value(config->schema->options[index], text, as, origin, &checked));
    checked.origin = vmae_strdup(origin);
    if (!checked.origin) {
        free(checked.text);
        return VMAE_ENOMEM;
    }
    free(config->values[index].text);
    free(config->values[index].origin);
    config->values[index] = checked;
    return VMAE_OK;
}

vmae_status vmae_config_set(vmae_config *config, const char *name, const char *text, const char *origin)
{
    return set_value(config, name, text, VMAE_AS_TEXT, origin, NULL);
}

vmae_status vmae_config_preset(vmae_config *config, const char *name, const char *text, const char *origin)
{
    const ptrdiff_t index = find_option(config, name);
    if (index != NOT_FOUND && config->values[index].text)
        return VMAE_OK;
    return set_value(config, name, text, VMAE_AS_TEXT, origin, NULL);
}

vmae_status vmae_config_assign(vmae_config *config, const char *assignment)
{
    const char *equals = strchr(assignment, '=');
    char shown[VMAE_SHOWN];
    vmae_display_text(shown, sizeof shown, assignment);
    if (!equals || equals == assignment)
        return vmae_fail(VMAE_EUSER, "command line: \"%s\" is not NAME=VALUE, as in model.mask_ratio=0.5", shown);
    char *name = strndup(assignment, (size_t)(equals - assignment));
    if (!name)
        return vmae_fail(VMAE_ENOMEM, "out of memory");
    const vmae_status st = vmae_config_set(config, name, equals + 1, "command line");
    free(name);
    return st;
}

/* ---- libconfig trees ---- */

static void setting_origin(char *origin, size_t size, const config_setting_t *setting)
{
    const char *file = config_setting_source_file(setting);
    snprintf(origin, size, "%s:%u", file ? file : "config", (unsigned)config_setting_source_line(setting));
}

static vmae_status set_from(vmae_config *config, const char *name, const config_setting_t *setting,
                            const char *const *also)
{
    char origin[1024], number[VMAE_FLOAT_TEXT];
    setting_origin(origin, sizeof origin, setting);
    switch (config_setting_type(setting)) {
    case CONFIG_TYPE_BOOL:
        return set_value(config, name, config_setting_get_bool(setting) ? "true" : "false", VMAE_AS_BOOL, origin, also);
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
        snprintf(number, sizeof number, "%lld", config_setting_get_int64(setting));
        return set_value(config, name, number, VMAE_AS_INT, origin, also);
    case CONFIG_TYPE_FLOAT:
        vmae_float_text(number, config_setting_get_float(setting));
        if (isfinite(config_setting_get_float(setting)) && !strpbrk(number, ".e"))
            strcat(number, ".0"); /* as the user wrote it: "1.0" where a whole number is wanted */
        return set_value(config, name, number, VMAE_AS_FLOAT, origin, also);
    case CONFIG_TYPE_STRING:
        return set_value(config, name, config_setting_get_string(setting), VMAE_AS_STRING, origin, also);
    default:
        if (find_option(config, name) == NOT_FOUND)
            return unknown_option(config, name, origin, also);
        return vmae_fail(VMAE_EUSER, "%s: %s is a %s; an option has one value", origin, name,
                         config_setting_is_group(setting) ? "group" : "list");
    }
}

static bool listed(const char *const *names, const char *name)
{
    for (; names && *names; names++)
        if (strcmp(*names, name) == 0)
            return true;
    return false;
}

/* `prefix` is "" or ends with a dot. */
static vmae_status apply_group(vmae_config *config, const config_setting_t *group, const char *prefix,
                               const char *const *also)
{
    const int count = config_setting_length(group);
    for (int i = 0; i < count; i++) {
        const config_setting_t *child = config_setting_get_elem(group, (unsigned)i);
        const bool top = !*prefix;
        if (top && listed(also, config_setting_name(child)))
            continue;
        char *name = vmae_format("%s%s", prefix, config_setting_name(child));
        char *inner = name ? vmae_format("%s.", name) : NULL;
        vmae_status st = VMAE_ENOMEM;
        if (inner && config_setting_is_group(child) && config_setting_length(child) > 0 &&
            find_option(config, name) == NOT_FOUND)
            st = apply_group(config, child, inner, also);
        else if (inner)
            st = set_from(config, name, child, top ? also : NULL);
        free(inner);
        free(name);
        if (st != VMAE_OK)
            return st;
    }
    return VMAE_OK;
}

vmae_status vmae_config_apply(vmae_config *config, const struct config_setting_t *group, const char *const *also)
{
    if (!config_setting_is_group(group)) {
        char origin[1024];
        setting_origin(origin, sizeof origin, group);
        return vmae_fail(VMAE_EUSER, "%s: a group of options is expected here: { name = value; ... }", origin);
    }
    return apply_group(config, group, "", also);
}

vmae_status vmae_config_read(vmae_config *config, const char *path, const char *const *also)
{
    config_t tree;
    config_init(&tree);
    vmae_status st = vmae_config_parse_file(&tree, path);
    if (st == VMAE_OK)
        st = vmae_config_apply(config, config_root_setting(&tree), also);
    config_destroy(&tree);
    return st;
}

vmae_status vmae_config_read_text(vmae_config *config, const char *text, const char *name, const char *const *also)
{
    config_t tree;
    config_init(&tree);
    vmae_status st = vmae_config_parse_text(&tree, text, name);
    if (st == VMAE_OK)
        st = vmae_config_apply(config, config_root_setting(&tree), also);
    config_destroy(&tree);
    return st;
}

/* ---- asking ---- */

/* The value of an option that the caller knows to be there. */
static const vmae_value *look(const vmae_config *config, const char *name, unsigned types)
{
    const ptrdiff_t index = find_option(config, name);
    if (index == NOT_FOUND || !(types >> config->schema->options[index]->type & 1)) {
        fprintf(stderr, "vicmae: bug: option %s %s\n", name,
                index == NOT_FOUND ? "does not exist" : "is asked for as another type");
        abort();
    }
    return config->values[index].text ? &config->values[index] : &config->schema->initial[index];
}

enum { ANY_TYPE = ~0 };

bool vmae_config_bool(const vmae_config *config, const char *name)
{
    return look(config, name, 1u << VMAE_BOOL)->integer != 0;
}

int64_t vmae_config_int(const vmae_config *config, const char *name)
{
    return look(config, name, 1u << VMAE_INT)->integer;
}

double vmae_config_float(const vmae_config *config, const char *name)
{
    return look(config, name, 1u << VMAE_FLOAT | 1u << VMAE_INT)->number;
}

const char *vmae_config_text(const vmae_config *config, const char *name)
{
    return look(config, name, 1u << VMAE_TEXT | 1u << VMAE_CHOICE)->text;
}

bool vmae_config_is_set(const vmae_config *config, const char *name)
{
    return look(config, name, ANY_TYPE)->origin != NULL;
}

const char *vmae_config_value(const vmae_config *config, const char *name)
{
    return look(config, name, ANY_TYPE)->text;
}

const char *vmae_config_origin(const vmae_config *config, const char *name)
{
    const vmae_value *found = look(config, name, ANY_TYPE);
    return found->origin ? found->origin : "default";
}

const vmae_option *vmae_config_option(const vmae_config *config, const char *name)
{
    const ptrdiff_t index = find_option(config, name);
    return index == NOT_FOUND ? NULL : config->schema->options[index];
}

vmae_status vmae_config_refuse(const vmae_config *config, const char *name, const char *format, ...)
{
    char shown[VMAE_SHOWN], *reason = NULL;
    va_list args;
    va_start(args, format);
    const int length = vasprintf(&reason, format, args);
    va_end(args);
    const char *text = vmae_config_value(config, name);
    vmae_display_text(shown, sizeof shown, *text ? text : "empty");
    const vmae_status st = vmae_fail(VMAE_EUSER, "%s: %s is %s; %s", vmae_config_origin(config, name), name, shown,
                                     length >= 0 ? reason : "refused");
    if (length >= 0)
        free(reason);
    return st;
}

size_t vmae_config_count(const vmae_config *config)
{
    return config->schema->count;
}

const vmae_option *vmae_config_at(const vmae_config *config, size_t index)
{
    return config->schema->options[index];
}
