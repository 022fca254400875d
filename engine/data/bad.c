/* bad.c -- bad samples: kept with their batch, counted once each, refused past the limit. */
#include "engine/data/bad.h"

#include "engine/core/log.h"
#include "engine/core/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- of one batch ---- */

vmae_status vmae_bad_batch_add(vmae_bad_batch *batch, const vmae_bad_sample *place, int slot, int attempt)
{
    if (batch->count == batch->room) {
        const int64_t wanted = batch->room ? batch->room * 2 : 8;
        vmae_bad_record *records = vmae_realloc(batch->records, (size_t)wanted, sizeof *records);
        if (!records)
            return VMAE_ENOMEM;
        batch->records = records;
        batch->room = wanted;
    }
    vmae_bad_record *record = &batch->records[batch->count++];
    *record = (vmae_bad_record){ .sample = *place, .slot = slot, .attempt = attempt };
    snprintf(record->sample.reason, sizeof record->sample.reason, "%s", vmae_error());
    place->dataset->name(place->dataset, place->index, record->sample.name, sizeof record->sample.name);
    return VMAE_OK;
}

void vmae_bad_batch_release(vmae_bad_batch *batch)
{
    free(batch->records);
    *batch = (vmae_bad_batch){ 0 };
}

static int by_place(const void *a, const void *b)
{
    const vmae_bad_record *x = a, *y = b;
    return x->slot != y->slot ? x->slot - y->slot : x->attempt - y->attempt;
}

/* ---- in all ---- */

vmae_status vmae_bad_list_init(vmae_bad_list *list, const vmae_known_bad *known, int64_t known_count, int64_t limit)
{
    *list = (vmae_bad_list){ .limit = limit };
    if (known_count > limit)
        return vmae_fail(
            VMAE_EDATA,
            "%lld samples are known to be bad, the limit is %lld; mend them, or raise loader.bad_limit; the last: %s",
            (long long)known_count, (long long)limit, known[known_count - 1].name);
    if (!known_count)
        return VMAE_OK;
    if (!(list->arena = vmae_arena_new()) ||
        !(list->known = vmae_arena_calloc(list->arena, (size_t)known_count, sizeof *list->known)))
        return VMAE_ENOMEM;
    for (; list->known_count < known_count; list->known_count++) {
        vmae_known_bad *copy = &list->known[list->known_count];
        copy->dataset = vmae_arena_strdup(list->arena, known[list->known_count].dataset);
        copy->name = vmae_arena_strdup(list->arena, known[list->known_count].name);
        if (!copy->dataset || !copy->name)
            return VMAE_ENOMEM;
    }
    return VMAE_OK;
}

/* Names on record are as people see them, whatever bytes a file's has. */
static bool is_the_same(const char *known, const char *name)
{
    char shown[1024];
    vmae_display_text(shown, sizeof shown, name);
    return strcmp(known, name) == 0 || strcmp(known, shown) == 0;
}

static bool is_counted(const vmae_bad_list *list, const vmae_bad_sample *sample)
{
    for (int64_t i = 0; i < list->known_count; i++)
        if (is_the_same(list->known[i].name, sample->name) &&
            is_the_same(list->known[i].dataset, sample->dataset->description))
            return true;
    for (int64_t i = 0; i < list->count; i++)
        if (list->samples[i].dataset == sample->dataset && list->samples[i].index == sample->index)
            return true;
    return false;
}

static vmae_status count(vmae_bad_list *list, const vmae_bad_sample *sample)
{
    if (list->count == list->room) {
        const int64_t wanted = list->room ? list->room * 2 : 8;
        vmae_bad_sample *samples = vmae_realloc(list->samples, (size_t)wanted, sizeof *samples);
        if (!samples)
            return VMAE_ENOMEM;
        list->samples = samples;
        list->room = wanted;
    }
    list->samples[list->count++] = *sample;
    const int64_t number = list->known_count + list->count;
    if (number > list->limit)
        return vmae_fail(VMAE_EDATA, "bad sample %lld, the limit is %lld (step %lld): %s", (long long)number,
                         (long long)list->limit, (long long)sample->step, sample->reason);
    log_warn("bad sample %lld of at most %lld, replaced by the next: %s", (long long)number, (long long)list->limit,
             sample->reason);
    return VMAE_OK;
}

vmae_status vmae_bad_list_add(vmae_bad_list *list, vmae_bad_batch *batch)
{
    if (batch->count > 1)
        qsort(batch->records, (size_t)batch->count, sizeof *batch->records, by_place);
    for (int64_t i = 0; i < batch->count; i++)
        if (!is_counted(list, &batch->records[i].sample))
            VMAE_TRY(count(list, &batch->records[i].sample));
    return VMAE_OK;
}

void vmae_bad_list_release(vmae_bad_list *list)
{
    free(list->samples);
    vmae_arena_free(list->arena);
    *list = (vmae_bad_list){ 0 };
}
