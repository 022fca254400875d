/* child.c -- fork, exec, and what a log's last lines say. */
#include "sweeps/child.h"

#include "engine/core/fs.h"
#include "engine/core/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TAIL_BYTES = 16384 };

static vmae_status write_config(const vmae_plan *plan, size_t run, const char *path, int threads)
{
    char number[16];
    vmae_config *config = NULL;
    vmae_status st = vmae_plan_config(plan, run, &config);
    snprintf(number, sizeof number, "%d", threads);
    if (st == VMAE_OK && threads > 0 && vmae_config_option(config, "threads") &&
        vmae_config_int(config, "threads") == 0)
        st = vmae_config_set(config, "threads", number, "the runner's --jobs");
    char *text = st == VMAE_OK ? vmae_config_print(config) : NULL;
    if (st == VMAE_OK)
        st = text ? vmae_write_file(path, text, strlen(text)) : VMAE_ENOMEM;
    free(text);
    vmae_config_free(config);
    return st;
}

/* Only async-signal-safe calls: this is between fork and exec. */
static _Noreturn void become(const char *program, char *const *arguments, int log, int null, pid_t parent,
                             const sigset_t *signals)
{
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) /* it died before the line above */
        _exit(130);
    static const int reset[] = { SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD, SIGPIPE };
    for (size_t i = 0; i < sizeof reset / sizeof *reset; i++)
        signal(reset[i], SIG_DFL);
    sigprocmask(SIG_SETMASK, signals, NULL);
    if (dup2(null, STDIN_FILENO) >= 0 && dup2(log, STDOUT_FILENO) >= 0 && dup2(log, STDERR_FILENO) >= 0)
        execv(program, arguments);
    static const char text[] = "cannot start the program of this run\n";
    const ssize_t ignored = write(log, text, sizeof text - 1);
    (void)ignored;
    _exit(127);
}

vmae_status vmae_child_start(const vmae_plan *plan, size_t run, const char *program, int threads,
                             const sigset_t *signals, pid_t *pid)
{
    const vmae_plan_run *r = &plan->runs[run];
    vmae_status st = VMAE_ENOMEM;
    int log = -1, null = -1;
    char *config = vmae_path_join(r->folder, "config.cfg"), *log_path = vmae_path_join(r->folder, "log.txt");
    char *protocol = vmae_strdup(plan->sweep->stages[r->stage].protocol->name), *folder = vmae_strdup(r->folder);
    char *name = vmae_strdup(program), *option = vmae_strdup("--run");
    if (!config || !log_path || !protocol || !folder || !name || !option)
        goto done;
    if ((st = vmae_make_folders(folder)) != VMAE_OK || (st = write_config(plan, run, config, threads)) != VMAE_OK)
        goto done;
    log = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (log < 0 || null < 0) {
        st = vmae_fail_errno(errno, "cannot open %s", log < 0 ? log_path : "/dev/null");
        goto done;
    }
    char *arguments[] = { name, protocol, config, option, folder, NULL };
    const pid_t parent = getpid(), child = fork();
    if (child == 0)
        become(program, arguments, log, null, parent, signals);
    if (child < 0) {
        st = vmae_fail_errno(errno, "cannot start a process for %s", folder);
        goto done;
    }
    setpgid(child, child); /* here too: whoever is first */
    *pid = child;
done:
    if (log >= 0)
        close(log);
    if (null >= 0)
        close(null);
    free(option);
    free(name);
    free(folder);
    free(protocol);
    free(log_path);
    free(config);
    return st;
}

/* The end of the log as text, whole lines. Fresh memory, or NULL. */
static char *read_tail(const char *folder)
{
    struct stat info;
    char *path = vmae_path_join(folder, "log.txt"), *text = vmae_calloc(TAIL_BYTES + 1, 1);
    const int fd = path && text ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t count = -1;
    if (fd >= 0 && fstat(fd, &info) == 0)
        count = pread(fd, text, TAIL_BYTES, info.st_size > TAIL_BYTES ? info.st_size - TAIL_BYTES : 0);
    if (fd >= 0)
        close(fd);
    free(path);
    if (count <= 0) {
        free(text);
        return NULL;
    }
    for (ssize_t i = 0; i < count; i++)
        if ((unsigned char)text[i] < ' ' && text[i] != '\n' && text[i] != '\t')
            text[i] = text[i] == '\r' ? '\n' : '?';
    while (count > 0 && text[count - 1] == '\n')
        text[--count] = 0;
    return text;
}

void vmae_child_print_log(const char *folder, int lines, FILE *out)
{
    char *text = read_tail(folder);
    if (!text) {
        fprintf(out, "    (%s/log.txt is empty)\n", folder);
        return;
    }
    char *from = text + strlen(text);
    for (int n = 0; from > text; from--)
        if (from[-1] == '\n' && ++n == lines)
            break;
    for (char *line = from, *next; line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = 0;
        fprintf(out, "    %s\n", line);
    }
    fprintf(out, "    (the end of %s/log.txt)\n", folder);
    free(text);
}

static void last_line(const char *folder, char *message, size_t size)
{
    char *text = read_tail(folder);
    const char *line = text ? strrchr(text, '\n') : NULL;
    snprintf(message, size, "%s", line ? line + 1 : text ? text : "");
    free(text);
}

vmae_child_end vmae_child_ended(const char *folder, int wait_status, char *message, size_t size)
{
    const int code = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1;
    const vmae_run_state state = vmae_run_inspect(folder, message, size);
    if (state == VMAE_RUN_DONE)
        return VMAE_CHILD_DONE;
    if (state == VMAE_RUN_BUSY)
        return VMAE_CHILD_BUSY;
    if (code == 130)
        return VMAE_CHILD_INTERRUPTED;
    if (WIFSIGNALED(wait_status)) {
        const int number = WTERMSIG(wait_status);
        if (number == SIGTERM || number == SIGINT || number == SIGHUP) /* before its handlers were there */
            return VMAE_CHILD_INTERRUPTED;
        snprintf(message, size, "the process was ended by signal %d (%s)%s", number, strsignal(number),
                 number == SIGKILL ? ": by hand, or for want of memory" : "");
    } else if (state != VMAE_RUN_FAILED) {
        last_line(folder, message, size);
        if (!*message)
            snprintf(message, size, "the process exited with code %d and said nothing", code);
    }
    return VMAE_CHILD_FAILED;
}

vmae_status vmae_child_program(char **path)
{
    char own[PATH_MAX];
    const ssize_t count = readlink("/proc/self/exe", own, sizeof own - 1);
    if (count <= 0)
        return vmae_fail_errno(errno, "cannot read /proc/self/exe");
    own[count] = 0;
    char *found = vmae_format("%.*svicmae", (int)(vmae_path_base(own) - own), own);
    if (!found)
        return VMAE_ENOMEM;
    if (access(found, X_OK) != 0) {
        const vmae_status st =
            vmae_fail_errno(errno, "the program that does the runs is not beside this one: %s", found);
        free(found);
        return st;
    }
    *path = found;
    return VMAE_OK;
}
