/* model.h -- ViC-MAE and what is made of its encoder: declared, initialised, recorded.
 *
 * Names and shapes of parameters are those of the official PyTorch models (ViC-MAE release, MAE, timm), so that
 * checkpoints go both ways. Images are [B, 3, S, S] f32, normalised. A pair of views is one batch of 2N rows: view 1 of
 * all samples, then view 2. */
#ifndef VMAE_MODEL_MODEL_H
#define VMAE_MODEL_MODEL_H

#include "engine/checkpoint/checkpoint.h"
#include "engine/graph/graph.h"
#include "engine/ops/ops.h"

/* Sizes of the networks (paper sec. 4; recipes.md 1.4). */
typedef struct vmae_model_config {
    int64_t image_size, patch_size, channels;
    int64_t dim, depth, heads, mlp_hidden;
    int64_t decoder_dim, decoder_depth, decoder_heads, decoder_mlp_hidden;
    int64_t projector_hidden, projector_out;
    vmae_pool pool;
    double mask_ratio;
    bool norm_pix;
} vmae_model_config;

/* Ranges, RGB, and what must divide what: a config that passes can be declared and recorded without overflow, whoever
 * wrote it. VMAE_EUSER with the rule that is broken. */
vmae_status vmae_model_check(const vmae_model_config *config);
int64_t vmae_model_patches(const vmae_model_config *config); /* L, patches of an image */
int64_t vmae_model_keep(const vmae_model_config *config);    /* visible ones: trunc(L (1 - mask_ratio)) */

/* ---- parameters ---- */

/* Encoder: cls_token, pos_embed (trainable only if train_positions), patch_embed, blocks, norm (unless left out). */
vmae_status vmae_declare_encoder(vmae_params *params, const vmae_model_config *config, bool train_positions, bool norm);
/* Decoder, projector and, for GeM, pool.p: the rest of ViC-MAE. */
vmae_status vmae_declare_pretraining(vmae_params *params, const vmae_model_config *config);
/* Classifier: fc_norm if global_pool, then head. */
vmae_status vmae_declare_head(vmae_params *params, const vmae_model_config *config, int64_t classes, bool global_pool);

/* Initial values by name, as the released code draws them (recipes.md 1.6): Xavier uniform matrices, zero biases, unit
 * norms, N(0, 0.02) tokens, fixed 2-D sine-cosine positions, the patch convolution's bias uniform; each a function of
 * (seed, name). After vmae_params_allocate. */
vmae_status vmae_model_init(vmae_params *params, const vmae_model_config *config, uint64_t seed);
/* pos_embed [1 + grid*grid, dim]: row 0 zero; row 1 + r*grid + c = [sincos(c), sincos(r)], column first; dim a multiple
 * of 4. */
void vmae_sincos_positions(float *table, int64_t grid, int64_t dim);

/* Copies every parameter from a checkpoint. VMAE_EUSER naming the tensor if one is absent or of another shape; tensors
 * that the model does not have are ignored, except that pool.p and the fixed positions may be absent. */
vmae_status vmae_model_load(vmae_params *params, const vmae_checkpoint *checkpoint);
/* Adds every parameter to a writer (host copies are kept in *floats, fresh memory that must outlive vmae_writer_save),
 * and num_batches_tracked = batches. */
vmae_status vmae_model_save(const vmae_params *params, vmae_writer *writer, const int64_t *batches, float **floats);
/* The sizes in a checkpoint's metadata ("vicmae.dim", ...) and back. */
vmae_status vmae_model_describe(const vmae_model_config *config, vmae_writer *writer);
/* From the metadata; where there is none, from the shapes of the official models (heads by width 64). */
vmae_status vmae_model_recognise(vmae_model_config *config, const vmae_checkpoint *checkpoint);

/* ---- recording ---- */

/* Encoder on the visible patches (all if masking is NULL): [B, 1 + keep, D] f32, after the final norm if norm.
 * keep_rate: NULL, or inputs [2 * depth] of [B] f32 for drop path (attention, MLP of each block). inference: nothing is
 * kept for a backward pass. */
typedef struct vmae_encoder_options {
    const vmae_masking *masking;
    vmae_tensor *const *branch_scale;
    bool norm, inference;
} vmae_encoder_options;
vmae_tensor *vmae_record_encoder(vmae_graph *g, const vmae_params *params, const vmae_model_config *config,
                                 vmae_tensor *images, const vmae_encoder_options *options);

/* The whole pre-training step (paper sec. 3; recipes.md 1.3). */
typedef struct vmae_vicmae {
    /* inputs */
    vmae_tensor *images;                /* [2N, 3, S, S] */
    vmae_tensor *noise;                 /* [2N, L], uniform */
    vmae_tensor *recon_weight, *lambda; /* [1]: weights of the two losses in this step */
    /* results, all kept if `keep_all`, else the losses only */
    vmae_masking masking;
    vmae_tensor *latent;                            /* [2N, 1 + keep, D] after the final norm */
    vmae_tensor *pooled;                            /* [2N, D] f32 */
    vmae_tensor *proj;                              /* [2N, out] f32, not normalised */
    vmae_tensor *pred;                              /* [2N, 1 + L, P] */
    vmae_tensor *loss_recon, *loss_contrast, *loss; /* [1] f32 */
} vmae_vicmae;

typedef struct vmae_vicmae_options {
    int64_t pairs; /* N */
    double temperature;
    int64_t positive_ranks; /* 1: the true pair; R: as the released code on R ranks (N a multiple of R) */
    bool keep_all;
} vmae_vicmae_options;
/* Checks nothing by itself: vmae_graph_plan() reports what failed. */
void vmae_record_vicmae(vmae_vicmae *model, vmae_graph *g, const vmae_params *params, const vmae_model_config *config,
                        const vmae_vicmae_options *options);

/* Features of whole images for evaluation: [B, D] f32, pooled after the final norm. */
vmae_tensor *vmae_record_features(vmae_graph *g, const vmae_params *params, const vmae_model_config *config,
                                  vmae_tensor *images, vmae_pool pool);
/* Classifier: logits [B, classes] f32, from norm(x)[0] or, global_pool, fc_norm(mean of patch tokens) (MAE's
 * fine-tuning). */
vmae_tensor *vmae_record_classifier(vmae_graph *g, const vmae_params *params, const vmae_model_config *config,
                                    vmae_tensor *images, bool global_pool, vmae_tensor *const *branch_scale);

#endif
