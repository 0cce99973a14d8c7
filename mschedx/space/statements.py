"""Statements: what a scheduled program computes, block by block, as it will be lowered.

A statement is one computing block with everything a cost model or a reader asks of it, as exact
expressions of the decisions. Loops are those of the lowered program: what a postproc fuses, splits
over threads or makes a vector is written so, and a loop that a config does not have has extent 1.

Notation
--------
L : number of loops of a statement, outermost first.
level j : loops j … L−1 run while those outside stand still; level L is one instance. A call of an
    intrinsic is one: the levels inside of the loops that it performs are all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from .algebra.expression import Expression, constant, multiply

FLOPS = ("float.add", "float.mul", "float.div", "float.compare")
"""Kinds of operations that count as floating-point arithmetic."""

WHILE = "while"
"""What counts the loops inside a block of which only a run knows how often they iterate."""


@dataclass(frozen=True, slots=True)
class LoopLevel:
    """A loop around a statement.

    Parameters
    ----------
    name : str
        As in the schedule; "parallel", "vector", "rounds" or "thread" for one a postproc makes.
    extent : Expression or None
        None where no expression reproduces every replay.
    kind : str
        "serial", "parallel", "vectorized", "unrolled", "thread", or "intrinsic" for a loop that one
        instruction performs.
    role : str
        "spatial", "reduction", "mixed" (of a fused loop), or "outer" when the statement does not
        move with it.
    thread : str
        The tag it is bound to, "" when none.
    """

    name: str
    extent: Expression | None
    kind: str
    role: str
    thread: str = ""


@dataclass(frozen=True, slots=True)
class BufferAccess:
    """What a statement reads or writes of a buffer.

    Parameters
    ----------
    buffer, scope, dtype : str
    is_write : bool
    element_bytes : int
    elements : tuple of Expression or None, length L + 1
        Distinct elements touched at each level.
    runs : tuple of Expression or None, length L + 1
        How many of them are neighbours in memory, at least, in the row-major buffer as declared.
    strides : tuple of Expression or None, length L
        Elements between two neighbouring iterations of a loop; 0 when the access stays.
    producers : tuple of int
        Statements whose writes are read here; empty for parameters and for writes.
    """

    buffer: str
    scope: str
    dtype: str
    is_write: bool
    element_bytes: int
    elements: tuple[Expression | None, ...]
    runs: tuple[Expression | None, ...]
    strides: tuple[Expression | None, ...]
    producers: tuple[int, ...] = ()

    def bytes_at(self, level: int) -> Expression | None:
        """Bytes of the elements touched at a level."""
        elements = self.elements[level]
        return None if elements is None else multiply(self.element_bytes, elements)


@dataclass(frozen=True, slots=True)
class Statement:
    """One computing block of the program.

    Parameters
    ----------
    name : str
        The block's; an initialisation that lowering splits off a reduction is "<name>_init".
    loops : tuple of LoopLevel
    accesses : tuple of BufferAccess
        Reads, then writes.
    operations : mapping of str to int
        Scalar operations of one instance by kind: "float.add", "int.mul", "select", "cast",
        "call.exp", …, loops inside the block counted; `WHILE` where it has some whose iterations
        nobody knows. Those of an intrinsic are read off its description.
    intrinsic : str
        The tensor intrinsic that performs an instance, "" for none.
    lanes : Expression or None
        Vector lanes of an instance, 1 when it is scalar.
    unroll : Expression or None
        Limit of automatic unrolling around it, 0 for none.
    asynchronous : Expression or None
        1 where it copies without waiting for the copy to end (``cp.async``), 0 where not; None
        where that is not known, or nothing copies so.
    kernel : int or None
        The outermost loop nest it is in; a GPU kernel where loops are bound. None for a statement
        without loops.
    is_init, is_reduction, predicated : bool
        Whether it initialises what another statement accumulates; whether it accumulates; whether
        some instances are skipped.
    by_warp : bool
        Whether the threads of a warp perform one instance together.
    """

    name: str
    loops: tuple[LoopLevel, ...]
    accesses: tuple[BufferAccess, ...]
    operations: Mapping[str, int]
    intrinsic: str
    lanes: Expression | None
    unroll: Expression | None
    kernel: int | None
    is_init: bool
    is_reduction: bool
    predicated: bool
    by_warp: bool = False
    asynchronous: Expression | None = None

    @property
    def instances(self) -> Expression | None:
        """How often the statement runs in the whole program, all threads counted."""
        return self.trips(0, len(self.loops))

    def trips(self, start: int, stop: int) -> Expression | None:
        """Iterations of loops ``start`` … ``stop − 1`` together, without those of an intrinsic."""
        extents = [loop.extent for loop in self.loops[start:stop] if loop.kind != "intrinsic"]
        if None in extents:
            return None
        return multiply(1, *(extent for extent in extents if extent is not None))

    def missing(self, every_level: bool = True) -> str | None:
        """Name the first number that has no expression; None when all have one.

        Strides and runs are not looked at: who reads one sees whether it is there, and a run is a
        lower bound, 1 where nothing better is known.

        Parameters
        ----------
        every_level : bool
            Whether elements are asked for at every level, and the limit of unrolling; otherwise
            the elements of one instance.
        """
        for loop in self.loops:
            if loop.extent is None:
                return f"the extent of {loop.name}"
        if WHILE in self.operations:
            return "how often its while loop runs"
        if self.lanes is None:
            return "lanes"
        if every_level and self.unroll is None:
            return "unroll"
        for access in self.accesses:
            if None in (access.elements if every_level else access.elements[-1:]):
                return f"the elements of {access.buffer}"
        return None

    def count_of(self, kind: str) -> int:
        """Scalar operations of one instance of a kind; of "call" those of any function."""
        return sum(n for k, n in self.operations.items() if k == kind or k.startswith(f"{kind}."))

    @property
    def flops(self) -> int:
        """Floating-point arithmetic of one instance, see `FLOPS`."""
        return sum(self.operations.get(kind, 0) for kind in FLOPS)

    @property
    def reads(self) -> tuple[BufferAccess, ...]:
        return tuple(access for access in self.accesses if not access.is_write)

    @property
    def writes(self) -> tuple[BufferAccess, ...]:
        return tuple(access for access in self.accesses if access.is_write)

    def parallel_extent(self) -> Expression | None:
        """Iterations that CPU threads share."""
        return self._product("parallel", "")

    def thread_extent(self, prefix: str) -> Expression | None:
        """Product of the loops bound to tags that start so: "blockIdx", "threadIdx", "vthread"."""
        return self._product("thread", prefix)

    def _product(self, kind: str, prefix: str) -> Expression | None:
        extents = [
            loop.extent
            for loop in self.loops
            if loop.kind == kind and loop.thread.startswith(prefix)
        ]
        if None in extents:
            return None
        return multiply(1, *(extent for extent in extents if extent is not None))


def known(expression: Expression | None) -> Expression:
    """A number of a statement of which nothing is missing (`Statement.missing`)."""
    if expression is None:
        raise ValueError("expected a statement of which every number has an expression")
    return expression


def expressions(statements: Sequence[Statement]) -> dict[str, Expression]:
    """Name every expression of the statements, such as ``"1:C/0.A.read.elements@2"``.

    What has no expression is left out.
    """
    named: dict[str, Expression | None] = {}
    for number, statement in enumerate(statements):
        prefix = f"{number}:{statement.name}"
        for position, loop in enumerate(statement.loops):
            named[f"{prefix}/{position}.{loop.name}"] = loop.extent
        named[f"{prefix}/lanes"] = statement.lanes
        named[f"{prefix}/unroll"] = statement.unroll
        named[f"{prefix}/instances"] = statement.instances
        for place, access in enumerate(statement.accesses):
            kind = "write" if access.is_write else "read"
            own = f"{prefix}/{place}.{access.buffer}.{kind}"
            for what in ("elements", "runs", "strides"):
                for level, expression in enumerate(getattr(access, what)):
                    named[f"{own}.{what}@{level}"] = expression
    return {name: e for name, e in named.items() if e is not None}


def without_unit_loops(statement: Statement) -> Statement:
    """Leave out the loops that run once in every program, for who evaluates many configs.

    Those stay that are parallel, vectorised, bound to threads or performed by an instruction, and
    those of which it cannot be seen that an access touches the same around them as inside.
    """
    kept = [
        j
        for j, loop in enumerate(statement.loops)
        if loop.kind not in ("serial", "unrolled")
        or loop.extent != constant(1)
        or any(
            level[j] is None or level[j] != level[j + 1]
            for access in statement.accesses
            for level in (access.elements, access.runs)
        )
    ]
    if len(kept) == len(statement.loops):
        return statement
    levels = [*kept, len(statement.loops)]
    accesses = (
        replace(
            access,
            elements=tuple(access.elements[j] for j in levels),
            runs=tuple(access.runs[j] for j in levels),
            strides=tuple(access.strides[j] for j in kept),
        )
        for access in statement.accesses
    )
    loops = tuple(statement.loops[j] for j in kept)
    return replace(statement, loops=loops, accesses=tuple(accesses))
