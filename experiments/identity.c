/* identity.c -- what makes two runs the same run. */
#include "experiments/protocol.h"
#include "experiments/run.h"

#include "engine/core/fs.h"
#include "engine/core/mem.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { DONE_MAX = 1 << 24 };

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

static bool is_not_a_file(const char *checkpoint)
{
    return strcmp(checkpoint, "random") == 0 || strcmp(checkpoint, "pixels") == 0;
}

/* The identity in the done.json beside a checkpoint, if there is one. */
static bool identity_beside(const char *checkpoint, char identity[VMAE_HASH_HEX])
{
    bool found = false;
    const size_t folder = (size_t)(vmae_path_base(checkpoint) - checkpoint);
    char *path = vmae_format("%.*sdone.json", (int)folder, checkpoint), *text = NULL;
    size_t count = 0;
    if (path && vmae_path_exists(path) && vmae_read_file(path, DONE_MAX, &text, &count) == VMAE_OK) {
        json_t *done = json_loadb(text, count, 0, NULL);
        const char *value = json_string_value(json_object_get(done, "identity"));
        if (value && strlen(value) == VMAE_HASH_HEX - 1) {
            memcpy(identity, value, VMAE_HASH_HEX);
            found = true;
        }
        json_decref(done);
    }
    free(text);
    free(path);
    return found;
}

vmae_status vmae_protocol_config(const vmae_protocol *protocol, vmae_config **config)
{
    return vmae_config_new(config, protocol->options);
}

vmae_status vmae_run_fill_parent(const vmae_protocol *protocol, vmae_config *config)
{
    if (!protocol->needs_checkpoint || *vmae_config_text(config, "parent"))
        return VMAE_OK;
    const char *checkpoint = vmae_config_text(config, "checkpoint");
    if (!*checkpoint)
        return vmae_config_refuse(config, "checkpoint",
                                  "%s needs the safetensors file of an encoder, or 'random' or 'pixels'",
                                  protocol->name);
    if (is_not_a_file(checkpoint))
        return vmae_config_set(config, "parent", checkpoint, "its checkpoint");
    char identity[VMAE_HASH_HEX];
    if (!identity_beside(checkpoint, identity)) {
        const vmae_status st = vmae_hash_file(checkpoint, identity);
        if (st != VMAE_OK)
            return vmae_fail_in(st, "%s: checkpoint", vmae_config_origin(config, "checkpoint"));
    }
    return vmae_config_set(config, "parent", identity, "its checkpoint");
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
