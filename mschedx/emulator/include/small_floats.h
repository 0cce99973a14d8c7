// Classes for floats of 16 bits: rounded to nearest even, computed in float32, whose 24 bits of significand make
// the double rounding of +, -, *, / and sqrt harmless (at least 2 · 11 + 2 bits).
#pragma once

#include "formats.h"

// A class for one format; every arithmetic operator rounds once.
#define EMULATOR_SMALL_FLOAT(name, to_float, from_float)                                    \
  struct name {                                                                             \
    uint16_t bits;                                                                          \
    name() = default;                                                                       \
    name(float x) : bits(emulator::from_float(x)) {}                                        \
    name(double x) : name(float(x)) {}                                                      \
    name(int x) : name(float(x)) {}                                                         \
    name(unsigned x) : name(float(x)) {}                                                    \
    name(long x) : name(float(x)) {}                                                        \
    name(unsigned long x) : name(float(x)) {}                                               \
    name(long long x) : name(float(x)) {}                                                   \
    operator float() const { return emulator::to_float(bits); }                             \
  };                                                                                        \
  inline name operator+(name a, name b) { return name(float(a) + float(b)); }               \
  inline name operator-(name a, name b) { return name(float(a) - float(b)); }               \
  inline name operator*(name a, name b) { return name(float(a) * float(b)); }               \
  inline name operator/(name a, name b) { return name(float(a) / float(b)); }               \
  inline name operator-(name a) { return name(-float(a)); }                                 \
  inline name& operator+=(name& a, name b) { return a = a + b; }                            \
  inline name& operator-=(name& a, name b) { return a = a - b; }                            \
  inline name& operator*=(name& a, name b) { return a = a * b; }                            \
  inline bool operator<(name a, name b) { return float(a) < float(b); }                     \
  inline bool operator>(name a, name b) { return float(a) > float(b); }                     \
  inline bool operator<=(name a, name b) { return float(a) <= float(b); }                   \
  inline bool operator>=(name a, name b) { return float(a) >= float(b); }                   \
  inline bool operator==(name a, name b) { return float(a) == float(b); }                   \
  inline bool operator!=(name a, name b) { return float(a) != float(b); }                   \
  inline bool __hgt(name a, name b) { return a > b; }                                       \
  inline bool __hlt(name a, name b) { return a < b; }                                       \
  inline bool __hge(name a, name b) { return a >= b; }                                      \
  inline bool __hle(name a, name b) { return a <= b; }                                      \
  inline bool __heq(name a, name b) { return a == b; }                                      \
  inline bool __hne(name a, name b) { return a != b; }                                      \
  inline name __hadd(name a, name b) { return a + b; }                                      \
  inline name __hsub(name a, name b) { return a - b; }                                      \
  inline name __hmul(name a, name b) { return a * b; }                                      \
  inline name __hdiv(name a, name b) { return a / b; }                                      \
  inline name __hneg(name a) { return -a; }                                                 \
  inline name __habs(name a) { return name(fabsf(a)); }                                     \
  inline name hexp(name a) { return name(expf(a)); }                                        \
  inline name hlog(name a) { return name(logf(a)); }                                        \
  inline name hlog2(name a) { return name(log2f(a)); }                                      \
  inline name hsqrt(name a) { return name(sqrtf(a)); }                                      \
  inline name hrsqrt(name a) { return name(1.0f / sqrtf(a)); }                              \
  inline name hrcp(name a) { return name(1.0f / float(a)); }                                \
  inline name hsin(name a) { return name(sinf(a)); }                                        \
  inline name hcos(name a) { return name(cosf(a)); }                                        \
  inline name htanh(name a) { return name(tanhf(a)); }                                      \
  inline name hfloor(name a) { return name(floorf(a)); }                                    \
  inline name hceil(name a) { return name(ceilf(a)); }                                      \
  inline name htrunc(name a) { return name(truncf(a)); }                                    \
  inline name hrint(name a) { return name(rintf(a)); }
