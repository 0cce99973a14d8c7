// nvcuda::wmma: element e of a fragment, counted row by row, is element e / 32 of lane e % 32.
#include <string.h>

#include <algorithm>

#include "../include/formats.h"
#include "../include/warp_operands.h"
#include "machine.h"

namespace emulator {

namespace {

int element_bytes(Element type) {
  switch (type) {
    case Element::f16: case Element::bf16: return 2;
    case Element::s8: case Element::u8: return 1;
    default: return 4;
  }
}

double read(const Tile& tile, int i) {
  switch (tile.type) {
    case Element::f16: return half_to_float(static_cast<uint16_t*>(tile.elements)[i]);
    case Element::bf16: return bfloat_to_float(static_cast<uint16_t*>(tile.elements)[i]);
    case Element::tf32: return tf32_to_float(static_cast<uint32_t*>(tile.elements)[i]);
    case Element::f32: return static_cast<float*>(tile.elements)[i];
    case Element::s8: return static_cast<int8_t*>(tile.elements)[i];
    case Element::u8: return static_cast<uint8_t*>(tile.elements)[i];
    case Element::s32: return static_cast<int32_t*>(tile.elements)[i];
  }
  __builtin_unreachable();
}

void write(const Tile& tile, int i, double value) {
  switch (tile.type) {
    case Element::f16:
      static_cast<uint16_t*>(tile.elements)[i] = float_to_half(float(value));
      break;
    case Element::s32:  // wraps
      static_cast<uint32_t*>(tile.elements)[i] = uint32_t(int64_t(value));
      break;
    default: static_cast<float*>(tile.elements)[i] = float(value);
  }
}

const TileAccess& first(void* const* lanes) { return *static_cast<TileAccess*>(lanes[0]); }

// All lanes must say the same; those that do not are reported.
bool agree(void* const* lanes) {
  for (int lane = 1; lane < kWarp; ++lane) {
    const auto& mine = *static_cast<TileAccess*>(lanes[lane]);
    if (mine.memory != first(lanes).memory || mine.pitch != first(lanes).pitch)
      return report_divergence(lane), false;
  }
  return true;
}

// Move a tile. Its start is aligned as the PTX manual asks, to the bytes of a lane's fragment (8 for
// 16 x 16 of s8, where the CUDA C++ Programming Guide has 32 for all). The other rows of wider
// fragments are too in the manual, but to 16 bytes in the guide ("ldm"), which is what compilers rely
// on.
void move(void* const* lanes, bool store) {
  if (!complete(lanes) || !agree(lanes)) return;
  const TileAccess& access = first(lanes);
  const int size = element_bytes(access.tile.type);
  const int lines = access.column_major ? access.tile.columns : access.tile.rows;
  const int length = access.column_major ? access.tile.rows : access.tile.columns;
  const auto* base = static_cast<const char*>(access.memory);
  const unsigned row_alignment = std::min(access.alignment, 16u);
  if (size_t(base) % access.alignment != 0 || access.pitch * unsigned(size) % row_alignment != 0)
    report_misaligned(*machine.current, base, unsigned(size), store, machine.current->call.pc);
  // Eight lines of 16 bytes together, as ldmatrix would; results in pairs, as mma leaves them.
  const int piece = std::min(store ? 2 * size : 16, length * size);
  const int pieces = length * size / piece;
  std::vector<Piece> moved;
  for (int group = 0; group < lines; group += 8)
    for (int p = 0; p < pieces; p += store ? 4 : 1)
      for (int line = group; line < group + 8; ++line)
        for (int q = p; q < p + (store ? 4 : 1); ++q) {
          const char* at = base + (size_t(line) * access.pitch * size + size_t(q) * piece);
          const unsigned step = std::min(unsigned(piece), access.alignment);
          for (unsigned i = 0; i < unsigned(piece); i += step)
            lane_access(int(moved.size()) % kWarp, at + i, step, store);
          moved.push_back({uint64_t(at), uint32_t(piece)});
        }
  if (machine.counting)
    count_pieces(machine.current->call.pc, store, is_shared(base), moved.data(), int(moved.size()),
                 store ? 32 : 8);
  for (int i = 0; i < access.tile.rows * access.tile.columns; ++i) {
    const int row = i / access.tile.columns, column = i % access.tile.columns;
    const size_t line = size_t(access.column_major ? column : row);
    const size_t place = size_t(access.column_major ? row : column);
    char* at = const_cast<char*>(base) + (line * access.pitch + place) * size_t(size);
    auto* mine = static_cast<char*>(static_cast<TileAccess*>(lanes[i % kWarp])->tile.elements);
    char* element = mine + i / kWarp * size;
    memcpy(store ? at : element, store ? element : at, size_t(size));
  }
}

}  // namespace

void load_tile(void* const* lanes) { move(lanes, false); }
void store_tile(void* const* lanes) { move(lanes, true); }

void multiply_tiles(void* const* lanes) {
  if (!complete(lanes)) return;
  auto product = [&](int lane) -> TileProduct& { return *static_cast<TileProduct*>(lanes[lane]); };
  const int m = product(0).a.rows, n = product(0).b.columns, k = product(0).a.columns;
  double a[32 * 16], b[32 * 16];
  for (int i = 0; i < m * k; ++i) a[i] = read(product(i % kWarp).a, i / kWarp);
  for (int i = 0; i < k * n; ++i) b[i] = read(product(i % kWarp).b, i / kWarp);
  for (int i = 0; i < m * n; ++i) {
    double sum = read(product(i % kWarp).c, i / kWarp);
    for (int j = 0; j < k; ++j) sum += a[i / n * k + j] * b[j * n + i % n];
    write(product(i % kWarp).d, i / kWarp, sum);
  }
}

}  // namespace emulator
