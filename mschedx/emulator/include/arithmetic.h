// Functions on numbers that CUDA declares without a header.
#pragma once

#define EMULATOR_MIN_MAX(T)                                  \
  __forceinline__ T min(T a, T b) { return b < a ? b : a; }  \
  __forceinline__ T max(T a, T b) { return a < b ? b : a; }
EMULATOR_MIN_MAX(int)
EMULATOR_MIN_MAX(unsigned)
EMULATOR_MIN_MAX(long)
EMULATOR_MIN_MAX(unsigned long)
EMULATOR_MIN_MAX(long long)
EMULATOR_MIN_MAX(unsigned long long)
#undef EMULATOR_MIN_MAX
// Of a number and a NaN, CUDA returns the number.
__forceinline__ float min(float a, float b) { return fminf(a, b); }
__forceinline__ float max(float a, float b) { return fmaxf(a, b); }
__forceinline__ double min(double a, double b) { return fmin(a, b); }
__forceinline__ double max(double a, double b) { return fmax(a, b); }

__forceinline__ float rsqrtf(float x) { return 1.0f / sqrtf(x); }
__forceinline__ double rsqrt(double x) { return 1.0 / sqrt(x); }
__forceinline__ float __expf(float x) { return expf(x); }
__forceinline__ float __exp10f(float x) { return powf(10.0f, x); }
__forceinline__ float exp10f(float x) { return powf(10.0f, x); }
__forceinline__ float __logf(float x) { return logf(x); }
__forceinline__ float __log2f(float x) { return log2f(x); }
__forceinline__ float __log10f(float x) { return log10f(x); }
__forceinline__ float __powf(float x, float y) { return powf(x, y); }
__forceinline__ float __sinf(float x) { return sinf(x); }
__forceinline__ float __cosf(float x) { return cosf(x); }
__forceinline__ float __tanf(float x) { return tanf(x); }
__forceinline__ float __fdividef(float x, float y) { return x / y; }

__forceinline__ int __float_as_int(float x) { return __builtin_bit_cast(int, x); }
__forceinline__ float __int_as_float(int x) { return __builtin_bit_cast(float, x); }

namespace emulator {
template <typename A, typename B, typename C>
__forceinline__ C dot_of_bytes(unsigned a, unsigned b, C sum) {
  count("dp4a");
  unsigned total = static_cast<unsigned>(sum);
  for (int i = 0; i < 4; ++i)
    total += static_cast<unsigned>(static_cast<A>(a >> (8 * i)) * static_cast<B>(b >> (8 * i)));
  return static_cast<C>(total);
}
}  // namespace emulator

__forceinline__ int __dp4a(int a, int b, int sum) {
  return emulator::dot_of_bytes<signed char, signed char>(a, b, sum);
}
__forceinline__ unsigned __dp4a(unsigned a, unsigned b, unsigned sum) {
  return emulator::dot_of_bytes<unsigned char, unsigned char>(a, b, sum);
}
