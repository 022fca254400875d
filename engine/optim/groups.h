/* groups.h -- which parameters decay, and how fast each learns, by name and number of dimensions. Names are those of
 * the official PyTorch state dicts ("blocks.3.attn.qkv.weight"); `rank` is the number of dimensions of the tensor as
 * stored there (cls_token: 3). */
#ifndef VMAE_OPTIM_GROUPS_H
#define VMAE_OPTIM_GROUPS_H

#include "engine/core/status.h"

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Pre-training (`add_weight_decay` of timm, as the MAE release calls it): every tensor of two or more dimensions whose
 * name does not end in ".bias". So the class and mask tokens do decay. */
bool vmae_decays_in_pretraining(const char *name, int rank);

/* Fine-tuning (`lr_decay.py` of the MAE release): every tensor of two or more dimensions but the class token and the
 * positions (pos_embed and, for video, pos_embed_spatial, pos_embed_temporal, pos_embed_class). */
bool vmae_decays_in_finetuning(const char *name, int rank);

/* The layer of a parameter in an encoder of `depth` blocks: 0 for the class token, the positions and the patch
 * projection; i + 1 for block i; depth + 1 for the rest (final norm, head). VMAE_EUSER, naming the parameter, for a
 * block that is no number or not below depth. */
vmae_status vmae_layer_id(int *layer, const char *name, int depth);

/* decay^(depth + 1 - layer): the factor of the learning rate of a layer (Bao et al. 2021, arXiv:2106.08254); 1 for the
 * head. */
double vmae_layer_scale(int layer, int depth, double decay);

#ifdef __cplusplus
}
#endif
#endif
