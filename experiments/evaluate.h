/* evaluate.h -- what the protocols on frozen features share: the two splits of the dataset, their features, their cost.
 */
#ifndef VMAE_EXPERIMENTS_EVALUATE_H
#define VMAE_EXPERIMENTS_EVALUATE_H

#include "experiments/encoder.h"

vmae_status vmae_evaluation_resolve(vmae_config *config);
vmae_status vmae_evaluation_fingerprint(const vmae_config *config, vmae_hash *hash);
/* One of the two splits, with the limit of its own. A failure names the option that asked for it. */
vmae_status vmae_evaluation_identify_split(const vmae_config *config, bool train, vmae_hash *hash);
vmae_status vmae_evaluation_open_split(const vmae_config *config, bool train, vmae_dataset **dataset);
/* So many epochs of batches (at most the training set; an incomplete one is dropped), with a line of the journal each.
 * passes: over the training features, in each of which an epoch's worth of images goes through the encoder (1 if
 * features are cached). */
vmae_status vmae_evaluation_estimate(const vmae_config *config, int64_t epochs, int64_t batch, double passes,
                                     vmae_estimate *estimate);

/* The encoder and both splits, opened and recorded; before vmae_run_begin. */
typedef struct vmae_evaluation {
    vmae_encoder encoder;
    vmae_dataset *train, *val;
    vmae_classes classes;
    vmae_pool pool;
} vmae_evaluation;
vmae_status vmae_evaluation_open(vmae_evaluation *evaluation, vmae_run *run);
void vmae_evaluation_close(vmae_evaluation *evaluation);
/* A pass over one split with the evaluation transform. */
vmae_feature_pass vmae_evaluation_pass(const vmae_evaluation *evaluation, const vmae_config *config, bool train);
/* Opens, begins the run, extracts both, closes. */
vmae_status vmae_evaluation_features(vmae_run *run, vmae_features *train, vmae_features *val);

#endif
