/* main.c -- vicmae-sweep: plans a sweep and does what is missing of it. */
#include "sweeps/sweep.h"

#include "engine/core/fs.h"
#include "engine/core/mem.h"
#include "experiments/machine.h"

#include <argp.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { OPT_DRY = 256, OPT_ONLY, OPT_ROOT, OPT_KEEP_GOING, OPT_JSON, OPT_LIST, OPT_SEEDS, OPT_PROGRESS };

typedef struct command {
    const char *file, *root, *only;
    vmae_sweep_choice choice;
    const char **overrides; /* [argc] */
    int jobs;
    double progress_s;
    bool dry_run, json, list, keep_going;
} command;

static const struct argp_option options[] = {
    { "scale", 's', "NAME", 0, "demo, small, paper, ... (default: demo, or the file's first)", 0 },
    { "list-scales", OPT_LIST, NULL, 0, "print the file's scales and what they run on", 0 },
    { "dry-run", OPT_DRY, NULL, 0, "print every run, why it is to be done, and what it costs; do nothing", 0 },
    { "json", OPT_JSON, NULL, 0, "the plan as JSON (does nothing else, as --dry-run)", 0 },
    { "only", OPT_ONLY, "GRID[,GRID]", 0, "only these grids of the sweep", 0 },
    { "seeds", OPT_SEEDS, "N[,N]", 0, "these seeds instead of the file's", 0 },
    { "jobs", 'j', "N", 0, "runs at a time; they share the cores (default: 1)", 0 },
    { "keep-going", OPT_KEEP_GOING, NULL, 0, "do not stop after three failures of one kind", 0 },
    { "root", OPT_ROOT, "DIR", 0, "folder of runs and results.db (default: runs)", 0 },
    { "progress", OPT_PROGRESS, "SECONDS", 0, "in a log, a line about what runs this often (default: 60)", 0 },
    { 0 }
};

static error_t on_option(int key, char *text, struct argp_state *state)
{
    command *c = state->input;
    char *end;
    switch (key) {
    case 's': c->choice.scale = text; return 0;
    case OPT_LIST: c->list = true; return 0;
    case OPT_DRY: c->dry_run = true; return 0;
    case OPT_JSON: c->json = c->dry_run = true; return 0;
    case OPT_ONLY: c->only = text; return 0;
    case OPT_SEEDS: c->choice.seeds = text; return 0;
    case OPT_KEEP_GOING: c->keep_going = true; return 0;
    case OPT_ROOT: c->root = text; return 0;
    case OPT_PROGRESS:
        c->progress_s = strtod(text, &end);
        if (end == text || *end || !(c->progress_s > 0 && c->progress_s <= 1e6))
            argp_error(state, "--progress %s: a number of seconds", text);
        return 0;
    case 'j': {
        const long jobs = strtol(text, &end, 10);
        if (end == text || *end || jobs < 1 || jobs > 1024)
            argp_error(state, "--jobs %s: a whole number from 1 to 1024", text);
        c->jobs = (int)jobs;
        return 0;
    }
    case ARGP_KEY_ARG:
        if (!c->file && !strchr(text, '='))
            c->file = text;
        else if (strchr(text, '='))
            c->overrides[c->choice.override_count++] = text;
        else
            argp_error(state, "'%s' is neither the sweep file (that is %s) nor an override option=value", text,
                       c->file);
        return 0;
    case ARGP_KEY_END:
        if (!c->file)
            argp_error(state, "which sweep? for example: vicmae-sweep sweeps/table3.cfg");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp parser = {
    options,
    on_option,
    "SWEEP.cfg [OPTION=VALUE...]",
    "Does all runs of a sweep that are not finished yet, and prints its tables."
    "\vThe same command goes on where it was interrupted, tries failed runs again and does new ones: nothing that is "
    "finished is done "
    "twice. Ctrl-C once: runs finish their step and save; twice: at once.\n\n"
    "OPTION=VALUE changes an option in every stage that has it; STAGE:OPTION=VALUE in one stage.\n\n"
    "Examples:\n"
    "  vicmae-sweep sweeps/table3.cfg\n"
    "  vicmae-sweep sweeps/table3.cfg --dry-run --scale small data_root=/data\n"
    "  vicmae-sweep sweeps/table3.cfg --only a,b --jobs 2 probe:probe.epochs=30\n"
    "  vicmae-sweep sweeps/table3.cfg --list-scales\n\n"
    "Exit code: 0 all is finished, 1 something failed, 2 the command or a file is wrong, 130 interrupted.",
    NULL,
    NULL,
    NULL
};

/* Runs may be repeated from another folder: the path of the data must not depend on this one. */
static const char *absolute_data_root(const char *override, char **keep)
{
    char path[PATH_MAX];
    const char *name = strstr(override, "data_root="), *value = name ? name + strlen("data_root=") : NULL;
    if (!value || *value == '/' || !*value || (name != override && name[-1] != ':') || !realpath(value, path))
        return override;
    *keep = vmae_format("%.*s%s", (int)(value - override), override, path);
    return *keep ? *keep : override;
}

static vmae_status absolute_root(const command *c, char path[PATH_MAX])
{
    if (!c->dry_run)
        VMAE_TRY(vmae_make_folders(c->root));
    if (realpath(c->root, path))
        return VMAE_OK;
    if (!c->dry_run || errno != ENOENT || strlen(c->root) >= PATH_MAX)
        return vmae_fail_errno(errno, "--root %s", c->root);
    memcpy(path, c->root, strlen(c->root) + 1); /* a dry run makes nothing */
    return VMAE_OK;
}

static vmae_status show(vmae_plan *plan, const command *c)
{
    VMAE_TRY(vmae_plan_inspect(plan));
    return c->json ? vmae_plan_show_json(plan, stdout) : vmae_plan_show(plan, stdout);
}

static vmae_status run(command *c)
{
    char root[PATH_MAX];
    vmae_sweep *sweep = NULL;
    vmae_plan *plan = NULL;
    if (c->list)
        return vmae_sweep_list_scales(c->file, stdout);
    VMAE_TRY(absolute_root(c, root));
    vmae_status st = vmae_sweep_load(&sweep, c->file, &c->choice);
    if (st == VMAE_OK)
        st = vmae_plan_make(&plan, sweep, &(vmae_plan_options){ root, c->only, c->dry_run });
    if (st == VMAE_OK && c->dry_run) {
        st = show(plan, c);
    } else if (st == VMAE_OK) {
        vmae_execute_report report;
        st = vmae_execute(plan, &(vmae_execute_options){ c->jobs, c->keep_going, c->progress_s, NULL }, &report);
    }
    vmae_plan_free(plan);
    vmae_sweep_free(sweep);
    return st;
}

static void print_version(FILE *out, struct argp_state *state)
{
    (void)state;
    fprintf(out, "vicmae-sweep %s (%s)\n", VMAE_VERSION, vmae_revision());
}

int main(int argc, char **argv)
{
    command c = { .root = "runs", .jobs = 1 };
    char **kept = vmae_calloc((size_t)argc + 1, sizeof *kept);
    c.overrides = vmae_calloc((size_t)argc + 1, sizeof *c.overrides);
    if (!c.overrides || !kept) {
        fprintf(stderr, "vicmae-sweep: %s\n", vmae_error());
        return 1;
    }
    argp_err_exit_status = 2;
    argp_program_version_hook = print_version;
    argp_parse(&parser, argc, argv, 0, NULL, &c);
    for (size_t i = 0; i < c.choice.override_count; i++)
        c.overrides[i] = absolute_data_root(c.overrides[i], &kept[i]);
    c.choice.overrides = c.overrides;
    const vmae_status st = run(&c);
    if (st != VMAE_OK)
        fprintf(stderr, "vicmae-sweep: %s\n", vmae_error());
    for (size_t i = 0; i < c.choice.override_count; i++)
        free(kept[i]);
    free(kept);
    free(c.overrides);
    return vmae_exit_code(st);
}
