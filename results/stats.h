/* stats.h -- is a difference noise? Student's t, Welch's and the paired test, Kendall's rank agreement. Checked against
 * SciPy. */
#ifndef VMAE_RESULTS_STATS_H
#define VMAE_RESULTS_STATS_H

#include <stdbool.h>
#include <stddef.h>

/* Student's t distribution with df > 0 degrees of freedom (any real number). */
double vmae_student_cdf(double t, double df);
double vmae_student_quantile(double p, double df); /* 0 < p < 1 */

/* Mean and standard deviation (n - 1 in the denominator); NaN where there are too few. */
void vmae_mean_std(const double *values, size_t n, double *mean, double *std);

typedef struct vmae_difference {
    size_t n_a, n_b; /* pairs: equal */
    bool paired;
    double difference; /* mean of b minus mean of a */
    double low, high;  /* 95% interval of it; NaN where it cannot be told */
    double t, df, p;   /* two-sided; NaN where it cannot be told */
} vmae_difference;
/* Pairs a[i] with b[i]: same seed. Needs n >= 2 for an interval. */
vmae_difference vmae_paired_difference(const double *a, const double *b, size_t n);
/* Welch's test: no pairs, unequal variances. Needs 2 on each side for an interval. */
vmae_difference vmae_welch_difference(const double *a, size_t n_a, const double *b, size_t n_b);

/* "real", "noise", "equal", "can't tell (n=1)", "can't tell (no spread)" */
const char *vmae_difference_verdict(const vmae_difference *difference);

/* Kendall's tau-b, and its exact two-sided p where nothing is tied (else NaN). false if n < 2, n > 1000, or all of a
 * side is tied. */
bool vmae_kendall(const double *a, const double *b, size_t n, double *tau, double *p);

#endif
