/* journal.c -- the writer. Invariant: the file's first `end` bytes are whole records; after a failed write it is cut
 * back to them. */
#include "engine/core/journal.h"

#include "engine/core/fs.h"
#include "engine/core/hash.h"
#include "engine/core/journal_format.h"
#include "engine/core/log.h"
#include "engine/core/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct vmae_journal {
    int fd;
    char *path;
    uint64_t end;
    bool broken; /* a failed write could not be undone */
    double synced;
    int attempts;
    char **names;    /* index is the id */
    uint32_t *slots; /* open addressing: id + 1 by hash, 0 is free; a power of two, at most half full */
    size_t name_count, name_room, slot_count;
    uint8_t *buffer; /* what the next write holds */
    size_t used, room;
};

static const double sync_every = 5.0; /* seconds: what a power cut may cost */

/* ---- names ---- */

static size_t slot_of(const vmae_journal *journal, const char *name)
{
    size_t slot = vmae_hash_name(name) & (journal->slot_count - 1);
    while (journal->slots[slot] && strcmp(journal->names[journal->slots[slot] - 1], name) != 0)
        slot = (slot + 1) & (journal->slot_count - 1);
    return slot;
}

static vmae_status grow_names(vmae_journal *journal)
{
    const size_t room = journal->name_room ? 2 * journal->name_room : 32;
    uint32_t *slots = vmae_calloc(2 * room, sizeof *slots);
    char **names = slots ? vmae_realloc(journal->names, room, sizeof *names) : NULL;
    if (!names) {
        free(slots);
        return VMAE_ENOMEM;
    }
    free(journal->slots);
    journal->names = names;
    journal->name_room = room;
    journal->slots = slots;
    journal->slot_count = 2 * room;
    for (size_t id = 0; id < journal->name_count; id++)
        slots[slot_of(journal, names[id])] = (uint32_t)id + 1;
    return VMAE_OK;
}

static vmae_status add_name(vmae_journal *journal, const char *name)
{
    if (journal->name_count == journal->name_room)
        VMAE_TRY(grow_names(journal));
    char *copy = vmae_strdup(name);
    if (!copy)
        return VMAE_ENOMEM;
    const size_t slot = slot_of(journal, name);
    journal->names[journal->name_count++] = copy;
    journal->slots[slot] = (uint32_t)journal->name_count;
    return VMAE_OK;
}

/* Takes the names from `count` on back, the last first, so that no chain of slots gets a hole. */
static void forget_names(vmae_journal *journal, size_t count)
{
    while (journal->name_count > count) {
        char *name = journal->names[journal->name_count - 1];
        journal->slots[slot_of(journal, name)] = 0;
        journal->name_count--;
        free(name);
    }
}

/* ---- the buffer ---- */

static vmae_status put(vmae_journal *journal, const void *bytes, size_t count)
{
    if (journal->room - journal->used < count) {
        const size_t room = 2 * (journal->used + count) + 256;
        uint8_t *moved = vmae_realloc(journal->buffer, room, 1);
        if (!moved)
            return VMAE_ENOMEM;
        journal->buffer = moved;
        journal->room = room;
    }
    memcpy(journal->buffer + journal->used, bytes, count);
    journal->used += count;
    return VMAE_OK;
}

static vmae_status begin_record(vmae_journal *journal, char kind, size_t *start)
{
    static const uint8_t head[VMAE_JOURNAL_HEAD];
    *start = journal->used;
    VMAE_TRY(put(journal, head, sizeof head));
    return put(journal, &kind, 1);
}

static vmae_status end_record(vmae_journal *journal, size_t start)
{
    uint8_t *payload = journal->buffer + start + VMAE_JOURNAL_HEAD;
    const size_t count = journal->used - start - VMAE_JOURNAL_HEAD;
    if (count > VMAE_JOURNAL_LENGTH_MAX)
        return vmae_fail(VMAE_EINTERNAL, "%s: a record of %zu bytes is longer than records may be", journal->path,
                         count);
    const uint32_t length = (uint32_t)count, crc = vmae_journal_crc(payload, count);
    memcpy(payload - 8, &length, 4);
    memcpy(payload - 4, &crc, 4);
    return VMAE_OK;
}

/* Writes the buffer, or leaves the file as it was. */
static vmae_status flush(vmae_journal *journal)
{
    if (journal->broken)
        return vmae_fail(VMAE_EIO, "%s: an earlier write failed half-way and could not be undone", journal->path);
    const vmae_status st = vmae_write_all(journal->fd, journal->path, journal->buffer, journal->used);
    if (st != VMAE_OK) {
        journal->broken = ftruncate(journal->fd, (off_t)journal->end) != 0;
        return st;
    }
    journal->end += journal->used;
    return vmae_seconds() - journal->synced >= sync_every ? vmae_journal_sync(journal) : VMAE_OK;
}

/* ---- opening ---- */

static vmae_status read_event(vmae_journal *journal, const vmae_record *record)
{
    json_t *event = json_loadb(record->text, record->text_count, JSON_REJECT_DUPLICATES, NULL);
    if (!event)
        return vmae_fail(VMAE_EDATA, "byte %llu: an event is not JSON", (unsigned long long)record->offset);
    const char *type = json_string_value(json_object_get(event, "type"));
    journal->attempts += type && strcmp(type, "attempt") == 0;
    json_decref(event);
    return VMAE_OK;
}

static vmae_status read_name(vmae_journal *journal, const vmae_record *record)
{
    char name[VMAE_JOURNAL_NAME_MAX + 1];
    memcpy(name, record->text, record->text_count);
    name[record->text_count] = '\0';
    if (record->id != journal->name_count || (journal->slot_count && journal->slots[slot_of(journal, name)]))
        return vmae_fail(VMAE_EDATA, "byte %llu: metric name %u out of order or twice",
                         (unsigned long long)record->offset, (unsigned)record->id);
    return add_name(journal, name);
}

/* Metrics must name only what was named before them. */
static vmae_status check_metrics(const vmae_journal *journal, const vmae_record *record)
{
    for (uint32_t i = 0; i < record->count; i++) {
        uint32_t id;
        double value;
        vmae_record_metric(record, i, &id, &value);
        if (id >= journal->name_count)
            return vmae_fail(VMAE_EDATA, "byte %llu: a metric has the id %u, which no record before it names",
                             (unsigned long long)record->offset, (unsigned)id);
    }
    return VMAE_OK;
}

/* Takes over what is in the file: names, attempts, where the last whole record ends. */
static vmae_status read_existing(vmae_journal *journal, const vmae_map *map, bool *torn)
{
    bool found = true;
    *torn = false;
    while (found) {
        vmae_record record;
        VMAE_TRY(vmae_journal_next(map->bytes, map->count, &journal->end, &record, &found, torn));
        if (!found)
            break;
        if (record.kind == 'E')
            VMAE_TRY(read_event(journal, &record));
        else if (record.kind == 'N')
            VMAE_TRY(read_name(journal, &record));
        else
            VMAE_TRY(check_metrics(journal, &record));
    }
    return VMAE_OK;
}

static vmae_status open_file(vmae_journal *journal)
{
    vmae_map map;
    bool torn;
    journal->fd = open(journal->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0666);
    if (journal->fd < 0)
        return vmae_fail_errno(errno, "cannot open the journal %s", journal->path);
    VMAE_TRY(vmae_map_open(&map, journal->path));
    vmae_status st = read_existing(journal, &map, &torn);
    const unsigned long long size = map.count;
    vmae_map_close(&map);
    if (st != VMAE_OK)
        return vmae_fail_in(st, "%s", journal->path);
    if (torn) {
        log_warn("%s: the last record was cut off (a process or machine stopped while it was written): its %llu bytes "
                 "at byte %llu are dropped",
                 journal->path, size - journal->end, (unsigned long long)journal->end);
        if (ftruncate(journal->fd, (off_t)journal->end) != 0)
            return vmae_fail_errno(errno, "cannot cut the torn end off the journal %s", journal->path);
    }
    if (journal->end == 0) {
        VMAE_TRY(put(journal, VMAE_JOURNAL_MAGIC, sizeof VMAE_JOURNAL_MAGIC - 1));
        st = flush(journal);
    }
    return st;
}

vmae_status vmae_journal_open(vmae_journal **journal, const char *path)
{
    vmae_journal *made = vmae_calloc(1, sizeof *made);
    if (!made)
        return VMAE_ENOMEM;
    made->fd = -1;
    made->synced = vmae_seconds();
    made->path = vmae_strdup(path);
    vmae_status st = made->path ? grow_names(made) : VMAE_ENOMEM;
    if (st == VMAE_OK)
        st = open_file(made);
    if (st == VMAE_OK)
        *journal = made;
    else {
        made->broken = true; /* nothing was written: nothing to sync, and the sentence stands */
        vmae_journal_close(made);
    }
    return st;
}

/* ---- appending ---- */

vmae_status vmae_journal_event(vmae_journal *journal, const char *json)
{
    size_t start;
    json_error_t error;
    json_t *event = json_loads(json, JSON_REJECT_DUPLICATES, &error);
    char *text = event ? json_dumps(event, JSON_COMPACT) : NULL; /* one form, whatever blanks the caller wrote */
    const bool typed = json_is_string(json_object_get(event, "type"));
    json_decref(event);
    if (!text || !typed) {
        free(text);
        return vmae_fail(VMAE_EINTERNAL, "%s: an event must be a JSON object with a \"type\"%s%s", journal->path,
                         event ? "" : ": ", event ? "" : error.text);
    }
    journal->used = 0;
    vmae_status st = begin_record(journal, 'E', &start);
    if (st == VMAE_OK)
        st = put(journal, text, strlen(text));
    if (st == VMAE_OK)
        st = end_record(journal, start);
    free(text);
    return st == VMAE_OK ? flush(journal) : st;
}

/* Adds an 'N' record if the name is new. */
static vmae_status put_name(vmae_journal *journal, const char *name)
{
    size_t start;
    const uint32_t id = (uint32_t)journal->name_count;
    const size_t length = strlen(name);
    if (journal->slots[slot_of(journal, name)])
        return VMAE_OK;
    if (!length || length > VMAE_JOURNAL_NAME_MAX)
        return vmae_fail(VMAE_EINTERNAL, "%s: a metric's name has 1 to %d bytes, not %zu", journal->path,
                         VMAE_JOURNAL_NAME_MAX, length);
    VMAE_TRY(add_name(journal, name));
    VMAE_TRY(begin_record(journal, 'N', &start));
    VMAE_TRY(put(journal, &id, 4));
    VMAE_TRY(put(journal, name, length));
    return end_record(journal, start);
}

static vmae_status put_metrics(vmae_journal *journal, int64_t step, const vmae_metric *metrics, size_t count)
{
    size_t start;
    const double now = vmae_wall_seconds();
    const uint32_t metric_count = (uint32_t)count;
    for (size_t i = 0; i < count; i++)
        VMAE_TRY(put_name(journal, metrics[i].name));
    VMAE_TRY(begin_record(journal, 'M', &start));
    VMAE_TRY(put(journal, &step, 8));
    VMAE_TRY(put(journal, &now, 8));
    VMAE_TRY(put(journal, &metric_count, 4));
    for (size_t i = 0; i < count; i++) {
        const uint32_t id = journal->slots[slot_of(journal, metrics[i].name)] - 1;
        VMAE_TRY(put(journal, &id, 4));
        VMAE_TRY(put(journal, &metrics[i].value, 8));
    }
    return end_record(journal, start);
}

vmae_status vmae_journal_metrics(vmae_journal *journal, int64_t step, const vmae_metric *metrics, size_t count)
{
    const size_t names = journal->name_count;
    const uint64_t end = journal->end;
    journal->used = 0;
    if (count > VMAE_JOURNAL_LENGTH_MAX / VMAE_JOURNAL_VALUE - 2)
        return vmae_fail(VMAE_EINTERNAL, "%s: %zu metrics in one record are too many", journal->path, count);
    vmae_status st = put_metrics(journal, step, metrics, count);
    if (st == VMAE_OK)
        st = flush(journal);
    if (st != VMAE_OK && journal->end == end)
        forget_names(journal, names); /* their records are not in the file */
    return st;
}

vmae_status vmae_journal_sync(vmae_journal *journal)
{
    journal->synced = vmae_seconds();
    if (fdatasync(journal->fd) != 0)
        return vmae_fail_errno(errno, "cannot sync the journal %s", journal->path);
    return VMAE_OK;
}

vmae_status vmae_journal_close(vmae_journal *journal)
{
    vmae_status st = VMAE_OK;
    if (!journal)
        return VMAE_OK;
    if (journal->fd >= 0 && !journal->broken)
        st = vmae_journal_sync(journal);
    if (journal->fd >= 0 && close(journal->fd) != 0 && st == VMAE_OK && !journal->broken)
        st = vmae_fail_errno(errno, "cannot close the journal %s", journal->path);
    if (journal->names)
        forget_names(journal, 0);
    free(journal->names);
    free(journal->slots);
    free(journal->buffer);
    free(journal->path);
    free(journal);
    return st;
}

int vmae_journal_attempts(const vmae_journal *journal)
{
    return journal->attempts;
}
