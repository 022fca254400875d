/* op_check.h -- what the tests of ops check of a case. */
#ifndef VMAE_TESTS_OP_CHECK_H
#define VMAE_TESTS_OP_CHECK_H

#include "engine/selftest/op_case.h"
#include "tests/test.h"

/* The backend under test, opened once; ends the program if there is none. */
vmae_backend *test_backend(void);

/* Every operand's gradient against central differences, all in f32. */
void check_gradient(const op_case *what);
/* Result and gradients in bf16 against f32 on the same, rounded numbers. */
void check_bf16(const op_case *what);
/* Recording fails, and the sentence, given by planning, contains part. */
void check_refused(op_build *build, const operand *operands, int count, const char *part);

/* True, with a skip recorded, where the device multiplies no bf16. */
bool no_bf16(void);

#endif
