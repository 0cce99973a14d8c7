// Bits of floats of 16 and 19 bits as float32, and back, rounded to nearest even.
#pragma once

#include <stdint.h>

namespace emulator {

inline float half_to_float(uint16_t h) {
  const uint32_t sign = uint32_t(h & 0x8000) << 16, magnitude = h & 0x7fff;
  if (magnitude >= 0x7c00)  // infinity, NaN
    return __builtin_bit_cast(float, sign | 0x7f800000u | (magnitude & 0x3ff) << 13);
  // Shift the fraction into place; the product moves the exponent's bias, subnormals included.
  const float moved = __builtin_bit_cast(float, magnitude << 13) * 0x1p112f;
  return __builtin_bit_cast(float, sign | __builtin_bit_cast(uint32_t, moved));
}

inline uint16_t float_to_half(float f) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, f), magnitude = bits & 0x7fffffff;
  const uint16_t sign = uint16_t(bits >> 16 & 0x8000);
  if (magnitude > 0x7f800000) return sign | 0x7fff;
  if (magnitude >= 0x477ff000) return sign | 0x7c00;  // 65520 and more round to infinity
  if (magnitude < 0x38800000) {                       // subnormal: let an addition round
    const float scaled = __builtin_bit_cast(float, magnitude) + 0x1p-1f;
    return sign | uint16_t(__builtin_bit_cast(uint32_t, scaled) - 0x3f000000);
  }
  const uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
  return sign | uint16_t((rounded >> 13) - (112 << 10));
}

inline float bfloat_to_float(uint16_t b) {
  return __builtin_bit_cast(float, uint32_t(b) << 16);
}

inline uint16_t float_to_bfloat(float f) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, f);
  if ((bits & 0x7fffffff) > 0x7f800000) return 0x7fff;
  return uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// The operands of tf32 instructions: their last 13 bits are not looked at.
inline float tf32_to_float(uint32_t bits) {
  return __builtin_bit_cast(float, bits & ~0x1fffu);
}

}  // namespace emulator
