/* augment.c -- one view of one image: what is drawn, and what follows from it for the view (engine/pixels applies it).
 */
#include "engine/data/data.h"
#include "engine/pixels/pixels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CROP_TRIES = 10, SIZE_MAX_PIXELS = 8192, BLUR_TAPS = 9, RELEASED_TAPS_ACROSS = 5, RELEASED_TAPS_DOWN = 9 };

const float vmae_imagenet_mean[3] = { 0.485f, 0.456f, 0.406f };
const float vmae_imagenet_std[3] = { 0.229f, 0.224f, 0.225f };

/* All that chance decides about a view. It is drawn whole, whatever is switched on: so two settings that differ in one
 * operation see the same crops, flips and colours of the same samples, and an ablation compares like with like. */
typedef struct choices {
    struct {
        float area, aspect, top, left;
    } crop[CROP_TRIES];
    float flip, jitter, grey, blur, solarise; /* happens where below the probability */
    float factor[4];                          /* brightness, contrast, saturation, hue: position in the range, [0, 1) */
    uint32_t order[4];
    float sigma;
} choices;

static void draw(choices *c, vmae_rng *rng)
{
    for (int i = 0; i < CROP_TRIES; i++) {
        c->crop[i].area = vmae_rng_uniform(rng);
        c->crop[i].aspect = vmae_rng_uniform(rng);
        c->crop[i].top = vmae_rng_uniform(rng);
        c->crop[i].left = vmae_rng_uniform(rng);
    }
    c->flip = vmae_rng_uniform(rng);
    c->jitter = vmae_rng_uniform(rng);
    c->grey = vmae_rng_uniform(rng);
    c->blur = vmae_rng_uniform(rng);
    c->solarise = vmae_rng_uniform(rng);
    c->sigma = vmae_rng_uniform(rng);
    for (int i = 0; i < 4; i++) {
        c->factor[i] = vmae_rng_uniform(rng);
        c->order[i] = (uint32_t)i;
    }
    for (uint32_t i = 3; i > 0; i--) { /* Fisher-Yates; the bias of 2^-32 is less than a rejection loop's trouble */
        const uint32_t j = (uint32_t)((uint64_t)vmae_rng_u32(rng) * (i + 1) >> 32), keep = c->order[i];
        c->order[i] = c->order[j];
        c->order[j] = keep;
    }
}

/* A whole number in [0, n] out of a uniform one in [0, 1). */
static int64_t whole(float uniform, int64_t n)
{
    const int64_t value = (int64_t)((double)uniform * (double)(n + 1));
    return value > n ? n : value;
}

/* torchvision's fallback: the middle, with its sides' ratio pulled into [3/4, 4/3]. */
static vmae_box middle_crop(int64_t height, int64_t width)
{
    const double ratio = (double)width / (double)height;
    int64_t w = width, h = height;
    if (ratio < 3.0 / 4.0)
        h = (int64_t)rint((double)width / (3.0 / 4.0));
    else if (ratio > 4.0 / 3.0)
        w = (int64_t)rint((double)height * (4.0 / 3.0));
    w = w > width ? width : w; /* rounding may pass the border */
    h = h > height ? height : h;
    return (vmae_box){ (height - h) / 2, (width - w) / 2, h, w };
}

/* torchvision's RandomResizedCrop.get_params, and MAE's of one draw. */
static vmae_box random_crop(const vmae_augment *how, int64_t height, int64_t width, const choices *c)
{
    const double area = (double)height * (double)width, log_ratio = 0.28768207245178090; /* log(4/3) */
    for (int i = 0; i < (how->crop_once ? 1 : CROP_TRIES); i++) {
        const double low = (double)how->crop_area_min, high = (double)how->crop_area_max;
        const double target = area * (low + (high - low) * (double)c->crop[i].area);
        const double aspect = exp(log_ratio * (2.0 * (double)c->crop[i].aspect - 1.0));
        int64_t w = (int64_t)rint(sqrt(target * aspect)), h = (int64_t)rint(sqrt(target / aspect));
        if (how->crop_once) {
            w = w > width ? width : w < 1 ? 1 : w;
            h = h > height ? height : h < 1 ? 1 : h;
        }
        if (w > 0 && w <= width && h > 0 && h <= height)
            return (vmae_box){ whole(c->crop[i].top, height - h), whole(c->crop[i].left, width - w), h, w };
    }
    return middle_crop(height, width);
}

static bool is_probability(float p)
{
    return p >= 0.0f && p <= 1.0f;
}

/* Written so that NaN fails. */
static vmae_status check(const vmae_augment *how)
{
    if (how->size < 1 || how->size > SIZE_MAX_PIXELS)
        return vmae_fail(VMAE_EUSER, "augmentation to %d pixels a side; 1 to %d are possible", how->size,
                         (int)SIZE_MAX_PIXELS);
    if (how->crop &&
        !(how->crop_area_min > 0.0f && how->crop_area_min <= how->crop_area_max && how->crop_area_max <= 1.0f))
        return vmae_fail(VMAE_EUSER, "random crop of %g to %g of the area; 0 < min <= max <= 1 is meant",
                         (double)how->crop_area_min, (double)how->crop_area_max);
    if (!how->crop && !(how->crop_ratio >= 0.01f && how->crop_ratio <= 1.0f))
        return vmae_fail(VMAE_EUSER, "crop ratio %g; 0.01 to 1 are possible", (double)how->crop_ratio);
    if (!is_probability(how->jitter_p) || !is_probability(how->grey_p) || !is_probability(how->blur_p) ||
        !is_probability(how->solarise_p))
        return vmae_fail(
            VMAE_EUSER,
            "augmentation with probabilities %g (jitter), %g (grey), %g (blur), %g (solarise); each is 0 to 1",
            (double)how->jitter_p, (double)how->grey_p, (double)how->blur_p, (double)how->solarise_p);
    const float range[3] = { how->brightness, how->contrast, how->saturation };
    for (int i = 0; i < 3; i++)
        if (how->jitter_p > 0.0f && !(range[i] >= 0.0f && range[i] <= 100.0f))
            return vmae_fail(VMAE_EUSER, "colour jitter by %g; 0 to 100 are possible", (double)range[i]);
    if (how->jitter_p > 0.0f && !(how->hue >= 0.0f && how->hue <= 0.5f))
        return vmae_fail(VMAE_EUSER, "hue jitter by %g turns; 0 to 0.5 are possible", (double)how->hue);
    if (how->blur_p > 0.0f &&
        !(how->blur_sigma_min > 0.0f && how->blur_sigma_min <= how->blur_sigma_max && how->blur_sigma_max <= 1000.0f))
        return vmae_fail(VMAE_EUSER, "blur of sigma %g to %g; 0 < min <= max is meant", (double)how->blur_sigma_min,
                         (double)how->blur_sigma_max);
    for (int c = 0; c < 3; c++)
        if (!(how->std[c] > 0.0f) || !isfinite(how->mean[c]))
            return vmae_fail(VMAE_EUSER, "normalisation by mean %g and std %g; std is above 0", (double)how->mean[c],
                             (double)how->std[c]);
    return VMAE_OK;
}

static vmae_cut cut_of(const vmae_augment *how, int height, int width, const choices *c)
{
    vmae_cut cut = { .bicubic = how->bicubic };
    if (how->crop) {
        cut.box = random_crop(how, height, width, c);
        cut.height = cut.width = how->size;
        cut.window = (vmae_box){ 0, 0, how->size, how->size };
    } else {
        cut.box = (vmae_box){ 0, 0, height, width };
        vmae_pixels_centre(height, width, how->size, how->crop_ratio, &cut.height, &cut.width, &cut.window);
    }
    return cut;
}

static float around_one(float range, float position)
{
    const float low = range < 1.0f ? 1.0f - range : 0.0f;
    return low + (1.0f + range - low) * position;
}

static void add_step(vmae_view *view, vmae_step step, float value)
{
    view->step[view->steps] = step;
    view->value[view->steps++] = value;
}

static void add_jitter(vmae_view *view, const vmae_augment *how, const choices *c)
{
    const float brightness = around_one(how->brightness, c->factor[0]),
                contrast = around_one(how->contrast, c->factor[1]);
    const float saturation = around_one(how->saturation, c->factor[2]), hue = how->hue * (2.0f * c->factor[3] - 1.0f);
    if (how->released) {
        const float released[4] = { brightness, contrast, saturation, hue };
        double lift;
        memcpy(view->released, released, sizeof released);
        vmae_released_map(view->map, &lift, brightness, contrast, saturation, hue);
        view->lift[0] = (float)lift;
        view->lift[1] = (float)(lift - (double)view->lift[0]);
        add_step(view, VMAE_STEP_JITTER_RELEASED, 0.0f);
        return;
    }
    for (int i = 0; i < 4; i++)
        switch (c->order[i]) {
        case 0:
            if (how->brightness > 0.0f)
                add_step(view, VMAE_STEP_BRIGHTNESS, brightness);
            break;
        case 1:
            if (how->contrast > 0.0f)
                add_step(view, VMAE_STEP_CONTRAST, contrast);
            break;
        case 2:
            if (how->saturation > 0.0f)
                add_step(view, VMAE_STEP_SATURATION, saturation);
            break;
        default:
            if (how->hue > 0.0f)
                add_step(view, VMAE_STEP_HUE, hue);
        }
}

static vmae_status add_blur(vmae_view *view, const vmae_augment *how, const choices *c)
{
    const float sigma = how->blur_sigma_min + (how->blur_sigma_max - how->blur_sigma_min) * c->sigma;
    view->blur = how->released ? VMAE_BLUR_RELEASED : VMAE_BLUR_PIXELS;
    VMAE_TRY(vmae_blur_weights(view->across, how->released ? RELEASED_TAPS_ACROSS : BLUR_TAPS, sigma));
    return vmae_blur_weights(view->down, how->released ? RELEASED_TAPS_DOWN : BLUR_TAPS, sigma);
}

vmae_status vmae_augment_draw(const vmae_augment *how, int height, int width, vmae_rng *rng, vmae_drawn *drawn)
{
    VMAE_TRY(check(how));
    if (height < 1 || width < 1)
        return vmae_fail(VMAE_EDATA, "the image to augment is empty");
    choices c;
    vmae_view view = { 0 };
    draw(&c, rng);
    drawn->cut = cut_of(how, height, width, &c);
    vmae_record_plan(&view, &drawn->cut);
    view.flip = how->flip && c.flip < 0.5f;
    if (c.jitter < how->jitter_p)
        add_jitter(&view, how, &c);
    if (c.grey < how->grey_p)
        add_step(&view, how->released ? VMAE_STEP_GREY_RELEASED : VMAE_STEP_GREY, 0.0f);
    if (c.blur < how->blur_p)
        VMAE_TRY(add_blur(&view, how, &c));
    view.solarise = c.solarise < how->solarise_p;
    vmae_normalisation(view.scale, view.shift, how->mean, how->std);
    drawn->view = view;
    return VMAE_OK;
}

vmae_status vmae_augment_make(const vmae_drawn *drawn, const vmae_image *image, vmae_augment_scratch *scratch,
                              float *out)
{
    VMAE_TRY(vmae_pixels_resize(&scratch->image, image, &drawn->cut, &scratch->work));
    return vmae_view_finish(out, &drawn->view, &scratch->image, &scratch->work);
}

vmae_status vmae_augment_pack(const vmae_drawn *drawn, const vmae_image *image, vmae_augment_scratch *scratch,
                              uint8_t *record)
{
    return vmae_record_write(record, &drawn->view, image, &drawn->cut, &scratch->image, &scratch->work);
}

vmae_status vmae_augment_apply(const vmae_augment *how, const vmae_image *image, vmae_rng *rng,
                               vmae_augment_scratch *scratch, float *out)
{
    vmae_drawn drawn;
    VMAE_TRY(vmae_augment_draw(how, image->height, image->width, rng, &drawn));
    return vmae_augment_make(&drawn, image, scratch, out);
}

void vmae_augment_scratch_release(vmae_augment_scratch *scratch)
{
    vmae_image_release(&scratch->image);
    free(scratch->work.bytes);
    *scratch = (vmae_augment_scratch){ 0 };
}
