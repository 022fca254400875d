/* tar.c -- dataset kind "tar": images read out of one archive, or from the shards of a split. */
#include "engine/data/tar.h"

#include "engine/core/fs.h"
#include "engine/data/listing.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_MEMBER_BYTES = 1 << 30, HELD_MAX = 256 };

typedef struct tar {
    vmae_tar_index index;
    vmae_held_file *files; /* [archives] the first HELD_MAX stay open: a set may have more than a process may */
    char **path;           /* [archives] */
    int archives;
} tar;

static int tar_label(const vmae_dataset *dataset, int64_t index)
{
    const tar *self = dataset->self;
    return self->index.samples[index].label;
}

static const char *tar_name(const vmae_dataset *dataset, int64_t index, char *buffer, size_t size)
{
    const tar *self = dataset->self;
    const vmae_tar_member *sample = &self->index.samples[index];
    snprintf(buffer, size, "%s, member %s", self->path[sample->archive], sample->name);
    return buffer;
}

static vmae_status tar_image(const vmae_dataset *dataset, int64_t index, int least, vmae_image *image)
{
    const tar *self = dataset->self;
    const vmae_tar_member *sample = &self->index.samples[index];
    const char *path = self->path[sample->archive];
    if (sample->count > MAX_MEMBER_BYTES)
        return vmae_fail(VMAE_EDATA, "%s: %s: %llu bytes, more than an image has", path, sample->name,
                         (unsigned long long)sample->count);
    const size_t count = (size_t)sample->count;
    uint8_t *bytes = vmae_calloc(count + !count, 1);
    if (!bytes)
        return VMAE_ENOMEM;
    vmae_status st = vmae_held_read(&self->files[sample->archive], sample->offset, bytes, count);
    if (st == VMAE_OK && (st = vmae_decode_image(image, bytes, count, least, sample->name)) != VMAE_OK)
        st = vmae_fail_in(st, "%s", path);
    free(bytes);
    return st;
}

static void tar_close(vmae_dataset *dataset)
{
    tar *self = dataset->self;
    if (!self) {
        free(dataset);
        return;
    }
    for (int i = 0; i < self->archives; i++) {
        if (self->files)
            vmae_held_let_go(&self->files[i]);
        free(self->path[i]);
    }
    free(self->files);
    free(self->path);
    vmae_tar_index_release(&self->index);
    free(self);
    free(dataset);
}

/* ---- which archives ---- */

/* "train.tar", "train-0000.tar", "train_1.tar", "train0.tar", but not "training.tar" */
static bool belongs_to(const char *name, const char *split)
{
    const size_t length = strlen(split), all = strlen(name);
    if (all < length + 4 || strncmp(name, split, length) != 0 || strcmp(name + all - 4, ".tar") != 0)
        return false;
    const unsigned char next = (unsigned char)name[length];
    return next == '.' || next == '-' || next == '_' || isdigit(next);
}

static vmae_status add_path(tar *self, char *path)
{
    char **paths = path ? vmae_realloc(self->path, (size_t)self->archives + 1, sizeof *paths) : NULL;
    if (!paths) {
        free(path);
        return VMAE_ENOMEM;
    }
    self->path = paths;
    paths[self->archives++] = path;
    return VMAE_OK;
}

/* The archives of a folder that belong to the split; all of them if split is NULL. */
static vmae_status add_folder(tar *self, const char *folder, const char *split)
{
    char **names = NULL;
    size_t count = 0;
    VMAE_TRY(vmae_list_folder(folder, false, &names, &count));
    vmae_status st = VMAE_OK;
    for (size_t i = 0; i < count && st == VMAE_OK; i++) {
        const size_t length = strlen(names[i]);
        const bool is_tar = *names[i] != '.' && length > 4 && strcmp(names[i] + length - 4, ".tar") == 0;
        if (split ? belongs_to(names[i], split) : is_tar)
            st = add_path(self, vmae_path_join(folder, names[i]));
    }
    vmae_list_free(names, count);
    return st;
}

static vmae_status find_archives(tar *self, const vmae_dataset_spec *spec)
{
    const char *split = vmae_split_of(spec), *alias;
    const bool train = strcmp(split, "train") == 0;
    char expected[256];
    snprintf(expected, sizeof expected, "a tar archive, or a folder with %s.tar, %s-0000.tar, ... or %s/*.tar", split,
             split, split);
    VMAE_TRY(vmae_check_path(spec, expected));
    if (!vmae_path_is_folder(spec->path)) {
        bool named = train;
        for (int n = 0; !named && (alias = vmae_split_alias(split, n)); n++)
            named = belongs_to(vmae_path_base(spec->path), alias);
        if (!named)
            return vmae_fail(VMAE_EUSER,
                             "%s is one archive, not named %s.tar, so it stands for split \"train\" only, not \"%s\"",
                             spec->path, split, split);
        return add_path(self, vmae_strdup(spec->path));
    }
    for (int n = 0; !self->archives && (alias = vmae_split_alias(split, n)); n++) {
        VMAE_TRY(add_folder(self, spec->path, alias));
        char *folder = vmae_path_join(spec->path, alias);
        vmae_status st = folder ? VMAE_OK : VMAE_ENOMEM;
        if (st == VMAE_OK && !self->archives && vmae_path_is_folder(folder))
            st = add_folder(self, folder, NULL);
        free(folder);
        VMAE_TRY(st);
    }
    if (!self->archives)
        return vmae_fail(
            VMAE_EUSER,
            "%s has no archive of split \"%s\"; dataset \"tar\" looks there for %s.tar, %s-0000.tar, ... or %s/*.tar",
            spec->path, split, split, split, split);
    return VMAE_OK;
}

static vmae_status make_fingerprint(const vmae_tar_index *index, char hex[VMAE_HASH_HEX])
{
    vmae_hash *hash = vmae_hash_new();
    if (!hash)
        return VMAE_ENOMEM;
    for (int64_t i = 0; i < index->count; i++) {
        char numbers[64];
        snprintf(numbers, sizeof numbers, "%d %llu", index->samples[i].label,
                 (unsigned long long)index->samples[i].count);
        vmae_hash_field(hash, index->samples[i].name, numbers);
    }
    vmae_hash_hex(hash, hex);
    vmae_hash_free(hash);
    return VMAE_OK;
}

static vmae_status index_archive(tar *self, int archive)
{
    vmae_held_file *file = &self->files[archive];
    VMAE_TRY(vmae_held_open(file, self->path[archive]));
    const vmae_tar_input input = { .name = file->path, .fd = file->descriptor - 1, .count = file->bytes };
    const vmae_status st = vmae_tar_index_add(&self->index, &input);
    if (archive >= HELD_MAX)
        vmae_held_let_go(file);
    return st;
}

static vmae_status open_archives(tar *self, const vmae_dataset_spec *spec)
{
    VMAE_TRY(find_archives(self, spec));
    if (!(self->files = vmae_calloc((size_t)self->archives, sizeof *self->files)))
        return VMAE_ENOMEM;
    for (int i = 0; i < self->archives; i++)
        VMAE_TRY(index_archive(self, i));
    return vmae_tar_index_finish(&self->index, self->archives == 1 ? self->path[0] : spec->path);
}

vmae_status vmae_open_tar(vmae_dataset **dataset, const vmae_dataset_spec *spec)
{
    vmae_status st = VMAE_ENOMEM;
    tar *self;
    vmae_dataset *opened = vmae_calloc(1, sizeof *opened);
    if (!opened)
        return VMAE_ENOMEM;
    opened->close = tar_close;
    if (!(opened->self = self = vmae_calloc(1, sizeof *self)) || (st = open_archives(self, spec)) != VMAE_OK ||
        (st = make_fingerprint(&self->index, opened->fingerprint)) != VMAE_OK)
        goto done;
    opened->media = VMAE_IMAGES;
    opened->count = self->index.count;
    opened->classes = self->index.classes;
    opened->class_names = self->index.class_names;
    opened->label = tar_label;
    opened->name = tar_name;
    opened->image = tar_image;
    snprintf(opened->description, sizeof opened->description, "tar %.140s%s, %lld images, %d classes", self->path[0],
             self->archives > 1 ? ", ..." : "", (long long)opened->count, opened->classes);
    *dataset = opened;
    opened = NULL;
done:
    vmae_dataset_close(opened);
    return st;
}
