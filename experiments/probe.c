/* probe.c -- the linear probe: a frozen encoder, BatchNorm without affine, one linear layer (MAE's protocol,
 * recipes.md 2.2). */
#include "experiments/evaluate.h"
#include "experiments/state.h"

#include "engine/core/log.h"
#include "engine/core/mem.h"
#include "engine/core/rng.h"
#include "engine/optim/schedule.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const vmae_option *const tables[] = { vmae_common_options, vmae_model_options, vmae_eval_options,
                                             vmae_probe_options, NULL };

#define HEAD_EPS      1e-6f /* of the BatchNorm in front of the classifier; not PyTorch's default */
#define HEAD_MOMENTUM 0.1f

/* The classifier on features, for batches of `rows`: a graph to train, and one to score. */
typedef struct head {
    vmae_backend *be; /* the encoder's */
    vmae_params *params;
    vmae_optimizer *optimizer;
    vmae_graph *train, *score;
    vmae_tensor *x, *labels, *loss, *train_logits, *score_x, *logits;
    int64_t rows, score_rows, dim, classes;
} head;

static void head_close(head *h)
{
    vmae_graph_free(h->train);
    vmae_graph_free(h->score);
    vmae_optimizer_free(h->optimizer);
    vmae_params_free(h->params);
}

/* N(0, 0.01): timm's trunc_normal_ cuts at +-2, which is 200 standard deviations here. */
static void init_weight(float *weight, int64_t count, uint64_t seed)
{
    vmae_rng rng = vmae_rng_at(seed, VMAE_RNG_INIT, 0, vmae_hash_name("head.1.weight") >> 16);
    for (int64_t i = 0; i < count; i++)
        weight[i] = 0.01f * vmae_rng_normal(&rng);
}

static vmae_status declare(head *h, uint64_t seed)
{
    VMAE_TRY(vmae_params_add(h->params, "head.1.weight", VMAE_SHAPE(h->classes, h->dim), true));
    VMAE_TRY(vmae_params_add(h->params, "head.1.bias", VMAE_SHAPE(h->classes), true));
    VMAE_TRY(vmae_params_add(h->params, "head.0.running_mean", VMAE_SHAPE(h->dim), false));
    VMAE_TRY(vmae_params_add(h->params, "head.0.running_var", VMAE_SHAPE(h->dim), false));
    VMAE_TRY(vmae_params_allocate(h->params, h->be, true, false));
    const int64_t count = h->classes * h->dim;
    float *values = vmae_calloc((size_t)count, sizeof *values);
    if (!values)
        return VMAE_ENOMEM;
    init_weight(values, count, seed);
    vmae_status st = vmae_params_write(h->params, vmae_params_find(h->params, "head.1.weight"), values);
    for (int64_t i = 0; i < h->dim; i++)
        values[i] = 1.0f;
    if (st == VMAE_OK)
        st = vmae_params_write(h->params, vmae_params_find(h->params, "head.0.running_var"), values);
    free(values);
    return st;
}

static vmae_tensor *record_logits(const head *h, vmae_graph *g, vmae_tensor *x, bool training)
{
    vmae_tensor *mean = vmae_use_param(g, h->params, "head.0.running_mean", VMAE_F32),
                *var = vmae_use_param(g, h->params, "head.0.running_var", VMAE_F32);
    vmae_tensor *normed = training ? vmae_batch_norm(g, x, NULL, NULL, mean, var, 1, HEAD_EPS, HEAD_MOMENTUM, false)
                                   : vmae_batch_norm_infer(g, x, NULL, NULL, mean, var, HEAD_EPS, false);
    return vmae_linear(g, normed, vmae_use_param(g, h->params, "head.1.weight", VMAE_F32),
                       vmae_use_param(g, h->params, "head.1.bias", VMAE_F32), NULL, VMAE_F32);
}

static vmae_status head_open(head *h, const vmae_evaluation *e, const vmae_config *config)
{
    vmae_backend *be = e->encoder.be;
    const bool lars = strcmp(vmae_config_text(config, "probe.optimizer"), "lars") == 0;
    const vmae_optimizer_config optimizer = { .method = lars ? VMAE_LARS : VMAE_SGD,
                                              .weight_decay = vmae_config_float(config, "probe.weight_decay"),
                                              .momentum = vmae_config_float(config, "probe.momentum"),
                                              .trust = 0.001 };
    const int64_t batch = vmae_config_int(config, "probe.batch");
    h->be = be;
    h->rows = batch < e->train->count ? batch : e->train->count;
    h->score_rows = e->val->count < 1024 ? e->val->count : 1024;
    h->dim = vmae_feature_width(&e->encoder);
    h->classes = e->classes.count;
    if (h->rows < 2)
        return vmae_fail(VMAE_EUSER, "the training split has %lld images; BatchNorm needs at least 2",
                         (long long)e->train->count);
    if (!(h->params = vmae_params_new()) || !(h->train = vmae_graph_new(be, VMAE_F32)) ||
        !(h->score = vmae_graph_new(be, VMAE_F32)))
        return VMAE_ENOMEM;
    VMAE_TRY(declare(h, (uint64_t)vmae_config_int(config, "seed")));
    VMAE_TRY(vmae_optimizer_new(&h->optimizer, be, h->params, &optimizer));
    h->x = vmae_input(h->train, "features", VMAE_F32, VMAE_SHAPE(h->rows, h->dim));
    h->labels = vmae_input(h->train, "labels", VMAE_I32, VMAE_SHAPE(h->rows));
    h->train_logits = vmae_keep(record_logits(h, h->train, h->x, true));
    h->loss = vmae_keep(vmae_cross_entropy(h->train, h->train_logits, h->labels, NULL, 0.0f));
    VMAE_TRY(vmae_graph_backward(h->train, h->loss));
    VMAE_TRY(vmae_graph_plan(h->train));
    h->score_x = vmae_input(h->score, "features", VMAE_F32, VMAE_SHAPE(h->score_rows, h->dim));
    h->logits = vmae_keep(record_logits(h, h->score, h->score_x, false));
    return vmae_graph_plan(h->score);
}

/* ---- scoring ---- */

typedef struct score {
    double top1, top5, loss;
} score;

static double negative_log_likelihood(const float *logits, int64_t classes, int32_t label)
{
    double largest = -INFINITY, sum = 0.0;
    for (int64_t c = 0; c < classes; c++)
        largest = fmax(largest, logits[c]);
    for (int64_t c = 0; c < classes; c++)
        sum += exp(logits[c] - largest);
    return log(sum) + largest - logits[label];
}

static vmae_status score_features(head *h, const vmae_features *f, score *result)
{
    const int64_t classes = h->classes;
    int64_t first = 0, five = 0;
    float *in = vmae_calloc((size_t)(h->score_rows * h->dim), sizeof *in),
          *out = vmae_calloc((size_t)(h->score_rows * classes), sizeof *out);
    vmae_status st = in && out ? VMAE_OK : VMAE_ENOMEM;
    *result = (score){ 0 };
    for (int64_t from = 0; st == VMAE_OK && from < f->count; from += h->score_rows) {
        const int64_t count = h->score_rows < f->count - from ? h->score_rows : f->count - from;
        int64_t top1, top5;
        memcpy(in, f->values + from * h->dim, (size_t)(count * h->dim) * sizeof *in);
        if ((st = vmae_tensor_write(h->score, h->score_x, in, h->score_rows * h->dim)) != VMAE_OK ||
            (st = vmae_graph_run(h->score, false)) != VMAE_OK ||
            (st = vmae_tensor_read(h->score, h->logits, out, h->score_rows * classes)) != VMAE_OK)
            break;
        vmae_count_top(out, f->labels + from, count, classes, &top1, &top5);
        first += top1;
        five += top5;
        for (int64_t i = 0; i < count; i++)
            result->loss += negative_log_likelihood(out + i * classes, classes, f->labels[from + i]) / (double)f->count;
    }
    result->top1 = (double)first / (double)f->count;
    result->top5 = (double)five / (double)f->count;
    free(in);
    free(out);
    return st;
}

/* ---- training ---- */

typedef struct session {
    vmae_run *run;
    const vmae_config *config;
    vmae_evaluation evaluation;
    vmae_features train, val;
    head head;
    float *x; /* host: one batch */
    int32_t *labels;
    float *logits;
    int64_t first_epoch, epochs, epoch_steps;
    char *resume_path; /* NULL: the features are cached, and the probe is short enough to start again */
} session;

/* With augmentation the training features are new in every epoch. */
static vmae_status training_features(session *s, int64_t epoch)
{
    vmae_feature_pass pass = vmae_evaluation_pass(&s->evaluation, s->config, true);
    if (!vmae_config_bool(s->config, "probe.augment") && s->train.values)
        return VMAE_OK;
    if (vmae_config_bool(s->config, "probe.augment")) {
        pass.augment.crop = pass.augment.crop_once = pass.augment.flip =
            true; /* one draw without retries (recipes.md 2.2) */
        pass.augment.crop_area_min = 0.08f;
        pass.augment.crop_area_max = 1.0f;
        pass.seed = (uint64_t)vmae_config_int(s->config, "seed") + ((uint64_t)epoch << 32);
        pass.what = epoch == s->first_epoch ? pass.what : NULL;
    }
    vmae_features_release(&s->train);
    return vmae_extract_features(&s->evaluation.encoder, &pass, s->run, &s->train);
}

static vmae_status train_step(session *s, int64_t step, double lr, double *loss, int64_t *right)
{
    head *h = &s->head;
    int64_t top5;
    double norm;
    float value;
    for (int64_t i = 0; i < h->rows; i++) {
        uint32_t epoch;
        int64_t index;
        vmae_order_at((uint64_t)vmae_config_int(s->config, "seed"), s->train.count, true,
                      (uint64_t)(step * h->rows + i), &epoch, &index);
        memcpy(s->x + i * h->dim, s->train.values + index * h->dim, (size_t)h->dim * sizeof *s->x);
        s->labels[i] = s->train.labels[index];
    }
    VMAE_TRY(vmae_tensor_write(h->train, h->x, s->x, h->rows * h->dim));
    VMAE_TRY(vmae_tensor_write(h->train, h->labels, s->labels, h->rows));
    VMAE_TRY(vmae_graph_run(h->train, false));
    VMAE_TRY(vmae_tensor_read(h->train, h->loss, &value, 1));
    VMAE_TRY(vmae_tensor_read(h->train, h->train_logits, s->logits, h->rows * h->classes));
    vmae_count_top(s->logits, s->labels, h->rows, h->classes, right, &top5);
    *loss = value;
    return vmae_optimizer_step(h->optimizer, lr, 1.0, &norm);
}

static vmae_status train_epoch(session *s, int64_t epoch, const vmae_schedule *schedule, double *loss, double *accuracy,
                               double *lr)
{
    double sum = 0.0;
    int64_t right = 0;
    VMAE_TRY(training_features(s, epoch));
    for (int64_t i = 0; i < s->epoch_steps; i++) {
        const int64_t step = epoch * s->epoch_steps + i;
        double one;
        int64_t good;
        *lr = vmae_lr_at(schedule, (double)step / (double)s->epoch_steps);
        const vmae_status st = train_step(s, step, *lr, &one, &good);
        if (st != VMAE_OK)
            return vmae_fail_in(st, "probe, step %lld", (long long)step);
        sum += one;
        right += good;
    }
    *loss = sum / (double)s->epoch_steps;
    *accuracy = (double)right / (double)(s->epoch_steps * s->head.rows);
    return VMAE_OK;
}

static vmae_state state_of(const session *s)
{
    return (vmae_state){ .params = s->head.params, .optimizer = s->head.optimizer, .batches_a_step = 1 };
}

static vmae_status save(const session *s, int64_t epochs)
{
    const vmae_state state = state_of(s);
    if (!s->resume_path)
        return VMAE_OK;
    VMAE_TRY(vmae_journal_sync(s->run->journal)); /* what is resumed from must not be newer than its metrics */
    return vmae_state_save(&state, s->resume_path, s->run->identity, epochs * s->epoch_steps);
}

/* An epoch with its metrics; after the last, and every so often, with the validation split's. */
static vmae_status run_epoch(session *s, int64_t epoch, const vmae_schedule *schedule, vmae_progress *progress)
{
    const double every = vmae_config_float(s->config, "probe.eval_every");
    const bool last = epoch + 1 == s->epochs,
               scored = last || floor((double)(epoch + 1) / every) > floor((double)epoch / every);
    double loss = 0.0, accuracy = 0.0, lr = 0.0;
    score val = { 0 };
    VMAE_TRY(train_epoch(s, epoch, schedule, &loss, &accuracy, &lr));
    if (scored)
        VMAE_TRY(score_features(&s->head, &s->val, &val));
    const vmae_metric metrics[] = { { "loss", loss },     { "lr", lr },         { "train_top1", accuracy },
                                    { "top1", val.top1 }, { "top5", val.top5 }, { "val_loss", val.loss } };
    VMAE_TRY(vmae_run_metrics(s->run, (epoch + 1) * s->epoch_steps, metrics, scored ? 6 : 3));
    VMAE_TRY(save(s, epoch + 1));
    vmae_progress_step(progress, epoch + 1, "loss %.4f, top-1 %.2f %% (train)", loss, 100 * accuracy);
    if (last)
        log_info("probe: top-1 %.2f %%, top-5 %.2f %% on %lld images", 100 * val.top1, 100 * val.top5,
                 (long long)s->val.count);
    return VMAE_OK;
}

static vmae_status train_head(session *s)
{
    const vmae_schedule schedule = { .lr = vmae_config_float(s->config, "probe.blr") * (double)s->head.rows / 256.0,
                                     .warmup_epochs = vmae_config_float(s->config, "probe.warmup_epochs"),
                                     .epochs = vmae_config_float(s->config, "probe.epochs") };
    vmae_progress progress;
    vmae_progress_begin(&progress, "probe", s->first_epoch, s->epochs);
    for (int64_t epoch = s->first_epoch; epoch < s->epochs; epoch++) {
        vmae_status st = VMAE_EINTERRUPTED;
        if (!vmae_run_stop_requested())
            st = run_epoch(s, epoch, &schedule, &progress);
        if (st == VMAE_EINTERRUPTED)
            return vmae_fail(st, "interrupted at epoch %lld of %lld: the same command %s", (long long)epoch,
                             (long long)s->epochs, s->resume_path ? "goes on from there" : "starts the probe again");
        VMAE_TRY(st);
    }
    vmae_progress_end(&progress);
    return VMAE_OK;
}

/* With augmentation every epoch walks through the encoder: days at the paper's scale. */
static vmae_status find_state(session *s)
{
    const vmae_state state = state_of(s);
    int64_t step = -1;
    if (!vmae_config_bool(s->config, "probe.augment"))
        return VMAE_OK;
    if (!(s->resume_path = vmae_run_path(s->run, "resume.safetensors")))
        return VMAE_ENOMEM;
    VMAE_TRY(vmae_state_restore(&state, s->resume_path, &step));
    s->first_epoch = step > 0 ? step / s->epoch_steps : 0;
    return VMAE_OK;
}

static vmae_status session_open(session *s, vmae_run *run)
{
    s->run = run;
    s->config = run->config;
    s->epochs = (int64_t)ceil(vmae_config_float(s->config, "probe.epochs") - 1e-9);
    VMAE_TRY(vmae_evaluation_open(&s->evaluation, run));
    VMAE_TRY(head_open(&s->head, &s->evaluation, s->config));
    s->epoch_steps = s->evaluation.train->count / s->head.rows;
    s->x = vmae_calloc((size_t)(s->head.rows * s->head.dim), sizeof *s->x);
    s->labels = vmae_calloc((size_t)s->head.rows, sizeof *s->labels);
    s->logits = vmae_calloc((size_t)(s->head.rows * s->head.classes), sizeof *s->logits);
    if (!s->x || !s->labels || !s->logits)
        return VMAE_ENOMEM;
    VMAE_TRY(find_state(s));
    VMAE_TRY(vmae_record_algorithms(run, s->evaluation.encoder.be));
    VMAE_TRY(vmae_run_begin(run, s->first_epoch * s->epoch_steps));
    const vmae_feature_pass pass = vmae_evaluation_pass(&s->evaluation, s->config, false);
    return vmae_extract_features(&s->evaluation.encoder, &pass, run, &s->val);
}

static void session_close(session *s)
{
    head_close(&s->head);
    vmae_features_release(&s->train);
    vmae_features_release(&s->val);
    vmae_evaluation_close(&s->evaluation);
    free(s->x);
    free(s->labels);
    free(s->logits);
    free(s->resume_path);
}

static vmae_status probe_run(vmae_run *run)
{
    session s = { 0 };
    vmae_status st = session_open(&s, run);
    if (st == VMAE_OK)
        st = train_head(&s);
    session_close(&s);
    return st;
}

static vmae_status probe_estimate(const vmae_config *config, vmae_estimate *estimate)
{
    const double epochs = vmae_config_float(config, "probe.epochs");
    return vmae_evaluation_estimate(config, (int64_t)ceil(epochs - 1e-9), vmae_config_int(config, "probe.batch"),
                                    vmae_config_bool(config, "probe.augment") ? epochs : 1.0, estimate);
}

extern const vmae_protocol vmae_protocol_probe;
const vmae_protocol vmae_protocol_probe = { "probe",
                                            "Linear probe on a frozen encoder",
                                            tables,
                                            true,
                                            vmae_evaluation_resolve,
                                            vmae_evaluation_fingerprint,
                                            probe_estimate,
                                            probe_run };
