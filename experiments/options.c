/* options.c -- every option of every protocol: name, type, role, default, range, meaning. */
#include "experiments/options.h"

#include <math.h>
#include <stddef.h>

/* One macro a line. */
/* clang-format off */
#define BOOLEAN(name, role, initial, help) { name, VMAE_BOOL, role, initial, 0, 0, NULL, NULL, help }
#define INTEGER(name, role, initial, min, max, unit, help) { name, VMAE_INT, role, initial, min, max, NULL, unit, help }
#define REAL(name, role, initial, min, max, unit, help) { name, VMAE_FLOAT, role, initial, min, max, NULL, unit, help }
#define STRING(name, role, initial, help) { name, VMAE_TEXT, role, initial, 0, 0, NULL, NULL, help }
#define CHOICE(name, role, initial, choices, help) { name, VMAE_CHOICE, role, initial, 0, 0, choices, NULL, help }
#define END { NULL, VMAE_BOOL, VMAE_SPEED_ONLY, NULL, 0, 0, NULL, NULL, NULL }
#define ID VMAE_IDENTITY
#define SPEED VMAE_SPEED_ONLY
/* clang-format on */

const vmae_option vmae_common_options[] = {
    INTEGER("seed", ID, "1", 0, 0x1p53, NULL, "seed of every random choice"),
    STRING("device", SPEED, "auto", "auto, cpu or cuda:N"),
    CHOICE("precision", ID, "auto", "auto f32 bf16",
           "of matrix products and stored activations; auto: bf16 where it is fast"),
    INTEGER("threads", SPEED, "0", 0, 1024, NULL,
            "compute threads; 0: all cores. Others may change last bits (docs/numerics.md)"),
    STRING("data_root", SPEED, "", "folder that relative dataset paths start from"),
    CHOICE(
        "augment.on", SPEED, "auto", "auto host device",
        "who cuts, colours and normalises images, to the same bits: loader threads (host) or the device; auto: a GPU "
        "does, a CPU has loader threads for it"),
    INTEGER("loader.threads", SPEED, "1", 1, 256, NULL, "threads that decode and augment"),
    INTEGER("loader.prefetch", SPEED, "4", 1, 1024, "batches", "finished batches held at most"),
    INTEGER("loader.bad_limit", SPEED, "100", 0, 1e12, "samples",
            "unreadable samples that are replaced before the run fails"),
    INTEGER("log.every", SPEED, "1", 1, 1e9, "steps", "how often metrics are journalled"),
    END
};

const vmae_option vmae_model_options[] = {
    CHOICE("model.size", SPEED, "base", "nano tiny small base large huge",
           "fills in every size below that is not set; nano, tiny and small are for CPUs and small images"),
    INTEGER("model.image_size", ID, "224", 4, 4096, "pixels", "side of the square input"),
    INTEGER("model.patch_size", ID, "16", 1, 256, "pixels", "side of a patch"),
    INTEGER("model.dim", ID, "768", 4, 65536, NULL, "width of the encoder"),
    INTEGER("model.depth", ID, "12", 1, 1000, "blocks", "encoder blocks"),
    INTEGER("model.heads", ID, "12", 1, 1024, NULL, "attention heads of the encoder"),
    REAL("model.mlp_ratio", ID, "4", 0.25, 64, NULL, "hidden width of an MLP over its input"),
    INTEGER("model.decoder_dim", ID, "512", 4, 65536, NULL, "width of the decoder"),
    INTEGER("model.decoder_depth", ID, "8", 1, 1000, "blocks", "decoder blocks"),
    INTEGER("model.decoder_heads", ID, "16", 1, 1024, NULL, "attention heads of the decoder"),
    INTEGER("model.projector_hidden", ID, "4096", 1, 65536, NULL, "hidden width of the projector"),
    INTEGER("model.projector_out", ID, "128", 1, 65536, NULL, "width of the vectors that are contrasted"),
    CHOICE("model.pool", ID, "mean", "mean max gem cls", "what the projector sees of the tokens (paper Table 3b)"),
    REAL("model.mask_ratio", ID, "0.75", 0, 0.99, NULL, "fraction of patches removed; 0.5 in the released code"),
    BOOLEAN("model.norm_pix", ID, "true", "reconstruct pixels normalised per patch"),
    END
};

#define DATASET(prefix, kind, split, role_of)                                                                          \
    CHOICE(prefix ".kind", ID, kind, "none folder tar videos cifar10 cifar100 shapes shapes-video", role_of),          \
        STRING(prefix ".path", SPEED, "", "folder or file, under data_root if relative"),                              \
        STRING(prefix ".split", ID, split, "sub-folder or file stem, if there is one"),                                \
        INTEGER(prefix ".limit", ID, "0", 0, 1e12, "samples", "use the first so many; 0: all"),                        \
        INTEGER(prefix ".shapes_count", ID, "4096", 1, 1e12, "samples", "size of the procedural dataset"),             \
        INTEGER(prefix ".shapes_size", ID, "32", 8, 1024, "pixels", "side at which it is rendered"),                   \
        INTEGER(prefix ".shapes_frames", ID, "32", 1, 100000, "frames", "length of its clips"),                        \
        INTEGER(prefix ".shapes_seed", ID, "1", 0, 0x1p53, NULL, "its own seed")

/* The released code's values for images; frames get crop and flip only (paper sec. 4). */
#define AUGMENT(prefix, spatial_area, colour)                                                                          \
    BOOLEAN(prefix ".crop", ID, "true", "random resized crop"),                                                        \
        REAL(prefix ".crop_area_min", ID, spatial_area, 0.0001, 1, NULL, "least area of a crop over the image's"),     \
        REAL(prefix ".crop_area_max", ID, "1", 0.0001, 1, NULL, "largest area of a crop"),                             \
        CHOICE(prefix ".filter", ID, "bicubic", "bicubic bilinear", "of resizing, antialiased"),                       \
        BOOLEAN(prefix ".flip", ID, "true", "left-right flip with probability 0.5"),                                   \
        BOOLEAN(prefix ".colour", ID, colour, "jitter, grey, blur and solarisation at all"),                           \
        REAL(prefix ".jitter_p", ID, "0.8", 0, 1, NULL, "probability of colour jitter"),                               \
        REAL(prefix ".brightness", ID, "0.4", 0, 1, NULL, "jitter factor in 1 +- this"),                               \
        REAL(prefix ".contrast", ID, "0.4", 0, 1, NULL, "jitter factor in 1 +- this"),                                 \
        REAL(prefix ".saturation", ID, "0.2", 0, 1, NULL, "jitter factor in 1 +- this"),                               \
        REAL(prefix ".hue", ID, "0.1", 0, 0.5, "turns", "hue shift in +- this"),                                       \
        REAL(prefix ".grey_p", ID, "0.2", 0, 1, NULL, "probability of grey"),                                          \
        REAL(prefix ".blur_p", ID, "1", 0, 1, NULL, "probability of blur in view 1"),                                  \
        REAL(prefix ".blur_p2", ID, "0.1", 0, 1, NULL, "probability of blur in view 2"),                               \
        REAL(prefix ".blur_sigma_min", ID, "0.1", 0.01, 100, "pixels", "least blur"),                                  \
        REAL(prefix ".blur_sigma_max", ID, "2", 0.01, 100, "pixels", "largest blur"),                                  \
        REAL(prefix ".solarise_p2", ID, "0.2", 0, 1, NULL, "probability of solarisation in view 2"),                   \
        BOOLEAN(prefix ".released", ID, "false", "the released code's order of jitter, its hue and its blur")

const vmae_option vmae_pretrain_options[] = {
    DATASET("data.images", "none", "train", "images of a batch"),
    DATASET("data.videos", "none", "train", "videos of a batch"),
    REAL("data.image_ratio", ID, "0.5", 0, 1, NULL, "images in a batch over all samples, where both kinds are given"),
    CHOICE("frames.sampling", ID, "distant", "distant continuous",
           "distant: one frame from each half of the window; continuous: start i, second in (i, i+delta]"),
    INTEGER("frames.delta", ID, "8", 0, 1e6, "frames",
            "largest separation in continuous sampling; 0: the same frame twice"),
    INTEGER("frames.window", ID, "0", 0, 1e6, "frames",
            "a pair comes from a random window of so many frames; 0: the whole clip"),
    BOOLEAN("frames.fresh", ID, "true", "new frame pairs every epoch (the released data files fix them)"),
    AUGMENT("augment.frames", "0.5", "false"),
    AUGMENT("augment.images", "0.08", "true"),
    REAL("loss.temperature", ID, "0.1", 0.001, 100, NULL, "of the contrastive loss"),
    REAL("loss.lambda", ID, "0.025", 0, 1e6, NULL, "weight of the contrastive loss at the end of its ramp"),
    REAL("loss.lambda_from", ID, "0", 0, 1e9, "epochs", "the ramp of lambda starts here, at 0"),
    REAL("loss.lambda_until", ID, "40", 0, 1e9, "epochs", "and ends here, at loss.lambda; equal ends: constant"),
    REAL("loss.recon_weight", ID, "1", 0, 1e6, NULL, "weight of the reconstruction loss; 0.97 in the released code"),
    INTEGER("loss.positive_ranks", ID, "1", 1, 65536, NULL,
            "pretend the batch came from so many ranks whose equal positions pass for positives (released code: 8)"),
    REAL("train.epochs", ID, "400", 0.001, 1e9, "epochs", "length of pre-training"),
    INTEGER("train.epoch_steps", ID, "0", 0, 1e12, "steps", "optimiser steps that count as an epoch; 0: the data once"),
    INTEGER("train.batch", ID, "64", 2, 1e6, "pairs", "samples of one forward pass"),
    INTEGER("train.accum_iter", ID, "1", 1, 1e6, NULL, "forward passes whose gradients are averaged before a step"),
    REAL("train.blr", ID, "1.5e-4", 0, 1e3, "per 256 samples",
         "base learning rate; lr = blr x samples of a step / 256"),
    REAL("train.min_lr", ID, "0", 0, 1e3, NULL, "learning rate at the end of the cosine"),
    REAL("train.warmup_epochs", ID, "40", 0, 1e9, "epochs", "linear warm-up from 0"),
    REAL("train.weight_decay", ID, "0.05", 0, 10, NULL, "of matrices; never of biases and norms"),
    REAL("train.beta1", ID, "0.9", 0, 0.999999, NULL, "AdamW"),
    REAL("train.beta2", ID, "0.95", 0, 0.999999, NULL, "AdamW"),
    REAL("train.clip_grad", ID, "0", 0, 1e9, NULL, "largest gradient norm; 0: no clipping"),
    REAL("checkpoint.every", SPEED, "1", 0.001, 1e9, "epochs", "how often the state to resume from is saved"),
    DATASET("monitor", "none", "val",
            "labelled images for kNN during pre-training (queries; its train split is the bank); part of the run: its "
            "numbers are results"),
    REAL("monitor.every", SPEED, "10", 0.001, 1e9, "epochs", "how often"),
    INTEGER("monitor.bank", ID, "2000", 10, 1e9, "images", "labelled images that vote"),
    END
};

const vmae_option vmae_eval_options[] = {
    STRING("checkpoint", SPEED, "",
           "safetensors file of the encoder; 'random': a fresh model of model.* and seed; 'pixels': no model"),
    STRING("parent", ID, "", "identity of the run that made the checkpoint, or the file's hash; filled in"),
    CHOICE("features.pool", ID, "mean", "mean max gem cls",
           "mean: average of patch tokens; cls: the class token (MAE's protocol)"),
    INTEGER("features.batch", SPEED, "256", 1, 1e6, "images",
            "images of one forward pass; in bf16 it may change last digits"),
    DATASET("dataset", "none", "train", "labelled images"),
    STRING("dataset.val_split", ID, "val", "split that is evaluated"),
    INTEGER("dataset.val_limit", ID, "0", 0, 1e12, "samples", "evaluate on the first so many; 0: all"),
    END
};

const vmae_option vmae_probe_options[] = {
    CHOICE("probe.optimizer", ID, "lars", "lars sgd", "LARS as in MAE's protocol, or SGD with momentum"),
    REAL("probe.epochs", ID, "100", 0.001, 1e9, "epochs", "length of training"),
    INTEGER("probe.batch", ID, "16384", 1, 1e6, "images", "samples of a step; at most the training set"),
    REAL("probe.blr", ID, "0.1", 0, 1e6, "per 256 samples", "base learning rate"),
    REAL("probe.warmup_epochs", ID, "10", 0, 1e9, "epochs", "linear warm-up from 0"),
    REAL("probe.momentum", ID, "0.9", 0, 0.999999, NULL, "of the optimiser"),
    REAL("probe.weight_decay", ID, "0", 0, 10, NULL, "of the classifier's matrix"),
    BOOLEAN("probe.augment", ID, "false", "crop and flip the training images (recomputes features every epoch)"),
    REAL("probe.eval_every", SPEED, "10", 0.001, 1e9, "epochs", "how often the validation split is scored on the way"),
    END
};

const vmae_option vmae_knn_options[] = {
    INTEGER("knn.k", ID, "20", 1, 1e6, NULL, "neighbours that vote"),
    REAL("knn.temperature", ID, "0.07", 0.001, 100, NULL, "a vote weighs exp(similarity / temperature)"), END
};

const vmae_option vmae_picture_options[] = {
    INTEGER("reconstruct.count", ID, "8", 1, 1000, "images", "rows of the grid"),
    REAL("reconstruct.mask_ratio", ID, "0.75", 0, 0.99, NULL, "fraction of patches removed"),
    INTEGER("reconstruct.zoom", ID, "0", 0, 64, NULL,
            "pixels a side that an image pixel becomes; 0: so that tiles are about 128 pixels wide"),
    END
};
