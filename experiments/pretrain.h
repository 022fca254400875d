/* pretrain.h -- the parts of the pre-training protocol. Private to experiments/pretrain*.c and bench.c. */
#ifndef VMAE_EXPERIMENTS_PRETRAIN_H
#define VMAE_EXPERIMENTS_PRETRAIN_H

#include "engine/optim/optimizer.h"
#include "engine/optim/schedule.h"
#include "experiments/encoder.h"
#include "experiments/images.h"
#include "experiments/state.h"

/* ---- data: images, videos, or both in one batch ---- */

typedef struct vmae_pretrain_data {
    vmae_dataset *images, *videos; /* NULL: not used */
    vmae_source sources[2];
    int source_count;
    int64_t samples; /* of all sources: an epoch */
} vmae_pretrain_data;
vmae_status vmae_pretrain_data_open(vmae_pretrain_data *data, const vmae_config *config);
void vmae_pretrain_data_close(vmae_pretrain_data *data);

/* How long an epoch and the whole training are, in optimiser steps. */
typedef struct vmae_pretrain_length {
    int64_t epoch_steps, steps;
} vmae_pretrain_length;
vmae_pretrain_length vmae_pretrain_length_of(const vmae_config *config, int64_t samples);

/* ---- the model in training ---- */

typedef struct vmae_trainer {
    vmae_backend *be;
    vmae_model_config config;
    vmae_params *params;
    vmae_optimizer *optimizer;
    vmae_graph *g;
    vmae_vicmae model;
    vmae_type precision;
    int64_t pairs, accum, seed;
    vmae_images images; /* to model.images */
    float *noise;       /* host: [2 pairs, L] */
    double flops;       /* of one forward and backward */
} vmae_trainer;
/* On `be`, which is the trainer's from then on, also if this fails; NULL: on the device that the config names. */
vmae_status vmae_trainer_open(vmae_trainer *trainer, const vmae_config *config, vmae_backend *be);
void vmae_trainer_close(vmae_trainer *trainer);

typedef struct vmae_losses {
    double total, recon, contrast;
} vmae_losses;
/* The batch that the next pass is of: pairs, view 1 then view 2, in records if trainer->images says so. */
vmae_status vmae_trainer_images(vmae_trainer *trainer, const vmae_batch *batch);
/* Forward and backward of model.images, [2 pairs, 3, S, S]. `pass` counts all passes from the start of training: the
 * masks depend on it. accumulate: add to the gradients. next: the batch of the pass after it, if it is there already:
 * its bytes travel while the device computes; or NULL. VMAE_EDIVERGED naming the op that first went bad if a loss is
 * not finite. */
vmae_status vmae_trainer_pass(vmae_trainer *trainer, int64_t pass, double recon_weight, double lambda, bool accumulate,
                              const vmae_batch *next, vmae_losses *losses);
/* The optimiser's step after `accum` passes. VMAE_EDIVERGED, before anything has changed, if a gradient is not finite;
 * names it, and the op that first went bad. */
vmae_status vmae_trainer_step(vmae_trainer *trainer, double lr, double *grad_norm);
/* What of it goes into files. */
vmae_state vmae_trainer_state(const vmae_trainer *trainer);

/* What matrix products of this type reach on this machine: the best of a few 1024^3 products (8192^3 where
 * those take no time), in GFLOP/s. About 0.1 s. */
vmae_status vmae_measure_roof(vmae_backend *be, vmae_type type, double *gflops);

#endif
