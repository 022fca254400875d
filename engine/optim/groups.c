/* groups.c -- rules by name. */
#include "engine/optim/groups.h"

#include <math.h>
#include <string.h>

static bool begins_with(const char *name, const char *start)
{
    return strncmp(name, start, strlen(start)) == 0;
}

static bool ends_with(const char *name, const char *end)
{
    const size_t length = strlen(name), tail = strlen(end);
    return length >= tail && strcmp(name + length - tail, end) == 0;
}

static bool is_token_or_position(const char *name)
{
    return strcmp(name, "cls_token") == 0 || strcmp(name, "pos_embed") == 0 || begins_with(name, "pos_embed_");
}

bool vmae_decays_in_pretraining(const char *name, int rank)
{
    return rank > 1 && !ends_with(name, ".bias");
}

bool vmae_decays_in_finetuning(const char *name, int rank)
{
    return rank > 1 && !is_token_or_position(name);
}

vmae_status vmae_layer_id(int *layer, const char *name, int depth)
{
    if (is_token_or_position(name) || begins_with(name, "patch_embed.")) {
        *layer = 0;
        return VMAE_OK;
    }
    if (!begins_with(name, "blocks.")) {
        *layer = depth + 1;
        return VMAE_OK;
    }
    const char *digits = name + strlen("blocks.");
    const size_t count = strspn(digits, "0123456789");
    int block = 0;
    for (size_t i = 0; i < count && block < depth; i++)
        block = block <= depth / 10 ? block * 10 + (digits[i] - '0') : depth; /* stops before it can overflow */
    if (count == 0 || digits[count] != '.' || block >= depth)
        return vmae_fail(VMAE_EUSER, "parameter %s: its layer must be blocks.0 to blocks.%d of an encoder of depth %d",
                         name, depth - 1, depth);
    *layer = block + 1;
    return VMAE_OK;
}

double vmae_layer_scale(int layer, int depth, double decay)
{
    return pow(decay, depth + 1 - layer);
}
