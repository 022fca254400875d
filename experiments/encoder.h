/* encoder.h -- a frozen encoder and the features it gives: what probe, kNN and the monitor share. */
#ifndef VMAE_EXPERIMENTS_ENCODER_H
#define VMAE_EXPERIMENTS_ENCODER_H

#include "experiments/options.h"
#include "experiments/run.h"

/* checkpoint = a file, "random" (model.* and seed) or "pixels" (no model: the features are the pixels of the evaluation
 * transform). */
typedef struct vmae_encoder {
    vmae_backend *be;
    vmae_params *params; /* NULL: pixels */
    vmae_model_config model;
    vmae_type precision;
    bool borrowed; /* be and params belong to somebody else */
} vmae_encoder;

/* Reads the options device, threads, precision, checkpoint, seed, model.*. The sizes come from the checkpoint; it must
 * fit nothing else. */
vmae_status vmae_encoder_open(vmae_encoder *encoder, const vmae_config *config, vmae_pool pool);
void vmae_encoder_close(vmae_encoder *encoder);

/* Puts the device, its threads and what computes and decodes on it into the attempt's record. Before vmae_run_begin. */
vmae_status vmae_record_device(vmae_run *run, vmae_backend *be);
/* Puts into it the algorithms for all that was planned on the device so far; again after every further plan. */
vmae_status vmae_record_algorithms(vmae_run *run, vmae_backend *be);

/* Journals the loader's bad samples from the *recorded'th on. Returns st, its sentence as it was, or what failed in
 * here if st is VMAE_OK. */
vmae_status vmae_record_skipped(vmae_run *run, vmae_loader *loader, int64_t *recorded, vmae_status st);

/* The classes that two splits have in common. */
typedef struct vmae_classes {
    int count;
    int32_t *relabel; /* of the second split's labels to the first's; NULL: they agree */
} vmae_classes;
/* By name: a class without samples may be absent from val, but every class of val must be one of train's. Classes that
 * are numbers (WebDataset .cls) are as many as the split with more has. VMAE_EUSER, naming the first class that
 * differs, or the split that has no images, or fewer than 2 classes. */
vmae_status vmae_classes_match(vmae_classes *classes, const vmae_dataset *train, const vmae_dataset *val);
void vmae_classes_release(vmae_classes *classes); /* all zero is fine */

typedef struct vmae_features {
    int64_t count, dim;
    int classes;
    float *values;   /* [count, dim] */
    int32_t *labels; /* [count] */
} vmae_features;
void vmae_features_release(vmae_features *features); /* all zero is fine */

typedef struct vmae_feature_pass {
    const vmae_dataset *dataset;
    int classes;            /* labels are below */
    const int32_t *relabel; /* [dataset->classes], or NULL: labels stand as they are */
    vmae_augment augment;   /* its size must be the model's */
    bool records;           /* the device makes the views (images.h); of pixels as features, loader threads do */
    vmae_pool pool;
    int64_t batch, limit; /* limit 0: all samples */
    bool shuffle;         /* which samples a limit picks, and (never) their order's effect: fixed by seed */
    uint64_t seed;
    int threads, prefetch;
    int64_t bad_limit;
    const char *what; /* for the progress line; NULL: silent */
} vmae_feature_pass;

/* One pass over a labelled dataset. The run gets the skipped samples, also those on the way to a failure.
 * VMAE_EINTERRUPTED if the run was asked to stop. */
vmae_status vmae_extract_features(const vmae_encoder *encoder, const vmae_feature_pass *pass, vmae_run *run,
                                  vmae_features *features);

/* Values of a feature: the encoder's width, or 3 * S * S for pixels. */
int64_t vmae_feature_width(const vmae_encoder *encoder);

/* Weighted kNN (Wu et al. 2018; DINO): cosine similarity, the k nearest of the bank vote with exp(similarity /
 * temperature). *top1, *top5: fractions of the queries. prediction (NULL or [queries]) gets the class with most votes,
 * the smaller one of equals. */
vmae_status vmae_knn_classify(const vmae_features *bank, const vmae_features *queries, int64_t k, double temperature,
                              double *top1, double *top5, int32_t *prediction);

/* Counts of rows of logits [rows, classes] whose label is first, or among the first five (ties count against). */
void vmae_count_top(const float *logits, const int32_t *labels, int64_t rows, int64_t classes, int64_t *top1,
                    int64_t *top5);

#endif
