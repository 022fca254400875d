/* price.c -- operations from the protocols' estimates, speed from what finished runs took. */
#include "sweeps/price.h"

#include "engine/core/fs.h"
#include "engine/core/mem.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    LOOK_AT = 400, /* finished runs */
    DONE_MAX = 1 << 20
};

static void look_at(vmae_speeds *speeds, const char *path)
{
    char *text = NULL;
    size_t count = 0;
    if (vmae_read_file(path, DONE_MAX, &text, &count) != VMAE_OK)
        return;
    json_t *done = json_loadb(text, count, 0, NULL);
    const char *protocol = json_string_value(json_object_get(done, "protocol"));
    if (protocol)
        vmae_speeds_add(speeds, protocol, json_number_value(json_object_get(done, "flops")),
                        json_number_value(json_object_get(done, "seconds")));
    json_decref(done);
    free(text);
}

void vmae_speeds_measure(vmae_speeds *speeds, const char *root)
{
    char **names = NULL;
    size_t count = 0, looked = 0;
    speeds->count = 0;
    if (!vmae_path_is_folder(root) || vmae_list_folder(root, true, &names, &count) != VMAE_OK)
        return;
    for (size_t i = 0; i < count && looked < LOOK_AT; i++) {
        char *path = vmae_format("%s/%s/done.json", root, names[i]);
        if (path && vmae_path_exists(path)) {
            look_at(speeds, path);
            looked++;
        }
        free(path);
    }
    vmae_list_free(names, count);
}

void vmae_speeds_add(vmae_speeds *speeds, const char *protocol, double flops, double seconds)
{
    size_t i = 0;
    if (!(flops > 0) || !(seconds > 0) || !isfinite(flops) || !isfinite(seconds) ||
        strlen(protocol) >= sizeof speeds->of[0].protocol)
        return;
    while (i < speeds->count && strcmp(speeds->of[i].protocol, protocol) != 0)
        i++;
    if (i == VMAE_PRICE_PROTOCOLS)
        return;
    if (i == speeds->count) {
        memset(&speeds->of[i], 0, sizeof speeds->of[i]);
        memcpy(speeds->of[i].protocol, protocol, strlen(protocol) + 1);
        speeds->count++;
    }
    speeds->of[i].flops += flops;
    speeds->of[i].seconds += seconds;
    speeds->of[i].runs++;
}

double vmae_speeds_predict(const vmae_speeds *speeds, const char *protocol, double flops)
{
    for (size_t i = 0; i < speeds->count; i++)
        if (strcmp(speeds->of[i].protocol, protocol) == 0)
            return flops * speeds->of[i].seconds / speeds->of[i].flops;
    return -1;
}

bool vmae_price_run(const vmae_plan *plan, size_t run, vmae_estimate *estimate)
{
    vmae_config *config = NULL;
    memset(estimate, 0, sizeof *estimate);
    if (vmae_plan_config(plan, run, &config) != VMAE_OK)
        return false;
    const bool known = plan->sweep->stages[plan->runs[run].stage].protocol->estimate(config, estimate) == VMAE_OK;
    vmae_config_free(config);
    if (!known)
        memset(estimate, 0, sizeof *estimate);
    return known;
}

static const char *with_prefix(char text[VMAE_PRICE_TEXT], double value, const char *unit)
{
    static const char prefixes[][2] = { "", "k", "M", "G", "T", "P", "E", "Z" };
    size_t i = 0;
    for (; fabs(value) >= 999.5 && i + 1 < sizeof prefixes / sizeof *prefixes; i++)
        value /= 1000;
    snprintf(text, VMAE_PRICE_TEXT, "%.3g %s%s", value, prefixes[i], unit);
    return text;
}

const char *vmae_price_flops(char text[VMAE_PRICE_TEXT], double flops)
{
    return with_prefix(text, flops, "FLOP");
}

const char *vmae_price_bytes(char text[VMAE_PRICE_TEXT], double bytes)
{
    return with_prefix(text, bytes, "B");
}

const char *vmae_price_time(char text[VMAE_PRICE_TEXT], double seconds)
{
    if (!(seconds >= 0) || seconds > 1e12)
        snprintf(text, VMAE_PRICE_TEXT, "unknown");
    else if (seconds < 10)
        snprintf(text, VMAE_PRICE_TEXT, "%.1f s", seconds);
    else if (seconds < 120)
        snprintf(text, VMAE_PRICE_TEXT, "%.0f s", seconds);
    else if (seconds < 7200)
        snprintf(text, VMAE_PRICE_TEXT, "%d min %02d s", (int)seconds / 60, (int)seconds % 60);
    else if (seconds < 48 * 3600)
        snprintf(text, VMAE_PRICE_TEXT, "%d h %02d min", (int)seconds / 3600, (int)seconds / 60 % 60);
    else
        snprintf(text, VMAE_PRICE_TEXT, "%.1f days", seconds / 86400);
    return text;
}
