/* config_value.c -- one value against its option: type, range, choices; what is wrong with it in words. */
#include "engine/core/config_value.h"

#include "engine/core/mem.h"
#include "engine/core/text.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool parse_integer(const char *text, int64_t *integer)
{
    char *end;
    errno = 0;
    const long long parsed = strtoll(text, &end, 10);
    if (end == text || *end || errno || strspn(text, "+-0123456789") != strlen(text))
        return false;
    *integer = parsed;
    return true;
}

static bool parse_float(const char *text, double *number)
{
    char *end;
    const double parsed = strtod(text, &end);
    if (end == text || *end || strspn(text, "+-.0123456789eE") != strlen(text) || !isfinite(parsed))
        return false;       /* strtod alone would take blanks, "inf", "nan" and hexadecimal */
    *number = parsed + 0.0; /* no -0 */
    return true;
}

/* "it must be between 1 and 1000 (epochs)" */
static vmae_status refuse_range(const vmae_option *option, const char *origin, const char *shown)
{
    char low[VMAE_FLOAT_TEXT] = "", high[VMAE_FLOAT_TEXT] = "", range[3 * VMAE_FLOAT_TEXT];
    const double huge = 9e18; /* tables say "no limit" with INFINITY or INT64_MAX */
    if (isfinite(option->min))
        vmae_float_text(low, option->min);
    if (isfinite(option->max))
        vmae_float_text(high, option->max);
    if (option->max >= huge)
        snprintf(range, sizeof range, "at least %s", low);
    else if (option->min <= -huge)
        snprintf(range, sizeof range, "at most %s", high);
    else
        snprintf(range, sizeof range, "between %s and %s", low, high);
    return vmae_fail(VMAE_EUSER, "%s: %s is %s; it must be %s%s%s%s", origin, option->name, shown, range,
                     option->unit ? " (" : "", option->unit ? option->unit : "", option->unit ? ")" : "");
}

/* true if the blank-separated choices have `wanted`; *nearest is the nearest of them, in fresh memory, or NULL */
static bool find_choice(const char *choices, const char *wanted, char **nearest)
{
    enum { CHOICES_MAX = 64 };
    const char *names[CHOICES_MAX];
    size_t count = 0;
    char *rest = NULL, *list = vmae_strdup(choices);
    bool found = false;
    *nearest = NULL;
    for (char *name = list ? strtok_r(list, " ", &rest) : NULL; name && count < CHOICES_MAX;
         name = strtok_r(NULL, " ", &rest)) {
        found = found || strcmp(name, wanted) == 0;
        names[count++] = name;
    }
    const char *near = vmae_nearest_name(wanted, names, count);
    if (!found && near)
        *nearest = vmae_strdup(near);
    free(list);
    return found;
}

static vmae_status check_choice(const vmae_option *option, const char *text, const char *origin, const char *shown)
{
    char *nearest;
    if (find_choice(option->choices, text, &nearest))
        return VMAE_OK;
    const vmae_status st =
        vmae_fail(VMAE_EUSER, "%s: %s is %s; it must be one of: %s%s%s%s", origin, option->name, shown, option->choices,
                  nearest ? " (did you mean " : "", nearest ? nearest : "", nearest ? "?)" : "");
    free(nearest);
    return st;
}

static bool outside(const vmae_option *option, double number)
{
    return option->min != option->max && !(number >= option->min && number <= option->max);
}

vmae_status vmae_check_value(const vmae_option *option, const char *text, vmae_written as, const char *origin,
                             vmae_value *result)
{
    static const char *const wants[] = { "true or false", "a whole number", "a number", "a text in quotes",
                                         "one of these, in quotes: " };
    const vmae_option_type type = option->type;
    char shown[VMAE_SHOWN], canonical[VMAE_FLOAT_TEXT];
    vmae_value checked = { 0 };
    bool fits = false;
    vmae_display_text(shown, sizeof shown, *text ? text : "empty");
    if (type == VMAE_BOOL && (as == VMAE_AS_TEXT || as == VMAE_AS_BOOL)) {
        checked.integer = strcmp(text, "true") == 0;
        fits = checked.integer || strcmp(text, "false") == 0;
    } else if (type == VMAE_INT && (as == VMAE_AS_TEXT || as == VMAE_AS_INT)) {
        fits = parse_integer(text, &checked.integer);
        checked.number = (double)checked.integer;
    } else if (type == VMAE_FLOAT && (as == VMAE_AS_TEXT || as == VMAE_AS_INT || as == VMAE_AS_FLOAT)) {
        fits = parse_float(text, &checked.number);
    } else if (type == VMAE_TEXT || type == VMAE_CHOICE) {
        fits = as == VMAE_AS_TEXT || as == VMAE_AS_STRING;
    }
    if (!fits)
        return vmae_fail(VMAE_EUSER, "%s: %s is %s%s%s; it must be %s%s", origin, option->name,
                         as == VMAE_AS_STRING ? "the text \"" : "", shown, as == VMAE_AS_STRING ? "\"" : "",
                         wants[type], type == VMAE_CHOICE ? option->choices : "");
    if ((type == VMAE_INT || type == VMAE_FLOAT) && outside(option, checked.number))
        return refuse_range(option, origin, shown);
    if (type == VMAE_CHOICE)
        VMAE_TRY(check_choice(option, text, origin, shown));
    if (type == VMAE_TEXT && !vmae_is_utf8(text))
        return vmae_fail(VMAE_EUSER, "%s: %s is %s; it must be text in UTF-8", origin, option->name, shown);
    if (type == VMAE_FLOAT)
        vmae_float_text(canonical, checked.number);
    else if (type == VMAE_INT)
        snprintf(canonical, sizeof canonical, "%lld", (long long)checked.integer);
    checked.text = vmae_strdup(type == VMAE_FLOAT || type == VMAE_INT ? canonical : text);
    if (!checked.text)
        return VMAE_ENOMEM;
    *result = checked;
    return VMAE_OK;
}
