/* dataset.c -- the table of dataset kinds. One more kind: one opener in its own file, one line here. */
#include "engine/data/data.h"

#include "engine/core/config.h"

#include <stdio.h>
#include <string.h>

typedef struct dataset_kind {
    const char *name;
    vmae_status (*open)(vmae_dataset **dataset, const vmae_dataset_spec *spec);
} dataset_kind;
static const dataset_kind kinds[] = {
    { "folder", vmae_open_folder },       { "tar", vmae_open_tar },        { "videos", vmae_open_videos },
    { "cifar10", vmae_open_cifar },       { "cifar100", vmae_open_cifar }, { "shapes", vmae_open_shapes },
    { "shapes-video", vmae_open_shapes },
};
enum { KINDS = sizeof kinds / sizeof *kinds };

static vmae_status unknown_kind(const char *kind)
{
    const char *names[KINDS];
    char known[256] = "";
    for (int i = 0; i < KINDS; i++) {
        names[i] = kinds[i].name;
        const size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", kinds[i].name);
    }
    const char *nearest = kind ? vmae_nearest_name(kind, names, KINDS) : NULL;
    if (nearest)
        return vmae_fail(VMAE_EUSER, "no dataset kind \"%s\"; did you mean \"%s\"? There are: %s", kind, nearest,
                         known);
    return vmae_fail(VMAE_EUSER, "no dataset kind \"%s\"; there are: %s", kind ? kind : "", known);
}

/* The first n samples of the dataset as it was opened: another set of samples, so another fingerprint. */
static vmae_status apply_limit(vmae_dataset *dataset, int64_t limit)
{
    if (limit == 0 || limit >= dataset->count)
        return VMAE_OK;
    char number[32];
    vmae_hash *hash = vmae_hash_new();
    if (!hash)
        return VMAE_ENOMEM;
    snprintf(number, sizeof number, "%lld", (long long)limit);
    vmae_hash_field(hash, "whole", dataset->fingerprint);
    vmae_hash_field(hash, "limit", number);
    vmae_hash_hex(hash, dataset->fingerprint);
    vmae_hash_free(hash);
    const size_t used = strlen(dataset->description);
    snprintf(dataset->description + used, sizeof dataset->description - used, ", the first %s", number);
    dataset->count = limit;
    return VMAE_OK;
}

vmae_status vmae_dataset_open(vmae_dataset **dataset, const vmae_dataset_spec *spec)
{
    const dataset_kind *kind = NULL;
    for (int i = 0; i < KINDS && spec->kind; i++)
        if (strcmp(spec->kind, kinds[i].name) == 0)
            kind = &kinds[i];
    if (!kind)
        return unknown_kind(spec->kind);
    if (spec->limit < 0)
        return vmae_fail(VMAE_EUSER, "dataset \"%s\": the limit is %lld samples; it is a count, or 0 for all",
                         spec->kind, (long long)spec->limit);
    vmae_dataset *opened = NULL;
    VMAE_TRY(kind->open(&opened, spec));
    const vmae_status st = apply_limit(opened, spec->limit);
    if (st != VMAE_OK) {
        vmae_dataset_close(opened);
        return st;
    }
    *dataset = opened;
    return VMAE_OK;
}

void vmae_dataset_close(vmae_dataset *dataset)
{
    if (dataset)
        dataset->close(dataset);
}
