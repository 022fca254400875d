/* test_selftest.c -- the self-test finds what is wrong: with the CPU as a device of which one function is another, and
 * with reference vectors of which one number is. */
#include "tests/test.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/selftest/selftest.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- a device, and what was found ---- */

static vmae_backend *cpu, device;
static vmae_kernels kernels; /* the device's */

static void close_cpu(void)
{
    vmae_backend_close(cpu);
}

/* The device as it should be. */
static bool make_device(void)
{
    vmae_test_at_end(close_cpu);
    if (!cpu && !vmae_check(vmae_cpu_open(&cpu, 2) == VMAE_OK, __FILE__, __LINE__, "%s", vmae_error()))
        return false;
    device = *cpu;
    kernels = *cpu->kernels;
    device.kernels = &kernels;
    return true;
}

typedef struct found {
    int made, failed;
    char text[4096]; /* "NAME (DETAIL)", a line a failed check */
} found;

static void on_check(void *context, const vmae_selftest_check *check)
{
    found *f = context;
    const size_t used = strlen(f->text);
    f->made++;
    f->failed += !check->passed;
    if (!check->passed)
        snprintf(f->text + used, sizeof f->text - used, "%s (%s)\n", check->name, check->detail);
}

static found run(const char *group, const char *golden)
{
    found f = { 0 };
    int failed = -1;
    const vmae_selftest test = {
        .device = &device, .cpu = cpu, .report = on_check, .context = &f, .only = group, .golden = golden
    };
    CHECK_OK(vmae_selftest_run(&test, &failed));
    CHECK_EQ(failed, f.failed);
    CHECK(f.made > 0);
    return f;
}

/* So many checks failed, and `part` names one of them. */
static void check_found(const found *f, int count, const char *part)
{
    vmae_check(f->failed == count, __FILE__, __LINE__, "%d of %d checks failed, expected %d:\n%s", f->failed, f->made,
               count, f->text);
    CHECK_STR(f->text, part);
}

TEST(a_device_like_the_cpu_passes)
{
    static const char *const groups[] = { "memory", "view", "op" };
    REQUIRE(make_device());
    for (int i = 0; i < 3; i++) {
        const found f = run(groups[i], NULL);
        check_found(&f, 0, "");
    }
}

/* ---- wrong devices ---- */

static vmae_status gelu_off_in_one_place(vmae_backend *be, void *y, const void *x, vmae_type type, int64_t n)
{
    VMAE_TRY(cpu->kernels->gelu(be, y, x, type, n));
    if (type == VMAE_F32)
        ((float *)y)[n - 1] += 1e-3f;
    return VMAE_OK;
}

TEST(a_wrong_kernel_fails_the_ops_that_use_it)
{
    REQUIRE(make_device());
    kernels.gelu = gelu_off_in_one_place;
    const found f = run("op", NULL);
    check_found(&f, 3, "gelu (result)\n");
    CHECK_STR(f.text, "gelu of linear (result)\n");
    CHECK_STR(f.text, "gelu of a shared linear (result)\n");
}

static vmae_status gelu_grad_of_nan(vmae_backend *be, void *dx, float *dbias, float *scratch, const void *dy,
                                    const void *x, vmae_type type, int64_t rows, int64_t d, bool accumulate)
{
    VMAE_TRY(cpu->kernels->gelu_grad(be, dx, dbias, scratch, dy, x, type, rows, d, accumulate));
    if (dbias)
        dbias[0] = NAN;
    return VMAE_OK;
}

TEST(a_gradient_that_is_not_a_number_fails)
{
    REQUIRE(make_device());
    device.precision = VMAE_F32;
    kernels.gelu_grad = gelu_grad_of_nan;
    const found f = run("op", NULL);
    check_found(&f, 1, "gelu of linear (gradient of operand 2)\n");
}

/* Within what rounding may change, but not always the same. */
static vmae_status unsteady_relu(vmae_backend *be, void *y, const void *x, vmae_type type, int64_t n)
{
    static int turn;
    VMAE_TRY(cpu->kernels->relu(be, y, x, type, n));
    if (type == VMAE_F32 && turn++ % 2)
        ((float *)y)[0] = nextafterf(((float *)y)[0], INFINITY);
    return VMAE_OK;
}

TEST(other_bits_in_a_second_run_fail)
{
    REQUIRE(make_device());
    kernels.relu = unsteady_relu;
    const found f = run("op", NULL);
    check_found(&f, 1, "relu (two runs give other bits)\n");
}

static vmae_status refusing_matmul(vmae_backend *be, vmae_matmul **matmul, const vmae_matmul_shape *shape)
{
    return shape->in == VMAE_BF16 ? vmae_fail(VMAE_EUSER, "no bf16 here") : device.matmul_new(be, matmul, shape);
}

TEST(a_cpu_without_bf16_products_is_no_fault_of_the_device)
{
    REQUIRE(make_device());
    if (device.precision != VMAE_BF16)
        SKIP("the CPU multiplies no bf16");
    const vmae_backend right = *cpu;
    cpu->precision = VMAE_F32;
    cpu->matmul_new = refusing_matmul;
    const found f = run("op", NULL);
    *cpu = right;
    check_found(&f, 0, "");
}

static vmae_status views_off_in_one_place(vmae_backend *be, float *images, void *scratch, const void *sources,
                                          const vmae_view *views, int64_t rows, int64_t size)
{
    VMAE_TRY(cpu->kernels->augment(be, images, scratch, sources, views, rows, size));
    float *last = &images[rows * 3 * size * size - 1];
    *last = nextafterf(*last, INFINITY);
    return VMAE_OK;
}

TEST(a_view_that_is_off_by_a_bit_fails)
{
    REQUIRE(make_device());
    kernels.augment = views_off_in_one_place;
    const found f = run("view", NULL);
    check_found(&f, 1, "views from records (they must have the CPU's bits)\n");
}

static vmae_status upload_without_the_end(vmae_backend *be, void *to, const void *from, size_t bytes)
{
    return cpu->upload(be, to, from, bytes > 1000000 ? bytes - 1 : bytes);
}

static vmae_status any_label(vmae_backend *be, float *loss, float *prob, float *row, const float *logits,
                             const int32_t *labels, const float *targets, int64_t rows, int64_t classes,
                             float smoothing)
{
    (void)be, (void)loss, (void)prob, (void)row, (void)logits, (void)labels, (void)targets, (void)rows, (void)classes;
    (void)smoothing;
    return VMAE_OK;
}

TEST(lost_bytes_and_a_label_that_is_taken_fail)
{
    REQUIRE(make_device());
    device.upload = upload_without_the_end;
    kernels.cross_entropy = any_label;
    const found f = run("memory", NULL);
    check_found(&f, 5, "a label out of range is refused (it was taken)\n"); /* two sizes, each twice, besides */
    CHECK_STR(f.text, "5000001 bytes there and back (other bytes)\n");
    CHECK_STR(f.text, "40000003 bytes there and back, prefetched (other bytes)\n");
}

static vmae_status mse_grad_off_in_one_place(vmae_backend *be, void *dpred, const float *dloss, const void *pred,
                                             const float *images, const float *mask, const float *stats, vmae_type type,
                                             int64_t batch, int64_t skip, int64_t channels, int64_t side, int64_t p)
{
    VMAE_TRY(cpu->kernels->patch_mse_grad(be, dpred, dloss, pred, images, mask, stats, type, batch, skip, channels,
                                          side, p));
    memset(dpred, 0, (size_t)(batch * (skip + side / p * (side / p)) * channels * p * p / 2) * vmae_type_size(type));
    return VMAE_OK;
}

static vmae_status adamw_that_rests(vmae_backend *be, float *param, vmae_bf16 *copy, float *m, float *v,
                                    const float *grad, const float *norm, const vmae_segment *segments, int64_t count,
                                    const vmae_optim_step *step)
{
    (void)be, (void)param, (void)copy, (void)m, (void)v, (void)grad, (void)norm, (void)segments, (void)count;
    (void)step;
    return VMAE_OK;
}

TEST(a_wrong_gradient_fails_every_step_and_a_wrong_optimiser_the_trace)
{
    REQUIRE(make_device());
    device.precision = VMAE_F32; /* half the time */
    kernels.patch_mse_grad = mse_grad_off_in_one_place;
    kernels.adamw = adamw_that_rests;
    const found f = run("step", NULL);
    check_found(&f, 4, "a trace of 10 steps: losses");
    CHECK_STR(f.text, "36 px, width 24: gradients");
    CHECK_STR(f.text, "nano: gradients");
    CHECK_STR(f.text, "a block of base: gradients");
}

/* ---- reference vectors ---- */

/* A copy of a file of the set in which the first value of one tensor is another. */
static void copy_with_fault(const char *from, const char *to, const char *tensor, float added)
{
    vmae_checkpoint *file = NULL;
    vmae_writer *writer = vmae_writer_new();
    REQUIRE(writer);
    REQUIRE_OK(vmae_checkpoint_open(&file, from));
    const vmae_entry *changed = vmae_checkpoint_find(file, tensor);
    REQUIRE(changed && changed->dtype == VMAE_ST_F32);
    float *values = malloc(changed->bytes);
    REQUIRE(values);
    memcpy(values, changed->data, changed->bytes);
    values[0] += added;
    for (size_t i = 0; i < vmae_checkpoint_count(file); i++) {
        const vmae_entry *e = vmae_checkpoint_at(file, i);
        CHECK_OK(vmae_writer_add(writer, e->name, e->dtype, e->rank, e->dim, e == changed ? values : e->data));
    }
    for (size_t i = 0; i < vmae_checkpoint_metadata_count(file); i++) {
        const char *key, *value;
        vmae_checkpoint_metadata_at(file, i, &key, &value);
        CHECK_OK(vmae_writer_metadata(writer, key, value));
    }
    CHECK_OK(vmae_writer_save(writer, to));
    vmae_writer_free(writer);
    vmae_checkpoint_free(file);
    free(values);
}

/* The set of vicmae's steps, linked into the test's folder, but for faults in some files: a gradient that is off, a
 * loss that is off, a file that is absent. */
static void link_set(const char *set)
{
    static const struct {
        const char *name, *tensor;
        float added;
    } files[] = { { "vicmae_params", NULL, 0 },   { "vicmae_inputs", NULL, 0 },
                  { "vicmae_mean_r50", NULL, 0 }, { "vicmae_mean_r75", NULL, 0 },
                  { "vicmae_max_r50", NULL, 0 },  { "vicmae_max_r75", "grad.norm.bias", 1 },
                  { "vicmae_gem_r50", NULL, 0 },  { "vicmae_gem_r75", "loss_recon", 1e-3f },
                  { "vicmae_cls_r50", NULL, 0 } };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char from[1024], to[1024];
        snprintf(from, sizeof from, "%s/%s.safetensors", set, files[i].name);
        snprintf(to, sizeof to, "%s/%s.safetensors", vmae_test_folder(), files[i].name);
        if (files[i].tensor)
            copy_with_fault(from, to, files[i].tensor, files[i].added);
        else
            CHECK(symlink(from, to) == 0);
    }
}

TEST(reference_vectors_pass_and_fail_where_one_number_is_another)
{
    const char *set = vmae_test_shared("golden");
    if (!set)
        SKIP("no golden vectors beside the checkout (VICMAE_GOLDEN=DIR names a set)");
    REQUIRE(make_device());
    char *absolute = realpath(set, NULL);
    REQUIRE(absolute);
    const found right = run("golden", absolute);
    check_found(&right, 0, "");
    CHECK_EQ(right.made, 16);
    link_set(absolute);
    free(absolute);
    const found wrong = run("golden", vmae_test_folder());
    check_found(&wrong, 3, "vicmae_max_r75: gradients (norm.bias)\n");
    CHECK_STR(wrong.text, "vicmae_gem_r75: losses");
    CHECK_STR(wrong.text, "vicmae_cls_r75.safetensors");
}

TEST(groups_that_there_are_not_and_a_set_that_was_not_named_are_refused)
{
    int failed;
    REQUIRE(make_device());
    vmae_selftest test = { .device = &device, .cpu = cpu, .report = on_check, .only = "trace" };
    CHECK_FAILS(vmae_selftest_run(&test, &failed), VMAE_EUSER, "memory, view, op, step and golden");
    test.only = "golden";
    CHECK_FAILS(vmae_selftest_run(&test, &failed), VMAE_EUSER, "--golden");
}
