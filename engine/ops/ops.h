/* ops.h -- what a model is recorded with. One function an op; formulas, shapes and sources stand here, the arithmetic
 * is in backend/.
 *
 * Every function records only: nothing is computed before vmae_graph_run(). It returns NULL if shapes disagree or an
 * input is NULL (then the earlier sentence stands). Results belong to g. B images, T tokens, D width, L patches of an
 * image, P values in a patch. "precision" is the graph's type of activations; parameters of matrix products are given
 * in it, vectors (biases, norms, tokens, positions) in f32. */
#ifndef VMAE_OPS_OPS_H
#define VMAE_OPS_OPS_H

#include "engine/graph/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

/* y = x w^T + b (+ residual). x [..., K] and w [N, K] of one type, b [N] f32 or NULL, residual like y or NULL; y [...,
 * N] of type `out` (VMAE_F32, or x's). Gradients: x, w, b, residual. */
vmae_tensor *vmae_linear(vmae_graph *g, vmae_tensor *x, vmae_tensor *w, vmae_tensor *b, vmae_tensor *residual,
                         vmae_type out);
/* The same with GELU on the result and no gradient: for inference. */
vmae_tensor *vmae_linear_gelu(vmae_graph *g, vmae_tensor *x, vmae_tensor *w, vmae_tensor *b);

/* LayerNorm over the last dimension; biased variance. ViT uses eps 1e-6. weight, bias [D] f32. `out`: the result's
 * type, whatever x's. */
vmae_tensor *vmae_layer_norm(vmae_graph *g, vmae_tensor *x, vmae_tensor *weight, vmae_tensor *bias, float eps,
                             vmae_type out);

/* y = x/2 (1 + erf(x / sqrt 2)): the exact form, as in the official models. */
vmae_tensor *vmae_gelu(vmae_graph *g, vmae_tensor *x);
vmae_tensor *vmae_relu(vmae_graph *g, vmae_tensor *x);
vmae_tensor *vmae_add(vmae_graph *g, vmae_tensor *a, vmae_tensor *b);
/* y[b] = a[b] + scale[b] x[b]: a residual branch with drop path; scale [B] f32 = keep / (1 - rate), an input. */
vmae_tensor *vmae_add_scaled(vmae_graph *g, vmae_tensor *a, vmae_tensor *x, vmae_tensor *scale);
vmae_tensor *vmae_cast(vmae_graph *g, vmae_tensor *x, vmae_type type); /* x itself if it has that type */
/* a[0] wa[0] + b[0] wb[0]; wa, wb are inputs [1] f32 (they may change every step). */
vmae_tensor *vmae_weighted_sum(vmae_graph *g, vmae_tensor *a, vmae_tensor *wa, vmae_tensor *b, vmae_tensor *wb);

/* Multi-head self-attention without its projections: qkv [B, T, 3D] (q, k, v, each split by head) -> [B, T, D]. */
vmae_tensor *vmae_attention(vmae_graph *g, vmae_tensor *qkv, int64_t heads);

/* Cross-correlation, channels last: x [B, H, W, C] and w [N, k, k, C] of one type -> [B, H', W', N], with `pad` zeros on
 * every side. Gradients: x, w. */
vmae_tensor *vmae_convolution(vmae_graph *g, vmae_tensor *x, vmae_tensor *w, int64_t stride, int64_t pad);

/* ---- patches and tokens (MAE, He et al. 2021; recipes of the official code) ---- */

/* ids_shuffle = stable argsort of noise [B, L] ascending; the first keep of each row are the visible patches, in that
 * order. */
typedef struct vmae_masking {
    vmae_tensor *ids_shuffle, *ids_restore; /* [B, L] i32 */
    vmae_tensor *mask;                      /* [B, L] f32: 0 kept, 1 removed */
    int64_t keep;
} vmae_masking;
vmae_masking vmae_random_masking(vmae_graph *g, vmae_tensor *noise, int64_t keep); /* all NULL on failure */

/* Pixels of the visible patches (all if masking is NULL): images [B, C, S, S] f32 -> [B, keep, C p p] precision, laid
 * out as the rows of patch_embed.proj.weight. */
vmae_tensor *vmae_gather_patches(vmae_graph *g, vmae_tensor *images, const vmae_masking *masking, int64_t patch);
/* x [B, keep, D] -> [B, 1 + keep, D]: class token in front, positions added. cls [D] or [1,1,D]; pos [.., 1 + L, D].
 * Gradients: x, cls, pos if trainable. */
vmae_tensor *vmae_embed_tokens(vmae_graph *g, vmae_tensor *x, vmae_tensor *cls, vmae_tensor *pos,
                               const vmae_masking *masking);
/* x [B, 1 + keep, D] -> [B, 1 + L, D]: mask tokens inserted, order restored, positions added. Gradients: x, mask_token.
 */
vmae_tensor *vmae_unshuffle_tokens(vmae_graph *g, vmae_tensor *x, vmae_tensor *mask_token, vmae_tensor *pos,
                                   const vmae_masking *masking);
/* x [B, 1 + T, D] -> [B, D] f32 (paper Table 3b). p [1] f32: GeM's exponent, else NULL. */
vmae_tensor *vmae_pool_tokens(vmae_graph *g, vmae_tensor *x, vmae_tensor *p, vmae_pool kind);

/* ---- projector and losses ---- */

/* BatchNorm1d on rows, the two views apart if groups = 2. running_mean, running_var [D] f32 are updated by a run.
 * weight, bias may be NULL (no affine). relu: fused. */
vmae_tensor *vmae_batch_norm(vmae_graph *g, vmae_tensor *x, vmae_tensor *weight, vmae_tensor *bias,
                             vmae_tensor *running_mean, vmae_tensor *running_var, int64_t groups, float eps,
                             float momentum, bool relu);
/* With the running statistics; no gradient. */
vmae_tensor *vmae_batch_norm_infer(vmae_graph *g, vmae_tensor *x, vmae_tensor *weight, vmae_tensor *bias,
                                   vmae_tensor *running_mean, vmae_tensor *running_var, float eps, bool relu);
/* Rows of x [N, D] f32 over their norms (at least 1e-12). */
vmae_tensor *vmae_l2_normalize(vmae_graph *g, vmae_tensor *x);
/* InfoNCE over unit rows z [2N, D] f32, view 1 then view 2 (paper eq. 3; SimCLR's NT-Xent): result [1]. period: see
 * backend.h; N for the exact loss. */
vmae_tensor *vmae_info_nce(vmae_graph *g, vmae_tensor *z, int64_t period, float temperature);
/* Masked mean squared error, the reconstruction loss (He et al. 2021, sec. 3): pred [B, L, P] or [B, 1 + L, P] (the
 * class token is ignored) against the patches of images [B, C, S, S] f32, P = p p C, channel fastest; mask [B, L] f32;
 * the mean over removed patches of a patch's mean squared error: result [1]. normalise: each patch to mean 0 and
 * deviation 1; unbiased variance, eps 1e-6. Gradient: pred. */
vmae_tensor *vmae_patch_mse(vmae_graph *g, vmae_tensor *pred, vmae_tensor *images, vmae_tensor *mask, int64_t patch,
                            bool normalise);
/* Mean cross-entropy of logits [N, classes] f32: with labels [N] i32, smoothed, or with soft targets [N, classes] f32
 * (the other NULL): [1]. */
vmae_tensor *vmae_cross_entropy(vmae_graph *g, vmae_tensor *logits, vmae_tensor *labels, vmae_tensor *targets,
                                float smoothing);

#ifdef __cplusplus
}
#endif
#endif
