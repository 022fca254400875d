/* grid_on_cpu.cpp -- runs the blocks of a launch, one after the other. */
#include "fibers_on_cpu.h"

#include <pthread.h>

namespace coc
{

namespace
{

/* Fibers for one block. To TSan a fiber has done everything in one order, so what is unordered takes different ones:
 * streams (each has a lane, run_on_lane), and blocks where blocks_are_unordered. */
struct Crew {
    std::vector<Fiber> fibers;
    dim3 shape; /* of which they know their place */
};
Crew crews[2 * tsan_lanes];

void reserve_crew(Crew &c, dim3 shape, unsigned n)
{
    if (c.fibers.size() < n) {
        const size_t had = c.fibers.size();
        c.fibers.resize(n);
        for (size_t i = had; i < n; i++) {
            Stack *stack = new_stack((unsigned)i, stack_size, run_threads, "a CUDA thread");
            if (stacks_are_shared)
                sched.stacks[sched.stack_count++] = stack;
            c.fibers[i].stack = stacks_are_shared ? nullptr : stack;
        }
        c.shape = dim3(0, 0, 0);
    }
    if (c.shape.x == shape.x && c.shape.y == shape.y && c.shape.z == shape.z)
        return;
    c.shape = shape;
    for (unsigned i = 0; i < n; i++) {
        c.fibers[i].linear = i;
        c.fibers[i].tid = make_uint3(i % shape.x, i / shape.x % shape.y, i / (shape.x * shape.y));
    }
}

/* Threads of the block never allocate from here on: to TSan, memory that one of them took would be its own. */
void reserve(Crew *first, Crew *second, dim3 shape, unsigned n)
{
    ignore_accesses(true);
    reserve_crew(*first, shape, n);
    if (second)
        reserve_crew(*second, shape, n);
    if (sched.order.size() != n || sched.order_of != options.order || options.order == Order::random) {
        sched.order.resize(n);
        for (unsigned i = 0; i < n; i++)
            sched.order[i] = options.order == Order::descending ? n - 1 - i : i;
        sched.order_of = options.order;
    }
    sched.ring.resize(n);
    sched.warps.resize((n + 31) / 32);
    while (sched.pool.size() <
           sched.warps.size() * 32) { /* an open meeting has a lane to itself: there are at most 32 a warp */
        sched.pool.push_back(std::make_unique<Rendezvous>());
        sched.spare.push_back(sched.pool.back().get());
    }
    sched.spare.reserve(sched.pool.size());
    ignore_accesses(false);
}

void give_up_block()
{
    for (Warp &w : sched.warps) {
        sched.spare.insert(sched.spare.end(), w.meetings, w.meetings + w.open);
        w.open = 0;
    }
    for (unsigned i = 0; i < sched.threads; i++) {
        Fiber &f = sched.fibers[i];
        if (!f.stack || (!stacks_are_shared && f.wait == Wait::done))
            continue;
        reset_stack(f.stack);
        if (stacks_are_shared) {
            sched.stacks[sched.stack_count++] = f.stack;
            f.stack = nullptr;
        }
    }
}

void run_block(uint3 id, bool first)
{
    now.id = id;
    sched.at_barrier = sched.done = 0;
    sched.pred[0] = sched.pred[1] = sched.pred[2] = sched.pred[3] = 0;
    sched.turn = sched.head = sched.woken = 0;
    for (unsigned w = 0; w < sched.warps.size(); w++) {
        sched.warps[w].alive = sched.threads - w * 32 >= 32 ? ~0u : (1u << sched.threads % 32) - 1;
        sched.warps[w].open = 0;
    }
    sched.barrier = new_edge();
    if (!blocks_are_unordered || first) {
        sched.start = new_edge();
        sched.end = new_edge();
        release(sched.start);
    }
    run_ready();
    if (!blocks_are_unordered)
        acquire(sched.end);
    if (!sched.failed && sched.done != sched.threads) {
        std::string who;
        int shown = 0;
        for (unsigned i = 0; i < sched.threads && shown < 4; i++)
            if (sched.fibers[i].wait != Wait::done && ++shown)
                who += "; " + describe(sched.fibers[i]);
        fail("deadlock of " + std::to_string(sched.threads - sched.done) + " threads" + who);
    }
    if (sched.failed)
        give_up_block();
}

uint64_t gcd(uint64_t a, uint64_t b)
{
    return b ? gcd(b, a % b) : a;
}

void find_host_stack()
{
#if defined(COC_ASAN)
    static thread_local void *bottom;
    static thread_local size_t size;
    pthread_attr_t attributes;
    if (!bottom && !pthread_getattr_np(pthread_self(), &attributes)) {
        pthread_attr_getstack(&attributes, &bottom, &size);
        pthread_attr_destroy(&attributes);
    }
    sched.host_bottom = bottom;
    sched.host_size = size;
#elif defined(COC_TSAN)
    sched.host_tsan = __tsan_get_current_fiber();
#endif
}

/* ---- streams, to TSan ---- */

#ifdef COC_TSAN
struct Lane {
    Stack *stack;
    Context caller;
    void *caller_tsan;
    const Work *work;
} lanes[tsan_lanes];
unsigned lane_in_use;

void lane_main()
{
    for (;;) {
        Lane &l = lanes[lane_in_use];
        (*l.work)();
        __tsan_switch_to_fiber(l.caller_tsan, 1);
        switch_context(l.stack->context, l.caller);
    }
}
#else
const unsigned lane_in_use = 0;
#endif

} // namespace

void run_on_lane(unsigned lane, const Work &work)
{
#ifdef COC_TSAN
    Lane &l = lanes[lane];
    if (!l.stack)
        l.stack = new_stack(0, (size_t)1 << 20, lane_main, "a CUDA stream");
    lane_in_use = lane;
    l.work = &work;
    l.caller_tsan = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(l.stack->tsan, 1);
    switch_context(l.caller, l.stack->context);
#else
    (void)lane;
    work();
#endif
}

/* A GPU may run blocks in any order: a stride without a common factor with their number visits them all. */
void run_grid(const Kernel &k, void (*body)(const void *), const void *context)
{
    const dim3 grid = k.grid;
    Crew *const first = &crews[2 * lane_in_use], *const second = blocks_are_unordered ? first + 1 : nullptr;
    sched.kernel = &k;
    sched.body = body;
    sched.context = context;
    sched.failed = false;
    sched.threads = k.block.x * k.block.y * k.block.z;
    now.grid = k.grid;
    now.block = k.block;
    find_host_stack();
    reserve(first, second, k.block, sched.threads);
    SharedMemory shared(k);
    now.smem = shared.dynamic();
    sched.rng = seeded();
    uint64_t blocks = (uint64_t)grid.x * grid.y * grid.z, stride = 1, start = 0;
    if (options.order == Order::descending)
        stride = start = blocks - 1;
    if (options.order == Order::random && blocks > 2) {
        do
            stride = next_random(sched.rng) % blocks;
        while (!stride || gcd(stride, blocks) != 1);
        start = next_random(sched.rng) % blocks;
    }
    if (blocks == 1)
        start = 0, stride = 1;
    for (uint64_t i = 0, b = start; i < blocks && !sched.failed; i++, b = (b + stride) % blocks) {
        sched.fibers = (i % 2 && second ? second : first)->fibers.data();
        shared.undefine();
        run_block(make_uint3((unsigned)(b % grid.x), (unsigned)(b / grid.x % grid.y),
                             (unsigned)(b / ((uint64_t)grid.x * grid.y))),
                  i == 0);
    }
    acquire(sched.end);
    now.smem = nullptr;
}

} // namespace coc
