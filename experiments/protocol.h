/* protocol.h -- what a protocol (pretrain, probe, knn, ...) is to those who plan and run it.
 *
 * A protocol is one .c file with a vmae_protocol at its end, plus one line in the table of protocol.c. The sweep runner
 * reads option tables, identities and costs from here; `vicmae` runs one. */
#ifndef VMAE_EXPERIMENTS_PROTOCOL_H
#define VMAE_EXPERIMENTS_PROTOCOL_H

#include "engine/core/config.h"
#include "engine/core/hash.h"

/* Changes whenever the same configuration would give other numbers (a fixed bug in a kernel, another default summation
 * order): part of every identity. A rebuild or a faster kernel with the same bits does not change it. */
#define VMAE_NUMERICS_VERSION "1"

typedef struct vmae_run vmae_run;

/* The price of a run, known before it starts. */
typedef struct vmae_estimate {
    int64_t steps;
    double flops;      /* matrix products of all steps */
    double disk_bytes; /* checkpoints and journal that stay */
} vmae_estimate;

typedef struct vmae_protocol {
    const char *name;                  /* the sub-command: "pretrain" */
    const char *summary;               /* one line for --help */
    const vmae_option *const *options; /* its option tables, ended by NULL */
    bool needs_checkpoint;             /* builds on another run: option "checkpoint" (path) and "parent" (identity) */
    /* Fills in presets and checks the rules between options. After it the config is final. Needs no data and no device
     * but the CPU's. */
    vmae_status (*resolve)(vmae_config *config);
    /* Adds the fingerprint of every dataset that the run reads, as fields. Opens the datasets. */
    vmae_status (*fingerprint)(const vmae_config *config, vmae_hash *hash);
    vmae_status (*estimate)(const vmae_config *config, vmae_estimate *estimate);
    /* Does it. Called through vmae_run_main (run.h). */
    vmae_status (*run)(vmae_run *run);
} vmae_protocol;

/* NULL if there is none of that name; all of them, in the order of --help. */
const vmae_protocol *vmae_protocol_find(const char *name);
const vmae_protocol *const *vmae_protocol_all(size_t *count);

/* A fresh config of the protocol's tables at their defaults. */
vmae_status vmae_protocol_config(const vmae_protocol *protocol, vmae_config **config);

/* The identity of a resolved config: SHA-256 of the numerics version, the protocol, every VMAE_IDENTITY option whose
 * value differs from its default, and the fingerprints of the data. The run that it builds on enters by the option
 * "parent". */
vmae_status vmae_run_identity(const vmae_protocol *protocol, const vmae_config *config, char identity[VMAE_HASH_HEX]);

#endif
