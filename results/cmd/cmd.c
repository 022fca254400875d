/* cmd.c -- from argv to exit code, for all commands. */
#include "results/cmd/cmd.h"

#include "engine/core/config.h"
#include "engine/core/fs.h"
#include "engine/core/log.h"
#include "engine/core/mem.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEY_ROOT = 'r', KEY_DB = 'd', KEY_FORMAT = 'f', KEY_NO_INGEST = 0x1000, KEY_SHORT };

/* ---- options that commands share ---- */

static const struct argp_option where_options[] = {
    { NULL, 0, NULL, 0, "Where the results are:", 1 },
    { "root", KEY_ROOT, "DIR", 0, "folder of the runs (default: runs)", 1 },
    { "runs", 0, NULL, OPTION_ALIAS | OPTION_HIDDEN, NULL, 1 }, /* its name until --root was one for all programs */
    { "db", KEY_DB, "FILE", 0,
      "results database (default: results.db in the folder of the runs; without --root it is shown as it is)", 1 },
    { "no-ingest", KEY_NO_INGEST, NULL, 0, "show what the database holds, without looking for news in the runs folder",
      1 },
    { 0 },
};

static error_t on_where(int key, char *arg, struct argp_state *state)
{
    cmd_context *context = state->input;
    switch (key) {
    case KEY_ROOT: context->root = arg; return 0;
    case KEY_DB: context->db = arg; return 0;
    case KEY_NO_INGEST: context->no_ingest = true; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option format_options[] = {
    { NULL, 0, NULL, 0, "Output:", 2 },
    { "format", KEY_FORMAT, "FORMAT", 0, "text, md, latex, csv (with a heading) or json (an array of objects)", 2 },
    { "md", KEY_SHORT + VMAE_TABLE_MARKDOWN, NULL, 0, "short for --format md", 2 },
    { "latex", KEY_SHORT + VMAE_TABLE_LATEX, NULL, 0, "short for --format latex", 2 },
    { "csv", KEY_SHORT + VMAE_TABLE_CSV, NULL, 0, "short for --format csv", 2 },
    { "json", KEY_SHORT + VMAE_TABLE_JSON, NULL, 0, "short for --format json", 2 },
    { 0 },
};

static error_t on_format(int key, char *arg, struct argp_state *state)
{
    cmd_context *context = state->input;
    if (key == KEY_FORMAT) {
        if (vmae_table_format_by_name(&context->format, arg) != VMAE_OK)
            argp_error(state, "%s", vmae_error());
        return 0;
    }
    if (key < KEY_SHORT || key > KEY_SHORT + VMAE_TABLE_JSON)
        return ARGP_ERR_UNKNOWN;
    context->format = (vmae_table_format)(key - KEY_SHORT);
    return 0;
}

/* ---- parsing ---- */

typedef struct parse {
    const cmd *command;
    cmd_context *context;
    void *inputs[3]; /* of the children */
} parse;

static error_t on_word(int key, char *arg, struct argp_state *state)
{
    parse *p = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        for (int i = 0; state->root_argp->children[i].argp; i++)
            state->child_inputs[i] = p->inputs[i];
        return 0;
    case ARGP_KEY_ARG:
        if (p->context->count == p->command->most)
            argp_error(state, "%s is one word too many", arg);
        p->context->words[p->context->count++] = arg;
        return 0;
    case ARGP_KEY_END:
        if (p->context->count < p->command->least)
            argp_error(state, "it needs %s", p->command->args);
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static void parse_command(const cmd *command, cmd_context *context, int argc, char **argv)
{
    static const struct argp where = { .options = where_options, .parser = on_where };
    static const struct argp format = { .options = format_options, .parser = on_format };
    const struct argp own = { .options = command->options, .parser = command->on_option };
    struct argp_child children[4] = { 0 };
    parse p = { .command = command, .context = context };
    int n = 0;
    if (command->options) {
        p.inputs[n] = context->input;
        children[n++].argp = &own;
    }
    if (command->uses & CMD_STORE) {
        p.inputs[n] = context;
        children[n++].argp = &where;
    }
    if (command->uses & CMD_FORMAT) {
        p.inputs[n] = context;
        children[n++].argp = &format;
    }
    const struct argp all = { NULL, on_word, command->args, command->doc, children, NULL, NULL };
    argp_parse(&all, argc, argv, 0, NULL, &p); /* exits on a wrong option, with argp_err_exit_status */
}

/* ---- the database ---- */

/* A database alone is only read: what lies in ./runs need not be its runs. */
static vmae_status open_store(const cmd *command, cmd_context *context)
{
    const char *root = context->root || context->db ? context->root : "runs";
    char *path = context->db ? vmae_strdup(context->db) : vmae_path_join(root, "results.db");
    if (!path)
        return VMAE_ENOMEM;
    const bool writes = (command->uses & CMD_WRITES) != 0;
    const bool ingest = !writes && !context->no_ingest && root && vmae_path_is_folder(root);
    vmae_status st = VMAE_OK;
    if (!writes && !ingest && !vmae_path_exists(path) && strncmp(path, "file:", 5) != 0)
        st = vmae_fail(VMAE_EUSER, "there are no results: no %s%s%s; say where with --root or --db",
                       root ? "runs folder " : "database ", root ? root : path, root ? " and no database in it" : "");
    if (st == VMAE_OK)
        st = vmae_store_open(&context->store, path, writes || ingest ? VMAE_STORE_UPDATE : VMAE_STORE_READ);
    free(path);
    if (st == VMAE_OK && ingest && !vmae_store_read_only(context->store) &&
        vmae_store_ingest(context->store, root, NULL) != VMAE_OK)
        log_warn("showing what was known before: %s",
                 vmae_error()); /* disk full, or somebody writes for long: old numbers are better than none */
    return st;
}

/* ---- the whole ---- */

static vmae_status run(const cmd *command, cmd_context *context)
{
    vmae_listing *listing = NULL;
    vmae_status st = command->uses & CMD_STORE ? open_store(command, context) : VMAE_OK;
    if (st == VMAE_OK && (command->uses & CMD_LISTING) && !(listing = vmae_listing_new()))
        st = VMAE_ENOMEM;
    if (st == VMAE_OK)
        st = command->run(context, listing);
    if (st == VMAE_OK && listing) {
        const bool empty = vmae_listing_rows(listing) == 0;
        if (empty && command->empty && context->format == VMAE_TABLE_TEXT)
            fprintf(command->uses & CMD_MAY_BE_EMPTY ? stdout : stderr, "%s\n", command->empty);
        else
            st = vmae_listing_print(listing, context->format, cmd_colours(), stdout);
        context->nothing = context->nothing || (empty && !(command->uses & CMD_MAY_BE_EMPTY));
    }
    vmae_listing_free(listing);
    vmae_store_close(context->store);
    return st;
}

int cmd_main(const cmd *command, int argc, char **argv)
{
    cmd_context context = { .format = command->format };
    vmae_status st = VMAE_ENOMEM;
    context.words = vmae_calloc((size_t)argc + 1, sizeof *context.words);
    context.input = vmae_calloc(1, command->input_size + 1);
    if (context.words && context.input) {
        parse_command(command, &context, argc, argv);
        st = run(command, &context);
    }
    if (st != VMAE_OK)
        fprintf(stderr, "%s: %s\n", program_invocation_short_name, vmae_error());
    free(context.words);
    free(context.input);
    return st != VMAE_OK ? vmae_exit_code(st) : context.nothing ? EXIT_NOTHING : 0;
}

/* ---- what commands use ---- */

vmae_status cmd_split(cmd_words *words, char *text)
{
    enum { MOST = sizeof words->at / sizeof *words->at };
    words->count = 0;
    for (char *word; (word = strsep(&text, ","));) {
        if (*word && words->count == MOST)
            return vmae_fail(VMAE_EUSER, "at most %d names can be given, and %s is one more", MOST, word);
        if (*word)
            words->at[words->count++] = word;
    }
    return VMAE_OK;
}

const char cmd_metrics_sql[] = "SELECT name FROM metric_names ORDER BY 1";

static vmae_status refuse_name(const char *sentence, const char *name, const char *const *names, size_t count,
                               vmae_arena *arena)
{
    enum { SHOWN = 20 };
    const char *nearest = vmae_nearest_name(name, names, count), *list = "";
    if (nearest)
        return vmae_fail(VMAE_EUSER, "%s %s; did you mean %s?", sentence, name, nearest);
    for (size_t i = 0; list && i < count && i < SHOWN; i++)
        list = vmae_arena_format(arena, "%s%s%s", list, i ? ", " : "", names[i]);
    return list ? vmae_fail(VMAE_EUSER, "%s %s; there is %s%s", sentence, name, list, count > SHOWN ? ", ..." : "")
                : VMAE_ENOMEM;
}

vmae_status cmd_check_name(vmae_store *store, const char *sentence, const char *name, const char *sql)
{
    enum { NAMES = 1024 };
    const char *names[NAMES];
    size_t count = 0;
    sqlite3_stmt *rows = NULL;
    bool row, known = false;
    vmae_arena *arena = vmae_arena_new();
    vmae_status st = arena ? vmae_sql_query(store, &rows, sql, NULL) : VMAE_ENOMEM;
    while (st == VMAE_OK && !known && (st = vmae_sql_step(store, rows, &row)) == VMAE_OK && row) {
        known = strcmp(vmae_sql_text(rows, 0), name) == 0;
        if (count < NAMES && (names[count] = vmae_arena_strdup(arena, vmae_sql_text(rows, 0))))
            count++;
    }
    if (st == VMAE_OK && !known && count > 0)
        st = refuse_name(sentence, name, names, count, arena);
    sqlite3_finalize(rows);
    vmae_arena_free(arena);
    return st;
}

vmae_status cmd_check_names(vmae_store *store, const char *sentence, const cmd_words *names, const char *sql)
{
    for (size_t i = 0; i < names->count; i++)
        VMAE_TRY(cmd_check_name(store, sentence, names->at[i], sql));
    return VMAE_OK;
}

vmae_status cmd_fill(vmae_listing *listing, vmae_store *store, sqlite3_stmt *statement)
{
    bool row;
    vmae_status st;
    const int columns = sqlite3_column_count(statement);
    for (int i = 0; i < columns; i++)
        vmae_listing_column(listing, sqlite3_column_name(statement, i));
    while ((st = vmae_sql_step(store, statement, &row)) == VMAE_OK && row)
        for (int i = 0; i < columns; i++)
            switch (sqlite3_column_type(statement, i)) {
            case SQLITE_INTEGER: vmae_listing_integer(listing, sqlite3_column_int64(statement, i)); break;
            case SQLITE_FLOAT: vmae_listing_number(listing, sqlite3_column_double(statement, i), -1); break;
            case SQLITE_NULL: vmae_listing_empty(listing); break;
            default: vmae_listing_text(listing, vmae_sql_text(statement, i)); break;
            }
    return st;
}

bool cmd_colours(void)
{
    return vmae_log_colours(STDOUT_FILENO);
}

const char *cmd_status_colour(const char *status)
{
    if (strcmp(status, "done") == 0)
        return "\033[32m";
    if (strcmp(status, "running") == 0)
        return "\033[36m";
    return strcmp(status, "interrupted") == 0 || strcmp(status, "stopped") == 0 ? "\033[33m" : "\033[31m";
}
