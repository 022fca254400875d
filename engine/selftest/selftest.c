/* selftest.c -- the tally of checks, the groups of them, and those of memory and refusals. */
#include "engine/selftest/selftest.h"

#include "engine/core/mem.h"
#include "engine/selftest/internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

double share_off(const float *a, const float *b, int64_t count)
{
    double worst = 0.0, largest = 0.0;
    for (int64_t i = 0; i < count; i++) {
        const double off = fabs((double)a[i] - (double)b[i]);
        worst = off <= worst ? worst : isnan(off) ? (double)INFINITY : off;
        largest = fmax(largest, fabs((double)b[i]));
    }
    return largest > 0.0 ? worst / largest : worst > 0.0 ? (double)INFINITY : 0.0;
}

static void tally_add(tally *t, const vmae_selftest_check *check)
{
    t->failed += !check->passed;
    t->test->report(t->test->context, check);
}

void tally_compare(tally *t, const char *group, const char *name, vmae_type type, double worst, double limit,
                   const char *where)
{
    vmae_selftest_check check = {
        .group = group, .precision = vmae_type_name(type), .passed = worst <= limit, .worst = worst, .limit = limit
    };
    snprintf(check.name, sizeof check.name, "%s", name);
    snprintf(check.detail, sizeof check.detail, "%s", where);
    tally_add(t, &check);
}

void tally_hold(tally *t, const char *group, const char *name, vmae_type type, bool holds, const char *why)
{
    vmae_selftest_check check = { .group = group, .precision = vmae_type_name(type), .passed = holds };
    snprintf(check.name, sizeof check.name, "%s", name);
    snprintf(check.detail, sizeof check.detail, "%s", holds ? "" : why);
    tally_add(t, &check);
}

/* ---- memory ---- */

/* There and back, fresh blocks being zeros, and the byte behind the end left alone. */
static vmae_status round_trip(vmae_backend *be, size_t bytes, bool prefetch, bool *right)
{
    unsigned char *sent = vmae_calloc(bytes + 2, 1), *got = vmae_calloc(bytes + 2, 1);
    void *block = NULL;
    vmae_status st = sent && got ? be->allocate(be, &block, bytes + 2) : VMAE_ENOMEM;
    for (size_t i = 0; st == VMAE_OK && i < bytes; i++)
        sent[i] = (unsigned char)(i * 37 + i / 251 + 1);
    if (st == VMAE_OK && prefetch && be->prefetch)
        st = be->prefetch(be, sent, bytes);
    if (st == VMAE_OK && (st = be->upload(be, block, sent, bytes)) == VMAE_OK)
        st = be->download(be, got, block, bytes + 2);
    if (st == VMAE_OK)
        *right = memcmp(sent, got, bytes + 2) == 0;
    be->release(be, block);
    free(sent);
    free(got);
    return st;
}

static void check_round_trips(tally *t)
{
    static const size_t sizes[] = { 1, 4097, 262144, 262145, 5000001, 40000003 };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int prefetch = 0; prefetch <= 1; prefetch++) {
            char name[64];
            bool right = false;
            const vmae_status st = round_trip(t->test->device, sizes[i], prefetch, &right);
            snprintf(name, sizeof name, "%zu bytes there and back%s", sizes[i], prefetch ? ", prefetched" : "");
            tally_hold(t, "memory", name, VMAE_F32, st == VMAE_OK && right,
                       st == VMAE_OK ? "other bytes" : vmae_error());
        }
}

/* Uploads before work that uses them, one after the other: each must arrive before the work behind it. */
static void check_order(tally *t)
{
    enum { N = 100000, ROUNDS = 40 };
    vmae_backend *be = t->test->device;
    float *x = NULL, *sum = NULL, *host = vmae_calloc(N, sizeof *host), total = 0.0f;
    vmae_status st = host ? be->allocate(be, (void **)&x, N * sizeof *x) : VMAE_ENOMEM;
    if (st == VMAE_OK)
        st = be->allocate(be, (void **)&sum, N * sizeof *sum);
    for (int round = 1; st == VMAE_OK && round <= ROUNDS; round++) {
        for (int i = 0; i < N; i++)
            host[i] = (float)round;
        if ((st = be->upload(be, x, host, N * sizeof *x)) == VMAE_OK)
            st = be->kernels->add(be, sum, sum, x, VMAE_F32, N);
    }
    if (st == VMAE_OK)
        st = be->download(be, host, sum, N * sizeof *sum);
    bool right = st == VMAE_OK;
    for (int i = 0; right && i < N; i++)
        right = (total = host[i]) == (float)(ROUNDS * (ROUNDS + 1) / 2);
    tally_hold(t, "memory", "uploads between kernels keep their order", VMAE_F32, right,
               st == VMAE_OK ? "a sum is wrong" : vmae_error());
    be->release(be, x);
    be->release(be, sum);
    free(host);
}

/* A label out of range is refused, by name, at the latest by the next synchronize; afterwards all is well again. */
static void check_refusal(tally *t)
{
    enum { ROWS = 3, CLASSES = 5 };
    vmae_backend *be = t->test->device;
    const float logits[ROWS * CLASSES] = { 0 };
    const int32_t labels[ROWS] = { 0, CLASSES, 1 };
    char *block = NULL;
    const size_t floats = 64 * sizeof(float);
    vmae_status st = be->allocate(be, (void **)&block, 5 * floats);
    if (st == VMAE_OK && (st = be->upload(be, block, logits, sizeof logits)) == VMAE_OK)
        st = be->upload(be, block + floats, labels, sizeof labels);
    bool refused = false, well = false;
    if (st == VMAE_OK) {
        st = be->kernels->cross_entropy(be, (float *)(block + 2 * floats), (float *)(block + 3 * floats),
                                        (float *)(block + 4 * floats), (const float *)block,
                                        (const int32_t *)(block + floats), NULL, ROWS, CLASSES, 0.1f);
        if (st == VMAE_OK)
            st = be->synchronize(be);
        refused = st == VMAE_EDATA && strstr(vmae_error(), "label");
        well = be->synchronize(be) == VMAE_OK;
    }
    tally_hold(t, "memory", "a label out of range is refused", VMAE_F32, refused && well,
               refused ? "the device does not recover" : "it was taken");
    be->release(be, block);
}

void selftest_memory(tally *t)
{
    check_round_trips(t);
    check_order(t);
    check_refusal(t);
}

static const struct {
    const char *name;
    void (*run)(tally *t);
} groups[] = { { "memory", selftest_memory },
               { "view", selftest_views },
               { "op", selftest_ops },
               { "step", selftest_steps },
               { "golden", selftest_golden } };
enum { GROUPS = sizeof groups / sizeof *groups };

static bool is_wanted(const vmae_selftest *test, const char *group)
{
    return !test->only || strcmp(test->only, group) == 0;
}

vmae_status vmae_selftest_run(const vmae_selftest *test, int *failed)
{
    tally t = { .test = test };
    bool known = false;
    for (int i = 0; i < GROUPS; i++)
        known |= is_wanted(test, groups[i].name);
    if (!known)
        return vmae_fail(VMAE_EUSER, "there are no checks named %s; there are memory, view, op, step and golden",
                         test->only);
    if (test->only && strcmp(test->only, "golden") == 0 && !test->golden)
        return vmae_fail(VMAE_EUSER, "the golden checks need a folder of reference vectors (--golden FOLDER)");
    for (int i = 0; i < GROUPS; i++)
        if (is_wanted(test, groups[i].name))
            groups[i].run(&t);
    *failed = t.failed;
    return VMAE_OK;
}
