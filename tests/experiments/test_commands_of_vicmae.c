/* test_commands_of_vicmae.c -- help, versions, misspelt commands; info and options for people and for programs. */
#include "vicmae.h"

#include "engine/core/fs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const commands[] = { "pretrain", "probe",   "knn",   "reconstruct",
                                        "info",     "options", "bench", "selftest" };
enum { COMMANDS = sizeof commands / sizeof *commands };

TEST(help_of_vicmae_and_every_command_goes_to_stdout_and_ends_well)
{
    const char *const ways[] = { "--help", "-h", "help" };
    for (int i = 0; i < 3; i++) {
        RUN_OK(ways[i]);
        for (int k = 0; k < COMMANDS; k++)
            CHECK_STR(vicmae_out(), commands[k]);
    }
    for (int k = 0; k < COMMANDS; k++) {
        RUN_OK(commands[k], "--help");
        CHECK_STR(vicmae_out(), "Usage: vicmae ");
        CHECK_STR(vicmae_out(), commands[k]);
        CHECK_STR(vicmae_out(), "Examples:");
        CHECK_EQ(strlen(vicmae_err()), 0);
    }
}

TEST(version_of_vicmae_and_every_command_is_one_line)
{
    char line[256];
    RUN_OK("--version");
    snprintf(line, sizeof line, "%s", vicmae_out());
    CHECK(strncmp(line, "vicmae " VMAE_VERSION " (", strlen("vicmae " VMAE_VERSION " (")) == 0);
    for (int k = 0; k < COMMANDS; k++) {
        RUN_OK(commands[k], "--version");
        CHECK(strcmp(vicmae_out(), line) == 0);
    }
}

/* Every file of this source tree that a help text names is there. */
static void check_named_files(void)
{
    for (const char *at = vicmae_out(); (at = strstr(at, "experiments/")); at++) {
        char name[256];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(at, " \n"), at);
        vmae_check(exists(in(SOURCE, name)), __FILE__, __LINE__, "the help names %s", name);
    }
}

TEST(the_examples_of_the_help_name_files_that_exist)
{
    RUN_OK("--help");
    check_named_files();
    for (int k = 0; k < COMMANDS; k++) {
        RUN_OK(commands[k], "--help");
        check_named_files();
    }
}

TEST(the_first_example_of_the_help_begins_to_train)
{
    const char *const example = "vicmae pretrain model.size=nano data.videos.kind=shapes-video train.epochs=5";
    RUN_OK("--help");
    CHECK_STR(vicmae_out(), example);
    RUN_CODE(130, &(launch){ .fault = "metrics 1 2" }, "pretrain", "-R", here("example"), "model.size=nano",
             "data.videos.kind=shapes-video", "train.epochs=5");
    CHECK_STR(vicmae_err(), "saved at step 1 of ");
}

TEST(a_misspelt_command_is_refused_with_the_nearest)
{
    RUN_CODE(2, NULL, "pretrian");
    CHECK_STR(vicmae_err(), "there is no command \"pretrian\"; did you mean pretrain?");
    RUN_CODE(2, NULL, "xyzzy");
    CHECK_STR(vicmae_err(), "there is no command \"xyzzy\"; see vicmae --help");
    RUN_CODE(2, NULL, NULL);
    CHECK_STR(vicmae_err(), "Usage: vicmae COMMAND");
}

TEST(a_missing_config_or_checkpoint_is_refused)
{
    const char *const protocols[] = { "pretrain", "probe", "knn", "reconstruct" };
    for (int i = 0; i < 4; i++) {
        RUN_CODE(2, NULL, protocols[i]);
        CHECK_STR(vicmae_err(), "CONFIG is missing");
    }
    RUN_CODE(2, NULL, "info");
    CHECK_STR(vicmae_err(), "CHECKPOINT is missing");
    RUN_CODE(2, NULL, "pretrain", "a.cfg", "b.cfg");
    CHECK_STR(vicmae_err(), "one CONFIG only");
    RUN_CODE(2, NULL, "pretrain", "--no-such-option");
    CHECK_STR(vicmae_err(), "--no-such-option");
    RUN_CODE(2, NULL, "options", "prterain");
    CHECK_STR(vicmae_err(), "there is no protocol \"prterain\"");
}

TEST(quiet_says_nothing_when_all_is_well)
{
    RUN_OK("pretrain", "-q", "-R", here("quiet"), TINY_MODEL, TINY_TRAINING, TINY_IMAGES);
    CHECK_EQ(strlen(vicmae_err()), 0);
    CHECK_EQ(strlen(vicmae_out()), 0);
}

TEST(a_run_without_a_folder_of_its_own_goes_under_the_root_by_its_identity)
{
    RUN_OK("pretrain", "-r", here("root"), TINY_MODEL, TINY_TRAINING, TINY_IMAGES);
    char **names = NULL;
    size_t count = 0;
    REQUIRE_OK(vmae_list_folder(here("root"), true, &names, &count));
    CHECK_EQ(count, 1);
    if (count == 1) {
        json_t *done = json_load_file(in(in(here("root"), names[0]), "done.json"), 0, NULL);
        CHECK_EQ(strlen(names[0]), 16);
        CHECK(strncmp(names[0], event_text(done, "identity"), 16) == 0);
        json_decref(done);
    }
    vmae_list_free(names, count);
}

TEST(info_prints_the_sizes_of_a_checkpoint)
{
    const char *run = here("info");
    RUN_OK("pretrain", "-R", run, TINY_MODEL, TINY_TRAINING, TINY_IMAGES, "model.projector_hidden=24");
    const char *path = in(run, "checkpoint.safetensors");
    RUN_OK("info", path);
    CHECK_STR(vicmae_out(), "encoder   16 px, patch 4, width 16, 2 blocks, 2 heads");
    CHECK_STR(vicmae_out(), "decoder   width 16, 1 blocks, 2 heads");
    CHECK_STR(vicmae_out(), "projector 24 -> 8");
    CHECK_STR(vicmae_out(), "vicmae.step                  12");
    RUN_OK("info", "--tensors", path);
    CHECK_STR(vicmae_out(), "F32   [48, 16]                 blocks.0.attn.qkv.weight");
    CHECK_STR(vicmae_out(), "I64   []                       projector.1.num_batches_tracked");

    RUN_OK("info", "--json", path);
    json_t *root = json_loads(vicmae_out(), 0, NULL);
    REQUIRE(root);
    const json_t *metadata = json_object_get(root, "metadata"), *tensors = json_object_get(root, "tensors");
    CHECK_STR(event_text(metadata, "vicmae.dim"), "16");
    CHECK_STR(event_text(metadata, "format"), "pt");
    CHECK_EQ(json_array_size(tensors), 66);
    bool found = false;
    for (size_t i = 0; i < json_array_size(tensors); i++) {
        const json_t *tensor = json_array_get(tensors, i), *shape = json_object_get(tensor, "shape");
        if (strcmp(event_text(tensor, "name"), "patch_embed.proj.weight") != 0)
            continue;
        found = true;
        CHECK_STR(event_text(tensor, "dtype"), "F32");
        CHECK_EQ(json_array_size(shape), 4);
        CHECK_EQ(json_integer_value(json_array_get(shape, 0)), 16);
        CHECK_EQ(json_integer_value(json_array_get(shape, 3)), 4);
    }
    CHECK(found);
    json_decref(root);
}

TEST(info_of_what_is_not_there_is_refused)
{
    RUN_CODE(2, NULL, "info", here("absent.safetensors"));
    CHECK_STR(vicmae_err(), "absent.safetensors");
    CHECK_STR(vicmae_err(), "No such file");
}

TEST(options_of_every_protocol_are_listed_for_programs_too)
{
    const char *const protocols[] = { "pretrain", "probe", "knn", "reconstruct" };
    const char *const own[] = { "train.blr", "probe.blr", "knn.k", "reconstruct.count" };
    for (int i = 0; i < 4; i++) {
        RUN_OK("options", protocols[i]);
        CHECK_STR(vicmae_out(), own[i]);
        RUN_OK("options", protocols[i], "--json");
        json_t *list = json_loads(vicmae_out(), 0, NULL);
        size_t found = 0;
        CHECK(json_array_size(list) > 20);
        for (size_t k = 0; k < json_array_size(list); k++) {
            const json_t *option = json_array_get(list, k);
            found += strcmp(event_text(option, "name"), own[i]) == 0;
            CHECK(*event_text(option, "help") && *event_text(option, "type"));
            CHECK(json_is_boolean(json_object_get(option, "identity")));
        }
        CHECK_EQ(found, 1);
        json_decref(list);
    }
}

TEST(selftest_refuses_what_it_cannot_time_before_it_begins)
{
    static const char *const wrong[][2] = { { "enormous", "model.size is enormous; it must be one of" },
                                            { "nano,", "model.size is " },
                                            { "nano:1", "pairs is 1; it must be 2 to" },
                                            { "nano:many", "pairs is many; it must be 2 to" },
                                            { "nano,nano,nano,nano,nano,nano,nano,nano,nano", "more than 8 sizes" } };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        RUN_CODE(2, NULL, "selftest", "--device", "cpu", "--sizes", wrong[i][0]);
        CHECK_STR(vicmae_err(), wrong[i][1]);
        CHECK_EQ(strlen(vicmae_out()), 0);
    }
    RUN_CODE(2, NULL, "selftest", "--threads", "0");
    CHECK_STR(vicmae_err(), "threads is 0; it must be 1 to 1024");
}

TEST(selftest_ends_in_a_verdict_and_a_report)
{
    const char *report = here("selftest.json");
    RUN_OK("selftest", "--device", "cpu", "-t", "1", "--quick", "--only", "view", "--output", report);
    CHECK_STR(vicmae_out(), "cpu: PASSED");
    json_t *passed = json_load_file(report, 0, NULL);
    CHECK_STR(event_text(passed, "verdict"), "passed");
    CHECK_EQ(json_array_size(json_object_get(passed, "checks")), 2);
    json_decref(passed);
    RUN_CODE(1, NULL, "selftest", "--device", "cpu", "-t", "1", "--quick", "--only", "golden", "--golden",
             here("absent"), "--output", report);
    CHECK_STR(vicmae_out(), "vicmae_params.safetensors");
    CHECK_STR(vicmae_out(), "cpu: FAILED: do not use this device for results");
    json_t *failed = json_load_file(report, 0, NULL);
    CHECK_STR(event_text(failed, "verdict"), "FAILED");
    json_decref(failed);
    RUN_CODE(2, NULL, "selftest", "--device", "cpu", "--only", "golden", "--output", report);
    CHECK_STR(vicmae_err(), "--golden FOLDER");
    RUN_CODE(2, NULL, "selftest", "--device", "cpu", "--only", "views", "--output", report);
    CHECK_STR(vicmae_err(), "memory, view, op, step and golden");
}
