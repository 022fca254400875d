/* test_sweep_load.c -- sweep files: what is read, and that whatever is wrong is refused with its place. */
#include "../test.h"
#include "sweep_text.h"

#include "engine/core/mem.h"

#include <stdlib.h>
#include <string.h>

#define GRID "{ name = \"g\"; metrics = ( { metric = \"top1\"; } ); rows = ( { label = \"a\"; } ); }"

static void check_fails(const char *text, const vmae_sweep_choice *choice, const char *part)
{
    vmae_sweep *sweep = NULL;
    CHECK_FAILS(load_sweep_text(&sweep, text, choice), VMAE_EUSER, part);
    CHECK(sweep == NULL);
    vmae_sweep_free(sweep);
}

TEST(a_sweep_file_is_read_with_its_grids_metrics_and_stages)
{
    vmae_sweep *sweep = NULL;
    REQUIRE_OK(load_sweep_text(
        &sweep,
        sweep_text("{ name = \"a\"; title = \"A\"; paper = \"table3a\"; axis = \"separation\"; note = \"n\";\n"
                   "  metrics = ( { metric = \"top1\"; paper_column = \"top1\"; label = \"top-1\"; }, { metric = "
                   "\"top5\"; } );\n"
                   "  rows = ( { label = \"x\"; paper_row = 2; } ); },\n"
                   "{ name = \"b\"; stage = \"pretrain\"; metrics = ( { metric = \"loss\"; } ); rows = ( { label = "
                   "\"x\"; } ); }",
                   "seeds = [ 4, 5 ];"),
        NULL));
    CHECK_EQ(sweep->stage_count, 2);
    CHECK_EQ(sweep->stages[0].builds_on, -1);
    CHECK_EQ(sweep->stages[1].builds_on, 0);
    CHECK(strcmp(sweep->scale, "demo") == 0);
    CHECK(strcmp(sweep->data, "numbers") == 0);
    CHECK_EQ(sweep->seed_count, 2);
    CHECK_EQ(sweep->seeds[1], 5);
    REQUIRE(sweep->grid_count == 2);
    CHECK(strcmp(sweep->grids[0].paper, "table3a") == 0);
    CHECK(strcmp(sweep->grids[0].metrics[0].label, "top-1") == 0);
    CHECK(strcmp(sweep->grids[0].metrics[1].label, "top5") == 0);
    CHECK(sweep->grids[0].metrics[1].paper_column == NULL);
    CHECK_EQ(sweep->grids[0].stage, 1);
    CHECK_EQ(sweep->grids[1].stage, 0);
    CHECK_EQ(vmae_config_int(sweep->stages[0].base, "train.steps"), 20);
    vmae_sweep_free(sweep);
}

/* They are printed by dry runs and progress, and name files. */
TEST(texts_that_would_command_a_terminal_are_refused_with_their_line)
{
    static const char *const grids[] = {
        "{ name = \"g\";\n title = \"x\\x1b[31m\"; metrics = ( { metric = \"top1\"; } ); }",
        "{ name = \"g\";\n metrics = ( { metric = \"top1\"; label = \"\\x07\"; } ); }",
        "{ name = \"g\"; metrics = ( { metric = \"top1\"; } );\n rows = ( { label = \"G\\x1b[31meM\"; } ); }",
        "{ name = \"g\"; metrics = ( { metric = \"top1\"; } );\n note = \"\xc2\x9b"
        "31m\"; }",
        "{ name = \"g\"; metrics = ( { metric = \"top1\"; } );\n axis = \"\x80\"; }",
    };
    for (size_t i = 0; i < sizeof grids / sizeof *grids; i++) {
        check_fails(sweep_text(grids[i], ""), NULL, ".cfg:9: ");
        check_fails(sweep_text(grids[i], ""), NULL, "with control characters, or bytes that are not UTF-8");
    }
    /* a label that is made of a value */
    check_fails(sweep_text("{ name = \"g\"; metrics = ( { metric = \"top1\"; } );\n"
                           "product = { probe = { checkpoint = [ \"a\\x1b[2J\", \"b\" ]; }; }; }",
                           ""),
                NULL, "would be called 'a?[2J'; give it a label");
}

TEST(a_scale_brings_its_own_options_and_seeds)
{
    vmae_sweep *sweep = NULL;
    REQUIRE_OK(load_sweep_text(&sweep, sweep_text(GRID, "seeds = [ 9 ];"), &(vmae_sweep_choice){ .scale = "big" }));
    CHECK_EQ(vmae_config_int(sweep->stages[0].base, "train.steps"), 40);
    CHECK_EQ(sweep->seed_count, 3);
    vmae_sweep_free(sweep);
    REQUIRE_OK(load_sweep_text(&sweep, sweep_text(GRID, ""), &(vmae_sweep_choice){ .scale = "big", .seeds = "7,8" }));
    CHECK_EQ(sweep->seed_count, 2);
    CHECK_EQ(sweep->seeds[0], 7);
    vmae_sweep_free(sweep);
}

TEST(a_scale_that_does_not_exist_is_answered_with_those_that_do)
{
    check_fails(sweep_text(GRID, ""), &(vmae_sweep_choice){ .scale = "bog" },
                "its scales are: demo, big; did you mean 'big'?");
    check_fails(sweep_text(GRID, ""), &(vmae_sweep_choice){ .scale = "x.y" }, "its scales are: demo, big");
}

TEST(a_recipe_is_found_beside_the_sweep_file_and_its_errors_name_both)
{
    vmae_sweep *sweep = NULL;
    write_text(vmae_test_folder(), "recipe.cfg", "model = { width = 77; };\n");
    write_text(vmae_test_folder(), "wrong.cfg", "model = {\n  wdith = 77; };\n");
    write_text(vmae_test_folder(), "circle.cfg", "@include \"circle.cfg\"\n");
    const char *rest = "scales = { demo = { }; }; grids = (" GRID ");";
    char text[1024];
    snprintf(
        text, sizeof text,
        "name = \"t\"; stages = ( { protocol = \"pretrain\"; recipe = \"recipe.cfg\"; frames = { delta = 3; }; } ); %s",
        rest);
    REQUIRE_OK(load_sweep_text(&sweep, text, NULL));
    CHECK_EQ(vmae_config_int(sweep->stages[0].base, "model.width"), 77);
    CHECK_EQ(vmae_config_int(sweep->stages[0].base, "frames.delta"), 3);
    vmae_sweep_free(sweep);
    snprintf(text, sizeof text, "name = \"t\"; stages = ( { protocol = \"pretrain\"; recipe = \"wrong.cfg\"; } ); %s",
             rest);
    check_fails(text, NULL, "wrong.cfg:2");
    check_fails(text, NULL, "model.width");
    check_fails(text, NULL, ".cfg:1: recipe");
    snprintf(text, sizeof text, "name = \"t\"; stages = ( { protocol = \"pretrain\"; recipe = \"nowhere.cfg\"; } ); %s",
             rest);
    check_fails(text, NULL, "nowhere.cfg");
    snprintf(text, sizeof text, "name = \"t\"; stages = ( { protocol = \"pretrain\"; recipe = \"circle.cfg\"; } ); %s",
             rest);
    check_fails(text, NULL, "include itself");
}

TEST(includes_are_followed_and_a_missing_or_circular_one_is_refused)
{
    vmae_sweep *sweep = NULL;
    const char *name;
    write_text(vmae_test_folder(), "common.inc", "seeds = [ 6 ];\n");
    REQUIRE_OK(load_sweep_text(&sweep, sweep_text(GRID, "\n@include \"common.inc\"\n"), NULL));
    CHECK_EQ(sweep->seeds[0], 6);
    vmae_sweep_free(sweep);
    sweep = NULL;
    check_fails(sweep_text(GRID, "\n@include \"missing.inc\"\n"), NULL, "missing.inc");
    name = write_text(vmae_test_folder(), "self.cfg", "@include \"self.cfg\"\n");
    CHECK_FAILS(vmae_sweep_load(&sweep, name, NULL), VMAE_EUSER, "self.cfg");
    CHECK_FAILS(vmae_sweep_load(&sweep, "/nowhere/a.cfg", NULL), VMAE_EUSER, "/nowhere/a.cfg");
}

TEST(misspelt_names_are_refused_with_file_line_and_the_nearest)
{
    check_fails(sweep_text(GRID, "\n\nscale = 3;"), NULL,
                ".cfg:8: a sweep file has no 'scale'; did you mean 'scales'?");
    check_fails("name = \"t\"; stages = ( { protocol = \"pretrian\"; } ); scales = { d = {}; }; grids = (" GRID ");",
                NULL, "no protocol 'pretrian'; did you mean 'pretrain'?");
    check_fails("name = \"t\";\nstages = ( { protocol = \"pretrain\";\n model = { mask_rato = 0.5; }; } );\nscales = { "
                "d = {}; };\n"
                "grids = (" GRID ");",
                NULL, ".cfg:3");
    check_fails("name = \"t\";\nstages = ( { protocol = \"pretrain\"; } );\nscales = { d = {\n pretian = {}; }; "
                "};\ngrids = (" GRID ");",
                NULL, ".cfg:4: a scale of this sweep has no 'pretian'; did you mean 'pretrain'?");
    check_fails(sweep_text("{ name = \"g\"; metrics = ( { metrik = \"top1\"; } ); }", ""), NULL,
                "no 'metrik'; did you mean 'metric'?");
    check_fails(sweep_text("{ name = \"g\"; stage = \"prob\"; metrics = ( { metric = \"top1\"; } ); }", ""), NULL,
                "no stage 'prob'");
}

TEST(a_misspelt_option_in_another_scale_is_found_too)
{
    check_fails("name = \"t\"; stages = ( { protocol = \"pretrain\"; } ); scales = { demo = { };\n paper = { pretrain "
                "= { train = { stps = 3; }; }; }; };"
                "grids = (" GRID ");",
                NULL, "train.steps");
}

TEST(missing_and_mistyped_parts_are_refused)
{
    const char *stages = "stages = ( { protocol = \"pretrain\"; } );", *scales = "scales = { d = { }; };",
               *grids = "grids = (" GRID ");";
    char text[2048];
    check_fails("", NULL, "'name' is missing");
    snprintf(text, sizeof text, "name = 3; %s %s %s", stages, scales, grids);
    check_fails(text, NULL, "name must be a text");
    snprintf(text, sizeof text, "name = \"../../etc\"; %s %s %s", stages, scales, grids);
    check_fails(text, NULL, "letters, digits");
    snprintf(text, sizeof text, "name = \"t\"; %s %s", scales, grids);
    check_fails(text, NULL, "needs stages");
    snprintf(text, sizeof text, "name = \"t\"; %s %s", stages, grids);
    check_fails(text, NULL, "needs scales");
    snprintf(text, sizeof text, "name = \"t\"; %s %s", stages, scales);
    check_fails(text, NULL, "needs grids");
    snprintf(text, sizeof text, "name = \"t\"; stages = \"pretrain\"; %s %s", scales, grids);
    check_fails(text, NULL, "must be a list of groups");
    snprintf(text, sizeof text, "name = \"t\"; %s scales = { d = 3; }; %s", stages, grids);
    check_fails(text, NULL, "scale d must be a group");
    snprintf(text, sizeof text,
             "name = \"t\"; stages = ( { protocol = \"pretrain\"; }, { protocol = \"pretrain\"; } ); %s %s", scales,
             grids);
    check_fails(text, NULL, "two stages are called pretrain");
    snprintf(text, sizeof text, "name = \"t\"; stages = ( { protocol = \"probe\"; builds_on = \"pretrain\"; } ); %s %s",
             scales, grids);
    check_fails(text, NULL, "no stage before it");
    snprintf(text, sizeof text, "name = \"t\"; stages = ( { protocol = \"pretrain\"; name = \"data\"; } ); %s %s",
             scales, grids);
    check_fails(text, NULL, "cannot be called 'data'");
    snprintf(text, sizeof text, "name = \"t\"; %s %s grids = (" GRID "," GRID ");", stages, scales);
    check_fails(text, NULL, "two grids are called g");
    snprintf(text, sizeof text, "name = \"t\"; %s %s grids = ( { name = \"g\"; rows = ( { label = \"a\"; } ); } );",
             stages, scales);
    check_fails(text, NULL, "needs metrics");
}

TEST(seeds_must_be_different_whole_numbers)
{
    check_fails(sweep_text(GRID, "seeds = [ 1, 1 ];"), NULL, "seed 1 is there twice");
    check_fails(sweep_text(GRID, "seeds = [ -1 ];"), NULL, "not in 0");
    check_fails(sweep_text(GRID, "seeds = [ 1.5 ];"), NULL, "not a whole number");
    check_fails(sweep_text(GRID, "seeds = 3;"), NULL, "list of whole numbers");
    check_fails(sweep_text(GRID, "seeds = [ ];"), NULL, "list of whole numbers");
    check_fails(sweep_text(GRID, ""), &(vmae_sweep_choice){ .seeds = "1,,2" }, "--seeds 1,,2");
    check_fails(sweep_text(GRID, ""), &(vmae_sweep_choice){ .seeds = "1x" }, "--seeds 1x");
    check_fails(sweep_text(GRID, ""), &(vmae_sweep_choice){ .seeds = "99999999999999999999" }, "--seeds");
}

TEST(an_override_goes_to_every_stage_that_has_the_option)
{
    vmae_sweep *sweep = NULL;
    const char *overrides[] = { "data_root=/data", "probe:probe.epochs=3", "train.steps=6" };
    REQUIRE_OK(load_sweep_text(&sweep, sweep_text(GRID, ""),
                               &(vmae_sweep_choice){ .overrides = overrides, .override_count = 3 }));
    REQUIRE(sweep->command_line_count == 4);
    CHECK_EQ(sweep->command_line[0].stage, 0);
    CHECK_EQ(sweep->command_line[1].stage, 1);
    CHECK(strcmp(sweep->command_line[1].text, "/data") == 0);
    CHECK(strcmp(sweep->command_line[2].name, "probe.epochs") == 0);
    CHECK(strcmp(sweep->command_line[3].name, "train.steps") == 0);
    vmae_sweep_free(sweep);
}

/* What the sweep is stored under, given a command line of up to two overrides. Fresh memory. */
static char *stored_scale(const char *seeds, const char *first, const char *second)
{
    vmae_sweep *sweep = NULL;
    const char *overrides[] = { first, second };
    const vmae_sweep_choice choice = { .seeds = seeds,
                                       .overrides = overrides,
                                       .override_count = (size_t)(first != NULL) + (second != NULL) };
    CHECK_OK(load_sweep_text(&sweep, sweep_text(GRID, "seeds = [ 4, 5 ];"), &choice));
    char *text = vmae_strdup(sweep ? sweep->stored_scale : "");
    vmae_sweep_free(sweep);
    return text;
}

static void check_same(const char *seeds, const char *first, const char *second, const char *expected, bool same)
{
    char *text = stored_scale(seeds, first, second);
    vmae_check((strcmp(text, expected) == 0) == same, __FILE__, __LINE__, "--seeds %s %s %s is stored as %s, %s is %s",
               seeds ? seeds : "", first ? first : "", second ? second : "", text, same ? "expected" : "which also",
               expected);
    free(text);
}

TEST(a_sweep_that_the_command_line_changed_is_stored_under_another_name)
{
    check_same(NULL, NULL, NULL, "demo", true);
    check_same(NULL, "threads=2", "data_root=/data", "demo", true); /* no number changes */
    check_same(NULL, "train.steps=20", NULL, "demo", true);         /* as the file has it */
    check_same(NULL, "train.steps=5", "train.steps=20", "demo", true);
    check_same("5,4", NULL, NULL, "demo", true);
    char *five = stored_scale(NULL, "train.steps=5", NULL), *seeds = stored_scale("4,6", NULL, NULL);
    CHECK_STR(five, "demo+");
    CHECK_EQ(strlen(five), strlen("demo+12345678"));
    check_same(NULL, "pretrain:train.steps=5", "threads=3", five, true); /* the same values */
    check_same(NULL, "train.steps=9", "train.steps=5", five, true);
    check_same(NULL, "train.steps=5", "train.steps=9", five, false);
    check_same(NULL, "train.steps=5", "probe:probe.epochs=5", five, false);
    check_same("4,6", "train.steps=5", NULL, five, false);
    check_same("4", NULL, NULL, "demo", false);
    CHECK(strcmp(seeds, "demo") != 0 && strcmp(seeds, five) != 0);
    check_same("6,4", NULL, NULL, seeds, true);
    /* not in an identity by its name, but by what it names */
    check_same(NULL, "probe:checkpoint=random", NULL, "demo", false);
    free(five);
    free(seeds);
}

TEST(overrides_are_told_apart_and_data_that_they_change_are_not_claimed)
{
    vmae_sweep *sweep = NULL;
    const char *overrides[] = { "threads=2", "pretrain:data=mine.bin", "train.steps=7" };
    REQUIRE_OK(load_sweep_text(&sweep, sweep_text(GRID, ""),
                               &(vmae_sweep_choice){ .overrides = overrides, .override_count = 3 }));
    REQUIRE(sweep->override_count == 2 && sweep->speed_override_count == 1);
    CHECK(strcmp(sweep->overrides[0], "pretrain:data=mine.bin") == 0);
    CHECK(strcmp(sweep->overrides[1], "train.steps=7") == 0);
    CHECK(strcmp(sweep->speed_overrides[0], "threads=2") == 0);
    CHECK(strcmp(sweep->data, "overridden: pretrain:data=mine.bin") == 0);
    vmae_sweep_free(sweep);
    REQUIRE_OK(load_sweep_text(&sweep, sweep_text(GRID, ""),
                               &(vmae_sweep_choice){ .overrides = overrides + 2, .override_count = 1 }));
    CHECK(strcmp(sweep->data, "numbers") == 0);
    vmae_sweep_free(sweep);
}

TEST(wrong_overrides_are_refused_with_the_nearest_name)
{
    static const struct {
        const char *given, *part;
    } cases[] = {
        { "train.stps=3", "no stage of" },
        { "train.stps=3", "did you mean 'train.steps'?" },
        { "train.steps=many", "train.steps" },
        { "train.steps=0", "train.steps" },
        { "prob:probe.epochs=3", "no stage 'prob'; did you mean 'probe'?" },
        { "pretrain:probe.epochs=3", "no stage of" },
        { "=3", "not an override" },
        { "train.steps", "not an override" },
        { "seed=3", "use --seeds" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *overrides[] = { cases[i].given };
        check_fails(sweep_text(GRID, ""), &(vmae_sweep_choice){ .overrides = overrides, .override_count = 1 },
                    cases[i].part);
    }
}

TEST(scales_are_listed_with_their_data)
{
    char *text = NULL;
    size_t count;
    FILE *out = open_memstream(&text, &count);
    CHECK_OK(vmae_sweep_list_scales(write_text(vmae_test_folder(), "scales.cfg", sweep_text(GRID, "")), out));
    fclose(out);
    CHECK_STR(text, "demo       numbers\n");
    CHECK_STR(text, "big        more numbers\n");
    free(text);
}

/* Cuts and breaks a good file everywhere: it must be refused or read, never crash. */
TEST(damaged_sweep_files_never_crash)
{
    const char *good =
        sweep_text("{ name = \"g\"; metrics = ( { metric = \"top1\"; } );\n"
                   "  product = { pretrain = { model = { width = [1, 2]; }; }; };\n"
                   "  zip = { probe = { probe = { epochs = [1, 2]; blr = [0.1, 0.2]; }; }; };\n"
                   "  union = ( { label = \"a\"; }, { set = { pretrain = { frames = { delta = 1; }; }; }; } );\n"
                   "  exclude = ( { pretrain = { model = { width = 1; }; }; } ); }",
                   "seeds = [ 1, 2 ];");
    static const char bytes[] = "{}()[];=\"0-@#\\";
    const size_t length = strlen(good);
    char *text = malloc(length + 1);
    int accepted = 0;
    for (size_t at = 0; at < length; at += 3)
        for (int kind = 0; kind < 3; kind++) {
            vmae_sweep *sweep = NULL;
            memcpy(text, good, length + 1);
            if (kind == 0)
                text[at] = 0;
            else
                text[at] = bytes[(at * 7 + (size_t)kind) % (sizeof bytes - 1)];
            const char *path = write_text(vmae_test_folder(), "damaged.cfg", text);
            if (vmae_sweep_load(&sweep, path, NULL) == VMAE_OK)
                accepted++;
            else
                CHECK(*vmae_error());
            vmae_sweep_free(sweep);
        }
    CHECK(accepted > 0); /* spaces replaced inside names of titles, say */
    free(text);
}
