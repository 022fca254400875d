/* view.h -- one view of one image, as numbers: what settings and chance decided, and where its pixels are. C and C++.
 *
 * A view is made of a *record*: the pixels that take part in it, cut from the image, and the weights that scale them.
 * Records lie one behind the other in one block of memory, the sources; a vmae_view says where its own begins. Whoever
 * draws views (engine/data) computes all that needs double arithmetic: what is left is integers and single floats, so
 * that every device gets the same bits.
 *
 *   record   rows x stride bytes: RGB pixels, `columns` a row; then, if they are scaled, for across and for down, as
 *            int32: begin [size], count [size], weight [size, room]. Output i is the sum over k < count[i] of
 *            weight[i, k] * input[begin[i] + k], in 22-bit fixed point, rounded to a byte: across first, then down.
 *   then     flip, the colour steps in their order, blur, solarise, normalise. */
#ifndef VMAE_PIXELS_VIEW_H
#define VMAE_PIXELS_VIEW_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* In the order of vmae_pixels_* in pixels.h. */
typedef enum vmae_step {
    VMAE_STEP_BRIGHTNESS, /* value: the factor */
    VMAE_STEP_CONTRAST,
    VMAE_STEP_SATURATION,
    VMAE_STEP_HUE, /* value: turns */
    VMAE_STEP_GREY,
    VMAE_STEP_JITTER_RELEASED, /* of `released` and `map`; no other step is before it */
    VMAE_STEP_GREY_RELEASED
} vmae_step;

typedef enum vmae_blur {
    VMAE_BLUR_NONE,
    VMAE_BLUR_PIXELS,  /* 9 x 9, rounded half to even, before solarisation */
    VMAE_BLUR_RELEASED /* 5 wide x 9 high, of the normalised floats */
} vmae_blur;

/* REACH: pixels on either side of the middle. ROOM: weights of one output at most, so that a device knows how much of a
 * source a tile of outputs needs: what shrinks by more than SHRINK in a direction, or in area, is scaled before it is
 * put into a record, which then needs no scaling. */
enum { VMAE_VIEW_STEPS = 5, VMAE_VIEW_REACH = 4, VMAE_VIEW_SHRINK = 4, VMAE_VIEW_ROOM = 4 * VMAE_VIEW_SHRINK + 1 };
enum { VMAE_SOLARISE_THRESHOLD = 128 };

typedef struct vmae_view {
    int64_t source;                 /* of the record, in the sources: a multiple of 16 */
    int32_t rows, columns, stride;  /* stride: a multiple of 16 */
    int32_t room_across, room_down; /* 0, both: the pixels are the view's already, size x size */
    int32_t flip, solarise;         /* 0 or 1 */
    int32_t steps, step[VMAE_VIEW_STEPS];
    float value[VMAE_VIEW_STEPS];
    float released[4];     /* brightness, contrast, saturation, turns */
    float map[9], lift[2]; /* the same as x -> map x + (lift[0] + lift[1]) * mean grey */
    int32_t blur;          /* vmae_blur */
    float across[VMAE_VIEW_REACH + 1], down[VMAE_VIEW_REACH + 1]; /* of the blur; [0]: the middle */
    float scale[3], shift[3];                                     /* of normalisation: byte * scale - shift */
    int32_t unused;
} vmae_view;

/* Bytes of a view's record, of which each begins at a multiple of 16. */
static inline int64_t vmae_view_pixel_bytes(const vmae_view *view)
{
    return ((int64_t)view->rows * view->stride + 15) / 16 * 16;
}
static inline int64_t vmae_view_record_bytes(const vmae_view *view, int64_t size)
{
    const int64_t numbers = view->room_across ? size * (4 + view->room_across + view->room_down) : 0;
    return vmae_view_pixel_bytes(view) + (4 * numbers + 15) / 16 * 16;
}
/* No record is longer: about what the floats that are made of it take. */
static inline int64_t vmae_view_record_most(int64_t size)
{
    return 12 * size * size + 64 * size + 256;
}

#ifdef __cplusplus
}
#endif
#endif
