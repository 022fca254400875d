/* listing.h -- (private to data/) what the kinds of dataset share: the split's folder, class folders, labels,
 * fingerprints. */
#ifndef VMAE_DATA_LISTING_H
#define VMAE_DATA_LISTING_H

#include "engine/core/mem.h"
#include "engine/data/data.h"

/* Ends in one of the extensions (without dot, ended by NULL), in any case, and is not a hidden file such as macOS's
 * "._a.jpg". */
bool vmae_has_extension(const char *name, const char *const *extensions);
extern const char *const vmae_image_extensions[];

/* The n'th name under which a split may lie on disk, or NULL: "val" is looked for as val, validation, valid, test. */
const char *vmae_split_alias(const char *split, int n);

/* Copies a name for messages and labels: control characters become '?'. NULL, with a sentence, without memory. */
char *vmae_clean_name(vmae_arena *arena, const char *name, size_t length);

/* Files in class folders, <root>/<class>/<file>, sorted by class and name; deeper folders are left alone, other files
 * too, but not without a word. */
typedef struct vmae_listed_file {
    const char *name;
    int64_t bytes;
    int label;
} vmae_listed_file;
typedef struct vmae_listing {
    vmae_arena *arena; /* holds all the names */
    const char *root, **class_names;
    int classes;
    vmae_listed_file *files;
    int64_t count;
    int64_t ignored;        /* files of other endings, hidden ones not counted ... */
    const char *example[3]; /* ... such as these, <class>/<file> */
} vmae_listing;
/* root is <path>/<split>; or <path> if there is no such folder and the split is "train". `what` ("images") goes into
 * messages. On failure the listing is released. */
vmae_status vmae_listing_open(vmae_listing *listing, const vmae_dataset_spec *spec, const char *const *extensions,
                              const char *what);
void vmae_listing_release(vmae_listing *listing);
vmae_status vmae_listing_fingerprint(const vmae_listing *listing, char hex[VMAE_HASH_HEX]);
/* "<root>/<class>/<file>" into the buffer, cut if it is too small; returns buffer. */
const char *vmae_listing_path(const vmae_listing *listing, int64_t index, char *buffer, size_t size);

/* What a listed file's status says of the sample: one that is gone since, or may not be read, is bad data. */
vmae_status vmae_sample_status(vmae_status status);

/* spec->split, or "train" */
const char *vmae_split_of(const vmae_dataset_spec *spec);
/* Fails unless spec->path is there; `expected` says what belongs there. */
vmae_status vmae_check_path(const vmae_dataset_spec *spec, const char *expected);

#endif
