/* listing.c -- cells gathered in an arena, printed in one of four formats. */
#include "results/listing.h"

#include "engine/core/mem.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct cell {
    const char *text; /* for people; NULL: empty */
    const char *escape;
    double number;
    int64_t integer;
    enum { CELL_TEXT, CELL_INTEGER, CELL_NUMBER } kind;
} cell;

struct vmae_listing {
    vmae_arena *arena;
    const char *columns[64];
    size_t column_count;
    cell *cells;
    size_t count, room;
    vmae_status failure;
};

vmae_listing *vmae_listing_new(void)
{
    vmae_listing *listing = vmae_calloc(1, sizeof *listing);
    if (listing && !(listing->arena = vmae_arena_new())) {
        free(listing);
        return NULL;
    }
    return listing;
}

void vmae_listing_free(vmae_listing *listing)
{
    if (!listing)
        return;
    vmae_arena_free(listing->arena);
    free(listing->cells);
    free(listing);
}

/* ---- adding ---- */

void vmae_listing_column(vmae_listing *listing, const char *name)
{
    enum { MOST = sizeof listing->columns / sizeof *listing->columns };
    const char *copy = vmae_arena_strdup(listing->arena, name);
    if (!copy)
        listing->failure = VMAE_ENOMEM;
    else if (listing->column_count == MOST)
        listing->failure = vmae_fail(VMAE_EUSER, "a listing has at most %d columns; ask for fewer", MOST);
    else
        listing->columns[listing->column_count++] = copy;
}

static cell *add_cell(vmae_listing *listing)
{
    static cell dropped;
    if (listing->count == listing->room) {
        const size_t room = listing->room ? listing->room * 2 : 256;
        cell *cells = vmae_realloc(listing->cells, room, sizeof *cells);
        if (!cells) {
            listing->failure = VMAE_ENOMEM;
            return &dropped;
        }
        listing->cells = cells;
        listing->room = room;
    }
    cell *added = &listing->cells[listing->count++];
    *added = (cell){ .number = NAN };
    return added;
}

static const char *keep(vmae_listing *listing, const char *text)
{
    const char *copy = text ? vmae_arena_strdup(listing->arena, text) : NULL;
    if (text && !copy)
        listing->failure = VMAE_ENOMEM;
    return copy;
}

void vmae_listing_text(vmae_listing *listing, const char *text)
{
    const char *copy = keep(listing, text);
    add_cell(listing)->text = copy;
}

void vmae_listing_format_text(vmae_listing *listing, const char *format, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, format);
    if (vasprintf(&text, format, args) < 0)
        text = NULL, listing->failure = vmae_fail(VMAE_ENOMEM, "out of memory");
    va_end(args);
    vmae_listing_text(listing, text);
    free(text);
}

void vmae_listing_integer(vmae_listing *listing, int64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)value);
    const char *copy = keep(listing, text);
    cell *added = add_cell(listing);
    added->text = copy;
    added->integer = value;
    added->kind = CELL_INTEGER;
}

void vmae_listing_number_as(vmae_listing *listing, double value, const char *text)
{
    const char *copy = keep(listing, text);
    cell *added = add_cell(listing);
    added->text = copy;
    added->number = value;
    added->kind = CELL_NUMBER;
}

void vmae_listing_number(vmae_listing *listing, double value, int digits)
{
    char text[400]; /* %f of the largest double has 309 digits */
    snprintf(text, sizeof text, digits < 0 ? "%.*g" : "%.*f", digits < 0 ? 6 : digits, value);
    vmae_listing_number_as(listing, value, isnan(value) ? NULL : text);
}

void vmae_listing_colour(vmae_listing *listing, const char *escape)
{
    if (listing->count > 0)
        listing->cells[listing->count - 1].escape = escape;
}

size_t vmae_listing_rows(const vmae_listing *listing)
{
    return listing->column_count ? listing->count / listing->column_count : 0;
}

/* ---- pieces ---- */

size_t vmae_text_width(const char *text)
{
    size_t width = 0;
    for (; *text; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

static bool is_control(const char *text)
{
    const unsigned char c = (unsigned char)text[0];
    return c < 0x20 || c == 0x7f || (c == 0xc2 && (unsigned char)text[1] >= 0x80 && (unsigned char)text[1] < 0xa0);
}

void vmae_print_clean(FILE *out, const char *text)
{
    for (; *text; text++)
        putc(is_control(text) ? '?' : *text, out);
}

void vmae_print_csv_cell(FILE *out, const char *text)
{
    if (!strpbrk(text, ",\"\r\n")) {
        fputs(text, out);
        return;
    }
    putc('"', out);
    for (; *text; text++) {
        if (*text == '"')
            putc('"', out);
        putc(*text, out);
    }
    putc('"', out);
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
    if (!value || json_dumpf(value, out, JSON_ENCODE_ANY) != 0)
        fputs("\"\"", out);
    json_decref(value);
}

/* The shortest decimal that reads back to the same double. */
static void shortest(char *text, size_t size, double value)
{
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, size, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
}

void vmae_print_json_number(FILE *out, double value)
{
    char text[40];
    shortest(text, sizeof text, value);
    fputs(isfinite(value) ? text : "null", out);
}

/* ---- formats ---- */

static void print_padded(FILE *out, const char *text, size_t width, bool right)
{
    const size_t has = vmae_text_width(text), pad = width > has ? width - has : 0;
    for (size_t i = 0; right && i < pad; i++)
        putc(' ', out);
    vmae_print_clean(out, text);
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
    size_t widths[sizeof listing->columns / sizeof *listing->columns];
    bool rights[sizeof listing->columns / sizeof *listing->columns];
    const size_t columns = listing->column_count;
    for (size_t c = 0; c < columns; c++) {
        widths[c] = vmae_text_width(listing->columns[c]);
        rights[c] = right_aligned(listing, c);
        for (size_t i = c; i < listing->count; i += columns) {
            const size_t width = listing->cells[i].text ? vmae_text_width(listing->cells[i].text) : 0;
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
            print_padded(out, at->text ? at->text : "", last && !right ? 0 : widths[c], right);
            fputs(colour ? "\033[0m" : "", out);
            fputs(last ? "\n" : "  ", out);
        }
}

static void print_markdown_cell(FILE *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '|')
            putc('\\', out);
        putc(is_control(text) ? ' ' : *text, out);
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
        print_markdown_cell(out, listing->cells[i].text ? listing->cells[i].text : "");
        if ((i + 1) % listing->column_count == 0)
            fputs(" |\n", out);
    }
}

static void print_csv(const vmae_listing *listing, FILE *out)
{
    char number[40];
    for (size_t c = 0; c < listing->column_count; c++) {
        fputs(c ? "," : "", out);
        vmae_print_csv_cell(out, listing->columns[c]);
    }
    putc('\n', out);
    for (size_t i = 0; i < listing->count; i++) {
        const cell *at = &listing->cells[i];
        fputs(i % listing->column_count ? "," : "", out);
        if (at->kind == CELL_NUMBER && !isnan(at->number)) {
            shortest(number, sizeof number, at->number);
            fputs(number, out);
        } else if (at->kind != CELL_NUMBER && at->text) {
            vmae_print_csv_cell(out, at->text);
        }
        if ((i + 1) % listing->column_count == 0)
            putc('\n', out);
    }
}

static void print_json(const vmae_listing *listing, FILE *out)
{
    fputs("[", out);
    for (size_t i = 0; i < listing->count; i++) {
        const size_t c = i % listing->column_count;
        const cell *at = &listing->cells[i];
        fputs(c ? ", " : i ? ",\n {" : "\n {", out);
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
    fputs("\n]\n", out);
}

vmae_status vmae_listing_print(const vmae_listing *listing, vmae_listing_format format, bool colours, FILE *out)
{
    if (listing->failure != VMAE_OK)
        return listing->failure;
    switch (format) {
    case VMAE_LISTING_TEXT: print_text(listing, colours, out); break;
    case VMAE_LISTING_MARKDOWN: print_markdown(listing, out); break;
    case VMAE_LISTING_CSV: print_csv(listing, out); break;
    case VMAE_LISTING_JSON: print_json(listing, out); break;
    }
    return ferror(out) ? vmae_fail(VMAE_EIO, "the output could not be written") : VMAE_OK;
}
