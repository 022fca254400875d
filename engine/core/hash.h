/* hash.h -- SHA-256 (OpenSSL's) for identities and fingerprints. */
#ifndef VMAE_CORE_HASH_H
#define VMAE_CORE_HASH_H

#include "engine/core/status.h"

#include <stddef.h>
#include <stdint.h>

enum { VMAE_HASH_HEX = 65 }; /* 64 hex digits and the final 0 */

typedef struct vmae_hash vmae_hash;
vmae_hash *vmae_hash_new(void); /* NULL, with a sentence, without memory */
void vmae_hash_free(vmae_hash *hash);
void vmae_hash_bytes(vmae_hash *hash, const void *bytes, size_t count);
/* Adds "name=value\n" with lengths in front, so that no two lists of fields hash alike. */
void vmae_hash_field(vmae_hash *hash, const char *name, const char *value);
/* The digest of what was added so far, in lower-case hex. The hash can be added to no more. */
void vmae_hash_hex(vmae_hash *hash, char hex[VMAE_HASH_HEX]);
/* The digest of a whole file. */
vmae_status vmae_hash_file(const char *path, char hex[VMAE_HASH_HEX]);
/* 64 well-mixed bits of a string (FNV-1a with a finaliser); for tables and RNG streams, not for identities. */
uint64_t vmae_hash_name(const char *text);

#endif
