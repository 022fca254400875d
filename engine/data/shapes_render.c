/* shapes_render.c -- a scene's pixels: exact distances to the projected outlines, from which edges, bevel and shadow
 * follow.
 *
 * Works row by row on planes of floats, so that the compiler vectorises it; no call of libm per pixel. */
#include "engine/data/shapes.h"

#include "engine/core/mem.h"
#include "engine/pixels/pixels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROW = VMAE_SHAPES_SIZE_MAX };
static const float FAR = 1e6f, PERSPECTIVE = 1.1f;

/* An outline in pixels. */
typedef struct polygon {
    int count;
    float x[VMAE_OUTLINE_MAX], y[VMAE_OUTLINE_MAX]; /* start of edge i */
    float dx[VMAE_OUTLINE_MAX], dy[VMAE_OUTLINE_MAX];
    float top, bottom, left, right;
} polygon;

static void close_polygon(polygon *p, int first)
{
    p->top = p->left = FAR;
    p->bottom = p->right = -FAR;
    for (int i = 0; i < p->count; i++) {
        const int next = i + 1 == first ? 0 : i + 1 == p->count ? first % p->count : i + 1;
        p->dx[i] = p->x[next] - p->x[i];
        p->dy[i] = p->y[next] - p->y[i];
        p->left = fminf(p->left, p->x[i]);
        p->right = fmaxf(p->right, p->x[i]);
        p->top = fminf(p->top, p->y[i]);
        p->bottom = fmaxf(p->bottom, p->y[i]);
    }
}

/* The plate's map from (X, Y, 1) to homogeneous pixels, and back. */
typedef struct homography {
    float to[3][3], back[3][3];
} homography;

static void project(homography *h, const vmae_pose *pose, float size)
{
    const float r = pose->radius * size, depth = PERSPECTIVE * pose->radius, cx = pose->x * size, cy = pose->y * size;
    for (int j = 0; j < 2; j++) {
        const float w = depth * pose->axis[2][j];
        h->to[0][j] = r * pose->axis[0][j] + cx * w;
        h->to[1][j] = r * pose->axis[1][j] + cy * w;
        h->to[2][j] = w;
    }
    h->to[0][2] = cx;
    h->to[1][2] = cy;
    h->to[2][2] = 1.0f;
    for (int i = 0; i < 3; i++) /* the adjugate: scale does not matter to a homography */
        for (int j = 0; j < 3; j++) {
            const int a = (j + 1) % 3, b = (j + 2) % 3, c = (i + 1) % 3, d = (i + 2) % 3;
            h->back[i][j] = h->to[a][c] * h->to[b][d] - h->to[a][d] * h->to[b][c];
        }
}

static void project_outline(polygon *p, const vmae_outline *o, const homography *h)
{
    p->count = o->count;
    for (int i = 0; i < o->count; i++) {
        const float w = h->to[2][0] * o->x[i] + h->to[2][1] * o->y[i] + 1.0f;
        p->x[i] = (h->to[0][0] * o->x[i] + h->to[0][1] * o->y[i] + h->to[0][2]) / w;
        p->y[i] = (h->to[1][0] * o->x[i] + h->to[1][1] * o->y[i] + h->to[1][2]) / w;
    }
    close_polygon(p, o->first);
}

static void place_obstacle(polygon *p, const vmae_outline *o, const vmae_pose *pose, float size)
{
    p->count = o->count;
    for (int i = 0; i < o->count; i++) {
        p->x[i] = size * (pose->cover[0] + pose->cover_cosine * o->x[i] - pose->cover_sine * o->y[i]);
        p->y[i] = size * (pose->cover[1] + pose->cover_sine * o->x[i] + pose->cover_cosine * o->y[i]);
    }
    close_polygon(p, o->first);
}

/* Signed distances in pixels, negative inside, of the centres of pixels [from, to) of row y (Quilez's polygon distance,
 * a row at a time: which edges a row crosses is the same for all its pixels). */
VMAE_CLONES static void distance_row(float *restrict distance, const polygon *p, int y, int from, int to)
{
    float nearest[ROW], side[ROW];
    const float py = (float)y + 0.5f;
    const int count = to - from;
    for (int i = 0; i < count; i++) {
        nearest[i] = FAR;
        side[i] = 1.0f;
    }
    for (int e = 0; e < p->count; e++) {
        const float ex = p->dx[e], ey = p->dy[e], wy = py - p->y[e], start = (float)from + 0.5f - p->x[e];
        const float length2 = ex * ex + ey * ey, scale = length2 > 0.0f ? 1.0f / length2 : 0.0f;
        const float slope = ex * scale, offset = wy * ey * scale;
        for (int i = 0; i < count; i++) {
            const float wx = start + (float)i;
            float part = wx * slope + offset;
            part = part < 0.0f ? 0.0f : part;
            part = part > 1.0f ? 1.0f : part;
            const float bx = wx - ex * part, by = wy - ey * part, d = bx * bx + by * by;
            nearest[i] = d < nearest[i] ? d : nearest[i];
        }
        const bool down = wy >= 0.0f && wy < ey, up = wy < 0.0f && wy >= ey;
        if (down || up) {
            const float crossing = ex * wy, sign = down ? 1.0f : -1.0f;
            for (int i = 0; i < count; i++)
                side[i] = sign * (crossing - ey * (start + (float)i)) > 0.0f ? -side[i] : side[i];
        }
    }
    for (int i = 0; i < count; i++)
        distance[from + i] = side[i] * sqrtf(nearest[i]);
}

/* Distances of the whole picture: computed within `margin` pixels of the outline's box, FAR elsewhere. */
static void distance_plane(float *plane, const polygon *p, int size, float margin)
{
    const int top = (int)fmaxf(p->top - margin, 0.0f),
              bottom = (int)fminf(fmaxf(p->bottom + margin, 0.0f), (float)size);
    const int left = (int)fmaxf(fminf(p->left - margin, (float)size), 0.0f);
    const int right = (int)fminf(fmaxf(p->right + margin, 0.0f), (float)size);
    for (int i = 0; i < size * size; i++)
        plane[i] = FAR;
    for (int y = top; y < bottom && left < right; y++)
        distance_row(plane + y * size, p, y, left, right);
}

/* A triangle wave of period 1 between 0 and 1; u > -1024. */
static inline float wave(float u)
{
    const float shifted = u + 1024.0f, part = shifted - (float)(int32_t)shifted;
    return fabsf(2.0f * part - 1.0f);
}

static inline float clamp01(float x)
{
    x = x < 0.0f ? 0.0f : x;
    return x > 1.0f ? 1.0f : x;
}

static float noise(const vmae_texture *t, float u, float v)
{
    const float su = u + 1024.0f, sv = v + 1024.0f;
    const int iu = (int)su, iv = (int)sv;
    float fu = su - (float)iu, fv = sv - (float)iv;
    fu = fu * fu * (3.0f - 2.0f * fu);
    fv = fv * fv * (3.0f - 2.0f * fv);
    const float *top = t->lattice[iv & 7], *bottom = t->lattice[(iv + 1) & 7];
    const int left = iu & 7, right = (iu + 1) & 7;
    const float above = top[left] + fu * (top[right] - top[left]),
                below = bottom[left] + fu * (bottom[right] - bottom[left]);
    return above + fv * (below - above);
}

/* u, v: texture coordinates in units of the pattern's period, replaced: u becomes the mix of the two colours. `sharp`:
 * how steep edges may be, so that they are about a pixel wide. */
VMAE_CLONES static void pattern_row(const vmae_texture *t, float *restrict u, const float *restrict v, int count,
                                    float sharp)
{
    switch (t->pattern) {
    case VMAE_STRIPES:
        for (int i = 0; i < count; i++)
            u[i] = clamp01((wave(u[i]) - 0.5f) * sharp + 0.5f);
        break;
    case VMAE_CHECKS:
        for (int i = 0; i < count; i++)
            u[i] = clamp01((wave(u[i]) - 0.5f) * (wave(v[i]) - 0.5f) * 4.0f * sharp + 0.5f);
        break;
    case VMAE_DOTS:
        for (int i = 0; i < count; i++) {
            const float a = wave(u[i]), b = wave(v[i]);
            u[i] = clamp01((0.36f - a * a - b * b) * sharp + 0.5f);
        }
        break;
    case VMAE_NOISE:
        for (int i = 0; i < count; i++)
            u[i] = clamp01(0.5f + 1.5f * (0.65f * noise(t, 2.0f * u[i], 2.0f * v[i]) +
                                          0.35f * noise(t, 4.0f * u[i], 4.0f * v[i]) - 0.5f));
        break;
    default: /* VMAE_RAMP: slow and smooth */
        for (int i = 0; i < count; i++) {
            const float a = wave(0.3f * u[i]);
            u[i] = a * a * (3.0f - 2.0f * a);
        }
    }
}

/* Colours of a texture at points x, y (in its own units); overwrites both. `pixel`: how far a pixel is in those units.
 */
VMAE_CLONES static void texture_row(float *restrict const colour[3], const vmae_texture *t, float *restrict x,
                                    float *restrict y, int count, float pixel)
{
    const float scale = 1.0f / t->period, c = t->cosine * scale, s = t->sine * scale, pu = t->phase[0],
                pv = t->phase[1];
    const float sharp = fminf(fmaxf(0.5f / (pixel * scale), 1.0f), 12.0f);
    for (int i = 0; i < count; i++) {
        const float u = c * x[i] + s * y[i] + pu, v = c * y[i] - s * x[i] + pv;
        x[i] = u;
        y[i] = v;
    }
    pattern_row(t, x, y, count, sharp);
    for (int k = 0; k < 3; k++) {
        const float base = t->colour[0][k], span = t->colour[1][k] - base;
        float *out = colour[k];
        for (int i = 0; i < count; i++)
            out[i] = base + span * x[i];
    }
}

typedef struct canvas {
    const vmae_scene *scene;
    const vmae_pose *pose;
    int size;
    homography plate;
    float *object, *cover; /* distances; cover NULL if there is no obstacle */
    float face;            /* how the plate's flat face is lit */
    float row[3][ROW], paint[3][ROW], x[ROW], y[ROW], mask[ROW];
} canvas;

/* The ground as the camera sees it, lit a little more on the light's side. */
VMAE_CLONES static void paint_ground(canvas *c, int y)
{
    const vmae_pose *p = c->pose;
    const float pixel = p->zoom / (float)c->size, v = ((float)y + 0.5f) / (float)c->size - 0.5f;
    const float rc = p->roll_cosine * p->zoom, rs = p->roll_sine * p->zoom;
    for (int i = 0; i < c->size; i++) {
        const float u = ((float)i + 0.5f) / (float)c->size - 0.5f;
        c->x[i] = rc * u - rs * v + p->pan[0];
        c->y[i] = rs * u + rc * v + p->pan[1];
    }
    float *const into[3] = { c->row[0], c->row[1], c->row[2] };
    texture_row(into, &c->scene->ground, c->x, c->y, c->size, pixel);
    const float lx = 0.7f * p->light[0] / (float)c->size,
                base = 0.95f + 0.7f * p->light[1] * v - 0.5f * 0.7f * p->light[0];
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < c->size; i++)
            c->row[k][i] *= base + lx * ((float)i + 0.5f);
}

/* Darkens the ground where the object, moved away from the light, covers it; the edge is a few pixels soft. */
static void paint_shadow(canvas *c, int y)
{
    const float reach = 0.11f * (float)c->size, soft = 1.0f / (0.05f * (float)c->size);
    const float sx = -c->pose->light[0] * reach, sy = -c->pose->light[1] * reach; /* of the shadow, from the object */
    const float fy = (float)y - sy;
    const int y0 = (int)floorf(fy);
    if (y0 < 0 || y0 + 1 >= c->size)
        return;
    const float *above = c->object + y0 * c->size, *below = above + c->size, ty = fy - (float)y0;
    const int shift = (int)floorf(-sx);
    const float tx = -sx - (float)shift;
    const int from = shift < 0 ? -shift : 0, to = shift > 0 ? c->size - 1 - shift : c->size - 1;
    for (int i = from; i < to; i++) {
        const int j = i + shift;
        const float upper = above[j] + tx * (above[j + 1] - above[j]),
                    lower = below[j] + tx * (below[j + 1] - below[j]);
        const float dark = 1.0f - 0.5f * clamp01(0.5f - (upper + ty * (lower - upper)) * soft);
        for (int k = 0; k < 3; k++)
            c->row[k][i] *= dark;
    }
}

/* Puts c->paint times c->x (shade) over the row where c->mask covers it. */
VMAE_CLONES static void blend_row(canvas *c, int from, int to)
{
    for (int k = 0; k < 3; k++)
        for (int i = from; i < to; i++)
            c->row[k][i] += c->mask[i] * (c->paint[k][i] * c->x[i] - c->row[k][i]);
}

/* The part of a row whose distance is below one pixel; false if there is none. */
static bool covered(canvas *c, const float *distance, int *from, int *to)
{
    int a = 0, b = c->size;
    while (a < b && distance[a] >= 0.5f)
        a++;
    while (b > a && distance[b - 1] >= 0.5f)
        b--;
    *from = a;
    *to = b;
    for (int i = a; i < b; i++)
        c->mask[i] = clamp01(0.5f - distance[i]);
    return a < b;
}

/* The plate: its texture, the light on its face, and a bevel along the edge that is bright towards the light. */
VMAE_CLONES static void paint_object(canvas *c, int y)
{
    const int size = c->size;
    const float *d = c->object + y * size, *up = y > 0 ? d - size : d, *down = y + 1 < size ? d + size : d;
    int from, to;
    if (!covered(c, d, &from, &to))
        return;
    const float(*h)[3] = (const float(*)[3])c->plate.back;
    const float py = (float)y + 0.5f;
    for (int i = from; i < to; i++) {
        const float px = (float)i + 0.5f, w = 1.0f / (h[2][0] * px + h[2][1] * py + h[2][2]);
        /* The mask's rim may lie beyond the horizon of a plate that is close: kept where the texture is defined. */
        const float x = (h[0][0] * px + h[0][1] * py + h[0][2]) * w, v = (h[1][0] * px + h[1][1] * py + h[1][2]) * w;
        c->x[i] = x < -4.0f ? -4.0f : x > 4.0f ? 4.0f : x;
        c->y[i] = v < -4.0f ? -4.0f : v > 4.0f ? 4.0f : v;
    }
    float *const into[3] = { c->paint[0] + from, c->paint[1] + from, c->paint[2] + from };
    texture_row(into, &c->scene->skin, c->x + from, c->y + from, to - from, 1.0f / (c->pose->radius * (float)size));
    const float width = fmaxf(0.3f * c->pose->radius * (float)size, 1.5f), lx = c->pose->light[0],
                ly = c->pose->light[1];
    for (int i = from; i < to; i++) {
        const float left = d[i > 0 ? i - 1 : i], right = d[i + 1 < size ? i + 1 : i];
        const float slope = 0.5f * ((right - left) * lx + (down[i] - up[i]) * ly);
        const float bent = slope < -1.0f  ? -1.0f
                           : slope > 1.0f ? 1.0f
                                          : slope; /* FAR neighbours at the picture's border */
        const float rim = clamp01(1.0f + d[i] / width);
        const float shade = c->face + 0.75f * rim * bent;
        c->x[i] = shade < 0.2f ? 0.2f : shade;
    }
    blend_row(c, from, to);
}

static void paint_obstacle(canvas *c, int y)
{
    const vmae_pose *p = c->pose;
    int from, to;
    if (!c->cover || !covered(c, c->cover + y * c->size, &from, &to))
        return;
    const float pixel = 1.0f / (float)c->size, v = ((float)y + 0.5f) * pixel - p->cover[1];
    for (int i = from; i < to; i++) {
        const float u = ((float)i + 0.5f) * pixel - p->cover[0];
        c->x[i] = p->cover_cosine * u + p->cover_sine * v;
        c->y[i] = p->cover_cosine * v - p->cover_sine * u;
    }
    float *const into[3] = { c->paint[0] + from, c->paint[1] + from, c->paint[2] + from };
    texture_row(into, &c->scene->cover, c->x + from, c->y + from, to - from, pixel);
    for (int i = from; i < to; i++)
        c->x[i] = 0.9f;
    blend_row(c, from, to);
}

VMAE_CLONES static void store_row(uint8_t *restrict rgb, const canvas *c)
{
    for (int k = 0; k < 3; k++) {
        const float gain = 255.0f * c->pose->gain[k];
        for (int i = 0; i < c->size; i++) {
            const float value = c->row[k][i] * gain + 0.5f;
            rgb[3 * i + k] = (uint8_t)(int32_t)(value < 0.0f ? 0.0f : value > 255.0f ? 255.0f : value);
        }
    }
}

/* Lambert's law for the flat face, seen from whichever side is in front. */
static float face_light(const vmae_pose *p)
{
    const float(*a)[2] = (const float(*)[2])p->axis;
    const float nx = a[1][0] * a[2][1] - a[2][0] * a[1][1], ny = a[2][0] * a[0][1] - a[0][0] * a[2][1];
    const float nz = a[0][0] * a[1][1] - a[1][0] * a[0][1], side = nz > 0.0f ? -1.0f : 1.0f;
    const float facing = side * (nx * p->light[0] + ny * p->light[1] + nz * p->light[2]);
    return 0.42f + 0.72f * fmaxf(facing, 0.0f);
}

vmae_status vmae_scene_render(uint8_t *rgb, int size, const vmae_scene *scene, const vmae_outline *object, float t)
{
    if (size < VMAE_SHAPES_SIZE_MIN || size > VMAE_SHAPES_SIZE_MAX)
        return vmae_fail(VMAE_EUSER, "shapes of %d pixels a side; %d to %d are possible", size,
                         (int)VMAE_SHAPES_SIZE_MIN, (int)VMAE_SHAPES_SIZE_MAX);
    const size_t plane = (size_t)size * (size_t)size;
    float *planes = malloc(2 * plane * sizeof(float));
    if (!planes)
        return vmae_fail(VMAE_ENOMEM, "no memory for rendering shapes of %d pixels a side", size);
    vmae_pose pose;
    canvas c = {
        .scene = scene, .pose = &pose, .size = size, .object = planes, .cover = scene->obstacle ? planes + plane : NULL
    };
    vmae_scene_pose(&pose, scene, t);
    c.face = face_light(&pose);
    project(&c.plate, &pose, (float)size);
    polygon p;
    project_outline(&p, object, &c.plate);
    distance_plane(c.object, &p, size, 0.08f * (float)size + 2.0f);
    if (c.cover) {
        place_obstacle(&p, &scene->cover_outline, &pose, (float)size);
        distance_plane(c.cover, &p, size, 1.0f);
    }
    for (int y = 0; y < size; y++) {
        paint_ground(&c, y);
        paint_shadow(&c, y);
        paint_object(&c, y);
        paint_obstacle(&c, y);
        store_row(rgb + (size_t)y * (size_t)size * 3, &c);
    }
    free(planes);
    return VMAE_OK;
}
