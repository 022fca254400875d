/* process.h -- the fake vicmae-sweep as a process. */
#ifndef VMAE_TESTS_SWEEPS_PROCESS_H
#define VMAE_TESTS_SWEEPS_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

typedef struct process {
    pid_t pid;
    char out[512], err[512]; /* files with what it said */
} process;

/* Starts FAKE_FOLDER/<program> with the arguments (ended by NULL). */
process process_start(const char *program, const char *const *arguments);
/* Its exit code, or minus the signal that ended it; -1000 and a failed check if it takes longer than two minutes. */
int process_wait(process *p);
bool process_is_over(process *p, int *code);
/* Both. *out, *err: what it said, fresh memory; may be NULL. */
int process_run(const char *program, const char *const *arguments, char **out, char **err);
char *process_said(const char *path);
/* The children of a process that still live. */
size_t process_children(pid_t pid, pid_t *children, size_t room);
void sleep_ms(int ms);

#endif
