/* test_text.c -- numbers, times and foreign texts as people see them. */
#include "engine/core/fs.h"
#include "engine/core/log.h"
#include "engine/core/text.h"
#include "tests/test.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

TEST(numbers_have_their_shortest_text_that_reads_back_equal)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = { { 0.1, "0.1" },
                  { 100.0, "100" },
                  { 1e-5, "1e-05" },
                  { -0.0, "0" },
                  { 1.0 / 3.0, "0.3333333333333333" },
                  { 0.1 + 0.2, "0.30000000000000004" },
                  { 123456789012345.0, "123456789012345" },
                  { 5e-324, "5e-324" },
                  { DBL_MAX, "1.7976931348623157e+308" },
                  { NAN, "nan" } };
    char text[VMAE_FLOAT_TEXT];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK(strcmp(vmae_float_text(text, cases[i].value), cases[i].text) == 0);
    for (int i = 0; i < 1000; i++) {
        const double value = ldexp(1.0 + i / 999.0, i - 500);
        CHECK(strtod(vmae_float_text(text, value), NULL) == value);
    }
}

TEST(times_have_the_unit_that_fits)
{
    static const struct {
        double seconds;
        const char *text;
    } cases[] = { { 0.04, "0.0 s" },       { 9.96, "10 s" },         { 48.4, "48 s" },
                  { 200.0, "3 min 20 s" }, { 7500.0, "2 h 05 min" }, { 4 * 86400.0, "4.0 days" },
                  { -1.0, "unknown" },     { NAN, "unknown" } };
    char text[VMAE_TIME_TEXT];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK(strcmp(vmae_time_text(text, cases[i].seconds), cases[i].text) == 0);
}

/* ESC, BEL, DEL; C1's CSI in UTF-8 and as a bare byte; half a character at the end. */
static const char hostile[] = "a\x1b[31m\x07\x7f|\xc2\x9b"
                              "2J|\x9b|\xc3\xa4\n\t\xe2\x82";
static const char cleaned[] = "a?[31m??|?2J|?|\xc3\xa4\n\t??";

TEST(no_control_character_reaches_people)
{
    char text[64], *printed = NULL;
    size_t count = 0;
    snprintf(text, sizeof text, "%s", hostile);
    CHECK_EQ(vmae_text_width(text), 20);
    CHECK(!vmae_text_is_clean(text) && !vmae_text_is_clean("a\tb") &&
          !vmae_text_is_clean("\xc2\x9b"
                              "2J"));
    CHECK(vmae_text_is_clean("") && vmae_text_is_clean("mask \xc3\xa4 0.5"));
    vmae_clean_text(text);
    CHECK(strcmp(text, cleaned) == 0);
    FILE *out = open_memstream(&printed, &count);
    vmae_print_clean(out, hostile);
    fclose(out);
    CHECK(strcmp(printed, "a?[31m??|?2J|?|\xc3\xa4????") == 0);
    free(printed);
    vmae_display_text(text, sizeof text, hostile);
    CHECK(strcmp(text, "a?[31m??|?2J|?|\xc3\xa4????") == 0);
    vmae_display_text(text, 8, hostile);
    CHECK(strcmp(text, "a?[3...") == 0);
    vmae_fail(VMAE_EDATA, "%s", hostile);
    CHECK(strcmp(vmae_error(), cleaned) == 0);
    vmae_fail_in(VMAE_EDATA, "\x1b");
    CHECK(strncmp(vmae_error(), "?: a", 4) == 0);
}

TEST(the_tail_of_a_log_is_its_last_lines_cleaned)
{
    char path[600];
    snprintf(path, sizeof path, "%s/tail.txt", vmae_test_folder());
    CHECK(vmae_log_tail(path, 3) == NULL);
    static const char log[] = "one\ntwo\x1b[2J\nthree\n\n";
    CHECK_OK(vmae_write_file(path, log, strlen(log)));
    char *tail = vmae_log_tail(path, 2);
    CHECK(tail && strcmp(tail, "two?[2J\nthree") == 0);
    free(tail);
    tail = vmae_log_tail(path, 20);
    CHECK(tail && strcmp(tail, "one\ntwo?[2J\nthree") == 0);
    free(tail);
    tail = vmae_log_tail_from(path, (int64_t)strlen("one\ntwo"), 20);
    CHECK(tail && strcmp(tail, "?[2J\nthree") == 0);
    free(tail);
    CHECK(vmae_log_tail_from(path, (int64_t)strlen(log), 20) == NULL);
    CHECK(vmae_log_tail_from(path, 1000, 20) == NULL);
}
