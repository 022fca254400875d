/* test_journal.c -- what is written is read; what is torn is cut; what is damaged is refused; failed writes leave no
 * trace. */
#include "engine/core/fs.h"
#include "engine/core/journal.h"
#include "engine/core/log.h"
#include "engine/core/mem.h"
#include "tests/test.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

static const char *at(const char *name)
{
    static char paths[2][600];
    static int turn;
    char *path = paths[turn++ % 2];
    snprintf(path, sizeof paths[0], "%s/%s", vmae_test_folder(), name);
    return path;
}

typedef struct bytes {
    uint8_t *data;
    size_t count;
} bytes;

static bytes load(const char *path)
{
    bytes file = { NULL, 0 };
    CHECK_OK(vmae_read_file(path, 1 << 24, (char **)&file.data, &file.count));
    return file;
}

static const char attempt_1[] = "{\"type\":\"attempt\",\"attempt\":1}";

/* Two attempts: an event, three steps of metrics, an event. */
static vmae_status write_sample(const char *path)
{
    vmae_journal *journal;
    VMAE_TRY(vmae_journal_open(&journal, path));
    vmae_status st = vmae_journal_event(journal, attempt_1);
    for (int64_t step = 1; st == VMAE_OK && step <= 3; step++) {
        const vmae_metric metrics[] = { { "loss", 1.0 / (double)step },
                                        { "lr", 1e-4 },
                                        { step == 3 ? "top1" : "lr2", NAN } };
        st = vmae_journal_metrics(journal, step, metrics, 3);
    }
    if (st == VMAE_OK)
        st = vmae_journal_event(journal, "{ \"type\": \"end\", \"status\": \"done\" }");
    const vmae_status closed = vmae_journal_close(journal);
    return st == VMAE_OK ? closed : st;
}

/* Ends of all whole records in the bytes; the status of the last call and whether a torn end was seen. */
static size_t read_all(const uint8_t *data, size_t count, uint64_t *ends, size_t room, vmae_status *st, bool *torn)
{
    uint64_t offset = 0;
    size_t records = 0;
    bool found = true;
    *torn = false;
    while (found) {
        vmae_record record;
        *st = vmae_journal_next(data, count, &offset, &record, &found, torn);
        if (*st != VMAE_OK || !found)
            return records;
        if (records < room)
            ends[records] = record.end;
        records++;
    }
    return records;
}

TEST(journal_is_read_as_it_was_written)
{
    vmae_record record;
    bool found, torn;
    uint64_t offset = 0;
    char kinds[32] = "";
    REQUIRE_OK(write_sample(at("sample")));
    bytes file = load(at("sample"));
    CHECK(file.count > 8 && memcmp(file.data, "VMAEJNL1", 8) == 0);
    while (vmae_journal_next(file.data, file.count, &offset, &record, &found, &torn) == VMAE_OK && found) {
        strncat(kinds, &record.kind, 1);
        CHECK_EQ(record.end, offset);
        if (record.kind == 'M') {
            uint32_t id;
            double value;
            CHECK_EQ(record.count, 3);
            vmae_record_metric(&record, 0, &id, &value);
            CHECK(id == 0 && value == 1.0 / (double)record.step);
            vmae_record_metric(&record, 2, &id, &value);
            CHECK_EQ(id, record.step == 3 ? 3 : 2);
            CHECK(isnan(value));
            CHECK(fabs(record.wall_seconds - vmae_wall_seconds()) < 60.0);
        } else if (record.kind == 'N' && record.id == 3) {
            CHECK(record.text_count == 4 && memcmp(record.text, "top1", 4) == 0);
        } else if (record.kind == 'E' && record.offset == 8) {
            CHECK(record.text_count == strlen(attempt_1) && memcmp(record.text, attempt_1, record.text_count) == 0);
        }
    }
    CHECK(strcmp(kinds, "ENNNMMNME") == 0);
    CHECK(!torn && offset == file.count);
    free(file.data);
}

TEST(journal_layout_is_that_of_the_header_file)
{
    vmae_journal *journal;
    const vmae_metric metric = { "x", INFINITY };
    REQUIRE_OK(vmae_journal_open(&journal, at("layout")));
    CHECK_OK(vmae_journal_metrics(journal, -5, &metric, 1));
    CHECK_OK(vmae_journal_close(journal));
    bytes file = load(at("layout"));
    REQUIRE(file.count == 8 + (8 + 6) + (8 + 33));
    static const uint8_t name[] = { 6, 0, 0, 0 }, payload[] = { 'N', 0, 0, 0, 0, 'x' };
    CHECK(memcmp(file.data + 8, name, 4) == 0 && memcmp(file.data + 16, payload, 6) == 0);
    const uint32_t crc = (uint32_t)crc32(0, payload, 6);
    CHECK(memcmp(file.data + 12, &crc, 4) == 0);
    const uint8_t *m = file.data + 30;
    int64_t step;
    double value;
    memcpy(&step, m + 1, 8);
    memcpy(&value, m + 25, 8);
    CHECK(m[0] == 'M' && step == -5 && m[17] == 1 && value == INFINITY);
    free(file.data);
}

TEST(journal_goes_on_where_it_ended)
{
    vmae_journal *journal;
    uint64_t ends[32];
    vmae_status st;
    bool torn;
    REQUIRE_OK(write_sample(at("resumed")));
    REQUIRE_OK(vmae_journal_open(&journal, at("resumed")));
    CHECK_EQ(vmae_journal_attempts(journal), 1);
    CHECK_OK(vmae_journal_event(journal, "{\"type\":\"attempt\",\"attempt\":2}"));
    const vmae_metric metrics[] = { { "lr", 2.0 }, { "new", 3.0 } };
    CHECK_OK(vmae_journal_metrics(journal, 4, metrics, 2));
    CHECK_OK(vmae_journal_close(journal));
    bytes file = load(at("resumed"));
    CHECK_EQ(read_all(file.data, file.count, ends, 32, &st, &torn), 12); /* 9, and E N M: "lr" keeps its id */
    CHECK(st == VMAE_OK && !torn);
    free(file.data);
    REQUIRE_OK(vmae_journal_open(&journal, at("resumed")));
    CHECK_EQ(vmae_journal_attempts(journal), 2);
    CHECK_OK(vmae_journal_close(journal));
    CHECK_OK(vmae_journal_close(NULL));
}

TEST(journal_cut_anywhere_keeps_all_whole_records_and_can_be_appended)
{
    uint64_t ends[32], again[32];
    vmae_status st;
    bool torn;
    const vmae_metric metric = { "loss", 7.0 };
    REQUIRE_OK(write_sample(at("whole")));
    bytes file = load(at("whole"));
    const size_t records = read_all(file.data, file.count, ends, 32, &st, &torn);
    REQUIRE(records == 9);
    for (size_t cut = 0; cut <= file.count; cut++) {
        size_t whole = 0;
        while (whole < records && ends[whole] <= cut)
            whole++;
        uint8_t *exact = malloc(cut ? cut : 1); /* so that a sanitizer sees a read past the end */
        memcpy(exact, file.data, cut);
        const size_t seen = read_all(exact, cut, again, 32, &st, &torn);
        const bool on_edge = cut == 0 || cut == 8 || (whole && ends[whole - 1] == cut);
        if (!(st == VMAE_OK && seen == whole && torn == !on_edge))
            vmae_check(false, __FILE__, __LINE__, "cut at %zu: %zu of %zu records, torn %d: %s", cut, seen, whole, torn,
                       st ? vmae_error() : "ok");
        free(exact);
    }
    vmae_log_level(VMAE_ERROR); /* each opening would warn */
    for (size_t cut = 0; cut <= file.count; cut += cut < ends[2] || cut > ends[6] ? 1 : 7) {
        vmae_journal *journal;
        size_t whole = 0;
        while (whole < records && ends[whole] <= cut)
            whole++;
        CHECK_OK(vmae_write_file(at("cut"), file.data, cut));
        REQUIRE_OK(vmae_journal_open(&journal, at("cut")));
        CHECK_EQ(vmae_journal_attempts(journal), whole ? 1 : 0);
        CHECK_OK(vmae_journal_metrics(journal, 9, &metric, 1));
        CHECK_OK(vmae_journal_close(journal));
        bytes appended = load(at("cut"));
        const size_t seen = read_all(appended.data, appended.count, again, 32, &st, &torn);
        CHECK(st == VMAE_OK && !torn);
        CHECK_EQ(seen, whole + 1 + (whole < 2)); /* the name anew if its record was cut */
        free(appended.data);
    }
    vmae_log_level(VMAE_INFO);
    free(file.data);
}

TEST(journal_with_any_flipped_byte_never_gives_a_wrong_record)
{
    uint64_t ends[32], again[32];
    vmae_status st;
    bool torn;
    REQUIRE_OK(write_sample(at("flips")));
    bytes file = load(at("flips"));
    const size_t records = read_all(file.data, file.count, ends, 32, &st, &torn);
    REQUIRE(records == 9);
    for (size_t i = 0; i < file.count; i++) {
        for (int bit = 0; bit < 8; bit++) {
            file.data[i] ^= (uint8_t)(1 << bit);
            size_t hit = 0;
            while (hit < records && ends[hit] <= i)
                hit++;
            const size_t seen = read_all(file.data, file.count, again, 32, &st, &torn);
            /* The record that was hit is never given. In the last one it looks like a torn end; elsewhere it is damage.
             */
            const bool last = i >= ends[records - 2];
            const size_t before = i < 8 ? 0 : hit;
            if (!(seen == before && (last ? st == VMAE_OK && torn : st == VMAE_EDATA)))
                vmae_check(false, __FILE__, __LINE__, "byte %zu bit %d: %zu records, status %d, torn %d", i, bit, seen,
                           st, torn);
            file.data[i] ^= (uint8_t)(1 << bit);
        }
    }
    file.data[ends[3] + 10] ^= 1;
    CHECK_OK(vmae_write_file(at("damaged"), file.data, file.count));
    vmae_journal *journal = NULL;
    char place[64];
    snprintf(place, sizeof place, "damaged: byte %llu: a record has a wrong checksum", (unsigned long long)ends[3]);
    CHECK_FAILS(vmae_journal_open(&journal, at("damaged")), VMAE_EDATA, place);
    CHECK(journal == NULL);
    bytes after = load(at("damaged"));
    CHECK(after.count == file.count && memcmp(after.data, file.data, after.count) == 0); /* nothing was cut */
    free(after.data);
    free(file.data);
}

TEST(journal_tail_of_zeros_is_torn)
{
    vmae_journal *journal;
    uint64_t ends[32];
    vmae_status st;
    bool torn;
    REQUIRE_OK(write_sample(at("zeros")));
    bytes file = load(at("zeros"));
    uint8_t *longer = vmae_calloc(file.count + 4096, 1); /* a file system that had grown the file, but not written it */
    REQUIRE(longer);
    memcpy(longer, file.data, file.count);
    CHECK_EQ(read_all(longer, file.count + 4096, ends, 32, &st, &torn), 9);
    CHECK(st == VMAE_OK && torn);
    CHECK_OK(vmae_write_file(at("zeros"), longer, file.count + 4096));
    vmae_log_level(VMAE_ERROR);
    REQUIRE_OK(vmae_journal_open(&journal, at("zeros")));
    vmae_log_level(VMAE_INFO);
    CHECK_OK(vmae_journal_close(journal));
    bytes cut = load(at("zeros"));
    CHECK_EQ(cut.count, file.count);
    free(cut.data);
    free(longer);
    free(file.data);
}

/* Appends one record with a right checksum. */
static size_t add_record(uint8_t *to, size_t used, const void *payload, size_t count)
{
    const uint32_t length = (uint32_t)count, crc = (uint32_t)crc32(0, payload, (uInt)count);
    memcpy(to + used, &length, 4);
    memcpy(to + used + 4, &crc, 4);
    memcpy(to + used + 8, payload, count);
    return used + 8 + count;
}

TEST(journal_records_that_lie_are_refused_in_spite_of_their_checksum)
{
    uint8_t metrics[21 + 12] = "M", many[21] = "M", high[21 + 12] = "M";
    metrics[17] = 2; /* says two, holds one */
    memset(many + 17, 0xff, 4);
    high[17] = 1;
    high[21] = 9; /* an id that no record names */
    const struct {
        const void *payload;
        size_t count;
        const char *said;
    } cases[] = {
        { "X", 1, "unknown or impossible kind" },
        { "E", 1, "unknown or impossible kind" },
        { "E[]", 3, "unknown or impossible kind" },
        { "E{\0}", 4, "unknown or impossible kind" },
        { "E{x}", 4, "an event is not JSON" },
        { "N\0\0\0\0", 5, "unknown or impossible kind" },
        { "N\0\0\0\0a\0", 7, "impossible kind" },
        { "N\1\0\0\0a", 6, "metric name 1 out of order" },
        { metrics, sizeof metrics, "impossible kind" },
        { many, sizeof many, "impossible kind" },
        { metrics, 20, "impossible kind" },
        { high, sizeof high, "the id 9, which no record before it names" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t file[256] = "VMAEJNL1";
        vmae_journal *journal = NULL;
        const size_t count = add_record(file, 8, cases[i].payload, cases[i].count);
        CHECK_OK(vmae_write_file(at("lying"), file, count));
        CHECK_FAILS(vmae_journal_open(&journal, at("lying")), VMAE_EDATA, cases[i].said);
    }
    uint8_t twice[256] = "VMAEJNL1";
    vmae_journal *journal = NULL;
    const size_t count = add_record(twice, add_record(twice, 8, "N\0\0\0\0a", 6), "N\1\0\0\0a", 6);
    CHECK_OK(vmae_write_file(at("lying"), twice, count));
    CHECK_FAILS(vmae_journal_open(&journal, at("lying")), VMAE_EDATA, "metric name 1 out of order or twice");
    CHECK_OK(vmae_write_file(at("lying"), "PNG, not a journal", 18));
    CHECK_FAILS(vmae_journal_open(&journal, at("lying")), VMAE_EDATA, "not a journal");
    CHECK_OK(vmae_write_file(at("lying"), "VMX", 3));
    CHECK_FAILS(vmae_journal_open(&journal, at("lying")), VMAE_EDATA, "not a journal");
}

TEST(journal_takes_only_events_with_a_type_and_metrics_with_names)
{
    vmae_journal *journal;
    char endless[400];
    memset(endless, 'n', sizeof endless - 1);
    endless[sizeof endless - 1] = '\0';
    const vmae_metric nameless = { "", 1.0 }, long_name = { endless, 1.0 }, fine = { "fine", 1.0 };
    REQUIRE_OK(vmae_journal_open(&journal, at("strict")));
    CHECK_FAILS(vmae_journal_event(journal, "{"), VMAE_EINTERNAL, "must be a JSON object");
    CHECK_FAILS(vmae_journal_event(journal, "[]"), VMAE_EINTERNAL, "must be a JSON object");
    CHECK_FAILS(vmae_journal_event(journal, "{\"kind\": 1}"), VMAE_EINTERNAL, "with a \"type\"");
    CHECK_FAILS(vmae_journal_metrics(journal, 1, &nameless, 1), VMAE_EINTERNAL, "1 to 255 bytes, not 0");
    CHECK_FAILS(vmae_journal_metrics(journal, 1, &long_name, 1), VMAE_EINTERNAL, "not 399");
    CHECK_OK(vmae_journal_metrics(journal, 1, &fine, 1));
    CHECK_OK(vmae_journal_close(journal));
    REQUIRE_OK(vmae_journal_open(&journal, at("strict")));
    CHECK_OK(vmae_journal_close(journal));
}

TEST(journal_on_a_full_disk_fails_whole_and_goes_on_when_there_is_room)
{
    vmae_journal *journal;
    uint64_t ends[64];
    vmae_status st;
    bool torn;
    struct rlimit kept, tight;
    const vmae_metric metrics[] = { { "a_name_of_some_length", 1.0 }, { "another", 2.0 } };
    REQUIRE_OK(vmae_journal_open(&journal, at("full")));
    CHECK_OK(vmae_journal_metrics(journal, 1, metrics, 1));
    const bytes before = load(at("full"));
    getrlimit(RLIMIT_FSIZE, &kept);
    void (*const handler)(int) = signal(SIGXFSZ, SIG_IGN);
    for (rlim_t room = 0; room < 60; room += 7) { /* whatever part of the record still fits */
        tight = (struct rlimit){ .rlim_cur = before.count + room, .rlim_max = kept.rlim_max };
        setrlimit(RLIMIT_FSIZE, &tight);
        st = vmae_journal_metrics(journal, 2, metrics, 2);
        setrlimit(RLIMIT_FSIZE, &kept);
        CHECK_EQ(st, VMAE_EIO);
        CHECK_STR(vmae_error(), "full");
        const bytes after = load(at("full"));
        CHECK_EQ(after.count, before.count);
        free(after.data);
    }
    signal(SIGXFSZ, handler);
    CHECK_OK(vmae_journal_metrics(journal, 3, metrics, 2)); /* writes the second name: its first record was undone */
    CHECK_OK(vmae_journal_close(journal));
    bytes file = load(at("full"));
    CHECK_EQ(read_all(file.data, file.count, ends, 64, &st, &torn), 4);
    CHECK(st == VMAE_OK && !torn);
    free(file.data);
    free(before.data);
    REQUIRE_OK(vmae_journal_open(&journal, at("full")));
    CHECK_OK(vmae_journal_close(journal));
}

TEST(journal_of_a_killed_writer_has_every_record_it_acknowledged)
{
    for (int round = 0; round < 20; round++) {
        int acknowledged[2];
        REQUIRE(pipe(acknowledged) == 0);
        unlink(at("killed"));
        const pid_t child = fork();
        if (child == 0) {
            vmae_journal *journal;
            if (vmae_journal_open(&journal, at("killed")) != VMAE_OK)
                _exit(1);
            for (int64_t step = 1;; step++) {
                const vmae_metric metrics[] = { { "loss", 1.0 }, { "lr", 2.0 } };
                if (vmae_journal_metrics(journal, step, metrics, 2) != VMAE_OK ||
                    write(acknowledged[1], &step, sizeof step) != sizeof step)
                    _exit(1);
            }
        }
        close(acknowledged[1]);
        int64_t step = 0, last = 0;
        for (int i = 0; i < 20 + 37 * round && read(acknowledged[0], &step, sizeof step) == sizeof step; i++)
            last = step;
        kill(child, SIGKILL);
        while (read(acknowledged[0], &step, sizeof step) == sizeof step)
            last = step;
        close(acknowledged[0]);
        CHECK(waitpid(child, NULL, 0) == child);
        uint64_t offset = 0;
        int64_t seen = 0;
        bool found = true, torn;
        bytes file = load(at("killed"));
        while (found) {
            vmae_record record;
            REQUIRE_OK(vmae_journal_next(file.data, file.count, &offset, &record, &found, &torn));
            if (found && record.kind == 'M')
                CHECK_EQ(record.step, ++seen);
        }
        CHECK(last > 0 && seen >= last);
        free(file.data);
    }
}

TEST(journal_of_many_names_keeps_their_ids)
{
    enum { NAMES = 300 };
    static char names[NAMES][16];
    vmae_metric metrics[NAMES];
    vmae_journal *journal;
    for (int i = 0; i < NAMES; i++) {
        snprintf(names[i], sizeof names[i], "m%d", i * 7919);
        metrics[i] = (vmae_metric){ names[i], i };
    }
    for (int turn = 0; turn < 2; turn++) { /* the second time the ids come from the file */
        REQUIRE_OK(vmae_journal_open(&journal, at("many")));
        CHECK_OK(vmae_journal_metrics(journal, turn, metrics, NAMES));
        CHECK_OK(vmae_journal_close(journal));
    }
    bytes file = load(at("many"));
    uint64_t offset = 0;
    bool found = true, torn;
    int kinds[128] = { 0 };
    while (found) {
        vmae_record record;
        REQUIRE_OK(vmae_journal_next(file.data, file.count, &offset, &record, &found, &torn));
        if (!found)
            break;
        kinds[record.kind & 127]++;
        for (uint32_t i = 0; record.kind == 'M' && i < record.count; i++) {
            uint32_t id;
            double value;
            vmae_record_metric(&record, i, &id, &value);
            CHECK(id == i && value == (double)i);
        }
    }
    CHECK_EQ(kinds['N'], NAMES);
    CHECK_EQ(kinds['M'], 2);
    free(file.data);
}

TEST(journal_costs_microseconds_a_step)
{
    vmae_journal *journal;
    vmae_metric metrics[10];
    static const char *const names[] = { "a", "b", "c", "d", "e", "f", "g", "h", "i", "j" };
    for (int i = 0; i < 10; i++)
        metrics[i] = (vmae_metric){ names[i], i };
    REQUIRE_OK(vmae_journal_open(&journal, at("fast")));
    const double started = vmae_seconds();
    for (int64_t step = 0; step < 20000; step++)
        if (vmae_journal_metrics(journal, step, metrics, 10) != VMAE_OK) {
            CHECK(!"a write failed");
            break;
        }
    const double each = (vmae_seconds() - started) / 20000;
    printf("  %.2f us for a step of 10 metrics\n", 1e6 * each);
    CHECK(each < 200e-6); /* 40 times the goal: a loaded machine or a sanitizer must not fail the test */
    CHECK_OK(vmae_journal_close(journal));
}
