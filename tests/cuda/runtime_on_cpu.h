/* runtime_on_cpu.h -- what the files of the stand-in for CUDA's runtime share. Private to the *_on_cpu.cpp of the
 * runtime.
 */
#ifndef VMAE_TESTS_CUDA_RUNTIME_H
#define VMAE_TESTS_CUDA_RUNTIME_H

#include "coc.h"
#include "cuda_on_cpu.h"
#include "sanitizers.h"

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace coc
{

typedef std::function<void()> Work;

/* ---- chance, and handles ---- */

inline uint64_t seeded()
{
    return options.seed * 0x9E3779B97F4A7C15ull | 1;
}
inline uint64_t next_random(uint64_t &x) /* xorshift64* */
{
    x ^= x >> 12, x ^= x << 25, x ^= x >> 27;
    return x * 2685821657736338717ull;
}

/* Handles stay valid memory for ever: a destroyed one is found, not followed. */
template <class T> T *live(const std::vector<T *> &all, const T *handle)
{
    for (T *x : all)
        if (x == handle && !x->destroyed)
            return x;
    return nullptr;
}

/* ---- calls: one at a time, and what refuses all of them (errors_on_cpu.cpp) ---- */

enum class Call { plain, unsafe_in_capture, even_after_a_fault };

extern std::recursive_mutex call_lock;
extern thread_local bool in_operation; /* the lock is held already: by the thread, if not by what TSan takes for one */
cudaError_t refuse_call(Call kind);    /* cudaSuccess: go on */
cudaError_t set_error(cudaError_t error);
/* What happens on the device, behind the host's back: prints it and aborts, or (abort_on_error = false) every later
 * call returns the code, as after a fault on a GPU. */
void device_fault(cudaError_t code, const std::string &what);
cudaError_t fault(); /* that code; cudaSuccess: there was none */

template <class F> cudaError_t api(Call kind, F body)
{
    std::lock_guard<std::recursive_mutex> one(call_lock);
    const cudaError_t refusal = refuse_call(kind);
    return set_error(refusal != cudaSuccess ? refusal : body());
}

/* ---- memory (memory_on_cpu.cpp) ---- */

/* Where a pointer points. */
enum class Place { device, no_block, pinned, host }; /* no_block: freed, or between two blocks */
Place place_of(const void *p);
bool was_freed(const void *p);               /* in a block that has been freed */
bool on_device(const void *p, size_t bytes); /* all of it in one live block; bytes 0: the end of one will do */
bool in_pinned(const void *p, size_t bytes);
void open_device_memory(bool open); /* to operations; closed, ASan finds host code that touches it */
void open_pinned_memory(const void *p, size_t bytes, bool open);
std::string memory_leaks(int *count);

/* ---- kernels (grid_on_cpu.cpp, shared_memory_on_cpu.cpp) ---- */

/* TSan knows operations of one stream as ordered and those of two as not, unless an event orders them: each stream has
 * a lane, and what runs on it is one thread to TSan. Streams beyond the lanes share them. Elsewhere: calls work(). */
enum { tsan_lanes = 4 };
void run_on_lane(unsigned lane, const Work &work);

size_t static_shared_bytes(const void *kernel);
class SharedMemory /* of a launch, for its blocks one after the other */
{
  public:
    explicit SharedMemory(const Kernel &k);
    ~SharedMemory();
    SharedMemory(const SharedMemory &) = delete;
    SharedMemory &operator=(const SharedMemory &) = delete;
    unsigned char *dynamic() const;
    void undefine(); /* before a block */

  private:
    const Kernel &kernel;
    unsigned char *p;
    size_t padded;
    const struct StaticShared *statics;
};

/* ---- streams (streams_on_cpu.cpp) ---- */

struct Operation;
typedef std::shared_ptr<Operation> Ticket;

/* A captured graph: nodes in the order of their capture, each with the nodes it comes after. */
struct Node {
    Work run;
    std::vector<unsigned> after;
};
struct Launch { /* of a graph, while it runs */
    std::shared_ptr<const std::vector<Node>> nodes;
    std::vector<bool> done;
    size_t left;
};

/* Who drops the last of an operation comes after it has run. */
struct LastEdge {
    char at = 0;
    ~LastEdge()
    {
        acquire(this);
    }
};

struct Operation {
    Work run;                  /* may be empty */
    bool changes_host = false; /* writes host memory, or may */
    std::vector<Ticket> after;
    std::shared_ptr<Launch> launch; /* instead of run */
    bool done = false;
    char submitted = 0; /* edges: from the host, to what comes after. The last member: it goes first. */
    LastEdge finished;
};

/* ---- capture (graphs_on_cpu.cpp) ---- */

struct Capture {
    cudaStreamCaptureMode mode;
    unsigned long thread;
    cudaStream_t origin;
    std::vector<cudaStream_t> streams; /* origin and those that joined it */
    std::vector<Node> nodes;
    bool invalid = false;
};
extern std::vector<std::shared_ptr<Capture>> &captures; /* all that go on */
unsigned long thread_number();
/* The call cannot be recorded: the capture is lost. Returns the code, or that it was lost before. */
cudaError_t refuse_capture(Capture &c, cudaError_t code);
cudaError_t refuse_all_captures(); /* what concerns the whole device; cudaSuccess if there are none */
cudaError_t refuse_legacy();       /* work on the legacy stream, for which captured streams would have to wait */
cudaError_t refuse_unsafe();       /* calls that are unsafe in the captures' modes */
cudaError_t record(CUstream_st &q, const Operation &operation);
/* q waits for an event that was recorded behind these nodes. */
cudaError_t join_capture(CUstream_st &q, const std::shared_ptr<Capture> &c, const std::vector<unsigned> &nodes);
std::string graph_leaks(int *count);

} // namespace coc

struct CUstream_st {
    bool blocking = false; /* waits for the legacy stream, and it for this */
    bool destroyed = false;
    unsigned lane = 0;
    std::deque<coc::Ticket> queue;
    coc::Ticket last;                      /* queued on it */
    std::shared_ptr<coc::Capture> capture; /* null: it is not being captured */
    std::vector<unsigned> frontier;        /* the nodes that the next one comes after */
};

namespace coc
{

CUstream_st *stream_of(cudaStream_t handle); /* null: cudaErrorInvalidResourceHandle */
bool is_legacy(const CUstream_st &q);
/* Runs it when its turn comes, or records it. */
cudaError_t submit(cudaStream_t handle, Operation operation, Ticket *ticket = nullptr);
void progress(const std::function<bool()> &until); /* runs what is queued until it holds; streams take turns */
bool is_pending(const Ticket &ticket);             /* false for null */
cudaError_t wait_for(const Ticket &ticket);        /* the host does; null: fault() at once */
bool queued_changes_host_memory();

} // namespace coc

#endif
