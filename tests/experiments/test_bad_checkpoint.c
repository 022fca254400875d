/* test_bad_checkpoint.c -- checkpoints that are truncated, of another shape, or of something else. */
#include "vicmae.h"

#include "engine/backend/backend.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/core/fs.h"
#include "engine/model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A tiny pre-trained encoder, made once. */
static const char *trained(void)
{
    static char path[600];
    if (!*path) {
        const char *run = here("trained");
        RUN_OK("pretrain", "-R", run, TINY_MODEL, TINY_TRAINING, TINY_IMAGES);
        memcpy(path, in(run, "checkpoint.safetensors"), strlen(run) + sizeof "/checkpoint.safetensors");
    }
    return path;
}

/* A copy without the tensor (or with its last dimension halved). */
static void rewrite(const char *path, const char *name, bool halve)
{
    vmae_checkpoint *file = NULL;
    vmae_writer *writer = vmae_writer_new();
    REQUIRE_OK(vmae_checkpoint_open(&file, trained()));
    for (size_t i = 0; i < vmae_checkpoint_metadata_count(file); i++) {
        const char *key, *value;
        vmae_checkpoint_metadata_at(file, i, &key, &value);
        CHECK_OK(vmae_writer_metadata(writer, key, value));
    }
    for (size_t i = 0; i < vmae_checkpoint_count(file); i++) {
        vmae_entry entry = *vmae_checkpoint_at(file, i);
        if (strcmp(entry.name, name) == 0) {
            if (!halve)
                continue;
            entry.dim[entry.rank - 1] /= 2;
        }
        CHECK_OK(vmae_writer_add(writer, entry.name, entry.dtype, entry.rank, entry.dim, entry.data));
    }
    CHECK_OK(vmae_writer_save(writer, path));
    vmae_writer_free(writer);
    vmae_checkpoint_free(file);
}

static void check_all_refuse(const char *path, int code, const char *sentence)
{
    const char *const protocols[] = { "knn", "probe", "reconstruct" };
    for (int i = 0; i < 3; i++) {
        char name[64];
        static int count;
        snprintf(name, sizeof name, "refuses%d", count++);
        RUN_CODE(code, NULL, protocols[i], "-R", here(name), set("checkpoint", path), TINY_LABELLED, "threads=1");
        CHECK_STR(vicmae_err(), vmae_path_base(path));
        CHECK_STR(vicmae_err(), sentence);
        CHECK(!exists(in(here(name), "done.json")));
    }
}

TEST(a_truncated_checkpoint_is_refused_by_everyone)
{
    size_t count = 0;
    char *bytes = contents(trained(), &count);
    REQUIRE(bytes);
    const char *path = here("truncated.safetensors");
    CHECK_OK(vmae_write_file(path, bytes, count - 100));
    check_all_refuse(path, 1, "is the file cut off?");
    RUN_CODE(1, NULL, "info", path);
    CHECK_STR(vicmae_err(), "truncated.safetensors");
    CHECK_OK(vmae_write_file(path, bytes, 5));
    RUN_CODE(1, NULL, "info", path);
    CHECK_STR(vicmae_err(), "truncated.safetensors");
    free(bytes);
}

TEST(a_checkpoint_that_lacks_a_tensor_is_refused_with_its_name)
{
    const char *path = here("lacks.safetensors");
    rewrite(path, "blocks.1.mlp.fc1.weight", false);
    check_all_refuse(path, 2, "blocks.1.mlp.fc1.weight");
}

TEST(a_checkpoint_with_a_tensor_of_another_shape_is_refused_with_both)
{
    const char *path = here("shape.safetensors");
    rewrite(path, "blocks.0.attn.qkv.weight", true);
    check_all_refuse(path, 2, "blocks.0.attn.qkv.weight");
    CHECK_STR(vicmae_err(), "[48, 8]");
    CHECK_STR(vicmae_err(), "[48, 16]");
}

TEST(an_encoder_without_a_decoder_cannot_paint_but_classify)
{
    const char *path = here("encoder.safetensors");
    rewrite(path, "decoder_pred.weight", false);
    RUN_CODE(2, NULL, "reconstruct", "-R", here("paints"), set("checkpoint", path), TINY_LABELLED);
    CHECK_STR(vicmae_err(), "decoder_pred.weight");
    RUN_OK("knn", "-R", here("votes"), set("checkpoint", path), TINY_LABELLED);
}

TEST(a_file_of_other_tensors_is_not_an_encoder)
{
    const char *path = here("other.safetensors");
    const float numbers[6] = { 1, 2, 3, 4, 5, 6 };
    vmae_writer *writer = vmae_writer_new();
    CHECK_OK(vmae_writer_add(writer, "conv1.weight", VMAE_ST_F32, 2, (const int64_t[]){ 2, 3 }, numbers));
    CHECK_OK(vmae_writer_save(writer, path));
    vmae_writer_free(writer);
    check_all_refuse(path, 2, "not a ViT encoder: it needs patch_embed.proj.weight");
    RUN_OK("info", path, "--tensors");
    CHECK_STR(vicmae_out(), "not an encoder that this version knows");
    CHECK_STR(vicmae_out(), "conv1.weight");
}

TEST(a_file_that_is_no_checkpoint_is_refused)
{
    const char *path = here("picture.safetensors");
    CHECK_OK(vmae_write_file(path, "\x89PNG\r\n\x1a\n and so on and so forth", 32));
    check_all_refuse(path, 1, "not a safetensors file");
    CHECK_OK(vmae_write_file(path, "", 0));
    check_all_refuse(path, 1, "not a safetensors file");
}

/* A whole model of these sizes, with or without saying them in its metadata. */
static void write_model(const char *path, const vmae_model_config *sizes, bool metadata)
{
    vmae_backend *be = NULL;
    vmae_params *params = vmae_params_new();
    vmae_writer *writer = vmae_writer_new();
    float *floats = NULL;
    const int64_t batches = 0;
    REQUIRE_OK(vmae_backend_open(&be, "cpu", 1));
    CHECK_OK(vmae_declare_encoder(params, sizes, false, true));
    CHECK_OK(vmae_declare_pretraining(params, sizes));
    CHECK_OK(vmae_params_allocate(params, be, false, false));
    CHECK_OK(vmae_model_init(params, sizes, 1));
    if (metadata)
        CHECK_OK(vmae_model_describe(sizes, writer));
    CHECK_OK(vmae_model_save(params, writer, &batches, &floats));
    CHECK_OK(vmae_writer_save(writer, path));
    vmae_writer_free(writer);
    free(floats);
    vmae_params_free(params);
    vmae_backend_close(be);
}

TEST(a_model_of_images_with_four_channels_is_refused_whether_it_says_so_or_not)
{
    const vmae_model_config sizes = { .image_size = 16,
                                      .patch_size = 4,
                                      .channels = 4,
                                      .dim = 16,
                                      .depth = 1,
                                      .heads = 1,
                                      .mlp_hidden = 64,
                                      .decoder_dim = 16,
                                      .decoder_depth = 1,
                                      .decoder_heads = 16,
                                      .decoder_mlp_hidden = 64,
                                      .projector_hidden = 16,
                                      .projector_out = 8,
                                      .mask_ratio = 0.75,
                                      .norm_pix = true };
    write_model(here("says.safetensors"), &sizes, true);
    check_all_refuse(here("says.safetensors"), 2, "channels is 4; models here have 3");
    write_model(here("shows.safetensors"), &sizes, false);
    check_all_refuse(here("shows.safetensors"), 2, "channels is 4; models here have 3");
}

/* What metadata claims is bounded before anything is allocated for it. */
TEST(sizes_that_no_model_has_are_refused_before_memory_is_asked_for)
{
    const struct {
        const char *key, *value, *sentence;
    } claims[] = { { "vicmae.depth", "1000000", "depth is 1000000; it must be between 1 and 1000" },
                   { "vicmae.dim", "1048576", "dim is 1048576; it must be between 1 and 65536" },
                   { "vicmae.patch_size", "0", "vicmae.patch_size = \"0\"; it must be a positive size" },
                   { "vicmae.mask_ratio", "nan", "the mask ratio is nan" },
                   { "vicmae.mask_ratio", "-1e300", "the mask ratio is -1e+300" } };
    for (size_t i = 0; i < sizeof claims / sizeof *claims; i++) {
        vmae_checkpoint *file = NULL;
        vmae_model_config config;
        vmae_writer *writer = vmae_writer_new();
        REQUIRE_OK(vmae_checkpoint_open(&file, trained()));
        for (size_t k = 0; k < vmae_checkpoint_metadata_count(file); k++) {
            const char *key, *value;
            vmae_checkpoint_metadata_at(file, k, &key, &value);
            CHECK_OK(vmae_writer_metadata(writer, key, strcmp(key, claims[i].key) == 0 ? claims[i].value : value));
        }
        vmae_checkpoint_free(file);
        CHECK_OK(vmae_writer_save(writer, here("claims.safetensors")));
        vmae_writer_free(writer);
        REQUIRE_OK(vmae_checkpoint_open(&file, here("claims.safetensors")));
        CHECK_FAILS(vmae_model_recognise(&config, file), i == 2 ? VMAE_EDATA : VMAE_EUSER, claims[i].sentence);
        vmae_checkpoint_free(file);
    }
}
