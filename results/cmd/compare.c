/* compare.c -- vicmae-results compare: which setting won, by how much, and is it noise? */
#include "results/cmd/cmd.h"
#include "results/metric_kinds.h"
#include "results/settings.h"
#include "results/stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RUNS_MAX = 512, GROUPS_MAX = 26 };

typedef struct compare_options {
    char *metrics; /* cut in place */
    bool only, best;
} compare_options;

static const struct argp_option options[] = {
    { "metric", 'm', "NAMES", 0, "compare these metrics (default: top1 and top5, or else the loss)", 0 },
    { "best", 'b', NULL, 0, "each run's best value instead of its last", 0 },
    { "only", 'o', NULL, 0,
      "only the runs named: do not add finished runs that differ from them by nothing but the seed", 0 },
    { 0 },
};

static error_t on_option(int key, char *arg, struct argp_state *state)
{
    compare_options *compare = state->input;
    switch (key) {
    case 'm': compare->metrics = arg; return 0;
    case 'b': compare->best = true; return 0;
    case 'o': compare->only = true; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

typedef struct member {
    int64_t run, seed;
    size_t seeds; /* which of comparison.seeds */
} member;

typedef struct group {
    vmae_settings settings;
    const char *protocol;
    member *members;
    size_t count, room;
} group;

typedef struct comparison {
    vmae_store *store;
    vmae_arena *arena;
    group groups[GROUPS_MAX];
    size_t count;
    size_t added;       /* runs that were not named */
    const char **seeds; /* every seed there is, with those of parents where they differ: what is paired */
    size_t seed_count, seed_room;
} comparison;

static vmae_status find_or_add_seeds(comparison *c, const char *seeds, size_t *which)
{
    for (*which = 0; *which < c->seed_count; ++*which)
        if (strcmp(c->seeds[*which], seeds) == 0)
            return VMAE_OK;
    if (c->seed_count == c->seed_room) {
        c->seed_room = c->seed_room ? c->seed_room * 2 : 16;
        const char **more = vmae_arena_calloc(c->arena, c->seed_room, sizeof *more);
        if (!more)
            return VMAE_ENOMEM;
        if (c->seed_count)
            memcpy(more, c->seeds, c->seed_count * sizeof *more);
        c->seeds = more;
    }
    const char *copy = vmae_arena_strdup(c->arena, seeds);
    if (!copy)
        return VMAE_ENOMEM;
    c->seeds[c->seed_count++] = copy;
    return VMAE_OK;
}

static vmae_status add_member(comparison *c, group *to, int64_t run, int64_t seed, const char *seeds)
{
    size_t which;
    VMAE_TRY(find_or_add_seeds(c, seeds, &which));
    for (size_t i = 0; i < to->count; i++)
        if (to->members[i].run == run)
            return VMAE_OK;
    if (to->count == to->room) {
        to->room = to->room ? to->room * 2 : 16;
        member *members = vmae_arena_calloc(c->arena, to->room, sizeof *members);
        if (!members)
            return VMAE_ENOMEM;
        if (to->count)
            memcpy(members, to->members, to->count * sizeof *members);
        to->members = members;
    }
    to->members[to->count++] = (member){ run, seed, which };
    return VMAE_OK;
}

static vmae_status add_named(comparison *c, int64_t run)
{
    vmae_settings settings;
    sqlite3_stmt *row = NULL;
    bool found = false;
    VMAE_TRY(vmae_settings_load(&settings, c->store, run, c->arena));
    VMAE_TRY(vmae_sql_query(c->store, &row, "SELECT protocol, coalesce(seed, 0) FROM runs WHERE id = ?", "i", run));
    vmae_status st = vmae_sql_step(c->store, row, &found);
    const char *protocol = vmae_arena_strdup(c->arena, vmae_sql_text(row, 0));
    const int64_t seed = sqlite3_column_int64(row, 1);
    sqlite3_finalize(row);
    VMAE_TRY(st);
    if (!protocol)
        return VMAE_ENOMEM;
    size_t i = 0;
    while (i < c->count && !vmae_settings_equal(&c->groups[i].settings, &settings))
        i++;
    if (i == c->count) {
        if (c->count == GROUPS_MAX)
            return vmae_fail(VMAE_EUSER, "at most %d settings can be compared at once", GROUPS_MAX);
        c->groups[c->count++] = (group){ .settings = settings, .protocol = protocol };
    }
    return add_member(c, &c->groups[i], run, seed, settings.seeds);
}

/* Finished runs that might be of the same settings: the first setting of its own that differs rules a run out quickly.
 */
static const char others_sql[] =
    "SELECT r.id, coalesce(r.seed, 0) FROM runs AS r WHERE r.protocol = ?1 AND r.status = 'done' AND NOT EXISTS ("
    "SELECT 1 FROM config AS mine WHERE mine.run = ?2 AND mine.speed_only = 0 "
    "AND mine.key NOT IN ('seed', 'checkpoint', 'parent') AND mine.value IS NOT (SELECT value FROM config AS other "
    "WHERE other.run = r.id AND other.key = mine.key)) "
    "ORDER BY r.id";

static vmae_status add_other_seeds_of(comparison *c, group *to)
{
    sqlite3_stmt *rows = NULL;
    bool row;
    VMAE_TRY(vmae_sql_query(c->store, &rows, others_sql, "ti", to->protocol, to->members[0].run));
    vmae_status st;
    while ((st = vmae_sql_step(c->store, rows, &row)) == VMAE_OK && row) {
        vmae_settings settings;
        vmae_arena *scratch = vmae_arena_new();
        const size_t before = to->count;
        st = scratch ? vmae_settings_load(&settings, c->store, sqlite3_column_int64(rows, 0), scratch) : VMAE_ENOMEM;
        if (st == VMAE_OK && vmae_settings_equal(&settings, &to->settings))
            st = add_member(c, to, sqlite3_column_int64(rows, 0), sqlite3_column_int64(rows, 1), settings.seeds);
        c->added += to->count - before;
        vmae_arena_free(scratch);
        if (st != VMAE_OK)
            break;
    }
    sqlite3_finalize(rows);
    return st;
}

/* Finished runs of the same protocol whose settings are those of a group. */
static vmae_status add_other_seeds(comparison *c)
{
    for (size_t i = 0; i < c->count; i++)
        VMAE_TRY(add_other_seeds_of(c, &c->groups[i]));
    return VMAE_OK;
}

static int by_seed(const void *a, const void *b)
{
    const member *x = a, *y = b;
    if (x->seed != y->seed)
        return x->seed < y->seed ? -1 : 1;
    return x->seeds != y->seeds ? (x->seeds < y->seeds ? -1 : 1) : (x->run > y->run) - (x->run < y->run);
}

/* Every group in the order of its seeds, each of them once: two runs of a seed would count twice what chance did once.
 */
static vmae_status sort_seeds(comparison *c)
{
    for (size_t g = 0; g < c->count; g++) {
        const member *members = c->groups[g].members;
        qsort(c->groups[g].members, c->groups[g].count, sizeof(member), by_seed);
        for (size_t i = 1; i < c->groups[g].count; i++)
            if (members[i].seeds == members[i - 1].seeds)
                return vmae_fail(
                    VMAE_EUSER,
                    "runs %lld and %lld have the same settings, data and seed (%s), so only one of them can "
                    "count (were they made by different versions?); name it, and use --only",
                    (long long)members[i - 1].run, (long long)members[i].run, c->seeds[members[i].seeds]);
    }
    return VMAE_OK;
}

/* "data.sampling=distant data.delta=8": what tells this setting from the others. */
static char *describe(const comparison *c, size_t which)
{
    char *text = vmae_strdup("");
    const vmae_settings *mine = &c->groups[which].settings;
    for (size_t i = 0; text && i < mine->count; i++) {
        const char *equals = strchr(mine->lines[i], '=');
        const size_t name = (size_t)(equals - mine->lines[i]);
        bool differs = false;
        for (size_t g = 0; g < c->count && !differs; g++) {
            const char *other = vmae_settings_value(&c->groups[g].settings, mine->lines[i], name);
            differs = !other || strcmp(other, equals + 1) != 0;
        }
        if (differs) {
            char *longer = vmae_format("%s%s%s", text, *text ? " " : "", mine->lines[i]);
            free(text);
            text = longer;
        }
    }
    return text;
}

typedef struct numbers {
    double values[RUNS_MAX];
    int64_t seeds[RUNS_MAX];
    size_t n;
} numbers;

static vmae_status collect(comparison *c, const group *from, const char *metric, bool best, numbers *result)
{
    result->n = 0;
    for (size_t i = 0; i < from->count && result->n < RUNS_MAX; i++) {
        sqlite3_stmt *row = NULL;
        bool found = false;
        VMAE_TRY(vmae_sql_query(c->store, &row,
                                "SELECT s.last, s.best FROM summaries AS s JOIN metric_names AS n ON n.id = s.metric "
                                "WHERE s.run = ? AND n.name = ?",
                                "it", from->members[i].run, metric));
        const vmae_status st = vmae_sql_step(c->store, row, &found);
        const int column = best ? 1 : 0;
        if (st == VMAE_OK && found && sqlite3_column_type(row, column) != SQLITE_NULL) {
            result->seeds[result->n] = (int64_t)from->members[i].seeds;
            result->values[result->n++] = sqlite3_column_double(row, column);
        }
        sqlite3_finalize(row);
        VMAE_TRY(st);
    }
    return VMAE_OK;
}

static vmae_sample sample_of(const numbers *from)
{
    return (vmae_sample){ from->values, from->seeds, from->n };
}

/* What a row says beyond its own numbers: `difference` is NULL for the reference and where a side has no numbers. */
static void add_difference(vmae_listing *listing, const vmae_metric_kind *kind, const vmae_difference *difference)
{
    const double unit = kind->percent ? 100.0 : 1.0;
    const char *verdict = vmae_difference_verdict(difference);
    const double edges[] = { difference->difference, difference->low, difference->high };
    char text[96];
    for (int i = 0; i < 3; i++) {
        snprintf(text, sizeof text, "%+.*f", kind->percent ? 2 : 5, edges[i] * unit);
        vmae_listing_number_as(listing, edges[i], isnan(edges[i]) ? NULL : text);
    }
    vmae_listing_number(listing, difference->p_holm, -1);
    if (strcmp(verdict, "real") == 0 && kind->direction)
        vmae_listing_format_text(listing, "real: %s",
                                 (difference->difference > 0.0) == (kind->direction[1] == 'a') ? "better" : "worse");
    else
        vmae_listing_text(listing, verdict);
    vmae_listing_text(listing, isnan(difference->p) ? NULL : difference->paired ? "paired by seed" : "Welch");
}

static void add_row(vmae_listing *listing, const char *metric, char letter, const char *settings, const numbers *own,
                    const vmae_difference *difference)
{
    const vmae_metric_kind *kind = vmae_metric_kind_of(metric);
    const double unit = kind->percent ? 100.0 : 1.0;
    const int digits = kind->percent ? 2 : 5;
    double mean, std;
    char text[96];
    vmae_mean_std(own->values, own->n, &mean, &std);
    vmae_listing_text(listing, metric);
    vmae_listing_format_text(listing, "%c", letter);
    snprintf(text, sizeof text, "%.*f%s", digits, mean * unit, kind->percent ? " %" : "");
    vmae_listing_number_as(listing, mean, own->n ? text : "no numbers");
    snprintf(text, sizeof text, "%.*f", digits, std * unit);
    vmae_listing_number_as(listing, std, isnan(std) ? NULL : text);
    vmae_listing_integer(listing, (int64_t)own->n);
    if (difference) {
        add_difference(listing, kind, difference);
    } else {
        for (int i = 0; i < 4; i++)
            vmae_listing_empty(listing);
        vmae_listing_text(listing, letter == 'A' ? "reference" : NULL);
        vmae_listing_text(listing, NULL);
    }
    vmae_listing_text(listing, settings);
}

/* top1 and top5 if any run has them, else knn_top1, else the loss. */
static vmae_status default_metrics(comparison *c, cmd_words *metrics)
{
    static const char *const candidates[] = { "top1", "top5", "knn_top1", "loss" };
    static numbers some;
    metrics->count = 0;
    for (size_t i = 0; i < 4 && (i < 2 || metrics->count == 0); i++) {
        bool any = false;
        for (size_t g = 0; g < c->count && !any; g++) {
            VMAE_TRY(collect(c, &c->groups[g], candidates[i], false, &some));
            any = some.n > 0;
        }
        if (any)
            metrics->at[metrics->count++] = candidates[i];
    }
    return VMAE_OK;
}

/* One metric: every setting with numbers against the first, which was chosen before the numbers were seen. */
static vmae_status compare_metric(comparison *c, const char *metric, bool best, vmae_listing *listing)
{
    static numbers own[GROUPS_MAX];
    vmae_difference differences[GROUPS_MAX];
    size_t count = 0;
    for (size_t g = 0; g < c->count; g++)
        VMAE_TRY(collect(c, &c->groups[g], metric, best, &own[g]));
    const vmae_sample reference = sample_of(&own[0]);
    for (size_t g = 1; g < c->count && reference.n > 0; g++) {
        const vmae_sample sample = sample_of(&own[g]);
        if (sample.n > 0)
            differences[count++] = vmae_sample_difference(&reference, &sample);
    }
    vmae_holm(differences, count, count);
    for (size_t g = 0, i = 0; g < c->count; g++) {
        const bool held = g > 0 && reference.n > 0 && own[g].n > 0;
        char *settings = describe(c, g);
        if (!settings)
            return VMAE_ENOMEM;
        add_row(listing, metric, (char)('A' + g), settings, &own[g], held ? &differences[i++] : NULL);
        free(settings);
    }
    return VMAE_OK;
}

/* Below the listing: which runs each letter stands for, and what was tested. */
static void explain(const comparison *c, vmae_listing *listing)
{
    enum { SHOWN = 20 };
    for (size_t g = 0; g < c->count; g++) {
        char text[2048];
        size_t used = 0;
        for (size_t i = 0; i < c->groups[g].count && i < SHOWN && used < sizeof text; i++)
            used += (size_t)snprintf(text + used, sizeof text - used, " %lld (seed %s)",
                                     (long long)c->groups[g].members[i].run, c->seeds[c->groups[g].members[i].seeds]);
        vmae_listing_note(listing, "%c: run%s%s%s", (int)('A' + g), c->groups[g].count == 1 ? "" : "s", text,
                          c->groups[g].count > SHOWN ? " ..." : "");
    }
    if (c->added)
        vmae_listing_note(listing,
                          "%zu finished run%s with the same settings and other seeds added; --only leaves them out.",
                          c->added, c->added == 1 ? "" : "s");
    if (c->count == 1)
        vmae_listing_note(listing, "These runs differ by nothing but the seed: there is nothing to compare.");
    else
        vmae_listing_note(listing, "low and high: 95%% interval of each difference alone. p and the verdict (at 5%%): "
                                   "Student's t, with Holm's correction over the settings held against A.");
}

static vmae_status compare_settings(comparison *c, const compare_options *given, vmae_listing *listing)
{
    static const char *const columns[] = { "metric", "setting", "mean", "std",     "n",    "to A",
                                           "low",    "high",    "p",    "verdict", "test", "what differs" };
    cmd_words metrics;
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
        vmae_listing_column(listing, columns[i]);
    if (given->metrics) {
        VMAE_TRY(cmd_split(&metrics, given->metrics));
        VMAE_TRY(cmd_check_names(c->store, "no run has measured", &metrics, cmd_metrics_sql));
    } else {
        VMAE_TRY(default_metrics(c, &metrics));
    }
    for (size_t m = 0; m < metrics.count; m++)
        VMAE_TRY(compare_metric(c, metrics.at[m], given->best, listing));
    explain(c, listing);
    return VMAE_OK;
}

static vmae_status compare_named(comparison *c, const cmd_context *context, vmae_listing *listing)
{
    const compare_options *given = context->input;
    for (int i = 0; i < context->count; i++) {
        vmae_stored_run run;
        VMAE_TRY(vmae_run_find(c->store, context->words[i], &run));
        VMAE_TRY(add_named(c, run.id));
    }
    if (!given->only)
        VMAE_TRY(add_other_seeds(c));
    VMAE_TRY(sort_seeds(c));
    return compare_settings(c, given, listing);
}

static vmae_status compare_runs(cmd_context *context, vmae_listing *listing)
{
    static comparison c; /* too large for the stack */
    c = (comparison){ .store = context->store, .arena = vmae_arena_new() };
    const vmae_status st = c.arena ? compare_named(&c, context, listing) : VMAE_ENOMEM;
    vmae_arena_free(c.arena);
    return st;
}

const cmd cmd_compare = {
    .name = "compare",
    .summary = "which setting won, by how much, and is it noise?",
    .args = "RUN...",
    .doc = "Which setting won, by how much, and is it noise? Runs that differ by nothing but the seed are one setting; "
           "finished runs of the same settings and data with other seeds are added. Every setting is held against the "
           "first: mean difference with its 95% interval, paired by seed where both have the same seeds (else Welch's "
           "test), verdict with Holm's correction where there are several."
           "\vExamples:\n  vicmae-results compare 12 15\n"
           "  vicmae-results compare 12 15 18 --metric knn_top1 --best --json",
    .options = options,
    .on_option = on_option,
    .input_size = sizeof(compare_options),
    .uses = CMD_STORE | CMD_FORMAT | CMD_LISTING,
    .least = 1,
    .most = RUNS_MAX,
    .empty = "none of these runs has measured anything to compare; say what with --metric",
    .run = compare_runs,
};
