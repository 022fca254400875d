/* library_leaks.c -- a leak of NVIDIA's that is none (those that are: tests/lsan.supp). */
#ifdef __SANITIZE_ADDRESS__
#include <dlfcn.h>

/* cuDNN loads the compiler for a plan and unloads it again; what that keeps for itself is then of nobody known. */
__attribute__((constructor)) static void keep_nvrtc(void)
{
    (void)dlopen("libnvrtc.so.13", RTLD_NOW | RTLD_NODELETE);
    (void)dlopen("libnvrtc.so.12", RTLD_NOW | RTLD_NODELETE);
}
#else
typedef int nothing_is_forgotten;
#endif
