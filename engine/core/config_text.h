/* config_text.h -- inside config: values as text. */
#ifndef VMAE_CORE_CONFIG_TEXT_H
#define VMAE_CORE_CONFIG_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* The shortest decimal form that strtod reads back equal: "0.1", "100", "1e-05"; "0" for both zeros. `value` is finite.
 */
enum { VMAE_FLOAT_TEXT = 32 };
void vmae_float_text(char text[VMAE_FLOAT_TEXT], double value);

/* true for well-formed UTF-8: shortest forms, no surrogates, nothing past U+10FFFF */
bool vmae_is_utf8(const char *text);

/* A user's text made safe for a message: at most size - 1 bytes, control characters and broken UTF-8 as '?', "..."
 * where cut. */
void vmae_display_text(char *to, size_t size, const char *text);

#endif
