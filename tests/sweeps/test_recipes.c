/* test_recipes.c -- the recipes and sweeps that are shipped, with the real protocols: each is read and resolved. */
#include "../test.h"

#include "engine/core/fs.h"
#include "engine/core/log.h"
#include "engine/core/mem.h"
#include "sweeps/sweep.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static vmae_config *recipe(const char *protocol, const char *file)
{
    vmae_config *config = NULL;
    const vmae_protocol *found = vmae_protocol_find(protocol);
    if (!vmae_check(found != NULL, __FILE__, __LINE__, "there is a protocol %s", protocol))
        return NULL;
    CHECK_OK(vmae_protocol_config(found, &config));
    CHECK_OK(vmae_config_read(config, file, NULL));
    if (found->needs_checkpoint)
        CHECK_OK(vmae_config_assign(config, "checkpoint=random"));
    if (found->needs_checkpoint)
        CHECK_OK(vmae_run_fill_parent(found, config));
    return config;
}

TEST(the_projects_recipe_is_its_defaults)
{
    vmae_config *config = recipe("pretrain", "experiments/vicmae.cfg"), *plain = NULL;
    REQUIRE(config != NULL);
    REQUIRE_OK(vmae_protocol_config(vmae_protocol_find("pretrain"), &plain));
    for (size_t i = 0; i < vmae_config_count(config); i++) {
        const char *name = vmae_config_at(config, i)->name;
        if (strncmp(name, "data.", 5) != 0)
            vmae_check(strcmp(vmae_config_value(config, name), vmae_config_value(plain, name)) == 0, __FILE__, __LINE__,
                       "%s is %s in vicmae.cfg, %s by default", name, vmae_config_value(config, name),
                       vmae_config_value(plain, name));
    }
    CHECK_OK(vmae_config_assign(config, "data.images.kind=shapes"));
    CHECK_OK(vmae_config_assign(config, "data.videos.kind=shapes-video"));
    CHECK_OK(vmae_protocol_find("pretrain")->resolve(config));
    vmae_config_free(config);
    vmae_config_free(plain);
}

TEST(the_released_codes_recipe_sets_its_switches)
{
    vmae_config *config = recipe("pretrain", "experiments/release.cfg");
    REQUIRE(config != NULL);
    CHECK_OK(vmae_config_assign(config, "data.images.kind=shapes"));
    CHECK_OK(vmae_config_assign(config, "data.videos.kind=shapes-video"));
    REQUIRE_OK(vmae_protocol_find("pretrain")->resolve(config));
    CHECK_NEAR(vmae_config_float(config, "model.mask_ratio"), 0.5, 0);
    CHECK_NEAR(vmae_config_float(config, "loss.lambda"), 0.03, 0);
    CHECK_NEAR(vmae_config_float(config, "loss.recon_weight"), 0.97, 0);
    CHECK_EQ(vmae_config_int(config, "loss.positive_ranks"), 8);
    CHECK(!vmae_config_bool(config, "frames.fresh"));
    CHECK(vmae_config_bool(config, "augment.frames.colour"));
    CHECK_EQ(vmae_config_int(config, "model.depth"), 12);
    vmae_config_free(config);
}

TEST(the_probe_recipe_is_maes)
{
    vmae_config *config = recipe("probe", "experiments/probe.cfg");
    REQUIRE(config != NULL);
    CHECK_OK(vmae_config_assign(config, "dataset.kind=shapes"));
    REQUIRE_OK(vmae_protocol_find("probe")->resolve(config));
    CHECK(strcmp(vmae_config_text(config, "probe.optimizer"), "lars") == 0);
    CHECK_EQ(vmae_config_int(config, "probe.batch"), 16384);
    vmae_config_free(config);
}

TEST(a_probe_is_priced_in_the_steps_that_it_journals)
{
    vmae_config *config = recipe("probe", "experiments/probe.cfg");
    static const char *const settings[] = { "dataset.kind=shapes", "dataset.shapes_count=1000", "probe.epochs=2.5" };
    static const struct {
        const char *batch;
        int64_t steps;
    } cases[] = { { "probe.batch=300", 9 }, { "probe.batch=1000", 3 }, { "probe.batch=16384", 3 } };
    REQUIRE(config != NULL);
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        CHECK_OK(vmae_config_assign(config, settings[i]));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vmae_estimate estimate = { 0 };
        CHECK_OK(vmae_config_assign(config, cases[i].batch));
        CHECK_OK(vmae_protocol_find("probe")->estimate(config, &estimate));
        CHECK_EQ(estimate.steps, cases[i].steps);
    }
    vmae_config_free(config);
}

static void check_sweep(const char *file, const char *scale, size_t cells, size_t pretrainings)
{
    vmae_sweep *sweep = NULL;
    vmae_plan *plan = NULL;
    REQUIRE_OK(vmae_sweep_load(&sweep, file, &(vmae_sweep_choice){ .scale = scale, .seeds = "1" }));
    char *root = vmae_format("%s/runs", vmae_test_folder());
    CHECK_OK(vmae_plan_make(&plan, sweep, &(vmae_plan_options){ .root = root, .without_data = true }));
    free(root);
    if (plan) {
        size_t count = 0;
        for (size_t i = 0; i < plan->run_count; i++)
            count += strcmp(sweep->stages[plan->runs[i].stage].protocol->name, "pretrain") == 0;
        vmae_check(plan->cell_count == cells && count == pretrainings, __FILE__, __LINE__,
                   "%s at %s has %zu cells and %zu pre-trainings, expected %zu and %zu", file, scale, plan->cell_count,
                   count, cells, pretrainings);
        CHECK(*sweep->data);
        for (size_t s = 0; s < sweep->stage_count; s++) /* every metric of every step: plots thin them */
            CHECK_EQ(vmae_config_int(sweep->stages[s].base, "log.every"), 1);
    }
    vmae_plan_free(plan);
    vmae_sweep_free(sweep);
}

TEST(table_3_is_nine_pretrainings_at_every_scale)
{
    check_sweep("sweeps/table3.cfg", "demo", 11, 9);
    check_sweep("sweeps/table3.cfg", "small", 11, 9);
    check_sweep("sweeps/table3.cfg", "paper", 11, 9);
}

TEST(the_baselines_plan_at_every_scale)
{
    check_sweep("sweeps/baselines.cfg", "demo", 4, 2);
    check_sweep("sweeps/baselines.cfg", "small", 4, 2);
    check_sweep("sweeps/baselines.cfg", "paper", 4, 2);
}

TEST(ten_thousand_real_runs_are_planned_each_once)
{
    char *path = vmae_format("%s/big.cfg", vmae_test_folder()), *text = NULL;
    size_t count;
    FILE *out = open_memstream(&text, &count);
    fprintf(out, "name = \"big\"; stages = ( { protocol = \"pretrain\"; data = { videos = { kind = \"shapes-video\"; "
                 "}; }; } );\n"
                 "scales = { demo = { pretrain = { model = { size = \"nano\"; }; }; }; };\n"
                 "grids = ( { name = \"g\"; metrics = ( { metric = \"loss\"; } ); product = { pretrain = {\n");
    for (int axis = 0; axis < 2; axis++) {
        fprintf(out, axis ? "loss = { lambda = [" : "frames = { delta = [");
        for (int i = 0; i < 100; i++)
            fprintf(out, axis ? "%s0.%03d" : "%s%d", i ? ", " : "", i);
        fprintf(out, "]; };\n");
    }
    fprintf(out, "}; }; } );\n");
    fclose(out);
    CHECK_OK(vmae_write_file(path, text, count));
    vmae_sweep *sweep = NULL;
    vmae_plan *plan = NULL;
    const double start = vmae_seconds();
    CHECK_OK(vmae_sweep_load(&sweep, path, NULL));
    if (sweep)
        CHECK_OK(vmae_plan_make(&plan, sweep, &(vmae_plan_options){ .root = vmae_test_folder() }));
    if (plan)
        CHECK_OK(vmae_plan_inspect(plan));
    const double seconds = vmae_seconds() - start;
    CHECK(plan && plan->run_count == 10000);
    printf("  10000 runs of %zu options planned in %.2f s\n", sweep ? vmae_config_count(sweep->stages[0].base) : 0,
           seconds);
    vmae_plan_free(plan);
    vmae_sweep_free(sweep);
    free(text);
    free(path);
}

/* Its pre-training is that of Table 3's default row, so it is trained once for both. */
TEST(the_baselines_share_vic_mae_with_table_3)
{
    vmae_sweep *sweeps[2] = { NULL, NULL };
    vmae_plan *plans[2] = { NULL, NULL };
    static const char *const files[] = { "sweeps/table3.cfg", "sweeps/baselines.cfg" };
    for (int i = 0; i < 2; i++) {
        REQUIRE_OK(vmae_sweep_load(&sweeps[i], files[i], NULL));
        REQUIRE_OK(vmae_plan_make(&plans[i], sweeps[i], &(vmae_plan_options){ .root = "/r", .without_data = true }));
    }
    size_t shared = 0;
    for (size_t i = 0; i < plans[0]->run_count; i++)
        for (size_t k = 0; k < plans[1]->run_count; k++)
            shared += strcmp(plans[0]->runs[i].identity, plans[1]->runs[k].identity) == 0;
    CHECK_EQ(shared, 2); /* the pre-training and its probe */
    for (int i = 0; i < 2; i++) {
        vmae_plan_free(plans[i]);
        vmae_sweep_free(sweeps[i]);
    }
}
