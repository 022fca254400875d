/* metric_kinds.c -- the one table of metric kinds. A new kind of metric is a line here; the first match counts. */
#include "results/metric_kinds.h"

#include <fnmatch.h>
#include <stddef.h>

/* clang-format off */
static const vmae_metric_kind kinds[] = {
    { "*_per_s",        "max", true,  false }, /* images_per_s, gflops_per_s; before *_s */
    { "*roof_fraction", "max", true,  true  },
    { "*wait_fraction", "min", true,  true  },
    { "*_ms",           "min", true,  false },
    { "*_s",            "min", true,  false },
    { "*_bytes",        "min", true,  false },
    { "*loss*",         "min", false, false },
    { "*top1",          "max", false, true  },
    { "*top5",          "max", false, true  },
    { "*accuracy",      "max", false, true  },
    { "*mean_per_class", "max", false, true },
    { "*mean_ap",       "max", false, true  },
    { "*",              NULL,  false, false },
};
/* clang-format on */

const vmae_metric_kind *vmae_metric_kind_of(const char *name)
{
    const vmae_metric_kind *kind = kinds;
    while (fnmatch(kind->pattern, name, 0) != 0 && kind->pattern[1])
        kind++;
    return kind;
}
