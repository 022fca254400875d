/* kernel_case.h -- one body tests a kernel on every backend.
 *
 * A body makes its operands in host memory. RUN calls an entry of the table with their twins in the device's memory and
 * brings back what it wrote:
 *
 *   static void check_gelu(vmae_backend *be, vmae_type type)
 *   {
 *       const tensor x = tensor_random(type, n, -1.0, 1.0, 1), y = tensor_new(type, n);
 *       RUN(be, gelu, OUT(y.data), IN(x.data), type, n);
 *       tensor_near(y, expected, 1e-6, "gelu");
 *   }
 *   TEST(gelu_is_exact) { on_every_backend_and_type(check_gelu); }
 *
 * It runs on every instruction set of this processor with 1, 2 and 3 threads, or, where VICMAE_TEST_DEVICE names
 * another device, on that one twice. All that OUT names must come out with the same bits each time, and what IN names
 * must not change. On the CPU a block is its own twin; elsewhere each has a block of the device to itself, of just its
 * size, so that whatever watches over that memory sees every step outside. */
#ifndef VMAE_TESTS_BACKEND_KERNEL_CASE_H
#define VMAE_TESTS_BACKEND_KERNEL_CASE_H

#include "engine/backend/backend.h"
#include "tests/test.h"

/* ---- backends ---- */

typedef void kernel_body(vmae_backend *be);
typedef void typed_kernel_body(vmae_backend *be, vmae_type type);
void on_every_backend(kernel_body *body);
void on_every_backend_and_type(typed_kernel_body *body); /* f32, then bf16 */
/* Once: the best instruction set with two threads, or the device. For what is not about arithmetic. */
void on_one_backend(kernel_body *body);
/* Whether the body has run before on this device and type with these instructions: only its bits are new. */
bool kernel_repeats(void);
/* What runs right now, for messages: "avx512, 2 threads". */
const char *on_what(void);

/* ---- memory: every block has its own bounds and goes when the body returns ---- */

void *grab(size_t bytes); /* filled with a pattern (floats of 3e38): whoever reads what nobody wrote is seen */
float *grab_floats(int64_t n);
int32_t *grab_ints(int64_t n);
double *grab_doubles(int64_t n);
void *grab_type(int64_t n, vmae_type type);
float *grab_float(float value);
/* A copy. */
void *grab_copy(const void *from, size_t bytes);
#define GRAB(...) grab_copy(__VA_ARGS__, sizeof(__VA_ARGS__)) /* of an array: GRAB((float[]){ 1, 2, 3 }) */
/* Frees everything grabbed: for bodies with many large cases. */
void release_all(void);

/* ---- calls: IN, OUT and TMP take a pointer into a grabbed block, or NULL ---- */

const void *kernel_in(const void *block);
void *kernel_out(void *block);
void *kernel_scratch(void *block);
#define IN(block)      kernel_in(block)      /* is only read */
#define OUT(block)     kernel_out(block)     /* is written; may be read first, too */
#define SCRATCH(block) kernel_scratch(block) /* what it holds afterwards is nobody's business */

/* Waits for the call, brings back what it wrote and looks at it; gives the call's status, or the device's own. */
vmae_status kernel_done(vmae_backend *be, size_t entry, vmae_status status);
#define CALL(be, entry, ...)                                                                                           \
    kernel_done(be, offsetof(vmae_kernels, entry), (be)->kernels->entry(be, __VA_ARGS__)) /* gives the status */
#define RUN(be, entry, ...) REQUIRE_OK(CALL(be, entry, __VA_ARGS__))
/* It refuses, on a device with a queue perhaps only when somebody waits. */
#define CHECK_REFUSED(expected, part, be, entry, ...) CHECK_FAILS(CALL(be, entry, __VA_ARGS__), expected, part)

/* An entry of the table is known by its offset there; 0 stands for the product, which is none. */
size_t kernel_entries(void);
const char *kernel_name(size_t entry);
int64_t kernel_calls(size_t entry); /* how often it ran so far, whatever the test */
/* For a call that is no CALL. */
void kernel_called(size_t entry);

#endif
