/* setting.c -- libconfig settings: places, types, values. */
#include "sweeps/setting.h"

#include "engine/core/config.h"
#include "engine/core/text.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

vmae_status vmae_setting_refuse(const config_setting_t *setting, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    const char *file = config_setting_source_file(setting);
    return vmae_fail(VMAE_EUSER, "%s:%u: %s", file ? file : "sweep", (unsigned)config_setting_source_line(setting),
                     text);
}

char *vmae_setting_origin(vmae_arena *arena, const config_setting_t *setting)
{
    const char *file = config_setting_source_file(setting);
    return vmae_arena_format(arena, "%s:%u", file ? file : "sweep", (unsigned)config_setting_source_line(setting));
}

const char *vmae_setting_suggest(vmae_arena *arena, const char *wrong, const char *const *names, size_t count)
{
    const char *nearest = vmae_nearest_name(wrong, names, count), *text = "";
    if (nearest)
        text = vmae_arena_format(arena, "; did you mean '%s'?", nearest);
    for (size_t i = 0; text && !nearest && i < count; i++)
        text = vmae_arena_format(arena, "%s%s%s", text, i ? ", " : "; there is ", names[i]);
    return text ? text : "";
}

vmae_status vmae_setting_check(const config_setting_t *group, const char *what, const char *const *names)
{
    size_t count = 0;
    while (names[count])
        count++;
    const int length = config_setting_length(group);
    for (int i = 0; i < length; i++) {
        const config_setting_t *member = config_setting_get_elem(group, (unsigned)i);
        size_t n = 0;
        while (n < count && strcmp(names[n], config_setting_name(member)) != 0)
            n++;
        if (n < count)
            continue;
        vmae_arena *arena = vmae_arena_new();
        if (!arena)
            return VMAE_ENOMEM;
        const vmae_status st =
            vmae_setting_refuse(member, "%s has no '%s'%s", what, config_setting_name(member),
                                vmae_setting_suggest(arena, config_setting_name(member), names, count));
        vmae_arena_free(arena);
        return st;
    }
    return VMAE_OK;
}

vmae_status vmae_setting_text(vmae_arena *arena, const config_setting_t *group, const char *name, bool required,
                              const char **text)
{
    const config_setting_t *member = config_setting_get_member(group, name);
    if (!member)
        return required ? vmae_setting_refuse(group, "'%s' is missing here: %s = \"...\";", name, name) : VMAE_OK;
    if (config_setting_type(member) != CONFIG_TYPE_STRING)
        return vmae_setting_refuse(member, "%s must be a text in \"quotes\"", name);
    if (!vmae_text_is_clean(config_setting_get_string(member)))
        return vmae_setting_refuse(member, "%s is \"%s\", with control characters, or bytes that are not UTF-8, in it",
                                   name, config_setting_get_string(member));
    const char *copy = vmae_arena_strdup(arena, config_setting_get_string(member));
    if (!copy)
        return VMAE_ENOMEM;
    *text = copy;
    return VMAE_OK;
}

vmae_status vmae_setting_whole(const config_setting_t *group, const char *name, int64_t min, int64_t *value)
{
    const config_setting_t *member = config_setting_get_member(group, name);
    if (!member)
        return VMAE_OK;
    const int type = config_setting_type(member);
    if (type != CONFIG_TYPE_INT && type != CONFIG_TYPE_INT64)
        return vmae_setting_refuse(member, "%s must be a whole number", name);
    const int64_t given = config_setting_get_int64(member);
    if (given < min)
        return vmae_setting_refuse(member, "%s is %lld; it must be at least %lld", name, (long long)given,
                                   (long long)min);
    *value = given;
    return VMAE_OK;
}

vmae_status vmae_setting_group(const config_setting_t *group, const char *name, config_setting_t **member)
{
    *member = config_setting_get_member(group, name);
    if (*member && !config_setting_is_group(*member))
        return vmae_setting_refuse(*member, "%s must be a group: %s = { ... };", name, name);
    return VMAE_OK;
}

vmae_status vmae_setting_list(const config_setting_t *group, const char *name, config_setting_t **member)
{
    *member = config_setting_get_member(group, name);
    if (!*member)
        return VMAE_OK;
    if (!config_setting_is_list(*member))
        return vmae_setting_refuse(*member, "%s must be a list of groups: %s = ( { ... }, { ... } );", name, name);
    const int length = config_setting_length(*member);
    for (int i = 0; i < length; i++)
        if (!config_setting_is_group(config_setting_get_elem(*member, (unsigned)i)))
            return vmae_setting_refuse(config_setting_get_elem(*member, (unsigned)i),
                                       "element %d of %s must be a group: { ... }", i + 1, name);
    return VMAE_OK;
}

char *vmae_setting_value(vmae_arena *arena, const config_setting_t *scalar)
{
    switch (config_setting_type(scalar)) {
    case CONFIG_TYPE_STRING: return vmae_arena_strdup(arena, config_setting_get_string(scalar));
    case CONFIG_TYPE_BOOL: return vmae_arena_strdup(arena, config_setting_get_bool(scalar) ? "true" : "false");
    case CONFIG_TYPE_FLOAT: {
        char text[64];
        const double value = config_setting_get_float(scalar);
        for (int digits = 1; digits <= 17; digits++) { /* the shortest that reads back equal */
            snprintf(text, sizeof text, "%.*g", digits, value);
            if (strtod(text, NULL) == value)
                break;
        }
        return vmae_arena_strdup(arena, text);
    }
    default: return vmae_arena_format(arena, "%lld", config_setting_get_int64(scalar));
    }
}

bool vmae_is_plain_name(const char *name)
{
    const size_t length = strlen(name);
    if (length < 1 || length > 64 || name[0] == '.' || name[0] == '-')
        return false;
    for (size_t i = 0; i < length; i++)
        if (!isalnum((unsigned char)name[i]) && !strchr("_-.", name[i]))
            return false;
    return true;
}
