/* read.c -- opening safetensors files. Nothing in the file is believed before it was checked against the file's length.
 */
#include "engine/checkpoint/dtype.h"
#include "engine/core/fs.h"
#include "engine/core/mem.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

struct vmae_checkpoint {
    vmae_map map;   /* empty where the bytes are the caller's */
    char *file;     /* for messages */
    json_t *header; /* owns the names */
    const uint8_t *data;
    size_t data_bytes, count;
    vmae_entry *entries;        /* in file order */
    const vmae_entry **by_name; /* names rising */
    size_t metadata_count;
    const char **metadata; /* key, value, key, value ..., in the file's order */
};

enum { NAME_SHOWN = 120 };

static vmae_status damaged(const vmae_checkpoint *c, const char *what)
{
    return vmae_fail(VMAE_EDATA, "%s: not a safetensors file, or damaged: %s", c->file, what);
}

static vmae_status bad_tensor(const vmae_checkpoint *c, const char *name, const char *what)
{
    return vmae_fail(VMAE_EDATA, "%s: tensor %.*s: %s", c->file, NAME_SHOWN, name, what);
}

/* ---- one tensor's entry in the header ---- */

static vmae_status read_shape(const vmae_checkpoint *c, vmae_entry *entry, const json_t *shape)
{
    if (!json_is_array(shape))
        return bad_tensor(c, entry->name, "it has no shape");
    if (json_array_size(shape) > VMAE_ST_RANK)
        return bad_tensor(c, entry->name, "it has more than 8 dimensions");
    entry->rank = (int)json_array_size(shape);
    for (int i = 0; i < entry->rank; i++) {
        const json_t *size = json_array_get(shape, (size_t)i);
        if (!json_is_integer(size) || json_integer_value(size) < 0)
            return bad_tensor(c, entry->name, "a size in its shape is not a whole number from 0 up");
        entry->dim[i] = json_integer_value(size);
    }
    if (!vmae_shape_size(entry->dtype, entry->rank, entry->dim, &entry->count, &entry->bytes))
        return bad_tensor(c, entry->name, "its shape is larger than memory can be");
    return VMAE_OK;
}

static vmae_status read_offsets(const vmae_checkpoint *c, vmae_entry *entry, const json_t *offsets)
{
    const json_t *first = json_array_get(offsets, 0), *last = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(last))
        return bad_tensor(c, entry->name, "its data_offsets are not two whole numbers");
    const json_int_t begin = json_integer_value(first), end = json_integer_value(last);
    if (begin < 0 || end < begin || (uint64_t)end > c->data_bytes)
        return vmae_fail(VMAE_EDATA,
                         "%s: tensor %.*s: its data_offsets [%lld, %lld] lie outside the %zu bytes of data; "
                         "is the file cut off?",
                         c->file, NAME_SHOWN, entry->name, (long long)begin, (long long)end, c->data_bytes);
    if ((uint64_t)(end - begin) != entry->bytes)
        return vmae_fail(VMAE_EDATA, "%s: tensor %.*s: its shape and dtype need %zu bytes, its data_offsets say %lld",
                         c->file, NAME_SHOWN, entry->name, entry->bytes, (long long)(end - begin));
    entry->data = c->data + begin;
    if ((uintptr_t)entry->data % vmae_dtype_size(entry->dtype) != 0)
        return bad_tensor(c, entry->name, "its data do not begin at a multiple of the element size");
    return VMAE_OK;
}

static vmae_status read_entry(const vmae_checkpoint *c, vmae_entry *entry, const char *name, const json_t *about)
{
    const char *dtype = json_string_value(json_object_get(about, "dtype"));
    entry->name = name;
    if (!json_is_object(about))
        return bad_tensor(c, name, "its entry is not a JSON object");
    if (json_object_size(about) != 3)
        return bad_tensor(c, name, "its entry has not exactly dtype, shape and data_offsets");
    if (!dtype)
        return bad_tensor(c, name, "it has no dtype");
    if (!vmae_dtype_find(&entry->dtype, dtype))
        return vmae_fail(VMAE_EDATA, "%s: tensor %.*s: the dtype %.20s is not one of F32 F64 F16 BF16 I64 I32 U8 BOOL",
                         c->file, NAME_SHOWN, name, dtype);
    VMAE_TRY(read_shape(c, entry, json_object_get(about, "shape")));
    return read_offsets(c, entry, json_object_get(about, "data_offsets"));
}

static vmae_status read_metadata(vmae_checkpoint *c, json_t *metadata)
{
    const char *key;
    json_t *value;
    if (!json_is_object(metadata))
        return damaged(c, "__metadata__ is not a JSON object");
    c->metadata = vmae_calloc(2 * json_object_size(metadata), sizeof *c->metadata);
    if (!c->metadata)
        return VMAE_ENOMEM;
    json_object_foreach(metadata, key, value)
    {
        if (!json_is_string(value))
            return damaged(c, "a value in __metadata__ is not a string");
        c->metadata[2 * c->metadata_count] = key;
        c->metadata[2 * c->metadata_count++ + 1] = json_string_value(value);
    }
    return VMAE_OK;
}

/* ---- the whole ---- */

static int compare_by_place(const void *a, const void *b)
{
    const vmae_entry *x = a, *y = b;
    if (x->data != y->data)
        return (const uint8_t *)x->data < (const uint8_t *)y->data ? -1 : 1;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? -1 : 1; /* empty ones first, else they seem to overlap */
    return strcmp(x->name, y->name);
}

static int compare_by_name(const void *a, const void *b)
{
    return strcmp((*(const vmae_entry *const *)a)->name, (*(const vmae_entry *const *)b)->name);
}

/* The tensors must cover the data, each byte once. */
static vmae_status check_cover(const vmae_checkpoint *c)
{
    size_t covered = 0;
    for (size_t i = 0; i < c->count; i++) {
        const size_t begin = (size_t)((const uint8_t *)c->entries[i].data - c->data);
        if (begin < covered)
            return bad_tensor(c, c->entries[i].name, "its data overlap those of another tensor");
        if (begin > covered)
            return bad_tensor(c, c->entries[i].name, "there is a hole in front of its data");
        covered += c->entries[i].bytes;
    }
    if (covered != c->data_bytes)
        return vmae_fail(VMAE_EDATA, "%s: %zu bytes after the last tensor belong to none", c->file,
                         c->data_bytes - covered);
    return VMAE_OK;
}

static vmae_status read_header(vmae_checkpoint *c, const uint8_t *bytes, size_t count)
{
    uint64_t length;
    json_error_t error;
    if (count < VMAE_ST_HEAD)
        return damaged(c, "it is shorter than 8 bytes");
    memcpy(&length, bytes, sizeof length);
    if (length > VMAE_ST_HEADER_MAX)
        return damaged(c, "it says that its header is longer than 100 MB");
    if (length > count - VMAE_ST_HEAD)
        return damaged(c, "it says that its header is longer than the file");
    const char *text = (const char *)bytes + VMAE_ST_HEAD;
    if (!length || *text != '{')
        return damaged(c, "its header does not begin with {");
    c->header = json_loadb(text, (size_t)length, JSON_REJECT_DUPLICATES, &error);
    if (!c->header)
        return vmae_fail(VMAE_EDATA, "%s: the header is not JSON: %s", c->file, error.text);
    c->data = bytes + VMAE_ST_HEAD + length;
    c->data_bytes = count - VMAE_ST_HEAD - (size_t)length;
    return VMAE_OK;
}

static vmae_status parse(vmae_checkpoint *c, const uint8_t *bytes, size_t count)
{
    const char *name;
    json_t *about;
    VMAE_TRY(read_header(c, bytes, count));
    c->entries = vmae_calloc(json_object_size(c->header), sizeof *c->entries);
    c->by_name = vmae_calloc(json_object_size(c->header), sizeof *c->by_name);
    if (!c->entries || !c->by_name)
        return VMAE_ENOMEM;
    json_object_foreach(c->header, name, about)
    {
        if (strcmp(name, "__metadata__") == 0)
            VMAE_TRY(read_metadata(c, about));
        else
            VMAE_TRY(read_entry(c, &c->entries[c->count++], name, about));
    }
    qsort(c->entries, c->count, sizeof *c->entries, compare_by_place);
    for (size_t i = 0; i < c->count; i++)
        c->by_name[i] = &c->entries[i];
    qsort(c->by_name, c->count, sizeof *c->by_name, compare_by_name);
    return check_cover(c);
}

static vmae_status parse_new(vmae_checkpoint **checkpoint, vmae_map map, const void *bytes, size_t count,
                             const char *name)
{
    vmae_checkpoint *c = vmae_calloc(1, sizeof *c);
    if (!c) {
        vmae_map_close(&map);
        return VMAE_ENOMEM;
    }
    c->map = map;
    c->file = vmae_strdup(name);
    const vmae_status st = c->file ? parse(c, bytes, count) : VMAE_ENOMEM;
    if (st == VMAE_OK)
        *checkpoint = c;
    else
        vmae_checkpoint_free(c);
    return st;
}

vmae_status vmae_checkpoint_open(vmae_checkpoint **checkpoint, const char *path)
{
    vmae_map map;
    VMAE_TRY(vmae_map_open(&map, path));
    return parse_new(checkpoint, map, map.bytes, map.count, path);
}

vmae_status vmae_checkpoint_parse(vmae_checkpoint **checkpoint, const void *bytes, size_t count, const char *name)
{
    return parse_new(checkpoint, (vmae_map){ NULL, 0 }, bytes, count, name);
}

void vmae_checkpoint_free(vmae_checkpoint *checkpoint)
{
    if (!checkpoint)
        return;
    json_decref(checkpoint->header);
    free(checkpoint->entries);
    free(checkpoint->by_name);
    free(checkpoint->metadata);
    free(checkpoint->file);
    vmae_map_close(&checkpoint->map);
    free(checkpoint);
}

/* ---- asking ---- */

size_t vmae_checkpoint_count(const vmae_checkpoint *checkpoint)
{
    return checkpoint->count;
}

const vmae_entry *vmae_checkpoint_at(const vmae_checkpoint *checkpoint, size_t index)
{
    return &checkpoint->entries[index];
}

const vmae_entry *vmae_checkpoint_find(const vmae_checkpoint *checkpoint, const char *name)
{
    size_t low = 0, high = checkpoint->count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const int order = strcmp(name, checkpoint->by_name[middle]->name);
        if (order == 0)
            return checkpoint->by_name[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

const char *vmae_checkpoint_metadata(const vmae_checkpoint *checkpoint, const char *key)
{
    return json_string_value(json_object_get(json_object_get(checkpoint->header, "__metadata__"), key));
}

size_t vmae_checkpoint_metadata_count(const vmae_checkpoint *checkpoint)
{
    return checkpoint->metadata_count;
}

void vmae_checkpoint_metadata_at(const vmae_checkpoint *checkpoint, size_t index, const char **key, const char **value)
{
    *key = checkpoint->metadata[2 * index];
    *value = checkpoint->metadata[2 * index + 1];
}

vmae_status vmae_checkpoint_floats(const vmae_checkpoint *checkpoint, const char *name, float *to, int rank,
                                   const int64_t *dim)
{
    char wanted[VMAE_SHAPE_TEXT], has[VMAE_SHAPE_TEXT];
    const vmae_entry *entry = vmae_checkpoint_find(checkpoint, name);
    vmae_shape_print(wanted, rank, dim);
    if (!entry)
        return vmae_fail(VMAE_EUSER,
                         "%s has no tensor %.*s (one of shape %s is wanted); is it the checkpoint of another "
                         "model?",
                         checkpoint->file, NAME_SHOWN, name, wanted);
    bool same = entry->rank == rank;
    for (int i = 0; same && i < rank; i++)
        same = entry->dim[i] == dim[i];
    if (!same) {
        vmae_shape_print(has, entry->rank, entry->dim);
        return vmae_fail(VMAE_EUSER,
                         "%s: tensor %.*s has the shape %s, %s is wanted; is it the checkpoint of a model of "
                         "another size?",
                         checkpoint->file, NAME_SHOWN, name, has, wanted);
    }
    if (!vmae_to_floats(to, entry->dtype, entry->data, entry->count))
        return vmae_fail(VMAE_EUSER, "%s: tensor %.*s has the dtype %s; a floating-point one is wanted",
                         checkpoint->file, NAME_SHOWN, name, vmae_dtype_name(entry->dtype));
    return VMAE_OK;
}
