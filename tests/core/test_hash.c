/* test_hash.c -- SHA-256 against FIPS 180-2, fields that cannot be confused, name hashes. */
#include "engine/core/fs.h"
#include "engine/core/hash.h"
#include "tests/test.h"

#include <stdio.h>
#include <string.h>

static void digest(char hex[VMAE_HASH_HEX], const char *a, const char *b)
{
    vmae_hash *hash = vmae_hash_new();
    vmae_hash_bytes(hash, a, strlen(a));
    vmae_hash_bytes(hash, b, strlen(b));
    vmae_hash_hex(hash, hex);
    vmae_hash_free(hash);
}

TEST(hash_gives_the_published_digests)
{
    char hex[VMAE_HASH_HEX];
    digest(hex, "", "");
    CHECK(strcmp(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855") == 0);
    digest(hex, "a", "bc");
    CHECK(strcmp(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad") == 0);
}

TEST(hash_of_a_file_is_that_of_its_bytes)
{
    char hex[VMAE_HASH_HEX] = "kept", path[600];
    snprintf(path, sizeof path, "%s/abc", vmae_test_folder());
    CHECK_OK(vmae_write_file(path, "abc", 3));
    CHECK_FAILS(vmae_hash_file("/nonexistent/file", hex), VMAE_EUSER, "/nonexistent/file");
    CHECK_FAILS(vmae_hash_file(vmae_test_folder(), hex), VMAE_EUSER, "directory");
    CHECK(strcmp(hex, "kept") == 0);
    REQUIRE_OK(vmae_hash_file(path, hex));
    CHECK(strncmp(hex, "ba7816bf8f01cfea", 16) == 0);
}

TEST(hash_fields_cannot_be_confused)
{
    static const char *const lists[][4] = {
        { "a", "b", "c", "d" }, { "a", "b\n1:c=1:d", "", "" }, { "a=b", "", "c", "d" },
        { "ab", "", "c", "d" }, { "a", "", "bc", "d" },
    };
    char hex[5][VMAE_HASH_HEX];
    for (size_t i = 0; i < 5; i++) {
        vmae_hash *hash = vmae_hash_new();
        REQUIRE(hash);
        vmae_hash_field(hash, lists[i][0], lists[i][1]);
        vmae_hash_field(hash, lists[i][2], lists[i][3]);
        vmae_hash_hex(hash, hex[i]);
        vmae_hash_free(hash);
        for (size_t j = 0; j < i; j++)
            CHECK(strcmp(hex[i], hex[j]) != 0);
    }
    vmae_hash_free(NULL);
}

TEST(hash_of_names_is_fixed_and_spreads)
{
    int bits[64] = { 0 };
    CHECK(vmae_hash_name("a") != vmae_hash_name("b"));
    for (int i = 0; i < 1000; i++) {
        char name[32];
        snprintf(name, sizeof name, "blocks.%d.norm", i);
        for (int b = 0; b < 64; b++)
            bits[b] += (int)(vmae_hash_name(name) >> b & 1);
    }
    for (int b = 0; b < 64; b++)
        CHECK_NEAR(bits[b], 500, 80); /* 5 standard deviations */
    /* The initialisation streams use it: FNV-1a through murmur's finaliser, computed apart. */
    CHECK(vmae_hash_name("") == 0xefd01f60ba992926u);
    CHECK(vmae_hash_name("blocks.0.norm1.weight") == 0xd7bdd63b4545a6b1u);
}
