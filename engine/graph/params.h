/* params.h -- a model's parameters in one flat buffer, with a table of names.
 *
 * Names and shapes are those of the official PyTorch state dict. Trainable parameters come first in the buffer, so that
 * gradients and optimiser moments cover a prefix of it, and optimiser, clipping, checkpoint and all-reduce are each one
 * pass over flat memory. */
#ifndef VMAE_GRAPH_PARAMS_H
#define VMAE_GRAPH_PARAMS_H

#include "engine/backend/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { VMAE_RANK = 5 };

typedef struct vmae_shape {
    int rank;
    int64_t dim[VMAE_RANK];
} vmae_shape;
/* VMAE_SHAPE(2, 5, 7): rank 3 */
#define VMAE_SHAPE(...) ((vmae_shape){ (int)(sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t)), { __VA_ARGS__ } })
int64_t vmae_shape_count(vmae_shape shape);
bool vmae_same_shape(vmae_shape a, vmae_shape b);
/* "[2, 5, 7]"; one of a few static buffers per thread: for messages. */
const char *vmae_shape_text(vmae_shape shape);

typedef struct vmae_param {
    const char *name;
    vmae_shape shape;
    int64_t count, offset; /* offset in floats into the flat buffer, a multiple of 16 */
    bool trainable;
} vmae_param;

typedef struct vmae_params vmae_params;

vmae_params *vmae_params_new(void); /* NULL, with a sentence, without memory */
void vmae_params_free(vmae_params *params);
/* Declares one. The name is copied. Not after vmae_params_allocate. */
vmae_status vmae_params_add(vmae_params *params, const char *name, vmae_shape shape, bool trainable);
/* Fixes the layout and allocates on the device: values, gradients of the trainable prefix if `gradients`, the bf16 copy
 * if `copy`. */
vmae_status vmae_params_allocate(vmae_params *params, vmae_backend *be, bool gradients, bool copy);

int vmae_params_count(const vmae_params *params);
const vmae_param *vmae_params_at(const vmae_params *params, int index);          /* in the order of declaration */
const vmae_param *vmae_params_find(const vmae_params *params, const char *name); /* NULL if there is none */
int64_t vmae_params_trainable(const vmae_params *params); /* floats of the trainable prefix, padding included */
int64_t vmae_params_total(const vmae_params *params);     /* floats of the whole buffer */
int64_t vmae_params_numbers(const vmae_params *params);   /* trainable parameters, without padding */

float *vmae_params_values(const vmae_params *params);    /* device memory */
float *vmae_params_gradients(const vmae_params *params); /* device memory, or NULL */
vmae_bf16 *vmae_params_copy(const vmae_params *params);  /* device memory, or NULL */

/* Host data in and out, count floats of one parameter. write does not renew the bf16 copy: call vmae_params_refresh
 * once after. */
vmae_status vmae_params_write(vmae_params *params, const vmae_param *param, const float *from);
vmae_status vmae_params_read(const vmae_params *params, const vmae_param *param, float *to);
vmae_status vmae_params_refresh(vmae_params *params);

#ifdef __cplusplus
}
#endif
#endif
