/* program.h -- vicmae-results as a person or a script runs it. */
#ifndef VMAE_TESTS_PROGRAM_H
#define VMAE_TESTS_PROGRAM_H

typedef struct program_outcome {
    int code;
    char text[1 << 20]; /* standard output and errors; too large for the stack */
} program_outcome;

/* vicmae-results <command> --root <runs> arguments..., arguments[0] being the command; without --root if runs is NULL.
 */
void program_run(program_outcome *result, const char *runs, const char *const *arguments);

#endif
