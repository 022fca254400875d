/* pretrain.c -- the pre-training protocol: ViC-MAE on images, frames, or both (paper sec. 3 and 4; recipes.md sec. 1).
 */
#include "experiments/pretrain.h"

#include "engine/core/log.h"
#include "engine/core/mem.h"
#include "engine/core/text.h"
#include "experiments/dataset_facts.h"
#include "experiments/history.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const vmae_option *const tables[] = { vmae_common_options, vmae_model_options, vmae_pretrain_options, NULL };

/* ---- before a run ---- */

static bool is_none(const vmae_config *config, const char *kind)
{
    return strcmp(vmae_config_text(config, kind), "none") == 0;
}

/* A window too short for the separation makes every clip a bad one. */
static vmae_status check_frames(const vmae_config *config)
{
    const bool distant = strcmp(vmae_config_text(config, "frames.sampling"), "distant") == 0;
    const int64_t window = vmae_config_int(config, "frames.window"),
                  needed = distant ? 2 : vmae_config_int(config, "frames.delta") + 1;
    if (window == 0 || window >= needed)
        return VMAE_OK;
    return vmae_config_refuse(config, "frames.window", "%s sampling%s needs a window of at least %lld frames, or 0",
                              vmae_config_text(config, "frames.sampling"), distant ? "" : " with this frames.delta",
                              (long long)needed);
}

static vmae_status check_augmentation(const vmae_config *config)
{
    static const char *const ranges[][2] = {
        { "augment.frames.crop_area_min", "augment.frames.crop_area_max" },
        { "augment.images.crop_area_min", "augment.images.crop_area_max" },
        { "augment.frames.blur_sigma_min", "augment.frames.blur_sigma_max" },
        { "augment.images.blur_sigma_min", "augment.images.blur_sigma_max" },
    };
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (vmae_config_float(config, ranges[i][0]) > vmae_config_float(config, ranges[i][1]))
            return vmae_config_refuse(config, ranges[i][0], "it must not exceed %s, %g", ranges[i][1],
                                      vmae_config_float(config, ranges[i][1]));
    return VMAE_OK;
}

static vmae_status pretrain_resolve(vmae_config *config)
{
    const double image_ratio = vmae_config_float(config, "data.image_ratio");
    const int64_t batch = vmae_config_int(config, "train.batch"),
                  ranks = vmae_config_int(config, "loss.positive_ranks");
    if (is_none(config, "data.images.kind") && is_none(config, "data.videos.kind"))
        return vmae_config_refuse(config, "data.videos.kind",
                                  "pre-training needs data: set data.images.* or data.videos.* or both");
    if ((is_none(config, "data.images.kind") && image_ratio == 1.0) ||
        (is_none(config, "data.videos.kind") && image_ratio == 0.0))
        return vmae_config_refuse(config, "data.image_ratio", "but the only data given are of the other kind");
    if (batch % ranks != 0 || batch / ranks < 1)
        return vmae_config_refuse(config, "loss.positive_ranks", "train.batch, %lld, must be a multiple of it",
                                  (long long)batch);
    if (vmae_config_float(config, "loss.lambda_until") < vmae_config_float(config, "loss.lambda_from"))
        return vmae_config_refuse(config, "loss.lambda_until",
                                  "the ramp of lambda would end before it starts, at epoch %g",
                                  vmae_config_float(config, "loss.lambda_from"));
    VMAE_TRY(check_frames(config));
    VMAE_TRY(check_augmentation(config));
    VMAE_TRY(vmae_options_resolve_model(config));
    return vmae_options_resolve_precision(config);
}

/* Calls back with the facts of every dataset that the config uses. */
static vmae_status each_dataset(const vmae_config *config, vmae_hash *hash, int64_t *samples)
{
    const double ratio = vmae_config_float(config, "data.image_ratio");
    const struct {
        const char *prefix, *kind, *split, *role;
        bool used, trains;
    } all[] = { { "data.images", "data.images.kind", NULL, "images", ratio > 0.0, true },
                { "data.videos", "data.videos.kind", NULL, "videos", ratio < 1.0, true },
                { "monitor", "monitor.kind", "train", "monitor.bank", true, false },
                { "monitor", "monitor.kind", NULL, "monitor", true, false } };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        vmae_dataset_spec spec;
        vmae_dataset_facts facts;
        char *path = NULL;
        if (is_none(config, all[i].kind) || !all[i].used)
            continue;
        vmae_status st = vmae_options_dataset(config, all[i].prefix, all[i].split, &spec, &path);
        if (st == VMAE_OK && hash)
            st = vmae_dataset_identify(&spec, all[i].role, hash);
        if (st == VMAE_OK && samples && all[i].trains && (st = vmae_dataset_facts_of(&spec, &facts)) == VMAE_OK)
            *samples += facts.count;
        free(path);
        if (st != VMAE_OK)
            return vmae_fail_in(st, "%s: %s", vmae_config_origin(config, all[i].kind), all[i].prefix);
    }
    return VMAE_OK;
}

static vmae_status pretrain_fingerprint(const vmae_config *config, vmae_hash *hash)
{
    return each_dataset(config, hash, NULL);
}

static double block_flops(double tokens, double d, double hidden)
{
    return 2.0 * tokens * (4.0 * d * d + 2.0 * d * hidden) + 4.0 * tokens * tokens * d;
}

/* Three times the forward pass's matrix products (design.md, end). */
static vmae_status pretrain_estimate(const vmae_config *config, vmae_estimate *estimate)
{
    vmae_model_config m;
    int64_t samples = 0;
    VMAE_TRY(each_dataset(config, NULL, &samples));
    vmae_options_model(config, &m);
    const double patches = (double)vmae_model_patches(&m), keep = (double)vmae_model_keep(&m), d = (double)m.dim,
                 dd = (double)m.decoder_dim, values = 3.0 * (double)(m.patch_size * m.patch_size),
                 hidden = (double)m.projector_hidden;
    const double image = (double)m.depth * block_flops(keep + 1, d, (double)m.mlp_hidden) +
                         (double)m.decoder_depth * block_flops(patches + 1, dd, (double)m.decoder_mlp_hidden) +
                         2.0 * (keep * values * d + (keep + 1) * d * dd + (patches + 1) * dd * values) +
                         2.0 * (d * hidden + hidden * hidden + hidden * (double)m.projector_out);
    const vmae_pretrain_length length = vmae_pretrain_length_of(config, samples);
    const double passes = (double)length.steps * (double)vmae_config_int(config, "train.accum_iter");
    const double numbers = (double)m.depth * (4.0 * d * d + 2.0 * d * (double)m.mlp_hidden) +
                           (double)m.decoder_depth * (4.0 * dd * dd + 2.0 * dd * (double)m.decoder_mlp_hidden) +
                           d * hidden + hidden * hidden;
    *estimate = (vmae_estimate){ .steps = length.steps,
                                 .flops = passes * 3.0 * 2.0 * (double)vmae_config_int(config, "train.batch") * image,
                                 .disk_bytes = 4.0 * numbers + 200.0 * (double)length.steps };
    return VMAE_OK;
}

/* ---- a run ---- */

typedef struct session {
    vmae_run *run;
    const vmae_config *config;
    vmae_trainer trainer;
    vmae_pretrain_data data;
    vmae_pretrain_length length;
    vmae_loader *loader;
    vmae_schedule schedule;
    vmae_ramp ramp;
    char *resume_path, *checkpoint_path;
    vmae_dataset *bank, *queries; /* of the monitor; NULL without one */
    vmae_classes classes;         /* theirs */
    double roof;                  /* GFLOP/s */
    double waited;                /* loader seconds accounted for */
    int64_t skipped;              /* bad samples journalled */
    int64_t every_checkpoint, every_monitor, every_log;
} session;

static int64_t steps_of(const session *s, const char *option)
{
    const double steps = vmae_config_float(s->config, option) * (double)s->length.epoch_steps;
    return steps < 1.0 ? 1 : steps > 1e15 ? (int64_t)1e15 : (int64_t)llround(steps);
}

static vmae_status open_monitor(session *s)
{
    if (is_none(s->config, "monitor.kind"))
        return VMAE_OK;
    VMAE_TRY(vmae_options_open_dataset(s->config, "monitor", "train", &s->bank));
    VMAE_TRY(vmae_options_open_dataset(s->config, "monitor", NULL, &s->queries));
    const vmae_status st = vmae_classes_match(&s->classes, s->bank, s->queries);
    if (st != VMAE_OK)
        return vmae_fail_in(st, "%s: monitor", vmae_config_origin(s->config, "monitor.kind"));
    return vmae_run_dataset(s->run, "monitor", s->queries->description, s->queries->fingerprint);
}

static vmae_status open_data(session *s)
{
    VMAE_TRY(vmae_pretrain_data_open(&s->data, s->config));
    for (int i = 0; i < s->data.source_count; i++) {
        const vmae_dataset *dataset = s->data.sources[i].dataset;
        log_info("data: %s (%d of a batch)", dataset->description, s->data.sources[i].batch);
        VMAE_TRY(vmae_run_dataset(s->run, dataset->media == VMAE_IMAGES ? "images" : "videos", dataset->description,
                                  dataset->fingerprint));
    }
    s->length = vmae_pretrain_length_of(s->config, s->data.samples);
    return open_monitor(s);
}

static vmae_status read_history(const session *s, vmae_history *history)
{
    char *journal = vmae_run_path(s->run, "journal");
    const vmae_status st = journal ? vmae_history_read(history, journal) : VMAE_ENOMEM;
    free(journal);
    return st;
}

static bool is_source(const session *s, const char *dataset)
{
    char shown[1024]; /* as it stands in the journal */
    for (int i = 0; i < s->data.source_count; i++) {
        vmae_display_text(shown, sizeof shown, s->data.sources[i].dataset->description);
        if (strcmp(shown, dataset) == 0)
            return true;
    }
    return false;
}

/* What attempts that were cut off have skipped counts against the limit of this one: a run with too many bad samples
 * fails, however often it was interrupted. */
static vmae_status start_loader(session *s, int64_t first_step)
{
    vmae_history history = { 0 };
    vmae_status st = read_history(s, &history);
    vmae_known_bad *known = st == VMAE_OK ? vmae_calloc(history.skipped_count, sizeof *known) : NULL;
    int64_t known_count = 0;
    if (st == VMAE_OK && !known)
        st = VMAE_ENOMEM;
    for (size_t i = 0; st == VMAE_OK && i < history.skipped_count; i++)
        if (is_source(s, history.skipped[i].dataset))
            known[known_count++] = (vmae_known_bad){ history.skipped[i].dataset, history.skipped[i].sample };
    const vmae_loader_spec spec = { .known_bad = known,
                                    .known_bad_count = known_count,
                                    .sources = s->data.sources,
                                    .source_count = s->data.source_count,
                                    .pairs = true,
                                    .records = s->trainer.images.records,
                                    .shuffle = true,
                                    .seed = (uint64_t)s->trainer.seed,
                                    .first_step = first_step * s->trainer.accum,
                                    .threads = (int)vmae_config_int(s->config, "loader.threads"),
                                    .prefetch = (int)vmae_config_int(s->config, "loader.prefetch"),
                                    .bad_limit = vmae_config_int(s->config, "loader.bad_limit") };
    if (st == VMAE_OK)
        st = vmae_loader_start(&s->loader, &spec);
    free(known);
    vmae_history_release(&history);
    return st;
}

/* The export first: it is newer than any state. */
static vmae_status find_state(session *s, int64_t *first_step)
{
    const vmae_state state = vmae_trainer_state(&s->trainer);
    bool finished = false;
    VMAE_TRY(vmae_state_reload(&state, s->checkpoint_path, s->run->identity, s->length.steps, &finished));
    *first_step = s->length.steps;
    if (finished)
        return VMAE_OK;
    VMAE_TRY(vmae_state_restore(&state, s->resume_path, first_step));
    if (*first_step < 0)
        *first_step = 0;
    return VMAE_OK;
}

static vmae_status session_open(session *s, vmae_run *run, int64_t *first_step)
{
    const vmae_config *config = run->config;
    s->run = run;
    s->config = config;
    VMAE_TRY(open_data(s));
    VMAE_TRY(vmae_trainer_open(&s->trainer, config, NULL));
    VMAE_TRY(vmae_record_device(run, s->trainer.be));
    const double batch = (double)(s->trainer.pairs * s->trainer.accum);
    s->schedule = (vmae_schedule){ .lr = vmae_config_float(config, "train.blr") * batch / 256.0,
                                   .min_lr = vmae_config_float(config, "train.min_lr"),
                                   .warmup_epochs = vmae_config_float(config, "train.warmup_epochs"),
                                   .epochs = vmae_config_float(config, "train.epochs") };
    s->ramp = (vmae_ramp){ .from = 0.0,
                           .to = vmae_config_float(config, "loss.lambda"),
                           .begin = vmae_config_float(config, "loss.lambda_from"),
                           .end = vmae_config_float(config, "loss.lambda_until") };
    s->every_checkpoint = steps_of(s, "checkpoint.every");
    s->every_monitor = steps_of(s, "monitor.every");
    s->every_log = vmae_config_int(config, "log.every");
    if (!(s->resume_path = vmae_run_path(run, "resume.safetensors")) ||
        !(s->checkpoint_path = vmae_run_path(run, "checkpoint.safetensors")))
        return VMAE_ENOMEM;
    VMAE_TRY(find_state(s, first_step));
    VMAE_TRY(vmae_measure_roof(s->trainer.be, s->trainer.precision, &s->roof));
    log_info("%s, %s; %.1f M parameters, %.2f GFLOP and %.0f MiB a pass; roof %.0f GFLOP/s", s->trainer.be->description,
             vmae_type_name(s->trainer.precision), (double)vmae_params_numbers(s->trainer.params) / 1e6,
             s->trainer.flops / 1e9, (double)vmae_graph_memory(s->trainer.g) / 0x1p20, s->roof);
    return start_loader(s, *first_step);
}

static void session_close(session *s)
{
    vmae_loader_stop(s->loader);
    vmae_trainer_close(&s->trainer);
    vmae_pretrain_data_close(&s->data);
    vmae_dataset_close(s->bank);
    vmae_dataset_close(s->queries);
    vmae_classes_release(&s->classes);
    free(s->resume_path);
    free(s->checkpoint_path);
}

static double resident_bytes(void)
{
    long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file)
        return 0.0;
    const int got = fscanf(file, "%ld %ld", &pages, &resident);
    fclose(file);
    return got == 2 ? (double)resident * (double)sysconf(_SC_PAGESIZE) : 0.0;
}

/* ---- one optimiser step ---- */

typedef struct step_result {
    vmae_losses losses; /* mean over the accumulated passes */
    double lambda, lr, grad_norm, seconds, waited;
} step_result;

static vmae_status train_step(session *s, int64_t step, step_result *result)
{
    const vmae_trainer *t = &s->trainer;
    const double epoch = (double)step / (double)s->length.epoch_steps, start = vmae_seconds();
    *result = (step_result){ .lambda = vmae_lambda_at(&s->ramp, epoch), .lr = vmae_lr_at(&s->schedule, epoch) };
    for (int64_t i = 0; i < t->accum; i++) {
        const vmae_batch *batch;
        vmae_losses losses;
        VMAE_TRY(vmae_loader_next(s->loader, &batch));
        VMAE_TRY(vmae_trainer_images(&s->trainer, batch));
        VMAE_TRY(vmae_trainer_pass(&s->trainer, step * t->accum + i, vmae_config_float(s->config, "loss.recon_weight"),
                                   result->lambda, i > 0, vmae_loader_peek(s->loader), &losses));
        result->losses.total += losses.total / (double)t->accum;
        result->losses.recon += losses.recon / (double)t->accum;
        result->losses.contrast += losses.contrast / (double)t->accum;
    }
    VMAE_TRY(vmae_trainer_step(&s->trainer, result->lr, &result->grad_norm));
    const double waited = vmae_loader_waited(s->loader);
    result->waited = waited - s->waited;
    s->waited = waited;
    result->seconds = vmae_seconds() - start;
    return VMAE_OK;
}

static vmae_status journal_step(session *s, int64_t step, const step_result *r)
{
    const double images = 2.0 * (double)(s->trainer.pairs * s->trainer.accum),
                 gflops = s->trainer.flops * (double)s->trainer.accum / r->seconds / 1e9;
    const vmae_metric metrics[] = { { "loss", r->losses.total },
                                    { "loss_recon", r->losses.recon },
                                    { "loss_contrast", r->losses.contrast },
                                    { "lambda", r->lambda },
                                    { "lr", r->lr },
                                    { "grad_norm", r->grad_norm },
                                    { "step_ms", 1e3 * r->seconds },
                                    { "images_per_s", images / r->seconds },
                                    { "gflops_per_s", gflops },
                                    { "roof_fraction", gflops / s->roof },
                                    { "loader_wait_fraction", r->waited / r->seconds },
                                    { "mem_bytes", resident_bytes() } };
    VMAE_TRY(vmae_record_skipped(s->run, s->loader, &s->skipped, VMAE_OK));
    if (step % s->every_log != 0 && step != s->length.steps)
        return VMAE_OK;
    return vmae_run_metrics(s->run, step, metrics, sizeof metrics / sizeof *metrics);
}

/* kNN on the monitor's labelled images with the encoder as it is now. */
static vmae_status monitor(session *s, int64_t step)
{
    vmae_features bank = { 0 }, queries = { 0 };
    double top1, top5;
    const vmae_encoder encoder = { .be = s->trainer.be,
                                   .params = s->trainer.params,
                                   .model = s->trainer.config,
                                   .precision = s->trainer.precision,
                                   .borrowed = true };
    vmae_feature_pass pass = { .dataset = s->bank,
                               .classes = s->classes.count,
                               .augment = vmae_options_evaluation(s->trainer.config.image_size),
                               .records = s->trainer.images.records,
                               .pool = VMAE_POOL_MEAN,
                               .batch = 256,
                               .limit = vmae_config_int(s->config, "monitor.bank"),
                               .shuffle = true,
                               .seed = (uint64_t)s->trainer.seed,
                               .threads = (int)vmae_config_int(s->config, "loader.threads"),
                               .prefetch = 2,
                               .bad_limit = vmae_config_int(s->config, "loader.bad_limit") };
    vmae_status st = vmae_extract_features(&encoder, &pass, s->run, &bank);
    pass.dataset = s->queries;
    pass.relabel = s->classes.relabel;
    if (st == VMAE_OK)
        st = vmae_extract_features(&encoder, &pass, s->run, &queries);
    if (st == VMAE_OK)
        st = vmae_knn_classify(&bank, &queries, 20, 0.07, &top1, &top5, NULL);
    if (st == VMAE_OK) {
        const vmae_metric metrics[] = { { "knn_top1", top1 } };
        log_info("step %lld: kNN top-1 %.2f %%", (long long)step, 100 * top1);
        st = vmae_run_metrics(s->run, step, metrics, 1);
    }
    vmae_features_release(&bank);
    vmae_features_release(&queries);
    return st;
}

/* The journal goes first: what is resumed from must not be newer than the metrics that lead to it. */
static vmae_status save(session *s, int64_t step)
{
    VMAE_TRY(vmae_journal_sync(s->run->journal));
    const vmae_state state = vmae_trainer_state(&s->trainer);
    return vmae_state_save(&state, s->resume_path, s->run->identity, step);
}

static bool monitor_is_due(const session *s, int64_t step)
{
    return s->bank && step > 0 && (step % s->every_monitor == 0 || step == s->length.steps);
}

/* A stop between a step and its monitor leaves a state without it: the next attempt owes it. What an earlier attempt
 * has journalled stands. */
static vmae_status monitor_owed(session *s, int64_t step)
{
    vmae_history history = { 0 };
    bool owed = true;
    if (!monitor_is_due(s, step))
        return VMAE_OK;
    const vmae_status st = read_history(s, &history);
    for (size_t i = 0; i < history.metric_count; i++)
        if (strcmp(history.metrics[i].name, "knn_top1") == 0)
            owed = history.metrics[i].step < step;
    vmae_history_release(&history);
    return st == VMAE_OK && owed ? monitor(s, step) : st;
}

/* Steps and their monitors; *step is the last that is finished. VMAE_EINTERRUPTED: it is to be saved. */
static vmae_status take_steps(session *s, vmae_progress *progress, int64_t *step)
{
    VMAE_TRY(monitor_owed(s, *step));
    while (*step < s->length.steps) {
        step_result result;
        const vmae_status st = train_step(s, *step, &result);
        if (st != VMAE_OK)
            return vmae_fail_in(vmae_record_skipped(s->run, s->loader, &s->skipped, st), "step %lld", (long long)*step);
        ++*step;
        VMAE_TRY(journal_step(s, *step, &result));
        vmae_progress_step(progress, *step, "loss %.4f = recon %.4f + %.3g x %.4f, %.0f images/s", result.losses.total,
                           result.losses.recon, result.lambda, result.losses.contrast,
                           2.0 * (double)(s->trainer.pairs * s->trainer.accum) / result.seconds);
        const bool last = *step == s->length.steps, due = monitor_is_due(s, *step);
        if (vmae_run_stop_requested() && (due || !last)) /* what is left of the last step is too short to leave */
            return VMAE_EINTERRUPTED;
        if (due)
            VMAE_TRY(monitor(s, *step));
        if (*step % s->every_checkpoint == 0 && !last)
            VMAE_TRY(save(s, *step));
    }
    return VMAE_OK;
}

static vmae_status train(session *s, int64_t first_step)
{
    vmae_progress progress;
    int64_t step = first_step;
    vmae_progress_begin(&progress, "pretrain", first_step, s->length.steps);
    const vmae_status st = take_steps(s, &progress, &step);
    if (st != VMAE_OK && st != VMAE_EINTERRUPTED)
        return st;
    vmae_progress_end(&progress);
    if (st == VMAE_OK)
        return VMAE_OK;
    if (step > first_step)
        VMAE_TRY(save(s, step));
    return vmae_fail(VMAE_EINTERRUPTED, "interrupted; saved at step %lld of %lld: the same command goes on from there",
                     (long long)step, (long long)s->length.steps);
}

/* The journal first, as in save(): what is finished is not trained again for metrics that a power cut took. */
static vmae_status finish(session *s)
{
    const vmae_state state = vmae_trainer_state(&s->trainer);
    VMAE_TRY(vmae_journal_sync(s->run->journal));
    VMAE_TRY(vmae_state_export(&state, s->checkpoint_path, s->run->identity, s->length.steps));
    return vmae_run_artefact(s->run, "checkpoint", "checkpoint.safetensors");
}

static vmae_status pretrain_run(vmae_run *run)
{
    session s = { 0 };
    int64_t first_step = 0;
    vmae_status st = session_open(&s, run, &first_step);
    if (st == VMAE_OK)
        st = vmae_run_begin(run, first_step);
    if (st == VMAE_OK)
        st = train(&s, first_step);
    if (st == VMAE_OK)
        st = finish(&s);
    session_close(&s);
    return st;
}

extern const vmae_protocol vmae_protocol_pretrain;
const vmae_protocol vmae_protocol_pretrain = { "pretrain",
                                               "Pre-train ViC-MAE on images, videos, or both",
                                               tables,
                                               false,
                                               pretrain_resolve,
                                               pretrain_fingerprint,
                                               pretrain_estimate,
                                               pretrain_run };
