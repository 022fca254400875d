/* status.c -- the one sentence kept per thread. */
#include "engine/core/status.h"

#include "engine/core/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { SENTENCE_MAX = 2048 };

static _Thread_local char sentence[SENTENCE_MAX];

vmae_status vmae_fail(vmae_status status, const char *format, ...)
{
    char text[SENTENCE_MAX]; /* the arguments may be the kept sentence itself */
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    vmae_clean_text(text);
    memcpy(sentence, text, sizeof sentence);
    return status;
}

vmae_status vmae_fail_in(vmae_status status, const char *format, ...)
{
    char place[SENTENCE_MAX / 2], kept[SENTENCE_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(place, sizeof place, format, args);
    va_end(args);
    vmae_clean_text(place);
    memcpy(kept, sentence, sizeof kept);
    if (snprintf(sentence, sizeof sentence, "%s: %s", place, kept) >= (int)sizeof sentence)
        memcpy(sentence + sizeof sentence - 4, "...", 4);
    return status;
}

vmae_status vmae_fail_errno(int errno_value, const char *format, ...)
{
    char text[SENTENCE_MAX / 2];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    vmae_status status = VMAE_EIO;
    if (errno_value == ENOENT || errno_value == ENOTDIR || errno_value == EISDIR || errno_value == EACCES)
        status = VMAE_EUSER;
    else if (errno_value == ENOMEM)
        status = VMAE_ENOMEM;
    return vmae_fail(status, "%s: %s", text, strerror(errno_value));
}

const char *vmae_error(void)
{
    return sentence;
}

const char *vmae_status_name(vmae_status status)
{
    static const char *const names[] = { "ok",       "user",        "data", "io",      "memory",
                                         "diverged", "interrupted", "busy", "internal" };
    return (unsigned)status < sizeof names / sizeof *names ? names[status] : "unknown";
}

int vmae_exit_code(vmae_status status)
{
    switch (status) {
    case VMAE_OK: return 0;
    case VMAE_EUSER: return 2;
    case VMAE_EINTERRUPTED: return 130;
    default: return 1;
    }
}
