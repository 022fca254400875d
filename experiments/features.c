/* features.c -- one pass of a frozen encoder over a labelled dataset; what is counted of a classifier's answers. */
#include "engine/core/log.h"
#include "engine/core/mem.h"
#include "experiments/encoder.h"
#include "experiments/images.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void vmae_features_release(vmae_features *features)
{
    free(features->values);
    free(features->labels);
    *features = (vmae_features){ 0 };
}

int64_t vmae_feature_width(const vmae_encoder *encoder)
{
    const vmae_model_config *model = &encoder->model;
    return encoder->params ? model->dim : 3 * model->image_size * model->image_size;
}

/* The graph of one batch; g NULL for pixels. */
typedef struct extractor {
    vmae_graph *g;
    vmae_tensor *images, *features;
    vmae_images put; /* to images */
    int64_t batch, dim;
    float *out; /* host, one batch */
} extractor;

static void extractor_release(extractor *x)
{
    vmae_images_close(&x->put);
    vmae_graph_free(x->g);
    free(x->out);
}

static vmae_status extractor_open(extractor *x, const vmae_encoder *encoder, const vmae_feature_pass *pass)
{
    const int64_t side = pass->augment.size;
    x->batch = pass->batch;
    x->dim = vmae_feature_width(encoder);
    x->out = vmae_calloc((size_t)(x->batch * x->dim), sizeof *x->out);
    if (!x->out)
        return VMAE_ENOMEM;
    if (!encoder->params)
        return VMAE_OK;
    if (!(x->g = vmae_graph_new(encoder->be, encoder->precision)))
        return VMAE_ENOMEM;
    x->images = vmae_input(x->g, "images", VMAE_F32, VMAE_SHAPE(x->batch, 3, side, side));
    x->features = vmae_keep(vmae_record_features(x->g, encoder->params, &encoder->model, x->images, pass->pool));
    VMAE_TRY(vmae_graph_plan(x->g));
    return vmae_images_open(&x->put, encoder->be, pass->records, x->batch, side);
}

/* count <= x->batch images; the rest of the static batch is zero. */
static vmae_status extractor_run(extractor *x, const vmae_batch *batch, int64_t count, float *to)
{
    if (!x->g) {
        memcpy(to, batch->view1, (size_t)(count * x->dim) * sizeof *to);
        return VMAE_OK;
    }
    VMAE_TRY(vmae_images_put(&x->put, x->images->data, batch, count));
    VMAE_TRY(vmae_graph_run(x->g, false));
    VMAE_TRY(vmae_tensor_read(x->g, x->features, x->out, x->batch * x->dim));
    memcpy(to, x->out, (size_t)(count * x->dim) * sizeof *to);
    return VMAE_OK;
}

vmae_status vmae_record_skipped(vmae_run *run, vmae_loader *loader, int64_t *recorded, vmae_status st)
{
    vmae_bad_sample bad;
    vmae_status written = VMAE_OK;
    char sentence[2048];
    snprintf(sentence, sizeof sentence, "%s", vmae_error());
    while (written == VMAE_OK && vmae_loader_bad(loader, *recorded, &bad, 1) > *recorded)
        if ((written = vmae_run_skipped(run, bad.dataset->description, bad.name, bad.reason)) == VMAE_OK)
            ++*recorded;
    if (st == VMAE_OK)
        return written;
    if (written != VMAE_OK)
        log_warn("%s", vmae_error()); /* the first failure is the one to report */
    return vmae_fail(st, "%s", sentence);
}

static vmae_status walk(extractor *x, vmae_loader *loader, const vmae_feature_pass *pass, vmae_features *f,
                        int64_t limit)
{
    const vmae_batch *batch;
    vmae_progress progress;
    vmae_progress_begin(&progress, pass->what ? pass->what : "", 0, limit);
    vmae_status st = VMAE_OK;
    while (f->count < limit && (st = vmae_loader_next(loader, &batch)) == VMAE_OK && batch) {
        const int64_t count = batch->count < limit - f->count ? batch->count : limit - f->count;
        if (vmae_run_stop_requested()) {
            st = vmae_fail(VMAE_EINTERRUPTED, "interrupted while extracting features");
            break;
        }
        if ((st = extractor_run(x, batch, count, f->values + f->count * f->dim)) != VMAE_OK)
            break;
        for (int64_t i = 0; i < count; i++)
            f->labels[f->count + i] = pass->relabel ? pass->relabel[batch->labels[i]] : batch->labels[i];
        f->count += count;
        if (pass->what)
            vmae_progress_step(&progress, f->count, "features");
    }
    if (pass->what)
        vmae_progress_end(&progress);
    return st;
}

vmae_status vmae_extract_features(const vmae_encoder *encoder, const vmae_feature_pass *pass, vmae_run *run,
                                  vmae_features *features)
{
    const int64_t all = pass->dataset->count, limit = pass->limit > 0 && pass->limit < all ? pass->limit : all;
    vmae_feature_pass fitted = *pass;
    fitted.batch = pass->batch < limit ? pass->batch : limit;
    const vmae_source source = { .dataset = pass->dataset, .batch = (int)fitted.batch, .view = { pass->augment } };
    const vmae_loader_spec spec = { .sources = &source,
                                    .source_count = 1,
                                    .records = pass->records && encoder->params,
                                    .shuffle = pass->shuffle,
                                    .last_partial = true,
                                    .seed = pass->seed,
                                    .threads = pass->threads,
                                    .prefetch = pass->prefetch,
                                    .bad_limit = pass->bad_limit };
    extractor x = { 0 };
    vmae_loader *loader = NULL;
    int64_t recorded = 0;
    vmae_features f = { .classes = pass->classes };
    vmae_status st = extractor_open(&x, encoder, &fitted);
    if (st == VMAE_OK)
        st = vmae_record_algorithms(run, encoder->be);
    if (st != VMAE_OK)
        goto done;
    f.dim = x.dim;
    f.values = vmae_calloc((size_t)(limit * f.dim), sizeof *f.values);
    f.labels = vmae_calloc((size_t)limit, sizeof *f.labels);
    st = !f.values || !f.labels ? VMAE_ENOMEM : vmae_loader_start(&loader, &spec);
    if (st == VMAE_OK)
        st = vmae_record_skipped(run, loader, &recorded, walk(&x, loader, &fitted, &f, limit));
done:
    vmae_loader_stop(loader);
    extractor_release(&x);
    if (st == VMAE_OK)
        *features = f;
    else
        vmae_features_release(&f);
    return st;
}

void vmae_count_top(const float *logits, const int32_t *labels, int64_t rows, int64_t classes, int64_t *top1,
                    int64_t *top5)
{
    *top1 = *top5 = 0;
    for (int64_t i = 0; i < rows; i++) {
        const float *row = logits + i * classes;
        int64_t better = 0;
        for (int64_t c = 0; c < classes; c++)
            better += c != labels[i] && !(row[c] < row[labels[i]]); /* a NaN counts against, too */
        *top1 += better < 1;
        *top5 += better < 5;
    }
}
