// What lanes hand over to warp-wide instructions, for kernels and for the runtime.
#pragma once

namespace emulator {

// What multiplies in a warp, as in "mma.sync.aligned.m16n8k{k}.row.col".
enum class Multiply : int {
  k16_f32_f16, k8_f32_f16, k16_f16_f16, k8_f16_f16, k16_f32_bf16, k8_f32_bf16,
  k8_f32_tf32, k4_f32_tf32, k32_s32_s8, k16_s32_s8, k32_s32_u8, k16_s32_u8,
};

// One lane's registers; each has those that its fragments need.
struct MultiplyOperands {
  unsigned a[4], b[2], c[4], d[4];
};
struct MatrixLoad {
  const char* row;
  unsigned registers[4];
};

template <Multiply m>
void multiply(void* const* lanes);
template <int matrices, bool transposed>
void load_matrices(void* const* lanes);

enum class Element : int { f16, bf16, tf32, f32, s8, u8, s32 };

// A fragment's elements of one lane, and what they are elements of.
struct Tile {
  Element type;
  int rows, columns;
  void* elements;
};
struct TileAccess {
  Tile tile;
  unsigned alignment;  // bytes
  const void* memory;
  unsigned pitch;
  bool column_major;
};
struct TileProduct {
  Tile a, b, c, d;
};
void load_tile(void* const* lanes);
void store_tile(void* const* lanes);
void multiply_tiles(void* const* lanes);

}  // namespace emulator
