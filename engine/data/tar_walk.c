/* tar_walk.c -- the tar format: one header block at a time, every length checked against what is there. */
#include "engine/data/tar.h"

#include <stdio.h>
#include <string.h>

enum { BLOCK = 512, MAX_EXTENSION_BYTES = 1 << 20, NAME_IN_MESSAGE = 120 };

typedef struct walker {
    const uint8_t *bytes;
    size_t count, at;
    const char *archive;
    char last[NAME_IN_MESSAGE + 1]; /* the last whole member, cleaned */
    int64_t members;
    char name[257];        /* prefix/name of a ustar header, put together */
    const char *long_name; /* from a GNU or pax extension, for the next member; points into bytes */
    size_t long_name_length;
    uint64_t pax_size;
    bool has_pax_size;
} walker;

static void clean(char *to, const char *name, size_t length)
{
    if (length > NAME_IN_MESSAGE)
        length = NAME_IN_MESSAGE;
    for (size_t i = 0; i < length; i++)
        to[i] = (unsigned char)name[i] < 0x20 || name[i] == 0x7f ? '?' : name[i];
    to[length] = '\0';
}

static vmae_status damaged(const walker *w, const char *what)
{
    if (!w->members)
        return vmae_fail(VMAE_EDATA, "%s: %s at offset %zu, before the first member; is it a tar archive?", w->archive,
                         what, w->at);
    return vmae_fail(VMAE_EDATA,
                     "%s: %s at offset %zu; the last whole member is \"%s\" (%lld are whole); fetch or pack it again",
                     w->archive, what, w->at, w->last, (long long)w->members);
}

/* Octal with leading spaces, ended by a space or NUL; or GNU's base 256 where the first bit is set. */
static bool parse_number(const uint8_t *field, size_t length, uint64_t *value)
{
    uint64_t number = 0;
    if (field[0] & 0x80) {
        if (field[0] != 0x80) /* negative, or beyond 2^88 */
            return false;
        for (size_t i = 1; i < length; i++) {
            if (number >> 55)
                return false;
            number = number << 8 | field[i];
        }
        *value = number;
        return true;
    }
    size_t i = 0;
    while (i < length && field[i] == ' ')
        i++;
    for (; i < length && field[i] >= '0' && field[i] <= '7'; i++)
        number = number << 3 | (uint64_t)(field[i] - '0'); /* 12 digits at most: no overflow */
    if (i < length && field[i] != ' ' && field[i] != '\0')
        return false;
    *value = number;
    return true;
}

static bool checksum_is_right(const uint8_t *header)
{
    enum { FIELD = 148, LENGTH = 8 };
    uint64_t stated;
    unsigned total = 0, high = 0; /* bytes >= 128 count as negative in sums of old signed-char tars */
    for (int i = 0; i < BLOCK; i++) {
        total += header[i];
        high += header[i] >> 7;
    }
    for (int i = FIELD; i < FIELD + LENGTH; i++) {
        total += ' ' - (unsigned)header[i];
        high -= header[i] >> 7;
    }
    if (!parse_number(header + FIELD, LENGTH, &stated))
        return false;
    return stated == total || stated == (uint64_t)(total - 256 * high);
}

static bool parse_decimal(const char *text, size_t length, uint64_t *value)
{
    uint64_t number = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9' || number > UINT64_MAX / 10 - 10)
            return false;
        number = number * 10 + (uint64_t)(text[i] - '0');
    }
    *value = number;
    return length > 0;
}

/* Records "<length> <key>=<value>\n", the length counting all of it. */
static vmae_status read_pax(walker *w, const char *body, size_t count)
{
    while (count) {
        const char *space = memchr(body, ' ', count < 20 ? count : 20);
        uint64_t length;
        if (!space || !parse_decimal(body, (size_t)(space - body), &length) || length > count ||
            length < (size_t)(space - body) + 4 || body[length - 1] != '\n')
            return damaged(w, "a pax header that cannot be read");
        const char *key = space + 1, *end = body + length - 1;
        const char *equals = memchr(key, '=', (size_t)(end - key));
        if (!equals)
            return damaged(w, "a pax header that cannot be read");
        const size_t key_length = (size_t)(equals - key), value_length = (size_t)(end - equals - 1);
        if (key_length == 4 && memcmp(key, "path", 4) == 0) {
            w->long_name = equals + 1;
            w->long_name_length = strnlen(equals + 1, value_length);
        } else if (key_length == 4 && memcmp(key, "size", 4) == 0) {
            if (!parse_decimal(equals + 1, value_length, &w->pax_size))
                return damaged(w, "a pax header whose size is not a number");
            w->has_pax_size = true;
        } else if (key_length > 10 && memcmp(key, "GNU.sparse", 10) == 0) {
            return damaged(w, "a sparse member (pack it without --sparse)");
        }
        body += length;
        count -= (size_t)length;
    }
    return VMAE_OK;
}

/* The name of the member whose header this is: from an extension, or prefix/name of ustar, or just the name field. */
static void member_name(walker *w, const uint8_t *header, vmae_tar_file *file)
{
    if (w->long_name) {
        file->name = w->long_name;
        file->name_length = w->long_name_length;
        return;
    }
    const char *name = (const char *)header, *prefix = (const char *)header + 345;
    const size_t name_length = strnlen(name, 100);
    size_t length = 0;
    if (memcmp(header + 257, "ustar", 6) == 0 && *prefix) { /* GNU's "ustar  " has other things there */
        length = strnlen(prefix, 155);
        memcpy(w->name, prefix, length);
        w->name[length++] = '/';
    }
    memcpy(w->name + length, name, name_length);
    w->name[length + name_length] = '\0';
    file->name = w->name;
    file->name_length = length + name_length;
}

static bool is_zero(const uint8_t *block)
{
    for (int i = 0; i < BLOCK; i++)
        if (block[i])
            return false;
    return true;
}

/* One member, or one extension header. *end is set at the end mark. */
static vmae_status step(walker *w, vmae_tar_visit visit, void *context, bool *end)
{
    if (w->count - w->at < BLOCK)
        return damaged(w, w->count == w->at ? "truncated: no end mark" : "truncated inside a header");
    const uint8_t *header = w->bytes + w->at;
    if (is_zero(header)) {
        *end = true;
        return VMAE_OK;
    }
    if (!checksum_is_right(header))
        return damaged(w, "not a tar header (wrong checksum)");
    const char kind = (char)header[156];
    const bool regular = kind == '0' || kind == '\0' || kind == '7';
    uint64_t size;
    if (!parse_number(header + 124, 12, &size))
        return damaged(w, "a header whose size is not a number");
    const bool extension = kind == 'x' || kind == 'g' || kind == 'L' || kind == 'K';
    if (!extension && w->has_pax_size)
        size = w->pax_size;
    if (kind >= '1' && kind <= '6')
        size = 0; /* links, devices and folders have no contents, whatever they say */
    if (kind == 'S')
        return damaged(w, "a sparse member (pack it without --sparse)");
    const size_t body = w->at + BLOCK, left = w->count - body;
    if (size > left) {
        char name[NAME_IN_MESSAGE + 1], what[NAME_IN_MESSAGE + 96];
        vmae_tar_file file;
        member_name(w, header, &file);
        clean(name, file.name, file.name_length);
        snprintf(what, sizeof what, "truncated: member \"%s\" of %llu bytes has only %zu", name,
                 (unsigned long long)size, left);
        return damaged(w, what);
    }
    if (extension && size > MAX_EXTENSION_BYTES)
        return damaged(w, "an extension header of more than 1 MiB");
    if (kind == 'x') {
        VMAE_TRY(read_pax(w, (const char *)w->bytes + body, (size_t)size));
    } else if (kind == 'L') {
        w->long_name = (const char *)w->bytes + body;
        w->long_name_length = strnlen(w->long_name, (size_t)size);
    } else if (!extension) {
        vmae_tar_file file = { .bytes = w->bytes + body, .count = (size_t)size };
        member_name(w, header, &file);
        const vmae_status st = regular ? visit(context, &file) : VMAE_OK;
        if (st != VMAE_OK)
            return vmae_fail_in(st, "%s", w->archive);
        clean(w->last, file.name, file.name_length);
        w->members++;
        w->long_name = NULL;
        w->has_pax_size = false;
    }
    const size_t padded = ((size_t)size + BLOCK - 1) / BLOCK * BLOCK;
    w->at = body + (padded < left ? padded : left); /* a last block that is cut short shows as a missing end mark */
    return VMAE_OK;
}

vmae_status vmae_tar_walk(const uint8_t *bytes, size_t count, const char *archive, vmae_tar_visit visit, void *context)
{
    walker w = { .bytes = bytes, .count = count, .archive = archive };
    bool end = false;
    if (count >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b)
        return vmae_fail(VMAE_EDATA,
                         "%s is compressed; images are read in place, so unpack it first: gunzip < FILE > NEW.tar",
                         archive);
    while (!end)
        VMAE_TRY(step(&w, visit, context, &end));
    return VMAE_OK;
}
