/* log.c -- log lines and the progress line. One lock guards stderr, the log file and the bar that stands on the last
 * line. */
#include "engine/core/log.h"

#include "engine/core/mem.h"
#include "engine/core/text.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic int least_level = VMAE_INFO;
static int log_fd = -1;
static char bar[512]; /* what stands on the terminal's last line; "" if nothing */

double vmae_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

double vmae_wall_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

bool vmae_log_colours(int fd)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    return isatty(fd) && !(no_color && *no_color) && !(term && strcmp(term, "dumb") == 0);
}

void vmae_log_level(vmae_level least)
{
    atomic_store(&least_level, (int)least);
}

vmae_status vmae_log_file(const char *path)
{
    int fd = -1;
    if (path && (fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666)) < 0)
        return vmae_fail_errno(errno, "cannot write the log %s", path);
    pthread_mutex_lock(&lock);
    if (log_fd >= 0)
        close(log_fd);
    log_fd = fd;
    pthread_mutex_unlock(&lock);
    return VMAE_OK;
}

/* One write, so that lines of several processes do not mix. A log that cannot be written must not stop a run: nothing
 * to do. */
static void put(int fd, const char *text, size_t count)
{
    while (count) {
        const ssize_t written = write(fd, text, count);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return;
        text += written;
        count -= (size_t)written;
    }
}

static const char *const level_names[] = { "debug", "info", "warning", "error" };

/* Called with the lock held. */
static void put_to_file(vmae_level level, const char *text)
{
    char stamp[40] = "?";
    struct tm utc;
    const double now = vmae_wall_seconds();
    const time_t seconds = (time_t)now;
    if (gmtime_r(&seconds, &utc))
        strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &utc);
    char *line = NULL;
    const int count =
        asprintf(&line, "%s.%03dZ %-7s %s\n", stamp, (int)(1e3 * (now - (double)seconds)), level_names[level], text);
    if (count > 0)
        put(log_fd, line, (size_t)count);
    free(line);
}

/* Called with the lock held: the line, with the bar wiped before and drawn again after it. */
static void put_to_stderr(vmae_level level, const char *text)
{
    static const char *const colours[] = { "\033[2m", "", "\033[33m", "\033[31m" };
    const bool colour = vmae_log_colours(STDERR_FILENO) && *colours[level];
    char *line = NULL;
    const int count = asprintf(&line, "%s%s%s%s%s%s\n%s", *bar ? "\r\033[K" : "", colour ? colours[level] : "",
                               level == VMAE_INFO ? "" : level_names[level], level == VMAE_INFO ? "" : ": ", text,
                               colour ? "\033[0m" : "", bar);
    if (count > 0)
        put(STDERR_FILENO, line, (size_t)count);
    free(line);
}

void vmae_log(vmae_level level, const char *format, ...)
{
    if ((int)level < atomic_load(&least_level))
        return;
    const int kept_errno = errno;
    char *text = NULL;
    va_list args;
    va_start(args, format);
    const int length = vasprintf(&text, format, args);
    va_end(args);
    if (length >= 0) {
        vmae_clean_text(text);
        pthread_mutex_lock(&lock);
        put_to_stderr(level, text);
        if (log_fd >= 0)
            put_to_file(level, text);
        pthread_mutex_unlock(&lock);
        free(text);
    }
    errno = kept_errno;
}

char *vmae_log_tail_from(const char *path, int64_t from_byte, int lines)
{
    enum { BYTES = 16384 };
    struct stat info;
    char *text = vmae_calloc(BYTES + 1, 1);
    const int fd = text ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t count = -1;
    if (fd >= 0 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode))
        count = pread(fd, text, BYTES, info.st_size - from_byte > BYTES ? info.st_size - BYTES : from_byte);
    if (fd >= 0)
        close(fd);
    while (count > 0 && text[count - 1] == '\n')
        text[--count] = '\0';
    if (count <= 0) {
        free(text);
        return NULL;
    }
    const char *from = text + count;
    for (int n = 0; from > text; from--)
        if (from[-1] == '\n' && ++n == lines)
            break;
    memmove(text, from, strlen(from) + 1);
    vmae_clean_text(text);
    return text;
}

char *vmae_log_tail(const char *path, int lines)
{
    return vmae_log_tail_from(path, 0, lines);
}

/* ---- progress ---- */

static void format_duration(char *text, size_t size, double seconds)
{
    if (!(seconds >= 0.0 && seconds < 1e8)) {
        snprintf(text, size, "?");
        return;
    }
    const long s = lround(seconds);
    if (s < 60)
        snprintf(text, size, "%lds", s);
    else if (s < 3600)
        snprintf(text, size, "%ldm%02lds", s / 60, s % 60);
    else
        snprintf(text, size, "%ldh%02ldm", s / 3600, s / 60 % 60);
}

static int terminal_columns(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

/* "pretrain 1200/30000 (4%), 11.2/s, 43m10s left, loss 0.93": one text for terminal and file. The rate is that of this
 * process: steps of an earlier attempt (before `first`) took none of our time. */
static void format_progress(char *text, size_t size, const vmae_progress *progress, double now, const char *note)
{
    char left[32], rate[96] = "";
    const double spent = now - progress->started;
    const int64_t steps = progress->done - progress->first;
    const double per_second = spent > 0.0 ? (double)steps / spent : 0.0;
    format_duration(left, sizeof left,
                    per_second > 0.0 ? (double)(progress->total - progress->done) / per_second : NAN);
    if (per_second >= 1.0)
        snprintf(rate, sizeof rate, ", %.3g/s, %s left", per_second, left);
    else if (per_second > 0.0)
        snprintf(rate, sizeof rate, ", %.3g s each, %s left", 1.0 / per_second, left);
    snprintf(text, size, "%s %lld/%lld (%d%%)%s%s%s", progress->what, (long long)progress->done,
             (long long)progress->total,
             progress->total > 0 ? (int)(100.0 * (double)progress->done / (double)progress->total) : 0, rate,
             *note ? ", " : "", note);
}

/* "[#####.....] " for a terminal that is wide enough, in front of the text; cut to one line, so that \r redraws all of
 * it. */
static void draw_bar(const vmae_progress *progress, const char *text)
{
    enum { CELLS = 20 };
    const int columns = terminal_columns();
    char cells[CELLS + 1] = "";
    const double part = progress->total > 0 ? (double)progress->done / (double)progress->total : 0.0;
    for (int i = 0; i < CELLS; i++)
        cells[i] = (double)i < part * CELLS ? '#' : '.';
    char line[sizeof bar];
    if (columns >= 60)
        snprintf(line, sizeof line, "[%s] %s", cells, text);
    else
        snprintf(line, sizeof line, "%s", text);
    if (strlen(line) >= (size_t)columns)
        line[columns - 1] = '\0';
    pthread_mutex_lock(&lock);
    memcpy(bar, line, sizeof bar);
    put(STDERR_FILENO, "\r\033[K", 4);
    put(STDERR_FILENO, bar, strlen(bar));
    pthread_mutex_unlock(&lock);
}

/* Shows the line now. */
static void show(vmae_progress *progress, double now, const char *note)
{
    char text[sizeof bar - 32];
    format_progress(text, sizeof text, progress, now, note);
    if (isatty(STDERR_FILENO))
        draw_bar(progress, text);
    else
        vmae_log(VMAE_INFO, "%s", text);
    progress->shown = now;
}

void vmae_progress_begin(vmae_progress *progress, const char *what, int64_t first, int64_t total)
{
    const double now = vmae_seconds();
    *progress =
        (vmae_progress){ .what = what, .done = first, .total = total, .first = first, .started = now, .shown = now };
}

void vmae_progress_step(vmae_progress *progress, int64_t done, const char *format, ...)
{
    const double now = vmae_seconds();
    progress->done = done;
    if (atomic_load(&least_level) > VMAE_INFO || now - progress->shown < (isatty(STDERR_FILENO) ? 0.2 : 10.0))
        return;
    char note[256];
    va_list args;
    va_start(args, format);
    vsnprintf(note, sizeof note, format, args);
    va_end(args);
    show(progress, now, note);
}

void vmae_progress_end(vmae_progress *progress)
{
    char spent[32];
    const double seconds = vmae_seconds() - progress->started;
    const int64_t steps = progress->done - progress->first;
    pthread_mutex_lock(&lock);
    if (*bar)
        put(STDERR_FILENO, "\r\033[K", 4);
    *bar = '\0';
    pthread_mutex_unlock(&lock);
    format_duration(spent, sizeof spent, seconds);
    vmae_log(VMAE_INFO, "%s %lld/%lld in %s (%.3g/s)", progress->what, (long long)progress->done,
             (long long)progress->total, spent, seconds > 0.0 ? (double)steps / seconds : 0.0);
}
