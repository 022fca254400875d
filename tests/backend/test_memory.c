/* test_memory.c -- a device's memory, and work that is recorded to run again. */
#include "engine/core/mem.h"
#include "tests/backend/kernel_values.h"

#include <stdlib.h>

static void *allocated(vmae_backend *be, size_t bytes)
{
    void *block = NULL;
    CHECK_OK(be->allocate(be, &block, bytes));
    CHECK(block && (uintptr_t)block % 64 == 0);
    return block;
}

static void zeroed_blocks(vmae_backend *be)
{
    static const size_t sizes[] = { 1, 63, 64, 4097, 3 << 20 };
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        unsigned char *host = grab(sizes[s]), *block = allocated(be, sizes[s]);
        REQUIRE(block);
        REQUIRE_OK(be->download(be, host, block, sizes[s]));
        int64_t other = 0;
        for (size_t i = 0; i < sizes[s]; i++)
            other += host[i] != 0;
        CHECK_EQ(other, 0);
        be->release(be, block);
    }
    be->release(be, NULL);
}

TEST(new_memory_is_aligned_and_zero)
{
    on_one_backend(zeroed_blocks);
}

/* Small and large, and not at the beginning of a block. */
static void copies(vmae_backend *be)
{
    static const size_t sizes[] = { 1, 7, 4096, 1000003, 9 << 20 };
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        const size_t offset = 256 * (s % 2), n = sizes[s];
        unsigned char *from = grab(n), *back = grab(n), *block = allocated(be, offset + n);
        REQUIRE(block);
        for (size_t i = 0; i < n; i++)
            from[i] = (unsigned char)(i * 31 + i / 251 + s);
        REQUIRE_OK(be->upload(be, block + offset, from, n));
        memset(from, 0, n); /* it may be reused on return */
        REQUIRE_OK(be->download(be, back, block + offset, n));
        int64_t wrong = 0;
        for (size_t i = 0; i < n; i++)
            wrong += back[i] != (unsigned char)(i * 31 + i / 251 + s);
        CHECK_EQ(wrong, 0);
        be->release(be, block);
    }
}

TEST(what_is_uploaded_comes_back_though_its_source_is_reused_at_once)
{
    on_one_backend(copies);
}

/* Uploads, between kernels that read what the upload before left, arrive in order. */
static void uploads_in_order(vmae_backend *be)
{
    enum { N = 1 << 18, ROUNDS = 9 };
    float *sum = allocated(be, N * sizeof *sum), *x = allocated(be, N * sizeof *x), *host = grab_floats(N);
    REQUIRE(sum && x);
    for (int round = 1; round <= ROUNDS; round++) {
        for (int i = 0; i < N; i++)
            host[i] = (float)(round * (i % 7));
        if (be->prefetch && round % 3 == 0)
            REQUIRE_OK(be->prefetch(be, host, N * sizeof *host));
        REQUIRE_OK(be->upload(be, x, host, N * sizeof *host));
        REQUIRE_OK(be->kernels->add(be, sum, sum, x, VMAE_F32, N));
    }
    REQUIRE_OK(be->download(be, host, sum, N * sizeof *sum));
    int64_t wrong = 0;
    for (int i = 0; i < N; i++)
        wrong += host[i] != (float)(ROUNDS * (ROUNDS + 1) / 2 * (i % 7));
    CHECK_EQ(wrong, 0);
    be->release(be, sum);
    be->release(be, x);
}

TEST(uploads_between_kernels_arrive_in_order)
{
    on_one_backend(uploads_in_order);
}

static void recorded(vmae_backend *be)
{
    enum { N = 1000 };
    if (!be->record_begin)
        SKIP("%s records nothing", be->name);
    float *sum = allocated(be, N * sizeof *sum), *x = allocated(be, N * sizeof *x), *host = grab_floats(N);
    vmae_recording *recording = NULL;
    REQUIRE(sum && x);
    REQUIRE_OK(be->record_begin(be));
    REQUIRE_OK(be->kernels->add(be, sum, sum, x, VMAE_F32, N));
    REQUIRE_OK(be->kernels->relu(be, sum, sum, VMAE_F32, N));
    REQUIRE_OK(be->record_end(be, &recording));
    REQUIRE(recording);
    for (int round = 0; round < 4; round++) { /* 1, then -3: to 0, then 1, then -3 */
        for (int i = 0; i < N; i++)
            host[i] = round % 2 ? -3.0f : 1.0f;
        REQUIRE_OK(be->upload(be, x, host, N * sizeof *host));
        REQUIRE_OK(be->replay(be, recording));
        REQUIRE_OK(be->download(be, host, sum, N * sizeof *sum));
        CHECK(host[0] == (round % 2 ? 0.0f : 1.0f) && host[N - 1] == host[0]);
    }
    be->recording_free(be, recording);
    be->recording_free(be, NULL);
    REQUIRE_OK(be->record_begin(be));
    REQUIRE_OK(be->kernels->fill(be, sum, 9.0f, N));
    REQUIRE_OK(be->record_end(be, NULL)); /* dropped: never runs */
    REQUIRE_OK(be->download(be, host, sum, N * sizeof *sum));
    CHECK(host[0] == 0.0f);
    be->release(be, sum);
    be->release(be, x);
}

TEST(recorded_work_runs_when_it_is_replayed_and_reads_what_is_new)
{
    on_one_backend(recorded);
}
