/* test_mem.c -- allocation that overflows, the arena. */
#include "engine/core/mem.h"
#include "tests/test.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* AddressSanitizer's calloc would end the process instead of returning NULL. */
__attribute__((visibility("default"))) const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

TEST(mem_refuses_products_that_overflow)
{
    CHECK(vmae_calloc(SIZE_MAX / 2, 4) == NULL);
    CHECK_STR(vmae_error(), "out of memory");
    char *block = vmae_calloc(4, 1);
    REQUIRE(block);
    memcpy(block, "abc", 4);
    CHECK(vmae_realloc(block, SIZE_MAX / 2, 4) == NULL);
    CHECK(strcmp(block, "abc") == 0); /* the old block stays */
    free(block);
}

TEST(mem_of_nothing_is_a_valid_pointer)
{
    void *none = vmae_calloc(0, 16);
    CHECK(none != NULL);
    free(none);
}

TEST(mem_format_builds_text_of_any_length)
{
    char *text = vmae_format("%0*d", 5000, 7);
    REQUIRE(text);
    CHECK_EQ(strlen(text), 5000);
    free(text);
}

TEST(arena_blocks_are_zero_aligned_and_do_not_overlap)
{
    vmae_arena *arena = vmae_arena_new();
    REQUIRE(arena);
    unsigned char *blocks[400];
    for (size_t i = 0; i < 400; i++) {
        const size_t size = 1 + i * 7 % 1000;
        blocks[i] = vmae_arena_calloc(arena, size, 1);
        REQUIRE(blocks[i]);
        CHECK_EQ((uintptr_t)blocks[i] % 16, 0);
        for (size_t b = 0; b < size; b++)
            if (blocks[i][b])
                CHECK(!"the block is not zero");
        memset(blocks[i], (int)(i % 255) + 1, size);
    }
    for (size_t i = 0; i < 400; i++)
        CHECK_EQ(blocks[i][i * 7 % 1000], i % 255 + 1);
    char *big = vmae_arena_calloc(arena, 1 << 20, 1);
    REQUIRE(big);
    CHECK_EQ(big[(1 << 20) - 1], 0);
    CHECK(strcmp(vmae_arena_strdup(arena, "kept"), "kept") == 0);
    CHECK(strcmp(vmae_arena_format(arena, "%s-%d", "kept", 3), "kept-3") == 0);
    vmae_arena_free(arena);
    vmae_arena_free(NULL);
}

TEST(arena_refuses_products_that_overflow)
{
    vmae_arena *arena = vmae_arena_new();
    REQUIRE(arena);
    CHECK(vmae_arena_calloc(arena, SIZE_MAX / 2, 4) == NULL);
    CHECK(vmae_arena_calloc(arena, SIZE_MAX - 3, 1) == NULL);
    vmae_arena_free(arena);
}
