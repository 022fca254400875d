/* folder.c -- dataset kind "folder": images in class folders, as torchvision's ImageFolder has them. */
#include "engine/core/fs.h"
#include "engine/data/listing.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

static int folder_label(const vmae_dataset *dataset, int64_t index)
{
    const vmae_listing *listing = dataset->self;
    return listing->files[index].label;
}

static const char *folder_name(const vmae_dataset *dataset, int64_t index, char *buffer, size_t size)
{
    return vmae_listing_path(dataset->self, index, buffer, size);
}

static vmae_status folder_image(const vmae_dataset *dataset, int64_t index, int least, vmae_image *image)
{
    char path[PATH_MAX];
    char *bytes = NULL;
    size_t count = 0;
    vmae_listing_path(dataset->self, index, path, sizeof path);
    VMAE_TRY(vmae_sample_status(vmae_read_file(path, (size_t)1 << 30, &bytes, &count)));
    const vmae_status st = vmae_decode_image(image, (const uint8_t *)bytes, count, least, path);
    free(bytes);
    return st;
}

static void folder_close(vmae_dataset *dataset)
{
    if (dataset->self)
        vmae_listing_release(dataset->self);
    free(dataset->self);
    free(dataset);
}

vmae_status vmae_open_folder(vmae_dataset **dataset, const vmae_dataset_spec *spec)
{
    vmae_status st = VMAE_ENOMEM;
    vmae_listing *listing = NULL;
    vmae_dataset *opened = vmae_calloc(1, sizeof *opened);
    if (!opened)
        return VMAE_ENOMEM;
    opened->close = folder_close;
    if (!(opened->self = listing = vmae_calloc(1, sizeof *listing)) ||
        (st = vmae_listing_open(listing, spec, vmae_image_extensions, "images")) != VMAE_OK ||
        (st = vmae_listing_fingerprint(listing, opened->fingerprint)) != VMAE_OK)
        goto done;
    opened->media = VMAE_IMAGES;
    opened->count = listing->count;
    opened->classes = listing->classes;
    opened->class_names = listing->class_names;
    opened->label = folder_label;
    opened->name = folder_name;
    opened->image = folder_image;
    snprintf(opened->description, sizeof opened->description, "folder %.160s, %lld images, %d classes", listing->root,
             (long long)listing->count, listing->classes);
    *dataset = opened;
    opened = NULL;
done:
    vmae_dataset_close(opened);
    return st;
}
