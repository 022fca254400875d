/* fibers_on_cpu.cpp -- switching between the fibers that kernels' threads are, and who runs next. */
#include "fibers_on_cpu.h"

#include <cstdio>
#include <cstdlib>
#include <sys/mman.h>
#include <unistd.h>

/* ---- switching contexts ---- */

#if defined(__x86_64__) && !defined(COC_UCONTEXT)
// The callee-saved registers go on the old stack, then the stacks change places.
extern "C" void coc_switch(void **save, void *load);
__asm__(R"(
.text
.type coc_switch,@function
coc_switch:
    endbr64
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    popq %r8
    notrack jmp *%r8    # a ret would be predicted to go back to the caller, and cost twice as much
.size coc_switch,.-coc_switch
)");
#endif

namespace coc
{

Scheduler sched;

#if defined(__x86_64__) && !defined(COC_UCONTEXT)
void switch_context(Context &from, Context &to)
{
    coc_switch(&from.sp, to.sp);
}
static void start_context(Context &c, char *stack, size_t size, void (*entry)())
{
    void **sp = (void **)(((uintptr_t)stack + size) & ~(uintptr_t)15);
    *--sp = nullptr; // entry never returns; this keeps the alignment that the ABI asks for
    *--sp = (void *)entry;
    for (int i = 0; i < 6; i++)
        *--sp = nullptr;
    c.sp = sp;
}
#else
void switch_context(Context &from, Context &to)
{
    swapcontext(&from.u, &to.u);
}
static void start_context(Context &c, char *stack, size_t size, void (*entry)())
{
    getcontext(&c.u);
    c.u.uc_stack.ss_sp = stack;
    c.u.uc_stack.ss_size = size;
    c.u.uc_link = nullptr;
    makecontext(&c.u, entry, 0);
}
#endif

void *new_edge()
{
    static uint64_t edges[1 << 16];
    static unsigned next;
    return &edges[next++ % (1 << 16)];
}

/* ---- who runs next ---- */

static Fiber *&ring(unsigned i)
{
    const unsigned at = sched.head + i;
    return sched.ring[at < sched.threads ? at : at - sched.threads];
}
static Fiber *take_turn()
{
    Fiber *f = &sched.fibers[sched.order[sched.turn++]];
    f->wait = Wait::none;
    return f;
}
void wake(Fiber &f)
{
    f.wait = Wait::none;
    ring(sched.woken++) = &f;
}
/* Null: nobody can go on. Ascending takes the first of the queue, descending the last. */
static Fiber *next_ready()
{
    const unsigned waiting = sched.threads - sched.turn;
    if (!sched.woken && !waiting)
        return nullptr;
    if (options.order == Order::ascending) {
        if (waiting)
            return take_turn();
        Fiber *f = ring(0);
        sched.head = sched.head + 1 < sched.threads ? sched.head + 1 : 0;
        sched.woken--;
        return f;
    }
    if (options.order == Order::descending)
        return sched.woken ? ring(--sched.woken) : take_turn();
    const unsigned k = (unsigned)(next_random(sched.rng) % (sched.woken + waiting));
    if (k < waiting) {
        std::swap(sched.order[sched.turn], sched.order[sched.turn + k]);
        return take_turn();
    }
    sched.woken--;
    std::swap(ring(k - waiting), ring(sched.woken));
    return ring(sched.woken);
}

/* ---- switching ---- */

Stack *new_stack(unsigned number, size_t size, void (*entry)(), const char *name)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *m =
        (char *)mmap(nullptr, size + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (m == MAP_FAILED) {
        perror("cuda_on_cpu: mmap");
        abort();
    }
    mprotect(m, page, PROT_NONE); /* a kernel that outgrows its stack faults */
    Stack *stack = new Stack();
    stack->memory = m + page;
    stack->colour = number * 5 % 64 * 64; /* or all stacks begin in the same few cache sets */
    start_context(stack->context, stack->memory, size - stack->colour, entry);
#ifdef COC_TSAN
    stack->tsan = __tsan_create_fiber(0);
    __tsan_set_fiber_name(stack->tsan, name);
#else
    (void)name;
#endif
    return stack;
}

void reset_stack(Stack *stack)
{
#if defined(COC_ASAN)
    __asan_unpoison_memory_region(stack->memory, stack_size);
#elif defined(COC_TSAN)
    stack->tsan = __tsan_create_fiber(0); /* the old one is in the middle of a function */
#endif
    stack->fake = nullptr;
    start_context(stack->context, stack->memory, stack_size - stack->colour, run_threads);
}

/* From a thread or the host (whose context and fake stack are given) to a thread that goes on or begins. */
static COC_PLAIN void go(Context &from, void **fake, Fiber &f)
{
    if (!f.stack)
        f.stack = sched.stacks[--sched.stack_count];
    Stack &to = *f.stack;
    now.self = &f;
#if defined(COC_ASAN)
    __sanitizer_start_switch_fiber(fake, to.memory, stack_size);
#elif defined(COC_TSAN)
    __tsan_switch_to_fiber(to.tsan, 1);   /* 1: this is no happens-before edge; only barriers are */
#endif
    switch_context(from, to.context);
#if defined(COC_ASAN)
    __sanitizer_finish_switch_fiber(*fake, nullptr, nullptr);
#endif
    (void)fake;
}

static COC_PLAIN void to_host(Stack &from)
{
    now.self = nullptr;
#if defined(COC_ASAN)
    __sanitizer_start_switch_fiber(&from.fake, sched.host_bottom, sched.host_size);
#elif defined(COC_TSAN)
    __tsan_switch_to_fiber(sched.host_tsan, 1);
#endif
    switch_context(from.context, sched.host);
#if defined(COC_ASAN)
    __sanitizer_finish_switch_fiber(from.fake, nullptr, nullptr);
#endif
}

void suspend()
{
    Fiber &f = self();
    Fiber *next = sched.failed ? nullptr : next_ready();
    if (next == &f)
        return;
    if (next)
        go(f.stack->context, &f.stack->fake, *next);
    else
        to_host(*f.stack);
}

static void thread_ends(Fiber &f)
{
    f.wait = Wait::done;
    f.op = "the end";
    f.at = { nullptr, 0 };
    if (sched.failed)
        return;
    sched.done++;
    now.self = nullptr; /* what fails now is not this thread */
    if (sched.at_barrier)
        fail("a thread leaves the kernel while " + std::to_string(sched.at_barrier) + " wait at a barrier");
    else
        lane_leaves_kernel(f.linear);
}

/* Runs thread after thread on one stack, as long as the next one has not begun; else it parks the stack. */
COC_PLAIN void run_threads()
{
#if defined(COC_ASAN)
    __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
    for (;;) {
        Fiber &f = self();
        Stack *const mine = f.stack;
        acquire(sched.start);
        try {
            sched.body(sched.context);
        } catch (const Failure &) {
        }
        release(sched.end);
        thread_ends(f);
        Fiber *next = sched.failed ? nullptr : next_ready();
        if (stacks_are_shared) {
            f.stack = nullptr;
            if (next && !next->stack) {
                next->stack = mine;
                now.self = next;
                continue;
            }
            sched.stacks[sched.stack_count++] = mine;
        }
        if (next)
            go(mine->context, &mine->fake, *next);
        else
            to_host(*mine);
    }
}

void run_ready()
{
    go(sched.host, &sched.host_fake, *next_ready());
}

} // namespace coc
