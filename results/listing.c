/* listing.c -- cells gathered in an arena, printed in one of five formats. */
#include "results/listing.h"

#include "engine/core/mem.h"
#include "engine/core/text.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { COLUMNS_MAX = 64, STREAM_ROWS = 256 };

typedef struct cell {
    const char *text;  /* as it was given; NULL: empty */
    const char *shown; /* for people: on one line, without control characters */
    const char *escape;
    double number;
    int64_t integer;
    enum { CELL_TEXT, CELL_INTEGER, CELL_NUMBER } kind;
} cell;

struct vmae_listing {
    vmae_arena *names, *texts; /* of columns and notes; of cells */
    const char *columns[COLUMNS_MAX];
    size_t column_count;
    cell *cells;
    size_t count, room;
    char *notes; /* whole lines */
    FILE *stream;
    vmae_table_format stream_format;
    size_t streamed; /* rows printed already */
    vmae_status failure;
};

vmae_listing *vmae_listing_new(void)
{
    vmae_listing *listing = vmae_calloc(1, sizeof *listing);
    if (listing && (!(listing->names = vmae_arena_new()) || !(listing->texts = vmae_arena_new()))) {
        vmae_listing_free(listing);
        return NULL;
    }
    return listing;
}

void vmae_listing_free(vmae_listing *listing)
{
    if (!listing)
        return;
    vmae_arena_free(listing->names);
    vmae_arena_free(listing->texts);
    free(listing->cells);
    free(listing->notes);
    free(listing);
}

/* ---- pieces ---- */

/* A file keeps what a name holds; a terminal would obey it. */
static bool is_terminal(FILE *out)
{
    const int fd = fileno(out); /* -1: memory */
    return fd >= 0 && isatty(fd);
}

void vmae_print_csv_cell(FILE *out, const char *text)
{
    char *clean = is_terminal(out) ? strdup(text) : NULL;
    if (clean)
        vmae_clean_text(clean);
    const char *at = clean ? clean : text, *quote = strpbrk(at, ",\"\r\n") ? "\"" : "";
    fputs(quote, out);
    for (; *at; at++) {
        if (*at == '"')
            putc('"', out);
        putc(*at, out);
    }
    fputs(quote, out);
    free(clean);
}

void vmae_print_json_text(FILE *out, const char *text)
{
    json_t *value = json_string(text);
    if (!value) { /* not UTF-8 */
        char *copy = strdup(text);
        for (char *c = copy; c && *c; c++)
            if ((unsigned char)*c >= 0x80)
                *c = '?';
        value = json_string(copy ? copy : "");
        free(copy);
    }
    char *quoted = value ? json_dumps(value, JSON_ENCODE_ANY) : NULL;
    if (quoted && is_terminal(out))
        vmae_clean_text(quoted); /* JSON itself lets C1's control characters pass */
    fputs(quoted ? quoted : "\"\"", out);
    free(quoted);
    json_decref(value);
}

void vmae_print_json_number(FILE *out, double value)
{
    char text[VMAE_FLOAT_TEXT];
    fputs(isfinite(value) ? vmae_float_text(text, value) : "null", out);
}

void vmae_print_latex(FILE *out, const char *text)
{
    for (; *text; text++) {
        if (strchr("&%$#_{}", *text))
            putc('\\', out), putc(*text, out);
        else if (*text == '\\')
            fputs("\\textbackslash{}", out);
        else if (*text == '~' || *text == '^')
            fprintf(out, "\\%c{}", *text);
        else
            putc((unsigned char)*text < 0x20 ? ' ' : *text, out);
    }
}

static void *checked(vmae_listing *listing, void *memory)
{
    if (!memory)
        listing->failure = VMAE_ENOMEM;
    return memory;
}

/* ---- formats ---- */

static void print_padded(FILE *out, const char *text, size_t width, bool right)
{
    const size_t has = vmae_text_width(text), pad = width > has ? width - has : 0;
    for (size_t i = 0; right && i < pad; i++)
        putc(' ', out);
    fputs(text, out);
    for (size_t i = 0; !right && i < pad; i++)
        putc(' ', out);
}

static bool right_aligned(const vmae_listing *listing, size_t column)
{
    for (size_t i = column; i < listing->count; i += listing->column_count)
        if (listing->cells[i].kind == CELL_TEXT && listing->cells[i].text)
            return false;
    return listing->count > 0;
}

static void print_text(const vmae_listing *listing, bool colours, FILE *out)
{
    size_t widths[COLUMNS_MAX];
    bool rights[COLUMNS_MAX];
    const size_t columns = listing->column_count;
    for (size_t c = 0; c < columns; c++) {
        widths[c] = vmae_text_width(listing->columns[c]);
        rights[c] = right_aligned(listing, c);
        for (size_t i = c; i < listing->count; i += columns) {
            const size_t width = listing->cells[i].shown ? vmae_text_width(listing->cells[i].shown) : 0;
            widths[c] = width > widths[c] ? width : widths[c];
        }
    }
    for (size_t c = 0; c < columns; c++) {
        const bool last = c + 1 == columns, right = rights[c];
        fputs(colours ? "\033[1m" : "", out);
        print_padded(out, listing->columns[c], last && !right ? 0 : widths[c], right);
        fputs(colours ? "\033[0m" : "", out);
        fputs(last ? "\n" : "  ", out);
    }
    for (size_t i = 0; i + columns <= listing->count; i += columns)
        for (size_t c = 0; c < columns; c++) {
            const cell *at = &listing->cells[i + c];
            const bool last = c + 1 == columns, right = rights[c], colour = colours && at->escape;
            fputs(colour ? at->escape : "", out);
            print_padded(out, at->shown ? at->shown : "", last && !right ? 0 : widths[c], right);
            fputs(colour ? "\033[0m" : "", out);
            fputs(last ? "\n" : "  ", out);
        }
}

static void print_markdown_cell(FILE *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '|')
            putc('\\', out);
        putc(*text, out);
    }
}

static void print_markdown(const vmae_listing *listing, FILE *out)
{
    for (size_t c = 0; c < listing->column_count; c++) {
        fputs(c ? " | " : "| ", out);
        print_markdown_cell(out, listing->columns[c]);
    }
    fputs(" |\n|", out);
    for (size_t c = 0; c < listing->column_count; c++)
        fputs(right_aligned(listing, c) ? "---:|" : "---|", out);
    putc('\n', out);
    for (size_t i = 0; i < listing->count; i++) {
        fputs(i % listing->column_count ? " | " : "| ", out);
        print_markdown_cell(out, listing->cells[i].shown ? listing->cells[i].shown : "");
        if ((i + 1) % listing->column_count == 0)
            fputs(" |\n", out);
    }
}

/* Numbers to the right; no caption: what it shows is the reader's to say. */
static void print_latex(const vmae_listing *listing, FILE *out)
{
    fputs("% needs \\usepackage{booktabs}\n\\begin{tabular}{", out);
    for (size_t c = 0; c < listing->column_count; c++)
        putc(right_aligned(listing, c) ? 'r' : 'l', out);
    fputs("}\n\\toprule\n", out);
    for (size_t c = 0; c < listing->column_count; c++) {
        fputs(c ? " & " : "", out);
        vmae_print_latex(out, listing->columns[c]);
    }
    fputs(" \\\\\n\\midrule\n", out);
    for (size_t i = 0; i < listing->count; i++) {
        const size_t c = i % listing->column_count;
        fputs(c ? " & " : "", out);
        vmae_print_latex(out, listing->cells[i].shown ? listing->cells[i].shown : "");
        fputs(c + 1 == listing->column_count ? " \\\\\n" : "", out);
    }
    fputs("\\bottomrule\n\\end{tabular}\n", out);
}

static void print_csv(const vmae_listing *listing, FILE *out)
{
    char number[VMAE_FLOAT_TEXT];
    for (size_t c = 0; listing->streamed == 0 && c < listing->column_count; c++) {
        fputs(c ? "," : "", out);
        vmae_print_csv_cell(out, listing->columns[c]);
        fputs(c + 1 == listing->column_count ? "\n" : "", out);
    }
    for (size_t i = 0; i < listing->count; i++) {
        const cell *at = &listing->cells[i];
        fputs(i % listing->column_count ? "," : "", out);
        if (at->kind == CELL_NUMBER && !isnan(at->number))
            fputs(vmae_float_text(number, at->number), out);
        else if (at->kind != CELL_NUMBER && at->text)
            vmae_print_csv_cell(out, at->text);
        if ((i + 1) % listing->column_count == 0)
            putc('\n', out);
    }
}

static void print_json(const vmae_listing *listing, FILE *out)
{
    fputs(listing->streamed ? "" : "[", out);
    for (size_t i = 0; i < listing->count; i++) {
        const size_t c = i % listing->column_count;
        const cell *at = &listing->cells[i];
        fputs(c ? ", " : i || listing->streamed ? ",\n {" : "\n {", out);
        vmae_print_json_text(out, listing->columns[c]);
        fputs(": ", out);
        if (at->kind == CELL_NUMBER)
            vmae_print_json_number(out, at->number);
        else if (at->kind == CELL_INTEGER)
            fprintf(out, "%lld", (long long)at->integer);
        else if (at->text)
            vmae_print_json_text(out, at->text);
        else
            fputs("null", out);
        fputs(c + 1 == listing->column_count ? "}" : "", out);
    }
}

/* CSV and JSON need not know all rows: print those there are and forget them. */
static void print_some(vmae_listing *listing)
{
    if (listing->stream_format == VMAE_TABLE_CSV)
        print_csv(listing, listing->stream);
    else
        print_json(listing, listing->stream);
    listing->streamed += listing->count / listing->column_count;
    listing->count = 0;
    vmae_arena *fresh = checked(listing, vmae_arena_new());
    if (fresh) {
        vmae_arena_free(listing->texts);
        listing->texts = fresh;
    }
}

/* ---- adding ---- */

void vmae_listing_column(vmae_listing *listing, const char *name)
{
    char *copy = checked(listing, vmae_arena_strdup(listing->names, name));
    if (copy && listing->column_count == COLUMNS_MAX)
        listing->failure = vmae_fail(VMAE_EUSER, "a listing has at most %d columns; ask for fewer", COLUMNS_MAX);
    else if (copy)
        listing->columns[listing->column_count++] = copy;
}

void vmae_listing_note(vmae_listing *listing, const char *format, ...)
{
    char *note = NULL, *longer = NULL;
    va_list args;
    va_start(args, format);
    if (vasprintf(&note, format, args) >= 0)
        longer = vmae_format("%s%s\n", listing->notes ? listing->notes : "", note);
    va_end(args);
    free(note);
    if (checked(listing, longer)) {
        free(listing->notes);
        listing->notes = longer;
    }
}

static cell *add_cell(vmae_listing *listing)
{
    static cell dropped;
    if (listing->stream && listing->count == STREAM_ROWS * listing->column_count)
        print_some(listing);
    if (listing->count == listing->room) {
        const size_t room = listing->room ? listing->room * 2 : 256;
        cell *cells = vmae_realloc(listing->cells, room, sizeof *cells);
        if (!checked(listing, cells))
            return &dropped;
        listing->cells = cells;
        listing->room = room;
    }
    cell *added = &listing->cells[listing->count++];
    *added = (cell){ .number = NAN };
    return added;
}

/* The text as people see it: most texts are clean already. */
static const char *clean_copy(vmae_listing *listing, const char *text)
{
    char *copy = checked(listing, vmae_arena_strdup(listing->texts, text));
    if (!copy)
        return text;
    vmae_clean_text(copy);
    for (char *c = copy; *c; c++)
        *c = *c == '\n' || *c == '\t' ? ' ' : *c;
    return strcmp(copy, text) == 0 ? text : copy;
}

static cell *add_text(vmae_listing *listing, const char *text)
{
    cell *added = add_cell(listing);
    if (text && (added->text = checked(listing, vmae_arena_strdup(listing->texts, text))))
        added->shown = clean_copy(listing, added->text);
    return added;
}

void vmae_listing_text(vmae_listing *listing, const char *text)
{
    add_text(listing, text);
}

void vmae_listing_format_text(vmae_listing *listing, const char *format, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, format);
    if (vasprintf(&text, format, args) < 0)
        text = NULL, listing->failure = vmae_fail(VMAE_ENOMEM, "out of memory");
    va_end(args);
    add_text(listing, text);
    free(text);
}

void vmae_listing_integer(vmae_listing *listing, int64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)value);
    cell *added = add_text(listing, text);
    added->integer = value;
    added->kind = CELL_INTEGER;
}

void vmae_listing_number_as(vmae_listing *listing, double value, const char *text)
{
    cell *added = add_text(listing, text);
    added->number = value;
    added->kind = CELL_NUMBER;
}

void vmae_listing_number(vmae_listing *listing, double value, int digits)
{
    char text[400]; /* %f of the largest double has 309 digits */
    snprintf(text, sizeof text, digits < 0 ? "%.*g" : "%.*f", digits < 0 ? 6 : digits, value);
    vmae_listing_number_as(listing, value, isnan(value) ? NULL : text);
}

void vmae_listing_empty(vmae_listing *listing)
{
    vmae_listing_number_as(listing, NAN, NULL);
}

void vmae_listing_colour(vmae_listing *listing, const char *escape)
{
    if (listing->count > 0)
        listing->cells[listing->count - 1].escape = escape;
}

void vmae_listing_stream(vmae_listing *listing, vmae_table_format format, FILE *out)
{
    if (format != VMAE_TABLE_CSV && format != VMAE_TABLE_JSON)
        return;
    listing->stream = out;
    listing->stream_format = format;
}

size_t vmae_listing_rows(const vmae_listing *listing)
{
    return listing->streamed + (listing->column_count ? listing->count / listing->column_count : 0);
}

/* ---- the whole ---- */

/* Below the rows, with `before` in front of each line. */
static void print_notes(const vmae_listing *listing, const char *before, FILE *out)
{
    fputs(listing->notes ? "\n" : "", out);
    for (const char *line = listing->notes; line && *line; line = strchr(line, '\n') + 1) {
        char *copy = strndup(line, strcspn(line, "\n"));
        fputs(before, out);
        vmae_print_clean(out, copy ? copy : "");
        putc('\n', out);
        free(copy);
    }
}

vmae_status vmae_listing_print(const vmae_listing *listing, vmae_table_format format, bool colours, FILE *out)
{
    if (listing->failure != VMAE_OK)
        return listing->failure;
    switch (format) {
    case VMAE_TABLE_TEXT: print_text(listing, colours, out); break;
    case VMAE_TABLE_MARKDOWN: print_markdown(listing, out); break;
    case VMAE_TABLE_LATEX: print_latex(listing, out); break;
    case VMAE_TABLE_CSV: print_csv(listing, out); break;
    case VMAE_TABLE_JSON:
        print_json(listing, out);
        fputs("\n]\n", out);
        break;
    }
    if (format == VMAE_TABLE_TEXT || format == VMAE_TABLE_MARKDOWN || format == VMAE_TABLE_LATEX)
        print_notes(listing, format == VMAE_TABLE_TEXT ? "" : format == VMAE_TABLE_LATEX ? "% " : "- ", out);
    return ferror(out) ? vmae_fail(VMAE_EIO, "the output could not be written") : VMAE_OK;
}
