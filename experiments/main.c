/* main.c -- `vicmae COMMAND`: one table of commands, one line each. */
#include "experiments/commands.h"

#include "experiments/machine.h"

#include <argp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct command {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
} commands[] = {
    { "info", "What a checkpoint holds: sizes, tensors, where it comes from", vmae_cmd_info },
    { "options", "Every option of a protocol, with default, range and meaning", vmae_cmd_options },
    { "selftest", "Is this device right, and how fast? Every op against the CPU", vmae_cmd_selftest },
    { "bench", "Time of a pre-training step against the machine's roof", vmae_cmd_bench },
};
enum { COMMANDS = sizeof commands / sizeof *commands };

int vmae_report(vmae_status status)
{
    if (status != VMAE_OK)
        fprintf(stderr, "vicmae: %s\n", vmae_error());
    return vmae_exit_code(status);
}

int vmae_whole_argument(struct argp_state *state, const char *name, const char *text, int least, int most)
{
    char *end;
    const long value = strtol(text, &end, 10);
    if (end == text || *end || value < least || value > most)
        argp_error(state, "%s is %s; it must be %d to %d", name, text, least, most);
    return (int)value;
}

static void print_help(FILE *to)
{
    size_t count;
    const vmae_protocol *const *protocols = vmae_protocol_all(&count);
    fprintf(to, "Usage: vicmae COMMAND [ARGUMENT...]\n"
                "Pre-train and evaluate ViC-MAE: contrastive masked autoencoders on images and video.\n\n"
                "Protocols (each takes a CONFIG file and key=value overrides):\n");
    for (size_t i = 0; i < count; i++)
        fprintf(to, "  %-13s%s\n", protocols[i]->name, protocols[i]->summary);
    fprintf(to, "\nOther commands:\n");
    for (size_t i = 0; i < COMMANDS; i++)
        fprintf(to, "  %-13s%s\n", commands[i].name, commands[i].summary);
    fprintf(to, "\n`vicmae COMMAND --help` says more. Sweeps: vicmae-sweep. Results: vicmae-results.\n\n"
                "Examples:\n"
                "  vicmae pretrain model.size=nano data.videos.kind=shapes-video train.epochs=5\n"
                "  vicmae pretrain experiments/vicmae.cfg data_root=/data model.mask_ratio=0.5 seed=2\n"
                "  vicmae probe experiments/probe.cfg checkpoint=runs/4f2a.../checkpoint.safetensors data_root=/data\n"
                "  vicmae info runs/4f2a.../checkpoint.safetensors --json\n");
}

/* libgomp's threads spin for milliseconds at every barrier, which makes a step ten times slower as soon as the cores
 * are shared with other work. Its only setting is an environment variable that it reads before main(): so set it and
 * start again, once. */
static void spin_briefly(char **argv)
{
    if (getenv("GOMP_SPINCOUNT") || getenv("OMP_WAIT_POLICY") || setenv("GOMP_SPINCOUNT", "1000", 1) != 0)
        return;
    execv("/proc/self/exe", argv); /* comes back only if it cannot: then run as we are */
}

static void print_version(FILE *to, struct argp_state *state)
{
    (void)state;
    fprintf(to, "vicmae %s (%s)\n", VMAE_VERSION, vmae_revision());
}

/* The nearest command to a misspelt one, or NULL. */
static const char *suggest(const char *wrong)
{
    const char *names[32];
    size_t count, n = 0;
    const vmae_protocol *const *protocols = vmae_protocol_all(&count);
    for (size_t i = 0; i < count && n < 32; i++)
        names[n++] = protocols[i]->name;
    for (size_t i = 0; i < COMMANDS && n < 32; i++)
        names[n++] = commands[i].name;
    return vmae_nearest_name(wrong, names, n);
}

int main(int argc, char **argv)
{
    static char name[64];
    spin_briefly(argv);
    signal(SIGXFSZ, SIG_IGN); /* a write beyond the file size limit then fails with a message, as on a full disk */
    argp_program_version_hook = print_version;
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        print_help(argc < 2 ? stderr : stdout);
        return argc < 2 ? 2 : 0;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        print_version(stdout, NULL);
        return 0;
    }
    snprintf(name, sizeof name, "vicmae %s", argv[1]);
    const vmae_protocol *protocol = vmae_protocol_find(argv[1]);
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(commands[i].name, argv[1]) == 0) {
            argv[1] = name;
            return commands[i].run(argc - 1, argv + 1);
        }
    }
    if (protocol) {
        argv[1] = name;
        return vmae_cmd_protocol(protocol, argc - 1, argv + 1);
    }
    const char *near = suggest(argv[1]);
    fprintf(stderr, "vicmae: there is no command \"%s\"%s%s%s; see vicmae --help\n", argv[1],
            near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
    return 2;
}
