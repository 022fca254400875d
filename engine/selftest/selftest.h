/* selftest.h -- holds a device against the CPU: memory and refusals, views, every op, whole steps of pre-training and a
 * trace of ten; against reference vectors; and whether the device gives the same bits twice.
 *
 * Numbers are the same on both; f32 may differ by rounding in other orders, bf16 by one rounding here and there. A
 * check says by how much of its largest value a result is off, and how much is allowed. */
#ifndef VMAE_SELFTEST_SELFTEST_H
#define VMAE_SELFTEST_SELFTEST_H

#include "engine/backend/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One check that was made. worst and limit: shares of the largest value; detail: where, or what went wrong. */
typedef struct vmae_selftest_check {
    const char *group; /* "memory", "view", "op", "step", "golden" */
    char name[64];
    const char *precision; /* "f32", "bf16" */
    bool passed;
    double worst, limit;
    char detail[256];
} vmae_selftest_check;

typedef struct vmae_selftest {
    vmae_backend *device, *cpu;
    void (*report)(void *context, const vmae_selftest_check *check);
    void *context;
    const char *only;   /* a group, or NULL */
    const char *golden; /* a folder of reference vectors, or NULL */
} vmae_selftest;

/* Makes every check; *failed counts those that did not pass. VMAE_EUSER, before any check, if `only` is no group, or
 * "golden" without a folder. */
vmae_status vmae_selftest_run(const vmae_selftest *test, int *failed);

#ifdef __cplusplus
}
#endif
#endif
