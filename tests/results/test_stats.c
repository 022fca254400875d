/* test_stats.c -- reference values: SciPy 1.17.1 (stats.t, ttest_rel, ttest_ind, kendalltau with method "exact"). */
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

TEST(paired_difference_agrees_with_scipy)
{
    const vmae_difference d = vmae_paired_difference(a, b, 5);
    CHECK_NEAR(d.difference, -0.00558, 1e-15);
    CHECK_NEAR(d.t, -3.695931615001027, 1e-11);
    CHECK_NEAR(d.p, 0.020909772152295013, 1e-12);
    CHECK_NEAR(d.low, -0.009771788512569459, 1e-13);
    CHECK_NEAR(d.high, -0.001388211487430512, 1e-13);
    CHECK_STR(vmae_difference_verdict(&d), "real");
}

TEST(welch_difference_agrees_with_scipy)
{
    const vmae_difference d = vmae_welch_difference(a, 5, c, 3);
    CHECK_NEAR(d.difference, -0.025733333333333275, 1e-15);
    CHECK_NEAR(d.t, -11.043795313145397, 1e-10);
    CHECK_NEAR(d.df, 5.280690832236335, 1e-11);
    CHECK_NEAR(d.p, 7.550335071861101e-05, 1e-13);
    CHECK_NEAR(d.low, -0.03162858274357923, 1e-12);
    CHECK_NEAR(d.high, -0.01983808392308732, 1e-12);
}

TEST(too_few_numbers_give_no_verdict)
{
    vmae_difference d = vmae_paired_difference(a, b, 1);
    CHECK(isnan(d.p) && isnan(d.low));
    CHECK_STR(vmae_difference_verdict(&d), "can't tell (n=1)");
    d = vmae_welch_difference(a, 5, c, 1);
    CHECK_STR(vmae_difference_verdict(&d), "can't tell (n=1)");
    d = vmae_paired_difference(a, a, 5);
    CHECK_STR(vmae_difference_verdict(&d), "equal");
    const double shifted[] = { 1.5, 2.5 }, base[] = { 1.0, 2.0 };
    d = vmae_paired_difference(base, shifted, 2);
    CHECK_STR(vmae_difference_verdict(&d), "can't tell (no spread)");
    const double x[] = { 1.0, 2.0, 3.0 }, y[] = { 1.1, 1.8, 3.2 };
    d = vmae_paired_difference(x, y, 3);
    CHECK_STR(vmae_difference_verdict(&d), "noise");
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
