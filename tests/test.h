/* test.h -- the tests' own frame: a name that is a sentence, checks that say what they saw, skips that are counted.
 *
 *   TEST(masked_mse_of_unequal_shapes_names_both) { ... CHECK(x == 1); CHECK_NEAR(y, 2.0, 1e-6); CHECK_STR(text, "part
 * of it"); }
 *
 * A program's tests register themselves; `program NAME...` runs those whose names contain a NAME. Exit code 0: all
 * passed; 1: a failure; 77: every test was skipped. */
#ifndef VMAE_TEST_H
#define VMAE_TEST_H

#include "engine/core/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct vmae_test {
    const char *name, *file;
    void (*run)(void);
    struct vmae_test *next;
} vmae_test;
void vmae_test_register(vmae_test *test);

#define TEST(test_name)                                                                                                \
    static void test_name(void);                                                                                       \
    __attribute__((constructor)) static void register_##test_name(void)                                                \
    {                                                                                                                  \
        static vmae_test self = { #test_name, __FILE__, test_name, NULL };                                             \
        vmae_test_register(&self);                                                                                     \
    }                                                                                                                  \
    static void test_name(void)

/* A failed check is counted and printed; the test goes on, except after REQUIRE, which leaves the test. */
bool vmae_check(bool ok, const char *file, int line, const char *format, ...) VMAE_PRINTF(4, 5);
#define CHECK(condition) vmae_check((condition), __FILE__, __LINE__, "%s", #condition)
#define CHECK_OK(call)                                                                                                 \
    do {                                                                                                               \
        const vmae_status check_status_ = (call);                                                                      \
        vmae_check(check_status_ == VMAE_OK, __FILE__, __LINE__, "%s: %s", #call, vmae_error());                       \
    } while (0)
#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!vmae_check((condition), __FILE__, __LINE__, "%s", #condition))                                            \
            return;                                                                                                    \
    } while (0)
#define REQUIRE_OK(call)                                                                                               \
    do {                                                                                                               \
        const vmae_status check_status_ = (call);                                                                      \
        if (!vmae_check(check_status_ == VMAE_OK, __FILE__, __LINE__, "%s: %s", #call, vmae_error()))                  \
            return;                                                                                                    \
    } while (0)
#define CHECK_EQ(a, b)                                                                                                 \
    do {                                                                                                               \
        const long long check_a_ = (long long)(a), check_b_ = (long long)(b);                                          \
        vmae_check(check_a_ == check_b_, __FILE__, __LINE__, "%s is %lld, expected %s = %lld", #a, check_a_, #b,       \
                   check_b_);                                                                                          \
    } while (0)
#define CHECK_NEAR(a, b, tolerance)                                                                                    \
    do {                                                                                                               \
        const double check_a_ = (a), check_b_ = (b), check_t_ = (tolerance);                                           \
        vmae_check(__builtin_fabs(check_a_ - check_b_) <= check_t_, __FILE__, __LINE__,                                \
                   "%s is %.9g, expected %.9g +- %.3g", #a, check_a_, check_b_, check_t_);                             \
    } while (0)
/* text contains part */
#define CHECK_STR(text, part) vmae_check_contains((text), (part), __FILE__, __LINE__)
bool vmae_check_contains(const char *text, const char *part, const char *file, int line);
/* The call fails with this status and a sentence that contains part. */
#define CHECK_FAILS(call, expected_status, part)                                                                       \
    do {                                                                                                               \
        const vmae_status check_status_ = (call);                                                                      \
        vmae_check(check_status_ == (expected_status), __FILE__, __LINE__, "%s gave status %d (%s), expected %d",      \
                   #call, (int)check_status_, check_status_ ? vmae_error() : "ok", (int)(expected_status));            \
        if (check_status_ == (expected_status))                                                                        \
            vmae_check_contains(vmae_error(), (part), __FILE__, __LINE__);                                             \
    } while (0)

/* Whether this run of the program leaves no test out. */
bool vmae_test_runs_all(void);

/* Calls `done` after the last test, before anything is torn down (libraries that were opened take part in exit(), too).
 * The latest asked for is the one called. */
void vmae_test_at_end(void (*done)(void));

/* Ends this test as skipped, with the reason printed. */
#define SKIP(...)                                                                                                      \
    do {                                                                                                               \
        vmae_test_skip(__VA_ARGS__);                                                                                   \
        return;                                                                                                        \
    } while (0)
void vmae_test_skip(const char *format, ...) VMAE_PRINTF(1, 2);

/* Largest |a[i] - b[i]|, and largest |b[i]|; NaN counts as infinitely far. */
double vmae_max_difference(const float *a, const float *b, size_t count);
double vmae_max_magnitude(const float *a, size_t count);

/* The device that tests run on, as vmae_backend_open takes it: $VICMAE_TEST_DEVICE, else "cpu". */
const char *vmae_test_device(void);
bool vmae_test_on_cpu(void);

/* A fresh folder under $TMPDIR (or /tmp), removed with all it holds when the program ends. */
const char *vmae_test_folder(void);

/* Shared test data beside the checkout ("../shared/<name>", or $VICMAE_SHARED/<name>); NULL where it does not exist.
 * "golden" follows $VICMAE_GOLDEN. Valid until the next call with the same name. */
const char *vmae_test_shared(const char *name);

#endif
