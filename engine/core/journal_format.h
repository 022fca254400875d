/* journal_format.h -- inside journal: the sizes of the format that journal.h describes. */
#ifndef VMAE_CORE_JOURNAL_FORMAT_H
#define VMAE_CORE_JOURNAL_FORMAT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define VMAE_JOURNAL_MAGIC "VMAEJNL1"

enum {
    VMAE_JOURNAL_HEAD = 8,                /* u32 length, u32 checksum */
    VMAE_JOURNAL_METRICS = 1 + 8 + 8 + 4, /* kind, step, seconds, count */
    VMAE_JOURNAL_VALUE = 4 + 8,           /* name id, value */
    VMAE_JOURNAL_NAME_MAX = 255,
    VMAE_JOURNAL_LENGTH_MAX = 64 << 20
};

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "journals are little-endian and are read in place");

static inline uint32_t vmae_get_u32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

uint32_t vmae_journal_crc(const uint8_t *bytes, size_t count);

#endif
