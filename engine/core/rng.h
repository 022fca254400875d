/* rng.h -- counter-based random numbers (Philox4x32-10, Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2,
 * 3").
 *
 * A number is a function of (seed, purpose, epoch, sample, index) and of nothing else: not of the thread, the worker,
 * or what ran before. So results do not depend on the number of loader threads, and a resumed run equals an
 * uninterrupted one. */
#ifndef VMAE_CORE_RNG_H
#define VMAE_CORE_RNG_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a stream is for. Never renumber: the numbers are part of what a seed means. */
typedef enum vmae_purpose {
    VMAE_RNG_INIT = 1,      /* parameter initialisation; sample = hash of the parameter's name */
    VMAE_RNG_ORDER = 2,     /* order of samples in an epoch */
    VMAE_RNG_FRAMES = 3,    /* which frames of a clip */
    VMAE_RNG_AUGMENT_1 = 4, /* augmentation of view 1 */
    VMAE_RNG_AUGMENT_2 = 5, /* augmentation of view 2 */
    VMAE_RNG_MASK = 6,      /* masking noise */
    VMAE_RNG_SHAPES = 7,    /* the procedural dataset */
    VMAE_RNG_DROP_PATH = 8,
    VMAE_RNG_SPLIT = 9, /* train / validation splits */
    VMAE_RNG_MIXUP = 10,
    VMAE_RNG_TEST = 15
} vmae_purpose;

typedef struct vmae_rng {
    uint32_t key[2], counter[4], block[4];
    unsigned used; /* how many of block[] were handed out */
} vmae_rng;

/* The stream of (seed, purpose, epoch, sample); sample < 2^48. */
vmae_rng vmae_rng_at(uint64_t seed, vmae_purpose purpose, uint32_t epoch, uint64_t sample);

uint32_t vmae_rng_u32(vmae_rng *rng);
/* Uniform in [0, 1), a multiple of 2^-24. */
float vmae_rng_uniform(vmae_rng *rng);
/* Uniform in [low, high). */
float vmae_rng_between(vmae_rng *rng, float low, float high);
/* Uniform integer in [0, n), exactly; n > 0. */
uint64_t vmae_rng_below(vmae_rng *rng, uint64_t n);
/* Standard normal (Box-Muller). */
float vmae_rng_normal(vmae_rng *rng);

/* The bare block function, for tests against the published vectors. */
void vmae_philox(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2]);

#ifdef __cplusplus
}
#endif
#endif
