/* config.h -- options: one table says name, type, range, default and meaning; files and the command line give values.
 *
 * Files are libconfig. A key is the path of its groups: `model = { mask_ratio = 0.75; };` sets model.mask_ratio. Every
 * key that the table does not have is an error with file, line and the nearest known name. Later settings win over
 * earlier ones.
 *
 * `@include "base.cfg"` stands on a line of its own outside all groups, and its path is relative to the file it stands
 * in. What a file sets after an @include overrides what was included, value by value; twice the same key in one stretch
 * is an error. Whole numbers have 64 bits (libconfig 1.5 alone would silently cut them to 32), hexadecimal ones are
 * refused. */
#ifndef VMAE_CORE_CONFIG_H
#define VMAE_CORE_CONFIG_H

#include "engine/core/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum vmae_option_type { VMAE_BOOL, VMAE_INT, VMAE_FLOAT, VMAE_TEXT, VMAE_CHOICE } vmae_option_type;

/* What an option means for a run's identity. */
typedef enum vmae_option_role {
    VMAE_IDENTITY,  /* it changes the numbers: part of the identity wherever it differs from `initial` */
    VMAE_SPEED_ONLY /* loader threads, log interval, device, paths: not in the identity (data enter by their
                       fingerprint) */
} vmae_option_role;

typedef struct vmae_option {
    const char *name; /* "model.mask_ratio" */
    vmae_option_type type;
    vmae_option_role role;
    const char *initial; /* the default as text: "0.75", "true", "mean" */
    double min, max;     /* VMAE_INT and VMAE_FLOAT: the closed range; min == max means any */
    const char *choices; /* VMAE_CHOICE: "mean max gem cls" */
    const char *unit;    /* "epochs", "pixels"; NULL if a plain number */
    const char *help;    /* one line */
} vmae_option;

typedef struct vmae_config vmae_config;

/* All options at their defaults. The tables (each ended by a name of NULL) must outlive the config. `tables` ends with
 * NULL. */
vmae_status vmae_config_new(vmae_config **config, const vmae_option *const *tables);
vmae_status vmae_config_copy(vmae_config **copy, const vmae_config *config);
void vmae_config_free(vmae_config *config);

/* Reads a libconfig file with the rules above into a tree, for keys that the caller reads itself (config_lookup, ...).
 * `tree` was config_init'ed; the caller config_destroys it, also after a failure. Each setting has its file and line.
 * VMAE_EUSER, with file and line, for what is not libconfig; nothing in a file can end the process. */
struct config_t;
vmae_status vmae_config_parse_file(struct config_t *tree, const char *path);
vmae_status vmae_config_parse_text(struct config_t *tree, const char *text,
                                   const char *name); /* includes: relative to name */

/* Reads a libconfig file over the current values. @include is relative to the including file. Keys listed in `also`
 * (NULL, or ended by NULL: "protocol", "grid", ...) are top-level names that the caller reads itself. After a failure
 * of this or the next functions the earlier values of the same call may have been taken: give the config up. */
vmae_status vmae_config_read(vmae_config *config, const char *path, const char *const *also);
/* The same for text in memory; `name` stands for the file in messages. */
vmae_status vmae_config_read_text(vmae_config *config, const char *text, const char *name, const char *const *also);
/* Applies one libconfig group (a config_setting_t *, e.g. one block of overrides in a sweep) with its file and line as
 * origin: what it holds are top-level names again. */
typedef struct config_setting_t config_setting_t;
vmae_status vmae_config_apply(vmae_config *config, const config_setting_t *group, const char *const *also);
/* "model.mask_ratio=0.5", as on a command line. */
vmae_status vmae_config_assign(vmae_config *config, const char *assignment);
/* Sets one value from text (UTF-8, as on a command line: no quotes); `origin` ("sweeps/table3.cfg:14", "command line")
 * goes into messages. */
vmae_status vmae_config_set(vmae_config *config, const char *name, const char *value, const char *origin);
/* Sets it only if nobody has set it: for presets (model.size = nano fills model.dim, ...). */
vmae_status vmae_config_preset(vmae_config *config, const char *name, const char *value, const char *origin);

/* Values. The name and type must be in the table: asking for another is a bug and aborts. */
bool vmae_config_bool(const vmae_config *config, const char *name);
int64_t vmae_config_int(const vmae_config *config, const char *name);
double vmae_config_float(const vmae_config *config, const char *name); /* VMAE_FLOAT or VMAE_INT */
const char *vmae_config_text(const vmae_config *config,
                             const char *name); /* VMAE_TEXT or VMAE_CHOICE; valid until changed */
bool vmae_config_is_set(const vmae_config *config, const char *name); /* by a file, a command line or a preset */
/* Any value in its canonical text: floats in the shortest form that reads back equal ("0.1", "1e-05"), bools
 * true/false. */
const char *vmae_config_value(const vmae_config *config, const char *name);
/* "sweeps/table3.cfg:14", "command line", "default" */
const char *vmae_config_origin(const vmae_config *config, const char *name);
const vmae_option *vmae_config_option(const vmae_config *config, const char *name); /* NULL if there is none */

/* Fails with "<origin>: <name> is <value>; <formatted>": for rules that one option's range cannot say. */
vmae_status vmae_config_refuse(const vmae_config *config, const char *name, const char *format, ...) VMAE_PRINTF(3, 4);

/* Walks the options in table order. */
size_t vmae_config_count(const vmae_config *config);
const vmae_option *vmae_config_at(const vmae_config *config, size_t index);

/* The whole configuration as libconfig text that reads back to the same values; fresh memory. */
char *vmae_config_print(const vmae_config *config);

/* The nearest of the names to a misspelt one, or NULL if none is near (Damerau-Levenshtein distance at most a third of
 * the length). */
const char *vmae_nearest_name(const char *wrong, const char *const *names, size_t count);

#endif
