/* shapes.h -- the procedural dataset's parts: outlines, scenes and their rendering. Private to engine/data and its
 * tests.
 *
 * A scene is one textured plate in the shape of its class, before a textured ground, perhaps behind a moving obstacle.
 * What time changes is what random crops and colour jitter cannot imitate: the plate turns in and out of the picture
 * plane, the light wanders round it and changes in strength and colour, the obstacle passes, the camera pans, rolls and
 * zooms. What stays is the shape. Frame units: the picture is [0, 1) x [0, 1), y down. Time runs from -0.5 to 0.5. */
#ifndef VMAE_DATA_SHAPES_H
#define VMAE_DATA_SHAPES_H

#include "engine/core/rng.h"
#include "engine/core/status.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    VMAE_SHAPES_OBJECTS = 10,
    VMAE_SHAPES_MOTIONS = 8,
    VMAE_SHAPES_VERSION =
        1, /* raise it whenever a pixel changes: it is in the fingerprint, and so in runs' identities */
    VMAE_SHAPES_SIZE_MIN = 8,
    VMAE_SHAPES_SIZE_MAX = 512,
    VMAE_OUTLINE_MAX = 48
};
extern const char *const vmae_shapes_objects[VMAE_SHAPES_OBJECTS]; /* sorted */
/* Sorted. Each looks like itself in a mirror, since augmentation flips: "slide" is to the left or to the right. */
extern const char *const vmae_shapes_motions[VMAE_SHAPES_MOTIONS];

/* Closed polygons; inside is what an odd number of them surrounds. The first `first` points are one contour, the rest
 * another. */
typedef struct vmae_outline {
    int count, first;
    float x[VMAE_OUTLINE_MAX], y[VMAE_OUTLINE_MAX];
} vmae_outline;
/* The outline of an object class, within the unit circle. */
void vmae_shapes_outline(vmae_outline *outline, int object);

/* A value that time moves: middle + slope * t. */
typedef struct vmae_drift {
    float middle, slope;
} vmae_drift;

typedef enum vmae_pattern { VMAE_STRIPES, VMAE_CHECKS, VMAE_DOTS, VMAE_NOISE, VMAE_RAMP, VMAE_PATTERNS } vmae_pattern;

typedef struct vmae_texture {
    vmae_pattern pattern;
    float colour[2][3]; /* mixed by the pattern, in [0, 1] */
    float period;       /* in frame units (ground, obstacle) or plate units (object) */
    float cosine, sine; /* direction of the pattern */
    float phase[2];
    float lattice[8][8]; /* of the noise, repeated */
} vmae_texture;

typedef struct vmae_scene {
    int object, motion;
    bool obstacle;
    vmae_texture ground, skin, cover;
    vmae_outline cover_outline;           /* in frame units about its own centre */
    float direction, phase;               /* of the motion: -1 or 1; [0, 1) */
    vmae_drift x, y, radius_log2, angle;  /* of the plate, before its motion */
    vmae_drift tilt, tilt_axis;           /* out of the picture plane, radians */
    vmae_drift light_angle, light_height; /* radians */
    vmae_drift brightness_log2, warmth;
    vmae_drift pan_x, pan_y, zoom_log2, roll; /* camera */
    vmae_drift cover_x, cover_y, cover_angle;
    float moment; /* when a still picture is taken */
} vmae_scene;

/* The scene of an index: a function of (seed, stream, index) and the classes. `stream` keeps splits and media apart. */
void vmae_scene_make(vmae_scene *scene, uint64_t seed, uint32_t stream, uint64_t index, int object, int motion);

/* Where everything is at one moment. */
typedef struct vmae_pose {
    float x, y, radius;
    float axis[3][2]; /* plate (X, Y) -> space: x, y right and down, z away */
    float light[3];   /* towards the light */
    float gain[3];    /* of the channels */
    float pan[2], zoom, roll_cosine, roll_sine;
    float cover[2], cover_cosine, cover_sine;
} vmae_pose;
void vmae_scene_pose(vmae_pose *pose, const vmae_scene *scene, float t);

/* Renders size x size x 3 bytes. VMAE_ENOMEM at worst. */
vmae_status vmae_scene_render(uint8_t *rgb, int size, const vmae_scene *scene, const vmae_outline *object, float t);

#endif
