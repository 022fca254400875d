/* test_bad_config.c -- configurations that cannot run: each refusal says where, what, and what would do. */
#include "vicmae.h"

#include "engine/core/fs.h"

#include <stdio.h>
#include <string.h>

static const char *config_file(const char *name, const char *text)
{
    const char *path = here(name);
    CHECK_OK(vmae_write_file(path, text, strlen(text)));
    return path;
}

static void check_refused(const char *override, const char *sentence)
{
    const char *run = here("refused");
    RUN_CODE(2, NULL, "pretrain", "-R", run, TINY_MODEL, TINY_TRAINING, TINY_IMAGES, override);
    CHECK_STR(vicmae_err(), sentence);
    CHECK(!exists(run)); /* nothing is left behind */
    CHECK_EQ(strlen(vicmae_out()), 0);
}

TEST(an_unknown_option_is_refused_with_the_nearest_one)
{
    check_refused("model.mask_ratoi=0.5",
                  "vicmae: command line: unknown option model.mask_ratoi; did you mean model.mask_ratio?");
}

TEST(an_unknown_option_in_a_file_is_refused_with_its_line)
{
    const char *path = config_file("typo.cfg", "seed = 3;\nmodel = {\n  depth = 2;\n  haeds = 2;\n};\n");
    RUN_CODE(2, NULL, "pretrain", "-R", here("typo"), path, TINY_IMAGES);
    CHECK_STR(vicmae_err(), "typo.cfg:4: unknown option model.haeds; did you mean model.heads?");
}

TEST(a_file_that_does_not_parse_is_refused_with_its_line)
{
    const char *path = config_file("syntax.cfg", "seed = 3;\nmodel = {\n  depth = ;\n};\n");
    RUN_CODE(2, NULL, "pretrain", "-R", here("syntax"), path);
    CHECK_STR(vicmae_err(), "syntax.cfg:3: ");
    RUN_CODE(2, NULL, "pretrain", "-R", here("syntax"), here("absent.cfg"));
    CHECK_STR(vicmae_err(), "absent.cfg");
    CHECK_STR(vicmae_err(), "No such file");
}

TEST(a_device_that_cannot_train_is_refused)
{
    check_refused("device=paper", "device is \"paper\"; known are auto, cpu and cuda:N");
    check_refused("device=cuda:x", "device is \"cuda:x\"; known are auto, cpu and cuda:N");
}

TEST(a_value_of_another_type_or_out_of_range_is_refused)
{
    check_refused("model.depth=two", "command line: model.depth is two; it must be a whole number");
    check_refused("model.depth=2.5", "model.depth is 2.5; it must be a whole number");
    check_refused("model.mask_ratio=1.5", "model.mask_ratio is 1.5; it must be between 0 and 0.99");
    check_refused("train.batch=1", "train.batch is 1; it must be between 2 and ");
    check_refused("augment.images.crop=perhaps", "augment.images.crop is perhaps");
    check_refused("model.pool=average", "model.pool is average; it must be one of: mean max gem cls");
    check_refused("train.blr=nan", "train.blr is nan");
    check_refused("seed=99999999999999999999", "seed is 99999999999999999999");
    check_refused("model=3", "model is a group of options");
    const char *path = config_file("range.cfg", "train = {\n  epochs = 3.0;\n  beta1 = 1.0;\n};\n");
    RUN_CODE(2, NULL, "pretrain", "-R", here("range"), path, TINY_IMAGES);
    CHECK_STR(vicmae_err(), "range.cfg:3: train.beta1 is 1.0; it must be between 0 and 0.999999");
}

TEST(sizes_that_do_not_divide_are_refused_with_both)
{
    check_refused("model.patch_size=5", "command line: model: image size 16 is not a multiple of the patch size 5");
    check_refused("model.heads=3", "widths 16 and 16 must be multiples of their heads 3 and 2");
    check_refused("model.dim=18", "model: ");
    const char *path = config_file("sizes.cfg", "model = {\n  image_size = 30;\n};\n");
    RUN_CODE(2, NULL, "pretrain", "-R", here("sizes"), path, TINY_IMAGES);
    CHECK_STR(vicmae_err(), "sizes.cfg:2: model: image size 30 is not a multiple of the patch size 16");
}

TEST(a_mask_ratio_that_keeps_nothing_is_refused_with_the_count)
{
    check_refused("model.mask_ratio=0.97", "a mask ratio of 0.97 keeps 0 of 16 patches; at least one must stay");
    check_refused("model.mask_ratio=0", "a mask ratio of 0 keeps 16 of 16 patches");
}

TEST(options_that_contradict_each_other_are_refused)
{
    check_refused("loss.positive_ranks=3", "loss.positive_ranks is 3; train.batch, 4, must be a multiple of it");
    check_refused("loss.lambda_from=5", "loss.lambda_until is 2; the ramp of lambda would end before it starts");
    check_refused("augment.images.crop_area_max=0.01", "augment.images.crop_area_min is 0.08; it must not exceed");
    check_refused("augment.images.blur_sigma_max=0.05", "augment.images.blur_sigma_min is 0.1; it must not exceed "
                                                        "augment.images.blur_sigma_max, 0.05");
    check_refused("frames.window=1", "command line: frames.window is 1; distant sampling needs a window of at least 2");
    const char *path = config_file("window.cfg", "frames = {\n  sampling = \"continuous\";\n  window = 8;\n};\n");
    RUN_CODE(2, NULL, "pretrain", "-R", here("window"), path, TINY_MODEL, TINY_IMAGES);
    CHECK_STR(vicmae_err(), "window.cfg:3: frames.window is 8; continuous sampling with this frames.delta needs a "
                            "window of at least 9 frames, or 0");
    check_refused("data.image_ratio=0", "data.image_ratio is 0; but the only data given are of the other kind");
    RUN_CODE(2, NULL, "pretrain", "-R", here("nodata"), TINY_MODEL);
    CHECK_STR(vicmae_err(), "pre-training needs data: set data.images.* or data.videos.* or both");
}

TEST(an_evaluation_without_its_needs_says_which)
{
    RUN_CODE(2, NULL, "probe", "-R", here("e1"), TINY_LABELLED);
    CHECK_STR(vicmae_err(), "checkpoint is ");
    CHECK_STR(vicmae_err(), "safetensors file");
    RUN_CODE(2, NULL, "probe", "-R", here("e2"), "checkpoint=pixels");
    CHECK_STR(vicmae_err(), "dataset.kind is none; an evaluation needs a labelled dataset");
    RUN_CODE(2, NULL, "knn", "-R", here("e3"), "checkpoint=/nowhere/model.safetensors", TINY_LABELLED);
    CHECK_STR(vicmae_err(), "command line: checkpoint: ");
    CHECK_STR(vicmae_err(), "/nowhere/model.safetensors");
    CHECK(!exists(here("e1")) && !exists(here("e2")) && !exists(here("e3")));
}
