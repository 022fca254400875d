/* fake_protocols.c -- protocols that cost nothing: `pretrain` walks a number through steps and saves it, `probe` turns
 * the saved number into a score.
 *
 * Each step's metrics are a function of the state, so a run that was killed and went on shows the same numbers only if
 * it resumed right. */
#include "experiments/run.h"

#include "engine/core/fs.h"
#include "engine/core/mem.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define END                                                                                                            \
    {                                                                                                                  \
        NULL, VMAE_BOOL, VMAE_SPEED_ONLY, NULL, 0, 0, NULL, NULL, NULL                                                 \
    }

static const vmae_option common_options[] = {
    { "seed", VMAE_INT, VMAE_IDENTITY, "1", 0, 0x1p53, NULL, NULL, "seed" },
    { "threads", VMAE_INT, VMAE_SPEED_ONLY, "0", 0, 1024, NULL, NULL, "threads" },
    { "data_root", VMAE_TEXT, VMAE_SPEED_ONLY, "", 0, 0, NULL, NULL, "folder of data" },
    { "data", VMAE_TEXT, VMAE_IDENTITY, "", 0, 0, NULL, NULL, "a file whose name is the data; '': none is needed" },
    END
};
static const vmae_option pretrain_options[] = {
    { "model.mask_ratio", VMAE_FLOAT, VMAE_IDENTITY, "0.75", 0, 0.99, NULL, NULL, "mask ratio" },
    { "model.pool", VMAE_CHOICE, VMAE_IDENTITY, "mean", 0, 0, "mean max gem cls", NULL, "pooling" },
    { "model.width", VMAE_INT, VMAE_IDENTITY, "8", 1, 1024, NULL, NULL, "width" },
    { "frames.delta", VMAE_INT, VMAE_IDENTITY, "8", 0, 1e6, NULL, "frames", "separation" },
    { "frames.width", VMAE_INT, VMAE_IDENTITY, "1", 1, 64, "frames", NULL, "width of a window" },
    { "frames.fresh", VMAE_BOOL, VMAE_IDENTITY, "true", 0, 0, NULL, NULL, "fresh pairs" },
    { "train.steps", VMAE_INT, VMAE_IDENTITY, "20", 1, 1e9, NULL, "steps", "length" },
    { "train.step_us", VMAE_INT, VMAE_SPEED_ONLY, "0", 0, 1e9, NULL, "microseconds", "how long a step takes" },
    { "train.save_every", VMAE_INT, VMAE_SPEED_ONLY, "5", 1, 1e9, NULL, "steps", "how often the state is saved" },
    { "train.fail_file", VMAE_TEXT, VMAE_SPEED_ONLY, "", 0, 0, NULL, NULL, "fail in the middle if this file exists" },
    { "train.diverge", VMAE_BOOL, VMAE_IDENTITY, "false", 0, 0, NULL, NULL, "diverge in the middle" },
    { "log.every", VMAE_INT, VMAE_SPEED_ONLY, "1", 1, 1e9, NULL, "steps", "metrics every so many steps" },
    END
};
static const vmae_option probe_options[] = {
    { "checkpoint", VMAE_TEXT, VMAE_SPEED_ONLY, "", 0, 0, NULL, NULL, "the file to score; 'random', 'pixels'" },
    { "parent", VMAE_TEXT, VMAE_IDENTITY, "", 0, 0, NULL, NULL, "filled in" },
    { "probe.epochs", VMAE_INT, VMAE_IDENTITY, "2", 1, 1e6, NULL, "epochs", "length" },
    { "probe.blr", VMAE_FLOAT, VMAE_IDENTITY, "0.1", 0, 1e6, NULL, NULL, "rate" },
    END
};

static const vmae_option *const pretrain_tables[] = { common_options, pretrain_options, NULL };
static const vmae_option *const probe_tables[] = { common_options, probe_options, NULL };

static vmae_status resolve_nothing(vmae_config *config)
{
    (void)config;
    return VMAE_OK;
}

static vmae_status resolve_pretrain(vmae_config *config)
{
    if (vmae_config_int(config, "frames.delta") == 13)
        return vmae_config_refuse(config, "frames.delta", "thirteen is unlucky");
    return VMAE_OK;
}

static vmae_status fingerprint(const vmae_config *config, vmae_hash *hash)
{
    const char *data = vmae_config_text(config, "data"), *root = vmae_config_text(config, "data_root");
    char *path = vmae_path_join(root, data);
    vmae_status st = path ? VMAE_OK : VMAE_ENOMEM;
    if (st == VMAE_OK && *data && !vmae_path_exists(path))
        st = vmae_fail(VMAE_EUSER, "there is no dataset %s", path);
    if (st == VMAE_OK)
        vmae_hash_field(hash, "data", data);
    free(path);
    return st;
}

static vmae_status estimate_pretrain(const vmae_config *config, vmae_estimate *estimate)
{
    estimate->steps = vmae_config_int(config, "train.steps");
    estimate->flops = 1e9 * (double)estimate->steps * (double)vmae_config_int(config, "model.width");
    estimate->disk_bytes = 1000;
    return VMAE_OK;
}

static vmae_status estimate_probe(const vmae_config *config, vmae_estimate *estimate)
{
    estimate->steps = vmae_config_int(config, "probe.epochs");
    estimate->flops = 1e6 * (double)estimate->steps;
    estimate->disk_bytes = 100;
    return VMAE_OK;
}

static double next_state(double state, double mask_ratio, double delta)
{
    return fmod(state * 1.618033988749895 + mask_ratio + 0.01 * delta + 0.1, 1.0);
}

static vmae_status save(const vmae_run *run, const char *name, int64_t step, double state)
{
    char text[128];
    char *path = vmae_run_path(run, name);
    snprintf(text, sizeof text, "%lld %a\n", (long long)step, state);
    const vmae_status st = path ? vmae_write_file(path, text, strlen(text)) : VMAE_ENOMEM;
    free(path);
    return st;
}

static vmae_status load(const char *path, int64_t *step, double *state)
{
    char *text = NULL;
    size_t count = 0;
    long long saved;
    VMAE_TRY(vmae_read_file(path, 1000, &text, &count));
    const bool fine = sscanf(text, "%lld %la", &saved, state) == 2;
    free(text);
    if (!fine)
        return vmae_fail(VMAE_EDATA, "%s is damaged", path);
    *step = saved;
    return VMAE_OK;
}

static vmae_status resume(const vmae_run *run, int64_t *step, double *state)
{
    char *path = vmae_run_path(run, "resume.safetensors");
    vmae_status st = path ? VMAE_OK : VMAE_ENOMEM;
    if (st == VMAE_OK && vmae_path_exists(path))
        st = load(path, step, state);
    free(path);
    return st;
}

static vmae_status one_step(vmae_run *run, int64_t step, double *state)
{
    const vmae_config *config = run->config;
    const int64_t steps = vmae_config_int(config, "train.steps"), us = vmae_config_int(config, "train.step_us");
    const char *fail_file = vmae_config_text(config, "train.fail_file");
    if (*fail_file && step == steps / 2 && vmae_path_exists(fail_file))
        return vmae_fail(VMAE_EDATA, "sample %lld of %s cannot be decoded", (long long)step, run->folder);
    if (vmae_config_bool(config, "train.diverge") && step == steps / 2)
        return vmae_fail(VMAE_EDIVERGED, "loss is nan at step %lld", (long long)step);
    struct timespec time = { us / 1000000, us % 1000000 * 1000 };
    while (us && nanosleep(&time, &time) != 0 && errno == EINTR)
        continue; /* as a real step, which no signal shortens */
    *state =
        next_state(*state, vmae_config_float(config, "model.mask_ratio"), vmae_config_float(config, "frames.delta"));
    const vmae_metric metrics[] = { { "loss", *state }, { "loss_recon", *state / 3 }, { "only_early", 1.5 * *state } };
    VMAE_TRY(vmae_run_metrics(run, step, metrics, step <= 3 ? 3 : 2));
    if (step % vmae_config_int(config, "train.save_every") == 0)
        return save(run, "resume.safetensors", step, *state);
    return VMAE_OK;
}

static vmae_status pretrain(vmae_run *run)
{
    int64_t step = 0;
    double state = fmod(0.1234 * vmae_config_float(run->config, "seed"), 1.0);
    VMAE_TRY(resume(run, &step, &state));
    VMAE_TRY(vmae_run_dataset(run, "images", "numbers", "0011"));
    VMAE_TRY(vmae_run_begin(run, step));
    const int64_t steps = vmae_config_int(run->config, "train.steps");
    while (step < steps) {
        step++;
        VMAE_TRY(one_step(run, step, &state));
        if (vmae_run_stop_requested() && step < steps) {
            VMAE_TRY(save(run, "resume.safetensors", step, state));
            return vmae_fail(VMAE_EINTERRUPTED, "asked to stop at step %lld", (long long)step);
        }
    }
    VMAE_TRY(save(run, "checkpoint.safetensors", step, state));
    return vmae_run_artefact(run, "checkpoint", "checkpoint.safetensors");
}

static vmae_status probe(vmae_run *run)
{
    int64_t step = 0;
    double state = 0.5;
    const char *checkpoint = vmae_config_text(run->config, "checkpoint");
    if (strcmp(checkpoint, "random") != 0 && strcmp(checkpoint, "pixels") != 0)
        VMAE_TRY(load(checkpoint, &step, &state));
    VMAE_TRY(vmae_run_begin(run, 0));
    const int64_t epochs = vmae_config_int(run->config, "probe.epochs");
    for (int64_t epoch = 1; epoch <= epochs; epoch++) {
        const vmae_metric metrics[] = { { "top1", state * (double)epoch / (double)epochs },
                                        { "top5", 1 - (1 - state) / 2 } };
        VMAE_TRY(vmae_run_metrics(run, epoch, metrics, 2));
    }
    return VMAE_OK;
}

static const vmae_protocol pretrain_protocol = { "pretrain",       "walks a number", pretrain_tables,   false,
                                                 resolve_pretrain, fingerprint,      estimate_pretrain, pretrain };
static const vmae_protocol probe_protocol = { "probe",         "scores a number", probe_tables,   true,
                                              resolve_nothing, fingerprint,       estimate_probe, probe };
static const vmae_protocol *const protocols[] = { &pretrain_protocol, &probe_protocol };

const vmae_protocol *vmae_protocol_find(const char *name)
{
    for (size_t i = 0; i < 2; i++)
        if (strcmp(protocols[i]->name, name) == 0)
            return protocols[i];
    return NULL;
}

const vmae_protocol *const *vmae_protocol_all(size_t *count)
{
    *count = 2;
    return protocols;
}
