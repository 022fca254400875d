#include "process.h"

#include "../test.h"
#include "engine/core/fs.h"
#include "engine/core/log.h"
#include "engine/core/mem.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const double HANGS_S = 120; /* gnuplot alone takes half a minute on a machine that is busy with other work */

void sleep_ms(int ms)
{
    nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000L }, NULL);
}

process process_start(const char *program, const char *const *arguments)
{
    static int count;
    process p;
    const char *argv[64];
    size_t n = 0;
    char *path = vmae_format("%s/%s", FAKE_FOLDER, program);
    snprintf(p.out, sizeof p.out, "%s/out%d", vmae_test_folder(), count);
    snprintf(p.err, sizeof p.err, "%s/err%d", vmae_test_folder(), count++);
    argv[n++] = path;
    while (*arguments && n < 63)
        argv[n++] = *arguments++;
    argv[n] = NULL;
    fflush(NULL);
    p.pid = fork();
    if (p.pid == 0) {
        if (freopen(p.out, "w", stdout) && freopen(p.err, "w", stderr) && freopen("/dev/null", "r", stdin))
            execv(path, (char *const *)(void *)argv);
        _exit(126);
    }
    free(path);
    return p;
}

bool process_is_over(process *p, int *code)
{
    int status;
    if (waitpid(p->pid, &status, WNOHANG) != p->pid)
        return false;
    *code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    return true;
}

int process_wait(process *p)
{
    int code = -1000;
    const double start = vmae_seconds();
    while (!process_is_over(p, &code)) {
        if (vmae_seconds() - start > HANGS_S) {
            char *err = process_said(p->err);
            CHECK(!"a process hangs");
            fprintf(stderr, "%s\n", err);
            free(err);
            kill(p->pid, SIGKILL);
            waitpid(p->pid, NULL, 0);
            return -1000;
        }
        sleep_ms(2);
    }
    return code;
}

char *process_said(const char *path)
{
    char *text = NULL;
    size_t count;
    if (vmae_read_file(path, 1 << 22, &text, &count) != VMAE_OK)
        return vmae_strdup("");
    return text;
}

int process_run(const char *program, const char *const *arguments, char **out, char **err)
{
    process p = process_start(program, arguments);
    const int code = process_wait(&p);
    if (out)
        *out = process_said(p.out);
    if (err)
        *err = process_said(p.err);
    return code;
}

size_t process_children(pid_t pid, pid_t *children, size_t room)
{
    char path[64], text[4096] = "";
    size_t count = 0;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)pid, (int)pid);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    const ssize_t got = read(fd, text, sizeof text - 1);
    close(fd);
    char *at = text;
    while (got > 0 && count < room) {
        char *end;
        const long child = strtol(at, &end, 10);
        if (end == at)
            break;
        children[count++] = (pid_t)child;
        at = end;
    }
    return count;
}
