/* fuzz_safetensors.c -- any bytes as a checkpoint: refused with a sentence, or every entry can be read whole. */
#include "engine/checkpoint/checkpoint.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile unsigned sink; /* so that the reads are not optimised away */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vmae_checkpoint *c = NULL;
    uint8_t *bytes = malloc(size ? size : 1); /* aligned, and exact for the sanitizer */
    if (!bytes)
        return 0;
    if (size)
        memcpy(bytes, data, size);
    if (vmae_checkpoint_parse(&c, bytes, size, "fuzz") == VMAE_OK) {
        for (size_t i = 0; i < vmae_checkpoint_count(c); i++) {
            const vmae_entry *entry = vmae_checkpoint_at(c, i);
            if (vmae_checkpoint_find(c, entry->name) != entry || (uintptr_t)entry->data % vmae_dtype_size(entry->dtype))
                abort();
            for (size_t b = 0; b < entry->bytes; b++)
                sink += ((const uint8_t *)entry->data)[b];
            float *floats = malloc(entry->count * sizeof *floats + 1);
            if (floats)
                (void)vmae_checkpoint_floats(c, entry->name, floats, entry->rank, entry->dim);
            free(floats);
        }
        for (size_t i = 0; i < vmae_checkpoint_metadata_count(c); i++) {
            const char *key, *value;
            vmae_checkpoint_metadata_at(c, i, &key, &value);
            if (vmae_checkpoint_metadata(c, key) != value)
                abort();
        }
    } else if (!*vmae_error()) {
        abort();
    }
    vmae_checkpoint_free(c);
    free(bytes);
    return 0;
}
