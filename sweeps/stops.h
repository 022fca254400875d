/* stops.h -- signals that ask the runner to stop. They, and the end of a child, arrive only while it waits. Internal to
 * sweeps/. */
#ifndef VMAE_SWEEPS_STOPS_H
#define VMAE_SWEEPS_STOPS_H

#include <signal.h>

enum { VMAE_STOPS_CAUGHT = 6 };

typedef struct vmae_stops {
    struct sigaction old[VMAE_STOPS_CAUGHT];
    sigset_t outside; /* the mask that was there before: what children shall have */
} vmae_stops;

void vmae_stops_install(vmae_stops *stops);
void vmae_stops_restore(const vmae_stops *stops);
/* How often it was asked to stop since vmae_stops_install; one Ctrl-C that arrives twice counts once. */
int vmae_stops_count(void);
/* Returns after so many seconds, or when a signal came. */
void vmae_stops_wait(const vmae_stops *stops, double seconds);

#endif
