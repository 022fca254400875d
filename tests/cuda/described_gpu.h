/* described_gpu.h -- GPUs that cuDNN builds plans for where there is none: the keys and units of
 * CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, each the device attribute of that name. All 23 are needed. */
#ifndef VMAE_TESTS_CUDA_DESCRIBED_GPU_H
#define VMAE_TESTS_CUDA_DESCRIBED_GPU_H

#define DESCRIBED_GPU(sms, smem_optin, memory, sm_khz, memory_khz, l2, version, name)                                  \
    "{\"maxGridSize\":[2147483647,65535,65535],\"maxBlockSize\":[1024,1024,64],\"regsPerBlock\":65536,"                \
    "\"multiProcessorCount\":" sms ",\"warpSize\":32,\"maxSharedMemoryPerBlock\":49152,"                               \
    "\"maxSharedMemoryPerBlockOptin\":" smem_optin ",\"reservedSharedMemoryPerBlock\":1024,"                           \
    "\"maxRegistersPerSM\":65536,\"maxCtasPerSM\":32,\"maxThreadsPerBlock\":1024,\"maxThreadsPerSM\":2048,"            \
    "\"pciDeviceId\":0,\"isTccDriver\":0,\"supportCoopLaunch\":1,\"totalGlobalMem\":" memory                           \
    ",\"smClockRateKHz\":" sm_khz ",\"memClockRateKHz\":" memory_khz ",\"l2CacheSize\":" l2                            \
    ",\"cudaDeviceId\":0,\"deviceVer\":" version ",\"driverVer\":13000,\"deviceName\":\"" name "\"}"

#define DESCRIBED_A100                                                                                                 \
    DESCRIBED_GPU("108", "166912", "85097971712", "1410000", "1593000", "41943040", "800", "NVIDIA A100-SXM4-80GB")
#define DESCRIBED_H100                                                                                                 \
    DESCRIBED_GPU("132", "232448", "84929347584", "1980000", "2619000", "52428800", "900", "NVIDIA H100 80GB HBM3")

#endif
