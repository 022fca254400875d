/* sampling.c -- which two frames of a clip make a pair. */
#include "engine/data/data.h"

vmae_status vmae_sample_frames(const vmae_frame_sampling *how, int frames_in_clip, vmae_rng *rng, int frame[2])
{
    if (how->delta < 0 || how->window < 0)
        return vmae_fail(VMAE_EUSER, "frame sampling with delta %d and a window of %d frames; neither can be negative",
                         how->delta, how->window);
    const int64_t needed = how->distant ? 2 : (int64_t)how->delta + 1;
    if (how->window > 0 && how->window < needed)
        return vmae_fail(VMAE_EUSER, "a window of %d frames is too short: %s sampling needs %lld", how->window,
                         how->distant ? "distant" : "continuous", (long long)needed);
    if (frames_in_clip < needed)
        return vmae_fail(VMAE_EDATA, "the clip has %d frames, but %s sampling needs at least %lld", frames_in_clip,
                         how->distant ? "distant" : "continuous", (long long)needed);

    const int length = how->window > 0 && how->window < frames_in_clip ? how->window : frames_in_clip;
    const int start = (int)vmae_rng_below(rng, (uint64_t)(frames_in_clip - length) + 1);
    if (how->distant) { /* of an odd window the second part is one frame longer */
        const int half = length / 2;
        frame[0] = start + (int)vmae_rng_below(rng, (uint64_t)half);
        frame[1] = start + half + (int)vmae_rng_below(rng, (uint64_t)(length - half));
    } else {
        frame[0] = start + (int)vmae_rng_below(rng, (uint64_t)(length - how->delta));
        frame[1] = frame[0] + (how->delta ? 1 + (int)vmae_rng_below(rng, (uint64_t)how->delta) : 0);
    }
    return VMAE_OK;
}
