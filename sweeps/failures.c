/* failures.c -- counting failures by kind. */
#include "sweeps/failures.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { WORDS = 8 };

/* The same sentence about another file, step or number is the same kind. */
static void kind_of(const char *protocol, const char *message, char kind[VMAE_FAILURE_TEXT])
{
    size_t used = (size_t)snprintf(kind, VMAE_FAILURE_TEXT, "%.30s:", protocol);
    int words = 0;
    for (const char *at = message; *at && words < WORDS;) {
        at += strspn(at, " ");
        const size_t length = strcspn(at, " ");
        bool plain = length > 0;
        for (size_t i = 0; i < length; i++)
            plain = plain && at[i] != '/' && !isdigit((unsigned char)at[i]);
        if (plain && used + length + 2 < VMAE_FAILURE_TEXT) {
            kind[used++] = ' ';
            memcpy(kind + used, at, length);
            used += length;
            words++;
        }
        at += length;
    }
    kind[used] = 0;
}

int vmae_failures_add(vmae_failures *failures, const char *protocol, const char *message)
{
    char kind[VMAE_FAILURE_TEXT];
    int i = 0;
    kind_of(protocol, message, kind);
    while (i < failures->kinds && strcmp(failures->of[i].text, kind) != 0)
        i++;
    if (i == VMAE_FAILURE_KINDS)
        i = VMAE_FAILURE_KINDS - 1; /* so many kinds: lumped together */
    if (i == failures->kinds) {
        memcpy(failures->of[i].text, kind, sizeof kind);
        failures->of[failures->kinds++].count = 0;
    }
    return ++failures->of[i].count;
}
