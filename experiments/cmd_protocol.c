/* cmd_protocol.c -- vicmae pretrain | probe | knn | reconstruct CONFIG [key=value...] */
#include "experiments/commands.h"

#include "engine/core/log.h"
#include "experiments/run.h"

#include <argp.h>
#include <stdlib.h>
#include <string.h>

enum { OVERRIDES_MAX = 1000 };

typedef struct arguments {
    const char *config, *root, *folder;
    const char *overrides[OVERRIDES_MAX];
    int override_count;
} arguments;

static const struct argp_option option_table[] = {
    { "root", 'r', "DIR", 0, "folder of run folders (default: runs)", 0 },
    { "run", 'R', "DIR", 0, "this run's own folder (default: ROOT/IDENTITY)", 0 },
    { "quiet", 'q', NULL, 0, "warnings and errors only", 0 },
    { 0 }
};

static error_t on_option(int key, char *value, struct argp_state *state)
{
    arguments *a = state->input;
    switch (key) {
    case 'r': a->root = value; return 0;
    case 'R': a->folder = value; return 0;
    case 'q': vmae_log_level(VMAE_WARN); return 0;
    case ARGP_KEY_ARG:
        if (strchr(value, '=')) {
            if (a->override_count == OVERRIDES_MAX)
                argp_error(state, "more than %d overrides", OVERRIDES_MAX);
            a->overrides[a->override_count++] = value;
        } else if (!a->config)
            a->config = value;
        else
            argp_error(state, "one CONFIG only: \"%s\" is neither an option nor key=value", value);
        return 0;
    case ARGP_KEY_END:
        if (!a->config && a->override_count == 0)
            argp_error(state, "CONFIG is missing");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const char doc[] =
    "Runs one protocol in its own folder. The same command again resumes an interrupted run and skips a finished one.\v"
    "Examples:\n"
    "  vicmae pretrain model.size=nano data.videos.kind=shapes-video train.epochs=5\n"
    "  vicmae pretrain experiments/vicmae.cfg data_root=/data seed=2 model.pool=gem\n"
    "  vicmae probe experiments/probe.cfg checkpoint=runs/4f2a0c.../checkpoint.safetensors\n\n"
    "Every option can be set in CONFIG or as key=value; `vicmae options PROTOCOL` lists them. "
    "Ctrl-C finishes the step, saves, and stops; a second one stops at once.";

static vmae_status load(const vmae_protocol *protocol, const arguments *a, vmae_config **config)
{
    VMAE_TRY(vmae_protocol_config(protocol, config));
    if (a->config)
        VMAE_TRY(vmae_config_read(*config, a->config, NULL));
    for (int i = 0; i < a->override_count; i++)
        VMAE_TRY(vmae_config_assign(*config, a->overrides[i]));
    return VMAE_OK;
}

int vmae_cmd_protocol(const vmae_protocol *protocol, int argc, char **argv)
{
    const struct argp argp = { option_table, on_option, "[CONFIG] [key=value...]", doc, NULL, NULL, NULL };
    arguments a = { .root = "runs" };
    vmae_config *config = NULL;
    argp_err_exit_status = 2;
    if (argp_parse(&argp, argc, argv, 0, NULL, &a) != 0)
        return 2;
    vmae_status st = load(protocol, &a, &config);
    if (st == VMAE_OK)
        st = vmae_run_main(protocol, config, a.root, a.folder);
    vmae_config_free(config);
    return vmae_report(st);
}
