/* console.h -- what the runner says on stderr while it works: lines that stay, and how far the oldest running run is
 * (on a terminal one line that is drawn again and again, elsewhere a line from time to time). Internal to sweeps/. */
#ifndef VMAE_SWEEPS_CONSOLE_H
#define VMAE_SWEEPS_CONSOLE_H

#include "sweeps/watch.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct vmae_console {
    bool terminal;
    double every; /* seconds between progress lines where it is not a terminal */
    double shown; /* when the last one was */
    size_t total; /* runs that this command does */
} vmae_console;

/* Seconds until something is done. */
typedef struct vmae_eta {
    double seconds;
    bool known;    /* of something; else there is nothing to say */
    bool complete; /* of everything; else it takes at least so long */
} vmae_eta;

void vmae_console_open(vmae_console *console, double every, size_t total);
/* Wipes the progress line, before something else is printed. */
void vmae_console_clear(const vmae_console *console);
/* "[3/27] <name>: <what>; all runs: ETA 2 h 10 min" */
void vmae_console_say(const vmae_console *console, size_t number, const char *name, const char *what, vmae_eta all);
/* Whether vmae_console_progress would show anything now. */
bool vmae_console_is_due(const vmae_console *console);
/* "[3/27] <name> and 1 more: step 660 of 1200, 12 min 10 s so far, ETA 9 min 50 s; all runs: ETA 2 h 10 min". `more`:
 * how many others run. */
void vmae_console_progress(vmae_console *console, size_t number, const char *name, int more, const vmae_watch *watch,
                           double spent, vmae_eta run, vmae_eta all);

#endif
