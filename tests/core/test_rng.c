/* test_rng.c -- Philox against its published vectors, streams, and the distributions drawn from them. */
#include "engine/core/rng.h"
#include "tests/test.h"

#include <math.h>
#include <string.h>

/* Random123's kat_vectors, philox4x32 with 10 rounds. */
TEST(philox_gives_the_published_vectors)
{
    static const struct {
        uint32_t counter[4], key[2], expected[4];
    } vectors[] = {
        { { 0, 0, 0, 0 }, { 0, 0 }, { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 } },
        { { 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff },
          { 0xffffffff, 0xffffffff },
          { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd } },
        { { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 },
          { 0xa4093822, 0x299f31d0 },
          { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } },
    };
    for (size_t v = 0; v < sizeof vectors / sizeof *vectors; v++) {
        uint32_t out[4];
        vmae_philox(out, vectors[v].counter, vectors[v].key);
        for (int i = 0; i < 4; i++)
            CHECK_EQ(out[i], vectors[v].expected[i]);
    }
}

TEST(rng_streams_differ_in_every_part_of_their_address)
{
    vmae_rng streams[] = {
        vmae_rng_at(1, VMAE_RNG_MASK, 0, 0),          vmae_rng_at(2, VMAE_RNG_MASK, 0, 0),
        vmae_rng_at(1ull << 32, VMAE_RNG_MASK, 0, 0), vmae_rng_at(1, VMAE_RNG_INIT, 0, 0),
        vmae_rng_at(1, VMAE_RNG_MASK, 1, 0),          vmae_rng_at(1, VMAE_RNG_MASK, 0, 1),
        vmae_rng_at(1, VMAE_RNG_MASK, 0, 1ull << 32), vmae_rng_at(1, VMAE_RNG_MASK, 0, 1ull << 47),
    };
    enum { COUNT = sizeof streams / sizeof *streams };
    uint64_t drawn[COUNT];
    for (int i = 0; i < COUNT; i++) {
        drawn[i] = (uint64_t)vmae_rng_u32(&streams[i]) << 32;
        drawn[i] |= vmae_rng_u32(&streams[i]);
        for (int j = 0; j < i; j++)
            CHECK(drawn[i] != drawn[j]);
    }
}

/* Pins the addressing: a change would change what every seed means. */
TEST(rng_numbers_are_those_of_the_first_release)
{
    vmae_rng rng = vmae_rng_at(0x123456789abcdef0, VMAE_RNG_TEST, 7, 0xabcdef012345);
    const uint32_t counter[4] = { 0, 7, 0xef012345, 0xabcd000f }, key[2] = { 0x9abcdef0, 0x12345678 };
    uint32_t expected[4];
    vmae_philox(expected, counter, key);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(vmae_rng_u32(&rng), expected[i]);
    const uint32_t next[4] = { 1, 7, 0xef012345, 0xabcd000f };
    vmae_philox(expected, next, key);
    CHECK_EQ(vmae_rng_u32(&rng), expected[0]);
}

TEST(rng_uniform_stays_in_its_range_and_is_even)
{
    enum { DRAWS = 100000, BINS = 16 };
    vmae_rng rng = vmae_rng_at(1, VMAE_RNG_TEST, 0, 0);
    int bins[BINS] = { 0 };
    for (int i = 0; i < DRAWS; i++) {
        const float u = vmae_rng_uniform(&rng);
        if (!(u >= 0.0f && u < 1.0f)) {
            CHECK(u >= 0.0f && u < 1.0f);
            return;
        }
        bins[(int)(u * BINS)]++;
    }
    double chi = 0.0;
    for (int i = 0; i < BINS; i++)
        chi += pow(bins[i] - (double)DRAWS / BINS, 2) / ((double)DRAWS / BINS);
    CHECK(chi < 37.7); /* 15 degrees of freedom, 0.1%; the seed is fixed */
    for (int i = 0; i < 1000; i++) {
        const float b = vmae_rng_between(&rng, -3.0f, 5.0f);
        CHECK(b >= -3.0f && b <= 5.0f);
    }
}

TEST(rng_below_is_exact_for_awkward_bounds)
{
    vmae_rng rng = vmae_rng_at(3, VMAE_RNG_TEST, 0, 0);
    const uint64_t bounds[] = { 1, 2, 3, 7, 1000003, (1ull << 63) + 1, UINT64_MAX };
    for (size_t b = 0; b < sizeof bounds / sizeof *bounds; b++)
        for (int i = 0; i < 200; i++)
            CHECK(vmae_rng_below(&rng, bounds[b]) < bounds[b]);
    int seen[7] = { 0 };
    for (int i = 0; i < 7000; i++)
        seen[vmae_rng_below(&rng, 7)]++;
    for (int i = 0; i < 7; i++)
        CHECK_NEAR(seen[i], 1000, 130); /* 4.4 standard deviations */
}

TEST(rng_normal_has_the_moments_of_a_normal)
{
    enum { DRAWS = 200000 };
    vmae_rng rng = vmae_rng_at(5, VMAE_RNG_TEST, 0, 0);
    double sum = 0.0, squares = 0.0, cubes = 0.0, fourths = 0.0;
    for (int i = 0; i < DRAWS; i++) {
        const double x = vmae_rng_normal(&rng);
        sum += x;
        squares += x * x;
        cubes += x * x * x;
        fourths += x * x * x * x;
    }
    CHECK_NEAR(sum / DRAWS, 0.0, 0.01); /* 4.5 standard errors, each */
    CHECK_NEAR(squares / DRAWS, 1.0, 0.015);
    CHECK_NEAR(cubes / DRAWS, 0.0, 0.04);
    CHECK_NEAR(fourths / DRAWS, 3.0, 0.1);
}
