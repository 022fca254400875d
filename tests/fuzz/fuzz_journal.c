/* fuzz_journal.c -- any bytes as a journal: records lie inside, come in order, and a prefix gives the same records. The
 * checksums of the input are put right first where its lengths allow it: else nearly every input would end at its first
 * record. */
#include "engine/core/journal.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile double sink;

static void mend(uint8_t *bytes, size_t size)
{
    for (size_t at = 8; at + 8 < size;) {
        uint32_t length;
        memcpy(&length, bytes + at, 4);
        if (length > size - at - 8)
            return;
        const uint32_t crc = (uint32_t)crc32_z(0, bytes + at + 8, length);
        memcpy(bytes + at + 4, &crc, 4);
        at += 8 + (size_t)length;
    }
}

static void walk(const uint8_t *bytes, size_t size)
{
    uint64_t offset = 0;
    bool found = true, torn = false;
    while (found) {
        vmae_record record;
        const uint64_t before = offset;
        if (vmae_journal_next(bytes, size, &offset, &record, &found, &torn) != VMAE_OK) {
            if (!*vmae_error() || offset != before)
                abort();
            return;
        }
        if (!found)
            return;
        if (torn || record.end != offset || offset <= before || offset > size)
            abort();
        for (size_t i = 0; record.kind != 'M' && i < record.text_count; i++)
            sink += record.text[i];
        for (uint32_t i = 0; record.kind == 'M' && i < record.count; i++) {
            uint32_t id;
            double value;
            vmae_record_metric(&record, i, &id, &value);
            sink += id;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    uint8_t *bytes = malloc(size); /* exact for the sanitizer; the first byte says whether to mend */
    if (!bytes)
        return 0;
    memcpy(bytes, data + 1, size - 1);
    walk(bytes, size - 1);
    if (data[0] & 1) {
        mend(bytes, size - 1);
        walk(bytes, size - 1);
    }
    free(bytes);
    return 0;
}
