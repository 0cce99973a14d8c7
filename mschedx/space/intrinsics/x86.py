"""Dot-product intrinsics of x86: C[lanes] += A[k] · B[lanes, k].

``A`` is ``k`` adjacent values of one row, loaded as one 32-bit word and broadcast; ``B`` is one
vector register of a panel packed as ``[N/lanes, K/k, lanes, k]``. Neither needs any alignment, so
``A`` may be read straight from a row-major matrix.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tvm.target import Target
from tvm.target.codegen import llvm_lookup_intrinsic_id, target_has_features
from tvm.tirx import PrimFunc
from tvm.tirx.script import builder as T

from mschedx.space.intrinsics.build import prim_func, register_once


@dataclass(frozen=True, slots=True, kw_only=True)
class X86Intrinsic:
    """One way to compute ``C[lanes] += A[k] · B[lanes, k]``.

    Parameters
    ----------
    name : str
        Name to give to ``Schedule.tensorize``.
    lanes : int
        Elements of ``C`` (and rows of ``B``): the lanes of a vector register.
    k : int
        Reduction length; ``k`` elements of ``A`` fill 32 bits.
    a_dtype, b_dtype, c_dtype : str
        Element types.
    features : tuple[str, ...]
        LLVM features that the target must all have.
    mnemonic : str
        The instruction that the compiled code contains.
    update : Callable
        (a, b, c) -> new c; the 32-bit word of ``A`` and the vectors of ``B`` and ``C``, as TIR
        expressions.
    """

    name: str
    lanes: int
    k: int
    a_dtype: str
    b_dtype: str
    c_dtype: str
    features: tuple[str, ...]
    mnemonic: str
    update: Callable[[Any, Any, Any], Any] = field(repr=False)

    def available(self, target: Target) -> bool:
        """Say whether ``target`` has every feature that the intrinsic needs."""
        return bool(target_has_features(list(self.features), target))

    def functions(self) -> tuple[PrimFunc, PrimFunc]:
        """Build the description and the implementation."""
        return prim_func(self._describe), prim_func(self._implement)

    def _arguments(self) -> tuple[Any, Any, Any]:
        a = T.arg("A", T.Buffer((self.k,), self.a_dtype, offset_factor=1))
        b = T.arg("B", T.Buffer((self.lanes, self.k), self.b_dtype, offset_factor=1))
        c = T.arg("C", T.Buffer((self.lanes,), self.c_dtype, offset_factor=1))
        return a, b, c

    def _access(self, a: Any, b: Any, c: Any) -> None:
        T.reads(c[0 : self.lanes], a[0 : self.k], b[0 : self.lanes, 0 : self.k])
        T.writes(c[0 : self.lanes])

    def _describe(self) -> None:
        a, b, c = self._arguments()
        with T.sblock("root"):
            self._access(a, b, c)
            with T.grid(self.lanes, self.k) as (i, k), T.sblock("update"):
                vi, vk = T.axis.remap("SR", [i, k])
                product = T.cast(a[vk], self.c_dtype) * T.cast(b[vi, vk], self.c_dtype)
                T.buffer_store(c, c[vi] + product, [vi])

    def _implement(self) -> None:
        a, b, c = self._arguments()
        with T.sblock("root"):
            self._access(a, b, c)
            a_word = T.reinterpret("int32", a.vload([0], f"{self.a_dtype}x{self.k}"))
            b_vector = b.vload([0, 0], f"{self.b_dtype}x{self.lanes * self.k}")
            c_vector = c.vload([0], f"{self.c_dtype}x{self.lanes}")
            T.buffer_store(c, self.update(a_word, b_vector, c_vector), [T.ramp(0, 1, self.lanes)])


def _llvm(dtype: str, name: str, *arguments: Any) -> Any:
    """Call a side-effect-free LLVM intrinsic by its name."""
    return T.call_llvm_pure_intrin(dtype, T.uint32(llvm_lookup_intrinsic_id(name)), *arguments)


def _vpdpbusd(lanes: int) -> Callable[[Any, Any, Any], Any]:
    """u8 × s8 in one instruction; this LLVM takes the operands as bytes, not as words."""
    name = f"llvm.x86.avx512.vpdpbusd.{lanes * 32}"

    def update(a: Any, b: Any, c: Any) -> Any:
        a_bytes = T.reinterpret(f"int8x{lanes * 4}", T.broadcast(a, lanes))
        return _llvm(f"int32x{lanes}", name, c, a_bytes, b)

    return update


def _int8(
    name: str,
    lanes: int,
    a_dtype: str,
    *,
    features: tuple[str, ...],
    mnemonic: str,
    update: Callable[[Any, Any, Any], Any],
) -> X86Intrinsic:
    return X86Intrinsic(
        name=name,
        lanes=lanes,
        k=4,
        a_dtype=a_dtype,
        b_dtype="int8",
        c_dtype="int32",
        features=features,
        mnemonic=mnemonic,
        update=update,
    )


INTRINSICS: tuple[X86Intrinsic, ...] = (
    _int8(
        "mschedx_dot_16x4_u8s8s32_vnni",
        16,
        "uint8",
        features=("avx512vnni",),
        mnemonic="vpdpbusd",
        update=_vpdpbusd(16),
    ),
)


def intrinsics_for(
    target: Target,
    *,
    a_dtype: str | None = None,
    b_dtype: str | None = None,
    c_dtype: str | None = None,
) -> tuple[X86Intrinsic, ...]:
    """List the intrinsics that ``target`` can run, the preferred one first.

    Parameters
    ----------
    target : Target
        An ``llvm`` target; its ``mcpu`` and ``mattr`` decide. Other kinds have none.
    a_dtype, b_dtype, c_dtype : str | None
        Keep only these element types.

    Returns
    -------
    tuple[X86Intrinsic, ...]
        Empty when nothing fits.
    """
    if target.kind.name != "llvm":
        return ()
    wanted = {"a_dtype": a_dtype, "b_dtype": b_dtype, "c_dtype": c_dtype}
    return tuple(
        intrinsic
        for intrinsic in INTRINSICS
        if all(dtype in (None, getattr(intrinsic, key)) for key, dtype in wanted.items())
        and intrinsic.available(target)
    )


def register() -> None:
    """Register every intrinsic of this module with TVM; safe to call again."""
    for intrinsic in INTRINSICS:
        register_once(intrinsic.name, intrinsic.functions)
