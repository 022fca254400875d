/* fuzz_tar.c -- libFuzzer over the tar indexer: any bytes either give an index whose members lie inside the archive, or
 * a status. */
#include "engine/data/tar.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vmae_tar_index index = { 0 };
    const vmae_tar_input input = { .name = "fuzz.tar", .bytes = data ? data : (const uint8_t *)"", .count = size };
    vmae_status st = vmae_tar_index_add(&index, &input);
    if (st == VMAE_OK)
        st = vmae_tar_index_finish(&index, "fuzz.tar");
    for (int64_t i = 0; st == VMAE_OK && i < index.count; i++) {
        const vmae_tar_member *sample = &index.samples[i];
        if (sample->offset > size || sample->count > size - sample->offset || sample->label < -1 ||
            sample->label >= (index.classes ? index.classes : 1))
            abort();
        for (const char *c = sample->name; *c; c++)
            if ((unsigned char)*c < 0x20)
                abort();
    }
    if (st != VMAE_OK && !*vmae_error())
        abort();
    vmae_tar_index_release(&index);
    return 0;
}
