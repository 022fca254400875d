/* main.c -- vicmae-results: finds the command and runs it. */
#include "results/cmd/cmd.h"

#include "engine/core/config.h"
#include "engine/core/log.h"
#include "engine/core/text.h"

#include "revision.h"

#include <signal.h>
#include <string.h>

static const cmd *const commands[] = { &cmd_list,  &cmd_show,   &cmd_diff,   &cmd_compare,      &cmd_table, &cmd_plot,
                                       &cmd_paper, &cmd_ingest, &cmd_export, &cmd_dump_metrics, &cmd_sql };
enum { COMMANDS = sizeof commands / sizeof *commands };

static void print_usage(FILE *out)
{
    fputs("Usage: vicmae-results COMMAND [OPTION...] [ARG...]\n\n"
          "Reads the results of vicmae's runs: lists, compares, prints tables beside the paper's numbers, "
          "plots.\n\nCommands:\n",
          out);
    for (int i = 0; i < COMMANDS; i++)
        fprintf(out, "  %-13s %s\n", commands[i]->name, commands[i]->summary);
    fputs("\nExamples:\n"
          "  vicmae-results list --sweep table3 --status failed\n"
          "  vicmae-results table table3\n"
          "  vicmae-results compare 12 15\n"
          "  vicmae-results plot table3 -o pictures\n\n"
          "`vicmae-results COMMAND --help` has each command's options and more examples. Runs are looked for in runs/ "
          "and\n"
          "the database is runs/results.db, unless --root and --db say otherwise.\n"
          "Exit codes: 0 ok, 1 it failed, 2 the command needs correcting (a name that is not there, too), 3 nothing "
          "matched.\n",
          out);
}

/* Options that the commands share may also stand before the command: they are moved behind it. */
static int command_at(int argc, char **argv)
{
    int i = 1;
    while (i < argc && argv[i][0] == '-') {
        const bool takes_value = strcmp(argv[i], "--root") == 0 || strcmp(argv[i], "--runs") == 0 ||
                                 strcmp(argv[i], "--db") == 0 || strcmp(argv[i], "-r") == 0 ||
                                 strcmp(argv[i], "-d") == 0;
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
    const char *names[COMMANDS];
    for (int i = 0; i < COMMANDS; i++) {
        names[i] = commands[i]->name;
        const bool alias = strcmp(argv[at], "import") == 0 && commands[i] == &cmd_ingest;
        if (!alias && strcmp(names[i], argv[at]) != 0)
            continue;
        static char name[64];
        snprintf(name, sizeof name, "vicmae-results %s", names[i]);
        memmove(argv + 2, argv + 1, (size_t)(at - 1) * sizeof *argv); /* options before the command */
        argv[1] = name;
        return cmd_main(commands[i], argc - 1, argv + 1);
    }
    const char *nearest = vmae_nearest_name(argv[at], names, COMMANDS);
    fputs("vicmae-results: there is no command ", stderr);
    vmae_print_clean(stderr, argv[at]);
    fprintf(stderr, "%s%s; `vicmae-results --help` lists them\n", nearest ? "; did you mean " : "",
            nearest ? nearest : "");
    return EXIT_USER;
}

int main(int argc, char **argv)
{
    static char version[128];
    snprintf(version, sizeof version, "vicmae-results %s (%s), SQLite %s", VMAE_VERSION, VMAE_REVISION,
             sqlite3_libversion());
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
