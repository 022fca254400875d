/* gemm_on_cpu.h -- matrix products for the stand-ins of CUDA's libraries: plain C++ on all cores, not on fibers, so
 * that whole training steps can go through them. f32 sums in parts of 256 terms: the same bits for any number of
 * threads. */
#ifndef VMAE_TESTS_CUDA_GEMM_ON_CPU_H
#define VMAE_TESTS_CUDA_GEMM_ON_CPU_H

#include <cmath>
#include <cstdint>
#include <cstring>

/* Whether so many steps are worth threads. TSan does not see OpenMP's barriers. */
static inline bool gemm_parallel(int64_t steps)
{
#ifdef __SANITIZE_THREAD__
    return steps < 0;
#else
    return steps > 200000;
#endif
}

static inline float gemm_load(bool bf16, const void *p, int64_t i)
{
    if (!bf16)
        return ((const float *)p)[i];
    const uint32_t bits = (uint32_t)((const uint16_t *)p)[i] << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline void gemm_store(bool bf16, void *p, int64_t i, float value)
{
    if (!bf16) {
        ((float *)p)[i] = value;
        return;
    }
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    ((uint16_t *)p)[i] = std::isnan(value) ? (uint16_t)0x7FFF : (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

/* Element (i, l) is data[i * step + l * next]; l is what is summed over. */
struct gemm_operand {
    const void *data;
    bool bf16;
    int64_t step, next;
};

/* d[j * m + i] = sum over l in [from, to) of a(i, l) b(j, l), for i < m, j < n. */
void gemm_on_cpu(float *d, int64_t m, int64_t n, const gemm_operand &a, const gemm_operand &b, int64_t from,
                 int64_t to);

#endif
