/* test_sweep_kill.c -- runners and runs killed at random moments: in the end every number is that of an undisturbed
 * sweep. */
#include "../test.h"
#include "process.h"
#include "sweep_text.h"

#include "engine/core/mem.h"
#include "engine/core/rng.h"
#include "results/results.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define METRICS   " metrics = ( { metric = \"top1\"; label = \"top-1\"; } ); "
#define WITH(...) ((const char *const[]){ __VA_ARGS__, NULL })

enum { KILLS = 24, STARTS_MAX = 200 };

static const char grids[] =
    "{ name = \"a\";" METRICS "product = { pretrain = { frames = { delta = [0, 1, 2]; }; }; }; },\n"
    "{ name = \"b\";" METRICS "product = { pretrain = { model = { pool = [\"gem\", \"mean\"]; }; }; }; }";

/* What the database makes of the journals, as text. */
static char *numbers_of(const char *root, uint64_t *rows)
{
    vmae_store *store = NULL;
    char *path = vmae_format("%s/again.db", root), *text = NULL;
    size_t count;
    FILE *out = open_memstream(&text, &count);
    vmae_ingest report = { 0 };
    CHECK_OK(vmae_store_open(&store, path, VMAE_STORE_UPDATE));
    CHECK_OK(vmae_store_ingest(store, root, &report));
    CHECK_EQ(report.damaged, 0);
    CHECK_OK(vmae_store_dump_metrics(store, NULL, out, rows));
    vmae_store_close(store);
    fclose(out);
    free(path);
    return text;
}

/* The collector of the disturbed runners must have ended with the same numbers. */
static char *collected_numbers(const char *root)
{
    vmae_store *store = NULL;
    char *path = vmae_format("%s/results.db", root), *text = NULL;
    size_t count;
    FILE *out = open_memstream(&text, &count);
    CHECK_OK(vmae_store_open(&store, path, VMAE_STORE_READ));
    CHECK_OK(vmae_store_dump_metrics(store, NULL, out, NULL));
    vmae_store_close(store);
    fclose(out);
    free(path);
    return text;
}

/* Kills the runner, or one of its runs. */
static void strike(const process *p, vmae_rng *rng)
{
    pid_t children[8];
    const size_t count = process_children(p->pid, children, 8);
    if (count > 0 && vmae_rng_below(rng, 2))
        kill(children[vmae_rng_below(rng, count)], SIGKILL);
    else
        kill(p->pid, SIGKILL);
}

TEST(a_sweep_killed_at_random_ends_with_the_numbers_of_an_undisturbed_one)
{
    const char *file = write_text(vmae_test_folder(), "kill.cfg", sweep_text(grids, "seeds = [ 1, 2 ];"));
    char *calm = vmae_format("%s/calm", vmae_test_folder());
    vmae_rng rng = vmae_rng_at(1, VMAE_RNG_TEST, 0, 0);
    uint64_t rows = 0, calm_rows = 0;
    int kills = 0, starts = 0, rounds = 0;
    CHECK_EQ(process_run("vicmae-sweep", WITH(file, "--root", calm, "train.steps=120"), NULL, NULL), 0);
    char *expected = numbers_of(calm, &calm_rows);
    CHECK(calm_rows > 1000);
    while (kills < KILLS && starts < STARTS_MAX) {
        char *root = vmae_format("%s/storm%d", vmae_test_folder(), rounds++);
        int code = -1;
        while (code != 0 && starts < STARTS_MAX) { /* until this root is finished */
            process p = process_start("vicmae-sweep", WITH(file, "--root", root, "--jobs", "2", "--keep-going",
                                                           "train.steps=120", "train.step_us=1500"));
            starts++;
            bool over = false;
            const int moment = 1 + (int)vmae_rng_below(&rng, 160);
            for (int ms = 0; ms < moment && !over; ms++, sleep_ms(1))
                over = process_is_over(&p, &code);
            const bool struck = !over && kills < KILLS;
            if (struck)
                strike(&p, &rng);
            if (!over)
                code = process_wait(&p);
            kills += struck && code != 0; /* else the blow came too late */
        }
        char *numbers = numbers_of(root, &rows), *collected = collected_numbers(root);
        CHECK_EQ(rows, calm_rows);
        CHECK(strcmp(numbers, expected) == 0);
        CHECK(strcmp(collected, expected) == 0);
        free(collected);
        free(numbers);
        free(root);
    }
    CHECK(kills >= 20);
    printf("  %d kills in %d starts, %llu values, none lost, none changed\n", kills, starts, (unsigned long long)rows);
    free(expected);
    free(calm);
}
