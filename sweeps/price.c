/* price.c -- operations from the protocols' estimates, speed from what finished runs took. */
#include "sweeps/price.h"

#include "engine/core/fs.h"
#include "engine/core/mem.h"
#include "experiments/history.h"

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
    if (!(flops >= 0) || !(seconds > 0) || !isfinite(flops) || !isfinite(seconds) ||
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
    vmae_speed *speed = flops > 0 ? &speeds->of[i].with_flops : &speeds->of[i].without;
    speed->flops += flops;
    speed->seconds += seconds;
    speed->runs++;
}

double vmae_speeds_predict(const vmae_speeds *speeds, const char *protocol, double flops)
{
    for (size_t i = 0; i < speeds->count; i++) {
        const vmae_speed *with = &speeds->of[i].with_flops, *without = &speeds->of[i].without;
        if (strcmp(speeds->of[i].protocol, protocol) != 0)
            continue;
        if (flops > 0)
            return with->runs ? flops * with->seconds / with->flops : -1;
        return without->runs ? without->seconds / without->runs : with->seconds / with->runs;
    }
    return -1;
}

double vmae_speeds_predict_rest(const vmae_speeds *speeds, const char *protocol, const vmae_price *price)
{
    const double whole = vmae_speeds_predict(speeds, protocol, price->whole.flops);
    return whole < 0 ? whole : price->rest * whole;
}

/* How much of a run of so many steps is still to do. What has saved a state goes on from there, or from little before
 * its last step; what has not (a probe is short) starts again. */
static double rest_of(const char *folder, int64_t steps)
{
    double rest = 1;
    vmae_history history = { 0 };
    char *saved = vmae_path_join(folder, "resume.safetensors"), *journal = vmae_path_join(folder, "journal");
    if (saved && journal && steps > 0 && vmae_path_exists(saved) && vmae_history_read(&history, journal) == VMAE_OK)
        rest = fmax(0, 1 - (double)history.last_step / (double)steps);
    vmae_history_release(&history);
    free(journal);
    free(saved);
    return rest;
}

vmae_price vmae_price_run(const vmae_plan *plan, size_t run)
{
    const vmae_plan_run *r = &plan->runs[run];
    vmae_price price = { .rest = 1 };
    vmae_config *config = NULL;
    if (vmae_plan_config(plan, run, &config) != VMAE_OK)
        return price;
    price.known = plan->sweep->stages[r->stage].protocol->estimate(config, &price.whole) == VMAE_OK;
    vmae_config_free(config);
    if (!price.known)
        price.whole = (vmae_estimate){ 0 };
    else if (!r->provisional && r->state != VMAE_RUN_NEW)
        price.rest = rest_of(r->folder, price.whole.steps);
    return price;
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
