// PTX instructions, named as in PTX with dots as underscores. A translated `asm` statement calls
// one with its operands in the order in which the instruction names them.
#pragma once
#include "warp_operands.h"

namespace emulator {

// Number of 32-bit registers of a lane.
constexpr int a_registers(Multiply m) {
  switch (m) {
    case Multiply::k8_f32_f16: case Multiply::k8_f16_f16: case Multiply::k8_f32_bf16:
    case Multiply::k4_f32_tf32: case Multiply::k16_s32_s8: case Multiply::k16_s32_u8: return 2;
    default: return 4;
  }
}
constexpr int c_registers(Multiply m) {
  return m == Multiply::k16_f16_f16 || m == Multiply::k8_f16_f16 ? 2 : 4;
}

constexpr const char* multiply_name(Multiply m) {
  switch (m) {
    case Multiply::k4_f32_tf32: return "mma.m16n8k4";
    case Multiply::k8_f32_f16: case Multiply::k8_f16_f16: case Multiply::k8_f32_bf16:
    case Multiply::k8_f32_tf32: return "mma.m16n8k8";
    case Multiply::k32_s32_s8: case Multiply::k32_s32_u8: return "mma.m16n8k32";
    default: return "mma.m16n8k16";
  }
}

template <typename T>
__forceinline__ unsigned to_bits(T value) { return __builtin_bit_cast(unsigned, value); }
template <typename T>
__forceinline__ void from_bits(T& target, unsigned bits) { target = __builtin_bit_cast(T, bits); }

template <Multiply m, typename... Inputs>
__forceinline__ MultiplyOperands multiply_call(Inputs... inputs) {
  static_assert(sizeof...(inputs) == a_registers(m) * 3 / 2 + c_registers(m));
  const unsigned words[] = {to_bits(inputs)...};
  MultiplyOperands operands;
  int i = 0;
  for (int j = 0; j < a_registers(m); ++j) operands.a[j] = words[i++];
  for (int j = 0; j < a_registers(m) / 2; ++j) operands.b[j] = words[i++];
  for (int j = 0; j < c_registers(m); ++j) operands.c[j] = words[i++];
  warp_call(multiply_name(m), multiply<m>, ~0u, &operands);
  return operands;
}

template <int matrices, bool transposed>
__forceinline__ MatrixLoad load_call(unsigned address) {
  MatrixLoad load;
  load.row = static_cast<const char*>(shared_pointer(static_cast<int>(address)));
  warp_call("ldmatrix", load_matrices<matrices, transposed>, ~0u, &load);
  return load;
}

namespace ptx {

#define EMULATOR_MMA4(name, m)                                                      \
  template <typename R, typename... Inputs>                                         \
  __forceinline__ void mma_sync_aligned_##name(R& d0, R& d1, R& d2, R& d3, Inputs... inputs) { \
    const MultiplyOperands done = multiply_call<Multiply::m>(inputs...);            \
    from_bits(d0, done.d[0]), from_bits(d1, done.d[1]);                             \
    from_bits(d2, done.d[2]), from_bits(d3, done.d[3]);                             \
  }
#define EMULATOR_MMA2(name, m)                                                      \
  template <typename R, typename... Inputs>                                         \
  __forceinline__ void mma_sync_aligned_##name(R& d0, R& d1, Inputs... inputs) {    \
    const MultiplyOperands done = multiply_call<Multiply::m>(inputs...);            \
    from_bits(d0, done.d[0]), from_bits(d1, done.d[1]);                             \
  }
EMULATOR_MMA4(m16n8k16_row_col_f32_f16_f16_f32, k16_f32_f16)
EMULATOR_MMA4(m16n8k8_row_col_f32_f16_f16_f32, k8_f32_f16)
EMULATOR_MMA2(m16n8k16_row_col_f16_f16_f16_f16, k16_f16_f16)
EMULATOR_MMA2(m16n8k8_row_col_f16_f16_f16_f16, k8_f16_f16)
EMULATOR_MMA4(m16n8k16_row_col_f32_bf16_bf16_f32, k16_f32_bf16)
EMULATOR_MMA4(m16n8k8_row_col_f32_bf16_bf16_f32, k8_f32_bf16)
EMULATOR_MMA4(m16n8k8_row_col_f32_tf32_tf32_f32, k8_f32_tf32)
EMULATOR_MMA4(m16n8k4_row_col_f32_tf32_tf32_f32, k4_f32_tf32)
EMULATOR_MMA4(m16n8k32_row_col_s32_s8_s8_s32, k32_s32_s8)
EMULATOR_MMA4(m16n8k16_row_col_s32_s8_s8_s32, k16_s32_s8)
EMULATOR_MMA4(m16n8k32_row_col_s32_u8_u8_s32, k32_s32_u8)
EMULATOR_MMA4(m16n8k16_row_col_s32_u8_u8_s32, k16_s32_u8)
#undef EMULATOR_MMA4
#undef EMULATOR_MMA2

#define EMULATOR_LDMATRIX(suffix, transposed)                                        \
  __forceinline__ void ldmatrix_sync_aligned_m8n8_x1##suffix(unsigned& r0, unsigned address) { \
    r0 = load_call<1, transposed>(address).registers[0];                             \
  }                                                                                  \
  __forceinline__ void ldmatrix_sync_aligned_m8n8_x2##suffix(unsigned& r0, unsigned& r1,       \
                                                             unsigned address) {     \
    const MatrixLoad load = load_call<2, transposed>(address);                       \
    r0 = load.registers[0], r1 = load.registers[1];                                  \
  }                                                                                  \
  __forceinline__ void ldmatrix_sync_aligned_m8n8_x4##suffix(unsigned& r0, unsigned& r1,       \
                                                             unsigned& r2, unsigned& r3,       \
                                                             unsigned address) {     \
    const MatrixLoad load = load_call<4, transposed>(address);                       \
    r0 = load.registers[0], r1 = load.registers[1];                                  \
    r2 = load.registers[2], r3 = load.registers[3];                                  \
  }
EMULATOR_LDMATRIX(_shared_b16, false)
EMULATOR_LDMATRIX(_trans_shared_b16, true)
#undef EMULATOR_LDMATRIX

// The last operand is how many bytes come from the source; the rest are zeros.
__forceinline__ void cp_async_ca_shared_global(unsigned target, size_t source, int bytes,
                                               int from_source) {
  copy_async(shared_pointer(static_cast<int>(target)), reinterpret_cast<const void*>(source), bytes,
             from_source);
}
__forceinline__ void cp_async_ca_shared_global(unsigned target, size_t source, int bytes) {
  cp_async_ca_shared_global(target, source, bytes, bytes);
}
__forceinline__ void cp_async_cg_shared_global(unsigned target, size_t source, int bytes,
                                               int from_source) {
  cp_async_ca_shared_global(target, source, bytes, from_source);
}
__forceinline__ void cp_async_cg_shared_global(unsigned target, size_t source, int bytes) {
  cp_async_ca_shared_global(target, source, bytes, bytes);
}
__forceinline__ void cp_async_commit_group() { commit_copies(); }
__forceinline__ void cp_async_wait_group(int groups_left) { wait_copies(groups_left); }
__forceinline__ void cp_async_wait_all() { commit_copies(), wait_copies(0); }

template <typename D>
__forceinline__ void dp4a_u32_s32(D& d, unsigned a, unsigned b, int sum) {
  d = dot_of_bytes<unsigned char, signed char>(a, b, sum);
}
template <typename D>
__forceinline__ void dp4a_s32_u32(D& d, unsigned a, unsigned b, int sum) {
  d = dot_of_bytes<signed char, unsigned char>(a, b, sum);
}

}  // namespace ptx
}  // namespace emulator
