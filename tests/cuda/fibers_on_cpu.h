/* fibers_on_cpu.h -- the fibers that kernels' threads are, and the block that they make up. Private to
 * fibers_on_cpu.cpp, cuda_on_cpu.cpp and grid_on_cpu.cpp. */
#ifndef VMAE_TESTS_CUDA_FIBERS_H
#define VMAE_TESTS_CUDA_FIBERS_H

#include "runtime_on_cpu.h"

#if !defined(__x86_64__) || defined(COC_UCONTEXT)
#include <ucontext.h>
#endif

namespace coc
{

#if defined(COC_ASAN) || defined(COC_TSAN)
static const size_t stack_size = 256 * 1024;
#else
static const size_t stack_size = 64 * 1024;
#endif

/* Nothing orders two blocks of a launch. With COC_TSAN=2 TSan knows that, and finds races between blocks; it must then
 * overlook dynamic shared memory, which one block after the other uses here. Two sets of fibers take turns, for one
 * fiber is never unordered with itself. */
#if defined(COC_TSAN) && COC_TSAN > 1
static const bool blocks_are_unordered = true;
#else
static const bool blocks_are_unordered = false;
#endif
/* To TSan a thread and its stack are one. Otherwise a thread takes a stack when it begins and gives it back at its end,
 * so that threads that never wait run one after the other on one stack, without a switch. */
#if defined(COC_TSAN)
static const bool stacks_are_shared = false;
#else
static const bool stacks_are_shared = true;
#endif

#if defined(__x86_64__) && !defined(COC_UCONTEXT)
struct Context {
    void *sp;
};
#else
struct Context {
    ucontext_t u;
};
#endif

enum class Wait { none, barrier, warp, done };

struct Stack {
    Context context; /* parked in run_threads, or in the middle of a kernel */
    char *memory;
    size_t colour;
    void *fake; /* ASan's */
    void *tsan;
};

struct Fiber : Thread {
    Wait wait;
    const char *op; /* where it waits */
    Source at;
    Stack *stack; /* null (where stacks are shared): it has not begun */
};

struct Failure {
};

struct Warp {
    unsigned alive; /* lanes that have not left the kernel */
    unsigned open;  /* meetings that some lane has not left yet */
    Rendezvous *meetings[32];
};

struct Scheduler {
    const Kernel *kernel;
    void (*body)(const void *);
    const void *context;
    Fiber *fibers; /* of the block that runs */
    unsigned threads, at_barrier, done;
    /* Who can go on: `turn` to `threads` of the order, who have not had their turn since the block began or since the
     * last barrier; and those that a meeting woke, `woken` of a ring from `head` on. */
    unsigned turn, head, woken;
    std::vector<unsigned> order; /* a permutation */
    Order order_of;
    std::vector<Fiber *> ring;
    std::vector<Warp> warps;
    std::vector<std::unique_ptr<Rendezvous>> pool;
    std::vector<Rendezvous *> spare;
    Stack *stacks[1024]; /* not in use, where they are shared */
    unsigned stack_count;
    const Fiber *first_at_barrier;
    int pred[4], result[4];
    uint64_t rng;
    Context host;
    void *host_fake, *host_tsan;
    const void *host_bottom;
    size_t host_size;
    bool failed;
    void *start, *end, *barrier; /* happens-before edges: host to threads, threads to host, of the coming barrier */
};
extern Scheduler sched;

inline Fiber &self()
{
    return *static_cast<Fiber *>(now.self);
}

/* An edge is an address that TSan knows. Each meeting takes a new one: a used one would carry old order into it. */
void *new_edge();

/* ---- fibers_on_cpu.cpp ---- */

void switch_context(Context &from, Context &to);
Stack *new_stack(unsigned number, size_t size, void (*entry)(), const char *name);
void reset_stack(Stack *stack); /* after a failure its threads never go on */
void run_threads();             /* the entry of a CUDA thread's stack */
void run_ready();               /* from the host: comes back when nobody can go on */
void wake(Fiber &f);
void suspend(); /* this thread waits; another goes on */

/* ---- cuda_on_cpu.cpp ---- */

std::string describe(const Fiber &f); /* where it waits */
void lane_leaves_kernel(unsigned linear);

} // namespace coc

#endif
