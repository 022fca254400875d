/* config_file.c -- libconfig files into one tree.
 *
 * The text is scanned before libconfig 1.5 sees it, for what libconfig alone gets wrong: it cuts whole numbers to 32
 * bits without a word; @include looks beside the first file, whatever includes it, and ends the process if it names a
 * folder; what was included cannot be overridden ("duplicate setting name"); deep nesting recurses without limit. So
 * @include is followed here: each stretch of a file between includes is parsed alone and laid over the tree. */
#include "engine/core/config.h"
#include "engine/core/fs.h"
#include "engine/core/mem.h"

#include <ctype.h>
#include <errno.h>
#include <libconfig.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    FILE_MAX = 1 << 20, /* bytes */
    FILES_MAX = 100,    /* read for one tree: includes may fan out */
    INCLUDES_DEEP = 8,
    GROUPS_DEEP = 32,
    SETTINGS_MAX = 10000 /* libconfig compares each name with all before it */
};

/* ---- file names: settings point to them for as long as their tree lives, trees do not own them; so they stay ---- */

typedef struct kept_name {
    struct kept_name *next;
    char text[];
} kept_name;

static const char *keep_name(const char *name)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static kept_name *kept;
    pthread_mutex_lock(&lock);
    kept_name *found = kept;
    while (found && strcmp(found->text, name) != 0)
        found = found->next;
    if (!found && (found = vmae_calloc(1, sizeof *found + strlen(name) + 1))) {
        memcpy(found->text, name, strlen(name) + 1);
        found->next = kept;
        kept = found;
    }
    pthread_mutex_unlock(&lock);
    return found ? found->text : NULL;
}

/* ---- laying one tree over another ---- */

static config_setting_t *copy_setting(config_setting_t *parent, const config_setting_t *from)
{
    config_setting_t *to = config_setting_add(parent, from->name, from->type);
    if (!to)
        return NULL;
    to->file = from->file;
    to->line = from->line;
    to->format = from->format;
    if (from->type == CONFIG_TYPE_STRING)
        return config_setting_set_string(to, from->value.sval) ? to : NULL;
    if (!config_setting_is_aggregate(from)) {
        to->value = from->value;
        return to;
    }
    const int count = config_setting_length(from);
    for (int i = 0; i < count; i++)
        if (!copy_setting(to, config_setting_get_elem(from, (unsigned)i)))
            return NULL;
    return to;
}

static bool overlay(config_setting_t *to, const config_setting_t *from)
{
    const int count = config_setting_length(from);
    for (int i = 0; i < count; i++) {
        const config_setting_t *child = config_setting_get_elem(from, (unsigned)i);
        config_setting_t *old = config_setting_get_member(to, child->name);
        if (old && config_setting_is_group(old) && config_setting_is_group(child)) {
            if (!overlay(old, child))
                return false;
            continue;
        }
        if (old)
            config_setting_remove(to, child->name);
        if (!copy_setting(to, child))
            return false;
    }
    return true;
}

static void set_origin(config_setting_t *setting, const char *file, unsigned lines_before)
{
    setting->file = file;
    setting->line += lines_before;
    const int count = config_setting_is_aggregate(setting) ? config_setting_length(setting) : 0;
    for (int i = 0; i < count; i++)
        set_origin(config_setting_get_elem(setting, (unsigned)i), file, lines_before);
}

/* ---- the scan ---- */

typedef struct reader {
    config_t *tree;
    int files, settings;
} reader;

typedef struct source {
    const char *file, *at; /* at: the next byte to look at */
    unsigned line;         /* of at, from 1 */
    int groups;            /* open brackets */
    bool line_is_blank;    /* so far */
    char *stretch;         /* what goes to libconfig: comments out, long numbers marked */
    size_t used;
    unsigned stretch_line; /* the file's line where the stretch begins */
} source;

static vmae_status read_file(reader *r, const char *path, int depth, const char *including, unsigned line);

static vmae_status refuse(const source *s, const char *what)
{
    return vmae_fail(VMAE_EUSER, "%s:%u: %s", s->file, s->line, what);
}

static vmae_status parse_stretch(reader *r, source *s)
{
    vmae_status st = VMAE_OK;
    config_t part;
    s->stretch[s->used] = '\0';
    config_init(&part);
    if (!config_read_string(&part, s->stretch)) {
        const unsigned line = (unsigned)config_error_line(&part) + s->stretch_line - 1;
        st = vmae_fail(VMAE_EUSER, "%s:%u: %s%s", s->file, line, config_error_text(&part),
                       strcmp(config_error_text(&part), "syntax error") == 0
                           ? " (a setting is: name = value; a group: name = { ... };)"
                           : "");
    } else {
        set_origin(config_root_setting(&part), s->file, s->stretch_line - 1);
        if (!overlay(config_root_setting(r->tree), config_root_setting(&part)))
            st = vmae_fail(VMAE_ENOMEM, "%s: out of memory", s->file);
    }
    config_destroy(&part);
    s->used = 0;
    s->stretch_line = s->line;
    return st;
}

/* A comment goes; its newlines stay. */
static vmae_status skip_comment(source *s)
{
    if (*s->at == '#' || s->at[1] == '/') {
        s->at += strcspn(s->at, "\n");
        return VMAE_OK;
    }
    const unsigned first = s->line;
    for (s->at += 2; s->at[0] != '*' || s->at[1] != '/'; s->at++) {
        if (!*s->at)
            return vmae_fail(VMAE_EUSER, "%s:%u: this comment is not closed with */", s->file, first);
        if (*s->at == '\n') {
            s->line++;
            s->stretch[s->used++] = '\n';
        }
    }
    s->at += 2;
    s->stretch[s->used++] = ' '; /* a comment separates */
    return VMAE_OK;
}

/* Copies a string. It ends on its line: so a forgotten quote is found where it is, and libconfig finds no @include
 * inside. */
static vmae_status scan_string(source *s)
{
    do {
        if (*s->at == '\\' && s->at[1] == 'x' && s->at[2] == '0' && s->at[3] == '0')
            return refuse(s, "a string cannot hold \\x00");
        if (*s->at == '\\' && s->at[1] && s->at[1] != '\n')
            s->stretch[s->used++] = *s->at++;
        s->stretch[s->used++] = *s->at++;
        if (!*s->at || *s->at == '\n')
            return refuse(s, "this string is not closed with \" on its line (write a newline as \\n)");
    } while (*s->at != '"');
    s->stretch[s->used++] = *s->at++;
    return VMAE_OK;
}

/* Copies a number. A whole number that needs more than 32 bits gets libconfig's L. */
static vmae_status scan_number(source *s)
{
    const char *first = s->at;
    char *whole_end, *float_end;
    size_t length = *first == '-' || *first == '+';
    if (first[length] == '0' && tolower((unsigned char)first[length + 1]) == 'x')
        return refuse(s, "hexadecimal numbers are not read here; write it in decimal");
    while (isalnum((unsigned char)first[length]) || first[length] == '.' ||
           ((first[length] == '-' || first[length] == '+') && tolower((unsigned char)first[length - 1]) == 'e'))
        length++;
    strtod(first, &float_end);
    errno = 0;
    const long long value = strtoll(first, &whole_end, 10);
    const size_t digits = (size_t)(whole_end - first);
    const bool marked = digits && first[digits] == 'L' && length - digits == 1 + (first[digits + 1] == 'L');
    if (!marked && float_end != first + length)
        return refuse(s, "this is not a number (a text needs quotes)");
    if ((marked || digits == length) && errno == ERANGE)
        return refuse(s, "this number does not fit into 64 bits");
    memcpy(s->stretch + s->used, first, length);
    s->used += length;
    if (digits == length && (value < INT_MIN || value > INT_MAX))
        s->stretch[s->used++] = 'L';
    s->at += length;
    return VMAE_OK;
}

static vmae_status scan_name(source *s)
{
    while (isalnum((unsigned char)*s->at) || *s->at == '_' || *s->at == '-' || *s->at == '*')
        s->stretch[s->used++] = *s->at++;
    return *s->at == '.' ? refuse(s, "a name has no dots here: model.dim = 3 is written model = { dim = 3; };")
                         : VMAE_OK;
}

/* Follows `@include "path"`: first what stands before it is laid over the tree, then the file. */
static vmae_status scan_include(reader *r, source *s, int depth)
{
    const char *at = s->at + strlen("@include");
    if (strncmp(s->at, "@include", strlen("@include")) != 0 || !s->line_is_blank || s->groups)
        return refuse(s, "@ begins only an @include \"file\" on a line of its own, outside all groups");
    at += strspn(at, " \t");
    const size_t length = *at == '"' ? strcspn(at + 1, "\"\n\\") : 0;
    if (!length || at[1 + length] != '"')
        return refuse(s, "an include is written @include \"file\"");
    VMAE_TRY(parse_stretch(r, s));
    char *name = strndup(at + 1, length), *path = NULL;
    char *folder = strndup(s->file, (size_t)(vmae_path_base(s->file) - s->file));
    if (name && folder)
        path = vmae_path_join(folder, name);
    const vmae_status st =
        path ? read_file(r, path, depth + 1, s->file, s->line) : vmae_fail(VMAE_ENOMEM, "%s: out of memory", s->file);
    free(path);
    free(folder);
    free(name);
    s->at = at + length + 2;
    return st;
}

/* One token, or one byte of what libconfig may judge. */
static vmae_status scan_token(reader *r, source *s, int depth)
{
    const char byte = *s->at;
    const bool sign = (byte == '-' || byte == '+') && (isdigit((unsigned char)s->at[1]) || s->at[1] == '.');
    if (byte == '@')
        return scan_include(r, s, depth);
    if (byte == '#' || (byte == '/' && (s->at[1] == '/' || s->at[1] == '*')))
        return skip_comment(s);
    s->line_is_blank = byte == '\n' || (s->line_is_blank && isblank((unsigned char)byte));
    if (byte == '"')
        return scan_string(s);
    if (isdigit((unsigned char)byte) || byte == '.' || sign)
        return scan_number(s);
    if (isalpha((unsigned char)byte) || byte == '*')
        return scan_name(s);
    if (byte == '\n')
        s->line++;
    if (byte == '{' || byte == '(' || byte == '[')
        s->groups++;
    if ((byte == '}' || byte == ')' || byte == ']') && s->groups)
        s->groups--;
    if ((byte == '=' || byte == ':') && ++r->settings > SETTINGS_MAX)
        return refuse(s, "this is more than 10000 settings, too many");
    if (s->groups > GROUPS_DEEP)
        return refuse(s, "groups and lists are nested more than 32 deep");
    s->stretch[s->used++] = byte;
    s->at++;
    return VMAE_OK;
}

static vmae_status read_source(reader *r, const char *text, const char *name, int depth)
{
    vmae_status st = VMAE_OK;
    source s = { .file = keep_name(name), .at = text, .line = 1, .line_is_blank = true, .stretch_line = 1 };
    s.stretch = s.file ? vmae_calloc(2 * strlen(text) + 2, 1) : NULL; /* a number grows by one byte at most */
    if (!s.stretch)
        return VMAE_ENOMEM;
    while (st == VMAE_OK && *s.at)
        st = scan_token(r, &s, depth);
    if (st == VMAE_OK)
        st = parse_stretch(r, &s);
    free(s.stretch);
    return st;
}

/* `including` is the file and line of the @include, NULL for the first file. */
static vmae_status read_file(reader *r, const char *path, int depth, const char *including, unsigned line)
{
    char *text = NULL;
    size_t count = 0;
    vmae_status st;
    if (depth > INCLUDES_DEEP || ++r->files > FILES_MAX)
        return vmae_fail(VMAE_EUSER,
                         "%s:%u: too many files include each other here (%d deep, %d in all are allowed); "
                         "does a file include itself?",
                         including ? including : path, line, INCLUDES_DEEP, FILES_MAX);
    st = vmae_read_file(path, FILE_MAX, &text, &count);
    if (st == VMAE_EDATA)
        st = vmae_fail(VMAE_EUSER, "%s", vmae_error());
    if (st == VMAE_OK && strlen(text) != count)
        st = vmae_fail(VMAE_EUSER, "%s: this is not a text file (it has a 0 byte)", path);
    if (st != VMAE_OK && including)
        st = vmae_fail_in(st, "%s:%u", including, line);
    if (st == VMAE_OK)
        st = read_source(r, text, path, depth);
    free(text);
    return st;
}

vmae_status vmae_config_parse_file(struct config_t *tree, const char *path)
{
    reader r = { .tree = tree };
    config_set_auto_convert(tree, 1); /* else config_lookup_float of `lr = 1` finds nothing */
    return read_file(&r, path, 0, NULL, 0);
}

vmae_status vmae_config_parse_text(struct config_t *tree, const char *text, const char *name)
{
    reader r = { .tree = tree };
    config_set_auto_convert(tree, 1);
    if (strlen(text) > FILE_MAX)
        return vmae_fail(VMAE_EUSER, "%s is longer than %d bytes", name, FILE_MAX);
    return read_source(&r, text, name, 0);
}
