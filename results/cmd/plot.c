/* plot.c -- vicmae-results plot. */
#include "plots/plots.h"
#include "results/cmd/common.h"
#include "results/sweep.h"

#include <string.h>

typedef struct plot_options {
    cmd_options common;
    const char *what, *out;
    unsigned formats;
} plot_options;

static const struct argp_option options[] = {
    { "output", 'o', "DIR", 0, "folder for the pictures (default: plots/out)", 0 },
    { "format", 'f', "FORMATS", 0, "svg (default), png, dumb (in the terminal); several with commas", 0 },
    { 0 },
};

static error_t on_option(int key, char *arg, struct argp_state *state)
{
    plot_options *plot = state->input;
    switch (key) {
    case ARGP_KEY_INIT: cmd_children(state); return 0;
    case 'o': plot->out = arg; return 0;
    case 'f':
        if (vmae_plot_formats_by_name(&plot->formats, arg) != VMAE_OK)
            argp_error(state, "%s", vmae_error());
        return 0;
    case ARGP_KEY_ARG:
        if (plot->what)
            argp_error(state, "plot takes one sweep or run");
        plot->what = arg;
        return 0;
    case ARGP_KEY_NO_ARGS: argp_error(state, "plot what? A sweep or a run"); return EINVAL;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child children[] = { { &cmd_common_argp, 0, NULL, 0 }, { 0 } };
static const struct argp argp = {
    options,
    on_option,
    "SWEEP|RUN",
    "Draws a sweep's tables as bars beside the paper's and its training curves, or the training curves of one run. "
    "Needs gnuplot."
    "\vExamples:\n  vicmae-results plot table3 -o pictures\n  vicmae-results plot 12 --format dumb",
    children,
    NULL,
    NULL
};

static int draw(vmae_store *store, const plot_options *plot)
{
    vmae_plot_report report = { 0 };
    vmae_stored_run run;
    int64_t sweep = 0, named = 0;
    vmae_status st = vmae_sql_integer(
        store, &named, 0, "SELECT 1 FROM sweeps WHERE name = ?1 OR name || '-' || scale = ?1", "t", plot->what);
    if (st == VMAE_OK && named) {
        if ((st = vmae_sweep_find(store, plot->what, &sweep)) == VMAE_OK)
            st = vmae_plot_sweep(store, plot->what, plot->out, plot->formats, stdout, &report);
    } else if (st == VMAE_OK) {
        bool found = false;
        if ((st = vmae_run_find(store, plot->what, &run, &found)) == VMAE_OK && !found) {
            fprintf(stderr, "%s: there is neither a sweep nor a run called %s\n", program_invocation_short_name,
                    plot->what);
            return EXIT_NOTHING;
        }
        if (st == VMAE_OK)
            st = vmae_plot_run(store, run.identity, plot->out, plot->formats, stdout, &report);
    }
    if (st != VMAE_OK)
        return cmd_failed(st);
    if (report.files)
        fprintf(stderr, "%zu picture%s in %s\n", report.files, report.files == 1 ? "" : "s", plot->out);
    if (report.left_out)
        fprintf(stderr, "%zu left out: no numbers yet\n", report.left_out);
    return report.files || (plot->formats & VMAE_PLOT_DUMB) ? 0 : EXIT_NOTHING;
}

int cmd_plot(int argc, char **argv)
{
    plot_options plot = { .out = "plots/out", .formats = VMAE_PLOT_SVG };
    cmd_parse(&argp, argc, argv, &plot);
    vmae_store *store = NULL;
    const vmae_status st = cmd_open(&plot.common, &store);
    const int code = st == VMAE_OK ? draw(store, &plot) : cmd_failed(st);
    vmae_store_close(store);
    return code;
}
