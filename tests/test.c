/* test.c -- runs the registered tests and counts. */
#include "tests/test.h"

#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static vmae_test *tests, **tests_end = &tests;
static int failed_checks;
static bool skipped, runs_all;
static void (*at_end)(void);

void vmae_test_register(vmae_test *test)
{
    *tests_end = test;
    tests_end = &test->next;
}

bool vmae_check(bool ok, const char *file, int line, const char *format, ...)
{
    if (ok)
        return true;
    failed_checks++;
    printf("  %s:%d: ", file, line);
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    return false;
}

bool vmae_check_contains(const char *text, const char *part, const char *file, int line)
{
    return vmae_check(text && strstr(text, part), file, line, "\"%s\" does not contain \"%s\"", text ? text : "(null)",
                      part);
}

bool vmae_test_runs_all(void)
{
    return runs_all;
}

void vmae_test_at_end(void (*done)(void))
{
    at_end = done;
}

void vmae_test_skip(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("  skipped: ");
    vprintf(format, args);
    putchar('\n');
    va_end(args);
    skipped = true;
}

double vmae_max_difference(const float *a, const float *b, size_t count)
{
    double worst = 0.0;
    for (size_t i = 0; i < count; i++) {
        const double difference = fabs((double)a[i] - (double)b[i]);
        if (!(difference <= worst))
            worst = isnan(difference) ? INFINITY : difference;
    }
    return worst;
}

double vmae_max_magnitude(const float *a, size_t count)
{
    double worst = 0.0;
    for (size_t i = 0; i < count; i++)
        worst = fmax(worst, fabs((double)a[i]));
    return worst;
}

const char *vmae_test_device(void)
{
    const char *device = getenv("VICMAE_TEST_DEVICE");
    return device && *device ? device : "cpu";
}

bool vmae_test_on_cpu(void)
{
    return strcmp(vmae_test_device(), "cpu") == 0;
}

static char folder[512];

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info, (void)kind, (void)where;
    return remove(path);
}

static void remove_folder(void)
{
    nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

const char *vmae_test_folder(void)
{
    if (!*folder) {
        const char *base = getenv("TMPDIR");
        snprintf(folder, sizeof folder, "%s/vicmae-test-XXXXXX", base && *base ? base : "/tmp");
        if (!mkdtemp(folder)) {
            perror(folder);
            exit(1);
        }
        atexit(remove_folder);
    }
    return folder;
}

const char *vmae_test_shared(const char *name)
{
    static char paths[4][512];
    static int turn;
    char *path = paths[turn++ % 4];
    const char *golden = getenv("VICMAE_GOLDEN"), *shared = getenv("VICMAE_SHARED");
    if (golden && strcmp(name, "golden") == 0)
        snprintf(path, sizeof paths[0], "%s", golden);
    else
        snprintf(path, sizeof paths[0], "%s/%s", shared ? shared : "../shared", name);
    return access(path, R_OK) == 0 ? path : NULL;
}

static bool wanted(const char *name, int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strstr(name, argv[i]))
            return true;
    return argc < 2;
}

int main(int argc, char **argv)
{
    int passed = 0, failed = 0, skips = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    runs_all = argc < 2;
    for (const vmae_test *test = tests; test; test = test->next) {
        if (!wanted(test->name, argc, argv))
            continue;
        failed_checks = 0;
        skipped = false;
        test->run();
        const char *result = failed_checks ? "FAILED" : skipped ? "skipped" : "ok";
        printf("%-8s%s\n", result, test->name);
        if (failed_checks)
            failed++;
        else if (skipped)
            skips++;
        else
            passed++;
    }
    if (at_end)
        at_end();
    printf("%d passed, %d failed, %d skipped\n", passed, failed, skips);
    return failed ? 1 : passed || !skips ? 0 : 77;
}
