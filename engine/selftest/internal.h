/* internal.h -- what the parts of the self-test share. Private to engine/selftest. */
#ifndef VMAE_SELFTEST_INTERNAL_H
#define VMAE_SELFTEST_INTERNAL_H

#include "engine/model/model.h"
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

/* The groups of checks. */
void selftest_memory(tally *t);
void selftest_views(tally *t);
void selftest_ops(tally *t);
void selftest_steps(tally *t);
void selftest_golden(tally *t); /* nothing without a set */

/* ---- a step of pre-training: session.c ---- */

typedef struct session {
    vmae_backend *be; /* the caller's */
    vmae_params *params;
    vmae_graph *g;
    vmae_vicmae model;
} session;
enum { LOSSES = 3 }; /* total, reconstruction, contrast */

/* Ready for parameters, images and noise. On failure, too, close it. */
vmae_status session_open(session *s, vmae_backend *be, const vmae_model_config *config, int64_t pairs,
                         double temperature, vmae_type precision);
void session_close(session *s);
/* There and back, with these weights of the two losses. */
vmae_status session_run(session *s, float recon, float contrast, float loss[LOSSES]);
/* Of every trainable parameter, in the order of the flat buffer: fresh memory, also on failure. */
vmae_status session_gradients(const session *s, float **gradients);
vmae_status session_values(const session *s, float **values);
/* The largest share by which a parameter's gradient is off, and whose (untouched if none is): of those that reach a
 * thousandth of the largest, since a gradient of nothing but rounding says nothing. Both as session_gradients gives
 * them. */
double worst_gradient(const vmae_params *params, const float *got, const float *wanted, const char **name);

#endif
