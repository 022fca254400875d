/* identity.c -- what makes two runs the same run. */
#include "experiments/protocol.h"
#include "experiments/run.h"

#include "engine/core/mem.h"

#include <stdlib.h>
#include <string.h>

/* By value and not by text: "1e-4" and "0.0001" are one default. */
static bool is_default(const vmae_config *config, const vmae_option *option)
{
    switch (option->type) {
    case VMAE_BOOL: return vmae_config_bool(config, option->name) == (strcmp(option->initial, "true") == 0);
    case VMAE_INT: return (double)vmae_config_int(config, option->name) == strtod(option->initial, NULL);
    case VMAE_FLOAT: return vmae_config_float(config, option->name) == strtod(option->initial, NULL);
    case VMAE_TEXT:
    case VMAE_CHOICE: return strcmp(vmae_config_text(config, option->name), option->initial) == 0;
    }
    return false;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const vmae_option *const *)a)->name, (*(const vmae_option *const *)b)->name);
}

vmae_status vmae_protocol_config(const vmae_protocol *protocol, vmae_config **config)
{
    return vmae_config_new(config, protocol->options);
}

vmae_status vmae_run_identity(const vmae_protocol *protocol, const vmae_config *config, char identity[VMAE_HASH_HEX])
{
    vmae_status st = VMAE_OK;
    if (protocol->needs_checkpoint && !*vmae_config_text(config, "parent"))
        return vmae_fail(VMAE_EINTERNAL, "%s has no identity before its 'parent' is filled in", protocol->name);

    const size_t count = vmae_config_count(config);
    vmae_hash *hash = vmae_hash_new();
    const vmae_option **set = vmae_calloc(count, sizeof *set);
    if (!hash || !set) {
        st = VMAE_ENOMEM;
        goto done;
    }
    size_t changed = 0;
    for (size_t i = 0; i < count; i++) {
        const vmae_option *option = vmae_config_at(config, i);
        if (option->role == VMAE_IDENTITY && !is_default(config, option))
            set[changed++] = option;
    }
    qsort(set, changed, sizeof(vmae_option *), by_name); /* so tables may be put into another order */

    vmae_hash_field(hash, "numerics", VMAE_NUMERICS_VERSION);
    vmae_hash_field(hash, "protocol", protocol->name);
    for (size_t i = 0; i < changed; i++)
        vmae_hash_field(hash, set[i]->name, vmae_config_value(config, set[i]->name));
    if ((st = protocol->fingerprint(config, hash)) != VMAE_OK)
        goto done;
    vmae_hash_hex(hash, identity);
done:
    free(set);
    vmae_hash_free(hash);
    return st;
}
