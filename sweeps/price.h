/* price.h -- what the runs of a plan cost. Internal to sweeps/. */
#ifndef VMAE_SWEEPS_PRICE_H
#define VMAE_SWEEPS_PRICE_H

#include "sweeps/sweep.h"

enum { VMAE_PRICE_PROTOCOLS = 32 };

/* How fast finished runs of each protocol were, in floating-point operations a second. */
typedef struct vmae_speeds {
    size_t count;
    struct {
        char protocol[32];
        double flops, seconds;
        int runs;
    } of[VMAE_PRICE_PROTOCOLS];
} vmae_speeds;

/* From the done.json of runs under root (the first few hundred; what cannot be read is passed over). */
void vmae_speeds_measure(vmae_speeds *speeds, const char *root);
void vmae_speeds_add(vmae_speeds *speeds, const char *protocol, double flops, double seconds);
/* Seconds for so many operations; negative: unknown. */
double vmae_speeds_predict(const vmae_speeds *speeds, const char *protocol, double flops);

/* The estimate of one run of a plan; false, all zero, if it cannot be made (its data are missing). */
bool vmae_price_run(const vmae_plan *plan, size_t run, vmae_estimate *estimate);

/* "3.4 TFLOP", "12 MB", "2 min 10 s": into text, which is returned. */
enum { VMAE_PRICE_TEXT = 32 };
const char *vmae_price_flops(char text[VMAE_PRICE_TEXT], double flops);
const char *vmae_price_bytes(char text[VMAE_PRICE_TEXT], double bytes);
const char *vmae_price_time(char text[VMAE_PRICE_TEXT], double seconds);

#endif
