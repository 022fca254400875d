/* test_checkpoint_bad.c -- hostile and damaged safetensors: each is refused, and told what is wrong. */
#include "engine/checkpoint/checkpoint.h"
#include "engine/core/fs.h"
#include "engine/core/mem.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A file of this header and so many bytes of data, as fresh memory of exactly that size; the header is padded to 8. */
static uint8_t *make_file(const char *header, size_t data, size_t *count)
{
    const uint64_t length = (strlen(header) + 7) / 8 * 8;
    *count = 8 + length + data;
    uint8_t *file = vmae_calloc(*count, 1);
    memcpy(file, &length, 8);
    memset(file + 8, ' ', length);
    memcpy(file + 8, header, strlen(header));
    return file;
}

#define F32(shape, offsets) "{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

TEST(checkpoint_hostile_headers_are_refused_and_told_why)
{
    static const struct {
        const char *header;
        size_t data;
        const char *said;
    } cases[] = {
        { "{\"a\":" F32("[1]", "[0,4]") ",\"b\":" F32("[1]", "[0,4]") "}", 4, "tensor b: its data overlap" },
        { "{\"a\":" F32("[2]", "[0,8]") ",\"b\":" F32("[1]", "[4,8]") "}", 8, "its data overlap" },
        { "{\"a\":" F32("[1]", "[0,4]") ",\"b\":" F32("[1]", "[8,12]") "}", 12, "tensor b: there is a hole" },
        { "{\"a\":" F32("[1]", "[4,8]") "}", 8, "tensor a: there is a hole" },
        { "{\"a\":" F32("[1]", "[0,4]") "}", 8, "4 bytes after the last tensor belong to none" },
        { "{}", 4, "4 bytes after the last tensor" },
        { "{\"a\":" F32("[2]", "[0,8]") "}", 4, "outside the 4 bytes of data; is the file cut off?" },
        { "{\"a\":" F32("[1]", "[0,9223372036854775807]") "}", 4, "lie outside" },
        { "{\"a\":" F32("[1]", "[4,0]") "}", 4, "lie outside" },
        { "{\"a\":" F32("[1]", "[-4,0]") "}", 4, "lie outside" },
        { "{\"a\":" F32("[2]", "[0,4]") "}", 4, "shape and dtype need 8 bytes, its data_offsets say 4" },
        { "{\"a\":" F32("[4294967296,4294967296,4]", "[0,0]") "}", 0, "larger than memory can be" },
        { "{\"a\":" F32("[4611686018427387904,4]", "[0,0]") "}", 0, "larger than memory can be" },
        { "{\"a\":" F32("[4611686018427387904]", "[0,0]") "}", 0, "larger than memory can be" },
        { "{\"a\":" F32("[-1]", "[0,4]") "}", 4, "not a whole number from 0 up" },
        { "{\"a\":" F32("[-1,-1]", "[0,4]") "}", 4, "not a whole number from 0 up" },
        { "{\"a\":" F32("[1.0]", "[0,4]") "}", 4, "not a whole number from 0 up" },
        { "{\"a\":" F32("[\"1\"]", "[0,4]") "}", 4, "not a whole number from 0 up" },
        { "{\"a\":" F32("[99999999999999999999]", "[0,4]") "}", 4, "not JSON: too big integer" },
        { "{\"a\":" F32("[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", 4, "more than 8 dimensions" },
        { "{\"a\":" F32("4", "[0,4]") "}", 4, "it has no shape" },
        { "{\"a\":" F32("{}", "[0,4]") "}", 4, "it has no shape" },
        { "{\"a\":" F32("[1]", "[0]") "}", 4, "not two whole numbers" },
        { "{\"a\":" F32("[1]", "[0,4,8]") "}", 4, "not two whole numbers" },
        { "{\"a\":" F32("[1]", "[0.0,4.0]") "}", 4, "not two whole numbers" },
        { "{\"a\":" F32("[1]", "\"0,4\"") "}", 4, "not two whole numbers" },
        { "{\"a\":" F32("[1]", "[0,4]") ",\"a\":" F32("[1]", "[0,4]") "}", 4, "duplicate object key" },
        { "{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
          "duplicate object key" },
        { "{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4, "dtype F8_E4M3 is not one of" },
        { "{\"a\":{\"dtype\":5,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "it has no dtype" },
        { "{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "not exactly dtype, shape and data_offsets" },
        { "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4],\"x\":1}}", 4, "it has no shape" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}}", 4, "not exactly dtype" },
        { "{\"a\":[]}", 0, "its entry is not a JSON object" },
        { "{\"a\":null}", 0, "its entry is not a JSON object" },
        { "{\"u\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"a\":" F32("[1]", "[1,5]") "}", 5,
          "tensor a: its data do not begin at a multiple of the element size" },
        { "{\"a\":" F32("[NaN]", "[0,4]") "}", 4, "not JSON" },
        { "{\"a\":" F32("[1]", "[0,4]") "", 4, "not JSON" },
        { "{\"a\":" F32("[1]", "[0,4]") "} x", 4, "not JSON" },
        { "[]", 0, "does not begin with {" },
        { "\"a\"", 0, "does not begin with {" },
        { " {}", 0, "does not begin with {" },
        { "", 0, "does not begin with {" },
        { "{\"\\u0000\":{}}", 0, "not JSON" },
        { "{\"a\xff\":{}}", 0, "not JSON" },
        { "{\"__metadata__\":[]}", 0, "__metadata__ is not a JSON object" },
        { "{\"__metadata__\":{\"a\":1}}", 0, "a value in __metadata__ is not a string" },
        { "{\"__metadata__\":{\"a\":{\"b\":\"c\"}}}", 0, "a value in __metadata__ is not a string" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vmae_checkpoint *c = NULL;
        size_t count;
        uint8_t *file = make_file(cases[i].header, cases[i].data, &count);
        CHECK_FAILS(vmae_checkpoint_parse(&c, file, count, "evil"), VMAE_EDATA, cases[i].said);
        CHECK_STR(vmae_error(), "evil: ");
        CHECK(c == NULL);
        free(file);
    }
}

TEST(checkpoint_lying_header_lengths_are_refused)
{
    static const struct {
        uint64_t length;
        const char *said;
    } cases[] = {
        { 0, "does not begin with {" },
        { 17, "header is longer than the file" },
        { 100 * 1000 * 1000, "header is longer than the file" },
        { 100 * 1000 * 1000 + 1, "longer than 100 MB" },
        { UINT64_MAX, "longer than 100 MB" },
        { UINT64_MAX - 7, "longer than 100 MB" },
        { 15, "not JSON" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vmae_checkpoint *c = NULL;
        uint8_t file[24];
        memcpy(file, &cases[i].length, 8);
        memcpy(file + 8, "{\"abcdefgh\": {}}", 16);
        CHECK_FAILS(vmae_checkpoint_parse(&c, file, sizeof file, "evil"), VMAE_EDATA, cases[i].said);
    }
    vmae_checkpoint *c = NULL;
    CHECK_FAILS(vmae_checkpoint_parse(&c, "1234567", 7, "evil"), VMAE_EDATA, "shorter than 8 bytes");
    CHECK_FAILS(vmae_checkpoint_parse(&c, NULL, 0, "evil"), VMAE_EDATA, "shorter than 8 bytes");
}

TEST(checkpoint_endless_nesting_is_refused)
{
    enum { DEEP = 1 << 20 };
    size_t count;
    vmae_checkpoint *c = NULL;
    char *header = vmae_calloc(DEEP + 16, 1);
    REQUIRE(header);
    strcpy(header, "{\"a\":");
    memset(header + 5, '[', DEEP);
    uint8_t *file = make_file(header, 0, &count);
    CHECK_FAILS(vmae_checkpoint_parse(&c, file, count, "evil"), VMAE_EDATA, "not JSON: maximum parsing depth");
    free(file);
    free(header);
}

TEST(checkpoint_names_in_messages_are_cut)
{
    size_t count;
    vmae_checkpoint *c = NULL;
    char header[4096] = "{\"";
    memset(header + 2, 'n', 3000);
    strcat(header, "\": 5}");
    uint8_t *file = make_file(header, 0, &count);
    CHECK_FAILS(vmae_checkpoint_parse(&c, file, count, "evil"), VMAE_EDATA, "nnn: its entry is not a JSON object");
    CHECK(strlen(vmae_error()) < 300);
    free(file);
}

TEST(checkpoint_cut_anywhere_is_refused)
{
    const char *header = "{\"a\":" F32("[2]", "[0,8]") ",\"__metadata__\":{\"k\":\"v\"},\"b\":" F32("[0]", "[8,8]") "}";
    size_t count;
    vmae_checkpoint *c = NULL;
    uint8_t *file = make_file(header, 8, &count);
    REQUIRE_OK(vmae_checkpoint_parse(&c, file, count, "whole"));
    CHECK_EQ(vmae_checkpoint_count(c), 2);
    vmae_checkpoint_free(c);
    for (size_t cut = 0; cut < count; cut++) {
        uint8_t *part = vmae_calloc(cut, 1); /* exact, for the sanitizers */
        memcpy(part, file, cut);
        c = NULL;
        if (vmae_checkpoint_parse(&c, part, cut, "cut") != VMAE_EDATA)
            vmae_check(false, __FILE__, __LINE__, "cut at %zu of %zu is taken", cut, count);
        vmae_checkpoint_free(c);
        free(part);
    }
    free(file);
}

TEST(checkpoint_files_that_are_none_are_refused)
{
    vmae_checkpoint *c = NULL;
    char path[600];
    snprintf(path, sizeof path, "%s/empty", vmae_test_folder());
    CHECK_OK(vmae_write_file(path, "", 0));
    CHECK_FAILS(vmae_checkpoint_open(&c, path), VMAE_EDATA, "/empty: not a safetensors file");
    CHECK_FAILS(vmae_checkpoint_open(&c, "/nonexistent"), VMAE_EUSER, "/nonexistent: No such file");
    CHECK_FAILS(vmae_checkpoint_open(&c, vmae_test_folder()), VMAE_EUSER, "Is a directory");
    CHECK_FAILS(vmae_checkpoint_open(&c, "/dev/zero"), VMAE_EUSER, "not a regular file");
    CHECK(c == NULL);
}
