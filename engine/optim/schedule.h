/* schedule.h -- the learning rate and the weight of the contrastive loss as functions of time.
 *
 * Time is counted in epochs and is fractional: iteration i of an epoch of n is at epoch + i/n. Pure functions; any real
 * number is a valid argument. */
#ifndef VMAE_OPTIM_SCHEDULE_H
#define VMAE_OPTIM_SCHEDULE_H

#ifdef __cplusplus
extern "C" {
#endif

typedef struct vmae_schedule {
    double lr;            /* the highest rate, reached at the end of the warm-up */
    double min_lr;        /* the rate at the end */
    double warmup_epochs; /* may be 0, and may be a fraction */
    double epochs;        /* of the whole training, warm-up included */
} vmae_schedule;

/* The rate at `epoch` (He et al. 2021, arXiv:2111.06377, table 8; `lr_sched.py` of the MAE release):
 *
 *   lr epoch/warmup                                                                before the end of the warm-up
 *   min_lr + (lr - min_lr)/2 (1 + cos(pi (epoch - warmup)/(epochs - warmup)))      after it
 *
 * Before epoch 0 the rate is 0; from `epochs` on it is min_lr. */
double vmae_lr_at(const vmae_schedule *schedule, double epoch);

typedef struct vmae_ramp {
    double from, to; /* lambda before and after */
    double begin,
        end; /* epochs between which it moves in a straight line; equal (or end below begin): it jumps at `begin` */
} vmae_ramp;

/* lambda, the weight of the contrastive loss, at `epoch`. ViC-MAE (arXiv:2303.12001) introduces the loss gradually and
 * does not say how; the released code keeps it constant, which is from == to. */
double vmae_lambda_at(const vmae_ramp *ramp, double epoch);

#ifdef __cplusplus
}
#endif
#endif
