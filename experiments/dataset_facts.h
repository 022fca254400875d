/* dataset_facts.h -- what identity and cost need to know of a dataset, found out once a process. */
#ifndef VMAE_EXPERIMENTS_DATASET_FACTS_H
#define VMAE_EXPERIMENTS_DATASET_FACTS_H

#include "engine/core/hash.h"
#include "engine/data/data.h"

typedef struct vmae_dataset_facts {
    vmae_media media;
    int64_t count; /* samples */
    int classes;
    char description[256];
    char fingerprint[VMAE_HASH_HEX];
} vmae_dataset_facts;

/* Opens the dataset at the first call with this spec, and answers from memory afterwards: planning a sweep of thousands
 * of runs asks for the same few datasets. A failure is not remembered. For a protocol's fingerprint() and estimate(); a
 * run opens its data itself. Thread-safe. */
vmae_status vmae_dataset_facts_of(const vmae_dataset_spec *spec, vmae_dataset_facts *facts);

/* Adds the field "data.<role>" with the dataset's fingerprint to an identity. */
vmae_status vmae_dataset_identify(const vmae_dataset_spec *spec, const char *role, vmae_hash *hash);

#endif
