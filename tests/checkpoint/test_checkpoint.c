/* test_checkpoint.c -- round trips, conversions, alignment, failed saves, and the golden files. */
#include "engine/checkpoint/checkpoint.h"
#include "engine/core/fs.h"
#include "engine/core/mem.h"
#include "tests/test.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static const char *at(const char *name)
{
    static char paths[2][600];
    static int turn;
    char *path = paths[turn++ % 2];
    snprintf(path, sizeof paths[0], "%s/%s", vmae_test_folder(), name);
    return path;
}

static vmae_status save_sample(const char *path)
{
    static const uint8_t flags[3] = { 1, 0, 1 };
    static const float weight[6] = { 0.5f, -1.0f, 2.0f, 3.25f, INFINITY, 1e-40f };
    static const double wide[2] = { 1e300, -0.5 };
    static const int64_t steps = 12345678901;
    vmae_writer *writer = vmae_writer_new();
    vmae_status st = vmae_writer_add(writer, "flags", VMAE_ST_BOOL, 1, (int64_t[]){ 3 }, flags);
    if (st == VMAE_OK)
        st = vmae_writer_add(writer, "blocks.0.w\"e\xc3\xa9", VMAE_ST_F32, 2, (int64_t[]){ 2, 3 }, weight);
    if (st == VMAE_OK)
        st = vmae_writer_add(writer, "wide", VMAE_ST_F64, 1, (int64_t[]){ 2 }, wide);
    if (st == VMAE_OK)
        st = vmae_writer_add(writer, "empty", VMAE_ST_F32, 2, (int64_t[]){ 0, 7 }, NULL);
    if (st == VMAE_OK)
        st = vmae_writer_add(writer, "num_batches_tracked", VMAE_ST_I64, 0, NULL, &steps);
    if (st == VMAE_OK)
        st = vmae_writer_metadata(writer, "epoch", "7");
    if (st == VMAE_OK)
        st = vmae_writer_metadata(writer, "note", "line\nline \xc3\xa9");
    if (st == VMAE_OK)
        st = vmae_writer_save(writer, path);
    vmae_writer_free(writer);
    return st;
}

TEST(checkpoint_comes_back_as_it_was_saved)
{
    vmae_checkpoint *c;
    float floats[6];
    REQUIRE_OK(save_sample(at("sample.safetensors")));
    REQUIRE_OK(vmae_checkpoint_open(&c, at("sample.safetensors")));
    CHECK_EQ(vmae_checkpoint_count(c), 5);
    const vmae_entry *steps = vmae_checkpoint_find(c, "num_batches_tracked");
    REQUIRE(steps && steps->rank == 0 && steps->count == 1 && steps->bytes == 8);
    CHECK(*(const int64_t *)steps->data == 12345678901);
    const vmae_entry *empty = vmae_checkpoint_find(c, "empty");
    CHECK(empty && empty->count == 0 && empty->bytes == 0 && empty->dim[1] == 7);
    REQUIRE_OK(vmae_checkpoint_floats(c, "blocks.0.w\"e\xc3\xa9", floats, 2, (int64_t[]){ 2, 3 }));
    CHECK(floats[0] == 0.5f && floats[1] == -1.0f && isinf(floats[4]) && floats[5] == 1e-40f);
    REQUIRE_OK(vmae_checkpoint_floats(c, "wide", floats, 1, (int64_t[]){ 2 }));
    CHECK(isinf(floats[0]) && floats[1] == -0.5f);
    CHECK_OK(vmae_checkpoint_floats(c, "empty", floats, 2, (int64_t[]){ 0, 7 }));
    const vmae_entry *flags = vmae_checkpoint_find(c, "flags");
    CHECK(flags && flags->dtype == VMAE_ST_BOOL && memcmp(flags->data, "\1\0\1", 3) == 0);
    CHECK(strcmp(vmae_checkpoint_metadata(c, "epoch"), "7") == 0);
    CHECK(strcmp(vmae_checkpoint_metadata(c, "note"), "line\nline \xc3\xa9") == 0);
    CHECK(vmae_checkpoint_metadata(c, "absent") == NULL);
    CHECK(vmae_checkpoint_find(c, "absent") == NULL);
    CHECK(vmae_checkpoint_find(c, "__metadata__") == NULL);
    REQUIRE(vmae_checkpoint_metadata_count(c) == 2);
    const char *key, *value;
    vmae_checkpoint_metadata_at(c, 1, &key, &value);
    CHECK(strcmp(key, "note") == 0 && strncmp(value, "line", 4) == 0);
    vmae_checkpoint_free(c);
    vmae_checkpoint_free(NULL);
}

TEST(checkpoint_tensors_are_aligned_without_holes_and_the_data_to_64_bytes)
{
    vmae_checkpoint *c;
    vmae_map map;
    REQUIRE_OK(save_sample(at("aligned")));
    REQUIRE_OK(vmae_map_open(&map, at("aligned")));
    CHECK_EQ((map.bytes[0] + 256 * map.bytes[1] + 8) % 64, 0);
    REQUIRE_OK(vmae_checkpoint_parse(&c, map.bytes, map.count, "aligned"));
    const uint8_t *next = map.bytes + 8 + map.bytes[0] + 256 * map.bytes[1];
    for (size_t i = 0; i < vmae_checkpoint_count(c); i++) {
        const vmae_entry *entry = vmae_checkpoint_at(c, i);
        CHECK((const uint8_t *)entry->data == next);
        CHECK_EQ((uintptr_t)entry->data % vmae_dtype_size(entry->dtype), 0);
        next += entry->bytes;
    }
    CHECK(next == map.bytes + map.count);
    vmae_checkpoint_free(c);
    vmae_map_close(&map);
}

TEST(checkpoint_of_the_same_tensors_has_the_same_bytes)
{
    vmae_map a, b;
    REQUIRE_OK(save_sample(at("first")));
    REQUIRE_OK(save_sample(at("second")));
    REQUIRE_OK(vmae_map_open(&a, at("first")));
    REQUIRE_OK(vmae_map_open(&b, at("second")));
    CHECK(a.count == b.count && memcmp(a.bytes, b.bytes, a.count) == 0);
    vmae_map_close(&a);
    vmae_map_close(&b);
}

TEST(checkpoint_that_cannot_be_saved_leaves_the_old_one_whole)
{
    vmae_map before, after;
    struct rlimit kept, tight;
    REQUIRE_OK(save_sample(at("kept")));
    REQUIRE_OK(vmae_map_open(&before, at("kept")));
    getrlimit(RLIMIT_FSIZE, &kept);
    tight = (struct rlimit){ .rlim_cur = before.count - 1, .rlim_max = kept.rlim_max };
    void (*const handler)(int) = signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &tight);
    const vmae_status st = save_sample(at("kept"));
    setrlimit(RLIMIT_FSIZE, &kept);
    signal(SIGXFSZ, handler);
    CHECK_EQ(st, VMAE_EIO);
    REQUIRE_OK(vmae_map_open(&after, at("kept")));
    CHECK(after.count == before.count && memcmp(after.bytes, before.bytes, after.count) == 0);
    vmae_map_close(&before);
    vmae_map_close(&after);
    CHECK_FAILS(save_sample(at("no/folder")), VMAE_EUSER, "no/folder: No such file");
}

TEST(checkpoint_half_floats_are_converted_exactly)
{
    static const uint16_t half[] = { 0x0000, 0x8000, 0x3c00, 0xc000, 0x7bff, 0x0001,
                                     0x03ff, 0x0400, 0x7c00, 0xfc00, 0x7e00, 0x3555 };
    static const float expected[] = { 0.0f,         -0.0f,    1.0f,     -2.0f,     65504.0f, 0x1p-24f,
                                      0x1.ff8p-15f, 0x1p-14f, INFINITY, -INFINITY, NAN,      0x1.554p-2f };
    static const uint16_t brain[] = { 0x3f80, 0xc049, 0x7f80, 0x0001, 0xffc0 };
    static const float brain_expected[] = { 1.0f, -3.140625f, INFINITY, 0x1p-133f, NAN };
    enum { HALVES = 12, BRAINS = 5 };
    float floats[HALVES];
    vmae_checkpoint *c;
    vmae_writer *writer = vmae_writer_new();
    CHECK_OK(vmae_writer_add(writer, "half", VMAE_ST_F16, 1, (int64_t[]){ HALVES }, half));
    CHECK_OK(vmae_writer_add(writer, "brain", VMAE_ST_BF16, 1, (int64_t[]){ BRAINS }, brain));
    CHECK_OK(vmae_writer_save(writer, at("half")));
    vmae_writer_free(writer);
    REQUIRE_OK(vmae_checkpoint_open(&c, at("half")));
    REQUIRE_OK(vmae_checkpoint_floats(c, "half", floats, 1, (int64_t[]){ HALVES }));
    for (int i = 0; i < HALVES; i++)
        CHECK(isnan(expected[i]) ? isnan(floats[i])
                                 : floats[i] == expected[i] && signbit(floats[i]) == signbit(expected[i]));
    REQUIRE_OK(vmae_checkpoint_floats(c, "brain", floats, 1, (int64_t[]){ BRAINS }));
    for (int i = 0; i < BRAINS; i++)
        CHECK(isnan(brain_expected[i]) ? isnan(floats[i]) : floats[i] == brain_expected[i]);
    vmae_checkpoint_free(c);
}

TEST(checkpoint_of_another_model_is_refused_with_both_shapes)
{
    vmae_checkpoint *c;
    float floats[6];
    REQUIRE_OK(save_sample(at("other")));
    REQUIRE_OK(vmae_checkpoint_open(&c, at("other")));
    CHECK_FAILS(vmae_checkpoint_floats(c, "head.weight", floats, 1, (int64_t[]){ 3 }), VMAE_EUSER,
                "has no tensor head.weight (one of shape [3] is wanted)");
    CHECK_FAILS(vmae_checkpoint_floats(c, "wide", floats, 2, (int64_t[]){ 2, 3 }), VMAE_EUSER,
                "tensor wide has the shape [2], [2, 3] is wanted");
    CHECK_FAILS(vmae_checkpoint_floats(c, "wide", floats, 1, (int64_t[]){ 3 }), VMAE_EUSER, "has the shape [2], [3]");
    CHECK_FAILS(vmae_checkpoint_floats(c, "flags", floats, 1, (int64_t[]){ 3 }), VMAE_EUSER, "has the dtype BOOL");
    vmae_checkpoint_free(c);
}

TEST(checkpoint_writer_refuses_what_readers_would)
{
    vmae_writer *writer = vmae_writer_new();
    const float x = 1.0f;
    CHECK_OK(vmae_writer_add(writer, "a", VMAE_ST_F32, 0, NULL, &x));
    CHECK_FAILS(vmae_writer_add(writer, "a", VMAE_ST_F32, 0, NULL, &x), VMAE_EINTERNAL, "a is there already");
    CHECK_FAILS(vmae_writer_add(writer, "__metadata__", VMAE_ST_F32, 0, NULL, &x), VMAE_EINTERNAL, "__metadata__");
    CHECK_FAILS(vmae_writer_add(writer, "b", VMAE_ST_F32, 1, (int64_t[]){ -1 }, &x), VMAE_EINTERNAL,
                "impossible shape");
    CHECK_FAILS(vmae_writer_add(writer, "b", VMAE_ST_F32, 9, (int64_t[9]){ 0 }, &x), VMAE_EINTERNAL,
                "impossible shape");
    CHECK_FAILS(vmae_writer_add(writer, "b", VMAE_ST_F32, 2, (int64_t[]){ INT64_MAX, 3 }, &x), VMAE_EINTERNAL,
                "impossible shape");
    CHECK_FAILS(vmae_writer_add(writer, "\xff", VMAE_ST_F32, 0, NULL, &x), VMAE_EINTERNAL, "not UTF-8");
    CHECK_FAILS(vmae_writer_metadata(writer, "k", "\xff"), VMAE_EINTERNAL, "not UTF-8");
    vmae_checkpoint *c;
    CHECK_OK(vmae_writer_save(writer, at("after-refusals")));
    vmae_writer_free(writer);
    vmae_writer_free(NULL);
    REQUIRE_OK(vmae_checkpoint_open(&c, at("after-refusals")));
    CHECK_EQ(vmae_checkpoint_count(c), 1);
    vmae_checkpoint_free(c);
}

TEST(checkpoint_every_golden_file_opens)
{
    const char *golden = vmae_test_shared("golden");
    char **names;
    size_t count;
    int opened = 0;
    if (!golden)
        SKIP("no golden vectors here");
    REQUIRE_OK(vmae_list_folder(golden, false, &names, &count));
    for (size_t i = 0; i < count; i++) {
        vmae_checkpoint *c = NULL;
        if (!strstr(names[i], ".safetensors"))
            continue;
        char *path = vmae_path_join(golden, names[i]);
        CHECK_OK(vmae_checkpoint_open(&c, path));
        free(path);
        if (!c)
            continue;
        opened++;
        CHECK(vmae_checkpoint_count(c) > 0);
        for (size_t k = 0; k < vmae_checkpoint_count(c); k++) {
            const vmae_entry *entry = vmae_checkpoint_at(c, k);
            CHECK(vmae_checkpoint_find(c, entry->name) == entry);
        }
        vmae_checkpoint_free(c);
    }
    vmae_list_free(names, count);
    printf("  %d files\n", opened);
    CHECK(opened > 0);
}
