/* journal_read.c -- records out of memory. What is torn (the end of a file whose writer was cut off) is told from what
 * is damaged. */
#include "engine/core/journal.h"

#include "engine/core/journal_format.h"

#include <string.h>
#include <zlib.h>

uint32_t vmae_journal_crc(const uint8_t *bytes, size_t count)
{
    return (uint32_t)crc32_z(0, bytes, count);
}

void vmae_record_metric(const vmae_record *record, uint32_t index, uint32_t *id, double *value)
{
    const uint8_t *at = record->values + (size_t)index * VMAE_JOURNAL_VALUE;
    *id = vmae_get_u32(at);
    memcpy(value, at + 4, sizeof *value);
}

/* Fills kind and contents from a payload; false if its own lengths disagree or its kind is unknown. */
static bool parse_payload(vmae_record *record, const uint8_t *payload, size_t count)
{
    record->kind = (char)payload[0];
    if (record->kind == 'E') {
        record->text = (const char *)payload + 1;
        record->text_count = count - 1;
        return count >= 3 && payload[1] == '{' && payload[count - 1] == '}';
    }
    if (record->kind == 'N') {
        if (count < 6 || count > 5 + VMAE_JOURNAL_NAME_MAX)
            return false;
        record->id = vmae_get_u32(payload + 1);
        record->text = (const char *)payload + 5;
        record->text_count = count - 5;
        return true;
    }
    if (record->kind != 'M' || count < VMAE_JOURNAL_METRICS)
        return false;
    memcpy(&record->step, payload + 1, 8);
    memcpy(&record->wall_seconds, payload + 9, 8);
    record->count = vmae_get_u32(payload + 17);
    record->values = payload + VMAE_JOURNAL_METRICS;
    return (uint64_t)record->count * VMAE_JOURNAL_VALUE == count - VMAE_JOURNAL_METRICS;
}

/* true if a whole record with the right checksum begins here. `work` is what may still be spent on checksums. */
static bool is_record(const uint8_t *at, size_t left, uint64_t *work)
{
    vmae_record record = { 0 };
    if (left < VMAE_JOURNAL_HEAD + 1)
        return false;
    const uint32_t length = vmae_get_u32(at);
    if (length < 1 || length > left - VMAE_JOURNAL_HEAD || length > VMAE_JOURNAL_LENGTH_MAX ||
        !parse_payload(&record, at + VMAE_JOURNAL_HEAD, length))
        return false;
    if (length > *work) {
        *work = 0;
        return true; /* too costly to tell: then the caller calls the file damaged and leaves it as it is */
    }
    *work -= length;
    return vmae_journal_crc(at + VMAE_JOURNAL_HEAD, length) == vmae_get_u32(at + 4);
}

/* The record at `from` cannot be read. It is a torn end only if no whole record follows: a damaged length, too, reaches
 * past the end, and cutting there would drop all that follows. */
static bool is_torn_end(const uint8_t *bytes, size_t count, size_t from)
{
    uint64_t work = (uint64_t)64 << 20;
    for (size_t at = from + 1; at < count; at++)
        if (is_record(bytes + at, count - at, &work))
            return false;
    return true;
}

static vmae_status torn_or_damaged(const uint8_t *bytes, size_t count, uint64_t at, bool *torn, const char *what)
{
    if (!is_torn_end(bytes, count, (size_t)at))
        return vmae_fail(VMAE_EDATA, "byte %llu: %s, and whole records follow it: the journal is damaged there",
                         (unsigned long long)at, what);
    *torn = true;
    return VMAE_OK;
}

vmae_status vmae_journal_next(const uint8_t *bytes, size_t count, uint64_t *offset, vmae_record *record, bool *found,
                              bool *torn)
{
    const uint64_t magic = sizeof VMAE_JOURNAL_MAGIC - 1, at = *offset ? *offset : magic;
    *found = *torn = false;
    if (*offset == 0 && count && memcmp(bytes, VMAE_JOURNAL_MAGIC, count < magic ? count : magic) != 0)
        return vmae_fail(VMAE_EDATA, "byte 0: this is not a journal (it does not begin with %s)", VMAE_JOURNAL_MAGIC);
    if (count < at) {
        *torn = count || *offset; /* a first write that was cut off, or a file that was shortened meanwhile */
        return VMAE_OK;
    }
    if (count == at) {
        *offset = at;
        return VMAE_OK;
    }
    const uint8_t *head = bytes + at, *payload = head + VMAE_JOURNAL_HEAD;
    const size_t left = count - (size_t)at;
    if (left < VMAE_JOURNAL_HEAD) {
        *torn = true;
        return VMAE_OK;
    }
    const uint32_t length = vmae_get_u32(head);
    if (length < 1 || length > VMAE_JOURNAL_LENGTH_MAX || length > left - VMAE_JOURNAL_HEAD)
        return torn_or_damaged(bytes, count, at, torn, "a record has an impossible length");
    if (vmae_journal_crc(payload, length) != vmae_get_u32(head + 4))
        return torn_or_damaged(bytes, count, at, torn, "a record has a wrong checksum");
    vmae_record parsed = { .offset = at, .end = at + VMAE_JOURNAL_HEAD + length };
    if (!parse_payload(&parsed, payload, length) || (parsed.kind != 'M' && memchr(parsed.text, 0, parsed.text_count)))
        return vmae_fail(VMAE_EDATA,
                         "byte %llu: a record of an unknown or impossible kind; was the journal written by "
                         "a newer version?",
                         (unsigned long long)at);
    *record = parsed;
    *offset = parsed.end;
    *found = true;
    return VMAE_OK;
}
