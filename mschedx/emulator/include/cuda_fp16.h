// Stands in for CUDA's header of the same name.
#pragma once
#include "small_floats.h"

EMULATOR_SMALL_FLOAT(__half, half_to_float, float_to_half)
using half = __half;

struct __attribute__((aligned(4))) __half2 {
  __half x, y;
};
using half2 = __half2;

inline half __float2half(float x) { return half(x); }
inline half __float2half_rn(float x) { return half(x); }
inline float __half2float(half x) { return float(x); }
inline half2 make_half2(half x, half y) { return {x, y}; }
inline half2 __halves2half2(half x, half y) { return {x, y}; }
