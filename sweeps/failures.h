/* failures.h -- which failures are alike: a bug in the code or the sweep fails every run with the same sentence.
 * Internal to sweeps/. */
#ifndef VMAE_SWEEPS_FAILURES_H
#define VMAE_SWEEPS_FAILURES_H

enum { VMAE_FAILURE_KINDS = 64, VMAE_FAILURE_TEXT = 200 };

typedef struct vmae_failures {
    struct {
        char text[VMAE_FAILURE_TEXT];
        int count;
    } of[VMAE_FAILURE_KINDS];
    int kinds;
} vmae_failures;

/* Counts a run's failure; returns how many of its kind there are now. */
int vmae_failures_add(vmae_failures *failures, const char *protocol, const char *message);

#endif
