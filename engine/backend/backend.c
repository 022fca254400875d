/* backend.c -- which device a name means; work that is recorded once and run often. */
#include "engine/backend/backend.h"

#include "engine/backend/module.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* Without a driver there is no need to load half a gigabyte of CUDA's libraries to be told so. */
static bool has_driver(void)
{
    void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
    if (driver)
        dlclose(driver);
    return driver != NULL;
}

/* "cuda" is -1, the first; "cuda:N" is N. */
static bool cuda_number(const char *device, int *number)
{
    char *end = NULL;
    *number = -1;
    if (strcmp(device, "cuda") == 0)
        return true;
    if (strncmp(device, "cuda:", 5) != 0 || device[5] < '0' || device[5] > '9')
        return false;
    const long value = strtol(device + 5, &end, 10);
    *number = value < INT_MAX ? (int)value : INT_MAX;
    return *end == '\0';
}

vmae_status vmae_backend_open(vmae_backend **be, const char *device, int threads)
{
    int number;
    if (strcmp(device, "cpu") == 0)
        return vmae_cpu_open(be, threads);
    if (strcmp(device, "auto") == 0)
        return has_driver() && vmae_cuda_open(be, -1) == VMAE_OK ? VMAE_OK : vmae_cpu_open(be, threads);
    if (cuda_number(device, &number)) {
        const vmae_status st = vmae_cuda_open(be, number);
        return st == VMAE_OK ? st : vmae_fail_in(st, "device is \"%s\"", device);
    }
    return vmae_fail(VMAE_EUSER, "device is \"%s\"; known are auto, cpu and cuda:N", device);
}

void vmae_backend_close(vmae_backend *be)
{
    if (be)
        be->close(be);
}

static vmae_status record(vmae_backend *be, vmae_replay *replay, vmae_status (*queue)(void *context), void *context)
{
    VMAE_TRY(be->record_begin(be));
    const vmae_status st = queue(context);
    const vmae_status ended = be->record_end(be, st == VMAE_OK ? &replay->recording : NULL);
    return st != VMAE_OK ? st : ended;
}

vmae_status vmae_replay_run(vmae_backend *be, vmae_replay *replay, vmae_status (*queue)(void *context), void *context)
{
    if (!be->replay || !replay->warm) {
        VMAE_TRY(queue(context));
        replay->warm = true;
        return VMAE_OK;
    }
    if (!replay->recording)
        VMAE_TRY(record(be, replay, queue, context));
    return be->replay(be, replay->recording);
}

void vmae_replay_release(vmae_backend *be, vmae_replay *replay)
{
    if (replay->recording)
        be->recording_free(be, replay->recording);
    *replay = (vmae_replay){ 0 };
}
