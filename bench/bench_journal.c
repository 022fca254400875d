/* bench_journal.c -- writes runs with invented numbers through the journal, as training does, and says how fast that
 * is. `vicmae-results ingest FOLDER` then tells its own rate.
 *
 *   bench_journal FOLDER [RUNS [STEPS]]      40 runs of 5,000 steps with 9 metrics each: 1.8 million values */
#include "engine/core/fs.h"
#include "engine/core/journal.h"
#include "engine/core/log.h"
#include "engine/core/mem.h"
#include "engine/core/rng.h"

#include <stdio.h>
#include <stdlib.h>

enum { METRICS = 9, RUNS_MAX = 1000000, STEPS_MAX = 100000000 };

static vmae_status event(vmae_journal *journal, char *json) /* takes the text over */
{
    vmae_status st = json ? vmae_journal_event(journal, json) : VMAE_ENOMEM;
    free(json);
    return st;
}

static vmae_status begin(vmae_journal *journal, int number)
{
    VMAE_TRY(event(journal, vmae_format("{\"type\":\"attempt\",\"attempt\":1,\"host\":\"bench\",\"boot_id\":\"bench\","
                                        "\"pid\":%d,\"start_time\":\"2000-01-01T00:00:00Z\",\"first_step\":0,"
                                        "\"revision\":\"bench\",\"machine\":{\"cpu\":\"none\"}}",
                                        number)));
    return event(journal, vmae_format("{\"type\":\"run\",\"identity\":\"bench%059d\",\"protocol\":\"pretrain\","
                                      "\"config\":{\"seed\":\"%d\",\"model.size\":\"nano\"},\"seed\":%d,\"parents\":[],"
                                      "\"fingerprints\":{\"train\":\"none\"}}",
                                      number, number, number));
}

static vmae_status write_run(const char *path, int number, int steps)
{
    static const char *const names[METRICS] = { "loss",      "loss_recon", "loss_contrast", "lambda",   "lr",
                                                "grad_norm", "step_ms",    "images_per_s",  "mem_bytes" };
    vmae_journal *journal = NULL;
    vmae_metric metrics[METRICS];
    vmae_rng rng = vmae_rng_at(1, VMAE_RNG_TEST, 0, (uint64_t)number);
    VMAE_TRY(vmae_journal_open(&journal, path));
    vmae_status st = begin(journal, number);
    for (int step = 1; st == VMAE_OK && step <= steps; step++) {
        for (int i = 0; i < METRICS; i++)
            metrics[i] = (vmae_metric){ names[i], vmae_rng_normal(&rng) };
        st = vmae_journal_metrics(journal, step, metrics, METRICS);
    }
    if (st == VMAE_OK)
        st = event(journal,
                   vmae_format("{\"type\":\"end\",\"status\":\"done\",\"message\":\"\",\"last_step\":%d}", steps));
    const vmae_status closed = vmae_journal_close(journal);
    return st == VMAE_OK ? closed : st;
}

static vmae_status write_runs(const char *folder, int runs, int steps)
{
    vmae_status st = VMAE_OK;
    for (int i = 1; st == VMAE_OK && i <= runs; i++) {
        char *run = vmae_format("%s/bench%059d", folder, i), *path = vmae_format("%s/bench%059d/journal", folder, i);
        st = run && path ? vmae_make_folders(run) : VMAE_ENOMEM;
        if (st == VMAE_OK && vmae_path_exists(path))
            st = vmae_fail(VMAE_EUSER, "%s is there already; give a fresh folder", path);
        if (st == VMAE_OK)
            st = write_run(path, i, steps);
        free(run);
        free(path);
    }
    return st;
}

int main(int argc, char **argv)
{
    const int runs = argc > 2 ? atoi(argv[2]) : 40, steps = argc > 3 ? atoi(argv[3]) : 5000;
    if (argc < 2 || argc > 4 || runs < 1 || runs > RUNS_MAX || steps < 1 || steps > STEPS_MAX) {
        fprintf(stderr, "Usage: bench_journal FOLDER [RUNS [STEPS]]\n");
        return 2;
    }
    const double start = vmae_seconds(), values = (double)METRICS * runs * steps;
    const vmae_status st = write_runs(argv[1], runs, steps);
    if (st != VMAE_OK) {
        fprintf(stderr, "bench_journal: %s\n", vmae_error());
        return vmae_exit_code(st);
    }
    const double seconds = vmae_seconds() - start;
    printf("journal: %d runs, %d steps each, %.0f values in %.2f s: %.2f us a step, %.0f values/s\n", runs, steps,
           values, seconds, 1e6 * seconds / ((double)runs * steps), values / seconds);
    return 0;
}
