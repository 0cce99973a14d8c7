// Stands in for CUDA's header of the same name: nvcuda::wmma.
//
// Which lane holds which element of a fragment is unspecified in CUDA. Here element e, counted row
// by row, is in lane e % 32.
#pragma once
#include "cuda_bf16.h"
#include "cuda_fp16.h"
#include "warp_operands.h"

namespace emulator {

template <typename T>
struct ElementOf;

}  // namespace emulator

namespace nvcuda::wmma {

struct matrix_a {};
struct matrix_b {};
struct accumulator {};
struct row_major {};
struct col_major {};
enum layout_t { mem_row_major, mem_col_major };
namespace precision {
struct tf32 {};
}

}  // namespace nvcuda::wmma

namespace emulator {

#define EMULATOR_ELEMENT(T, kept, name)             \
  template <>                                       \
  struct ElementOf<T> {                             \
    static constexpr Element type = Element::name;  \
    using Stored = kept;                            \
  };
EMULATOR_ELEMENT(__half, __half, f16)
EMULATOR_ELEMENT(__nv_bfloat16, __nv_bfloat16, bf16)
EMULATOR_ELEMENT(nvcuda::wmma::precision::tf32, float, tf32)
EMULATOR_ELEMENT(float, float, f32)
EMULATOR_ELEMENT(char, char, s8)
EMULATOR_ELEMENT(signed char, signed char, s8)
EMULATOR_ELEMENT(unsigned char, unsigned char, u8)
EMULATOR_ELEMENT(int, int, s32)
#undef EMULATOR_ELEMENT

template <typename Use, int m, int n, int k>
struct TileShape;
template <int m, int n, int k>
struct TileShape<nvcuda::wmma::matrix_a, m, n, k> { static constexpr int rows = m, columns = k; };
template <int m, int n, int k>
struct TileShape<nvcuda::wmma::matrix_b, m, n, k> { static constexpr int rows = k, columns = n; };
template <int m, int n, int k>
struct TileShape<nvcuda::wmma::accumulator, m, n, k> { static constexpr int rows = m, columns = n; };

// Shapes of the CUDA C++ Programming Guide, "Element Types and Matrix Sizes".
template <typename T>
constexpr bool has_shape(int m, int n, int k) {
  if (ElementOf<T>::type == Element::tf32) return m == 16 && n == 16 && k == 8;
  return k == 16 && ((m == 16 && n == 16) || (m == 32 && n == 8) || (m == 8 && n == 32)) ||
         (ElementOf<T>::type == Element::f32 && m == 16 && n == 16 && k == 8);
}

}  // namespace emulator

namespace nvcuda::wmma {

template <typename Use, int m, int n, int k, typename T, typename Layout = void>
struct fragment {
  static_assert(emulator::has_shape<T>(m, n, k), "wmma has no such shape for these elements");
  using Shape = emulator::TileShape<Use, m, n, k>;
  static constexpr int num_elements = Shape::rows * Shape::columns / 32;
  using Stored = typename emulator::ElementOf<T>::Stored;
  Stored x[num_elements];

  // Bytes of a lane's registers, to which the PTX manual ("Matrix Storage for WMMA") has rows
  // aligned; operands of half precision take 8 registers in any shape.
  static constexpr unsigned alignment =
      __is_same(T, __half) && !__is_same(Use, accumulator) ? 32 : num_elements * sizeof(Stored);

  emulator::Tile tile() {
    return {emulator::ElementOf<T>::type, Shape::rows, Shape::columns, x};
  }
};

template <typename Fragment, typename V>
__forceinline__ void fill_fragment(Fragment& fragment, V value) {
  for (int i = 0; i < Fragment::num_elements; ++i) fragment.x[i] = value;
}

template <typename Use, int m, int n, int k, typename T, typename Layout, typename M>
__forceinline__ void load_matrix_sync(fragment<Use, m, n, k, T, Layout>& fragment, const M* memory,
                                      unsigned pitch) {
  emulator::TileAccess access{fragment.tile(), fragment.alignment, memory, pitch, __is_same(Layout, col_major)};
  emulator::warp_call("wmma.load", emulator::load_tile, ~0u, &access);
}

template <int m, int n, int k, typename T, typename M>
__forceinline__ void load_matrix_sync(fragment<accumulator, m, n, k, T>& fragment, const M* memory,
                                      unsigned pitch, layout_t layout) {
  emulator::TileAccess access{fragment.tile(), fragment.alignment, memory, pitch, layout == mem_col_major};
  emulator::warp_call("wmma.load", emulator::load_tile, ~0u, &access);
}

template <int m, int n, int k, typename T, typename M>
__forceinline__ void store_matrix_sync(M* memory, fragment<accumulator, m, n, k, T>& fragment,
                                       unsigned pitch, layout_t layout) {
  emulator::TileAccess access{fragment.tile(), fragment.alignment, memory, pitch, layout == mem_col_major};
  emulator::warp_call("wmma.store", emulator::store_tile, ~0u, &access);
}

template <int m, int n, int k, typename T, typename LA, typename LB, typename D, typename C>
__forceinline__ void mma_sync(fragment<accumulator, m, n, k, D>& d,
                              fragment<matrix_a, m, n, k, T, LA>& a,
                              fragment<matrix_b, m, n, k, T, LB>& b,
                              fragment<accumulator, m, n, k, C>& c) {
  emulator::TileProduct product{a.tile(), b.tile(), c.tile(), d.tile()};
  emulator::warp_call(k == 8 ? "wmma.mma.k8" : "wmma.mma.k16", emulator::multiply_tiles, ~0u, &product);
}

}  // namespace nvcuda::wmma
