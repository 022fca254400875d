/* test_sampling.c -- the order of samples and the choice of frame pairs. */
#include "engine/data/data.h"
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

/* ---- order ---- */

/* Every index of an epoch comes exactly once. */
static bool is_permutation(uint64_t seed, int64_t count, uint32_t epoch)
{
    unsigned char *seen = calloc((size_t)count, 1);
    bool good = seen != NULL;
    for (int64_t p = 0; good && p < count; p++) {
        uint32_t e;
        int64_t index;
        vmae_order_at(seed, count, true, (uint64_t)epoch * (uint64_t)count + (uint64_t)p, &e, &index);
        good = e == epoch && index >= 0 && index < count && !seen[index];
        if (good)
            seen[index] = 1;
    }
    free(seen);
    return good;
}

TEST(every_epoch_is_a_permutation_for_every_small_count)
{
    for (int64_t count = 1; count <= 300; count++)
        for (uint32_t epoch = 0; epoch < 3; epoch++)
            if (!CHECK(is_permutation(7 + (uint64_t)count, count, epoch)))
                return;
}

TEST(every_epoch_is_a_permutation_around_powers_of_two_and_for_large_counts)
{
    static const int64_t counts[] = { 511, 512, 513, 4095, 4096, 4097, 65535, 65536, 65537, 100003 };
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        CHECK(is_permutation(1, counts[i], 1000000));
}

TEST(without_shuffling_the_order_is_the_datasets)
{
    for (uint64_t p = 0; p < 50; p++) {
        uint32_t epoch;
        int64_t index;
        vmae_order_at(3, 7, false, p, &epoch, &index);
        CHECK_EQ(index, p % 7);
        CHECK_EQ(epoch, p / 7);
    }
}

TEST(the_largest_count_and_position_stay_in_range)
{
    uint32_t epoch;
    int64_t index;
    vmae_order_at(UINT64_MAX, INT64_MAX, true, UINT64_MAX, &epoch, &index);
    CHECK(index >= 0 && index < INT64_MAX);
    CHECK_EQ(epoch, 2);
}

/* Over many epochs each place sees each index equally often: chi square of a 10 x 10 table, 81 degrees of freedom. */
TEST(the_orders_of_epochs_are_uniform)
{
    enum { COUNT = 10, EPOCHS = 5000 };
    int table[COUNT][COUNT] = { { 0 } }, neighbours = 0;
    for (uint64_t e = 0; e < EPOCHS; e++) {
        int64_t before = -2;
        for (uint64_t p = 0; p < COUNT; p++) {
            uint32_t epoch;
            int64_t index;
            vmae_order_at(42, COUNT, true, e * COUNT + p, &epoch, &index);
            table[p][index]++;
            neighbours += index == before + 1;
            before = index;
        }
    }
    double chi = 0.0;
    for (int p = 0; p < COUNT; p++)
        for (int i = 0; i < COUNT; i++) {
            const double off = table[p][i] - EPOCHS / (double)COUNT;
            chi += off * off / (EPOCHS / (double)COUNT);
        }
    CHECK_NEAR(chi, 81.0, 55.0);                       /* a standard deviation is 12.7 */
    CHECK_NEAR(neighbours / (double)EPOCHS, 0.9, 0.1); /* (n - 1) places, each with probability 1/n */
}

TEST(seeds_give_different_orders)
{
    int same = 0;
    for (uint64_t p = 0; p < 1000; p++) {
        uint32_t epoch;
        int64_t a, b;
        vmae_order_at(1, 1000, true, p, &epoch, &a);
        vmae_order_at(2, 1000, true, p, &epoch, &b);
        same += a == b;
    }
    CHECK(same < 10);
}

/* ---- frames ---- */

static vmae_rng stream(uint64_t sample)
{
    return vmae_rng_at(5, VMAE_RNG_TEST, 0, sample);
}

TEST(distant_frames_come_from_the_two_halves_of_the_window)
{
    const vmae_frame_sampling how = { .distant = true, .window = 9 };
    int first[4] = { 0 }, second[5] = { 0 }, starts_seen = 0;
    for (uint64_t i = 0; i < 4000; i++) {
        vmae_rng rng = stream(i);
        int frame[2];
        REQUIRE_OK(vmae_sample_frames(&how, 9, &rng, frame));
        REQUIRE(frame[0] >= 0 && frame[0] < 4 && frame[1] >= 4 && frame[1] < 9);
        first[frame[0]]++;
        second[frame[1] - 4]++;
    }
    for (int i = 0; i < 4; i++)
        CHECK_NEAR(first[i], 1000, 130); /* standard deviation 27 */
    for (int i = 0; i < 5; i++)
        CHECK_NEAR(second[i], 800, 120);
    for (uint64_t i = 0; i < 200; i++) { /* in a longer clip the window moves about: gaps stay below it */
        vmae_rng rng = stream(i);
        int frame[2];
        REQUIRE_OK(vmae_sample_frames(&how, 100, &rng, frame));
        REQUIRE(frame[0] >= 0 && frame[1] < 100 && frame[1] > frame[0] && frame[1] - frame[0] < 9);
        starts_seen |= 1 << (frame[0] / 10);
    }
    CHECK_EQ(starts_seen, 1023);
}

TEST(continuous_frames_are_at_most_delta_apart_and_use_the_whole_clip)
{
    const vmae_frame_sampling how = { .delta = 3 };
    int first = 0, last = 0, gaps[4] = { 0 };
    for (uint64_t i = 0; i < 3000; i++) {
        vmae_rng rng = stream(i);
        int frame[2];
        REQUIRE_OK(vmae_sample_frames(&how, 10, &rng, frame));
        REQUIRE(frame[0] >= 0 && frame[1] < 10 && frame[1] > frame[0] && frame[1] <= frame[0] + 3);
        first += frame[0] == 0;
        last += frame[1] == 9;
        gaps[frame[1] - frame[0]]++;
    }
    CHECK(first > 300 && last > 80); /* of 7 starts; the last one needs the largest gap */
    for (int g = 1; g <= 3; g++)
        CHECK_NEAR(gaps[g], 1000, 130);
}

TEST(delta_zero_is_the_same_frame_twice)
{
    const vmae_frame_sampling how = { 0 };
    unsigned seen = 0;
    for (uint64_t i = 0; i < 200; i++) {
        vmae_rng rng = stream(i);
        int frame[2];
        REQUIRE_OK(vmae_sample_frames(&how, 8, &rng, frame));
        CHECK_EQ(frame[0], frame[1]);
        seen |= 1u << frame[0];
    }
    CHECK_EQ(seen, 255);
}

TEST(clips_and_windows_that_are_too_short_are_refused_and_say_what_is_needed)
{
    int frame[2] = { -1, -1 };
    vmae_rng rng = stream(0);
    CHECK_FAILS(vmae_sample_frames(&(vmae_frame_sampling){ .distant = true }, 1, &rng, frame), VMAE_EDATA,
                "at least 2");
    CHECK_FAILS(vmae_sample_frames(&(vmae_frame_sampling){ .delta = 4 }, 4, &rng, frame), VMAE_EDATA, "at least 5");
    CHECK_FAILS(vmae_sample_frames(&(vmae_frame_sampling){ 0 }, 0, &rng, frame), VMAE_EDATA, "at least 1");
    CHECK_FAILS(vmae_sample_frames(&(vmae_frame_sampling){ .delta = 8, .window = 8 }, 100, &rng, frame), VMAE_EUSER,
                "needs 9");
    CHECK_FAILS(vmae_sample_frames(&(vmae_frame_sampling){ .delta = -1 }, 100, &rng, frame), VMAE_EUSER, "negative");
    CHECK_FAILS(vmae_sample_frames(&(vmae_frame_sampling){ .delta = INT32_MAX }, 100, &rng, frame), VMAE_EDATA,
                "2147483648");
    CHECK_EQ(frame[0], -1); /* untouched */
    CHECK_OK(vmae_sample_frames(&(vmae_frame_sampling){ .distant = true }, 2, &rng, frame));
    CHECK(frame[0] == 0 && frame[1] == 1);
    CHECK_OK(
        vmae_sample_frames(&(vmae_frame_sampling){ .distant = true, .window = INT32_MAX }, INT32_MAX, &rng, frame));
    CHECK(frame[0] >= 0 && frame[1] > frame[0]);
}
