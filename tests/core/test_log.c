/* test_log.c -- log lines and progress: to a file, to a pipe, to a terminal. */
#include "engine/core/fs.h"
#include "engine/core/log.h"
#include "tests/test.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *at(const char *name)
{
    static char paths[2][600];
    static int turn;
    char *path = paths[turn++ % 2];
    snprintf(path, sizeof paths[0], "%s/%s", vmae_test_folder(), name);
    return path;
}

/* Runs it with stderr in `fd`; the text in `fd` afterwards is the caller's to read. */
static void with_stderr(int fd, void (*run)(void))
{
    fflush(stderr);
    const int kept = dup(STDERR_FILENO);
    dup2(fd, STDERR_FILENO);
    run();
    dup2(kept, STDERR_FILENO);
    close(kept);
}

static char *captured(void (*run)(void))
{
    char *text = NULL;
    size_t count;
    const int fd = open(at("stderr"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    with_stderr(fd, run);
    close(fd);
    return vmae_read_file(at("stderr"), 1 << 20, &text, &count) == VMAE_OK ? text : NULL;
}

static void log_each_level(void)
{
    log_debug("quiet");
    log_info("plain %d", 1);
    log_warn("careful");
    log_error("bad");
}

TEST(log_shows_from_the_least_level_up_without_colours_off_a_terminal)
{
    char *text = captured(log_each_level);
    REQUIRE(text);
    CHECK(strcmp(text, "plain 1\nwarning: careful\nerror: bad\n") == 0);
    free(text);
    vmae_log_level(VMAE_ERROR);
    text = captured(log_each_level);
    vmae_log_level(VMAE_INFO);
    REQUIRE(text);
    CHECK(strcmp(text, "error: bad\n") == 0);
    free(text);
}

TEST(log_file_gets_every_line_with_a_time)
{
    size_t count;
    char *text;
    REQUIRE_OK(vmae_log_file(at("run.log")));
    free(captured(log_each_level));
    REQUIRE_OK(vmae_log_file(at("run.log"))); /* opening again appends */
    free(captured(log_each_level));
    REQUIRE_OK(vmae_log_file(NULL));
    free(captured(log_each_level)); /* no longer in the file */
    REQUIRE_OK(vmae_read_file(at("run.log"), 1 << 20, &text, &count));
    int lines = 0;
    for (const char *c = text; *c; c++)
        lines += *c == '\n';
    CHECK_EQ(lines, 6);
    CHECK_STR(text, "Z warning careful");
    CHECK(text[4] == '-' && text[10] == 'T');
    free(text);
    CHECK_FAILS(vmae_log_file(at("none/run.log")), VMAE_EUSER, "none/run.log");
}

static void *log_many(void *unused)
{
    for (int i = 0; i < 200; i++)
        log_info("line of a fixed length");
    return unused;
}

static void log_from_threads(void)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, log_many, NULL);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}

TEST(log_lines_of_threads_do_not_mix)
{
    char *text = captured(log_from_threads);
    REQUIRE(text);
    const char *line = "line of a fixed length\n";
    CHECK_EQ(strlen(text), 800 * strlen(line));
    for (size_t i = 0; i < strlen(text); i += strlen(line))
        if (strncmp(text + i, line, strlen(line)) != 0)
            CHECK(!"a line is mixed with another");
    free(text);
}

static void make_progress(void)
{
    vmae_progress progress;
    vmae_progress_begin(&progress, "pretrain", 100, 300);
    progress.started -= 20.0; /* as if it had begun then */
    vmae_progress_step(&progress, 150, "not %s", "yet");
    progress.shown -= 20.0;
    vmae_progress_step(&progress, 200, "loss %.2f", 0.93);
    log_warn("between");
    progress.done = 300;
    vmae_progress_end(&progress);
}

TEST(progress_off_a_terminal_is_a_plain_line_from_time_to_time)
{
    char *text = captured(make_progress);
    REQUIRE(text);
    CHECK(!strchr(text, '\r') && !strchr(text, '\033'));
    CHECK_STR(text, "pretrain 200/300 (66%), 5/s, 20s left, loss 0.93\n");
    CHECK_STR(text, "warning: between\n");
    CHECK_STR(text, "pretrain 300/300 in 20s (10/s)\n");
    CHECK(!strstr(text, "yet"));
    free(text);
}

TEST(progress_on_a_terminal_is_redrawn_around_log_lines)
{
    char text[4096];
    size_t used = 0;
    const int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (terminal < 0 || grantpt(terminal) != 0 || unlockpt(terminal) != 0)
        SKIP("no pseudo-terminals");
    const int slave = open(ptsname(terminal), O_RDWR | O_NOCTTY | O_CLOEXEC);
    REQUIRE(slave >= 0);
    setenv("TERM", "xterm", 1);
    unsetenv("NO_COLOR");
    CHECK(vmae_log_colours(slave));
    with_stderr(slave, make_progress);
    setenv("NO_COLOR", "1", 1);
    CHECK(!vmae_log_colours(slave));
    fcntl(terminal, F_SETFL, O_NONBLOCK);
    for (ssize_t got; used < sizeof text - 1 && (got = read(terminal, text + used, sizeof text - 1 - used)) > 0;)
        used += (size_t)got;
    text[used] = '\0';
    close(slave);
    close(terminal);
    CHECK_STR(text, "\r\033[K[##############......] pretrain 200/300 (66%)");
    CHECK_STR(text, "\r\033[K\033[33mwarning: between\033[0m\r\n["); /* wiped, said, drawn again */
    CHECK_STR(text, "pretrain 300/300 in 20s");
}

TEST(clock_moves_forward)
{
    const double first = vmae_seconds();
    usleep(2000);
    CHECK(vmae_seconds() - first >= 0.002);
    CHECK(vmae_wall_seconds() > 1.7e9);
}
