// CUDA's execution model for kernels compiled by the host's compiler. Included before their source.
//
// The compiler's thread-sanitizer instrumentation reports every access to memory to the runtime
// (../runtime), so pointers are plain pointers and the kernel's source stays as it is.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#define __CUDA_ARCH__ 800
#define __CUDACC_VER_MAJOR__ 13
#define __CUDACC_VER_MINOR__ 0

#define __global__
#define __device__
#define __host__
#define __constant__
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __forceinline__ inline __attribute__((always_inline))

namespace emulator {

// Bodies of warp-wide functions get the operands of every lane; those of absent lanes are null.
using WarpBody = void (*)(void* const* lanes);

// The thread's own coordinates never change while a kernel runs, hence "const".
extern "C" unsigned emulator_thread(int axis) __attribute__((const));
extern "C" unsigned emulator_block(int axis) __attribute__((const));
extern "C" unsigned emulator_block_size(int axis) __attribute__((const));
extern "C" unsigned emulator_grid_size(int axis) __attribute__((const));

void sync_threads();
void sync_warp(unsigned mask);
unsigned active_mask();
// Wait until the lanes of mask have come, then let one of them run body for all.
void warp_call(const char* name, WarpBody body, unsigned mask, void* operands);

void* shared_array(const char* name, size_t bytes, size_t alignment);
void* dynamic_shared_memory();
intptr_t shared_offset(const void* pointer);
void* shared_pointer(intptr_t offset);

void copy_async(void* target, const void* source, int bytes, int from_source);
void commit_copies();
void wait_copies(int groups_left);

// Count one instruction that has no other function here.
void count(const char* name);

template <unsigned (*get)(int), int axis>
struct Coordinate {
  operator unsigned() const { return get(axis); }
};
template <unsigned (*get)(int)>
struct Coordinates {
  Coordinate<get, 0> x;
  Coordinate<get, 1> y;
  Coordinate<get, 2> z;
};

}  // namespace emulator

static const emulator::Coordinates<emulator::emulator_thread> threadIdx;
static const emulator::Coordinates<emulator::emulator_block> blockIdx;
static const emulator::Coordinates<emulator::emulator_block_size> blockDim;
static const emulator::Coordinates<emulator::emulator_grid_size> gridDim;

__forceinline__ void __syncthreads() { emulator::sync_threads(); }
__forceinline__ void __syncwarp(unsigned mask = 0xffffffffu) { emulator::sync_warp(mask); }
__forceinline__ unsigned __activemask() { return emulator::active_mask(); }

// An address in shared memory is an offset there, as in PTX.
__forceinline__ size_t __cvta_generic_to_shared(const void* pointer) {
  return static_cast<size_t>(emulator::shared_offset(pointer));
}
__forceinline__ size_t __cvta_generic_to_global(const void* pointer) {
  return reinterpret_cast<size_t>(pointer);
}

#include "arithmetic.h"
#include "vectors.h"
#include "shuffles.h"
#include "ptx.h"
