/* tar.h -- (private to data/) reading tar archives, and finding the labelled images in them.
 *
 * ustar, GNU (long names, base-256 sizes) and pax (path, size). Nothing is ever unpacked: a member's name is a label,
 * never a path. */
#ifndef VMAE_DATA_TAR_H
#define VMAE_DATA_TAR_H

#include "engine/core/mem.h"
#include "engine/data/data.h"

/* ---- tar_walk.c: the format ---- */

/* An archive: a file that is read piece by piece (a mapping would turn a failing disk, or a file that is cut short,
 * into SIGBUS), or bytes in memory. */
typedef struct vmae_tar_input {
    const char *name; /* path; or what messages call it */
    int fd;           /* used if bytes is NULL */
    const uint8_t *bytes;
    uint64_t count;
} vmae_tar_input;
vmae_status vmae_tar_read(const vmae_tar_input *input, uint64_t offset, void *bytes, size_t count);

typedef struct vmae_tar_file { /* a regular file in the archive; name may hold any bytes but 0 */
    const char *name;
    size_t name_length;
    uint64_t offset, count; /* of its contents in the archive */
} vmae_tar_file;
typedef vmae_status (*vmae_tar_visit)(void *context, const vmae_tar_input *input, const vmae_tar_file *file);
/* Calls visit for every regular file, in order. VMAE_EDATA, with the offset and the last whole member, for a truncated
 * or damaged archive (no end mark counts as truncated); a status of visit ends the walk. */
vmae_status vmae_tar_walk(const vmae_tar_input *input, vmae_tar_visit visit, void *context);

/* ---- tar_index.c: the samples ---- */

typedef struct vmae_tar_member {
    const char *name;       /* cleaned, in the index's arena */
    uint64_t offset, count; /* in its archive */
    int archive, label;     /* label -1: none */
} vmae_tar_member;
typedef struct vmae_tar_index { /* all zero at first */
    vmae_arena *arena;
    vmae_tar_member *samples; /* first every image and .cls, in the end the images, in archive order */
    int64_t count, room;
    int64_t label_files;
    const char **class_names;
    int classes, archives;
} vmae_tar_index;
/* Adds the members of one archive, which is not needed any more afterwards. */
vmae_status vmae_tar_index_add(vmae_tar_index *index, const vmae_tar_input *input);
/* Pairs and labels them. With any <key>.cls about, <key>.<image> is labelled by its <key>.cls (WebDataset); else
 * <class>/<name> by its folder; images without any folder have no labels. `where` names the archives in messages. */
vmae_status vmae_tar_index_finish(vmae_tar_index *index, const char *where);
void vmae_tar_index_release(vmae_tar_index *index);

#endif
