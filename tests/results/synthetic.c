/* synthetic.c -- invented runs. */
#include "tests/results/synthetic.h"

#include "engine/core/fs.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *synthetic_path(const char *folder, const char *name)
{
    static char paths[8][600];
    static int turn;
    char path[600]; /* the folder may lie in one of the buffers */
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return memcpy(paths[turn++ % 8], path, sizeof path);
}

const char *synthetic_folder(const char *name)
{
    static char folders[64][300];
    static int count;
    if (count == 64)
        abort(); /* a test program that wants more must say so here */
    char *folder = folders[count++];
    snprintf(folder, sizeof folders[0], "%s/%s-%d", vmae_test_folder(), name, count);
    CHECK_OK(vmae_make_folders(folder));
    return folder;
}

void synthetic_attempt(vmae_journal *journal, const synthetic_run *run, int attempt, int first_step)
{
    char text[2048], parent[200] = "";
    snprintf(text, sizeof text,
             "{\"type\":\"attempt\",\"attempt\":%d,\"host\":\"testbed\",\"boot_id\":\"b0\",\"pid\":4242,\"start_time\":"
             "\"2026-01-02T03:04:05Z\",\"start_seconds\":1767323045.25,"
             "\"first_step\":%d,\"revision\":\"abc123\",\"machine\":{\"cpu\":\"Testium 9000\",\"threads\":2}}",
             attempt, first_step);
    CHECK_OK(vmae_journal_event(journal, text));
    if (run->parent)
        snprintf(parent, sizeof parent, "\"%s\"", run->parent);
    snprintf(
        text, sizeof text,
        "{\"type\":\"run\",\"identity\":\"%s\",\"protocol\":\"%s\",\"config\":%s,\"speed\":[\"threads\",\"data_root\"],"
        "\"seed\":%d,\"parents\":[%s],"
        "\"fingerprints\":{\"train\":\"%s\"}}",
        run->identity, run->protocol, run->config ? run->config : "{}", run->seed, parent,
        run->data ? run->data : "f00d");
    CHECK_OK(vmae_journal_event(journal, text));
}

void synthetic_end(vmae_journal *journal, const char *status, const char *message, int last_step)
{
    char text[512];
    snprintf(text, sizeof text,
             "{\"type\":\"end\",\"status\":\"%s\",\"message\":\"%s\",\"last_step\":%d,"
             "\"end_seconds\":1767323093.75}",
             status, message ? message : "", last_step);
    CHECK_OK(vmae_journal_event(journal, text));
}

/* A bounded pseudo-random wiggle that depends on the identity, for curves that look like curves. */
static double wiggle(const char *identity, int step)
{
    unsigned long h = 1469598103934665603UL;
    for (const char *c = identity; *c; c++)
        h = (h ^ (unsigned char)*c) * 1099511628211UL;
    h = (h ^ (unsigned long)step * 2654435761UL) * 1099511628211UL;
    h ^= h >> 31;
    return (double)(h % 10007) / 10007.0 - 0.5;
}

static void write_steps(vmae_journal *journal, const synthetic_run *run)
{
    const bool probe = strcmp(run->protocol, "probe") == 0;
    for (int step = 1; step <= run->steps; step++) {
        const double t = (double)step / run->steps, noise = wiggle(run->identity, step);
        if (probe) {
            const double top1 = run->final_top1 * (1.0 - 0.4 * exp(-4.0 * t)) / (1.0 - 0.4 * exp(-4.0));
            const vmae_metric metrics[] = { { "loss", 2.0 * exp(-2.0 * t) + 0.5 + 0.02 * noise },
                                            { "lr", 0.1 * (1.0 - t) },
                                            { "train_top1", top1 + 0.05 },
                                            { "top1", top1 },
                                            { "top5", 1.0 - (1.0 - top1) * 0.5 },
                                            { "val_loss", 2.0 * exp(-2.0 * t) + 0.7 } };
            CHECK_OK(vmae_journal_metrics(journal, step, metrics, 6));
        } else {
            const double recon = 0.35 + 0.6 * exp(-6.0 * t) + 0.02 * noise,
                         contrast = 1.2 + 3.0 * exp(-3.0 * t) + 0.1 * noise;
            const double lambda = 0.025 * fmin(1.0, 2.0 * t);
            const vmae_metric metrics[] = { { "loss", (1.0 - lambda) * recon + lambda * contrast },
                                            { "loss_recon", recon },
                                            { "loss_contrast", contrast },
                                            { "lambda", lambda },
                                            { "lr", 1e-3 * (1.0 + cos(3.14159 * t)) / 2.0 },
                                            { "grad_norm", 1.0 + noise },
                                            { "step_ms", 260.0 + 10.0 * noise },
                                            { "images_per_s", 500.0 + noise },
                                            { "mem_bytes", 1e9 } };
            CHECK_OK(vmae_journal_metrics(journal, step, metrics, 9));
            if (step % (run->steps / 10 + 1) == 0 || step == run->steps)
                CHECK_OK(vmae_journal_metrics(
                    journal, step, &(vmae_metric){ "knn_top1", 0.2 + 0.3 * (1.0 - exp(-3.0 * t)) + 0.02 * noise }, 1));
        }
    }
}

void synthetic_write(const char *runs, const synthetic_run *run)
{
    vmae_journal *journal = NULL;
    const char *folder = synthetic_path(runs, run->identity);
    REQUIRE_OK(vmae_make_folders(folder));
    REQUIRE_OK(vmae_journal_open(&journal, synthetic_path(folder, "journal")));
    synthetic_attempt(journal, run, vmae_journal_attempts(journal) + 1, 0);
    write_steps(journal, run);
    if (run->status)
        synthetic_end(journal, run->status, run->message, run->steps);
    CHECK_OK(vmae_journal_close(journal));
    char log[200];
    const int count = snprintf(log, sizeof log, "starting\nstep 1\n%s\n", run->message ? run->message : "fine");
    CHECK_OK(vmae_write_file(synthetic_path(folder, "log.txt"), log, (size_t)count));
}

/* ---- the sweep ---- */

typedef struct sweep_grid {
    const char *name, *title, *paper, *axis, *key;
    int rows;
    const char *labels[5];
    double top1[5];
} sweep_grid;

static const sweep_grid grids[] = {
    { "a",
      "Frame separation",
      "table3a",
      "frame separation",
      "data.separation",
      5,
      { "0", "2", "4", "8", "D" },
      { 0.402, 0.421, 0.419, 0.433, 0.462 } },
    { "b", "Pooling", "table3b", "pooling", "model.pooling", 3, { "GeM", "max", "mean" }, { 0.448, 0.455, 0.462 } },
    { "c",
      "Augmentation of frames",
      "table3c",
      "augmentation",
      "data.augment",
      3,
      { "colour", "spatial", "colour + spatial" },
      { 0.431, 0.465, 0.446 } },
};

static void cell_identity(char *identity, size_t size, const char *stage, const sweep_grid *grid, int row, int seed)
{
    snprintf(identity, size, "%s%s%d%d5eed0123456789abcdef", strcmp(stage, "probe") == 0 ? "b" : "a", grid->name, row,
             seed);
}

static void write_cell(const char *runs, const sweep_grid *grid, int row, int seed)
{
    char pretrain[64], probe[64], config[200];
    const bool fails = grid->name[0] == 'a' && row == 3 && seed == 2,
               missing = grid->name[0] == 'a' && row == 3 && seed == 3;
    cell_identity(pretrain, sizeof pretrain, "pretrain", grid, row, seed);
    cell_identity(probe, sizeof probe, "probe", grid, row, seed);
    snprintf(config, sizeof config, "{\"%s\":\"%s\",\"model.mask_ratio\":\"0.75\",\"seed\":\"%d\"}", grid->key,
             grid->labels[row], seed);
    if (missing)
        return;
    synthetic_write(runs,
                    &(synthetic_run){ pretrain, "pretrain", seed, NULL, config, NULL, 400, 0.0,
                                      fails ? "diverged" : "done", fails ? "loss is not finite at step 120" : NULL });
    snprintf(config, sizeof config, "{\"probe.epochs\":\"20\",\"seed\":\"%d\"}", seed);
    const double spread = 0.012 * wiggle(probe, seed) + 0.004 * (seed - 2);
    if (!fails)
        synthetic_write(runs, &(synthetic_run){ probe, "probe", seed, pretrain, config, NULL, 20,
                                                grid->top1[row] + spread, "done", NULL });
}

static void describe_grid(FILE *out, const sweep_grid *grid)
{
    fprintf(out,
            "{\"name\":\"%s\",\"title\":\"%s\",\"paper\":\"%s\",\"axis\":\"%s\",\"stage\":\"probe\",\"metrics\":["
            "{\"metric\":\"top1\",\"paper_column\":\"top1\",\"label\":\"top-1\"},{\"metric\":\"top5\",\"paper_column\":"
            "\"top5\",\"label\":\"top-5\"}],"
            "\"rows\":[",
            grid->name, grid->title, grid->paper, grid->axis);
    for (int row = 0; row < grid->rows; row++) {
        fprintf(out, "%s{\"label\":\"%s\",\"paper_row\":%d,\"cells\":[", row ? "," : "", grid->labels[row], row + 1);
        for (int seed = 1; seed <= 3; seed++) {
            char pretrain[64], probe[64];
            cell_identity(pretrain, sizeof pretrain, "pretrain", grid, row, seed);
            cell_identity(probe, sizeof probe, "probe", grid, row, seed);
            fprintf(out, "%s{\"seed\":%d,\"runs\":{\"pretrain\":\"%s\",\"probe\":\"%s\"}}", seed > 1 ? "," : "", seed,
                    pretrain, probe);
        }
        fputs("]}", out);
    }
    fputs("]}", out);
}

void synthetic_sweep(const char *runs)
{
    char *text = NULL;
    size_t count = 0;
    FILE *out = open_memstream(&text, &count);
    fputs("{\"version\":1,\"sweep\":\"table3\",\"scale\":\"demo\",\"config\":\"sweeps/table3.cfg\",\"data\":\"shapes "
          "(procedural), 32 px\","
          "\"revision\":\"abc123\",\"overrides\":[\"data_root=/data\"],\"overrides_of_speed\":[\"data_root=/data\"],"
          "\"grids\":[",
          out);
    for (size_t g = 0; g < sizeof grids / sizeof *grids; g++) {
        for (int row = 0; row < grids[g].rows; row++)
            for (int seed = 1; seed <= 3; seed++)
                write_cell(runs, &grids[g], row, seed);
        fputs(g ? "," : "", out);
        describe_grid(out, &grids[g]);
    }
    fputs("]}", out);
    fclose(out);
    CHECK_OK(vmae_make_folders(synthetic_path(runs, "sweeps")));
    CHECK_OK(vmae_write_file(synthetic_path(runs, "sweeps/table3-demo.json"), text, count));
    free(text);
}

/* ---- files ---- */

long synthetic_size(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 ? (long)info.st_size : -1;
}

void synthetic_copy(const char *from, const char *to, long keep)
{
    char *bytes = NULL;
    size_t count = 0;
    REQUIRE_OK(vmae_read_file(from, (size_t)1 << 30, &bytes, &count));
    CHECK_OK(vmae_write_file(to, bytes, keep >= 0 && (size_t)keep < count ? (size_t)keep : count));
    free(bytes);
}
