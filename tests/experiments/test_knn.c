/* test_knn.c -- nearest neighbours and top-k counts against reference vectors, and by themselves. */
#include "vicmae.h"

#include "engine/checkpoint/checkpoint.h"
#include "engine/core/mem.h"
#include "experiments/encoder.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static vmae_checkpoint *golden(const char *name)
{
    vmae_checkpoint *file = NULL;
    const char *folder = vmae_test_shared("golden");
    if (!folder) {
        vmae_test_skip("no golden vectors");
        return NULL;
    }
    CHECK_OK(vmae_checkpoint_open(&file, in(folder, name)));
    return file;
}

static const vmae_entry *entry(const vmae_checkpoint *file, const char *name, vmae_dtype dtype)
{
    const vmae_entry *found = vmae_checkpoint_find(file, name);
    return CHECK(found && found->dtype == dtype) ? found : NULL;
}

static int32_t *small(const vmae_entry *wide)
{
    int32_t *copy = vmae_calloc(wide->count, sizeof *copy);
    for (size_t i = 0; i < wide->count; i++)
        copy[i] = (int32_t)((const int64_t *)wide->data)[i];
    return copy;
}

typedef struct fixture {
    vmae_checkpoint *file;
    vmae_features bank, queries; /* values point into the file */
    const int64_t *prediction, *neighbours;
    const float *similarity, *votes;
    double temperature, top1, top5;
    int64_t k;
} fixture;

static bool fixture_open(fixture *f)
{
    *f = (fixture){ .file = golden("knn.safetensors") };
    if (!f->file)
        return false;
    const vmae_entry *features = entry(f->file, "features", VMAE_ST_F32),
                     *labels = entry(f->file, "labels", VMAE_ST_I64), *queries = entry(f->file, "queries", VMAE_ST_F32),
                     *query_labels = entry(f->file, "query_labels", VMAE_ST_I64),
                     *prediction = entry(f->file, "prediction", VMAE_ST_I64),
                     *neighbours = entry(f->file, "neighbours", VMAE_ST_I64),
                     *similarity = entry(f->file, "similarity", VMAE_ST_F32),
                     *votes = entry(f->file, "votes", VMAE_ST_F32), *top1 = entry(f->file, "top1", VMAE_ST_F32),
                     *top5 = entry(f->file, "top5", VMAE_ST_F32);
    if (!features || !labels || !queries || !query_labels || !prediction || !neighbours || !similarity || !votes ||
        !top1 || !top5)
        return false;
    const int classes = atoi(vmae_checkpoint_metadata(f->file, "classes"));
    f->bank = (vmae_features){ features->dim[0], features->dim[1], classes, (float *)(uintptr_t)features->data,
                               small(labels) };
    f->queries = (vmae_features){ queries->dim[0], queries->dim[1], classes, (float *)(uintptr_t)queries->data,
                                  small(query_labels) };
    f->prediction = prediction->data;
    f->neighbours = neighbours->data;
    f->similarity = similarity->data;
    f->votes = votes->data;
    f->temperature = atof(vmae_checkpoint_metadata(f->file, "temperature"));
    f->k = atoll(vmae_checkpoint_metadata(f->file, "k"));
    f->top1 = *(const float *)top1->data;
    f->top5 = *(const float *)top5->data;
    return true;
}

static void fixture_close(fixture *f)
{
    free(f->bank.labels);
    free(f->queries.labels);
    vmae_checkpoint_free(f->file);
}

TEST(knn_gives_the_reference_predictions_and_rates)
{
    fixture f;
    double top1 = 0.0, top5 = 0.0;
    if (!fixture_open(&f))
        return;
    int32_t *prediction = vmae_calloc((size_t)f.queries.count, sizeof *prediction);
    CHECK_OK(vmae_knn_classify(&f.bank, &f.queries, f.k, f.temperature, &top1, &top5, prediction));
    for (int64_t i = 0; i < f.queries.count; i++)
        CHECK_EQ(prediction[i], f.prediction[i]);
    CHECK_NEAR(100.0 * top1, f.top1, 1e-4);
    CHECK_NEAR(100.0 * top5, f.top5, 1e-4);
    free(prediction);
    fixture_close(&f);
}

/* The reference's neighbours in falling similarity are the votes of every smaller k. */
TEST(knn_agrees_with_the_reference_neighbours_for_every_k)
{
    fixture f;
    int64_t compared = 0;
    if (!fixture_open(&f))
        return;
    int32_t *prediction = vmae_calloc((size_t)f.queries.count, sizeof *prediction);
    for (int64_t k = 1; k <= f.k; k++) {
        double top1, top5;
        CHECK_OK(vmae_knn_classify(&f.bank, &f.queries, k, f.temperature, &top1, &top5, prediction));
        for (int64_t q = 0; q < f.queries.count; q++) {
            double votes[16] = { 0 }, best = 0.0, second = 0.0;
            int winner = 0;
            for (int64_t n = 0; n < k; n++)
                votes[f.bank.labels[f.neighbours[q * f.k + n]]] += exp(f.similarity[q * f.k + n] / f.temperature);
            for (int c = 0; c < f.bank.classes; c++)
                if (votes[c] > best) {
                    second = best;
                    best = votes[c];
                    winner = c;
                } else if (votes[c] > second)
                    second = votes[c];
            const bool tie_at_k = k < f.k && fabsf(f.similarity[q * f.k + k] - f.similarity[q * f.k + k - 1]) < 1e-5f;
            if (tie_at_k || best - second < 1e-4 * best)
                continue;
            CHECK_EQ(prediction[q], winner);
            compared++;
        }
    }
    CHECK(compared > f.k * f.queries.count * 3 / 4);
    free(prediction);
    fixture_close(&f);
}

TEST(knn_of_the_bank_itself_is_right_with_one_neighbour)
{
    fixture f;
    double top1 = 0.0, top5 = 0.0;
    if (!fixture_open(&f))
        return;
    CHECK_OK(vmae_knn_classify(&f.bank, &f.bank, 1, 0.07, &top1, &top5, NULL));
    CHECK_NEAR(top1, 1.0, 0.0);
    fixture_close(&f);
}

TEST(knn_uses_the_whole_bank_where_k_is_larger_and_breaks_ties_by_the_earlier)
{
    float bank[] = { 1, 0, 1, 0, 0, 1 }, query[] = { 2, 0 };
    int32_t bank_labels[] = { 1, 0, 2 }, query_label[] = { 1 }, prediction = -1;
    const vmae_features b = { 3, 2, 3, bank, bank_labels }, q = { 1, 2, 3, query, query_label };
    double top1 = 1.0, top5 = 0.0;
    CHECK_OK(vmae_knn_classify(&b, &q, 1, 0.07, &top1, &top5, &prediction));
    CHECK_EQ(prediction, 1); /* of the two equal ones the first in the bank */
    CHECK_NEAR(top1, 1.0, 0.0);
    CHECK_OK(vmae_knn_classify(&b, &q, 100, 0.07, &top1, &top5, &prediction));
    CHECK_EQ(prediction, 0);    /* equal votes: the smaller class */
    CHECK_NEAR(top1, 0.0, 0.0); /* and a tie is no hit */
    CHECK_NEAR(top5, 1.0, 0.0);
}

TEST(knn_of_zero_features_is_finite)
{
    float bank[] = { 0, 0, 1, 0 }, query[] = { 0, 0 };
    int32_t bank_labels[] = { 1, 0 }, query_label[] = { 1 }, prediction = -1;
    const vmae_features b = { 2, 2, 2, bank, bank_labels }, q = { 1, 2, 2, query, query_label };
    double top1 = NAN, top5 = NAN;
    CHECK_OK(vmae_knn_classify(&b, &q, 2, 0.07, &top1, &top5, &prediction));
    CHECK(isfinite(top1) && isfinite(top5) && prediction >= 0);
}

TEST(knn_refuses_what_does_not_fit_and_leaves_the_results_alone)
{
    float values[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
    int32_t labels[4] = { 0 };
    const vmae_features good = { 2, 4, 3, values, labels }, narrow = { 4, 2, 3, values, labels },
                        fewer = { 2, 4, 2, values, labels }, empty = { 0, 4, 3, values, labels };
    double top1 = -1.0, top5 = -1.0;
    CHECK_FAILS(vmae_knn_classify(&good, &narrow, 1, 0.07, &top1, &top5, NULL), VMAE_EUSER, "2 x 4 with 3 classes");
    CHECK_FAILS(vmae_knn_classify(&good, &fewer, 1, 0.07, &top1, &top5, NULL), VMAE_EUSER, "with 2 classes");
    CHECK_FAILS(vmae_knn_classify(&empty, &good, 1, 0.07, &top1, &top5, NULL), VMAE_EUSER, "bank of 0 x 4");
    CHECK_FAILS(vmae_knn_classify(&good, &good, 0, 0.07, &top1, &top5, NULL), VMAE_EUSER, "kNN");
    CHECK(top1 == -1.0 && top5 == -1.0);
}

TEST(top_counts_are_those_of_the_reference)
{
    vmae_checkpoint *file = golden("metrics.safetensors");
    if (!file)
        return;
    const vmae_entry *logits = entry(file, "logits", VMAE_ST_F32), *labels = entry(file, "labels", VMAE_ST_I64),
                     *top1 = entry(file, "top1", VMAE_ST_F32), *top5 = entry(file, "top5", VMAE_ST_F32);
    if (logits && labels && top1 && top5) {
        int64_t first = 0, five = 0;
        int32_t *wanted = small(labels);
        vmae_count_top(logits->data, wanted, logits->dim[0], logits->dim[1], &first, &five);
        CHECK_NEAR(100.0 * (double)first / (double)logits->dim[0], *(const float *)top1->data, 1e-4);
        CHECK_NEAR(100.0 * (double)five / (double)logits->dim[0], *(const float *)top5->data, 1e-4);
        free(wanted);
    }
    vmae_checkpoint_free(file);
}

TEST(ties_and_nan_count_against_the_label)
{
    const float rows[] = { 1,   1, 0, 0, 0, 0, /* a tie at the top */
                           9,   5, 4, 3, 2, 1, /* label 4 is fifth */
                           9,   5, 4, 3, 2, 2, /* and tied with the sixth */
                           NAN, 5, 4, 3, 2, 1, 0, 0, 0, 0, 0, NAN };
    const int32_t labels[] = { 0, 4, 4, 1, 5 };
    int64_t top1 = 0, top5 = 0;
    vmae_count_top(rows, labels, 5, 6, &top1, &top5);
    CHECK_EQ(top1, 0);
    CHECK_EQ(top5, 3);
}

TEST(the_knn_protocol_gives_the_same_at_any_speed)
{
    const char *a = here("a"), *b = here("b");
    RUN_OK("knn", "-R", a, "checkpoint=pixels", TINY_MODEL, TINY_LABELLED);
    RUN_OK("knn", "-R", b, "checkpoint=pixels", TINY_MODEL, TINY_LABELLED, "threads=2", "loader.threads=4",
           "features.batch=9");
    CHECK(same_rows(a, b));
    CHECK(final_metric(a, "top1") > 0.2); /* of 10 classes */
    CHECK(final_metric(a, "top5") >= final_metric(a, "top1"));
}
