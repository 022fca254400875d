/* stops.c -- handlers that count, blocked but in ppoll. */
#include "sweeps/stops.h"

#include <poll.h>
#include <stddef.h>
#include <time.h>

static volatile sig_atomic_t count;
static double first_stop; /* written by the handler */

/* timeout(1) and shells send one Ctrl-C to the process and to its group: what follows within this time is the same one.
 */
static const double SAME_STOP_S = 0.25;

static void on_stop(int number)
{
    struct timespec now = { 0, 0 };
    (void)number;
    clock_gettime(CLOCK_MONOTONIC, &now);
    const double seconds = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    if (count == 0)
        first_stop = seconds;
    if (count == 0 || seconds - first_stop > SAME_STOP_S)
        count++;
}

static void on_child(int number)
{
    (void)number; /* only ends ppoll */
}

static const int caught[VMAE_STOPS_CAUGHT] = { SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD };

void vmae_stops_install(vmae_stops *stops)
{
    sigset_t block;
    sigemptyset(&block);
    count = 0;
    for (int i = 0; i < VMAE_STOPS_CAUGHT; i++) {
        struct sigaction action = { .sa_handler = caught[i] == SIGCHLD ? on_child : on_stop };
        sigemptyset(&action.sa_mask);
        sigaction(caught[i], NULL, &stops->old[i]);
        if (caught[i] == SIGHUP && stops->old[i].sa_handler == SIG_IGN)
            continue; /* nohup */
        sigaddset(&block, caught[i]);
        sigaction(caught[i], &action, NULL);
    }
    sigprocmask(SIG_BLOCK, &block, &stops->outside);
}

void vmae_stops_restore(const vmae_stops *stops)
{
    for (int i = 0; i < VMAE_STOPS_CAUGHT; i++)
        sigaction(caught[i], &stops->old[i], NULL);
    sigprocmask(SIG_SETMASK, &stops->outside, NULL);
}

int vmae_stops_count(void)
{
    return (int)count;
}

void vmae_stops_wait(const vmae_stops *stops, double seconds)
{
    const struct timespec time = { (time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9) };
    sigset_t open = stops->outside;
    for (int i = 0; i < VMAE_STOPS_CAUGHT; i++)
        sigdelset(&open, caught[i]);
    ppoll(NULL, 0, &time, &open);
}
