/* text.c -- numbers, times and foreign texts in the form that people and files see. */
#include "engine/core/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- numbers ---- */

/* How many digits read back equal. Most measured values need 16 or 17, and a decimal of up to 15 survives the way to a
 * double and back: so ask for 15 first, and search below only where they do. */
static int digits_needed(double value)
{
    char text[VMAE_FLOAT_TEXT];
    for (int digits = 15; digits < 17; digits++) {
        snprintf(text, sizeof text, "%.*e", digits - 1, value);
        if (strtod(text, NULL) != value)
            continue;
        int fewer = digits == 15 ? 1 : digits;
        for (; fewer < digits; fewer++) {
            snprintf(text, sizeof text, "%.*e", fewer - 1, value);
            if (strtod(text, NULL) == value)
                break;
        }
        return fewer;
    }
    return 17;
}

const char *vmae_float_text(char text[VMAE_FLOAT_TEXT], double value)
{
    char digits[VMAE_FLOAT_TEXT];
    if (!isfinite(value)) { /* never a value, but a message says what a file had */
        snprintf(text, VMAE_FLOAT_TEXT, "%f", value);
        return text;
    }
    if (value == 0.0)
        value = 0.0; /* no "-0": equal values must have equal text */
    const int precision = digits_needed(value);
    snprintf(digits, sizeof digits, "%.*e", precision - 1, value);
    const int exponent = atoi(strchr(digits, 'e') + 1);
    if (exponent < -4 || exponent >= 16)
        snprintf(text, VMAE_FLOAT_TEXT, "%s", digits);
    else
        snprintf(text, VMAE_FLOAT_TEXT, "%.*f", precision - 1 > exponent ? precision - 1 - exponent : 0, value);
    return text;
}

const char *vmae_time_text(char text[VMAE_TIME_TEXT], double seconds)
{
    if (!(seconds >= 0.0) || seconds > 1e12)
        snprintf(text, VMAE_TIME_TEXT, "unknown");
    else if (seconds < 9.95)
        snprintf(text, VMAE_TIME_TEXT, "%.1f s", seconds);
    else if (seconds < 119.5)
        snprintf(text, VMAE_TIME_TEXT, "%.0f s", seconds);
    else if (seconds < 7200.0)
        snprintf(text, VMAE_TIME_TEXT, "%d min %02d s", (int)seconds / 60, (int)seconds % 60);
    else if (seconds < 48.0 * 3600.0)
        snprintf(text, VMAE_TIME_TEXT, "%d h %02d min", (int)seconds / 3600, (int)seconds / 60 % 60);
    else
        snprintf(text, VMAE_TIME_TEXT, "%.1f days", seconds / 86400.0);
    return text;
}

/* ---- UTF-8 ---- */

/* Bytes of the well-formed character at `at`, 0 if there is none. */
static size_t character(const unsigned char *at)
{
    static const unsigned least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    if (*at < 0x80)
        return *at ? 1 : 0;
    const size_t bytes = *at >= 0xf0 ? 4 : *at >= 0xe0 ? 3 : 2;
    if (*at < 0xc2 || *at > 0xf4)
        return 0;
    unsigned code = *at & (0xffu >> (bytes + 1));
    for (size_t i = 1; i < bytes; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0; /* also at the final 0 */
        code = code << 6 | (at[i] & 0x3f);
    }
    return code >= least[bytes] && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff) ? bytes : 0;
}

bool vmae_is_utf8(const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    for (size_t bytes; *at; at += bytes)
        if (!(bytes = character(at)))
            return false;
    return true;
}

size_t vmae_text_width(const char *text)
{
    size_t width = 0;
    for (const unsigned char *at = (const unsigned char *)text; *at; width++)
        at += character(at) ? character(at) : 1;
    return width;
}

/* ---- what a terminal may see ---- */

/* The next character of a text that has not ended: its bytes, and in *shown how many of them may be shown, 0 for '?'.
 */
static size_t next_character(const unsigned char *at, size_t *shown)
{
    const size_t bytes = character(at);
    const bool control = *at < 0x20 || *at == 0x7f || (*at == 0xc2 && at[1] < 0xa0);
    *shown = control ? 0 : bytes;
    return bytes ? bytes : 1;
}

bool vmae_text_is_clean(const char *text)
{
    size_t shown = 1;
    for (const unsigned char *at = (const unsigned char *)text; *at && shown;)
        at += next_character(at, &shown);
    return shown > 0;
}

void vmae_clean_text(char *text)
{
    const unsigned char *from = (const unsigned char *)text;
    char *to = text;
    while (*from) {
        size_t shown;
        const size_t bytes = next_character(from, &shown);
        if (!shown)
            *to++ = *from == '\n' || *from == '\t' ? (char)*from : '?';
        for (size_t i = 0; i < shown; i++)
            *to++ = (char)from[i];
        from += bytes;
    }
    *to = '\0';
}

void vmae_print_clean(FILE *out, const char *text)
{
    for (const unsigned char *at = (const unsigned char *)text; *at;) {
        size_t shown;
        const size_t bytes = next_character(at, &shown);
        if (shown)
            fwrite(at, 1, shown, out);
        else
            putc('?', out);
        at += bytes;
    }
}

void vmae_display_text(char *to, size_t size, const char *text)
{
    size_t used = 0;
    for (const unsigned char *at = (const unsigned char *)text; *at;) {
        size_t shown;
        const size_t bytes = next_character(at, &shown);
        if (used + (shown ? shown : 1) + 4 > size) {
            memcpy(to + used, "...", 4);
            return;
        }
        if (!shown)
            to[used++] = '?';
        for (size_t i = 0; i < shown; i++)
            to[used++] = (char)at[i];
        at += bytes;
    }
    to[used] = '\0';
}
