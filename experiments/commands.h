/* commands.h -- the sub-commands of `vicmae`. Each returns its exit code. argv[0] is "vicmae COMMAND". */
#ifndef VMAE_EXPERIMENTS_COMMANDS_H
#define VMAE_EXPERIMENTS_COMMANDS_H

#include "experiments/protocol.h"

#include <argp.h>
#include <jansson.h>

int vmae_cmd_protocol(const vmae_protocol *protocol, int argc, char **argv);
int vmae_cmd_info(int argc, char **argv);
int vmae_cmd_options(int argc, char **argv);
int vmae_cmd_bench(int argc, char **argv);
int vmae_cmd_selftest(int argc, char **argv);

/* Times a step of one model as `vicmae bench` does, in the best type of the device; prints it, and appends it to list.
 * pairs 0: the size's usual number. */
vmae_status vmae_bench_one(const char *size, int pairs, const char *device, json_t *list);
/* VMAE_EUSER if there is no such size. */
vmae_status vmae_bench_check(const char *size);

/* Prints the last failure on stderr as "vicmae: ..." and returns its exit code. */
int vmae_report(vmae_status status);
/* The whole number that an option's text is; argp_error, exit code 2, if it is none or out of its range. */
int vmae_whole_argument(struct argp_state *state, const char *name, const char *text, int least, int most);

#endif
