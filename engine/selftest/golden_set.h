/* golden_set.h -- reads a set of reference vectors: a folder of safetensors, settings in the metadata. For tests, and
 * for `vicmae selftest --golden`. */
#ifndef VMAE_SELFTEST_GOLDEN_SET_H
#define VMAE_SELFTEST_GOLDEN_SET_H

#include "engine/model/model.h"

/* Opens <folder>/<name>.safetensors. The caller frees *file. */
vmae_status golden_set_open(vmae_checkpoint **file, const char *folder, const char *name);
/* A number of the metadata; `otherwise` if it is absent. */
double golden_set_number(const vmae_checkpoint *file, const char *key, double otherwise);
/* The model that a file's case is of; what it does not say is as the set's generator has it. */
vmae_model_config golden_set_model(const vmae_checkpoint *file);
/* An F32 tensor of `count` values, in the file's memory. VMAE_EDATA if there is none such. */
vmae_status golden_set_floats(const vmae_checkpoint *file, const char *name, int64_t count, const float **values);
/* Writes every parameter, the case's own "param.<name>" where it has one, else base's <name>; then refreshes them. */
vmae_status golden_set_params(vmae_params *params, const vmae_checkpoint *file, const vmae_checkpoint *base);
/* Writes "<stem>1" and "<stem>2", the two views, which are the halves of one batch here. */
vmae_status golden_set_views(vmae_graph *g, vmae_tensor *to, const vmae_checkpoint *inputs, const char *stem);

#endif
