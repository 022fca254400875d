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

static bool holds(const char *path, const char *part)
{
    char *bytes = NULL;
    size_t count = 0;
    CHECK_OK(vmae_read_file(path, 1 << 24, &bytes, &count));
    const bool found = bytes && strstr(bytes, part);
    free(bytes);
    return found;
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
    CHECK_EQ(report.files, 9);
    CHECK_EQ(report.left_out, 0);
    check_file(synthetic_path(folder, "table3-demo-a.svg"), "<?xml", "demo\xc2\xa0scale");
    check_file(synthetic_path(folder, "table3-demo-a.svg"), "<?xml", "IN1K+K400");
    check_file(synthetic_path(folder, "table3-demo-c.svg"), "<?xml", "as its running text needs it");
    check_file(synthetic_path(folder, "table3-demo-b-pretrain-curves.svg"), "<?xml", "InfoNCE");
    check_file(synthetic_path(folder, "table3-demo-b-probe-curves.svg"), "<?xml", "top-1\xc2\xa0(%)");
    CHECK(!holds(synthetic_path(folder, "table3-demo-b-probe-curves.svg"), "InfoNCE"));
    CHECK(!holds(synthetic_path(folder, "table3-demo-b-probe-curves.svg"), "epoch"));
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

/* The tick labels of the SVG of a run that has logged at these steps. */
static void check_ticks(int64_t last_step, const char *const *ticks, const char *axis)
{
    const char *runs = synthetic_folder("ticks");
    vmae_journal *journal = NULL;
    const synthetic_run run = { "aaaa1111", "pretrain", 1, NULL, NULL, NULL, 0, 0.0, "done", NULL };
    REQUIRE_OK(vmae_make_folders(synthetic_path(runs, run.identity)));
    REQUIRE_OK(vmae_journal_open(&journal, synthetic_path(runs, "aaaa1111/journal")));
    synthetic_attempt(journal, &run, 1, 0);
    for (int i = 1; i <= 50; i++)
        CHECK_OK(vmae_journal_metrics(journal, i * last_step / 50, &(vmae_metric){ "loss", 100.0 / i }, 1));
    CHECK_OK(vmae_journal_close(journal));
    vmae_store *store = store_of(runs);
    REQUIRE(store);
    vmae_plot_report report;
    REQUIRE_OK(vmae_plot_run(store, "aaaa1111", synthetic_path(runs, "out"), VMAE_PLOT_SVG, NULL, &report));
    CHECK(holds(report.last, axis));
    for (; *ticks; ticks++) {
        char text[40];
        snprintf(text, sizeof text, "<text>%s</text>", *ticks);
        CHECK(holds(report.last, text));
    }
    vmae_store_close(store);
}

TEST(ticks_say_what_they_stand_at)
{
    if (!have_gnuplot())
        SKIP("no gnuplot");
    check_ticks(2500, (const char *const[]){ "500", "1000", "1500", "2000", "2500", NULL }, "step");
    check_ticks(25000, (const char *const[]){ "5", "10", "15", "20", "25", NULL }, "step (thousands)");
}

TEST(no_row_is_dropped_and_characters_name_them)
{
    if (!have_gnuplot())
        SKIP("no gnuplot");
    enum { ROWS = 16 };
    const char *runs = synthetic_folder("many");
    char *text = NULL, folder[600];
    size_t count = 0;
    FILE *out = open_memstream(&text, &count);
    fputs("{\"version\":1,\"sweep\":\"s\",\"scale\":\"demo\",\"grids\":[{\"name\":\"g\",\"title\":\"T\",\"stage\":"
          "\"pretrain\",\"metrics\":[{\"metric\":\"loss\"}],\"rows\":[",
          out);
    for (int i = 0; i < ROWS; i++) {
        char identity[16];
        snprintf(identity, sizeof identity, "run%d", i);
        synthetic_write(runs, &(synthetic_run){ identity, "pretrain", 1, NULL, NULL, NULL, 20, 0.0, "done", NULL });
        fprintf(out, "%s{\"label\":\"row%d\",\"cells\":[{\"seed\":1,\"runs\":{\"pretrain\":\"%s\"}}]}", i ? "," : "", i,
                identity);
    }
    fputs("]}]}", out);
    fclose(out);
    REQUIRE_OK(vmae_make_folders(synthetic_path(runs, "sweeps")));
    REQUIRE_OK(vmae_write_file(synthetic_path(runs, "sweeps/s.json"), text, count));
    free(text);
    vmae_store *store = store_of(runs);
    REQUIRE(store);
    snprintf(folder, sizeof folder, "%s", synthetic_path(runs, "out"));
    REQUIRE_OK(vmae_plot_sweep(store, "s", folder, VMAE_PLOT_SVG, NULL, NULL));
    CHECK(holds(synthetic_path(folder, "s-demo-g-pretrain-curves.svg"), "row13 (n=1)"));
    CHECK(holds(synthetic_path(folder, "s-demo-g-pretrain-curves.svg"), "rows 1 to 14 of 16"));
    CHECK(holds(synthetic_path(folder, "s-demo-g-pretrain-curves-2.svg"), "row14 (n=1)"));
    CHECK(holds(synthetic_path(folder, "s-demo-g-pretrain-curves-2.svg"), "row15 (n=1)"));
    out = open_memstream(&text, &count);
    CHECK_OK(vmae_plot_sweep(store, "s", NULL, VMAE_PLOT_DUMB, out, NULL));
    fclose(out);
    CHECK_STR(text, "row0 (n=1)");
    CHECK_STR(text, "row15 (n=1)");
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
    CHECK_EQ(count, 3);
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
    vmae_plot_label(label, sizeof label,
                    "ab\xc2\x9b"
                    "c");
    CHECK(strcmp(label, "ab?c") == 0);
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
