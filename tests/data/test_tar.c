/* test_tar.c -- the tar indexer: every dialect that is read, and every way in which an archive can lie. */
#include "engine/data/data.h"
#include "engine/data/tar.h"
#include "tests/data/fixtures.h"

#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static vmae_status index_archive(vmae_tar_index *index, const archive *from)
{
    *index = (vmae_tar_index){ 0 };
    const vmae_tar_input input = { .name = "a.tar", .bytes = from->at, .count = from->count };
    vmae_status st = vmae_tar_index_add(index, &input);
    return st == VMAE_OK ? vmae_tar_index_finish(index, "a.tar") : st;
}

static void check_refused(const archive *from, const char *part, int line)
{
    vmae_tar_index index;
    const vmae_status st = index_archive(&index, from);
    if (vmae_check(st == VMAE_EDATA || st == VMAE_EUSER, __FILE__, line, "status %d, expected a refusal", (int)st))
        vmae_check_contains(vmae_error(), part, __FILE__, line);
    vmae_tar_index_release(&index);
}
#define REFUSED(from, part) check_refused(from, part, __LINE__)

TEST(members_are_labelled_by_their_folder_in_sorted_order)
{
    archive a = { 0 };
    vmae_tar_index index;
    tar_add(&a, "./zebra/", '5', NULL, 0);
    tar_add(&a, "./zebra/1.jpg", '0', "abc", 3);
    tar_add(&a, "./ant/2.JPEG", '0', "defg", 4);
    tar_add(&a, "./ant/readme.txt", '0', "x", 1);
    tar_add(&a, "./ant/._2.jpg", '0', "x", 1);
    tar_add(&a, "deep/below/zebra/3.png", '\0', "", 0);
    tar_add(&a, "zebra/link.jpg", '2', NULL, 0);
    tar_end(&a);
    REQUIRE_OK(index_archive(&index, &a));
    CHECK_EQ(index.count, 3);
    CHECK_EQ(index.classes, 2);
    CHECK_STR(index.class_names[0], "ant");
    CHECK_STR(index.class_names[1], "zebra");
    CHECK_EQ(index.samples[0].label, 1);
    CHECK_EQ(index.samples[1].label, 0);
    CHECK_EQ(index.samples[2].label, 1);
    CHECK_STR(index.samples[0].name, "zebra/1.jpg");
    CHECK(index.samples[1].count == 4 && memcmp(a.at + index.samples[1].offset, "defg", 4) == 0);
    vmae_tar_index_release(&index);
    tar_free(&a);
}
TEST(webdataset_pairs_are_labelled_by_their_cls_member)
{
    archive a = { 0 };
    vmae_tar_index index;
    tar_add(&a, "s/0001.cls", '0', "7\n", 2);
    tar_add(&a, "s/0001.jpg", '0', "abc", 3);
    tar_add(&a, "s/0001.seg.png", '0', "no", 2);
    tar_add(&a, "s/0002.json", '0', "{}", 2);
    tar_add(&a, "s/0002.png", '0', "defg", 4);
    tar_add(&a, "s/0002.cls", '0', " 0", 2);
    tar_end(&a);
    REQUIRE_OK(index_archive(&index, &a));
    CHECK_EQ(index.count, 2);
    CHECK_EQ(index.classes, 8);
    CHECK_EQ(index.samples[0].label, 7);
    CHECK_EQ(index.samples[1].label, 0);
    CHECK_STR(index.samples[0].name, "0001.jpg");
    CHECK_STR(index.class_names[7], "7");
    vmae_tar_index_release(&index);
    tar_free(&a);
}
TEST(webdataset_samples_that_lack_a_half_or_a_number_are_named)
{
    archive a = { 0 };
    tar_add(&a, "1.jpg", '0', "abc", 3);
    tar_add(&a, "2.cls", '0', "1", 1);
    tar_end(&a);
    REFUSED(&a, "member \"1.jpg\" has no .cls");
    tar_free(&a);
    tar_add(&a, "2.cls", '0', "1", 1);
    tar_end(&a);
    REFUSED(&a, "member \"2.cls\" has no image");
    tar_free(&a);
    static const char *const wrong[] = { "", "cat", "-1", "1.5", "99999999999999999999", "1 2" };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        tar_add(&a, "3.jpg", '0', "abc", 3);
        tar_add(&a, "3.cls", '0', wrong[i], strlen(wrong[i]));
        tar_end(&a);
        REFUSED(&a, "member \"3.cls\" is not a label");
        tar_free(&a);
    }
}
TEST(long_names_of_gnu_pax_and_ustar_are_read)
{
    archive a = { 0 };
    vmae_tar_index index;
    char name[200], pax[300];
    memset(name, 'n', sizeof name);
    memcpy(name, "gnu/", 4);
    strcpy(name + 150, ".jpg");
    tar_add(&a, "././@LongLink", 'L', name, strlen(name) + 1);
    tar_add(&a, "gnu/nnnnn", '0', "abc", 3);
    memcpy(name, "pax/", 4);
    const int length = (int)strlen(name) + 10;
    snprintf(pax, sizeof pax, "%d path=%s\n", length, name);
    CHECK_EQ(strlen(pax), length);
    tar_add(&a, "PaxHeader", 'g', "18 comment=global\n", 18);
    tar_add(&a, "PaxHeader", 'x', pax, strlen(pax));
    tar_add(&a, "pax/nnnnn", '0', "de", 2);
    tar_add(&a, "c.jpg", '0', "f", 1);
    strcpy((char *)a.at + a.last + 345, "some/prefix"); /* ustar: prefix/name */
    tar_checksum(a.at + a.last);
    tar_end(&a);
    REQUIRE_OK(index_archive(&index, &a));
    CHECK_EQ(index.count, 3);
    CHECK_EQ(index.classes, 3);
    CHECK_STR(index.class_names[0], "gnu");
    CHECK_STR(index.class_names[2], "prefix");
    CHECK(strlen(index.samples[1].name) == strlen(name) && index.samples[1].count == 2);
    CHECK_STR(index.samples[2].name, "some/prefix/c.jpg");
    vmae_tar_index_release(&index);
    tar_free(&a);
}
TEST(sizes_in_base_256_and_in_pax_headers_are_read)
{
    archive a = { 0 };
    vmae_tar_index index;
    tar_add(&a, "a/1.jpg", '0', "abcde", 5);
    memcpy(a.at + a.last + 124, "\x80\0\0\0\0\0\0\0\0\0\0\5", 12);
    tar_checksum(a.at + a.last);
    tar_add(&a, "PaxHeader", 'x', "9 size=6\n", 9);
    tar_add(&a, "a/2.jpg", '0', "abcdef", 6);
    memcpy(a.at + a.last + 124, "00000000000", 12); /* the header says 0, pax says 6 */
    tar_checksum(a.at + a.last);
    tar_end(&a);
    REQUIRE_OK(index_archive(&index, &a));
    REQUIRE(index.count == 2);
    CHECK_EQ(index.samples[0].count, 5);
    CHECK_EQ(index.samples[1].count, 6);
    vmae_tar_index_release(&index);
    tar_free(&a);
}
TEST(a_size_beyond_the_end_or_absurd_is_refused)
{
    static const char sizes[][13] = { "77777777777\0", "\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
                                      "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
                                      "\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", "12x45678901\0" };
    static const char *const says[] = { "truncated: member \"a/2.jpg\" of 8589934591 bytes has only",
                                        "size is not a number", "size is not a number", "truncated: member",
                                        "size is not a number" };
    for (size_t i = 0; i < 5; i++) {
        archive a = { 0 };
        tar_add(&a, "a/1.jpg", '0', "abc", 3);
        tar_add(&a, "a/2.jpg", '0', "abc", 3);
        memcpy(a.at + a.last + 124, sizes[i], 12);
        tar_checksum(a.at + a.last);
        tar_end(&a);
        REFUSED(&a, says[i]);
        REFUSED(&a, "at offset 1024; the last whole member is \"a/1.jpg\" (1 are whole)");
        tar_free(&a);
    }
}
TEST(an_archive_cut_anywhere_is_refused_with_the_offset)
{
    archive a = { 0 };
    for (int i = 0; i < 3; i++) {
        char name[32];
        snprintf(name, sizeof name, "a/%d.jpg", i);
        tar_add(&a, name, '0', "0123456789", 10);
    }
    const size_t members = a.count;
    tar_end(&a);
    for (size_t kept = 1; kept <= members; kept++) {
        archive cut = { vmae_calloc(kept, 1), kept, 0 }; /* its own block: a read past it is seen */
        memcpy(cut.at, a.at, kept);
        REFUSED(&cut, kept == members ? "truncated: no end mark at offset 3072; the last whole member is \"a/2.jpg\""
                                      : "at offset");
        tar_free(&cut);
    }
    tar_free(&a);
}
TEST(a_wrong_checksum_is_refused_and_an_old_signed_one_is_taken)
{
    archive a = { 0 };
    vmae_tar_index index;
    tar_add(&a, "a/\xc3\xa4.jpg", '0', "abc", 3); /* bytes over 127 */
    unsigned sum = 0;
    memset(a.at + 148, ' ', 8);
    for (int i = 0; i < 512; i++)
        sum += (unsigned)(signed char)a.at[i];
    snprintf((char *)a.at + 148, 8, "%06o", sum);
    tar_end(&a);
    CHECK_OK(index_archive(&index, &a));
    vmae_tar_index_release(&index);
    a.at[3]++;
    REFUSED(&a, "wrong checksum");
    tar_free(&a);
}
TEST(pax_headers_that_lie_are_refused)
{
    static const char *const lies[] = { "",
                                        "x",
                                        "99 path=a\n",
                                        "5 a=\n",
                                        "0 path=a/b.jpg\n",
                                        "4 \n=",
                                        "9999999999999999999999 path=a\n",
                                        "11 size=1x\n",
                                        "21 GNU.sparse.major=1\n" };
    for (size_t i = 1; i < sizeof lies / sizeof *lies; i++) {
        archive a = { 0 };
        tar_add(&a, "a/0.jpg", '0', "abc", 3);
        tar_add(&a, "PaxHeader", 'x', lies[i], strlen(lies[i]));
        tar_add(&a, "a/1.jpg", '0', "abc", 3);
        tar_end(&a);
        if (i == 3) { /* well-formed, an unknown key */
            vmae_tar_index index;
            CHECK_OK(index_archive(&index, &a));
            vmae_tar_index_release(&index);
        } else {
            REFUSED(&a, "at offset 1024");
        }
        tar_free(&a);
    }
}
TEST(control_characters_in_names_reach_no_message)
{
    archive a = { 0 };
    vmae_tar_index index;
    tar_add(&a, "a\x1b[31m/\n1.jpg", '0', "abc", 3);
    tar_end(&a);
    REQUIRE_OK(index_archive(&index, &a));
    CHECK_STR(index.samples[0].name, "a?[31m/?1.jpg");
    CHECK_STR(index.class_names[0], "a?[31m");
    vmae_tar_index_release(&index);
    a.count -= 1024;
    REFUSED(&a, "the last whole member is \"a?[31m/?1.jpg\"");
    tar_free(&a);
}
TEST(no_images_no_folder_and_a_compressed_archive_say_what_to_do)
{
    archive a = { 0 };
    tar_add(&a, "a/readme.txt", '0', "abc", 3);
    tar_end(&a);
    REFUSED(&a, "holds no images; members should be <class>/<name>.jpg");
    tar_free(&a);
    tar_add(&a, "a/1.jpg", '0', "abc", 3);
    tar_add(&a, "2.jpg", '0', "abc", 3);
    tar_end(&a);
    REFUSED(&a, "member \"2.jpg\" lies in no class folder");
    tar_free(&a);
    tar_block(&a, "\x1f\x8b\x08", 3);
    REFUSED(&a, "compressed");
    tar_free(&a);
}
TEST(images_without_any_folder_have_no_labels)
{
    archive a = { 0 };
    vmae_tar_index index;
    tar_add(&a, "1.jpg", '0', "abc", 3);
    tar_end(&a);
    REQUIRE_OK(index_archive(&index, &a));
    CHECK_EQ(index.classes, 0);
    CHECK_EQ(index.samples[0].label, -1);
    vmae_tar_index_release(&index);
    tar_free(&a);
}
TEST(thousands_of_classes_keep_their_numbers_apart)
{
    archive a = { 0 };
    vmae_tar_index index;
    a.at = NULL;
    for (int i = 0; i < 1500; i++) {
        char name[32];
        snprintf(name, sizeof name, "c%05d/1.jpg", (i * 7919) % 1500);
        tar_add(&a, name, '0', "", 0);
    }
    tar_end(&a);
    REQUIRE_OK(index_archive(&index, &a));
    CHECK_EQ(index.classes, 1500);
    for (int i = 0; i < 1500; i++)
        CHECK_EQ(index.samples[i].label, (i * 7919) % 1500);
    vmae_tar_index_release(&index);
    tar_free(&a);
}

/* ---- files and shards ---- */

static void write_archive(const char *name, const char *member, int kind)
{
    archive a = { 0 };
    const bytes jpeg = make_jpeg(16, 12, kind, TJSAMP_420, 0);
    tar_add(&a, member, '0', jpeg.at, jpeg.count);
    tar_end(&a);
    CHECK_OK(vmae_write_file(in_folder(name), a.at, a.count));
    free(jpeg.at);
    tar_free(&a);
}

TEST(shards_of_a_split_are_one_dataset_in_the_order_of_their_names)
{
    vmae_dataset *dataset = NULL;
    vmae_image image = { 0 };
    char name[600];
    REQUIRE_OK(vmae_make_folders(in_folder("shards/val")));
    write_archive("shards/train-0001.tar", "b/1.jpg", 1);
    write_archive("shards/train-0000.tar", "c/0.jpg", 2);
    write_archive("shards/training.tar", "x/0.jpg", 3);
    write_archive("shards/val/any.tar", "b/9.jpg", 4);
    vmae_dataset_spec spec = { .kind = "tar", .path = in_folder("shards"), .split = "train" };
    REQUIRE_OK(vmae_dataset_open(&dataset, &spec));
    CHECK_EQ(dataset->count, 2);
    CHECK_EQ(dataset->classes, 2);
    CHECK_EQ(dataset->label(dataset, 0), 1);
    CHECK_EQ(dataset->label(dataset, 1), 0);
    CHECK_STR(dataset->name(dataset, 1, name, sizeof name), "train-0001.tar, member b/1.jpg");
    CHECK_OK(dataset->image(dataset, 1, 0, &image));
    CHECK(image.width == 16 && image.height == 12);
    vmae_dataset_close(dataset);
    spec.split = "val";
    REQUIRE_OK(vmae_dataset_open(&dataset, &spec));
    CHECK_EQ(dataset->count, 1);
    vmae_dataset_close(dataset);
    vmae_image_release(&image);

    dataset = NULL;
    spec.split = "other";
    CHECK_FAILS(vmae_dataset_open(&dataset, &spec), VMAE_EUSER, "no archive of split \"other\"");
    spec = (vmae_dataset_spec){ .kind = "tar", .path = in_folder("shards/train-0000.tar"), .split = "val" };
    CHECK_FAILS(vmae_dataset_open(&dataset, &spec), VMAE_EUSER, "stands for split \"train\" only");
    CHECK(dataset == NULL);
}
TEST(an_archive_that_is_cut_while_in_use_is_named_and_one_that_is_unlinked_stays)
{
    vmae_dataset *dataset = NULL;
    vmae_image image = { 0 };
    write_archive("live.tar", "b/1.jpg", 1);
    const vmae_dataset_spec spec = { .kind = "tar", .path = in_folder("live.tar") };
    REQUIRE_OK(vmae_dataset_open(&dataset, &spec));
    CHECK_OK(dataset->image(dataset, 0, 0, &image));
    const char *other = in_folder("live2.tar");
    REQUIRE(link(spec.path, other) == 0 && unlink(spec.path) == 0);
    CHECK_OK(dataset->image(dataset, 0, 0, &image));
    REQUIRE(truncate(other, 600) == 0);
    CHECK_FAILS(dataset->image(dataset, 0, 0, &image), VMAE_EIO, "live.tar ends at byte 600");
    vmae_dataset_close(dataset);
    vmae_image_release(&image);
}
TEST(a_name_of_more_than_4096_bytes_is_refused)
{
    archive a = { 0 };
    char *name = vmae_calloc(5000, 1);
    memset(name, 'n', 4999);
    tar_add(&a, "././@LongLink", 'L', name, 5000);
    tar_add(&a, "nnn", '0', "abc", 3);
    tar_end(&a);
    REFUSED(&a, "a member's name of more than 4096 bytes at offset 0");
    free(name);
    tar_free(&a);
}
TEST(the_fingerprint_follows_names_sizes_and_limit)
{
    char before[VMAE_HASH_HEX];
    vmae_dataset *dataset = NULL;
    vmae_dataset_spec spec = { .kind = "tar", .path = in_folder("fp.tar") };
    for (int round = 0; round < 3; round++) {
        archive a = { 0 };
        tar_add(&a, "a/1.jpg", '0', "abc", 3);
        tar_add(&a, round == 1 ? "a/3.jpg" : "a/2.jpg", '0', "abc", 3);
        tar_end(&a);
        REQUIRE_OK(vmae_write_file(spec.path, a.at, a.count));
        tar_free(&a);
        spec.limit = round == 2;
        REQUIRE_OK(vmae_dataset_open(&dataset, &spec));
        CHECK_EQ(dataset->count, round == 2 ? 1 : 2);
        CHECK(round == 0 || strcmp(before, dataset->fingerprint) != 0);
        memcpy(before, dataset->fingerprint, sizeof before);
        vmae_dataset_close(dataset);
    }
}
TEST(a_real_archive_of_25000_members_is_indexed_at_once)
{
    const char *shared = vmae_test_shared("data/cifar10");
    if (!shared)
        SKIP("no shared data");
    struct timespec begin, end;
    vmae_dataset *dataset = NULL;
    vmae_image image = { 0 };
    vmae_dataset_spec spec = { .kind = "tar", .path = shared, .split = "train" };
    clock_gettime(CLOCK_MONOTONIC, &begin);
    REQUIRE_OK(vmae_dataset_open(&dataset, &spec));
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("  indexed in %.1f ms\n",
           (double)(end.tv_sec - begin.tv_sec) * 1e3 + (double)(end.tv_nsec - begin.tv_nsec) * 1e-6);
    CHECK_EQ(dataset->count, 25000);
    CHECK_EQ(dataset->classes, 10);
    CHECK_STR(dataset->class_names[9], "truck");
    for (int64_t i = 0; i < dataset->count; i += 97) {
        CHECK_EQ(dataset->label(dataset, i), i % 10);
        CHECK_OK(dataset->image(dataset, i, 0, &image));
        CHECK(image.width == 32 && image.height == 32);
    }
    vmae_dataset_close(dataset);
    spec.split = "val"; /* the set calls it test */
    REQUIRE_OK(vmae_dataset_open(&dataset, &spec));
    CHECK_EQ(dataset->count, 10000);
    vmae_dataset_close(dataset);
    vmae_image_release(&image);
}
