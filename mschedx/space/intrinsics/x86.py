"""Dot-product intrinsics of x86: C[lanes] += A[k] · B[lanes, k].

``A`` is ``k`` adjacent values of one row, loaded as one 32-bit word and broadcast; ``B`` is one
vector register of a panel packed as ``[N/lanes, K/k, lanes, k]``. Neither needs any alignment, so
``A`` may be read straight from a row-major matrix. What a form derives from ``B`` alone (shifts,
compensation) is shared by all rows of a register tile, since LLVM merges equal expressions.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from tvm.target import Target
from tvm.target.codegen import target_has_features
from tvm.tirx import PrimFunc
from tvm.tirx.script import builder as T

from mschedx.space.intrinsics import x86_updates as updates
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
    exact : bool
        False where intermediate sums saturate for some inputs; such an intrinsic is listed only
        on demand.
    update : Update
        Makes the new ``C`` from the 32-bit word of ``A`` and the vectors of ``B`` and ``C``.
    llvm_source : str | None
        LLVM assembly that ``update`` calls into, linked into the module.
    """

    name: str
    lanes: int
    k: int
    a_dtype: str
    b_dtype: str
    c_dtype: str
    features: tuple[str, ...]
    mnemonic: str
    exact: bool = True
    update: updates.Update = field(repr=False)
    llvm_source: str | None = field(default=None, repr=False)

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

    def _imports(self) -> AbstractContextManager[Any]:
        if self.llvm_source is None:
            return nullcontext()
        return T.attr(0, "pragma_import_llvm", self.llvm_source)

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
            with self._imports():
                if self.a_dtype == "bfloat16":
                    T.evaluate(T.call_extern("int32", updates.KEEP_BFLOAT16, a.data, b.data))
                value = self.update(a_word, b_vector, c_vector)
                T.buffer_store(c, value, [T.ramp(0, 1, self.lanes)])


_SHORT = {"uint8": "u8", "int8": "s8", "int32": "s32", "bfloat16": "bf16", "float32": "f32"}


def _dot(
    isa: str,
    lanes: int,
    dtypes: tuple[str, str, str],
    features: tuple[str, ...],
    mnemonic: str,
    update: updates.Update,
    *,
    exact: bool = True,
    llvm_source: str | None = None,
) -> X86Intrinsic:
    k = 2 if dtypes[0] == "bfloat16" else 4
    short = "".join(_SHORT[dtype] for dtype in dtypes)
    return X86Intrinsic(
        name=f"mschedx_dot_{lanes}x{k}_{short}_{isa}",
        lanes=lanes,
        k=k,
        a_dtype=dtypes[0],
        b_dtype=dtypes[1],
        c_dtype=dtypes[2],
        features=features,
        mnemonic=mnemonic,
        exact=exact,
        update=update,
        llvm_source=llvm_source,
    )


def _maddubs(isa: str, lanes: int, features: tuple[str, ...]) -> X86Intrinsic:
    update = updates.vpmaddubsw(lanes)
    return _dot(isa, lanes, _U8S8, features, "vpmaddubsw", update, exact=False)


def _bf16(isa: str, lanes: int, features: tuple[str, ...]) -> X86Intrinsic:
    update, source = updates.vdpbf16ps(lanes), updates.vdpbf16ps_source(lanes)
    return _dot(isa, lanes, _BF16, features, "vdpbf16ps", update, llvm_source=source)


_U8S8 = ("uint8", "int8", "int32")
_S8S8 = ("int8", "int8", "int32")
_BF16 = ("bfloat16", "bfloat16", "float32")

_VNNI512 = ("avx512f", "avx512vnni")
_VNNI256 = ("avx512vl", "avx512vnni")
_AVXVNNI = ("avx2", "avxvnni")
_BW512 = ("avx512f", "avx512bw")
_AVX2 = ("avx2",)

# The order is the order of preference within a triple of element types.
INTRINSICS: tuple[X86Intrinsic, ...] = (
    _dot("avx512vnni", 16, _U8S8, _VNNI512, "vpdpbusd", updates.vpdpbusd(16)),
    _dot("avx512vnni", 8, _U8S8, _VNNI256, "vpdpbusd", updates.vpdpbusd(8)),
    _dot("avxvnni", 8, _U8S8, _AVXVNNI, "vpdpbusd", updates.vpdpbusd(8)),
    _dot("avx512bw", 16, _U8S8, _BW512, "vpmaddwd", updates.vpmaddwd(16, signed=False)),
    _dot("avx2", 8, _U8S8, _AVX2, "vpmaddwd", updates.vpmaddwd(8, signed=False)),
    _maddubs("avx512bw_maddubs", 16, _BW512),
    _maddubs("avx2_maddubs", 8, _AVX2),
    _dot("avx512vnni", 16, _S8S8, _VNNI512, "vpdpbusd", updates.vpdpbusd_offset(16)),
    _dot("avxvnniint8", 8, _S8S8, ("avxvnniint8",), "vpdpbssd", updates.vpdpbssd()),
    _dot("avx512vnni", 8, _S8S8, _VNNI256, "vpdpbusd", updates.vpdpbusd_offset(8)),
    _dot("avxvnni", 8, _S8S8, _AVXVNNI, "vpdpbusd", updates.vpdpbusd_offset(8)),
    _dot("avx512bw", 16, _S8S8, _BW512, "vpmaddwd", updates.vpmaddwd(16, signed=True)),
    _dot("avx2", 8, _S8S8, _AVX2, "vpmaddwd", updates.vpmaddwd(8, signed=True)),
    _bf16("avx512bf16", 16, ("avx512f", "avx512bf16")),
    _bf16("avx512bf16", 8, ("avx512vl", "avx512bf16")),
)


def intrinsics_for(
    target: Target,
    *,
    a_dtype: str | None = None,
    b_dtype: str | None = None,
    c_dtype: str | None = None,
    saturating: bool = False,
) -> tuple[X86Intrinsic, ...]:
    """List the intrinsics that ``target`` can run, the preferred one first.

    Parameters
    ----------
    target : Target
        An ``llvm`` target; its ``mcpu`` and ``mattr`` decide. Other kinds have none.
    a_dtype, b_dtype, c_dtype : str | None
        Keep only these element types.
    saturating : bool
        Also list the forms whose 16-bit intermediate sums saturate: right only where
        ``|a0 b0 + a1 b1| < 2**15`` for adjacent pairs, as with 7-bit weights.

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
        and (intrinsic.exact or saturating)
        and intrinsic.available(target)
    )


def register() -> None:
    """Register every intrinsic of this module with TVM; safe to call again."""
    for intrinsic in INTRINSICS:
        register_once(intrinsic.name, intrinsic.functions)
