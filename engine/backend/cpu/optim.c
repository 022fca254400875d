/* optim.c -- one pass over the flat parameters: norms, AdamW, SGD, LARS.
 *
 * Work is cut by places in the flat buffer, not by tensors, so that threads get equal shares whatever the tensors'
 * sizes. What is summed is summed in parts of a place that depends on the segments alone: the same bits for any number
 * of threads. */
#include "engine/backend/cpu/rows.h"

enum { OPTIM_CHUNK = 4096 }; /* floats: the values just written are still in the cache when their bf16 copy is made */

/* What to do with floats [from, from + n) of segment s. */
typedef void optim_work(const void *job, const vmae_segment *segment, int64_t s, int64_t from, int64_t n);

/* The first segment that ends behind `at`; count if there is none. */
static int64_t optim_find(const vmae_segment *segments, int64_t count, int64_t at)
{
    int64_t low = 0, high = count;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (segments[middle].offset + segments[middle].count > at)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static int64_t optim_end(const vmae_segment *segments, int64_t count)
{
    return segments[count - 1].offset + segments[count - 1].count;
}

static inline void optim_each(vmae_backend *be, const vmae_segment *segments, int64_t count, optim_work *work,
                              const void *job)
{
    if (count == 0)
        return;
    const int64_t base = segments[0].offset, end = optim_end(segments, count);
    const int64_t chunks = (end - base + OPTIM_CHUNK - 1) / OPTIM_CHUNK;
#pragma omp parallel for schedule(static) num_threads(be->threads) if (end - base >= PARALLEL_MIN)
    for (int64_t chunk = 0; chunk < chunks; chunk++) {
        const int64_t from = base + chunk * OPTIM_CHUNK, to = min_i64(from + OPTIM_CHUNK, end);
        for (int64_t s = optim_find(segments, count, from); s < count && segments[s].offset < to; s++) {
            const int64_t first = segments[s].offset > from ? segments[s].offset : from;
            const int64_t last = min_i64(segments[s].offset + segments[s].count, to);
            if (first < last)
                work(job, &segments[s], s, first, last - first);
        }
    }
}

/* ---- sums of squares ---- */

/* Where part `part` of `count` begins. */
static int64_t optim_part(const vmae_segment *segments, int64_t count, int64_t part)
{
    return segments[0].offset + (optim_end(segments, count) - segments[0].offset) * part / count;
}

/* param may be NULL. a[] = sum x^2, b[] = sum param^2 with x = scale grad + decay param. */
typedef struct optim_squares {
    const float *grad, *param;
    float scale;
    double *a, *b;
} optim_squares;

static double optim_square_sum(const float *x, int64_t n)
{
    double sum = 0.0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sum;
}

static double optim_decayed_square_sum(const float *grad, const float *param, float scale, float decay, int64_t n)
{
    double sum = 0.0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) {
        const float g = scale * grad[i] + decay * param[i];
        sum += (double)g * (double)g;
    }
    return sum;
}

/* There are as many parts as segments. Walking along the buffer either the part or the segment advances, so that part +
 * segment names a piece: 2 * count places hold all of them. */
static void optim_sum_pieces(vmae_backend *be, const optim_squares *sums, const vmae_segment *segments, int64_t count)
{
#pragma omp parallel for schedule(static)                                                                              \
    num_threads(be->threads) if (optim_end(segments, count) - segments[0].offset >= PARALLEL_MIN)
    for (int64_t part = 0; part < count; part++) {
        const int64_t from = optim_part(segments, count, part), to = optim_part(segments, count, part + 1);
        for (int64_t s = optim_find(segments, count, from); s < count && segments[s].offset < to; s++) {
            const int64_t first = segments[s].offset > from ? segments[s].offset : from;
            const int64_t n = min_i64(segments[s].offset + segments[s].count, to) - first;
            if (!sums->param) {
                sums->a[part + s] = optim_square_sum(sums->grad + first, n);
            } else if (segments[s].matrix) {
                sums->a[part + s] = optim_decayed_square_sum(sums->grad + first, sums->param + first, sums->scale,
                                                             segments[s].weight_decay, n);
                sums->b[part + s] = optim_square_sum(sums->param + first, n);
            }
        }
    }
}

/* The sum over segment s: its pieces in order. *part: where the walk stands; 0 before segment 0. */
static double optim_segment_sum(const double *pieces, const vmae_segment *segments, int64_t count, int64_t s,
                                int64_t *part)
{
    const int64_t from = segments[s].offset, to = from + segments[s].count;
    double sum = 0.0;
    if (from == to)
        return sum;
    while (optim_part(segments, count, *part + 1) <= from)
        ++*part;
    for (int64_t q = *part; q < count && optim_part(segments, count, q) < to; q++)
        sum += optim_part(segments, count, q + 1) > from ? pieces[q + s] : 0.0;
    return sum;
}

/* The pieces of two sums: 2 * count places each. */
CPU_KERNEL size_t cpu_optim_scratch(const vmae_segment *segments, int64_t count)
{
    (void)segments;
    return (size_t)(4 * count) * sizeof(double);
}

CPU_KERNEL vmae_status cpu_norms(vmae_backend *be, float *norm, void *scratch, const float *x,
                                 const vmae_segment *segments, int64_t count)
{
    double *squares = scratch;
    const optim_squares sums = { .grad = x, .a = squares };
    double total = 0.0;
    if (count > 0)
        optim_sum_pieces(be, &sums, segments, count);
    for (int64_t s = 0, part = 0; s < count; s++) {
        const double sum = optim_segment_sum(squares, segments, count, s, &part);
        norm[1 + s] = (float)sqrt(sum);
        total += sum;
    }
    norm[0] = (float)sqrt(total);
    return VMAE_OK;
}

/* By what every gradient is multiplied; norm0: of the gradients as they lie. */
static float optim_scale(const vmae_optim_step *step, float norm0)
{
    const double scale = (double)step->scale, norm = (double)norm0 * scale;
    return (float)(step->clip_grad > 0.0f ? scale * fmin(1.0, (double)step->clip_grad / (norm + 1e-6)) : scale);
}

/* ---- AdamW ---- */

typedef struct optim_adamw {
    float *param, *m, *v;
    vmae_bf16 *copy;
    const float *grad;
    float scale, beta1, beta2, rest1, rest2; /* rest = 1 - beta */
    float root;                              /* 1 / sqrt(1 - beta2^t) */
    double bias1;                            /* 1 - beta1^t, before it is rounded: step->bias1 is for GPUs */
    float eps;
    double lr;
} optim_adamw;

static void optim_adamw_piece(const void *job, const vmae_segment *segment, int64_t s, int64_t from, int64_t n)
{
    (void)s;
    const optim_adamw a = *(const optim_adamw *)job;
    const double lr = a.lr * (double)segment->lr_scale;
    const float keep = (float)(1.0 - lr * (double)segment->weight_decay), rate = (float)(lr / a.bias1);
    float *p = a.param + from, *m = a.m + from, *v = a.v + from;
    const float *grad = a.grad + from;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        const float g = a.scale * grad[i];
        m[i] = a.beta1 * m[i] + a.rest1 * g;
        v[i] = a.beta2 * v[i] + a.rest2 * (g * g);
        p[i] = p[i] * keep - rate * m[i] / (sqrtf(v[i]) * a.root + a.eps);
    }
    if (a.copy)
        narrow(a.copy + from, p, n);
}

CPU_KERNEL vmae_status cpu_adamw(vmae_backend *be, float *param, vmae_bf16 *copy, float *m, float *v, const float *grad,
                                 const float *norm, const vmae_segment *segments, int64_t count,
                                 const vmae_optim_step *step)
{
    if (!isfinite(norm[0]))
        return VMAE_OK;
    const double beta1 = (double)step->beta1, beta2 = (double)step->beta2;
    const optim_adamw job = {
        .param = param,
        .m = m,
        .v = v,
        .copy = copy,
        .grad = grad,
        .scale = optim_scale(step, norm[0]),
        .beta1 = step->beta1,
        .beta2 = step->beta2,
        .rest1 = (float)(1.0 - beta1),
        .rest2 = (float)(1.0 - beta2),
        .root = step->root2,
        .bias1 = 1.0 - pow(beta1, (double)step->step),
        .eps = step->eps,
        .lr = (double)step->lr,
    };
    optim_each(be, segments, count, optim_adamw_piece, &job);
    return VMAE_OK;
}

/* ---- SGD ---- */

typedef struct optim_sgd {
    float *param, *buf;
    vmae_bf16 *copy;
    const float *grad;
    float scale, momentum, lr;
    bool first, nesterov;
} optim_sgd;

static void optim_sgd_piece(const void *job, const vmae_segment *segment, int64_t s, int64_t from, int64_t n)
{
    (void)s;
    const optim_sgd a = *(const optim_sgd *)job;
    const float lr = a.lr * segment->lr_scale, decay = segment->weight_decay;
    float *p = a.param + from, *buf = a.buf + from;
    const float *grad = a.grad + from;
    if (a.first) /* buf holds nothing yet, whatever its bytes say */
        memset(buf, 0, (size_t)n * sizeof *buf);
    /* p -= lr (own g + inertia buf): both forms in one loop */
    const float own = a.nesterov ? 1.0f : 0.0f, inertia = a.nesterov ? a.momentum : 1.0f;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        const float g = a.scale * grad[i] + decay * p[i];
        buf[i] = a.momentum * buf[i] + g;
        p[i] -= lr * (own * g + inertia * buf[i]);
    }
    if (a.copy)
        narrow(a.copy + from, p, n);
}

CPU_KERNEL vmae_status cpu_sgd(vmae_backend *be, float *param, vmae_bf16 *copy, float *buf, const float *grad,
                               const float *norm, const vmae_segment *segments, int64_t count,
                               const vmae_optim_step *step)
{
    if (!isfinite(norm[0]))
        return VMAE_OK;
    const optim_sgd job = { .param = param,
                            .buf = buf,
                            .copy = copy,
                            .grad = grad,
                            .scale = optim_scale(step, norm[0]),
                            .momentum = step->momentum,
                            .lr = step->lr,
                            .first = step->step == 1,
                            .nesterov = step->nesterov != 0 };
    optim_each(be, segments, count, optim_sgd_piece, &job);
    return VMAE_OK;
}

/* ---- LARS ---- */

typedef struct optim_lars {
    float *param, *mu;
    vmae_bf16 *copy;
    const float *grad;
    const double *ratio; /* by segment */
    float scale, momentum, lr;
} optim_lars;

static void optim_lars_piece(const void *job, const vmae_segment *segment, int64_t s, int64_t from, int64_t n)
{
    const optim_lars a = *(const optim_lars *)job;
    const float lr = a.lr * segment->lr_scale, ratio = (float)a.ratio[s];
    const float decay = segment->matrix ? segment->weight_decay : 0.0f;
    float *p = a.param + from, *mu = a.mu + from;
    const float *grad = a.grad + from;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        mu[i] = a.momentum * mu[i] + ratio * (a.scale * grad[i] + decay * p[i]);
        p[i] -= lr * mu[i];
    }
    if (a.copy)
        narrow(a.copy + from, p, n);
}

CPU_KERNEL vmae_status cpu_lars(vmae_backend *be, float *param, vmae_bf16 *copy, float *mu, void *scratch,
                                const float *grad, const float *norm, const vmae_segment *segments, int64_t count,
                                const vmae_optim_step *step)
{
    if (!isfinite(norm[0]))
        return VMAE_OK;
    double *pieces = scratch;
    const float scale = optim_scale(step, norm[0]);
    const optim_squares sums = { grad, param, scale, pieces, pieces + 2 * count };
    const optim_lars job = { .param = param,
                             .mu = mu,
                             .copy = copy,
                             .grad = grad,
                             .ratio = pieces,
                             .scale = scale,
                             .momentum = step->momentum,
                             .lr = step->lr };
    if (count > 0)
        optim_sum_pieces(be, &sums, segments, count);
    for (int64_t s = 0, part = 0; s < count; s++) {
        double g = 0.0, p = 0.0;
        if (segments[s].matrix) {
            g = sqrt(optim_segment_sum(sums.a, segments, count, s, &part));
            p = sqrt(optim_segment_sum(sums.b, segments, count, s, &part));
        }
        pieces[s] =
            p > 0.0 && g > 0.0 ? (double)step->trust * p / g : 1.0; /* the pieces of later segments lie behind s */
    }
    optim_each(be, segments, count, optim_lars_piece, &job);
    return VMAE_OK;
}
