/* fake_main.c -- `vicmae PROTOCOL CONFIG --run FOLDER` on the fake protocols. */
#include "experiments/run.h"

#include <stdio.h>
#include <string.h>

static vmae_status run(const char *name, const char *file, const char *folder)
{
    const vmae_protocol *protocol = vmae_protocol_find(name);
    vmae_config *config = NULL;
    if (!protocol)
        return vmae_fail(VMAE_EUSER, "there is no protocol %s", name);
    vmae_status st = vmae_protocol_config(protocol, &config);
    if (st == VMAE_OK)
        st = vmae_config_read(config, file, NULL);
    if (st == VMAE_OK)
        st = vmae_run_main(protocol, config, "runs", folder);
    vmae_config_free(config);
    return st;
}

int main(int argc, char **argv)
{
    if (argc != 5 || strcmp(argv[3], "--run") != 0) {
        fprintf(stderr, "vicmae PROTOCOL CONFIG --run FOLDER\n");
        return 2;
    }
    const vmae_status st = run(argv[1], argv[2], argv[4]);
    if (st != VMAE_OK)
        fprintf(stderr, "vicmae: %s\n", vmae_error());
    return vmae_exit_code(st);
}
