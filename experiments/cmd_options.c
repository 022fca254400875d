/* cmd_options.c -- vicmae options [PROTOCOL] [--json]: the option tables, as they are parsed from. */
#include "experiments/commands.h"

#include <argp.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

typedef struct arguments {
    const char *protocol;
    bool json;
} arguments;

static const struct argp_option option_table[] = { { "json", 'j', NULL, 0, "machine-readable", 0 }, { 0 } };

static error_t on_option(int key, char *value, struct argp_state *state)
{
    arguments *a = state->input;
    switch (key) {
    case 'j': a->json = true; return 0;
    case ARGP_KEY_ARG: a->protocol = value; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const char *const type_names[] = { "bool", "int", "float", "text", "choice" };

static void print_option(const vmae_option *o)
{
    char range[96] = "";
    if (o->type == VMAE_CHOICE)
        snprintf(range, sizeof range, " {%s}", o->choices);
    else if ((o->type == VMAE_INT || o->type == VMAE_FLOAT) && o->min != o->max)
        snprintf(range, sizeof range, " [%g, %g]", o->min, o->max);
    printf("  %-32s %-6s = %s%s%s%s\n      %s%s\n", o->name, type_names[o->type], *o->initial ? o->initial : "\"\"",
           range, o->unit ? " " : "", o->unit ? o->unit : "", o->help,
           o->role == VMAE_SPEED_ONLY ? " (not part of the identity)" : "");
}

static void add_option(json_t *list, const vmae_option *o)
{
    json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s?, s:s?, s:b, s:s}", "name", o->name, "type",
                                          type_names[o->type], "default", o->initial, "choices", o->choices, "unit",
                                          o->unit, "identity", o->role == VMAE_IDENTITY, "help", o->help));
}

int vmae_cmd_options(int argc, char **argv)
{
    const struct argp argp = { option_table,
                               on_option,
                               "[PROTOCOL]",
                               "Every option of a protocol (default: pretrain), with default, range and meaning.\v"
                               "Examples:\n  vicmae options probe\n  vicmae options pretrain --json",
                               NULL,
                               NULL,
                               NULL };
    arguments a = { .protocol = "pretrain" };
    argp_err_exit_status = 2;
    argp_parse(&argp, argc, argv, 0, NULL, &a);
    const vmae_protocol *protocol = vmae_protocol_find(a.protocol);
    if (!protocol) {
        fprintf(stderr, "vicmae: there is no protocol \"%s\"; see vicmae --help\n", a.protocol);
        return 2;
    }
    json_t *list = a.json ? json_array() : NULL;
    for (const vmae_option *const *table = protocol->options; *table; table++)
        for (const vmae_option *o = *table; o->name; o++) {
            if (a.json)
                add_option(list, o);
            else
                print_option(o);
        }
    if (a.json) {
        json_dumpf(list, stdout, JSON_INDENT(1));
        putchar('\n');
        json_decref(list);
    }
    return 0;
}
