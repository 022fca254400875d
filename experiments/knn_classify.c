/* knn_classify.c -- weighted nearest neighbours on features (Wu et al. 2018, "Unsupervised feature learning via
 * non-parametric instance discrimination"). */
#include "engine/core/mem.h"
#include "experiments/encoder.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct neighbour {
    float similarity;
    int32_t index;
} neighbour;

/* Falling similarity; of equals the earlier one. */
static bool before(neighbour a, neighbour b)
{
    return a.similarity > b.similarity || (a.similarity == b.similarity && a.index < b.index);
}

static void normalise(float *to, const float *from, int64_t rows, int64_t dim)
{
    for (int64_t i = 0; i < rows; i++) {
        double squares = 0.0;
        for (int64_t k = 0; k < dim; k++)
            squares += (double)from[i * dim + k] * from[i * dim + k];
        const float scale = (float)(1.0 / fmax(sqrt(squares), 1e-12));
        for (int64_t k = 0; k < dim; k++)
            to[i * dim + k] = from[i * dim + k] * scale;
    }
}

static float dot(const float *a, const float *b, int64_t n)
{
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* Keeps the k best in nearest[], sorted; *count of them so far. */
static void keep_nearest(neighbour *nearest, int64_t *count, int64_t k, neighbour candidate)
{
    if (*count == k && !before(candidate, nearest[k - 1]))
        return;
    int64_t at = *count < k ? (*count)++ : k - 1;
    for (; at > 0 && before(candidate, nearest[at - 1]); at--)
        nearest[at] = nearest[at - 1];
    nearest[at] = candidate;
}

/* The votes of a query's neighbours. */
static void vote(float *votes, const float *query, const float *bank, const vmae_features *labelled, neighbour *nearest,
                 int64_t k, double temperature)
{
    int64_t count = 0;
    for (int64_t i = 0; i < labelled->count; i++)
        keep_nearest(nearest, &count, k,
                     (neighbour){ dot(query, bank + i * labelled->dim, labelled->dim), (int32_t)i });
    for (int64_t i = 0; i < count; i++)
        votes[labelled->labels[nearest[i].index]] += (float)exp((double)nearest[i].similarity / temperature);
}

vmae_status vmae_knn_classify(const vmae_features *bank, const vmae_features *queries, int64_t k, double temperature,
                              double *top1, double *top5, int32_t *prediction)
{
    if (bank->dim != queries->dim || bank->classes != queries->classes || bank->count < 1 || queries->count < 1 ||
        k < 1)
        return vmae_fail(VMAE_EUSER, "kNN: bank of %lld x %lld with %d classes, queries of %lld x %lld with %d classes",
                         (long long)bank->count, (long long)bank->dim, bank->classes, (long long)queries->count,
                         (long long)queries->dim, queries->classes);
    const int64_t dim = bank->dim, classes = bank->classes, take = k < bank->count ? k : bank->count;
    float *unit_bank = vmae_calloc((size_t)(bank->count * dim), sizeof *unit_bank),
          *unit_queries = vmae_calloc((size_t)(queries->count * dim), sizeof *unit_queries),
          *votes = vmae_calloc((size_t)(queries->count * classes), sizeof *votes);
    neighbour *nearest = vmae_calloc((size_t)(queries->count * take), sizeof *nearest);
    vmae_status st = unit_bank && unit_queries && votes && nearest ? VMAE_OK : VMAE_ENOMEM;
    if (st == VMAE_OK) {
        int64_t first = 0, five = 0;
        normalise(unit_bank, bank->values, bank->count, dim);
        normalise(unit_queries, queries->values, queries->count, dim);
#pragma omp parallel for schedule(static)
        for (int64_t i = 0; i < queries->count; i++)
            vote(votes + i * classes, unit_queries + i * dim, unit_bank, bank, nearest + i * take, take, temperature);
        vmae_count_top(votes, queries->labels, queries->count, classes, &first, &five);
        *top1 = (double)first / (double)queries->count;
        *top5 = (double)five / (double)queries->count;
        for (int64_t i = 0; prediction && i < queries->count; i++) {
            prediction[i] = 0;
            for (int64_t c = 1; c < classes; c++)
                if (votes[i * classes + c] > votes[i * classes + prediction[i]])
                    prediction[i] = (int32_t)c;
        }
    }
    free(unit_bank);
    free(unit_queries);
    free(votes);
    free(nearest);
    return st;
}
