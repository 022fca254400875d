/* table.c -- vicmae-results table. */
#include "results/cmd/cmd.h"

typedef struct table_options {
    const char *grid;
} table_options;

static const struct argp_option options[] = {
    { "grid", 'g', "NAME", 0, "only this grid of the sweep", 0 },
    { 0 },
};

static error_t on_option(int key, char *arg, struct argp_state *state)
{
    table_options *table = state->input;
    if (key != 'g')
        return ARGP_ERR_UNKNOWN;
    table->grid = arg;
    return 0;
}

static vmae_status print_table(cmd_context *context, vmae_listing *listing)
{
    const table_options *table = context->input;
    (void)listing;
    return vmae_table_print(context->store, context->words[0], table->grid, context->format, stdout);
}

const cmd cmd_table = {
    .name = "table",
    .summary = "a sweep's tables beside the paper's",
    .args = "SWEEP",
    .doc =
        "Prints a sweep's tables beside the paper's: mean and standard deviation over seeds, distance to the best row "
        "and whether that is noise, rank agreement with the paper. SWEEP is its name, or name-scale where several "
        "scales are stored."
        "\vExamples:\n  vicmae-results table table3\n  vicmae-results table table3-demo --grid a --latex",
    .options = options,
    .on_option = on_option,
    .input_size = sizeof(table_options),
    .uses = CMD_STORE | CMD_FORMAT,
    .least = 1,
    .most = 1,
    .run = print_table,
};
