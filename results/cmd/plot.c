/* plot.c -- vicmae-results plot. */
#include "plots/plots.h"
#include "results/cmd/cmd.h"

typedef struct plot_options {
    const char *out;
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
    case 'o': plot->out = arg; return 0;
    case 'f':
        if (vmae_plot_formats_by_name(&plot->formats, arg) != VMAE_OK)
            argp_error(state, "%s", vmae_error());
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/* A sweep by its name, else a run. */
static vmae_status draw(vmae_store *store, const char *what, const char *out, unsigned formats,
                        vmae_plot_report *report)
{
    vmae_stored_run run;
    int64_t sweep = 0;
    VMAE_TRY(vmae_sql_integer(store, &sweep, 0, "SELECT 1 FROM sweeps WHERE name = ?1 OR name || '-' || scale = ?1",
                              "t", what));
    if (sweep)
        return vmae_plot_sweep(store, what, out, formats, stdout, report);
    const vmae_status st = vmae_run_find(store, what, &run);
    return st != VMAE_OK ? vmae_fail_in(st, "%s is no sweep", what)
                         : vmae_plot_run(store, run.identity, out, formats, stdout, report);
}

static vmae_status plot(cmd_context *context, vmae_listing *listing)
{
    const plot_options *given = context->input;
    const char *out = given->out ? given->out : "plots/out";
    const unsigned formats = given->formats ? given->formats : VMAE_PLOT_SVG;
    vmae_plot_report report = { 0 };
    (void)listing;
    VMAE_TRY(draw(context->store, context->words[0], out, formats, &report));
    if (report.files)
        fprintf(stderr, "%zu picture%s in %s\n", report.files, report.files == 1 ? "" : "s", out);
    if (report.left_out)
        fprintf(stderr, "%zu left out: no numbers yet\n", report.left_out);
    context->nothing = !report.files && !(formats & VMAE_PLOT_DUMB);
    return VMAE_OK;
}

const cmd cmd_plot = {
    .name = "plot",
    .summary = "a sweep's or a run's pictures",
    .args = "SWEEP|RUN",
    .doc = "Draws a sweep's tables as bars beside the paper's and its training curves, or the training curves of one "
           "run. Needs gnuplot."
           "\vExamples:\n  vicmae-results plot table3 -o pictures\n  vicmae-results plot 12 --format dumb",
    .options = options,
    .on_option = on_option,
    .input_size = sizeof(plot_options),
    .uses = CMD_STORE,
    .least = 1,
    .most = 1,
    .run = plot,
};
