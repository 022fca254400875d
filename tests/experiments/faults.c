/* faults.c -- `vicmae` that does something to itself where the environment says: VICMAE_FAULT="WHERE N SIGNAL".
 *
 * WHERE: "metrics" after the metrics of step N are journalled, "save" before the Nth checkpoint file is written (the
 * state to resume from is saved in two moves, and this is between them), "features" before the Nth pass over labelled
 * images, "done" before done.json is written. The linker puts these functions in front of the real ones (--wrap). */
#include "engine/checkpoint/checkpoint.h"
#include "engine/core/fs.h"
#include "experiments/encoder.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

vmae_status __real_vmae_run_metrics(vmae_run *run, int64_t step, const vmae_metric *metrics, size_t count);
vmae_status __real_vmae_writer_save(vmae_writer *writer, const char *path);
vmae_status __real_vmae_write_file(const char *path, const void *bytes, size_t count);
vmae_status __real_vmae_extract_features(const vmae_encoder *encoder, const vmae_feature_pass *pass, vmae_run *run,
                                         vmae_features *features);
vmae_status __wrap_vmae_run_metrics(vmae_run *run, int64_t step, const vmae_metric *metrics, size_t count);
vmae_status __wrap_vmae_writer_save(vmae_writer *writer, const char *path);
vmae_status __wrap_vmae_write_file(const char *path, const void *bytes, size_t count);
vmae_status __wrap_vmae_extract_features(const vmae_encoder *encoder, const vmae_feature_pass *pass, vmae_run *run,
                                         vmae_features *features);

static void fault(const char *here, long long n)
{
    const char *order = getenv("VICMAE_FAULT");
    char where[16];
    long long when;
    int number;
    if (!order)
        return;
    if (sscanf(order, "%15s %lld %d", where, &when, &number) != 3) {
        fprintf(stderr, "VICMAE_FAULT is not WHERE N SIGNAL: %s\n", order);
        exit(99);
    }
    if (strcmp(where, here) == 0 && when == n)
        raise(number);
}

vmae_status __wrap_vmae_run_metrics(vmae_run *run, int64_t step, const vmae_metric *metrics, size_t count)
{
    const vmae_status st = __real_vmae_run_metrics(run, step, metrics, count);
    fault("metrics", step);
    return st;
}

vmae_status __wrap_vmae_writer_save(vmae_writer *writer, const char *path)
{
    static long long saves;
    fault("save", ++saves);
    return __real_vmae_writer_save(writer, path);
}

vmae_status __wrap_vmae_write_file(const char *path, const void *bytes, size_t count)
{
    if (strcmp(vmae_path_base(path), "done.json") == 0)
        fault("done", 1);
    return __real_vmae_write_file(path, bytes, count);
}

vmae_status __wrap_vmae_extract_features(const vmae_encoder *encoder, const vmae_feature_pass *pass, vmae_run *run,
                                         vmae_features *features)
{
    static long long passes;
    fault("features", ++passes);
    return __real_vmae_extract_features(encoder, pass, run, features);
}
