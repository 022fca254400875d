/* augment.cu -- views from their records (engine/pixels/view.h), with the bits of engine/pixels.
 *
 * One of the colour steps may have to know the whole image. So the first kernel cuts, scales, flips, takes the steps
 * before that one, and leaves pixels and sums of tiles; the second adds the sums up; the third takes the other steps,
 * blurs and normalises. */
#include "engine/backend/cuda/colour.cuh"
#include "engine/backend/cuda/device.cuh"

namespace
{

/* Tiles of outputs. The first kernel's are low: then what a tile needs of a record that shrinks by VMAE_VIEW_SHRINK
 * fits in shared memory. FACTOR of shrinking across times ROWS of it down is at most VMAE_VIEW_SHRINK, so the most
 * bytes are those of a source that shrinks in one direction only. */
constexpr int THREADS = 256, WARPS = THREADS / 32, WIDTH = 32, CUT_HEIGHT = 16, FINISH_HEIGHT = 32,
              REACH = VMAE_VIEW_REACH, ROOM = VMAE_VIEW_ROOM;
constexpr int SOURCE_ROWS = VMAE_VIEW_SHRINK * (CUT_HEIGHT + 3) + 2, SOURCE_BYTES = 12288;
constexpr int FRACTION_BITS = 22;

inline int64_t cut_tiles(int64_t size)
{
    return (size + WIDTH - 1) / WIDTH * ((size + CUT_HEIGHT - 1) / CUT_HEIGHT);
}
inline int64_t finish_tiles(int64_t size)
{
    return (size + WIDTH - 1) / WIDTH * ((size + FINISH_HEIGHT - 1) / FINISH_HEIGHT);
}

/* Scratch: a word a pixel [rows, size, size]; sums [rows, cut_tiles]; what is seen of the whole image [rows]. */
inline size_t word_bytes(int64_t rows, int64_t size)
{
    return ((size_t)(rows * size * size) * sizeof(unsigned) + 63) / 64 * 64;
}

struct tile {
    int64_t view;
    int x, y; /* its first pixel */
};

template <int HEIGHT> __device__ __forceinline__ tile tile_of(int size)
{
    const int across = (size + WIDTH - 1) / WIDTH, down = (size + HEIGHT - 1) / HEIGHT, tiles = across * down,
              number = (int)(blockIdx.x % (unsigned)tiles);
    return { (int64_t)(blockIdx.x / (unsigned)tiles), number % across * WIDTH, number / across * HEIGHT };
}

/* ---- cut and scale ---- */

/* The weights of the tile's columns or rows; [i][k] lies at weight[k * COUNT + i]. */
template <int COUNT> struct axis {
    int begin[COUNT], count[COUNT], weight[ROOM * COUNT];
};

template <int COUNT>
__device__ __forceinline__ void load_axis(axis<COUNT> &to, const int *numbers, int room, int first, int size)
{
    for (int i = threadIdx.x; i < COUNT; i += THREADS) {
        const bool there = first + i < size;
        to.begin[i] = there ? numbers[first + i] : 0;
        to.count[i] = there ? numbers[size + first + i] : 0;
    }
    for (int j = threadIdx.x; j < COUNT * room; j += THREADS) {
        const int i = j / room, k = j % room;
        to.weight[k * COUNT + i] = first + i < size ? numbers[2 * (int64_t)size + (int64_t)(first + i) * room + k] : 0;
    }
}

__device__ __forceinline__ int to_byte(int sum)
{
    const int value = sum >> FRACTION_BITS;
    return min(max(value, 0), 255);
}

/* What a tile reads of a record: rows [first_row, end_row) and, of each, 16-byte words from byte `skip` on. */
struct region {
    int first_row, end_row, skip, words;
};

__device__ __forceinline__ region region_of(const axis<WIDTH> &across, const axis<CUT_HEIGHT> &down, int columns,
                                            int rows)
{
    const int skip = 3 * across.begin[0] / 16 * 16, end = 3 * (across.begin[columns - 1] + across.count[columns - 1]);
    return { down.begin[0], down.begin[rows - 1] + down.count[rows - 1], skip, (end - skip + 15) / 16 };
}

__device__ __forceinline__ void load_region(unsigned char *source, const unsigned char *record, int stride,
                                            const region &r)
{
    const int count = (r.end_row - r.first_row) * r.words;
    for (int i = threadIdx.x; i < count; i += THREADS) {
        const int row = i / r.words, word = i % r.words;
        const unsigned char *from = record + (int64_t)(r.first_row + row) * stride + r.skip + 16 * word;
        *reinterpret_cast<uint4 *>(source + 16 * i) = *reinterpret_cast<const uint4 *>(from);
    }
}

/* A lane a column, a warp a row. */
__device__ __forceinline__ void scale_across(unsigned *middle, const unsigned char *source, const axis<WIDTH> &across,
                                             const region &r)
{
    const int x = threadIdx.x % 32, count = across.count[x];
    const unsigned char *column = source + 3 * across.begin[x] - r.skip;
    for (int row = threadIdx.x / 32; row < r.end_row - r.first_row; row += WARPS) {
        const unsigned char *at = column + 16 * row * r.words;
        pixel sum = { 1 << (FRACTION_BITS - 1), 1 << (FRACTION_BITS - 1), 1 << (FRACTION_BITS - 1) };
        for (int k = 0; k < count; k++) {
            const int weight = across.weight[k * WIDTH + x];
            sum.r += at[3 * k] * weight;
            sum.g += at[3 * k + 1] * weight;
            sum.b += at[3 * k + 2] * weight;
        }
        middle[row * WIDTH + x] = pack_pixel({ to_byte(sum.r), to_byte(sum.g), to_byte(sum.b) });
    }
}

__device__ __forceinline__ pixel scale_down(const unsigned *middle, const axis<CUT_HEIGHT> &down, int first_row, int x,
                                            int y)
{
    const unsigned *at = middle + (down.begin[y] - first_row) * WIDTH + x;
    const int count = down.count[y];
    pixel sum = { 1 << (FRACTION_BITS - 1), 1 << (FRACTION_BITS - 1), 1 << (FRACTION_BITS - 1) };
    for (int k = 0; k < count; k++) {
        const pixel p = unpack_pixel(at[k * WIDTH]);
        const int weight = down.weight[k * CUT_HEIGHT + y];
        sum.r += p.r * weight;
        sum.g += p.g * weight;
        sum.b += p.b * weight;
    }
    return { to_byte(sum.r), to_byte(sum.g), to_byte(sum.b) };
}

/* Sums over the block, in thread 0. */
__device__ __forceinline__ int4 sum_tile(int (&part)[WARPS][3], pixel own)
{
    const int r = __reduce_add_sync(0xFFFFFFFFu, own.r), g = __reduce_add_sync(0xFFFFFFFFu, own.g),
              b = __reduce_add_sync(0xFFFFFFFFu, own.b);
    if (threadIdx.x % 32 == 0) {
        part[threadIdx.x / 32][0] = r;
        part[threadIdx.x / 32][1] = g;
        part[threadIdx.x / 32][2] = b;
    }
    __syncthreads();
    int4 total = make_int4(0, 0, 0, 0);
    for (int i = 0; i < WARPS; i++) {
        total.x += part[i][0];
        total.y += part[i][1];
        total.z += part[i][2];
    }
    return total;
}

/* words = the view's pixels up to the step that sees the whole image; sums: before that step, luma (x) or channels
 * (x, y, z) of the tile. A block a tile. */
__global__ void __launch_bounds__(THREADS)
    cut_views_kernel(unsigned *words, int4 *sums, const unsigned char *sources, const vmae_view *views, int size)
{
    __shared__ __align__(16) unsigned char source[SOURCE_BYTES];
    __shared__ unsigned middle[SOURCE_ROWS * WIDTH];
    __shared__ axis<WIDTH> across;
    __shared__ axis<CUT_HEIGHT> down;
    __shared__ int part[WARPS][3];
    const tile t = tile_of<CUT_HEIGHT>(size);
    const vmae_view *view = &views[t.view];
    const unsigned char *record = sources + view->source;
    const int room_across = view->room_across, stride = view->stride, split = first_of_image(view);
    region r = { 0, 0, 0, 0 };
    if (room_across > 0) { /* all threads of the block, or none */
        const int *numbers = reinterpret_cast<const int *>(record + ((int64_t)view->rows * stride + 15) / 16 * 16);
        load_axis(across, numbers, room_across, t.x, size);
        load_axis(down, numbers + (int64_t)size * (2 + room_across), view->room_down, t.y, size);
        __syncthreads();
        r = region_of(across, down, min(WIDTH, size - t.x), min(CUT_HEIGHT, size - t.y));
        load_region(source, record, stride, r);
        __syncthreads();
        scale_across(middle, source, across, r);
        __syncthreads();
    }
    const int x = t.x + (int)threadIdx.x % 32;
    pixel sum = { 0, 0, 0 };
    for (int row = threadIdx.x / 32; row < CUT_HEIGHT; row += WARPS) {
        const int y = t.y + row;
        if (x >= size || y >= size)
            continue;
        const unsigned char *at = record + (int64_t)y * stride + 3 * x;
        pixel p = room_across > 0 ? scale_down(middle, down, r.first_row, x - t.x, row) : pixel{ at[0], at[1], at[2] };
        p = take_steps(p, view, 0, split, { 0, 0.0f });
        words[(t.view * size + y) * size + (view->flip ? size - 1 - x : x)] = pack_pixel(p);
        if (split < view->steps) {
            const bool contrast = view->step[split] == VMAE_STEP_CONTRAST;
            sum.r += contrast ? luma(p) : p.r;
            sum.g += p.g;
            sum.b += p.b;
        }
    }
    const int4 total = sum_tile(part, sum);
    if (threadIdx.x == 0)
        sums[blockIdx.x] = total;
}

/* ---- finish ---- */

/* From the sums of a view's tiles, what its step needs to know that sees the whole image. A warp a view. */
__global__ void __launch_bounds__(32)
    see_views_kernel(of_image *seen, const int4 *sums, const vmae_view *views, int tiles, int size)
{
    const vmae_view *view = &views[blockIdx.x];
    const int step = first_of_image(view);
    if (step == view->steps) /* the whole warp leaves */
        return;
    const int4 *own = sums + (int64_t)blockIdx.x * tiles;
    long long r = 0, g = 0, b = 0;
    for (int i = threadIdx.x; i < tiles; i += 32) {
        const int4 s = own[i];
        r += s.x;
        g += s.y;
        b += s.z;
    }
    r = warp_sum(r);
    g = warp_sum(g);
    b = warp_sum(b);
    if (threadIdx.x != 0)
        return;
    const int64_t count = (int64_t)size * size;
    of_image image = { 0, 0.0f };
    if (view->step[step] == VMAE_STEP_CONTRAST)
        image.pivot = (int)((2 * r + count) / (2 * count)); /* the mean, rounded half up: so it comes out in double */
    else
        image.offset = lifted_grey(r, g, b, count, view->lift);
    seen[blockIdx.x] = image;
}

/* The place that i stands for: ... 2 1 | 0 1 2 ... n-1 | n-2 ...; n may be 1. */
__device__ __forceinline__ int reflect(int i, int n)
{
    while (i < 0 || i >= n) {
        if (n == 1)
            return 0;
        i = i < 0 ? -i : 2 * (n - 1) - i;
    }
    return i;
}

__device__ __forceinline__ float normalised(int byte, const vmae_view *view, int channel)
{
    const int shown = view->solarise && byte >= VMAE_SOLARISE_THRESHOLD ? 255 - byte : byte;
    return __fsub_rn(__fmul_rn((float)shown, view->scale[channel]), view->shift[channel]);
}

__device__ __forceinline__ int channel_of(unsigned word, int channel)
{
    return (int)(word >> 8 * channel & 255u);
}

/* Four values of a row, from column x on; as one access where the row length allows. */
__device__ __forceinline__ void store_four(float *row, int x, int size, const float (&value)[4])
{
    if (size % 4 == 0) {
        if (x < size)
            store_vector(row + x, value);
        return;
    }
#pragma unroll
    for (int k = 0; k < 4; k++)
        if (x + k < size)
            row[x + k] = value[k];
}

/* A thread's place in a tile: four columns of a row. */
struct place {
    int row, column;
};
__device__ __forceinline__ place place_of(int number)
{
    return { number / (WIDTH / 4), number % (WIDTH / 4) * 4 };
}

constexpr int AROUND_ROWS = FINISH_HEIGHT + 2 * REACH, AROUND_COLUMNS = WIDTH + 2 * REACH;

/* The tile's pixels after all steps, with AROUND_COLUMNS a row; `reach` more on every side. All threads call it. */
__device__ __forceinline__ void take_last_steps(unsigned *around, const unsigned *words, const vmae_view *view,
                                                const tile &t, int reach, int split, of_image image, int size)
{
    const int columns = WIDTH + 2 * reach, count = columns * (FINISH_HEIGHT + 2 * reach), steps = view->steps;
    for (int i = threadIdx.x; i < count; i += THREADS) {
        const int row = i / columns, column = i % columns;
        const int x = reflect(t.x + column - reach, size), y = reflect(t.y + row - reach, size);
        const pixel p = unpack_pixel(words[(t.view * size + y) * size + x]);
        around[row * AROUND_COLUMNS + column] = pack_pixel(take_steps(p, view, split, steps, image));
    }
    __syncthreads();
}

__device__ __forceinline__ void finish_plain(float *images, const unsigned *around, const vmae_view *view,
                                             const tile &t, int size)
{
    const place at = place_of(threadIdx.x);
    const int x = t.x + at.column, y = t.y + at.row;
    if (y >= size)
        return;
    const uint4 word = *reinterpret_cast<const uint4 *>(around + at.row * AROUND_COLUMNS + at.column);
#pragma unroll
    for (int c = 0; c < 3; c++) {
        const float value[4] = { normalised(channel_of(word.x, c), view, c), normalised(channel_of(word.y, c), view, c),
                                 normalised(channel_of(word.z, c), view, c),
                                 normalised(channel_of(word.w, c), view, c) };
        store_four(images + ((t.view * 3 + c) * size + y) * size, x, size, value);
    }
}

/* weight[0] middle + weight[1] (the two beside it) + ..., of values `step` apart. The order of engine/pixels/blur.c. */
__device__ __forceinline__ float blurred(const float *middle, int step, const float *weight)
{
    float sum = __fmul_rn(weight[0], middle[0]);
#pragma unroll
    for (int k = 1; k <= REACH; k++)
        sum = __fadd_rn(sum, __fmul_rn(weight[k], __fadd_rn(middle[-k * step], middle[k * step])));
    return sum;
}

/* Blurs the tile with its surroundings: VMAE_BLUR_PIXELS bytes, which are rounded, then normalised;
 * VMAE_BLUR_RELEASED what is normalised already. plane, across: shared memory. All threads call it. */
__device__ __forceinline__ void finish_blurred(float *images, float (&plane)[AROUND_ROWS * AROUND_COLUMNS],
                                               float (&across)[AROUND_ROWS * WIDTH], const unsigned *around,
                                               const vmae_view *view, const tile &t, int size)
{
    const bool released = view->blur == VMAE_BLUR_RELEASED;
    const place at = place_of(threadIdx.x);
    const int x = t.x + at.column, y = t.y + at.row;
    for (int c = 0; c < 3; c++) {
        for (int i = threadIdx.x; i < AROUND_ROWS * AROUND_COLUMNS; i += THREADS) {
            const int byte = channel_of(around[i], c);
            plane[i] = released ? normalised(byte, view, c) : (float)byte;
        }
        __syncthreads();
        for (int i = threadIdx.x; i < AROUND_ROWS * WIDTH; i += THREADS)
            across[i] = blurred(plane + i / WIDTH * AROUND_COLUMNS + i % WIDTH + REACH, 1, view->across);
        __syncthreads();
        float value[4];
#pragma unroll
        for (int k = 0; k < 4; k++) {
            const float sum = blurred(across + (at.row + REACH) * WIDTH + at.column + k, WIDTH, view->down);
            const float rounded = __fsub_rn(__fadd_rn(sum, 12582912.0f), 12582912.0f); /* half to even */
            value[k] = released ? sum : normalised((int)rounded, view, c);
        }
        if (y < size)
            store_four(images + ((t.view * 3 + c) * size + y) * size, x, size, value);
    }
}

/* images [rows, 3, size, size] from what the kernels above left. A block a tile. */
__global__ void __launch_bounds__(THREADS)
    finish_views_kernel(float *images, const unsigned *words, const of_image *seen, const vmae_view *views, int size)
{
    __shared__ __align__(16) unsigned around[AROUND_ROWS * AROUND_COLUMNS];
    __shared__ float plane[AROUND_ROWS * AROUND_COLUMNS], across[AROUND_ROWS * WIDTH];
    const tile t = tile_of<FINISH_HEIGHT>(size);
    const vmae_view *view = &views[t.view];
    const int split = first_of_image(view);
    const of_image image = split < view->steps ? seen[t.view] : of_image{ 0, 0.0f };
    const bool blurs = view->blur != VMAE_BLUR_NONE;
    take_last_steps(around, words, view, t, blurs ? REACH : 0, split, image, size);
    if (blurs)
        finish_blurred(images, plane, across, around, view, t, size);
    else
        finish_plain(images, around, view, t, size);
}

} // namespace

size_t cuda_augment_scratch(const vmae_backend *be, int64_t rows, int64_t size)
{
    (void)be;
    return word_bytes(rows, size) + (size_t)(rows * cut_tiles(size)) * sizeof(int4) + (size_t)rows * sizeof(of_image);
}

vmae_status cuda_augment(vmae_backend *be, float *images, void *scratch, const void *sources, const vmae_view *views,
                         int64_t rows, int64_t size)
{
    if (rows < 1 || size < 1 || size > 8192 || rows * cut_tiles(size) > 0x7FFFFFFF)
        return vmae_fail(VMAE_EUSER, "augment: %lld views of %lld pixels a side; fewer or smaller ones are possible",
                         (long long)rows, (long long)size);
    unsigned *words = static_cast<unsigned *>(scratch);
    int4 *sums = reinterpret_cast<int4 *>(static_cast<char *>(scratch) + word_bytes(rows, size));
    of_image *seen = reinterpret_cast<of_image *>(sums + rows * cut_tiles(size));
    LAUNCH(cut_views_kernel, (unsigned)(rows * cut_tiles(size)), THREADS, 0, cuda_stream(be), words, sums,
           static_cast<const unsigned char *>(sources), views, (int)size);
    VMAE_TRY(CUDA_LAUNCHED("cut_views_kernel"));
    LAUNCH(see_views_kernel, (unsigned)rows, 32, 0, cuda_stream(be), seen, sums, views, (int)cut_tiles(size),
           (int)size);
    VMAE_TRY(CUDA_LAUNCHED("see_views_kernel"));
    LAUNCH(finish_views_kernel, (unsigned)(rows * finish_tiles(size)), THREADS, 0, cuda_stream(be), images, words, seen,
           views, (int)size);
    return CUDA_LAUNCHED("finish_views_kernel");
}
