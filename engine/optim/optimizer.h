/* optimizer.h -- AdamW, SGD and LARS over the flat parameters: state, clipping, one pass a step.
 *
 * Formulas: backend.h. Which parameters decay and how fast each learns: groups.h. */
#ifndef VMAE_OPTIM_OPTIMIZER_H
#define VMAE_OPTIM_OPTIMIZER_H

#include "engine/checkpoint/checkpoint.h"
#include "engine/graph/params.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum vmae_method { VMAE_ADAMW, VMAE_SGD, VMAE_LARS } vmae_method;

typedef struct vmae_optimizer_config {
    vmae_method method;
    double weight_decay;
    double beta1, beta2, eps; /* AdamW */
    double momentum, trust;   /* SGD, LARS */
    bool nesterov;
    double clip_grad;                /* largest gradient norm; 0: no clipping */
    bool decays_by_pretraining_rule; /* else: every tensor of two or more dimensions decays */
} vmae_optimizer_config;

typedef struct vmae_optimizer vmae_optimizer;

/* For the trainable parameters of `params`, which must outlive it. */
vmae_status vmae_optimizer_new(vmae_optimizer **optimizer, vmae_backend *be, vmae_params *params,
                               const vmae_optimizer_config *config);
void vmae_optimizer_free(vmae_optimizer *optimizer); /* NULL is fine */

/* Multiplies the gradients by scale (1 / accumulated passes), clips, and moves the parameters. *grad_norm: the norm
 * before clipping, after scaling. A gradient that is not finite changes nothing: VMAE_EDIVERGED, naming the first
 * parameter that has one. */
vmae_status vmae_optimizer_step(vmae_optimizer *optimizer, double lr, double scale, double *grad_norm);
int64_t vmae_optimizer_steps(const vmae_optimizer *optimizer); /* done so far */

/* State to and from a checkpoint: tensors "optimizer.m", "optimizer.v" (or "optimizer.momentum"), metadata
 * "optimizer.steps". *floats: host copies, fresh memory that must outlive vmae_writer_save. */
vmae_status vmae_optimizer_save(const vmae_optimizer *optimizer, vmae_writer *writer, float **floats);
vmae_status vmae_optimizer_load(vmae_optimizer *optimizer, const vmae_checkpoint *checkpoint);
/* One state tensor of one parameter on the host, count floats: 0 = m or momentum, 1 = v. For tests. */
vmae_status vmae_optimizer_state(const vmae_optimizer *optimizer, int which, const vmae_param *param, float *to);

#ifdef __cplusplus
}
#endif
#endif
