/* sanitizers.h -- which sanitizer this is compiled for, and its interface. Private to the stand-in for CUDA's runtime.
 *
 * For -fsanitize=thread the stand-in is compiled without it but with -DCOC_TSAN=1, so that TSan sees the kernels'
 * accesses to memory and not the scheduler's. */
#ifndef VMAE_TESTS_CUDA_SANITIZERS_H
#define VMAE_TESTS_CUDA_SANITIZERS_H

#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__)
#define COC_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define COC_ASAN 1
#endif
#endif

#if defined(COC_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define COC_PLAIN __attribute__((no_sanitize("address"), noinline))
#else
#define COC_PLAIN __attribute__((noinline))
#endif

#ifdef COC_TSAN
extern "C" {
void *__tsan_get_current_fiber(void);
void *__tsan_create_fiber(unsigned flags);
void __tsan_switch_to_fiber(void *fiber, unsigned flags);
void __tsan_set_fiber_name(void *fiber, const char *name);
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);
void AnnotateBenignRaceSized(const char *file, int line, const volatile void *addr, size_t size, const char *why);
void __tsan_java_init(size_t heap, size_t bytes);
void __tsan_java_alloc(size_t addr, size_t bytes);
void __tsan_java_free(size_t addr, size_t bytes);
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);
}
#endif

namespace coc
{

/* Happens-before edges of TSan: who acquires comes after who released. */
static inline void release(void *edge)
{
#ifdef COC_TSAN
    __tsan_release(edge);
#else
    (void)edge;
#endif
}
static inline void acquire(void *edge)
{
#ifdef COC_TSAN
    __tsan_acquire(edge);
#else
    (void)edge;
#endif
}

/* Memory in this range can begin anew. Once in a process: TSan takes it for a Java machine's heap, which is the one
 * memory that it lets others give out. */
static inline void can_begin_anew(void *p, size_t bytes)
{
#ifdef COC_TSAN
    const size_t first = (size_t)p & ~(size_t)7, end = ((size_t)p + bytes + 7) & ~(size_t)7;
    __tsan_java_init(first, end - first);
#else
    (void)p, (void)bytes;
#endif
}

/* To TSan nobody has touched it yet. */
static inline void begin_anew(void *p, size_t bytes)
{
#ifdef COC_TSAN
    const size_t first = (size_t)p & ~(size_t)7, end = ((size_t)p + bytes + 7) & ~(size_t)7;
    __tsan_java_alloc(first, end - first);
    __tsan_java_free(first, end - first);
#else
    (void)p, (void)bytes;
#endif
}

/* The stand-in's own lists, which memmove and free would show to TSan. */
static inline void ignore_accesses(bool begin)
{
#ifdef COC_TSAN
    if (begin) {
        AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
        AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
    } else {
        AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
        AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
    }
#else
    (void)begin;
#endif
}

} // namespace coc

#endif
