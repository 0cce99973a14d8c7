"""One concrete program as data: loops, blocks, buffers and the integers in them.

:mod:`.extract` reads it off a PrimFunc.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from .affine import Affine

ROOT = -1
"""Parent index of what no loop encloses."""

UNKNOWN = -1
"""Stands for "no number" among numbers that are read off programs; sizes are never negative."""

Value = Any
"""An annotation's value."""

Annotations = tuple[tuple[str, Value], ...]

KINDS = ("serial", "parallel", "vectorized", "unrolled", "thread")


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop of the program, in pre-order.

    ``parent`` is the index of the enclosing loop (or `ROOT`), ``thread`` the tag it is bound to
    ("" when none), ``annotations`` the integer annotations.
    """

    name: str
    kind: str
    thread: str
    extent: int
    parent: int
    annotations: Annotations


@dataclass(frozen=True, slots=True)
class Buffer:
    """A buffer: allocated by the program or, when ``parameter``, passed to it."""

    name: str
    scope: str
    dtype: str
    shape: tuple[int, ...]
    parameter: bool


@dataclass(frozen=True, slots=True)
class Access:
    """A region of ``buffer`` that one instance of a block reads or writes.

    ``offsets[d]`` is the start along dimension d in loop variables (None when it is not affine,
    with the reason in ``problem``), ``local[d]`` the same in the block's own iterators, where atom
    v stands for ``iters[v]``, and ``lengths[d]`` how many elements from there.
    """

    buffer: str
    is_write: bool
    offsets: tuple[Affine | None, ...]
    local: tuple[Affine | None, ...]
    lengths: tuple[int, ...]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """A block with the loops that enclose it, outermost first.

    ``iters`` holds (name, kind, extent); ``bindings`` the affine value of each in loop variables.
    ``operations`` counts the scalar operations of one instance, keyed "float.add", "int.mul", ….
    ``leaf`` is false for blocks that only hold other blocks; ``initializes`` tells of a reduction
    that its initialisation has not been split off.
    """

    name: str
    loops: tuple[int, ...]
    iters: tuple[tuple[str, str, int], ...]
    bindings: tuple[Affine | None, ...]
    accesses: tuple[Access, ...]
    annotations: Annotations
    operations: tuple[tuple[str, int], ...]
    leaf: bool
    predicated: bool
    parent: int
    initializes: bool = False


@dataclass(frozen=True)
class Program:
    """One program: loops, blocks and buffers, all in program order.

    ``numbers`` remembers, by block and form, what was read off the program before: it is looked at
    again with every replay that is added to the evidence.
    """

    loops: tuple[Loop, ...]
    blocks: tuple[Block, ...]
    buffers: tuple[Buffer, ...]
    numbers: dict[int, dict[Affine | None, tuple]] = field(
        default_factory=dict, compare=False, repr=False
    )

    @cached_property
    def extents(self) -> Mapping[int, int]:
        """Trip count of every loop, by index."""
        return {index: loop.extent for index, loop in enumerate(self.loops)}

    @cached_property
    def skeleton(self) -> Hashable:
        """What must agree for two programs to be compared quantity by quantity."""
        loops = tuple(
            (x.name, x.kind, x.thread, x.parent, tuple(k for k, _ in x.annotations))
            for x in self.loops
        )
        blocks = tuple(
            (
                b.name,
                b.loops,
                tuple((name, kind) for name, kind, _ in b.iters),
                tuple((a.buffer, a.is_write, len(a.lengths)) for a in b.accesses),
                tuple(k for k, _ in b.annotations),
                b.operations,
                b.leaf,
            )
            for b in self.blocks
        )
        buffers = tuple((b.name, b.scope, b.dtype, len(b.shape)) for b in self.buffers)
        return loops, blocks, buffers


def dtype_bytes(dtype: str) -> int:
    """Bytes of one element, rounded up; 1 for bool."""
    digits = dtype.split("x")[0].lstrip("abcdefghijklmnopqrstuvwyz_")
    bits = int("".join(c for c in digits.split("_")[0] if c.isdigit()) or 8)
    if dtype.startswith("float8"):
        bits = 8
    return -(-bits // 8)
