/* images.c -- from a batch to the device's memory. */
#include "experiments/images.h"

#include <string.h>

bool vmae_images_on_device(const vmae_config *config, const vmae_backend *be)
{
    const char *on = vmae_config_text(config, "augment.on");
    return strcmp(on, "auto") == 0 ? strcmp(be->name, "cpu") != 0 : strcmp(on, "device") == 0;
}

vmae_status vmae_images_open(vmae_images *images, vmae_backend *be, bool records, int64_t rows, int64_t size)
{
    vmae_images made = { .be = be, .rows = rows, .size = size, .records = records };
    vmae_status st = VMAE_OK;
    if (records) {
        st = be->allocate(be, &made.sources, (size_t)(rows * vmae_view_record_most(size)));
        if (st == VMAE_OK)
            st = be->allocate(be, &made.views, (size_t)rows * sizeof(vmae_view));
        if (st == VMAE_OK)
            st = be->allocate(be, &made.scratch, be->kernels->augment_scratch(be, rows, size));
    }
    if (st == VMAE_OK)
        *images = made;
    else
        vmae_images_close(&made);
    return st;
}

void vmae_images_close(vmae_images *images)
{
    if (images->be) {
        images->be->release(images->be, images->sources);
        images->be->release(images->be, images->views);
        images->be->release(images->be, images->scratch);
    }
    *images = (vmae_images){ 0 };
}

vmae_status vmae_images_put(const vmae_images *images, float *to, const vmae_batch *batch, int64_t count)
{
    vmae_backend *be = images->be;
    const int64_t values = 3 * images->size * images->size;
    if (images->records) {
        VMAE_TRY(be->upload(be, images->sources, batch->sources, (size_t)batch->source_bytes));
        VMAE_TRY(be->upload(be, images->views, batch->views, (size_t)count * sizeof *batch->views));
        VMAE_TRY(be->kernels->augment(be, to, images->scratch, images->sources, images->views, count, images->size));
    } else {
        VMAE_TRY(be->upload(be, to, batch->view1, (size_t)(count * values) * sizeof(float)));
    }
    if (count == images->rows)
        return VMAE_OK;
    return be->kernels->fill(be, to + count * values, 0.0f, (images->rows - count) * values);
}

vmae_status vmae_images_prefetch(const vmae_images *images, const vmae_batch *batch, int64_t count)
{
    vmae_backend *be = images->be;
    if (!batch || !be->prefetch)
        return VMAE_OK;
    return images->records
               ? be->prefetch(be, batch->sources, (size_t)batch->source_bytes)
               : be->prefetch(be, batch->view1, (size_t)(count * 3 * images->size * images->size) * sizeof(float));
}
