/* internal.h -- how the model files record named layers, and the sizes by name. Private to engine/model. */
#ifndef VMAE_MODEL_INTERNAL_H
#define VMAE_MODEL_INTERNAL_H

#include "engine/model/model.h"

/* Every size of vmae_model_config: its key in a checkpoint's metadata, and its range. */
typedef struct vmae_model_size {
    const char *key; /* "vicmae.dim" */
    size_t offset;
    int64_t least, most;
} vmae_model_size;
enum { VMAE_MODEL_SIZES = 13 };
extern const vmae_model_size vmae_model_sizes[VMAE_MODEL_SIZES];

#define VMAE_LAYER_NORM_EPS      1e-6f /* timm's ViT; not PyTorch's default of 1e-5 */
#define VMAE_BATCH_NORM_EPS      1e-5f
#define VMAE_BATCH_NORM_MOMENTUM 0.1f

typedef struct vmae_recorder {
    vmae_graph *g;
    const vmae_params *params;
} vmae_recorder;

vmae_tensor *vmae_named_param(const vmae_recorder *r, vmae_type type, const char *prefix, const char *name);
vmae_tensor *vmae_named_linear(const vmae_recorder *r, vmae_tensor *x, const char *prefix, const char *name,
                               vmae_tensor *residual, vmae_type out);
vmae_tensor *vmae_named_norm(const vmae_recorder *r, vmae_tensor *x, const char *prefix, const char *name,
                             vmae_type out);
vmae_tensor *vmae_record_block(const vmae_recorder *r, vmae_tensor *x, const char *prefix, int64_t heads,
                               vmae_tensor *const *scale, bool inference);

#endif
