/* attention.c -- multi-head self-attention and its gradient, one (image, head) a task.
 *
 * A head's q, k, v are gathered (and widened) into small f32 panels that stay in the second-level cache; the scores
 * exist for QUERIES query rows at a time, so memory grows with tokens, not with their square. All seven products run
 * through one register-blocked kernel, block_product(). Panels are padded with zeros to whole vectors, so it needs no
 * masks. */
#include "engine/backend/cpu/fast_math.h"
#include "engine/backend/cpu/rows.h"

#if defined(__AVX512F__)
enum { LANES = 16, TILE_ROWS = 8 }; /* a tile of 8 x 2 vectors: 16 sums hide the latency of two FMA units */
#elif defined(__AVX__)
enum { LANES = 8, TILE_ROWS = 4 };
#else
enum { LANES = 4, TILE_ROWS = 4 };
#endif
enum { QUERIES = 64, FETCH_BYTES = 3 << 19 };

typedef float vec __attribute__((vector_size(LANES * sizeof(float)), may_alias));
typedef float quad __attribute__((vector_size(16), may_alias));
typedef int32_t quad_index __attribute__((vector_size(16)));

/* What a product reads as its left side: element (r, k) is at[r * row + k * k_step], so a transpose costs nothing. */
typedef struct left_side {
    const float *at;
    int64_t row, k_step;
} left_side;

/* c[rows, vectors] (+)= a b over `depth`; rows and vectors are constants where it is inlined, so `sum` lives in
 * registers. */
static inline __attribute__((always_inline)) void tile_product(const int rows, const int vectors, float *restrict c,
                                                               int64_t c_row, const float *restrict a, int64_t a_row,
                                                               int64_t a_step, const float *restrict b, int64_t b_row,
                                                               int64_t depth, bool add)
{
    vec sum[TILE_ROWS][2];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++)
            sum[r][v] = (vec){ 0 };
    for (int64_t k = 0; k < depth; k++) {
        vec right[2];
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++)
            right[v] = *(const vec *)(b + k * b_row + v * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            const float left = a[r * a_row + k * a_step];
#pragma GCC unroll 2
            for (int v = 0; v < vectors; v++)
                sum[r][v] += left * right[v];
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) {
            vec *to = (vec *)(c + r * c_row + v * LANES);
            if (add)
                sum[r][v] += *to;
            *to = sum[r][v];
        }
}

#define TILE(height, width)                                                                                            \
    tile_product(height, width, c + first * c_row + column, c_row, a.at + first * a.row, a.row, a.k_step, b + column,  \
                 b_row, depth, add)
#define TILE_CASE(height)                                                                                              \
    case height:                                                                                                       \
        if (wide)                                                                                                      \
            TILE(height, 2);                                                                                           \
        else                                                                                                           \
            TILE(height, 1);                                                                                           \
        break

/* c[rows, columns] = a b, or += with `add`. columns: a multiple of LANES; the rows of b and c begin on a vector
 * boundary. */
static void block_product(float *c, int64_t c_row, left_side a, const float *b, int64_t b_row, int64_t rows,
                          int64_t columns, int64_t depth, bool add)
{
    const int64_t tiles = (rows + TILE_ROWS - 1) / TILE_ROWS; /* of even height: 17 rows are 6 + 6 + 5, not 8 + 8 + 1 */
    for (int64_t column = 0; column < columns; column += 2 * LANES) {
        const bool wide = columns - column > LANES;
        for (int64_t tile = 0; tile < tiles; tile++) {
            const int64_t first = rows * tile / tiles;
            switch (rows * (tile + 1) / tiles - first) {
                TILE_CASE(1);
                TILE_CASE(2);
                TILE_CASE(3);
                TILE_CASE(4);
#if defined(__AVX512F__)
                TILE_CASE(5);
                TILE_CASE(6);
                TILE_CASE(7);
                TILE_CASE(8);
#endif
            default: break;
            }
        }
    }
}

/* ---- panels ---- */

static inline int64_t whole_vectors(int64_t n)
{
    return (n + LANES - 1) / LANES * LANES;
}

/* Row stride of a panel of n columns: whole vectors, and no multiple of 256 bytes, which would use a quarter of the
 * cache's sets. */
static inline int64_t panel_stride(int64_t n)
{
    const int64_t stride = whole_vectors(n);
    return stride % 64 ? stride : stride + LANES;
}

/* panel [tokens, width], zeros up to whole vectors, from rows of x that are `step` elements apart. */
static void panel_load(float *panel, int64_t stride, const void *x, vmae_type type, int64_t offset, int64_t step,
                       int64_t tokens, int64_t width)
{
    const int64_t padded = whole_vectors(width);
    for (int64_t t = 0; t < tokens; t++) {
        float *row = panel + t * stride;
        const float *from = row_load(row, x, type, offset + t * step, width);
        if (from != row) {
#pragma omp simd
            for (int64_t i = 0; i < width; i++) /* short rows: a call of memcpy costs more */
                row[i] = from[i];
        }
        for (int64_t i = width; i < padded; i++)
            row[i] = 0.0f;
    }
}

/* to [width, tokens] = the transpose of panel [tokens, width], zeros up to whole vectors of tokens. In squares of 4
 * x 4. */
static void panel_transpose(float *restrict to, int64_t to_stride, const float *restrict panel, int64_t stride,
                            int64_t tokens, int64_t width)
{
    const int64_t padded = whole_vectors(tokens);
    for (int64_t t = 0; t < padded; t += 4) {
        quad row[4] = { { 0 }, { 0 }, { 0 }, { 0 } };
        for (int64_t i = 0; i < width; i += 4) { /* past the width the panel holds zeros, and `to` has room for them */
            for (int64_t r = 0; r < 4; r++)
                if (t + r < tokens)
                    row[r] = *(const quad *)(panel + (t + r) * stride + i);
            const quad low01 = __builtin_shuffle(row[0], row[1], (quad_index){ 0, 4, 1, 5 });
            const quad high01 = __builtin_shuffle(row[0], row[1], (quad_index){ 2, 6, 3, 7 });
            const quad low23 = __builtin_shuffle(row[2], row[3], (quad_index){ 0, 4, 1, 5 });
            const quad high23 = __builtin_shuffle(row[2], row[3], (quad_index){ 2, 6, 3, 7 });
            float *at = to + i * to_stride + t;
            *(quad *)at = __builtin_shuffle(low01, low23, (quad_index){ 0, 1, 4, 5 });
            *(quad *)(at + to_stride) = __builtin_shuffle(low01, low23, (quad_index){ 2, 3, 6, 7 });
            *(quad *)(at + 2 * to_stride) = __builtin_shuffle(high01, high23, (quad_index){ 0, 1, 4, 5 });
            *(quad *)(at + 3 * to_stride) = __builtin_shuffle(high01, high23, (quad_index){ 2, 3, 6, 7 });
        }
    }
}

/* Rows of x, `step` elements apart, from a panel, each times its factor (NULL: 1). */
static void panel_store(void *x, vmae_type type, int64_t offset, int64_t step, float *panel, int64_t stride,
                        int64_t tokens, int64_t width, const float *factor)
{
    for (int64_t t = 0; t < tokens; t++) {
        float *row = panel + t * stride;
        if (factor) {
#pragma omp simd
            for (int64_t i = 0; i < width; i++)
                row[i] *= factor[t];
        }
        row_store(x, type, offset + t * step, row, width);
    }
}

/* ---- the shape of a call and a thread's panels ---- */

typedef struct attention_shape {
    vmae_type type;
    int64_t tasks, tokens, heads, width;
    int64_t key_columns;              /* tokens in whole vectors */
    int64_t width_columns;            /* width in whole vectors */
    int64_t key_stride, width_stride; /* rows of [., tokens] and [., width] panels */
    float scale;
} attention_shape;

static attention_shape attention_shape_of(const vmae_attention_shape *of)
{
    return (attention_shape){ .type = of->type,
                              .tasks = of->batch * of->heads,
                              .tokens = of->tokens,
                              .heads = of->heads,
                              .width = of->width,
                              .key_columns = whole_vectors(of->tokens),
                              .width_columns = whole_vectors(of->width),
                              .key_stride = panel_stride(of->tokens),
                              .width_stride = panel_stride(of->width),
                              .scale = 1.0f / sqrtf((float)of->width) };
}

/* Where head `head` of image `image` begins in qkv (+ which * heads * width for q, k, v) and in out. */
static inline int64_t qkv_offset(const attention_shape *s, int64_t image, int64_t which, int64_t head)
{
    return ((image * s->tokens * 3 + which) * s->heads + head) * s->width;
}

static inline int64_t out_offset(const attention_shape *s, int64_t image, int64_t head)
{
    return (image * s->tokens * s->heads + head) * s->width;
}

static inline float lanes_max(const float lanes[LANES])
{
    float top[4] = { lanes[0], lanes[1], lanes[2], lanes[3] };
    for (int64_t from = 4; from < LANES; from += 4)
        for (int64_t i = 0; i < 4; i++)
            top[i] = lanes[from + i] > top[i] ? lanes[from + i] : top[i];
    top[0] = top[2] > top[0] ? top[2] : top[0];
    top[1] = top[3] > top[1] ? top[3] : top[1];
    return top[1] > top[0] ? top[1] : top[0];
}

static inline float lanes_sum(const float lanes[LANES])
{
    quad sum = *(const quad *)lanes;
    for (int64_t from = 4; from < LANES; from += 4)
        sum += *(const quad *)(lanes + from);
    return (sum[0] + sum[2]) + (sum[1] + sum[3]);
}

/* The rows of one head are far apart, so the hardware does not foresee them. Where an image's heads together fit the
 * second-level cache, they are fetched in one stream before the first; where they do not, the rows of the next head are
 * fetched while one is computed. */
static inline bool fetch_whole(const attention_shape *s, int64_t tensors)
{
    return (size_t)(tensors * s->tokens * s->heads * s->width) * vmae_type_size(s->type) <= FETCH_BYTES;
}

static inline void prefetch(const void *x, vmae_type type, int64_t offset, int64_t count)
{
    const char *from = row_at(x, type, offset), *to = row_at(x, type, offset + count);
    for (; from < to; from += 64)
        __builtin_prefetch(from, 0, 2);
}

static inline void prefetch_token(const void *qkv, const attention_shape *s, int64_t task, int64_t token)
{
    for (int64_t which = 0; which < 3; which++)
        prefetch(qkv, s->type, qkv_offset(s, task / s->heads, which, task % s->heads) + token * 3 * s->heads * s->width,
                 s->width);
}

/* row[0, padded) = e^(scale (row - max)); returns the sum and sets *max. What is beyond `count` counts as -infinity. */
static float softmax_row(float *row, int64_t count, int64_t padded, float scale, float *max)
{
    float lanes[LANES] ALIGNED, sums[LANES] ALIGNED = { 0 };
    for (int64_t i = count; i < padded; i++)
        row[i] = -INFINITY;
    memcpy(lanes, row, sizeof lanes);
    for (int64_t i = LANES; i < padded; i += LANES)
        for (int64_t lane = 0; lane < LANES; lane++)
            lanes[lane] = row[i + lane] > lanes[lane] ? row[i + lane] : lanes[lane];
    const float top = lanes_max(lanes);
    for (int64_t i = 0; i < padded; i += LANES)
        for (int64_t lane = 0; lane < LANES; lane++) {
            const float value = fast_exp_below_88((row[i + lane] - top) * scale);
            row[i + lane] = value;
            sums[lane] += value;
        }
    *max = top * scale;
    return lanes_sum(sums);
}

/* ---- forward ---- */

static size_t forward_floats(const attention_shape *s)
{
    return (size_t)(2 * s->tokens * s->width_stride + s->width_columns * s->key_stride + QUERIES * s->key_stride +
                    QUERIES * s->width_stride);
}

static void attention_head(void *out, float *lse, const void *qkv, const attention_shape *s, int64_t task,
                           float *panels)
{
    const int64_t image = task / s->heads, head = task % s->heads;
    const int64_t step = 3 * s->heads * s->width;
    const bool whole = fetch_whole(s, 3);
    float *rows = panels, *value = rows + s->tokens * s->width_stride, *keys = value + s->tokens * s->width_stride;
    float *score = keys + s->width_columns * s->key_stride, *result = score + QUERIES * s->key_stride;

    if (whole && head == 0)
        prefetch(qkv, s->type, qkv_offset(s, image, 0, 0), s->tokens * step);
    panel_load(rows, s->width_stride, qkv, s->type, qkv_offset(s, image, 1, head), step, s->tokens, s->width);
    panel_transpose(keys, s->key_stride, rows, s->width_stride, s->tokens, s->width);
    panel_load(rows, s->width_stride, qkv, s->type, qkv_offset(s, image, 0, head), step, s->tokens, s->width);
    panel_load(value, s->width_stride, qkv, s->type, qkv_offset(s, image, 2, head), step, s->tokens, s->width);

    for (int64_t first = 0; first < s->tokens; first += QUERIES) {
        const int64_t count = min_i64(QUERIES, s->tokens - first);
        float inverse[QUERIES];
        const left_side query = { rows + first * s->width_stride, s->width_stride, 1 },
                        probability = { score, s->key_stride, 1 };
        block_product(score, s->key_stride, query, keys, s->key_stride, count, s->key_columns, s->width, false);
        for (int64_t r = 0; r < count; r++) {
            float max;
            const float sum = softmax_row(score + r * s->key_stride, s->tokens, s->key_columns, s->scale, &max);
            inverse[r] = 1.0f / sum;
            if (!whole && task + 1 < s->tasks)
                prefetch_token(qkv, s, task + 1, first + r);
            if (lse)
                lse[task * s->tokens + first + r] = max + logf(sum);
        }
        block_product(result, s->width_stride, probability, value, s->width_stride, count, s->width_columns, s->tokens,
                      false);
        panel_store(out, s->type, out_offset(s, image, head) + first * s->heads * s->width, s->heads * s->width, result,
                    s->width_stride, count, s->width, inverse);
    }
}

CPU_KERNEL vmae_status cpu_attention_prepare(vmae_backend *be, const vmae_attention_shape *shape, bool grad,
                                             size_t *workspace)
{
    (void)be, (void)shape, (void)grad;
    *workspace = 0; /* panels a thread: cpu_scratch() */
    return VMAE_OK;
}

CPU_KERNEL vmae_status cpu_attention(vmae_backend *be, void *out, float *lse, void *workspace, const void *qkv,
                                     const vmae_attention_shape *of)
{
    (void)workspace;
    const attention_shape shape = attention_shape_of(of);
    const size_t floats = forward_floats(&shape);
    float *scratch = cpu_scratch((size_t)be->threads * floats * sizeof(float));
    if (!scratch)
        return VMAE_ENOMEM;
#pragma omp parallel for schedule(static)                                                                              \
    num_threads(be->threads) if (of->batch * of->heads * of->tokens * of->tokens >= PARALLEL_MIN)
    for (int64_t task = 0; task < of->batch * of->heads; task++)
        attention_head(out, lse, qkv, &shape, task, scratch + (size_t)omp_get_thread_num() * floats);
    return VMAE_OK;
}

/* ---- gradient ---- */

typedef struct grad_panels {
    float *query, *key, *value, *dout;  /* [tokens, width] */
    float *key_columns, *value_columns; /* [width, tokens] */
    float *dkey, *dvalue;               /* [tokens, width] */
    float *probability, *dscore;        /* [QUERIES, tokens] */
    float *dquery;                      /* [QUERIES, width] */
} grad_panels;

static size_t grad_floats(const attention_shape *s)
{
    return (size_t)(6 * s->tokens * s->width_stride + 2 * s->width_columns * s->key_stride +
                    2 * QUERIES * s->key_stride + QUERIES * s->width_stride);
}

static grad_panels grad_panels_at(float *at, const attention_shape *s)
{
    const int64_t rows = s->tokens * s->width_stride, columns = s->width_columns * s->key_stride;
    grad_panels p = { .query = at,
                      .key = at + rows,
                      .value = at + 2 * rows,
                      .dout = at + 3 * rows,
                      .dkey = at + 4 * rows,
                      .dvalue = at + 5 * rows };
    p.key_columns = at + 6 * rows;
    p.value_columns = p.key_columns + columns;
    p.probability = p.value_columns + columns;
    p.dscore = p.probability + QUERIES * s->key_stride;
    p.dquery = p.dscore + QUERIES * s->key_stride;
    return p;
}

/* delta = dout . out: what the softmax's normalisation takes off every dP of a query. */
static float row_delta(const float *dout, const void *out, vmae_type type, int64_t offset, int64_t width)
{
    float delta = 0.0f;
    for (int64_t from = 0; from < width; from += ROW_CHUNK) {
        float buffer[ROW_CHUNK] ALIGNED;
        const int64_t n = min_i64(ROW_CHUNK, width - from);
        const float *o = row_load(buffer, out, type, offset + from, n);
#pragma omp simd reduction(+ : delta)
        for (int64_t i = 0; i < n; i++)
            delta += dout[from + i] * o[i];
    }
    return delta;
}

/* probability: scale s - lse under e; dscore: dP -> P (dP - delta) scale. */
static void score_grad_row(float *restrict probability, float *restrict dscore, int64_t padded, float scale, float lse,
                           float delta)
{
    for (int64_t i = 0; i < padded; i += LANES)
        for (int64_t lane = 0; lane < LANES; lane++) {
            const float p = fast_exp(probability[i + lane] * scale - lse);
            probability[i + lane] = p;
            dscore[i + lane] = p * (dscore[i + lane] - delta) * scale;
        }
}

static void attention_head_grad(void *dqkv, const void *dout, const void *qkv, const void *out, const float *lse,
                                const attention_shape *s, int64_t task, const grad_panels *p)
{
    const int64_t image = task / s->heads, head = task % s->heads;
    const int64_t step = 3 * s->heads * s->width, out_step = s->heads * s->width, out_at = out_offset(s, image, head);
    const int64_t ks = s->key_stride, ws = s->width_stride;
    const bool whole = fetch_whole(s, 8);
    if (whole && head == 0) {
        prefetch(qkv, s->type, qkv_offset(s, image, 0, 0), s->tokens * step);
        prefetch(dqkv, s->type, qkv_offset(s, image, 0, 0), s->tokens * step);
        prefetch(dout, s->type, out_at, s->tokens * out_step);
        prefetch(out, s->type, out_at, s->tokens * out_step);
    }
    panel_load(p->query, ws, qkv, s->type, qkv_offset(s, image, 0, head), step, s->tokens, s->width);
    panel_load(p->key, ws, qkv, s->type, qkv_offset(s, image, 1, head), step, s->tokens, s->width);
    panel_load(p->value, ws, qkv, s->type, qkv_offset(s, image, 2, head), step, s->tokens, s->width);
    panel_load(p->dout, ws, dout, s->type, out_at, out_step, s->tokens, s->width);
    panel_transpose(p->key_columns, ks, p->key, ws, s->tokens, s->width);
    panel_transpose(p->value_columns, ks, p->value, ws, s->tokens, s->width);

    for (int64_t first = 0; first < s->tokens; first += QUERIES) {
        const int64_t count = min_i64(QUERIES, s->tokens - first);
        const float *query = p->query + first * ws, *gradient = p->dout + first * ws;
        block_product(p->probability, ks, (left_side){ query, ws, 1 }, p->key_columns, ks, count, s->key_columns,
                      s->width, false);
        block_product(p->dscore, ks, (left_side){ gradient, ws, 1 }, p->value_columns, ks, count, s->key_columns,
                      s->width, false);
        for (int64_t r = 0; r < count; r++) {
            const int64_t at = (first + r) * out_step;
            score_grad_row(p->probability + r * ks, p->dscore + r * ks, s->key_columns, s->scale,
                           lse[task * s->tokens + first + r],
                           row_delta(gradient + r * ws, out, s->type, out_at + at, s->width));
            if (!whole && task + 1 < s->tasks) {
                const int64_t next = out_offset(s, (task + 1) / s->heads, (task + 1) % s->heads) + at;
                prefetch_token(qkv, s, task + 1, first + r);
                prefetch(dout, s->type, next, s->width);
                prefetch(out, s->type, next, s->width);
            }
        }
        /* The padding of these rows is never read: keys are rows or depth from here on. */
        block_product(p->dquery, ws, (left_side){ p->dscore, ks, 1 }, p->key, ws, count, s->width_columns, s->tokens,
                      false);
        block_product(p->dvalue, ws, (left_side){ p->probability, 1, ks }, gradient, ws, s->tokens, s->width_columns,
                      count, first > 0);
        block_product(p->dkey, ws, (left_side){ p->dscore, 1, ks }, query, ws, s->tokens, s->width_columns, count,
                      first > 0);
        panel_store(dqkv, s->type, qkv_offset(s, image, 0, head) + first * step, step, p->dquery, ws, count, s->width,
                    NULL);
    }
    panel_store(dqkv, s->type, qkv_offset(s, image, 1, head), step, p->dkey, ws, s->tokens, s->width, NULL);
    panel_store(dqkv, s->type, qkv_offset(s, image, 2, head), step, p->dvalue, ws, s->tokens, s->width, NULL);
}

CPU_KERNEL vmae_status cpu_attention_grad(vmae_backend *be, void *dqkv, void *workspace, const void *dout,
                                          const void *qkv, const void *out, const float *lse,
                                          const vmae_attention_shape *of)
{
    (void)workspace;
    const attention_shape shape = attention_shape_of(of);
    const size_t floats = grad_floats(&shape);
    float *scratch = cpu_scratch((size_t)be->threads * floats * sizeof(float));
    if (!scratch)
        return VMAE_ENOMEM;
#pragma omp parallel for schedule(static)                                                                              \
    num_threads(be->threads) if (of->batch * of->heads * of->tokens * of->tokens >= PARALLEL_MIN)
    for (int64_t task = 0; task < of->batch * of->heads; task++) {
        const grad_panels panels = grad_panels_at(scratch + (size_t)omp_get_thread_num() * floats, &shape);
        attention_head_grad(dqkv, dout, qkv, out, lse, &shape, task, &panels);
    }
    return VMAE_OK;
}
