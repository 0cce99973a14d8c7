"""Tensor-core intrinsics of NVIDIA GPUs: C[m, n] += A[m, k] · B[k, n] by one warp.

One ``CudaIntrinsic`` is a family of five TVM intrinsics, one for each block of a schedule: fill and
multiply for the reduction block, two loads for the fragments that ``cache_read`` makes, and a store
for the one that ``cache_write`` makes. All five work on tiles of buffers that keep their rows and
columns; no layout has to be transformed.

The threads of a warp belong to the intrinsics: around them a schedule binds only ``threadIdx.y``
(and z), and its cooperative copies bind ``threadIdx.x`` with extent 32.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

from tvm.target import Target

from . import cuda_copy, cuda_mma, cuda_wmma
from .build import register_once
from .cuda_tile import Functions
from .dtypes import SHORT

LOAD_SCOPES = ("shared", "shared.dyn")
STORE_SCOPES = ("global", "shared", "shared.dyn")


@dataclass(frozen=True, slots=True)
class Names:
    """Names to give to ``Schedule.tensorize``, by the block that they are for."""

    fill: str
    load_a: str
    load_b: str
    multiply: str
    store: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaIntrinsic:
    """One way to multiply a tile with tensor cores.

    Parameters
    ----------
    kind : str
        "mma" (``mma.sync`` with ``ldmatrix``) or "wmma".
    shape : tuple[int, int, int]
        (m, n, k) of the tile; for "mma" two instructions m16n8k side by side.
    in_dtype, out_dtype : str
        Element types of A and B, and of C. float32 operands are read as tf32: their fractions are
        cut to 10 bits.
    b_transposed : bool
        Whether B is stored as [n, k].
    arch : int
        Least compute capability, times ten.
    """

    kind: str
    shape: tuple[int, int, int]
    in_dtype: str
    out_dtype: str
    b_transposed: bool
    arch: int

    @property
    def exact(self) -> bool:
        """Whether operands are multiplied as they are, rather than cut to tf32."""
        return self.in_dtype != "float32"

    @property
    def instruction(self) -> str:
        """Text that the PTX contains, up to the layouts and types."""
        m, n, k = self.shape
        if self.kind == "mma":
            return f"mma.sync.aligned.m16n8k{k}"
        return f"wmma.mma.sync.aligned.row.{'col' if self.b_transposed else 'row'}.m{m}n{n}k{k}"

    @property
    def scopes(self) -> tuple[str, str, str]:
        """Scopes of the fragments of A, B and C, for ``cache_read`` and ``cache_write``."""
        if self.kind == "wmma":
            return cuda_wmma.SCOPES["a"], cuda_wmma.SCOPES["b"], cuda_wmma.SCOPES["c"]
        a, b = self._operands()
        return a.scope, b.scope, cuda_mma.C_SCOPE

    @property
    def warp_multiple(self) -> tuple[int, int, int]:
        """(m, n, k) that a warp's tile, as its fragments are allocated, is a multiple of.

        TVM lowers the fragments of ``mma`` only in pairs of tiles.
        """
        m, n, k = self.shape
        return (32, 32, k) if self.kind == "mma" else (m, n, k)

    @property
    def row_bytes(self) -> tuple[int, int]:
        """Bytes that a warp reads of one row of A, and of B, before it reads the next row.

        8 rows of 16 bytes at a time, or where 4-byte elements are loaded one by one, 4 rows of 8.
        """
        by_element = self.kind == "mma" and not self.b_transposed and self.in_dtype == "float32"
        return 16, 32 if by_element else 16

    def available(self, target: Target) -> bool:
        """Say whether ``target`` is a CUDA target of a sufficient compute capability."""
        found = re.match(r"sm_(\d+)", str(target.attrs.get("arch", "")))
        return target.kind.name == "cuda" and found is not None and int(found[1]) >= self.arch

    def names(self, load_scope: str, store_scope: str) -> Names:
        """Name the five intrinsics.

        Parameters
        ----------
        load_scope : str
            Where A and B are loaded from: "shared" or "shared.dyn".
        store_scope : str
            Where C is stored: "global", "shared" or "shared.dyn". For "wmma" whose C has another
            type than A, not the scope that A and B are loaded from: TVM may let the buffers share
            memory, and then fails with "tvm_access_ptr element type must match".

        Raises
        ------
        ValueError
            If a scope is none of these.
        """
        _check_scope("load", load_scope, LOAD_SCOPES)
        _check_scope("store", store_scope, STORE_SCOPES)
        m, n, k = self.shape
        shape, source, target = f"{m}x{n}x{k}", SHORT[self.in_dtype], SHORT[self.out_dtype]
        b = "bt" if self.b_transposed else "b"
        load, store = load_scope.replace(".", "_"), store_scope.replace(".", "_")
        prefix = f"mschedx_{self.kind}"
        return Names(
            fill=f"{prefix}_fill_{shape}_{target}",
            load_a=f"{prefix}_load_{shape}_{source}_a_{load}",
            load_b=f"{prefix}_load_{shape}_{source}_{b}_{load}",
            multiply=f"{prefix}_multiply_{shape}_{source}{source}{target}_{b}",
            store=f"{prefix}_store_{shape}_{target}_{store}",
        )

    def makers(self) -> Iterator[tuple[str, Callable[[], Functions]]]:
        """Yield every name of the family with what builds (description, implementation)."""
        for load_scope, store_scope in product(LOAD_SCOPES, STORE_SCOPES):
            names = self.names(load_scope, store_scope)
            make = self._make_mma if self.kind == "mma" else self._make_wmma
            yield from zip(
                (names.fill, names.load_a, names.load_b, names.multiply, names.store),
                make(load_scope, store_scope),
                strict=True,
            )

    def _operands(self) -> tuple[cuda_mma.Operand, cuda_mma.Operand]:
        k = self.shape[2]
        a = cuda_mma.Operand("a", k, self.in_dtype)
        return a, cuda_mma.Operand("b", k, self.in_dtype, self.b_transposed)

    def _make_mma(self, load_scope: str, store_scope: str) -> tuple[Callable[[], Functions], ...]:
        a, b = self._operands()
        return (
            lambda: cuda_mma.fill(self.out_dtype),
            lambda: cuda_mma.load(a, load_scope),
            lambda: cuda_mma.load(b, load_scope),
            lambda: cuda_mma.multiply(a, b, self.out_dtype),
            lambda: cuda_mma.store(self.out_dtype, store_scope),
        )

    def _make_wmma(self, load_scope: str, store_scope: str) -> tuple[Callable[[], Functions], ...]:
        shape, transposed = self.shape, self.b_transposed
        dtypes = (self.in_dtype, self.out_dtype)
        return (
            lambda: cuda_wmma.fill(shape, self.out_dtype),
            lambda: cuda_wmma.load(shape, self.in_dtype, "a", False, load_scope),
            lambda: cuda_wmma.load(shape, self.in_dtype, "b", transposed, load_scope),
            lambda: cuda_wmma.multiply(shape, dtypes, transposed),
            lambda: cuda_wmma.store(shape, self.out_dtype, store_scope),
        )


def _check_scope(what: str, scope: str, known: tuple[str, ...]) -> None:
    if scope not in known:
        raise ValueError(f"expected a {what} scope of {', '.join(known)}, got {scope!r}")


_WMMA_SHAPES = ((16, 16, 16), (8, 32, 16), (32, 8, 16))


def _both(
    kind: str, shape: tuple[int, int, int], in_dtype: str, out_dtype: str, arch: int
) -> Iterator[CudaIntrinsic]:
    for transposed in (False, True):
        yield CudaIntrinsic(
            kind=kind,
            shape=shape,
            in_dtype=in_dtype,
            out_dtype=out_dtype,
            b_transposed=transposed,
            arch=arch,
        )


def _family(
    in_dtype: str, out_dtype: str, mma: tuple[tuple[int, int], ...], wmma_arch: int | None
) -> Iterator[CudaIntrinsic]:
    """List one pair of types: the long ``mma``, ``wmma`` in three shapes, the short ``mma``.

    ``mma`` holds (k, least compute capability), longest k first; ``wmma_arch`` is None where TVM
    cannot generate code for ``wmma``.
    """
    (k, arch), *shorter = mma
    yield from _both("mma", (16, 16, k), in_dtype, out_dtype, arch)
    for shape in _WMMA_SHAPES if wmma_arch is not None else ():
        yield from _both("wmma", shape, in_dtype, out_dtype, wmma_arch or 0)
    for k, arch in shorter:
        yield from _both("mma", (16, 16, k), in_dtype, out_dtype, arch)


# The order is the order of preference within a pair of element types.
INTRINSICS: tuple[CudaIntrinsic, ...] = (
    *_family("float16", "float32", ((16, 80), (8, 75)), wmma_arch=70),
    *_family("float16", "float16", ((16, 80), (8, 75)), wmma_arch=70),
    *_family("bfloat16", "float32", ((16, 80), (8, 80)), wmma_arch=80),
    *_family("int8", "int32", ((32, 80), (16, 80)), wmma_arch=72),
    *_family("float32", "float32", ((8, 80),), wmma_arch=None),
)


def intrinsics_for(
    target: Target,
    *,
    in_dtype: str | None = None,
    out_dtype: str | None = None,
    b_transposed: bool | None = None,
    tf32: bool = False,
) -> tuple[CudaIntrinsic, ...]:
    """List the intrinsics that ``target`` can run, the preferred one first.

    Parameters
    ----------
    target : Target
        A ``cuda`` target with an ``arch``. Other kinds have none.
    in_dtype, out_dtype : str | None
        Keep only these element types.
    b_transposed : bool | None
        Keep only this storage of B.
    tf32 : bool
        Also list those that cut float32 operands to tf32.

    Returns
    -------
    tuple[CudaIntrinsic, ...]
        Empty when nothing fits.
    """
    wanted = {"in_dtype": in_dtype, "out_dtype": out_dtype, "b_transposed": b_transposed}
    return tuple(
        intrinsic
        for intrinsic in INTRINSICS
        if all(value in (None, getattr(intrinsic, key)) for key, value in wanted.items())
        and (intrinsic.exact or tf32)
        and intrinsic.available(target)
    )


def register() -> None:
    """Register every intrinsic for CUDA with TVM; safe to call again."""
    cuda_copy.register()
    for intrinsic in INTRINSICS:
        for name, make in intrinsic.makers():
            register_once(name, make)
