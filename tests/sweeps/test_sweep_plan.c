/* test_sweep_plan.c -- cells to runs: sharing, parents, identities, what is written, and how fast. */
#include "../test.h"
#include "sweep_text.h"

#include "engine/core/fs.h"
#include "engine/core/log.h"
#include "engine/core/mem.h"
#include "sweeps/price.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define METRICS " metrics = ( { metric = \"top1\"; } ); "

/* The shape of Table 3: the default row is in a, b and c. */
static const char table3[] =
    "{ name = \"a\";" METRICS "product = { pretrain = { frames = { delta = [0, 2, 4, 8, 16]; }; }; }; },\n"
    "{ name = \"b\";" METRICS "product = { pretrain = { model = { pool = [\"gem\", \"max\", \"mean\"]; }; }; }; },\n"
    "{ name = \"c\";" METRICS
    "rows = ( { label = \"plain\"; }, { label = \"stale\"; set = { pretrain = { frames = { fresh = false; }; }; }; },\n"
    "  { label = \"wide\"; set = { pretrain = { model = { width = 16; }; }; }; } ); }";

static vmae_plan *plan_of(const char *text, const vmae_sweep_choice *choice, const char *only, vmae_sweep **sweep)
{
    vmae_plan *plan = NULL;
    CHECK_OK(load_sweep_text(sweep, text, choice));
    char *root = vmae_format("%s/runs", vmae_test_folder());
    if (*sweep)
        CHECK_OK(vmae_plan_make(&plan, *sweep, &(vmae_plan_options){ .root = root, .only = only }));
    free(root);
    return plan;
}

static void release(vmae_plan *plan, vmae_sweep *sweep)
{
    vmae_plan_free(plan);
    vmae_sweep_free(sweep);
}

static size_t count_stage(const vmae_plan *plan, int stage)
{
    size_t count = 0;
    for (size_t i = 0; i < plan->run_count; i++)
        count += plan->runs[i].stage == stage;
    return count;
}

TEST(eleven_rows_that_share_their_default_are_nine_pretrainings)
{
    vmae_sweep *sweep = NULL;
    vmae_plan *plan = plan_of(sweep_text(table3, ""), NULL, NULL, &sweep);
    REQUIRE(plan != NULL);
    CHECK_EQ(plan->cell_count, 11);
    CHECK_EQ(count_stage(plan, 0), 9);
    CHECK_EQ(count_stage(plan, 1), 9);
    const int32_t in_a = vmae_plan_cell(plan, 0, 3, 0, 0), in_b = vmae_plan_cell(plan, 1, 2, 0, 0),
                  in_c = vmae_plan_cell(plan, 2, 0, 0, 0);
    CHECK_EQ(in_a, in_b);
    CHECK_EQ(in_a, in_c);
    CHECK_EQ(plan->runs[in_a].cells, 3);
    for (size_t i = 0; i < plan->run_count; i++)
        CHECK(plan->runs[i].parent < (int)i);
    release(plan, sweep);
}

TEST(a_child_takes_its_parents_checkpoint_and_identity)
{
    vmae_sweep *sweep = NULL;
    vmae_plan *plan = plan_of(sweep_text(table3, "seeds = [ 1, 2 ];"), NULL, NULL, &sweep);
    REQUIRE(plan != NULL);
    CHECK_EQ(plan->run_count, 36);
    for (size_t i = 0; i < plan->run_count; i++) {
        const vmae_plan_run *run = &plan->runs[i];
        vmae_config *config = NULL;
        char identity[VMAE_HASH_HEX];
        REQUIRE_OK(vmae_plan_config(plan, i, &config));
        CHECK_OK(vmae_run_identity(sweep->stages[run->stage].protocol, config, identity));
        CHECK(strcmp(identity, run->identity) == 0);
        CHECK_EQ(vmae_config_int(config, "seed"), run->seed);
        if (run->stage == 1) {
            CHECK(strcmp(vmae_config_text(config, "parent"), plan->runs[run->parent].identity) == 0);
            CHECK_STR(vmae_config_text(config, "checkpoint"), plan->runs[run->parent].folder);
            CHECK_EQ(plan->runs[run->parent].seed, run->seed);
        }
        vmae_config_free(config);
    }
    release(plan, sweep);
}

TEST(the_same_sweep_plans_the_same_runs_again)
{
    vmae_sweep *sweeps[2] = { NULL, NULL };
    vmae_plan *a = plan_of(sweep_text(table3, ""), NULL, NULL, &sweeps[0]),
              *b = plan_of(sweep_text(table3, ""), NULL, NULL, &sweeps[1]);
    REQUIRE(a && b && a->run_count == b->run_count);
    for (size_t i = 0; i < a->run_count; i++)
        CHECK(strcmp(a->runs[i].identity, b->runs[i].identity) == 0);
    release(a, sweeps[0]);
    release(b, sweeps[1]);
}

TEST(a_row_that_names_its_checkpoint_needs_no_pretraining)
{
    vmae_sweep *sweep = NULL;
    vmae_plan *plan =
        plan_of(sweep_text("{ name = \"g\";" METRICS
                           "rows = ( { label = \"pixels\"; set = { probe = { checkpoint = \"pixels\"; }; }; },\n"
                           "         { label = \"random\"; set = { probe = { checkpoint = \"random\"; }; }; },\n"
                           "         { label = \"ours\"; } ); }",
                           ""),
                NULL, NULL, &sweep);
    REQUIRE(plan != NULL);
    CHECK_EQ(plan->run_count, 4);
    CHECK_EQ(vmae_plan_cell(plan, 0, 0, 0, 0), -1);
    CHECK_EQ(vmae_plan_cell(plan, 0, 1, 0, 0), -1);
    CHECK(vmae_plan_cell(plan, 0, 2, 0, 0) >= 0);
    vmae_config *config = NULL;
    REQUIRE_OK(vmae_plan_config(plan, (size_t)vmae_plan_cell(plan, 0, 0, 0, 1), &config));
    CHECK(strcmp(vmae_config_text(config, "parent"), "pixels") == 0);
    vmae_config_free(config);
    release(plan, sweep);
}

TEST(the_command_line_wins_over_rows)
{
    vmae_sweep *sweep = NULL;
    const char *overrides[] = { "model.width=32" };
    vmae_plan *plan = plan_of(sweep_text(table3, ""),
                              &(vmae_sweep_choice){ .overrides = overrides, .override_count = 1 }, NULL, &sweep);
    REQUIRE(plan != NULL);
    CHECK_EQ(count_stage(plan, 0), 8); /* "wide" is now like "plain" */
    release(plan, sweep);
}

TEST(only_some_grids_are_wanted_and_an_unknown_one_is_answered_with_those_there_are)
{
    vmae_sweep *sweep = NULL;
    vmae_plan *plan = plan_of(sweep_text(table3, ""), NULL, "b,c", &sweep);
    REQUIRE(plan != NULL);
    size_t wanted = 0;
    for (size_t i = 0; i < plan->run_count; i++)
        wanted += plan->runs[i].wanted;
    CHECK_EQ(plan->run_count, 18);
    CHECK_EQ(wanted, 10);
    vmae_plan *none = NULL;
    CHECK_FAILS(vmae_plan_make(&none, sweep, &(vmae_plan_options){ .root = "/r", .only = "a,bb" }), VMAE_EUSER,
                "no grid 'bb'; its grids are: a, b, c");
    CHECK(none == NULL);
    release(plan, sweep);
}

TEST(a_shared_run_goes_by_its_first_wanted_cell_and_wanted_grids_are_counted)
{
    vmae_sweep *sweep = NULL;
    char name[100], *text = NULL;
    size_t count;
    vmae_plan *plan = plan_of(sweep_text(table3, ""), NULL, "b", &sweep);
    REQUIRE(plan != NULL);
    vmae_plan_name(plan, (size_t)vmae_plan_cell(plan, 1, 2, 0, 0), name, sizeof name); /* a/8 and c/plain, too */
    CHECK(strcmp(name, "pretrain b/mean seed 1") == 0);
    vmae_plan_name(plan, (size_t)vmae_plan_cell(plan, 0, 0, 0, 0), name, sizeof name);
    CHECK(strcmp(name, "pretrain a/0 seed 1") == 0); /* wanted by nobody */
    REQUIRE_OK(vmae_plan_inspect(plan));
    FILE *out = open_memstream(&text, &count);
    CHECK_OK(vmae_plan_show(plan, out));
    fclose(out);
    CHECK_STR(text, "1 grid, 3 rows, 1 seed: 6 runs, 0 finished, 6 to do");
    free(text);
    release(plan, sweep);
}

TEST(a_rule_between_options_that_a_row_breaks_names_the_row)
{
    vmae_sweep *sweep = NULL;
    vmae_plan *plan = NULL;
    REQUIRE_OK(load_sweep_text(
        &sweep,
        sweep_text("{ name = \"g\";" METRICS "product = { pretrain = { frames = { delta = [12, 13]; }; }; }; }", ""),
        NULL));
    const vmae_plan_options options = { .root = "/r" };
    CHECK_FAILS(vmae_plan_make(&plan, sweep, &options), VMAE_EUSER, "grid g, row '13': ");
    CHECK_FAILS(vmae_plan_make(&plan, sweep, &options), VMAE_EUSER, "thirteen is unlucky");
    release(plan, sweep);
}

TEST(missing_data_stop_a_plan_but_not_a_dry_one)
{
    vmae_sweep *sweep = NULL;
    vmae_plan *plan = NULL;
    const char *overrides[] = { "pretrain:data=nowhere.bin" };
    REQUIRE_OK(load_sweep_text(&sweep, sweep_text(table3, ""),
                               &(vmae_sweep_choice){ .overrides = overrides, .override_count = 1 }));
    CHECK_FAILS(vmae_plan_make(&plan, sweep, &(vmae_plan_options){ .root = "/r" }), VMAE_EUSER,
                "there is no dataset nowhere.bin");
    REQUIRE_OK(vmae_plan_make(&plan, sweep, &(vmae_plan_options){ .root = "/r", .without_data = true }));
    CHECK_STR(plan->data_problem, "nowhere.bin");
    CHECK_EQ(count_stage(plan, 0), 9);
    for (size_t i = 0; i < plan->run_count; i++)
        CHECK(plan->runs[i].provisional);
    char *text = NULL;
    size_t count;
    FILE *out = open_memstream(&text, &count);
    CHECK_OK(vmae_plan_inspect(plan));
    CHECK_OK(vmae_plan_show(plan, out));
    fclose(out);
    CHECK_STR(text, "The data are not here");
    CHECK_STR(text, "18 runs, 0 finished, 18 to do");
    free(text);
    release(plan, sweep);
}

TEST(the_description_for_the_database_has_every_cell)
{
    vmae_sweep *sweep = NULL;
    vmae_plan *plan =
        plan_of(sweep_text("{ name = \"a\"; title = \"T\"; paper = \"table3a\"; axis = \"x\";"
                           " metrics = ( { metric = \"top1\"; paper_column = \"top1\"; label = \"top-1\"; } );"
                           " rows = ( { label = \"0\"; paper_row = 1; } ); }",
                           "seeds = [ 1, 5 ];"),
                NULL, NULL, &sweep);
    REQUIRE(plan != NULL);
    REQUIRE_OK(vmae_plan_write(plan));
    char *path = vmae_plan_path(plan, ".json");
    CHECK_STR(path, "/sweeps/test-demo.json");
    json_t *root = json_load_file(path, 0, NULL);
    free(path);
    REQUIRE(root != NULL);
    CHECK_EQ(json_integer_value(json_object_get(root, "version")), 1);
    CHECK(strcmp(json_string_value(json_object_get(root, "sweep")), "test") == 0);
    CHECK(strcmp(json_string_value(json_object_get(root, "scale")), "demo") == 0);
    CHECK(strcmp(json_string_value(json_object_get(root, "data")), "numbers") == 0);
    const json_t *grid = json_array_get(json_object_get(root, "grids"), 0),
                 *row = json_array_get(json_object_get(grid, "rows"), 0);
    CHECK(strcmp(json_string_value(json_object_get(grid, "stage")), "probe") == 0);
    CHECK(
        strcmp(json_string_value(json_object_get(json_array_get(json_object_get(grid, "metrics"), 0), "paper_column")),
               "top1") == 0);
    CHECK_EQ(json_integer_value(json_object_get(row, "paper_row")), 1);
    const json_t *cell = json_array_get(json_object_get(row, "cells"), 1);
    CHECK_EQ(json_integer_value(json_object_get(cell, "seed")), 5);
    const char *identity = json_string_value(json_object_get(json_object_get(cell, "runs"), "probe"));
    CHECK(identity && strcmp(identity, plan->runs[vmae_plan_cell(plan, 0, 0, 1, 1)].identity) == 0);
    json_decref(root);
    release(plan, sweep);
}

TEST(a_description_is_of_the_sweep_that_the_command_line_made)
{
    vmae_sweep *sweep = NULL;
    const char *overrides[] = { "data_root=/d", "train.steps=7" };
    vmae_plan *plan = plan_of(sweep_text(table3, ""),
                              &(vmae_sweep_choice){ .overrides = overrides, .override_count = 2 }, "b", &sweep);
    REQUIRE(plan != NULL);
    char *path = vmae_plan_path(plan, ".json"), *text = vmae_plan_describe(plan);
    CHECK_STR(path, "/sweeps/test-demo+");
    json_t *root = json_loads(text, 0, NULL);
    CHECK_STR(json_string_value(json_object_get(root, "scale")), "demo+");
    CHECK_STR(json_string_value(json_array_get(json_object_get(root, "overrides"), 0)), "train.steps=7");
    CHECK_EQ(json_array_size(json_object_get(root, "overrides")), 1);
    CHECK_STR(json_string_value(json_array_get(json_object_get(root, "overrides_of_speed"), 0)), "data_root=/d");
    CHECK_EQ(json_array_size(json_object_get(root, "grids")), 3); /* --only leaves none out of it */
    json_decref(root);
    free(text);
    free(path);
    release(plan, sweep);
}

TEST(the_plan_is_shown_with_costs_and_reasons_as_text_and_json)
{
    vmae_sweep *sweep = NULL;
    vmae_plan *plan = plan_of(sweep_text(table3, ""), NULL, NULL, &sweep);
    char *text = NULL;
    size_t count;
    REQUIRE(plan != NULL);
    REQUIRE_OK(vmae_plan_inspect(plan));
    FILE *out = open_memstream(&text, &count);
    CHECK_OK(vmae_plan_show(plan, out));
    fclose(out);
    CHECK_STR(text, "test at scale demo: numbers");
    CHECK_STR(text, "(3 cells share it)");
    CHECK_STR(text, "20 steps, 160 GFLOP, time unknown before the first run");
    CHECK_STR(text, "new, after pretrain ");
    CHECK_STR(text, "3 grids, 11 rows, 1 seed: 18 runs, 0 finished, 18 to do");
    free(text);
    text = NULL;
    out = open_memstream(&text, &count);
    CHECK_OK(vmae_plan_show_json(plan, out));
    fclose(out);
    json_t *root = json_loads(text, 0, NULL);
    CHECK_EQ(json_array_size(json_object_get(root, "runs")), 18);
    CHECK(strcmp(json_string_value(json_object_get(json_array_get(json_object_get(root, "runs"), 0), "state")),
                 "new") == 0);
    json_decref(root);
    free(text);
    release(plan, sweep);
}

TEST(time_is_predicted_by_protocol_also_without_matrix_products)
{
    vmae_speeds speeds = { 0 };
    CHECK(vmae_speeds_predict(&speeds, "probe", 1e9) < 0);
    vmae_speeds_add(&speeds, "probe", 2e9, 4);
    CHECK_NEAR(vmae_speeds_predict(&speeds, "probe", 1e9), 2, 1e-12);
    CHECK_NEAR(vmae_speeds_predict(&speeds, "probe", 0), 4, 1e-12); /* pixels: the mean of what there is */
    vmae_speeds_add(&speeds, "probe", 0, 10);
    vmae_speeds_add(&speeds, "probe", 0, 20);
    CHECK_NEAR(vmae_speeds_predict(&speeds, "probe", 0), 15, 1e-12);
    CHECK_NEAR(vmae_speeds_predict(&speeds, "probe", 1e9), 2, 1e-12);
    vmae_speeds_add(&speeds, "reconstruct", 0, 3);
    CHECK_NEAR(vmae_speeds_predict(&speeds, "reconstruct", 0), 3, 1e-12);
    CHECK(vmae_speeds_predict(&speeds, "reconstruct", 1e9) < 0);
    CHECK(vmae_speeds_predict(&speeds, "knn", 0) < 0);
}

TEST(a_sum_of_which_a_part_is_unknown_is_at_least_the_rest)
{
    vmae_sweep *sweep = NULL;
    char *text = NULL, *root = vmae_format("%s/partly", vmae_test_folder()), *folder = vmae_path_join(root, "one"),
         *done = vmae_path_join(folder, "done.json");
    size_t count;
    vmae_plan *plan = NULL;
    static const char of_pretrain[] = "{\"protocol\": \"pretrain\", \"flops\": 160e9, \"seconds\": 8}";
    CHECK_OK(vmae_make_folders(folder));
    CHECK_OK(vmae_write_file(done, of_pretrain, strlen(of_pretrain)));
    REQUIRE_OK(
        load_sweep_text(&sweep, sweep_text("{ name = \"g\";" METRICS "rows = ( { label = \"x\"; } ); }", ""), NULL));
    REQUIRE_OK(vmae_plan_make(&plan, sweep, &(vmae_plan_options){ .root = root }));
    REQUIRE_OK(vmae_plan_inspect(plan));
    FILE *out = open_memstream(&text, &count);
    CHECK_OK(vmae_plan_show(plan, out));
    fclose(out);
    CHECK_STR(text, "20 steps, 160 GFLOP, 8.0 s\n");
    CHECK_STR(text, "2 steps, 2 MFLOP, time unknown before the first run\n");
    CHECK_STR(text, "GFLOP, at least 8.0 s, ");
    free(text);
    free(done);
    free(folder);
    free(root);
    release(plan, sweep);
}

/* Fifteen of twenty steps are journalled, and a state to go on from is saved. */
TEST(of_an_interrupted_run_only_the_rest_is_priced)
{
    vmae_sweep *sweep = NULL;
    vmae_plan *plan = plan_of(sweep_text("{ name = \"g\";" METRICS "rows = ( { label = \"rest\"; } ); }", ""),
                              &(vmae_sweep_choice){ .seeds = "77" }, NULL, &sweep);
    vmae_journal *journal = NULL;
    REQUIRE(plan != NULL);
    const char *folder = plan->runs[0].folder;
    char *path = vmae_path_join(folder, "journal"), *saved = vmae_path_join(folder, "resume.safetensors");
    CHECK_OK(vmae_make_folders(folder));
    REQUIRE_OK(vmae_journal_open(&journal, path));
    CHECK_OK(vmae_journal_event(journal, "{\"type\": \"attempt\", \"attempt\": 1, \"first_step\": 0}"));
    CHECK_OK(vmae_journal_metrics(journal, 15, &(vmae_metric){ "loss", 1 }, 1));
    CHECK_OK(vmae_journal_close(journal));
    REQUIRE_OK(vmae_plan_inspect(plan));
    CHECK_EQ(plan->runs[0].state, VMAE_RUN_PARTIAL);
    CHECK_NEAR(vmae_price_run(plan, 0).rest, 1, 0); /* it starts again */
    CHECK_OK(vmae_write_file(saved, "x", 1));
    const vmae_price price = vmae_price_run(plan, 0);
    CHECK_NEAR(price.rest, 0.25, 1e-12);
    CHECK_EQ(price.whole.steps, 20);
    CHECK_NEAR(vmae_price_run(plan, 1).rest, 1, 0);
    free(saved);
    free(path);
    release(plan, sweep);
}

TEST(ten_thousand_runs_are_planned_each_once)
{
    char grid[8192], list[4096] = "";
    for (int i = 0; i < 100; i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%d", i ? ", " : "", i + 100);
    snprintf(grid, sizeof grid,
             "{ name = \"g\";" METRICS
             "product = { pretrain = { frames = { delta = [%s]; }; model = { width = [%s]; }; }; }; }",
             list, list);
    vmae_sweep *sweep = NULL;
    const double start = vmae_seconds();
    vmae_plan *plan = plan_of(sweep_text(grid, ""), NULL, NULL, &sweep);
    REQUIRE(plan != NULL);
    const double planned = vmae_seconds();
    CHECK_OK(vmae_plan_inspect(plan));
    const double looked = vmae_seconds();
    char *text = vmae_plan_describe(plan);
    const double described = vmae_seconds();
    printf("  %zu runs: planned in %.2f s, inspected in %.2f s, described in %.2f s\n", plan->run_count,
           planned - start, looked - planned, described - looked);
    CHECK_EQ(plan->run_count, 20000);
    free(text);
    release(plan, sweep);
}
