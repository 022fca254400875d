/* kernels.h -- the functions of the table, declared. Contracts: backend.h. An entry that is not in this list does not
 * build. Private to backend/cuda, included by cuda.h. */
vmae_status cuda_layer_norm(vmae_backend *be, void *y, vmae_type y_type, float *mean, float *rstd, const void *x,
                            vmae_type x_type, const float *weight, const float *bias, int64_t rows, int64_t d,
                            float eps);
vmae_status cuda_layer_norm_grad(vmae_backend *be, void *dx, vmae_bf16 *copy, float *dweight, float *dbias, float *dsum,
                                 float *scratch, const void *dy, vmae_type y_type, const void *x, vmae_type x_type,
                                 const float *mean, const float *rstd, const float *weight, const void *add,
                                 int64_t rows, int64_t d, bool accumulate);
vmae_status cuda_gelu(vmae_backend *be, void *y, const void *x, vmae_type type, int64_t n);
vmae_status cuda_gelu_grad(vmae_backend *be, void *dx, float *dbias, float *scratch, const void *dy, const void *x,
                           vmae_type type, int64_t rows, int64_t d, bool accumulate);
vmae_status cuda_relu(vmae_backend *be, void *y, const void *x, vmae_type type, int64_t n);
vmae_status cuda_relu_grad(vmae_backend *be, void *dx, const void *dy, const void *y, vmae_type type, int64_t n);
vmae_status cuda_add(vmae_backend *be, void *y, const void *a, const void *b, vmae_type type, int64_t n);
vmae_status cuda_add_scaled(vmae_backend *be, void *y, const void *a, const void *b, const float *scale, vmae_type type,
                            int64_t groups, int64_t n);
vmae_status cuda_cast(vmae_backend *be, void *y, vmae_type to, const void *x, vmae_type from, int64_t n);
vmae_status cuda_fill(vmae_backend *be, float *y, float value, int64_t n);
vmae_status cuda_column_sum(vmae_backend *be, float *sum, float *scratch, const void *x, vmae_type type, int64_t rows,
                            int64_t d, bool accumulate);
vmae_status cuda_weighted_sum(vmae_backend *be, float *y, const float *a, const float *wa, const float *b,
                              const float *wb);
vmae_status cuda_attention_prepare(vmae_backend *be, const vmae_attention_shape *shape, bool grad, size_t *workspace);
vmae_status cuda_attention(vmae_backend *be, void *out, float *lse, void *workspace, const void *qkv,
                           const vmae_attention_shape *shape);
vmae_status cuda_attention_grad(vmae_backend *be, void *dqkv, void *workspace, const void *dout, const void *qkv,
                                const void *out, const float *lse, const vmae_attention_shape *shape);
vmae_status cuda_convolution_prepare(vmae_backend *be, const vmae_convolution_shape *shape, vmae_convolution_pass pass,
                                     size_t *workspace);
vmae_status cuda_convolution(vmae_backend *be, void *y, void *workspace, const void *x, const void *w,
                             const vmae_convolution_shape *shape);
vmae_status cuda_convolution_data_grad(vmae_backend *be, void *dx, void *workspace, const void *dy, const void *w,
                                       const vmae_convolution_shape *shape);
vmae_status cuda_convolution_filter_grad(vmae_backend *be, float *dw, void *workspace, const void *dy, const void *x,
                                         const vmae_convolution_shape *shape, bool accumulate);
vmae_status cuda_random_masking(vmae_backend *be, int32_t *ids_shuffle, int32_t *ids_restore, float *mask,
                                const float *noise, int64_t batch, int64_t patches, int64_t keep);
vmae_status cuda_gather_patches(vmae_backend *be, void *y, const float *images, const int32_t *ids, int64_t stride,
                                vmae_type type, int64_t batch, int64_t channels, int64_t side, int64_t p, int64_t keep);
vmae_status cuda_embed_tokens(vmae_backend *be, void *y, const void *x, const float *cls, const float *pos,
                              const int32_t *ids, int64_t stride, vmae_type type, int64_t batch, int64_t keep,
                              int64_t d);
vmae_status cuda_embed_tokens_grad(vmae_backend *be, void *dx, float *dcls, float *dpos, const void *dy,
                                   const int32_t *ids, int64_t stride, vmae_type type, int64_t batch, int64_t keep,
                                   int64_t patches, int64_t d, bool accumulate);
vmae_status cuda_unshuffle_tokens(vmae_backend *be, void *y, const void *x, const float *mask_token, const float *pos,
                                  const int32_t *ids_restore, vmae_type type, int64_t batch, int64_t keep,
                                  int64_t patches, int64_t d);
vmae_status cuda_unshuffle_tokens_grad(vmae_backend *be, void *dx, float *dmask_token, float *scratch, const void *dy,
                                       const int32_t *ids_restore, const int32_t *ids_shuffle, vmae_type type,
                                       int64_t batch, int64_t keep, int64_t patches, int64_t d, bool accumulate);
vmae_status cuda_pool(vmae_backend *be, float *y, int32_t *which, const void *x, const float *p, vmae_pool kind,
                      vmae_type type, int64_t batch, int64_t tokens, int64_t d);
vmae_status cuda_pool_grad(vmae_backend *be, void *dx, float *dp, float *scratch, const float *dy, const void *x,
                           const float *y, const int32_t *which, const float *p, const void *add, vmae_pool kind,
                           vmae_type type, int64_t batch, int64_t tokens, int64_t d, bool accumulate);
vmae_status cuda_batch_norm(vmae_backend *be, void *y, float *mean, float *rstd, float *running_mean,
                            float *running_var, const void *x, const float *weight, const float *bias, vmae_type type,
                            int64_t rows, int64_t d, int64_t groups, float eps, float momentum, bool relu);
vmae_status cuda_batch_norm_infer(vmae_backend *be, void *y, const float *running_mean, const float *running_var,
                                  const void *x, const float *weight, const float *bias, vmae_type type, int64_t rows,
                                  int64_t d, float eps, bool relu);
vmae_status cuda_batch_norm_grad(vmae_backend *be, void *dx, float *dweight, float *dbias, float *dsum, const void *dy,
                                 const void *x, const void *y, const float *mean, const float *rstd,
                                 const float *weight, vmae_type type, int64_t rows, int64_t d, int64_t groups,
                                 bool relu, bool accumulate);
vmae_status cuda_l2_normalize(vmae_backend *be, float *y, float *norm, const float *x, int64_t rows, int64_t d);
vmae_status cuda_l2_normalize_grad(vmae_backend *be, float *dx, const float *dy, const float *y, const float *norm,
                                   int64_t rows, int64_t d);
vmae_status cuda_info_nce(vmae_backend *be, float *loss, float *lse_all, float *lse_positive, const float *z,
                          int64_t rows, int64_t d, int64_t period, float temperature);
vmae_status cuda_info_nce_grad(vmae_backend *be, float *dz, const float *dloss, const float *z, const float *lse_all,
                               const float *lse_positive, int64_t rows, int64_t d, int64_t period, float temperature);
vmae_status cuda_patch_mse(vmae_backend *be, float *loss, float *stats, float *scratch, const void *pred,
                           const float *images, const float *mask, vmae_type type, int64_t batch, int64_t skip,
                           int64_t channels, int64_t side, int64_t p, bool normalise);
vmae_status cuda_patch_mse_grad(vmae_backend *be, void *dpred, const float *dloss, const void *pred,
                                const float *images, const float *mask, const float *stats, vmae_type type,
                                int64_t batch, int64_t skip, int64_t channels, int64_t side, int64_t p);
vmae_status cuda_cross_entropy(vmae_backend *be, float *loss, float *prob, float *row, const float *logits,
                               const int32_t *labels, const float *targets, int64_t rows, int64_t classes,
                               float smoothing);
vmae_status cuda_cross_entropy_grad(vmae_backend *be, float *dlogits, const float *dloss, const float *prob,
                                    const int32_t *labels, const float *targets, int64_t rows, int64_t classes,
                                    float smoothing);
size_t cuda_augment_scratch(const vmae_backend *be, int64_t rows, int64_t size);
vmae_status cuda_augment(vmae_backend *be, float *images, void *scratch, const void *sources, const vmae_view *views,
                         int64_t rows, int64_t size);
size_t cuda_optim_scratch(const vmae_segment *segments, int64_t count);
vmae_status cuda_norms(vmae_backend *be, float *norm, void *scratch, const float *x, const vmae_segment *segments,
                       int64_t count);
vmae_status cuda_adamw(vmae_backend *be, float *param, vmae_bf16 *copy, float *m, float *v, const float *grad,
                       const float *norm, const vmae_segment *segments, int64_t count, const vmae_optim_step *step);
vmae_status cuda_sgd(vmae_backend *be, float *param, vmae_bf16 *copy, float *buf, const float *grad, const float *norm,
                     const vmae_segment *segments, int64_t count, const vmae_optim_step *step);
vmae_status cuda_lars(vmae_backend *be, float *param, vmae_bf16 *copy, float *mu, void *scratch, const float *grad,
                      const float *norm, const vmae_segment *segments, int64_t count, const vmae_optim_step *step);
