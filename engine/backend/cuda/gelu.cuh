/* gelu.cuh -- the exact GELU (with erf, not tanh) of one value, and its slope. Private to backend/cuda. */
#ifndef VMAE_BACKEND_CUDA_GELU_CUH
#define VMAE_BACKEND_CUDA_GELU_CUH

#include "engine/backend/cuda/device.cuh"

/* The standard normal distribution: returns P(X <= x) = (1 + erf(x / sqrt 2)) / 2, absolute error < 4e-7, and *density
 * = e^(-x^2/2) / sqrt(2 pi). As in the CPU backend: erfc(z) = e^(-z^2) Q(1 / (1 + 0.41 z)), so one exponential serves
 * both, and the lower tail keeps its digits. Only explicit multiply-adds: wherever it is inlined, the same bits. */
static __device__ __forceinline__ float normal_cdf(float x, float *density)
{
    const float a = fabsf(x);
    const float t = __fdividef(1.0f, fmaf(0.289913780f, a, 1.0f)); /* 2 ulp, of at most 1 */
    const float gauss = expf(-0.5f * a * a);
    float q = 7.635275247e-2f;
    q = fmaf(q, t, -3.733568675e-1f);
    q = fmaf(q, t, 5.840323882e-1f);
    q = fmaf(q, t, -2.656866161e-1f);
    q = fmaf(q, t, 3.426646819e-1f);
    q = fmaf(q, t, 1.673497546e-1f);
    q = fmaf(q, t, 2.377084225e-1f);
    q = fmaf(q, t, 2.309354886e-1f);
    const float half = 0.5f * gauss, scaled = q * t;
    *density = 0.398942280f * gauss;
    return x < 0.0f ? half * scaled : fmaf(-half, scaled, 1.0f);
}

static __device__ __forceinline__ float gelu_of(float x)
{
    float density;
    return x * normal_cdf(x, &density);
}

/* d/dx of x P(x). */
static __device__ __forceinline__ float gelu_slope_of(float x)
{
    float density;
    const float cdf = normal_cdf(x, &density);
    return fmaf(x, density, cdf);
}

#endif
