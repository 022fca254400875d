/* kernel_case.c -- backends, the device's twins of host blocks, and what must not differ between runs. */
#include "tests/backend/kernel_case.h"

#include "engine/backend/cpu/tables.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCKS_MAX = 4096, THREADS_MAX = 3, ENTRIES = sizeof(vmae_kernels) / sizeof(void (*)(void)) - 1 };

static void give_up(const char *what)
{
    fprintf(stderr, "kernel test: %s\n", what);
    exit(1);
}

/* ---- blocks ---- */

typedef enum block_use { UNUSED, READ, WRITTEN, SCRATCHED } block_use;

typedef struct block {
    unsigned char *host, *twin; /* twin: in the device's memory; NULL until it is needed */
    size_t bytes;
    block_use use;   /* by the call at hand */
    uint64_t before; /* CPU: hash of what the call may only read */
} block;

static block blocks[BLOCKS_MAX];
static size_t block_count;
static vmae_backend *running; /* the backend that the body got */
static bool is_cpu;           /* it can look at host memory */
static bool repeats;

static __attribute__((noinline)) void *grab_exactly(size_t bytes)
{
    void *made = NULL;
    if (block_count == BLOCKS_MAX || posix_memalign(&made, 64, bytes ? bytes : 1) != 0)
        give_up("no memory");
    memset(made, 0x7F, bytes);
    blocks[block_count++] = (block){ .host = made, .bytes = bytes };
    return made;
}

void *grab(size_t bytes)
{
    return grab_exactly(bytes);
}

float *grab_floats(int64_t n)
{
    return grab((size_t)n * sizeof(float));
}

int32_t *grab_ints(int64_t n)
{
    return grab((size_t)n * sizeof(int32_t));
}

double *grab_doubles(int64_t n)
{
    return grab((size_t)n * sizeof(double));
}

void *grab_type(int64_t n, vmae_type type)
{
    return grab((size_t)n * vmae_type_size(type));
}

void *grab_copy(const void *from, size_t bytes)
{
    return memcpy(grab(bytes), from, bytes);
}

float *grab_float(float value)
{
    return grab_copy(&value, sizeof value);
}

void release_all(void)
{
    while (block_count) {
        const block *last = &blocks[--block_count];
        if (last->twin)
            running->release(running, last->twin);
        free(last->host);
    }
}

/* ---- one call ---- */

static uint64_t seen; /* hash of all that was written since the body began */

static uint64_t hash(uint64_t so_far, const unsigned char *bytes, size_t count)
{
    const uint64_t prime = 0x100000001B3u;
    for (; count >= 8; count -= 8, bytes += 8) {
        uint64_t word;
        memcpy(&word, bytes, 8);
        so_far = (so_far ^ word) * prime;
        so_far ^= so_far >> 29;
    }
    for (; count; count--)
        so_far = (so_far ^ *bytes++) * prime;
    return so_far;
}

static block *find(const unsigned char *pointer)
{
    for (size_t i = block_count; i-- > 0;)
        if (pointer >= blocks[i].host && pointer < blocks[i].host + (blocks[i].bytes ? blocks[i].bytes : 1))
            return &blocks[i];
    give_up("an operand was not grabbed");
    return NULL;
}

static void must(vmae_status st, const char *what)
{
    if (st != VMAE_OK) {
        fprintf(stderr, "kernel test: %s: %s\n", what, vmae_error());
        exit(1);
    }
}

/* The place in the device's memory that stands for a place in host memory. */
static unsigned char *twin_of(const void *pointer, block_use use)
{
    if (!pointer)
        return NULL;
    block *b = find(pointer);
    const bool first = b->use == UNUSED;
    b->use = b->use > use ? b->use : use; /* in place: written, though another argument only reads */
    if (is_cpu) {
        if (first)
            b->before = hash(0, b->host, b->bytes);
        return b->host + ((const unsigned char *)pointer - b->host);
    }
    if (!b->twin)
        must(running->allocate(running, (void **)&b->twin, b->bytes), "allocate");
    if (first)
        must(running->upload(running, b->twin, b->host, b->bytes), "upload");
    return b->twin + ((const unsigned char *)pointer - b->host);
}

const void *kernel_in(const void *place)
{
    return twin_of(place, READ);
}

void *kernel_out(void *place)
{
    return twin_of(place, WRITTEN);
}

void *kernel_scratch(void *place)
{
    return twin_of(place, SCRATCHED);
}

/* After a call: true if what may only be read is as it was. Renews the host's copy of what was written. */
static bool bring_back(block *b)
{
    if (is_cpu)
        return b->use == WRITTEN || hash(0, b->host, b->bytes) == b->before;
    if (b->use == WRITTEN) {
        must(running->download(running, b->host, b->twin, b->bytes), "download");
        return true;
    }
    unsigned char *now = malloc(b->bytes ? b->bytes : 1);
    if (!now)
        give_up("no memory");
    must(running->download(running, now, b->twin, b->bytes), "download");
    const bool same = memcmp(now, b->host, b->bytes) == 0;
    free(now);
    return same;
}

static int64_t calls[ENTRIES];

void kernel_called(size_t entry)
{
    if (entry)
        calls[entry / sizeof(void (*)(void)) - 1]++;
}

int64_t kernel_calls(size_t entry)
{
    return calls[entry / sizeof(void (*)(void)) - 1];
}

/* The entries' names in their order: whoever adds one to the table adds it there, or this does not compile. */
static const char *const names[] = {
#define ENTRY(name) #name,
#include "engine/backend/cuda/entries.h"
#undef ENTRY
};
_Static_assert(sizeof names / sizeof *names == ENTRIES, "entries.h has other entries than vmae_kernels");

size_t kernel_entries(void)
{
    return ENTRIES;
}

const char *kernel_name(size_t entry)
{
    return entry ? names[entry / sizeof(void (*)(void)) - 1] : "matmul";
}

vmae_status kernel_done(vmae_backend *be, size_t entry, vmae_status status)
{
    const vmae_status waited = be->synchronize(be); /* also after a refusal: nothing of it may be left */
    status = status == VMAE_OK ? waited : status;
    for (size_t i = 0; i < block_count; i++) {
        block *b = &blocks[i];
        if (status == VMAE_OK && (b->use == READ || b->use == WRITTEN)) {
            vmae_check(bring_back(b), __FILE__, __LINE__, "%s changes what it should only read (%s)",
                       kernel_name(entry), on_what());
            if (b->use == WRITTEN)
                seen = hash(seen, b->host, b->bytes);
        }
        b->use = UNUSED;
    }
    if (status == VMAE_OK)
        kernel_called(entry);
    return status;
}

/* ---- backends ---- */

static vmae_backend *opened[THREADS_MAX + 1]; /* of the CPU by the number of threads; the device is the first */

static void close_all(void)
{
    for (int i = 0; i <= THREADS_MAX; i++)
        vmae_backend_close(opened[i]);
}

static vmae_backend *backend_with(int threads)
{
    vmae_test_at_end(close_all);
    if (!opened[threads])
        must(vmae_backend_open(&opened[threads], vmae_test_device(), threads ? threads : 1), vmae_test_device());
    return opened[threads];
}

bool kernel_repeats(void)
{
    return repeats;
}

const char *on_what(void)
{
    static char text[64];
    if (!running)
        return "nothing";
    if (!is_cpu)
        return running->name;
    snprintf(text, sizeof text, "%s, %d thread%s", running->kernels->isa, running->threads,
             running->threads == 1 ? "" : "s");
    return text;
}

typedef struct job {
    kernel_body *body;
    typed_kernel_body *typed;
    vmae_type type;
} job;

/* The hash of all that the body's calls wrote. */
static uint64_t run_body(const job *j, vmae_backend *be, bool again)
{
    repeats = again;
    seen = 0xCBF29CE484222325u;
    running = be;
    is_cpu = vmae_test_on_cpu();
    if (j->body)
        j->body(be);
    else
        j->typed(be, j->type);
    release_all();
    return seen;
}

static void run_cpu(const job *j)
{
    int count;
    const vmae_kernels *const *tables = vmae_cpu_tables(&count);
    CHECK(count > 0);
    for (int table = 0; table < count; table++) {
        uint64_t alone = 0;
        for (int threads = 1; threads <= THREADS_MAX; threads++) {
            vmae_backend be = *backend_with(threads);
            be.kernels = tables[table];
            const uint64_t bits = run_body(j, &be, threads > 1);
            alone = threads == 1 ? bits : alone;
            vmae_check(bits == alone, __FILE__, __LINE__, "%s: %d threads give other bits than one", tables[table]->isa,
                       threads);
        }
    }
    running = NULL;
}

static void run_device(const job *j)
{
    const uint64_t first = run_body(j, backend_with(0), false), again = run_body(j, backend_with(0), true);
    vmae_check(first == again, __FILE__, __LINE__, "%s: a second run gives other bits than the first", on_what());
}

static void run_everywhere(const job *j)
{
    if (vmae_test_on_cpu())
        run_cpu(j);
    else
        run_device(j);
}

void on_every_backend(kernel_body *body)
{
    run_everywhere(&(job){ .body = body });
}

void on_every_backend_and_type(typed_kernel_body *body)
{
    for (vmae_type type = VMAE_F32; type <= VMAE_BF16; type++)
        run_everywhere(&(job){ .typed = body, .type = type });
}

void on_one_backend(kernel_body *body)
{
    run_body(&(job){ .body = body }, backend_with(vmae_test_on_cpu() ? 2 : 0), false);
}
