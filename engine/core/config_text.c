/* config_text.c -- the nearest name to a misspelt one, and the whole configuration as libconfig text. */
#include "engine/core/config.h"

#include "engine/core/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the nearest name ---- */

enum { NAME_MAX_COMPARED = 96 };

/* Damerau-Levenshtein distance (with adjacent swaps, each used once) of texts of at most NAME_MAX_COMPARED bytes. */
static size_t distance(const char *a, size_t a_length, const char *b, size_t b_length)
{
    size_t rows[3][NAME_MAX_COMPARED + 1];
    size_t *before = rows[0], *last = rows[1], *row = rows[2];
    for (size_t j = 0; j <= b_length; j++)
        last[j] = j;
    for (size_t i = 1; i <= a_length; i++) {
        row[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            size_t best = last[j - 1] + (a[i - 1] != b[j - 1]);
            if (last[j] + 1 < best)
                best = last[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            row[j] = best;
        }
        size_t *const oldest = before;
        before = last;
        last = row;
        row = oldest;
    }
    return last[b_length];
}

const char *vmae_nearest_name(const char *wrong, const char *const *names, size_t count)
{
    const size_t length = strlen(wrong);
    const char *nearest = NULL;
    size_t least = length / 3 ? length / 3 : 1;
    if (length < 2 || length > NAME_MAX_COMPARED)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        const size_t other = strlen(names[i]);
        if (other > NAME_MAX_COMPARED || (other > length ? other - length : length - other) > least)
            continue;
        const size_t far = distance(wrong, length, names[i], other);
        if (far > least || (nearest && far == least))
            continue;
        least = far;
        nearest = names[i];
    }
    return nearest;
}

/* ---- printing ---- */

/* A libconfig string in quotes. */
static void print_text(FILE *to, const char *text)
{
    fputc('"', to);
    for (; *text; text++) {
        const unsigned char byte = (unsigned char)*text;
        if (byte == '"' || byte == '\\')
            fprintf(to, "\\%c", byte);
        else if (byte == '\n')
            fputs("\\n", to);
        else if (byte < ' ' || byte == 127)
            fprintf(to, "\\x%02x", byte);
        else
            fputc(byte, to);
    }
    fputc('"', to);
}

/* true if an option before `index` has the same first `length` bytes: then its group was printed already */
static bool printed_before(const vmae_config *config, size_t index, size_t length)
{
    const char *name = vmae_config_at(config, index)->name;
    for (size_t i = 0; i < index; i++)
        if (strncmp(vmae_config_at(config, i)->name, name, length) == 0)
            return true;
    return false;
}

/* Prints the options whose names begin with the `length` bytes of prefix ("model.", or "" for all), groups as groups.
 */
static void print_group(FILE *to, const vmae_config *config, const char *prefix, size_t length, int depth)
{
    for (size_t i = 0; i < vmae_config_count(config); i++) {
        const vmae_option *option = vmae_config_at(config, i);
        if (strncmp(option->name, prefix, length) != 0)
            continue;
        const char *key = option->name + length, *dot = strchr(key, '.');
        const size_t with_dot = dot ? (size_t)(dot + 1 - option->name) : 0;
        if (dot && printed_before(config, i, with_dot))
            continue;
        fprintf(to, "%*s", 4 * depth, "");
        if (dot) {
            fprintf(to, "%.*s = {\n", (int)(dot - key), key);
            print_group(to, config, option->name, with_dot, depth + 1);
            fprintf(to, "%*s};\n", 4 * depth, "");
            continue;
        }
        const char *value = vmae_config_value(config, option->name);
        fprintf(to, "%s = ", key);
        if (option->type == VMAE_TEXT || option->type == VMAE_CHOICE)
            print_text(to, value);
        else
            fputs(value, to);
        fputs(";\n", to);
    }
}

char *vmae_config_print(const vmae_config *config)
{
    char *text = NULL;
    size_t count = 0;
    FILE *to = open_memstream(&text, &count);
    if (!to) {
        vmae_fail(VMAE_ENOMEM, "out of memory");
        return NULL;
    }
    print_group(to, config, "", 0, 0);
    const bool failed = ferror(to);
    if (fclose(to) != 0 || failed) {
        free(text);
        vmae_fail(VMAE_ENOMEM, "out of memory");
        return NULL;
    }
    return text;
}
