/* test_status.c -- one sentence a thread, exit codes, errno. */
#include "engine/core/status.h"
#include "tests/test.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

TEST(status_keeps_the_last_sentence)
{
    CHECK(vmae_fail(VMAE_EDATA, "%s is %d", "a.png", 3) == VMAE_EDATA);
    CHECK(strcmp(vmae_error(), "a.png is 3") == 0);
    CHECK(vmae_fail(VMAE_EIO, "again: %s", vmae_error()) == VMAE_EIO);
    CHECK(strcmp(vmae_error(), "again: a.png is 3") == 0);
}

TEST(status_puts_a_place_in_front)
{
    vmae_fail(VMAE_EDATA, "broken");
    CHECK(vmae_fail_in(VMAE_EDATA, "%s:%d", "a.cfg", 7) == VMAE_EDATA);
    CHECK(strcmp(vmae_error(), "a.cfg:7: broken") == 0);
}

TEST(status_cuts_endless_sentences)
{
    char endless[5000];
    memset(endless, 'x', sizeof endless - 1);
    endless[sizeof endless - 1] = '\0';
    vmae_fail(VMAE_EUSER, "%s", endless);
    CHECK(strlen(vmae_error()) < sizeof endless);
    vmae_fail_in(VMAE_EUSER, "%s", endless);
    CHECK(strlen(vmae_error()) < sizeof endless);
    CHECK_STR(vmae_error(), "...");
}

TEST(status_of_errno_tells_the_user_from_the_system)
{
    CHECK_FAILS(vmae_fail_errno(ENOENT, "open %s", "x"), VMAE_EUSER, "open x: No such file");
    CHECK_FAILS(vmae_fail_errno(EACCES, "x"), VMAE_EUSER, "Permission denied");
    CHECK_FAILS(vmae_fail_errno(ENOSPC, "x"), VMAE_EIO, "No space left");
    CHECK_FAILS(vmae_fail_errno(EROFS, "x"), VMAE_EIO, "Read-only");
    CHECK_FAILS(vmae_fail_errno(ENOMEM, "x"), VMAE_ENOMEM, "memory");
}

static void *fail_elsewhere(void *unused)
{
    vmae_fail(VMAE_EIO, "another thread");
    return unused;
}

TEST(status_sentences_of_threads_do_not_mix)
{
    pthread_t thread;
    vmae_fail(VMAE_EDATA, "mine");
    REQUIRE(pthread_create(&thread, NULL, fail_elsewhere, NULL) == 0);
    pthread_join(thread, NULL);
    CHECK(strcmp(vmae_error(), "mine") == 0);
}

TEST(status_names_and_exit_codes_are_fixed)
{
    CHECK(strcmp(vmae_status_name(VMAE_OK), "ok") == 0);
    CHECK(strcmp(vmae_status_name(VMAE_EDIVERGED), "diverged") == 0);
    CHECK(strcmp(vmae_status_name(VMAE_EINTERNAL), "internal") == 0);
    CHECK(strcmp(vmae_status_name((vmae_status)99), "unknown") == 0);
    CHECK_EQ(vmae_exit_code(VMAE_OK), 0);
    CHECK_EQ(vmae_exit_code(VMAE_EUSER), 2);
    CHECK_EQ(vmae_exit_code(VMAE_EINTERRUPTED), 130);
    CHECK_EQ(vmae_exit_code(VMAE_EDATA), 1);
}
