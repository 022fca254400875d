/* tar_index.c -- from the members of tar archives to labelled images. */
#include "engine/core/fs.h"
#include "engine/data/listing.h"
#include "engine/data/tar.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAX_LABEL = 99999, NO_LABEL = -1, NOT_A_LABEL = -2 };

static const char *const label_extension[] = { "cls", NULL };

/* ---- collecting ---- */

/* What a .cls member says; NOT_A_LABEL if that is not one integer, 0 to MAX_LABEL. */
static vmae_status read_label(const vmae_tar_input *input, const vmae_tar_file *file, int *label)
{
    char text[64];
    size_t at = 0, digits = 0;
    int value = 0;
    *label = NOT_A_LABEL;
    if (file->count > sizeof text)
        return VMAE_OK;
    const size_t count = (size_t)file->count;
    VMAE_TRY(vmae_tar_read(input, file->offset, text, count));
    while (at < count && (text[at] == ' ' || text[at] == '\t'))
        at++;
    for (; at < count && text[at] >= '0' && text[at] <= '9' && value <= MAX_LABEL; at++, digits++)
        value = value * 10 + (text[at] - '0');
    while (at < count && (text[at] == ' ' || (text[at] >= '\t' && text[at] <= '\r')))
        at++;
    if (digits && at == count && value <= MAX_LABEL)
        *label = value;
    return VMAE_OK;
}

static vmae_status keep_member(void *context, const vmae_tar_input *input, const vmae_tar_file *file)
{
    vmae_tar_index *index = context;
    /* The extension first, on a copy: most other members are not worth an allocation. */
    char tail[16];
    const size_t taken = file->name_length < sizeof tail ? file->name_length : sizeof tail - 1;
    memcpy(tail, file->name + file->name_length - taken, taken);
    tail[taken] = '\0';
    const char *dot = strrchr(tail, '.');
    if (!dot)
        return VMAE_OK;
    char probe[sizeof tail + 1] = "x";
    strcat(probe, dot);
    const bool is_label = vmae_has_extension(probe, label_extension);
    if (!is_label && !vmae_has_extension(probe, vmae_image_extensions))
        return VMAE_OK;
    if (index->count == index->room) {
        const int64_t wanted = index->room ? index->room * 2 : 1024;
        vmae_tar_member *samples = vmae_realloc(index->samples, (size_t)wanted, sizeof *samples);
        if (!samples)
            return VMAE_ENOMEM;
        index->samples = samples;
        index->room = wanted;
    }
    const char *name = vmae_clean_name(index->arena, file->name, file->name_length);
    if (!name)
        return VMAE_ENOMEM;
    while (*name == '/' || (name[0] == '.' && name[1] == '/'))
        name++;
    if (*vmae_path_base(name) == '.')
        return VMAE_OK; /* hidden, such as macOS's "._a.jpg" */
    int label = NO_LABEL;
    if (is_label)
        VMAE_TRY(read_label(input, file, &label));
    index->samples[index->count++] = (vmae_tar_member){ name, file->offset, file->count, index->archives, label };
    index->label_files += is_label;
    return VMAE_OK;
}

vmae_status vmae_tar_index_add(vmae_tar_index *index, const vmae_tar_input *input)
{
    if (!index->arena && !(index->arena = vmae_arena_new()))
        return VMAE_ENOMEM;
    if (!input->count)
        return vmae_fail(VMAE_EDATA, "%s is empty: not a tar archive", input->name);
    VMAE_TRY(vmae_tar_walk(input, keep_member, index));
    index->archives++;
    return VMAE_OK;
}

/* ---- labels from folders ---- */

/* Distinct class names, found by hashing. */
typedef struct name_set {
    const char **names;
    int count, room;
    int *slots; /* name number + 1; 0: free; room * 2 slots */
} name_set;

static uint64_t hash_bytes(const char *text, size_t length)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < length; i++)
        h = (h ^ (unsigned char)text[i]) * 0x100000001b3u;
    return h ^ h >> 29;
}

static void fill_slots(name_set *set)
{
    const size_t slots = (size_t)set->room * 2;
    for (int i = 0; i < set->count; i++) {
        size_t at = hash_bytes(set->names[i], strlen(set->names[i])) & (slots - 1);
        while (set->slots[at])
            at = (at + 1) & (slots - 1);
        set->slots[at] = i + 1;
    }
}

static vmae_status grow(name_set *set)
{
    const int room = set->room ? set->room * 2 : 64; /* a power of two */
    const char **names = vmae_realloc(set->names, (size_t)room, sizeof *names);
    if (!names)
        return VMAE_ENOMEM;
    set->names = names;
    int *slots = vmae_calloc((size_t)room * 2, sizeof *slots);
    if (!slots)
        return VMAE_ENOMEM;
    free(set->slots);
    set->slots = slots;
    set->room = room;
    fill_slots(set);
    return VMAE_OK;
}

static vmae_status find_or_add(name_set *set, vmae_arena *arena, const char *name, size_t length, int *number)
{
    if (set->count == set->room)
        VMAE_TRY(grow(set));
    const size_t slots = (size_t)set->room * 2;
    size_t at = hash_bytes(name, length) & (slots - 1);
    for (; set->slots[at]; at = (at + 1) & (slots - 1)) {
        const char *known = set->names[set->slots[at] - 1];
        if (strncmp(known, name, length) == 0 && !known[length]) {
            *number = set->slots[at] - 1;
            return VMAE_OK;
        }
    }
    char *copy = vmae_clean_name(arena, name, length);
    if (!copy)
        return VMAE_ENOMEM;
    *number = set->count;
    set->names[set->count++] = copy;
    set->slots[at] = set->count;
    return VMAE_OK;
}

typedef struct ranked_name {
    const char *name;
    int number;
} ranked_name;

static int by_name(const void *a, const void *b)
{
    return strcmp(((const ranked_name *)a)->name, ((const ranked_name *)b)->name);
}

/* Labels count in the order of the sorted names, as in class folders on disk. */
static vmae_status sort_classes(vmae_tar_index *index, const name_set *set)
{
    vmae_status st = VMAE_ENOMEM;
    const size_t count = (size_t)set->count;
    ranked_name *ranked = vmae_calloc(count, sizeof *ranked);
    int *label = vmae_calloc(count, sizeof *label);
    index->class_names = vmae_arena_calloc(index->arena, count, sizeof *index->class_names);
    if (!ranked || !label || !index->class_names)
        goto done;
    for (int i = 0; i < set->count; i++)
        ranked[i] = (ranked_name){ set->names[i], i };
    qsort(ranked, count, sizeof *ranked, by_name);
    for (int i = 0; i < set->count; i++) {
        index->class_names[i] = ranked[i].name;
        label[ranked[i].number] = i;
    }
    for (int64_t i = 0; i < index->count; i++)
        index->samples[i].label = label[index->samples[i].label];
    index->classes = set->count;
    st = VMAE_OK;
done:
    free(ranked);
    free(label);
    return st;
}

static vmae_status label_by_folder(vmae_tar_index *index, const char *where)
{
    vmae_status st = VMAE_OK;
    name_set set = { 0 };
    const char *bare = NULL;
    for (int64_t i = 0; i < index->count && st == VMAE_OK; i++) {
        vmae_tar_member *sample = &index->samples[i];
        const char *end = strrchr(sample->name, '/'), *begin = end;
        if (!end) {
            bare = sample->name;
            continue;
        }
        while (begin > sample->name && begin[-1] != '/')
            begin--;
        st = find_or_add(&set, index->arena, begin, (size_t)(end - begin), &sample->label);
    }
    if (st == VMAE_OK && bare && set.count)
        st = vmae_fail(VMAE_EDATA,
                       "%s: member \"%.200s\" lies in no class folder, others do; name members <class>/<name>.jpg",
                       where, bare);
    if (st == VMAE_OK && set.count)
        st = sort_classes(index, &set);
    free(set.names);
    free(set.slots);
    return st;
}

/* ---- labels from <key>.cls ---- */

/* WebDataset's rule: the key ends at the first dot of the last part of the path. */
static size_t key_length(const char *name)
{
    const char *base = vmae_path_base(name);
    return (size_t)(base - name) + strcspn(base, ".");
}

static bool is_image_part(const char *name)
{
    const char *extension = name + key_length(name) + 1; /* "seg.png" of "key.seg.png" is another thing than "png" */
    for (const char *const *known = vmae_image_extensions; *known; known++)
        if (strcasecmp(extension, *known) == 0)
            return true;
    return false;
}

static vmae_status number_classes(vmae_tar_index *index)
{
    index->class_names = vmae_arena_calloc(index->arena, (size_t)index->classes, sizeof *index->class_names);
    for (int i = 0; index->class_names && i < index->classes; i++)
        if (!(index->class_names[i] = vmae_arena_format(index->arena, "%d", i)))
            return VMAE_ENOMEM;
    return index->class_names ? VMAE_OK : VMAE_ENOMEM;
}

static vmae_status label_by_key(vmae_tar_index *index, const char *where)
{
    int64_t kept = 0;
    for (int64_t begin = 0, end; begin < index->count; begin = end) {
        const vmae_tar_member *first = &index->samples[begin], *image = NULL, *label = NULL;
        const size_t length = key_length(first->name);
        for (end = begin; end < index->count; end++) { /* the members of one key follow each other */
            const vmae_tar_member *member = &index->samples[end];
            if (member->archive != first->archive || key_length(member->name) != length ||
                memcmp(member->name, first->name, length) != 0)
                break;
            if (strcasecmp(member->name + length, ".cls") == 0)
                label = member;
            else if (!image && is_image_part(member->name))
                image = member;
        }
        if (!image && !label)
            continue; /* "key.seg.png" alone: not ours */
        if (!image || !label)
            return vmae_fail(
                VMAE_EDATA,
                "%s: member \"%.200s\" has no %s next to it; a sample is <key>.jpg and <key>.cls, one after the other",
                where, image ? image->name : label->name, image ? ".cls" : "image");
        vmae_tar_member sample = *image;
        if (label->label == NOT_A_LABEL)
            return vmae_fail(VMAE_EDATA, "%s: member \"%.200s\" is not a label; it should hold one integer, 0 to %d",
                             where, label->name, MAX_LABEL);
        sample.label = label->label;
        if (sample.label >= index->classes)
            index->classes = sample.label + 1;
        index->samples[kept++] = sample;
    }
    index->count = kept;
    return number_classes(index);
}

vmae_status vmae_tar_index_finish(vmae_tar_index *index, const char *where)
{
    VMAE_TRY(index->label_files ? label_by_key(index, where) : label_by_folder(index, where));
    if (!index->count)
        return vmae_fail(VMAE_EUSER,
                         "%s holds no images; members should be <class>/<name>.jpg, or <key>.jpg and <key>.cls", where);
    return VMAE_OK;
}

void vmae_tar_index_release(vmae_tar_index *index)
{
    free(index->samples);
    vmae_arena_free(index->arena);
    *index = (vmae_tar_index){ 0 };
}
