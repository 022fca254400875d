/* stats.c -- the few tests that tables and comparisons need. */
#include "results/stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Student's t ---- */

/* Continued fraction of the incomplete beta function (Lentz's method); converges fast for x < (a + 1) / (a + b + 2). */
static double beta_fraction(double a, double b, double x)
{
    enum { ITERATIONS = 500 };
    const double tiny = 1e-300, exact = 1e-16;
    double c = 1.0, d = 1.0 - (a + b) * x / (a + 1.0);
    d = 1.0 / (fabs(d) < tiny ? tiny : d);
    double result = d;
    for (int m = 1; m < ITERATIONS; m++) {
        for (int odd = 0; odd < 2; odd++) {
            const double term = odd ? -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0))
                                    : m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m));
            d = 1.0 + term * d;
            c = 1.0 + term / c;
            d = 1.0 / (fabs(d) < tiny ? tiny : d);
            c = fabs(c) < tiny ? tiny : c;
            result *= d * c;
        }
        if (fabs(d * c - 1.0) < exact)
            break;
    }
    return result;
}

/* The regularised incomplete beta function I_x(a, b); y is 1 - x, given apart so that it need not be rounded. */
static double incomplete_beta(double a, double b, double x, double y)
{
    if (x <= 0.0)
        return 0.0;
    if (y <= 0.0)
        return 1.0;
    const double front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log(y));
    return x < (a + 1.0) / (a + b + 2.0) ? front * beta_fraction(a, b, x) / a
                                         : 1.0 - front * beta_fraction(b, a, y) / b;
}

/* P(|T| > |t|) */
static double two_sided(double t, double df)
{
    const double t2 = t * t;
    return isinf(t2) ? 0.0 : incomplete_beta(df / 2.0, 0.5, df / (df + t2), t2 / (df + t2));
}

double vmae_student_cdf(double t, double df)
{
    const double tail = two_sided(t, df) / 2.0;
    return t > 0.0 ? 1.0 - tail : tail;
}

double vmae_student_quantile(double p, double df)
{
    const double tail = p < 0.5 ? p : 1.0 - p; /* P(T > t), t >= 0 */
    double low = 0.0, high = 1.0;
    while (two_sided(high, df) / 2.0 > tail && high < 1e300)
        high *= 2.0;
    for (int i = 0; i < 200 && high - low > 1e-15 * high; i++) {
        const double middle = low + (high - low) / 2.0;
        if (two_sided(middle, df) / 2.0 > tail)
            low = middle;
        else
            high = middle;
    }
    return p < 0.5 ? -high : high;
}

/* ---- means and differences ---- */

void vmae_mean_std(const double *values, size_t n, double *mean, double *std)
{
    double sum = 0.0, squares = 0.0;
    for (size_t i = 0; i < n; i++)
        sum += values[i];
    *mean = n ? sum / (double)n : NAN;
    for (size_t i = 0; i < n; i++)
        squares += (values[i] - *mean) * (values[i] - *mean); /* a second pass: one pass cancels */
    *std = n > 1 ? sqrt(squares / (double)(n - 1)) : NAN;
}

static void finish(vmae_difference *result, double error)
{
    result->t = result->p = result->p_holm = result->low = result->high = NAN;
    if (!(error > 0.0) || !isfinite(result->difference))
        return;
    const double half = vmae_student_quantile(0.975, result->df) * error;
    result->t = result->difference / error;
    result->p = result->p_holm = two_sided(result->t, result->df);
    result->low = result->difference - half;
    result->high = result->difference + half;
}

static vmae_difference paired_difference(const double *a, const double *b, size_t n)
{
    vmae_difference result = { .n_a = n, .n_b = n, .paired = true, .df = (double)n - 1.0 };
    double sum = 0.0, squares = 0.0;
    for (size_t i = 0; i < n; i++)
        sum += b[i] - a[i];
    result.difference = n ? sum / (double)n : NAN;
    for (size_t i = 0; i < n; i++)
        squares += (b[i] - a[i] - result.difference) * (b[i] - a[i] - result.difference);
    finish(&result, n > 1 ? sqrt(squares / (double)(n - 1) / (double)n) : NAN);
    return result;
}

static vmae_difference welch_difference(const vmae_sample *a, const vmae_sample *b)
{
    vmae_difference result = { .n_a = a->n, .n_b = b->n };
    double mean_a, mean_b, std_a, std_b;
    vmae_mean_std(a->values, a->n, &mean_a, &std_a);
    vmae_mean_std(b->values, b->n, &mean_b, &std_b);
    result.difference = mean_b - mean_a;
    const double va = std_a * std_a / (double)a->n, vb = std_b * std_b / (double)b->n;
    result.df = (va + vb) * (va + vb) / (va * va / ((double)a->n - 1.0) + vb * vb / ((double)b->n - 1.0));
    finish(&result, sqrt(va + vb));
    return result;
}

vmae_difference vmae_sample_difference(const vmae_sample *a, const vmae_sample *b)
{
    bool same = a->n == b->n;
    for (size_t i = 0; same && i < a->n; i++)
        same = a->seeds[i] == b->seeds[i];
    return same ? paired_difference(a->values, b->values, a->n) : welch_difference(a, b);
}

/* The smallest p first, times the comparisons that are left; never smaller than one before it. */
void vmae_holm(vmae_difference *differences, size_t n, size_t family)
{
    double least = 0.0;
    for (size_t i = 0; i < n; i++)
        differences[i].p_holm = NAN;
    for (size_t rank = 0; rank < n; rank++) {
        vmae_difference *next = NULL;
        for (size_t i = 0; i < n; i++)
            if (isnan(differences[i].p_holm) && (next ? differences[i].p < next->p : !isnan(differences[i].p)))
                next = &differences[i];
        if (!next)
            break;
        least = fmax(least, fmin(1.0, next->p * (double)(family - rank)));
        next->p_holm = least;
    }
}

const char *vmae_difference_verdict(const vmae_difference *difference)
{
    if (difference->n_a < 2 || difference->n_b < 2)
        return "can't tell (n=1)";
    if (isnan(difference->p))
        return difference->difference == 0.0 ? "equal" : "can't tell (no spread)";
    return difference->p_holm < 0.05 ? "real" : "noise";
}

/* ---- ranks ---- */

/* The exact two-sided p of Kendall's test without ties: how many of the n! orders have so few or so many discordant
 * pairs. In probabilities, order by order: a new element adds 0 .. m - 1 discordant pairs, equally likely. NaN without
 * memory. */
static double kendall_exact_p(size_t n, size_t discordant)
{
    const size_t pairs = n * (n - 1) / 2, least = discordant < pairs - discordant ? discordant : pairs - discordant;
    double *probability = calloc(least + 1, sizeof *probability), *next = calloc(least + 1, sizeof *next), p = NAN;
    if (probability && next) {
        probability[0] = 1.0;
        for (size_t m = 2; m <= n; m++) {
            double window = 0.0;
            for (size_t k = 0; k <= least; k++) {
                window += probability[k];
                if (k >= m)
                    window -= probability[k - m];
                next[k] = window / (double)m;
            }
            memcpy(probability, next, (least + 1) * sizeof *next);
        }
        p = 0.0;
        for (size_t k = 0; k <= least; k++)
            p += 2.0 * probability[k];
    }
    free(probability);
    free(next);
    return p > 1.0 ? 1.0 : p;
}

bool vmae_kendall(const double *a, const double *b, size_t n, double *tau, double *p)
{
    size_t concordant = 0, discordant = 0, tied_a = 0, tied_b = 0;
    if (n < 2 || n > 1000)
        return false;
    for (size_t i = 0; i < n; i++)
        for (size_t j = i + 1; j < n; j++) {
            const double product = (a[i] > a[j]   ? 1.0
                                    : a[i] < a[j] ? -1.0
                                                  : 0.0) *
                                   (b[i] > b[j]   ? 1.0
                                    : b[i] < b[j] ? -1.0
                                                  : 0.0);
            concordant += product > 0.0;
            discordant += product < 0.0;
            tied_a += a[i] == a[j];
            tied_b += b[i] == b[j];
        }
    const double pairs = (double)n * (double)(n - 1) / 2.0;
    if ((double)tied_a == pairs || (double)tied_b == pairs)
        return false;
    *tau = ((double)concordant - (double)discordant) / sqrt((pairs - (double)tied_a) * (pairs - (double)tied_b));
    *p = tied_a || tied_b ? NAN : kendall_exact_p(n, discordant);
    return true;
}
