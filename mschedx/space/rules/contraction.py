"""Recognise a contraction and say which role each of its loops plays.

A contraction is a block ``C[s] += A[f(s, r)] * B[g(s, r)]`` (casts around the loads allowed):
matrix products plain, batched and transposed, and convolutions of any rank and layout. With

- *vector* axis: the spatial axis that one operand, called the *panel* operand, reads with unit
  stride of its own and the other, the *broadcast* operand, does not read at all;
- *batch* axes: spatial axes that both operands read as they are;
- *row* axes: the other spatial axes;
- *reduction* axes,

every contraction is a sum of outer products of a column of rows and a vector, which is what a
register tile computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tvm import DataType, tirx
from tvm.ir import TensorLoad
from tvm.sym import Analyzer

from .block_access import BlockAccess, access_at
from .blocks import constant_extent, has_own_loops, positions, ranges

# These are chosen by hand, not by a sweep.
_FILLED = 0.9
"""Share of its vectors' lanes from which on an axis fills them."""

_SHORTEST = 4
"""Points of a vector axis, at least: the lanes of 128 bits of float32."""


@dataclass(frozen=True, slots=True, eq=False)
class Operand(BlockAccess):
    """One of the two factors of a contraction, and how the block reads it.

    Attributes
    ----------
    index : int
        Position among the block's reads, as ``cache_read`` counts them.
    whole : bool
        Whether the block writes every index as one axis that runs over the whole dimension, or
        as 0: a window of extent 1 is none, nor is a slice.
    """

    index: int
    whole: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents of the buffer; 0 where one is not constant."""
        return _shape(self.buffer)

    @property
    def dtype(self) -> str:
        """Type of the buffer's elements."""
        return str(self.buffer.dtype)


@dataclass(frozen=True, slots=True)
class Contraction:
    """The roles of a contraction's axes; axes are positions among the block's iteration variables.

    Attributes
    ----------
    extents : tuple of int
        Extent of every axis.
    vector, batch, rows, reductions
        Axes by role, see the module header.
    panel, broadcast : Operand
    output_plain : tuple of int
        The axis that indexes each dimension of the output.
    output_shape : tuple of int
        Extents of the output's buffer, which may be longer than these axes.
    dtype : str
        Type that is accumulated.
    """

    extents: tuple[int, ...]
    vector: int
    batch: tuple[int, ...]
    rows: tuple[int, ...]
    reductions: tuple[int, ...]
    panel: Operand
    broadcast: Operand
    output_plain: tuple[int, ...]
    output_shape: tuple[int, ...]
    dtype: str

    def padded(self, factors: Sequence[int]) -> Contraction:
        """The same roles with every extent rounded up to a multiple of its factor."""
        extents = tuple(-(-e // f) * f for e, f in zip(self.extents, factors))
        output_shape = tuple(extents[axis] for axis in self.output_plain)
        return replace(self, extents=extents, output_shape=output_shape)


def match_contraction(
    block: Any, vector_bytes: int = 64, *, vector: int | None = None, panel: int | None = None
) -> Contraction | None:
    """Read the roles off a block; None when it is not a contraction of constant shape.

    Parameters
    ----------
    block : SBlock
    vector_bytes : int
        Width of a vector register; the vector axis is one that fills whole registers, if any does.
    vector : int, optional
        The axis that has to be the vector axis.
    panel : int, optional
        Index (:attr:`Operand.index`) of the operand that has to be the panel operand.
    """
    store = block.body
    if block.init is None or not isinstance(store, tirx.BufferStore):
        return None
    axes = positions(block)
    if not all(constant_extent(iv.dom.extent) for iv in block.iter_vars):
        return None
    loads = _factors(store)
    output = tuple(axes.get(index) for index in store.indices)
    if loads is None or None in output:
        return None
    spatial = {p for p, iv in enumerate(block.iter_vars) if iv.iter_type == tirx.IterVar.DataPar}
    reduction = {
        p for p, iv in enumerate(block.iter_vars) if iv.iter_type == tirx.IterVar.CommReduce
    }
    # TVM takes an axis of one point for spatial once it has laid a block's axes out anew.
    idle = {p for p in spatial - set(output) if int(block.iter_vars[p].dom.extent) == 1}
    spatial, reduction = spatial - idle, reduction | idle
    if set(output) != spatial or spatial | reduction != set(axes.values()):
        return None
    analyzer = ranges(block)
    operands: list[Any] = [_operand(load, block, axes, analyzer) for load in loads]
    if any(operand is None for operand in operands):
        return None
    dtype = str(store.buffer.dtype)
    lanes = vector_bytes * 8 // DataType(dtype).bits
    pairs = [
        (one, other) for one, other in (operands, operands[::-1]) if panel in (None, one.index)
    ]
    wanted = output if vector is None else (vector,)
    reductions = tuple(sorted(reduction))
    return _assign_roles(block, pairs, output, reductions, dtype=dtype, lanes=lanes, wanted=wanted)


def find_contraction(
    sch: Any, rv: Any, vector_bytes: int = 64, *, panel: int | None = None
) -> Contraction | None:
    """:func:`match_contraction` of a block in loops of its own; None for any other."""
    matched = match_contraction(sch.get(rv), vector_bytes, panel=panel)
    return matched if matched is not None and has_own_loops(sch, rv) else None


def _factors(store: Any) -> tuple[Any, Any] | None:
    """The two loads of ``C[s] = C[s] + A * B``, casts removed."""
    value = store.value
    if not isinstance(value, tirx.Add):
        return None
    left, right = value.a, value.b
    if not (isinstance(left, TensorLoad) and left.source.same_as(store.buffer)):
        left, right = right, left
    if not (isinstance(left, TensorLoad) and left.source.same_as(store.buffer)):
        return None
    right = _strip_casts(right)
    if not isinstance(right, tirx.Mul):
        return None
    loads = _strip_casts(right.a), _strip_casts(right.b)
    if not all(isinstance(load, TensorLoad) for load in loads):
        return None
    return None if loads[0].source.same_as(loads[1].source) else loads


def _strip_casts(value: Any) -> Any:
    while isinstance(value, tirx.Cast):
        value = value.value
    return value


def _operand(load: Any, block: Any, axes: dict[Any, int], analyzer: Analyzer) -> Operand | None:
    position = [p for p, r in enumerate(block.reads) if r.source.same_as(load.source)]
    if len(position) != 1:
        return None
    at = access_at(load.source, load.indices, axes, analyzer)
    whole = all(
        size == int(block.iter_vars[axes[index]].dom.extent) if index in axes else _is_zero(index)
        for index, size in zip(load.indices, _shape(load.source))
    )
    return Operand(at.buffer, at.dims, at.plain, position[0], whole)


def _shape(buffer: Any) -> tuple[int, ...]:
    return tuple(constant_extent(n) or 0 for n in buffer.shape)


def _is_zero(index: Any) -> bool:
    return isinstance(index, tirx.IntImm) and int(index) == 0


def _assign_roles(
    block: Any,
    pairs: Sequence[tuple[Any, Any]],
    output: tuple[Any, ...],
    reductions: tuple[int, ...],
    *,
    dtype: str,
    lanes: int,
    wanted: Sequence[int | None],
) -> Contraction | None:
    extents = tuple(int(iv.dom.extent) for iv in block.iter_vars)
    choices = [
        (axis, panel, broadcast)
        for panel, broadcast in pairs
        for axis in wanted
        if axis is not None and axis not in broadcast.axes and panel.dim_of(axis) is not None
    ]
    if not choices or not reductions:
        return None

    def preference(choice: tuple[int, Operand, Operand]) -> tuple[bool, bool, bool, int]:
        axis, panel, _ = choice
        # Whole vectors first (a 7-wide image has none); then an axis that is contiguous where
        # it is written; then where it is read; then the longest.
        filled = extents[axis] / (-(-extents[axis] // lanes) * lanes)
        return (filled > _FILLED, output[-1] == axis, panel.plain[-1] == axis, extents[axis])

    wide = [choice for choice in choices if extents[choice[0]] >= _SHORTEST]
    if not wide:
        return None
    vector, panel, broadcast = max(wide, key=preference)
    batch = tuple(
        axis
        for axis in output
        if panel.dim_of(axis) is not None and broadcast.dim_of(axis) is not None
    )
    rows = tuple(axis for axis in output if axis != vector and axis not in batch)
    shape = _shape(block.body.buffer)
    return Contraction(
        extents, vector, batch, rows, reductions, panel, broadcast, output, shape, dtype
    )
