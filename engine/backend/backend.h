/* backend.h -- the device interface: memory, matrix products, and one function for each thing the engine computes.
 *
 * A backend is a table of functions over raw device pointers. It knows nothing of graphs, models or files; the graph
 * plans memory and calls it. The same name, contract and argument order hold in every backend: context, outputs,
 * scratch, inputs, type and sizes, scalars.
 *
 * Conventions of all functions below
 *   - `type` is the type of the activations (void *): VMAE_F32 or VMAE_BF16. Arithmetic is always in f32 or wider; a
 * bf16 result is rounded to nearest even. Statistics, losses, vectors of parameters (weight, bias of norms, cls, pos),
 * all gradients of parameters: f32.
 *   - Tensors are dense and row-major. Sizes are int64_t. Rows = product of all dimensions but the last.
 *   - `accumulate`: add to the gradients of parameters instead of overwriting them.
 *   - Results of the functions below are the same bits every time, whatever the number of threads (matrix products may
 * depend on it: oneDNN splits long sums over threads): what is summed over rows is summed in be->sum_blocks fixed parts
 * (part i = rows [rows*i/sum_blocks, rows*(i+1)/sum_blocks)), each in an order of its own that never changes, and the
 * parts in order; `scratch` holds the parts.
 *   - In place is allowed where it says so, nowhere else. Pointers are 64-byte aligned at the start of a tensor.
 *   - On a device with a queue, a function returns once its work is queued. What it refuses by value (a label out of
 * range, a mask that removes nothing) is then refused by the next download or synchronize; by shape, at once. */
#ifndef VMAE_BACKEND_BACKEND_H
#define VMAE_BACKEND_BACKEND_H

#include "engine/core/status.h"
#include "engine/pixels/view.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum vmae_type { VMAE_F32, VMAE_BF16, VMAE_I32 } vmae_type;
typedef uint16_t vmae_bf16; /* the upper half of a float */

static inline size_t vmae_type_size(vmae_type type)
{
    return type == VMAE_BF16 ? 2 : 4;
}

static inline const char *vmae_type_name(vmae_type type)
{
    return type == VMAE_F32 ? "f32" : type == VMAE_BF16 ? "bf16" : "i32";
}

typedef enum vmae_pool { VMAE_POOL_MEAN, VMAE_POOL_MAX, VMAE_POOL_GEM, VMAE_POOL_CLS } vmae_pool;

typedef struct vmae_backend vmae_backend;

/* ---- matrix products ---- */

/* C[m,n] = op(A)[m,k] op(B)[k,n] (+ bias[n]) (then GELU) (+ residual[m,n]) (+ C). All row-major and dense: A is stored
 * [m,k], or [k,m] if trans_a; B is stored [k,n], or [n,k] if trans_b (a PyTorch weight). */
typedef struct vmae_matmul_shape {
    int64_t m, n, k;
    bool trans_a, trans_b;
    vmae_type in;    /* of A and B */
    vmae_type out;   /* of C and residual; VMAE_F32, or equal to `in` */
    bool bias;       /* f32 [n] */
    bool gelu;       /* exact (erf) GELU of the result; for inference: nothing is kept for a backward pass */
    bool residual;   /* C = residual + product */
    bool accumulate; /* C += product (gradients of weights); with neither bias, gelu nor residual */
} vmae_matmul_shape;
typedef struct vmae_matmul vmae_matmul; /* a prepared product: primitive, algorithm, workspace size */

/* ---- attention ---- */

/* Multi-head self-attention of qkv [batch, tokens, 3, heads, width], as one linear layer writes it. */
typedef struct vmae_attention_shape {
    vmae_type type;
    int64_t batch, tokens, heads, width;
} vmae_attention_shape;

/* ---- convolutions ---- */

/* y [batch, out height, out width, out] = x [batch, height, width, in] under w [out, kernel, kernel, in]: channels
 * last, cross-correlation, `pad` zeros on every side. */
typedef struct vmae_convolution_shape {
    vmae_type type; /* of x, y and w */
    int64_t batch, height, width, in, out, kernel, stride, pad;
} vmae_convolution_shape;
typedef enum vmae_convolution_pass {
    VMAE_CONVOLUTION,
    VMAE_CONVOLUTION_DATA,
    VMAE_CONVOLUTION_FILTER
} vmae_convolution_pass;

/* The height or width of the result of one of `size`. */
static inline int64_t vmae_convolved(const vmae_convolution_shape *shape, int64_t size)
{
    const int64_t room = size + 2 * shape->pad - shape->kernel;
    return room < 0 ? 0 : room / shape->stride + 1;
}

/* ---- the optimiser's view of the flat parameter buffer ---- */

typedef struct vmae_segment {
    int64_t offset, count; /* in floats, of one parameter tensor */
    float weight_decay;    /* 0 for biases, norms, ... */
    float lr_scale;        /* layer decay; 1 otherwise */
    bool matrix;           /* two or more dimensions: LARS adapts it */
} vmae_segment;

/* In device memory, so that a recorded step reads what is new in each run. */
typedef struct vmae_optim_step {
    float lr, beta1, beta2, eps, momentum, trust;
    float scale;     /* every gradient is multiplied by this first: 1 / accumulated passes */
    float clip_grad; /* then by min(1, clip_grad / (scale norm[0] + 1e-6)); 0: by nothing else */
    float bias1;     /* 1 - beta1^step */
    float root2;     /* 1 / sqrt(1 - beta2^step) */
    int32_t nesterov;
    int32_t step; /* counted from 1 */
} vmae_optim_step;

/* ---- the functions ---- */

typedef struct vmae_kernels {
    const char *isa; /* "avx512", "sm_90", ... */

    /* y = (x - mean) rstd weight + bias over the last dimension d; biased variance, rstd = 1/sqrt(var + eps). mean,
     * rstd: [rows], kept for the gradient. Two passes over a row. x and y have types of their own: the residual stream
     * stays f32 while products take bf16. */
    vmae_status (*layer_norm)(vmae_backend *be, void *y, vmae_type y_type, float *mean, float *rstd, const void *x,
                              vmae_type x_type, const float *weight, const float *bias, int64_t rows, int64_t d,
                              float eps);
    /* dx (of x's type) = the gradient of x, + add (of x's type) if not NULL: the gradient that reaches x around the
     * norm; dx may be add. dweight, dbias [d], or NULL (frozen). On the way, where they are not NULL: copy, dx rounded
     * to bf16 (for the products behind), and dsum [d], the column sums of dx (the gradient of the bias behind).
     * scratch: 3 * be->sum_blocks * d floats. */
    vmae_status (*layer_norm_grad)(vmae_backend *be, void *dx, vmae_bf16 *copy, float *dweight, float *dbias,
                                   float *dsum, float *scratch, const void *dy, vmae_type y_type, const void *x,
                                   vmae_type x_type, const float *mean, const float *rstd, const float *weight,
                                   const void *add, int64_t rows, int64_t d, bool accumulate);

    /* y = x/2 (1 + erf(x/sqrt 2)), absolute error < 1e-6 max(1,|x|) in f32. */
    vmae_status (*gelu)(vmae_backend *be, void *y, const void *x, vmae_type type, int64_t n);
    /* dx = dy gelu'(x); dx may be dy. If dbias [d] is not NULL it gets the column sums of dx (before rounding).
     * scratch: be->sum_blocks * d floats. */
    vmae_status (*gelu_grad)(vmae_backend *be, void *dx, float *dbias, float *scratch, const void *dy, const void *x,
                             vmae_type type, int64_t rows, int64_t d, bool accumulate);
    vmae_status (*relu)(vmae_backend *be, void *y, const void *x, vmae_type type, int64_t n); /* may be in place */
    vmae_status (*relu_grad)(vmae_backend *be, void *dx, const void *dy, const void *y, vmae_type type,
                             int64_t n); /* y > 0 passes; dx may be dy */
    vmae_status (*add)(vmae_backend *be, void *y, const void *a, const void *b, vmae_type type,
                       int64_t n); /* y may be a or b */
    /* y[g,i] = a[g,i] + scale[g] b[g,i], g < groups, i < n; a may be NULL (then 0); y may be a or b. Drop path: scale =
     * keep / (1 - rate) per sample. */
    vmae_status (*add_scaled)(vmae_backend *be, void *y, const void *a, const void *b, const float *scale,
                              vmae_type type, int64_t groups, int64_t n);
    vmae_status (*cast)(vmae_backend *be, void *y, vmae_type to, const void *x, vmae_type from,
                        int64_t n); /* between f32 and bf16 */
    vmae_status (*fill)(vmae_backend *be, float *y, float value, int64_t n);
    /* sum[d] = column sums of x [rows, d]. scratch: be->sum_blocks * d floats. */
    vmae_status (*column_sum)(vmae_backend *be, float *sum, float *scratch, const void *x, vmae_type type, int64_t rows,
                              int64_t d, bool accumulate);
    /* y = a[0]*wa[0] + b[0]*wb[0]: all device scalars; b and wb may both be NULL (then 0). */
    vmae_status (*weighted_sum)(vmae_backend *be, float *y, const float *a, const float *wa, const float *b,
                                const float *wb);

    /* To be called once before attention or attention_grad (`grad`) of a shape: prepares what runs it, and says how
     * many bytes of workspace it wants. */
    vmae_status (*attention_prepare)(vmae_backend *be, const vmae_attention_shape *shape, bool grad, size_t *workspace);
    /* out [batch, tokens, heads, width] = softmax(q k^T / sqrt(width)) v. lse [batch, heads, tokens]: log of the
     * softmax's denominator (max included), for the gradient; NULL for inference. */
    vmae_status (*attention)(vmae_backend *be, void *out, float *lse, void *workspace, const void *qkv,
                             const vmae_attention_shape *shape);
    /* dqkv like qkv. Probabilities are recomputed from lse. */
    vmae_status (*attention_grad)(vmae_backend *be, void *dqkv, void *workspace, const void *dout, const void *qkv,
                                  const void *out, const float *lse, const vmae_attention_shape *shape);

    /* Likewise before the function of a pass. */
    vmae_status (*convolution_prepare)(vmae_backend *be, const vmae_convolution_shape *shape,
                                       vmae_convolution_pass pass, size_t *workspace);
    vmae_status (*convolution)(vmae_backend *be, void *y, void *workspace, const void *x, const void *w,
                               const vmae_convolution_shape *shape);
    vmae_status (*convolution_data_grad)(vmae_backend *be, void *dx, void *workspace, const void *dy, const void *w,
                                         const vmae_convolution_shape *shape);
    /* dw [out, kernel, kernel, in] f32. From bf16 a device may round what it adds to dw to bf16. */
    vmae_status (*convolution_filter_grad)(vmae_backend *be, float *dw, void *workspace, const void *dy, const void *x,
                                           const vmae_convolution_shape *shape, bool accumulate);

    /* Random masking. noise [batch, patches] -> ids_shuffle [batch, patches] = stable argsort of the noise, ascending;
     * ids_restore its inverse; mask [batch, patches] = 0 for the first `keep` of ids_shuffle, 1 for the rest. */
    vmae_status (*random_masking)(vmae_backend *be, int32_t *ids_shuffle, int32_t *ids_restore, float *mask,
                                  const float *noise, int64_t batch, int64_t patches, int64_t keep);
    /* The pixels of chosen patches, laid out as the rows of a patch convolution's weight: y [batch, keep, channels, p,
     * p]. images [batch, channels, side, side] f32; ids [batch, stride]: the first `keep` of each row are the patches,
     * in that order, row-major over the image; ids NULL: all patches (keep = (side/p)^2). */
    vmae_status (*gather_patches)(vmae_backend *be, void *y, const float *images, const int32_t *ids, int64_t stride,
                                  vmae_type type, int64_t batch, int64_t channels, int64_t side, int64_t p,
                                  int64_t keep);
    /* Encoder input. y [batch, 1+keep, d]: y[:,0] = cls + pos[0]; y[b,1+j] = x[b,j] + pos[1 + ids[b,j]]. x [batch,
     * keep, d]; pos [1+patches, d]; ids [batch, stride] or NULL (j). */
    vmae_status (*embed_tokens)(vmae_backend *be, void *y, const void *x, const float *cls, const float *pos,
                                const int32_t *ids, int64_t stride, vmae_type type, int64_t batch, int64_t keep,
                                int64_t d);
    /* dx = dy without its class tokens; dcls [d] = sum of the class tokens' gradients; dpos [1+patches, d]; both or
     * either NULL (frozen). */
    vmae_status (*embed_tokens_grad)(vmae_backend *be, void *dx, float *dcls, float *dpos, const void *dy,
                                     const int32_t *ids, int64_t stride, vmae_type type, int64_t batch, int64_t keep,
                                     int64_t patches, int64_t d, bool accumulate);
    /* Decoder input. x [batch, 1+keep, d] -> y [batch, 1+patches, d]: y[b,0] = x[b,0] + pos[0]; patch l: r =
     * ids_restore[b,l]; y[b,1+l] = (r < keep ? x[b,1+r] : mask_token) + pos[1+l]. */
    vmae_status (*unshuffle_tokens)(vmae_backend *be, void *y, const void *x, const float *mask_token, const float *pos,
                                    const int32_t *ids_restore, vmae_type type, int64_t batch, int64_t keep,
                                    int64_t patches, int64_t d);
    /* dx [batch, 1+keep, d]; dmask_token [d] or NULL (frozen). scratch: be->sum_blocks * d floats (parts over the
     * batch). ids_shuffle is the inverse of ids_restore. */
    vmae_status (*unshuffle_tokens_grad)(vmae_backend *be, void *dx, float *dmask_token, float *scratch, const void *dy,
                                         const int32_t *ids_restore, const int32_t *ids_shuffle, vmae_type type,
                                         int64_t batch, int64_t keep, int64_t patches, int64_t d, bool accumulate);

    /* x [batch, 1+tokens, d] -> y [batch, d] f32. CLS: token 0. The others over the patch tokens: MEAN; MAX per
     * channel, the first of equals, its token (1-based) in which [batch, d]; GEM = (mean(max(x,1e-6)^p))^(1/p), p[0]
     * learnable. `which` and `p` may be NULL where unused. */
    vmae_status (*pool)(vmae_backend *be, float *y, int32_t *which, const void *x, const float *p, vmae_pool kind,
                        vmae_type type, int64_t batch, int64_t tokens, int64_t d);
    /* dx (all tokens: zeros where nothing flows), + add if not NULL (dx may be add). GEM: also dp[1], or NULL (frozen);
     * x below 1e-6 gets no gradient. scratch: batch floats. */
    vmae_status (*pool_grad)(vmae_backend *be, void *dx, float *dp, float *scratch, const float *dy, const void *x,
                             const float *y, const int32_t *which, const float *p, const void *add, vmae_pool kind,
                             vmae_type type, int64_t batch, int64_t tokens, int64_t d, bool accumulate);

    /* BatchNorm1d over rows, in `groups` equal runs of rows one after the other, each with its own statistics (view 1,
     * then view 2). Training (mean, rstd [groups, d] are written): biased batch variance normalises; running =
     * (1-momentum) running + momentum batch, with unbiased variance, once per group in order. weight, bias NULL: no
     * affine. relu: y = max(0, .). */
    vmae_status (*batch_norm)(vmae_backend *be, void *y, float *mean, float *rstd, float *running_mean,
                              float *running_var, const void *x, const float *weight, const float *bias, vmae_type type,
                              int64_t rows, int64_t d, int64_t groups, float eps, float momentum, bool relu);
    /* With the running statistics; changes nothing but y. */
    vmae_status (*batch_norm_infer)(vmae_backend *be, void *y, const float *running_mean, const float *running_var,
                                    const void *x, const float *weight, const float *bias, vmae_type type, int64_t rows,
                                    int64_t d, float eps, bool relu);
    /* Gradient of the training form. y is needed only with relu. dweight, dbias NULL without affine or where frozen; dx
     * NULL if nobody wants it. dsum [d] (with dx) or NULL: the column sums of dx before rounding, the gradient of a
     * bias in front: zero in exact arithmetic, and Adam would turn mere rounding into steps. */
    vmae_status (*batch_norm_grad)(vmae_backend *be, void *dx, float *dweight, float *dbias, float *dsum,
                                   const void *dy, const void *x, const void *y, const float *mean, const float *rstd,
                                   const float *weight, vmae_type type, int64_t rows, int64_t d, int64_t groups,
                                   bool relu, bool accumulate);

    /* y = x / max(|x|, 1e-12) by rows, f32; norm [rows]. */
    vmae_status (*l2_normalize)(vmae_backend *be, float *y, float *norm, const float *x, int64_t rows, int64_t d);
    vmae_status (*l2_normalize_grad)(vmae_backend *be, float *dx, const float *dy, const float *y, const float *norm,
                                     int64_t rows, int64_t d);
    /* InfoNCE over rows z [rows, d] (unit length): s_ik = z_i.z_k / temperature; positives of i: all k != i with k = i
     * mod `period` (period = rows/2: the other view of the same sample; smaller: the released code on several ranks).
     * loss = -mean_i log(sum_{k positive} exp s_ik / sum_{k != i} exp s_ik). lse_all, lse_positive [rows] are kept for
     * the gradient. Never a rows x rows matrix. */
    vmae_status (*info_nce)(vmae_backend *be, float *loss, float *lse_all, float *lse_positive, const float *z,
                            int64_t rows, int64_t d, int64_t period, float temperature);
    /* dz = dloss[0] * gradient. */
    vmae_status (*info_nce_grad)(vmae_backend *be, float *dz, const float *dloss, const float *z, const float *lse_all,
                                 const float *lse_positive, int64_t rows, int64_t d, int64_t period, float temperature);
    /* The reconstruction loss. target of a patch: its pixels [p, p, channels] (channel fastest) of images [batch,
     * channels, side, side]; normalise: (t - mean)/sqrt(var + 1e-6) over these values, variance unbiased. pred [batch,
     * skip + patches, p*p*channels], patches = (side/p)^2: the first `skip` (0 or 1) tokens of each image are ignored.
     * mask [batch, patches]. loss = sum_r mask[r] mean_i (pred - target)^2 / sum mask. Of images and pred only what the
     * mask removes is read. stats [2 batch patches + 1], kept for the gradient: mean and 1/sqrt(var + 1e-6) of each
     * removed patch (0 and 1 if not normalise; 0 and 0 of the others), then sum mask. A mask that removes nothing is
     * refused (VMAE_EDATA). scratch: 2 batch patches floats. */
    vmae_status (*patch_mse)(vmae_backend *be, float *loss, float *stats, float *scratch, const void *pred,
                             const float *images, const float *mask, vmae_type type, int64_t batch, int64_t skip,
                             int64_t channels, int64_t side, int64_t p, bool normalise);
    /* dpred like pred, zeros where nothing flows. */
    vmae_status (*patch_mse_grad)(vmae_backend *be, void *dpred, const float *dloss, const void *pred,
                                  const float *images, const float *mask, const float *stats, vmae_type type,
                                  int64_t batch, int64_t skip, int64_t channels, int64_t side, int64_t p);
    /* Mean cross-entropy of logits [rows, classes] f32 with labels [rows] smoothed (1 - s + s/classes on the label,
     * s/classes elsewhere), or with soft targets [rows, classes] if they are not NULL. prob [rows, classes] = softmax,
     * kept. A label out of range is refused (VMAE_EDATA). row [rows] scratch. */
    vmae_status (*cross_entropy)(vmae_backend *be, float *loss, float *prob, float *row, const float *logits,
                                 const int32_t *labels, const float *targets, int64_t rows, int64_t classes,
                                 float smoothing);
    vmae_status (*cross_entropy_grad)(vmae_backend *be, float *dlogits, const float *dloss, const float *prob,
                                      const int32_t *labels, const float *targets, int64_t rows, int64_t classes,
                                      float smoothing);

    /* Bytes of scratch that augment wants. */
    size_t (*augment_scratch)(const vmae_backend *be, int64_t rows, int64_t size);
    /* images [rows, 3, size, size] f32 from views [rows] and their records in sources (engine/pixels/view.h). All
     * in device memory. The same bits on every device. */
    vmae_status (*augment)(vmae_backend *be, float *images, void *scratch, const void *sources, const vmae_view *views,
                           int64_t rows, int64_t size);

    /* ---- over the flat parameters; segments (device memory) ascend, begin at multiples of 16 and do not overlap;
     * copy (bf16, same offsets) is NULL or renewed in the same pass. norm: what `norms` made of grad; if norm[0] is not
     * finite, nothing changes ---- */

    /* Bytes of scratch that the functions below want. segments: host memory. */
    size_t (*optim_scratch)(const vmae_segment *segments, int64_t count);
    /* norm[0] = L2 norm of all segments together, norm[1 + i] of segment i; fixed order, and no less exact than sums in
     * double rounded to float but for 1e-6. */
    vmae_status (*norms)(vmae_backend *be, float *norm, void *scratch, const float *x, const vmae_segment *segments,
                         int64_t count);
    /* m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2; p = p (1 - lr wd) - lr/(1-b1^t) m / (sqrt v / sqrt(1-b2^t) + eps); lr
     * times lr_scale. */
    vmae_status (*adamw)(vmae_backend *be, float *param, vmae_bf16 *copy, float *m, float *v, const float *grad,
                         const float *norm, const vmae_segment *segments, int64_t count, const vmae_optim_step *step);
    /* g += wd p; buf = momentum buf + g (step 1: buf = g); p -= lr buf; nesterov: p -= lr (g + momentum buf). */
    vmae_status (*sgd)(vmae_backend *be, float *param, vmae_bf16 *copy, float *buf, const float *grad,
                       const float *norm, const vmae_segment *segments, int64_t count, const vmae_optim_step *step);
    /* matrix: g += wd p, then g *= trust |p| / |g| unless a norm is 0. mu = momentum mu + g; p -= lr mu. */
    vmae_status (*lars)(vmae_backend *be, float *param, vmae_bf16 *copy, float *mu, void *scratch, const float *grad,
                        const float *norm, const vmae_segment *segments, int64_t count, const vmae_optim_step *step);
} vmae_kernels;

/* Queued work that runs again as a whole: a CUDA graph. */
typedef struct vmae_recording vmae_recording;

struct vmae_backend {
    const char *name;      /* "cpu", "cuda:0" */
    char description[192]; /* device, libraries and their versions, instruction set: for the run's record */
    vmae_type precision;   /* the best compute type of the device: VMAE_BF16 where it is fast */
    int threads;           /* CPU: compute threads */
    int sum_blocks;        /* parts in which sums over rows are made */
    const vmae_kernels *kernels;
    void *self;

    vmae_status (*allocate)(vmae_backend *be, void **block, size_t bytes); /* 64-byte aligned, zeroed */
    void (*release)(vmae_backend *be, void *block);                        /* NULL is fine */
    vmae_status (*upload)(vmae_backend *be, void *to, const void *from,
                          size_t bytes); /* from host memory; `from` may be reused on return */
    vmae_status (*download)(vmae_backend *be, void *to, const void *from,
                            size_t bytes); /* to host memory; waits for the work queued before */
    vmae_status (*synchronize)(vmae_backend *be);
    /* Says that an upload of just these bytes comes soon, so that they may travel beside queued work; until then they
     * must not change. NULL where that gains nothing. */
    vmae_status (*prefetch)(vmae_backend *be, const void *from, size_t bytes);

    /* What the functions of this table queue between record_begin and record_end is not run but kept, to be run as
     * often as wanted, with the same pointers, by replay. All four NULL where that gains nothing. See vmae_replay. */
    vmae_status (*record_begin)(vmae_backend *be);
    vmae_status (*record_end)(vmae_backend *be, vmae_recording **recording); /* NULL: drops what was recorded */
    vmae_status (*replay)(vmae_backend *be, vmae_recording *recording);
    void (*recording_free)(vmae_backend *be, vmae_recording *recording); /* NULL is fine */

    vmae_status (*matmul_new)(vmae_backend *be, vmae_matmul **matmul,
                              const vmae_matmul_shape *shape); /* equal shapes share one */
    size_t (*matmul_workspace)(const vmae_matmul *matmul);
    /* bias, residual: NULL where the shape has none. */
    vmae_status (*matmul)(vmae_backend *be, const vmae_matmul *matmul, void *c, const void *a, const void *b,
                          const float *bias, const void *residual, void *workspace);
    /* The algorithms chosen for everything prepared so far, one a line, for the run's record; "" where the library
     * doesn't say. Owned by the backend. */
    const char *(*algorithms)(vmae_backend *be);
    void (*close)(vmae_backend *be);
};

/* `device`: "cpu", "cuda:N", or "auto" (a GPU if there is one that this build can use, else the CPU). threads: 0 = all
 * cores the process may use. */
vmae_status vmae_backend_open(vmae_backend **be, const char *device, int threads);
void vmae_backend_close(vmae_backend *be); /* NULL is fine */

/* Work that is queued again and again with the same pointers. All zero at first; release with vmae_replay_release. */
typedef struct vmae_replay {
    bool warm; /* has run as it is */
    vmae_recording *recording;
} vmae_replay;
/* Runs what queue(context) queues; from the second time on from a recording, where the device makes recordings. (As it
 * is the first time: what a device sets up lazily must not fall into a recording.) */
vmae_status vmae_replay_run(vmae_backend *be, vmae_replay *replay, vmae_status (*queue)(void *context), void *context);
void vmae_replay_release(vmae_backend *be, vmae_replay *replay);

vmae_status vmae_cpu_open(vmae_backend **be, int threads);
/* Computes nothing: graphs are recorded and planned on it to be counted (FLOPs, bytes, memory), of any size. */
vmae_status vmae_paper_open(vmae_backend **be);

#ifdef __cplusplus
}
#endif
#endif
