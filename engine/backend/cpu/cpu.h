/* cpu.h -- what the CPU kernels share. Private to backend/cpu.
 *
 * kernels.c includes every op's file and is compiled once per instruction set (x86-64, v3, v4), so kernels are plain
 * C that the compiler vectorises; cpu.c picks the best table that the processor runs. Inner loops work on f32 rows: a
 * bf16 row is widened into a small buffer first. */
#ifndef VMAE_BACKEND_CPU_H
#define VMAE_BACKEND_CPU_H

#include "engine/backend/backend.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#define CPU_KERNEL static

enum { SUM_BLOCKS = 32 }; /* backend.h: be->sum_blocks */

/* First row of part `i` of `rows` rows cut in SUM_BLOCKS parts. */
static inline int64_t sum_block(int64_t rows, int64_t i)
{
    return rows * i / SUM_BLOCKS;
}

static inline float bf16_to_float(vmae_bf16 value)
{
    const uint32_t bits = (uint32_t)value << 16;
    float result;
    memcpy(&result, &bits, sizeof result);
    return result;
}

/* Round to nearest even; NaN stays NaN. */
static inline vmae_bf16 bf16_from_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint32_t rounded = (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16;
    const uint32_t nan = bits >> 16 | 0x40u;
    return (vmae_bf16)((bits & 0x7FFFFFFFu) > 0x7F800000u ? nan : rounded);
}

#endif
