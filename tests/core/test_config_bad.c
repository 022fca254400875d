/* test_config_bad.c -- what a config refuses, and with which words. */
#include "engine/core/config.h"
#include "engine/core/fs.h"
#include "engine/core/mem.h"
#include "tests/core/options.h"
#include "tests/test.h"

#include <libconfig.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TEST(config_text_that_is_refused_is_told_why_and_where)
{
    static const char *const cases[][2] = {
        /* names */
        { "model = { mask_ration = 0.5; };",
          "a.cfg:1: unknown option model.mask_ration; did you mean model.mask_ratio?" },
        { "\n\nmodle = { dim = 5; };", "a.cfg:3: unknown option modle.dim; did you mean model.dim?" },
        { "mask_ratio = 0.5;", "unknown option mask_ratio; did you mean model.mask_ratio?" },
        { "grdi = { };", "unknown option grdi; did you mean grid?" },
        { "completely_else = 1;", "a.cfg:1: unknown option completely_else" },
        { "model = 5;", "model is a group of options, not an option; one of them is model.dim" },
        { "model = { dim = { x = 1; }; };", "a.cfg:1: model.dim is a group; an option has one value" },
        { "model = { dim = [ 1, 2 ]; };", "model.dim is a list; an option has one value" },
        { "nothing = ( );", "unknown option nothing" },
        { "model = { grid = 1; };", "unknown option model.grid" }, /* `also` names top-level keys only */
        /* types */
        { "model = { dim = 1.0; };", "a.cfg:1: model.dim is 1.0; it must be a whole number" },
        { "model = { dim = 1.5; };", "model.dim is 1.5; it must be a whole number" },
        { "model = { dim = 1e2; };", "model.dim is 100.0; it must be a whole number" },
        { "model = { dim = \"5\"; };", "model.dim is the text \"5\"; it must be a whole number" },
        { "model = { dim = true; };", "model.dim is true; it must be a whole number" },
        { "model = { mask_ratio = \"x\"; };", "model.mask_ratio is the text \"x\"; it must be a number" },
        { "model = { mask_ratio = false; };", "it must be a number" },
        { "model = { norm_pix_loss = 1; };", "model.norm_pix_loss is 1; it must be true or false" },
        { "model = { norm_pix_loss = \"true\"; };", "is the text \"true\"; it must be true or false" },
        { "data = { root = 5; };", "data.root is 5; it must be a text in quotes" },
        { "data = { root = \"\\xff\\xfe\"; };", "data.root is ??; it must be text in UTF-8" },
        { "model = { pool = 1; };", "model.pool is 1; it must be one of these, in quotes: mean max gem cls" },
        /* values */
        { "\nmodel = { mask_ratio = 1.2; };", "a.cfg:2: model.mask_ratio is 1.2; it must be between 0 and 1" },
        { "model = { mask_ratio = -1; };", "model.mask_ratio is -1; it must be between 0 and 1" },
        { "model = { dim = 0; };", "model.dim is 0; it must be between 1 and 4096" },
        { "model = { dim = 4294967297; };", "model.dim is 4294967297; it must be between 1 and 4096" },
        { "train = { epochs = 0; };", "train.epochs is 0; it must be between 1 and 10000 (epochs)" },
        { "optim = { blr = -0.5; };", "optim.blr is -0.5; it must be at least 0 (per 256 images)" },
        { "optim = { blr = 1e400; };", "optim.blr is inf; it must be a number" },
        { "model = { pool = \"maen\"; };",
          "model.pool is maen; it must be one of: mean max gem cls (did you mean mean?)" },
        { "model = { pool = \"\"; };", "model.pool is empty; it must be one of: mean max gem cls" },
        { "model = { pool = \"mean max\"; };", "it must be one of" },
        /* syntax */
        { "seed = ;", "a.cfg:1: syntax error" },
        { "seed = 1; seed = 2;", "a.cfg:1: duplicate setting name" },
        { "\n\nmodel = { dim = 1; ", "a.cfg:3: syntax error" },
        { "model.dim = 3;", "a.cfg:1: a name has no dots here" },
        { "seed = 99999999999999999999;", "a.cfg:1: this number does not fit into 64 bits" },
        { "seed = 99999999999999999999L;", "this number does not fit into 64 bits" },
        { "seed = 0x10;", "hexadecimal numbers are not read here" },
        { "seed = 12x;", "this is not a number (a text needs quotes)" },
        { "seed = 1.2.3;", "this is not a number" },
        { "seed = 99999999999x = 1;", "this is not a number" },
        { "data = { root = \"open\n\"; };", "a.cfg:1: this string is not closed" },
        { "data = { root = \"open", "this string is not closed" },
        { "data = { root = \"open\\", "this string is not closed" },
        { "data = { root = \"a\\x00b\"; };", "a string cannot hold \\x00" },
        { "seed = 1;\n/* open\n\n", "a.cfg:2: this comment is not closed" },
        { "seed = @5;", "@ begins only an @include" },
        /* includes */
        { "\n@include \"absent.cfg\"", "a.cfg:2: cannot open absent.cfg: No such file" },
        { "@include \"/\"", "a.cfg:1: cannot read /: Is a directory" },
        { "@include absent", "an include is written @include \"file\"" },
        { "@include \"open", "an include is written @include \"file\"" },
        { "@include \"\"", "an include is written @include \"file\"" },
        { "model = {\n@include \"absent.cfg\"\n};", "a.cfg:2: @ begins only an @include" },
        { "seed = 1; @include \"absent.cfg\"", "@ begins only an @include" },
        { "@include \"/dev/zero\"", "longer than 1048576 bytes" },
    };
    static const char *const also[] = { "grid", NULL };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vmae_config *config = new_config();
        REQUIRE(config);
        CHECK_FAILS(vmae_config_read_text(config, cases[i][0], "a.cfg", also), VMAE_EUSER, cases[i][1]);
        vmae_config_free(config);
    }
}

TEST(config_assignments_that_are_refused_say_why)
{
    static const char *const cases[][2] = {
        { "model.dim", "command line: \"model.dim\" is not NAME=VALUE" },
        { "=5", "is not NAME=VALUE" },
        { "model.dmi=5", "command line: unknown option model.dmi; did you mean model.dim?" },
        { "model.dim=", "command line: model.dim is empty; it must be a whole number" },
        { "model.dim= 5", "it must be a whole number" },
        { "model.dim=5 ", "it must be a whole number" },
        { "model.dim=0x10", "it must be a whole number" },
        { "model.dim=1.0", "model.dim is 1.0; it must be a whole number" },
        { "model.dim=99999999999999999999", "it must be a whole number" },
        { "model.mask_ratio=nan", "it must be a number" },
        { "model.mask_ratio=inf", "it must be a number" },
        { "model.mask_ratio=0x1p-1", "it must be a number" },
        { "model.mask_ratio=0.5,0.6", "it must be a number" },
        { "model.norm_pix_loss=1", "it must be true or false" },
        { "model.pool=", "model.pool is empty" },
        { "data.root=\xc0\x80", "it must be text in UTF-8" },
        { "data.root=\xed\xa0\x80", "it must be text in UTF-8" },
        { "\x1b[31mred=1", "unknown option ?[31mred" }, /* nothing of it reaches a terminal */
    };
    vmae_config *config = new_config();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK_FAILS(vmae_config_assign(config, cases[i][0]), VMAE_EUSER, cases[i][1]);
    for (size_t i = 0; i < vmae_config_count(config); i++)
        CHECK(!vmae_config_is_set(config, vmae_config_at(config, i)->name));
    vmae_config_free(config);
}

TEST(config_refuses_on_behalf_of_a_caller)
{
    vmae_config *config = new_config();
    CHECK_OK(vmae_config_set(config, "model.dim", "191", "s.cfg:3"));
    CHECK_FAILS(vmae_config_refuse(config, "model.dim", "it must be a multiple of %d", 3), VMAE_EUSER,
                "s.cfg:3: model.dim is 191; it must be a multiple of 3");
    vmae_config_free(config);
}

TEST(config_files_that_include_themselves_or_many_end)
{
    char path[600], text[4000] = "";
    vmae_config *config = new_config();
    write_text("self.cfg", "@include \"self.cfg\"\n");
    snprintf(path, sizeof path, "%s/self.cfg", vmae_test_folder());
    CHECK_FAILS(vmae_config_read(config, path, NULL), VMAE_EUSER, "self.cfg:1: too many files include each other");
    write_text("one.cfg", "seed = 1;");
    for (int i = 0; i < 120; i++)
        strcat(text, "@include \"one.cfg\"\n");
    write_text("many.cfg", text);
    snprintf(path, sizeof path, "%s/many.cfg", vmae_test_folder());
    CHECK_FAILS(vmae_config_read(config, path, NULL), VMAE_EUSER, "many.cfg:100: too many files");
    vmae_config_free(config);
}

TEST(config_files_that_are_no_text_are_refused)
{
    char path[600];
    vmae_config *config = new_config();
    snprintf(path, sizeof path, "%s/binary.cfg", vmae_test_folder());
    CHECK_OK(vmae_write_file(path, "seed\0= 1;", 9));
    CHECK_FAILS(vmae_config_read(config, path, NULL), VMAE_EUSER, "not a text file");
    CHECK_FAILS(vmae_config_read(config, vmae_test_folder(), NULL), VMAE_EUSER, "Is a directory");
    CHECK_FAILS(vmae_config_read(config, "/nonexistent.cfg", NULL), VMAE_EUSER, "/nonexistent.cfg: No such file");
    vmae_config_free(config);
}

TEST(config_refuses_endless_nesting_and_counts)
{
    char *text = vmae_calloc(200001, 1);
    vmae_config *config = new_config();
    REQUIRE(text);
    strcpy(text, "grid = ");
    memset(text + 7, '(', 100000);
    CHECK_FAILS(vmae_config_read_text(config, text, "a.cfg", NULL), VMAE_EUSER, "nested more than 32 deep");
    size_t used = 0;
    for (int i = 0; used < 199900; i++)
        used += (size_t)sprintf(text + used, "k%d=1;", i);
    CHECK_FAILS(vmae_config_read_text(config, text, "a.cfg", NULL), VMAE_EUSER, "more than 10000 settings");
    free(text);
    vmae_config_free(config);
}

TEST(config_tables_with_mistakes_are_our_bug)
{
    static const vmae_option end = { NULL, VMAE_BOOL, VMAE_IDENTITY, NULL, 0, 0, NULL, NULL, NULL };
    const vmae_option twice[] = { { "a", VMAE_INT, VMAE_IDENTITY, "1", 0, 0, NULL, NULL, "" },
                                  { "a", VMAE_INT, VMAE_IDENTITY, "1", 0, 0, NULL, NULL, "" },
                                  end };
    const vmae_option nested[] = { { "a.b", VMAE_INT, VMAE_IDENTITY, "1", 0, 0, NULL, NULL, "" },
                                   { "a", VMAE_INT, VMAE_IDENTITY, "1", 0, 0, NULL, NULL, "" },
                                   end };
    const vmae_option outside[] = { { "a", VMAE_INT, VMAE_IDENTITY, "9", 0, 3, NULL, NULL, "" }, end };
    const vmae_option none[] = { { "a", VMAE_CHOICE, VMAE_IDENTITY, "x", 0, 0, NULL, NULL, "" }, end };
    const vmae_option *const tables[][2] = { { twice, NULL }, { nested, NULL }, { outside, NULL }, { none, NULL } };
    static const char *const said[] = { "a is an option already", "so a.b cannot be one", "between 0 and 3",
                                        "no choices" };
    for (size_t i = 0; i < 4; i++) {
        vmae_config *config = NULL;
        CHECK_FAILS(vmae_config_new(&config, tables[i]), VMAE_EINTERNAL, said[i]);
        CHECK(config == NULL);
    }
}
