/* text.h -- numbers, times and foreign texts in the form that people and files see. */
#ifndef VMAE_CORE_TEXT_H
#define VMAE_CORE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* The shortest decimal form that strtod reads back equal: "0.1", "100", "1e-05"; "0" for both zeros. Returns text. */
enum { VMAE_FLOAT_TEXT = 32 };
const char *vmae_float_text(char text[VMAE_FLOAT_TEXT], double value);

/* "4.2 s", "41 s", "3 min 20 s", "2 h 05 min", "3.1 days"; "unknown" for what is not a duration. Returns text. */
enum { VMAE_TIME_TEXT = 32 };
const char *vmae_time_text(char text[VMAE_TIME_TEXT], double seconds);

/* true for well-formed UTF-8: shortest forms, no surrogates, nothing past U+10FFFF */
bool vmae_is_utf8(const char *text);
/* true if people see all of it as it is: UTF-8 on one line, without control characters (see below) */
bool vmae_text_is_clean(const char *text);
/* How many characters it shows; a byte that is not UTF-8 counts as one. */
size_t vmae_text_width(const char *text);

/* Names, labels and messages come from files and may be hostile: people see every control character (of ASCII, and C1
 * in UTF-8: terminals obey both) and every byte that is not UTF-8 as '?'. Error sentences and log lines are cleaned
 * where they are made (status.h, log.h); the rest where it is printed. */
void vmae_clean_text(char *text);                                /* in place; keeps line ends and tabs */
void vmae_print_clean(FILE *out, const char *text);              /* on one line: '?' for line ends, too */
void vmae_display_text(char *to, size_t size, const char *text); /* on one line, in size bytes; "..." where cut */

#endif
