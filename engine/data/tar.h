/* tar.h -- (private to data/) reading tar archives that lie in memory, and finding the labelled images in them.
 *
 * ustar, GNU (long names, base-256 sizes) and pax (path, size). Nothing is ever unpacked: a member's name is a label,
 * never a path. */
#ifndef VMAE_DATA_TAR_H
#define VMAE_DATA_TAR_H

#include "engine/core/mem.h"
#include "engine/data/data.h"

/* ---- tar_walk.c: the format ---- */

typedef struct vmae_tar_file { /* a regular file in the archive; name may hold any bytes but 0 */
    const char *name;
    size_t name_length;
    const uint8_t *bytes;
    size_t count;
} vmae_tar_file;
typedef vmae_status (*vmae_tar_visit)(void *context, const vmae_tar_file *file);
/* Calls visit for every regular file, in order. VMAE_EDATA, with the offset and the last whole member, for a truncated
 * or damaged archive (no end mark counts as truncated); a status of visit ends the walk. `archive` is its name in
 * messages. */
vmae_status vmae_tar_walk(const uint8_t *bytes, size_t count, const char *archive, vmae_tar_visit visit, void *context);

/* ---- tar_index.c: the samples ---- */

typedef struct vmae_tar_member {
    const char *name;     /* cleaned, in the index's arena */
    const uint8_t *bytes; /* in the archive's memory */
    size_t count;
    int archive, label; /* label -1: none */
} vmae_tar_member;
typedef struct vmae_tar_index { /* all zero at first */
    vmae_arena *arena;
    vmae_tar_member *samples; /* first every image and .cls, in the end the images, in archive order */
    int64_t count, room;
    int64_t label_files;
    const char **class_names;
    int classes, archives;
} vmae_tar_index;
/* Adds the members of one archive; its bytes must outlive the index. */
vmae_status vmae_tar_index_add(vmae_tar_index *index, const uint8_t *bytes, size_t count, const char *archive);
/* Pairs and labels them. With any <key>.cls about, <key>.<image> is labelled by its <key>.cls (WebDataset); else
 * <class>/<name> by its folder; images without any folder have no labels. `where` names the archives in messages. */
vmae_status vmae_tar_index_finish(vmae_tar_index *index, const char *where);
void vmae_tar_index_release(vmae_tar_index *index);

#endif
