/* gnuplot.h -- runs one template on one data file. Inside plots/ only. */
#ifndef VMAE_PLOTS_GNUPLOT_H
#define VMAE_PLOTS_GNUPLOT_H

#include "plots/plots.h"

/* A text for a data file or an argument: no quotes, tabs, backslashes or control characters, at most size - 1 bytes. */
void vmae_plot_label(char *label, size_t size, const char *text);

/* Runs `gnuplot -c <template> <terminal> <output> <data> arguments...`, without a shell. terminal is "svg", "png" or
 * "dumb"; output NULL for "dumb": the characters go to `stream`. A finished file appears at once or not at all.
 * VMAE_EUSER: there is no gnuplot. */
vmae_status vmae_gnuplot(const char *template_name, const char *terminal, const char *output, FILE *stream,
                         const char *data, const char *const *arguments, size_t count);

#endif
