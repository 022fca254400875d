/* augment.c -- views from their records; engine/pixels has the arithmetic, which is not contracted as kernels are. */
#include "engine/backend/cpu/cpu.h"
#include "engine/pixels/pixels.h"

static size_t view_pixels_bytes(int64_t size)
{
    return (size_t)(3 * size * size + 63) / 64 * 64;
}

/* Of one thread: the view's pixels, and work. */
static size_t view_scratch_bytes(int64_t size)
{
    return view_pixels_bytes(size) + (vmae_view_work_bytes(size) + 63) / 64 * 64;
}

CPU_KERNEL size_t cpu_augment_scratch(const vmae_backend *be, int64_t rows, int64_t size)
{
    (void)rows;
    return (size_t)be->threads * view_scratch_bytes(size);
}

CPU_KERNEL vmae_status cpu_augment(vmae_backend *be, float *images, void *scratch, const void *sources,
                                   const vmae_view *views, int64_t rows, int64_t size)
{
    const int64_t threads = be->threads;
#pragma omp parallel for schedule(static) num_threads(be->threads) if (rows > 1)
    for (int64_t thread = 0; thread < threads; thread++) {
        uint8_t *own = (uint8_t *)scratch + (size_t)thread * view_scratch_bytes(size);
        vmae_image image = { .rgb = own, .capacity = view_pixels_bytes(size) };
        vmae_block work = { own + view_pixels_bytes(size), vmae_view_work_bytes(size) };
        for (int64_t i = thread; i < rows; i += threads) { /* fails only where memory is short, and nothing grows */
            const vmae_status st =
                vmae_view_apply(images + i * 3 * size * size, &views[i], sources, (int)size, &image, &work);
            assert(st == VMAE_OK);
            (void)st;
        }
    }
    return VMAE_OK;
}
