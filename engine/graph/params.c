/* params.c -- the flat parameter buffer and its table of names. */
#include "engine/graph/params.h"

#include "engine/core/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN_FLOATS = 16 };

struct vmae_params {
    vmae_arena *arena; /* names */
    vmae_param *list;
    int count, room;
    int64_t trainable, total, numbers;
    vmae_backend *be; /* NULL until allocated */
    float *values, *gradients;
    vmae_bf16 *copy;
};

int64_t vmae_shape_count(vmae_shape shape)
{
    int64_t count = 1;
    for (int i = 0; i < shape.rank; i++)
        count *= shape.dim[i];
    return count;
}

bool vmae_same_shape(vmae_shape a, vmae_shape b)
{
    return a.rank == b.rank && memcmp(a.dim, b.dim, (size_t)a.rank * sizeof *a.dim) == 0;
}

const char *vmae_shape_text(vmae_shape shape)
{
    static _Thread_local char texts[8][128];
    static _Thread_local unsigned turn;
    char *text = texts[turn++ % 8];
    size_t used = (size_t)snprintf(text, sizeof texts[0], "[");
    for (int i = 0; i < shape.rank && used < sizeof texts[0] - 24; i++)
        used += (size_t)snprintf(text + used, sizeof texts[0] - used, "%s%lld", i ? ", " : "", (long long)shape.dim[i]);
    snprintf(text + used, sizeof texts[0] - used, "]");
    return text;
}

vmae_params *vmae_params_new(void)
{
    vmae_params *params = vmae_calloc(1, sizeof *params);
    if (params && !(params->arena = vmae_arena_new())) {
        free(params);
        return NULL;
    }
    return params;
}

void vmae_params_free(vmae_params *params)
{
    if (!params)
        return;
    if (params->be) {
        params->be->release(params->be, params->values);
        params->be->release(params->be, params->gradients);
        params->be->release(params->be, params->copy);
    }
    vmae_arena_free(params->arena);
    free(params->list);
    free(params);
}

vmae_status vmae_params_add(vmae_params *params, const char *name, vmae_shape shape, bool trainable)
{
    if (params->be)
        return vmae_fail(VMAE_EINTERNAL, "parameter %s is declared after the parameters were allocated", name);
    if (vmae_params_find(params, name))
        return vmae_fail(VMAE_EINTERNAL, "parameter %s is declared twice", name);
    if (params->count == params->room) {
        const int room = params->room ? 2 * params->room : 64;
        vmae_param *list = vmae_realloc(params->list, (size_t)room, sizeof *list);
        if (!list)
            return VMAE_ENOMEM;
        params->list = list;
        params->room = room;
    }
    char *copy = vmae_arena_strdup(params->arena, name);
    if (!copy)
        return VMAE_ENOMEM;
    params->list[params->count++] =
        (vmae_param){ .name = copy, .shape = shape, .count = vmae_shape_count(shape), .trainable = trainable };
    return VMAE_OK;
}

/* Offsets for all that are trainable or all that are not; returns the end. */
static int64_t lay_out(vmae_params *params, bool trainable, int64_t offset)
{
    for (int i = 0; i < params->count; i++) {
        vmae_param *param = &params->list[i];
        if (param->trainable != trainable)
            continue;
        param->offset = offset;
        offset += (param->count + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
        if (trainable)
            params->numbers += param->count;
    }
    return offset;
}

vmae_status vmae_params_allocate(vmae_params *params, vmae_backend *be, bool gradients, bool copy)
{
    if (params->be)
        return vmae_fail(VMAE_EINTERNAL, "the parameters are allocated already");
    params->numbers = 0;
    params->trainable = lay_out(params, true, 0);
    params->total = lay_out(params, false, params->trainable);
    params->be = be;
    VMAE_TRY(be->allocate(be, (void **)&params->values, (size_t)params->total * sizeof(float)));
    if (gradients)
        VMAE_TRY(be->allocate(be, (void **)&params->gradients, (size_t)params->trainable * sizeof(float)));
    if (copy)
        VMAE_TRY(be->allocate(be, (void **)&params->copy, (size_t)params->total * sizeof(vmae_bf16)));
    return VMAE_OK;
}

int vmae_params_count(const vmae_params *params)
{
    return params->count;
}

const vmae_param *vmae_params_at(const vmae_params *params, int index)
{
    return &params->list[index];
}

const vmae_param *vmae_params_find(const vmae_params *params, const char *name)
{
    for (int i = 0; i < params->count; i++)
        if (strcmp(params->list[i].name, name) == 0)
            return &params->list[i];
    return NULL;
}

int64_t vmae_params_trainable(const vmae_params *params)
{
    return params->trainable;
}

int64_t vmae_params_total(const vmae_params *params)
{
    return params->total;
}

int64_t vmae_params_numbers(const vmae_params *params)
{
    return params->numbers;
}

float *vmae_params_values(const vmae_params *params)
{
    return params->values;
}

float *vmae_params_gradients(const vmae_params *params)
{
    return params->gradients;
}

vmae_bf16 *vmae_params_copy(const vmae_params *params)
{
    return params->copy;
}

vmae_status vmae_params_write(vmae_params *params, const vmae_param *param, const float *from)
{
    return params->be->upload(params->be, params->values + param->offset, from, (size_t)param->count * sizeof *from);
}

vmae_status vmae_params_read(const vmae_params *params, const vmae_param *param, float *to)
{
    return params->be->download(params->be, to, params->values + param->offset, (size_t)param->count * sizeof *to);
}

vmae_status vmae_params_refresh(vmae_params *params)
{
    if (!params->copy)
        return VMAE_OK;
    return params->be->kernels->cast(params->be, params->copy, VMAE_BF16, params->values, VMAE_F32, params->total);
}
