/* patches.c -- random masking, and the pixels of chosen patches for the patch projection. */
#include "engine/backend/cpu/rows.h"

/* A key that ascends as the noise does. -0 equals 0, and every NaN comes after every number: the order is total, so
 * hostile noise still gives a permutation. */
static inline uint32_t masking_key(float noise)
{
    const float value = noise + 0.0f;
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u)
        return UINT32_MAX;
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

/* shuffle = stable argsort of noise: a radix sort of indices, a byte of the key at a time; spare is the other buffer.
 * Needs no memory of its own, which is why it is not a comparison sort. */
static void masking_argsort(int32_t *shuffle, int32_t *spare, const float *noise, int64_t n)
{
    int32_t first[4][256] = { { 0 } };
    for (int64_t i = 0; i < n; i++) {
        const uint32_t key = masking_key(noise[i]);
        for (int byte = 0; byte < 4; byte++)
            first[byte][key >> 8 * byte & 255]++;
    }
    for (int byte = 0; byte < 4; byte++)
        for (int32_t value = 0, before = 0; value < 256; value++) {
            const int32_t count = first[byte][value];
            first[byte][value] = before;
            before += count;
        }
    for (int64_t i = 0; i < n; i++)
        shuffle[i] = (int32_t)i;
    int32_t *from = shuffle, *to = spare;
    for (int byte = 0; byte < 4; byte++) { /* an even number of passes: the last one writes shuffle */
        for (int64_t i = 0; i < n; i++)
            to[first[byte][masking_key(noise[from[i]]) >> 8 * byte & 255]++] = from[i];
        int32_t *const swap = from;
        from = to;
        to = swap;
    }
}

CPU_KERNEL vmae_status cpu_random_masking(vmae_backend *be, int32_t *ids_shuffle, int32_t *ids_restore, float *mask,
                                          const float *noise, int64_t batch, int64_t patches, int64_t keep)
{
#pragma omp parallel for schedule(static) num_threads(be->threads) if (batch * patches >= PARALLEL_MIN / 8)
    for (int64_t b = 0; b < batch; b++) {
        int32_t *shuffle = ids_shuffle + b * patches, *restore = ids_restore + b * patches;
        masking_argsort(shuffle, restore, noise + b * patches, patches);
        for (int64_t i = 0; i < patches; i++) {
            restore[shuffle[i]] = (int32_t)i;
            mask[b * patches + shuffle[i]] = i < keep ? 0.0f : 1.0f;
        }
    }
    return VMAE_OK;
}

CPU_KERNEL vmae_status cpu_gather_patches(vmae_backend *be, void *y, const float *images, const int32_t *ids,
                                          int64_t stride, vmae_type type, int64_t batch, int64_t channels, int64_t side,
                                          int64_t p, int64_t keep)
{
    const int64_t grid = side / p, values = channels * p * p;
#pragma omp parallel for schedule(static) num_threads(be->threads) if (batch * keep * values >= PARALLEL_MIN)
    for (int64_t row = 0; row < batch * keep; row++) {
        const int64_t b = row / keep, j = row % keep, id = ids ? ids[b * stride + j] : j;
        const float *corner = images + b * channels * side * side + id / grid * p * side + id % grid * p;
        for (int64_t line = 0; line < channels * p; line++) {
            const float *from = corner + line / p * side * side + line % p * side;
            const int64_t at = row * values + line * p;
            if (type == VMAE_BF16) {
                narrow((vmae_bf16 *)y + at, from, p);
            } else {
                float *to = (float *)y + at;
                for (int64_t i = 0; i < p; i++) /* a call to memcpy would cost more than these few floats */
                    to[i] = from[i];
            }
        }
    }
    return VMAE_OK;
}
