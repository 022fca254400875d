/* dataset_facts.c -- a list of datasets that this process has looked at. */
#include "experiments/dataset_facts.h"

#include "engine/core/mem.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef struct known {
    struct known *next;
    char *key;
    vmae_dataset_facts facts;
} known;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static known *first;

static char *key_of(const vmae_dataset_spec *spec)
{
    /* the path last: it may hold anything */
    return vmae_format("%s|%s|%lld|%lld|%d|%d|%llu|%s", spec->kind, spec->split ? spec->split : "",
                       (long long)spec->limit, (long long)spec->shapes_count, spec->shapes_size, spec->shapes_frames,
                       (unsigned long long)spec->shapes_seed, spec->path ? spec->path : "");
}

static const known *find(const char *key)
{
    const known *k = first;
    while (k && strcmp(k->key, key) != 0)
        k = k->next;
    return k;
}

static vmae_status look(const vmae_dataset_spec *spec, vmae_dataset_facts *facts)
{
    vmae_dataset *dataset = NULL;
    VMAE_TRY(vmae_dataset_open(&dataset, spec));
    facts->media = dataset->media;
    facts->count = dataset->count;
    facts->classes = dataset->classes;
    memcpy(facts->description, dataset->description, sizeof facts->description);
    memcpy(facts->fingerprint, dataset->fingerprint, sizeof facts->fingerprint);
    vmae_dataset_close(dataset);
    return VMAE_OK;
}

vmae_status vmae_dataset_facts_of(const vmae_dataset_spec *spec, vmae_dataset_facts *facts)
{
    vmae_status st = VMAE_OK;
    char *key = key_of(spec);
    if (!key)
        return VMAE_ENOMEM;
    pthread_mutex_lock(&lock);
    const known *k = find(key);
    if (k) {
        *facts = k->facts;
    } else {
        known *fresh = vmae_calloc(1, sizeof *fresh);
        st = fresh ? look(spec, &fresh->facts) : VMAE_ENOMEM;
        if (st == VMAE_OK) {
            *facts = fresh->facts;
            fresh->key = key;
            fresh->next = first;
            first = fresh;
            key = NULL;
        } else {
            free(fresh);
        }
    }
    pthread_mutex_unlock(&lock);
    free(key);
    return st;
}

vmae_status vmae_dataset_identify(const vmae_dataset_spec *spec, const char *role, vmae_hash *hash)
{
    vmae_dataset_facts facts;
    VMAE_TRY(vmae_dataset_facts_of(spec, &facts));
    char *name = vmae_format("data.%s", role);
    if (!name)
        return VMAE_ENOMEM;
    vmae_hash_field(hash, name, facts.fingerprint);
    free(name);
    return VMAE_OK;
}
