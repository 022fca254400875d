/* program.c -- vicmae-results as a child process. */
#include "tests/results/program.h"

#include "tests/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

void program_run(program_outcome *result, const char *runs, const char *const *arguments)
{
    const char *argv[24] = { "vicmae-results", arguments[0] };
    int n = 2, ends[2], ended = 0;
    if (runs) {
        argv[n++] = "--root";
        argv[n++] = runs;
    }
    for (int i = 1; arguments[0] && arguments[i] && n < 23; i++)
        argv[n++] = arguments[i];
    result->code = -1;
    result->text[0] = 0;
    REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
    const pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 1);
        dup2(ends[1], 2);
        setenv("NO_COLOR", "1", 1);
        execv(VICMAE_RESULTS, (char *const *)argv);
        _exit(127);
    }
    close(ends[1]);
    size_t used = 0;
    for (ssize_t got;
         used + 1 < sizeof result->text &&
         ((got = read(ends[0], result->text + used, sizeof result->text - 1 - used)) > 0 || errno == EINTR);)
        used += got > 0 ? (size_t)got : 0;
    result->text[used] = 0;
    close(ends[0]);
    waitpid(child, &ended, 0);
    result->code = WIFEXITED(ended) ? WEXITSTATUS(ended) : 128 + WTERMSIG(ended);
}
