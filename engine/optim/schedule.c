/* schedule.c -- warm-up and half a cosine; a linear ramp. */
#include "engine/optim/schedule.h"

#include <math.h>

double vmae_lr_at(const vmae_schedule *schedule, double epoch)
{
    if (epoch < schedule->warmup_epochs)
        return epoch <= 0.0 ? 0.0 : schedule->lr * epoch / schedule->warmup_epochs;
    if (epoch >= schedule->epochs) /* a cosine would turn and climb again */
        return schedule->min_lr;
    const double progress = (epoch - schedule->warmup_epochs) / (schedule->epochs - schedule->warmup_epochs);
    if (progress <= 0.0)
        return schedule->lr;
    return schedule->min_lr + (schedule->lr - schedule->min_lr) * 0.5 * (1.0 + cos(M_PI * progress));
}

double vmae_lambda_at(const vmae_ramp *ramp, double epoch)
{
    if (epoch < ramp->begin)
        return ramp->from;
    if (epoch >= ramp->end)
        return ramp->to;
    return ramp->from + (ramp->to - ramp->from) * ((epoch - ramp->begin) / (ramp->end - ramp->begin));
}
