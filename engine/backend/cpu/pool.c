/* pool.c -- from tokens to one vector per image: class token, mean, max, generalised mean; and their gradients.
 *
 * A chunk of columns of one image at a time: its running values stay in the first-level cache while the tokens go by.
 */
#include "engine/backend/cpu/fast_math.h"
#include "engine/backend/cpu/rows.h"

enum { POOL_CHUNK = 256 };
#define POOL_EPS 1e-6f

/* ln x for x >= POOL_EPS, relative error < 1e-7 (the fit of Cephes' logf); NaN and infinity give NaN. */
static inline float pool_log(float x)
{
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    const int32_t exponent = (bits - 0x3F3504F3) >> 23; /* the mantissa then lies in [sqrt 1/2, sqrt 2) */
    bits -= exponent * (1 << 23);
    float m;
    memcpy(&m, &bits, sizeof m);
    m -= 1.0f;
    const float e = (float)exponent, z = m * m;
    float q = 7.0376836292e-2f;
    q = q * m - 1.1514610310e-1f;
    q = q * m + 1.1676998740e-1f;
    q = q * m - 1.2420140846e-1f;
    q = q * m + 1.4249322787e-1f;
    q = q * m - 1.6668057665e-1f;
    q = q * m + 2.0000714765e-1f;
    q = q * m - 2.4999993993e-1f;
    q = q * m + 3.3333331174e-1f;
    q = q * m * z - 2.12194440e-4f * e - 0.5f * z;
    return (m + q) + 0.693359375f * e + (x - x);
}

/* max(x, POOL_EPS), but NaN stays NaN: a diverged network must not look healthy here. */
static inline float pool_clamp(float x)
{
    return x < POOL_EPS ? POOL_EPS : x;
}

/* The tokens of one image, columns [from, from + n): token t (1-based) begins at `at` + t d. */
typedef struct pool_view {
    const void *x;
    vmae_type type;
    int64_t at, tokens, d, n;
} pool_view;

static inline const float *pool_token(const pool_view *view, int64_t t, float *buffer)
{
    return row_load(buffer, view->x, view->type, view->at + t * view->d, view->n);
}

static void pool_mean(float *y, const pool_view *view)
{
    float xs[POOL_CHUNK], sum[POOL_CHUNK] = { 0 };
    for (int64_t t = 1; t <= view->tokens; t++) {
        const float *x = pool_token(view, t, xs);
#pragma omp simd
        for (int64_t i = 0; i < view->n; i++)
            sum[i] += x[i];
    }
    const float scale = 1.0f / (float)view->tokens;
    for (int64_t i = 0; i < view->n; i++)
        y[i] = sum[i] * scale;
}

/* The first of equals; the first NaN beats every number. */
static void pool_max(float *y, int32_t *which, const pool_view *view)
{
    float xs[POOL_CHUNK], best[POOL_CHUNK];
    int32_t at[POOL_CHUNK];
    const float *first = pool_token(view, 1, xs);
    for (int64_t i = 0; i < view->n; i++) {
        best[i] = first[i];
        at[i] = 1;
    }
    for (int64_t t = 2; t <= view->tokens; t++) {
        const float *x = pool_token(view, t, xs);
#pragma omp simd
        for (int64_t i = 0; i < view->n; i++) {
            const bool better = x[i] > best[i] || (x[i] != x[i] && best[i] == best[i]);
            best[i] = better ? x[i] : best[i];
            at[i] = better ? (int32_t)t : at[i];
        }
    }
    memcpy(y, best, (size_t)view->n * sizeof *y);
    if (which)
        memcpy(which, at, (size_t)view->n * sizeof *which);
}

/* y = m (mean((c/m)^p))^(1/p) with c = max(x, eps) and m its maximum: no power overflows, and not all of them vanish.
 */
static void pool_gem(float *y, const pool_view *view, float p)
{
    float xs[POOL_CHUNK], top[POOL_CHUNK], sum[POOL_CHUNK] = { 0 };
    for (int64_t i = 0; i < view->n; i++)
        top[i] = POOL_EPS;
    for (int64_t t = 1; t <= view->tokens; t++) {
        const float *x = pool_token(view, t, xs);
#pragma omp simd
        for (int64_t i = 0; i < view->n; i++)
            top[i] = x[i] < top[i] ? top[i] : x[i];
    }
#pragma omp simd
    for (int64_t i = 0; i < view->n; i++)
        top[i] = pool_log(top[i]);
    for (int64_t t = 1; t <= view->tokens; t++) {
        const float *x = pool_token(view, t, xs);
#pragma omp simd
        for (int64_t i = 0; i < view->n; i++)
            sum[i] += fast_exp(p * (pool_log(pool_clamp(x[i])) - top[i]));
    }
    const float scale = 1.0f / (float)view->tokens;
#pragma omp simd
    for (int64_t i = 0; i < view->n; i++)
        y[i] = fast_exp(top[i] + pool_log(sum[i] * scale) / p);
}

CPU_KERNEL vmae_status cpu_pool(vmae_backend *be, float *y, int32_t *which, const void *x, const float *p,
                                vmae_pool kind, vmae_type type, int64_t batch, int64_t tokens, int64_t d)
{
    if (tokens < 1 && kind != VMAE_POOL_CLS)
        return vmae_fail(VMAE_EUSER,
                         "pool: there are no patch tokens to pool; lower mask_ratio or pool the class token");
#pragma omp parallel for schedule(static) num_threads(be->threads) if (batch * tokens * d >= PARALLEL_MIN)
    for (int64_t b = 0; b < batch; b++)
        for (int64_t from = 0; from < d; from += POOL_CHUNK) {
            const pool_view view = { x, type, b * (1 + tokens) * d + from, tokens, d, min_i64(POOL_CHUNK, d - from) };
            float *out = y + b * d + from, xs[POOL_CHUNK];
            switch (kind) {
            case VMAE_POOL_MEAN: pool_mean(out, &view); break;
            case VMAE_POOL_MAX: pool_max(out, which ? which + b * d + from : NULL, &view); break;
            case VMAE_POOL_GEM: pool_gem(out, &view, p[0]); break;
            case VMAE_POOL_CLS: memcpy(out, pool_token(&view, 0, xs), (size_t)view.n * sizeof *out); break;
            }
        }
    return VMAE_OK;
}

/* With l = ln c - ln y: dy/dx = e^(p l) y / c / tokens where x >= eps, and dy/dp = y/p mean(e^(p l) l), because
 * mean(e^(p l)) = 1. g = the gradient of one token; share[i] += e^(p l) l. */
static void pool_gem_token(float *g, float *share, const float *x, const float *dy, const float *y, const float *log_y,
                           float p, float scale, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        const float c = pool_clamp(x[i]), l = pool_log(c) - log_y[i], power = fast_exp(p * l);
        g[i] = x[i] < POOL_EPS ? 0.0f : dy[i] * scale * power * (y[i] / c);
        share[i] += power * l;
    }
}

/* g = the gradient of token t, n values. */
static void pool_token_grad(float *g, const float *dy, const int32_t *which, vmae_pool kind, int64_t t, int64_t tokens,
                            int64_t n)
{
    const float scale = kind == VMAE_POOL_CLS ? (t == 0 ? 1.0f : 0.0f) : t == 0 ? 0.0f : 1.0f / (float)tokens;
    if (kind == VMAE_POOL_MAX) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            g[i] = which[i] == (int32_t)t ? dy[i] : 0.0f;
    } else if (scale == 0.0f) {
        memset(g, 0, (size_t)n * sizeof *g);
    } else {
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            g[i] = dy[i] * scale;
    }
}

/* dx = g (+ add), n values from element `at` on. */
static void pool_write(void *dx, const float *g, const void *add, vmae_type type, int64_t at, int64_t n)
{
    float as[POOL_CHUNK], os[POOL_CHUNK];
    if (!add) {
        row_store(dx, type, at, g, n);
        return;
    }
    const float *a = row_load(as, add, type, at, n);
    float *out = row_target(os, dx, type, at);
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        out[i] = g[i] + a[i];
    row_store(dx, type, at, out, n);
}

CPU_KERNEL vmae_status cpu_pool_grad(vmae_backend *be, void *dx, float *dp, float *scratch, const float *dy,
                                     const void *x, const float *y, const int32_t *which, const float *p,
                                     const void *add, vmae_pool kind, vmae_type type, int64_t batch, int64_t tokens,
                                     int64_t d, bool accumulate)
{
    const bool gem = kind == VMAE_POOL_GEM;
#pragma omp parallel for schedule(static) num_threads(be->threads) if (batch * (1 + tokens) * d >= PARALLEL_MIN)
    for (int64_t b = 0; b < batch; b++) {
        double dp_image = 0.0;
        for (int64_t from = 0; from < d; from += POOL_CHUNK) {
            const pool_view view = { x, type, b * (1 + tokens) * d + from, tokens, d, min_i64(POOL_CHUNK, d - from) };
            const int64_t n = view.n, at = b * d + from;
            float g[POOL_CHUNK], xs[POOL_CHUNK], log_y[POOL_CHUNK], share[POOL_CHUNK] = { 0 };
            if (gem) {
#pragma omp simd
                for (int64_t i = 0; i < n; i++)
                    log_y[i] = pool_log(y[at + i]);
            }
            for (int64_t t = 0; t <= tokens; t++) {
                if (gem && t > 0)
                    pool_gem_token(g, share, pool_token(&view, t, xs), dy + at, y + at, log_y, p[0],
                                   1.0f / (float)tokens, n);
                else
                    pool_token_grad(g, dy + at, which ? which + at : NULL, kind, t, tokens, n);
                pool_write(dx, g, add, type, view.at + t * d, n);
            }
            if (gem)
                for (int64_t i = 0; i < n; i++)
                    dp_image += (double)dy[at + i] * y[at + i] * share[i];
        }
        if (gem)
            scratch[b] = (float)(dp_image / ((double)p[0] * (double)tokens));
    }
    if (gem && dp) {
        double total = 0.0; /* serial: the same bits for any number of threads */
        for (int64_t b = 0; b < batch; b++)
            total += scratch[b];
        dp[0] = accumulate ? dp[0] + (float)total : (float)total;
    }
    return VMAE_OK;
}
