"""Dot-product intrinsics of x86: C[lanes] += A[k] · B[lanes, k].

``A`` is ``k`` adjacent values of one row; each ``word`` of them (32 bits) is broadcast. ``B`` is
``k / word`` vectors of a panel packed as ``[N/lanes, K/word, lanes, word]``. Neither needs any
alignment, so ``A`` may be read straight from a row-major matrix. What a form derives from ``B``
alone (shifts, compensation) is shared by all rows of a register tile, since LLVM merges equal
expressions.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from tvm.target import Target
from tvm.target.codegen import target_has_features
from tvm.tirx import PrimFunc

from . import x86_updates as updates
from .build import T, prim_func, register_once
from .dtypes import SHORT


@dataclass(frozen=True, slots=True, kw_only=True)
class X86Intrinsic:
    """One way to compute ``C[lanes] += A[k] · B[lanes, k]``.

    Parameters
    ----------
    name : str
        Name to give to ``Schedule.tensorize``.
    lanes : int
        Elements of ``C`` (and rows of ``B``): the lanes of a vector register.
    word : int
        Elements of ``A`` that fill 32 bits.
    k : int
        Reduction length, a multiple of ``word``. Where it is ``word``, ``B`` is ``[lanes, word]``
        and the loops are (lanes, word); else ``B`` is ``[k / word, lanes, word]`` and the loops
        are (k / word, lanes, word).
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
        Makes the new ``C`` from the words of ``A`` and the vectors of ``B`` and ``C``.
    llvm_source : str | None
        LLVM assembly that ``update`` calls into, linked into the module.
    """

    name: str
    lanes: int
    word: int
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

    @property
    def steps(self) -> int:
        """Number of words of ``A``, and of vectors of ``B``."""
        return self.k // self.word

    def _arguments(self) -> tuple[Any, Any, Any]:
        b_shape = (self.lanes, self.word)
        if self.steps > 1:
            b_shape = (self.steps, *b_shape)
        a = T.arg("A", T.Buffer((self.k,), self.a_dtype, offset_factor=1))
        b = T.arg("B", T.Buffer(b_shape, self.b_dtype, offset_factor=1))
        c = T.arg("C", T.Buffer((self.lanes,), self.c_dtype, offset_factor=1))
        return a, b, c

    @contextmanager
    def _block(self) -> Iterator[tuple[Any, Any, Any]]:
        """Declare the arguments and the block that reads and writes all of them."""
        a, b, c = self._arguments()
        with T.sblock("root"):
            T.reads(c[0 : self.lanes], a[0 : self.k], b[tuple(slice(0, n) for n in b.shape)])
            T.writes(c[0 : self.lanes])
            yield a, b, c

    def _imports(self) -> AbstractContextManager[Any]:
        if self.llvm_source is None:
            return nullcontext()
        return T.attr(0, "pragma_import_llvm", self.llvm_source)

    def _describe(self) -> None:
        loops = (self.lanes, self.word) if self.steps == 1 else (self.steps, self.lanes, self.word)
        with self._block() as (a, b, c), T.grid(*loops) as (*s, i, k), T.sblock("update"):
            vi = T.axis.spatial(self.lanes, i)
            vk = T.axis.reduce(self.k, s[0] * self.word + k if s else k)
            b_value = b[vk // self.word, vi, vk % self.word] if s else b[vi, vk]
            product = T.cast(a[vk], self.c_dtype) * T.cast(b_value, self.c_dtype)
            T.buffer_store(c, c[vi] + product, [vi])

    def _implement(self) -> None:
        with self._block() as (a, b, c), self._imports():
            if self.a_dtype == "bfloat16":
                T.evaluate(T.call_extern("int32", updates.KEEP_BFLOAT16, a.data, b.data))
            pairs = []
            for step in range(self.steps):
                word = a.vload([step * self.word], f"{self.a_dtype}x{self.word}")
                b_index = [0, 0] if self.steps == 1 else [step, 0, 0]
                vector = b.vload(b_index, f"{self.b_dtype}x{self.lanes * self.word}")
                pairs.append((T.reinterpret("int32", word), vector))
            value = self.update(pairs, c.vload([0], f"{self.c_dtype}x{self.lanes}"))
            T.buffer_store(c, value, [T.ramp(0, 1, self.lanes)])


def _dot(
    isa: str,
    lanes: int,
    dtypes: tuple[str, str, str],
    features: tuple[str, ...],
    mnemonic: str,
    update: updates.Update,
    *,
    steps: int = 1,
    exact: bool = True,
    llvm_source: str | None = None,
) -> X86Intrinsic:
    word = 2 if dtypes[0] == "bfloat16" else 4
    k = word * steps
    short = "".join(SHORT[dtype] for dtype in dtypes)
    return X86Intrinsic(
        name=f"mschedx_dot_{lanes}x{k}_{short}_{isa}",
        lanes=lanes,
        word=word,
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


def _offset(isa: str, lanes: int, features: tuple[str, ...]) -> tuple[X86Intrinsic, ...]:
    """List s8 × s8 over as many words as a register holds, over four and over one.

    The longer, the cheaper the compensation; the shorter, the less padding of k.
    """
    update = updates.vpdpbusd_offset(lanes)
    return tuple(
        _dot(isa, lanes, _S8S8, features, "vpdpbusd", update, steps=steps)
        for steps in (lanes, 4, 1)
    )


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
    _dot("avxvnniint8", 8, _S8S8, ("avxvnniint8",), "vpdpbssd", updates.vpdpbssd()),
    *_offset("avx512vnni", 16, _VNNI512),
    *_offset("avx512vnni", 8, _VNNI256),
    *_offset("avxvnni", 8, _AVXVNNI),
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
