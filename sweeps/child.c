/* child.c -- fork, exec, and what a log's last lines say. */
#include "sweeps/child.h"

#include "engine/core/fs.h"
#include "engine/core/log.h"
#include "engine/core/mem.h"
#include "engine/core/text.h"
#include "experiments/history.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MESSAGE = 1200 };

/* ---- what was in the folder before ---- */

static int attempts_of(const char *folder)
{
    int attempts = -1;
    vmae_history history = { 0 };
    char *journal = vmae_path_join(folder, "journal");
    if (journal && vmae_history_read(&history, journal) == VMAE_OK)
        attempts = history.attempts;
    vmae_history_release(&history);
    free(journal);
    return attempts;
}

static int64_t size_of(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 ? (int64_t)info.st_size : 0;
}

/* ---- the config ---- */

/* The number of threads that an earlier attempt's config has; negative without one. */
static int earlier_threads(const vmae_protocol *protocol, const char *path)
{
    int threads = -1;
    vmae_config *config = NULL;
    if (vmae_path_exists(path) && vmae_protocol_config(protocol, &config) == VMAE_OK &&
        vmae_config_read(config, path, NULL) == VMAE_OK)
        threads = (int)vmae_config_int(config, "threads");
    vmae_config_free(config);
    return threads;
}

static vmae_status write_config(const vmae_plan *plan, size_t run, const char *path, int threads, bool goes_on)
{
    char number[16];
    const vmae_protocol *protocol = plan->sweep->stages[plan->runs[run].stage].protocol;
    vmae_config *config = NULL;
    VMAE_TRY(vmae_plan_config(plan, run, &config));
    vmae_status st = VMAE_OK;
    if (vmae_config_option(config, "threads") && vmae_config_int(config, "threads") == 0) {
        const int earlier = goes_on ? earlier_threads(protocol, path) : -1;
        snprintf(number, sizeof number, "%d", earlier >= 0 ? earlier : threads);
        st = vmae_config_set(config, "threads", number, "the runner's --jobs");
    }
    char *text = st == VMAE_OK ? vmae_config_print(config) : NULL;
    if (st == VMAE_OK)
        st = text ? vmae_write_file(path, text, strlen(text)) : VMAE_ENOMEM;
    free(text);
    vmae_config_free(config);
    return st;
}

/* With the folder's lock: who holds it may write the same file, or tidy up. */
static vmae_status prepare_folder(const vmae_plan *plan, size_t run, const char *config, int threads, vmae_child *child)
{
    int lock = -1;
    VMAE_TRY(vmae_make_folders(child->folder));
    char *path = vmae_path_join(child->folder, "lock");
    vmae_status st = path ? vmae_lock_take(path, &lock) : VMAE_ENOMEM;
    if (st == VMAE_OK) {
        child->attempts = attempts_of(child->folder);
        st = write_config(plan, run, config, threads, child->attempts != 0);
    }
    vmae_lock_release(lock);
    free(path);
    return st;
}

/* ---- start ---- */

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
                             const sigset_t *signals, vmae_child *child)
{
    const vmae_plan_run *r = &plan->runs[run];
    vmae_status st = VMAE_ENOMEM;
    int log = -1, null = -1;
    char *config = vmae_path_join(r->folder, "config.cfg"), *log_path = vmae_path_join(r->folder, "log.txt");
    char *protocol = vmae_strdup(plan->sweep->stages[r->stage].protocol->name), *folder = vmae_strdup(r->folder);
    char *name = vmae_strdup(program), *option = vmae_strdup("--run");
    if (!config || !log_path || !protocol || !folder || !name || !option)
        goto done;
    *child = (vmae_child){ .folder = r->folder, .log_bytes = size_of(log_path) };
    if ((st = prepare_folder(plan, run, config, threads, child)) != VMAE_OK)
        goto done;
    log = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (log < 0 || null < 0) {
        st = vmae_fail_errno(errno, "cannot open %s", log < 0 ? log_path : "/dev/null");
        goto done;
    }
    char *arguments[] = { name, protocol, config, option, folder, NULL };
    const pid_t parent = getpid(), pid = fork();
    if (pid == 0)
        become(program, arguments, log, null, parent, signals);
    if (pid < 0) {
        st = vmae_fail_errno(errno, "cannot start a process for %s", folder);
        goto done;
    }
    setpgid(pid, pid); /* here too: whoever is first */
    child->pid = pid;
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

/* ---- end ---- */

/* The last lines that it logged; fresh memory, or NULL. */
static char *log_tail(const vmae_child *child, int lines)
{
    char *path = vmae_path_join(child->folder, "log.txt");
    char *text = path ? vmae_log_tail_from(path, child->log_bytes, lines) : NULL;
    free(path);
    return text;
}

void vmae_child_print_log(const vmae_child *child, int lines, FILE *out)
{
    char *text = log_tail(child, lines);
    if (!text) {
        fprintf(out, "    (it wrote nothing into %s/log.txt)\n", child->folder);
        return;
    }
    for (char *line = text, *next; line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = 0;
        fprintf(out, "    %s\n", line);
    }
    fprintf(out, "    (the end of %s/log.txt)\n", child->folder);
    free(text);
}

static void last_words(const vmae_child *child, int code, char *message, size_t size)
{
    char *line = log_tail(child, 1);
    if (line)
        vmae_display_text(message, size, line);
    else
        snprintf(message, size, "the process exited with code %d and said nothing", code);
    free(line);
}

vmae_child_end vmae_child_ended(const vmae_child *child, int wait_status, char *message, size_t size)
{
    const int code = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1;
    char said[MESSAGE];
    const vmae_run_state state = vmae_run_inspect(child->folder, said, sizeof said);
    *message = 0;
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
    } else if (state == VMAE_RUN_FAILED && attempts_of(child->folder) != child->attempts) {
        vmae_display_text(message, size, said);
    } else { /* it died before it journalled an attempt, or how that ended */
        last_words(child, code, message, size);
    }
    return VMAE_CHILD_FAILED;
}

/* ---- the program ---- */

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
