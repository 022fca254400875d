/* mem.h -- allocation that reports, and an arena for things that are dropped together. */
#ifndef VMAE_CORE_MEM_H
#define VMAE_CORE_MEM_H

#include "engine/core/status.h"

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Zeroed memory for count objects of size bytes, with an overflow check. NULL, with a sentence for vmae_error(), if
 * there is none. Release with free(). count 0 gives a valid pointer. */
void *vmae_calloc(size_t count, size_t size);

/* realloc for count objects; on failure the old block stays and NULL is returned, with a sentence. New bytes are not
 * zeroed. */
void *vmae_realloc(void *block, size_t count, size_t size);

/* strdup and printf into fresh memory, NULL with a sentence on failure. Release with free(). */
char *vmae_strdup(const char *text);
char *vmae_format(const char *format, ...) VMAE_PRINTF(1, 2);

/* Memory that is released all at once. An allocation never moves. Not thread-safe. */
typedef struct vmae_arena vmae_arena;
vmae_arena *vmae_arena_new(void);
void vmae_arena_free(vmae_arena *arena);
void *vmae_arena_calloc(vmae_arena *arena, size_t count,
                        size_t size); /* zeroed, 16-byte aligned, or NULL with a sentence */
char *vmae_arena_strdup(vmae_arena *arena, const char *text);
char *vmae_arena_format(vmae_arena *arena, const char *format, ...) VMAE_PRINTF(2, 3);

#ifdef __cplusplus
}
#endif
#endif
