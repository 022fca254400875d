/* config_value.h -- inside config: one value, and its check against its option. */
#ifndef VMAE_CORE_CONFIG_VALUE_H
#define VMAE_CORE_CONFIG_VALUE_H

#include "engine/core/config.h"

typedef struct vmae_value {
    char *text, *origin; /* canonical; both NULL while the option is at its default */
    double number;
    int64_t integer;
} vmae_value;

/* How a value was written: a file says more about the type than a command line. */
typedef enum vmae_written { VMAE_AS_TEXT, VMAE_AS_BOOL, VMAE_AS_INT, VMAE_AS_FLOAT, VMAE_AS_STRING } vmae_written;

enum { VMAE_SHOWN = 96 }; /* bytes of a user's value in a message */

/* Checks the text against the option and makes it canonical. result->text is fresh memory; result->origin is not set.
 */
vmae_status vmae_check_value(const vmae_option *option, const char *text, vmae_written as, const char *origin,
                             vmae_value *result);

#endif
