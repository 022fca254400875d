/* golden.c -- whole steps of pre-training against reference vectors: vicmae_params, vicmae_inputs, and one file a case
 * (settings in the metadata, loss_*, grad.<parameter>). */
#include "engine/core/mem.h"
#include "engine/selftest/golden_set.h"
#include "engine/selftest/internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const cases[] = { "vicmae_mean_r50", "vicmae_mean_r75", "vicmae_max_r50", "vicmae_max_r75",
                                     "vicmae_gem_r50",  "vicmae_gem_r75",  "vicmae_cls_r50", "vicmae_cls_r75" };

static vmae_status run_case(session *s, vmae_backend *be, const vmae_checkpoint *file, const vmae_checkpoint *start,
                            const vmae_checkpoint *inputs, float loss[LOSSES])
{
    const vmae_model_config config = golden_set_model(file);
    VMAE_TRY(vmae_model_check(&config));
    VMAE_TRY(session_open(s, be, &config, (int64_t)golden_set_number(file, "batch", 0.0),
                          golden_set_number(file, "temperature", 0.1), VMAE_F32));
    VMAE_TRY(golden_set_params(s->params, file, start));
    VMAE_TRY(golden_set_views(s->g, s->model.images, inputs, "x"));
    VMAE_TRY(golden_set_views(s->g, s->model.noise, inputs, "noise"));
    return session_run(s, (float)golden_set_number(file, "weight_recon", 1.0),
                       (float)golden_set_number(file, "weight_contrast", 1.0), loss);
}

static vmae_status compare_losses(const float loss[LOSSES], const vmae_checkpoint *file, double *worst)
{
    static const char *const names[LOSSES] = { "loss_total", "loss_recon", "loss_contrast" };
    for (int i = 0; i < LOSSES; i++) {
        const float *wanted = NULL;
        VMAE_TRY(golden_set_floats(file, names[i], 1, &wanted));
        *worst = fmax(*worst, share_off(&loss[i], wanted, 1));
    }
    return VMAE_OK;
}

/* The file's gradients as session_gradients gives the device's. */
static vmae_status read_gradients(const vmae_params *params, const vmae_checkpoint *file, float *gradients)
{
    for (int i = 0; i < vmae_params_count(params); i++) {
        const vmae_param *p = vmae_params_at(params, i);
        const float *values = NULL;
        char name[200];
        if (!p->trainable)
            continue;
        snprintf(name, sizeof name, "grad.%s", p->name);
        VMAE_TRY(golden_set_floats(file, name, p->count, &values));
        memcpy(gradients + p->offset, values, (size_t)p->count * sizeof *gradients);
    }
    return VMAE_OK;
}

static vmae_status compare_gradients(const session *s, const vmae_checkpoint *file, double *worst, const char **where)
{
    float *got = NULL, *wanted = vmae_calloc((size_t)vmae_params_trainable(s->params), sizeof *wanted);
    vmae_status st = wanted ? read_gradients(s->params, file, wanted) : VMAE_ENOMEM;
    if (st == VMAE_OK && (st = session_gradients(s, &got)) == VMAE_OK)
        *worst = worst_gradient(s->params, got, wanted, where);
    free(got);
    free(wanted);
    return st;
}

static void check_case(tally *t, const char *name, const vmae_checkpoint *start, const vmae_checkpoint *inputs)
{
    session s = { 0 };
    vmae_checkpoint *file = NULL;
    float loss[LOSSES];
    double losses = 0.0, gradients = 0.0;
    const char *where = "";
    char label[64];
    vmae_status st = golden_set_open(&file, t->test->golden, name);
    if (st == VMAE_OK)
        st = run_case(&s, t->test->device, file, start, inputs, loss);
    if (st == VMAE_OK)
        st = compare_losses(loss, file, &losses);
    if (st == VMAE_OK)
        st = compare_gradients(&s, file, &gradients, &where);
    if (st != VMAE_OK) {
        tally_hold(t, "golden", name, VMAE_F32, false, vmae_error());
    } else {
        snprintf(label, sizeof label, "%s: losses", name);
        tally_compare(t, "golden", label, VMAE_F32, losses, 5e-5, "total, reconstruction, contrast");
        snprintf(label, sizeof label, "%s: gradients", name);
        tally_compare(t, "golden", label, VMAE_F32, gradients, 5e-4, where);
    }
    session_close(&s);
    vmae_checkpoint_free(file);
}

void selftest_golden(tally *t)
{
    vmae_checkpoint *start = NULL, *inputs = NULL;
    if (!t->test->golden)
        return;
    vmae_status st = golden_set_open(&start, t->test->golden, "vicmae_params");
    if (st == VMAE_OK)
        st = golden_set_open(&inputs, t->test->golden, "vicmae_inputs");
    if (st != VMAE_OK)
        tally_hold(t, "golden", "the set", VMAE_F32, false, vmae_error());
    for (size_t i = 0; st == VMAE_OK && i < sizeof cases / sizeof *cases; i++)
        check_case(t, cases[i], start, inputs);
    vmae_checkpoint_free(start);
    vmae_checkpoint_free(inputs);
}
