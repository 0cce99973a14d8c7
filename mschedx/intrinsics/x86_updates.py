"""The arithmetic of x86's dot products as TIR expressions: new C from a word of A and vectors.

Each function here returns an ``Update``: ([(a, b), …], c) -> c + Σ a · b, where ``a`` is an int32
word of adjacent values of A, ``b`` the vector of B that it meets (``lanes`` rows of 32 bits) and
``c`` the vector of C.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tvm.target.codegen import llvm_lookup_intrinsic_id

from .build import T

Update = Callable[[Sequence[tuple[Any, Any]], Any], Any]

# TVM stores an internal bfloat16 buffer (a packed panel) as float32 unless something takes its
# address, so an implementation hands the addresses of A and B to this empty function.
KEEP_BFLOAT16 = "mschedx_keep_bfloat16"


def _llvm(dtype: str, name: str, *arguments: Any) -> Any:
    """Call a side-effect-free LLVM intrinsic by its name."""
    return T.call_llvm_pure_intrin(dtype, T.uint32(llvm_lookup_intrinsic_id(name)), *arguments)


def _one_by_one(step: Callable[[Any, Any, Any], Any]) -> Update:
    """Apply (a, b, c) -> c + a · b to one pair after the other."""

    def update(pairs: Sequence[tuple[Any, Any]], c: Any) -> Any:
        for a, b in pairs:
            c = step(a, b, c)
        return c

    return update


def _spread(word: Any, lanes: int, dtype: str) -> Any:
    """Broadcast a 32-bit word to ``lanes`` lanes and see the register as ``dtype``."""
    return T.reinterpret(dtype, T.broadcast(word, lanes))


def _constant(value: int, lanes: int) -> Any:
    return T.broadcast(T.uint32(value), lanes)


def _concatenate(words: list[Any]) -> Any:
    """Make one vector of int32 words."""
    return T.Shuffle(words, list(range(len(words))))


def _vpdpbusd(lanes: int, u8: Any, s8: Any, c: Any) -> Any:
    """Add the dot products of four bytes a lane; this LLVM takes vectors of bytes, not of words."""
    return _llvm(f"int32x{lanes}", f"llvm.x86.avx512.vpdpbusd.{lanes * 32}", c, u8, s8)


def vpdpbusd(lanes: int) -> Update:
    """u8 × s8 in one instruction."""

    def step(a: Any, b: Any, c: Any) -> Any:
        return _vpdpbusd(lanes, _spread(a, lanes, f"int8x{lanes * 4}"), b, c)

    return _one_by_one(step)


def vpdpbusd_offset(lanes: int) -> Update:
    """s8 × s8 by an offset of B: a · b = a · (b + 128) − 128 · Σ a, exact in wrapping int32.

    Flipping the top bit of every byte adds 128, -128 included. A register tile flips a vector of B
    once for all its rows. The second term is one number a row, shared by all vectors of the row:
    a dot product across 4, 8 or 16 words of A and a sum over its lanes.
    """
    flip = 0x80808080

    def update(pairs: Sequence[tuple[Any, Any]], c: Any) -> Any:
        for a, b in pairs:
            words = T.bitwise_xor(T.reinterpret(f"uint32x{lanes}", b), _constant(flip, lanes))
            s8 = _spread(a, lanes, f"int8x{lanes * 4}")
            c = _vpdpbusd(lanes, T.reinterpret(f"int8x{lanes * 4}", words), s8, c)
        return c - excess([a for a, _ in pairs])

    def excess(words: list[Any]) -> Any:
        """128 times the sum of all bytes, in every lane."""
        across = len(words) if len(words) > 1 else lanes
        row = T.broadcast(words[0], lanes) if len(words) == 1 else _concatenate(words)
        ones = T.reinterpret(f"int8x{across * 4}", _constant(flip, across))
        zero = T.broadcast(T.int32(0), across)
        sums = _vpdpbusd(across, ones, T.reinterpret(f"int8x{across * 4}", row), zero)
        if len(words) == 1:
            return sums
        return T.broadcast(_llvm("int32", "llvm.vector.reduce.add", sums), lanes)

    return update


def vpdpbssd() -> Update:
    """s8 × s8 in one 256-bit instruction."""

    def step(a: Any, b: Any, c: Any) -> Any:
        return _llvm("int32x8", "llvm.x86.avx2.vpdpbssd.256", c, _spread(a, 8, "int8x32"), b)

    return _one_by_one(step)


def _multiply_add_words(lanes: int, x: Any, y: Any) -> Any:
    """Multiply 16-bit values and add adjacent pairs to 32 bits (``vpmaddwd``)."""
    name = "llvm.x86.avx512.pmaddw.d.512" if lanes == 16 else "llvm.x86.avx2.pmadd.wd"
    return _llvm(f"int32x{lanes}", name, x, y)


def vpmaddwd(lanes: int, *, signed: bool) -> Update:
    """8-bit × s8 without VNNI, exact: even and odd bytes widened in place to 16 bits.

    Takes two multiplies and two additions a vector of C. ``vpmaddubsw`` takes three instructions
    but saturates where two adjacent products add up to more than 16 bits hold.

    Parameters
    ----------
    lanes : int
        16 (AVX-512) or 8 (AVX2).
    signed : bool
        Whether A holds int8; uint8 otherwise.
    """
    words = f"int16x{lanes * 2}"

    def split_signed(x: Any) -> tuple[Any, Any]:
        eight = T.broadcast(T.int16(8), lanes * 2)
        return T.shift_right(T.shift_left(x, eight), eight), T.shift_right(x, eight)

    def split_unsigned(word: Any) -> tuple[Any, Any]:
        low_bytes = T.int32(0x00FF00FF)
        even = T.bitwise_and(word, low_bytes)
        odd = T.bitwise_and(T.shift_right(word, T.int32(8)), low_bytes)
        return _spread(even, lanes, words), _spread(odd, lanes, words)

    def step(a: Any, b: Any, c: Any) -> Any:
        b_even, b_odd = split_signed(T.reinterpret(words, b))
        a_even, a_odd = split_signed(_spread(a, lanes, words)) if signed else split_unsigned(a)
        even = _multiply_add_words(lanes, a_even, b_even)
        odd = _multiply_add_words(lanes, a_odd, b_odd)
        return c + even + odd

    return _one_by_one(step)


def vpmaddubsw(lanes: int) -> Update:
    """u8 × s8 by ``vpmaddubsw``: sums of adjacent products saturate at 16 bits."""
    name = "llvm.x86.avx512.pmaddubs.w.512" if lanes == 16 else "llvm.x86.avx2.pmadd.ub.sw"

    def step(a: Any, b: Any, c: Any) -> Any:
        pairs = _llvm(f"int16x{lanes * 2}", name, _spread(a, lanes, f"int8x{lanes * 4}"), b)
        return c + _multiply_add_words(lanes, pairs, T.broadcast(T.int16(1), lanes * 2))

    return _one_by_one(step)


def vdpbf16ps(lanes: int) -> Update:
    """bf16 × bf16 into float32; calls the function that ``vdpbf16ps_source`` defines.

    Denormals count as zero and the intermediate sum is rounded by the instruction's own rule.
    """

    def step(a: Any, b: Any, c: Any) -> Any:
        b_words = T.reinterpret(f"int32x{lanes}", b)
        spread = T.broadcast(a, lanes)
        return T.call_pure_extern(f"float32x{lanes}", _dpbf16ps_name(lanes), c, spread, b_words)

    return _one_by_one(step)


def _dpbf16ps_name(lanes: int) -> str:
    return f"mschedx_dpbf16ps_{lanes * 32}"


def vdpbf16ps_source(lanes: int) -> str:
    """Write the function that ``vdpbf16ps`` calls, in LLVM's own language.

    TVM turns every bfloat16 value into float32 or uint16 before it generates code, so a direct
    call of the LLVM intrinsic never type-checks; words cast inside an inlined function do.
    The empty function is for ``KEEP_BFLOAT16``.
    """
    f32, bf16, i32 = f"<{lanes} x float>", f"<{lanes * 2} x bfloat>", f"<{lanes} x i32>"
    intrinsic = f"@llvm.x86.avx512bf16.dpbf16ps.{lanes * 32}"
    return f"""
declare {f32} {intrinsic}({f32}, {bf16}, {bf16})
define linkonce_odr i32 @{KEEP_BFLOAT16}(ptr %a, ptr %b) alwaysinline {{
  ret i32 0
}}
define linkonce_odr {f32} @{_dpbf16ps_name(lanes)}({f32} %c, {i32} %a, {i32} %b) alwaysinline {{
  %x = bitcast {i32} %a to {bf16}
  %y = bitcast {i32} %b to {bf16}
  %r = call {f32} {intrinsic}({f32} %c, {bf16} %x, {bf16} %y)
  ret {f32} %r
}}
"""
