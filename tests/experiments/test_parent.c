/* test_parent.c -- an evaluation belongs to the run that made its checkpoint, and to no other. */
#include "vicmae.h"

#include "engine/core/fs.h"
#include "engine/core/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The checkpoint of a tiny run of this seed. */
static const char *trained(const char *name, const char *seed)
{
    if (!exists(here(name)))
        RUN_OK("pretrain", "-R", here(name), TINY_MODEL, TINY_TRAINING, TINY_IMAGES, set("seed", seed));
    return in(here(name), "checkpoint.safetensors");
}

#define KNN(run) "knn", "-R", here(run), TINY_LABELLED, "threads=1"

static void copy_file(const char *from, const char *to)
{
    size_t count = 0;
    char *bytes = contents(from, &count);
    CHECK_OK(vmae_write_file(to, bytes, count));
    free(bytes);
}

/* What the run's record names as its parent; valid until the program ends. */
static const char *parent_of(const char *run)
{
    json_t *events = events_of(here(run));
    const json_t *what = NULL;
    count_events(events, "run", &what);
    const char *parent = in("", event_text(json_object_get(what, "config"), "parent")) + 1;
    json_decref(events);
    return parent;
}

static const char *identity_of(const char *run)
{
    json_t *done = json_load_file(in(here(run), "done.json"), 0, NULL);
    const char *identity = in("", event_text(done, "identity")) + 1;
    json_decref(done);
    return identity;
}

TEST(a_configuration_with_another_runs_checkpoint_is_refused_and_told_the_way)
{
    const char *other = trained("b", "2");
    RUN_OK(KNN("of-a"), set("checkpoint", trained("a", "1")));
    CHECK_STR(parent_of("of-a"), identity_of("a"));
    RUN_CODE(2, NULL, "knn", "-R", here("of-a"), in(here("of-a"), "config.cfg"), set("checkpoint", other));
    CHECK_STR(vicmae_err(), "of-a/config.cfg:");
    CHECK_STR(vicmae_err(), identity_of("a"));
    CHECK_STR(vicmae_err(), identity_of("b"));
    CHECK_STR(vicmae_err(), "give parent= (nothing)");
    RUN_OK("knn", "-R", here("of-b"), in(here("of-a"), "config.cfg"), set("checkpoint", other), "parent=");
    CHECK_STR(parent_of("of-b"), identity_of("b"));
    CHECK(strcmp(identity_of("of-a"), identity_of("of-b")) != 0);
}

TEST(a_checkpoint_that_was_replaced_is_not_that_of_the_run_beside_it)
{
    char hash[VMAE_HASH_HEX];
    const char *path = trained("replaced", "3");
    RUN_OK(KNN("before"), set("checkpoint", path));
    copy_file(trained("b", "2"), path);
    RUN_CODE(2, NULL, "knn", "-R", here("before"), in(here("before"), "config.cfg"));
    CHECK_STR(vicmae_err(), "parent is ");
    CHECK_STR(vicmae_err(), path);
    RUN_OK(KNN("after"), set("checkpoint", path));
    CHECK_OK(vmae_hash_file(path, hash));
    CHECK_STR(parent_of("after"), hash);
}

TEST(a_run_of_a_bare_file_goes_on_when_the_done_json_comes)
{
    char hash[VMAE_HASH_HEX];
    const char *from = here("a"), *bare = here("bare");
    trained("a", "1");
    CHECK_OK(vmae_make_folders(bare));
    copy_file(in(from, "checkpoint.safetensors"), in(bare, "checkpoint.safetensors"));
    RUN_OK(KNN("of-bare"), set("checkpoint", in(bare, "checkpoint.safetensors")));
    CHECK_OK(vmae_hash_file(in(bare, "checkpoint.safetensors"), hash));
    CHECK_STR(parent_of("of-bare"), hash);
    copy_file(in(from, "done.json"), in(bare, "done.json"));
    RUN_OK("knn", "-R", here("of-bare"), in(here("of-bare"), "config.cfg"));
    CHECK_STR(vicmae_err(), "is finished already");
}

TEST(a_file_beside_a_runs_own_checkpoint_is_not_of_that_run)
{
    char hash[VMAE_HASH_HEX];
    trained("a", "1");
    const char *path = in(here("a"), "foreign.safetensors");
    copy_file(trained("b", "2"), path);
    RUN_OK(KNN("foreign"), set("checkpoint", path));
    CHECK_OK(vmae_hash_file(path, hash));
    CHECK_STR(parent_of("foreign"), hash);
}

TEST(a_finished_evaluation_needs_its_checkpoint_no_more)
{
    const char *path = trained("gone", "4");
    RUN_OK(KNN("of-gone"), set("checkpoint", path));
    REQUIRE(unlink(path) == 0);
    RUN_OK("knn", "-R", here("of-gone"), in(here("of-gone"), "config.cfg"));
    CHECK_STR(vicmae_err(), "is finished already");
}
