/* test_stats.c -- reference values: SciPy 1.17.1 (stats.t, ttest_rel, ttest_ind, kendalltau with method "exact"). */
#include "results/metric_kinds.h"
#include "results/stats.h"

#include "tests/test.h"

#include <math.h>

TEST(student_cdf_agrees_with_scipy)
{
    static const double reference[][3] = {
        { 0.5, 1.0, 0.6475836176504333 },
        { 2.0, 2.0, 0.908248290463863 },
        { -1.3, 3.7, 0.13433336208631375 },
        { 10.0, 2.0, 0.9950737714883372 },
        { 0.0, 5.0, 0.5 },
        { 3.2, 30.0, 0.9983806991440234 },
        { 1e-3, 4.0, 0.500374999921875 },
        { 40.0, 1.5, 0.9985101878045344 },
    };
    for (size_t i = 0; i < sizeof reference / sizeof *reference; i++)
        CHECK_NEAR(vmae_student_cdf(reference[i][0], reference[i][1]), reference[i][2], 1e-13);
}

TEST(student_quantile_agrees_with_scipy)
{
    static const double reference[][3] = {
        { 0.975, 1.0, 12.706204736174694 },
        { 0.975, 2.0, 4.302652729749462 },
        { 0.975, 4.0, 2.7764451051977934 },
        { 0.975, 4.33, 2.6949526700426163 },
        { 0.975, 100.0, 1.9839715185235518 },
        { 0.025, 7.0, -2.3646242515927844 },
        { 0.5, 3.0, 0.0 },
        { 0.999, 2.0, 22.327124770119866 },
    };
    for (size_t i = 0; i < sizeof reference / sizeof *reference; i++)
        CHECK_NEAR(vmae_student_quantile(reference[i][0], reference[i][1]), reference[i][2], 1e-10);
}

static const double a[] = { 0.6631, 0.6702, 0.6650, 0.6688, 0.6719 }, b[] = { 0.6540, 0.6651, 0.6622, 0.6598, 0.6700 };
static const double c[] = { 0.6425, 0.6447, 0.6390 };

TEST(mean_and_standard_deviation_agree_with_numpy)
{
    double mean, std;
    vmae_mean_std(a, 5, &mean, &std);
    CHECK_NEAR(mean, 0.6678, 1e-15);
    CHECK_NEAR(std, 0.0036571847095819487, 1e-16);
    vmae_mean_std(a, 1, &mean, &std);
    CHECK_NEAR(mean, 0.6631, 0.0);
    CHECK(isnan(std));
    vmae_mean_std(a, 0, &mean, &std);
    CHECK(isnan(mean) && isnan(std));
}

static const int64_t one_to_five[] = { 1, 2, 3, 4, 5 }, six_to_eight[] = { 6, 7, 8 };

static vmae_difference difference(const double *x, const int64_t *x_seeds, size_t x_n, const double *y,
                                  const int64_t *y_seeds, size_t y_n)
{
    return vmae_sample_difference(&(vmae_sample){ x, x_seeds, x_n }, &(vmae_sample){ y, y_seeds, y_n });
}

TEST(paired_difference_agrees_with_scipy)
{
    const vmae_difference d = difference(a, one_to_five, 5, b, one_to_five, 5);
    CHECK(d.paired);
    CHECK_NEAR(d.difference, -0.00558, 1e-15);
    CHECK_NEAR(d.t, -3.695931615001027, 1e-11);
    CHECK_NEAR(d.p, 0.020909772152295013, 1e-12);
    CHECK_NEAR(d.low, -0.009771788512569459, 1e-13);
    CHECK_NEAR(d.high, -0.001388211487430512, 1e-13);
    CHECK_STR(vmae_difference_verdict(&d), "real");
}

TEST(welch_difference_agrees_with_scipy)
{
    const vmae_difference d = difference(a, one_to_five, 5, c, six_to_eight, 3);
    CHECK(!d.paired);
    CHECK_NEAR(d.difference, -0.025733333333333275, 1e-15);
    CHECK_NEAR(d.t, -11.043795313145397, 1e-10);
    CHECK_NEAR(d.df, 5.280690832236335, 1e-11);
    CHECK_NEAR(d.p, 7.550335071861101e-05, 1e-13);
    CHECK_NEAR(d.low, -0.03162858274357923, 1e-12);
    CHECK_NEAR(d.high, -0.01983808392308732, 1e-12);
}

/* Two of the three seeds of c are also a's: a test of those pairs alone would hold -0.0252 against noise, while the
 * means that people see differ by -0.0257. */
TEST(seeds_that_are_partly_the_same_are_not_paired)
{
    static const int64_t overlapping[] = { 4, 5, 6 };
    const vmae_difference d = difference(a, one_to_five, 5, c, overlapping, 3);
    CHECK(!d.paired);
    CHECK_NEAR(d.difference, -0.025733333333333275, 1e-15);
    CHECK_NEAR(d.p, 7.550335071861101e-05, 1e-13);
    CHECK(!difference(a, one_to_five, 3, c, overlapping, 3).paired);
}

TEST(too_few_numbers_give_no_verdict)
{
    vmae_difference d = difference(a, one_to_five, 1, b, one_to_five, 1);
    CHECK(isnan(d.p) && isnan(d.low));
    CHECK_STR(vmae_difference_verdict(&d), "can't tell (n=1)");
    d = difference(a, one_to_five, 5, c, one_to_five, 1);
    CHECK_STR(vmae_difference_verdict(&d), "can't tell (n=1)");
    d = difference(a, one_to_five, 5, a, one_to_five, 5);
    CHECK_STR(vmae_difference_verdict(&d), "equal");
    const double shifted[] = { 1.5, 2.5 }, base[] = { 1.0, 2.0 };
    d = difference(base, one_to_five, 2, shifted, one_to_five, 2);
    CHECK_STR(vmae_difference_verdict(&d), "can't tell (no spread)");
    const double x[] = { 1.0, 2.0, 3.0 }, y[] = { 1.1, 1.8, 3.2 };
    d = difference(x, one_to_five, 3, y, one_to_five, 3);
    CHECK_STR(vmae_difference_verdict(&d), "noise");
}

TEST(holms_correction_is_the_published_one)
{
    /* R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") */
    vmae_difference d[5] = { { .p = 0.01 }, { .p = 0.04 }, { .p = 0.03 }, { .p = NAN }, { .p = 0.005 } };
    vmae_holm(d, 5, 4);
    CHECK_NEAR(d[0].p_holm, 0.03, 1e-15);
    CHECK_NEAR(d[1].p_holm, 0.06, 1e-15);
    CHECK_NEAR(d[2].p_holm, 0.06, 1e-15);
    CHECK(isnan(d[3].p_holm));
    CHECK_NEAR(d[4].p_holm, 0.02, 1e-15);
    vmae_holm(d, 1, 100);
    CHECK_NEAR(d[0].p_holm, 1.0, 0.0);
}

/* Normal numbers from a fixed generator, by the sum of twelve. */
static double normal(uint64_t *state)
{
    double sum = -6.0;
    for (int i = 0; i < 12; i++) {
        *state = *state * 6364136223846793005u + 1442695040888963407u;
        sum += (double)(*state >> 11) * 0x1p-53;
    }
    return sum;
}

/* The share of tables of five equal settings, three seeds each, in which some row is told from the best. */
static double false_tables(size_t family)
{
    enum { ROWS = 5, SEEDS = 3, TABLES = 4000 };
    uint64_t state = 1;
    int wrong = 0;
    for (int table = 0; table < TABLES; table++) {
        double values[ROWS][SEEDS], mean[ROWS], std;
        size_t best = 0, count = 0;
        for (size_t r = 0; r < ROWS; r++) {
            for (int i = 0; i < SEEDS; i++)
                values[r][i] = normal(&state);
            vmae_mean_std(values[r], SEEDS, &mean[r], &std);
            best = mean[r] > mean[best] ? r : best;
        }
        vmae_difference d[ROWS];
        for (size_t r = 0; r < ROWS; r++)
            if (r != best)
                d[count++] = difference(values[best], one_to_five, SEEDS, values[r], one_to_five, SEEDS);
        if (family)
            vmae_holm(d, count, family);
        bool real = false;
        for (size_t i = 0; i < count; i++)
            real = real || vmae_difference_verdict(&d[i])[0] == 'r';
        wrong += real;
    }
    return (double)wrong / TABLES;
}

TEST(equal_settings_are_rarely_told_from_the_best_of_them)
{
    CHECK(false_tables(0) > 0.2); /* without correction */
    const double some = false_tables(4), all = false_tables(10);
    CHECK(some > 0.055); /* the best was not chosen before */
    CHECK(all < 0.05);
}

TEST(kendall_agrees_with_scipy)
{
    const double paper[] = { 63.25, 64.47, 65.25, 65.89, 67.66 }, ours[] = { 0.31, 0.33, 0.32, 0.36, 0.40 };
    double tau, p;
    CHECK(vmae_kendall(paper, ours, 5, &tau, &p));
    CHECK_NEAR(tau, 0.8, 1e-15);
    CHECK_NEAR(p, 1.0 / 12.0, 1e-15);
    const double x[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }, y[] = { 2, 1, 4, 3, 7, 5, 10, 6, 8, 9 };
    CHECK(vmae_kendall(x, y, 10, &tau, &p));
    CHECK_NEAR(tau, 0.6888888888888888, 1e-15);
    CHECK_NEAR(p, 0.00468694885361552, 1e-15);
    const double down[] = { 3, 2, 1 };
    CHECK(vmae_kendall(x, down, 3, &tau, &p));
    CHECK_NEAR(tau, -1.0, 1e-15);
    CHECK_NEAR(p, 1.0 / 3.0, 1e-15);
    const double tied_x[] = { 1, 2, 2, 3, 4 }, tied_y[] = { 1, 3, 2, 2, 5 };
    CHECK(vmae_kendall(tied_x, tied_y, 5, &tau, &p));
    CHECK_NEAR(tau, 2.0 / 3.0, 1e-15);
    CHECK(isnan(p));
    CHECK(!vmae_kendall(x, y, 1, &tau, &p));
    const double flat[] = { 1, 1, 1 };
    CHECK(!vmae_kendall(flat, down, 3, &tau, &p));
}

TEST(a_metrics_name_says_which_end_is_better)
{
    static const char *const cases[][2] = { { "step_ms", "min" },
                                            { "images_per_s", "max" },
                                            { "gflops_per_s", "max" },
                                            { "roof_fraction", "max" },
                                            { "loader_wait_fraction", "min" },
                                            { "mem_bytes", "min" },
                                            { "val_loss", "min" },
                                            { "knn_top1", "max" } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK_STR(vmae_metric_kind_of(cases[i][0])->direction, cases[i][1]);
    CHECK(!vmae_metric_kind_of("lambda")->direction && !vmae_metric_kind_of("lambda")->timing);
    CHECK(vmae_metric_kind_of("images_per_s")->timing);
}
