/* checkpoint.h -- safetensors files: written atomically, read as hostile input.
 *
 * Format (huggingface/safetensors): u64 little-endian header length, a JSON header {"name": {"dtype", "shape",
 * "data_offsets": [begin, end]}, ..., "__metadata__": {string: string}}, then the data, without holes (the official
 * reader refuses them). Files that we write pad the header with blanks so that the data begin at a multiple of 64
 * bytes, and hold the tensors in the order in which they were added, but those with larger elements first: so every
 * tensor begins at a multiple of its element size. Files that we read must hold to that last point. */
#ifndef VMAE_CHECKPOINT_CHECKPOINT_H
#define VMAE_CHECKPOINT_CHECKPOINT_H

#include "engine/core/status.h"

#include <stddef.h>
#include <stdint.h>

typedef enum vmae_dtype {
    VMAE_ST_F32,
    VMAE_ST_F64,
    VMAE_ST_F16,
    VMAE_ST_BF16,
    VMAE_ST_I64,
    VMAE_ST_I32,
    VMAE_ST_U8,
    VMAE_ST_BOOL
} vmae_dtype;
enum { VMAE_ST_RANK = 8 };

size_t vmae_dtype_size(vmae_dtype dtype);
const char *vmae_dtype_name(vmae_dtype dtype); /* "F32", ... */

typedef struct vmae_entry {
    const char *name;
    vmae_dtype dtype;
    int rank; /* 0 for a scalar */
    int64_t dim[VMAE_ST_RANK];
    const void *data; /* little-endian, row-major; points into the mapping */
    size_t bytes, count;
} vmae_entry;

/* ---- reading ---- */

typedef struct vmae_checkpoint vmae_checkpoint;

/* Maps the file and checks all of it: header length against the file, JSON shape, no duplicate names, dtype known,
 * sizes without overflow, offsets inside, in order, without holes or overlaps, data aligned to the element size.
 * VMAE_EDATA with the file and tensor named. */
vmae_status vmae_checkpoint_open(vmae_checkpoint **checkpoint, const char *path);
/* The same for bytes in memory (they must outlive it and begin at a multiple of 8); `name` stands for the file in
 * messages. For tests and fuzzing. */
vmae_status vmae_checkpoint_parse(vmae_checkpoint **checkpoint, const void *bytes, size_t count, const char *name);
void vmae_checkpoint_free(vmae_checkpoint *checkpoint);

size_t vmae_checkpoint_count(const vmae_checkpoint *checkpoint);
const vmae_entry *vmae_checkpoint_at(const vmae_checkpoint *checkpoint, size_t index);       /* in file order */
const vmae_entry *vmae_checkpoint_find(const vmae_checkpoint *checkpoint, const char *name); /* NULL if there is none */
const char *vmae_checkpoint_metadata(const vmae_checkpoint *checkpoint, const char *key);    /* NULL if there is none */
size_t vmae_checkpoint_metadata_count(const vmae_checkpoint *checkpoint);
void vmae_checkpoint_metadata_at(const vmae_checkpoint *checkpoint, size_t index, const char **key, const char **value);

/* Copies a floating-point entry (F32, F64, F16, BF16) into count floats. VMAE_EUSER, naming tensor and both shapes, if
 * the entry is absent or of another shape. */
vmae_status vmae_checkpoint_floats(const vmae_checkpoint *checkpoint, const char *name, float *to, int rank,
                                   const int64_t *dim);

/* ---- writing ---- */

typedef struct vmae_writer vmae_writer;
vmae_writer *vmae_writer_new(void); /* NULL, with a sentence, without memory */
void vmae_writer_free(vmae_writer *writer);
/* Names and values are copied, data are not: they must stay until vmae_writer_save. VMAE_EINTERNAL for a name given
 * twice or not in UTF-8, and for an impossible shape: the program chose them. */
vmae_status vmae_writer_add(vmae_writer *writer, const char *name, vmae_dtype dtype, int rank, const int64_t *dim,
                            const void *data);
vmae_status vmae_writer_metadata(vmae_writer *writer, const char *key, const char *value);
/* Writes beside, fsyncs, renames. The same tensors and metadata give the same bytes. The old file stays whole if
 * anything fails. */
vmae_status vmae_writer_save(vmae_writer *writer, const char *path);

#endif
