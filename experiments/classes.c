/* classes.c -- the labels of one split in terms of another's: by the names of their classes, not by their numbers. */
#include "engine/core/log.h"
#include "engine/core/mem.h"
#include "experiments/encoder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Labels that are numbers themselves (a WebDataset's .cls) have a class up to the largest that occurs: another split
 * may have more of them. */
static bool is_numbered(const vmae_dataset *dataset)
{
    char number[16];
    for (int i = 0; i < dataset->classes; i++) {
        snprintf(number, sizeof number, "%d", i);
        if (strcmp(dataset->class_names[i], number) != 0)
            return false;
    }
    return true;
}

/* Looks from `from` on, and round: both lists are in the same order as a rule. -1: there is none. */
static int find(const vmae_dataset *dataset, const char *name, int from)
{
    for (int i = 0; i < dataset->classes; i++) {
        const int at = (from + i) % dataset->classes;
        if (strcmp(dataset->class_names[at], name) == 0)
            return at;
    }
    return -1;
}

/* A stray folder without images is a class that no label refers to. */
static bool has_samples(const vmae_dataset *dataset, int class)
{
    for (int64_t i = 0; i < dataset->count; i++)
        if (dataset->label(dataset, i) == class)
            return true;
    return false;
}

static vmae_status relabel(const vmae_dataset *train, const vmae_dataset *val, int32_t *to)
{
    int last = -1;
    for (int i = 0; i < val->classes; i++) {
        const int found = find(train, val->class_names[i], last + 1);
        if (found < 0 && has_samples(val, i))
            return vmae_fail(VMAE_EUSER,
                             "the splits must be of the same classes, but \"%.200s\" of %s is none of %s; rename or "
                             "remove it",
                             val->class_names[i], val->description, train->description);
        to[i] = found;
        last = found < 0 ? last : found;
    }
    if (val->classes < train->classes)
        log_warn("%s has only %d of the %d classes of %s", val->description, val->classes, train->classes,
                 train->description);
    return VMAE_OK;
}

vmae_status vmae_classes_match(vmae_classes *classes, const vmae_dataset *train, const vmae_dataset *val)
{
    vmae_classes made = { .count = train->classes > val->classes ? train->classes : val->classes };
    const vmae_dataset *const splits[] = { train, val };
    for (int i = 0; i < 2; i++) {
        if (splits[i]->media != VMAE_IMAGES)
            return vmae_fail(VMAE_EUSER, "the splits must be images, not %s", splits[i]->description);
        if (splits[i]->classes < 1 || made.count < 2)
            return vmae_fail(VMAE_EUSER, "%s has %d classes; an evaluation needs at least 2", splits[i]->description,
                             splits[i]->classes);
    }
    if (!is_numbered(train) || !is_numbered(val)) {
        made.relabel = vmae_calloc((size_t)val->classes, sizeof *made.relabel);
        const vmae_status st = made.relabel ? relabel(train, val, made.relabel) : VMAE_ENOMEM;
        if (st != VMAE_OK) {
            free(made.relabel);
            return st;
        }
        made.count = train->classes;
    }
    *classes = made;
    return VMAE_OK;
}

void vmae_classes_release(vmae_classes *classes)
{
    free(classes->relabel);
    *classes = (vmae_classes){ 0 };
}
