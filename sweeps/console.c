/* console.c -- progress and other lines on stderr. */
#include "sweeps/console.h"

#include "engine/core/log.h"
#include "engine/core/text.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { ETA_TEXT = 64, LINE = 512 };

void vmae_console_open(vmae_console *console, double every, size_t total)
{
    *console = (vmae_console){ isatty(STDERR_FILENO), every, vmae_seconds(), total };
}

void vmae_console_clear(const vmae_console *console)
{
    if (console->terminal)
        fputs("\r\033[K", stderr);
}

/* "ETA 3 min 20 s", "ETA at least 10 s", "" */
static const char *eta_text(char text[ETA_TEXT], const char *before, vmae_eta eta)
{
    char time[VMAE_TIME_TEXT];
    text[0] = 0;
    if (eta.known)
        snprintf(text, ETA_TEXT, "%sETA %s%s", before, eta.complete ? "" : "at least ",
                 vmae_time_text(time, eta.seconds));
    return text;
}

void vmae_console_say(const vmae_console *console, size_t number, const char *name, const char *what, vmae_eta all)
{
    char eta[ETA_TEXT];
    vmae_console_clear(console);
    fprintf(stderr, "[%zu/%zu] %s: %s%s\n", number, console->total, name, what, eta_text(eta, "; all runs: ", all));
}

bool vmae_console_is_due(const vmae_console *console)
{
    return console->terminal || vmae_seconds() - console->shown >= console->every;
}

void vmae_console_progress(vmae_console *console, size_t number, const char *name, int more, const vmae_watch *watch,
                           double spent, vmae_eta run, vmae_eta all)
{
    char line[LINE], others[32] = "", steps[64] = "", time[VMAE_TIME_TEXT], run_eta[ETA_TEXT], all_eta[ETA_TEXT];
    struct winsize window = { 0 };
    if (more > 0)
        snprintf(others, sizeof others, " and %d more", more);
    if (watch->step > 0 && watch->total > 0)
        snprintf(steps, sizeof steps, "step %lld of %lld, ", (long long)watch->step, (long long)watch->total);
    snprintf(line, sizeof line, "[%zu/%zu] %s%s: %s%s so far%s%s", number, console->total, name, others, steps,
             vmae_time_text(time, spent), eta_text(run_eta, ", ", run), eta_text(all_eta, "; all runs: ", all));
    console->shown = vmae_seconds();
    if (!console->terminal) {
        fprintf(stderr, "%s\n", line);
        return;
    }
    int width = ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 8 ? window.ws_col - 1 : 79;
    if ((size_t)width < strlen(line)) /* not within a character */
        while (width > 0 && ((unsigned char)line[width] & 0xC0) == 0x80)
            width--;
    fprintf(stderr, "\r\033[K%.*s", width, line);
    fflush(stderr);
}
