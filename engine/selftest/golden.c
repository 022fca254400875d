/* golden.c -- whole steps of pre-training against reference vectors: a folder of safetensors as the tests use it
 * (vicmae_params, vicmae_inputs, and one file a case: settings in the metadata, loss_*, grad.<parameter>). */
#include "engine/core/mem.h"
#include "engine/model/model.h"
#include "engine/selftest/internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const cases[] = { "mean_r50", "mean_r75", "max_r50", "max_r75",
                                     "gem_r50",  "gem_r75",  "cls_r50", "cls_r75" };

typedef struct step {
    vmae_params *params;
    vmae_graph *g;
    vmae_vicmae model;
} step;

static vmae_status open_file(vmae_checkpoint **file, const char *folder, const char *stem, const char *name)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s%s.safetensors", folder, stem, name);
    return vmae_checkpoint_open(file, path);
}

static double number(const vmae_checkpoint *file, const char *key, double otherwise)
{
    const char *text = vmae_checkpoint_metadata(file, key);
    return text ? strtod(text, NULL) : otherwise;
}

static int64_t whole(const vmae_checkpoint *file, const char *key, int64_t otherwise)
{
    return (int64_t)number(file, key, (double)otherwise);
}

static vmae_model_config model_of(const vmae_checkpoint *file)
{
    static const char *const pools[] = { "mean", "max", "gem", "cls" };
    const char *pool = vmae_checkpoint_metadata(file, "pool"), *norm = vmae_checkpoint_metadata(file, "norm_pix");
    const int64_t dim = whole(file, "dim", 0), decoder = whole(file, "dec_dim", 32),
                  ratio = whole(file, "mlp_ratio", 4);
    vmae_model_config config = { .image_size = whole(file, "img", 0),
                                 .patch_size = whole(file, "patch", 0),
                                 .channels = 3,
                                 .dim = dim,
                                 .depth = whole(file, "depth", 0),
                                 .heads = whole(file, "heads", 0),
                                 .mlp_hidden = ratio * dim,
                                 .decoder_dim = decoder,
                                 .decoder_depth = whole(file, "dec_depth", 1),
                                 .decoder_heads = whole(file, "dec_heads", 4),
                                 .decoder_mlp_hidden = ratio * decoder,
                                 .projector_hidden = whole(file, "proj_hidden", 8),
                                 .projector_out = whole(file, "proj_out", 8),
                                 .mask_ratio = number(file, "mask_ratio", 0.5),
                                 .norm_pix = norm && strcmp(norm, "true") == 0 };
    for (int i = 0; pool && i < 4; i++)
        if (strcmp(pool, pools[i]) == 0)
            config.pool = (vmae_pool)i;
    return config;
}

/* An F32 tensor of `count` values, in the file's memory. */
static vmae_status floats_of(const vmae_checkpoint *file, const char *name, int64_t count, const float **values)
{
    const vmae_entry *entry = vmae_checkpoint_find(file, name);
    if (!entry || entry->dtype != VMAE_ST_F32 || (int64_t)entry->count != count)
        return vmae_fail(VMAE_EDATA, "the golden set has no F32 tensor %s of %lld values", name, (long long)count);
    *values = entry->data;
    return VMAE_OK;
}

static vmae_status write_params(vmae_params *params, const vmae_checkpoint *file, const vmae_checkpoint *start)
{
    for (int i = 0; i < vmae_params_count(params); i++) {
        const vmae_param *p = vmae_params_at(params, i);
        const float *values = NULL;
        char name[200];
        snprintf(name, sizeof name, "param.%s", p->name);
        const bool own = vmae_checkpoint_find(file, name);
        VMAE_TRY(floats_of(own ? file : start, own ? name : p->name, p->count, &values));
        VMAE_TRY(vmae_params_write(params, p, values));
    }
    return vmae_params_refresh(params);
}

/* "<stem>1" and "<stem>2" are the halves of one batch here. */
static vmae_status write_views(step *s, vmae_tensor *to, const vmae_checkpoint *inputs, const char *stem)
{
    const int64_t half = vmae_shape_count(to->shape) / 2;
    float *both = vmae_calloc((size_t)(2 * half), sizeof *both);
    vmae_status st = both ? VMAE_OK : VMAE_ENOMEM;
    for (int view = 0; st == VMAE_OK && view < 2; view++) {
        const float *values = NULL;
        char name[32];
        snprintf(name, sizeof name, "%s%d", stem, view + 1);
        if ((st = floats_of(inputs, name, half, &values)) == VMAE_OK)
            memcpy(both + view * half, values, (size_t)half * sizeof *both);
    }
    if (st == VMAE_OK)
        st = vmae_tensor_write(s->g, to, both, 2 * half);
    free(both);
    return st;
}

static vmae_status run_case(step *s, vmae_backend *be, const vmae_checkpoint *file, const vmae_checkpoint *start,
                            const vmae_checkpoint *inputs)
{
    const float recon = (float)number(file, "weight_recon", 1.0),
                contrast = (float)number(file, "weight_contrast", 1.0);
    const vmae_model_config config = model_of(file);
    const vmae_vicmae_options options = { .pairs = whole(file, "batch", 0),
                                          .temperature = number(file, "temperature", 0.1),
                                          .positive_ranks = 1 };
    VMAE_TRY(vmae_model_check(&config));
    if (!(s->params = vmae_params_new()))
        return VMAE_ENOMEM;
    VMAE_TRY(vmae_declare_encoder(s->params, &config, false, true));
    VMAE_TRY(vmae_declare_pretraining(s->params, &config));
    VMAE_TRY(vmae_params_allocate(s->params, be, true, false));
    VMAE_TRY(write_params(s->params, file, start));
    if (!(s->g = vmae_graph_new(be, VMAE_F32)))
        return VMAE_ENOMEM;
    vmae_record_vicmae(&s->model, s->g, s->params, &config, &options);
    VMAE_TRY(vmae_graph_backward(s->g, s->model.loss));
    VMAE_TRY(vmae_graph_plan(s->g));
    VMAE_TRY(write_views(s, s->model.images, inputs, "x"));
    VMAE_TRY(write_views(s, s->model.noise, inputs, "noise"));
    VMAE_TRY(vmae_tensor_write(s->g, s->model.recon_weight, &recon, 1));
    VMAE_TRY(vmae_tensor_write(s->g, s->model.lambda, &contrast, 1));
    return vmae_graph_run(s->g, false);
}

/* The worst share by which a loss or a gradient is off; gradients of nothing but rounding say nothing. */
static vmae_status compare(step *s, vmae_backend *be, const vmae_checkpoint *file, double *losses, double *gradients,
                           const char **where)
{
    const struct {
        const vmae_tensor *tensor;
        const char *name;
    } wanted[] = { { s->model.loss_recon, "loss_recon" },
                   { s->model.loss_contrast, "loss_contrast" },
                   { s->model.loss, "loss_total" } };
    const float *reference = NULL;
    double largest = 0.0;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        float got;
        VMAE_TRY(floats_of(file, wanted[i].name, 1, &reference));
        VMAE_TRY(vmae_tensor_read(s->g, wanted[i].tensor, &got, 1));
        *losses = fmax(*losses, share_off(&got, reference, 1));
    }
    for (int round = 0; round < 2; round++) /* first the largest gradient of all */
        for (int i = 0; i < vmae_params_count(s->params); i++) {
            const vmae_param *p = vmae_params_at(s->params, i);
            double own = 0.0;
            char name[200];
            if (!p->trainable)
                continue;
            snprintf(name, sizeof name, "grad.%s", p->name);
            VMAE_TRY(floats_of(file, name, p->count, &reference));
            for (int64_t k = 0; k < p->count; k++)
                own = fmax(own, fabs((double)reference[k]));
            largest = fmax(largest, own);
            if (round == 0 || own < 1e-3 * largest)
                continue;
            float *got = vmae_calloc((size_t)p->count, sizeof *got);
            const vmae_status st = got ? be->download(be, got, vmae_params_gradients(s->params) + p->offset,
                                                      (size_t)p->count * sizeof *got)
                                       : VMAE_ENOMEM;
            const double off = st == VMAE_OK ? share_off(got, reference, p->count) : 0.0;
            free(got);
            VMAE_TRY(st);
            if (off > *gradients) {
                *gradients = off;
                *where = p->name;
            }
        }
    return VMAE_OK;
}

static void check_case(tally *t, const char *name, const vmae_checkpoint *start, const vmae_checkpoint *inputs)
{
    step s = { 0 };
    vmae_checkpoint *file = NULL;
    double losses = 0.0, gradients = 0.0;
    const char *where = "";
    char label[64];
    vmae_status st = open_file(&file, t->test->golden, "vicmae_", name);
    if (st == VMAE_OK)
        st = run_case(&s, t->test->device, file, start, inputs);
    if (st == VMAE_OK)
        st = compare(&s, t->test->device, file, &losses, &gradients, &where);
    if (st != VMAE_OK) {
        tally_hold(t, "golden", name, VMAE_F32, false, vmae_error());
    } else {
        snprintf(label, sizeof label, "%s: losses", name);
        tally_compare(t, "golden", label, VMAE_F32, losses, 5e-5, "reconstruction, contrast, total");
        snprintf(label, sizeof label, "%s: gradients", name);
        tally_compare(t, "golden", label, VMAE_F32, gradients, 5e-4, where);
    }
    vmae_graph_free(s.g);
    vmae_params_free(s.params);
    vmae_checkpoint_free(file);
}

void selftest_golden(tally *t)
{
    vmae_checkpoint *start = NULL, *inputs = NULL;
    if (!t->test->golden)
        return;
    vmae_status st = open_file(&start, t->test->golden, "", "vicmae_params");
    if (st == VMAE_OK)
        st = open_file(&inputs, t->test->golden, "", "vicmae_inputs");
    if (st != VMAE_OK)
        tally_hold(t, "golden", "the set", VMAE_F32, false, vmae_error());
    for (size_t i = 0; st == VMAE_OK && i < sizeof cases / sizeof *cases; i++)
        check_case(t, cases[i], start, inputs);
    vmae_checkpoint_free(start);
    vmae_checkpoint_free(inputs);
}
