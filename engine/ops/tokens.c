/* tokens.c -- masking, patches, and the tokens that go into encoder and decoder. */
#include "engine/ops/ops.h"
#include "engine/ops/rule.h"

/* ---- random masking: input noise; outputs ids_shuffle, ids_restore, mask; size[0] keep ---- */

static vmae_status random_masking_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    (void)accumulate;
    const vmae_tensor *noise = node->in[0];
    return be->kernels->random_masking(be, node->out[0]->data, node->out[1]->data, node->out[2]->data, noise->data,
                                       noise->shape.dim[0], noise->shape.dim[1], node->size[0]);
}

static const vmae_rule random_masking = { "random_masking", random_masking_run, NULL, NULL, NULL };

vmae_masking vmae_random_masking(vmae_graph *g, vmae_tensor *noise, int64_t keep)
{
    vmae_masking masking = { NULL, NULL, NULL, keep };
    if (!noise) {
        vmae_graph_fail(g, "random_masking: an input is missing");
        return masking;
    }
    if (noise->shape.rank != 2 || noise->type != VMAE_F32 || keep < 1 || keep >= noise->shape.dim[1]) {
        vmae_graph_fail(g, "random_masking: noise is %s; %lld patches to keep must be at least 1 and fewer than all",
                        vmae_shape_text(noise->shape), (long long)keep);
        return masking;
    }
    vmae_node *node = vmae_record(g, &random_masking, 1, &noise);
    if (node)
        node->size[0] = keep;
    masking.ids_shuffle = vmae_result(g, node, VMAE_I32, noise->shape);
    masking.ids_restore = vmae_result(g, node, VMAE_I32, noise->shape);
    masking.mask = vmae_result(g, node, VMAE_F32, noise->shape);
    return masking;
}

/* ---- the pixels of visible patches: inputs images, ids; size: patch, keep ---- */

static vmae_status gather_patches_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    (void)accumulate;
    const vmae_tensor *images = node->in[0], *ids = node->in[1];
    return be->kernels->gather_patches(be, node->out[0]->data, images->data, vmae_data(ids),
                                       ids ? ids->shape.dim[1] : 0, node->out[0]->type, images->shape.dim[0],
                                       images->shape.dim[1], images->shape.dim[2], node->size[0], node->size[1]);
}

static const vmae_rule gather_patches = { "gather_patches", gather_patches_run, NULL, NULL, NULL };

int64_t vmae_count_patches(vmae_graph *g, const char *op, const vmae_tensor *images, int64_t patch)
{
    const vmae_shape *s = &images->shape;
    if (s->rank == 4 && images->type == VMAE_F32 && s->dim[2] == s->dim[3] && patch > 0 && s->dim[2] % patch == 0)
        return (s->dim[2] / patch) * (s->dim[2] / patch);
    vmae_graph_fail(g, "%s: images are %s; they must be f32, square and a multiple of the patch size %lld", op,
                    vmae_shape_text(*s), (long long)patch);
    return 0;
}

vmae_tensor *vmae_gather_patches(vmae_graph *g, vmae_tensor *images, const vmae_masking *masking, int64_t patch)
{
    if (!images || (masking && !masking->ids_shuffle))
        return vmae_graph_fail(g, "gather_patches: an input is missing");
    const int64_t patches = vmae_count_patches(g, "gather_patches", images, patch);
    if (!patches)
        return NULL;
    if (masking && !vmae_same_shape(masking->ids_shuffle->shape, VMAE_SHAPE(images->shape.dim[0], patches)))
        return vmae_graph_fail(g, "gather_patches: the masking is %s, but there are %lld images of %lld patches",
                               vmae_shape_text(masking->ids_shuffle->shape), (long long)images->shape.dim[0],
                               (long long)patches);
    vmae_node *node =
        vmae_record(g, &gather_patches, 2, (vmae_tensor *[]){ images, masking ? masking->ids_shuffle : NULL });
    if (!node)
        return NULL;
    node->size[0] = patch;
    node->size[1] = masking ? masking->keep : patches;
    return vmae_result(g, node, vmae_graph_precision(g),
                       VMAE_SHAPE(images->shape.dim[0], node->size[1], images->shape.dim[1] * patch * patch));
}

/* ---- encoder input: inputs x, cls, pos, ids ---- */

static vmae_status embed_tokens_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    (void)accumulate;
    const vmae_tensor *x = node->in[0], *ids = node->in[3];
    return be->kernels->embed_tokens(be, node->out[0]->data, x->data, node->in[1]->data, node->in[2]->data,
                                     vmae_data(ids), ids ? ids->shape.dim[1] : 0, x->type, x->shape.dim[0],
                                     x->shape.dim[1], x->shape.dim[2]);
}

/* Inputs dy, ids; outputs dx, dcls, dpos; size[0] patches. */
static vmae_status embed_tokens_grad_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    const vmae_tensor *dx = node->out[0], *ids = node->in[1];
    return be->kernels->embed_tokens_grad(be, dx->data, vmae_data(node->out[1]), vmae_data(node->out[2]),
                                          node->in[0]->data, vmae_data(ids), ids ? ids->shape.dim[1] : 0, dx->type,
                                          dx->shape.dim[0], dx->shape.dim[1], node->size[0], dx->shape.dim[2],
                                          accumulate);
}

static const vmae_rule embed_tokens_grad = { "embed_tokens_grad", embed_tokens_grad_run, NULL, NULL, NULL };

static void embed_tokens_backward(vmae_graph *g, vmae_node *node)
{
    vmae_tensor *x = node->in[0];
    vmae_node *grad = vmae_record(g, &embed_tokens_grad, 2, (vmae_tensor *[]){ node->out[0]->gradient, node->in[3] });
    if (grad)
        grad->size[0] = vmae_rows(node->in[2]) - 1;
    vmae_tensor *dx = vmae_result(g, grad, x->type, x->shape);
    vmae_param_gradient(g, grad, node->in[1]);
    vmae_param_gradient(g, grad, node->in[2]);
    vmae_add_gradient(g, x, dx);
}

static const vmae_rule embed_tokens = { "embed_tokens", embed_tokens_run, embed_tokens_backward, NULL, NULL };

vmae_tensor *vmae_embed_tokens(vmae_graph *g, vmae_tensor *x, vmae_tensor *cls, vmae_tensor *pos,
                               const vmae_masking *masking)
{
    if (!x || !cls || !pos || (masking && !masking->ids_shuffle))
        return vmae_graph_fail(g, "embed_tokens: an input is missing");
    const int64_t d = vmae_last_dim(x), patches = vmae_rows(pos) - 1;
    const bool fits = masking ? vmae_same_shape(masking->ids_shuffle->shape, VMAE_SHAPE(x->shape.dim[0], patches)) &&
                                    x->shape.dim[1] == masking->keep
                              : x->shape.dim[1] == patches;
    if (x->shape.rank != 3 || !vmae_is_floats(cls, d) || !vmae_is_floats(pos, (1 + patches) * d) || !fits)
        return vmae_graph_fail(g, "embed_tokens: x is %s, cls is %s, pos is %s, masking is %s",
                               vmae_shape_text(x->shape), vmae_shape_text(cls->shape), vmae_shape_text(pos->shape),
                               masking ? vmae_shape_text(masking->ids_shuffle->shape) : "absent");
    vmae_node *node =
        vmae_record(g, &embed_tokens, 4, (vmae_tensor *[]){ x, cls, pos, masking ? masking->ids_shuffle : NULL });
    return vmae_result(g, node, x->type, VMAE_SHAPE(x->shape.dim[0], x->shape.dim[1] + 1, d));
}

/* ---- decoder input: inputs x, mask_token, pos, ids_restore, ids_shuffle ---- */

static vmae_status unshuffle_tokens_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    (void)accumulate;
    const vmae_tensor *x = node->in[0];
    return be->kernels->unshuffle_tokens(be, node->out[0]->data, x->data, node->in[1]->data, node->in[2]->data,
                                         node->in[3]->data, x->type, x->shape.dim[0], x->shape.dim[1] - 1,
                                         node->out[0]->shape.dim[1] - 1, x->shape.dim[2]);
}

/* Inputs dy, ids_restore, ids_shuffle; outputs dx, dmask_token. */
static vmae_status unshuffle_tokens_grad_prepare(vmae_backend *be, vmae_node *node, bool accumulates)
{
    (void)be, (void)accumulates;
    node->scratch_bytes = (size_t)be->sum_blocks * (size_t)vmae_last_dim(node->in[0]) * sizeof(float);
    return VMAE_OK;
}

static vmae_status unshuffle_tokens_grad_run(vmae_backend *be, const vmae_node *node, bool accumulate)
{
    const vmae_tensor *dy = node->in[0], *dx = node->out[0];
    return be->kernels->unshuffle_tokens_grad(be, dx->data, vmae_data(node->out[1]), node->scratch, dy->data,
                                              node->in[1]->data, node->in[2]->data, dx->type, dx->shape.dim[0],
                                              dx->shape.dim[1] - 1, dy->shape.dim[1] - 1, dx->shape.dim[2], accumulate);
}

static const vmae_rule unshuffle_tokens_grad = { "unshuffle_tokens_grad", unshuffle_tokens_grad_run, NULL,
                                                 unshuffle_tokens_grad_prepare, NULL };

static void unshuffle_tokens_backward(vmae_graph *g, vmae_node *node)
{
    vmae_tensor *x = node->in[0];
    vmae_node *grad = vmae_record(g, &unshuffle_tokens_grad, 3,
                                  (vmae_tensor *[]){ node->out[0]->gradient, node->in[3], node->in[4] });
    vmae_tensor *dx = vmae_result(g, grad, x->type, x->shape);
    vmae_param_gradient(g, grad, node->in[1]);
    vmae_add_gradient(g, x, dx);
}

static const vmae_rule unshuffle_tokens = { "unshuffle_tokens", unshuffle_tokens_run, unshuffle_tokens_backward, NULL,
                                            NULL };

vmae_tensor *vmae_unshuffle_tokens(vmae_graph *g, vmae_tensor *x, vmae_tensor *mask_token, vmae_tensor *pos,
                                   const vmae_masking *masking)
{
    if (!x || !mask_token || !pos || !masking || !masking->ids_restore)
        return vmae_graph_fail(g, "unshuffle_tokens: an input is missing");
    if (vmae_wants(pos))
        return vmae_graph_fail(g, "unshuffle_tokens: %s is trainable; positions get no gradient here", pos->name);
    const int64_t d = vmae_last_dim(x), patches = vmae_rows(pos) - 1;
    if (x->shape.rank != 3 || !vmae_is_floats(mask_token, d) || !vmae_is_floats(pos, (1 + patches) * d) ||
        x->shape.dim[1] != 1 + masking->keep ||
        !vmae_same_shape(masking->ids_restore->shape, VMAE_SHAPE(x->shape.dim[0], patches)))
        return vmae_graph_fail(g, "unshuffle_tokens: x is %s, mask_token is %s, pos is %s, masking is %s",
                               vmae_shape_text(x->shape), vmae_shape_text(mask_token->shape),
                               vmae_shape_text(pos->shape), vmae_shape_text(masking->ids_restore->shape));
    vmae_node *node = vmae_record(g, &unshuffle_tokens, 5,
                                  (vmae_tensor *[]){ x, mask_token, pos, masking->ids_restore, masking->ids_shuffle });
    return vmae_result(g, node, x->type, VMAE_SHAPE(x->shape.dim[0], 1 + patches, d));
}
