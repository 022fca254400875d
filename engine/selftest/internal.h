/* internal.h -- what the parts of the self-test share. Private to engine/selftest. */
#ifndef VMAE_SELFTEST_INTERNAL_H
#define VMAE_SELFTEST_INTERNAL_H

#include "engine/selftest/selftest.h"

#include <stdint.h>

typedef struct tally {
    const vmae_selftest *test;
    int failed;
} tally;

/* Reports a check that compares: passed if worst <= limit. */
void tally_compare(tally *t, const char *group, const char *name, vmae_type type, double worst, double limit,
                   const char *where);
/* Reports a check that holds or not; `why` on failure. */
void tally_hold(tally *t, const char *group, const char *name, vmae_type type, bool holds, const char *why);

/* The largest |a - b| as a share of the largest |b|; NaN counts as infinite. 0 if both are all zeros. */
double share_off(const float *a, const float *b, int64_t count);

void selftest_ops(tally *t);
void selftest_steps(tally *t);
void selftest_golden(tally *t); /* nothing without a set */
void selftest_memory(tally *t);
void selftest_views(tally *t);

#endif
