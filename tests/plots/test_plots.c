/* test_plots.c -- pictures of invented runs: they appear, are what they say, and hostile labels stay labels. */
#include "plots/gnuplot.h"
#include "plots/plots.h"
#include "tests/results/synthetic.h"
#include "tests/test.h"

#include "engine/core/fs.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool have_gnuplot(void)
{
    const char *path = getenv("PATH");
    char file[600];
    for (const char *at = path; at && *at; at += strcspn(at, ":"), at += *at == ':') {
        snprintf(file, sizeof file, "%.*s/gnuplot", (int)strcspn(at, ":"), at);
        if (access(file, X_OK) == 0)
            return true;
    }
    return false;
}

static vmae_store *store_of(const char *runs)
{
    vmae_store *store = NULL;
    CHECK_OK(vmae_store_open(&store, synthetic_path(runs, "results.db"), VMAE_STORE_UPDATE));
    CHECK_OK(vmae_store_ingest(store, runs, NULL));
    return store;
}

static void check_file(const char *path, const char *begin, const char *part)
{
    char *bytes = NULL;
    size_t count = 0;
    REQUIRE_OK(vmae_read_file(path, 1 << 24, &bytes, &count));
    CHECK(count > 2000);
    CHECK(strncmp(bytes, begin, strlen(begin)) == 0);
    if (part)
        CHECK(strstr(bytes, part) != NULL); /* not CHECK_STR: it would print the picture */
    free(bytes);
}

TEST(a_sweep_gives_bars_and_curves_for_every_grid)
{
    if (!have_gnuplot())
        SKIP("no gnuplot");
    const char *runs = synthetic_folder("sweep");
    char folder[600];
    synthetic_sweep(runs);
    vmae_store *store = store_of(runs);
    REQUIRE(store);
    snprintf(folder, sizeof folder, "%s", synthetic_path(runs, "pictures/deep"));
    vmae_plot_report report = { 0 };
    REQUIRE_OK(vmae_plot_sweep(store, "table3", folder, VMAE_PLOT_SVG, NULL, &report));
    CHECK_EQ(report.files, 6);
    CHECK_EQ(report.left_out, 0);
    check_file(synthetic_path(folder, "table3-demo-a.svg"), "<?xml", "demo\xc2\xa0scale");
    check_file(synthetic_path(folder, "table3-demo-a.svg"), "<?xml", "IN1K+K400");
    check_file(synthetic_path(folder, "table3-demo-c.svg"), "<?xml", "as its running text needs it");
    check_file(synthetic_path(folder, "table3-demo-b-curves.svg"), "<?xml", "InfoNCE");
    REQUIRE_OK(vmae_plot_run(store, "aa015eed0123456789abcdef", folder, VMAE_PLOT_PNG, NULL, &report));
    CHECK_EQ(report.files, 1);
    check_file(report.last, "\x89PNG", NULL);
    CHECK_FAILS(vmae_plot_run(store, "nobody", folder, VMAE_PLOT_SVG, NULL, NULL), VMAE_EUSER, "no run nobody");
    CHECK_FAILS(vmae_plot_sweep(store, "nothing", folder, VMAE_PLOT_SVG, NULL, NULL), VMAE_EUSER, "table3-demo");
    vmae_store_close(store);
}

TEST(characters_go_to_the_terminal)
{
    if (!have_gnuplot())
        SKIP("no gnuplot");
    const char *runs = synthetic_folder("dumb");
    synthetic_write(runs, &(synthetic_run){ "aaaa1111", "pretrain", 1, NULL, NULL, NULL, 50, 0.0, "done", NULL });
    vmae_store *store = store_of(runs);
    REQUIRE(store);
    char *text = NULL;
    size_t count = 0;
    FILE *out = open_memstream(&text, &count);
    CHECK_OK(vmae_plot_run(store, "aaaa1111", NULL, VMAE_PLOT_DUMB, out, NULL));
    fclose(out);
    CHECK_STR(text, "pretrain, run 1 (aaaa1111), seed 1, done");
    CHECK_STR(text, "***");
    free(text);
    vmae_store_close(store);
}

/* Everything that a label could try on gnuplot, a shell, or a file name. */
TEST(hostile_names_stay_labels)
{
    if (!have_gnuplot())
        SKIP("no gnuplot");
    static const char sweep[] =
        "{\"version\":1,\"sweep\":\"../x`y\",\"scale\":\"demo\",\"data\":\"`touch pwned`\\\"; system('touch "
        "pwned')\",\"revision\":\"\\\\\\\"'{/=99 a}_b^c\","
        "\"grids\":[{\"name\":\"a/b\",\"title\":\"@ARG1 \\\"$(touch pwned)\\\" \\u0007\",\"axis\":\"a "
        "'b\\tc\",\"stage\":\"probe\",\"metrics\":[{\"metric\":\"top1\",\"label\":\"%s %n '\"}],"
        "\"rows\":[{\"label\":\"`touch "
        "pwned`\\n\\ne\\n\",\"cells\":[{\"seed\":1,\"runs\":{\"pretrain\":\"p1\",\"probe\":\"b1\"}}]},"
        "{\"label\":\"\\\"\\\" \\\\\",\"cells\":[{\"seed\":1,\"runs\":{\"pretrain\":\"p1\",\"probe\":\"b1\"}}]}]}]}";
    const char *runs = synthetic_folder("hostile");
    synthetic_write(runs, &(synthetic_run){ "p1", "pretrain", 1, NULL, NULL, NULL, 30, 0.0, "done", NULL });
    synthetic_write(runs, &(synthetic_run){ "b1", "probe", 1, "p1", NULL, NULL, 5, 0.4, "done", NULL });
    REQUIRE_OK(vmae_make_folders(synthetic_path(runs, "sweeps")));
    REQUIRE_OK(vmae_write_file(synthetic_path(runs, "sweeps/x.json"), sweep, strlen(sweep)));
    vmae_store *store = store_of(runs);
    REQUIRE(store);
    char folder[600], **names = NULL;
    size_t count = 0;
    snprintf(folder, sizeof folder, "%s", synthetic_path(runs, "out"));
    REQUIRE_OK(vmae_plot_sweep(store, "../x`y", folder, VMAE_PLOT_SVG, NULL, NULL));
    REQUIRE_OK(vmae_list_folder(folder, false, &names, &count));
    CHECK_EQ(count, 2);
    for (size_t i = 0; i < count; i++) {
        CHECK_STR(names[i], "x_y-demo-a_b");
        check_file(synthetic_path(folder, names[i]), "<?xml", "touch pwned");
    }
    vmae_list_free(names, count);
    CHECK(!vmae_path_exists("pwned"));
    vmae_store_close(store);
}

TEST(labels_are_cut_at_whole_characters)
{
    char label[6];
    vmae_plot_label(label, sizeof label, "ab\"\t\\cdef");
    CHECK(strcmp(label, "ab'  ") == 0);
    vmae_plot_label(label, sizeof label, "abcd\xc3\xa4");
    CHECK(strcmp(label, "abcd") == 0);
    vmae_plot_label(label, sizeof label, "abc\xc3\xa4");
    CHECK(strcmp(label, "abc\xc3\xa4") == 0);
}

TEST(a_sweep_without_numbers_leaves_pictures_out)
{
    static const char sweep[] =
        "{\"version\":1,\"sweep\":\"s\",\"scale\":\"demo\",\"grids\":[{\"name\":\"g\",\"title\":\"T\",\"stage\":"
        "\"probe\",\"metrics\":[{\"metric\":\"top1\"}],"
        "\"rows\":[{\"label\":\"x\",\"cells\":[{\"seed\":1,\"runs\":{\"probe\":\"nobody\"}}]}]}]}";
    const char *runs = synthetic_folder("nothing");
    REQUIRE_OK(vmae_make_folders(synthetic_path(runs, "sweeps")));
    REQUIRE_OK(vmae_write_file(synthetic_path(runs, "sweeps/s.json"), sweep, strlen(sweep)));
    vmae_store *store = store_of(runs);
    REQUIRE(store);
    vmae_plot_report report;
    CHECK_OK(vmae_plot_sweep(store, "s", synthetic_path(runs, "out"), VMAE_PLOT_SVG, NULL, &report));
    CHECK_EQ(report.files, 0);
    CHECK_EQ(report.left_out, 2);
    vmae_store_close(store);
}

TEST(formats_have_names)
{
    unsigned formats = 0;
    CHECK_OK(vmae_plot_formats_by_name(&formats, "svg,dumb"));
    CHECK_EQ(formats, VMAE_PLOT_SVG | VMAE_PLOT_DUMB);
    CHECK_FAILS(vmae_plot_formats_by_name(&formats, "svg,gif"), VMAE_EUSER, "gif");
    CHECK_FAILS(vmae_plot_formats_by_name(&formats, ""), VMAE_EUSER, "no picture format");
}

TEST(without_gnuplot_the_sentence_says_what_to_install)
{
    const char *runs = synthetic_folder("lonely");
    synthetic_write(runs, &(synthetic_run){ "aaaa1111", "pretrain", 1, NULL, NULL, NULL, 20, 0.0, "done", NULL });
    vmae_store *store = store_of(runs);
    REQUIRE(store);
    char *path = getenv("PATH") ? strdup(getenv("PATH")) : NULL;
    setenv("PATH", runs, 1);
    CHECK_FAILS(vmae_plot_run(store, "aaaa1111", synthetic_path(runs, "out"), VMAE_PLOT_SVG, NULL, NULL), VMAE_EUSER,
                "apt install gnuplot-nox");
    if (path)
        setenv("PATH", path, 1);
    free(path);
    vmae_store_close(store);
}
