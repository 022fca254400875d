/* metric_kinds.h -- what a metric's name says about it: which end is better, whether it measures time, how to show it.
 */
#ifndef VMAE_RESULTS_METRIC_KINDS_H
#define VMAE_RESULTS_METRIC_KINDS_H

#include <stdbool.h>

typedef struct vmae_metric_kind {
    const char *pattern;   /* fnmatch(3) */
    const char *direction; /* "min", "max" or NULL */
    bool timing;           /* depends on the clock or the machine: not part of what a rerun must repeat */
    bool percent;          /* a fraction in [0, 1] that tables and plots show in percent */
} vmae_metric_kind;

/* The first entry that matches; never NULL. */
const vmae_metric_kind *vmae_metric_kind_of(const char *name);

#endif
