/* view.c -- a view's pixels become floats: flip, colours, blur, solarise, normalise, in the order of view.h. */
#include "engine/pixels/pixels.h"

static void take_step(const vmae_view *view, int i, vmae_image *image)
{
    const float value = view->value[i];
    switch ((vmae_step)view->step[i]) {
    case VMAE_STEP_BRIGHTNESS: vmae_pixels_brightness(image, value); break;
    case VMAE_STEP_CONTRAST: vmae_pixels_contrast(image, value); break;
    case VMAE_STEP_SATURATION: vmae_pixels_saturation(image, value); break;
    case VMAE_STEP_HUE: vmae_pixels_hue(image, value); break;
    case VMAE_STEP_GREY: vmae_pixels_grey(image); break;
    case VMAE_STEP_JITTER_RELEASED:
        vmae_pixels_jitter_released(image, view->released[0], view->released[1], view->released[2], view->released[3]);
        break;
    case VMAE_STEP_GREY_RELEASED: vmae_pixels_grey_released(image); break;
    }
}

vmae_status vmae_view_finish(float *out, const vmae_view *view, vmae_image *image, vmae_block *work)
{
    if (view->flip)
        vmae_pixels_flip(image);
    for (int i = 0; i < view->steps; i++)
        take_step(view, i, image);
    if (view->blur == VMAE_BLUR_PIXELS)
        VMAE_TRY(vmae_pixels_blur(image, view->across, work));
    if (view->solarise)
        vmae_pixels_solarise(image, VMAE_SOLARISE_THRESHOLD);
    vmae_pixels_normalise(out, image, view->scale, view->shift);
    if (view->blur == VMAE_BLUR_RELEASED)
        VMAE_TRY(vmae_planes_blur(out, 3, image->height, image->width, view->across, view->down, work));
    return VMAE_OK;
}

vmae_status vmae_view_apply(float *out, const vmae_view *view, const uint8_t *sources, int size, vmae_image *image,
                            vmae_block *work)
{
    VMAE_TRY(vmae_record_read(image, view, sources + view->source, size, work));
    return vmae_view_finish(out, view, image, work);
}

size_t vmae_view_work_bytes(int64_t size)
{
    const int64_t rows = VMAE_VIEW_SHRINK * (size + 4) + 2, /* of a record: what its outputs reach */
        scaling = (rows + 1) * 3 * size + 256,
                  blurring = 4 * ((VMAE_BLUR_TAPS_MAX + 2) * 3 * size + 2 * VMAE_VIEW_REACH * 3);
    return (size_t)(scaling + blurring);
}
