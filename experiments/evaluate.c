/* evaluate.c -- the two splits of a labelled dataset and their features. */
#include "experiments/evaluate.h"

#include "engine/core/fs.h"
#include "experiments/dataset_facts.h"
#include "experiments/images.h"

#include <stdlib.h>
#include <string.h>

vmae_status vmae_evaluation_resolve(vmae_config *config)
{
    const char *checkpoint = vmae_config_text(config, "checkpoint");
    if (!*checkpoint)
        return vmae_config_refuse(
            config, "checkpoint",
            "it must name a safetensors file, or be \"random\" (an untrained model) or \"pixels\" (no model)");
    if (strcmp(vmae_config_text(config, "dataset.kind"), "none") == 0)
        return vmae_config_refuse(config, "dataset.kind",
                                  "an evaluation needs a labelled dataset: set dataset.kind and dataset.path");
    VMAE_TRY(vmae_options_resolve_model(config));
    return vmae_options_resolve_precision(config);
}

/* The spec of one split; *path is to be freed. */
static vmae_status split_spec(const vmae_config *config, bool train, vmae_dataset_spec *spec, char **path)
{
    VMAE_TRY(vmae_options_dataset(config, "dataset", train ? NULL : vmae_config_text(config, "dataset.val_split"), spec,
                                  path));
    if (!train)
        spec->limit = vmae_config_int(config, "dataset.val_limit");
    return VMAE_OK;
}

/* Says which option asked for it, and where. */
static vmae_status in_dataset(const vmae_config *config, vmae_status st)
{
    return vmae_fail_in(st, "%s: dataset", vmae_config_origin(config, "dataset.kind"));
}

vmae_status vmae_evaluation_identify_split(const vmae_config *config, bool train, vmae_hash *hash)
{
    vmae_dataset_spec spec;
    char *path = NULL;
    vmae_status st = split_spec(config, train, &spec, &path);
    if (st == VMAE_OK)
        st = vmae_dataset_identify(&spec, train ? "train" : "val", hash);
    free(path);
    return st == VMAE_OK ? st : in_dataset(config, st);
}

vmae_status vmae_evaluation_fingerprint(const vmae_config *config, vmae_hash *hash)
{
    VMAE_TRY(vmae_evaluation_identify_split(config, true, hash));
    return vmae_evaluation_identify_split(config, false, hash);
}

vmae_status vmae_evaluation_open_split(const vmae_config *config, bool train, vmae_dataset **dataset)
{
    vmae_dataset_spec spec;
    char *path = NULL;
    vmae_status st = split_spec(config, train, &spec, &path);
    if (st == VMAE_OK)
        st = vmae_dataset_open(dataset, &spec);
    free(path);
    return st == VMAE_OK ? st : in_dataset(config, st);
}

static vmae_status count_samples(const vmae_config *config, bool train, double *count)
{
    vmae_dataset_spec spec;
    vmae_dataset_facts facts;
    char *path = NULL;
    vmae_status st = split_spec(config, train, &spec, &path);
    if (st == VMAE_OK)
        st = vmae_dataset_facts_of(&spec, &facts);
    free(path);
    if (st == VMAE_OK)
        *count = (double)facts.count;
    return st;
}

/* The sizes of the encoder: those of the checkpoint, where it is there already, whatever model.* says. */
static void encoder_sizes(const vmae_config *config, vmae_model_config *model)
{
    vmae_checkpoint *checkpoint = NULL;
    const char *path = vmae_config_text(config, "checkpoint");
    vmae_options_model(config, model);
    if (vmae_path_exists(path) && vmae_checkpoint_open(&checkpoint, path) == VMAE_OK)
        vmae_model_recognise(model, checkpoint); /* leaves it alone if it fails: the run will say why */
    vmae_checkpoint_free(checkpoint);
}

vmae_status vmae_evaluation_estimate(const vmae_config *config, int64_t epochs, int64_t batch, double passes,
                                     vmae_estimate *estimate)
{
    vmae_model_config model;
    double train, val;
    VMAE_TRY(count_samples(config, true, &train));
    VMAE_TRY(count_samples(config, false, &val));
    encoder_sizes(config, &model);
    const double tokens = (double)vmae_model_patches(&model) + 1.0, d = (double)model.dim,
                 block = 2.0 * tokens * (4.0 * d * d + 2.0 * d * (double)model.mlp_hidden) + 4.0 * tokens * tokens * d;
    const bool pixels = strcmp(vmae_config_text(config, "checkpoint"), "pixels") == 0;
    const int64_t count = (int64_t)train, steps = batch < count ? count / batch : 1;
    *estimate = (vmae_estimate){ .steps = epochs * steps,
                                 .flops = pixels ? 0.0 : (passes * train + val) * (double)model.depth * block,
                                 .disk_bytes = 1e5 + 200.0 * (double)epochs };
    return VMAE_OK;
}

static vmae_status open_splits(vmae_evaluation *e, vmae_run *run)
{
    VMAE_TRY(vmae_evaluation_open_split(run->config, true, &e->train));
    VMAE_TRY(vmae_evaluation_open_split(run->config, false, &e->val));
    const vmae_status st = vmae_classes_match(&e->classes, e->train, e->val);
    if (st != VMAE_OK)
        return in_dataset(run->config, st);
    VMAE_TRY(vmae_run_dataset(run, "train", e->train->description, e->train->fingerprint));
    return vmae_run_dataset(run, "val", e->val->description, e->val->fingerprint);
}

vmae_status vmae_evaluation_open(vmae_evaluation *e, vmae_run *run)
{
    *e = (vmae_evaluation){ .pool = vmae_options_pool(run->config, "features.pool") };
    vmae_status st = vmae_encoder_open(&e->encoder, run->config, e->pool);
    if (st == VMAE_OK)
        st = vmae_record_device(run, e->encoder.be);
    if (st == VMAE_OK)
        st = open_splits(e, run);
    if (st != VMAE_OK)
        vmae_evaluation_close(e);
    return st;
}

void vmae_evaluation_close(vmae_evaluation *e)
{
    vmae_encoder_close(&e->encoder);
    vmae_dataset_close(e->train);
    vmae_dataset_close(e->val);
    vmae_classes_release(&e->classes);
    *e = (vmae_evaluation){ 0 };
}

vmae_feature_pass vmae_evaluation_pass(const vmae_evaluation *e, const vmae_config *config, bool train)
{
    vmae_feature_pass pass = { .dataset = train ? e->train : e->val,
                               .classes = e->classes.count,
                               .relabel = train ? NULL : e->classes.relabel,
                               .augment = vmae_options_evaluation(e->encoder.model.image_size),
                               .records = vmae_images_on_device(config, e->encoder.be),
                               .pool = e->pool,
                               .batch = vmae_config_int(config, "features.batch"),
                               .seed = (uint64_t)vmae_config_int(config, "seed"),
                               .threads = (int)vmae_config_int(config, "loader.threads"),
                               .prefetch = (int)vmae_config_int(config, "loader.prefetch"),
                               .bad_limit = vmae_config_int(config, "loader.bad_limit"),
                               .what = train ? "training features" : "validation features" };
    return pass;
}

vmae_status vmae_evaluation_features(vmae_run *run, vmae_features *train, vmae_features *val)
{
    vmae_evaluation e;
    VMAE_TRY(vmae_evaluation_open(&e, run));
    vmae_feature_pass pass = vmae_evaluation_pass(&e, run->config, true);
    vmae_status st = vmae_run_begin(run, 0);
    if (st == VMAE_OK)
        st = vmae_extract_features(&e.encoder, &pass, run, train);
    if (st == VMAE_OK) {
        pass = vmae_evaluation_pass(&e, run->config, false);
        st = vmae_extract_features(&e.encoder, &pass, run, val);
    }
    vmae_evaluation_close(&e);
    return st;
}
