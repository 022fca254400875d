/* test_fs.c -- atomic replacement under failure, reads, listing, locks. */
#include "engine/core/fs.h"
#include "engine/core/mem.h"
#include "tests/test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* A path in the test folder; a few live at a time. */
static const char *at(const char *name)
{
    static char paths[4][600];
    static int turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", vmae_test_folder(), name);
    return path;
}

static bool file_holds(const char *path, const char *expected)
{
    char *text;
    size_t count;
    if (vmae_read_file(path, 1 << 20, &text, &count) != VMAE_OK)
        return false;
    const bool same = count == strlen(expected) && strcmp(text, expected) == 0;
    free(text);
    return same;
}

TEST(fs_paths_join_and_split)
{
    static const char *const cases[][3] = {
        { "a", "b", "a/b" }, { "a/", "b", "a/b" }, { "", "b", "b" }, { "a", "/b", "/b" }
    };
    for (size_t i = 0; i < 4; i++) {
        char *joined = vmae_path_join(cases[i][0], cases[i][1]);
        CHECK(joined && strcmp(joined, cases[i][2]) == 0);
        free(joined);
    }
    CHECK(strcmp(vmae_path_base("a/b/c.txt"), "c.txt") == 0);
    CHECK(strcmp(vmae_path_base("c.txt"), "c.txt") == 0);
}

TEST(fs_folders_are_made_with_their_parents_and_twice)
{
    CHECK_OK(vmae_make_folders(at("one/two//three/")));
    CHECK_OK(vmae_make_folders(at("one/two/three")));
    CHECK_OK(vmae_make_folders("/"));
    CHECK(vmae_path_is_folder(at("one/two/three")));
    CHECK_OK(vmae_write_file(at("plain"), "x", 1));
    CHECK(vmae_path_exists(at("plain")) && !vmae_path_is_folder(at("plain")));
    CHECK_FAILS(vmae_make_folders(at("plain/inside")), VMAE_EUSER, "plain");
    CHECK_FAILS(vmae_make_folders(at("plain")), VMAE_EUSER, "Not a directory");
    CHECK_FAILS(vmae_make_folders(""), VMAE_EUSER, "without a name");
}

TEST(fs_write_replaces_and_leaves_nothing_beside)
{
    char **names;
    size_t count;
    CHECK_OK(vmae_make_folders(at("replace")));
    CHECK_OK(vmae_write_file(at("replace/file"), "old", 3));
    CHECK_OK(vmae_write_file(at("replace/file"), "new text", 8));
    CHECK(file_holds(at("replace/file"), "new text"));
    REQUIRE_OK(vmae_list_folder(at("replace"), false, &names, &count));
    CHECK_EQ(count, 1);
    vmae_list_free(names, count);
}

TEST(fs_write_on_a_full_disk_keeps_the_old_file)
{
    char **names;
    size_t count;
    struct rlimit kept, tight = { .rlim_cur = 4096 };
    char *large = vmae_calloc(1 << 16, 1);
    REQUIRE(large);
    CHECK_OK(vmae_make_folders(at("full")));
    CHECK_OK(vmae_write_file(at("full/file"), "old", 3));
    getrlimit(RLIMIT_FSIZE, &kept);
    tight.rlim_max = kept.rlim_max;
    void (*const handler)(int) = signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &tight); /* write fails after a part, as on a full disk */
    const vmae_status st = vmae_write_file(at("full/file"), large, 1 << 16);
    setrlimit(RLIMIT_FSIZE, &kept);
    signal(SIGXFSZ, handler);
    CHECK_EQ(st, VMAE_EIO);
    CHECK_STR(vmae_error(), "full/file");
    CHECK(file_holds(at("full/file"), "old"));
    REQUIRE_OK(vmae_list_folder(at("full"), false, &names, &count));
    CHECK_EQ(count, 1);
    vmae_list_free(names, count);
    free(large);
}

TEST(fs_write_all_to_a_full_device_says_so)
{
    const int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        SKIP("no /dev/full");
    CHECK_FAILS(vmae_write_all(fd, "the device", "x", 1), VMAE_EIO, "the device: No space left");
    close(fd);
}

TEST(fs_write_where_no_folder_is_names_the_path)
{
    CHECK_OK(vmae_write_file(at("regular"), "x", 1));
    CHECK_FAILS(vmae_write_file(at("regular/below"), "x", 1), VMAE_EUSER, "regular/below: Not a directory");
    CHECK_FAILS(vmae_write_file(at("missing/file"), "x", 1), VMAE_EUSER, "missing/file: No such file");
    CHECK(file_holds(at("regular"), "x"));
}

TEST(fs_write_over_a_folder_fails_and_cleans_up)
{
    char **names;
    size_t count;
    CHECK_OK(vmae_make_folders(at("over/folder/full")));
    CHECK(vmae_write_file(at("over/folder"), "x", 1) != VMAE_OK);
    REQUIRE_OK(vmae_list_folder(at("over"), false, &names, &count));
    CHECK_EQ(count, 1);
    vmae_list_free(names, count);
}

TEST(fs_write_as_nobody_into_a_closed_folder_is_refused)
{
    CHECK_OK(vmae_make_folders(at("closed")));
    CHECK_OK(vmae_write_file(at("closed/file"), "old", 3));
    chmod(at("closed"), 0555);
    chmod(vmae_test_folder(), 0755);
    const pid_t child = fork();
    if (child == 0) { /* root writes anywhere: become somebody else first */
        if (getuid() == 0 && setuid(65534) != 0)
            _exit(77);
        const vmae_status st = vmae_write_file(at("closed/file"), "new", 3);
        _exit(st == VMAE_EUSER && strstr(vmae_error(), "Permission denied") ? 0 : 1);
    }
    int status = 0;
    REQUIRE(child > 0 && waitpid(child, &status, 0) == child);
    chmod(at("closed"), 0755);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        SKIP("cannot become another user");
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(file_holds(at("closed/file"), "old"));
}

TEST(fs_replace_by_pieces_appears_at_commit_only)
{
    vmae_replace file;
    CHECK_OK(vmae_write_file(at("pieces"), "old", 3));
    REQUIRE_OK(vmae_replace_begin(&file, at("pieces")));
    CHECK_OK(vmae_replace_write(&file, "one ", 4));
    CHECK_OK(vmae_replace_write(&file, "two", 3));
    CHECK(file_holds(at("pieces"), "old"));
    CHECK_OK(vmae_replace_commit(&file));
    CHECK(file_holds(at("pieces"), "one two"));
    vmae_replace_abort(&file); /* after a commit: nothing */
    CHECK(file_holds(at("pieces"), "one two"));
    REQUIRE_OK(vmae_replace_begin(&file, at("pieces")));
    CHECK_OK(vmae_replace_write(&file, "three", 5));
    char *beside = vmae_strdup(file.beside);
    vmae_replace_abort(&file);
    CHECK(file_holds(at("pieces"), "one two"));
    CHECK(!vmae_path_exists(beside));
    free(beside);
}

TEST(fs_killed_writer_leaves_the_old_file)
{
    CHECK_OK(vmae_write_file(at("killed"), "old", 3));
    const pid_t child = fork();
    if (child == 0) {
        vmae_replace file;
        if (vmae_replace_begin(&file, at("killed")) == VMAE_OK)
            vmae_replace_write(&file, "half", 4);
        raise(SIGKILL);
    }
    int status;
    REQUIRE(child > 0 && waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status));
    CHECK(file_holds(at("killed"), "old"));
}

TEST(fs_read_file_has_a_limit_and_takes_any_bytes)
{
    char *bytes;
    size_t count;
    char large[10000];
    memset(large, 7, sizeof large);
    CHECK_OK(vmae_write_file(at("large"), large, sizeof large));
    REQUIRE_OK(vmae_read_file(at("large"), sizeof large, &bytes, &count));
    CHECK_EQ(count, sizeof large);
    CHECK(memcmp(bytes, large, sizeof large) == 0 && bytes[count] == '\0');
    free(bytes);
    CHECK_FAILS(vmae_read_file(at("large"), sizeof large - 1, &bytes, &count), VMAE_EDATA, "longer than 9999 bytes");
    CHECK_FAILS(vmae_read_file(at("absent"), 10, &bytes, &count), VMAE_EUSER, "absent: No such file");
    CHECK_FAILS(vmae_read_file(vmae_test_folder(), 10, &bytes, &count), VMAE_EUSER, "Is a directory");
}

TEST(fs_map_takes_regular_files_only)
{
    vmae_map map = { (const uint8_t *)"kept", 4 };
    CHECK_FAILS(vmae_map_open(&map, vmae_test_folder()), VMAE_EUSER, "Is a directory");
    CHECK_FAILS(vmae_map_open(&map, "/dev/null"), VMAE_EUSER, "not a regular file");
    REQUIRE(mkfifo(at("pipe"), 0600) == 0);
    CHECK_FAILS(vmae_map_open(&map, at("pipe")), VMAE_EUSER, "not a regular file");
    CHECK_EQ(map.count, 4); /* untouched by failures */
    CHECK_OK(vmae_write_file(at("empty"), "", 0));
    REQUIRE_OK(vmae_map_open(&map, at("empty")));
    CHECK(map.bytes == NULL && map.count == 0);
    vmae_map_close(&map);
    CHECK_OK(vmae_write_file(at("mapped"), "some bytes", 10));
    REQUIRE_OK(vmae_map_open(&map, at("mapped")));
    CHECK(map.count == 10 && memcmp(map.bytes, "some bytes", 10) == 0);
    vmae_map_close(&map);
}

TEST(fs_list_is_sorted_by_bytes)
{
    char **names;
    size_t count;
    CHECK_OK(vmae_make_folders(at("list/b")));
    CHECK_OK(vmae_make_folders(at("list/Z")));
    CHECK_OK(vmae_write_file(at("list/a"), "", 0));
    CHECK_OK(vmae_write_file(at("list/.hidden"), "", 0));
    CHECK(symlink("b", at("list/link")) == 0);
    REQUIRE_OK(vmae_list_folder(at("list"), false, &names, &count));
    CHECK_EQ(count, 5);
    CHECK(strcmp(names[0], ".hidden") == 0 && strcmp(names[1], "Z") == 0 && strcmp(names[4], "link") == 0);
    vmae_list_free(names, count);
    REQUIRE_OK(vmae_list_folder(at("list"), true, &names, &count));
    CHECK_EQ(count, 3);
    vmae_list_free(names, count);
    REQUIRE_OK(vmae_list_folder(at("list/b"), false, &names, &count));
    CHECK_EQ(count, 0);
    vmae_list_free(names, count);
    CHECK_FAILS(vmae_list_folder(at("list/a"), false, &names, &count), VMAE_EUSER, "list/a");
}

TEST(fs_lock_of_another_process_names_its_holder_and_dies_with_it)
{
    int to_parent[2], fd = -1;
    REQUIRE(pipe(to_parent) == 0);
    const pid_t child = fork();
    if (child == 0) {
        int lock;
        const char ok = vmae_lock_take(at("lock"), &lock) == VMAE_OK ? 'y' : 'n';
        if (write(to_parent[1], &ok, 1) == 1)
            pause();
        _exit(1);
    }
    char answer = 'n', holder[64];
    REQUIRE(child > 0 && read(to_parent[0], &answer, 1) == 1);
    CHECK(answer == 'y');
    snprintf(holder, sizeof holder, "locked by pid %ld on ", (long)child);
    CHECK_FAILS(vmae_lock_take(at("lock"), &fd), VMAE_EBUSY, holder);
    CHECK_EQ(fd, -1);
    kill(child, SIGKILL);
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    REQUIRE_OK(vmae_lock_take(at("lock"), &fd)); /* the holder was killed: nothing to clean up */
    int second;
    CHECK_FAILS(vmae_lock_take(at("lock"), &second), VMAE_EBUSY, "since 20");
    vmae_lock_release(fd);
    REQUIRE_OK(vmae_lock_take(at("lock"), &fd));
    vmae_lock_release(fd);
    CHECK_FAILS(vmae_lock_take(at("no-folder/lock"), &fd), VMAE_EUSER, "no-folder/lock");
    close(to_parent[0]);
    close(to_parent[1]);
}
