/* watch.c -- follows a journal while it is written. */
#include "sweeps/watch.h"

#include "engine/core/fs.h"
#include "engine/core/journal.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static bool is_attempt(const vmae_record *record)
{
    json_t *event = json_loadb(record->text, record->text_count, 0, NULL);
    const char *type = json_string_value(json_object_get(event, "type"));
    const bool attempt = type && strcmp(type, "attempt") == 0;
    json_decref(event);
    return attempt;
}

static void take_record(vmae_watch *watch, const vmae_record *record)
{
    if (record->kind == 'E' && is_attempt(record)) {
        watch->step = 0;
    } else if (record->kind == 'M' && watch->step == 0) {
        watch->first_step = watch->step = record->step;
        watch->first_wall = watch->last_wall = record->wall_seconds;
    } else if (record->kind == 'M') {
        watch->step = record->step;
        watch->last_wall = record->wall_seconds;
    }
}

void vmae_watch_look(vmae_watch *watch, const char *folder)
{
    vmae_map map = { NULL, 0 };
    vmae_record record;
    bool found = true, torn;
    char *path = vmae_path_join(folder, "journal");
    if (path && vmae_path_exists(path) && vmae_map_open(&map, path) == VMAE_OK) {
        /* a record that is being written looks torn: it is read at the next look */
        while (found && map.count > watch->offset &&
               vmae_journal_next(map.bytes, map.count, &watch->offset, &record, &found, &torn) == VMAE_OK && found) {
            watch->offset = record.end;
            take_record(watch, &record);
        }
        vmae_map_close(&map);
    }
    free(path);
}

void vmae_watch_begin(vmae_watch *watch, const char *folder, int64_t total)
{
    *watch = (vmae_watch){ .total = total };
    vmae_watch_look(watch, folder);
    watch->step = 0;
}

double vmae_watch_left(const vmae_watch *watch)
{
    const int64_t steps = watch->step - watch->first_step;
    if (watch->total <= 0 || steps <= 0 || watch->last_wall <= watch->first_wall)
        return -1;
    const int64_t rest = watch->total - watch->step;
    return rest > 0 ? (double)rest * (watch->last_wall - watch->first_wall) / (double)steps : 0;
}
