/* ingest.c -- vicmae-results ingest (or import). */
#include "results/cmd/cmd.h"

#include "engine/core/text.h"

static vmae_status ingest_one(vmae_store *store, const char *folder, size_t *damaged)
{
    vmae_ingest report;
    VMAE_TRY(vmae_store_ingest(store, folder, &report));
    vmae_print_clean(stdout, folder);
    printf(": %zu runs, %zu with news, %llu values in %.2f s", report.journals, report.changed,
           (unsigned long long)report.rows, report.seconds);
    if (report.rows > 10000)
        printf(" (%.0f values/s)", (double)report.rows / report.seconds);
    printf(report.sweeps ? ", %zu sweeps" : "", report.sweeps);
    printf(report.damaged ? ", %zu DAMAGED: see above\n" : "\n", report.damaged);
    *damaged += report.damaged;
    return VMAE_OK;
}

static vmae_status ingest(cmd_context *context, vmae_listing *listing)
{
    size_t damaged = 0;
    (void)listing;
    for (int i = 0; i < context->count; i++)
        VMAE_TRY(ingest_one(context->store, context->words[i], &damaged));
    if (context->count == 0 && (context->root || !context->db))
        VMAE_TRY(ingest_one(context->store, context->root ? context->root : "runs", &damaged));
    else if (context->count == 0)
        printf("the database is of this version; no folder was named, so nothing was read into it\n");
    return damaged ? vmae_fail(VMAE_EDATA, "%zu could not be read to the end: see above", damaged) : VMAE_OK;
}

const cmd cmd_ingest = {
    .name = "ingest",
    .summary = "bring the database up to date with the runs folder",
    .args = "[FOLDER...]",
    .doc =
        "Brings the database up to date with the journals in the runs folder, or in these folders (of runs, or of one "
        "run). Doing it twice changes nothing. The other commands do this by themselves for the runs folder. With --db "
        "and no folder it only brings a database of an older version to this one."
        "\vExamples:\n  vicmae-results ingest\n  vicmae-results ingest /mnt/cluster/runs --db here.db",
    .uses = CMD_STORE | CMD_WRITES,
    .most = 1024,
    .run = ingest,
};
