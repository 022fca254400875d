/* libcuda_for_plans.c -- a stand-in for libcuda.so.1 on machines without a driver, so that cuDNN builds plans of
 * engines that are compiled at run time. Those refuse to exist unless these symbols resolve; while plans are built they
 * call only cuDriverGetVersion and cuDeviceGetCount, and with 0 devices they load nothing. Everything else answers
 * CUDA_ERROR_NO_DEVICE: nothing can be run by mistake. To be linked first, with soname libcuda.so.1. */
enum { SUCCESS = 0, NO_DEVICE = 100 };

int cuDriverGetVersion(int *version)
{
    *version = 13000;
    return SUCCESS;
}

int cuDeviceGetCount(int *count)
{
    *count = 0;
    return SUCCESS;
}

#define REFUSE(name)                                                                                                   \
    int name(void)                                                                                                     \
    {                                                                                                                  \
        return NO_DEVICE;                                                                                              \
    }
REFUSE(cuInit)
REFUSE(cuGetErrorString)
REFUSE(cuGetErrorName)
REFUSE(cuDeviceGet)
REFUSE(cuCtxGetCurrent)
REFUSE(cuCtxPushCurrent)
REFUSE(cuCtxPopCurrent)
REFUSE(cuCtxGetLimit)
REFUSE(cuStreamGetCtx)
REFUSE(cuLinkCreate)
REFUSE(cuLinkAddData)
REFUSE(cuLinkComplete)
REFUSE(cuLinkDestroy)
REFUSE(cuLibraryLoadData)
REFUSE(cuLibraryLoadFromFile)
REFUSE(cuLibraryGetKernel)
REFUSE(cuLibraryUnload)
REFUSE(cuKernelGetAttribute)
REFUSE(cuKernelSetAttribute)
REFUSE(cuLaunchKernel)
REFUSE(cuLaunchKernelEx)
REFUSE(cuLaunchCooperativeKernel)
REFUSE(cuTensorMapEncodeTiled)
REFUSE(cuOccupancyMaxPotentialClusterSize)
