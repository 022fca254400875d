/* test_schedule.c -- learning rate, ramp, weight decay and layer decay. */
#include "engine/checkpoint/checkpoint.h"
#include "engine/optim/groups.h"
#include "engine/optim/schedule.h"
#include "tests/test.h"

#include <limits.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* NULL: skip. */
static vmae_checkpoint *golden_open(const char *name)
{
    const char *folder = vmae_test_shared("golden");
    char path[1024];
    vmae_checkpoint *file = NULL;
    if (!folder)
        return NULL;
    snprintf(path, sizeof path, "%s/%s.safetensors", folder, name);
    CHECK_OK(vmae_checkpoint_open(&file, path));
    return file;
}

static double setting(const vmae_checkpoint *file, const char *table, const char *key)
{
    char name[128];
    snprintf(name, sizeof name, "%s%s%s", table, *table ? "." : "", key);
    const char *text = vmae_checkpoint_metadata(file, name);
    vmae_check(text != NULL, __FILE__, __LINE__, "the golden set has no setting %s", name);
    return text ? strtod(text, NULL) : (double)NAN;
}

TEST(learning_rate_matches_the_golden_tables)
{
    vmae_checkpoint *file = golden_open("lr_schedule");
    if (!file)
        SKIP("no golden vectors");
    const double per_epoch = setting(file, "", "steps_per_epoch");
    const char *const tables[] = { "warmup", "plain", "fraction" };
    for (int t = 0; t < 3; t++) {
        const vmae_schedule schedule = { setting(file, tables[t], "lr"), setting(file, tables[t], "min_lr"),
                                         setting(file, tables[t], "warmup_epochs"),
                                         setting(file, tables[t], "epochs") };
        const vmae_entry *entry = vmae_checkpoint_find(file, tables[t]);
        if (!vmae_check(entry && entry->dtype == VMAE_ST_F32 && entry->count > 0, __FILE__, __LINE__, "no table %s",
                        tables[t]))
            continue;
        for (size_t i = 0; i < entry->count; i++) {
            float expected;
            memcpy(&expected, (const char *)entry->data + i * sizeof expected, sizeof expected);
            CHECK_NEAR(vmae_lr_at(&schedule, (double)i / per_epoch), (double)expected, 1e-7 * schedule.lr);
        }
    }
    vmae_checkpoint_free(file);
}

TEST(learning_rate_at_the_ends_and_beyond_them)
{
    const vmae_schedule s = { 0.5, 0.01, 2.0, 10.0 };
    CHECK(vmae_lr_at(&s, -1.0) == 0.0);
    CHECK(vmae_lr_at(&s, 0.0) == 0.0);
    CHECK(vmae_lr_at(&s, 1.0) == 0.25);
    CHECK(vmae_lr_at(&s, 2.0) == 0.5);
    CHECK_NEAR(vmae_lr_at(&s, 6.0), 0.255, 1e-15);
    CHECK(vmae_lr_at(&s, 10.0) == 0.01);
    CHECK(vmae_lr_at(&s, 11.0) == 0.01);
    const vmae_schedule warm = { 0.5, 0.01, 4.0, 4.0 }; /* all warm-up */
    CHECK(vmae_lr_at(&warm, 3.0) == 0.375);
    CHECK(vmae_lr_at(&warm, 4.0) == 0.01);
    const vmae_schedule cut = { 0.5, 0.01, 4.0, 2.0 }; /* ends before the warm-up does */
    CHECK(vmae_lr_at(&cut, 3.0) == 0.375);
    CHECK(vmae_lr_at(&cut, 5.0) == 0.01);
}

TEST(lambda_moves_in_a_straight_line_between_two_epochs)
{
    const vmae_ramp r = { 0.0, 0.025, 10.0, 20.0 };
    CHECK(vmae_lambda_at(&r, 0.0) == 0.0);
    CHECK(vmae_lambda_at(&r, 10.0) == 0.0);
    CHECK_NEAR(vmae_lambda_at(&r, 14.0), 0.01, 1e-15);
    CHECK(vmae_lambda_at(&r, 20.0) == 0.025);
    CHECK(vmae_lambda_at(&r, 400.0) == 0.025);
    const vmae_ramp jump = { 1.0, 3.0, 5.0, 5.0 };
    CHECK(vmae_lambda_at(&jump, 4.999) == 1.0);
    CHECK(vmae_lambda_at(&jump, 5.0) == 3.0);
    const vmae_ramp constant = { 0.03, 0.03, 0.0, 0.0 };
    CHECK(vmae_lambda_at(&constant, 0.0) == 0.03);
    const vmae_ramp down = { 2.0, 1.0, 0.0, 4.0 };
    CHECK(vmae_lambda_at(&down, 1.0) == 1.75);
}

static int64_t integer(const vmae_checkpoint *file, const char *name, size_t i)
{
    const vmae_entry *entry = vmae_checkpoint_find(file, name);
    int64_t value = -99;
    if (vmae_check(entry && entry->dtype == VMAE_ST_I64 && i < entry->count, __FILE__, __LINE__, "no %s[%zu]", name, i))
        memcpy(&value, (const char *)entry->data + i * sizeof value, sizeof value);
    return value;
}

/* The number of dimensions of a parameter, which the golden file does not say. */
static int rank_of(const char *name)
{
    if (strcmp(name, "cls_token") == 0 || strcmp(name, "pos_embed") == 0)
        return 3;
    if (strcmp(name, "patch_embed.proj.weight") == 0)
        return 4;
    return strstr(name, "norm") || strstr(name, ".bias") ? 1 : 2;
}

TEST(layers_and_decays_match_the_golden_names)
{
    vmae_checkpoint *file = golden_open("layer_decay");
    if (!file)
        SKIP("no golden vectors");
    const int depth = (int)setting(file, "", "depth");
    const char *names = vmae_checkpoint_metadata(file, "names");
    size_t i = 0;
    for (const char *at = names; at && *at; i++) {
        char name[128];
        const size_t length = strcspn(at, "\n");
        snprintf(name, sizeof name, "%.*s", (int)length, at);
        at += length + (at[length] == '\n');
        int layer = -1;
        CHECK_OK(vmae_layer_id(&layer, name, depth));
        CHECK_EQ(layer, integer(file, "layer_id", i));
        CHECK_EQ(vmae_decays_in_pretraining(name, rank_of(name)), integer(file, "decay_pretrain", i));
        CHECK_EQ(vmae_decays_in_finetuning(name, rank_of(name)), integer(file, "decay_finetune", i));
    }
    CHECK(i > 0);
    const struct {
        const char *name;
        double decay;
    } tables[] = { { "scales_75", 0.75 }, { "scales_65", 0.65 } };
    for (int t = 0; t < 2; t++) {
        const vmae_entry *entry = vmae_checkpoint_find(file, tables[t].name);
        if (!vmae_check(entry && entry->count == (size_t)depth + 2, __FILE__, __LINE__, "no table %s", tables[t].name))
            continue;
        for (int layer = 0; layer < depth + 2; layer++) {
            float expected;
            memcpy(&expected, (const char *)entry->data + (size_t)layer * sizeof expected, sizeof expected);
            CHECK_NEAR(vmae_layer_scale(layer, depth, tables[t].decay), (double)expected, 1e-7);
        }
    }
    vmae_checkpoint_free(file);
}

TEST(tokens_decay_in_pretraining_but_not_in_finetuning)
{
    CHECK(vmae_decays_in_pretraining("cls_token", 3));
    CHECK(vmae_decays_in_pretraining("mask_token", 3));
    CHECK(!vmae_decays_in_pretraining("norm.weight", 1));
    CHECK(!vmae_decays_in_pretraining("odd.bias", 2));
    CHECK(!vmae_decays_in_finetuning("cls_token", 3));
    CHECK(!vmae_decays_in_finetuning("pos_embed_temporal", 3));
    CHECK(vmae_decays_in_finetuning("head.weight", 2));
    CHECK(vmae_decays_in_finetuning("my_pos_embed", 2));
}

TEST(layer_of_a_block_that_does_not_exist_is_refused_by_name)
{
    int layer = 42;
    CHECK_FAILS(vmae_layer_id(&layer, "blocks.12.norm1.weight", 12), VMAE_EUSER, "blocks.12.norm1.weight");
    CHECK_FAILS(vmae_layer_id(&layer, "blocks..norm1.weight", 12), VMAE_EUSER, "blocks.0 to blocks.11");
    CHECK_FAILS(vmae_layer_id(&layer, "blocks.x.weight", 12), VMAE_EUSER, "depth 12");
    CHECK_FAILS(vmae_layer_id(&layer, "blocks.3", 12), VMAE_EUSER, "depth 12");
    CHECK_FAILS(vmae_layer_id(&layer, "blocks.-1.weight", 12), VMAE_EUSER, "depth 12");
    CHECK_FAILS(vmae_layer_id(&layer, "blocks.99999999999999999999.weight", 12), VMAE_EUSER, "depth 12");
    CHECK_FAILS(vmae_layer_id(&layer, "blocks.4294967297.weight", 12), VMAE_EUSER, "depth 12");
    CHECK_EQ(layer, 42);
    CHECK_OK(vmae_layer_id(&layer, "blocks.011.weight", 12));
    CHECK_EQ(layer, 12);
    CHECK_OK(vmae_layer_id(&layer, "blocks", 12)); /* no block: the rest */
    CHECK_EQ(layer, 13);
    CHECK_OK(vmae_layer_id(&layer, "patch_embedding", 12));
    CHECK_EQ(layer, 13);
    CHECK_OK(vmae_layer_id(&layer, "decoder_blocks.0.norm1.weight", 0));
    CHECK_EQ(layer, 1);
}
