/* mem.c -- allocation that reports, and the arena. */
#include "engine/core/mem.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *no_memory(size_t count, size_t size)
{
    vmae_fail(VMAE_ENOMEM, "out of memory: could not get %zu x %zu bytes", count, size);
    return NULL;
}

void *vmae_calloc(size_t count, size_t size)
{
    void *block = calloc(count ? count : 1, size ? size : 1);
    return block ? block : no_memory(count, size);
}

void *vmae_realloc(void *block, size_t count, size_t size)
{
    void *moved = reallocarray(block, count ? count : 1, size ? size : 1);
    return moved ? moved : no_memory(count, size);
}

char *vmae_strdup(const char *text)
{
    char *copy = strdup(text);
    return copy ? copy : no_memory(1, strlen(text) + 1);
}

static char *format_list(const char *format, va_list args)
{
    char *text = NULL;
    return vasprintf(&text, format, args) < 0 ? no_memory(1, strlen(format)) : text;
}

char *vmae_format(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = format_list(format, args);
    va_end(args);
    return text;
}

/* ---- arena: a list of blocks, the newest first; big requests get a block of their own ---- */

typedef struct arena_block {
    struct arena_block *next;
    size_t size, used;
    _Alignas(16) unsigned char bytes[];
} arena_block;

struct vmae_arena {
    arena_block *blocks;
};

vmae_arena *vmae_arena_new(void)
{
    return vmae_calloc(1, sizeof(vmae_arena));
}

void vmae_arena_free(vmae_arena *arena)
{
    if (!arena)
        return;
    for (arena_block *block = arena->blocks, *next; block; block = next) {
        next = block->next;
        free(block);
    }
    free(arena);
}

void *vmae_arena_calloc(vmae_arena *arena, size_t count, size_t size)
{
    enum { BLOCK = 64 << 10 };
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX / 2)
        return no_memory(count, size);
    bytes = (bytes + 15) / 16 * 16;
    if (!arena->blocks || arena->blocks->size - arena->blocks->used < bytes) {
        const size_t room = bytes > BLOCK ? bytes : BLOCK;
        arena_block *block = vmae_calloc(1, sizeof *block + room);
        if (!block)
            return NULL;
        block->size = room;
        block->next = arena->blocks;
        arena->blocks = block;
    }
    void *result = arena->blocks->bytes + arena->blocks->used;
    arena->blocks->used += bytes;
    return result;
}

char *vmae_arena_strdup(vmae_arena *arena, const char *text)
{
    const size_t bytes = strlen(text) + 1;
    char *copy = vmae_arena_calloc(arena, bytes, 1);
    return copy ? memcpy(copy, text, bytes) : NULL;
}

char *vmae_arena_format(vmae_arena *arena, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = format_list(format, args);
    va_end(args);
    char *copy = text ? vmae_arena_strdup(arena, text) : NULL;
    free(text);
    return copy;
}
