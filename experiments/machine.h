/* machine.h -- facts about the machine and the build, for the record. */
#ifndef VMAE_EXPERIMENTS_MACHINE_H
#define VMAE_EXPERIMENTS_MACHINE_H

#include <jansson.h>

/* {"cpu", "cores", "memory_bytes", "os", "kernel", "compiler", "libraries"}, all text; what cannot be found out is left
 * out. What only the engine knows (device, threads, its libraries) is added by experiments/device.c. A new reference,
 * or NULL without memory. */
json_t *vmae_machine_facts(void);

/* The kernel's id of this boot, or "": a pid means something only together with it. */
const char *vmae_machine_boot_id(void);
const char *vmae_machine_host(void);

/* `git describe --always --dirty` of the source this was built from, or "unknown". */
const char *vmae_revision(void);

/* Cores this process may use. */
int vmae_machine_cores(void);

#endif
