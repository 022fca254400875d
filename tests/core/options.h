/* options.h -- the option table of the config tests, and files for them. */
#ifndef VMAE_TESTS_CORE_OPTIONS_H
#define VMAE_TESTS_CORE_OPTIONS_H

#include "engine/core/config.h"

vmae_config *new_config(void); /* the table at its defaults; NULL if that failed, which is checked */

/* Writes a file below the test folder, with its folders. */
void write_text(const char *name, const char *text);

#endif
