/* rng.c -- Philox4x32-10 and what is drawn from it. */
#include "engine/core/rng.h"

#include <math.h>
#include <string.h>

void vmae_philox(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        const uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

vmae_rng vmae_rng_at(uint64_t seed, vmae_purpose purpose, uint32_t epoch, uint64_t sample)
{
    vmae_rng rng = { .key = { (uint32_t)seed, (uint32_t)(seed >> 32) },
                     .counter = { 0, epoch, (uint32_t)sample, (uint32_t)(sample >> 32) << 16 | (uint32_t)purpose },
                     .used = 4 };
    return rng;
}

uint32_t vmae_rng_u32(vmae_rng *rng)
{
    if (rng->used == 4) {
        vmae_philox(rng->block, rng->counter, rng->key);
        rng->counter[0]++;
        rng->used = 0;
    }
    return rng->block[rng->used++];
}

float vmae_rng_uniform(vmae_rng *rng)
{
    return (float)(vmae_rng_u32(rng) >> 8) * 0x1p-24f;
}

float vmae_rng_between(vmae_rng *rng, float low, float high)
{
    return low + (high - low) * vmae_rng_uniform(rng);
}

uint64_t vmae_rng_below(vmae_rng *rng, uint64_t n)
{
    const uint64_t reject_below = (0 - n) % n; /* 2^64 mod n: what would make the first values likelier */
    uint64_t value;
    do {
        value = (uint64_t)vmae_rng_u32(rng) << 32;
        value |= vmae_rng_u32(rng);
    } while (value < reject_below);
    return value % n;
}

float vmae_rng_normal(vmae_rng *rng)
{
    const double u = ((double)vmae_rng_u32(rng) + 0.5) * 0x1p-32, v = (double)vmae_rng_u32(rng) * 0x1p-32;
    return (float)(sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v));
}
