/* watch.h -- how far a running run is, from its journal. Internal to sweeps/. */
#ifndef VMAE_SWEEPS_WATCH_H
#define VMAE_SWEEPS_WATCH_H

#include <stdint.h>

typedef struct vmae_watch {
    int64_t total;                /* steps of the whole run; 0: unknown */
    uint64_t offset;              /* of the journal that was not read yet */
    int64_t first_step, step;     /* of this attempt's first and last metrics; step 0: there are none yet */
    double first_wall, last_wall; /* and when */
} vmae_watch;

/* Watches a run of `total` steps (0: unknown) that is starting: what its journal holds is of earlier attempts. */
void vmae_watch_begin(vmae_watch *watch, const char *folder, int64_t total);
/* Reads what the journal in the run's folder says since the last look. What cannot be read changes nothing. */
void vmae_watch_look(vmae_watch *watch, const char *folder);
/* Seconds that its last steps will take at the pace of those since its first one; negative: it is too early to say. */
double vmae_watch_left(const vmae_watch *watch);

#endif
