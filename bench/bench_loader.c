/* bench_loader.c -- how many augmented images a second the loader delivers, beside what the model can take
 * (`vicmae bench`).
 *
 *   bench_loader [THREADS [KIND PATH SIDE]]
 *
 * Without a dataset: procedural images and clips at 32 pixels, and a folder of 64 JPEGs of 500 x 375 (made here, in the
 * file cache) at 224. Pairs of views with the augmentation of pre-training; the median of five rounds. */
#include "engine/core/fs.h"
#include "engine/core/log.h"
#include "engine/core/mem.h"
#include "engine/data/data.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <turbojpeg.h>
#include <unistd.h>

enum { ROUNDS = 5, BATCH = 64, JPEGS = 64, WIDTH = 500, HEIGHT = 375 };

static vmae_augment view_of(int side, bool colour)
{
    vmae_augment view = { .size = side,
                          .crop = true,
                          .crop_area_min = colour ? 0.08f : 0.5f,
                          .crop_area_max = 1.0f,
                          .flip = true,
                          .crop_ratio = 0.875f };
    memcpy(view.mean, vmae_imagenet_mean, sizeof view.mean);
    memcpy(view.std, vmae_imagenet_std, sizeof view.std);
    if (colour) { /* recipes: view 1 of experiments/vicmae.cfg, the dearer one, for both */
        view.jitter_p = 0.8f;
        view.brightness = view.contrast = 0.4f;
        view.saturation = 0.2f;
        view.hue = 0.1f;
        view.grey_p = 0.2f;
        view.blur_p = 1.0f;
        view.blur_sigma_min = 0.1f;
        view.blur_sigma_max = 2.0f;
    }
    return view;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Batches until `seconds` have passed. */
static vmae_status round_of(vmae_loader *loader, double seconds, double *images_per_s)
{
    const double start = vmae_seconds();
    int64_t samples = 0;
    do {
        const vmae_batch *batch;
        VMAE_TRY(vmae_loader_next(loader, &batch));
        samples += batch->count;
    } while (vmae_seconds() - start < seconds);
    *images_per_s = 2.0 * (double)samples / (vmae_seconds() - start);
    return VMAE_OK;
}

static vmae_status measure(const vmae_dataset_spec *spec, int side, int threads)
{
    vmae_dataset *dataset = NULL;
    vmae_loader *loader = NULL;
    double rates[ROUNDS], warm_up;
    VMAE_TRY(vmae_dataset_open(&dataset, spec));
    const bool images = dataset->media == VMAE_IMAGES;
    const vmae_source source = { .dataset = dataset,
                                 .batch = BATCH,
                                 .view = { view_of(side, images), view_of(side, images) },
                                 .frames = { .distant = true } };
    vmae_status st = vmae_loader_start(&loader, &(vmae_loader_spec){ .sources = &source,
                                                                     .source_count = 1,
                                                                     .pairs = true,
                                                                     .shuffle = true,
                                                                     .seed = 1,
                                                                     .threads = threads,
                                                                     .prefetch = 2 });
    if (st == VMAE_OK)
        st = round_of(loader, 0.3, &warm_up);
    for (int i = 0; st == VMAE_OK && i < ROUNDS; i++)
        st = round_of(loader, 0.8, &rates[i]);
    if (st == VMAE_OK) {
        qsort(rates, ROUNDS, sizeof *rates, ascending);
        printf("%2d threads  %3d px  %8.0f images/s [%.0f .. %.0f]  %s\n", threads, side, rates[ROUNDS / 2], rates[0],
               rates[ROUNDS - 1], dataset->description);
        fflush(stdout);
    }
    vmae_loader_stop(loader);
    vmae_dataset_close(dataset);
    return st;
}

/* ---- a folder of JPEGs, of textured pixels: photographs' worth of bits ---- */

static vmae_status compress(tjhandle handle, const vmae_image *image, const char *path)
{
    unsigned char *jpeg = NULL;
    unsigned long count = 0;
    vmae_status st = VMAE_OK;
    if (tjCompress2(handle, image->rgb, image->width, 0, image->height, TJPF_RGB, &jpeg, &count, TJSAMP_420, 90, 0) !=
        0)
        st = vmae_fail(VMAE_ENOMEM, "%s: %s", path, tjGetErrorStr2(handle));
    else
        st = vmae_write_file(path, jpeg, count);
    tjFree(jpeg);
    return st;
}

static void paint(vmae_image *image, int number)
{
    vmae_rng rng = vmae_rng_at(1, VMAE_RNG_TEST, 0, (uint64_t)number);
    uint8_t *pixel = image->rgb;
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++) {
            const uint32_t noise = vmae_rng_u32(&rng);
            for (int c = 0; c < 3; c++)
                *pixel++ = (uint8_t)((x * (number % 5 + c) / 8 + y * (3 - c) / 4) % 224 + (int)(noise >> 8 * c & 31));
        }
}

static vmae_status make_folder(const char *folder)
{
    vmae_image image = { 0 };
    char *class = vmae_path_join(folder, "train/all");
    tjhandle handle = tjInitCompress();
    vmae_status st = class && handle ? vmae_make_folders(class) : VMAE_ENOMEM;
    if (st == VMAE_OK)
        st = vmae_image_resize_buffer(&image, HEIGHT, WIDTH);
    for (int i = 0; st == VMAE_OK && i < JPEGS; i++) {
        char *path = vmae_format("%s/%03d.jpg", class, i);
        paint(&image, i);
        st = path ? compress(handle, &image, path) : VMAE_ENOMEM;
        free(path);
    }
    if (handle)
        tjDestroy(handle);
    vmae_image_release(&image);
    free(class);
    return st;
}

static void remove_folder(const char *folder)
{
    char *path;
    for (int i = 0; i < JPEGS; i++) {
        path = vmae_format("%s/train/all/%03d.jpg", folder, i);
        if (path)
            unlink(path);
        free(path);
    }
    const char *const names[] = { "/train/all", "/train", "" };
    for (int i = 0; i < 3; i++) {
        path = vmae_format("%s%s", folder, names[i]);
        if (path)
            rmdir(path);
        free(path);
    }
}

static vmae_status measure_own(int threads)
{
    const vmae_dataset_spec shapes = { .kind = "shapes", .shapes_count = 4096, .shapes_size = 40, .shapes_frames = 32 };
    vmae_dataset_spec clips = shapes;
    clips.kind = "shapes-video";
    VMAE_TRY(measure(&shapes, 32, threads));
    VMAE_TRY(measure(&clips, 32, threads));
    const char *temporary = getenv("TMPDIR");
    char *folder = vmae_format("%s/vicmae-bench-XXXXXX", temporary && *temporary ? temporary : "/tmp");
    if (!folder || !mkdtemp(folder)) {
        free(folder);
        return vmae_fail(VMAE_EIO, "no folder for the JPEGs can be made in TMPDIR (or /tmp)");
    }
    vmae_status st = make_folder(folder);
    if (st == VMAE_OK)
        st = measure(&(vmae_dataset_spec){ .kind = "folder", .path = folder, .split = "train" }, 224, threads);
    remove_folder(folder);
    free(folder);
    return st;
}

int main(int argc, char **argv)
{
    const int threads = argc > 1 ? atoi(argv[1]) : 1, side = argc > 4 ? atoi(argv[4]) : 0;
    if ((argc > 2 && argc != 5) || threads < 1 || threads > 256 || side < 0 || side > 4096) {
        fprintf(stderr, "Usage: bench_loader [THREADS [KIND PATH SIDE]]\n");
        return 2;
    }
    const vmae_status st = argc == 5 ? measure(&(vmae_dataset_spec){ .kind = argv[2], .path = argv[3] }, side, threads)
                                     : measure_own(threads);
    if (st != VMAE_OK)
        fprintf(stderr, "bench_loader: %s\n", vmae_error());
    return vmae_exit_code(st);
}
