/* cifar.c -- dataset kinds "cifar10" and "cifar100": the binary versions of Krizhevsky's sets.
 *
 * A record is the label (CIFAR-100: coarse label, then fine label; the fine one counts) and 3072 bytes: the red, green
 * and blue planes of a 32 x 32 image, row by row. */
#include "engine/core/fs.h"
#include "engine/data/listing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 32, PIXELS = SIDE * SIDE, MAX_FILES = 5 };

typedef struct cifar {
    vmae_arena *arena;
    uint8_t *labels[MAX_FILES]; /* the class of each record */
    vmae_held_file file[MAX_FILES];
    int64_t first[MAX_FILES + 1]; /* index of a file's first record */
    int files, label_bytes;
    const char **class_names;
} cifar;

static const char *const train10[] = { "data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                                       "data_batch_4.bin", "data_batch_5.bin", NULL };
static const char *const val10[] = { "test_batch.bin", NULL };
static const char *const train100[] = { "train.bin", NULL };
static const char *const val100[] = { "test.bin", NULL };

/* The file that record `index` lies in. */
static int file_of(const cifar *self, int64_t index)
{
    int file = 0;
    while (index >= self->first[file + 1])
        file++;
    return file;
}

static int cifar_label(const vmae_dataset *dataset, int64_t index)
{
    const cifar *self = dataset->self;
    const int file = file_of(self, index);
    return self->labels[file][index - self->first[file]];
}

static const char *cifar_name(const vmae_dataset *dataset, int64_t index, char *buffer, size_t size)
{
    const cifar *self = dataset->self;
    const int file = file_of(self, index);
    snprintf(buffer, size, "%s, record %lld", self->file[file].path, (long long)(index - self->first[file]));
    return buffer;
}

static vmae_status cifar_image(const vmae_dataset *dataset, int64_t index, int least, vmae_image *image)
{
    (void)least;
    const cifar *self = dataset->self;
    const int file = file_of(self, index);
    const uint64_t at = (uint64_t)(index - self->first[file]) * (uint64_t)(self->label_bytes + 3 * PIXELS);
    uint8_t planes[3 * PIXELS];
    VMAE_TRY(vmae_held_read(&self->file[file], at + (uint64_t)self->label_bytes, planes, sizeof planes));
    VMAE_TRY(vmae_image_resize_buffer(image, SIDE, SIDE));
    for (int i = 0; i < PIXELS; i++)
        for (int c = 0; c < 3; c++)
            image->rgb[3 * i + c] = planes[c * PIXELS + i];
    return VMAE_OK;
}

static void cifar_close(vmae_dataset *dataset)
{
    cifar *self = dataset->self;
    if (!self) {
        free(dataset);
        return;
    }
    for (int i = 0; i < MAX_FILES; i++) {
        vmae_held_let_go(&self->file[i]);
        free(self->labels[i]);
    }
    vmae_arena_free(self->arena);
    free(self);
    free(dataset);
}

/* Checks the size of one file and every label, and adds both to the hash. */
static vmae_status add_labels(cifar *self, const char *name, int classes, vmae_hash *hash)
{
    const int at = self->files;
    const char *path = self->file[at].path;
    const uint64_t record_bytes = (uint64_t)self->label_bytes + 3 * PIXELS, bytes = self->file[at].bytes;
    if (!bytes || bytes % record_bytes)
        return vmae_fail(
            VMAE_EDATA,
            "%s: %llu bytes are not a whole number of %llu-byte records; truncated, or not the binary version", path,
            (unsigned long long)bytes, (unsigned long long)record_bytes);
    const int64_t records = (int64_t)(bytes / record_bytes);
    self->first[at + 1] = self->first[at] + records;
    if (!(self->labels[at] = vmae_calloc((size_t)records, 1)))
        return VMAE_ENOMEM;
    char size[32];
    snprintf(size, sizeof size, "%lld", (long long)records);
    vmae_hash_field(hash, name, size);
    for (int64_t i = 0; i < records; i++) {
        uint8_t *label = &self->labels[at][i];
        VMAE_TRY(
            vmae_held_read(&self->file[at], (uint64_t)i * record_bytes + (uint64_t)self->label_bytes - 1, label, 1));
        if (*label >= classes)
            return vmae_fail(VMAE_EDATA, "%s: record %lld has label %d; there are %d classes", path, (long long)i,
                             *label, classes);
        vmae_hash_bytes(hash, label, 1);
    }
    self->files++;
    return VMAE_OK;
}

static vmae_status add_file(cifar *self, const char *folder, const char *name, int classes, vmae_hash *hash)
{
    const char *path = vmae_arena_format(self->arena, "%s/%s", folder, name);
    if (!path)
        return VMAE_ENOMEM;
    if (!vmae_path_exists(path))
        return vmae_fail(VMAE_EUSER,
                         "%s is missing; unpack the binary version of the set (\"CIFAR-%d binary version\") there",
                         path, classes);
    VMAE_TRY(vmae_held_open(&self->file[self->files], path));
    return add_labels(self, name, classes, hash);
}

/* Class names from the list that comes with the set, one a line; their numbers where it is not there. */
static vmae_status read_names(cifar *self, const char *folder, const char *file, int classes)
{
    vmae_status st = VMAE_OK;
    char *text = NULL;
    size_t bytes = 0;
    char *path = vmae_path_join(folder, file);
    self->class_names = vmae_arena_calloc(self->arena, (size_t)classes, sizeof *self->class_names);
    if (!path || !self->class_names)
        st = VMAE_ENOMEM;
    else if (vmae_path_exists(path))
        st = vmae_read_file(path, 1 << 20, &text, &bytes);
    const char *at = text ? text : "";
    for (int i = 0; i < classes && st == VMAE_OK; i++) {
        size_t length = strcspn(at, "\r\n");
        self->class_names[i] =
            length ? vmae_clean_name(self->arena, at, length) : vmae_arena_format(self->arena, "%d", i);
        if (!self->class_names[i])
            st = VMAE_ENOMEM;
        at += length;
        at += strspn(at, "\r\n");
    }
    free(text);
    free(path);
    return st;
}

static vmae_status open_files(cifar *self, const vmae_dataset_spec *spec, char fingerprint[VMAE_HASH_HEX])
{
    const bool hundred = strcmp(spec->kind, "cifar100") == 0, train = strcmp(vmae_split_of(spec), "train") == 0;
    const char *const *names = hundred ? (train ? train100 : val100) : (train ? train10 : val10);
    VMAE_TRY(vmae_check_path(spec, hundred ? "train.bin and test.bin of CIFAR-100's binary version"
                                           : "data_batch_1.bin ... test_batch.bin of CIFAR-10's binary version"));
    if (!train && strcmp(vmae_split_of(spec), "val") != 0 && strcmp(vmae_split_of(spec), "test") != 0)
        return vmae_fail(VMAE_EUSER, "%s: no split \"%s\"; dataset \"%s\" has \"train\" and \"val\"", spec->path,
                         spec->split, spec->kind);
    const char *folder =
        vmae_arena_format(self->arena, "%s/%s", spec->path, hundred ? "cifar-100-binary" : "cifar-10-batches-bin");
    vmae_hash *hash = vmae_hash_new();
    vmae_status st = folder && hash ? VMAE_OK : VMAE_ENOMEM;
    if (st == VMAE_OK && !vmae_path_is_folder(folder))
        folder = spec->path;
    self->label_bytes = hundred ? 2 : 1;
    for (; *names && st == VMAE_OK; names++)
        st = add_file(self, folder, *names, hundred ? 100 : 10, hash);
    if (st == VMAE_OK) {
        vmae_hash_hex(hash, fingerprint);
        st = read_names(self, folder, hundred ? "fine_label_names.txt" : "batches.meta.txt", hundred ? 100 : 10);
    }
    vmae_hash_free(hash);
    return st;
}

vmae_status vmae_open_cifar(vmae_dataset **dataset, const vmae_dataset_spec *spec)
{
    vmae_status st = VMAE_ENOMEM;
    cifar *self;
    vmae_dataset *opened = vmae_calloc(1, sizeof *opened);
    if (!opened)
        return VMAE_ENOMEM;
    opened->close = cifar_close;
    if (!(opened->self = self = vmae_calloc(1, sizeof *self)) || !(self->arena = vmae_arena_new()) ||
        (st = open_files(self, spec, opened->fingerprint)) != VMAE_OK)
        goto done;
    opened->media = VMAE_IMAGES;
    opened->count = self->first[self->files];
    opened->classes = self->label_bytes == 2 ? 100 : 10;
    opened->class_names = self->class_names;
    opened->label = cifar_label;
    opened->name = cifar_name;
    opened->image = cifar_image;
    snprintf(opened->description, sizeof opened->description, "%s %.160s, %s, %lld images, %d classes", spec->kind,
             spec->path, vmae_split_of(spec), (long long)opened->count, opened->classes);
    *dataset = opened;
    opened = NULL;
done:
    vmae_dataset_close(opened);
    return st;
}
