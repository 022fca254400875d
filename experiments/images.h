/* images.h -- a batch's images onto the device, where a model reads them: floats that loader threads have made, or
 * records of which the device makes them; the same bits. */
#ifndef VMAE_EXPERIMENTS_IMAGES_H
#define VMAE_EXPERIMENTS_IMAGES_H

#include "engine/backend/backend.h"
#include "engine/core/config.h"
#include "engine/data/data.h"

typedef struct vmae_images {
    vmae_backend *be;
    int64_t rows, size;
    bool records;                    /* what the loader is to put into batches (vmae_loader_spec) */
    void *sources, *views, *scratch; /* device memory; NULL without records */
} vmae_images;

/* What augment.on says of this device: whether it makes views itself. */
bool vmae_images_on_device(const vmae_config *config, const vmae_backend *be);

/* For batches of at most `rows` views. */
vmae_status vmae_images_open(vmae_images *images, vmae_backend *be, bool records, int64_t rows, int64_t size);
void vmae_images_close(vmae_images *images); /* all zero is fine */
/* The first `count` views of the batch to the first rows of `to` [rows, 3, size, size], device memory; zeros to the
 * other rows. */
vmae_status vmae_images_put(const vmae_images *images, float *to, const vmae_batch *batch, int64_t count);
/* Lets the bytes of a batch that will be put next travel beside queued work. NULL: nothing. */
vmae_status vmae_images_prefetch(const vmae_images *images, const vmae_batch *batch, int64_t count);

#endif
