/* cuda_open.h -- the one thing that the program calls of the CUDA backend. Private to engine/backend. */
#ifndef VMAE_BACKEND_CUDA_OPEN_H
#define VMAE_BACKEND_CUDA_OPEN_H

#include "engine/backend/backend.h"

/* Loads the backend's library (VICMAE_CUDA_MODULE, or vicmae-cuda.so beside the program) and opens device number
 * `device`; -1: the first that is usable. VMAE_EUSER says what is missing. */
vmae_status vmae_cuda_open(vmae_backend **be, int device);

#endif
