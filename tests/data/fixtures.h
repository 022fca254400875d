/* fixtures.h -- small images and archives that the data tests make for themselves. */
#ifndef VMAE_TESTS_DATA_FIXTURES_H
#define VMAE_TESTS_DATA_FIXTURES_H

#include "engine/core/fs.h"
#include "engine/core/mem.h"
#include "tests/test.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <turbojpeg.h>

/* A path in the test's folder; valid for the next seven calls. */
static inline const char *in_folder(const char *name)
{
    static char path[8][600];
    static int turn;
    char *at = path[turn++ % 8];
    snprintf(at, sizeof path[0], "%s/%s", vmae_test_folder(), name);
    return at;
}

/* 20 ... 219, up and down without a jump */
static inline uint8_t triangle(int value)
{
    value %= 398;
    return (uint8_t)(20 + (value < 200 ? value : 398 - value));
}

/* Smooth RGB pixels that differ with `kind`; free() them. */
static inline uint8_t *make_pixels(int width, int height, int kind)
{
    uint8_t *rgb = vmae_calloc((size_t)width * (size_t)height, 3), *at = rgb;
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++, at += 3) {
            at[0] = triangle(x * 200 / width + kind * 31);
            at[1] = triangle(y * 200 / height + kind * 57);
            at[2] = triangle((x + y) * 100 / (width + height) + kind * 11);
        }
    return rgb;
}

typedef struct bytes {
    uint8_t *at;
    size_t count;
} bytes;

/* A JPEG of make_pixels, subsampled as TJSAMP_..., with tjCompress2's flags; free(.at). */
static inline bytes make_jpeg(int width, int height, int kind, int sampling, int flags)
{
    unsigned char *jpeg = NULL;
    unsigned long count = 0;
    uint8_t *rgb = make_pixels(width, height, kind);
    tjhandle handle = tjInitCompress();
    tjCompress2(handle, rgb, width, 0, height, TJPF_RGB, &jpeg, &count, sampling, 90, flags);
    tjDestroy(handle);
    free(rgb);
    bytes made = { vmae_calloc(count, 1), count };
    memcpy(made.at, jpeg, count);
    tjFree(jpeg);
    return made;
}

/* ---- a tar archive in memory ---- */

typedef struct archive {
    uint8_t *at;
    size_t count, last; /* last: offset of the newest header */
} archive;

static inline void tar_checksum(uint8_t *header)
{
    unsigned sum = 0;
    memset(header + 148, ' ', 8);
    for (int i = 0; i < 512; i++)
        sum += header[i];
    snprintf((char *)header + 148, 8, "%06o", sum & 0777777);
}

static inline void tar_block(archive *to, const void *data, size_t count)
{
    const size_t padded = (count + 511) / 512 * 512;
    to->at = vmae_realloc(to->at, to->count + padded + 1, 1);
    memset(to->at + to->count, 0, padded);
    if (count)
        memcpy(to->at + to->count, data, count);
    to->count += padded;
}

/* A member of kind '0', '5', 'x', 'L', ... */
static inline void tar_add(archive *to, const char *name, char kind, const void *data, size_t count)
{
    uint8_t header[512] = { 0 };
    strncpy((char *)header, name, 100);
    memcpy(header + 100, "0000644", 8);
    snprintf((char *)header + 124, 12, "%011o", (unsigned)count);
    header[156] = (uint8_t)kind;
    memcpy(header + 257, "ustar\00000", 8);
    tar_checksum(header);
    to->last = to->count;
    tar_block(to, header, sizeof header);
    tar_block(to, data, count);
}

static inline void tar_end(archive *to)
{
    static const uint8_t zero[1024];
    tar_block(to, zero, sizeof zero);
}

static inline void tar_free(archive *to)
{
    free(to->at);
    *to = (archive){ 0 };
}

#endif
