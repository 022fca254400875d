/* bench_kernels.c -- the speed of every CPU kernel at the sizes of ViT-B/16, 16 images. Asserts nothing.
 *
 *   bench_kernels [ISA [THREADS]]     all instruction sets of this processor and 1 thread, unless said otherwise
 *
 * GB/s: each operand read once, each result written once. GFLOP/s for products. Median of several runs, after a
 * warm-up; the spread is (slowest - fastest) / median. */
#include "engine/backend/cpu/cpu.h"
#include "engine/backend/cpu/tables.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
    BATCH = 16,
    SIDE = 224,
    PATCH = 16,
    PATCHES = 196,
    KEEP = 49,
    TOKENS = 197,
    D = 768,
    HIDDEN = 3072,
    HEADS = 12,
    WIDTH = 64
};
enum {
    ROWS = BATCH * TOKENS,
    PIXELS = 3 * PATCH * PATCH,
    CLASSES = 1000,
    PROJECT_ROWS = 512,
    PROJECT = 2048,
    RUNS = 9
};
enum { PARAMS = 8 << 20 };
#define BLOCK_BYTES ((size_t)48 << 20)

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* `amount`: bytes or floating-point operations of one call, in `unit`. */
#define SHAPE(type, batch, tokens, heads, width) ((const vmae_attention_shape){ type, batch, tokens, heads, width })
#define BENCH(name, amount, unit, call)                                                                                \
    do {                                                                                                               \
        double times_[RUNS];                                                                                           \
        vmae_status status_ = (call);                                                                                  \
        for (int run_ = 0; run_ < RUNS && status_ == VMAE_OK; run_++) {                                                \
            const double start_ = seconds();                                                                           \
            status_ = (call);                                                                                          \
            times_[run_] = seconds() - start_;                                                                         \
        }                                                                                                              \
        report(k->isa, type, name, (double)(amount), unit, status_, times_);                                           \
    } while (0)

static void report(const char *isa, vmae_type type, const char *name, double amount, const char *unit,
                   vmae_status status, double *times)
{
    if (status != VMAE_OK) {
        printf("%-8s%-6s%-24sfailed: %s\n", isa, vmae_type_name(type), name, vmae_error());
        return;
    }
    qsort(times, RUNS, sizeof *times, ascending);
    const double median = times[RUNS / 2];
    printf("%-8s%-6s%-24s%10.3f ms %9.1f %-9s+-%3.0f%%\n", isa, vmae_type_name(type), name, 1e3 * median,
           1e-9 * amount / median, unit, 100.0 * (times[RUNS - 1] - times[0]) / median);
}

typedef struct blocks {
    void *a, *b, *c, *d, *e; /* BLOCK_BYTES each, values in [-1, 1) of the type at hand; results go to c, d, e */
    float *w, *v, *small, *scratch;
    int32_t *ids, *restore, *labels;
} blocks;

static void *block(void)
{
    void *made = aligned_alloc(64, BLOCK_BYTES);
    if (!made) {
        perror("bench_kernels");
        exit(1);
    }
    memset(made, 0, BLOCK_BYTES);
    return made;
}

static void randomize(void *to, vmae_type type)
{
    uint32_t state = 1;
    const size_t count = BLOCK_BYTES / vmae_type_size(type);
    for (size_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        const float value = (float)(state >> 8) * 0x1p-23f - 1.0f;
        if (type == VMAE_BF16)
            ((vmae_bf16 *)to)[i] = bf16_from_float(value);
        else
            ((float *)to)[i] = value;
    }
}

/* Kernels whose activations have a type. */
static void bench_typed(const vmae_kernels *k, vmae_backend *be, vmae_type type, const blocks *x)
{
    const double size = (double)vmae_type_size(type), n = (double)ROWS * D, wide = (double)ROWS * HIDDEN;
    const double attention = 4.0 * BATCH * HEADS * TOKENS * TOKENS * WIDTH, project = (double)PROJECT_ROWS * PROJECT;
    float *mean = x->small, *rstd = x->small + 65536;
    randomize(x->a, type), randomize(x->b, type);

    BENCH("layer_norm", 2 * n * size, "GB/s",
          k->layer_norm(be, x->c, type, mean, rstd, x->a, type, x->w, x->v, ROWS, D, 1e-6f));
    BENCH("layer_norm_grad", 3 * n * size, "GB/s",
          k->layer_norm_grad(be, x->c, NULL, x->d, x->e, NULL, x->scratch, x->b, type, x->a, type, mean, rstd, x->w,
                             NULL, ROWS, D, false));
    BENCH("layer_norm_grad + add", 4 * n * size, "GB/s",
          k->layer_norm_grad(be, x->c, NULL, x->d, x->e, NULL, x->scratch, x->b, type, x->a, type, mean, rstd, x->w,
                             x->c, ROWS, D, false));
    BENCH("gelu", 2 * wide * size, "GB/s", k->gelu(be, x->c, x->a, type, (int64_t)ROWS * HIDDEN));
    BENCH("gelu_grad", 3 * wide * size, "GB/s",
          k->gelu_grad(be, x->c, NULL, NULL, x->b, x->a, type, ROWS, HIDDEN, false));
    BENCH("gelu_grad + dbias", 3 * wide * size, "GB/s",
          k->gelu_grad(be, x->c, x->d, x->scratch, x->b, x->a, type, ROWS, HIDDEN, false));
    BENCH("relu", 2 * wide * size, "GB/s", k->relu(be, x->c, x->a, type, (int64_t)ROWS * HIDDEN));
    BENCH("relu_grad", 3 * wide * size, "GB/s", k->relu_grad(be, x->c, x->b, x->a, type, (int64_t)ROWS * HIDDEN));
    BENCH("add", 3 * n * size, "GB/s", k->add(be, x->c, x->a, x->b, type, (int64_t)ROWS * D));
    BENCH("add_scaled", 3 * n * size, "GB/s",
          k->add_scaled(be, x->c, x->a, x->b, x->w, type, BATCH, (int64_t)TOKENS * D));
    BENCH("cast to f32", n * (size + 4), "GB/s", k->cast(be, x->c, VMAE_F32, x->a, type, (int64_t)ROWS * D));
    BENCH("cast to bf16", n * (size + 2), "GB/s", k->cast(be, x->c, VMAE_BF16, x->a, type, (int64_t)ROWS * D));
    BENCH("column_sum", wide * size, "GB/s", k->column_sum(be, x->d, x->scratch, x->a, type, ROWS, HIDDEN, false));

    BENCH("attention", attention, "GFLOP/s",
          k->attention(be, x->c, x->small, NULL, x->a, &SHAPE(type, BATCH, TOKENS, HEADS, WIDTH)));
    BENCH("attention_grad", 2.5 * attention, "GFLOP/s",
          k->attention_grad(be, x->d, NULL, x->b, x->a, x->c, x->small, &SHAPE(type, BATCH, TOKENS, HEADS, WIDTH)));
    const double visible = 4.0 * 4 * BATCH * HEADS * (KEEP + 1) * (KEEP + 1) * WIDTH;
    BENCH("attention 50 tokens", visible, "GFLOP/s",
          k->attention(be, x->c, x->small, NULL, x->a, &SHAPE(type, 4 * BATCH, KEEP + 1, HEADS, WIDTH)));
    BENCH(
        "attention_grad 50", 2.5 * visible, "GFLOP/s",
        k->attention_grad(be, x->d, NULL, x->b, x->a, x->c, x->small, &SHAPE(type, 4 * BATCH, KEEP + 1, HEADS, WIDTH)));
    const double tiny = 4.0 * 128 * 6 * 17 * 17 * 32;
    BENCH("attention 17 x 32", tiny, "GFLOP/s",
          k->attention(be, x->c, x->small, NULL, x->a, &SHAPE(type, 128, 17, 6, 32)));
    BENCH("attention_grad 17 x 32", 2.5 * tiny, "GFLOP/s",
          k->attention_grad(be, x->d, NULL, x->b, x->a, x->c, x->small, &SHAPE(type, 128, 17, 6, 32)));

    const vmae_convolution_shape convolved = { type, BATCH, 56, 56, 64, 64, 3, 1, 1 };
    const double convolution = 2.0 * BATCH * 56 * 56 * 64 * 64 * 9;
    BENCH("convolution", convolution, "GFLOP/s", k->convolution(be, x->c, NULL, x->a, x->b, &convolved));
    BENCH("convolution_data_grad", convolution, "GFLOP/s",
          k->convolution_data_grad(be, x->c, NULL, x->a, x->b, &convolved));
    BENCH("convolution_filter_grad", convolution, "GFLOP/s",
          k->convolution_filter_grad(be, x->d, NULL, x->a, x->b, &convolved, false));

    BENCH("batch_norm", 2 * project * size, "GB/s",
          k->batch_norm(be, x->c, mean, rstd, x->small + 131072, x->small + 196608, x->a, x->w, x->v, type,
                        PROJECT_ROWS, PROJECT, 2, 1e-5f, 0.1f, true));
    BENCH("batch_norm_infer", 2 * project * size, "GB/s",
          k->batch_norm_infer(be, x->d, mean, rstd, x->a, x->w, x->v, type, PROJECT_ROWS, PROJECT, 1e-5f, true));
    BENCH("batch_norm_grad", 4 * project * size, "GB/s",
          k->batch_norm_grad(be, x->d, x->e, x->scratch, NULL, x->b, x->a, x->c, mean, rstd, x->w, type, PROJECT_ROWS,
                             PROJECT, 2, true, false));

    const double kept = (double)BATCH * KEEP * D, all = (double)BATCH * PATCHES * D;
    randomize(x->c, VMAE_F32);
    BENCH("gather_patches", kept * (size + 4), "GB/s",
          k->gather_patches(be, x->d, x->c, x->ids, PATCHES, type, BATCH, 3, SIDE, PATCH, KEEP));
    BENCH("embed_tokens", kept * (2 * size + 4), "GB/s",
          k->embed_tokens(be, x->d, x->a, x->w, x->v, x->ids, PATCHES, type, BATCH, KEEP, D));
    BENCH("embed_tokens_grad", 2 * kept * size, "GB/s",
          k->embed_tokens_grad(be, x->d, x->e, NULL, x->a, x->ids, PATCHES, type, BATCH, KEEP, PATCHES, D, false));
    BENCH("unshuffle_tokens", (kept + all) * size, "GB/s",
          k->unshuffle_tokens(be, x->d, x->a, x->w, x->v, x->restore, type, BATCH, KEEP, PATCHES, D));
    BENCH("unshuffle_tokens_grad", (kept + all) * size, "GB/s",
          k->unshuffle_tokens_grad(be, x->d, x->e, x->scratch, x->a, x->restore, x->ids, type, BATCH, KEEP, PATCHES, D,
                                   false));
    const float power = 3.0f;
    static const char *const pools[][2] = { { "pool mean", "pool_grad mean" },
                                            { "pool max", "pool_grad max" },
                                            { "pool gem", "pool_grad gem" } };
    int32_t *which = x->labels + 65536;
    for (int kind = VMAE_POOL_MEAN; kind <= VMAE_POOL_GEM; kind++) {
        BENCH(pools[kind][0], all * size, "GB/s",
              k->pool(be, x->d, which, x->a, &power, (vmae_pool)kind, type, BATCH, PATCHES, D));
        BENCH(pools[kind][1], (kind == VMAE_POOL_GEM ? 2 : 1) * all * size, "GB/s",
              k->pool_grad(be, x->e, x->small, x->scratch, x->w, x->a, x->d, which, &power, NULL, (vmae_pool)kind, type,
                           BATCH, PATCHES, D, false));
    }
    BENCH("patch_mse", BATCH * PATCHES * PIXELS * (size + 4), "GB/s",
          k->patch_mse(be, x->small, x->e, x->scratch, x->a, x->c, x->w, type, BATCH, 1, 3, SIDE, PATCH, true));
    BENCH("patch_mse_grad", BATCH * PATCHES * PIXELS * (2 * size + 4), "GB/s",
          k->patch_mse_grad(be, x->d, x->w, x->a, x->c, x->w, x->e, type, BATCH, 1, 3, SIDE, PATCH));
}

/* Kernels that know only f32. */
static void bench_f32(const vmae_kernels *k, vmae_backend *be, const blocks *x)
{
    const vmae_type type = VMAE_F32;
    const double pairs = 2.0 * PROJECT_ROWS * PROJECT_ROWS * 128;
    randomize(x->a, type), randomize(x->b, type);
    BENCH("fill", BLOCK_BYTES, "GB/s", k->fill(be, x->d, 1.0f, (int64_t)(BLOCK_BYTES / 4)));
    BENCH("random_masking", BATCH * PATCHES * 16.0, "GB/s",
          k->random_masking(be, x->ids, x->restore, x->small, x->a, BATCH, PATCHES, KEEP));
    BENCH("l2_normalize", 2.0 * 65536 * 128 * 4, "GB/s", k->l2_normalize(be, x->c, x->small, x->a, 65536, 128));
    BENCH("l2_normalize_grad", 3.0 * 65536 * 128 * 4, "GB/s",
          k->l2_normalize_grad(be, x->d, x->b, x->c, x->small, 65536, 128));
    BENCH("info_nce", pairs, "GFLOP/s",
          k->info_nce(be, x->d, x->small, x->small + 65536, x->c, PROJECT_ROWS, 128, PROJECT_ROWS / 2, 0.1f));
    BENCH(
        "info_nce_grad", 2 * pairs, "GFLOP/s",
        k->info_nce_grad(be, x->e, x->w, x->c, x->small, x->small + 65536, PROJECT_ROWS, 128, PROJECT_ROWS / 2, 0.1f));
    BENCH("cross_entropy", 2.0 * 1024 * CLASSES * 4, "GB/s",
          k->cross_entropy(be, x->small, x->c, x->scratch, x->a, x->labels, NULL, 1024, CLASSES, 0.1f));
    BENCH("cross_entropy_grad", 2.0 * 1024 * CLASSES * 4, "GB/s",
          k->cross_entropy_grad(be, x->d, x->w, x->c, x->labels, NULL, 1024, CLASSES, 0.1f));

    const vmae_segment segments[] = { { 0, PARAMS / 2, 0.05f, 1.0f, true },
                                      { PARAMS / 2, PARAMS / 2, 0.0f, 0.5f, false } };
    const vmae_optim_step step = { .lr = 1e-3f,
                                   .beta1 = 0.9f,
                                   .beta2 = 0.95f,
                                   .eps = 1e-8f,
                                   .momentum = 0.9f,
                                   .trust = 1e-3f,
                                   .scale = 1.0f,
                                   .bias1 = 0.19f,
                                   .root2 = 3.2f,
                                   .step = 2 };
    double *squares = (double *)x->scratch;
    memset(x->c, 0, BLOCK_BYTES), memset(x->d, 0, BLOCK_BYTES);
    BENCH("norms", 4.0 * PARAMS, "GB/s", k->norms(be, x->small, squares, x->a, segments, 2));
    BENCH("adamw", 28.0 * PARAMS, "GB/s", k->adamw(be, x->b, NULL, x->c, x->d, x->a, x->small, segments, 2, &step));
    BENCH("adamw + bf16 copy", 30.0 * PARAMS, "GB/s",
          k->adamw(be, x->b, x->e, x->c, x->d, x->a, x->small, segments, 2, &step));
    BENCH("sgd", 20.0 * PARAMS, "GB/s", k->sgd(be, x->b, NULL, x->c, x->a, x->small, segments, 2, &step));
    BENCH("lars", 28.0 * PARAMS, "GB/s", k->lars(be, x->b, NULL, x->c, squares, x->a, x->small, segments, 2, &step));
}

int main(int argc, char **argv)
{
    int count;
    const vmae_kernels *const *tables = vmae_cpu_tables(&count);
    vmae_backend be = { .name = "cpu", .threads = argc > 2 ? atoi(argv[2]) : 1 };
    blocks x = { .a = block(), .b = block(), .c = block(), .d = block(), .e = block() };
    x.w = block(), x.v = block(), x.small = block(), x.scratch = block();
    x.ids = block(), x.restore = block(), x.labels = block();
    if (be.threads < 1) {
        fprintf(stderr, "bench_kernels: \"%s\" is no number of threads\n", argv[2]);
        return 2;
    }
    randomize(x.w, VMAE_F32), randomize(x.v, VMAE_F32);
    for (size_t i = 0; i < BLOCK_BYTES / 4; i++)
        x.w[i] += 1.5f; /* weights, masks, scales: positive */
    for (int i = 0; i < BATCH * PATCHES; i++) {
        x.ids[i] = i % PATCHES * 5 % PATCHES; /* a permutation: 5 and 196 share no factor */
        x.restore[i / PATCHES * PATCHES + x.ids[i]] = i % PATCHES;
    }
    for (int i = 0; i < 1024; i++)
        x.labels[i] = i * 7 % CLASSES;
    printf("%d thread%s\n", be.threads, be.threads == 1 ? "" : "s");
    for (int i = 0; i < count; i++) {
        if (argc > 1 && strcmp(argv[1], tables[i]->isa) != 0)
            continue;
        bench_typed(tables[i], &be, VMAE_F32, &x);
        bench_typed(tables[i], &be, VMAE_BF16, &x);
        bench_f32(tables[i], &be, &x);
    }
    void *const owned[] = { x.a, x.b, x.c, x.d, x.e, x.w, x.v, x.small, x.scratch, x.ids, x.restore, x.labels };
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++)
        free(owned[i]);
    return 0;
}
