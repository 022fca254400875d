/* main.c -- vicmae-results: finds the command and runs it. */
#include "results/cmd/common.h"

#include "engine/core/log.h"
#include "engine/core/text.h"

#include <signal.h>
#include <string.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} commands[] = {
    { "list", cmd_list, "runs, with their state and last numbers" },
    { "show", cmd_show, "everything about one run" },
    { "diff", cmd_diff, "what differs between two runs: settings, data, machine, numbers" },
    { "compare", cmd_compare, "which setting won, by how much, and is it noise?" },
    { "table", cmd_table, "a sweep's tables beside the paper's" },
    { "plot", cmd_plot, "a sweep's or a run's pictures" },
    { "paper", cmd_paper, "the numbers that the paper prints" },
    { "ingest", cmd_ingest, "bring the database up to date with the runs folder" },
    { "export", cmd_export, "metrics as CSV or in canonical form, or a copy of the database" },
    { "dump-metrics", cmd_dump_metrics, "the same as export --canonical" },
    { "sql", cmd_sql, "a query of your own; read-only" },
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static void print_usage(FILE *out)
{
    fputs("Usage: vicmae-results COMMAND [OPTION...] [ARG...]\n\n"
          "Reads the results of vicmae's runs: lists, compares, prints tables beside the paper's numbers, "
          "plots.\n\nCommands:\n",
          out);
    for (int i = 0; i < COMMANDS; i++)
        fprintf(out, "  %-13s %s\n", commands[i].name, commands[i].help);
    fputs("\nExamples:\n"
          "  vicmae-results list --sweep table3 --status failed\n"
          "  vicmae-results table table3\n"
          "  vicmae-results compare 12 15\n"
          "  vicmae-results plot table3 -o pictures\n\n"
          "`vicmae-results COMMAND --help` has each command's options and more examples. Runs are looked for in runs/ "
          "and\n"
          "the database is runs/results.db, unless --runs and --db say otherwise.\n"
          "Exit codes: 0 ok, 1 it failed, 2 the command or its input needs correcting, 3 nothing matched.\n",
          out);
}

/* Options that the commands share may also stand before the command: they are moved behind it. */
static int command_at(int argc, char **argv)
{
    int i = 1;
    while (i < argc && argv[i][0] == '-') {
        const bool takes_value = strcmp(argv[i], "--runs") == 0 || strcmp(argv[i], "--db") == 0 ||
                                 strcmp(argv[i], "-r") == 0 || strcmp(argv[i], "-d") == 0;
        i += takes_value ? 2 : 1;
    }
    return i < argc ? i : 0;
}

static int dispatch(int argc, char **argv)
{
    const int at = command_at(argc, argv);
    if (at == 0) {
        for (int i = 1; i < argc; i++) {
            if (strcmp(argv[i], "--version") == 0 || strcmp(argv[i], "-V") == 0)
                return printf("%s\n", argp_program_version), 0;
            if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-?") == 0 || strcmp(argv[i], "-h") == 0)
                return print_usage(stdout), 0;
        }
        print_usage(stderr);
        return EXIT_USER;
    }
    for (int i = 0; i < COMMANDS; i++) {
        const bool alias = strcmp(argv[at], "import") == 0 && strcmp(commands[i].name, "ingest") == 0;
        if (!alias && strcmp(commands[i].name, argv[at]) != 0)
            continue;
        static char name[64];
        snprintf(name, sizeof name, "vicmae-results %s", commands[i].name);
        memmove(argv + 2, argv + 1, (size_t)(at - 1) * sizeof *argv); /* options before the command */
        argv[1] = name;
        return commands[i].run(argc - 1, argv + 1);
    }
    fprintf(stderr, "vicmae-results: there is no command ");
    vmae_print_clean(stderr, argv[at]);
    fprintf(stderr, "; `vicmae-results --help` lists them\n");
    return EXIT_USER;
}

int main(int argc, char **argv)
{
    static char version[128];
    snprintf(version, sizeof version, "vicmae-results %s (SQLite %s)", VICMAE_VERSION, sqlite3_libversion());
    argp_program_version = version;
    argp_err_exit_status = EXIT_USER;
    signal(SIGXFSZ, SIG_IGN); /* a file limit is a failed write with a sentence, not a death */
    vmae_log_level(VMAE_WARN);
    const int code = dispatch(argc, argv);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        perror("vicmae-results: the output could not be written");
        return code ? code : 1;
    }
    return code;
}
