/* parent.c -- which run a checkpoint comes from. The file itself is the proof: what lies beside it, or what an earlier
 * configuration said, may be about another. */
#include "experiments/run.h"

#include "engine/core/fs.h"
#include "engine/core/mem.h"

#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { DONE_MAX = 1 << 24 };

/* ---- hashes of files, found out once a process: a sweep asks for the same few in thousands of rows ---- */

typedef struct hashed {
    struct hashed *next;
    struct stat info; /* the file is the same as long as these are */
    char sha256[VMAE_HASH_HEX];
} hashed;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static hashed *first;

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static vmae_status hash_once(const char *path, char sha256[VMAE_HASH_HEX])
{
    struct stat info;
    if (stat(path, &info) != 0)
        return vmae_fail_errno(errno, "cannot look at %s", path);
    pthread_mutex_lock(&lock);
    const hashed *known = first;
    while (known && !is_same(&known->info, &info))
        known = known->next;
    vmae_status st = VMAE_OK;
    if (known) {
        memcpy(sha256, known->sha256, VMAE_HASH_HEX);
    } else if ((st = vmae_hash_file(path, sha256)) == VMAE_OK) {
        hashed *fresh = vmae_calloc(1, sizeof *fresh);
        if (fresh) { /* without memory it is hashed again the next time */
            *fresh = (hashed){ .next = first, .info = info };
            memcpy(fresh->sha256, sha256, VMAE_HASH_HEX);
            first = fresh;
        }
    }
    pthread_mutex_unlock(&lock);
    return st;
}

/* ---- from a checkpoint to its run ---- */

/* The done.json in the checkpoint's folder, if there is one. */
static json_t *done_beside(const char *checkpoint)
{
    const size_t folder = (size_t)(vmae_path_base(checkpoint) - checkpoint);
    char *path = vmae_format("%.*sdone.json", (int)folder, checkpoint), *text = NULL;
    size_t count = 0;
    json_t *done = NULL;
    if (path && vmae_path_exists(path) && vmae_read_file(path, DONE_MAX, &text, &count) == VMAE_OK)
        done = json_loadb(text, count, 0, NULL);
    free(text);
    free(path);
    return done;
}

static bool has_text(const json_t *object, const char *key, const char *text)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value && strcmp(value, text) == 0;
}

/* The identity of the run whose done.json says that it made exactly this file, else the file's hash. */
static vmae_status identity_of(const char *checkpoint, char identity[VMAE_HASH_HEX])
{
    char sha256[VMAE_HASH_HEX];
    VMAE_TRY(hash_once(checkpoint, sha256));
    memcpy(identity, sha256, sizeof sha256);
    json_t *done = done_beside(checkpoint);
    const json_t *made = json_object_get(done, "checkpoint");
    const char *run = json_string_value(json_object_get(done, "identity"));
    if (run && strlen(run) == VMAE_HASH_HEX - 1 && has_text(made, "path", vmae_path_base(checkpoint)) &&
        has_text(made, "sha256", sha256))
        memcpy(identity, run, VMAE_HASH_HEX);
    json_decref(done);
    return VMAE_OK;
}

static bool is_not_a_file(const char *checkpoint)
{
    return strcmp(checkpoint, "random") == 0 || strcmp(checkpoint, "pixels") == 0;
}

static vmae_status parent_of(const vmae_config *config, char identity[VMAE_HASH_HEX])
{
    const char *checkpoint = vmae_config_text(config, "checkpoint");
    if (is_not_a_file(checkpoint)) {
        strcpy(identity, checkpoint); /* both are shorter than a hash */
        return VMAE_OK;
    }
    const vmae_status st = identity_of(checkpoint, identity);
    return st == VMAE_OK ? st : vmae_fail_in(st, "%s: checkpoint", vmae_config_origin(config, "checkpoint"));
}

vmae_status vmae_run_fill_parent(const vmae_protocol *protocol, vmae_config *config)
{
    char identity[VMAE_HASH_HEX];
    if (!protocol->needs_checkpoint || *vmae_config_text(config, "parent"))
        return VMAE_OK;
    if (!*vmae_config_text(config, "checkpoint"))
        return vmae_config_refuse(config, "checkpoint",
                                  "%s needs the safetensors file of an encoder, or 'random' or 'pixels'",
                                  protocol->name);
    VMAE_TRY(parent_of(config, identity));
    return vmae_config_set(config, "parent", identity, "its checkpoint");
}

vmae_status vmae_run_check_parent(const vmae_protocol *protocol, const vmae_config *config)
{
    char identity[VMAE_HASH_HEX];
    if (!protocol->needs_checkpoint)
        return VMAE_OK;
    const char *checkpoint = vmae_config_text(config, "checkpoint");
    if (!is_not_a_file(checkpoint) && !vmae_path_exists(checkpoint))
        return VMAE_OK; /* a finished run needs it no more; any other will say that it is not there */
    const char *parent = vmae_config_text(config, "parent");
    VMAE_TRY(parent_of(config, identity));
    if (strcmp(identity, parent) == 0)
        return VMAE_OK;
    if (!is_not_a_file(checkpoint)) { /* its done.json may have come later than the run that began with the bare file */
        VMAE_TRY(hash_once(checkpoint, identity));
        if (strcmp(identity, parent) == 0)
            return VMAE_OK;
        VMAE_TRY(parent_of(config, identity));
    }
    return vmae_config_refuse(
        config, "parent",
        "but checkpoint %s is of %s; if it is a copy, put its run's done.json beside it; if it is "
        "meant to be another one, give parent= (nothing)",
        checkpoint, identity);
}
