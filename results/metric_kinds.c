/* metric_kinds.c -- the one table of metric kinds. A new kind of metric is a line here; the first match counts. */
#include "results/metric_kinds.h"

#include <fnmatch.h>
#include <stddef.h>

static const vmae_metric_kind kinds[] = {
    { "*_ms", NULL, true, false },          { "*_s", NULL, true, false }, /* images_per_s, load_s */
    { "*_bytes", NULL, true, false },       { "*roof_fraction", NULL, true, true },
    { "*wait_fraction", NULL, true, true }, { "*loss*", "min", false, false },
    { "*top1", "max", false, true },        { "*top5", "max", false, true },
    { "*accuracy", "max", false, true },    { "*mean_per_class", "max", false, true },
    { "*mean_ap", "max", false, true },     { "*", NULL, false, false },
};

const vmae_metric_kind *vmae_metric_kind_of(const char *name)
{
    const vmae_metric_kind *kind = kinds;
    while (fnmatch(kind->pattern, name, 0) != 0 && kind->pattern[1])
        kind++;
    return kind;
}
