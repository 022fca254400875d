/* log.h -- log lines and progress, on stderr and in a run's own log file.
 *
 * On a terminal a progress line is redrawn in place with an ETA; elsewhere it is a plain line from time to time.
 * Colours only on a terminal and only without NO_COLOR. Thread-safe. */
#ifndef VMAE_CORE_LOG_H
#define VMAE_CORE_LOG_H

#include "engine/core/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum vmae_level { VMAE_DEBUG, VMAE_INFO, VMAE_WARN, VMAE_ERROR } vmae_level;

void vmae_log_level(vmae_level least);       /* default VMAE_INFO */
vmae_status vmae_log_file(const char *path); /* also append every line, with a time stamp, to this file; NULL: stop */
void vmae_log(vmae_level level, const char *format, ...) VMAE_PRINTF(2, 3); /* control characters as '?' */
#define log_debug(...) vmae_log(VMAE_DEBUG, __VA_ARGS__)
#define log_info(...)  vmae_log(VMAE_INFO, __VA_ARGS__)
#define log_warn(...)  vmae_log(VMAE_WARN, __VA_ARGS__)
#define log_error(...) vmae_log(VMAE_ERROR, __VA_ARGS__)

/* The last lines of a log (of the last 16 KiB), cleaned of control characters, without a final line end: what a person
 * would look at first. Fresh memory, or NULL if there is none. */
char *vmae_log_tail(const char *path, int lines);
/* The same of what was written behind the first `from` bytes. */
char *vmae_log_tail_from(const char *path, int64_t from, int lines);

/* true if stderr / stdout is a terminal and colours were not switched off */
bool vmae_log_colours(int fd);

typedef struct vmae_progress {
    const char *what; /* "pretrain", "features" */
    int64_t done, total, first;
    double started, shown; /* monotonic seconds */
} vmae_progress;
void vmae_progress_begin(vmae_progress *progress, const char *what, int64_t first, int64_t total);
/* Shows done/total, rate, ETA and the note ("loss 0.93"): at most 5 times a second on a terminal, every 10 s elsewhere.
 */
void vmae_progress_step(vmae_progress *progress, int64_t done, const char *format, ...) VMAE_PRINTF(3, 4);
void vmae_progress_end(vmae_progress *progress);

/* Seconds from a clock that never jumps; and wall-clock seconds since 1970, for display only. */
double vmae_seconds(void);
double vmae_wall_seconds(void);

#endif
