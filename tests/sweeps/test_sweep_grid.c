/* test_sweep_grid.c -- what blocks expand to, and in which order. */
#include "../test.h"
#include "sweep_text.h"

#include <stdlib.h>
#include <string.h>

#define METRICS " metrics = ( { metric = \"top1\"; } ); "

/* One grid around the block. */
static vmae_status load_block(vmae_sweep **sweep, const char *block)
{
    char grid[4096];
    snprintf(grid, sizeof grid, "{ name = \"g\";" METRICS "%s }", block);
    return load_sweep_text(sweep, sweep_text(grid, ""), NULL);
}

static void check_block(const char *block, const char *labels, const char *settings)
{
    vmae_sweep *sweep = NULL;
    REQUIRE_OK(load_block(&sweep, block));
    char *got_labels = labels_of(sweep, 0), *got_settings = settings_of(sweep, 0);
    vmae_check(strcmp(got_labels, labels) == 0, __FILE__, __LINE__, "labels of %s are\n  %s, expected\n  %s", block,
               got_labels, labels);
    if (settings)
        vmae_check(strcmp(got_settings, settings) == 0, __FILE__, __LINE__, "settings of %s are\n  %s, expected\n  %s",
                   block, got_settings, settings);
    free(got_labels);
    free(got_settings);
    vmae_sweep_free(sweep);
}

static void check_block_fails(const char *block, const char *part)
{
    vmae_sweep *sweep = NULL;
    CHECK_FAILS(load_block(&sweep, block), VMAE_EUSER, part);
    CHECK(sweep == NULL);
    vmae_sweep_free(sweep);
}

TEST(a_product_of_one_axis_is_labelled_by_its_values)
{
    check_block("product = { pretrain = { model = { mask_ratio = [0.25, 0.5, 0.9]; }; }; };", "0.25|0.5|0.9",
                "pretrain:model.mask_ratio=0.25|pretrain:model.mask_ratio=0.5|pretrain:model.mask_ratio=0.9");
}

TEST(a_product_runs_its_last_axis_fastest)
{
    check_block("product = { pretrain = { model = { pool = [\"max\", \"gem\"]; }; frames = { delta = [2, 4]; }; };\n"
                "            probe = { probe = { epochs = [7]; }; }; };",
                "pool max, delta 2, epochs 7|pool max, delta 4, epochs 7|pool gem, delta 2, epochs 7|pool gem, delta "
                "4, epochs 7",
                "pretrain:model.pool=max,pretrain:frames.delta=2,probe:probe.epochs=7|"
                "pretrain:model.pool=max,pretrain:frames.delta=4,probe:probe.epochs=7|"
                "pretrain:model.pool=gem,pretrain:frames.delta=2,probe:probe.epochs=7|"
                "pretrain:model.pool=gem,pretrain:frames.delta=4,probe:probe.epochs=7");
}

TEST(a_zip_takes_values_together)
{
    check_block("zip = { pretrain = { model = { pool = [\"max\", \"gem\"]; width = [8, 16]; }; }; };",
                "pool max, width 8|pool gem, width 16", NULL);
}

TEST(a_product_and_a_zip_in_one_block_are_combined)
{
    check_block("product = { probe = { probe = { epochs = [1, 2]; }; }; };\n"
                "zip = { pretrain = { model = { pool = [\"max\", \"gem\"]; width = [8, 16]; }; }; };",
                "epochs 1, pool max, width 8|epochs 1, pool gem, width 16|epochs 2, pool max, width 8|epochs 2, pool "
                "gem, width 16",
                NULL);
}

TEST(a_union_puts_blocks_one_after_the_other_with_their_own_overrides)
{
    check_block("set = { pretrain = { frames = { fresh = false; }; }; };\n"
                "union = ( { label = \"narrow\"; set = { pretrain = { model = { width = 4; }; }; };\n"
                "            product = { pretrain = { frames = { delta = [1, 2]; }; }; }; },\n"
                "          { set = { pretrain = { model = { width = 64; }; }; }; } );",
                "narrow, delta 1|narrow, delta 2|width 64",
                "pretrain:frames.fresh=false,pretrain:model.width=4,pretrain:frames.delta=1|"
                "pretrain:frames.fresh=false,pretrain:model.width=4,pretrain:frames.delta=2|"
                "pretrain:frames.fresh=false,pretrain:model.width=64");
}

TEST(rows_have_labels_and_rows_of_the_paper)
{
    vmae_sweep *sweep = NULL;
    REQUIRE_OK(load_block(&sweep, "rows = ( { label = \"one\"; paper_row = 3; }, { label = \"two\"; set = { probe = { "
                                  "probe = { blr = 1; }; }; }; } );"));
    REQUIRE(sweep->grids[0].row_count == 2);
    CHECK_EQ(sweep->grids[0].rows[0].paper_row, 3);
    CHECK_EQ(sweep->grids[0].rows[0].set_count, 0);
    CHECK_EQ(sweep->grids[0].rows[1].paper_row, 0);
    CHECK_STR(sweep->grids[0].rows[1].set[0]->origin, "sweep");
    vmae_sweep_free(sweep);
}

TEST(exclude_leaves_out_rows_that_match_all_of_a_pattern)
{
    check_block(
        "product = { pretrain = { model = { mask_ratio = [0.25, 0.5]; pool = [\"max\", \"gem\", \"cls\"]; }; }; };\n"
        "exclude = ( { pretrain = { model = { mask_ratio = 0.25; pool = [\"max\", \"cls\"]; }; }; } );",
        "mask_ratio 0.25, pool gem|mask_ratio 0.5, pool max|mask_ratio 0.5, pool gem|mask_ratio 0.5, pool cls", NULL);
    /* numbers by value, and what the row does not set by the stage's value */
    check_block("product = { pretrain = { model = { width = [8, 16]; }; }; };\n"
                "exclude = ( { pretrain = { model = { width = 8.0; }; frames = { delta = 8; }; }; } );",
                "16", NULL);
}

TEST(axes_of_one_leaf_name_are_told_apart_by_their_whole_names)
{
    check_block("product = { pretrain = { model = { width = [2]; pool = [\"max\"]; }; frames = { width = [3]; }; }; };",
                "model.width 2, pool max, frames.width 3", NULL);
}

TEST(a_list_may_mix_types_and_whole_numbers_pass_for_reals)
{
    check_block("product = { probe = { probe = { blr = (1, 0.5, 1e-3); }; }; };", "1|0.5|0.001", NULL);
}

TEST(wrong_blocks_are_refused_with_their_place)
{
    check_block_fails("produkt = { };", ": a grid has no 'produkt'; did you mean 'product'?");
    check_block_fails("product = { pretrain = { model = { mask_ratoi = [0.5]; }; }; };", "model.mask_ratio");
    check_block_fails("product = { pretrain = { model = { mask_ratio = [0.5, 1.5]; }; }; };", "1.5");
    check_block_fails("product = { pretrain = { model = { mask_ratio = 0.5; }; }; };", "list of values");
    check_block_fails("product = { pretrain = { model = { mask_ratio = []; }; }; };", "list of values");
    check_block_fails("product = { pretrain = { model = { mask_ratio = ( [1] ); }; }; };", "single value");
    check_block_fails("product = { };", "product is empty");
    check_block_fails("product = { pretrian = { model = { width = [1]; }; }; };",
                      "no stage 'pretrian'; did you mean 'pretrain'?");
    check_block_fails("product = { pretrain = 3; };", "must be a group");
    check_block_fails("product = [ 1 ];", "product must be a group");
    check_block_fails("zip = { pretrain = { model = { width = [1, 2]; pool = [\"max\"]; }; }; };",
                      "model.width has 2 and model.pool has 1");
    check_block_fails(
        "product = { pretrain = { model = { width = [1]; }; }; }; zip = { pretrain = { model = { width = [1]; }; }; };",
        "in product and in zip");
    check_block_fails("rows = ( );", "rows is empty");
    check_block_fails("rows = ( 3 );", "must be a group");
    check_block_fails("rows = ( { label = \"a\"; }, { label = \"a\"; } );", "two rows of this grid are called 'a'");
    check_block_fails("rows = ( { label = \"a\"; }, { } );", "no label");
    check_block_fails("rows = ( { label = 3; } );", "label must be a text");
    check_block_fails("rows = ( { label = \"a\"; paper_row = 0; } );", "at least 1");
    check_block_fails("rows = ( { label = \"a\"; set = { pretrain = { model = { wdith = 3; }; }; }; } );",
                      "model.width");
    check_block_fails("rows = ( { label = \"a\"; set = { pretrain = { model = { width = \"wide\"; }; }; }; } );",
                      "width");
    check_block_fails("product = { pretrain = { model = { width = [1, 2]; }; }; }; exclude = ( { pretrain = { model = "
                      "{ width = 3; }; }; } );",
                      "excludes nothing");
    check_block_fails("product = { pretrain = { model = { width = [1, 2]; }; }; }; exclude = ( { pretrain = { model = "
                      "{ width = [1, 2]; }; }; } );",
                      "leaves no row");
}
