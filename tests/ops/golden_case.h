/* golden_case.h -- op cases whose operands come from a golden file, by their names there. */
#ifndef VMAE_TESTS_GOLDEN_CASE_H
#define VMAE_TESTS_GOLDEN_CASE_H

#include "tests/model/golden.h"
#include "tests/ops/op_check.h"

/* The shape of an entry, with `more` added to dimension 1 (a class token that the file lacks). */
vmae_shape golden_shape(const vmae_checkpoint *file, const char *name, int64_t more);
/* Writes every named operand, and the cotangent: the file's if it has one, else ones (the case gives a loss). rounded:
 * what a bf16 run would hold in bf16 is rounded to it, whatever the precision of this one. */
void golden_fill(op_run *run, const vmae_checkpoint *file, bool rounded);

/* What a limit is relative to. */
typedef enum limit_of { THE_LARGEST, THE_ROWS_LARGEST, THE_COLUMNS_LARGEST, AT_LEAST_1 } limit_of;
/* The largest error of a tensor of the run against an entry. */
double golden_error(op_run *run, const vmae_tensor *tensor, const vmae_checkpoint *file, const char *name, limit_of of);
/* It is within limit. bf16 runs are compared with 5e-2 of the largest, and slack, instead. */
void golden_compare(op_run *run, const vmae_tensor *tensor, const vmae_checkpoint *file, const char *name, limit_of of,
                    double limit, double slack);
/* "grad.<name>" of every named operand that takes a gradient; slack: one number an operand, or NULL. */
void golden_gradients(op_run *run, const vmae_checkpoint *file, limit_of of, double limit, const double *slack);
/* Their errors of the largest, one an operand (0 where it takes none). */
void golden_gradient_errors(op_run *run, const vmae_checkpoint *file, double *errors);

#endif
