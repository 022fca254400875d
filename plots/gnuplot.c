/* gnuplot.c -- gnuplot as a child process. Texts reach it as arguments and data, never as commands. */
#include "plots/gnuplot.h"

#include "results/embed.h"

#include "engine/core/fs.h"
#include "engine/core/mem.h"
#include "engine/core/text.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ARGUMENTS_MAX = 16, MESSAGE_MAX = 1200 };

extern char **environ;

void vmae_plot_label(char *label, size_t size, const char *text)
{
    size_t used = 0;
    for (; *text && used + 1 < size; text++) {
        const unsigned char c = (unsigned char)*text;
        label[used++] = (char)(c == '"' || c == '`' ? '\'' : c < 0x20 || c == 0x7f || c == '\\' ? ' ' : c);
    }
    while (used > 0 && *text && ((unsigned char)label[used - 1] & 0x80)) /* not half a UTF-8 character */
        if (((unsigned char)label[--used] & 0xc0) == 0xc0)
            break;
    label[used] = 0;
    vmae_clean_text(label);
}

/* Reads a pipe to its end: the characters to `stream`, or the first of them into `message`. */
static void drain(int fd, FILE *stream, char *message, size_t size)
{
    char bytes[4096];
    size_t used = 0;
    for (ssize_t got; (got = read(fd, bytes, sizeof bytes)) > 0 || (got < 0 && errno == EINTR);) {
        if (got < 0)
            continue;
        if (stream)
            fwrite(bytes, 1, (size_t)got, stream);
        for (ssize_t i = 0; message && i < got && used + 1 < size; i++)
            message[used++] = bytes[i];
    }
    if (message)
        message[used] = 0;
}

static vmae_status start(char *const *argv, pid_t *pid, int output, int errors)
{
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, errors, STDERR_FILENO);
    const int failed = posix_spawnp(pid, "gnuplot", &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (failed == ENOENT)
        return vmae_fail(
            VMAE_EUSER,
            "plots need gnuplot, which is not installed (Debian: apt install gnuplot-nox); the tables need nothing");
    return failed ? vmae_fail_errno(failed, "gnuplot could not be started") : VMAE_OK;
}

/* The first line of what gnuplot complained about. */
static const char *first_complaint(char *message)
{
    char *at = message + strspn(message, "\n\r\t ^");
    at[strcspn(at, "\n")] = 0;
    return *at ? at : "it said nothing";
}

static vmae_status run(char *const *argv, FILE *stream)
{
    int output[2] = { -1, -1 }, errors[2] = { -1, -1 }, ended = 0;
    pid_t pid = 0;
    char message[MESSAGE_MAX] = "";
    if (pipe2(output, O_CLOEXEC) != 0 || pipe2(errors, O_CLOEXEC) != 0) {
        const vmae_status st = vmae_fail_errno(errno, "no pipe for gnuplot");
        for (int i = 0; i < 2 && output[i] >= 0; i++)
            close(output[i]);
        return st;
    }
    const vmae_status st = start(argv, &pid, output[1], errors[1]);
    close(output[1]);
    close(errors[1]);
    if (st == VMAE_OK) {
        drain(output[0], stream, NULL, 0); /* gnuplot's complaints fit a pipe's buffer: they are one or two lines */
        drain(errors[0], NULL, message, sizeof message);
        while (waitpid(pid, &ended, 0) < 0 && errno == EINTR)
            continue;
    }
    close(output[0]);
    close(errors[0]);
    VMAE_TRY(st);
    if (!WIFEXITED(ended) || WEXITSTATUS(ended) != 0)
        return vmae_fail(VMAE_EIO, "gnuplot failed on %s: %s", argv[2], first_complaint(message));
    return VMAE_OK;
}

static const vmae_embedded *find_template(const char *name)
{
    for (const vmae_embedded *file = vmae_plots_files; file->name; file++)
        if (strcmp(file->name, name) == 0)
            return file;
    return NULL;
}

/* In a folder of its own: the template, the data, and the picture until it is whole. */
static vmae_status run_in(const char *folder, const vmae_embedded *template, const char *terminal, const char *output,
                          FILE *stream, const char *data, const char *const *arguments, size_t count)
{
    char script[512], table[512], picture[512];
    char *argv[ARGUMENTS_MAX + 8];
    size_t n = 0;
    snprintf(script, sizeof script, "%s/%s", folder, template->name);
    snprintf(table, sizeof table, "%s/data.tsv", folder);
    snprintf(picture, sizeof picture, "%s/picture", folder);
    VMAE_TRY(vmae_write_file(script, template->text, template->count));
    VMAE_TRY(vmae_write_file(table, data, strlen(data)));
    const char *first[] = { "gnuplot", "-c", script, terminal, output ? picture : "-", table };
    for (size_t i = 0; i < sizeof first / sizeof *first; i++)
        argv[n++] = (char *)first[i];
    for (size_t i = 0; i < count && i < ARGUMENTS_MAX; i++)
        argv[n++] = (char *)arguments[i];
    argv[n] = NULL;
    vmae_status st = run(argv, stream);
    char *bytes = NULL;
    size_t size = 0;
    if (st == VMAE_OK && output && (st = vmae_read_file(picture, (size_t)1 << 30, &bytes, &size)) == VMAE_OK)
        st = vmae_write_file(output, bytes, size);
    free(bytes);
    unlink(script);
    unlink(table);
    unlink(picture);
    return st;
}

vmae_status vmae_gnuplot(const char *template_name, const char *terminal, const char *output, FILE *stream,
                         const char *data, const char *const *arguments, size_t count)
{
    const vmae_embedded *template = find_template(template_name);
    if (!template)
        return vmae_fail(VMAE_EINTERNAL, "the plot template %s was not compiled in", template_name);
    const char *base = getenv("TMPDIR");
    char *folder = vmae_format("%s/vicmae-plot-XXXXXX", base && *base ? base : "/tmp");
    if (!folder)
        return VMAE_ENOMEM;
    vmae_status st = mkdtemp(folder) ? VMAE_OK : vmae_fail_errno(errno, "no temporary folder %s", folder);
    if (st == VMAE_OK) {
        st = run_in(folder, template, terminal, output, stream, data, arguments, count);
        rmdir(folder);
    }
    free(folder);
    return st;
}
