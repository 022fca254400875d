/* status.h -- how every function here reports failure.
 *
 * What can fail returns a vmae_status, zero for success. The sentence that goes with it (what, where, what to do) is
 * kept thread-local until the next failure on that thread; only a program's main prints it. Callers pass a status on
 * unchanged, or put their own place in front of the sentence with vmae_fail_in(). */
#ifndef VMAE_CORE_STATUS_H
#define VMAE_CORE_STATUS_H

#include <stdarg.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum vmae_status {
    VMAE_OK = 0,
    VMAE_EUSER, /* config, command line or a missing path: the user can fix it; exit code 2 */
    VMAE_EDATA, /* damaged or hostile input: image, video, archive, checkpoint, journal */
    VMAE_EIO,   /* the system refused: disk full, read-only, no permission */
    VMAE_ENOMEM,
    VMAE_EDIVERGED,    /* a loss or gradient is not finite */
    VMAE_EINTERRUPTED, /* asked to stop by a signal; state is saved; exit code 130 */
    VMAE_EBUSY,        /* somebody else holds the lock */
    VMAE_EINTERNAL     /* a bug of ours, or of a library below us */
} vmae_status;

#if defined(__GNUC__)
#define VMAE_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define VMAE_PRINTF(text, first)
#endif

/* Keeps the formatted sentence for this thread and returns `status`, so that `return vmae_fail(...)` reads well. What
 * the arguments hold may be hostile: control characters become '?'. */
vmae_status vmae_fail(vmae_status status, const char *format, ...) VMAE_PRINTF(2, 3);

/* Puts "<formatted>: " in front of the sentence kept so far. Returns `status`. */
vmae_status vmae_fail_in(vmae_status status, const char *format, ...) VMAE_PRINTF(2, 3);

/* vmae_fail() with strerror(errno_value) appended: "<formatted>: No space left on device". VMAE_EIO, but VMAE_EUSER for
 * ENOENT, ENOTDIR, EISDIR and EACCES, which the user can fix, and VMAE_ENOMEM for ENOMEM. */
vmae_status vmae_fail_errno(int errno_value, const char *format, ...) VMAE_PRINTF(2, 3);

/* The sentence of the last failure on this thread; "" if there was none. Valid until the next failure. */
const char *vmae_error(void);

/* A short name for a status: "user", "data", "io", ... as stored in journals. */
const char *vmae_status_name(vmae_status status);

/* 0 for VMAE_OK, 2 for VMAE_EUSER, 130 for VMAE_EINTERRUPTED, 1 for everything else. */
int vmae_exit_code(vmae_status status);

#define VMAE_TRY(expression)                                                                                           \
    do {                                                                                                               \
        const vmae_status vmae_try_status_ = (expression);                                                             \
        if (vmae_try_status_ != VMAE_OK)                                                                               \
            return vmae_try_status_;                                                                                   \
    } while (0)

#ifdef __cplusplus
}
#endif
#endif
