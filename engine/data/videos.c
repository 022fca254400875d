/* videos.c -- dataset kind "videos": clips in class folders. A clip is counted when it is first used, once per process.
 */
#include "engine/data/listing.h"
#include "engine/data/video.h"

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { LOCKS = 64 };

typedef struct videos {
    vmae_listing listing;
    vmae_video_index *index;     /* [count]; info.frames is 0 until counted */
    pthread_mutex_t lock[LOCKS]; /* clip i is guarded by lock i % LOCKS, also while it is being counted */
} videos;

static int videos_label(const vmae_dataset *dataset, int64_t index)
{
    const videos *self = dataset->self;
    return self->listing.files[index].label;
}

static const char *videos_name(const vmae_dataset *dataset, int64_t index, char *buffer, size_t size)
{
    const videos *self = dataset->self;
    return vmae_listing_path(&self->listing, index, buffer, size);
}

/* The clip's index, counted if this is the first call for it. A clip that failed is tried again: it has no index to
 * keep. */
static vmae_status counted(videos *self, int64_t clip, const char *path, const vmae_video_index **index)
{
    pthread_mutex_t *lock = &self->lock[clip % LOCKS];
    vmae_status st = VMAE_OK;
    pthread_mutex_lock(lock);
    if (!self->index[clip].info.frames)
        st = vmae_sample_status(vmae_video_count(&self->index[clip], path));
    pthread_mutex_unlock(lock);
    if (st == VMAE_OK)
        *index = &self->index[clip]; /* never changes again */
    return st;
}

static vmae_status videos_clip(const vmae_dataset *dataset, int64_t clip, vmae_clip_info *info)
{
    char path[PATH_MAX];
    const vmae_video_index *index = NULL;
    videos_name(dataset, clip, path, sizeof path);
    VMAE_TRY(counted(dataset->self, clip, path, &index));
    *info = index->info;
    return VMAE_OK;
}

static vmae_status videos_frames(const vmae_dataset *dataset, int64_t clip, const int *frame, int count,
                                 vmae_image *images)
{
    char path[PATH_MAX];
    const vmae_video_index *index = NULL;
    videos_name(dataset, clip, path, sizeof path);
    VMAE_TRY(counted(dataset->self, clip, path, &index));
    return vmae_sample_status(vmae_video_frames(index, path, frame, count, images));
}

static void videos_close(vmae_dataset *dataset)
{
    videos *self = dataset->self;
    if (!self) {
        free(dataset);
        return;
    }
    for (int64_t i = 0; self->index && i < self->listing.count; i++)
        vmae_video_index_release(&self->index[i]);
    free(self->index);
    for (int i = 0; i < LOCKS; i++)
        pthread_mutex_destroy(&self->lock[i]);
    vmae_listing_release(&self->listing);
    free(self);
    free(dataset);
}

vmae_status vmae_open_videos(vmae_dataset **dataset, const vmae_dataset_spec *spec)
{
    vmae_status st = VMAE_ENOMEM;
    videos *self = NULL;
    vmae_dataset *opened = vmae_calloc(1, sizeof *opened);
    if (!opened)
        return VMAE_ENOMEM;
    opened->close = videos_close;
    if (!(opened->self = self = vmae_calloc(1, sizeof *self)))
        goto done;
    for (int i = 0; i < LOCKS; i++)
        pthread_mutex_init(&self->lock[i], NULL);
    if ((st = vmae_listing_open(&self->listing, spec, vmae_video_extensions(), "videos")) != VMAE_OK ||
        (st = vmae_listing_fingerprint(&self->listing, opened->fingerprint)) != VMAE_OK)
        goto done;
    if (!(self->index = vmae_calloc((size_t)self->listing.count, sizeof *self->index))) {
        st = VMAE_ENOMEM;
        goto done;
    }
    opened->media = VMAE_VIDEOS;
    opened->count = self->listing.count;
    opened->classes = self->listing.classes;
    opened->class_names = self->listing.class_names;
    opened->label = videos_label;
    opened->name = videos_name;
    opened->clip = videos_clip;
    opened->frames = videos_frames;
    snprintf(opened->description, sizeof opened->description, "videos %.160s, %lld clips, %d classes",
             self->listing.root, (long long)self->listing.count, self->listing.classes);
    *dataset = opened;
    opened = NULL;
done:
    vmae_dataset_close(opened);
    return st;
}
