/* listing.c -- splits, class folders and their fingerprint. */
#include "engine/data/listing.h"

#include "engine/core/fs.h"
#include "engine/core/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

const char *const vmae_image_extensions[] = { "jpg", "jpeg", "png", "bmp",  "webp", "gif",
                                              "ppm", "pgm",  "tif", "tiff", NULL };

bool vmae_has_extension(const char *name, const char *const *extensions)
{
    const char *dot = strrchr(name, '.');
    if (!dot || *vmae_path_base(name) == '.')
        return false;
    for (; *extensions; extensions++)
        if (strcasecmp(dot + 1, *extensions) == 0)
            return true;
    return false;
}

const char *vmae_split_of(const vmae_dataset_spec *spec)
{
    return spec->split && *spec->split ? spec->split : "train";
}

const char *vmae_split_alias(const char *split, int n)
{
    static const char *const of_val[] = { "val", "validation", "valid", "test" };
    if (strcmp(split, "val") == 0)
        return n < 4 ? of_val[n] : NULL;
    return n == 0 ? split : NULL;
}

char *vmae_clean_name(vmae_arena *arena, const char *name, size_t length)
{
    char *copy = vmae_arena_calloc(arena, length + 1, 1);
    for (size_t i = 0; copy && i < length; i++)
        copy[i] = (unsigned char)name[i] < 0x20 || name[i] == 0x7f ? '?' : name[i];
    return copy;
}

vmae_status vmae_sample_status(vmae_status status)
{
    return status == VMAE_EUSER ? VMAE_EDATA : status;
}

vmae_status vmae_check_path(const vmae_dataset_spec *spec, const char *expected)
{
    struct stat info;
    if (!spec->path || !*spec->path)
        return vmae_fail(VMAE_EUSER, "dataset \"%s\" needs a path: %s", spec->kind, expected);
    if (stat(spec->path, &info) == 0)
        return VMAE_OK;
    if (errno == ENOENT || errno == ENOTDIR)
        return vmae_fail(VMAE_EUSER, "%s does not exist; dataset \"%s\" looks there for %s", spec->path, spec->kind,
                         expected);
    return vmae_fail_errno(errno, "cannot look at %s", spec->path);
}

/* ---- class folders ---- */

/* The folder that holds the class folders. */
static vmae_status find_root(vmae_listing *listing, const vmae_dataset_spec *spec, const char *what)
{
    const char *split = vmae_split_of(spec), *alias;
    char expected[256];
    snprintf(expected, sizeof expected, "class folders of %s: <path>/%s/<class>/<file>", what, split);
    VMAE_TRY(vmae_check_path(spec, expected));
    if (!vmae_path_is_folder(spec->path))
        return vmae_fail(VMAE_EUSER, "%s is a file; dataset \"%s\" looks there for %s", spec->path, spec->kind,
                         expected);
    for (int n = 0; (alias = vmae_split_alias(split, n)); n++) {
        listing->root = vmae_arena_format(listing->arena, "%s/%s", spec->path, alias);
        if (!listing->root)
            return VMAE_ENOMEM;
        if (vmae_path_is_folder(listing->root))
            return VMAE_OK;
    }
    if (strcmp(split, "train") != 0)
        return vmae_fail(VMAE_EUSER, "%s has no folder \"%s\"%s, which split \"%s\" needs", spec->path, split,
                         strcmp(split, "val") == 0 ? " (nor \"validation\", \"valid\", \"test\")" : "", split);
    listing->root = vmae_arena_strdup(listing->arena, spec->path);
    return listing->root ? VMAE_OK : VMAE_ENOMEM;
}

/* Counts a file that is no sample by its name. */
static vmae_status ignore(vmae_listing *listing, int label, const char *folder, const char *name)
{
    struct stat info;
    char *path = vmae_path_join(folder, name);
    if (!path)
        return VMAE_ENOMEM;
    const bool is_file = *name != '.' && stat(path, &info) == 0 && S_ISREG(info.st_mode);
    free(path);
    if (!is_file)
        return VMAE_OK;
    const int64_t n = listing->ignored++;
    if (n < (int64_t)(sizeof listing->example / sizeof *listing->example) &&
        !(listing->example[n] = vmae_arena_format(listing->arena, "%s/%s", listing->class_names[label], name)))
        return VMAE_ENOMEM;
    return VMAE_OK;
}

/* "2 files of other kinds (a/b.txt, a/c); videos end in .mp4, .mov, ..." */
static void describe_ignored(const vmae_listing *listing, const char *const *extensions, const char *what, char *text,
                             size_t size)
{
    size_t used = (size_t)snprintf(text, size, "%lld file%s of other kinds (", (long long)listing->ignored,
                                   listing->ignored == 1 ? "" : "s");
    for (int i = 0; i < 3 && listing->example[i] && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%.60s", i ? ", " : "", listing->example[i]);
    if (used < size)
        used += (size_t)snprintf(text + used, size - used, "%s); %s end in", listing->ignored > 3 ? ", ..." : "", what);
    for (int i = 0; extensions[i] && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s .%s", i ? "," : "", extensions[i]);
}

/* Appends the files of one class folder. *room is the capacity of listing->files. */
static vmae_status list_class(vmae_listing *listing, int label, const char *const *extensions, int64_t *room)
{
    vmae_status st = VMAE_OK;
    char **names = NULL;
    size_t count = 0;
    char *folder = vmae_path_join(listing->root, listing->class_names[label]);
    if (!folder || (st = vmae_list_folder(folder, false, &names, &count)) != VMAE_OK) {
        free(folder);
        return folder ? st : VMAE_ENOMEM;
    }
    for (size_t i = 0; i < count && st == VMAE_OK; i++) {
        if (!vmae_has_extension(names[i], extensions)) {
            st = ignore(listing, label, folder, names[i]);
            continue;
        }
        if (listing->count == *room) {
            const int64_t wanted = *room ? *room * 2 : 256;
            vmae_listed_file *files = vmae_realloc(listing->files, (size_t)wanted, sizeof *files);
            if (!files) {
                st = VMAE_ENOMEM;
                break;
            }
            listing->files = files;
            *room = wanted;
        }
        struct stat info;
        char *path = vmae_path_join(folder, names[i]);
        char *kept = vmae_arena_strdup(listing->arena, names[i]);
        if (!path || !kept)
            st = VMAE_ENOMEM;
        else if (stat(path, &info) != 0)
            st = vmae_fail_errno(errno, "cannot look at %s (a link that leads nowhere? remove it)", path);
        else if (S_ISREG(info.st_mode))
            listing->files[listing->count++] = (vmae_listed_file){ kept, (int64_t)info.st_size, label };
        free(path);
    }
    vmae_list_free(names, count);
    free(folder);
    return st;
}

static vmae_status list_all(vmae_listing *listing, const vmae_dataset_spec *spec, const char *const *extensions,
                            const char *what)
{
    VMAE_TRY(find_root(listing, spec, what));
    vmae_status st;
    char **names = NULL;
    size_t count = 0;
    int64_t room = 0;
    VMAE_TRY(vmae_list_folder(listing->root, true, &names, &count));
    listing->class_names = vmae_arena_calloc(listing->arena, count, sizeof *listing->class_names);
    st = listing->class_names ? VMAE_OK : VMAE_ENOMEM;
    for (size_t i = 0; i < count && st == VMAE_OK; i++)
        if (*names[i] != '.' &&
            !(listing->class_names[listing->classes++] = vmae_arena_strdup(listing->arena, names[i])))
            st = VMAE_ENOMEM;
    vmae_list_free(names, count);
    for (int label = 0; label < listing->classes && st == VMAE_OK; label++) {
        const int64_t before = listing->count;
        st = list_class(listing, label, extensions, &room);
        if (st == VMAE_OK && listing->count == before)
            log_warn("%s/%s holds no %s; the class stays, without samples", listing->root, listing->class_names[label],
                     what);
    }
    if (st == VMAE_OK && !listing->classes)
        return vmae_fail(VMAE_EUSER, "%s has no class folders; put the %s into %s/<class>/", listing->root, what,
                         listing->root);
    if (st != VMAE_OK)
        return st;
    char ignored[768] = "";
    if (listing->ignored)
        describe_ignored(listing, extensions, what, ignored, sizeof ignored);
    if (!listing->count)
        return vmae_fail(VMAE_EUSER, "%s: no %s in its %d class folders (%s/%s, ...)%s%s", listing->root, what,
                         listing->classes, listing->root, listing->class_names[0], *ignored ? ", but " : "", ignored);
    if (listing->ignored)
        log_warn("%s: left out %s", listing->root, ignored);
    return VMAE_OK;
}

vmae_status vmae_listing_open(vmae_listing *listing, const vmae_dataset_spec *spec, const char *const *extensions,
                              const char *what)
{
    *listing = (vmae_listing){ .arena = vmae_arena_new() };
    const vmae_status st = listing->arena ? list_all(listing, spec, extensions, what) : VMAE_ENOMEM;
    if (st != VMAE_OK)
        vmae_listing_release(listing);
    return st;
}

void vmae_listing_release(vmae_listing *listing)
{
    free(listing->files);
    vmae_arena_free(listing->arena);
    *listing = (vmae_listing){ 0 };
}

vmae_status vmae_listing_fingerprint(const vmae_listing *listing, char hex[VMAE_HASH_HEX])
{
    vmae_hash *hash = vmae_hash_new();
    if (!hash)
        return VMAE_ENOMEM;
    for (int i = 0; i < listing->classes; i++)
        vmae_hash_field(hash, "class", listing->class_names[i]);
    for (int64_t i = 0; i < listing->count; i++) {
        char numbers[64];
        snprintf(numbers, sizeof numbers, "%d %lld", listing->files[i].label, (long long)listing->files[i].bytes);
        vmae_hash_field(hash, listing->files[i].name, numbers);
    }
    vmae_hash_hex(hash, hex);
    vmae_hash_free(hash);
    return VMAE_OK;
}

const char *vmae_listing_path(const vmae_listing *listing, int64_t index, char *buffer, size_t size)
{
    const vmae_listed_file *file = &listing->files[index];
    snprintf(buffer, size, "%s/%s/%s", listing->root, listing->class_names[file->label], file->name);
    return buffer;
}
