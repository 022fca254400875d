/* fs.c -- paths, atomic replacement, mapped reads, listing and locks on POSIX. */
#include "engine/core/fs.h"

#include "engine/core/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- paths ---- */

char *vmae_path_join(const char *folder, const char *name)
{
    const size_t length = strlen(folder);
    if (!length || *name == '/')
        return vmae_strdup(name);
    return vmae_format(folder[length - 1] == '/' ? "%s%s" : "%s/%s", folder, name);
}

const char *vmae_path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

bool vmae_path_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

bool vmae_path_is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

vmae_status vmae_make_folders(const char *path)
{
    vmae_status st = VMAE_OK;
    char *partial = vmae_strdup(path);
    if (!partial)
        return VMAE_ENOMEM;
    for (char *at = partial; st == VMAE_OK && *at;) {
        at += strspn(at, "/");
        at += strcspn(at, "/");
        const char kept = *at;
        *at = '\0';
        /* mkdir's own EEXIST rather than a look before: another process may make the same folders right now */
        const int error = mkdir(partial, 0777) == 0 ? 0 : errno;
        if (error && !vmae_path_is_folder(partial))
            st = vmae_fail_errno(error == EEXIST ? ENOTDIR : error, "cannot make the folder %s", partial);
        *at = kept;
    }
    if (!*path)
        st = vmae_fail(VMAE_EUSER, "cannot make a folder without a name");
    free(partial);
    return st;
}

/* ---- writing ---- */

vmae_status vmae_write_all(int fd, const char *path, const void *bytes, size_t count)
{
    const char *at = bytes;
    while (count) {
        const ssize_t written = write(fd, at, count);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return vmae_fail_errno(errno, "cannot write %s", path);
        at += written;
        count -= (size_t)written;
    }
    return VMAE_OK;
}

vmae_status vmae_replace_begin(vmae_replace *file, const char *path)
{
    *file = (vmae_replace){ .fd = -1 };
    file->path = vmae_strdup(path);
    file->beside = file->path ? vmae_format("%s.tmp-%ld", path, (long)getpid()) : NULL;
    if (!file->beside) {
        vmae_replace_abort(file);
        return VMAE_ENOMEM;
    }
    unlink(file->beside); /* left by a killed process that had our pid */
    file->fd = open(file->beside, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file->fd < 0) {
        const vmae_status st = vmae_fail_errno(errno, "cannot write %s", path);
        free(file->beside); /* not ours: abort must not remove it */
        file->beside = NULL;
        vmae_replace_abort(file);
        return st;
    }
    return VMAE_OK;
}

vmae_status vmae_replace_write(vmae_replace *file, const void *bytes, size_t count)
{
    return vmae_write_all(file->fd, file->path, bytes, count);
}

/* Makes a rename in the folder of `path` last. File systems that cannot sync a folder say EINVAL; there is no more to
 * do then. */
static vmae_status sync_folder_of(const char *path)
{
    vmae_status st = VMAE_OK;
    const size_t length = (size_t)(vmae_path_base(path) - path);
    char *folder = length ? strndup(path, length) : strdup(".");
    if (!folder)
        return vmae_fail(VMAE_ENOMEM, "out of memory");
    const int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || (fsync(fd) != 0 && errno != EINVAL && errno != EROFS))
        st = vmae_fail_errno(errno, "cannot sync the folder %s", folder);
    if (fd >= 0)
        close(fd);
    free(folder);
    return st;
}

vmae_status vmae_replace_commit(vmae_replace *file)
{
    vmae_status st = VMAE_OK;
    if (fsync(file->fd) != 0)
        st = vmae_fail_errno(errno, "cannot write %s", file->path);
    if (close(file->fd) != 0 && st == VMAE_OK)
        st = vmae_fail_errno(errno, "cannot write %s", file->path);
    file->fd = -1;
    if (st == VMAE_OK && rename(file->beside, file->path) != 0)
        st = vmae_fail_errno(errno, "cannot replace %s", file->path);
    if (st == VMAE_OK) {
        free(file->beside); /* it has the final name now: abort must not remove it */
        file->beside = NULL;
        st = sync_folder_of(file->path);
    }
    vmae_replace_abort(file);
    return st;
}

void vmae_replace_abort(vmae_replace *file)
{
    if (file->fd >= 0)
        close(file->fd);
    if (file->beside)
        unlink(file->beside);
    free(file->beside);
    free(file->path);
    *file = (vmae_replace){ .fd = -1 };
}

vmae_status vmae_write_file(const char *path, const void *bytes, size_t count)
{
    vmae_replace file;
    vmae_status st = vmae_replace_begin(&file, path);
    if (st == VMAE_OK)
        st = vmae_replace_write(&file, bytes, count);
    if (st == VMAE_OK)
        st = vmae_replace_commit(&file);
    vmae_replace_abort(&file);
    return st;
}

/* ---- reading ---- */

/* Reads fd to its end. The size is not asked for: pipes and files of /proc have none, and others may grow meanwhile. */
static vmae_status read_to_end(int fd, const char *path, size_t max, char **bytes, size_t *count)
{
    size_t used = 0, room = 0;
    char *buffer = NULL;
    for (;;) {
        if (room - used < 2) {
            const size_t larger = room ? 2 * room : 4096;
            char *moved = vmae_realloc(buffer, larger, 1);
            if (!moved) {
                free(buffer);
                return VMAE_ENOMEM;
            }
            buffer = moved;
            room = larger;
        }
        const ssize_t got = read(fd, buffer + used, room - used - 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            if (got == 0)
                break;
            free(buffer);
            return vmae_fail_errno(errno, "cannot read %s", path);
        }
        used += (size_t)got;
        if (used > max) {
            free(buffer);
            return vmae_fail(VMAE_EDATA, "%s is longer than %zu bytes, more than such a file may have", path, max);
        }
    }
    buffer[used] = '\0';
    *bytes = buffer;
    *count = used;
    return VMAE_OK;
}

vmae_status vmae_read_file(const char *path, size_t max, char **bytes, size_t *count)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return vmae_fail_errno(errno, "cannot open %s", path);
    const vmae_status st = read_to_end(fd, path, max, bytes, count);
    close(fd);
    return st;
}

vmae_status vmae_open_file(const char *path, int *fd, uint64_t *count)
{
    vmae_status st = VMAE_OK;
    struct stat info;
    const int opened = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* else opening a named pipe waits for a writer */
    if (opened < 0)
        return vmae_fail_errno(errno, "cannot open %s", path);
    if (fstat(opened, &info) != 0)
        st = vmae_fail_errno(errno, "cannot read %s", path);
    else if (S_ISDIR(info.st_mode))
        st = vmae_fail_errno(EISDIR, "cannot read %s", path);
    else if (!S_ISREG(info.st_mode))
        st = vmae_fail(VMAE_EUSER, "%s is not a regular file", path);
    if (st != VMAE_OK) {
        close(opened);
        return st;
    }
    *fd = opened;
    *count = (uint64_t)info.st_size;
    return VMAE_OK;
}

vmae_status vmae_read_at(int fd, const char *path, uint64_t offset, void *bytes, size_t count)
{
    for (size_t done = 0; done < count;) {
        const ssize_t n = pread(fd, (char *)bytes + done, count - done, (off_t)(offset + done));
        if (n < 0 && errno != EINTR)
            return vmae_fail_errno(errno, "cannot read %s", path);
        if (n == 0)
            return vmae_fail(VMAE_EIO, "%s ends at byte %llu: it was cut short while it was in use", path,
                             (unsigned long long)(offset + done));
        done += n > 0 ? (size_t)n : 0;
    }
    return VMAE_OK;
}

vmae_status vmae_held_open(vmae_held_file *file, const char *path)
{
    int fd;
    uint64_t bytes;
    VMAE_TRY(vmae_open_file(path, &fd, &bytes));
    *file = (vmae_held_file){ path, bytes, fd + 1 };
    return VMAE_OK;
}

vmae_status vmae_held_read(const vmae_held_file *file, uint64_t offset, void *bytes, size_t count)
{
    if (file->descriptor)
        return vmae_read_at(file->descriptor - 1, file->path, offset, bytes, count);
    vmae_held_file now;
    VMAE_TRY(vmae_held_open(&now, file->path));
    const vmae_status st =
        now.bytes == file->bytes
            ? vmae_read_at(now.descriptor - 1, file->path, offset, bytes, count)
            : vmae_fail(VMAE_EIO, "%s has %llu bytes, had %llu when it was opened: it was changed while in use",
                        file->path, (unsigned long long)now.bytes, (unsigned long long)file->bytes);
    vmae_held_let_go(&now);
    return st;
}

void vmae_held_let_go(vmae_held_file *file)
{
    if (file->descriptor)
        close(file->descriptor - 1);
    file->descriptor = 0;
}

vmae_status vmae_map_open(vmae_map *map, const char *path)
{
    int fd;
    uint64_t count;
    vmae_map result = { NULL, 0 };
    VMAE_TRY(vmae_open_file(path, &fd, &count));
    vmae_status st = VMAE_OK;
    if (count > 0) {
        void *bytes = mmap(NULL, (size_t)count, PROT_READ, MAP_PRIVATE, fd, 0);
        if (bytes == MAP_FAILED)
            st = vmae_fail_errno(errno, "cannot map %s", path);
        else
            result = (vmae_map){ bytes, (size_t)count };
    }
    close(fd);
    if (st == VMAE_OK)
        *map = result;
    return st;
}

void vmae_map_close(vmae_map *map)
{
    if (map->bytes)
        munmap((void *)(uintptr_t)map->bytes, map->count);
    *map = (vmae_map){ NULL, 0 };
}

/* ---- folders ---- */

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool is_folder_in(DIR *folder, const struct dirent *entry)
{
    struct stat info; /* d_type is unknown on some file systems, and a link to a folder counts as one */
    if (entry->d_type != DT_UNKNOWN && entry->d_type != DT_LNK)
        return entry->d_type == DT_DIR;
    return fstatat(dirfd(folder), entry->d_name, &info, 0) == 0 && S_ISDIR(info.st_mode);
}

static vmae_status append_name(char ***names, size_t *used, size_t *room, const char *name)
{
    if (*used == *room) {
        const size_t larger = *room ? 2 * *room : 64;
        char **moved = vmae_realloc(*names, larger, sizeof *moved);
        if (!moved)
            return VMAE_ENOMEM;
        *names = moved;
        *room = larger;
    }
    if (!((*names)[*used] = vmae_strdup(name)))
        return VMAE_ENOMEM;
    ++*used;
    return VMAE_OK;
}

vmae_status vmae_list_folder(const char *path, bool folders_only, char ***names, size_t *count)
{
    vmae_status st = VMAE_OK;
    char **list = NULL;
    size_t used = 0, room = 0;
    DIR *folder = opendir(path);
    if (!folder)
        return vmae_fail_errno(errno, "cannot list the folder %s", path);
    while (st == VMAE_OK) {
        errno = 0;
        const struct dirent *entry = readdir(folder);
        if (!entry) {
            if (errno)
                st = vmae_fail_errno(errno, "cannot list the folder %s", path);
            break;
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (!folders_only || is_folder_in(folder, entry))
            st = append_name(&list, &used, &room, entry->d_name);
    }
    closedir(folder);
    if (st != VMAE_OK) {
        vmae_list_free(list, used);
        return st;
    }
    if (used)
        qsort(list, used, sizeof *list, compare_names);
    *names = list;
    *count = used;
    return VMAE_OK;
}

void vmae_list_free(char **names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(names[i]);
    free(names);
}

/* ---- locks ---- */

/* "pid 4711 on node7 since 2026-01-31 12:00:00 UTC": written by the holder, read by those who come too late. */
static vmae_status sign_lock(int fd, const char *path)
{
    char text[HOST_NAME_MAX + 96], host[HOST_NAME_MAX + 1] = "?", since[32] = "?";
    struct tm utc;
    const time_t now = time(NULL);
    gethostname(host, sizeof host - 1);
    if (gmtime_r(&now, &utc))
        strftime(since, sizeof since, "%Y-%m-%d %H:%M:%S", &utc);
    const int length = snprintf(text, sizeof text, "pid %ld on %s since %s UTC\n", (long)getpid(), host, since);
    if (ftruncate(fd, 0) != 0)
        return vmae_fail_errno(errno, "cannot write the lock file %s", path);
    return vmae_write_all(fd, path, text, (size_t)length);
}

static vmae_status lock_is_held(int fd, const char *path)
{
    char text[256];
    const ssize_t got = pread(fd, text, sizeof text - 1, 0);
    text[got > 0 ? got : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    for (char *at = text; *at; at++) /* the file may be anything: keep a terminal safe */
        if ((unsigned char)*at < ' ' || *at == 127)
            *at = '?';
    return vmae_fail(VMAE_EBUSY, "%s is locked by %s; wait for it or stop it", path, *text ? text : "another process");
}

vmae_status vmae_lock_take(const char *path, int *fd)
{
    vmae_status st = VMAE_OK;
    const int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0666);
    if (file < 0)
        return vmae_fail_errno(errno, "cannot open the lock file %s", path);
    int taken;
    do
        taken = flock(file, LOCK_EX | LOCK_NB);
    while (taken != 0 && errno == EINTR);
    if (taken != 0)
        st = errno == EWOULDBLOCK ? lock_is_held(file, path) : vmae_fail_errno(errno, "cannot lock %s", path);
    else
        st = sign_lock(file, path);
    if (st != VMAE_OK)
        close(file);
    else
        *fd = file;
    return st;
}

void vmae_lock_release(int fd)
{
    if (fd >= 0)
        close(fd); /* the kernel's lock goes with the last descriptor */
}
