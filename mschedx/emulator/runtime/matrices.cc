// What a warp does as one: ldmatrix, mma.sync, and the tiles of nvcuda::wmma.
//
// Fragments of mma.sync are laid out as the PTX ISA states, "Matrix Fragments for mma.m16n8k…":
// of lane l, group g = l / 4 and thread t = l % 4; register r of A holds the elements of row
// g + 8 · (r % 2) from column (r / 2) · 4w + t · w on, w elements to a register; of B, of column g
// from row r · 4w + t · w on.
#include <string.h>

#include "../include/formats.h"
#include "../include/warp_operands.h"
#include "machine.h"

namespace emulator {

namespace {

struct Half {
  static constexpr int width = 2;
  static float value(uint32_t word, int i) { return half_to_float(uint16_t(word >> 16 * i)); }
};
struct Bfloat {
  static constexpr int width = 2;
  static float value(uint32_t word, int i) { return bfloat_to_float(uint16_t(word >> 16 * i)); }
};
struct Tf32 {
  static constexpr int width = 1;
  static float value(uint32_t word, int) { return tf32_to_float(word); }
};
struct Signed {
  static constexpr int width = 4;
  static int32_t value(uint32_t word, int i) { return int8_t(word >> 8 * i); }
};
struct Unsigned {
  static constexpr int width = 4;
  static int32_t value(uint32_t word, int i) { return uint8_t(word >> 8 * i); }
};

// Floats are summed in double and rounded once: no order of the hardware's is more exact.
struct ToFloat {
  using Sum = double;
  static constexpr int per_register = 1;
  static double value(uint32_t word, int) { return __builtin_bit_cast(float, word); }
  static uint32_t pack(const double* sums) {
    return __builtin_bit_cast(uint32_t, float(sums[0]));
  }
};
struct ToHalf {
  using Sum = double;
  static constexpr int per_register = 2;
  static double value(uint32_t word, int i) { return half_to_float(uint16_t(word >> 16 * i)); }
  static uint32_t pack(const double* sums) {
    return float_to_half(float(sums[0])) | uint32_t(float_to_half(float(sums[1]))) << 16;
  }
};
struct ToInt {
  using Sum = uint32_t;  // wraps
  static constexpr int per_register = 1;
  static uint32_t value(uint32_t word, int) { return word; }
  static uint32_t pack(const uint32_t* sums) { return sums[0]; }
};

template <typename In, typename Out, int k>
void multiply_warp(void* const* lanes) {
  if (!complete(lanes)) return;
  constexpr int w = In::width;
  using Value = decltype(In::value(0, 0));
  Value a[16][k], b[8][k];
  for (int lane = 0; lane < kWarp; ++lane) {
    const auto& in = *static_cast<const MultiplyOperands*>(lanes[lane]);
    const int g = lane / 4, t = lane % 4;
    for (int r = 0; r < k / (2 * w); ++r)
      for (int e = 0; e < w; ++e)
        a[g + 8 * (r % 2)][r / 2 * 4 * w + t * w + e] = In::value(in.a[r], e);
    for (int r = 0; r < k / (4 * w); ++r)
      for (int e = 0; e < w; ++e) b[g][r * 4 * w + t * w + e] = In::value(in.b[r], e);
  }
  constexpr int n = Out::per_register;
  for (int lane = 0; lane < kWarp; ++lane) {
    auto& io = *static_cast<MultiplyOperands*>(lanes[lane]);
    for (int r = 0; r < 4 / n; ++r) {
      typename Out::Sum sums[n];
      for (int e = 0; e < n; ++e) {
        const int i = r * n + e;  // c_i
        const int row = lane / 4 + (i < 2 ? 0 : 8), column = lane % 4 * 2 + i % 2;
        typename Out::Sum sum = Out::value(io.c[r], e);
        for (int j = 0; j < k; ++j)
          sum += typename Out::Sum(a[row][j]) * typename Out::Sum(b[column][j]);
        sums[e] = sum;
      }
      io.d[r] = Out::pack(sums);
    }
  }
}

}  // namespace

#define EMULATOR_MULTIPLY(m, In, Out, k) \
  template <>                            \
  void multiply<Multiply::m>(void* const* lanes) { multiply_warp<In, Out, k>(lanes); }
EMULATOR_MULTIPLY(k16_f32_f16, Half, ToFloat, 16)
EMULATOR_MULTIPLY(k8_f32_f16, Half, ToFloat, 8)
EMULATOR_MULTIPLY(k16_f16_f16, Half, ToHalf, 16)
EMULATOR_MULTIPLY(k8_f16_f16, Half, ToHalf, 8)
EMULATOR_MULTIPLY(k16_f32_bf16, Bfloat, ToFloat, 16)
EMULATOR_MULTIPLY(k8_f32_bf16, Bfloat, ToFloat, 8)
EMULATOR_MULTIPLY(k8_f32_tf32, Tf32, ToFloat, 8)
EMULATOR_MULTIPLY(k4_f32_tf32, Tf32, ToFloat, 4)
EMULATOR_MULTIPLY(k32_s32_s8, Signed, ToInt, 32)
EMULATOR_MULTIPLY(k16_s32_s8, Signed, ToInt, 16)
EMULATOR_MULTIPLY(k32_s32_u8, Unsigned, ToInt, 32)
EMULATOR_MULTIPLY(k16_s32_u8, Unsigned, ToInt, 16)

namespace {

void load_warp(void* const* lanes, int matrices, bool transposed) {
  if (!complete(lanes)) return;
  Piece pieces[kWarp];
  for (int row = 0; row < 8 * matrices; ++row) {
    const char* from = static_cast<const MatrixLoad*>(lanes[row])->row;
    lane_access(row, from, 16, false);
    pieces[row] = {uint64_t(from), 16};
  }
  if (machine.counting)
    count_pieces(machine.current->call.pc, false, true, pieces, 8 * matrices, 8);
  for (int matrix = 0; matrix < matrices; ++matrix) {
    for (int lane = 0; lane < kWarp; ++lane) {
      uint16_t pair[2];
      for (int e = 0; e < 2; ++e) {
        const int row = transposed ? lane % 4 * 2 + e : lane / 4;
        const int column = transposed ? lane / 4 : lane % 4 * 2 + e;
        const char* from = static_cast<const MatrixLoad*>(lanes[8 * matrix + row])->row;
        memcpy(&pair[e], from + 2 * column, 2);
      }
      static_cast<MatrixLoad*>(lanes[lane])->registers[matrix] =
          pair[0] | uint32_t(pair[1]) << 16;
    }
  }
}

}  // namespace

#define EMULATOR_LOAD(n)                                                                        \
  template <>                                                                                   \
  void load_matrices<n, false>(void* const* lanes) { load_warp(lanes, n, false); }              \
  template <>                                                                                   \
  void load_matrices<n, true>(void* const* lanes) { load_warp(lanes, n, true); }
EMULATOR_LOAD(1)
EMULATOR_LOAD(2)
EMULATOR_LOAD(4)

}  // namespace emulator
