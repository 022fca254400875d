/* write.c -- writing safetensors files. */
#include "engine/checkpoint/dtype.h"
#include "engine/core/fs.h"
#include "engine/core/mem.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

typedef struct tensor {
    const void *data;
    size_t element, bytes, begin;
    json_t *about; /* the header's entry; borrowed from vmae_writer.header */
} tensor;

struct vmae_writer {
    json_t *header, *metadata;
    tensor *tensors; /* in the order of vmae_writer_add */
    size_t count, room;
};

vmae_writer *vmae_writer_new(void)
{
    vmae_writer *writer = vmae_calloc(1, sizeof *writer);
    if (!writer)
        return NULL;
    writer->header = json_object();
    writer->metadata = json_object();
    if (!writer->header || !writer->metadata) {
        vmae_fail(VMAE_ENOMEM, "out of memory");
        vmae_writer_free(writer);
        return NULL;
    }
    return writer;
}

void vmae_writer_free(vmae_writer *writer)
{
    if (!writer)
        return;
    json_decref(writer->header);
    json_decref(writer->metadata);
    free(writer->tensors);
    free(writer);
}

static json_t *describe(vmae_dtype dtype, int rank, const int64_t *dim)
{
    json_t *shape = json_array();
    for (int i = 0; i < rank; i++)
        json_array_append_new(shape, json_integer(dim[i]));
    if (json_array_size(shape) != (size_t)rank) { /* an append found no memory */
        json_decref(shape);
        return NULL;
    }
    return json_pack("{s:s, s:o, s:[I,I]}", "dtype", vmae_dtype_name(dtype), "shape", shape, "data_offsets",
                     (json_int_t)0, (json_int_t)0);
}

vmae_status vmae_writer_add(vmae_writer *writer, const char *name, vmae_dtype dtype, int rank, const int64_t *dim,
                            const void *data)
{
    size_t count, bytes;
    if (!vmae_shape_size(dtype, rank, dim, &count, &bytes))
        return vmae_fail(VMAE_EINTERNAL, "tensor %s has an impossible shape", name);
    if (json_object_get(writer->header, name) || strcmp(name, "__metadata__") == 0)
        return vmae_fail(VMAE_EINTERNAL, "tensor %s is there already", name);
    if (writer->count == writer->room) {
        const size_t room = writer->room ? 2 * writer->room : 64;
        tensor *moved = vmae_realloc(writer->tensors, room, sizeof *moved);
        if (!moved)
            return VMAE_ENOMEM;
        writer->tensors = moved;
        writer->room = room;
    }
    json_t *about = describe(dtype, rank, dim);
    if (!about)
        return vmae_fail(VMAE_ENOMEM, "out of memory");
    if (json_object_set_new(writer->header, name, about) != 0)
        return vmae_fail(VMAE_EINTERNAL, "the name of a tensor is not UTF-8, or memory is out");
    writer->tensors[writer->count++] =
        (tensor){ .data = data, .element = vmae_dtype_size(dtype), .bytes = bytes, .about = about };
    return VMAE_OK;
}

vmae_status vmae_writer_metadata(vmae_writer *writer, const char *key, const char *value)
{
    if (json_object_set_new(writer->metadata, key, json_string(value)) != 0)
        return vmae_fail(VMAE_EINTERNAL, "metadata %s is not UTF-8, or memory is out", key);
    return VMAE_OK;
}

/* Gives each tensor its place, those with larger elements first, so that all are aligned without holes. */
static vmae_status lay_out(vmae_writer *writer)
{
    size_t end = 0;
    for (size_t element = 8; element; element /= 2) {
        for (size_t i = 0; i < writer->count; i++) {
            tensor *t = &writer->tensors[i];
            if (t->element != element)
                continue;
            t->begin = end;
            end += t->bytes;
            json_t *offsets = json_object_get(t->about, "data_offsets");
            if (json_array_set_new(offsets, 0, json_integer((json_int_t)t->begin)) != 0 ||
                json_array_set_new(offsets, 1, json_integer((json_int_t)end)) != 0)
                return vmae_fail(VMAE_ENOMEM, "out of memory");
        }
    }
    return VMAE_OK;
}

/* The 8 bytes of length and the header, padded with blanks, as fresh memory. */
static vmae_status make_head(vmae_writer *writer, char **head, size_t *count)
{
    if (json_object_size(writer->metadata) && json_object_set(writer->header, "__metadata__", writer->metadata) != 0)
        return vmae_fail(VMAE_ENOMEM, "out of memory");
    char *text = json_dumps(writer->header, JSON_COMPACT);
    if (!text)
        return vmae_fail(VMAE_ENOMEM, "out of memory");
    const size_t length = strlen(text);
    const size_t total = (VMAE_ST_HEAD + length + VMAE_ST_ALIGN - 1) / VMAE_ST_ALIGN * VMAE_ST_ALIGN;
    const uint64_t padded = total - VMAE_ST_HEAD;
    char *bytes = vmae_calloc(total, 1);
    if (bytes && padded <= VMAE_ST_HEADER_MAX) {
        memcpy(bytes, &padded, VMAE_ST_HEAD);
        memcpy(bytes + VMAE_ST_HEAD, text, length);
        memset(bytes + VMAE_ST_HEAD + length, ' ', total - VMAE_ST_HEAD - length);
        *head = bytes;
        *count = total;
    }
    free(text);
    if (!bytes)
        return VMAE_ENOMEM;
    if (padded > VMAE_ST_HEADER_MAX) {
        free(bytes);
        return vmae_fail(VMAE_EINTERNAL, "a safetensors header of %zu bytes is longer than readers take",
                         (size_t)padded);
    }
    return VMAE_OK;
}

vmae_status vmae_writer_save(vmae_writer *writer, const char *path)
{
    vmae_replace file;
    char *head = NULL;
    size_t head_count = 0;
    VMAE_TRY(lay_out(writer));
    VMAE_TRY(make_head(writer, &head, &head_count));
    vmae_status st = vmae_replace_begin(&file, path);
    if (st == VMAE_OK)
        st = vmae_replace_write(&file, head, head_count);
    for (size_t element = 8; element; element /= 2)
        for (size_t i = 0; st == VMAE_OK && i < writer->count; i++)
            if (writer->tensors[i].element == element)
                st = vmae_replace_write(&file, writer->tensors[i].data, writer->tensors[i].bytes);
    if (st == VMAE_OK)
        st = vmae_replace_commit(&file);
    vmae_replace_abort(&file);
    free(head);
    return st;
}
