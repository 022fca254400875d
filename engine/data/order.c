/* order.c -- the order of samples: a keyed permutation that is computed where it is needed, so that nothing is stored,
 * nothing is shared between threads, and a resumed run starts anywhere. */
#include "engine/data/data.h"

enum { ROUNDS = 8 };

/* Two halves of left + right bits; each round adds a keyed mix of one half to the other, which can be undone: a
 * permutation. */
typedef struct network {
    int left, right;
    uint32_t key[ROUNDS];
} network;

static uint64_t low_bits(int bits)
{
    return ((uint64_t)1 << bits) - 1;
}

/* A well-mixed function of a half and a round key (the finaliser of SplitMix64). */
static uint64_t mix(uint64_t half, uint32_t key)
{
    uint64_t x = half ^ (uint64_t)key << 32 ^ key;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

static uint64_t permute(const network *n, uint64_t value)
{
    uint64_t left = value >> n->right, right = value & low_bits(n->right);
    for (int i = 0; i < ROUNDS; i += 2) {
        left = (left ^ mix(right, n->key[i])) & low_bits(n->left);
        right = (right ^ mix(left, n->key[i + 1])) & low_bits(n->right);
    }
    return left << n->right | right;
}

void vmae_order_at(uint64_t seed, int64_t count, bool shuffle, uint64_t position, uint32_t *epoch, int64_t *index)
{
    const uint64_t n = count > 0 ? (uint64_t)count : 1; /* no samples: index 0, which the caller refuses */
    uint64_t value = position % n;
    *epoch = (uint32_t)(position / n);
    if (shuffle && n > 1) {
        const int bits = 64 - __builtin_clzll(n - 1); /* the smallest domain 2^bits >= n */
        network net = { .left = bits / 2, .right = bits - bits / 2 };
        vmae_rng rng = vmae_rng_at(seed, VMAE_RNG_ORDER, *epoch, 0);
        for (int i = 0; i < ROUNDS; i++)
            net.key[i] = vmae_rng_u32(&rng);
        do /* cycle walking: values >= n are stepped over; less than two steps on average */
            value = permute(&net, value);
        while (value >= n);
    }
    *index = (int64_t)value;
}
