/* embed.h -- text files compiled into the programs (embed.cmake). */
#ifndef VMAE_RESULTS_EMBED_H
#define VMAE_RESULTS_EMBED_H

#include <stddef.h>

typedef struct vmae_embedded {
    const char *name; /* "schema.sql"; NULL ends the list */
    const char *text; /* with a final 0 that count leaves out */
    size_t count;
} vmae_embedded;

extern const vmae_embedded vmae_results_files[]; /* schema.sql first, migrations, paper/ */
extern const vmae_embedded vmae_plots_files[];   /* the gnuplot templates; in vmae_plots */

#endif
