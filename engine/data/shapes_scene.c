/* shapes_scene.c -- what a scene is made of, and where its parts are at a moment. No pixels here. */
#include "engine/data/shapes.h"

#include <math.h>
#include <string.h>

const char *const vmae_shapes_objects[VMAE_SHAPES_OBJECTS] = { "arrow", "bolt", "crescent", "cross", "disc",
                                                               "heart", "ring", "square",   "star",  "triangle" };
const char *const vmae_shapes_motions[VMAE_SHAPES_MOTIONS] = { "bounce", "down",  "grow", "orbit",
                                                               "shrink", "slide", "spin", "up" };
enum object { ARROW, BOLT, CRESCENT, CROSS, DISC, HEART, RING, SQUARE, STAR, TRIANGLE };
enum motion { BOUNCE, DOWN, GROW, ORBIT, SHRINK, SLIDE, SPIN, UP };

static const float pi = 3.14159265f;

/* ---- outlines ---- */

static void add(vmae_outline *o, double x, double y)
{
    o->x[o->count] = (float)x;
    o->y[o->count++] = (float)y;
}

/* `count` points from angle `from` to `to` (turns) on a circle; the end is left out. */
static void add_arc(vmae_outline *o, int count, double centre_x, double radius, double from, double to)
{
    for (int i = 0; i < count; i++) {
        const double angle = 2.0 * 3.14159265358979324 * (from + (to - from) * i / count);
        add(o, centre_x + radius * cos(angle), radius * sin(angle));
    }
}

static void add_points(vmae_outline *o, const double (*point)[2], int count)
{
    for (int i = 0; i < count; i++)
        add(o, point[i][0], point[i][1]);
}

/* Corners alternate between two radii; the first points up. */
static void add_star(vmae_outline *o, int corners, double outer, double inner)
{
    for (int i = 0; i < corners; i++) {
        const double angle = 2.0 * 3.14159265358979324 * (i / (double)corners - 0.25), r = i % 2 ? inner : outer;
        add(o, r * cos(angle), r * sin(angle));
    }
}

static void add_heart(vmae_outline *o)
{
    for (int i = 0; i < 32; i++) {
        const double a = 2.0 * 3.14159265358979324 * i / 32, s = sin(a);
        add(o, s * s * s, -(13.0 * cos(a) - 5.0 * cos(2 * a) - 2.0 * cos(3 * a) - cos(4 * a)) / 16.0 - 0.12);
    }
}

void vmae_shapes_outline(vmae_outline *outline, int object)
{
    static const double arrow[7][2] = { { 0, -1 },      { 0.78, -0.12 }, { 0.3, -0.12 },  { 0.3, 0.95 },
                                        { -0.3, 0.95 }, { -0.3, -0.12 }, { -0.78, -0.12 } };
    static const double bolt[6][2] = { { 0.35, -1 }, { -0.65, 0.2 },  { -0.05, 0.2 },
                                       { -0.35, 1 }, { 0.65, -0.25 }, { 0.05, -0.25 } };
    static const double cross[12][2] = { { -0.33, -0.95 }, { 0.33, -0.95 }, { 0.33, -0.33 },  { 0.95, -0.33 },
                                         { 0.95, 0.33 },   { 0.33, 0.33 },  { 0.33, 0.95 },   { -0.33, 0.95 },
                                         { -0.33, 0.33 },  { -0.95, 0.33 }, { -0.95, -0.33 }, { -0.33, -0.33 } };
    *outline = (vmae_outline){ 0 };
    switch ((enum object)object) {
    case ARROW: add_points(outline, arrow, 7); break;
    case BOLT: add_points(outline, bolt, 6); break;
    case CRESCENT: /* the circles meet at 46.7 degrees of the outer one, 73.7 of the inner one */
        add_arc(outline, 22, -0.1, 0.95, 0.1297, 0.8703);
        add_arc(outline, 14, 0.35, 0.72, 0.7953, 0.2047);
        break;
    case CROSS: add_points(outline, cross, 12); break;
    case DISC: add_arc(outline, 32, 0.0, 0.86, 0.0, 1.0); break;
    case HEART: add_heart(outline); break;
    case RING:
        add_arc(outline, 28, 0.0, 0.95, 0.0, 1.0);
        outline->first = outline->count;
        add_arc(outline, 20, 0.0, 0.5, 0.0, 1.0);
        return;
    case SQUARE: add_star(outline, 4, 1.0, 1.0); break;
    case STAR: add_star(outline, 10, 1.05, 0.44); break;
    case TRIANGLE: add_star(outline, 3, 1.05, 1.05); break;
    }
    outline->first = outline->count;
    if (object == SQUARE) /* stand it on a side */
        for (int i = 0; i < outline->count; i++) {
            const float x = outline->x[i], y = outline->y[i];
            outline->x[i] = (x - y) * 0.70710678f;
            outline->y[i] = (x + y) * 0.70710678f;
        }
}

/* ---- scenes ---- */

static vmae_drift draw_drift(vmae_rng *rng, float middle_low, float middle_high, float slope)
{
    const float middle = vmae_rng_between(rng, middle_low, middle_high);
    return (vmae_drift){ middle, vmae_rng_between(rng, -slope, slope) };
}

/* Like draw_drift, but never still: the slope is between half of `slope` and `slope`, either way. */
static vmae_drift draw_lively(vmae_rng *rng, float middle_low, float middle_high, float slope)
{
    vmae_drift drift = draw_drift(rng, middle_low, middle_high, 1.0f);
    drift.slope = (drift.slope < 0.0f ? -0.5f : 0.5f) * slope * (1.0f + fabsf(drift.slope));
    return drift;
}

static float at(vmae_drift drift, float t)
{
    return drift.middle + drift.slope * t;
}

static void hsv_to_rgb(float rgb[3], float hue, float saturation, float value)
{
    for (int c = 0; c < 3; c++) {
        float place = hue * 6.0f + (c == 0 ? 0.0f : c == 1 ? 4.0f : 2.0f);
        place -= 6.0f * floorf(place / 6.0f);
        const float ramp = fabsf(place - 3.0f) - 1.0f;
        rgb[c] = value * (1.0f - saturation * (1.0f - fminf(fmaxf(ramp, 0.0f), 1.0f)));
    }
}

static float grey(const float rgb[3])
{
    return 0.3f * rgb[0] + 0.59f * rgb[1] + 0.11f * rgb[2];
}

/* `object`: whose usual material it has four times in five, as things of a kind have in the world (-1: nobody's).
 * Without such a tie a network that looks at single pictures has no reason to tell kinds apart, and a linear probe
 * nothing to find. */
static void draw_texture(vmae_texture *texture, vmae_rng *rng, int object, float period_low, float period_high)
{
    texture->pattern = (vmae_pattern)vmae_rng_below(rng, VMAE_PATTERNS);
    float hue = vmae_rng_uniform(rng);
    if (object >= 0 && vmae_rng_uniform(rng) < 0.8f) {
        texture->pattern = (vmae_pattern)(object % VMAE_PATTERNS);
        hue = ((float)(3 * object % VMAE_SHAPES_OBJECTS) + 1.2f * (hue - 0.5f)) / VMAE_SHAPES_OBJECTS;
    }
    const float saturation = vmae_rng_between(rng, 0.2f, 0.9f), value = vmae_rng_between(rng, 0.4f, 0.95f);
    hsv_to_rgb(texture->colour[0], hue, saturation, value);
    hsv_to_rgb(texture->colour[1], hue + vmae_rng_between(rng, -0.12f, 0.12f),
               saturation * vmae_rng_between(rng, 0.5f, 1.0f), value * vmae_rng_between(rng, 0.5f, 0.85f));
    texture->period = vmae_rng_between(rng, period_low, period_high);
    const float angle = vmae_rng_between(rng, 0.0f, 2.0f * pi);
    texture->cosine = cosf(angle);
    texture->sine = sinf(angle);
    texture->phase[0] = vmae_rng_uniform(rng);
    texture->phase[1] = vmae_rng_uniform(rng);
    for (int i = 0; i < 64; i += 4) { /* four bytes of a word: the noise needs no more */
        const uint32_t word = vmae_rng_u32(rng);
        for (int k = 0; k < 4; k++)
            (&texture->lattice[0][0])[i + k] = (float)(word >> (8 * k) & 255u) / 255.0f;
    }
}

/* Moves the ground's lightness away from the object's where they are alike: a shape that nobody can see has no class.
 */
static void part_colours(vmae_texture *ground, const vmae_texture *skin)
{
    const float mine = 0.5f * (grey(ground->colour[0]) + grey(ground->colour[1]));
    const float other = 0.5f * (grey(skin->colour[0]) + grey(skin->colour[1])), gap = 0.4f;
    if (fabsf(mine - other) >= gap)
        return;
    const float wanted = other > 0.45f ? other - gap : other + gap;
    for (int i = 0; i < 2; i++)
        for (int c = 0; c < 3; c++) {
            float *v = &ground->colour[i][c];
            *v = wanted < mine ? *v * wanted / mine : 1.0f - (1.0f - *v) * (1.0f - wanted) / (1.0f - mine);
        }
}

/* A post that crosses the picture, or a boulder. */
static void draw_obstacle(vmae_scene *s, vmae_rng *rng)
{
    vmae_outline *o = &s->cover_outline;
    s->obstacle = vmae_rng_uniform(rng) < 0.4f;
    const bool post = vmae_rng_uniform(rng) < 0.5f;
    const float size = post ? vmae_rng_between(rng, 0.035f, 0.075f) : vmae_rng_between(rng, 0.11f, 0.18f);
    *o = (vmae_outline){ .count = post ? 4 : 9, .first = post ? 4 : 9 };
    for (int i = 0; i < 9; i++) {
        const float angle = 2.0f * pi * (float)i / 9.0f, r = size * vmae_rng_between(rng, 0.75f, 1.15f);
        o->x[i] = post ? (i == 0 || i == 3 ? -size : size) : r * cosf(angle);
        o->y[i] = post ? (i < 2 ? -1.5f : 1.5f) : r * sinf(angle);
    }
    s->cover_angle = draw_drift(rng, -0.9f, 0.9f, post ? 0.5f : 2.0f);
    s->cover_x = draw_lively(rng, 0.3f, 0.7f, 1.1f);
    s->cover_y = draw_drift(rng, 0.35f, 0.65f, 0.3f);
}

void vmae_scene_make(vmae_scene *scene, uint64_t seed, uint32_t stream, uint64_t index, int object, int motion)
{
    vmae_rng rng = vmae_rng_at(seed, VMAE_RNG_SHAPES, stream, index);
    vmae_scene *s = scene;
    memset(s, 0, sizeof *s);
    s->object = object;
    s->motion = motion;
    s->moment = vmae_rng_between(&rng, -0.5f, 0.5f);
    s->direction = vmae_rng_uniform(&rng) < 0.5f ? -1.0f : 1.0f;
    s->phase = vmae_rng_uniform(&rng);
    s->x = draw_drift(&rng, 0.45f, 0.55f, 0.06f);
    s->y = draw_drift(&rng, 0.45f, 0.55f, 0.06f);
    s->radius_log2 = draw_drift(&rng, -1.65f, -1.3f, 0.2f); /* 0.32 to 0.41 */
    s->angle = draw_drift(&rng, -0.5f, 0.5f, 1.2f);
    s->tilt = draw_lively(&rng, -0.35f, 0.35f, 1.5f);
    s->tilt_axis = draw_drift(&rng, 0.0f, 2.0f * pi, 1.5f);
    s->light_angle = draw_lively(&rng, 0.0f, 2.0f * pi, 3.0f);
    s->light_height = draw_drift(&rng, 0.55f, 0.95f, 0.4f);
    s->brightness_log2 = draw_lively(&rng, -0.25f, 0.2f, 0.9f);
    s->warmth = draw_lively(&rng, -0.1f, 0.1f, 0.4f);
    s->pan_x = draw_lively(&rng, -4.0f, 4.0f, 0.8f);
    s->pan_y = draw_drift(&rng, -4.0f, 4.0f, 0.5f);
    s->zoom_log2 = draw_drift(&rng, -0.2f, 0.2f, 0.5f);
    s->roll = draw_drift(&rng, -0.3f, 0.3f, 0.5f);
    draw_texture(&s->skin, &rng, object, 0.5f, 1.2f);
    draw_texture(&s->ground, &rng, -1, 0.2f, 0.45f);
    draw_texture(&s->cover, &rng, -1, 0.12f, 0.3f);
    part_colours(&s->ground, &s->skin);
    draw_obstacle(s, &rng);
}

/* ---- poses ---- */

static void move(vmae_pose *p, float *angle, const vmae_scene *s, float t)
{
    switch ((enum motion)s->motion) {
    case BOUNCE: {
        const float f = 2.0f * (t + 0.5f) + s->phase, part = f - floorf(f);
        p->y += 0.2f - 0.4f * 4.0f * part * (1.0f - part);
        break;
    }
    case DOWN: p->y += 0.5f * t; break;
    case UP: p->y -= 0.5f * t; break;
    case SLIDE: p->x += s->direction * 0.5f * t; break;
    case GROW: p->radius *= exp2f(1.2f * t); break;
    case SHRINK: p->radius *= exp2f(-1.2f * t); break;
    case SPIN: *angle += s->direction * (5.0f + 2.0f * s->phase) * t; break;
    case ORBIT: {
        const float turn = 2.0f * pi * (s->direction * t + s->phase);
        p->x += 0.17f * cosf(turn);
        p->y += 0.17f * sinf(turn);
        break;
    }
    }
}

/* Turns the plate in its plane, then tips it about an axis in the picture plane. */
static void orient(vmae_pose *p, float angle, float tilt, float axis)
{
    const float ca = cosf(angle), sa = sinf(angle), ct = cosf(tilt), st = sinf(tilt), cx = cosf(axis), sx = sinf(axis);
    const float flat[2][2] = { { ca, -sa }, { sa, ca } };
    for (int j = 0; j < 2; j++) {
        const float along = cx * flat[0][j] + sx * flat[1][j], beside = -sx * flat[0][j] + cx * flat[1][j];
        p->axis[0][j] = cx * along - sx * beside * ct;
        p->axis[1][j] = sx * along + cx * beside * ct;
        p->axis[2][j] = beside * st;
    }
}

void vmae_scene_pose(vmae_pose *pose, const vmae_scene *scene, float t)
{
    const vmae_scene *s = scene;
    vmae_pose *p = pose;
    const float steepest = 0.8f; /* 46 degrees: seen from the side, every plate is a line */
    float angle = at(s->angle, t), tilt = at(s->tilt, t);
    p->x = at(s->x, t);
    p->y = at(s->y, t);
    p->radius = exp2f(at(s->radius_log2, t));
    move(p, &angle, s, t);
    tilt = tilt > steepest ? steepest : tilt < -steepest ? -steepest : tilt;
    orient(p, angle, tilt, at(s->tilt_axis, t));

    const float around = at(s->light_angle, t), height = at(s->light_height, t);
    p->light[0] = cosf(around) * cosf(height);
    p->light[1] = sinf(around) * cosf(height);
    p->light[2] = -sinf(height); /* towards the viewer */
    const float gain = exp2f(at(s->brightness_log2, t)), warmth = at(s->warmth, t);
    p->gain[0] = gain * (1.0f + warmth);
    p->gain[1] = gain;
    p->gain[2] = gain * (1.0f - warmth);

    p->pan[0] = at(s->pan_x, t);
    p->pan[1] = at(s->pan_y, t);
    p->zoom = exp2f(-at(s->zoom_log2, t));
    p->roll_cosine = cosf(at(s->roll, t));
    p->roll_sine = sinf(at(s->roll, t));
    p->cover[0] = at(s->cover_x, t);
    p->cover[1] = at(s->cover_y, t);
    p->cover_cosine = cosf(at(s->cover_angle, t));
    p->cover_sine = sinf(at(s->cover_angle, t));
}
