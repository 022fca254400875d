/* price.h -- what the runs of a plan cost. Internal to sweeps/. */
#ifndef VMAE_SWEEPS_PRICE_H
#define VMAE_SWEEPS_PRICE_H

#include "sweeps/sweep.h"

enum { VMAE_PRICE_PROTOCOLS = 32 };

/* How fast finished runs of each protocol were. Those without matrix products (a picture, a probe of pixels) take what
 * such runs of their protocol took on average. */
typedef struct vmae_speed {
    int runs;
    double flops, seconds;
} vmae_speed;

typedef struct vmae_speeds {
    size_t count;
    struct {
        char protocol[32];
        vmae_speed with_flops, without;
    } of[VMAE_PRICE_PROTOCOLS];
} vmae_speeds;

/* From the done.json of runs under root (the first few hundred; what cannot be read is passed over). */
void vmae_speeds_measure(vmae_speeds *speeds, const char *root);
void vmae_speeds_add(vmae_speeds *speeds, const char *protocol, double flops, double seconds);
/* Seconds for so many operations; negative: unknown. */
double vmae_speeds_predict(const vmae_speeds *speeds, const char *protocol, double flops);

/* What one run of a plan costs; all zero where that cannot be known (its data are missing). */
typedef struct vmae_price {
    bool known;
    vmae_estimate whole; /* of the run from its beginning */
    double rest;         /* how much of that is still to do, 0 to 1: an interrupted run goes on */
} vmae_price;
vmae_price vmae_price_run(const vmae_plan *plan, size_t run);
/* Seconds for what is left of it; negative: unknown. */
double vmae_speeds_predict_rest(const vmae_speeds *speeds, const char *protocol, const vmae_price *price);

/* "3.4 TFLOP", "12 MB": into text, which is returned. */
enum { VMAE_PRICE_TEXT = 32 };
const char *vmae_price_flops(char text[VMAE_PRICE_TEXT], double flops);
const char *vmae_price_bytes(char text[VMAE_PRICE_TEXT], double bytes);

#endif
