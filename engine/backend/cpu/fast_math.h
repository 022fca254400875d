/* fast_math.h -- exp and the normal distribution without calls or branches, so that loops over them vectorise. Private
 * to backend/cpu. */
#ifndef VMAE_BACKEND_CPU_FAST_MATH_H
#define VMAE_BACKEND_CPU_FAST_MATH_H

#include "engine/backend/cpu/cpu.h"

/* e^x, relative error < 2e-7, for x in [-87, 88]; below, e^-87 (1.6e-38, nothing beside the 1 that every softmax
 * holds). NaN stays NaN. x must not pass 88. */
static inline float fast_exp_below_88(float x)
{
    x = x < -87.0f ? -87.0f : x;
    const float round = 0x1.8p23f; /* adding it leaves the nearest integer in the low bits */
    const float shifted = x * 1.44269504f + round;
    const float n = shifted - round;
    const float r = (x - n * 0.693145752f) - n * 1.42860677e-6f; /* x - n ln 2, in two pieces; |r| <= ln 2 / 2 */
    /* Minimax over that interval, error 3e-9. */
    float p = 1.381460908e-3f;
    p = p * r + 8.368710557e-3f;
    p = p * r + 4.166838747e-2f;
    p = p * r + 1.666652068e-1f;
    p = p * r + 4.999999345e-1f;
    p = (p * r) * r + r;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + 127u) << 23; /* 2^n: the bits of `round` above the integer fall off the top */
    float power;
    memcpy(&power, &bits, sizeof power);
    return p * power + power;
}

/* The same for any x; above 88 it is e^88, 1.6e38. */
static inline float fast_exp(float x)
{
    return fast_exp_below_88(x > 88.0f ? 88.0f : x);
}

/* The standard normal distribution: returns P(X <= x) = (1 + erf(x / sqrt 2)) / 2, absolute error < 2.5e-7, and
 * *density = e^(-x^2/2) / sqrt(2 pi). With z = |x| / sqrt 2: erfc(z) = e^(-z^2) Q(1 / (1 + 0.41 z)); Q is a minimax fit
 * with error 5e-9, exact to 6e-6 of erfc itself far out in the tail. */
static inline float normal_cdf(float x, float *density)
{
    const float a = x < 0.0f ? -x : x;
    const float t = 1.0f / (1.0f + 0.289913780f * a);
    const float gauss = fast_exp_below_88(-0.5f * a * a);
    float q = 7.635275247e-2f;
    q = q * t - 3.733568675e-1f;
    q = q * t + 5.840323882e-1f;
    q = q * t - 2.656866161e-1f;
    q = q * t + 3.426646819e-1f;
    q = q * t + 1.673497546e-1f;
    q = q * t + 2.377084225e-1f;
    q = q * t + 2.309354886e-1f;
    const float tail = 0.5f * gauss * (q * t);
    *density = 0.398942280f * gauss;
    return x < 0.0f ? tail : 1.0f - tail;
}

#endif
