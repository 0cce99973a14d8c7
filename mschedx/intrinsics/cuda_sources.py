"""Device functions in CUDA C++ for what TVM has no operation for."""

from __future__ import annotations

from typing import Any

from .build import T

_FILL = """
template <typename T>
__forceinline__ __device__ void mschedx_mma_fill(T* registers) {
#pragma unroll
  for (int i = 0; i < 8; ++i) registers[i] = T(0);
}
"""

# Registers (half, row of matrices, pair of columns): see "Matrix fragments" in the PTX ISA.
_STORE = """
template <typename T>
__forceinline__ __device__ void mschedx_mma_store(T* target, int pitch, const T* registers) {
  struct alignas(2 * sizeof(T)) Pair { T x, y; };
  const int row = threadIdx.x / 4, column = threadIdx.x % 4 * 2;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    T* to = target + (row + i % 2 * 8) * pitch + column + i / 2 * 8;
    if (pitch % 2 == 0) {
      const Pair pair{registers[2 * i], registers[2 * i + 1]};
      *reinterpret_cast<Pair*>(to) = pair;
    } else {
      to[0] = registers[2 * i];
      to[1] = registers[2 * i + 1];
    }
  }
}
"""

_REGISTER = """
template <typename T>
__forceinline__ __device__ T mschedx_mma_register(const T* registers, int i) {
  return registers[i];
}
"""


def _gather(width: int, chunks: int) -> str:
    """Source of a load of B stored as [k, n]: ``width`` elements along k make a register."""
    return f"""
template <typename T>
__forceinline__ __device__ void mschedx_mma_gather_{width}x{chunks}(
    T* registers, const T* source, int pitch) {{
  const T* from = source + threadIdx.x % 4 * {width} * pitch + threadIdx.x / 4;
#pragma unroll
  for (int half = 0; half < 2; ++half)
#pragma unroll
    for (int chunk = 0; chunk < {chunks}; ++chunk)
#pragma unroll
      for (int e = 0; e < {width}; ++e)
        registers[(half * {chunks} + chunk) * {width} + e] =
            from[(chunk * {4 * width} + e) * pitch + half * 8];
}}
"""


def _copy_async(size: int) -> str:
    """Source of an asynchronous copy; 16 bytes at once bypass the L1 cache."""
    return f"""
__forceinline__ __device__ void mschedx_copy_async_{size}(void* target, const void* source) {{
  asm volatile("cp.async.{"cg" if size == 16 else "ca"}.shared.global [%0], [%1], {size};"
               :: "r"((unsigned)__cvta_generic_to_shared(target)),
                  "l"(__cvta_generic_to_global(source)) : "memory");
}}
"""


SOURCES = {
    "mschedx_mma_fill": _FILL,
    "mschedx_mma_store": _STORE,
    "mschedx_mma_register": _REGISTER,
    **{
        f"mschedx_mma_gather_{width}x{chunks}": _gather(width, chunks)
        for width, chunks in ((4, 1), (4, 2), (1, 1), (1, 2))
    },
    **{f"mschedx_copy_async_{size}": _copy_async(size) for size in (4, 8, 16)},
}


def call(name: str, *arguments: Any) -> None:
    """Emit a call of the device function ``name``; its source goes into the module once."""
    T.evaluate(call_value(name, "void", *arguments))


def call_value(name: str, dtype: str, *arguments: Any) -> Any:
    """Make an expression of type ``dtype`` that calls the device function ``name``."""
    return T.cuda.func_call(name, *arguments, source_code=SOURCES[name], return_type=dtype)
