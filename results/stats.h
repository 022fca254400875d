/* stats.h -- is a difference noise? Student's t, Welch's and the paired test, Holm's correction, Kendall's rank
 * agreement. Checked against SciPy, and against what equal settings give by chance. */
#ifndef VMAE_RESULTS_STATS_H
#define VMAE_RESULTS_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Student's t distribution with df > 0 degrees of freedom (any real number). */
double vmae_student_cdf(double t, double df);
double vmae_student_quantile(double p, double df); /* 0 < p < 1 */

/* Mean and standard deviation (n - 1 in the denominator); NaN where there are too few. */
void vmae_mean_std(const double *values, size_t n, double *mean, double *std);

/* The numbers of one setting, one a seed; each seed once, in the same order everywhere. */
typedef struct vmae_sample {
    const double *values;
    const int64_t *seeds;
    size_t n;
} vmae_sample;

typedef struct vmae_difference {
    size_t n_a, n_b; /* pairs: equal */
    bool paired;
    double difference; /* mean of b minus mean of a */
    double low, high;  /* 95% interval of it alone; NaN where it cannot be told */
    double t, df, p;   /* two-sided; NaN where it cannot be told */
    double p_holm;     /* p, until vmae_holm() corrects it */
} vmae_difference;

/* How b differs from a: paired by seed where both have the same seeds, else Welch's test (unequal variances) over all
 * numbers. Pairing only the seeds that two settings share would hold another difference against noise than the one
 * between their means. Needs two numbers on each side for an interval. */
vmae_difference vmae_sample_difference(const vmae_sample *a, const vmae_sample *b);

/* Holm's correction for many comparisons, over the n differences that are shown out of a family of `family` that the
 * data could have chosen them from. The settings of a table are held against the best of them, which the same data
 * chose: their family is every pair, k (k - 1) / 2; against a reference chosen before, it is the n themselves. With
 * five equal settings of three seeds, at least one verdict in a table is a false "real" in 25% of the tables without
 * correction, in 7% with a family of k - 1, and in 3% with every pair (test_stats.c). */
void vmae_holm(vmae_difference *differences, size_t n, size_t family);

/* By p_holm: "real", "noise", "equal", "can't tell (n=1)", "can't tell (no spread)" */
const char *vmae_difference_verdict(const vmae_difference *difference);

/* Kendall's tau-b, and its exact two-sided p where nothing is tied (else NaN). false if n < 2, n > 1000, or all of a
 * side is tied. */
bool vmae_kendall(const double *a, const double *b, size_t n, double *tau, double *p);

#endif
