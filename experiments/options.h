/* options.h -- the option tables, and what is read out of them for the engine. */
#ifndef VMAE_EXPERIMENTS_OPTIONS_H
#define VMAE_EXPERIMENTS_OPTIONS_H

#include "engine/core/config.h"
#include "engine/data/data.h"
#include "engine/model/model.h"

/* Each ended by a name of NULL. */
extern const vmae_option vmae_common_options[];   /* seed, device, threads, data_root, loader.* and the like */
extern const vmae_option vmae_model_options[];    /* model.* */
extern const vmae_option vmae_pretrain_options[]; /* data.*, frames.*, augment.*, loss.*, train.*, monitor.* */
extern const vmae_option vmae_eval_options[];     /* checkpoint, parent, features.*, dataset.*: what probe, knn share */
extern const vmae_option vmae_probe_options[];    /* probe.* */
extern const vmae_option vmae_knn_options[];      /* knn.* */
extern const vmae_option vmae_picture_options[];  /* reconstruct.* */

/* model.size fills in what nobody set: dim, depth, ...; checks what sizes must fit. */
vmae_status vmae_options_resolve_model(vmae_config *config);
void vmae_options_model(const vmae_config *config, vmae_model_config *model);
vmae_pool vmae_options_pool(const vmae_config *config, const char *name);
/* precision "auto" becomes "bf16" where the device computes it fast, else "f32". */
vmae_status vmae_options_resolve_precision(vmae_config *config);
vmae_type vmae_options_precision(const vmae_config *config); /* once resolved */

/* The dataset under a prefix: "data.images", "data.videos", "dataset", "monitor"; split overrides <prefix>.split if not
 * NULL. A relative path is under data_root. Strings belong to the config, except *path_buffer, fresh memory that the
 * caller frees after opening. */
vmae_status vmae_options_dataset(const vmae_config *config, const char *prefix, const char *split,
                                 vmae_dataset_spec *spec, char **path_buffer);
/* The same, opened; a failure says which prefix, and where it was set. */
vmae_status vmae_options_open_dataset(const vmae_config *config, const char *prefix, const char *split,
                                      vmae_dataset **dataset);
/* The evaluation transform to so many pixels a side: resize and centre crop, normalised. */
vmae_augment vmae_options_evaluation(int64_t size);
/* The augmentation under a prefix ("augment.frames", "augment.images") of view 0 or 1. */
void vmae_options_augment(const vmae_config *config, const char *prefix, int view, vmae_augment *augment);

#endif
