/* fs.h -- files and folders: atomic replacement, locks, mapped reads, listing. */
#ifndef VMAE_CORE_FS_H
#define VMAE_CORE_FS_H

#include "engine/core/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* "a/b" from "a" and "b"; "b" alone if b is absolute or a is "". Fresh memory, or NULL with a sentence. */
char *vmae_path_join(const char *folder, const char *name);
/* The last part of a path; points into it. */
const char *vmae_path_base(const char *path);
bool vmae_path_exists(const char *path);
bool vmae_path_is_folder(const char *path);

/* mkdir -p. An existing folder is fine. */
vmae_status vmae_make_folders(const char *path);

/* Replaces the file in one go: written beside as "<path>.tmp-<pid>", fsync'd, renamed, and the folder fsync'd. A reader
 * sees the old bytes or the new ones, whatever happens in between. */
vmae_status vmae_write_file(const char *path, const void *bytes, size_t count);

/* The same for output that is produced piece by piece. begin opens the file beside; commit makes it appear; abort (also
 * after a failure, also after commit: then nothing is done) removes it. */
typedef struct vmae_replace {
    int fd; /* write here, or through vmae_replace_write */
    char *path, *beside;
} vmae_replace;
vmae_status vmae_replace_begin(vmae_replace *file, const char *path);
vmae_status vmae_replace_write(vmae_replace *file, const void *bytes, size_t count);
vmae_status vmae_replace_commit(vmae_replace *file);
void vmae_replace_abort(vmae_replace *file);

/* write(2) until all is written, EINTR and short writes handled. `path` is for the message. */
vmae_status vmae_write_all(int fd, const char *path, const void *bytes, size_t count);

/* A whole file as fresh memory with a final 0 that *count does not include. VMAE_EDATA if it is longer than max. */
vmae_status vmae_read_file(const char *path, size_t max, char **bytes, size_t *count);

/* Opens a regular file for vmae_read_at; close(2) it. */
vmae_status vmae_open_file(const char *path, int *fd, uint64_t *count);
/* count bytes from offset on. VMAE_EIO, naming the path, if the file ends before. */
vmae_status vmae_read_at(int fd, const char *path, uint64_t offset, void *bytes, size_t count);

/* A file that is read at random places by any thread for as long as somebody uses it, and may fail or be cut short
 * meanwhile: of a mapping, that is SIGBUS. All zero: closed. */
typedef struct vmae_held_file {
    const char *path; /* borrowed */
    uint64_t bytes;   /* when it was opened */
    int descriptor;   /* + 1; 0: let go, and opened for each read */
} vmae_held_file;
vmae_status vmae_held_open(vmae_held_file *file, const char *path);
/* VMAE_EIO, naming the path, if the file ends before, or, let go, has not the size any more that it had. */
vmae_status vmae_held_read(const vmae_held_file *file, uint64_t offset, void *bytes, size_t count);
/* Closes the descriptor (a process may have only so many); it can still be read. */
void vmae_held_let_go(vmae_held_file *file);

/* A read-only mapping of a regular file. An empty file has bytes == NULL and count 0. */
typedef struct vmae_map {
    const uint8_t *bytes;
    size_t count;
} vmae_map;
vmae_status vmae_map_open(vmae_map *map, const char *path);
void vmae_map_close(vmae_map *map);

/* The names in a folder without "." and "..", sorted by bytes; only folders if folders_only. Fresh memory: free with
 * vmae_list_free. */
vmae_status vmae_list_folder(const char *path, bool folders_only, char ***names, size_t *count);
void vmae_list_free(char **names, size_t count);

/* A kernel lock on a file (it dies with its holder). Takes it or fails with VMAE_EBUSY and a sentence that says who
 * holds it: the holder's pid, host and start time, which the file contains. *fd is the lock: vmae_lock_release closes
 * it. */
vmae_status vmae_lock_take(const char *path, int *fd);
void vmae_lock_release(int fd);

#endif
