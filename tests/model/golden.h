/* golden.h -- a set of reference vectors in tests: a skip where there is none, a failed check for what is missing, and
 * comparison within the limits that the set's README gives. golden_set.h reads sizes, parameters and views. */
#ifndef VMAE_TESTS_GOLDEN_H
#define VMAE_TESTS_GOLDEN_H

#include "engine/checkpoint/checkpoint.h"
#include "engine/model/model.h"
#include "engine/selftest/golden_set.h"
#include "tests/test.h"

/* Opens <golden>/<name>.safetensors; NULL (and the test is marked skipped) where there is no set; a damaged file fails
 * the test. */
vmae_checkpoint *golden_open(const char *name);
double golden_number(const vmae_checkpoint *file, const char *key); /* of the metadata; absent: the check fails, 0 */
bool golden_flag(const vmae_checkpoint *file, const char *key);
/* The floats of an entry, fresh memory, *count of them; fails the test and gives NULL if it is absent. Integers are
 * converted. */
float *golden_floats(const vmae_checkpoint *file, const char *name, int64_t *count);

/* A parameter's value or gradient as it is now, fresh memory; NULL: said why. */
float *golden_value_of(vmae_backend *be, const vmae_params *params, const vmae_param *param);
float *golden_gradient_of(vmae_backend *be, const vmae_params *params, const vmae_param *param);

/* |got - wanted| <= limit * largest |wanted| + floor. Says what was seen. */
bool golden_near(const char *what, const float *got, const float *wanted, int64_t count, double limit, double floor);
/* The largest magnitude among all entries whose names begin with prefix. */
double golden_largest(const vmae_checkpoint *file, const char *prefix);

#endif
