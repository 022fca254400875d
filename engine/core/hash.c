/* hash.c -- SHA-256 through OpenSSL's EVP, and the string mixer. */
#include "engine/core/hash.h"

#include "engine/core/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct vmae_hash {
    EVP_MD_CTX *context;
};

vmae_hash *vmae_hash_new(void)
{
    vmae_hash *hash = vmae_calloc(1, sizeof *hash);
    if (!hash)
        return NULL;
    hash->context = EVP_MD_CTX_new();
    if (!hash->context || !EVP_DigestInit_ex(hash->context, EVP_sha256(), NULL)) {
        vmae_fail(VMAE_ENOMEM, "cannot start SHA-256: out of memory, or an OpenSSL without it");
        vmae_hash_free(hash);
        return NULL;
    }
    return hash;
}

void vmae_hash_free(vmae_hash *hash)
{
    if (!hash)
        return;
    EVP_MD_CTX_free(hash->context);
    free(hash);
}

/* A digest in memory fails only when the context was misused, e.g. added to after vmae_hash_hex: a wrong identity must
 * not go on. */
static void must(int ok)
{
    if (ok)
        return;
    fputs("vicmae: bug: SHA-256 context used after its digest was taken\n", stderr);
    abort();
}

void vmae_hash_bytes(vmae_hash *hash, const void *bytes, size_t count)
{
    must(EVP_DigestUpdate(hash->context, bytes, count));
}

void vmae_hash_field(vmae_hash *hash, const char *name, const char *value)
{
    char length[32];
    const char *const parts[] = { name, value };
    for (int i = 0; i < 2; i++) {
        const size_t bytes = strlen(parts[i]);
        const int digits = snprintf(length, sizeof length, "%zu:", bytes);
        vmae_hash_bytes(hash, length, (size_t)digits);
        vmae_hash_bytes(hash, parts[i], bytes);
        vmae_hash_bytes(hash, i ? "\n" : "=", 1);
    }
}

void vmae_hash_hex(vmae_hash *hash, char hex[VMAE_HASH_HEX])
{
    static const char digit[] = "0123456789abcdef";
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned count = 0;
    must(EVP_DigestFinal_ex(hash->context, digest, &count) && count == (VMAE_HASH_HEX - 1) / 2);
    for (unsigned i = 0; i < count; i++) {
        hex[2 * i] = digit[digest[i] >> 4];
        hex[2 * i + 1] = digit[digest[i] & 15];
    }
    hex[2 * count] = '\0';
}

vmae_status vmae_hash_file(const char *path, char hex[VMAE_HASH_HEX])
{
    enum { PIECE = 1 << 16 };
    vmae_status st = VMAE_OK;
    vmae_hash *hash = vmae_hash_new();
    char *piece = hash ? vmae_calloc(PIECE, 1) : NULL;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (!piece)
        st = VMAE_ENOMEM;
    else if (fd < 0)
        st = vmae_fail_errno(errno, "cannot open %s", path);
    while (st == VMAE_OK) {
        const ssize_t got = read(fd, piece, PIECE);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            st = vmae_fail_errno(errno, "cannot read %s", path);
        if (got <= 0)
            break;
        vmae_hash_bytes(hash, piece, (size_t)got);
    }
    if (st == VMAE_OK)
        vmae_hash_hex(hash, hex);
    if (fd >= 0)
        close(fd);
    free(piece);
    vmae_hash_free(hash);
    return st;
}

uint64_t vmae_hash_name(const char *text)
{
    uint64_t mixed = 0xcbf29ce484222325u;
    for (; *text; text++)
        mixed = (mixed ^ (unsigned char)*text) * 0x100000001b3u;
    mixed = (mixed ^ (mixed >> 33)) * 0xff51afd7ed558ccdu; /* FNV leaves the high bits of short names alike */
    mixed = (mixed ^ (mixed >> 33)) * 0xc4ceb9fe1a85ec53u;
    return mixed ^ (mixed >> 33);
}
