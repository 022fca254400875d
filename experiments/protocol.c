/* protocol.c -- the table of protocols: one line each. */
#include "experiments/protocol.h"

#include <string.h>

extern const vmae_protocol vmae_protocol_pretrain, vmae_protocol_probe, vmae_protocol_knn, vmae_protocol_reconstruct;

static const vmae_protocol *const protocols[] = {
    &vmae_protocol_pretrain,
    &vmae_protocol_probe,
    &vmae_protocol_knn,
    &vmae_protocol_reconstruct,
};
enum { PROTOCOLS = sizeof protocols / sizeof *protocols };

const vmae_protocol *vmae_protocol_find(const char *name)
{
    for (size_t i = 0; i < PROTOCOLS; i++)
        if (strcmp(protocols[i]->name, name) == 0)
            return protocols[i];
    return NULL;
}

const vmae_protocol *const *vmae_protocol_all(size_t *count)
{
    *count = PROTOCOLS;
    return protocols;
}
