/* vicmae.h -- `vicmae` as a process, tiny runs to give it, and what is left of them afterwards. */
#ifndef VMAE_TESTS_EXPERIMENTS_VICMAE_H
#define VMAE_TESTS_EXPERIMENTS_VICMAE_H

#include "tests/test.h"

#include <jansson.h>
#include <stdint.h>
#include <sys/types.h>

/* ---- tiny runs: lists of arguments ---- */

#define TINY_MODEL                                                                                                     \
    "threads=1", "model.image_size=16", "model.patch_size=4", "model.dim=16", "model.depth=2", "model.heads=2",        \
        "model.decoder_dim=16", "model.decoder_depth=1", "model.decoder_heads=2", "model.projector_hidden=16",         \
        "model.projector_out=8"
/* 3 epochs of 4 steps */
#define TINY_TRAINING                                                                                                  \
    "train.batch=4", "train.epochs=3", "train.epoch_steps=4", "train.warmup_epochs=1", "train.blr=0.01",               \
        "loss.lambda_until=2"
#define TINY_IMAGES "data.images.kind=shapes", "data.images.shapes_size=16", "data.images.shapes_count=40"
#define TINY_VIDEOS                                                                                                    \
    "data.videos.kind=shapes-video", "data.videos.shapes_size=16", "data.videos.shapes_count=40",                      \
        "data.videos.shapes_frames=8"
#define TINY_LABELLED                                                                                                  \
    "dataset.kind=shapes", "dataset.shapes_size=16", "dataset.shapes_count=400", "dataset.val_limit=200"

/* ---- the process ---- */

typedef struct launch {
    const char *fault;   /* WHERE N SIGNAL (faults.c), or NULL: the product's own program */
    long file_size;      /* bytes that a file may have at most (a full disk); 0: any */
    bool bound_by_modes; /* file modes hold, also for root */
} launch;

/* Runs it with the arguments (ended by NULL) to its end; its exit code, or minus the signal that ended it. -1000 and a
 * failed check after 60 s. how may be NULL. */
int vicmae_run(const launch *how, const char *argument, ...) __attribute__((sentinel));
/* The same without waiting. */
pid_t vicmae_start(const launch *how, const char *argument, ...) __attribute__((sentinel));
int vicmae_wait(pid_t pid);
/* What the last one said; valid until the next. */
const char *vicmae_out(void);
const char *vicmae_err(void);
/* Exit code 0; else what it said is printed. */
#define RUN_OK(...)                  check_code(vicmae_run(NULL, __VA_ARGS__, NULL), 0, __FILE__, __LINE__)
#define RUN_CODE(expected, how, ...) check_code(vicmae_run(how, __VA_ARGS__, NULL), expected, __FILE__, __LINE__)
bool check_code(int code, int expected, const char *file, int line);

/* "<test folder>/<name>", "<folder>/<name>", "<key>=<value>"; valid until the program ends. */
const char *here(const char *name);
const char *in(const char *folder, const char *name);
const char *set(const char *key, const char *value);

/* ---- what is left ---- */

/* The whole file, fresh memory; a failed check and NULL if there is none. */
char *contents(const char *path, size_t *count);
bool exists(const char *path);
bool same_files(const char *a, const char *b);

/* The journal's events in order: a JSON array, to be released. The offset of each in the file is not kept. */
json_t *events_of(const char *run);
/* Events of a type, counted; the last of them (borrowed) in *last if it is not NULL. */
size_t count_events(const json_t *events, const char *type, const json_t **last);
const char *event_text(const json_t *event, const char *key); /* "" if there is none */

typedef struct row {
    int64_t step;
    char name[32];
    double value;
} row;
/* The metrics that count (superseded ones do not), by step and name, without what depends on the clock. Fresh memory.
 */
row *visible_rows(const char *run, size_t *count);
/* Both runs show the same rows, bit for bit, and there are some; says where they differ. */
bool same_rows(const char *a, const char *b);
/* The same checkpoint.safetensors (metadata and tensors, byte for byte) and the same rows. */
#define CHECK_SAME_RUN(a, b)                                                                                           \
    do {                                                                                                               \
        CHECK(same_files(in(a, "checkpoint.safetensors"), in(b, "checkpoint.safetensors")));                           \
        CHECK(same_rows(a, b));                                                                                        \
    } while (0)
/* A number of done.json's metrics; NaN and a failed check if it is absent. */
double final_metric(const char *run, const char *name);

#endif
