/* test_table.c -- tables of invented runs against texts that were looked at once and found right. */
#include "results/listing.h"
#include "results/results.h"
#include "results/sql.h"
#include "tests/results/synthetic.h"
#include "tests/test.h"

#include "engine/core/fs.h"

#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static vmae_store *sweep_store(void)
{
    static const char *runs;
    vmae_store *store = NULL;
    if (!runs) {
        runs = synthetic_folder("sweep");
        synthetic_sweep(runs);
    }
    CHECK_OK(vmae_store_open(&store, synthetic_path(runs, "results.db"), VMAE_STORE_UPDATE));
    CHECK_OK(vmae_store_ingest(store, runs, NULL));
    return store;
}

static char *printed(vmae_store *store, const char *grid, vmae_table_format format)
{
    char *text = NULL;
    size_t count = 0;
    FILE *out = open_memstream(&text, &count);
    CHECK_OK(vmae_table_print(store, "table3", grid, format, out));
    fclose(out);
    return text;
}

static void check_same(const char *got, const char *expected)
{
    CHECK(strcmp(got, expected) == 0);
    if (strcmp(got, expected) != 0)
        printf("---- got\n%s---- expected\n%s----\n", got, expected);
}

static const char golden_a[] =
    "Table 3a: Frame separation\n"
    "sweep table3, demo scale; data: shapes (procedural), 32 px; revision abc123\n"
    "demo scale: not comparable with the paper's numbers\n"
    "\n"
    "frame separation     top-1 (%)     to best  paper     top-5 (%)     to best  paper       n\n"
    "0                 40.23 ± 0.38  -6.10 real  63.25  70.12 ± 0.19  -3.05 real  83.34       3\n"
    "2                 42.13 ± 0.91  -4.20 real  64.47  71.06 ± 0.46  -2.10 real  84.31       3\n"
    "4                 41.83 ± 0.77  -4.50 real  65.25  70.91 ± 0.39  -2.25 real  84.64       3\n"
    "8                        43.45     -2.88 ?  65.89         71.73     -1.44 ?  84.91  1 of 3\n"
    "D                 46.33 ± 0.22        best  67.66  73.17 ± 0.11        best  86.22       3\n"
    "  ± is the standard deviation over n seeds. \"to best\": distance to the best row; real or noise at 5% by "
    "Student's t (paired where both rows have the same seeds, else Welch's), with Holm's correction over every pair of "
    "rows, as these numbers also chose the best; ? where n is too small to tell.\n"
    "  rank agreement with the paper, top-1: Kendall tau +0.80 over 5 rows, p 0.083\n"
    "  rank agreement with the paper, top-5: Kendall tau +0.80 over 5 rows, p 0.083\n"
    "  missing, 8, seed 2: pretrain diverged: loss is not finite at step 120 (run aa325eed0123)\n"
    "  missing, 8, seed 3: pretrain has not started (run aa335eed0123)\n";

TEST(a_table_as_text_stands_beside_the_papers_numbers)
{
    vmae_store *store = sweep_store();
    REQUIRE(store);
    char *text = printed(store, "a", VMAE_TABLE_TEXT);
    check_same(text, golden_a);
    free(text);
    vmae_store_close(store);
}

static const char golden_c[] =
    "### Table 3c: Augmentation of frames\n"
    "\n"
    "sweep table3, demo scale; data: shapes (procedural), 32 px; revision abc123; **demo scale: not comparable with "
    "the paper's numbers**\n"
    "\n"
    "| augmentation | top-1 (%) | to best | paper, as printed | paper, by its text | top-5 (%) | to best | paper, as "
    "printed | paper, by its text | n |\n"
    "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n"
    "| colour | 42.84 ± 0.60 | -3.68 real | 65.40 | 65.40 | 71.42 ± 0.30 | -1.84 real | 84.03 | 84.03 | 3 |\n"
    "| spatial | 46.52 ± 0.83 | best | 66.03 | 67.66 | 73.26 ± 0.41 | best | 85.01 | 86.22 | 3 |\n"
    "| colour + spatial | 44.53 ± 0.57 | -1.99 real | 67.66 | 66.03 | 72.27 ± 0.28 | -0.99 real | 86.22 | 85.01 | 3 |\n"
    "\n"
    "- ± is the standard deviation over n seeds. \"to best\": distance to the best row; real or noise at 5% by "
    "Student's t (paired where both rows have the same seeds, else Welch's), with Holm's correction over every pair of "
    "rows, as these numbers also chose the best; ? where n is too small to tell.\n"
    "- rank agreement with the paper, top-1 (paper, as printed): Kendall tau +0.33 over 3 rows, p 1\n"
    "- rank agreement with the paper, top-1 (paper, by its text): Kendall tau +1.00 over 3 rows, p 0.33\n"
    "- rank agreement with the paper, top-5 (paper, as printed): Kendall tau +0.33 over 3 rows, p 1\n"
    "- rank agreement with the paper, top-5 (paper, by its text): Kendall tau +1.00 over 3 rows, p 0.33\n";

TEST(table_3c_has_both_readings)
{
    vmae_store *store = sweep_store();
    REQUIRE(store);
    char *text = printed(store, "c", VMAE_TABLE_MARKDOWN);
    check_same(text, golden_c);
    free(text);
    vmae_store_close(store);
}

TEST(latex_is_bold_only_where_every_distance_is_real)
{
    vmae_store *store = sweep_store();
    REQUIRE(store);
    char *text = printed(store, "c", VMAE_TABLE_LATEX);
    CHECK_STR(text,
              "spatial & \\textbf{46.52 $\\pm$ 0.83} & 66.03 & 67.66 & \\textbf{73.26 $\\pm$ 0.41} & 85.01 & 86.22 & "
              "3 \\\\\n");
    CHECK_STR(text, "colour & 42.84 $\\pm$ 0.60 & 65.40");
    free(text);
    text = printed(store, "b", VMAE_TABLE_LATEX); /* p = 0.035 for max: one of three comparisons */
    CHECK(!strstr(text, "textbf"));
    free(text);
    text = printed(store, "a", VMAE_TABLE_LATEX); /* row 8 has one seed: nobody can tell */
    CHECK(!strstr(text, "textbf"));
    CHECK_STR(text, "top-1 (\\%)");
    free(text);
    vmae_store_close(store);
}

typedef struct small_row {
    const char *label;
    int first_seed, seeds;
    double top1;
} small_row;

/* A sweep of probes alone with these rows, as the table's JSON. */
static json_t *small_table(const char *metric, const small_row *rows, size_t count)
{
    const char *runs = synthetic_folder("small");
    char *text = NULL, identity[40];
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    fprintf(
        out,
        "{\"version\":1,\"sweep\":\"small\",\"scale\":\"demo\",\"grids\":[{\"name\":\"g\",\"title\":\"T\",\"stage\":"
        "\"probe\",\"metrics\":[{\"metric\":\"%s\"}],\"rows\":[",
        metric);
    for (size_t r = 0; r < count; r++) {
        fprintf(out, "%s{\"label\":\"%s\",\"cells\":[", r ? "," : "", rows[r].label);
        for (int i = 0; i < rows[r].seeds; i++) {
            const int seed = rows[r].first_seed + i;
            snprintf(identity, sizeof identity, "%c%d", (char)('a' + r), seed);
            synthetic_write(runs, &(synthetic_run){ identity, "probe", seed, NULL, NULL, NULL, 3,
                                                    rows[r].top1 + 0.001 * seed * seed, "done", NULL });
            fprintf(out, "%s{\"seed\":%d,\"runs\":{\"probe\":\"%s\"}}", i ? "," : "", seed, identity);
        }
        fputs("]}", out);
    }
    fputs("]}]}", out);
    fclose(out);
    CHECK_OK(vmae_make_folders(synthetic_path(runs, "sweeps")));
    CHECK_OK(vmae_write_file(synthetic_path(runs, "sweeps/small.json"), text, size));
    free(text);
    vmae_store *store = NULL;
    CHECK_OK(vmae_store_open(&store, synthetic_path(runs, "results.db"), VMAE_STORE_UPDATE));
    CHECK_OK(vmae_store_ingest(store, runs, NULL));
    out = open_memstream(&text, &size);
    CHECK_OK(vmae_table_print(store, "small", NULL, VMAE_TABLE_JSON, out));
    fclose(out);
    json_t *root = json_loads(text, 0, NULL);
    free(text);
    out = open_memstream(&text, &size);
    CHECK_OK(vmae_table_print(store, "small", NULL, VMAE_TABLE_LATEX, out));
    fclose(out);
    json_object_set_new(json_array_get(root, 0), "latex", json_string(text));
    free(text);
    vmae_store_close(store);
    return root;
}

static const json_t *value_of(const json_t *root, size_t row)
{
    const json_t *rows = json_object_get(json_array_get(root, 0), "rows");
    return json_array_get(json_object_get(json_array_get(rows, row), "values"), 0);
}

static bool bold(const json_t *root)
{
    return strstr(json_string_value(json_object_get(json_array_get(root, 0), "latex")), "textbf") != NULL;
}

TEST(the_distance_of_rows_with_other_seeds_is_that_of_their_means)
{
    const small_row rows[] = { { "x", 1, 3, 0.5 }, { "y", 2, 3, 0.3 } };
    json_t *root = small_table("top1", rows, 2);
    const double x = json_number_value(json_object_get(value_of(root, 0), "mean")),
                 y = json_number_value(json_object_get(value_of(root, 1), "mean"));
    CHECK_NEAR(json_number_value(json_object_get(value_of(root, 1), "to_best")), y - x, 1e-15);
    CHECK_NEAR(y - x, -0.2 + 0.001 * (29 - 14) / 3.0, 1e-12);
    CHECK_STR(json_string_value(json_object_get(value_of(root, 1), "verdict")), "real");
    CHECK(bold(root));
    json_decref(root);
}

TEST(a_row_alone_is_not_clearly_best)
{
    json_t *root = small_table("top1", (const small_row[]){ { "x", 1, 3, 0.5 } }, 1);
    CHECK_STR(json_string_value(json_object_get(value_of(root, 0), "verdict")), "best");
    CHECK(!bold(root));
    json_decref(root);
}

TEST(nothing_is_best_where_neither_end_is_better)
{
    const small_row rows[] = { { "x", 1, 3, 0.5 }, { "y", 1, 3, 0.3 } };
    json_t *root = small_table("lr", rows, 2);
    for (size_t r = 0; r < 2; r++) {
        CHECK(json_is_number(json_object_get(value_of(root, r), "mean")));
        CHECK(json_is_null(json_object_get(value_of(root, r), "verdict")));
        CHECK(json_is_null(json_object_get(value_of(root, r), "to_best")));
    }
    CHECK(!bold(root));
    json_decref(root);
}

TEST(csv_and_json_hold_every_cell)
{
    vmae_store *store = sweep_store();
    REQUIRE(store);
    char *text = printed(store, NULL, VMAE_TABLE_CSV);
    size_t lines = 0;
    for (const char *at = text; (at = strchr(at, '\n')); at++)
        lines++;
    CHECK_EQ(lines, 1 + (5 + 3 + 3) * 2);
    CHECK_STR(text, "table3,demo,,\"shapes (procedural), 32 px\",abc123,c,table3c,2,spatial,2,top1,3,3,");
    CHECK_STR(text, ",best,66.03,67.66,\n");
    free(text);
    text = printed(store, NULL, VMAE_TABLE_JSON);
    json_error_t error;
    json_t *root = json_loads(text, 0, &error);
    REQUIRE(json_is_array(root));
    CHECK_EQ(json_array_size(root), 3);
    const json_t *a = json_array_get(root, 0), *row = json_array_get(json_object_get(a, "rows"), 3);
    CHECK(json_is_false(json_object_get(a, "comparable_with_paper")));
    CHECK_EQ(json_array_size(json_object_get(row, "missing")), 2);
    const json_t *value = json_array_get(json_object_get(row, "values"), 0);
    CHECK_EQ(json_integer_value(json_object_get(value, "n")), 1);
    CHECK(json_is_null(json_object_get(value, "std")));
    CHECK_NEAR(json_number_value(json_object_get(value, "paper")), 65.89, 1e-12);
    json_decref(root);
    free(text);
    vmae_store_close(store);
}

TEST(wrong_names_list_the_right_ones)
{
    vmae_store *store = sweep_store();
    REQUIRE(store);
    CHECK_FAILS(vmae_table_print(store, "table9", NULL, VMAE_TABLE_TEXT, stdout), VMAE_EUSER, "table3-demo");
    CHECK_FAILS(vmae_table_print(store, "table3", "z", VMAE_TABLE_TEXT, stdout), VMAE_EUSER, "a, b, c");
    vmae_table_format format;
    CHECK_FAILS(vmae_table_format_by_name(&format, "html"), VMAE_EUSER, "latex");
    vmae_store_close(store);
}

/* Stores sweep "s" at a scale, with one row. */
static void store_scale(vmae_store *store, const char *folder, const char *scale, const char *label)
{
    static const char format[] = "{\"version\":1,\"sweep\":\"s\",\"scale\":\"%s\",\"grids\":[{\"name\":\"g\","
                                 "\"title\":\"T\",\"paper\":null,\"stage\":\"probe\","
                                 "\"metrics\":[{\"metric\":\"loss\"}],\"rows\":[{\"label\":\"%s\",\"cells\":[{"
                                 "\"seed\":1,\"runs\":{\"probe\":\"nobody\"}}]}]}]}";
    char text[700], path[600];
    snprintf(path, sizeof path, "%s", synthetic_path(folder, "s.json"));
    snprintf(text, sizeof text, format, scale, label);
    CHECK_OK(vmae_write_file(path, text, strlen(text)));
    CHECK_OK(vmae_store_ingest_sweep(store, path));
}

/* The same sweep at two scales, one of them the paper's, with other words in it. */
TEST(scales_are_kept_apart_and_the_papers_carries_no_warning)
{
    const char *folder = synthetic_folder("scales");
    vmae_store *store = NULL;
    REQUIRE_OK(vmae_store_open(&store, synthetic_path(folder, "results.db"), VMAE_STORE_UPDATE));
    char *table = NULL;
    size_t count = 0;
    store_scale(store, folder, "demo", "old");
    store_scale(store, folder, "paper", "x");
    store_scale(store, folder, "demo", "n\\u001b[31mew | 100%"); /* replaces the first */
    CHECK_FAILS(vmae_table_print(store, "s", NULL, VMAE_TABLE_TEXT, stdout), VMAE_EUSER, "s-demo, s-paper");
    FILE *out = open_memstream(&table, &count);
    CHECK_OK(vmae_table_print(store, "s-paper", NULL, VMAE_TABLE_TEXT, out));
    CHECK_OK(vmae_table_print(store, "s-demo", NULL, VMAE_TABLE_MARKDOWN, out));
    CHECK_OK(vmae_table_print(store, "s-demo", NULL, VMAE_TABLE_LATEX, out));
    fclose(out);
    char *second = strstr(table, "###");
    REQUIRE(second);
    CHECK_STR(second, "not comparable");
    CHECK_STR(second, "100\\%");
    CHECK_STR(second, "\\|");
    CHECK(!strchr(table, '\033'));
    CHECK(!strstr(table, "old"));
    *second = 0;
    CHECK(!strstr(table, "not comparable"));
    CHECK_STR(table, "missing, x, seed 1: probe has not started (run nobody)");
    free(table);
    vmae_store_close(store);
}

/* "s" is the sweep as its file says, however many were tried with changes beside it. */
TEST(a_name_without_a_scale_means_the_sweep_as_shipped)
{
    const char *folder = synthetic_folder("shipped");
    vmae_store *store = NULL;
    REQUIRE_OK(vmae_store_open(&store, synthetic_path(folder, "results.db"), VMAE_STORE_UPDATE));
    store_scale(store, folder, "demo+1f", "first try");
    store_scale(store, folder, "demo+2e", "second try");
    CHECK_FAILS(vmae_table_print(store, "s", NULL, VMAE_TABLE_TEXT, stdout), VMAE_EUSER, "s-demo+1f, s-demo+2e");
    store_scale(store, folder, "demo", "as shipped");
    char *table = NULL;
    size_t count = 0;
    FILE *out = open_memstream(&table, &count);
    CHECK_OK(vmae_table_print(store, "s", NULL, VMAE_TABLE_TEXT, out));
    fclose(out);
    CHECK_STR(table, "as shipped");
    CHECK(!strstr(table, "try"));
    free(table);
    vmae_store_close(store);
}

/* A run of the paper's scale cut short on the command line is not of the paper's scale; another data_root is. */
TEST(what_the_command_line_changed_is_said_wherever_the_numbers_are)
{
    static const char text[] = "{\"version\":1,\"sweep\":\"s\",\"title\":\"Sweep & "
                               "title\",\"scale\":\"paper+1f\",\"overrides\":["
                               "\"train.epochs=5\",\"probe:probe.epochs=3\"],\"overrides_of_speed\":[\"data_root=/"
                               "d\"],\"grids\":[{\"name\":\"g\","
                               "\"title\":\"T\",\"note\":\"only 10 "
                               "epochs\",\"stage\":\"probe\",\"metrics\":[{\"metric\":\"top1\"}],\"rows\":[{"
                               "\"label\":\"x\",\"cells\":[]}]}]}";
    static const struct {
        vmae_table_format format;
        const char *part;
    } expected[] = {
        { VMAE_TABLE_TEXT, "sweep s (Sweep & title), paper scale with train.epochs=5, probe:probe.epochs=3; data: ?" },
        { VMAE_TABLE_TEXT, "paper scale with train.epochs=5, probe:probe.epochs=3: not comparable with the paper's" },
        { VMAE_TABLE_TEXT, "\n  only 10 epochs\n" },
        { VMAE_TABLE_MARKDOWN, "- only 10 epochs\n" },
        { VMAE_TABLE_LATEX, "(Sweep \\& title), paper scale with train.epochs=5" },
        { VMAE_TABLE_LATEX, "only 10 epochs" },
        { VMAE_TABLE_CSV, "\ns,paper+1f,\"train.epochs=5, probe:probe.epochs=3\"," },
        { VMAE_TABLE_JSON,
          "\"overrides\": [\"train.epochs=5\", \"probe:probe.epochs=3\"], \"comparable_with_paper\": false" },
        { VMAE_TABLE_JSON, "\"note\": \"only 10 epochs\"" },
    };
    const char *folder = synthetic_folder("overridden");
    vmae_store *store = NULL;
    char path[600];
    snprintf(path, sizeof path, "%s", synthetic_path(folder, "s.json"));
    REQUIRE_OK(vmae_store_open(&store, synthetic_path(folder, "results.db"), VMAE_STORE_UPDATE));
    CHECK_OK(vmae_write_file(path, text, strlen(text)));
    CHECK_OK(vmae_store_ingest_sweep(store, path));
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        char *table = NULL;
        size_t count = 0;
        FILE *out = open_memstream(&table, &count);
        CHECK_OK(vmae_table_print(store, "s", NULL, expected[i].format, out));
        fclose(out);
        CHECK_STR(table, expected[i].part);
        CHECK(!strstr(table, "data_root"));
        free(table);
    }
    static const char other_seeds[] =
        "{\"version\":1,\"sweep\":\"t\",\"scale\":\"paper+2e\",\"grids\":[{\"name\":\"g\",\"title\":"
        "\"T\",\"stage\":\"probe\",\"metrics\":[],\"rows\":[]}]}";
    char *table = NULL;
    size_t count = 0;
    CHECK_OK(vmae_write_file(path, other_seeds, strlen(other_seeds)));
    CHECK_OK(vmae_store_ingest_sweep(store, path));
    FILE *out = open_memstream(&table, &count);
    CHECK_OK(vmae_table_print(store, "t", NULL, VMAE_TABLE_TEXT, out));
    fclose(out);
    CHECK_STR(table, "sweep t, paper scale; data");
    CHECK(!strstr(table, "not comparable"));
    free(table);
    vmae_store_close(store);
}

TEST(the_papers_numbers_are_in_every_database)
{
    vmae_store *store = NULL;
    int64_t count = 0;
    REQUIRE_OK(vmae_store_open(&store, "file:paper-test?mode=memory", VMAE_STORE_UPDATE));
    CHECK_OK(vmae_sql_integer(store, &count, 0,
                              "SELECT count(*) FROM paper WHERE value = 67.66 AND unit = '%' AND tolerance = 0.005 AND "
                              "source LIKE '%Table 3a'",
                              NULL));
    CHECK_EQ(count, 1);
    CHECK_OK(vmae_sql_integer(store, &count, 0,
                              "SELECT count(*) FROM paper WHERE tbl = 'table1' AND row = 21 AND col = 'k400_top1' AND "
                              "value = 87.8 AND tolerance = 0.05",
                              NULL));
    CHECK_EQ(count, 1);
    CHECK_OK(vmae_sql_integer(store, &count, 0, "SELECT count(DISTINCT row) FROM paper WHERE tbl = 'table2'", NULL));
    CHECK_EQ(count, 8);
    CHECK_OK(vmae_sql_integer(
        store, &count, 0, "SELECT count(*) FROM paper WHERE tbl = 'table4' AND col = 'ap_box' AND unit = 'AP'", NULL));
    CHECK_EQ(count, 4);
    CHECK_OK(vmae_sql_integer(
        store, &count, 0,
        "SELECT count(*) FROM paper WHERE tbl = 'text' AND col = 'value' AND value IS NULL AND text = '54.5;33.8;55.6'",
        NULL));
    CHECK_EQ(count, 1);
    vmae_store_close(store);
}

TEST(listings_quote_what_needs_it)
{
    vmae_listing *listing = vmae_listing_new();
    REQUIRE(listing);
    char *text = NULL;
    size_t count = 0;
    vmae_listing_column(listing, "name");
    vmae_listing_column(listing, "value");
    vmae_listing_text(listing, "a,\"b\"\x1b[0m|\xff");
    vmae_listing_number(listing, 0.1, 2);
    vmae_listing_text(listing, "\xc2\x9b%\n");
    vmae_listing_empty(listing);
    vmae_listing_note(listing, "100%% \x1b");
    FILE *out = open_memstream(&text, &count);
    for (int format = VMAE_TABLE_TEXT; format <= VMAE_TABLE_JSON; format++)
        CHECK_OK(vmae_listing_print(listing, (vmae_table_format)format, false, out));
    fclose(out);
    CHECK_STR(text, "name         value\na,\"b\"?[0m|?   0.10\n?%                \n\n100% ?\n");
    CHECK_STR(text, "| a,\"b\"?[0m\\|? | 0.10 |\n| ?%  |  |\n\n- 100% ?\n");
    CHECK_STR(
        text,
        "\\begin{tabular}{lr}\n\\toprule\nname & value \\\\\n\\midrule\na,\"b\"?[0m|? & 0.10 \\\\\n?\\%  &  \\\\\n");
    CHECK_STR(text, "\"a,\"\"b\"\"\x1b[0m|\xff\",0.1\n\"\xc2\x9b%\n\",\n");
    CHECK_STR(text, "{\"name\": \"a,\\\"b\\\"\\u001B[0m|?\", \"value\": 0.1},\n {\"name\": ");
    free(text);
    vmae_listing_free(listing);
}

/* What is printed in pieces is what would have been printed at once. */
TEST(a_listing_that_is_printed_in_pieces_is_the_same)
{
    static const vmae_table_format formats[] = { VMAE_TABLE_CSV, VMAE_TABLE_JSON, VMAE_TABLE_MARKDOWN };
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++) {
        char *texts[2] = { NULL, NULL };
        for (int piecewise = 0; piecewise < 2; piecewise++) {
            size_t count = 0;
            FILE *out = open_memstream(&texts[piecewise], &count);
            vmae_listing *listing = vmae_listing_new();
            REQUIRE(listing);
            vmae_listing_column(listing, "step");
            vmae_listing_column(listing, "label");
            if (piecewise)
                vmae_listing_stream(listing, formats[f], out);
            for (int i = 0; i < 1000; i++) {
                vmae_listing_integer(listing, i);
                vmae_listing_format_text(listing, "row %d", i);
                if (piecewise && i == 999 && formats[f] != VMAE_TABLE_MARKDOWN)
                    CHECK(fflush(out) == 0 && count > 1000); /* the first went out before the last came */
            }
            CHECK_EQ(vmae_listing_rows(listing), 1000);
            CHECK_OK(vmae_listing_print(listing, formats[f], false, out));
            vmae_listing_free(listing);
            fclose(out);
        }
        CHECK(strcmp(texts[0], texts[1]) == 0);
        free(texts[0]);
        free(texts[1]);
    }
}

/* What a file keeps, a terminal would obey. */
TEST(a_listing_on_a_terminal_has_no_control_characters)
{
    const int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (terminal < 0 || grantpt(terminal) != 0 || unlockpt(terminal) != 0)
        SKIP("no pseudo-terminals");
    FILE *out = fdopen(open(ptsname(terminal), O_RDWR | O_NOCTTY | O_CLOEXEC), "w");
    REQUIRE(out);
    for (int format = VMAE_TABLE_TEXT; format <= VMAE_TABLE_JSON; format++) {
        vmae_listing *listing = vmae_listing_new();
        REQUIRE(listing);
        vmae_listing_column(listing, "name");
        vmae_listing_text(listing, "a\x1b[2J,\xc2\x9b");
        CHECK_OK(vmae_listing_print(listing, (vmae_table_format)format, false, out));
        vmae_listing_free(listing);
    }
    fflush(out);
    char text[4096];
    size_t used = 0;
    fcntl(terminal, F_SETFL, O_NONBLOCK);
    for (ssize_t got; used < sizeof text - 1 && (got = read(terminal, text + used, sizeof text - 1 - used)) > 0;)
        used += (size_t)got;
    text[used] = 0;
    CHECK(!strchr(text, '\x1b') && !strstr(text, "\xc2\x9b"));
    CHECK_STR(text, "\"a?[2J,?\"\r\n");
    CHECK_STR(text, "\\u001B[2J,?");
    fclose(out);
    close(terminal);
}
