/* test_exported.c -- the checkpoint that a pre-training leaves is one that others can read. */
#include "vicmae.h"

#include "engine/core/mem.h"
#include "engine/model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The sizes of golden vicmae_params. */
static const char *trained(void)
{
    static char path[600];
    if (!*path) {
        snprintf(path, sizeof path, "%s/checkpoint.safetensors", here("golden-sizes"));
        RUN_OK("pretrain", "-R", here("golden-sizes"), "threads=1", "model.image_size=32", "model.patch_size=8",
               "model.dim=48", "model.depth=2", "model.heads=3", "model.decoder_dim=32", "model.decoder_depth=2",
               "model.decoder_heads=4", "model.projector_hidden=64", "model.projector_out=16", TINY_TRAINING,
               TINY_IMAGES, "train.accum_iter=3", "train.epochs=2");
    }
    return path;
}

static bool same_kind(const vmae_entry *a, const vmae_entry *b)
{
    bool same = a->dtype == b->dtype && a->rank == b->rank;
    for (int i = 0; i < a->rank && same; i++)
        same = a->dim[i] == b->dim[i];
    return same;
}

/* Every tensor of a is in b, of the same type and shape. */
static void check_within(const vmae_checkpoint *a, const vmae_checkpoint *b)
{
    for (size_t i = 0; i < vmae_checkpoint_count(a); i++) {
        const vmae_entry *entry = vmae_checkpoint_at(a, i), *other = vmae_checkpoint_find(b, entry->name);
        vmae_check(other && same_kind(entry, other), __FILE__, __LINE__, "%s is %s", entry->name,
                   other ? "of another type or shape" : "absent");
    }
}

TEST(names_types_and_shapes_are_those_of_the_official_state_dict)
{
    const char *folder = vmae_test_shared("golden");
    vmae_checkpoint *ours = NULL, *official = NULL;
    if (!folder)
        SKIP("no golden vectors");
    REQUIRE_OK(vmae_checkpoint_open(&official, in(folder, "vicmae_params.safetensors")));
    REQUIRE_OK(vmae_checkpoint_open(&ours, trained()));
    check_within(official, ours);
    check_within(ours, official);
    CHECK_EQ(vmae_checkpoint_count(ours), vmae_checkpoint_count(official));
    vmae_checkpoint_free(ours);
    vmae_checkpoint_free(official);
}

TEST(the_batches_that_a_norm_has_seen_are_two_a_pass)
{
    static const char *const names[] = { "projector.1.num_batches_tracked", "projector.4.num_batches_tracked" };
    vmae_checkpoint *file = NULL;
    REQUIRE_OK(vmae_checkpoint_open(&file, trained()));
    for (int i = 0; i < 2; i++) {
        const vmae_entry *entry = vmae_checkpoint_find(file, names[i]);
        if (!CHECK(entry && entry->dtype == VMAE_ST_I64 && entry->rank == 0))
            continue;
        CHECK_EQ(*(const int64_t *)entry->data, 2 * 8 * 3); /* views x steps x passes a step */
    }
    CHECK_STR(vmae_checkpoint_metadata(file, "vicmae.step"), "8");
    vmae_checkpoint_free(file);
}

static vmae_status declare(vmae_params **out, vmae_backend *be, const vmae_model_config *model)
{
    vmae_params *params = *out = vmae_params_new();
    VMAE_TRY(vmae_declare_encoder(params, model, false, true));
    VMAE_TRY(vmae_declare_pretraining(params, model));
    VMAE_TRY(vmae_params_allocate(params, be, true, true));
    return vmae_model_init(params, model, 99);
}

static void check_loads_back(const char *path)
{
    vmae_backend *be = NULL;
    vmae_params *params = NULL;
    vmae_checkpoint *file = NULL, *again = NULL;
    vmae_model_config model;
    float *floats = NULL;
    const int64_t batches = 0;
    vmae_writer *writer = vmae_writer_new();
    REQUIRE_OK(vmae_checkpoint_open(&file, path));
    REQUIRE_OK(vmae_model_recognise(&model, file));
    REQUIRE_OK(vmae_backend_open(&be, "cpu", 1));
    REQUIRE_OK(declare(&params, be, &model));
    CHECK_OK(vmae_model_load(params, file));
    CHECK_OK(vmae_model_save(params, writer, &batches, &floats));
    CHECK_OK(vmae_writer_save(writer, here("again.safetensors")));
    REQUIRE_OK(vmae_checkpoint_open(&again, here("again.safetensors")));
    check_within(file, again);
    for (size_t i = 0; i < vmae_checkpoint_count(file); i++) {
        const vmae_entry *entry = vmae_checkpoint_at(file, i), *other = vmae_checkpoint_find(again, entry->name);
        if (other && entry->dtype == VMAE_ST_F32)
            vmae_check(memcmp(entry->data, other->data, entry->bytes) == 0, __FILE__, __LINE__, "%s has other bits",
                       entry->name);
    }
    vmae_checkpoint_free(file);
    vmae_checkpoint_free(again);
    vmae_writer_free(writer);
    free(floats);
    vmae_params_free(params);
    vmae_backend_close(be);
}

TEST(an_exported_model_loads_back_bit_for_bit)
{
    check_loads_back(trained());
}

TEST(a_model_with_gem_pooling_has_its_exponent)
{
    const char *run = here("gem");
    vmae_checkpoint *file = NULL;
    RUN_OK("pretrain", "-R", run, TINY_MODEL, TINY_TRAINING, TINY_IMAGES, "model.pool=gem");
    REQUIRE_OK(vmae_checkpoint_open(&file, in(run, "checkpoint.safetensors")));
    const vmae_entry *p = vmae_checkpoint_find(file, "pool.p");
    if (CHECK(p && p->dtype == VMAE_ST_F32 && p->count == 1))
        CHECK(*(const float *)p->data != 3.0f); /* it has learnt */
    vmae_checkpoint_free(file);
    check_loads_back(in(run, "checkpoint.safetensors"));
}

/* A copy as others would have written it: the tensors alone. */
static void without_metadata(const char *from, const char *to)
{
    vmae_checkpoint *file = NULL;
    vmae_writer *writer = vmae_writer_new();
    REQUIRE_OK(vmae_checkpoint_open(&file, from));
    for (size_t i = 0; i < vmae_checkpoint_count(file); i++) {
        const vmae_entry *entry = vmae_checkpoint_at(file, i);
        CHECK_OK(vmae_writer_add(writer, entry->name, entry->dtype, entry->rank, entry->dim, entry->data));
    }
    CHECK_OK(vmae_writer_save(writer, to));
    vmae_writer_free(writer);
    vmae_checkpoint_free(file);
}

TEST(a_file_without_metadata_is_recognised_by_its_shapes_and_gives_the_same_features)
{
    const char *run = here("official"), *bare = here("bare.safetensors");
    const char *named = in(run, "checkpoint.safetensors");
    /* a head is 64 wide in the official encoders, and the decoder has 16 of them */
    RUN_OK("pretrain", "-R", run, TINY_MODEL, TINY_TRAINING, TINY_IMAGES, "model.dim=128", "model.heads=2",
           "model.decoder_dim=32", "model.decoder_heads=16", "model.depth=1", "model.decoder_depth=2");
    without_metadata(named, bare);
    vmae_checkpoint *file = NULL;
    vmae_model_config model;
    REQUIRE_OK(vmae_checkpoint_open(&file, bare));
    CHECK_EQ(vmae_checkpoint_metadata_count(file), 0);
    REQUIRE_OK(vmae_model_recognise(&model, file));
    CHECK_EQ(model.image_size, 16);
    CHECK_EQ(model.patch_size, 4);
    CHECK_EQ(model.channels, 3);
    CHECK_EQ(model.dim, 128);
    CHECK_EQ(model.depth, 1);
    CHECK_EQ(model.heads, 2);
    CHECK_EQ(model.mlp_hidden, 512);
    CHECK_EQ(model.decoder_dim, 32);
    CHECK_EQ(model.decoder_depth, 2);
    CHECK_EQ(model.decoder_heads, 16);
    CHECK_EQ(model.decoder_mlp_hidden, 128);
    CHECK_EQ(model.projector_hidden, 16);
    CHECK_EQ(model.projector_out, 8);
    vmae_checkpoint_free(file);
    RUN_OK("info", bare);
    CHECK_STR(vicmae_out(), "encoder   16 px, patch 4, width 128, 1 blocks, 2 heads");

    RUN_OK("knn", "-R", here("named-knn"), set("checkpoint", named), TINY_LABELLED);
    RUN_OK("knn", "-R", here("bare-knn"), set("checkpoint", bare), TINY_LABELLED);
    CHECK(same_rows(here("named-knn"), here("bare-knn")));
    RUN_OK("reconstruct", "-R", here("named-rec"), set("checkpoint", named), TINY_LABELLED, "reconstruct.count=1");
    RUN_OK("reconstruct", "-R", here("bare-rec"), set("checkpoint", bare), TINY_LABELLED, "reconstruct.count=1");
    CHECK(same_files(in(here("named-rec"), "reconstruction.png"), in(here("bare-rec"), "reconstruction.png")));
}
