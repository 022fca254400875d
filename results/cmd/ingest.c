/* ingest.c -- vicmae-results ingest (or import). */
#include "results/cmd/common.h"

#include "engine/core/log.h"

#include <stdlib.h>

enum { FOLDERS_MAX = 64 };

typedef struct ingest_options {
    cmd_options common;
    const char *folders[FOLDERS_MAX];
    int count;
} ingest_options;

static error_t on_option(int key, char *arg, struct argp_state *state)
{
    ingest_options *ingest = state->input;
    switch (key) {
    case ARGP_KEY_INIT: cmd_children(state); return 0;
    case ARGP_KEY_ARG:
        if (ingest->count == FOLDERS_MAX)
            argp_error(state, "at most %d folders", FOLDERS_MAX);
        ingest->folders[ingest->count++] = arg;
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child children[] = { { &cmd_common_argp, 0, NULL, 0 }, { 0 } };
static const struct argp argp = {
    NULL,
    on_option,
    "[FOLDER...]",
    "Brings the database up to date with the journals in the runs folder, or in these folders (of runs, or of one "
    "run). Doing it twice "
    "changes nothing. The other commands do this by themselves for the runs folder."
    "\vExamples:\n  vicmae-results ingest\n  vicmae-results ingest /mnt/cluster/runs --db here.db",
    children,
    NULL,
    NULL
};

static vmae_status ingest_one(vmae_store *store, const char *folder, size_t *damaged)
{
    vmae_ingest report;
    VMAE_TRY(vmae_store_ingest(store, folder, &report));
    printf("%s: %zu runs, %zu with news, %llu values in %.2f s", folder, report.journals, report.changed,
           (unsigned long long)report.rows, report.seconds);
    if (report.rows > 10000)
        printf(" (%.0f values/s)", (double)report.rows / report.seconds);
    printf(report.sweeps ? ", %zu sweeps" : "", report.sweeps);
    printf(report.damaged ? ", %zu DAMAGED: see above\n" : "\n", report.damaged);
    *damaged += report.damaged;
    return VMAE_OK;
}

int cmd_ingest(int argc, char **argv)
{
    ingest_options ingest = { .count = 0 };
    cmd_parse(&argp, argc, argv, &ingest);
    if (ingest.count == 0)
        ingest.folders[ingest.count++] = ingest.common.runs ? ingest.common.runs : "runs";
    vmae_store *store = NULL;
    size_t damaged = 0;
    vmae_status st = cmd_open_to_write(&ingest.common, &store);
    for (int i = 0; i < ingest.count && st == VMAE_OK; i++)
        st = ingest_one(store, ingest.folders[i], &damaged);
    vmae_store_close(store);
    return st != VMAE_OK ? cmd_failed(st) : damaged ? 1 : 0;
}
