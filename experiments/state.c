/* state.c -- a training to and from files. */
#include "experiments/state.h"

#include "engine/core/fs.h"
#include "engine/core/log.h"
#include "engine/core/mem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static vmae_status add_description(vmae_writer *writer, const vmae_state *state, const char *identity, int64_t step)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)step);
    if (state->model)
        VMAE_TRY(vmae_model_describe(state->model, writer));
    VMAE_TRY(vmae_writer_metadata(writer, "vicmae.identity", identity));
    VMAE_TRY(vmae_writer_metadata(writer, "vicmae.step", text));
    return vmae_writer_metadata(writer, "format", "pt"); /* what loaders of this format look for */
}

static vmae_status write_file(const vmae_state *state, const char *path, const char *identity, int64_t step,
                              bool with_optimizer)
{
    float *values = NULL, *moments = NULL;
    const int64_t batches = step * state->batches_a_step;
    vmae_writer *writer = vmae_writer_new();
    vmae_status st = writer ? add_description(writer, state, identity, step) : VMAE_ENOMEM;
    if (st == VMAE_OK)
        st = vmae_model_save(state->params, writer, &batches, &values);
    if (st == VMAE_OK && with_optimizer)
        st = vmae_optimizer_save(state->optimizer, writer, &moments);
    if (st == VMAE_OK)
        st = vmae_writer_save(writer, path);
    vmae_writer_free(writer);
    free(values);
    free(moments);
    return st;
}

static char *previous_of(const char *path)
{
    return vmae_format("%s.previous", path);
}

vmae_status vmae_state_save(const vmae_state *state, const char *path, const char *identity, int64_t step)
{
    char *previous = previous_of(path);
    if (!previous)
        return VMAE_ENOMEM;
    vmae_status st = VMAE_OK;
    if (rename(path, previous) != 0 && errno != ENOENT)
        st = vmae_fail_errno(errno, "cannot keep %s as %s", path, previous);
    free(previous);
    return st == VMAE_OK ? write_file(state, path, identity, step, true) : st;
}

vmae_status vmae_state_export(const vmae_state *state, const char *path, const char *identity, int64_t step)
{
    return write_file(state, path, identity, step, false);
}

static bool is_export_of(const vmae_checkpoint *checkpoint, const char *identity, int64_t step)
{
    char wanted[32];
    const char *whose = vmae_checkpoint_metadata(checkpoint, "vicmae.identity"),
               *after = vmae_checkpoint_metadata(checkpoint, "vicmae.step");
    snprintf(wanted, sizeof wanted, "%lld", (long long)step);
    return whose && after && strcmp(whose, identity) == 0 && strcmp(after, wanted) == 0;
}

vmae_status vmae_state_reload(const vmae_state *state, const char *path, const char *identity, int64_t step,
                              bool *found)
{
    vmae_checkpoint *checkpoint = NULL;
    *found = false;
    if (!vmae_path_exists(path))
        return VMAE_OK;
    if (vmae_checkpoint_open(&checkpoint, path) != VMAE_OK) {
        log_warn("%s; training again", vmae_error());
        return VMAE_OK;
    }
    vmae_status st = VMAE_OK;
    if (is_export_of(checkpoint, identity, step)) {
        st = vmae_model_load(state->params, checkpoint);
        *found = st == VMAE_OK;
    }
    vmae_checkpoint_free(checkpoint);
    return st == VMAE_OK ? st : vmae_fail_in(st, "%s", path);
}

static vmae_status restore_from(const vmae_state *state, const char *path, int64_t *step)
{
    vmae_checkpoint *checkpoint = NULL;
    VMAE_TRY(vmae_checkpoint_open(&checkpoint, path));
    const char *text = vmae_checkpoint_metadata(checkpoint, "vicmae.step");
    char *end = NULL;
    const long long done = text ? strtoll(text, &end, 10) : -1;
    vmae_status st = VMAE_OK;
    if (done < 0 || *end)
        st = vmae_fail(VMAE_EDATA, "%s: metadata vicmae.step is \"%s\"; it must be a count", path,
                       text ? text : "(absent)");
    if (st == VMAE_OK)
        st = vmae_model_load(state->params, checkpoint);
    if (st == VMAE_OK)
        st = vmae_optimizer_load(state->optimizer, checkpoint);
    vmae_checkpoint_free(checkpoint);
    if (st == VMAE_OK)
        *step = done;
    return st == VMAE_OK ? st : vmae_fail_in(st, "%s", path);
}

vmae_status vmae_state_restore(const vmae_state *state, const char *path, int64_t *step)
{
    char *previous = previous_of(path);
    if (!previous)
        return VMAE_ENOMEM;
    vmae_status st = VMAE_OK;
    *step = -1;
    if (vmae_path_exists(path) && (st = restore_from(state, path, step)) != VMAE_OK)
        log_warn("%s; trying the state before it", vmae_error());
    const bool unusable = st == VMAE_EDATA || st == VMAE_EUSER; /* the file, and not the memory or the disk under it */
    if ((st == VMAE_OK || unusable) && *step < 0 && vmae_path_exists(previous)) {
        st = restore_from(state, previous, step);
        if (st == VMAE_OK && rename(previous, path) != 0)
            st = vmae_fail_errno(errno, "cannot rename %s to %s", previous, path);
        if (st == VMAE_OK)
            log_info("resuming from the state before the last, step %lld", (long long)*step);
    }
    free(previous);
    if (st != VMAE_OK)
        return vmae_fail_in(st, "this run cannot be resumed (delete its folder to start it anew)");
    return VMAE_OK;
}
