/* plots.h -- pictures of results, drawn by gnuplot: training curves, and the paper's tables as bars beside ours.
 *
 * gnuplot runs as a child process on files in a temporary folder, without a shell. Everything is drawn from the
 * database. */
#ifndef VMAE_PLOTS_PLOTS_H
#define VMAE_PLOTS_PLOTS_H

#include "results/results.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    VMAE_PLOT_SVG = 1,
    VMAE_PLOT_PNG = 2,
    VMAE_PLOT_DUMB = 4 /* characters, to `terminal` */
};

/* What was drawn; may be NULL wherever it is asked for. */
typedef struct vmae_plot_report {
    size_t files;
    size_t left_out; /* pictures without a single number */
    char last[512];  /* path of the last file */
} vmae_plot_report;

/* Draws every grid of the sweep as bars ("<sweep>-<scale>-<grid>.svg") and the training curves of each of its stages,
 * one line a row with the range over seeds ("<sweep>-<scale>-<grid>-<stage>-curves.svg", and "-2.svg" and so on where
 * there are more rows than one picture can show), into `folder` (made if need be). `formats` is a sum of VMAE_PLOT_
 * values; `terminal` takes the VMAE_PLOT_DUMB ones (may be NULL without them); `folder` may be NULL for VMAE_PLOT_DUMB
 * alone. VMAE_EUSER: no such sweep, or no gnuplot. */
vmae_status vmae_plot_sweep(vmae_store *store, const char *sweep, const char *folder, unsigned formats, FILE *terminal,
                            vmae_plot_report *report);

/* Draws the training curves of one run, by its whole identity: "run-<identity>.svg". */
vmae_status vmae_plot_run(vmae_store *store, const char *identity, const char *folder, unsigned formats, FILE *terminal,
                          vmae_plot_report *report);

/* "svg", "png" or "dumb" (or several with commas) as a sum of VMAE_PLOT_ values; VMAE_EUSER for another word. */
vmae_status vmae_plot_formats_by_name(unsigned *formats, const char *names);

#ifdef __cplusplus
}
#endif
#endif
