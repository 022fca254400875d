/* test_config.c -- what a config takes: files, includes, assignments, presets, copies, printing. */
#include "engine/core/config.h"
#include "engine/core/fs.h"
#include "tests/core/options.h"
#include "tests/test.h"

#include <libconfig.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TEST(config_has_its_defaults)
{
    vmae_config *config = new_config();
    REQUIRE(config);
    CHECK_EQ(vmae_config_count(config), 8);
    CHECK_NEAR(vmae_config_float(config, "model.mask_ratio"), 0.75, 0);
    CHECK_EQ(vmae_config_int(config, "model.dim"), 192);
    CHECK(vmae_config_float(config, "model.dim") == 192.0);
    CHECK(!vmae_config_bool(config, "model.norm_pix_loss"));
    CHECK(strcmp(vmae_config_text(config, "model.pool"), "mean") == 0);
    CHECK(strcmp(vmae_config_text(config, "data.root"), "") == 0);
    CHECK(strcmp(vmae_config_value(config, "optim.blr"), "0.00015") == 0); /* canonical, from 1.5e-4 */
    CHECK(strcmp(vmae_config_origin(config, "optim.blr"), "default") == 0);
    CHECK(!vmae_config_is_set(config, "optim.blr"));
    CHECK(vmae_config_option(config, "model.dim")->type == VMAE_INT);
    CHECK(vmae_config_option(config, "model.nothing") == NULL);
    CHECK(strcmp(vmae_config_at(config, 0)->name, "seed") == 0);
    vmae_config_free(config);
    vmae_config_free(NULL);
}

TEST(config_reads_every_type_from_text)
{
    vmae_config *config = new_config();
    REQUIRE_OK(vmae_config_read_text(
        config,
        "seed = 9007199254740993; # more than 32 bits, more than a double holds\n"
        "model : { dim = 384, norm_pix_loss = TRUE; mask_ratio = 1; pool = \"gem\"; };\n"
        "data = { root = \"/a \\\"b\\\" \" \"\\x41\\n\"; };\n/* blr\n = 7 */ optim = { blr = 1e-05; }; // no",
        "a.cfg", NULL));
    CHECK(vmae_config_int(config, "seed") == 9007199254740993);
    CHECK_EQ(vmae_config_int(config, "model.dim"), 384);
    CHECK(vmae_config_bool(config, "model.norm_pix_loss"));
    CHECK(vmae_config_float(config, "model.mask_ratio") == 1.0); /* a whole number where a float is wanted */
    CHECK(strcmp(vmae_config_value(config, "model.mask_ratio"), "1") == 0);
    CHECK(strcmp(vmae_config_text(config, "model.pool"), "gem") == 0);
    CHECK(strcmp(vmae_config_text(config, "data.root"), "/a \"b\" A\n") == 0);
    CHECK(strcmp(vmae_config_value(config, "optim.blr"), "1e-05") == 0);
    CHECK(strcmp(vmae_config_origin(config, "model.dim"), "a.cfg:2") == 0);
    CHECK(strcmp(vmae_config_origin(config, "optim.blr"), "a.cfg:5") == 0); /* lines of comments count */
    CHECK(vmae_config_is_set(config, "model.dim") && !vmae_config_is_set(config, "train.epochs"));
    vmae_config_free(config);
}

TEST(config_keeps_whole_numbers_of_64_bits)
{
    static const char *const numbers[] = { "2147483647", "2147483648", "-2147483649", "9223372036854775807",
                                           "5L",         "+7",         "010" };
    static const int64_t expected[] = { 2147483647, 2147483648, -2147483649, INT64_MAX, 5, 7, 10 };
    vmae_config *config = new_config();
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        char text[64];
        snprintf(text, sizeof text, "seed = %s;", numbers[i]);
        CHECK_OK(vmae_config_read_text(config, text, "a.cfg", NULL));
        CHECK_EQ(vmae_config_int(config, "seed"), expected[i]);
    }
    vmae_config_free(config);
}

TEST(config_includes_are_relative_to_the_including_file_and_overridden_by_it)
{
    char top[600];
    vmae_config *config = new_config();
    write_text("base/deep/inner.cfg", "model = { dim = 48; pool = \"cls\"; };\n");
    write_text("base/base.cfg",
               "@include \"deep/inner.cfg\"\n\nmodel = { mask_ratio = 0.5; };\noptim = { blr = 3.0; };\n");
    write_text("top.cfg", "seed = 1;\n  @include \"base/base.cfg\" # as a start\nmodel = {\n  dim = 64; };\n");
    snprintf(top, sizeof top, "%s/top.cfg", vmae_test_folder());
    REQUIRE_OK(vmae_config_read(config, top, NULL));
    CHECK_EQ(vmae_config_int(config, "model.dim"), 64); /* the later one wins, value by value */
    CHECK(strcmp(vmae_config_text(config, "model.pool"), "cls") == 0);
    CHECK(vmae_config_float(config, "model.mask_ratio") == 0.5);
    CHECK_STR(vmae_config_origin(config, "seed"), "/top.cfg:1");
    CHECK_STR(vmae_config_origin(config, "model.dim"), "/top.cfg:4");
    CHECK_STR(vmae_config_origin(config, "model.pool"), "/base/deep/inner.cfg:1");
    CHECK_STR(vmae_config_origin(config, "optim.blr"), "/base/base.cfg:4");
    vmae_config_free(config);
}

TEST(config_include_takes_absolute_paths)
{
    char text[700];
    vmae_config *config = new_config();
    write_text("absolute.cfg", "seed = 77;");
    snprintf(text, sizeof text, "@include \"%s/absolute.cfg\"", vmae_test_folder());
    CHECK_OK(vmae_config_read_text(config, text, "elsewhere/a.cfg", NULL));
    CHECK_EQ(vmae_config_int(config, "seed"), 77);
    vmae_config_free(config);
}

TEST(config_leaves_the_callers_own_keys_and_their_tree)
{
    static const char *const also[] = { "grid", "stages", NULL };
    config_t tree;
    vmae_config *config = new_config();
    const char *text = "stages = ( \"pretrain\", \"probe\" );\ngrid = {\n model = { mask_ratio = [ 0.25, 0.5 ]; seed = "
                       "3000000000; }; };\n"
                       "model = { dim = 96; };\n@include \"more.cfg\"\n";
    char name[600];
    write_text("more.cfg", "grid = { model = { dim = ( 1, ( 2, { a = true; } ) ); }; };");
    snprintf(name, sizeof name, "%s/sweep.cfg", vmae_test_folder());
    REQUIRE_OK(vmae_config_read_text(config, text, name, also));
    CHECK_EQ(vmae_config_int(config, "model.dim"), 96);
    config_init(&tree);
    REQUIRE_OK(vmae_config_parse_text(&tree, text, name));
    const config_setting_t *list = config_lookup(&tree, "grid.model.mask_ratio");
    REQUIRE(list && config_setting_length(list) == 2);
    CHECK_NEAR(config_setting_get_float_elem(list, 1), 0.5, 0);
    CHECK_EQ(config_setting_source_line(list), 3);
    CHECK_STR(config_setting_source_file(list), "sweep.cfg");
    long long seed = 0;
    CHECK(config_lookup_int64(&tree, "grid.model.seed", &seed) && seed == 3000000000);
    const config_setting_t *inner = config_lookup(&tree, "grid.model.dim.[1].[1].a"); /* merged over the include */
    CHECK(inner && config_setting_get_bool(inner));
    CHECK(inner && strstr(config_setting_source_file(inner), "more.cfg"));
    config_destroy(&tree);
    vmae_config_free(config);
}

TEST(config_applies_a_group_of_a_tree)
{
    config_t tree;
    vmae_config *config = new_config();
    config_init(&tree);
    REQUIRE_OK(vmae_config_parse_text(&tree, "blocks = ( { model = { dim = 32; }; note = 1; },\n 5 );", "s.cfg"));
    const config_setting_t *blocks = config_lookup(&tree, "blocks");
    static const char *const also[] = { "note", NULL };
    CHECK_OK(vmae_config_apply(config, config_setting_get_elem(blocks, 0), also));
    CHECK_EQ(vmae_config_int(config, "model.dim"), 32);
    CHECK(strcmp(vmae_config_origin(config, "model.dim"), "s.cfg:1") == 0);
    CHECK_FAILS(vmae_config_apply(config, config_setting_get_elem(blocks, 0), NULL), VMAE_EUSER,
                "s.cfg:1: unknown option note");
    CHECK_FAILS(vmae_config_apply(config, config_setting_get_elem(blocks, 1), NULL), VMAE_EUSER,
                "s.cfg:2: a group of options");
    config_destroy(&tree);
    vmae_config_free(config);
}

TEST(config_presets_fill_only_what_nobody_set)
{
    vmae_config *config = new_config();
    CHECK_OK(vmae_config_assign(config, "model.dim=48"));
    CHECK_OK(vmae_config_preset(config, "model.dim", "768", "model.size = base"));
    CHECK_OK(vmae_config_preset(config, "model.mask_ratio", "0.6", "model.size = base"));
    CHECK_EQ(vmae_config_int(config, "model.dim"), 48);
    CHECK_NEAR(vmae_config_float(config, "model.mask_ratio"), 0.6, 0);
    CHECK(strcmp(vmae_config_origin(config, "model.dim"), "command line") == 0);
    CHECK(strcmp(vmae_config_origin(config, "model.mask_ratio"), "model.size = base") == 0);
    CHECK(vmae_config_is_set(config, "model.mask_ratio"));
    CHECK_FAILS(vmae_config_preset(config, "model.nothing", "1", "x"), VMAE_EUSER, "unknown option");
    vmae_config_free(config);
}

TEST(config_copies_are_independent)
{
    vmae_config *config = new_config(), *copy = NULL;
    CHECK_OK(vmae_config_assign(config, "data.root=/data"));
    REQUIRE_OK(vmae_config_copy(&copy, config));
    CHECK_OK(vmae_config_assign(config, "data.root=/other"));
    CHECK_OK(vmae_config_assign(copy, "model.dim=3"));
    CHECK_EQ(vmae_config_int(config, "model.dim"), 192);
    vmae_config_free(config);
    CHECK(strcmp(vmae_config_text(copy, "data.root"), "/data") == 0);
    CHECK(strcmp(vmae_config_origin(copy, "data.root"), "command line") == 0);
    vmae_config_free(copy);
}

TEST(config_prints_what_reads_back_to_the_same_values)
{
    vmae_config *config = new_config(), *again = new_config();
    CHECK_OK(vmae_config_assign(config, "data.root=a \"quoted\"\\x00 \t\n\x01 caf\xc3\xa9 @include"));
    CHECK_OK(vmae_config_assign(config, "seed=-9223372036854775807"));
    CHECK_OK(vmae_config_assign(config, "optim.blr=1e-300"));
    CHECK_OK(vmae_config_assign(config, "model.norm_pix_loss=true"));
    char *text = vmae_config_print(config);
    REQUIRE(text);
    CHECK_STR(text, "model = {\n    dim = 192;\n");
    REQUIRE_OK(vmae_config_read_text(again, text, "printed", NULL));
    for (size_t i = 0; i < vmae_config_count(config); i++) {
        const char *name = vmae_config_at(config, i)->name;
        vmae_check(strcmp(vmae_config_value(config, name), vmae_config_value(again, name)) == 0, __FILE__, __LINE__,
                   "%s came back as %s", name, vmae_config_value(again, name));
    }
    char *twice = vmae_config_print(again);
    CHECK(twice && strcmp(text, twice) == 0);
    free(twice);
    free(text);
    vmae_config_free(config);
    vmae_config_free(again);
}

TEST(config_floats_have_their_shortest_text)
{
    static const char *const texts[][2] = {
        { "0.1", "0.1" },
        { "1e-5", "1e-05" },
        { "0.0001", "0.0001" },
        { "100", "100" },
        { "1.50", "1.5" },
        { "-0.0", "0" },
        { "1e15", "1000000000000000" },
        { "1e16", "1e+16" },
        { "0.30000000000000004", "0.30000000000000004" },
        { "1e22", "1e+22" },
        { "5e-324", "5e-324" },
        { "1.7976931348623157e308", "1.7976931348623157e+308" },
        { ".5", "0.5" },
        { "5.", "5" },
    };
    vmae_config *config = new_config();
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        CHECK_OK(vmae_config_set(config, "optim.blr", texts[i][0], "test"));
        vmae_check(strcmp(vmae_config_value(config, "optim.blr"), texts[i][1]) == 0, __FILE__, __LINE__, "%s gave %s",
                   texts[i][0], vmae_config_value(config, "optim.blr"));
        CHECK(strtod(vmae_config_value(config, "optim.blr"), NULL) == strtod(texts[i][0], NULL));
    }
    vmae_config_free(config);
}

TEST(config_finds_the_nearest_name)
{
    static const char *const names[] = { "mask_ratio", "mean", "max", "gem", "epochs" };
    static const char *const cases[][2] = {
        { "mask_ration", "mask_ratio" }, { "maks_ratio", "mask_ratio" }, { "mxa", "max" }, { "gme", "gem" },
        { "epoch", "epochs" },           { "temperature", NULL },        { "", NULL },     { "xyz", NULL },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *nearest = vmae_nearest_name(cases[i][0], names, 5);
        vmae_check(nearest == cases[i][1] || (nearest && cases[i][1] && strcmp(nearest, cases[i][1]) == 0), __FILE__,
                   __LINE__, "%s gave %s", cases[i][0], nearest ? nearest : "nothing");
    }
}
