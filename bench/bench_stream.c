/* bench_stream.c -- memory bandwidth, the roof of everything that is not a matrix product.
 *
 *   bench_stream [THREADS [MIB]]      all cores and three arrays of 256 MiB, unless said otherwise
 *
 * As in McCalpin's STREAM: copy c = a, triad a = b + 3 c; each array counts once per loop, a cache line that a store
 * reads first does not count. Best, median and worst of ten runs; the result is checked. */
#include "engine/core/log.h"
#include "engine/core/mem.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

enum { RUNS = 10, MIB_MAX = 1 << 16 };

typedef struct arrays {
    double *a, *b, *c;
    int64_t count;
} arrays;

static void fill(const arrays *x) /* first touch by the thread that works on it later */
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < x->count; i++) {
        x->a[i] = 1.0;
        x->b[i] = 2.0;
        x->c[i] = 0.0;
    }
}

static void copy(const arrays *x)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < x->count; i++)
        x->c[i] = x->a[i];
}

static void triad(const arrays *x)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < x->count; i++)
        x->a[i] = x->b[i] + 3.0 * x->c[i];
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_rates(const char *name, double *seconds, double bytes)
{
    qsort(seconds, RUNS, sizeof *seconds, ascending);
    printf("%-6s %6.1f GB/s [%.1f .. %.1f]\n", name, 2e-9 * bytes / (seconds[RUNS / 2 - 1] + seconds[RUNS / 2]),
           1e-9 * bytes / seconds[RUNS - 1], 1e-9 * bytes / seconds[0]);
}

static bool is_right(const arrays *x) /* c = the a before, a = 2 + 3 c: starts at 1, then 5, 17, ... */
{
    double a = 1.0, c = 0.0;
    for (int i = 0; i < RUNS + 1; i++) {
        c = a;
        a = 2.0 + 3.0 * c;
    }
    for (int64_t i = 0; i < x->count; i++)
        if (x->a[i] != a || x->c[i] != c)
            return false;
    return true;
}

int main(int argc, char **argv)
{
    const int threads = argc > 1 ? atoi(argv[1]) : 0, mib = argc > 2 ? atoi(argv[2]) : 256;
    double copies[RUNS], triads[RUNS];
    if (argc > 3 || threads < 0 || mib < 1 || mib > MIB_MAX) {
        fprintf(stderr, "Usage: bench_stream [THREADS [MIB of an array, 1 to %d]]\n", MIB_MAX);
        return 2;
    }
    if (threads > 0)
        omp_set_num_threads(threads);
    arrays x = { .count = (int64_t)mib << 17 };
    x.a = vmae_calloc((size_t)x.count, sizeof *x.a);
    x.b = vmae_calloc((size_t)x.count, sizeof *x.b);
    x.c = vmae_calloc((size_t)x.count, sizeof *x.c);
    int code = x.a && x.b && x.c ? 0 : 1;
    if (code)
        fprintf(stderr, "bench_stream: %s\n", vmae_error());
    else
        fill(&x);
    for (int i = -1; code == 0 && i < RUNS; i++) { /* the first warms up */
        const double start = vmae_seconds();
        copy(&x);
        const double middle = vmae_seconds();
        triad(&x);
        if (i >= 0) {
            copies[i] = middle - start;
            triads[i] = vmae_seconds() - middle;
        }
    }
    if (code == 0 && !is_right(&x)) {
        fprintf(stderr, "bench_stream: the sums are wrong: this machine's memory or compiler is broken\n");
        code = 1;
    }
    if (code == 0) {
        printf("memory, %d threads, 3 x %d MiB\n", omp_get_max_threads(), mib);
        print_rates("copy", copies, 16.0 * (double)x.count);
        print_rates("triad", triads, 24.0 * (double)x.count);
    }
    free(x.a);
    free(x.b);
    free(x.c);
    return code;
}
