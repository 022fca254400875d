/* views.c -- views of images from records: the device's must have the bits of the CPU's, and the same ones twice. */
#include "engine/core/mem.h"
#include "engine/core/rng.h"
#include "engine/pixels/pixels.h"
#include "engine/selftest/internal.h"

#include <stdlib.h>
#include <string.h>

enum { SIZE = 50, ROWS = 24, SIDE = 120, VALUES = 3 * SIZE * SIZE };

typedef struct records {
    uint8_t *sources;
    int64_t bytes;
    vmae_view views[ROWS];
} records;

/* Gradients with noise. */
static vmae_status draw_image(vmae_image *image)
{
    vmae_rng rng = vmae_rng_at(1, VMAE_RNG_TEST, 0, 0);
    VMAE_TRY(vmae_image_resize_buffer(image, SIDE, SIDE));
    for (int i = 0; i < SIDE * SIDE; i++) {
        const uint32_t bits = vmae_rng_u32(&rng);
        image->rgb[3 * i] = (uint8_t)(2 * (i % SIDE) + (int)(bits & 7));
        image->rgb[3 * i + 1] = (uint8_t)(2 * (i / SIDE) + (int)(bits >> 8 & 15));
        image->rgb[3 * i + 2] = (uint8_t)(bits >> 16);
    }
    return VMAE_OK;
}

/* Number i of a list in which every step and both blurs happen, also before and behind those that see the whole image.
 */
static vmae_status draw_view(vmae_view *view, vmae_cut *cut, int i)
{
    static const float mean[3] = { 0.485f, 0.456f, 0.406f }, deviation[3] = { 0.229f, 0.224f, 0.225f };
    const int64_t height = i % 6 == 5 ? SIZE : 20 + 4 * i, width = i % 6 == 5 ? SIZE : SIDE - 3 * i;
    const bool released = i % 4 == 3;
    *view = (vmae_view){ .flip = i & 1, .solarise = i % 5 == 2, .blur = i % 3 };
    *cut = (vmae_cut){ .box = { SIDE - height - i % 3, SIDE - width - i % 2, height, width },
                       .height = SIZE,
                       .width = SIZE,
                       .window = { 0, 0, SIZE, SIZE },
                       .bicubic = i & 2 };
    vmae_record_plan(view, cut);
    if (released) {
        const float factors[4] = { 1.3f, 0.8f, 1.2f, 0.03f * (float)i - 0.3f };
        double lift;
        memcpy(view->released, factors, sizeof factors);
        vmae_released_map(view->map, &lift, factors[0], factors[1], factors[2], factors[3]);
        view->lift[0] = (float)lift;
        view->lift[1] = (float)(lift - (double)view->lift[0]);
        view->step[view->steps++] = VMAE_STEP_JITTER_RELEASED;
    }
    for (int k = 0; k < 4 && !released; k++) { /* the four of Pillow, beginning with another each time */
        view->step[k] = (k + i) % 4;
        view->value[k] = (k + i) % 4 == VMAE_STEP_HUE ? 0.02f * (float)i - 0.2f : 0.6f + 0.03f * (float)i;
        view->steps++;
    }
    if (i % 7 == 3)
        view->step[view->steps++] = released ? VMAE_STEP_GREY_RELEASED : VMAE_STEP_GREY;
    vmae_normalisation(view->scale, view->shift, mean, deviation);
    VMAE_TRY(vmae_blur_weights(view->across, view->blur == VMAE_BLUR_RELEASED ? 5 : 9, 0.2f + 0.1f * (float)i));
    return vmae_blur_weights(view->down, 9, 0.2f + 0.1f * (float)i);
}

static vmae_status make_records(records *made)
{
    vmae_image image = { 0 }, spare = { 0 };
    vmae_block work = { 0 };
    made->sources = vmae_calloc(ROWS, (size_t)vmae_view_record_most(SIZE));
    vmae_status st = made->sources ? draw_image(&image) : VMAE_ENOMEM;
    for (int i = 0; st == VMAE_OK && i < ROWS; i++) {
        vmae_cut cut;
        if ((st = draw_view(&made->views[i], &cut, i)) != VMAE_OK)
            break;
        made->views[i].source = made->bytes;
        st = vmae_record_write(made->sources + made->bytes, &made->views[i], &image, &cut, &spare, &work);
        made->bytes += vmae_view_record_bytes(&made->views[i], SIZE);
    }
    vmae_image_release(&image);
    vmae_image_release(&spare);
    free(work.bytes);
    return st;
}

/* The views by one backend, `times` times over. */
static vmae_status make_views(vmae_backend *be, const records *from, float *to, int times)
{
    void *sources = NULL, *views = NULL, *scratch = NULL, *images = NULL;
    const size_t bytes = (size_t)ROWS * VALUES * sizeof(float);
    vmae_status st = be->allocate(be, &sources, (size_t)from->bytes);
    if (st == VMAE_OK)
        st = be->allocate(be, &views, sizeof from->views);
    if (st == VMAE_OK)
        st = be->allocate(be, &scratch, be->kernels->augment_scratch(be, ROWS, SIZE));
    if (st == VMAE_OK)
        st = be->allocate(be, &images, bytes);
    if (st == VMAE_OK && (st = be->upload(be, sources, from->sources, (size_t)from->bytes)) == VMAE_OK)
        st = be->upload(be, views, from->views, sizeof from->views);
    for (int i = 0; st == VMAE_OK && i < times; i++)
        if ((st = be->kernels->augment(be, images, scratch, sources, views, ROWS, SIZE)) == VMAE_OK)
            st = be->download(be, to + (size_t)i * ROWS * VALUES, images, bytes);
    be->release(be, sources);
    be->release(be, views);
    be->release(be, scratch);
    be->release(be, images);
    return st;
}

void selftest_views(tally *t)
{
    records from = { 0 };
    const size_t count = (size_t)ROWS * VALUES;
    float *got = vmae_calloc(2 * count, sizeof *got), *wanted = vmae_calloc(count, sizeof *wanted);
    vmae_status st = got && wanted ? make_records(&from) : VMAE_ENOMEM;
    if (st == VMAE_OK)
        st = make_views(t->test->cpu, &from, wanted, 1);
    if (st == VMAE_OK)
        st = make_views(t->test->device, &from, got, 2);
    if (st == VMAE_OK) {
        tally_compare(t, "view", "views from records", VMAE_F32, share_off(got, wanted, (int64_t)count), 0.0,
                      "they must have the CPU's bits");
        tally_hold(t, "view", "the same views twice", VMAE_F32, memcmp(got, got + count, count * sizeof *got) == 0,
                   "other bits");
    } else {
        tally_hold(t, "view", "views from records", VMAE_F32, false, vmae_error());
    }
    free(from.sources);
    free(got);
    free(wanted);
}
