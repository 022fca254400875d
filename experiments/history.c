/* history.c -- one walk over a journal for its events, one for the metrics that count. */
#include "experiments/history.h"

#include "engine/core/fs.h"
#include "engine/core/journal.h"
#include "engine/core/mem.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

typedef struct attempt {
    uint64_t offset; /* of its record */
    int64_t first_step;
    int64_t valid_to; /* its rows after this step are superseded */
    double started, last;
} attempt;

typedef struct reader {
    vmae_history *history;
    attempt *attempts;
    size_t count, room;
    char **names; /* by the journal's id; NULL: not announced */
    vmae_last_value *last;
    bool *seen;
    size_t name_count;
} reader;

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static void copy_text(char *to, size_t size, const char *from)
{
    const size_t count = strnlen(from, size - 1);
    memcpy(to, from, count);
    to[count] = 0;
}

static vmae_status add_attempt(reader *r, uint64_t offset, const json_t *event)
{
    if (r->count == r->room) {
        const size_t room = r->room ? 2 * r->room : 8;
        attempt *more = vmae_realloc(r->attempts, room, sizeof *more);
        if (!more)
            return VMAE_ENOMEM;
        r->attempts = more;
        r->room = room;
    }
    const double started = json_number_value(json_object_get(event, "start_seconds"));
    r->attempts[r->count++] =
        (attempt){ offset, json_integer_value(json_object_get(event, "first_step")), INT64_MAX, started, started };
    r->history->status[0] = 0;
    r->history->message = "";
    return VMAE_OK;
}

static vmae_status add_skipped(vmae_history *history, const json_t *event)
{
    const size_t count = history->skipped_count;
    for (size_t i = 0; i < count; i++) /* every pass of a monitor says it again */
        if (strcmp(history->skipped[i].sample, text_of(event, "sample")) == 0 &&
            strcmp(history->skipped[i].dataset, text_of(event, "dataset")) == 0)
            return VMAE_OK;
    if ((count & (count - 1)) == 0) { /* full: room for 1, 2, 4, ... */
        vmae_skipped *more = vmae_arena_calloc(history->arena, count ? 2 * count : 1, sizeof *more);
        if (!more)
            return VMAE_ENOMEM;
        if (count)
            memcpy(more, history->skipped, count * sizeof *more);
        history->skipped = more;
    }
    const vmae_skipped skipped = { vmae_arena_strdup(history->arena, text_of(event, "dataset")),
                                   vmae_arena_strdup(history->arena, text_of(event, "sample")) };
    if (!skipped.dataset || !skipped.sample)
        return VMAE_ENOMEM;
    history->skipped[history->skipped_count++] = skipped;
    return VMAE_OK;
}

static vmae_status read_event(reader *r, const vmae_record *record)
{
    vmae_history *history = r->history;
    vmae_status st = VMAE_OK;
    json_error_t error;
    json_t *event = json_loadb(record->text, record->text_count, 0, &error);
    if (!event)
        return vmae_fail(VMAE_EDATA, "the event at byte %llu is not JSON: %s", (unsigned long long)record->offset,
                         error.text);
    const char *type = text_of(event, "type");
    if (strcmp(type, "attempt") == 0) {
        const char *threads = text_of(json_object_get(event, "machine"), "threads");
        if (*threads)
            copy_text(history->threads, sizeof history->threads, threads);
        st = add_attempt(r, record->offset, event);
    } else if (strcmp(type, "run") == 0) {
        copy_text(history->identity, sizeof history->identity, text_of(event, "identity"));
    } else if (strcmp(type, "end") == 0) {
        copy_text(history->status, sizeof history->status, text_of(event, "status"));
        history->message = vmae_arena_strdup(history->arena, text_of(event, "message"));
        st = history->message ? VMAE_OK : VMAE_ENOMEM;
        if (json_is_true(json_object_get(event, "over_data")))
            history->skipped_count = 0;
    } else if (strcmp(type, "skipped") == 0) {
        st = add_skipped(history, event);
    } else if (strcmp(type, "artefact") == 0 && strcmp(text_of(event, "kind"), "checkpoint") == 0) {
        history->checkpoint = vmae_arena_format(history->arena, "%.*s", (int)record->text_count, record->text);
        st = history->checkpoint ? VMAE_OK : VMAE_ENOMEM;
    }
    json_decref(event);
    return st;
}

static vmae_status read_name(reader *r, const vmae_record *record)
{
    if (record->id != r->name_count)
        return vmae_fail(VMAE_EDATA, "metric name %u is announced as number %zu", record->id, r->name_count);
    const size_t count = r->name_count + 1;
    char **names = vmae_realloc(r->names, count, sizeof *names);
    if (!names)
        return VMAE_ENOMEM;
    r->names = names;
    names[r->name_count] = vmae_arena_format(r->history->arena, "%.*s", (int)record->text_count, record->text);
    if (!names[r->name_count])
        return VMAE_ENOMEM;
    r->name_count = count;
    return VMAE_OK;
}

/* Keeps the values of an 'M' record that belongs to attempt `index` (0: metrics before any attempt, which nothing
 * supersedes). */
static vmae_status keep_metrics(reader *r, size_t index, const vmae_record *record)
{
    if (index > 0 && record->step > r->attempts[index - 1].valid_to)
        return VMAE_OK;
    if (record->step > r->history->last_step)
        r->history->last_step = record->step;
    for (uint32_t i = 0; i < record->count; i++) {
        uint32_t id;
        double value;
        vmae_record_metric(record, i, &id, &value);
        if (id >= r->name_count)
            return vmae_fail(VMAE_EDATA, "a metric at step %lld has no name", (long long)record->step);
        if (!r->seen[id] || record->step >= r->last[id].step)
            r->last[id] = (vmae_last_value){ r->names[id], record->step, value };
        r->seen[id] = true;
    }
    return VMAE_OK;
}

typedef enum pass { EVENTS, METRICS } pass;

static vmae_status walk(reader *r, const vmae_map *map, pass which)
{
    uint64_t offset = 0;
    size_t current = 0;
    for (;;) {
        vmae_record record;
        bool found, torn;
        VMAE_TRY(vmae_journal_next(map->bytes, map->count, &offset, &record, &found, &torn));
        if (!found)
            return VMAE_OK;
        offset = record.end;
        if (which == EVENTS && record.kind == 'E') {
            VMAE_TRY(read_event(r, &record));
        } else if (which == EVENTS && record.kind == 'N') {
            VMAE_TRY(read_name(r, &record));
        } else if (which == EVENTS && record.kind == 'M') {
            if (r->count)
                r->attempts[r->count - 1].last = record.wall_seconds;
        } else if (which == METRICS && record.kind == 'M') {
            while (current < r->count && r->attempts[current].offset < record.offset)
                current++;
            VMAE_TRY(keep_metrics(r, current, &record));
        }
    }
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const vmae_last_value *)a)->name, ((const vmae_last_value *)b)->name);
}

vmae_status vmae_history_read(vmae_history *out, const char *path)
{
    vmae_status st = VMAE_OK;
    vmae_history history = { .message = "" };
    reader r = { .history = &history };
    vmae_map map = { NULL, 0 };
    if (!(history.arena = vmae_arena_new()))
        return VMAE_ENOMEM;
    if (!vmae_path_exists(path))
        goto take;
    if ((st = vmae_map_open(&map, path)) != VMAE_OK)
        goto done;
    if (map.count > 0 && (st = walk(&r, &map, EVENTS)) != VMAE_OK)
        goto damaged;
    int64_t valid_to = INT64_MAX; /* the least first_step of the attempts that follow */
    for (size_t i = r.count; i-- > 0;) {
        r.attempts[i].valid_to = valid_to;
        if (r.attempts[i].first_step < valid_to)
            valid_to = r.attempts[i].first_step;
        if (r.attempts[i].last > r.attempts[i].started && r.attempts[i].started > 0)
            history.seconds += r.attempts[i].last - r.attempts[i].started;
    }
    history.attempts = (int)r.count;
    r.last = vmae_arena_calloc(history.arena, r.name_count, sizeof *r.last);
    r.seen = vmae_calloc(r.name_count, sizeof *r.seen);
    if (!r.last || !r.seen) {
        st = VMAE_ENOMEM;
        goto done;
    }
    if (map.count > 0 && (st = walk(&r, &map, METRICS)) != VMAE_OK)
        goto damaged;
    for (size_t i = 0; i < r.name_count; i++)
        if (r.seen[i])
            r.last[history.metric_count++] = r.last[i];
    history.metrics = r.last;
    if (history.metric_count > 1)
        qsort(history.metrics, history.metric_count, sizeof *history.metrics, by_name);
take:
    *out = history;
    history.arena = NULL;
    goto done;
damaged:
    st = vmae_fail_in(st, "%s", path);
done:
    vmae_map_close(&map);
    free(r.attempts);
    free(r.names);
    free(r.seen);
    vmae_arena_free(history.arena);
    return st;
}

void vmae_history_release(vmae_history *history)
{
    vmae_arena_free(history->arena);
    memset(history, 0, sizeof *history);
}
