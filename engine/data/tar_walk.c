/* tar_walk.c -- the tar format: one header block at a time, every length checked against what is there. */
#include "engine/data/tar.h"

#include "engine/core/fs.h"
#include "engine/core/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 512, MAX_EXTENSION_BYTES = 1 << 20, MAX_NAME = 4096, NAME_IN_MESSAGE = 120 };

typedef struct walker {
    const vmae_tar_input *input;
    uint64_t at;
    uint8_t header[BLOCK];
    char *extension;                /* [MAX_EXTENSION_BYTES] once there was one */
    char last[NAME_IN_MESSAGE + 1]; /* the last whole member, cleaned */
    int64_t members;
    char name[257];           /* prefix/name of a ustar header, put together */
    char long_name[MAX_NAME]; /* from a GNU or pax extension, for the next member */
    size_t long_name_length;
    bool has_long_name;
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
        return vmae_fail(VMAE_EDATA, "%s: %s at offset %llu, before the first member; is it a tar archive?",
                         w->input->name, what, (unsigned long long)w->at);
    return vmae_fail(VMAE_EDATA,
                     "%s: %s at offset %llu; the last whole member is \"%s\" (%lld are whole); fetch or pack it again",
                     w->input->name, what, (unsigned long long)w->at, w->last, (long long)w->members);
}

vmae_status vmae_tar_read(const vmae_tar_input *input, uint64_t offset, void *bytes, size_t count)
{
    if (!input->bytes)
        return vmae_read_at(input->fd, input->name, offset, bytes, count);
    memcpy(bytes, input->bytes + offset, count);
    return VMAE_OK;
}

static vmae_status keep_long_name(walker *w, const char *name, size_t length)
{
    length = strnlen(name, length);
    if (length > MAX_NAME)
        return damaged(w, "a member's name of more than 4096 bytes");
    memcpy(w->long_name, name, length);
    w->long_name_length = length;
    w->has_long_name = true;
    return VMAE_OK;
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
            VMAE_TRY(keep_long_name(w, equals + 1, value_length));
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
    if (w->has_long_name) {
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

/* A pax header or a GNU long name: reads its body. */
static vmae_status read_extension(walker *w, char kind, uint64_t size)
{
    if (size > MAX_EXTENSION_BYTES)
        return damaged(w, "an extension header of more than 1 MiB");
    if (kind != 'x' && kind != 'L') /* for all members, or of a link */
        return VMAE_OK;
    if (!w->extension && !(w->extension = vmae_calloc(MAX_EXTENSION_BYTES, 1)))
        return VMAE_ENOMEM;
    VMAE_TRY(vmae_tar_read(w->input, w->at + BLOCK, w->extension, (size_t)size));
    return kind == 'x' ? read_pax(w, w->extension, (size_t)size) : keep_long_name(w, w->extension, (size_t)size);
}

static vmae_status visit_member(walker *w, uint64_t size, bool regular, vmae_tar_visit visit, void *context)
{
    vmae_tar_file file = { .offset = w->at + BLOCK, .count = size };
    member_name(w, w->header, &file);
    const vmae_status st = regular ? visit(context, w->input, &file) : VMAE_OK;
    if (st != VMAE_OK)
        return vmae_fail_in(st, "%s", w->input->name);
    clean(w->last, file.name, file.name_length);
    w->members++;
    w->has_long_name = w->has_pax_size = false;
    return VMAE_OK;
}

static vmae_status overlong(walker *w, uint64_t size, uint64_t left)
{
    char name[NAME_IN_MESSAGE + 1], what[NAME_IN_MESSAGE + 96];
    vmae_tar_file file;
    member_name(w, w->header, &file);
    clean(name, file.name, file.name_length);
    snprintf(what, sizeof what, "truncated: member \"%s\" of %llu bytes has only %llu", name, (unsigned long long)size,
             (unsigned long long)left);
    return damaged(w, what);
}

/* One member, or one extension header. *end is set at the end mark. */
static vmae_status step(walker *w, vmae_tar_visit visit, void *context, bool *end)
{
    const uint64_t count = w->input->count;
    if (count - w->at < BLOCK)
        return damaged(w, count == w->at ? "truncated: no end mark" : "truncated inside a header");
    VMAE_TRY(vmae_tar_read(w->input, w->at, w->header, BLOCK));
    if (is_zero(w->header)) {
        *end = true;
        return VMAE_OK;
    }
    if (!checksum_is_right(w->header))
        return damaged(w, "not a tar header (wrong checksum)");
    const char kind = (char)w->header[156];
    const bool regular = kind == '0' || kind == '\0' || kind == '7';
    uint64_t size;
    if (!parse_number(w->header + 124, 12, &size))
        return damaged(w, "a header whose size is not a number");
    const bool extension = kind == 'x' || kind == 'g' || kind == 'L' || kind == 'K';
    if (!extension && w->has_pax_size)
        size = w->pax_size;
    if (kind >= '1' && kind <= '6')
        size = 0; /* links, devices and folders have no contents, whatever they say */
    if (kind == 'S')
        return damaged(w, "a sparse member (pack it without --sparse)");
    const uint64_t body = w->at + BLOCK, left = count - body;
    if (size > left)
        return overlong(w, size, left);
    VMAE_TRY(extension ? read_extension(w, kind, size) : visit_member(w, size, regular, visit, context));
    const uint64_t padded = (size + BLOCK - 1) / BLOCK * BLOCK;
    w->at = body + (padded < left ? padded : left); /* a last block that is cut short shows as a missing end mark */
    return VMAE_OK;
}

vmae_status vmae_tar_walk(const vmae_tar_input *input, vmae_tar_visit visit, void *context)
{
    uint8_t magic[2] = { 0 };
    if (input->count >= sizeof magic)
        VMAE_TRY(vmae_tar_read(input, 0, magic, sizeof magic));
    if (magic[0] == 0x1f && magic[1] == 0x8b)
        return vmae_fail(VMAE_EDATA,
                         "%s is compressed; images are read in place, so unpack it first: gunzip < FILE > NEW.tar",
                         input->name);
    walker *w = vmae_calloc(1, sizeof *w);
    if (!w)
        return VMAE_ENOMEM;
    w->input = input;
    vmae_status st = VMAE_OK;
    for (bool end = false; !end && st == VMAE_OK;)
        st = step(w, visit, context, &end);
    free(w->extension);
    free(w);
    return st;
}
