/* library_leaks.c -- what NVIDIA's libraries forget where there is no GPU, and LeakSanitizer would take for ours. */
#ifdef __SANITIZE_ADDRESS__
#include <dlfcn.h>

/* cuDNN loads the compiler for a plan and unloads it again; what that keeps for itself is then of nobody known. */
__attribute__((constructor)) static void keep_nvrtc(void)
{
    (void)dlopen("libnvrtc.so.13", RTLD_NOW | RTLD_NODELETE);
    (void)dlopen("libnvrtc.so.12", RTLD_NOW | RTLD_NODELETE);
}

/* cublasLtCreate fails without a GPU, and forgets 192 bytes. */
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libcublasLt.so\n";
}
#else
typedef int nothing_is_forgotten;
#endif
